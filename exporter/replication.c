/* Replication at its source (LIFECYCLE §11): the stream of a migration without an end, begun again whenever it breaks. What a stream does is
 * in migration.c; here is what keeps it alive, shows how far the standby is behind, and looks at the whole table from time to time. */
#include <string.h>

#include "exporter/exporter.h"
#include "common/control-json.h"
#include "firewall/conntrackd.h"
#include "firewall/origin.h"

#define TICK_MS 250u
#define ALIVE_US 1000000         /* a marker a second: what is not answered is the lag */
#define DOWN_US 3000000          /* without an answer: the alarm */
#define LOST_US 10000000         /* … the session is given up, long before TCP would */
#define RETRY_MIN_MS 1000u
#define RESYNC_US 1000000        /* between dumps that the standby asks for, at least */
#define DUMP_SHARE 20            /* a dump takes at most a twentieth of the time */

/* Somebody waits until all standbys have what was there when they asked. */
typedef struct {
    SamiControlClient *client;
    guint n_waiting;
    guint timer;
} Sync;

typedef struct {
    Sync *sync;
    guint64 counter;   /* of the marker behind it */
    guint64 n_resumed; /* in a resumed session markers get other counters */
} SyncPoint;

struct SamiReplication {
    SamiExporter *exporter;
    gchar *peer;
    GArray *vm;                  /* of SamiPrefix; (nullable) unscoped */
    gboolean is_configured;      /* by peers.d: a reload may end it */
    gboolean is_stopping;
    gboolean has_warned;         /* of a conntrackd that was started beside it */
    gboolean is_dump_due;        /* the filter has changed */
    gboolean is_resync_due;      /* the standby has asked for a dump: … */
    gint64 resync_us;            /* … not before this, however often it asks */
    gint64 took_us;              /* the last dump */
    SamiFilter *filter;          /* there while there is a stream */
    SamiMigration *stream;       /* (nullable) */
    SamiMigration *ended;        /* (nullable) to be freed, not from inside its own calls */
    guint tick_timer, retry_timer, cycle_timer;
    guint32 term;                /* of the origin: another one means that much of the table has changed hands */
    gint64 asked_us;             /* when the marker that waits for its answer was sent; 0: none does */
    guint64 asked_counter;
    gint64 sent_us, heard_us;
    gint64 lag_us;               /* from that marker to its answer: everything before it is in the standby's kernel */
    gboolean is_up;
    gboolean is_in_step;         /* as long as it is up: the stream's first dump is there, and the rest followed it */
    gchar *why;                  /* it is down */
    guint64 n_streams, n_down, n_overruns, n_dumps;
    guint64 n_filtered;          /* changes and dumped entries that the filter kept back */
    guint64 n_present, n_kept, n_refused; /* at the standby */
    GArray *syncs;               /* of SyncPoint */
    GPtrArray *waiters;          /* of SamiControlClient */
};

gboolean
sami_replication_is_unscoped(const SamiReplication *r)
{
    return r->vm == NULL;
}

gboolean
sami_replication_is_ours(SamiReplication *r, const SamiSession *s)
{
    if (!sami_origin_is_ours(r->exporter->origin, s))
        return FALSE;
    gboolean has_passed = sami_filter_has_flow(r->filter, s);
    r->n_filtered += !has_passed;
    return has_passed;
}

gboolean
sami_replication_wants(SamiReplication *r, const SamiSession *s, SamiAction *action)
{
    gboolean has_passed = sami_filter_record(r->filter, s, action);
    r->n_filtered += !has_passed;
    return has_passed;
}

static void
set_up(SamiReplication *r)
{
    if (!r->is_up)
        g_message("replication to %s: up", r->peer);
    r->is_up = TRUE;
    g_clear_pointer(&r->why, g_free);
}

static void
set_down(SamiReplication *r, const gchar *why)
{
    g_autofree gchar *quoted = g_strescape(why, NULL);
    if (r->is_up || !r->why) {
        g_warning("replication to %s: down: %s", r->peer, quoted);
        r->n_down += r->is_up;
    }
    r->is_up = FALSE;
    g_free(r->why);
    r->why = g_strdup(why);
}

