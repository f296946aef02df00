#include "replay/send.h"

#include <string.h>

#include "common/control-json.h"

#define TOLD_MAX 20u /* refusals in words; --json has all of them */

static const gchar *const kind_names[] = { "cumulative", "expectation" };

static void
print_json(const ReplaySay *say, JsonObject *object)
{
    g_autofree gchar *line = sami_control_json_print(object);
    replay_say(stdout, say->progress, "%s\n", line);
    json_object_unref(object);
    fflush(stdout);
}

static JsonObject *
event(const gchar *name)
{
    JsonObject *object = json_object_new();
    json_object_set_string_member(object, "event", name);
    return object;
}

/* A peer's text, which need not be UTF-8. (transfer full) */
static gchar *
make_text(const gchar *octets, gsize max)
{
    return g_utf8_make_valid(octets, (gssize) strnlen(octets, max));
}

static const gchar *
receipt_name(guint8 phase)
{
    static const gchar *const names[] = { "?", "SNAPSHOT", "READY", "FINAL", "ABORTED", "PROGRESS", "ALIVE", "RESYNC", "CHECKED" };
    return phase < G_N_ELEMENTS(names) ? names[phase] : "?";
}

void
replay_say_opened(ReplaySay *say, const gchar *id, guint32 lease_s)
{
    if (say->is_json) {
        JsonObject *object = event("opened");
        json_object_set_string_member(object, "id", id);
        json_object_set_string_member(object, "peer", say->peer);
        json_object_set_int_member(object, "lease_s", lease_s);
        print_json(say, object);
    } else if (!say->is_quiet) {
        replay_say(stdout, say->progress, "%-9s migration %.8s at %s\n", "OPENED", id, say->peer);
        fflush(stdout);
    }
}

void
replay_say_refusal(ReplaySay *say, const SamiRefusal *refusal)
{
    const gchar *scope = refusal->scope == SAMI_SCOPE_DEGRADED ? "degraded" : "refused";
    g_autofree gchar *detail = make_text(refusal->detail, sizeof refusal->detail);
    if (say->is_json) {
        JsonObject *object = event(scope);
        json_object_set_string_member(object, "reason", sami_reason_id(refusal->reason));
        json_object_set_string_member(object, "detail", detail);
        print_json(say, object);
    } else if (say->n_told++ < TOLD_MAX) {
        replay_say(stdout, say->progress, "%-9s %s: %s\n", scope, sami_reason_id(refusal->reason), detail);
    } else {
        say->n_untold++;
    }
}

void
replay_say_receipt(ReplaySay *say, const SamiReceipt *r)
{
    const struct {
        const gchar *name;
        guint64 n;
        gboolean is_wanted;
    } counts[] = {
        { "accepted", r->n_accepted, TRUE },
        { "present", r->n_present, TRUE },
        { "merged", r->n_merged, r->n_merged > 0 },
        { "exact", r->n_exact, r->phase == SAMI_RECEIPT_FINAL },
        { "degraded", r->n_degraded, r->phase == SAMI_RECEIPT_FINAL },
        { "refused", r->n_refused, TRUE },
    };
    if (say->is_json) {
        JsonObject *object = event("receipt"), *numbers = json_object_new();
        json_object_set_string_member(object, "phase", receipt_name(r->phase));
        json_object_set_int_member(numbers, "records", (gint64) r->n_records);
        for (guint i = 0; i < G_N_ELEMENTS(counts); i++)
            json_object_set_int_member(numbers, counts[i].name, (gint64) counts[i].n);
        json_object_set_object_member(object, "counts", numbers);
        print_json(say, object);
        return;
    }
    if (say->is_quiet)
        return;
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; i < G_N_ELEMENTS(counts); i++)
        if (counts[i].is_wanted)
            g_string_append_printf(text, ", %" G_GUINT64_FORMAT " %s", counts[i].n, counts[i].name);
    replay_say(stdout, say->progress, "%-9s %" G_GUINT64_FORMAT " records: %s\n", receipt_name(r->phase), r->n_records, text->str + 2);
    for (guint i = 0; r->phase == SAMI_RECEIPT_FINAL && i < G_N_ELEMENTS(say->kinds); i++)
        if (say->kinds[i].n_records > 0)
            replay_say(stdout, say->progress,
                       "%-9s %s: %" G_GUINT64_FORMAT " records: %" G_GUINT64_FORMAT " applied, %" G_GUINT64_FORMAT " unchanged, %" G_GUINT64_FORMAT
                       " refused\n",
                       "", kind_names[i], say->kinds[i].n_records, say->kinds[i].n_applied, say->kinds[i].n_unchanged, say->kinds[i].n_refused);
    fflush(stdout);
}

