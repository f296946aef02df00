/* One Transport Session to a collector, as an exporter has it (PROTOCOL §2-3): a connector process of its own, hello and hello-reply, Messages
 * signed with our key, answers verified. No resume: a replay that breaks off is begun again.
 *
 * All callbacks come from the default main loop, none from within a call of the owner, and none after `ended`. */
#pragma once

#include "common/config.h"
#include "templates/answer.h"

typedef struct ReplaySession ReplaySession;

typedef enum {
    REPLAY_SESSION_UNREACHABLE, /* no session came to stand: connection, TLS, names */
    REPLAY_SESSION_LOST,        /* it stood */
    REPLAY_SESSION_REFUSED,     /* the collector has refused a Message, and says why */
    REPLAY_SESSION_DISBELIEVED, /* an answer that cannot be this collector's, or cannot be */
    REPLAY_SESSION_SILENT,      /* no answer in time */
    REPLAY_SESSION_CLOSED,      /* in order, after our last Message */
} ReplaySessionEnd;

typedef struct {
    /* The hello is answered, or (a peer without receipts) is out: records may be added. `reply` NULL: nothing will be answered. */
    void (*bound)(const SamiHelloReply *reply, gpointer user_data);
    /* There is room again after replay_session_is_full(). */
    void (*drained)(gpointer user_data);
    /* A record of the collector that belongs behind the opening; what it may say is the owner's to judge. FALSE: it cannot be true. */
    gboolean (*answered)(const SamiRecord *record, gpointer user_data);
    /* `reason` of a refusal, otherwise NONE. */
    void (*ended)(ReplaySessionEnd how, SamiReason reason, const gchar *text, gpointer user_data);
} ReplaySessionOps;

/* Forks the connector, which is to know no signing key: before one is loaded, and before there is any thread of GLib's. `config` outlives the session.
 * SAMI_ERROR_FAILED. */
ReplaySession *replay_session_new(const SamiConfig *config, GError **error);
/* Asks the connector for the peer, which the configuration has. `key`, ours, outlives the session. SAMI_ERROR_FAILED, SAMI_ERROR_CONFIG; SAMI_ERROR_PEER
 * if the connector has ended. */
gboolean replay_session_open(ReplaySession *session, const SamiConfigPeer *peer, SamiKey *key, const ReplaySessionOps *ops, gpointer user_data,
                             GError **error);
/* Waits for the connector, which writes out what it was given, at most some seconds. */
void replay_session_free(ReplaySession *session); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ReplaySession, replay_session_free)
/* 32 hexadecimal digits; the migration of this session. */
const gchar *replay_session_id(const ReplaySession *session);
/* After bound(). A record that cannot be encoded ends the session. */
void replay_session_add(ReplaySession *session, const SamiRecord *record);
/* What was added goes out; with is_last the end of writing follows. Returns the counter of that Message: a marker's, if it was added last. */
guint64 replay_session_flush(ReplaySession *session, gboolean is_last);
/* SAMI_UNSENT_MAX octets wait. */
gboolean replay_session_is_full(const ReplaySession *session);
guint64 replay_session_n_messages(const ReplaySession *session);
/* Counts `seconds` anew, after which the collector is SILENT; 0: nothing is waited for. */
void replay_session_expect(ReplaySession *session, guint seconds, const gchar *what);
