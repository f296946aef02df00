/* stats: what is in an input, counted. */
#include <string.h>

#include "replay/filter.h"
#include "replay/keys.h"
#include "replay/names.h"
#include "replay/value.h"

#define NAMES_MAX 256u /* migrations, templates and signers that are told apart; more are one row "others" */

typedef struct {
    guint64 n, octets;
} Count;

typedef struct {
    Replay *replay;
    ReplayKeys *keys;
    ReplayFilter *filter;
    ReplayProgress progress;
    gboolean is_wanted;
    guint64 n_messages, n_octets, n_faults, n_losses, n_templates, n_withdrawn, n_records;
    guint64 n_actions[8];
    guint32 first_time, last_time;
    GHashTable *kinds, *migrations, *signatures, *protocols; /* name -> Count */
} Stats;

static void
count(GHashTable *table, const gchar *name, guint64 octets)
{
    Count *row = g_hash_table_lookup(table, name);
    if (!row && g_hash_table_size(table) >= NAMES_MAX) {
        name = "others";
        row = g_hash_table_lookup(table, name);
    }
    if (!row) {
        row = g_new0(Count, 1);
        g_hash_table_insert(table, g_strdup(name), row);
    }
    row->n++;
    row->octets += octets;
}

static void
on_message(const ReplayMessage *m, gpointer user_data)
{
    Stats *s = user_data;
    const ReplayKey *key;
    s->is_wanted = replay_filter_message(s->filter, m);
    if (!s->is_wanted)
        return;
    s->n_messages++;
    s->n_octets += m->input.length;
    s->first_time = s->n_messages == 1 ? m->export_time : MIN(s->first_time, m->export_time);
    s->last_time = MAX(s->last_time, m->export_time);
    static const gchar *const words[] = { "unsigned", "of a key that is not known", "BAD of", "good, of" };
    ReplayVerdict verdict = replay_keys_judge(s->keys, m, &key);
    g_autofree gchar *who = g_strdup_printf("%s%s%s", words[verdict], key ? " " : "", key ? key->name : "");
    count(s->signatures, who, m->input.length);
    if (m->is_signed) {
        gchar id[SAMI_MIGRATION_ID_TEXT];
        count(s->migrations, sami_migration_id_text(m->signature.migration_id, id), m->input.length);
    }
}

static void
on_template(const ReplayMessage *m, const ReplayTemplate *tmpl, gboolean is_withdrawn, gpointer user_data)
{
    Stats *s = user_data;
    s->n_templates += !is_withdrawn;
    s->n_withdrawn += is_withdrawn;
}

static void
on_record(const ReplayRecord *record, gpointer user_data)
{
    Stats *s = user_data;
    if (!s->is_wanted || (replay_filter_has_record_rules(s->filter) && !replay_filter_record(s->filter, record)))
        return;
    s->n_records++;
    count(s->kinds, replay_record_name(record), record->length);
    if (!record->ours || record->ours->kind != SAMI_RECORD_SESSION)
        return;
    const SamiSession *session = &record->ours->session;
    g_autoptr(GString) protocol = g_string_new(NULL);
    replay_protocol_text(protocol, session->key.protocol);
    count(s->protocols, protocol->str, record->length);
    s->n_actions[MIN(session->action, G_N_ELEMENTS(s->n_actions) - 1)]++;
}

static void
on_fault(const ReplayFault *fault, gpointer user_data)
{
    Stats *s = user_data;
    s->n_losses += fault->is_loss;
    s->n_faults += !fault->is_loss;
}

/* --- output --- */

static gint
by_count(gconstpointer a, gconstpointer b, gpointer table)
{
    const Count *x = g_hash_table_lookup(table, a), *y = g_hash_table_lookup(table, b);
    return x->n != y->n ? (x->n < y->n) - (x->n > y->n) : strcmp(a, b);
}

static GList *
sorted(GHashTable *table)
{
    GList *names = g_hash_table_get_keys(table);
    return g_list_sort_with_data(names, by_count, table);
}

static void
print_table(const gchar *title, GHashTable *table, const gchar *unit)
{
    g_autoptr(GList) names = sorted(table);
    if (names)
        printf("%s\n", title);
    for (GList *i = names; i; i = i->next) {
        const Count *row = g_hash_table_lookup(table, i->data);
        replay_say(stdout, NULL, "  %10" G_GUINT64_FORMAT " %s %12" G_GUINT64_FORMAT " octets  %s\n", row->n, unit, row->octets, (const gchar *) i->data);
    }
}

static void
json_table(GString *out, const gchar *title, GHashTable *table)
{
    g_autoptr(GList) names = sorted(table);
    g_string_append_printf(out, ",\"%s\":{", title);
    for (GList *i = names; i; i = i->next) {
        g_string_append(out, i == names ? "" : ",");
        replay_json_string(out, i->data, strlen(i->data));
        g_string_append_printf(out, ":%" G_GUINT64_FORMAT, ((const Count *) g_hash_table_lookup(table, i->data))->n);
    }
    g_string_append_c(out, '}');
}

