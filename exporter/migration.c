/* What the states of a migration at its source do (LIFECYCLE §1); the states themselves are in machine.c. */
#include "exporter/kinds.h"
#include "exporter/migration-internal.h"

#include <string.h>

#define NOW_DIRTY_MAX 1000u /* --now freezes below this many dirty tuples */
#define PROGRESS_MS 200u
#define REFUSAL_TEXTS 20u
/* Rounds for entries without events: no more often than this, nor than takes a twentieth of the time. */
#define ROUND_MS 10000u
#define ROUND_SHARE 20
#define STATISTICS_S 60u

static void
close_source(SamiMigration *m)
{
    if (m->source)
        m->n_not_vm_end = sami_source_n_not_vm_end(m->source);
    sami_kinds_stop(m);
    g_clear_pointer(&m->source, sami_source_free);
}

/* What is left of a migration that is over is what `samictl status` shows. From the idle loop, when its last Message has drained. */
gboolean
sami_migration_drained(gpointer user_data)
{
    SamiMigration *m = user_data;
    m->n_lenient = sami_lenient_n(m);
    sami_link_free(m);
    g_clear_pointer(&m->stream, sami_stream_free);
    g_clear_pointer(&m->lenient, sami_lenient_free);
    g_clear_pointer(&m->purge, sami_purge_free);
    return G_SOURCE_REMOVE;
}

static gboolean
on_cleanup(gpointer user_data)
{
    SamiMigration *m = user_data;
    guint *timers[] = { &m->progress_timer, &m->deadline_timer,   &m->round_timer, &m->reconnect_timer, &m->lease_timer,
                        &m->statistics_timer, &m->hello_timer, &m->answer_timer, &m->overflow,  &m->hold_timer };
    for (guint i = 0; i < G_N_ELEMENTS(timers); i++)
        g_clear_handle_id(timers[i], g_source_remove);
    gboolean may_run_there = m->state == SAMI_STATE_READY || m->state == SAMI_STATE_SETTLE || m->state == SAMI_STATE_DONE ||
                             m->state == SAMI_STATE_IN_DOUBT;
    if (m->source && m->lenient && !may_run_there)
        sami_lenient_undo(m);
    if (m->purge) /* it would go on without a source */
        sami_purge_stop(m->purge);
    close_source(m);
    if (m->state != SAMI_STATE_DONE && m->state != SAMI_STATE_ABORTED) /* those two still drain their last Message */
        sami_link_stop(m);
    if (sami_exporter_is_over(m->state) && !m->socket)
        sami_idle_add(sami_migration_drained, m);
    return G_SOURCE_REMOVE;
}

/* The only writer of `state`; tells watchers. FALSE if the event means nothing now. */
static gboolean
advance(SamiMigration *m, SamiExporterEvent event)
{
    SamiExporterState state;
    if (!sami_exporter_next(m->state, event, &state))
        return FALSE;
    g_message("%.8s %s -> %s (to %s)", m->hex, sami_exporter_state_name(m->state), sami_exporter_state_name(state), m->peer->name);
    m->state = state;
    sami_exporter_tell(m, "phase");
    if (sami_exporter_is_over(state)) {
        m->exporter->n_results[state]++;
        m->exporter->n_not_vm_end += m->n_not_vm_end;
        /* From the idle loop: this may run inside a callback of what is cleaned up. */
        sami_idle_add(on_cleanup, m);
        if (m->replication)
            sami_replication_ended(m->replication, m->error);
    }
    return TRUE;
}

static void
finish_all(SamiMigration *m, SamiExit code)
{
    m->exit = code;
    sami_exporter_finish(m->freezers, m, code);
    sami_exporter_finish(m->watchers, m, code);
    sami_exporter_finish(m->aborters, m, m->state == SAMI_STATE_ABORTED ? SAMI_EXIT_DONE : code);
}

gboolean
sami_migration_is_undecided(const SamiMigration *m)
{
    return m->marker_counter != 0;
}

