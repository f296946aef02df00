/* dump: every Message and record as a table for people, or as JSON lines. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "common/value.h"
#include "replay/filter.h"
#include "replay/keys.h"
#include "replay/names.h"
#include "replay/value.h"

#define IDLE_US 100000u /* between looks at a file that is followed */
#define OCTETS_SHOWN 32u /* of a longer value that is not text, unless --wide */

typedef struct {
    Replay *replay;
    const gchar *path;
    ReplayFilter *filter;
    ReplayKeys *keys;
    ReplayProgress progress;
    GString *line;
    GString *where;       /* of JSON: what all records of the Message begin with */
    gboolean is_wanted;   /* the Message is */
    gboolean has_heading; /* it was printed; of JSON: `where` is that of this Message */
    ReplayVerdict verdict;
    const ReplayKey *key;
    guint n_described;    /* elements, in this Message */
    guint64 n_left;       /* of --count */
    gboolean stop;
} Dump;

static void
flush_line(Dump *dump)
{
    g_string_append_c(dump->line, '\n');
    replay_progress_hide(&dump->progress);
    fwrite(dump->line->str, 1, dump->line->len, stdout);
    g_string_truncate(dump->line, 0);
}

static void
append_export_time(GString *out, const ReplayMessage *m)
{
    replay_time_text(out, m->export_time, 0, 0);
}

static void
append_hex(GString *out, const guint8 *octets, guint n)
{
    for (guint i = 0; i < n; i++)
        g_string_append_printf(out, "%02x", octets[i]);
}

static const gchar *
signer(const Dump *dump)
{
    return dump->key ? dump->key->name : "";
}

/* --- for people --- */

static void
append_signature(const Dump *dump, GString *out, const ReplayMessage *m)
{
    if (dump->verdict == REPLAY_UNSIGNED) {
        g_string_append(out, "unsigned");
        return;
    }
    if (dump->verdict == REPLAY_UNKNOWN_KEY) {
        g_string_append(out, "signed by unknown key ");
        append_hex(out, m->signature.key_id, 4);
    } else {
        g_string_append_printf(out, dump->verdict == REPLAY_GOOD ? "signed by %s" : "BAD SIGNATURE of %s", signer(dump));
    }
    g_string_append(out, ", migration ");
    append_hex(out, m->signature.migration_id, 4);
    g_string_append_printf(out, ", counter %" G_GUINT64_FORMAT "%s", m->signature.counter, m->signature.flags & SAMI_SIGNATURE_LAST ? ", last" : "");
}

static void
print_heading(Dump *dump, const ReplayMessage *m)
{
    GString *out = dump->line;
    if (dump->has_heading)
        return;
    dump->has_heading = TRUE;
    g_string_append_printf(out, "Message %" G_GUINT64_FORMAT " at %" G_GUINT64_FORMAT "  ", m->number, m->input.offset);
    append_export_time(out, m);
    g_string_append_printf(out, "  domain %u  sequence %u  %zu octets", m->domain, m->sequence, m->input.length);
    if (m->input.carrier != SAMI_CARRIER_FILE)
        g_string_append_printf(out, "  %s %s session %u", sami_carrier_name(m->input.carrier), m->input.ends, m->input.session);
    g_string_append(out, "  ");
    append_signature(dump, out, m);
    flush_line(dump);
}

/* What an operator looks for in a session: the flow, what it is translated to, and whether it was alive. */
static void
append_session(GString *out, const SamiSession *s)
{
    g_autofree gchar *flow = sami_flow_key_to_string(&s->key);
    SamiFlowKey reply = s->key;
    g_string_append_printf(out, "%-8s %s", replay_word(SAMI_E_FIREWALL_EVENT, s->action) ? replay_word(SAMI_E_FIREWALL_EVENT, s->action) : "?", flow);
    if ((s->has & SAMI_HAS_REPLY) && (sami_session_has_snat(s) || sami_session_has_dnat(s))) {
        reply.orig = s->reply;
        g_autofree gchar *text = sami_flow_key_to_string(&reply);
        const gchar *addresses = strchr(text, ' '), *end = strstr(text, " zone ");
        g_string_append_printf(out, "  reply%.*s", (int) ((end ? end : text + strlen(text)) - addresses), addresses);
    }
    if (s->has & SAMI_HAS_VLAN)
        g_string_append_printf(out, "  vlan %u", s->vlan);
    if (s->has & SAMI_HAS_TCP)
        g_string_append_printf(out, "  %s", replay_word(SAMI_E_TCP_STATE, s->tcp_state) ? replay_word(SAMI_E_TCP_STATE, s->tcp_state) : "?");
    if (s->has & SAMI_HAS_SCTP)
        g_string_append_printf(out, "  %s", replay_word(SAMI_E_SCTP_STATE, s->sctp_state) ? replay_word(SAMI_E_SCTP_STATE, s->sctp_state) : "?");
    if (s->has & SAMI_HAS_TIMEOUT)
        g_string_append_printf(out, "  timeout %u s", s->timeout_s);
    if (s->has & SAMI_HAS_STATUS) {
        g_string_append(out, "  ");
        replay_append_flags(out, SAMI_E_STATUS, s->status);
    }
    if ((s->has & SAMI_HAS_MARK) && s->mark)
        g_string_append_printf(out, "  mark 0x%x", s->mark);
    if (s->has & SAMI_HAS_HELPER) { /* a journal has what was refused, too */
        g_autofree gchar *name = g_strndup(s->helper, sizeof s->helper), *quoted = g_strescape(name, NULL);
        g_string_append_printf(out, "  helper %s", quoted);
    }
    if (s->flags & SAMI_SESSION_LATE)
        g_string_append(out, "  late");
}

