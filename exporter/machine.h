/* The states of a migration at its source (LIFECYCLE §1) and what moves it from one to the next: one table, which
 * sami-protocol(7) prints and a test compares. Pure: no clock, no I/O. */
#pragma once

#include <glib.h>

typedef enum {
    SAMI_STATE_PREPARE, /* session, hello, begin, snapshot */
    SAMI_STATE_FOLLOW,  /* changes stream while the VM runs */
    SAMI_STATE_FREEZE,  /* the VM is paused: the last changes, the marker, the wait for READY */
    SAMI_STATE_READY,   /* decided: the VM may run at the destination */
    SAMI_STATE_SETTLE,  /* audit pass */
    SAMI_STATE_DONE,
    SAMI_STATE_ABORT,   /* abort sent before READY, waiting for the collector */
    SAMI_STATE_UNDO,    /* the same by explicit command after READY */
    SAMI_STATE_ABORTED, /* the collector has removed what it had created */
    SAMI_STATE_FAILED,  /* before the decision: the collector rolls back by its lease */
    SAMI_STATE_IN_DOUBT, /* the freeze marker may have been answered: nobody removes anything without being told */
    SAMI_N_STATES
} SamiExporterState;

typedef enum {
    SAMI_EVENT_SNAPSHOT_SENT,
    SAMI_EVENT_FREEZE,
    SAMI_EVENT_THAW,
    SAMI_EVENT_READY_RECEIPT,
    SAMI_EVENT_AUDIT,
    SAMI_EVENT_FINAL_RECEIPT,
    SAMI_EVENT_UNCONFIRMED,     /* all is sent to a plain collector, which never answers */
    SAMI_EVENT_ABORT,           /* asked for here, the collector knows of the migration */
    SAMI_EVENT_ABORT_UNOPENED,  /* asked for here, and there is no collector that would answer */
    SAMI_EVENT_ABORTED_RECEIPT,
    SAMI_EVENT_FAILURE,         /* refused, lost for good, or a local failure; no freeze marker is out */
    SAMI_EVENT_FAILURE_UNDECIDED, /* the same with a freeze marker out */
    SAMI_N_EVENTS
} SamiExporterEvent;

const gchar *sami_exporter_state_name(SamiExporterState state);
const gchar *sami_exporter_event_name(SamiExporterEvent event);
/* TRUE with the next state; FALSE if the event means nothing in that state: it is refused or ignored, and nothing changes. */
gboolean sami_exporter_next(SamiExporterState state, SamiExporterEvent event, SamiExporterState *ret_state);
/* TRUE for the states that nothing leaves. */
gboolean sami_exporter_is_over(SamiExporterState state);
