/* sami-collector's state process: sessions from the listener, migrations, control socket. Internal to collector/.
 *
 * A session is one Transport Session; a migration outlives it until its lease ends or it is done. Main loop only; what the injecting
 * thread does to a migration's SamiApply is seen only in the `done` of a job. */
#pragma once

#include "collector/expect.h"
#include "collector/injector.h"
#include "collector/journal.h"
#include "collector/kinds.h"
#include "collector/machine.h"
#include "collector/signers.h"
#include "collector/sync.h"
#include "collector/totals.h"
#include "common/control.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/metrics.h"
#include "templates/rules.h"
#include "templates/stream.h"
#include "transport/session.h"

typedef struct SamiCollector SamiCollector;
typedef struct SamiCollectorSession SamiCollectorSession;
typedef struct SamiCollectorReplication SamiCollectorReplication;
typedef struct SamiCollectorKinds SamiCollectorKinds;
typedef struct SamiKindThread SamiKindThread;
typedef struct SamiCollectorCheck SamiCollectorCheck;

typedef struct {
    SamiCollector *collector;
    SamiCollectorSession *session; /* (nullable) */
    gchar own_key[SAMI_KEY_ID_TEXT], peer_key[SAMI_KEY_ID_TEXT]; /* ids, of its last session; "" after a restart */
    SamiSigner *signer;            /* a reference; NULL after a restart if it has been revoked */
    SamiSigner *ruler;             /* a reference (nullable): the same signer as it was loaded last, whose policy holds */
    gchar *signer_name;
    guint8 id[16];
    gchar hex[SAMI_MIGRATION_ID_TEXT];
    gchar *peer;                   /* verified TLS name */
    SamiCollectorPhase phase;
    GArray *vm;                    /* of SamiPrefix */
    SamiPolicy policy;
    SamiApply *apply;
    guint n_jobs;                  /* in the injector; the migration is not freed before 0 */
    gboolean is_forgotten;         /* its ledger is gone: only counts are left */
    gboolean is_snapshot_confirmed;
    gboolean is_redumping;         /* between the begin of an epoch and its end */
    gboolean is_recovered;         /* from the ledger's file: records from before the restart are not known */
    guint8 freeze_mode;
    guint32 announced;             /* kinds, of its begin */
    guint32 lease_s;
    gint64 started_us;
    gint64 freeze_us, ready_us;
    gint64 sync_us;                /* from the freeze marker until journal and ledger were on the disk; beside the injection */
    guint64 freeze_counter;        /* of the freeze marker that is being answered; 0: none */
    guint n_freeze_waits;          /* for the kernel, the journal and the ledger, before READY */
    gsize n_unsynced;              /* octets of the journal since the last time that it was sent to the disk */
    guint n_syncs;                 /* that run, in the background of PREPARE and FOLLOW */
    guint n_freeze_syncs;          /* that run for a freeze, perhaps one that was taken back */
    gint64 lost_us;                /* when its session was lost; 0: it has one, or needs none */
    guint64 next_counter;          /* of the exporter's Messages: where a resumed session goes on */
    gsize n_unacknowledged;        /* octets since the last acknowledgement */
    guint64 marker_counter;        /* of the freeze marker that READY answered; 0: none */
    guint64 n_ready;               /* session records up to it */
    guint64 snapshot_counter, settle_counter; /* of those markers */
    SamiRemoval removal;           /* of a rollback */
    guint lease_timer, renew_timer, strict_timer, again_timer;
    guint n_strict_tries;
    gint64 gate_until_us;          /* 0: open */
    SamiCollectorReplication *replication; /* (nullable) a stream without an end: replication.c */
    SamiCollectorKinds *kinds;     /* state beside sessions: kinds.c */
    SamiStatistics not_sent;       /* what the exporter says that it kept back */
} SamiCollectorMigration;

/* A control record that waits for the rest of its Message: a Message takes effect as a whole, or not at all. */
typedef struct {
    SamiRecordKind kind;
    guint at; /* session records of the Message that go before it */
    union {
        SamiEpoch epoch;
        SamiMarker marker;
        SamiAbort abort;
    };
} SamiCollectorControl;

