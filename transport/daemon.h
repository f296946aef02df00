/* What both daemons share: command line, configuration, the supervisor and its two processes (DESIGN §4).
 *
 * The supervisor reads the configuration, binds sockets, forks the network process and the state process, and waits: when one of
 * them ends, the other is ended too and the daemon's exit status says so. */
#pragma once

#include "common/config.h"
#include "transport/network.h"

typedef struct {
    const gchar *name;       /* "sami-exporter" */
    const gchar *summary;    /* one line for --help */
    gboolean is_listener;    /* TRUE: listens (collector); FALSE: connects (exporter) */
    /* The state process: runs until told to stop (SIGTERM) or until the channel closes. It still has every privilege and drops to
     * CAP_NET_ADMIN itself, after opening what it needs. Returns the exit status. */
    int (*run_state)(const SamiConfig *config, int channel);
} SamiDaemon;

/* Options: -c FILE, -f (foreground, the default and only mode), --check-config, --debug, --help, --version. */
int sami_daemon_main(const SamiDaemon *daemon, int argc, char **argv);

/* For run_state: keeps CAP_NET_ADMIN only, no new privileges. Harmless when not root. */
gboolean sami_daemon_keep_net_admin(GError **error);