void
sami_migration_fail(SamiMigration *m, SamiExit code, const gchar *text)
{
    SamiExporterState state;
    SamiExporterEvent event = sami_migration_is_undecided(m) ? SAMI_EVENT_FAILURE_UNDECIDED : SAMI_EVENT_FAILURE;
    if (!sami_exporter_next(m->state, event, &state))
        return;
    g_free(m->error);
    m->error = g_strdup(text);
    g_warning("%.8s failed: %s", m->hex, text);
    advance(m, event);
    finish_all(m, state == SAMI_STATE_IN_DOUBT ? SAMI_EXIT_IN_DOUBT : code);
}

static gboolean
on_statistics(gpointer user_data)
{
    SamiMigration *m = user_data;
    if (m->n_not_vm_end > 0 && m->state == SAMI_STATE_FOLLOW && !sami_link_is_full(m)) {
        sami_say_statistics(m);
        sami_link_flush(m, FALSE);
    }
    return G_SOURCE_CONTINUE;
}

static gboolean
on_progress(gpointer user_data)
{
    sami_exporter_tell(user_data, "progress");
    return G_SOURCE_CONTINUE;
}

SamiMigration *
sami_migration_new(SamiExporter *exporter, const SamiConfigPeer *peer, GArray *vm, GError **error)
{
    g_autoptr(GArray) prefixes = vm;
    g_autoptr(GPtrArray) peer_keys = peer->receipts ? sami_keys_load_public(peer->signing_key_file, SAMI_TRUST_PUBLIC, error) : NULL;
    SamiMigration *m;
    if (peer->receipts && !peer_keys)
        return NULL;
    m = g_new0(SamiMigration, 1);
    m->exporter = exporter;
    m->peer = peer;
    if (!sami_migration_connect(m, error)) {
        g_free(m);
        return NULL;
    }
    m->config = sami_config_ref(exporter->config);
    m->vlans = sami_vlans_ref(exporter->vlans);
    m->peer_keys = g_steal_pointer(&peer_keys);
    m->vm = g_steal_pointer(&prefixes);
    sami_random(m->id, sizeof m->id);
    sami_migration_id_text(m->id, m->hex);
    m->deadline_ms = exporter->config->deadline_ms;
    m->freeze_mode = SAMI_FREEZE_EVENTS;
    if (exporter->config->asymmetric_switch)
        m->lenient = sami_lenient_new();
    m->refusal_texts = g_ptr_array_new_with_free_func(g_free);
    m->watchers = g_ptr_array_new_with_free_func((GDestroyNotify) sami_control_client_unref);
    m->freezers = g_ptr_array_new_with_free_func((GDestroyNotify) sami_control_client_unref);
    m->aborters = g_ptr_array_new_with_free_func((GDestroyNotify) sami_control_client_unref);
    m->started_us = g_get_monotonic_time();
    m->ignored = sami_ignore_new(exporter->config);
    sami_link_init(m);
    m->progress_timer = g_timeout_add(PROGRESS_MS, on_progress, m);
    m->statistics_timer = g_timeout_add_seconds(STATISTICS_S, on_statistics, m);
    sami_exporter_trim(exporter);
    g_ptr_array_add(exporter->migrations, m);
    return m;
}

void
sami_migration_free(SamiMigration *m)
{
    on_cleanup(m);
    sami_kinds_close(m);
    sami_link_free(m);
    sami_lenient_free(m->lenient);
    sami_purge_free(m->purge);
    sami_stream_free(m->stream);
    g_clear_pointer(&m->peer_keys, g_ptr_array_unref);
    g_array_unref(m->vm);
    g_array_unref(m->ignored);
    g_clear_pointer(&m->helped_zones, g_array_unref);
    g_ptr_array_unref(m->refusal_texts);
    g_ptr_array_unref(m->watchers);
    g_ptr_array_unref(m->freezers);
    g_ptr_array_unref(m->aborters);
    g_free(m->on_late);
    g_free(m->error);
    g_free(m->lost_why);
    sami_vlans_unref(m->vlans);
    sami_config_unref(m->config);
    while (g_idle_remove_by_data(m))
        ;
    g_free(m);
}

static void
end_plain(SamiMigration *m)
{
    g_clear_handle_id(&m->deadline_timer, g_source_remove);
    sami_say_end(m);
    m->error = g_strdup_printf("unconfirmed: %s is a plain collector (receipts=false), which never says what became of it", m->peer->name);
    if (advance(m, SAMI_EVENT_UNCONFIRMED))
        finish_all(m, SAMI_EXIT_UNCONFIRMED);
}

