/* The states of a migration at its destination (LIFECYCLE §1) and what moves it from one to the next: one table, which
 * sami-protocol(7) prints and a test compares. Pure: no clock, no I/O. */
#pragma once

#include <glib.h>

typedef enum {
    SAMI_PHASE_PREPARE,
    SAMI_PHASE_FOLLOW,   /* begin accepted: records are injected */
    SAMI_PHASE_FREEZE,   /* the marker came: everything before it is being injected */
    SAMI_PHASE_READY,    /* decided: journaled, synced, sent */
    SAMI_PHASE_SETTLE,   /* the source has named everything once more: read-back */
    SAMI_PHASE_DONE,
    SAMI_PHASE_ROLLBACK, /* removing what this migration created */
    SAMI_PHASE_ABORTED,
    SAMI_PHASE_IN_DOUBT, /* READY was journaled and the end was not: kept until `samictl resolve` */
    SAMI_N_PHASES
} SamiCollectorPhase;

typedef enum {
    SAMI_ON_BEGIN,
    SAMI_ON_FREEZE_MARKER,
    SAMI_ON_THAW_MARKER,
    SAMI_ON_INJECTED,       /* everything up to the freeze marker, and the journal is synced */
    SAMI_ON_SETTLE_MARKER,
    SAMI_ON_READ_BACK,
    SAMI_ON_ABORT,          /* that knows of no READY receipt */
    SAMI_ON_ABORT_DECIDED,  /* that repeats the counter of the READY receipt */
    SAMI_ON_LEASE,          /* the exporter did not come back in time */
    SAMI_ON_RESTART,        /* of this process */
    SAMI_ON_FAILURE,        /* journal or kernel socket, before READY was sent */
    SAMI_ON_ROLLED_BACK,
    SAMI_ON_KEEP,           /* the operator's decision: samictl resolve --keep */
    SAMI_ON_REMOVE,         /* samictl resolve --remove */
    SAMI_N_ON
} SamiCollectorEvent;

const gchar *sami_collector_phase_name(SamiCollectorPhase phase);
const gchar *sami_collector_event_name(SamiCollectorEvent event);
/* TRUE with the next phase; FALSE if the event means nothing in that phase: it is refused or ignored, and nothing changes. */
gboolean sami_collector_next(SamiCollectorPhase phase, SamiCollectorEvent event, SamiCollectorPhase *ret_phase);
/* Nothing moves it any more. */
gboolean sami_collector_is_over(SamiCollectorPhase phase);
