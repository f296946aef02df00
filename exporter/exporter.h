/* sami-exporter's state process: migrations, the kernel, the key. Internal to exporter/. One thread. */
#pragma once

#include "common/config.h"
#include "common/control.h"
#include "common/metrics.h"
#include "common/loop.h"
#include "common/vlans.h"
#include "exporter/filter.h"
#include "exporter/machine.h"
#include "exporter/source.h"
#include "firewall/firewall.h"
#include "templates/answer.h"
#include "templates/rules.h"
#include "transport/session.h"

typedef struct SamiExporter SamiExporter;
typedef struct SamiMigration SamiMigration;
typedef struct SamiLink SamiLink;
typedef struct SamiLenient SamiLenient;
typedef struct SamiPurge SamiPurge;
typedef struct SamiReplication SamiReplication;
typedef struct SamiTable SamiTable;
typedef struct SamiExporterKinds SamiExporterKinds;

/* Rows of sami_source_kinds at most. */
#define SAMI_EXPORTER_KINDS_MAX 8u
typedef struct SamiCheck SamiCheck;
typedef struct SamiDryRun SamiDryRun;
typedef struct SamiProbe SamiProbe;

/* What replications that have ended have counted: totals do not fall. */
typedef struct {
    guint64 n_streams, n_down, n_overruns, n_filtered;
} SamiReplicationTotals;

struct SamiExporter {
    const SamiConfig *config;  /* a reference; replaced by a reload */
    GMainLoop *loop;
    int channel;
    GSource *channel_source;
    SamiKey *key;              /* replaced by a reload; sessions keep theirs */
    gchar *key_stamp;          /* of its file */
    GArray *vm_prefixes;       /* of SamiPrefix: whose state may leave */
    SamiVlans *vlans;          /* (nullable) */
    guint64 n_marks_masked;    /* records that lost bits of their mark to mark-mask */
    SamiControlServer *control;
    GPtrArray *migrations;     /* of SamiMigration */
    GPtrArray *replications;   /* of SamiReplication */
    SamiTable *table;          /* (nullable) that `samictl diff` reads */
    GPtrArray *checks;         /* of SamiCheck that run */
    GPtrArray *probes;         /* of SamiProbe that run */
    guint64 n_checks;
    struct SamiOrigin *origin; /* which entries a peer brought here, and are its own */
    guint32 last_request;
    gboolean is_sandbox_partial; /* this kernel cannot do all of it */
    guint64 n_reloads, n_reload_errors, n_channel_errors;
    guint64 n_overruns, n_messages, n_octets, n_sessions, n_not_vm_end;
    guint64 n_expectations, n_expectations_left;
    guint64 n_lost, n_resumed; /* Transport Sessions */
    guint64 n_answers_refused[SAMI_N_REASONS]; /* by the rule that they broke; each ended its migration */
    guint64 n_broken_rules[SAMI_N_RULES]; /* of those that are malformed */
    guint64 n_answers_ignored; /* mean nothing now: of an earlier marker, said again, after the last one */
    guint64 n_answers_missing; /* waited for in vain */
    guint64 n_refused_by_peer[SAMI_N_REASONS]; /* Messages and sessions */
    guint64 n_kind_sent[SAMI_EXPORTER_KINDS_MAX]; /* in the order of sami_source_kinds */
    SamiHistogram freeze_ready;
    SamiReplicationTotals replications_ended;
    guint64 n_results[SAMI_N_STATES];
};

struct SamiMigration {
    SamiExporter *exporter;
    const SamiConfig *config;  /* a reference: the one that it began with */
    const SamiConfigPeer *peer; /* in `config` */
    GPtrArray *peer_keys; /* of SamiKey; NULL: a plain collector, which signs nothing */
    guint32 request;           /* of CONNECT */
    guint8 id[16];
    gchar hex[SAMI_MIGRATION_ID_TEXT];
    gchar own_key[SAMI_KEY_ID_TEXT], peer_key[SAMI_KEY_ID_TEXT]; /* ids, of its last session; "": none yet */
    SamiExporterState state;
    GArray *vm;                /* of SamiPrefix */
    gboolean has_zone, has_mark;
    guint16 zone;
    guint32 mark;
    SamiVlans *vlans;          /* (nullable) a reference: those that it began with */
    gboolean is_now;
    GArray *ignored;           /* of SamiPrefix: other ends whose flows are not sent */
    SamiReplication *replication; /* (nullable) this is its stream */
    SamiLenient *lenient;      /* (nullable) without asymmetric-switch */
    guint n_lenient;           /* flows that it had made lenient, when it has ended */
    SamiPurge *purge;          /* (nullable) unless asked for, or done */
    gboolean has_purge;        /* asked for */
    guint64 n_purged, n_kept_local, n_kept_changed, n_kept_unconfirmed;
    guint deadline_ms;
    gchar *on_late;