/* What the source hands out. */

/* A creation behind the marker whose event was lost. Without start times there is no telling it from one that expired at the destination. */
static gboolean
is_missed(const SamiMigration *m, const SamiSession *s)
{
    return m->has_lost_late && m->state == SAMI_STATE_SETTLE && (s->has & SAMI_HAS_START) && s->start_ns > m->marked_ns;
}

/* Ends of flows cannot wait in the kernel, and this session takes nothing. A new one begins where the ring does, or with a new dump. */
static gboolean
on_overflow(gpointer user_data)
{
    SamiMigration *m = user_data;
    m->overflow = 0;
    if (m->is_bound)
        sami_migration_lost(m, "it takes nothing, and more waits than can be kept");
    return G_SOURCE_REMOVE;
}

static gboolean
on_source_record(const SamiSession *s, SamiAction action, gpointer user_data)
{
    SamiMigration *m = user_data;
    SamiRecord record = { .kind = SAMI_RECORD_SESSION, .session = *s };
    if (sami_ignore_is(m->ignored, m->vm, s)) {
        m->n_ignored += action == SAMI_ACTION_CREATED && m->state != SAMI_STATE_SETTLE;
        return TRUE;
    }
    if (m->replication && !sami_replication_wants(m->replication, s, &action))
        return TRUE;
    record.session.action = (guint8) action;
    if (action == SAMI_ACTION_DELETED)
        record.session.has = 0;
    else if (record.session.timeout_s == 0) /* its last second: a packet may still prolong it */
        record.session.timeout_s = 1;
    if (m->lenient && action == SAMI_ACTION_DELETED)
        sami_lenient_forget(m, &s->key);
    else if (m->lenient)
        sami_lenient_see(m, &record.session);
    if (action == SAMI_ACTION_DELETED && !m->overflow && sami_link_is_overfull(m))
        m->overflow = sami_idle_add(on_overflow, m);
    if (m->purge && m->state == SAMI_STATE_SETTLE && !m->has_final && action == SAMI_ACTION_CREATED)
        sami_purge_see(m->purge, s);
    if (m->marker_counter && (action == SAMI_ACTION_UPDATE || is_missed(m, s)))
        record.session.flags |= SAMI_SESSION_LATE;
    sami_vlan_name(m->exporter, m->config, m->vlans, &record.session);
    if (!sami_link_add(m, &record))
        return FALSE;
    sami_expectations_see(m, s);
    m->n_sent++;
    m->exporter->n_sessions++;
    return TRUE;
}

/* --now: nothing pauses the VM, so a moment with few changes has to do. */
static void
freeze_now(SamiMigration *m)
{
    if (m->is_now && m->state == SAMI_STATE_FOLLOW && m->is_snapshot_confirmed && sami_source_n_dirty(m->source) < NOW_DIRTY_MAX)
        sami_migration_freeze(m, m->deadline_ms, 0, NULL);
}

static void
on_source_sent(gpointer user_data)
{
    SamiMigration *m = user_data;
    sami_link_flush(m, FALSE);
    freeze_now(m);
}

static void
on_source_overrun(gpointer user_data)
{
    SamiMigration *m = user_data;
    m->exporter->n_overruns++;
    m->n_overruns++;
    sami_exporter_tell(m, "overrun");
    /* Creations after the marker may be missing, until the audit names them; nothing that was before it is. The audit's dump was given up and
     * begins again, unless it was over. */
    m->has_lost_late = m->marker_counter != 0;
    if (m->marker_counter && (m->state != SAMI_STATE_SETTLE || m->settle_counter)) {
        g_warning("%.8s: events were lost after the freeze marker", m->hex);
        return;
    }
    g_warning("%.8s: events were lost: dumping again", m->hex);
    if (m->is_freeze_asked)
        m->freeze_mode = SAMI_FREEZE_SCAN;
    if (m->replication)
        sami_replication_overrun(m->replication);
    sami_migration_start_epoch(m);
}

