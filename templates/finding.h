/* Findings of a dry run: made, and shown to whoever asked. Pure. */
#pragma once

#include <json-glib/json-glib.h>

#include "common/control.h"
#include "templates/records.h"

/* From its parts; what is too long is cut. In `text` and `fix` %s stands for the subject. */
void sami_finding_fill(SamiFinding *finding, const gchar *id, guint8 severity, const gchar *subject, guint64 count, const gchar *text,
                       const gchar *fix);

/* "note", "warning", "loss"; "unknown" for another number. */
const gchar *sami_severity_name(guint8 severity);

/* The exit status of a check whose worst finding this is; 0: it has none. */
SamiExit sami_exit_of_severity(guint8 worst);

/* {"id", "severity", "host", "role", "subject", "count", "text", "fix"}, strings escaped: they may be a peer's. (transfer full) */
JsonObject *sami_finding_to_json(const SamiFinding *finding, const gchar *host, const gchar *role);
