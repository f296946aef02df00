/* What inject says. */
#include "replay/inject.h"

#include <string.h>

typedef struct {
    guint64 n_records, n_present, n_created, n_merged, n_kept, n_replaced, n_unchanged, n_refused, n_degraded, n_expired, n_deleted, n_marks_cut;
    SamiKindCount expected;
    guint64 n_expected_expired;
    SamiKindCounts cumulative;
    guint64 refused[SAMI_N_REASONS], degraded[SAMI_N_REASONS];
} Sum;

static void
print_json(JsonObject *object_take)
{
    g_autoptr(JsonNode) node = json_node_init_object(json_node_alloc(), object_take);
    g_autofree gchar *text = json_to_string(node, FALSE);
    replay_say(stdout, NULL, "%s\n", text);
    json_object_unref(object_take);
}

static void
set_text(JsonObject *object, const gchar *member, const gchar *text)
{
    g_autofree gchar *valid = g_utf8_make_valid(text, -1);
    json_object_set_string_member(object, member, valid);
}

static const gchar *
event_of(const SamiRefusal *refusal, gboolean is_expired)
{
    return is_expired ? "expired" : refusal->scope == SAMI_SCOPE_DEGRADED ? "degraded" : "refused";
}

void
inject_list(const SamiRefusal *refusal, gboolean is_expired, gpointer user_data)
{
    Inject *inject = user_data;
    const gchar *event = event_of(refusal, is_expired);
    guint64 n = ++inject->listed[is_expired ? SAMI_REASON_NONE : refusal->reason];
    const gchar *detail = *refusal->detail ? refusal->detail : sami_reason_text(refusal->reason);
    if (inject->replay->args.is_json && n <= SAMI_REFUSALS_PER_RULE) {
        JsonObject *object = json_object_new();
        json_object_set_string_member(object, "event", event);
        if (!is_expired)
            json_object_set_string_member(object, "reason", sami_reason_id(refusal->reason));
        if (sami_refusal_has_flow(refusal)) {
            SamiFlowKey key;
            sami_flow_key_unpack(refusal->key, &key);
            g_autofree gchar *flow = sami_flow_key_to_string(&key);
            set_text(object, "flow", flow);
        }
        set_text(object, "detail", detail);
        print_json(object);
    }
    if (inject->replay->args.is_json || (is_expired && inject->replay->args.is_quiet) || n > INJECT_LISTED + 1)
        return;
    if (n > INJECT_LISTED)
        replay_say(stdout, &inject->progress, "%s%s%s: more of them are only counted\n", event, is_expired ? "" : " ",
                   is_expired ? "" : sami_reason_id(refusal->reason));
    else
        replay_say(stdout, &inject->progress, "%s%s%s: %s\n", event, is_expired ? "" : " ", is_expired ? "" : sami_reason_id(refusal->reason), detail);
}

static void
tell(Inject *inject, const gchar *event, const guint64 *offset, const gchar *reason, guint64 n, const gchar *text)
{
    if (inject->replay->args.is_json) {
        JsonObject *object = json_object_new();
        json_object_set_string_member(object, "event", event);
        set_text(object, "file", inject->path);
        if (offset)
            json_object_set_int_member(object, "offset", (gint64) *offset);
        if (reason)
            json_object_set_string_member(object, "reason", reason);
        if (n > 0)
            json_object_set_int_member(object, "messages", (gint64) n);
        set_text(object, "detail", text);
        print_json(object);
        return;
    }
    g_autofree gchar *where = offset ? g_strdup_printf(", offset %" G_GUINT64_FORMAT, *offset) : g_strdup("");
    replay_say(stdout, &inject->progress, "%s%s: %s%s%s\n", inject->path, where, reason ? reason : "", reason ? ": " : "", text);
}

void
inject_tell_message(Inject *inject, guint64 offset, SamiReason reason, const gchar *text)
{
    g_autofree gchar *line = g_strdup_printf("Message refused: %s", text);
    inject->n_messages_refused++;
    tell(inject, "message-refused", &offset, sami_reason_id(reason), 0, inject->replay->args.is_json ? text : line);
}

void
inject_tell_unread(Inject *inject, guint64 n)
{
    g_autofree gchar *text = g_strdup_printf("%" G_GUINT64_FORMAT " Messages of the session behind the refused one were not read", n);
    tell(inject, "unread", NULL, NULL, n, text);
}

void
inject_tell_fault(Inject *inject, guint64 offset, const gchar *text)
{
    inject->n_faults++;
    tell(inject, "fault", &offset, NULL, 0, text);
}

