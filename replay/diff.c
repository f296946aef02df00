/* diff: the flows that two files leave, or a file and the table of this firewall. What runs by itself, timeouts and counters, is not compared. */
#include <poll.h>
#include <string.h>

#include "firewall/firewall.h"
#include "replay/filter.h"
#include "replay/names.h"
#include "replay/value.h"

#define FLOWS_MAX (8u * 1024u * 1024u) /* of a side: each takes some 300 octets */
#define POLL_MS 1000

/* What is in the flow's key already, and what is another one at each look. */
static const SamiElementId not_compared[] = {
    SAMI_E_FIREWALL_EVENT, SAMI_E_PROTOCOL, SAMI_E_SRC4, SAMI_E_DST4, SAMI_E_SRC6, SAMI_E_DST6, SAMI_E_SPORT, SAMI_E_DPORT, SAMI_E_ICMP_TYPE4,
    SAMI_E_ICMP_CODE4, SAMI_E_ICMP_TYPE6, SAMI_E_ICMP_CODE6, SAMI_E_ICMP_ID, SAMI_E_GRE_KEY, SAMI_E_GRE_KEY_R, SAMI_E_ZONE, SAMI_E_FLOW_ID,
    SAMI_E_START, SAMI_E_PACKETS, SAMI_E_PACKETS_R, SAMI_E_OCTETS, SAMI_E_OCTETS_R, SAMI_E_TIMEOUT, SAMI_E_SESSION_FLAGS,
};

/* One side. */
typedef struct {
    const gchar *name;
    GHashTable *flows; /* SamiFlowKey -> Flow */
    GArray *vm;        /* of SamiPrefix, from vm-address records */
    ReplayFilter *filter;
    ReplayProgress progress;
    guint32 generation; /* of the re-dump that runs; 0: none */
    gboolean is_message_wanted, is_full;
    guint64 n_foreign;  /* records of other exporters, which are not compared */
} Side;

typedef struct {
    guint32 generation; /* of the last re-dump that named it */
    gchar text[];       /* a line an attribute: name=value */
} Flow;