static void
append_refused_flow(GString *out, const SamiRefusal *refusal)
{
    SamiFlowKey key;
    if (!sami_refusal_has_flow(refusal))
        return;
    sami_flow_key_unpack(refusal->key, &key);
    g_autofree gchar *flow = sami_flow_key_to_string(&key);
    g_string_append_printf(out, " %s", flow);
}

static guint64
small_number(const ReplayValue *value)
{
    guint64 number = 0;
    for (gsize i = 0; i < value->length && i < 8; i++)
        number = number << 8 | value->octets[i];
    return number;
}

static gboolean
is_empty(const ReplayValue *value)
{
    for (gsize i = 0; i < value->length; i++)
        if (value->octets[i])
            return FALSE;
    return TRUE;
}

/* Pieces of packets, as some exporters send them, would hide all else. */
static void
append_shortened(GString *out, const ReplayValue *value)
{
    ReplayValue shown = { value->field, value->octets, OCTETS_SHOWN };
    replay_value_text(out, &shown);
    g_string_append_printf(out, "… (%zu octets)", value->length);
}

static void
append_fields(GString *out, const ReplayRecord *record, gboolean is_wide)
{
    ReplayWalk walk = REPLAY_WALK(record);
    ReplayValue value;
    while (replay_walk(&walk, &value)) {
        guint type = value.field->element.type;
        if (!is_wide && record->ours && value.field->element.pen == SAMI_PEN && value.field->element.number == sami_elements[SAMI_E_RECORD_KIND].number)
            continue; /* its name stands in front */
        /* Long binary fields, and strings that are empty, say nothing to people. */
        if (!is_wide && record->ours && value.length > 8 && ((type == SAMI_TYPE_OCTETS) || (type == SAMI_TYPE_STRING && is_empty(&value))))
            continue;
        g_string_append_c(out, ' ');
        replay_field_name(out, value.field);
        g_string_append_c(out, '=');
        if (!is_wide && type == SAMI_TYPE_OCTETS && value.length > OCTETS_SHOWN)
            append_shortened(out, &value);
        else
            replay_value_text(out, &value);
        if (type >= SAMI_TYPE_U8 && type <= SAMI_TYPE_U32)
            replay_append_words(out, value.field, small_number(&value));
    }
}

static void
print_text(Dump *dump, const ReplayRecord *record)
{
    GString *out = dump->line;
    gboolean is_wide = dump->replay->args.is_wide;
    if (!is_wide && record->message->is_signed && !record->ours && record->tmpl->id == SAMI_TEMPLATE_SIGNATURE)
        return; /* the heading has it */
    if (!is_wide && record->ours && record->ours->kind == SAMI_RECORD_TYPE_INFORMATION) {
        dump->n_described++;
        return;
    }
    print_heading(dump, record->message);
    g_string_append_printf(out, "    %-16s ", replay_record_name(record));
    if (record->ours && record->ours->kind == SAMI_RECORD_SESSION && !is_wide) {
        append_session(out, &record->ours->session);
    } else {
        gsize before = out->len;
        append_fields(out, record, is_wide);
        g_string_erase(out, (gssize) before, out->len > before ? 1 : 0);
        if (record->ours && record->ours->kind == SAMI_RECORD_REFUSAL)
            append_refused_flow(out, &record->ours->refusal);
    }
    flush_line(dump);
}

