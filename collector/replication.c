/* Replication at the standby (LIFECYCLE §11): one replica a signer, fed by one stream after another, until it is taken over. Nothing is rolled
 * back: a lost peer is what a standby is for. */
#include <glib/gstdio.h>
#include <string.h>

#include "collector/collector.h"
#include "collector/replica.h"

#define QUIET_MS 3000u      /* the peer says every second that it is alive */
#define WATCH_MS 500u
#define JOURNALS_KEPT 2u    /* finished files of an endless stream; each has a whole dump */
#define STRICT_AGAIN_MS 60000u
#define STRICT_TRIES 5u     /* LIFECYCLE §6: five minutes */

struct SamiCollectorReplication {
    gboolean is_unscoped;
    gboolean is_down;          /* the alarm has been raised */
    gint64 heard_us;           /* when the last Message came */
    guint watch_timer;
    guint64 n_streams, n_peer_down;
    GQueue journals;           /* of gchar *, finished ones, the oldest first */
};

/* What a takeover has made ours: only its window tracking is still looked after. */
typedef struct {
    SamiCollector *collector;
    SamiApply *apply;
    SamiControlClient *client; /* (nullable) waits for the takeover */
    gint64 asked_us;
    guint timer;
    guint n_tries;
    guint n_jobs;
} TakenOver;

static void
taken_over_free(gpointer data)
{
    TakenOver *taken = data;
    if (taken->timer)
        g_source_remove(taken->timer);
    if (taken->client)
        sami_control_client_unref(taken->client);
    sami_totals_add(&taken->collector->totals, taken->apply);
    sami_apply_free(taken->apply);
    g_free(taken);
}

gboolean
sami_collector_replication_setup(SamiCollector *collector, GError **error)
{
    g_autofree gchar *path = g_build_filename(collector->config->run_dir, "origin", NULL);
    collector->taken_over = g_ptr_array_new_with_free_func(taken_over_free);
    collector->origin = sami_origin_new(path, error);
    return collector->origin != NULL;
}

void
sami_collector_replication_close(SamiCollector *collector)
{
    g_clear_pointer(&collector->taken_over, g_ptr_array_unref);
    sami_origin_free(collector->origin);
}

static SamiCollectorMigration *
find_replica(SamiCollector *collector, const gchar *signer)
{
    for (guint i = 0; i < collector->migrations->len; i++) {
        SamiCollectorMigration *m = g_ptr_array_index(collector->migrations, i);
        if (m->replication && g_str_equal(m->signer_name, signer))
            return m;
    }
    return NULL;
}

static void
raise_alarm(SamiCollectorMigration *m, const gchar *why)
{
    SamiCollectorReplication *r = m->replication;
    if (r->is_down)
        return;
    r->is_down = TRUE;
    r->n_peer_down++;
    g_warning("%.8s: replication from %s stands still: %s; %" G_GUINT64_FORMAT " entries are kept as they are. If this firewall has to go on: "
              "samictl takeover", m->hex, m->peer, why, sami_apply_present(m->apply));
}

static gboolean
on_watch(gpointer user_data)
{
    SamiCollectorMigration *m = user_data;
    gint64 quiet_ms = (g_get_monotonic_time() - m->replication->heard_us) / 1000;
    if (quiet_ms > QUIET_MS)
        raise_alarm(m, "nothing was heard for 3 s");
    return G_SOURCE_CONTINUE;
}

void
sami_collector_replication_heard(SamiCollectorMigration *m)
{
    SamiCollectorReplication *r = m->replication;
    r->heard_us = g_get_monotonic_time();
    if (r->is_down)
        g_message("%.8s: replication from %s goes on", m->hex, m->peer);
    r->is_down = FALSE;
}

void
sami_collector_replication_lost(SamiCollectorMigration *m, const gchar *why)
{
    raise_alarm(m, why);
}

static guint
count_peers(const SamiCollector *collector)
{
    guint n = 0;
    for (guint i = 0; i < collector->signers->len; i++)
        n += ((const SamiSigner *) g_ptr_array_index(collector->signers, i))->config->unscoped;
    return n;
}

/* A standby holds as much as its peer has, and only who may be unscoped is a peer in this sense; others share the room of migrations. */
static SamiApply *
make_apply(const SamiCollectorMigration *m)
{
    SamiBudget *all = m->signer->config->unscoped ? NULL : m->collector->budget;
    SamiApply *apply = sami_replica_new(m->lease_s, m->collector->origin, all, m->signer->budget);
    apply->replica->n_peers = count_peers(m->collector);
    apply->replica->is_peer = m->signer->config->unscoped;
    sami_apply_set_map(apply, m->signer->map);
    sami_apply_set_vm(apply, m->policy.vm, m->policy.n_vm);
    return apply;
}

