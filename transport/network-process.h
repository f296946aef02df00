/* The loop that listener and connector share: channel, signals, standing connections, orderly
 * end. Private to transport/. */
#pragma once

#include "transport/tls-connection.h"

typedef struct SamiNetworkProcess SamiNetworkProcess;

struct SamiNetworkProcess {
    SamiNetworkConfig config; /* strings are the caller's; `peers` is a reference, replaced by a reload */
    int channel;
    SamiTls *tls;
    SamiSctp *sctp; /* NULL with TCP; made by the role */
    GMainContext
        *context; /* of its own: the default one may carry sources of the process that forked us */
    GMainLoop *loop;
    GHashTable *connections; /* set of SamiTlsConnection */
    gboolean is_stopping;
    GSource *sources[4]; /* channel, signals, deadline, the role's own */
    int signals;         /* signalfd */
    int secrets[SAMI_N_SECRETS]; /* that the next reload uses; -1: none came */
    /* The role's part: a CONNECT, and the end of taking new sessions. Either may be NULL. */
    void (*connect)(SamiNetworkProcess *process, guint32 request, const gchar *name);
    void (*stop)(SamiNetworkProcess *process);
    gpointer role;
};

/* Reads certificates, then drops privileges for good; attaches channel and signals. On failure
 * the process must end. */
gboolean sami_network_process_init(SamiNetworkProcess *process, const SamiNetworkConfig *config,
                                   gboolean is_server, int channel, const gchar *user,
                                   GError **error);
/* Returns when the channel closed, or a SIGTERM came, and the sessions have ended or 10 s
 * passed. */
void sami_network_process_run(SamiNetworkProcess *process);
void sami_network_process_clear(SamiNetworkProcess *process);
void sami_network_process_add(SamiNetworkProcess *process, SamiTlsConnection *connection);
/* To be called when a connection finished, or something else that a stop waits for did. */
void sami_network_process_remove(SamiNetworkProcess *process, SamiTlsConnection *connection);