struct SamiCollectorSession {
    SamiCollector *collector;
    SamiSessionSocket *socket;
    int socket_fd;                 /* its own */
    GSource *source;
    gpointer tag;                  /* of the descriptor in `source` */
    SamiFrameOpen open;
    gboolean is_open;
    guint64 opened_ms;             /* when OPEN came: the age of the first Message is counted from it */
    SamiStream *stream;            /* from the first Message on */
    SamiSigner *signer;            /* a reference */
    SamiJournal *journal;
    SamiJournal *answers;          /* (nullable) what was answered, beside it */
    gboolean has_lost_answers;     /* they could not be written */
    gboolean has_hello;
    GArray *vm;                    /* addresses seen before begin */
    SamiCollectorMigration *migration;
    SamiCollectorCheck *check;     /* (nullable) this is a dry run: check.c, and there is no migration */
    GArray *batch;                 /* of SamiApplyItem */
    GArray *expectations;          /* of SamiExpectationItem */
    GArray *controls;              /* of SamiCollectorControl, between the items of `batch` */
    guint64 counter;               /* of the Message that is being read */
    guint n_taken;                 /* records of it, for max-rate */
    guint rate_timer;              /* not 0: nothing is read until then, */
    gint64 held_us;                /* since then */
    SamiReason refusal;            /* set by a record: ends the session */
    gchar *refusal_detail;
    GQueue out;                    /* of GBytes, frames of MESSAGE */
    gsize n_out;                   /* octets of them */
    gint64 say_by_us;              /* by when the peer has to say what is missing: hello, begin, or that it has closed; 0: nothing is */
    gint64 end_by_us;              /* by when it is as old as session-age lets it be */
    gint64 take_by_us;             /* by when it has to take some of `out`; 0: that is empty */
    gboolean is_closing;           /* CLOSE after `out` is empty */
    gboolean is_peer_done;
};

struct SamiCollector {
    const SamiConfig *config;      /* a reference */
    GMainLoop *loop;
    int channel;
    GSource *channel_source;
    SamiKey *key;
    gchar *key_stamp;          /* of its file */
    GPtrArray *signers;
    guint validity_timer;          /* to the next valid-from or valid-until */
    SamiSignerHost host;           /* host.c: what all their policies have of this one */
    gint64 host_us;                /* when its kernel's part was read */
    int host_fd;
    GSource *host_source;
    SamiBudget *budget;            /* of all migrations that run */
    SamiExpect *expect;
    SamiInjector *injector;
    SamiKindThread *kinds;
    SamiSync *sync;
    SamiFirewall *firewall;        /* for headroom; main loop's own handle */
    SamiControlServer *control;
    GPtrArray *sessions;           /* of SamiCollectorSession */
    GPtrArray *migrations;         /* of SamiCollectorMigration, finished ones too, bounded */
    gboolean is_paused;            /* a session is not read until the injector has drained */
    guint64 n_messages, n_octets, n_sessions, n_session_errors, n_session_overflows;
    SamiLogLimit refusals;         /* sessions that were refused or broke */
    gint64 tidied_us;              /* when journal-dir was looked at last */
    guint64 refused_messages[SAMI_N_REASONS];
    guint64 broken_rules[SAMI_N_RULES]; /* of those that are malformed; where a Message ends, the listener's claim */
    SamiTotals totals;             /* of what is forgotten; see sami_collector_totals() */
    guint64 most_merged;
    guint64 refused_handshakes[SAMI_N_HANDSHAKE_CAUSES]; /* the listener's claim */
    guint64 n_results[SAMI_N_PHASES];
    guint64 journal_octets, n_journals_removed;
    guint64 n_rolled_back, n_resumed, n_recovered;
    guint64 n_checks;              /* dry runs */
    guint64 n_rate_waits;          /* of sessions, for max-rate */
    struct SamiGate *gate;         /* (nullable) */
    struct SamiOrigin *origin;     /* whose entries the table holds */
    GPtrArray *taken_over;         /* of what replications brought, until it is strict: replication.c */
    guint64 n_takeovers;
    guint64 n_pair_synced, n_pair_unsynced; /* READYs with and without the standby */
    guint64 n_gates_closed, n_gate_failures;
    guint64 n_marks_masked;        /* records that lost bits of their mark to mark-mask */
    gboolean is_sandbox_partial; /* this kernel cannot do all of it */
    guint64 n_reloads, n_reload_errors, n_channel_errors;
};

/* totals.c: of all migrations and replications, those that are forgotten too; none of it ever falls */
void sami_collector_totals(SamiCollector *collector, SamiTotals *ret_totals);

