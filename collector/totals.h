/* What the collector has done with records since it was started. Sums of what each migration counts would fall when old ones are forgotten,
 * and a counter must not: what goes is added up here first. */
#pragma once

#include "collector/apply.h"

/* Rows of sami_sink_kinds at most. */
#define SAMI_SINK_KINDS_MAX 8u

typedef struct {
    guint64 n_accepted, n_merged, n_unchanged, n_foreign, n_degraded, n_refused;
    SamiKindCount expected;
    guint64 refused[SAMI_N_REASONS];
    struct {
        guint64 n_applied, n_unchanged, n_refused, n_undone, n_lost;
    } kinds[SAMI_SINK_KINDS_MAX]; /* in the order of sami_sink_kinds */
} SamiTotals;

/* Adds what this one has counted. */
void sami_totals_add(SamiTotals *totals, const SamiApply *apply);