static GArray *
scope_of(const SamiReplication *r)
{
    const GArray *from = r->vm ? r->vm : r->exporter->vm_prefixes;
    GArray *copy = g_array_sized_new(FALSE, TRUE, sizeof(SamiPrefix), from->len);
    g_array_append_vals(copy, from->data, from->len);
    return copy;
}

static void
release_ended(SamiReplication *r)
{
    if (r->ended)
        g_ptr_array_remove_fast(r->exporter->migrations, r->ended);
    r->ended = NULL;
}

static void
finish_waiters(SamiReplication *r, SamiExit code, const gchar *text)
{
    for (guint i = 0; i < r->waiters->len; i++)
        sami_control_finish(g_ptr_array_index(r->waiters, i), code, NULL, text);
    g_ptr_array_set_size(r->waiters, 0);
}

/* Two that write the same flows at the standby undo each other's work. */
static gboolean
is_alone(const SamiExporter *exporter, GError **error)
{
    pid_t other = exporter->config->beside_conntrackd ? 0 : sami_conntrackd_find();
    if (other == 0)
        return TRUE;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED,
                "conntrackd (process %d) runs here, and two that replicate the same flows undo each other's work. Stop it (conntrackd -k, "
                "systemctl disable --now conntrackd); samictl import-conntrackd carries its configuration over. If its filters leave out "
                "all that vm-prefixes covers: beside-conntrackd=true in %s",
                (int) other, exporter->config->path);
    return FALSE;
}

static gboolean
on_retry(gpointer user_data)
{
    SamiReplication *r = user_data;
    SamiExporter *exporter = r->exporter;
    const SamiConfigPeer *peer = sami_config_peer(exporter->config, r->peer);
    g_autoptr(GError) error = NULL;
    r->retry_timer = 0;
    release_ended(r);
    if (r->is_stopping || !peer || !peer->addresses || !peer->signing_key_file) {
        g_message("replication to %s: ended", r->peer);
        g_ptr_array_remove_fast(exporter->replications, r);
        return G_SOURCE_REMOVE;
    }
    SamiFilter *filter = is_alone(exporter, &error) ? sami_filter_new(peer, &error) : NULL;
    if (filter) {
        sami_filter_free(r->filter);
        r->filter = filter;
        r->stream = sami_migration_new(exporter, peer, scope_of(r), &error);
    }
    if (!r->stream) {
        set_down(r, error->message);
        finish_waiters(r, SAMI_EXIT_FAILED, r->why);
        r->retry_timer = g_timeout_add(MAX(exporter->config->reconnect_ms, RETRY_MIN_MS), on_retry, r);
        return G_SOURCE_REMOVE;
    }
    r->stream->replication = r;
    r->n_streams++;
    r->asked_us = 0;
    return G_SOURCE_REMOVE;
}

static void
sync_finish(Sync *sync, SamiExit code, const gchar *text)
{
    if (sync->timer)
        g_source_remove(sync->timer);
    sync->timer = 0;
    if (sync->client)
        sami_control_finish(sync->client, code, NULL, text);
    g_clear_pointer(&sync->client, sami_control_client_unref);
}

/* One standby less to wait for. */
static void
sync_drop(Sync *sync, SamiExit code, const gchar *text)
{
    if (code != SAMI_EXIT_DONE)
        sync_finish(sync, code, text);
    if (--sync->n_waiting > 0)
        return;
    sync_finish(sync, SAMI_EXIT_DONE, NULL);
    g_free(sync);
}

static void
drop_syncs(SamiReplication *r, guint64 up_to, SamiExit code, const gchar *text)
{
    for (guint i = r->syncs->len; i-- > 0;) {
        SyncPoint point = g_array_index(r->syncs, SyncPoint, i);
        if (point.counter > up_to)
            continue;
        g_array_remove_index(r->syncs, i);
        if (code == SAMI_EXIT_DONE && point.n_resumed != r->exporter->n_resumed)
            sync_drop(point.sync, SAMI_EXIT_FAILED, "the session to the standby was lost meanwhile");
        else
            sync_drop(point.sync, code, text);
    }
}