    SamiSessionSocket *socket;
    GSource *socket_source;
    gpointer socket_tag;
    gboolean has_opened;       /* OPEN came on this socket */
    guint16 message_max;       /* said by it */
    gchar address[sizeof ((SamiFrameOpen *) NULL)->address]; /* of the peer in the last session: the one of its addresses that answered */
    SamiStream *stream;
    SamiLink *link;
    gboolean is_bound;         /* this Transport Session has its hello-reply */
    gboolean is_known;         /* the collector has answered a hello: from now on a lost session may be resumed */
    gboolean is_unknown_there; /* the collector never got begin: the next session begins the migration */
    gboolean has_gap;          /* Messages were lost for good: counts of records cannot be compared any more */
    gint64 lost_us;            /* when the session was lost; 0: it stands */
    gchar *lost_why;           /* (nullable) why it was, or the last try to get it back failed */
    guint reconnect_timer, lease_timer;
    guint age_timer;           /* the session is as old as we let one become */
    guint hello_timer;         /* the hello's answer cannot be believed any more */
    guint overflow;            /* idle source: this session is given up */
    guint answer_timer;        /* the lease is over without the answer that is due */
    gint64 final_due_us;       /* until when FINAL is waited for; 0: not asked for yet */
    gint64 away_us;            /* of sessions that were lost meanwhile; final_due_us has been put off by this */
    gboolean is_undoing;       /* it runs for an abort */
    gboolean has_resumed;      /* this is not the first session of the migration */

    SamiExporterKinds *kinds;  /* (nullable) state beside sessions: kinds.h */
    SamiSource *source;        /* (nullable) before PREPARE has its hello-reply, and at the end */
    guint progress_timer, deadline_timer, round_timer;
    guint hold_ms, hold_timer; /* READY waits for sami_migration_settle(), no longer than this; 0: it does not */
    guint32 generation;
    gint64 dump_us, dump_took_us; /* when the running or last dump began; how long the last one took */
    guint n_rounds;            /* re-dumps while the VM ran, for entries without events */
    guint n_overruns;          /* times that events were lost */

    gboolean is_snapshot_confirmed;
    gboolean is_freeze_asked;  /* the marker follows when nothing is unknown any more */
    gboolean is_late;
    guint64 marker_counter;    /* of the freeze marker that is out; 0: none */
    guint64 n_marked;          /* records that it announced */
    guint64 marked_ns;         /* when, since 1970 as the kernel's start times */
    gboolean has_lost_late;    /* events were lost behind it: the audit names what has begun since */
    guint64 snapshot_counter, settle_counter; /* of the first ones that the collector may have; 0: none */
    guint64 n_settled;         /* records up to the settle marker */
    gboolean has_final;        /* its receipt has come: what follows is the clean-up, and nothing that anybody says */
    guint8 freeze_mode;
    guint64 n_sent, n_not_vm_end, n_ignored, n_snapshot;
    guint64 accepted, merged, exact, degraded, refused, present;
    guint32 peer_lease_s;      /* the collector's, from its hello-reply */
    guint64 sessions_max;      /* room at the collector when it said hello */
    gint64 not_sent_first_ms, not_sent_last_ms; /* since 1970; 0: everything was sent */
    guint statistics_timer;
    guint64 refused_by[SAMI_N_REASONS], degraded_by[SAMI_N_REASONS];
    GArray *helped_zones;      /* (nullable) of guint16: where flows with helpers are */
    guint64 n_expectations, n_expectations_left; /* sent; not sent, because they are too many or their master is not known */
    guint64 expectations_max;  /* of n_expectations, in this freeze */
    SamiKindCount expected; /* what became of them there */
    GPtrArray *refusal_texts;  /* of gchar *, the first few */
    gint64 started_us, freeze_us, ready_us;
    gchar *error;              /* for the operator */
    SamiExit exit;
    GPtrArray *watchers;       /* of SamiControlClient: attached migrate calls */
    GPtrArray *freezers;       /* of SamiControlClient: waiting for READY */
    GPtrArray *aborters;
};

