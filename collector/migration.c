/* What the phases of a migration at its destination do (LIFECYCLE §1); the phases themselves are in machine.c. */
#include <string.h>

#include "collector/collector.h"

#define SYNC_EVERY (4u * 1024u * 1024u) /* octets of the journal */
#define ROLLBACK_AGAIN_MS 1000u   /* after a failure of the kernel's socket */

static void start_rollback(SamiCollectorMigration *m);

/* The phase goes into the ledger's file as well: a restart begins with it. */
static gboolean
write_phase(SamiCollectorMigration *m, SamiCollectorPhase phase, guint64 marker_counter, GError **error)
{
    return !m->apply->file ||
           sami_ledger_file_phase(m->apply->file, (guint8) phase, marker_counter, m->n_ready, sami_ledger_now(), error);
}

/* The only writer of `phase`. FALSE if the event means nothing now. */
static gboolean
advance(SamiCollectorMigration *m, SamiCollectorEvent event)
{
    SamiCollectorPhase phase;
    g_autoptr(GError) error = NULL;
    if (!sami_collector_next(m->phase, event, &phase))
        return FALSE;
    g_message("%.8s %s -> %s (from %s)", m->hex, sami_collector_phase_name(m->phase), sami_collector_phase_name(phase), m->peer);
    m->phase = phase;
    if (event != SAMI_ON_INJECTED && !write_phase(m, phase, m->marker_counter, &error)) /* READY was written before it was decided */
        g_warning("%.8s: %s", m->hex, error->message);
    if (sami_collector_is_over(phase) || phase == SAMI_PHASE_IN_DOUBT) {
        m->collector->n_results[phase]++;
        sami_apply_leave_budgets(m->apply);
    }
    return TRUE;
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

/* Journal, ledger or kernel socket: before READY it is rolled back, and the exporter is told why. */
static void
fail(SamiCollectorMigration *m, const GError *error)
{
    SamiReason reason = g_error_matches(error, SAMI_ERROR, SAMI_ERROR_FAILED) ? SAMI_REASON_JOURNAL : SAMI_REASON_KERNEL;
    g_critical("%.8s: %s", m->hex, error->message);
    if (m->replication) { /* never rolled back: the peer comes again and says everything anew */
        if (m->session)
            sami_collector_session_refuse(m->session, reason, error->message);
        return;
    }
    if (!advance(m, SAMI_ON_FAILURE)) { /* decided, or being undone: what the job was to do is in no list */
        g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&m->apply->lock);
        m->apply->is_truncated = TRUE;
        return;
    }
    if (m->session)
        sami_collector_session_refuse(m->session, reason, error->message);
    start_rollback(m);
}

/* What one migration queued holds up the sessions of all, so whoever drains it wakes all. */
static void
resume_reading(SamiCollector *collector)
{
    if (!collector->is_paused || sami_collector_pending(collector) >= SAMI_INJECTOR_HIGH)
        return;
    collector->is_paused = FALSE;
    for (guint i = 0; i < collector->sessions->len; i++)
        sami_collector_session_update(g_ptr_array_index(collector->sessions, i));
}

void
sami_collector_migration_job_done(SamiJob *job, gpointer user_data)
{
    SamiCollectorMigration *m = user_data;
    m->n_jobs--;
    if (job->error)
        fail(m, job->error);
    if (m->session)
        sami_collector_session_update(m->session);
    resume_reading(m->collector);
}

SamiJob *
sami_collector_migration_prepare(SamiCollectorMigration *m, SamiJobKind kind, void (*done)(SamiJob *, gpointer))
{
    SamiJob *job = g_new0(SamiJob, 1);
    job->kind = kind;
    job->apply = m->apply;
    job->done = done ? done : sami_collector_migration_job_done;
    job->user_data = m;
    m->n_jobs++;
    return job;
}

static void
submit(SamiCollectorMigration *m, SamiJob *job)
{
    sami_injector_submit(m->collector->injector, job);
}

static gboolean
on_renew(gpointer user_data)
{
    SamiCollectorMigration *m = user_data;
    if (m->phase > SAMI_PHASE_READY) { /* the audit has given every entry its own timeout, or nothing is renewed any more */
        m->renew_timer = 0;
        return G_SOURCE_REMOVE;
    }
    if (m->phase != SAMI_PHASE_FREEZE) /* never between freeze marker and READY */
        submit(m, sami_collector_migration_prepare(m, SAMI_JOB_RENEW, NULL));
    if (m->phase == SAMI_PHASE_FOLLOW && m->is_snapshot_confirmed)
        sami_collector_gate_follow(m);
    return G_SOURCE_CONTINUE;
}

