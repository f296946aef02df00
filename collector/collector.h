/* sami-collector's state process: sessions from the listener, migrations, control socket. Internal to collector/.
 *
 * A session is one Transport Session; a migration outlives it until its lease ends or it is done. Main loop only; what the injecting
 * thread does to a migration's SamiApply is seen only in the `done` of a job. */
#pragma once

#include "collector/injector.h"
#include "collector/journal.h"
#include "collector/signers.h"
#include "common/control.h"
#include "common/loop.h"
#include "templates/stream.h"
#include "transport/session.h"

typedef enum {
    SAMI_PHASE_PREPARE,
    SAMI_PHASE_FOLLOW,
    SAMI_PHASE_FREEZE,
    SAMI_PHASE_READY,
    SAMI_PHASE_SETTLE,
    SAMI_PHASE_DONE,
    SAMI_PHASE_ABORTED,
    SAMI_PHASE_IN_DOUBT,
} SamiCollectorPhase;

typedef struct SamiCollector SamiCollector;
typedef struct SamiCollectorSession SamiCollectorSession;

typedef struct {
    SamiCollector *collector;
    SamiCollectorSession *session; /* (nullable) */
    SamiSigner *signer;
    guint8 id[16];
    gchar hex[33];
    gchar *peer;                   /* verified TLS name */
    SamiCollectorPhase phase;
    GArray *vm;                    /* of SamiPrefix */
    SamiPolicy policy;
    SamiApply *apply;
    guint n_jobs;                  /* in the injector; the migration is not freed before 0 */
    gboolean is_rolling_back;
    guint8 freeze_mode;
    guint32 lease_s;
    gint64 started_us;
    gint64 freeze_us, ready_us;
    guint64 marker_counter;        /* of the freeze marker */
    guint lease_timer, renew_timer, strict_timer;
    guint n_strict_tries;
} SamiCollectorMigration;

struct SamiCollectorSession {
    SamiCollector *collector;
    SamiSessionSocket *socket;
    GSource *source;
    gpointer tag;                  /* of the descriptor in `source` */
    SamiFrameOpen open;
    gboolean is_open;
    SamiStream *stream;            /* from the first Message on */
    SamiSigner *signer;
    SamiJournal *journal;
    gboolean has_hello;
    GArray *vm;                    /* addresses seen before begin */
    SamiCollectorMigration *migration;
    GArray *batch;                 /* of SamiApplyItem */
    guint64 counter;               /* of the Message that is being read */
    SamiReason refusal;            /* set by a record: ends the session */
    gchar *refusal_detail;
    GQueue out;                    /* of GBytes, frames of MESSAGE */
    gboolean is_closing;           /* CLOSE after `out` is empty */
    gboolean is_peer_done;
};

struct SamiCollector {
    const SamiConfig *config;
    GMainLoop *loop;
    int channel;
    GSource *channel_source;
    SamiKey *key;
    GPtrArray *signers;
    SamiInjector *injector;
    SamiFirewall *firewall;        /* for headroom; main loop's own handle */
    SamiControlServer *control;
    GPtrArray *sessions;           /* of SamiCollectorSession */
    GPtrArray *migrations;         /* of SamiCollectorMigration, finished ones too, bounded */
    guint64 n_messages, n_octets, n_sessions, n_session_errors;
    guint64 refused_messages[SAMI_N_REASONS];
    guint64 refused_records[SAMI_N_REASONS];
    guint64 n_results[SAMI_PHASE_IN_DOUBT + 1];
    guint64 n_rolled_back;
};

const gchar *sami_collector_phase_name(SamiCollectorPhase phase);

/* session.c */
void sami_collector_session_new(SamiCollector *collector, int fd_take);
void sami_collector_session_free(SamiCollectorSession *session);
/* Queues one record for the peer; the Message goes out with sami_collector_session_flush(). */
void sami_collector_session_add(SamiCollectorSession *session, const SamiRecord *record);
void sami_collector_session_flush(SamiCollectorSession *session, gboolean is_last);
/* Looks again whether to read: called when the injector has drained. */
void sami_collector_session_update(SamiCollectorSession *session);

/* migration.c */
/* NULL with *ret_reason. */
SamiCollectorMigration *sami_collector_migration_new(SamiCollectorSession *session, const SamiBegin *begin, SamiReason *ret_reason);
void sami_collector_migration_free(SamiCollectorMigration *migration);
void sami_collector_migration_records(SamiCollectorMigration *migration, GArray *items, guint64 counter);
void sami_collector_migration_epoch(SamiCollectorMigration *migration, const SamiEpoch *epoch);
void sami_collector_migration_marker(SamiCollectorMigration *migration, const SamiMarker *marker, guint64 counter);
/* Removes what it created; before READY, or on an explicit decision. */
void sami_collector_migration_abort(SamiCollectorMigration *migration);
void sami_collector_migration_end(SamiCollectorMigration *migration);
/* The Transport Session is gone. */
void sami_collector_migration_detach(SamiCollectorMigration *migration);
SamiCollectorMigration *sami_collector_find(SamiCollector *collector, const guint8 id[16]);

/* control.c */
void sami_collector_control(SamiControlClient *client, JsonObject *request, gpointer user_data);