/* migration.c: what the states do */
SamiMigration *sami_migration_new(SamiExporter *exporter, const SamiConfigPeer *peer, GArray *vm_take, GError **error);
void sami_migration_free(SamiMigration *m);
/* READY is answered within deadline_ms and held for hold_ms. Asked for once more while it freezes, the longer hold counts. SAMI_ERROR_FAILED,
 * and nothing of it counts: `not-ready` without a confirmed snapshot, `already-frozen` behind READY. */
gboolean sami_migration_freeze(SamiMigration *m, guint deadline_ms, guint hold_ms, GError **error);
/* The VM runs at the destination: a READY that is held goes on to its end. FALSE before the freeze and where it was taken back. */
gboolean sami_migration_settle(SamiMigration *m, GError **error);
/* Back to FOLLOW: the VM goes on at the source. */
gboolean sami_migration_thaw(SamiMigration *m, GError **error);
gboolean sami_migration_abort(SamiMigration *m, guint8 reason, GError **error);
/* A failure that this migration does not survive; in doubt if a freeze marker is out, whatever `code` says. */
void sami_migration_fail(SamiMigration *m, SamiExit code, const gchar *text);
/* A record that has passed sami_answer_counts(). */
void sami_migration_received(SamiMigration *m, const SamiRecord *record);

/* A re-dump in a new epoch; a running one is given up. */
void sami_migration_redump(SamiMigration *m);

/* session.c: its Transport Sessions */
void sami_migration_attach(SamiMigration *m, int fd_take);
/* OPEN came: the hello goes out. */
void sami_migration_hello(SamiMigration *m, const SamiFrameOpen *open);
/* The Transport Session is gone: resumed within the lease, or the end. */
void sami_migration_lost(SamiMigration *m, const gchar *why);
/* It is `session-age` old: begun anew at once, as if it had been lost. FALSE if not now: in a freeze, or without a session that could be resumed. */
gboolean sami_migration_renew(SamiMigration *m);
/* After a reload: a session with a peer that was removed, or that signs with a key that is not in its file any more, is lost. Not `is_reloaded`: it
 * failed, and only who was removed counts. */
void sami_migration_review(SamiMigration *m, gboolean is_reloaded);

/* say.c. Sends a marker, with everything before it. Its counter, 0 after a failure, which has been told. */
guint64 sami_say_marker(SamiMigration *m, guint8 marker);

/* answer.c: what a collector may say, and when */
/* TRUE: it means something now, and can be true. FALSE: it has been counted, and if it cannot be true, the migration has failed. */
gboolean sami_answer_counts(SamiMigration *m, const SamiRecord *record, SamiAnswerUnder under);
/* An answer that breaks a rule: counted, and the migration has failed. */
void sami_answer_refuse(SamiMigration *m, SamiReason reason, const gchar *why);
/* Counts it, and the rule that `why` names if the answer is malformed. */
void sami_exporter_count_disbelief(SamiExporter *exporter, SamiReason reason, const gchar *why);

/* replication.c: the same stream without an end, begun again whenever it breaks (LIFECYCLE §11) */
void sami_replications_setup(SamiExporter *exporter);
void sami_replications_close(SamiExporter *exporter);
/* Those of peers.d with replicate=true, after a start or a reload. */
void sami_replications_configure(SamiExporter *exporter);
/* Its stream has ended: another one begins soon. */
void sami_replication_ended(SamiReplication *r, const gchar *why);
gboolean sami_replication_is_unscoped(const SamiReplication *r);
gboolean sami_replication_is_ours(SamiReplication *r, const SamiSession *session);
/* FALSE: the peer's filter keeps it from the stream; or another action takes its place. */
gboolean sami_replication_wants(SamiReplication *r, const SamiSession *session, SamiAction *action);
/* Its stream's first dump has begun, a dump has ended, the collector has answered. */
void sami_replication_dumped(SamiReplication *r, gint64 took_us);
void sami_replication_answered(SamiReplication *r, const SamiReceipt *receipt);
void sami_replication_overrun(SamiReplication *r);
/* Control requests. */
void sami_replication_control(SamiExporter *exporter, SamiControlClient *client, JsonObject *request);
/* Answered when every standby has what is in the kernel now. */
void sami_replication_sync(SamiExporter *exporter, SamiControlClient *client, JsonObject *request);
void sami_replication_resync(SamiExporter *exporter, SamiControlClient *client, JsonObject *request);
/* For stats: adds counters of all together. */
void sami_replications_count(const SamiExporter *exporter, JsonObject *counters);
/* (transfer full) */
JsonArray *sami_replications_describe(SamiExporter *exporter);