/* share.c: what each peer takes up */
/* NONE if this signer may begin another migration. */
SamiReason sami_collector_may_have_more(const SamiCollector *collector, const SamiConfigSigner *signer);
/* Its migrations that run. */
guint sami_collector_count_active(const SamiCollector *collector, const gchar *signer);
JsonArray *sami_collector_shares_describe(const SamiCollector *collector); /* (transfer full) */
void sami_collector_shares_measure(const SamiCollector *collector, const gchar *role, JsonArray *samples);

/* kinds.c: what a migration brings beside sessions */
SamiKindThread *sami_collector_kinds_start(void);
void sami_collector_kinds_stop(SamiKindThread *thread); /* waits for what is queued */
/* Records in jobs of both threads that are not done. */
guint sami_collector_pending(const SamiCollector *collector);
/* A migration begins, or is recalled. */
void sami_collector_kinds_begin(SamiCollectorMigration *migration);
void sami_collector_kinds_free(SamiCollectorMigration *migration);
/* FALSE: it is of no such kind. What is taken waits for the rest of its Message: flush or drop. */
gboolean sami_collector_kinds_take(SamiCollectorMigration *migration, const SamiRecord *record);
void sami_collector_kinds_flush(SamiCollectorMigration *migration, guint64 counter);
void sami_collector_kinds_drop(SamiCollectorMigration *migration);
/* TRUE: something is being worked off; `then` is called when it is done. FALSE: nothing is. */
gboolean sami_collector_kinds_wait(SamiCollectorMigration *migration, guint64 counter, void (*then)(SamiCollectorMigration *m, guint64 counter));
void sami_collector_kinds_undo(SamiCollectorMigration *migration);
/* It is decided: what an undo would need goes. */
void sami_collector_kinds_forget(SamiCollectorMigration *migration);
/* Exceptions and counts, before a receipt. */
void sami_collector_kinds_answer(SamiCollectorMigration *migration);
void sami_collector_kinds_add_reasons(SamiCollectorMigration *migration, guint8 scope, guint64 reasons[SAMI_N_REASONS]);
void sami_collector_kinds_describe(SamiCollectorMigration *migration, JsonObject *counts);
void sami_collector_kinds_add_totals(const SamiCollectorMigration *migration, SamiTotals *totals);

/* session.c */
/* Ends it without another word, from inside one of its callbacks too. */
void sami_collector_session_drop(SamiCollectorSession *session);
/* One signed refusal, then the end of the session (PROTOCOL §4), which its migration has lost from here on. `detail` NULL: the reason's text. */
void sami_collector_session_refuse(SamiCollectorSession *session, SamiReason reason, const gchar *detail);
void sami_collector_session_new(SamiCollector *collector, int fd_take);
void sami_collector_session_free(SamiCollectorSession *session);
/* Queues one record for the peer; the Message goes out with sami_collector_session_flush(). */
void sami_collector_session_add(SamiCollectorSession *session, const SamiRecord *record);
/* What a record means here, and which rule of the map or of the signer's policy it breaks. */
void sami_collector_session_judge(SamiCollector *collector, const SamiSigner *signer, const SamiPolicy *policy, const SamiSession *record,
                                  SamiApplyItem *ret);
void sami_collector_session_flush(SamiCollectorSession *session, gboolean is_last);
/* Ends those whose peer has not said or taken what it has to within max-delay; every second. */
gboolean sami_collector_sessions_watch(gpointer collector);
/* Looks again whether to read: called when the injector has drained. */
void sami_collector_session_update(SamiCollectorSession *session);

