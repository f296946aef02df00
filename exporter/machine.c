#include "exporter/machine.h"

static const gchar *const state_names[SAMI_N_STATES] = { "PREPARE", "FOLLOW", "FREEZE",  "READY",  "SETTLE",  "DONE",
                                                         "ABORT",   "UNDO",   "ABORTED", "FAILED", "IN-DOUBT" };
static const gchar *const event_names[SAMI_N_EVENTS] = { "snapshot sent", "freeze",         "thaw",    "READY receipt",
                                                         "audit",         "FINAL receipt",  "unconfirmed", "abort", "abort unopened",
                                                         "ABORTED receipt", "failure", "failure undecided" };

#define TO(state) SAMI_STATE_##state + 1
static const guint8 next[SAMI_N_STATES][SAMI_N_EVENTS] = { /* 0: nothing happens */
    [SAMI_STATE_PREPARE] = { [SAMI_EVENT_SNAPSHOT_SENT] = TO(FOLLOW),
                             [SAMI_EVENT_ABORT] = TO(ABORT),
                             [SAMI_EVENT_ABORT_UNOPENED] = TO(ABORTED),
                             [SAMI_EVENT_ABORTED_RECEIPT] = TO(ABORTED),
                             [SAMI_EVENT_FAILURE] = TO(FAILED) },
    [SAMI_STATE_FOLLOW] = { [SAMI_EVENT_FREEZE] = TO(FREEZE),
                            [SAMI_EVENT_ABORT] = TO(ABORT),
                            [SAMI_EVENT_ABORT_UNOPENED] = TO(ABORTED),
                            [SAMI_EVENT_ABORTED_RECEIPT] = TO(ABORTED),
                            [SAMI_EVENT_FAILURE] = TO(FAILED) },
    [SAMI_STATE_FREEZE] = { [SAMI_EVENT_THAW] = TO(FOLLOW),
                            [SAMI_EVENT_READY_RECEIPT] = TO(READY),
                            [SAMI_EVENT_UNCONFIRMED] = TO(DONE),
                            [SAMI_EVENT_ABORT] = TO(ABORT),
                            [SAMI_EVENT_ABORT_UNOPENED] = TO(ABORTED),
                            [SAMI_EVENT_ABORTED_RECEIPT] = TO(ABORTED),
                            [SAMI_EVENT_FAILURE] = TO(FAILED),
                            [SAMI_EVENT_FAILURE_UNDECIDED] = TO(IN_DOUBT) },
    [SAMI_STATE_READY] = { [SAMI_EVENT_THAW] = TO(FOLLOW),
                           [SAMI_EVENT_AUDIT] = TO(SETTLE),
                           [SAMI_EVENT_ABORT] = TO(UNDO),
                           [SAMI_EVENT_FAILURE_UNDECIDED] = TO(IN_DOUBT) },
    [SAMI_STATE_SETTLE] = { [SAMI_EVENT_THAW] = TO(FOLLOW),
                            [SAMI_EVENT_FINAL_RECEIPT] = TO(DONE),
                            [SAMI_EVENT_ABORT] = TO(UNDO),
                            [SAMI_EVENT_FAILURE_UNDECIDED] = TO(IN_DOUBT) },
    [SAMI_STATE_ABORT] = { [SAMI_EVENT_READY_RECEIPT] = TO(IN_DOUBT), /* it crossed: LIFECYCLE §1, already-ready */
                           [SAMI_EVENT_ABORTED_RECEIPT] = TO(ABORTED),
                           [SAMI_EVENT_FAILURE] = TO(FAILED),
                           [SAMI_EVENT_FAILURE_UNDECIDED] = TO(IN_DOUBT) },
    [SAMI_STATE_UNDO] = { [SAMI_EVENT_ABORTED_RECEIPT] = TO(ABORTED),
                          [SAMI_EVENT_FAILURE_UNDECIDED] = TO(IN_DOUBT) },
};

const gchar *
sami_exporter_state_name(SamiExporterState state)
{
    return state_names[state];
}

const gchar *
sami_exporter_event_name(SamiExporterEvent event)
{
    return event_names[event];
}

gboolean
sami_exporter_next(SamiExporterState state, SamiExporterEvent event, SamiExporterState *ret_state)
{
    guint8 to = next[state][event];
    if (to == 0)
        return FALSE;
    *ret_state = (SamiExporterState) (to - 1);
    return TRUE;
}

gboolean
sami_exporter_is_over(SamiExporterState state)
{
    for (guint event = 0; event < SAMI_N_EVENTS; event++)
        if (next[state][event])
            return FALSE;
    return TRUE;
}