static void
side_clear(Side *side)
{
    g_clear_pointer(&side->flows, g_hash_table_unref);
    g_clear_pointer(&side->vm, g_array_unref);
    g_clear_pointer(&side->filter, replay_filter_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Side, side_clear)

static gboolean
is_compared(SamiElementId element)
{
    for (guint i = 0; i < G_N_ELEMENTS(not_compared); i++)
        if (not_compared[i] == element)
            return FALSE;
    return TRUE;
}

static GString *
describe(const SamiRecord *record)
{
    guint8 octets[SAMI_TEMPLATE_FIELDS_MAX * 256];
    const guint8 *at = octets;
    GString *out = g_string_new(NULL);
    SamiTemplate tmpl;
    if (!sami_template_make(SAMI_RECORD_SESSION, sami_record_groups(record), SAMI_TEMPLATE_FIRST, &tmpl))
        return out;
    sami_template_pack_wire(&tmpl, record, octets);
    for (guint i = 0; i < tmpl.n_fields; i++) {
        const SamiElement *e = &sami_elements[tmpl.fields[i]->element];
        const ReplayField field = { { e->pen, e->number, e->units, (guint8) e->type, e->semantics, e->name }, e->length };
        const ReplayValue value = { &field, at, e->length };
        guint64 number = 0;
        for (guint k = 0; k < e->length && k < 8; k++)
            number = number << 8 | at[k];
        at += e->length;
        if (!is_compared(tmpl.fields[i]->element))
            continue;
        g_string_append_printf(out, "%s%s=", out->len ? "\n" : "", e->name);
        replay_value_text(out, &value);
        if (e->length <= 4)
            replay_append_words(out, &field, number);
    }
    return out;
}

static void
put(Side *side, const SamiRecord *record)
{
    g_autoptr(GString) text = describe(record);
    if (g_hash_table_size(side->flows) >= FLOWS_MAX) {
        side->is_full = TRUE;
        return;
    }
    Flow *flow = g_malloc(sizeof *flow + text->len + 1);
    flow->generation = side->generation;
    memcpy(flow->text, text->str, text->len + 1);
    g_hash_table_replace(side->flows, g_memdup2(&record->session.key, sizeof record->session.key), flow);
}

/* --- files --- */

static gboolean
is_older(gpointer key, gpointer value, gpointer user_data)
{
    return ((Flow *) value)->generation != ((Side *) user_data)->generation;
}

static void
on_record(const ReplayRecord *record, gpointer user_data)
{
    Side *side = user_data;
    const SamiRecord *r = record->ours;
    side->n_foreign += !r && !(record->message->is_signed && record->tmpl->id == SAMI_TEMPLATE_SIGNATURE);
    if (!r || !side->is_message_wanted)
        return;
    if (r->kind == SAMI_RECORD_VM_ADDRESS4 || r->kind == SAMI_RECORD_VM_ADDRESS6) {
        if (side->vm->len < SAMI_VM_ADDRESSES_MAX)
            g_array_append_val(side->vm, r->vm_address);
    } else if (r->kind == SAMI_RECORD_EPOCH && r->epoch.phase == 1) {
        side->generation = r->epoch.generation;
    } else if (r->kind == SAMI_RECORD_EPOCH) { /* what a whole re-dump did not name has ended (PROTOCOL §3) */
        g_hash_table_foreach_remove(side->flows, is_older, side);
    } else if (r->kind == SAMI_RECORD_SESSION && replay_filter_record(side->filter, record)) {
        if (r->session.action == SAMI_ACTION_DELETED)
            g_hash_table_remove(side->flows, &r->session.key);
        else
            put(side, r);
    }
}

static void
on_message(const ReplayMessage *message, gpointer user_data)
{
    Side *side = user_data;
    side->is_message_wanted = replay_filter_message(side->filter, message);
}

static void
on_fault(const ReplayFault *fault, gpointer user_data)
{
    Side *side = user_data;
    replay_say_fault(side->name, &side->progress, fault);
}

static gboolean
read_file(Replay *replay, Side *side, guint64 *n_faults, GError **error)
{
    static const ReplayHandlers handlers = { .message = on_message, .record = on_record, .fault = on_fault };
    guint64 n;
    if (!replay_read(replay, side->name, &handlers, side, &side->is_full, &side->progress, &n, NULL, error))
        return FALSE;
    *n_faults += n;
    if (side->n_foreign)
        replay_say(stderr, &side->progress, "%s: %" G_GUINT64_FORMAT " records of another exporter are not compared\n", side->name, side->n_foreign);
    if (!side->is_full)
        return TRUE;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s: more than %u flows; --address and the like make it fewer", side->name, FLOWS_MAX);
    return FALSE;
}

/* --- this firewall --- */

static void
on_live(const SamiSession *session, gpointer user_data)
{
    Side *side = user_data;
    SamiRecord record = { .kind = SAMI_RECORD_SESSION };
    record.session = *session;
    record.session.action = SAMI_ACTION_CREATED;
    if (replay_filter_matches(side->filter, &record))
        put(side, &record);
}

static gboolean
read_live(Side *side, const GArray *vm, GError **error)
{
    const SamiDumpFilter filter = { .prefixes = (const SamiPrefix *) (gpointer) vm->data, .n_prefixes = vm->len };
    SamiDumpStatus status;
    g_autoptr(SamiFirewall) firewall = sami_firewall_linux_new(error);
    g_autoptr(SamiFirewallDump) dump = firewall ? sami_firewall_dump_new(firewall, &filter, error) : NULL;
    if (!dump)
        return FALSE;
    while ((status = sami_firewall_dump_next(dump, on_live, side, error)) == SAMI_DUMP_MORE && !side->is_full) {
        struct pollfd fd = { .fd = sami_firewall_dump_fd(dump), .events = POLLIN };
        poll(&fd, 1, POLL_MS);
    }
    if (side->is_full)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "the table has more than %u flows; --address and the like make it fewer", FLOWS_MAX);
    return status == SAMI_DUMP_END && !side->is_full;
}

/* --- what differs --- */

static void
tell(const Replay *replay, const gchar *where, const SamiFlowKey *key, const gchar *changes)
{
    g_autofree gchar *flow = sami_flow_key_to_string(key);
    if (!replay->args.is_json) {
        replay_say(stdout, NULL, "%s %s%s%s\n", where, flow, *changes ? ": " : "", changes);
        return;
    }
    g_autoptr(GString) out = g_string_new("{\"flow\":");
    replay_json_string(out, flow, strlen(flow));
    g_string_append_printf(out, ",\"in\":\"%s\"", *where == '<' ? "first" : *where == '>' ? "second" : "both");
    if (*changes) {
        g_string_append(out, ",\"changes\":");
        replay_json_string(out, changes, strlen(changes));
    }
    printf("%s}\n", out->str);
}

static const gchar *
find_value(gchar **lines, const gchar *line)
{
    gsize n = strcspn(line, "=") + 1;
    for (guint i = 0; lines[i]; i++)
        if (strncmp(lines[i], line, n) == 0)
            return lines[i] + n;
    return NULL;
}