void
sami_replication_ended(SamiReplication *r, const gchar *why)
{
    gboolean was_up = r->is_up;
    r->ended = r->stream;
    r->stream = NULL;
    r->asked_us = 0;
    r->is_in_step = r->is_resync_due = FALSE;
    drop_syncs(r, G_MAXUINT64, SAMI_EXIT_FAILED, "the stream to the standby has ended");
    if (r->cycle_timer)
        g_source_remove(r->cycle_timer);
    r->cycle_timer = 0;
    if (!r->is_stopping) {
        set_down(r, why ? why : "the stream has ended");
        finish_waiters(r, SAMI_EXIT_FAILED, r->why);
    }
    guint delay_ms = was_up || r->is_stopping ? RETRY_MIN_MS : MAX(r->exporter->config->reconnect_ms, RETRY_MIN_MS);
    if (!r->retry_timer)
        r->retry_timer = g_timeout_add(r->is_stopping ? 1 : delay_ms, on_retry, r);
}

static gboolean
on_cycle(gpointer user_data)
{
    SamiReplication *r = user_data;
    SamiMigration *m = r->stream;
    r->cycle_timer = 0;
    if (m && m->is_bound && m->state == SAMI_STATE_FOLLOW && m->source && !sami_source_is_dumping(m->source))
        sami_migration_redump(m); /* its end plans the next one */
    else if (m && !sami_exporter_is_over(m->state))
        r->cycle_timer = g_timeout_add(RETRY_MIN_MS, on_cycle, r);
    return G_SOURCE_REMOVE;
}

/* The standby needs what it gets, so nothing ends because of what somebody else has started. */
static void
warn_of_other(SamiReplication *r)
{
    g_autoptr(GError) error = NULL;
    gboolean is_fine = is_alone(r->exporter, &error);
    if (!is_fine && !r->has_warned)
        g_warning("replication to %s: goes on, but %s", r->peer, error->message);
    r->has_warned = !is_fine;
}

/* The standby's timeouts are as old as the last dump, and none is shorter than the lease: three dumps a lease. */
void
sami_replication_dumped(SamiReplication *r, gint64 took_us)
{
    guint lease_s = r->stream->peer_lease_s ? MIN(r->stream->peer_lease_s, r->exporter->config->lease_s) : r->exporter->config->lease_s;
    guint ms = (guint) MAX((gint64) lease_s * 1000 / 3, took_us / 1000 * DUMP_SHARE);
    r->n_dumps++;
    r->took_us = took_us;
    warn_of_other(r);
    if (r->cycle_timer)
        g_source_remove(r->cycle_timer);
    r->cycle_timer = g_timeout_add(ms, on_cycle, r);
}

void
sami_replication_overrun(SamiReplication *r)
{
    r->n_overruns++;
}

static gboolean
is_overdue(const SamiReplication *r, gint64 now_us)
{
    return r->asked_us && now_us - r->asked_us > DOWN_US;
}

void
sami_replication_answered(SamiReplication *r, const SamiReceipt *receipt)
{
    gint64 now_us = g_get_monotonic_time();
    r->heard_us = now_us;
    if (receipt->phase == SAMI_RECEIPT_RESYNC) {
        r->is_resync_due = TRUE;
        return;
    }
    r->n_present = receipt->n_present;
    r->n_refused = receipt->n_refused;
    if (receipt->phase == SAMI_RECEIPT_ALIVE) {
        r->n_kept = receipt->n_merged;
        drop_syncs(r, receipt->marker_counter, SAMI_EXIT_DONE, NULL);
        if (r->asked_us && receipt->marker_counter >= r->asked_counter) {
            r->lag_us = now_us - r->asked_us;
            r->asked_us = 0;
        }
    } else if (receipt->phase == SAMI_RECEIPT_SNAPSHOT) {
        r->is_in_step = TRUE;
        finish_waiters(r, SAMI_EXIT_DONE, NULL);
    }
    if (!is_overdue(r, now_us)) /* by the answer to another marker it is no less behind */
        set_up(r);
}