void
replay_say_kind_count(ReplaySay *say, const SamiKindCount *count)
{
    gboolean is_expectation = count->kind == SAMI_RECORD_EXPECTATION;
    if (say->is_json) {
        JsonObject *object = event("kind");
        json_object_set_string_member(object, "kind", kind_names[is_expectation]);
        json_object_set_int_member(object, "records", (gint64) count->n_records);
        json_object_set_int_member(object, "applied", (gint64) count->n_applied);
        json_object_set_int_member(object, "unchanged", (gint64) count->n_unchanged);
        json_object_set_int_member(object, "refused", (gint64) count->n_refused);
        print_json(say, object);
    } else { /* comes before each receipt; the last one says it all */
        say->kinds[is_expectation] = *count;
    }
}

static void
print_reasons(const ReplaySay *say, const gchar *scope, const guint64 *counts)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; counts && i < SAMI_N_REASONS; i++)
        if (counts[i] > 0)
            g_string_append_printf(text, ", %" G_GUINT64_FORMAT " %s", counts[i], sami_reason_id(i));
    if (text->len > 0)
        replay_say(stdout, say->progress, "%-9s %s\n", scope, text->str + 2);
}

void
replay_say_end(ReplaySay *say, SamiExit code, const gchar *result, const gchar *error, const ReplayNumber *numbers, guint n_numbers,
               const guint64 *refused_by, const guint64 *degraded_by)
{
    g_autoptr(GString) text = g_string_new(NULL);
    if (error)
        replay_say(stderr, say->progress, "sami-replay: %s\n", error);
    if (say->is_json) {
        JsonObject *object = event("end"), *counts = json_object_new();
        json_object_set_string_member(object, "result", result);
        json_object_set_string_member(object, "to", say->peer);
        for (guint i = 0; i < n_numbers; i++)
            json_object_set_int_member(counts, numbers[i].name, (gint64) numbers[i].n);
        json_object_set_object_member(object, "counts", counts);
        if (refused_by)
            sami_control_json_add_counts(object, "refused", refused_by, SAMI_N_REASONS, sami_reason_id);
        if (degraded_by)
            sami_control_json_add_counts(object, "degraded", degraded_by, SAMI_N_REASONS, sami_reason_id);
        if (error)
            json_object_set_string_member(object, "error", error);
        json_object_set_int_member(object, "exit", code);
        print_json(say, object);
        return;
    }
    if (say->is_quiet)
        return;
    if (say->n_untold > 0) {
        replay_say(stdout, say->progress, "%-9s %u more; --json names them\n", "...", say->n_untold);
        print_reasons(say, "refused", refused_by);
        print_reasons(say, "degraded", degraded_by);
    }
    for (guint i = 0; i < n_numbers; i++)
        if (numbers[i].n > 0 || i == 0)
            g_string_append_printf(text, ", %" G_GUINT64_FORMAT " %s", numbers[i].n, numbers[i].name);
    for (gchar *at = text->str; *at; at++) /* names are those of JSON */
        *at = *at == '_' ? ' ' : *at;
    replay_say(stdout, say->progress, "%-9s %s\n", result, text->str + 2);
}