static void
add_up(Sum *sum, const ReplayTarget *target)
{
    const SamiApply *a = target->apply;
    const struct {
        guint64 *to;
        guint64 more;
    } rows[] = {
        { &sum->n_records, a->n_records }, { &sum->n_present, sami_apply_present(a) }, { &sum->n_created, a->n_accepted },
        { &sum->n_merged, a->n_merged }, { &sum->n_kept, a->n_kept }, { &sum->n_replaced, a->n_replaced }, { &sum->n_unchanged, a->n_unchanged },
        { &sum->n_refused, a->n_refused }, { &sum->n_degraded, a->n_degraded }, { &sum->n_expired, target->n_expired },
        { &sum->n_deleted, target->n_deleted }, { &sum->n_marks_cut, target->n_marks_cut }, { &sum->expected.n_records, a->expected.n_records },
        { &sum->expected.n_applied, a->expected.n_applied }, { &sum->expected.n_unchanged, a->expected.n_unchanged },
        { &sum->expected.n_refused, a->expected.n_refused }, { &sum->n_expected_expired, target->n_expectations_expired },
        { &sum->cumulative.n_records, target->cumulative.n_records }, { &sum->cumulative.n_applied, target->cumulative.n_applied },
        { &sum->cumulative.n_unchanged, target->cumulative.n_unchanged }, { &sum->cumulative.n_refused, target->cumulative.n_refused },
    };
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++)
        *rows[i].to += rows[i].more;
    for (guint i = 0; i < SAMI_N_REASONS; i++) {
        sum->refused[i] += a->refused[i] + target->cumulative.refused[i];
        sum->degraded[i] += a->degraded[i] + target->cumulative.degraded[i];
    }
}

static guint64
add_reasons(const guint64 reasons[SAMI_N_REASONS])
{
    guint64 n = 0;
    for (guint i = 0; i < SAMI_N_REASONS; i++)
        n += reasons[i];
    return n;
}

static JsonObject *
reasons_to_json(const guint64 reasons[SAMI_N_REASONS])
{
    JsonObject *object = json_object_new();
    for (guint i = 0; i < SAMI_N_REASONS; i++)
        if (reasons[i] > 0)
            json_object_set_int_member(object, sami_reason_id(i), (gint64) reasons[i]);
    return object;
}

static JsonObject *
sum_to_json(const Sum *sum)
{
    JsonObject *object = json_object_new(), *expected = json_object_new(), *cumulative = json_object_new();
    const struct {
        JsonObject *in;
        const gchar *name;
        guint64 n;
    } rows[] = {
        { object, "records", sum->n_records }, { object, "present", sum->n_present }, { object, "created", sum->n_created },
        { object, "merged", sum->n_merged }, { object, "kept", sum->n_kept }, { object, "replaced", sum->n_replaced },
        { object, "unchanged", sum->n_unchanged }, { object, "refused", sum->n_refused }, { object, "degraded", sum->n_degraded },
        { object, "expired", sum->n_expired }, { object, "ended", sum->n_deleted }, { object, "marks_cut", sum->n_marks_cut },
        { expected, "records", sum->expected.n_records },
        { expected, "created", sum->expected.n_applied }, { expected, "unchanged", sum->expected.n_unchanged },
        { expected, "refused", sum->expected.n_refused }, { expected, "expired", sum->n_expected_expired },
        { cumulative, "records", sum->cumulative.n_records }, { cumulative, "applied", sum->cumulative.n_applied },
        { cumulative, "unchanged", sum->cumulative.n_unchanged }, { cumulative, "refused", sum->cumulative.n_refused },
    };
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++)
        json_object_set_int_member(rows[i].in, rows[i].name, (gint64) rows[i].n);
    json_object_set_object_member(object, "expectations", expected);
    json_object_set_object_member(object, "cumulative", cumulative);
    json_object_set_object_member(object, "refused_by_reason", reasons_to_json(sum->refused));
    json_object_set_object_member(object, "degraded_by_reason", reasons_to_json(sum->degraded));
    return object;
}

static JsonObject *
target_to_json(const ReplayTarget *target)
{
    g_autofree Sum *sum = g_new0(Sum, 1);
    add_up(sum, target);
    JsonObject *object = sum_to_json(sum);
    json_object_set_string_member(object, "id", target->id);
    set_text(object, "signer", target->name);
    if (target->destination)
        set_text(object, "destination", target->destination);
    json_object_set_string_member(object, "trust", replay_trust_name(target->trust));
    json_object_set_boolean_member(object, "aborted", target->is_aborted);
    return object;
}