static void
ask(SamiReplication *r, gint64 now_us)
{
    guint64 counter = sami_say_marker(r->stream, SAMI_MARKER_ALIVE);
    if (counter == 0)
        return;
    r->asked_counter = counter;
    r->asked_us = r->sent_us = now_us;
}

/* A standby that asks and asks gets one whole dump after the other, in its share of the time. */
static void
resync(SamiReplication *r, gint64 now_us)
{
    if (!r->is_resync_due || now_us < r->resync_us || r->stream->state != SAMI_STATE_FOLLOW || sami_source_is_dumping(r->stream->source))
        return;
    g_message("replication to %s: it asks for everything anew", r->peer);
    r->is_resync_due = FALSE;
    r->resync_us = now_us + MAX(r->took_us * DUMP_SHARE, RESYNC_US);
    sami_migration_redump(r->stream);
}

static gboolean
on_tick(gpointer user_data)
{
    SamiReplication *r = user_data;
    gint64 now_us = g_get_monotonic_time();
    SamiMigration *m = r->stream;
    guint32 term = sami_origin_term(r->exporter->origin);
    if (m && !m->is_bound) {
        r->asked_us = 0;
        if (r->is_up)
            set_down(r, "the session is lost");
    }
    if (!m || !m->is_bound || !m->source)
        return G_SOURCE_CONTINUE;
    if ((term != r->term || r->is_dump_due) && m->state == SAMI_STATE_FOLLOW) { /* flows have become ours, or are not any more */
        r->term = term;
        r->is_dump_due = FALSE;
        sami_migration_redump(m);
    } else {
        resync(r, now_us);
    }
    if (!r->stream) /* the kernel could not begin it */
        return G_SOURCE_CONTINUE;
    if (!r->asked_us && now_us - r->sent_us >= ALIVE_US)
        ask(r, now_us);
    if (r->asked_us && now_us - r->asked_us > LOST_US) {
        r->asked_us = 0;
        sami_migration_lost(m, "no answer for 10 s");
    } else if (is_overdue(r, now_us)) {
        set_down(r, "no answer for 3 s");
    }
    return G_SOURCE_CONTINUE;
}

static void
replication_free(gpointer data)
{
    SamiReplication *r = data;
    SamiReplicationTotals *totals = &r->exporter->replications_ended;
    guint timers[] = { r->tick_timer, r->retry_timer, r->cycle_timer };
    for (guint i = 0; i < G_N_ELEMENTS(timers); i++)
        if (timers[i])
            g_source_remove(timers[i]);
    if (r->stream)
        r->stream->replication = NULL;
    totals->n_streams += r->n_streams;
    totals->n_down += r->n_down;
    totals->n_overruns += r->n_overruns;
    totals->n_filtered += r->n_filtered;
    finish_waiters(r, SAMI_EXIT_FAILED, "the replication has ended");
    sami_filter_free(r->filter);
    drop_syncs(r, G_MAXUINT64, SAMI_EXIT_FAILED, "the replication has ended");
    g_array_unref(r->syncs);
    g_ptr_array_unref(r->waiters);
    if (r->vm)
        g_array_unref(r->vm);
    g_free(r->peer);
    g_free(r->why);
    g_free(r);
}

static SamiReplication *
find(SamiExporter *exporter, const gchar *peer)
{
    for (guint i = 0; i < exporter->replications->len; i++) {
        SamiReplication *r = g_ptr_array_index(exporter->replications, i);
        if (g_str_equal(r->peer, peer))
            return r;
    }
    return NULL;
}