static void
start_renewal(SamiCollectorMigration *m)
{
    if (!m->renew_timer)
        m->renew_timer = g_timeout_add(MAX(m->lease_s * 1000 / 3, 1000), on_renew, m);
}

void
sami_collector_migration_set_policy(SamiCollectorMigration *m, SamiSigner *signer)
{
    SamiSigner *old = g_steal_pointer(&m->ruler);
    m->ruler = sami_signer_ref(signer);
    if (sami_collector_replication_is_unscoped(m)) {
        g_array_set_size(m->vm, 0);
        g_array_append_vals(m->vm, signer->allow_prefixes->data, signer->allow_prefixes->len);
    }
    const SamiPrefix *vm = (const SamiPrefix *) (const void *) m->vm->data;
    m->policy = (SamiPolicy){ .vm = vm, .n_vm = sami_signer_allows(signer, vm, m->vm->len) ? m->vm->len : 0 }; /* after READY it may be too late to undo it */
    sami_signer_fill_policy(signer, &m->collector->host, &m->policy);
    if (m->apply)
        sami_apply_set_vm(m->apply, vm, m->vm->len);
    sami_signer_unref(old);
}

SamiConflict
sami_collector_conflict_of(const SamiSigner *signer)
{
    const gchar *word = signer ? signer->config->on_conflict : NULL;
    return g_strcmp0(word, "replace") == 0 ? SAMI_CONFLICT_REPLACE : g_strcmp0(word, "keep") == 0 ? SAMI_CONFLICT_KEEP : SAMI_CONFLICT_MERGE;
}

SamiCollectorMigration *
sami_collector_migration_recall(SamiCollector *collector, const SamiLedgerOpen *open)
{
    SamiCollectorMigration *m = g_new0(SamiCollectorMigration, 1);
    SamiSigner *signer = sami_signers_by_name(collector->signers, open->signer);
    m->collector = collector;
    m->signer = signer ? sami_signer_ref(signer) : NULL;
    m->signer_name = g_strdup(open->signer);
    memcpy(m->id, open->id, 16);
    sami_migration_id_text(m->id, m->hex);
    m->peer = g_strdup(open->peer);
    m->vm = g_array_new(FALSE, TRUE, sizeof(SamiPrefix));
    g_array_append_vals(m->vm, open->vm, open->n_vm);
    if (signer)
        sami_collector_migration_set_policy(m, signer);
    m->lease_s = open->lease_s;
    m->freeze_mode = SAMI_FREEZE_EVENTS;
    m->apply = sami_apply_new(m->lease_s, collector->budget, signer ? signer->budget : NULL);
    m->apply->on_conflict = sami_collector_conflict_of(signer);
    sami_apply_set_vm(m->apply, open->vm, open->n_vm);
    sami_apply_set_expectation_budget(m->apply, signer ? signer->expectations : NULL);
    sami_apply_set_map(m->apply, signer ? signer->map : NULL);
    m->started_us = g_get_monotonic_time();
    sami_collector_kinds_begin(m);
    g_ptr_array_add(collector->migrations, m);
    return m;
}

SamiReason
sami_collector_migration_may_begin(const SamiCollectorSession *session, const SamiBegin *begin)
{
    SamiCollector *collector = session->collector;
    const SamiConfig *config = collector->config;
    return strncmp(begin->destination, config->name, sizeof begin->destination) != 0 ? SAMI_REASON_DESTINATION_NAME
           : sami_collector_find(collector, session->stream->migration_id) ? SAMI_REASON_REPLAYED /* begun by another session since the hello */
                                                                           : sami_collector_may_have_more(collector, session->signer->config);
}