typedef struct {
    const gchar *name, *text;
    guint64 value;
} Row;

#define N_ROWS 16
static void
list(const Stats *s, const SamiInputCounts *c, Row rows[N_ROWS])
{
    const Row all[N_ROWS] = {
        { "messages", "Messages", s->n_messages },
        { "octets", "octets of them", s->n_octets },
        { "records", "records", s->n_records },
        { "created", "sessions created", s->n_actions[SAMI_ACTION_CREATED] },
        { "updated", "sessions updated", s->n_actions[SAMI_ACTION_UPDATE] },
        { "deleted", "sessions deleted", s->n_actions[SAMI_ACTION_DELETED] },
        { "templates", "templates defined", s->n_templates },
        { "withdrawn", "templates withdrawn", s->n_withdrawn },
        { "losses", "gaps in Sequence Numbers", s->n_losses },
        { "faults", "broken rules (validate names them)", s->n_faults },
        { "packets", "packets of the capture", c->n_packets },
        { "otherPackets", "of them not IPFIX", c->n_other },
        { "cutPackets", "of them captured in part", c->n_cut },
        { "fragments", "of them fragments of IP", c->n_fragments },
        { "lostOctets", "octets of streams that were not captured", c->n_lost_octets },
        { "differingOctets", "octets of streams that came twice and not the same", c->n_differing },
    };
    memcpy(rows, all, sizeof all);
}

static void
print_stats(const Stats *s, const gchar *path, const gchar *form, const SamiInputCounts *c)
{
    Row rows[N_ROWS];
    g_autoptr(GString) out = g_string_new(NULL);
    gboolean is_json = s->replay->args.is_json;
    list(s, c, rows);
    if (is_json) {
        g_string_append(out, "{\"file\":");
        replay_json_string(out, path, strlen(path));
        g_string_append_printf(out, ",\"form\":\"%s\"", form);
    } else {
        g_string_append_printf(out, "%s: %s\n", path, form);
    }
    for (guint i = 0; i < N_ROWS; i++)
        if (is_json)
            g_string_append_printf(out, ",\"%s\":%" G_GUINT64_FORMAT, rows[i].name, rows[i].value);
        else if (i < 3 || rows[i].value)
            g_string_append_printf(out, "  %10" G_GUINT64_FORMAT " %s\n", rows[i].value, rows[i].text);
    if (s->n_messages > 0) {
        g_string_append(out, is_json ? ",\"first\":\"" : "  exported from ");
        replay_time_text(out, s->first_time, 0, 0);
        g_string_append(out, is_json ? "\",\"last\":\"" : " to ");
        replay_time_text(out, s->last_time, 0, 0);
        g_string_append(out, is_json ? "\"" : "\n");
    }
    if (is_json) {
        json_table(out, "kinds", s->kinds);
        json_table(out, "protocols", s->protocols);
        json_table(out, "migrations", s->migrations);
        json_table(out, "signatures", s->signatures);
        printf("%s}\n", out->str);
        return;
    }
    replay_say(stdout, NULL, "%s", out->str);
    print_table("records by kind", s->kinds, "records ");
    print_table("sessions by protocol", s->protocols, "records ");
    print_table("Messages by migration", s->migrations, "Messages");
    print_table("Messages by signature", s->signatures, "Messages");
}

static void
stats_clear(Stats *s)
{
    g_clear_pointer(&s->keys, replay_keys_free);
    g_clear_pointer(&s->filter, replay_filter_free);
    g_clear_pointer(&s->kinds, g_hash_table_unref);
    g_clear_pointer(&s->protocols, g_hash_table_unref);
    g_clear_pointer(&s->migrations, g_hash_table_unref);
    g_clear_pointer(&s->signatures, g_hash_table_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Stats, stats_clear)

static GHashTable *
table_new(void)
{
    return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
}

SamiExit
replay_stats(Replay *replay, GError **error)
{
    static const ReplayHandlers handlers = { .message = on_message, .tmpl = on_template, .record = on_record, .fault = on_fault };
    gboolean is_broken = FALSE;
    for (guint i = 0; replay->args.operands[i]; i++) {
        const gchar *path = replay->args.operands[i];
        guint64 n_faults;
        ReplayInputFacts facts;
        g_auto(Stats) s = { .replay = replay, .kinds = table_new(), .protocols = table_new(), .migrations = table_new(), .signatures = table_new() };
        if (!(s.filter = replay_filter_new(&replay->args, error)) || !(s.keys = replay_keys_load(replay, error)) ||
            !replay_read(replay, path, &handlers, &s, NULL, &s.progress, &n_faults, &facts, error))
            return SAMI_EXIT_FAILED;
        print_stats(&s, path, facts.form, &facts.counts);
        is_broken |= n_faults > 0;
    }
    return is_broken ? REPLAY_EXIT_BROKEN : SAMI_EXIT_DONE;
}
