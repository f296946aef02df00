#include "collector/totals.h"

#include "collector/collector.h"

void
sami_totals_add(SamiTotals *totals, const SamiApply *apply)
{
    totals->n_accepted += apply->n_accepted;
    totals->n_merged += apply->n_merged;
    totals->n_unchanged += apply->n_unchanged;
    totals->n_foreign += apply->n_foreign;
    totals->n_degraded += apply->n_degraded;
    totals->n_refused += apply->n_refused;
    totals->expected.n_records += apply->expected.n_records;
    totals->expected.n_applied += apply->expected.n_applied;
    totals->expected.n_unchanged += apply->expected.n_unchanged;
    totals->expected.n_refused += apply->expected.n_refused;
    for (guint i = 0; i < SAMI_N_REASONS; i++)
        totals->refused[i] += apply->refused[i];
}

void
sami_collector_totals(SamiCollector *collector, SamiTotals *ret_totals)
{
    *ret_totals = collector->totals;
    for (guint i = 0; i < collector->migrations->len; i++) {
        const SamiCollectorMigration *m = g_ptr_array_index(collector->migrations, i);
        sami_totals_add(ret_totals, m->apply);
        sami_collector_kinds_add_totals(m, ret_totals);
    }
    sami_collector_taken_over_totals(collector, ret_totals);
    /* A plan to merge may be given up: that has been counted all the same. */
    ret_totals->n_merged = collector->most_merged = MAX(collector->most_merged, ret_totals->n_merged);
}
