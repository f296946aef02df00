#include <string.h>

#include "collector/collector.h"

#define FINISHED_MAX 1000u        /* closed ids remembered for status (PROTOCOL §2) */
#define STRICT_AGAIN_MS 60000u    /* entries that no packet has touched are looked at again */
#define STRICT_TRIES 5u           /* then they are made strict anyway: five minutes (LIFECYCLE §6) */

static const gchar *const phase_names[] = { "PREPARE", "FOLLOW", "FREEZE", "READY", "SETTLE", "DONE", "ABORTED", "IN-DOUBT" };

const gchar *
sami_collector_phase_name(SamiCollectorPhase phase)
{
    return phase_names[phase];
}

/* The only writer of `phase`. */
static void
set_phase(SamiCollectorMigration *m, SamiCollectorPhase phase)
{
    g_message("%.8s %s -> %s (from %s)", m->hex, phase_names[m->phase], phase_names[phase], m->peer);
    m->phase = phase;
    if (phase >= SAMI_PHASE_DONE)
        m->collector->n_results[phase]++;
}

SamiCollectorMigration *
sami_collector_find(SamiCollector *collector, const guint8 id[16])
{
    for (guint i = 0; i < collector->migrations->len; i++) {
        SamiCollectorMigration *m = g_ptr_array_index(collector->migrations, i);
        if (memcmp(m->id, id, 16) == 0)
            return m;
    }
    return NULL;
}

static void
clear_timer(guint *timer)
{
    if (*timer)
        g_source_remove(*timer);
    *timer = 0;
}

static void
job_done(SamiJob *job, gpointer user_data)
{
    SamiCollectorMigration *m = user_data;
    m->n_jobs--;
    if (job->error)
        g_critical("%.8s: the kernel socket failed: %s", m->hex, job->error->message);
    if (m->session)
        sami_collector_session_update(m->session);
}

static SamiJob *
submit(SamiCollectorMigration *m, SamiJobKind kind, void (*done)(SamiJob *, gpointer))
{
    SamiJob *job = g_new0(SamiJob, 1);
    job->kind = kind;
    job->apply = m->apply;
    job->done = done ? done : job_done;
    job->user_data = m;
    m->n_jobs++;
    return job;
}

static void
run(SamiCollectorMigration *m, SamiJobKind kind, void (*done)(SamiJob *, gpointer))
{
    sami_injector_submit(m->collector->injector, submit(m, kind, done));
}

static gboolean
on_renew(gpointer user_data)
{
    SamiCollectorMigration *m = user_data;
    if (m->phase < SAMI_PHASE_FREEZE) /* never between freeze marker and READY */
        run(m, SAMI_JOB_RENEW, NULL);
    return G_SOURCE_CONTINUE;
}

/* 50 % of what the table has left, or the configured number (OPERATIONS §2). */
static void
trim_finished(SamiCollector *collector)
{
    for (guint i = 0; i < collector->migrations->len && collector->migrations->len > FINISHED_MAX; i++) {
        SamiCollectorMigration *m = g_ptr_array_index(collector->migrations, i);
        if (m->phase >= SAMI_PHASE_DONE && m->n_jobs == 0)
            g_ptr_array_remove_index(collector->migrations, i--);
    }
}

static guint
count_active(SamiCollector *collector)
{
    guint n = 0;
    for (guint i = 0; i < collector->migrations->len; i++)
        n += ((SamiCollectorMigration *) g_ptr_array_index(collector->migrations, i))->phase < SAMI_PHASE_DONE;
    return n;
}

SamiCollectorMigration *
sami_collector_migration_new(SamiCollectorSession *session, const SamiBegin *begin, SamiReason *ret_reason)
{
    SamiCollector *collector = session->collector;
    if (strncmp(begin->destination, collector->config->name, sizeof begin->destination) != 0) {
        *ret_reason = SAMI_REASON_DESTINATION_NAME;
        return NULL;
    }
    if (count_active(collector) >= collector->config->max_migrations) {
        *ret_reason = SAMI_REASON_LIMIT;
        return NULL;
    }
    trim_finished(collector);
    SamiCollectorMigration *m = g_new0(SamiCollectorMigration, 1);
    m->collector = collector;
    m->session = session;
    m->signer = session->signer;
    memcpy(m->id, session->stream->migration_id, 16);
    for (guint i = 0; i < 16; i++)
        g_snprintf(m->hex + 2 * i, 3, "%02x", m->id[i]);
    m->peer = g_strdup(session->open.name);
    m->vm = g_array_ref(session->vm);
    m->policy = (SamiPolicy){ .vm = (SamiPrefix *) (void *) m->vm->data, .n_vm = m->vm->len,
                              .nat_addresses = (SamiPrefix *) (void *) m->signer->nat_addresses->data,
                              .n_nat_addresses = m->signer->nat_addresses->len,
                              .zones = (guint16 *) (void *) m->signer->zones->data, .n_zones = m->signer->zones->len };
    m->lease_s = begin->lease_s > 0 ? MIN(begin->lease_s, collector->config->lease_s) : collector->config->lease_s;
    m->apply = sami_apply_new(m->lease_s);
    m->started_us = g_get_monotonic_time();
    g_ptr_array_add(collector->migrations, m);
    m->renew_timer = g_timeout_add(MAX(m->lease_s * 1000 / 3, 1000), on_renew, m);
    set_phase(m, SAMI_PHASE_FOLLOW);
    return m;
}