static SamiReplication *
start(SamiExporter *exporter, const gchar *peer, GArray *vm_take)
{
    SamiReplication *r = g_new0(SamiReplication, 1);
    r->exporter = exporter;
    r->peer = g_strdup(peer);
    r->vm = vm_take;
    r->syncs = g_array_new(FALSE, FALSE, sizeof(SyncPoint));
    r->waiters = g_ptr_array_new_with_free_func((GDestroyNotify) sami_control_client_unref);
    r->term = sami_origin_term(exporter->origin);
    r->heard_us = g_get_monotonic_time();
    r->tick_timer = g_timeout_add(TICK_MS, on_tick, r);
    r->retry_timer = g_timeout_add(1, on_retry, r);
    g_ptr_array_add(exporter->replications, r);
    return r;
}

/* One with a peer that was removed ends at once: there is no session any more in which it could answer, and it may be back before the lease ends. */
static void
stop(SamiReplication *r, gboolean is_removed)
{
    r->is_stopping = TRUE;
    if (r->stream && is_removed)
        sami_migration_fail(r->stream, SAMI_EXIT_FAILED, "the peer was removed");
    else if (r->stream && sami_migration_abort(r->stream, SAMI_ABORT_OPERATOR, NULL))
        return;
    g_clear_handle_id(&r->retry_timer, g_source_remove); /* it may be a minute away */
    r->retry_timer = g_timeout_add(1, on_retry, r);
}

void
sami_replications_setup(SamiExporter *exporter)
{
    g_autofree gchar *path = g_build_filename(exporter->config->run_dir, "origin", NULL);
    exporter->origin = sami_origin_watch(path);
    exporter->replications = g_ptr_array_new_with_free_func(replication_free);
    sami_replications_configure(exporter);
}

void
sami_replications_close(SamiExporter *exporter)
{
    g_clear_pointer(&exporter->table, sami_table_free);
    g_clear_pointer(&exporter->replications, g_ptr_array_unref);
    g_clear_pointer(&exporter->origin, sami_origin_free);
}

/* Another filter is another table: a dump says what the standby has to have, and what it has to lose. */
static void
refilter(SamiReplication *r, const SamiConfigPeer *peer)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(SamiFilter) filter = sami_filter_new(peer, &error);
    if (!filter) {
        g_warning("replication to %s: the old filter stays in use: %s", r->peer, error->message);
        return;
    }
    if (sami_filter_equal(filter, r->filter))
        return;
    sami_filter_free(r->filter);
    r->filter = g_steal_pointer(&filter);
    r->is_dump_due = TRUE;
}

void
sami_replications_configure(SamiExporter *exporter)
{
    const SamiConfig *config = exporter->config;
    for (guint i = 0; i < config->peers->len; i++) {
        const SamiConfigPeer *peer = g_ptr_array_index(config->peers, i);
        if (peer->replicate && !find(exporter, peer->name))
            start(exporter, peer->name, NULL)->is_configured = TRUE;
    }
    for (guint i = 0; i < exporter->replications->len; i++) {
        SamiReplication *r = g_ptr_array_index(exporter->replications, i);
        const SamiConfigPeer *peer = sami_config_peer(config, r->peer);
        if (!peer || (r->is_configured && !peer->replicate))
            stop(r, !peer);
        else if (r->stream)
            refilter(r, peer);
    }
}