/* state.c: the configuration anew; n_reload_errors counts what stays as it was */
void sami_exporter_reload(SamiExporter *exporter);

/* table.c: the whole table as text, for who compares */
void sami_table_control(SamiExporter *exporter, SamiControlClient *client, JsonObject *request);
void sami_table_free(SamiTable *table); /* NULL is fine */

/* dry-run.c: the Transport Session of a check (opening 3). No ring, no resume: what is lost is asked again by whoever wants to know. All
 * callbacks come from the main loop; after `ended` or the receipt none does. */
typedef enum { SAMI_DRY_RUN_NO_SESSION, SAMI_DRY_RUN_REFUSED, SAMI_DRY_RUN_SILENT, SAMI_DRY_RUN_DISBELIEVED } SamiDryRunEnd;
typedef struct {
    /* The collector has answered the hello; its clock is `skew_s` ahead of ours, 0 if they may be equal. */
    void (*bound)(gint64 skew_s, gpointer user_data);
    void (*drained)(gpointer user_data); /* there is room again */
    /* FINDING, REFUSAL of records, REASON_COUNT, at last one RECEIPT: possible in themselves. */
    void (*answered)(const SamiRecord *record, gpointer user_data);
    /* No answer comes. `reason` and `text` are the collector's, if it refused. */
    void (*ended)(SamiDryRunEnd how, SamiReason reason, const gchar *text, gpointer user_data);
} SamiDryRunOps;
/* Asks the connector for a session with a peer that gives receipts. vm NULL: nothing is said after the hello, and bound() is the end.
 * SAMI_ERROR_FAILED. */
SamiDryRun *sami_dry_run_new(SamiExporter *exporter, const SamiConfigPeer *peer, const GArray *vm, const SamiDryRunOps *ops, gpointer user_data,
                             GError **error);
void sami_dry_run_free(SamiDryRun *run); /* NULL is fine */
/* From bound() on. (transfer none) */
const SamiStream *sami_dry_run_stream(const SamiDryRun *run);
/* Takes the descriptor if it is this one's. */
gboolean sami_dry_run_attach(SamiDryRun *run, guint32 request, int fd_take);
/* A session record; after bound(). */
void sami_dry_run_add(SamiDryRun *run, const SamiSession *session);
gboolean sami_dry_run_is_full(const SamiDryRun *run);
/* How far the clock is ahead that said `export_s` (the signed Export Time, whole seconds) somewhen between `sent_s` and `received_s` of ours, at
 * least; 0: they may be equal. */
gint64 sami_dry_run_skew(gint64 sent_s, gint64 received_s, gint64 export_s);
/* That was all. */
void sami_dry_run_finish(SamiDryRun *run);

/* check.c: what would not survive a move, before it. Control request; checks that run get the connector's sessions. */
void sami_check_control(SamiExporter *exporter, SamiControlClient *client, JsonObject *request);
gboolean sami_check_attach(SamiExporter *exporter, guint32 request, int fd_take);
void sami_check_free(SamiCheck *check);

/* probe.c: one hello and its answer. Control request; probes that run get the connector's sessions. */
void sami_probe_control(SamiExporter *exporter, SamiControlClient *client, JsonObject *request);
gboolean sami_probe_attach(SamiExporter *exporter, guint32 request, int fd_take);
void sami_probe_free(SamiProbe *probe);

/* link.c: Messages out and in */
void sami_link_init(SamiMigration *m);
void sami_link_free(SamiMigration *m);
void sami_link_start(SamiMigration *m, int fd_take);
void sami_link_stop(SamiMigration *m);
/* The same, and the peer is told that this is no accident, if the connector has room for that now. */
void sami_link_close(SamiMigration *m);
/* The hello of a Transport Session; what the ring holds goes out when the session is bound. */
void sami_link_open(SamiMigration *m, const SamiRecord *hello);
/* FALSE only if the record cannot be encoded: the migration has failed then. */
gboolean sami_link_add(SamiMigration *m, const SamiRecord *record);
void sami_link_flush(SamiMigration *m, gboolean is_last);
gboolean sami_link_is_full(const SamiMigration *m);
/* It takes nothing, and what must not be lost has filled the ring: only without this session something can be dropped. */
gboolean sami_link_is_overfull(const SamiMigration *m);
/* Nothing that was sent has been acknowledged or dropped. */
gboolean sami_link_has_all(const SamiMigration *m);
/* Octets that the collector has not acknowledged. */
gsize sami_link_unacknowledged(const SamiMigration *m);
/* Templates are defined once more: what follows can be read without what was before. */
void sami_link_redefine(SamiMigration *m);
/* The collector has everything before `next`. */
void sami_link_acknowledged(SamiMigration *m, guint64 next);
gboolean sami_link_is_acknowledged(const SamiMigration *m, guint64 next);
/* Counter of the next Message that this session will be given, and of the next one that no session was. */
guint64 sami_link_end(const SamiMigration *m);
guint64 sami_link_given(const SamiMigration *m);
/* The collector goes on at counter `next`: templates first, in *ret_n_shifted Messages, then what it has not received. FALSE if the ring
 * does not hold that any more, or if is_stale says that it is not so any more: what is missing has to be dumped again. */