static SamiCollectorMigration *
make(SamiCollector *collector, const SamiLedgerOpen *open)
{
    SamiCollectorMigration *m = sami_collector_migration_recall(collector, open);
    sami_apply_free(m->apply);
    m->apply = make_apply(m);
    m->phase = SAMI_PHASE_FOLLOW;
    m->replication = g_new0(SamiCollectorReplication, 1);
    g_queue_init(&m->replication->journals);
    m->replication->watch_timer = g_timeout_add(WATCH_MS, on_watch, m);
    return m;
}

/* The replica that the signer has already gets the new stream's identity. */
static void
adopt(SamiCollectorMigration *m, const SamiLedgerOpen *open, SamiSigner *signer)
{
    memcpy(m->id, open->id, 16);
    sami_migration_id_text(m->id, m->hex);
    g_free(m->peer);
    m->peer = g_strdup(open->peer);
    sami_signer_unref(m->signer);
    m->signer = sami_signer_ref(signer);
    m->lease_s = open->lease_s;
    g_array_set_size(m->vm, 0);
    g_array_append_vals(m->vm, open->vm, open->n_vm);
    if (m->session) {
        SamiCollectorSession *old = m->session;
        m->session = NULL;
        old->migration = NULL;
        sami_collector_session_drop(old);
    }
}

gboolean
sami_collector_replication_is_unscoped(const SamiCollectorMigration *m)
{
    return m->replication && m->replication->is_unscoped;
}

SamiCollectorMigration *
sami_collector_replication_begin(SamiCollectorSession *session, const SamiBegin *begin, SamiReason *ret_reason)
{
    SamiCollector *collector = session->collector;
    SamiSigner *signer = session->signer;
    gboolean is_unscoped = session->vm->len == 0;
    const GArray *vm = is_unscoped ? signer->allow_prefixes : session->vm;
    guint32 lease_s = collector->config->lease_s;
    SamiLedgerOpen open = { .lease_s = begin->lease_s > 0 ? MIN(begin->lease_s, lease_s) : lease_s, .signer = signer->config->name,
                            .peer = session->open.name, .vm = (SamiPrefix *) (void *) vm->data, .n_vm = vm->len };
    memcpy(open.id, session->stream->migration_id, 16);
    *ret_reason = strncmp(begin->destination, collector->config->name, sizeof begin->destination) != 0 ? SAMI_REASON_DESTINATION_NAME
                  : sami_collector_find(collector, open.id)                                           ? SAMI_REASON_REPLAYED
                  : is_unscoped && !signer->config->unscoped                                          ? SAMI_REASON_VM_NOT_ALLOWED
                                                                                                      : SAMI_REASON_NONE;
    if (*ret_reason != SAMI_REASON_NONE)
        return NULL;
    SamiCollectorMigration *m = find_replica(collector, signer->config->name);
    if (m)
        adopt(m, &open, signer);
    else
        m = make(collector, &open);
    m->replication->is_unscoped = is_unscoped;
    sami_collector_host_refresh(collector);
    sami_collector_migration_set_policy(m, signer);
    sami_apply_set_map(m->apply, m->signer->map);
    m->apply->replica->n_peers = count_peers(collector);
    m->apply->replica->is_peer = signer->config->unscoped;
    m->replication->n_streams++;
    sami_collector_session_take(session, m);
    m->next_counter = session->stream->counter_in;
    m->is_snapshot_confirmed = FALSE;
    m->started_us = g_get_monotonic_time();
    m->n_unacknowledged = 0;
    sami_collector_replication_heard(m);
    g_message("%.8s: replication from %s%s, stream %" G_GUINT64_FORMAT ", %" G_GUINT64_FORMAT " entries are here", m->hex, m->peer,
              is_unscoped ? ", unscoped" : "", m->replication->n_streams, sami_apply_present(m->apply));
    return m;
}

void
sami_collector_replication_free(SamiCollectorMigration *m)
{
    if (!m->replication)
        return;
    g_source_remove(m->replication->watch_timer);
    g_queue_clear_full(&m->replication->journals, g_free);
    g_clear_pointer(&m->replication, g_free);
}

/* PROTOCOL §5: a file a generation. The exporter defines its templates anew behind the end of a dump, so each file can be read alone; the
 * newest finished ones hold the whole table, older ones nothing that is still true. */