void
sami_replication_control(SamiExporter *exporter, SamiControlClient *client, JsonObject *request)
{
    const gchar *to = sami_control_json_text(request, "to", "");
    const SamiConfigPeer *peer = sami_config_peer(exporter->config, to);
    SamiReplication *r = find(exporter, to);
    g_autoptr(GArray) vm = NULL;
    g_autoptr(GError) error = NULL;
    if (json_object_get_boolean_member_with_default(request, "stop", FALSE)) {
        if (r)
            stop(r, FALSE);
        sami_control_finish(client, r ? SAMI_EXIT_DONE : SAMI_EXIT_USAGE, NULL, r ? NULL : "nothing is replicated to that peer");
        return;
    }
    if (!peer || !peer->addresses || !peer->signing_key_file) {
        g_autofree gchar *quoted = g_strescape(to, NULL);
        g_autofree gchar *text = g_strdup_printf("\"%s\" is no peer that we may send to; see 'samictl peer list'", quoted);
        sami_control_finish(client, SAMI_EXIT_USAGE, NULL, text);
        return;
    }
    if (json_object_has_member(request, "vm") && !(vm = sami_exporter_read_vm(exporter, request, &error))) {
        sami_control_finish(client, sami_exit_of_error(error), NULL, error->message);
        return;
    }
    if (!vm && exporter->vm_prefixes->len == 0) {
        sami_control_finish(client, SAMI_EXIT_USAGE, NULL, "vm-prefixes in sami.conf is empty: this firewall may not send any state");
        return;
    }
    if (r && r->is_stopping) {
        g_autofree gchar *text = g_strdup_printf("the replication to %s is ending: ask again", r->peer);
        sami_control_finish(client, SAMI_EXIT_FAILED, NULL, text);
        return;
    }
    if (!(r && r->stream) && !is_alone(exporter, &error)) {
        sami_control_finish(client, SAMI_EXIT_FAILED, NULL, error->message);
        return;
    }
    if (!r)
        r = start(exporter, peer->name, g_steal_pointer(&vm));
    if (!json_object_get_boolean_member_with_default(request, "wait", FALSE) || (r->is_in_step && r->is_up))
        sami_control_finish(client, SAMI_EXIT_DONE, NULL, NULL);
    else
        g_ptr_array_add(r->waiters, sami_control_client_ref(client));
}

static gboolean
on_sync_timeout(gpointer user_data)
{
    Sync *sync = user_data;
    sync->timer = 0;
    sync_finish(sync, SAMI_EXIT_LATE, "the standby has not answered in time"); /* freed when its points are dropped */
    return G_SOURCE_REMOVE;
}

/* The barrier first: what was in the kernel when we were asked has an event before it. */
void
sami_replication_sync(SamiExporter *exporter, SamiControlClient *client, JsonObject *request)
{
    guint timeout_ms = (guint) CLAMP(json_object_get_int_member_with_default(request, "timeout_ms", 2000), 1, 3600 * 1000);
    guint n_up = 0;
    for (guint i = 0; i < exporter->replications->len; i++) {
        const SamiReplication *r = g_ptr_array_index(exporter->replications, i);
        n_up += r->is_up && r->is_in_step && r->stream && r->stream->is_bound && r->stream->source;
    }
    if (n_up == 0 || n_up < exporter->replications->len) {
        sami_control_finish(client, SAMI_EXIT_FAILED, NULL, n_up == 0 ? "no standby is in step" : "not every standby is in step");
        return;
    }
    Sync *sync = g_new0(Sync, 1);
    sync->client = sami_control_client_ref(client);
    sync->n_waiting = 1; /* this function's */
    sync->timer = g_timeout_add(timeout_ms, on_sync_timeout, sync);
    for (guint i = 0; i < exporter->replications->len; i++) {
        SamiReplication *r = g_ptr_array_index(exporter->replications, i);
        SamiMigration *m = r->stream;
        SyncPoint point = { sync, 0, exporter->n_resumed };
        if (m && sami_source_barrier(m->source) && sami_source_send_dirty(m->source, TRUE))
            point.counter = sami_say_marker(m, SAMI_MARKER_ALIVE);
        if (point.counter == 0) { /* an overrun: only the next dump says what there is */
            sync_finish(sync, SAMI_EXIT_FAILED, "events were lost on the way to the standby");
            continue;
        }
        sync->n_waiting++;
        g_array_append_val(r->syncs, point);
    }
    sync_drop(sync, SAMI_EXIT_DONE, NULL);
}

