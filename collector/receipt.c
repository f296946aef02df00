/* What the collector says of a migration: exceptions first, then the receipt that counts them. */
#include "collector/collector.h"

#include <string.h>

static void
add_counts(SamiCollectorMigration *m, guint8 scope, const guint64 *of_sessions)
{
    guint64 counts[SAMI_N_REASONS];
    memcpy(counts, of_sessions, sizeof counts);
    sami_collector_kinds_add_reasons(m, scope, counts);
    for (guint i = 0; i < SAMI_N_REASONS; i++) {
        SamiRecord record = { .kind = SAMI_RECORD_REASON_COUNT };
        record.reason_count = (SamiReasonCount){ scope, (guint16) i, counts[i] };
        if (counts[i] > 0 && m->session)
            sami_collector_session_add(m->session, &record);
    }
}

void
sami_collector_migration_receipt(SamiCollectorMigration *m, guint8 phase, guint64 marker_counter, gboolean is_last)
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
    sami_collector_kinds_answer(m);
    add_counts(m, SAMI_SCOPE_RECORD, a->refused);
    add_counts(m, SAMI_SCOPE_DEGRADED, a->degraded);
    record = (SamiRecord){ .kind = SAMI_RECORD_KIND_COUNT, .kind_count = a->expected };
    record.kind_count.kind = SAMI_RECORD_EXPECTATION;
    if (m->session && a->expected.n_records > 0)
        sami_collector_session_add(m->session, &record);
    record.kind = SAMI_RECORD_RECEIPT;
    record.receipt = (SamiReceipt){
        .phase = phase, .marker_counter = marker_counter, .n_records = phase == SAMI_RECEIPT_READY ? m->n_ready : a->n_records,
        .freeze_mode = m->freeze_mode,
        .flags = a->is_truncated ? SAMI_RECEIPT_TRUNCATED : 0, .n_accepted = a->n_accepted,
        .n_present = sami_apply_present(a), .n_merged = a->n_merged, .n_exact = a->n_exact,
        .n_degraded = a->n_degraded, .n_refused = a->n_refused,
    };
    if (m->session)
        sami_collector_session_add(m->session, &record);
    if (m->session)
        sami_collector_session_flush(m->session, is_last);
}