static void
on_source_failed(const gchar *text, gpointer user_data)
{
    sami_migration_fail(user_data, SAMI_EXIT_FAILED, text);
}

static gboolean
on_source_is_full(gpointer user_data)
{
    return sami_link_is_full(user_data);
}

static void
start_dump(SamiMigration *m)
{
    g_autoptr(GError) error = NULL;
    m->dump_us = g_get_monotonic_time();
    if (!sami_source_dump(m->source, &error))
        sami_migration_fail(m, SAMI_EXIT_FAILED, error->message);
}

void
sami_migration_start_epoch(SamiMigration *m)
{
    m->generation++;
    if (m->purge)
        sami_purge_restart(m->purge);
    sami_say_epoch(m, 1);
    if (!sami_exporter_is_over(m->state))
        start_dump(m);
}

void
sami_migration_redump(SamiMigration *m)
{
    if (m->state == SAMI_STATE_FOLLOW && m->source && m->is_bound)
        sami_migration_start_epoch(m);
}

/* Entries that may be silent are looked at again and again while the VM runs, so that the destination is not far behind. */
static gboolean
on_round(gpointer user_data)
{
    SamiMigration *m = user_data;
    m->round_timer = 0;
    if (m->state != SAMI_STATE_FOLLOW || !m->is_bound || sami_source_is_dumping(m->source) || sami_source_n_silent(m->source) == 0)
        return G_SOURCE_REMOVE;
    m->n_rounds++;
    sami_migration_start_epoch(m);
    return G_SOURCE_REMOVE;
}

static void
plan_round(SamiMigration *m)
{
    guint ms = (guint) MAX(m->dump_took_us / 1000 * ROUND_SHARE, ROUND_MS);
    if (sami_source_n_silent(m->source) > 0 && !m->round_timer)
        m->round_timer = g_timeout_add(ms, on_round, m);
}

/* Everything up to the pause has been sent: the marker, and the wait for READY. */
static void
complete_freeze(SamiMigration *m)
{
    guint64 now_ns = (guint64) g_get_real_time() * 1000; /* what begins behind the barrier has no earlier start */
    /* An overrun has started an epoch: its end comes here again. */
    if (!sami_source_barrier(m->source)) {
        m->freeze_mode = SAMI_FREEZE_SCAN;
        return;
    }
    sami_source_mark_adjusted(m->source);
    if (!sami_source_send_dirty(m->source, TRUE))
        return;
    sami_expectations_send(m);
    m->is_freeze_asked = FALSE;
    sami_kinds_freeze(m);
    sami_source_set_mode(m->source, SAMI_SOURCE_LATE);
    m->n_marked = m->n_sent;
    m->marked_ns = now_ns;
    m->has_lost_late = FALSE;
    m->marker_counter = sami_say_marker(m, SAMI_MARKER_FREEZE);
    if (!m->peer->receipts)
        end_plain(m);
}

/* Silent entries send no events, so only a dump that began after the pause shows their last state. */
static gboolean
needs_scan(const SamiMigration *m)
{
    return sami_source_n_silent(m->source) > 0 && m->dump_us < m->freeze_us;
}

/* The audit is over, and so is the last pass of the other kinds. */
static void
complete_settle(SamiMigration *m)
{
    if (m->state != SAMI_STATE_SETTLE || sami_source_is_dumping(m->source)) /* whose end comes here again */
        return;
    guint64 counter = sami_say_marker(m, SAMI_MARKER_SETTLE);
    if (m->settle_counter == 0) { /* otherwise the collector has one already, and answers that */
        m->settle_counter = counter;
        m->n_settled = m->n_sent;
    }
    sami_migration_plan_answer(m);
}