void
sami_collector_migration_free(SamiCollectorMigration *m)
{
    clear_timer(&m->lease_timer);
    clear_timer(&m->renew_timer);
    clear_timer(&m->strict_timer);
    g_free(m->peer);
    g_array_unref(m->vm);
    sami_apply_free(m->apply);
    g_free(m);
}

void
sami_collector_migration_records(SamiCollectorMigration *m, GArray *items, guint64 counter)
{
    SamiJob *job = submit(m, SAMI_JOB_RECORDS, NULL);
    job->items = g_memdup2(items->data, items->len * sizeof(SamiApplyItem));
    job->n = items->len;
    job->counter = counter;
    sami_injector_submit(m->collector->injector, job);
}

void
sami_collector_migration_epoch(SamiCollectorMigration *m, const SamiEpoch *epoch)
{
    SamiJob *job = submit(m, epoch->phase == 1 ? SAMI_JOB_EPOCH_BEGIN : SAMI_JOB_EPOCH_END, NULL);
    job->generation = epoch->generation;
    sami_injector_submit(m->collector->injector, job);
}

static void
add_counts(SamiCollectorMigration *m, guint8 scope, const guint64 *counts)
{
    for (guint i = 0; i < SAMI_N_REASONS; i++) {
        SamiRecord record = { .kind = SAMI_RECORD_REASON_COUNT };
        record.reason_count = (SamiReasonCount){ scope, (guint16) i, counts[i] };
        if (counts[i] > 0 && m->session)
            sami_collector_session_add(m->session, &record);
    }
}

/* Exceptions first, then the receipt that counts them. */
static void
send_receipt(SamiCollectorMigration *m, guint8 phase, guint64 marker_counter, gboolean is_last)
{
    const SamiApply *a = m->apply;
    SamiRecord record = { .kind = SAMI_RECORD_REFUSAL };
    if (!m->session)
        return;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&m->apply->lock);
    for (guint i = 0; m->session && i < a->refusals->len; i++) {
        record.refusal = g_array_index(a->refusals, SamiRefusal, i);
        sami_collector_session_add(m->session, &record);
    }
    g_array_set_size(a->refusals, 0);
    if (!m->session) /* the listener went away meanwhile */
        return;
    add_counts(m, SAMI_SCOPE_RECORD, a->refused);
    add_counts(m, SAMI_SCOPE_DEGRADED, a->degraded);
    record.kind = SAMI_RECORD_RECEIPT;
    record.receipt = (SamiReceipt){
        .phase = phase, .marker_counter = marker_counter, .n_records = a->n_records, .freeze_mode = m->freeze_mode,
        .flags = a->is_truncated ? SAMI_RECEIPT_TRUNCATED : 0, .n_accepted = a->n_accepted,
        .n_present = sami_apply_present(a), .n_merged = a->n_merged, .n_exact = a->n_exact,
        .n_degraded = a->n_degraded, .n_refused = a->n_refused,
    };
    if (m->session)
        sami_collector_session_add(m->session, &record);
    if (m->session)
        sami_collector_session_flush(m->session, is_last);
}

static void
snapshot_done(SamiJob *job, gpointer user_data)
{
    SamiCollectorMigration *m = user_data;
    job_done(job, m);
    if (!m->is_rolling_back && !job->error)
        send_receipt(m, SAMI_RECEIPT_SNAPSHOT, job->counter, FALSE);
}

/* The decision point: journaled, synced, sent (LIFECYCLE §1). */
static void
freeze_done(SamiJob *job, gpointer user_data)
{
    SamiCollectorMigration *m = user_data;
    g_autoptr(GError) error = NULL;
    job_done(job, m);
    if (m->is_rolling_back || !m->session)
        return;
    if (job->error || (m->session->journal && !sami_journal_sync(m->session->journal, &error))) {
        g_critical("%.8s: not READY: %s", m->hex, (job->error ? job->error : error)->message);
        sami_collector_migration_abort(m);
        return;
    }
    m->marker_counter = job->counter;
    m->ready_us = g_get_monotonic_time();
    clear_timer(&m->renew_timer);
    set_phase(m, SAMI_PHASE_READY);
    send_receipt(m, SAMI_RECEIPT_READY, job->counter, FALSE);
}