SamiCollectorMigration *
sami_collector_migration_new(SamiCollectorSession *session, const SamiBegin *begin, SamiReason *ret_reason)
{
    SamiCollector *collector = session->collector;
    const SamiConfig *config = collector->config;
    g_autoptr(GError) error = NULL;
    g_autoptr(SamiLedgerFile) file = NULL;
    SamiLedgerOpen open = { .lease_s = begin->lease_s > 0 ? MIN(begin->lease_s, config->lease_s) : config->lease_s,
                            .signer = session->signer->config->name, .peer = session->open.name,
                            .vm = (SamiPrefix *) (void *) session->vm->data, .n_vm = session->vm->len };
    memcpy(open.id, session->stream->migration_id, 16);
    *ret_reason = sami_collector_migration_may_begin(session, begin);
    if (*ret_reason == SAMI_REASON_NONE && config->journal && sami_ledger_file_is_closed(config->journal_dir, open.id))
        *ret_reason = SAMI_REASON_REPLAYED; /* forgotten here, and not by its file */
    if (*ret_reason != SAMI_REASON_NONE)
        return NULL;
    if (config->journal && !(file = sami_ledger_file_new(config->journal_dir, &open, &error))) {
        g_warning("%s: %s", session->open.name, error->message);
        *ret_reason = SAMI_REASON_JOURNAL;
        return NULL;
    }
    sami_collector_migration_trim(collector);
    sami_collector_hurry_oldest(collector, session->signer->config->name);
    sami_collector_room(collector, session->signer);
    sami_collector_host_refresh(collector);
    SamiCollectorMigration *m = sami_collector_migration_recall(collector, &open);
    m->apply->file = g_steal_pointer(&file);
    sami_collector_session_take(session, m);
    m->next_counter = session->stream->counter_in;
    start_renewal(m);
    advance(m, SAMI_ON_BEGIN);
    return m;
}

void
sami_collector_migration_free(SamiCollectorMigration *m)
{
    g_clear_handle_id(&m->lease_timer, g_source_remove);
    g_clear_handle_id(&m->renew_timer, g_source_remove);
    g_clear_handle_id(&m->strict_timer, g_source_remove);
    g_clear_handle_id(&m->again_timer, g_source_remove);
    g_free(m->signer_name);
    g_free(m->peer);
    g_array_unref(m->vm);
    sami_collector_replication_free(m);
    sami_totals_add(&m->collector->totals, m->apply);
    sami_collector_kinds_add_totals(m, &m->collector->totals);
    sami_collector_kinds_free(m);
    sami_apply_free(m->apply);
    sami_signer_unref(m->signer);
    sami_signer_unref(m->ruler); /* has the policy */
    g_free(m);
}

/* Nothing that comes now would be taken back. */
static gboolean
is_going(const SamiCollectorMigration *m)
{
    return m->phase == SAMI_PHASE_ROLLBACK || m->phase == SAMI_PHASE_ABORTED;
}

void
sami_collector_migration_records(SamiCollectorMigration *m, GArray *items, guint64 counter)
{
    SamiJob *job = sami_collector_migration_prepare(m, SAMI_JOB_RECORDS, NULL);
    job->items = g_memdup2(items->data, items->len * sizeof(SamiApplyItem));
    job->n = items->len;
    for (guint i = 0; i < job->n && is_going(m); i++)
        job->items[i].reason = job->items[i].reason ? job->items[i].reason : SAMI_REASON_ABORTED;
    job->messages = sami_apply_build(job->items, job->n, m->lease_s, m->is_redumping);
    job->counter = counter;
    job->signed_ms = (guint64) (g_get_monotonic_time() / 1000) - m->session->stream->age_ms;
    submit(m, job);
}

void
sami_collector_migration_epoch(SamiCollectorMigration *m, const SamiEpoch *epoch)
{
    if (is_going(m) || sami_collector_is_over(m->phase))
        return;
    m->is_redumping = epoch->phase == 1;
    if (m->is_redumping && g_get_monotonic_time() - m->collector->host_us > G_USEC_PER_SEC)
        sami_collector_host_refresh(m->collector);
    if (m->replication)
        sami_collector_replication_epoch(m, epoch);
    SamiJob *job = sami_collector_migration_prepare(m, epoch->phase == 1 ? SAMI_JOB_EPOCH_BEGIN : SAMI_JOB_EPOCH_END, NULL);
    job->generation = epoch->generation;
    submit(m, job);
}

/* What lies in the page cache when the freeze comes would have to go to the disk while the VM stands still, so most of it goes before. */

static void
background_synced(guint64 counter, const GError *error, gpointer user_data)
{
    SamiCollectorMigration *m = user_data;
    m->n_syncs--;
    m->n_jobs--;
    if (error)
        fail(m, error);
    if (m->session)
        sami_collector_session_update(m->session);
}

static void
start_sync(SamiCollectorMigration *m, int fd, const gchar *what, guint64 counter, SamiSyncFunc done)
{
    m->n_jobs++;
    sami_sync_submit(m->collector->sync, fd, what, counter, done, m);
}