static void
complete_dump(SamiMigration *m)
{
    if (sami_source_is_dumping(m->source))
        return;
    if (m->state == SAMI_STATE_PREPARE) {
        m->n_snapshot = m->n_sent;
        m->snapshot_counter = sami_say_marker(m, SAMI_MARKER_SNAPSHOT);
        advance(m, SAMI_EVENT_SNAPSHOT_SENT);
        sami_migration_plan_answer(m);
    } else if (!m->is_snapshot_confirmed) { /* its marker may have been among what was lost */
        m->snapshot_counter = sami_say_marker(m, SAMI_MARKER_SNAPSHOT);
        sami_migration_plan_answer(m);
    } else {
        sami_link_flush(m, FALSE);
    }
    if (!m->peer->receipts && !m->is_snapshot_confirmed) {
        m->is_snapshot_confirmed = TRUE; /* as far as it ever will be */
        sami_exporter_tell(m, "phase");
        if (m->is_now) {
            sami_migration_freeze(m, m->deadline_ms, 0, NULL);
            return;
        }
    }
    if (m->is_freeze_asked && needs_scan(m))
        sami_migration_start_epoch(m);
    else if (m->is_freeze_asked)
        complete_freeze(m);
    else if (!m->replication) /* which looks at everything again and again anyway */
        plan_round(m);
}

static void
on_source_dumped(gpointer user_data)
{
    SamiMigration *m = user_data;
    m->dump_took_us = g_get_monotonic_time() - m->dump_us;
    m->n_not_vm_end = sami_source_n_not_vm_end(m->source);
    if (m->n_not_vm_end > 0) {
        m->not_sent_last_ms = g_get_real_time() / 1000;
        m->not_sent_first_ms = m->not_sent_first_ms ? m->not_sent_first_ms : m->not_sent_last_ms;
    }
    if (m->state == SAMI_STATE_SETTLE) {
        if (!sami_kinds_run(m, SAMI_PASS_SETTLE, complete_settle))
            complete_settle(m);
        return;
    }
    if (!sami_source_send_dirty(m->source, TRUE))
        return;
    if (m->generation > 0)
        sami_say_epoch(m, 2);
    if (m->replication) {
        sami_link_redefine(m); /* the collector begins another file of its journal */
        sami_replication_dumped(m->replication, m->dump_took_us);
    }
    if (m->is_snapshot_confirmed || !sami_kinds_run(m, SAMI_PASS_SNAPSHOT, complete_dump))
        complete_dump(m);
}

static gboolean
source_is_ours(const SamiSession *s, gpointer user_data)
{
    const SamiMigration *m = user_data;
    return !m->replication || sami_replication_is_ours(m->replication, s);
}

gboolean
sami_migration_open_source(SamiMigration *m, GError **error)
{
    static const SamiSourceOps ops = { on_source_record, on_source_sent,   on_source_dumped,
                                       on_source_overrun, on_source_failed, on_source_is_full, source_is_ours };
    SamiSourceScope scope = { .vm = (SamiPrefix *) (void *) m->vm->data, .n_vm = m->vm->len, .has_zone = m->has_zone, .zone = m->zone,
                              .has_mark = m->has_mark, .mark = m->mark, .events_since_ns = sami_exporter_events_since(m->config) };
    SamiFirewall *firewall = sami_firewall_linux_new(error);
    if (!firewall)
        return FALSE;
    m->source = sami_source_new(firewall, &scope, &ops, m, error);
    if (!m->source)
        return FALSE;
    sami_source_attach(m->source);
    if (m->replication) /* the collector may have a table from an earlier stream */
        sami_migration_start_epoch(m);
    else
        start_dump(m);
    return TRUE;
}

static gboolean
on_deadline(gpointer user_data)
{
    SamiMigration *m = user_data;
    m->deadline_timer = 0;
    if (m->state != SAMI_STATE_FREEZE)
        return G_SOURCE_REMOVE;
    m->is_late = TRUE;
    g_warning("%.8s: no READY within %u ms", m->hex, m->deadline_ms);
    sami_exporter_tell(m, "late");
    sami_exporter_finish(m->freezers, m, SAMI_EXIT_LATE);
    if (g_strcmp0(m->on_late, "abort") == 0)
        sami_migration_abort(m, SAMI_ABORT_DEADLINE, NULL);
    return G_SOURCE_REMOVE;
}

