/* What an answer to the control request `status` says of one migration; for whoever waits for READY. */
#pragma once

#include "common/control.h"

/* The migration whose id begins with `id`. NULL: there is none, or more than one. (transfer none) (nullable) */
JsonObject *sami_status_find(JsonObject *answer, const gchar *id);
/* "FOLLOW", …; "" if the answer does not say. (transfer none) */
const gchar *sami_status_phase(JsonObject *migration);
/* FALSE while READY may still come. TRUE with what that means for the VM: DONE and DEGRADED, it may go on at the destination (READY,
 * SETTLE, DONE); ABORTED, FAILED, IN_DOUBT. */
gboolean sami_status_is_decided(JsonObject *migration, SamiExit *ret_code);