static gboolean
is_syncing(const SamiCollectorMigration *m)
{
    return g_strcmp0(m->collector->config->journal_sync, "none") != 0;
}

static void
sync_in_background(SamiCollectorMigration *m)
{
    if (m->n_syncs > 0 || m->phase >= SAMI_PHASE_FREEZE || !is_syncing(m))
        return;
    m->n_unsynced = 0;
    if (m->session && m->session->journal) {
        m->n_syncs++;
        start_sync(m, sami_journal_fd(m->session->journal), "journal", 0, background_synced);
    }
    if (m->apply->file) {
        m->n_syncs++;
        start_sync(m, sami_ledger_file_fd(m->apply->file), "ledger", 0, background_synced);
    }
}

/* PROTOCOL §3: what the exporter need not keep any more. */
void
sami_collector_migration_taken(SamiCollectorMigration *m, guint64 next, gsize length)
{
    SamiRecord record = { .kind = SAMI_RECORD_RECEIPT, .receipt = { .phase = SAMI_RECEIPT_PROGRESS, .marker_counter = next } };
    if (m->replication)
        sami_collector_replication_heard(m);
    m->next_counter = next;
    m->n_unacknowledged += length;
    m->n_unsynced += length;
    if (m->n_unsynced >= SYNC_EVERY)
        sync_in_background(m);
    if (m->n_unacknowledged < SAMI_ACKNOWLEDGE_EVERY || !m->session)
        return;
    m->n_unacknowledged = 0;
    sami_collector_session_add(m->session, &record);
    if (m->session)
        sami_collector_session_flush(m->session, FALSE);
}

static void
confirm_snapshot(SamiCollectorMigration *m, guint64 counter)
{
    if (m->phase != SAMI_PHASE_FOLLOW)
        return;
    m->is_snapshot_confirmed = TRUE;
    m->snapshot_counter = counter;
    sami_collector_gate_follow(m); /* before the receipt: who reads it may pause the VM */
    sami_collector_migration_receipt(m, SAMI_RECEIPT_SNAPSHOT, counter, FALSE);
}

static void
snapshot_done(SamiJob *job, gpointer user_data)
{
    SamiCollectorMigration *m = user_data;
    sami_collector_migration_job_done(job, m);
    if (!job->error && !sami_collector_kinds_wait(m, job->counter, confirm_snapshot))
        confirm_snapshot(m, job->counter);
}

/* The decision point: journaled, synced, sent (LIFECYCLE §1). */
static void
decide(SamiCollectorMigration *m)
{
    m->marker_counter = m->freeze_counter;
    m->freeze_counter = 0;
    m->ready_us = g_get_monotonic_time();
    advance(m, SAMI_ON_INJECTED);
    sami_collector_gate_open(m); /* everything is in the kernel; whoever reads READY finds the way open */
    sami_collector_migration_receipt(m, SAMI_RECEIPT_READY, m->marker_counter, FALSE);
}

/* One of what READY waits for. */
static void
freeze_passed(SamiCollectorMigration *m, guint64 counter, const GError *error)
{
    if (counter != m->freeze_counter || m->phase != SAMI_PHASE_FREEZE) /* taken back meanwhile */
        return;
    if (error)
        fail(m, error);
    else if (--m->n_freeze_waits == 0)
        decide(m);
}

static void
freeze_synced(guint64 counter, const GError *error, gpointer user_data)
{
    SamiCollectorMigration *m = user_data;
    m->n_jobs--;
    m->n_freeze_syncs--;
    if (m->session)
        sami_collector_session_update(m->session);
    if (counter == m->freeze_counter)
        m->sync_us = g_get_monotonic_time() - m->freeze_us;
    freeze_passed(m, counter, error);
}

/* READY is in the ledger before it is anywhere else; an abort that comes before it is sent is written behind it. */
static void
freeze_done(SamiJob *job, gpointer user_data)
{
    SamiCollectorMigration *m = user_data;
    g_autoptr(GError) error = NULL;
    sami_collector_migration_job_done(job, m);
    if (job->error || job->counter != m->freeze_counter || m->phase != SAMI_PHASE_FREEZE)
        return;
    m->n_ready = job->n_records;
    if (!write_phase(m, SAMI_PHASE_READY, m->freeze_counter, &error)) {
        fail(m, error);
        return;
    }
    m->n_freeze_waits += sami_collector_pair_wait(m, job->counter) ? 1 : 0;
    m->n_freeze_waits += sami_collector_kinds_wait(m, job->counter, sami_collector_migration_pair_done) ? 1 : 0;
    freeze_passed(m, job->counter, NULL);
}