gboolean
sami_migration_freeze(SamiMigration *m, guint deadline_ms, guint hold_ms, GError **error)
{
    if (m->state == SAMI_STATE_FREEZE) {
        m->hold_ms = MAX(m->hold_ms, hold_ms);
        return TRUE;
    }
    /* Of an earlier pause: since then the VM may have run here. */
    if (m->state == SAMI_STATE_READY || m->state == SAMI_STATE_SETTLE || m->state == SAMI_STATE_DONE) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "already-frozen: %.8s is %s; if the VM ran here since, thaw it first", m->hex,
                    sami_exporter_state_name(m->state));
        return FALSE;
    }
    if (m->replication) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "%.8s is a replication: it has no freeze; 'samictl takeover' at %s ends its part", m->hex,
                    m->peer->name);
        return FALSE;
    }
    if (m->state != SAMI_STATE_FOLLOW || !m->is_snapshot_confirmed) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED,
                    "not-ready: the snapshot of %.8s is not confirmed yet (phase %s); wait for FOLLOW and freeze again", m->hex,
                    sami_exporter_state_name(m->state));
        return FALSE;
    }
    m->deadline_ms = deadline_ms;
    m->hold_ms = hold_ms;
    m->freeze_us = g_get_monotonic_time();
    m->freeze_mode = SAMI_FREEZE_EVENTS;
    m->is_freeze_asked = TRUE;
    m->is_late = FALSE;
    advance(m, SAMI_EVENT_FREEZE);
    m->deadline_timer = g_timeout_add(m->deadline_ms, on_deadline, m);
    if (sami_source_is_dumping(m->source)) { /* its end comes back here */
        m->freeze_mode = SAMI_FREEZE_SCAN;
    } else if (needs_scan(m)) {
        m->freeze_mode = SAMI_FREEZE_SCAN;
        sami_migration_start_epoch(m);
    } else {
        complete_freeze(m);
    }
    return TRUE;
}

/* What happened after the marker was not sent (LIFECYCLE §3.8), so the way back is a new epoch. */
gboolean
sami_migration_thaw(SamiMigration *m, GError **error)
{
    guint64 marker_counter = m->marker_counter;
    SamiExporterState state;
    if (m->has_final || !sami_exporter_next(m->state, SAMI_EVENT_THAW, &state)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%.8s is %s: there is nothing to thaw", m->hex,
                    sami_exporter_state_name(m->state));
        return FALSE;
    }
    g_clear_handle_id(&m->deadline_timer, g_source_remove);
    g_clear_handle_id(&m->hold_timer, g_source_remove);
    sami_kinds_stop(m);
    m->is_freeze_asked = FALSE;
    m->is_now = FALSE;
    m->marker_counter = m->settle_counter = 0;
    m->ready_us = 0;
    advance(m, SAMI_EVENT_THAW);
    sami_migration_plan_answer(m);
    sami_exporter_finish(m->freezers, m, SAMI_EXIT_ABORTED);
    if (marker_counter == 0) /* the scan of the freeze goes on as a round */
        return TRUE;
    sami_say_marker(m, SAMI_MARKER_THAW);
    sami_source_set_mode(m->source, SAMI_SOURCE_FOLLOW);
    sami_migration_start_epoch(m);
    return TRUE;
}

gboolean
sami_migration_abort(SamiMigration *m, guint8 reason, GError **error)
{
    SamiExporterEvent event = m->is_known ? SAMI_EVENT_ABORT : SAMI_EVENT_ABORT_UNOPENED;
    SamiExporterState state;
    if (m->has_final || !sami_exporter_next(m->state, event, &state)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%.8s is %s already", m->hex,
                    m->has_final ? "done but for its clean-up" : sami_exporter_state_name(m->state));
        return FALSE;
    }
    if (!m->is_known)
        m->error = g_strdup("aborted before the collector took it");
    advance(m, event);
    if (!m->is_known) {
        sami_link_stop(m);
        finish_all(m, SAMI_EXIT_ABORTED);
        return TRUE;
    }
    g_clear_handle_id(&m->hold_timer, g_source_remove);
    if (m->source && m->lenient)
        sami_lenient_undo(m);
    close_source(m);
    sami_say_statistics(m);
    sami_say_abort(m, reason);
    sami_migration_plan_answer(m);
    return TRUE;
}

/* READY has been told, and perhaps held: the audit. */
static void
start_settle(SamiMigration *m)
{
    g_clear_handle_id(&m->hold_timer, g_source_remove);
    advance(m, SAMI_EVENT_AUDIT);
    sami_migration_start_epoch(m);
}