gboolean sami_link_resume(SamiMigration *m, guint64 next, gboolean is_stale, guint *ret_n_shifted);

/* ignore.c: (transfer full) of SamiPrefix; the addresses of now */
GArray *sami_ignore_new(const SamiConfig *config);
gboolean sami_ignore_is(const GArray *list, const GArray *vm, const SamiSession *session);

/* state.c: lets the oldest migrations that are over go */
void sami_exporter_trim(SamiExporter *exporter);
/* state.c: since when every new entry of this kernel sends events; G_MAXUINT64: it does not */
guint64 sami_exporter_events_since(const SamiConfig *config);

/* lenient.c: asymmetric switch. `see` clears the flag that is ours from what is sent, and marks a flow to become lenient. */
SamiLenient *sami_lenient_new(void);
void sami_lenient_free(SamiLenient *lenient);
void sami_lenient_see(SamiMigration *m, SamiSession *session);
void sami_lenient_forget(SamiMigration *m, const SamiFlowKey *key);
void sami_lenient_undo(SamiMigration *m);
guint sami_lenient_n(const SamiMigration *m);

/* vlan.c: our zones, and what others call them */
/* Of a record that goes out: its zone's VLAN in the place of the zone, and no mark bits beyond mark-mask. */
void sami_vlan_name(SamiExporter *exporter, const SamiConfig *config, const SamiVlans *vlans, SamiSession *session);
void sami_vlan_name_expectation(const SamiVlans *vlans, SamiExpectation *expectation);
/* The key of a collector's refusal with our zone. One that names a VLAN without a zone here stays as it is, and no flow has it. */
void sami_vlan_own_key(const SamiVlans *vlans, SamiFlowKey *key);
/* Of the members vlan and zone of a request. SAMI_ERROR_USAGE, also where VLANs are configured and neither is named. */
gboolean sami_vlan_select(const SamiExporter *exporter, JsonObject *request, gboolean *ret_has_zone, guint16 *ret_zone, GError **error);

/* purge.c: source clean-up. `see` notes what an audit names, `except` what the receipt lists; `run` ends in sami_migration_purged(). */
SamiPurge *sami_purge_new(const SamiConfig *config, const GArray *vm, SamiVlans *vlans);
void sami_purge_free(SamiPurge *purge);
void sami_purge_restart(SamiPurge *purge);
void sami_purge_see(SamiPurge *purge, const SamiSession *session);
void sami_purge_except(SamiPurge *purge, const SamiRefusal *refusal);
void sami_purge_run(SamiMigration *m, const SamiReceipt *final);
/* Nothing more goes. */
void sami_purge_stop(SamiPurge *purge);
void sami_migration_purged(SamiMigration *m);

/* expectation.c: what helpers wait for. `see` notes where helpers are; `send` reads and sends, inside the freeze, when every flow has been
 * sent. */
void sami_expectations_see(SamiMigration *m, const SamiSession *session);
void sami_expectations_send(SamiMigration *m);

/* metrics.c: the control command */
void sami_exporter_metrics(SamiExporter *exporter, SamiControlClient *client, JsonObject *request);

/* control.c */
void sami_exporter_control(SamiControlClient *client, JsonObject *request, gpointer user_data);
/* The addresses of "vm": valid, and inside vm-prefixes; of SamiPrefix (transfer full). SAMI_ERROR_USAGE. */
GArray *sami_exporter_read_vm(SamiExporter *exporter, JsonObject *request, GError **error);
/* One that state may be sent to. SAMI_ERROR_USAGE. (transfer none): of the configuration of now */
const SamiConfigPeer *sami_exporter_find_peer(SamiExporter *exporter, const gchar *name, GError **error);
void sami_exporter_tell(SamiMigration *m, const gchar *event);
/* Last lines for everybody who waits. */
void sami_exporter_finish(GPtrArray *clients, SamiMigration *m, SamiExit code);
