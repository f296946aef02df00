/* sami-exporter's state process: migrations, the kernel, the key. Internal to exporter/. One thread. */
#pragma once

#include "common/config.h"
#include "common/control.h"
#include "common/loop.h"
#include "firewall/firewall.h"
#include "templates/stream.h"
#include "transport/session.h"

typedef enum {
    SAMI_STATE_PREPARE, /* session, hello, begin, snapshot */
    SAMI_STATE_FOLLOW,
    SAMI_STATE_FREEZE,
    SAMI_STATE_READY,
    SAMI_STATE_SETTLE,
    SAMI_STATE_DONE,
    SAMI_STATE_ABORT,   /* abort sent, waiting for the collector */
    SAMI_STATE_ABORTED,
    SAMI_STATE_FAILED,
    SAMI_STATE_IN_DOUBT,
} SamiExporterState;

typedef struct SamiExporter SamiExporter;
typedef struct SamiMigration SamiMigration;

struct SamiExporter {
    const SamiConfig *config;
    GMainLoop *loop;
    int channel;
    GSource *channel_source;
    SamiKey *key;
    GArray *vm_prefixes;       /* of SamiPrefix: whose state may leave */
    SamiControlServer *control;
    GPtrArray *migrations;     /* of SamiMigration */
    guint32 last_request;
    guint64 events_since_ns;   /* entries that started earlier may be silent; G_MAXUINT64: all may be */
    guint64 n_overruns, n_messages, n_octets, n_sessions, n_not_vm_end;
    guint64 n_results[SAMI_STATE_IN_DOUBT + 1];
};

struct SamiMigration {
    SamiExporter *exporter;
    const SamiConfigPeer *peer; /* (transfer none) */
    SamiKey *peer_key;
    guint32 request;           /* of CONNECT */
    guint8 id[16];
    gchar hex[33];
    SamiExporterState state;
    GArray *vm;                /* of SamiPrefix */
    gboolean has_zone, has_mark;
    guint16 zone;
    guint32 mark;
    gboolean is_now;
    guint deadline_ms;
    gchar *on_late;

    SamiSessionSocket *socket;
    GSource *socket_source;
    gpointer socket_tag;
    SamiStream *stream;
    gboolean is_bound;
    GQueue out;                /* of GBytes */
    gsize n_out;

    SamiFirewall *firewall;
    SamiFirewallDump *dump;
    GSource *dump_source;
    SamiDumpFilter filter;
    SamiFirewallEvents *events;
    GSource *events_source;
    GHashTable *dirty;         /* set of SamiFlowKey: to be read and sent */
    GHashTable *tombstones;    /* set of SamiFlowKey: ended while a dump runs */
    guint flush_timer, progress_timer, deadline_timer;
    guint32 generation;

    gboolean is_snapshot_confirmed;
    gboolean is_freeze_asked;  /* marker follows when the scan is done */
    gboolean is_settle_dump;
    gboolean is_late;
    guint64 marker_counter;
    guint8 freeze_mode;
    guint64 n_sent, n_silent, n_not_vm_end, n_snapshot;
    guint64 accepted, merged, exact, degraded, refused, present;
    guint64 refused_by[SAMI_N_REASONS], degraded_by[SAMI_N_REASONS];
    GPtrArray *refusal_texts;  /* of gchar *, the first few */
    gint64 started_us, freeze_us, ready_us;
    gchar *error;              /* for the operator */
    SamiExit exit;
    GPtrArray *watchers;       /* of SamiControlClient: attached migrate calls */
    GPtrArray *freezers;       /* of SamiControlClient: waiting for READY */
    GPtrArray *aborters;
};

const gchar *sami_exporter_state_name(SamiExporterState state);

/* migration.c: the state machine */
SamiMigration *sami_migration_new(SamiExporter *exporter, const SamiConfigPeer *peer, GArray *vm_take, GError **error);
void sami_migration_free(SamiMigration *m);
void sami_migration_attach(SamiMigration *m, int fd_take);
/* SAMI_ERROR_USAGE when not in FOLLOW with a confirmed snapshot: `not-ready`. */
gboolean sami_migration_freeze(SamiMigration *m, GError **error);
gboolean sami_migration_abort(SamiMigration *m, guint8 reason, GError **error);
/* The only writer of `state`; tells watchers. */
void sami_migration_set_state(SamiMigration *m, SamiExporterState state);
void sami_migration_fail(SamiMigration *m, SamiExit code, const gchar *text);
void sami_migration_received(SamiMigration *m, const SamiRecord *record);
void sami_migration_hello(SamiMigration *m, const SamiFrameOpen *open);

/* link.c: Messages out and in */
void sami_link_start(SamiMigration *m, int fd_take);
void sami_link_stop(SamiMigration *m);
/* FALSE only if the record cannot be encoded: the migration has failed then. */
gboolean sami_link_add(SamiMigration *m, const SamiRecord *record);
void sami_link_flush(SamiMigration *m, gboolean is_last);
gboolean sami_link_is_full(const SamiMigration *m);

/* source.c: dump, events, dirty tuples */
gboolean sami_source_open(SamiMigration *m, GError **error);
void sami_source_close(SamiMigration *m);
gboolean sami_source_dump(SamiMigration *m, GError **error);
/* Reads what is dirty from the kernel and sends it; everything, not only a part. */
gboolean sami_source_send_dirty(SamiMigration *m, GError **error);
/* LIFECYCLE §4. An overrun is answered by TRUE with *ret_is_overrun. */
gboolean sami_source_barrier(SamiMigration *m, gboolean *ret_is_overrun, GError **error);
/* Looks again whether to read the kernel: called when the link has drained. */
void sami_source_update(SamiMigration *m);
/* migration.c, called by source.c when a dump has ended. */
void sami_migration_dumped(SamiMigration *m);
/* migration.c, called by source.c: events were lost. */
void sami_migration_overrun(SamiMigration *m);

/* control.c */
void sami_exporter_control(SamiControlClient *client, JsonObject *request, gpointer user_data);
/* {"id", "phase", "counts", …} (transfer full) */
JsonObject *sami_exporter_describe(const SamiMigration *m);
void sami_exporter_tell(SamiMigration *m, const gchar *event);
/* Last lines for everybody who waits. */
void sami_exporter_finish(GPtrArray *clients, SamiMigration *m, SamiExit code);