void
sami_replication_resync(SamiExporter *exporter, SamiControlClient *client, JsonObject *request)
{
    const gchar *to = sami_control_json_text(request, "peer", "");
    JsonObject *object = json_object_new();
    guint n = 0;
    for (guint i = 0; i < exporter->replications->len; i++) {
        SamiReplication *r = g_ptr_array_index(exporter->replications, i);
        if (!r->stream || (*to && !g_str_equal(to, r->peer)))
            continue;
        sami_migration_redump(r->stream);
        n++;
    }
    json_object_set_int_member(object, "dumping", n);
    sami_control_finish(client, SAMI_EXIT_DONE, object, NULL);
}

static gint64
lag_of(const SamiReplication *r)
{
    gint64 now_us = g_get_monotonic_time();
    return r->asked_us ? MAX(r->lag_us, now_us - r->asked_us) : r->is_up ? r->lag_us : now_us - r->heard_us;
}

void
sami_replications_count(const SamiExporter *exporter, JsonObject *counters)
{
    const SamiReplicationTotals *ended = &exporter->replications_ended;
    gint64 n_up = 0, n_octets = 0, lag_us = 0;
    gint64 n_down = (gint64) ended->n_down, n_overruns = (gint64) ended->n_overruns, n_streams = (gint64) ended->n_streams,
           n_filtered = (gint64) ended->n_filtered;
    for (guint i = 0; i < exporter->replications->len; i++) {
        const SamiReplication *r = g_ptr_array_index(exporter->replications, i);
        n_up += r->is_up;
        n_down += (gint64) r->n_down;
        n_overruns += (gint64) r->n_overruns;
        n_streams += (gint64) r->n_streams;
        n_filtered += (gint64) r->n_filtered;
        n_octets += r->stream ? (gint64) sami_link_unacknowledged(r->stream) : 0;
        lag_us = MAX(lag_us, lag_of(r));
    }
    json_object_set_int_member(counters, "replications", exporter->replications->len);
    json_object_set_int_member(counters, "replications_up", n_up);
    json_object_set_int_member(counters, "replication_streams_total", n_streams);
    json_object_set_int_member(counters, "replication_peer_down_total", n_down);
    json_object_set_int_member(counters, "replication_overruns_total", n_overruns);
    json_object_set_int_member(counters, "replication_filtered_total", n_filtered);
    json_object_set_int_member(counters, "replication_unacknowledged_octets", n_octets);
    json_object_set_int_member(counters, "replication_lag_ms", lag_us / 1000); /* of the one that is farthest behind */
}

JsonArray *
sami_replications_describe(SamiExporter *exporter)
{
    JsonArray *list = json_array_new();
    for (guint i = 0; i < exporter->replications->len; i++) {
        const SamiReplication *r = g_ptr_array_index(exporter->replications, i);
        JsonObject *object = json_object_new();
        json_object_set_string_member(object, "peer", r->peer);
        json_object_set_boolean_member(object, "unscoped", r->vm == NULL);
        json_object_set_boolean_member(object, "up", r->is_up);
        json_object_set_boolean_member(object, "in_step", r->is_in_step && r->is_up);
        if (r->stream && *r->stream->address)
            json_object_set_string_member(object, "address", r->stream->address);
        if (r->why)
            json_object_set_string_member(object, "why", r->why);
        json_object_set_double_member(object, "lag_s", (double) lag_of(r) / 1e6);
        json_object_set_int_member(object, "unacknowledged", r->stream ? (gint64) sami_link_unacknowledged(r->stream) : 0);
        json_object_set_int_member(object, "streams", (gint64) r->n_streams);
        json_object_set_int_member(object, "down", (gint64) r->n_down);
        json_object_set_int_member(object, "overruns", (gint64) r->n_overruns);
        json_object_set_int_member(object, "filtered", (gint64) r->n_filtered);
        json_object_set_int_member(object, "dumps", (gint64) r->n_dumps);
        json_object_set_int_member(object, "sent", r->stream ? (gint64) r->stream->n_sent : 0);
        json_object_set_int_member(object, "present", (gint64) r->n_present);
        json_object_set_int_member(object, "kept", (gint64) r->n_kept);
        json_object_set_int_member(object, "refused", (gint64) r->n_refused);
        json_array_add_object_element(list, object);
    }
    return list;
}
