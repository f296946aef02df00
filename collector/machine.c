#include "collector/machine.h"

static const gchar *const phase_names[SAMI_N_PHASES] = { "PREPARE", "FOLLOW",   "FREEZE",  "READY",   "SETTLE",
                                                         "DONE",    "ROLLBACK", "ABORTED", "IN-DOUBT" };
static const gchar *const event_names[SAMI_N_ON] = { "begin",       "freeze marker", "thaw marker",   "injected", "settle marker",
                                                     "read back",   "abort",         "abort decided", "lease",    "restart",
                                                     "failure",     "rolled back",   "keep",          "remove" };

#define TO(phase) SAMI_PHASE_##phase + 1
static const guint8 next[SAMI_N_PHASES][SAMI_N_ON] = { /* 0: nothing happens */
    [SAMI_PHASE_PREPARE] = { [SAMI_ON_BEGIN] = TO(FOLLOW), [SAMI_ON_RESTART] = TO(ROLLBACK) },
    [SAMI_PHASE_FOLLOW] = { [SAMI_ON_FREEZE_MARKER] = TO(FREEZE),
                            [SAMI_ON_ABORT] = TO(ROLLBACK),
                            [SAMI_ON_LEASE] = TO(ROLLBACK),
                            [SAMI_ON_RESTART] = TO(ROLLBACK),
                            [SAMI_ON_FAILURE] = TO(ROLLBACK) },
    [SAMI_PHASE_FREEZE] = { [SAMI_ON_INJECTED] = TO(READY),
                            [SAMI_ON_THAW_MARKER] = TO(FOLLOW),
                            [SAMI_ON_ABORT] = TO(ROLLBACK),
                            [SAMI_ON_LEASE] = TO(ROLLBACK),
                            [SAMI_ON_RESTART] = TO(ROLLBACK),
                            [SAMI_ON_FAILURE] = TO(ROLLBACK) },
    [SAMI_PHASE_READY] = { [SAMI_ON_SETTLE_MARKER] = TO(SETTLE),
                           [SAMI_ON_THAW_MARKER] = TO(FOLLOW),
                           [SAMI_ON_ABORT_DECIDED] = TO(ROLLBACK),
                           [SAMI_ON_LEASE] = TO(IN_DOUBT),
                           [SAMI_ON_RESTART] = TO(IN_DOUBT) },
    [SAMI_PHASE_SETTLE] = { [SAMI_ON_READ_BACK] = TO(DONE),
                            [SAMI_ON_THAW_MARKER] = TO(FOLLOW),
                            [SAMI_ON_ABORT_DECIDED] = TO(ROLLBACK),
                            [SAMI_ON_LEASE] = TO(IN_DOUBT),
                            [SAMI_ON_RESTART] = TO(IN_DOUBT) },
    [SAMI_PHASE_ROLLBACK] = { [SAMI_ON_ROLLED_BACK] = TO(ABORTED), [SAMI_ON_RESTART] = TO(ROLLBACK) },
    [SAMI_PHASE_IN_DOUBT] = { [SAMI_ON_SETTLE_MARKER] = TO(SETTLE), /* the exporter came back after all */
                              [SAMI_ON_THAW_MARKER] = TO(ROLLBACK), /* and the VM goes on there */
                              [SAMI_ON_ABORT_DECIDED] = TO(ROLLBACK),
                              [SAMI_ON_KEEP] = TO(DONE),
                              [SAMI_ON_REMOVE] = TO(ROLLBACK) },
};

const gchar *
sami_collector_phase_name(SamiCollectorPhase phase)
{
    return phase_names[phase];
}

const gchar *
sami_collector_event_name(SamiCollectorEvent event)
{
    return event_names[event];
}

gboolean
sami_collector_next(SamiCollectorPhase phase, SamiCollectorEvent event, SamiCollectorPhase *ret_phase)
{
    guint8 to = next[phase][event];
    if (to == 0)
        return FALSE;
    *ret_phase = (SamiCollectorPhase) (to - 1);
    return TRUE;
}

gboolean
sami_collector_is_over(SamiCollectorPhase phase)
{
    return phase == SAMI_PHASE_DONE || phase == SAMI_PHASE_ABORTED;
}