void
sami_collector_migration_pair_done(SamiCollectorMigration *m, guint64 counter)
{
    freeze_passed(m, counter, NULL);
}

static void
end(SamiCollectorMigration *m, guint64 counter)
{
    sami_collector_migration_look_after(m);
    if (m->phase == SAMI_PHASE_IN_DOUBT) /* what is known without the audit */
        return;
    if (!advance(m, SAMI_ON_READ_BACK))
        return;
    g_clear_handle_id(&m->lease_timer, g_source_remove);
    sami_collector_migration_receipt(m, SAMI_RECEIPT_FINAL, counter, TRUE);
}

static void
read_back_done(SamiJob *job, gpointer user_data)
{
    SamiCollectorMigration *m = user_data;
    sami_collector_migration_job_done(job, m);
    if (!sami_collector_kinds_wait(m, job->counter, end))
        end(m, job->counter);
}

static void
read_back(SamiCollectorMigration *m, guint64 counter)
{
    SamiJob *job = sami_collector_migration_prepare(m, SAMI_JOB_READ_BACK, read_back_done);
    job->counter = m->settle_counter = counter;
    submit(m, job);
}

/* The marker is in the journal already. Both files go to the disk while the kernel is asked. */
static gboolean
sync_freeze(SamiCollectorMigration *m, GError **error)
{
    if (m->apply->file && !sami_ledger_file_freeze(m->apply->file, m->freeze_counter, error))
        return FALSE;
    if (!is_syncing(m))
        return TRUE;
    if (m->session && m->session->journal) {
        m->n_freeze_waits++;
        m->n_freeze_syncs++;
        start_sync(m, sami_journal_fd(m->session->journal), "journal", m->freeze_counter, freeze_synced);
    }
    if (m->apply->file) {
        m->n_freeze_waits++;
        m->n_freeze_syncs++;
        start_sync(m, sami_ledger_file_fd(m->apply->file), "ledger", m->freeze_counter, freeze_synced);
    }
    return TRUE;
}

static void
mark_freeze(SamiCollectorMigration *m, guint8 freeze_mode, guint64 counter)
{
    g_autoptr(GError) error = NULL;
    if (!advance(m, SAMI_ON_FREEZE_MARKER))
        return;
    m->freeze_us = g_get_monotonic_time();
    m->freeze_mode = freeze_mode;
    m->freeze_counter = counter;
    m->n_freeze_waits = 1;
    m->sync_us = 0;
    if (!sync_freeze(m, &error)) {
        fail(m, error);
        return;
    }
    sami_collector_gate_freeze(m);
    SamiJob *job = sami_collector_migration_prepare(m, SAMI_JOB_FREEZE, freeze_done);
    job->counter = counter;
    submit(m, job);
}

/* The decision is taken back, so the ledger's file must not say any more that there was one. One in doubt has left the budgets and, after a
 * restart, forgotten its records: it cannot go on, and the source, where the VM is, says that it need not. */
static void
mark_thaw(SamiCollectorMigration *m)
{
    SamiCollectorPhase phase;
    if (!sami_collector_next(m->phase, SAMI_ON_THAW_MARKER, &phase))
        return;
    m->marker_counter = m->freeze_counter = 0;
    m->ready_us = 0;
    advance(m, SAMI_ON_THAW_MARKER);
    if (phase == SAMI_PHASE_ROLLBACK) {
        start_rollback(m);
        return;
    }
    sami_collector_gate_open(m);
    start_renewal(m);
    submit(m, sami_collector_migration_prepare(m, SAMI_JOB_THAW, NULL));
    sami_collector_policy_review_session(m->session); /* READY protected it from what was loaded meanwhile */
}