static gboolean on_strict(gpointer user_data);

static void
strict_done(SamiJob *job, gpointer user_data)
{
    SamiCollectorMigration *m = user_data;
    job_done(job, m);
    if (job->n_left > 0 && m->n_strict_tries < STRICT_TRIES) {
        m->strict_timer = g_timeout_add(STRICT_AGAIN_MS, on_strict, m);
        return;
    }
    /* Nothing will touch the ledger again: what stays are counts. */
    sami_ledger_free(m->apply->ledger);
    m->apply->ledger = sami_ledger_new();
}

static gboolean
on_strict(gpointer user_data)
{
    SamiCollectorMigration *m = user_data;
    SamiJob *job = submit(m, SAMI_JOB_STRICT, strict_done);
    m->strict_timer = 0;
    job->is_last = ++m->n_strict_tries >= STRICT_TRIES;
    sami_injector_submit(m->collector->injector, job);
    return G_SOURCE_REMOVE;
}

static void
read_back_done(SamiJob *job, gpointer user_data)
{
    SamiCollectorMigration *m = user_data;
    job_done(job, m);
    if (m->is_rolling_back)
        return;
    send_receipt(m, SAMI_RECEIPT_FINAL, job->counter, TRUE);
    set_phase(m, m->session ? SAMI_PHASE_DONE : SAMI_PHASE_IN_DOUBT);
    if (!m->strict_timer)
        m->strict_timer = g_timeout_add(m->collector->config->grace_ms, on_strict, m);
}

static void
settle(SamiCollectorMigration *m, guint64 counter)
{
    SamiJob *job = submit(m, SAMI_JOB_READ_BACK, read_back_done);
    job->counter = counter;
    set_phase(m, SAMI_PHASE_SETTLE);
    sami_injector_submit(m->collector->injector, job);
}

void
sami_collector_migration_marker(SamiCollectorMigration *m, const SamiMarker *marker, guint64 counter)
{
    gboolean is_freeze = marker->marker == SAMI_MARKER_FREEZE;
    if (m->is_rolling_back)
        return;
    if (marker->marker == SAMI_MARKER_SETTLE) {
        if (m->phase == SAMI_PHASE_READY)
            settle(m, counter);
        return;
    }
    SamiJob *job = submit(m, is_freeze ? SAMI_JOB_FREEZE : SAMI_JOB_SNAPSHOT, is_freeze ? freeze_done : snapshot_done);
    job->counter = counter;
    if (is_freeze) {
        m->freeze_us = g_get_monotonic_time();
        m->freeze_mode = marker->freeze_mode;
        set_phase(m, SAMI_PHASE_FREEZE);
    }
    sami_injector_submit(m->collector->injector, job);
}

static void
rollback_done(SamiJob *job, gpointer user_data)
{
    SamiCollectorMigration *m = user_data;
    job_done(job, m);
    m->collector->n_rolled_back += job->n_removed;
    g_message("%.8s: rolled back: %" G_GUINT64_FORMAT " entries removed, %" G_GUINT64_FORMAT " were gone or not ours", m->hex,
              job->n_removed, job->n_left);
    set_phase(m, SAMI_PHASE_ABORTED);
    send_receipt(m, SAMI_RECEIPT_ABORTED, job->counter, TRUE);
}

void
sami_collector_migration_abort(SamiCollectorMigration *m)
{
    if (m->is_rolling_back || m->phase >= SAMI_PHASE_DONE)
        return;
    m->is_rolling_back = TRUE;
    clear_timer(&m->renew_timer);
    clear_timer(&m->lease_timer);
    run(m, SAMI_JOB_ROLLBACK, rollback_done);
}

void
sami_collector_migration_end(SamiCollectorMigration *m)
{
    clear_timer(&m->renew_timer);
}

static gboolean
on_lease(gpointer user_data)
{
    SamiCollectorMigration *m = user_data;
    m->lease_timer = 0;
    g_warning("%.8s: its exporter %s did not come back within the lease of %u s: rolling back", m->hex, m->peer, m->lease_s);
    sami_collector_migration_abort(m);
    return G_SOURCE_REMOVE;
}

void
sami_collector_migration_detach(SamiCollectorMigration *m)
{
    m->session = NULL;
    clear_timer(&m->renew_timer);
    if (m->is_rolling_back || m->phase >= SAMI_PHASE_SETTLE)
        return;
    if (m->phase == SAMI_PHASE_READY) /* nothing rolls back by itself any more */
        settle(m, 0);
    else
        m->lease_timer = g_timeout_add_seconds(MAX(m->lease_s, 1), on_lease, m);
}