void
sami_collector_replication_epoch(SamiCollectorMigration *m, const SamiEpoch *epoch)
{
    SamiCollectorSession *session = m->session;
    GQueue *journals = &m->replication->journals;
    if (epoch->phase == 1 || !session || !session->journal)
        return;
    g_queue_push_tail(journals, g_strdup(sami_journal_path(session->journal)));
    g_clear_pointer(&session->journal, sami_journal_free);
    while (g_queue_get_length(journals) > JOURNALS_KEPT) {
        g_autofree gchar *path = g_queue_pop_head(journals);
        g_unlink(path);
    }
}

static void
answer(SamiCollectorMigration *m, guint8 phase, guint64 counter)
{
    const SamiApply *a = m->apply;
    SamiRecord record = { .kind = SAMI_RECORD_RECEIPT };
    record.receipt = (SamiReceipt){ .phase = phase, .marker_counter = counter, .n_records = a->n_records, .n_accepted = a->n_accepted,
                                    .n_present = sami_apply_present(a), .n_merged = a->replica->n_kept, .n_refused = a->n_refused };
    if (m->session)
        sami_collector_session_add(m->session, &record);
    if (m->session)
        sami_collector_session_flush(m->session, FALSE);
}

/* What was refused is counted, and listed in the log once a minute at most; an endless stream has no final receipt to list it in. */
static void
alive_done(SamiJob *job, gpointer user_data)
{
    SamiCollectorMigration *m = user_data;
    sami_collector_migration_job_done(job, m);
    g_mutex_lock(&m->apply->lock);
    g_array_set_size(m->apply->refusals, 0);
    g_mutex_unlock(&m->apply->lock);
    answer(m, SAMI_RECEIPT_ALIVE, job->counter);
}

void
sami_collector_replication_alive(SamiCollectorMigration *m, guint64 counter)
{
    SamiJob *job = sami_collector_migration_prepare(m, SAMI_JOB_SNAPSHOT, alive_done);
    job->counter = counter;
    sami_injector_submit(m->collector->injector, job);
}

guint
sami_collector_resync(SamiCollector *collector, const gchar *peer, gboolean is_yielding)
{
    guint n = 0;
    if (is_yielding) {
        sami_origin_yield(collector->origin, sami_ledger_now());
        g_message("this firewall is the backup now: what peers replicate wins over older entries");
    }
    for (guint i = 0; i < collector->migrations->len; i++) {
        SamiCollectorMigration *m = g_ptr_array_index(collector->migrations, i);
        if (!m->replication || !m->session || (peer && !g_str_equal(m->peer, peer)))
            continue;
        answer(m, SAMI_RECEIPT_RESYNC, 0);
        n++;
    }
    return n;
}

/* Strict window tracking again for what was taken over, as after a migration; then it is forgotten. */

static gboolean on_strict(gpointer user_data);

static void
submit(TakenOver *taken, SamiJobKind kind, void (*done)(SamiJob *, gpointer))
{
    SamiJob *job = g_new0(SamiJob, 1);
    job->kind = kind;
    job->apply = taken->apply;
    job->done = done;
    job->user_data = taken;
    job->is_last = taken->n_tries >= STRICT_TRIES;
    taken->n_jobs++;
    sami_injector_submit(taken->collector->injector, job);
}

static void
forgotten(SamiJob *job, gpointer user_data)
{
    TakenOver *taken = user_data;
    taken->n_jobs--;
    if (taken->collector->taken_over)
        g_ptr_array_remove_fast(taken->collector->taken_over, taken);
}

static void
strict_done(SamiJob *job, gpointer user_data)
{
    TakenOver *taken = user_data;
    taken->n_jobs--;
    if (job->error)
        g_warning("window tracking of what was taken over stays lenient%s: %s", taken->n_tries < STRICT_TRIES ? " for now" : "", job->error->message);
    if ((job->error || job->n_left > 0) && taken->n_tries < STRICT_TRIES)
        taken->timer = g_timeout_add(STRICT_AGAIN_MS, on_strict, taken);
    else
        submit(taken, SAMI_JOB_FORGET, forgotten);
}

static gboolean
on_strict(gpointer user_data)
{
    TakenOver *taken = user_data;
    taken->timer = 0;
    taken->n_tries++;
    submit(taken, SAMI_JOB_STRICT, strict_done);
    return G_SOURCE_REMOVE;
}

static void
takeover_done(SamiJob *job, gpointer user_data)
{
    TakenOver *taken = user_data;
    SamiCollector *collector = taken->collector;
    JsonObject *object = json_object_new();
    taken->n_jobs--;
    sami_apply_leave_budgets(taken->apply);
    json_object_set_int_member(object, "entries", (gint64) taken->apply->n_held);
    json_object_set_double_member(object, "took_ms", (double) (g_get_monotonic_time() - taken->asked_us) / 1000);
    if (taken->client)
        sami_control_finish(taken->client, SAMI_EXIT_DONE, object, NULL);
    else
        json_object_unref(object);
    g_clear_pointer(&taken->client, sami_control_client_unref);
    taken->timer = g_timeout_add(collector->config->grace_ms, on_strict, taken);
}