/* --- for machines --- */

static void
json_member(GString *out, const gchar *name, const gchar *text)
{
    g_string_append_printf(out, ",\"%s\":", name);
    replay_json_string(out, text, strlen(text));
}

static void
json_where(Dump *dump, const ReplayMessage *m)
{
    static const gchar *const verdicts[] = { "none", "unknown-key", "bad", "good" };
    GString *out = dump->where;
    g_string_assign(out, "{\"file\":");
    replay_json_string(out, dump->path, strlen(dump->path));
    g_string_append_printf(out, ",\"message\":%" G_GUINT64_FORMAT ",\"offset\":%" G_GUINT64_FORMAT ",\"exportTime\":\"", m->number, m->input.offset);
    append_export_time(out, m);
    g_string_append_printf(out, "\",\"domain\":%u,\"sequence\":%u,\"carrier\":\"%s\",\"session\":%u", m->domain, m->sequence,
                           sami_carrier_name(m->input.carrier), m->input.session);
    if (m->input.time_ns) {
        g_string_append(out, ",\"captured\":\"");
        replay_time_text(out, m->input.time_ns / 1000000000, (guint32) (m->input.time_ns % 1000000000), 9);
        g_string_append_c(out, '"');
    }
    if (*m->input.ends)
        json_member(out, "ends", m->input.ends);
    g_string_append_printf(out, ",\"signature\":\"%s\"", verdicts[dump->verdict]);
    if (dump->verdict == REPLAY_UNSIGNED)
        return;
    if (dump->key)
        json_member(out, "signer", dump->key->name);
    g_string_append_printf(out, ",\"role\":%u,\"counter\":%" G_GUINT64_FORMAT ",\"migration\":\"", m->signature.role, m->signature.counter);
    append_hex(out, m->signature.migration_id, 16);
    g_string_append_c(out, '"');
}

/* All values of an element that a template has more than once, in their order. */
static void
json_list(GString *out, const ReplayValue *values, guint i)
{
    g_string_append_c(out, '[');
    replay_value_json(out, &values[i]);
    while ((i = values[i].field->next) > 0) {
        g_string_append_c(out, ',');
        replay_value_json(out, &values[i]);
    }
    g_string_append_c(out, ']');
}

static void
json_fields(GString *out, const ReplayRecord *record)
{
    ReplayWalk walk = REPLAY_WALK(record);
    g_autofree ReplayValue *values = g_new(ReplayValue, record->tmpl->n_fields);
    gboolean is_first = TRUE;
    for (guint i = 0; i < record->tmpl->n_fields; i++)
        replay_walk(&walk, &values[i]);
    g_string_append(out, ",\"fields\":{");
    for (guint i = 0; i < record->tmpl->n_fields; i++) {
        if (values[i].field->is_later)
            continue;
        g_string_append(out, is_first ? "\"" : ",\"");
        replay_field_name(out, values[i].field);
        g_string_append(out, "\":");
        is_first = FALSE;
        if (values[i].field->next > 0)
            json_list(out, values, i);
        else
            replay_value_json(out, &values[i]);
    }
    g_string_append_c(out, '}');
}

static void
print_json(Dump *dump, const ReplayRecord *record)
{
    if (!dump->has_heading)
        json_where(dump, record->message);
    dump->has_heading = TRUE;
    g_string_append_len(dump->line, dump->where->str, (gssize) dump->where->len);
    g_string_append_printf(dump->line, ",\"template\":%u,\"kind\":\"%s\"", record->tmpl->id, replay_record_name(record));
    json_fields(dump->line, record);
    g_string_append_c(dump->line, '}');
    flush_line(dump);
}

/* --- what the reader says --- */

static void
on_message(const ReplayMessage *message, gpointer user_data)
{
    Dump *dump = user_data;
    dump->is_wanted = !dump->stop && replay_filter_message(dump->filter, message);
    dump->has_heading = FALSE;
    dump->n_described = 0;
    dump->verdict = REPLAY_UNSIGNED;
    if (!dump->is_wanted)
        return;
    dump->verdict = replay_keys_judge(dump->keys, message, &dump->key);
    if (!dump->replay->args.is_json && !replay_filter_has_record_rules(dump->filter))
        print_heading(dump, message);
}

static void
on_end(const ReplayMessage *message, gpointer user_data)
{
    Dump *dump = user_data;
    if (!dump->n_described)
        return;
    print_heading(dump, message);
    g_string_append_printf(dump->line, "    type-information describes %u elements (--wide lists them)", dump->n_described);
    flush_line(dump);
}