static gboolean
on_hold_over(gpointer user_data)
{
    SamiMigration *m = user_data;
    m->hold_timer = 0;
    if (m->state != SAMI_STATE_READY)
        return G_SOURCE_REMOVE;
    if (m->purge) {
        g_warning("%.8s: nobody has said in time that the VM runs behind %s, so nothing is purged here", m->hex, m->peer->name);
        m->n_kept_unconfirmed = m->present;
        g_clear_pointer(&m->purge, sami_purge_free);
    }
    start_settle(m);
    return G_SOURCE_REMOVE;
}

/* Whoever moves the VM may still fail after READY, and an end cannot be taken back. */
static void
settle_or_hold(SamiMigration *m)
{
    if (m->hold_ms > 0)
        m->hold_timer = g_timeout_add(m->hold_ms, on_hold_over, m);
    else
        start_settle(m);
}

gboolean
sami_migration_settle(SamiMigration *m, GError **error)
{
    if (m->state == SAMI_STATE_READY) {
        start_settle(m);
    } else if (m->state == SAMI_STATE_FREEZE) { /* the VM was resumed there without READY */
        m->hold_ms = 0;
    } else if (m->state != SAMI_STATE_SETTLE && m->state != SAMI_STATE_DONE) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%.8s is %s: there is no READY to settle", m->hex,
                    sami_exporter_state_name(m->state));
        return FALSE;
    }
    return TRUE;
}

static SamiExit
exit_of(const SamiMigration *m)
{
    return m->refused > 0 || m->degraded > 0 || m->expected.n_refused > 0 || m->n_expectations_left > 0 || sami_kinds_n_refused(m) > 0
               ? SAMI_EXIT_DEGRADED
               : SAMI_EXIT_DONE;
}

static void
on_ready(SamiMigration *m)
{
    gboolean is_crossing = m->state == SAMI_STATE_ABORT;
    g_clear_handle_id(&m->deadline_timer, g_source_remove);
    m->ready_us = g_get_monotonic_time(); /* what the watchers of the phase are told */
    advance(m, SAMI_EVENT_READY_RECEIPT);
    sami_histogram_observe(&m->exporter->freeze_ready, (gdouble) (m->ready_us - m->freeze_us) / G_USEC_PER_SEC);
    if (is_crossing) {
        m->error = g_strdup("already-ready: the abort crossed READY; 'samictl resolve' decides");
        finish_all(m, SAMI_EXIT_IN_DOUBT);
        return;
    }
    sami_exporter_finish(m->freezers, m, exit_of(m));
    settle_or_hold(m);
}

void
sami_migration_purged(SamiMigration *m)
{
    sami_say_end(m);
    close_source(m);
    if (advance(m, SAMI_EVENT_FINAL_RECEIPT))
        finish_all(m, exit_of(m));
}

static void
on_receipt(SamiMigration *m, const SamiReceipt *r)
{
    if (r->phase == SAMI_RECEIPT_PROGRESS) {
        sami_link_acknowledged(m, r->marker_counter);
        m->final_due_us = 0; /* it is at work */
        sami_migration_plan_answer(m);
        return;
    }
    if (r->phase == SAMI_RECEIPT_ALIVE)
        sami_link_acknowledged(m, r->marker_counter + 1);
    if (m->replication)
        sami_replication_answered(m->replication, r);
    m->accepted = r->n_accepted;
    m->merged = r->n_merged;
    m->refused = r->n_refused;
    m->present = r->n_present;
    m->degraded = r->n_degraded;
    m->exact = r->n_exact;
    if (r->phase == SAMI_RECEIPT_SNAPSHOT) {
        m->is_snapshot_confirmed = TRUE;
        sami_migration_plan_answer(m);
        sami_exporter_tell(m, "phase");
        freeze_now(m);
    } else if (r->phase == SAMI_RECEIPT_READY) {
        on_ready(m);
    } else if (r->phase == SAMI_RECEIPT_FINAL) {
        m->has_final = TRUE;
        g_clear_handle_id(&m->answer_timer, g_source_remove);
        if (m->purge)
            sami_purge_run(m, r);
        else
            sami_migration_purged(m);
    } else if (r->phase == SAMI_RECEIPT_ABORTED && advance(m, SAMI_EVENT_ABORTED_RECEIPT)) {
        sami_link_flush(m, TRUE);
        finish_all(m, SAMI_EXIT_ABORTED);
    }
}