/* migration.c */
/* NULL with *ret_reason. */
SamiCollectorMigration *sami_collector_migration_new(SamiCollectorSession *session, const SamiBegin *begin, SamiReason *ret_reason);
/* NONE if this session may begin one now; what it may bring is another matter. */
SamiReason sami_collector_migration_may_begin(const SamiCollectorSession *session, const SamiBegin *begin);
SamiConflict sami_collector_conflict_of(const SamiSigner *signer);
/* From what the ledger's file said, in the phase that it said; not moved by anything yet. */
SamiCollectorMigration *sami_collector_migration_recall(SamiCollector *collector, const SamiLedgerOpen *open);
/* The state process has been started anew: rolled back before READY, kept and in doubt after it (LIFECYCLE §1). */
void sami_collector_migration_restart(SamiCollectorMigration *migration);
/* Lets the oldest of those that are over go, as long as there are more than status remembers. */
void sami_collector_migration_trim(SamiCollector *collector);
void sami_collector_migration_free(SamiCollectorMigration *migration);
/* NONE if this session may go on with it; otherwise why not. */
SamiReason sami_collector_migration_may_resume(const SamiCollectorMigration *migration, const SamiSigner *signer);
/* A resumed session, after its hello-reply: what it may have missed is said again. */
void sami_collector_migration_attach(SamiCollectorMigration *migration, SamiCollectorSession *session);
/* A Message of its exporter has been taken: up to `next`, of this many octets. */
void sami_collector_migration_taken(SamiCollectorMigration *migration, guint64 next, gsize length);
/* receipt.c: with every exception that has not been listed yet; nothing without a session. */
void sami_collector_migration_receipt(SamiCollectorMigration *m, guint8 phase, guint64 marker_counter, gboolean is_last);
void sami_collector_migration_records(SamiCollectorMigration *migration, GArray *items, guint64 counter);
void sami_collector_migration_epoch(SamiCollectorMigration *migration, const SamiEpoch *epoch);
void sami_collector_migration_marker(SamiCollectorMigration *migration, const SamiMarker *marker, guint64 counter);
/* May an abort with this counter of READY (0: none seen) undo it now? */
gboolean sami_collector_migration_may_abort(const SamiCollectorMigration *migration, guint64 marker_counter);
/* Removes what it created. FALSE if the event means nothing now. */
gboolean sami_collector_migration_undo(SamiCollectorMigration *migration, SamiCollectorEvent event);
/* The operator's decision about one in doubt. FALSE if it is not. */
gboolean sami_collector_migration_resolve(SamiCollectorMigration *migration, gboolean is_kept);
/* The Transport Session is gone. */
void sami_collector_migration_detach(SamiCollectorMigration *migration);
/* check.c: a dry run, which writes nothing anywhere. A reason that is not NONE ends the session. */
SamiCollectorCheck *sami_collector_check_new(SamiCollectorSession *session);
void sami_collector_check_free(SamiCollectorCheck *check); /* NULL is fine */
gboolean sami_collector_check_has_begun(const SamiCollectorCheck *check); /* FALSE for NULL */
SamiReason sami_collector_check_begin(SamiCollectorCheck *check, const SamiBegin *begin);
/* After begin; takes effect with sami_collector_check_message(), when all of its Message has been read. */
SamiReason sami_collector_check_record(SamiCollectorCheck *check, const SamiRecord *record);
void sami_collector_check_message(SamiCollectorCheck *check);
/* Control request: what of this host would be in the way of any VM that comes. */
void sami_collector_check_control(SamiCollector *collector, SamiControlClient *client, JsonObject *request);
/* housekeeping.c: journal-keep and journal-max, now and every hour */
void sami_collector_start_tidying(SamiCollector *collector);
/* Once a second at most: a peer may open many sessions, and each file is looked at. */
void sami_collector_tidy_soon(SamiCollector *collector);
/* replication.c: one replica a signer, which outlives its streams; it has no ledger's file and no lease, and is never rolled back */
gboolean sami_collector_replication_is_unscoped(const SamiCollectorMigration *migration); /* FALSE for what is no replication */
gboolean sami_collector_replication_setup(SamiCollector *collector, GError **error);
void sami_collector_replication_close(SamiCollector *collector);
/* A begin of that kind: the signer's replica goes on with this stream. NULL with *ret_reason. */
SamiCollectorMigration *sami_collector_replication_begin(SamiCollectorSession *session, const SamiBegin *begin, SamiReason *ret_reason);
void sami_collector_replication_free(SamiCollectorMigration *migration);
/* The end of a dump is a place to begin another file of the journal. */
void sami_collector_replication_epoch(SamiCollectorMigration *migration, const SamiEpoch *epoch);
void sami_collector_replication_alive(SamiCollectorMigration *migration, guint64 counter);
/* A Message came. */
void sami_collector_replication_heard(SamiCollectorMigration *migration);
/* The Transport Session is gone: what is here stays as it is. */
void sami_collector_replication_lost(SamiCollectorMigration *migration, const gchar *why);
/* Of one peer, NULL: of all. `client` is answered when the table is ours; it is already, where nothing is replicated. */
void sami_collector_takeover(SamiCollector *collector, const gchar *peer, SamiControlClient *client);
/* Peers dump again; with is_yielding theirs wins over what is older here than now. Returns how many were asked. */
guint sami_collector_resync(SamiCollector *collector, const gchar *peer, gboolean is_yielding);
/* Adds what was taken over and is still to become strict. */
void sami_collector_taken_over_totals(const SamiCollector *collector, SamiTotals *totals);
/* For stats. */
void sami_collector_replications_count(const SamiCollector *collector, JsonObject *counters);
/* For status. (transfer full) */
JsonObject *sami_collector_replication_describe(SamiCollectorMigration *migration);
/* pair.c: asks the exporter of this host until its standbys have what is in the kernel now, at most `deadline` long, and then calls
 * sami_collector_migration_pair_done(). FALSE: no need to wait. */
