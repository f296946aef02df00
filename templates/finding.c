#include "templates/finding.h"

#include <string.h>

static void
fill(gchar *field, gsize size, const gchar *format, const gchar *subject)
{
    g_auto(GStrv) pieces = g_strsplit(format, "%s", -1);
    g_autofree gchar *text = g_strjoinv(subject, pieces);
    g_strlcpy(field, text, size);
}

void
sami_finding_fill(SamiFinding *finding, const gchar *id, guint8 severity, const gchar *subject, guint64 count, const gchar *text, const gchar *fix)
{
    *finding = (SamiFinding){ .severity = severity, .count = count };
    g_strlcpy(finding->id, id, sizeof finding->id);
    g_strlcpy(finding->subject, subject, sizeof finding->subject);
    fill(finding->text, sizeof finding->text, text, subject);
    fill(finding->fix, sizeof finding->fix, fix, subject);
}

const gchar *
sami_severity_name(guint8 severity)
{
    static const gchar *const names[] = { [SAMI_SEVERITY_NOTE] = "note", [SAMI_SEVERITY_WARNING] = "warning", [SAMI_SEVERITY_LOSS] = "loss" };
    return severity > 0 && severity < G_N_ELEMENTS(names) ? names[severity] : "unknown";
}

SamiExit
sami_exit_of_severity(guint8 worst)
{
    return worst >= SAMI_SEVERITY_LOSS ? SAMI_EXIT_LOSS : worst == SAMI_SEVERITY_WARNING ? SAMI_EXIT_WARNINGS : SAMI_EXIT_DONE;
}

static void
set(JsonObject *object, const gchar *member, const gchar *field, gsize size)
{
    g_autofree gchar *text = g_strndup(field, size);
    g_autofree gchar *quoted = g_strescape(text, NULL);
    json_object_set_string_member(object, member, quoted);
}

JsonObject *
sami_finding_to_json(const SamiFinding *finding, const gchar *host, const gchar *role)
{
    JsonObject *object = json_object_new();
    set(object, "id", finding->id, sizeof finding->id);
    json_object_set_string_member(object, "severity", sami_severity_name(finding->severity));
    json_object_set_string_member(object, "host", host);
    json_object_set_string_member(object, "role", role);
    set(object, "subject", finding->subject, sizeof finding->subject);
    json_object_set_int_member(object, "count", (gint64) MIN(finding->count, (guint64) G_MAXINT64));
    set(object, "text", finding->text, sizeof finding->text);
    set(object, "fix", finding->fix, sizeof finding->fix);
    return object;
}