static void
print_summary_json(const Inject *inject, const Sum *sum, SamiExit code)
{
    JsonObject *object = sum_to_json(sum);
    JsonArray *targets = json_array_new();
    for (guint i = 0; i < inject->targets->len; i++)
        json_array_add_object_element(targets, target_to_json(inject->targets->pdata[i]));
    json_object_set_string_member(object, "event", "summary");
    json_object_set_array_member(object, "migrations", targets);
    json_object_set_int_member(object, "messages", (gint64) inject->n_messages);
    json_object_set_int_member(object, "messages_refused", (gint64) inject->n_messages_refused);
    json_object_set_int_member(object, "messages_unread", (gint64) inject->n_unread);
    json_object_set_int_member(object, "messages_of_answers", (gint64) inject->n_answers);
    json_object_set_int_member(object, "faults", (gint64) inject->n_faults);
    json_object_set_boolean_member(object, "dry_run", inject->sink.is_dry);
    json_object_set_int_member(object, "exit", (gint64) code);
    print_json(object);
}

static void
print_reasons(const gchar *word, const guint64 reasons[SAMI_N_REASONS])
{
    for (guint i = 0; i < SAMI_N_REASONS; i++)
        if (reasons[i] > 0)
            printf("  %s %s: %" G_GUINT64_FORMAT " (%s)\n", word, sami_reason_id(i), reasons[i], sami_reason_text(i));
}

/* ", N words" unless N is 0 */
static void
append_count(GString *line, guint64 n, const gchar *words)
{
    if (n > 0)
        g_string_append_printf(line, "%s%" G_GUINT64_FORMAT " %s", line->len > 0 ? ", " : "", n, words);
}

static void
print_target(const ReplayTarget *target, const SamiConfig *config, gboolean is_dry)
{
    g_autofree Sum *sum = g_new0(Sum, 1);
    g_autoptr(GString) line = g_string_new(NULL);
    add_up(sum, target);
    append_count(line, sum->n_created, is_dry ? "would be created" : "created");
    append_count(line, sum->n_merged, "merged with what was there");
    append_count(line, sum->n_kept, "of them left as they are");
    append_count(line, sum->n_replaced, "of the created replace others");
    append_count(line, sum->n_refused, "refused");
    append_count(line, sum->n_degraded, "with less than they had");
    append_count(line, sum->n_expired, "expired since");
    append_count(line, sum->n_deleted, "had ended");
    append_count(line, sum->n_marks_cut, "records with mark bits outside mark-mask, which are cleared");
    append_count(line, sum->expected.n_applied, "expectations created");
    append_count(line, sum->expected.n_unchanged, "expectations were there");
    append_count(line, sum->expected.n_refused, "expectations refused");
    append_count(line, sum->n_expected_expired, "expectations expired since");
    append_count(line, sum->cumulative.n_applied, "set elements written");
    append_count(line, sum->cumulative.n_unchanged, "set elements as they were");
    append_count(line, sum->cumulative.n_refused, "set elements refused");
    if (is_dry)
        append_count(line, sum->cumulative.n_records - sum->cumulative.n_refused, "set elements not looked at");
    replay_say(stdout, NULL, "%.8s of %s%s: %" G_GUINT64_FORMAT " flows%s; %" G_GUINT64_FORMAT " session records%s%s\n", target->id, target->name,
               target->trust == REPLAY_TRUST_OWN ? " (a backup of our own)" : target->trust == REPLAY_TRUST_FORCED ? " (by force)" : "",
               sum->n_present + sum->n_merged, is_dry ? " would be there" : "", sum->n_records, line->len > 0 ? ": " : "", line->str);
    if (target->destination && config && !g_str_equal(target->destination, config->name))
        replay_say(stdout, NULL, "  it was meant for %s, not for %s\n", target->destination, config->name);
    if (target->is_aborted)
        printf("  its source took it back, so %" G_GUINT64_FORMAT " flows were removed again\n", target->removal.n_removed);
}

static SamiExit
judge(const Inject *inject, const Sum *sum)
{
    if (inject->n_messages_refused > 0 || inject->n_faults > 0)
        return REPLAY_EXIT_BROKEN;
    return add_reasons(sum->refused) + add_reasons(sum->degraded) > 0 ? SAMI_EXIT_DEGRADED : SAMI_EXIT_DONE;
}

SamiExit
inject_summary(Inject *inject)
{
    g_autofree Sum *sum = g_new0(Sum, 1);
    for (guint i = 0; i < inject->targets->len; i++)
        add_up(sum, inject->targets->pdata[i]);
    SamiExit code = judge(inject, sum);
    if (inject->replay->args.is_json) {
        print_summary_json(inject, sum, code);
        return code;
    }
    if (inject->replay->args.is_quiet)
        return code;
    for (guint i = 0; i < inject->targets->len; i++)
        print_target(inject->targets->pdata[i], inject->replay->config, inject->sink.is_dry);
    print_reasons("refused", sum->refused);
    print_reasons("degraded", sum->degraded);
    printf("%" G_GUINT64_FORMAT " Messages%s", inject->n_messages, inject->n_answers ? "" : "\n");
    if (inject->n_answers)
        printf(", and %" G_GUINT64_FORMAT " of collectors' answers, which say nothing that could be taken\n", inject->n_answers);
    return code;
}