static void
on_template(const ReplayMessage *message, const ReplayTemplate *tmpl, gboolean is_withdrawn, gpointer user_data)
{
    Dump *dump = user_data;
    GString *out = dump->line;
    if (!dump->is_wanted || !dump->replay->args.is_wide || dump->replay->args.is_json || replay_filter_has_record_rules(dump->filter))
        return;
    print_heading(dump, message);
    g_string_append_printf(out, "    template %-7u %s%s:", tmpl->id, is_withdrawn ? "withdrawn, " : "",
                           tmpl->is_ours ? replay_kind_name(tmpl->ours.kind) : tmpl->n_scope ? "options" : "data");
    for (guint i = 0; i < tmpl->n_fields; i++) {
        const ReplayField *f = &tmpl->fields[i];
        g_string_append_c(out, ' ');
        replay_field_name(out, f);
        g_string_append_printf(out, f->length == REPLAY_VARIABLE ? "[v]" : "[%u]", f->length);
        g_string_append_printf(out, "<%s>%s", f->element.name ? sami_type_name(f->element.type) : "unknown", i < tmpl->n_scope ? "{scope}" : "");
    }
    flush_line(dump);
}

static void
on_record(const ReplayRecord *record, gpointer user_data)
{
    Dump *dump = user_data;
    if (!dump->is_wanted || dump->stop || (replay_filter_has_record_rules(dump->filter) && !replay_filter_record(dump->filter, record)))
        return;
    if (dump->replay->args.is_json)
        print_json(dump, record);
    else
        print_text(dump, record);
    dump->stop = --dump->n_left == 0;
}

static void
on_fault(const ReplayFault *fault, gpointer user_data)
{
    Dump *dump = user_data;
    if (fault->message && !dump->is_wanted)
        return;
    if (!dump->replay->args.is_json) {
        replay_say_fault(dump->path, &dump->progress, fault);
        return;
    }
    g_string_append(dump->line, "{\"file\":");
    replay_json_string(dump->line, dump->path, strlen(dump->path));
    g_string_append_printf(dump->line, ",\"offset\":%" G_GUINT64_FORMAT ",\"within\":%zu", fault->offset, fault->within);
    if (fault->message)
        g_string_append_printf(dump->line, ",\"message\":%" G_GUINT64_FORMAT, fault->message->number);
    json_member(dump->line, fault->is_loss ? "loss" : "fault", fault->text);
    g_string_append_c(dump->line, '}');
    flush_line(dump);
}

/* A journal that was removed will not grow. */
static gboolean
on_idle(gpointer user_data)
{
    Dump *dump = user_data;
    struct stat info;
    fflush(stdout);
    if (stat(dump->path, &info) != 0 || ferror(stdout))
        return FALSE;
    g_usleep(IDLE_US);
    return TRUE;
}

static void
dump_clear(Dump *dump)
{
    g_clear_pointer(&dump->filter, replay_filter_free);
    g_clear_pointer(&dump->keys, replay_keys_free);
    if (dump->line)
        g_string_free(g_steal_pointer(&dump->line), TRUE);
    if (dump->where)
        g_string_free(g_steal_pointer(&dump->where), TRUE);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Dump, dump_clear)

SamiExit
replay_dump(Replay *replay, GError **error)
{
    static const ReplayHandlers handlers = { .message = on_message, .tmpl = on_template, .record = on_record, .fault = on_fault, .end = on_end, .idle = on_idle };
    g_auto(Dump) dump = { .replay = replay, .line = g_string_new(NULL), .where = g_string_new(NULL), .n_left = G_MAXUINT64 };
    guint64 n_faults = 0;
    if (replay->args.count && !sami_value_uint(replay->args.count, 1, G_MAXUINT64, &dump.n_left, error)) {
        g_prefix_error(error, "--count: ");
        return SAMI_EXIT_USAGE;
    }
    if (!(dump.filter = replay_filter_new(&replay->args, error)) || !(dump.keys = replay_keys_load(replay, error)))
        return SAMI_EXIT_FAILED;
    for (guint i = 0; replay->args.operands[i] && !dump.stop; i++) {
        guint64 n;
        dump.path = replay->args.operands[i];
        if (!replay_read(replay, dump.path, &handlers, &dump, &dump.stop, &dump.progress, &n, NULL, error))
            return SAMI_EXIT_FAILED;
        n_faults += n;
    }
    return n_faults ? REPLAY_EXIT_BROKEN : SAMI_EXIT_DONE;
}