static gchar *
compare(const gchar *a, const gchar *b)
{
    g_auto(GStrv) old = g_strsplit(a, "\n", -1);
    g_auto(GStrv) new = g_strsplit(b, "\n", -1);
    GString *out = g_string_new(NULL);
    for (guint i = 0; old[i]; i++) {
        const gchar *value = find_value(new, old[i]);
        gsize n = strcspn(old[i], "=");
        if (*old[i] && (!value || strcmp(value, old[i] + n + 1) != 0))
            g_string_append_printf(out, "%s%.*s %s -> %s", out->len ? ", " : "", (int) n, old[i], old[i] + n + 1, value ? value : "none");
    }
    for (guint i = 0; new[i]; i++)
        if (*new[i] && !find_value(old, new[i]))
            g_string_append_printf(out, "%s%.*s none -> %s", out->len ? ", " : "", (int) strcspn(new[i], "="), new[i], new[i] + strcspn(new[i], "=") + 1);
    return g_string_free(out, FALSE);
}

static gint
by_text(gconstpointer a, gconstpointer b)
{
    return memcmp(*(const SamiFlowKey *const *) a, *(const SamiFlowKey *const *) b, sizeof(SamiFlowKey));
}

/* In the order of addresses, so that two runs say the same. (transfer container) */
static GPtrArray *
sorted(GHashTable *flows)
{
    GHashTableIter iter;
    gpointer key;
    GPtrArray *keys = g_ptr_array_new();
    g_hash_table_iter_init(&iter, flows);
    while (g_hash_table_iter_next(&iter, &key, NULL))
        g_ptr_array_add(keys, key);
    g_ptr_array_sort(keys, by_text);
    return keys;
}

static SamiExit
compare_sides(const Replay *replay, const Side *a, const Side *b, guint64 n_faults)
{
    guint64 n_first = 0, n_second = 0, n_changed = 0;
    g_autoptr(GPtrArray) first = sorted(a->flows);
    g_autoptr(GPtrArray) second = sorted(b->flows);
    for (guint i = 0; i < first->len; i++) {
        const Flow *old = g_hash_table_lookup(a->flows, first->pdata[i]), *new = g_hash_table_lookup(b->flows, first->pdata[i]);
        g_autofree gchar *changes = new ? compare(old->text, new->text) : g_strdup("");
        n_first += !new;
        n_changed += new && *changes;
        if (!new || *changes)
            tell(replay, new ? "!" : "<", first->pdata[i], changes);
    }
    for (guint i = 0; i < second->len; i++)
        if (!g_hash_table_contains(a->flows, second->pdata[i])) {
            n_second++;
            tell(replay, ">", second->pdata[i], "");
        }
    if (replay->args.is_json)
        printf("{\"summary\":true,\"first\":%u,\"second\":%u,\"onlyFirst\":%" G_GUINT64_FORMAT ",\"onlySecond\":%" G_GUINT64_FORMAT ",\"changed\":%" G_GUINT64_FORMAT "}\n",
               first->len, second->len, n_first, n_second, n_changed);
    else if (!replay->args.is_quiet)
        replay_say(stdout, NULL, "%u flows in %s, %u in %s; only in the first %" G_GUINT64_FORMAT ", only in the second %" G_GUINT64_FORMAT ", changed %" G_GUINT64_FORMAT "\n",
               first->len, a->name, second->len, b->name, n_first, n_second, n_changed);
    if (n_faults)
        return REPLAY_EXIT_BROKEN;
    return n_first || n_second || n_changed ? REPLAY_EXIT_DIFFERS : SAMI_EXIT_DONE;
}

static gboolean
side_init(Side *side, const Replay *replay, const gchar *name, GError **error)
{
    side->name = name;
    side->flows = g_hash_table_new_full(sami_flow_key_hash, sami_flow_key_equal, g_free, g_free);
    side->vm = g_array_new(FALSE, FALSE, sizeof(SamiPrefix));
    side->filter = replay_filter_new(&replay->args, error);
    return side->filter != NULL;
}

SamiExit
replay_diff(Replay *replay, GError **error)
{
    g_auto(Side) a = { 0 };
    g_auto(Side) b = { 0 };
    guint64 n_faults = 0;
    const gchar *second = replay->args.operands[1];
    if (!second == !replay->args.is_live) {
        g_set_error_literal(error, SAMI_ERROR, SAMI_ERROR_USAGE, "diff: a second FILE, or --live, and not both");
        return SAMI_EXIT_USAGE;
    }
    if (!side_init(&a, replay, replay->args.operands[0], error) || !side_init(&b, replay, second ? second : "the table", error))
        return SAMI_EXIT_FAILED;
    if (!read_file(replay, &a, &n_faults, error) || !(second ? read_file(replay, &b, &n_faults, error) : read_live(&b, a.vm, error)))
        return SAMI_EXIT_FAILED;
    return compare_sides(replay, &a, &b, n_faults);
}