void
sami_collector_takeover(SamiCollector *collector, const gchar *peer, SamiControlClient *client)
{
    SamiControlClient *waiting = client;
    sami_origin_yield(collector->origin, 0);
    for (guint i = collector->migrations->len; i-- > 0;) { /* the answer comes when the last one is done: jobs are worked off in order */
        SamiCollectorMigration *m = g_ptr_array_index(collector->migrations, i);
        if (!m->replication || (peer && !g_str_equal(m->peer, peer)))
            continue;
        TakenOver *taken = g_new0(TakenOver, 1);
        taken->collector = collector;
        taken->asked_us = g_get_monotonic_time();
        taken->apply = m->apply;
        m->apply = make_apply(m);
        g_ptr_array_add(collector->taken_over, taken);
        g_message("%.8s: taken over from %s: %" G_GUINT64_FORMAT " entries", m->hex, m->peer, sami_apply_present(taken->apply));
        collector->n_takeovers++;
        gboolean is_last = TRUE;
        for (guint k = 0; k < i; k++) {
            const SamiCollectorMigration *other = g_ptr_array_index(collector->migrations, k);
            is_last &= !(other->replication && (!peer || g_str_equal(other->peer, peer)));
        }
        if (is_last && waiting)
            taken->client = sami_control_client_ref(g_steal_pointer(&waiting));
        submit(taken, SAMI_JOB_TAKEOVER, takeover_done);
    }
    if (waiting) {
        JsonObject *object = json_object_new();
        json_object_set_int_member(object, "entries", 0);
        sami_control_finish(waiting, SAMI_EXIT_DONE, object, NULL);
    }
}

void
sami_collector_taken_over_totals(const SamiCollector *collector, SamiTotals *totals)
{
    for (guint i = 0; collector->taken_over && i < collector->taken_over->len; i++)
        sami_totals_add(totals, ((TakenOver *) g_ptr_array_index(collector->taken_over, i))->apply);
}

void
sami_collector_replications_count(const SamiCollector *collector, JsonObject *counters)
{
    gint64 n = 0, n_up = 0, n_down = 0;
    for (guint i = 0; i < collector->migrations->len; i++) {
        const SamiCollectorMigration *m = g_ptr_array_index(collector->migrations, i);
        if (!m->replication)
            continue;
        n++;
        n_up += !m->replication->is_down;
        n_down += (gint64) m->replication->n_peer_down;
    }
    json_object_set_int_member(counters, "replicas", n);
    json_object_set_int_member(counters, "replicas_up", n_up);
    json_object_set_int_member(counters, "replica_peer_down_total", n_down);
}

JsonObject *
sami_collector_replication_describe(SamiCollectorMigration *m)
{
    const SamiCollectorReplication *r = m->replication;
    const SamiReplica *replica = m->apply->replica;
    JsonObject *object = json_object_new();
    json_object_set_boolean_member(object, "unscoped", r->is_unscoped);
    json_object_set_boolean_member(object, "peer_up", !r->is_down);
    json_object_set_double_member(object, "quiet_s", (double) (g_get_monotonic_time() - r->heard_us) / 1e6);
    json_object_set_int_member(object, "streams", (gint64) r->n_streams);
    json_object_set_int_member(object, "peer_down", (gint64) r->n_peer_down);
    json_object_set_int_member(object, "entries", (gint64) m->apply->n_held);
    json_object_set_int_member(object, "created", (gint64) replica->n_created);
    json_object_set_int_member(object, "updated", (gint64) replica->n_updated);
    json_object_set_int_member(object, "renewed", (gint64) replica->n_renewed);
    json_object_set_int_member(object, "deleted", (gint64) replica->n_deleted);
    json_object_set_int_member(object, "expired", (gint64) replica->n_expired);
    json_object_set_int_member(object, "inherited", (gint64) replica->n_inherited);
    json_object_set_int_member(object, "kept", (gint64) replica->n_kept);
    json_object_set_int_member(object, "replaced", (gint64) replica->n_replaced);
    json_object_set_int_member(object, "passed_on", (gint64) replica->n_passed);
    json_object_set_int_member(object, "epochs", (gint64) replica->n_epochs);
    json_object_set_boolean_member(object, "in_step", m->is_snapshot_confirmed && !r->is_down);
    return object;
}