gboolean sami_collector_pair_wait(SamiCollectorMigration *migration, guint64 counter);
/* aftercare.c: from now on its entries are made strict, and a DONE one is forgotten when they are */
void sami_collector_migration_look_after(SamiCollectorMigration *migration);
/* At once: one that is over. */
void sami_collector_migration_forget(SamiCollectorMigration *migration);
/* Before another one of this signer begins: with SAMI_LOOKED_AFTER_MAX of them the oldest has no more time. */
void sami_collector_hurry_oldest(const SamiCollector *collector, const gchar *signer);
/* migration.c: READY for the freeze marker of this counter, if it still waits for it */
void sami_collector_migration_pair_done(SamiCollectorMigration *migration, guint64 counter);
/* migration.c, for replication.c */
SamiJob *sami_collector_migration_prepare(SamiCollectorMigration *migration, SamiJobKind kind, void (*done)(SamiJob *, gpointer));
void sami_collector_migration_job_done(SamiJob *job, gpointer migration);

/* recovery.c: what the files in journal-dir say of migrations before this start. */
void sami_collector_recover(SamiCollector *collector);
/* Entries that a migration of this signer may create now, all running ones taken into account; sets the collector's limit for it. */
guint64 sami_collector_room(SamiCollector *collector, const SamiSigner *signer);
/* What still comes is judged by this load of its signer. */
void sami_collector_migration_set_policy(SamiCollectorMigration *migration, SamiSigner *signer);
SamiCollectorMigration *sami_collector_find(SamiCollector *collector, const guint8 id[16]);

/* host.c */
gboolean sami_collector_host_open(SamiCollector *collector, GError **error);
void sami_collector_host_close(SamiCollector *collector);
/* A migration begins: settings may be others than at the last one. */
void sami_collector_host_refresh(SamiCollector *collector);

/* policy.c */
/* NONE, or SIGNER_NOT_VALID with when it is or was (transfer full). */
SamiReason sami_collector_policy_of_time(const SamiSigner *signer, gchar **ret_detail);
/* NONE if it may go on under `now`, the signer as it is loaded (NULL: it is not); else why not (transfer full). After READY time takes nothing back: the VM may be
 * running here. `m` NULL: a session without one. */
SamiReason sami_collector_policy_of(const SamiCollectorMigration *m, const SamiSigner *now, gchar **ret_detail);
/* After a reload, and when a signer's time begins or ends. A session whose signer or key is gone or not valid any more, or whose VM it may not bring any
 * more, is refused, and its migration rolled back before READY; nobody else's notices. */
void sami_collector_policy_review(SamiCollector *collector);
/* The same for one session. */
void sami_collector_policy_review_session(SamiCollectorSession *session);
/* Control request {"signer"}: what each may do, as it is loaded. */
void sami_collector_policy_control(SamiCollector *collector, SamiControlClient *client, JsonObject *request);

/* gate.c: does nothing where no gate is configured, except where that is said */
gboolean sami_collector_gate_setup(SamiCollector *collector, GError **error);
/* On demand. SAMI_ERROR_USAGE without a gate, SAMI_ERROR_KERNEL. */
gboolean sami_collector_gate_close(SamiCollectorMigration *migration, guint timeout_ms, GError **error);
void sami_collector_gate_open(SamiCollectorMigration *migration);
/* The snapshot is in the kernel, or another part of its lease has passed. */
void sami_collector_gate_follow(SamiCollectorMigration *migration);
/* The freeze marker is here. */
void sami_collector_gate_freeze(SamiCollectorMigration *migration);
/* 0: open. */
gint64 sami_collector_gate_left_ms(const SamiCollectorMigration *migration);

/* metrics.c: the control command */
void sami_collector_metrics(SamiCollector *collector, SamiControlClient *client, JsonObject *request);

/* session.c: `m` goes on in this session. */
void sami_collector_session_take(SamiCollectorSession *session, SamiCollectorMigration *m);

/* state.c: the configuration anew; n_reload_errors counts what stays as it was */
void sami_collector_reload(SamiCollector *collector);

/* control.c */
void sami_collector_control(SamiControlClient *client, JsonObject *request, gpointer user_data);