void
sami_collector_migration_marker(SamiCollectorMigration *m, const SamiMarker *marker, guint64 counter)
{
    if (m->replication && marker->marker != SAMI_MARKER_SNAPSHOT) {
        if (marker->marker == SAMI_MARKER_ALIVE)
            sami_collector_replication_alive(m, counter);
        return;
    }
    switch (marker->marker) {
    case SAMI_MARKER_FREEZE: mark_freeze(m, marker->freeze_mode, counter); return;
    case SAMI_MARKER_THAW: mark_thaw(m); return;
    case SAMI_MARKER_SETTLE:
        if (advance(m, SAMI_ON_SETTLE_MARKER))
            read_back(m, counter);
        return;
    default: {
        sync_in_background(m);
        SamiJob *job = sami_collector_migration_prepare(m, SAMI_JOB_SNAPSHOT, snapshot_done);
        job->counter = counter;
        submit(m, job);
    }
    }
}

static void submit_rollback(SamiCollectorMigration *m);

static gboolean
on_rollback_again(gpointer user_data)
{
    SamiCollectorMigration *m = user_data;
    m->again_timer = 0;
    submit_rollback(m);
    return G_SOURCE_REMOVE;
}

static void
end_rollback(SamiCollectorMigration *m, guint64 counter)
{
    advance(m, SAMI_ON_ROLLED_BACK);
    sami_collector_migration_receipt(m, SAMI_RECEIPT_ABORTED, counter, TRUE);
    sami_collector_migration_forget(m);
}

static void
rollback_done(SamiJob *job, gpointer user_data)
{
    SamiCollectorMigration *m = user_data;
    const SamiRemoval *r = &job->removal;
    sami_collector_migration_job_done(job, m);
    m->removal = *r;
    if (job->error) { /* said by job_done; what is left is still ours to remove */
        m->again_timer = g_timeout_add(ROLLBACK_AGAIN_MS, on_rollback_again, m);
        return;
    }
    m->collector->n_rolled_back += r->n_removed;
    g_message("%.8s: rolled back: %" G_GUINT64_FORMAT " entries removed, %" G_GUINT64_FORMAT " were gone, %" G_GUINT64_FORMAT
              " are not ours, %" G_GUINT64_FORMAT " passed on, %" G_GUINT64_FORMAT " restored",
              m->hex, r->n_removed, r->n_gone, r->n_left, r->n_passed, r->n_restored);
    if (r->n_unproved > 0)
        g_warning("%.8s: %" G_GUINT64_FORMAT " of them had no start time to prove whose they were: set nf_conntrack_timestamp=1", m->hex,
                  r->n_unproved);
    if (r->n_expectations_left > 0)
        g_warning("%.8s: %" G_GUINT64_FORMAT " expectations may not be ours, and stay until their time is over", m->hex, r->n_expectations_left);
    if (!sami_collector_kinds_wait(m, job->counter, end_rollback))
        end_rollback(m, job->counter);
}

static void
submit_rollback(SamiCollectorMigration *m)
{
    SamiJob *job = sami_collector_migration_prepare(m, SAMI_JOB_ROLLBACK, rollback_done);
    job->removal = m->removal; /* of tries before */
    submit(m, job);
}

static void
start_rollback(SamiCollectorMigration *m)
{
    g_clear_handle_id(&m->renew_timer, g_source_remove);
    g_clear_handle_id(&m->lease_timer, g_source_remove);
    g_clear_handle_id(&m->strict_timer, g_source_remove);
    sami_collector_gate_open(m);
    sami_collector_kinds_undo(m);
    submit_rollback(m);
}

gboolean
sami_collector_migration_may_abort(const SamiCollectorMigration *m, guint64 marker_counter)
{
    SamiCollectorPhase phase;
    gboolean is_decided = m->marker_counter != 0;
    if (is_decided && marker_counter != m->marker_counter)
        return FALSE;
    return sami_collector_next(m->phase, is_decided ? SAMI_ON_ABORT_DECIDED : SAMI_ON_ABORT, &phase) || m->phase == SAMI_PHASE_ROLLBACK ||
           m->phase == SAMI_PHASE_ABORTED;
}

gboolean
sami_collector_migration_undo(SamiCollectorMigration *m, SamiCollectorEvent event)
{
    if (m->replication) { /* ended, or its signer is revoked: what it brought stays */
        if (event != SAMI_ON_FAILURE) /* then the refusal was the last word */
            sami_collector_migration_receipt(m, SAMI_RECEIPT_ABORTED, 0, TRUE);
        sami_collector_replication_lost(m, "it was ended");
        return TRUE;
    }
    if (!advance(m, event))
        return FALSE;
    start_rollback(m);
    return TRUE;
}