static gboolean
on_session_over(gpointer user_data)
{
    SamiMigration *m = user_data;
    m->hello_timer = 0;
    sami_migration_lost(m, "the collector has refused a Message, and did not end the session");
    return G_SOURCE_REMOVE;
}

static void
on_refusal(SamiMigration *m, const SamiRefusal *refusal)
{
    g_autofree gchar *detail = g_strndup(refusal->detail, sizeof refusal->detail);
    g_autofree gchar *quoted = g_strescape(detail, NULL);
    if (refusal->scope != SAMI_SCOPE_MESSAGE) {
        if (m->purge)
            sami_purge_except(m->purge, refusal);
        if (m->refusal_texts->len < REFUSAL_TEXTS)
            g_ptr_array_add(m->refusal_texts, g_strdup_printf("%s: %s", sami_reason_id(refusal->reason), quoted));
        return;
    }
    g_autofree gchar *text = g_strdup_printf("%s refused: %s: %s", m->peer->name, sami_reason_id(refusal->reason), quoted);
    m->exporter->n_refused_by_peer[refusal->reason < SAMI_N_REASONS ? refusal->reason : 0]++;
    /* The answer of a collector that has rolled back while we were away. */
    if (refusal->reason == SAMI_REASON_ABORTED && advance(m, SAMI_EVENT_ABORTED_RECEIPT)) {
        m->error = g_steal_pointer(&text);
        finish_all(m, SAMI_EXIT_ABORTED);
        return;
    }
    /* The session was lost before begin arrived, or was read there: begin anew. All that is sent may be on its way then, but none of it was answered. */
    gboolean is_unanswered = m->state == SAMI_STATE_PREPARE || (m->state == SAMI_STATE_FOLLOW && !m->is_snapshot_confirmed);
    if (refusal->reason == SAMI_REASON_RESUME_UNAVAILABLE && m->is_known && !m->is_bound && is_unanswered && sami_link_has_all(m)) {
        m->is_unknown_there = TRUE;
        return;
    }
    /* It waited too long on the way, behind a collector that was slow. The end of the session follows; a new one brings what was not taken
     * again, under a signature of then. */
    if (refusal->reason == SAMI_REASON_TOO_LATE && m->is_bound) {
        if (m->hello_timer) /* it was to be the last word */
            return;
        g_warning("%.8s: %s", m->hex, text);
        /* a collector that does not end it has no more time than for a hello */
        m->hello_timer = g_timeout_add((guint) m->stream->max_delay_ms + 1, on_session_over, m);
        return;
    }
    /* Said instead of READY, which would have come before it: the collector has begun to roll back. */
    if (m->state == SAMI_STATE_FREEZE && (refusal->reason == SAMI_REASON_JOURNAL || refusal->reason == SAMI_REASON_KERNEL))
        m->marker_counter = 0;
    sami_migration_fail(m, SAMI_EXIT_REFUSED, text);
}

void
sami_migration_received(SamiMigration *m, const SamiRecord *record)
{
    if (sami_exporter_is_over(m->state))
        return;
    switch (record->kind) {
    case SAMI_RECORD_HELLO_REPLY: sami_migration_bound(m, &record->hello_reply); return;
    case SAMI_RECORD_RECEIPT: on_receipt(m, &record->receipt); return;
    case SAMI_RECORD_REFUSAL: on_refusal(m, &record->refusal); return;
    case SAMI_RECORD_REASON_COUNT:
        if (record->reason_count.reason < SAMI_N_REASONS)
            (record->reason_count.scope == SAMI_SCOPE_DEGRADED ? m->degraded_by : m->refused_by)[record->reason_count.reason] =
                record->reason_count.count;
        return;
    case SAMI_RECORD_KIND_COUNT: sami_kinds_counted(m, &record->kind_count); return;
    default: return;
    }
}