gboolean
sami_collector_migration_resolve(SamiCollectorMigration *m, gboolean is_kept)
{
    if (!is_kept)
        return sami_collector_migration_undo(m, SAMI_ON_REMOVE);
    if (!advance(m, SAMI_ON_KEEP))
        return FALSE;
    sami_collector_migration_look_after(m);
    return TRUE;
}

static gboolean
on_lease(gpointer user_data)
{
    SamiCollectorMigration *m = user_data;
    m->lease_timer = 0;
    g_warning("%.8s: its exporter %s did not come back within the lease of %u s: %s", m->hex, m->peer, m->lease_s,
              m->marker_counter ? "in doubt, kept" : "rolling back");
    if (m->marker_counter == 0) {
        sami_collector_migration_undo(m, SAMI_ON_LEASE);
        return G_SOURCE_REMOVE;
    }
    gboolean is_settling = m->phase == SAMI_PHASE_SETTLE;
    if (advance(m, SAMI_ON_LEASE) && !is_settling)
        read_back(m, 0);
    return G_SOURCE_REMOVE;
}

void
sami_collector_migration_detach(SamiCollectorMigration *m)
{
    SamiCollectorPhase phase;
    m->session = NULL;
    m->n_unacknowledged = 0;
    if (m->replication) {
        sami_collector_replication_lost(m, "the session is gone");
        return;
    }
    if (!sami_collector_next(m->phase, SAMI_ON_LEASE, &phase))
        return;
    m->lost_us = g_get_monotonic_time();
    if (!m->lease_timer)
        m->lease_timer = g_timeout_add_seconds(MAX(m->lease_s, 1), on_lease, m);
}

SamiReason
sami_collector_migration_may_resume(const SamiCollectorMigration *m, const SamiSigner *signer)
{
    if (!g_str_equal(m->signer_name, signer->config->name))
        return SAMI_REASON_NOT_OWNER;
    if (m->phase == SAMI_PHASE_ABORTED || m->phase == SAMI_PHASE_ROLLBACK)
        return SAMI_REASON_ABORTED;
    return SAMI_REASON_NONE;
}

/* Refusal records that were sent may have been lost with their session, and those from before a restart are: the lists are not whole any more. */
static void
forget_lists(SamiCollectorMigration *m)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&m->apply->lock);
    m->apply->is_truncated |= m->is_recovered || m->apply->n_refused > 0 || m->apply->n_degraded > 0;
}

void
sami_collector_migration_attach(SamiCollectorMigration *m, SamiCollectorSession *session)
{
    SamiCollectorSession *old = m->session;
    if (old) { /* the exporter knows better that it is dead */
        old->migration = NULL;
        sami_collector_session_drop(old);
    }
    g_clear_handle_id(&m->lease_timer, g_source_remove);
    m->lost_us = 0;
    sami_collector_session_take(session, m);
    forget_lists(m);
    m->collector->n_resumed++;
    g_message("%.8s: resumed by %s in %s, from Message %" G_GUINT64_FORMAT, m->hex, m->peer, sami_collector_phase_name(m->phase),
              m->next_counter);
    if (m->phase == SAMI_PHASE_DONE)
        sami_collector_migration_receipt(m, SAMI_RECEIPT_FINAL, m->settle_counter, TRUE);
    else if (m->marker_counter)
        sami_collector_migration_receipt(m, SAMI_RECEIPT_READY, m->marker_counter, FALSE);
    else if (m->is_snapshot_confirmed && m->phase == SAMI_PHASE_FOLLOW)
        sami_collector_migration_receipt(m, SAMI_RECEIPT_SNAPSHOT, m->snapshot_counter, FALSE);
}

void
sami_collector_migration_restart(SamiCollectorMigration *m)
{
    m->is_recovered = TRUE;
    m->next_counter = m->marker_counter ? m->marker_counter + 1 : 1;
    m->collector->n_recovered++;
    if (sami_collector_is_over(m->phase) || m->phase == SAMI_PHASE_IN_DOUBT) /* it had left them before the restart, too */
        sami_apply_leave_budgets(m->apply);
    if (m->phase == SAMI_PHASE_DONE)
        sami_collector_migration_look_after(m);
    else if (sami_collector_is_over(m->phase))
        sami_collector_migration_forget(m);
    else if (m->phase == SAMI_PHASE_IN_DOUBT || !advance(m, SAMI_ON_RESTART))
        return;
    else if (m->phase == SAMI_PHASE_ROLLBACK)
        start_rollback(m);
    else
        read_back(m, 0);
}
