/* `diff`: what differs between this firewall's connection table and a peer's, or between two that were saved. */
#include "ctl/enrol.h"

#include <string.h>

#include "common/control-json.h"

#define HEAD "# samictl table 1\n"
#define DIFFER 20 /* exit code, as of check: to be looked at */
#define SHOWN 100u
#define LINE_OCTETS 512u   /* of a flow, at most */
#define FLOWS_MIN 65536u
/* Each line costs memory beyond its octets. Real ones are a quarter of LINE_OCTETS and longer. */
#define LINES_A_FLOW 4u

typedef struct {
    GHashTable *flows; /* flow -> the rest of its line */
    gchar *name;
} Table;

static void
table_clear(Table *table)
{
    g_clear_pointer(&table->flows, g_hash_table_unref);
    g_clear_pointer(&table->name, g_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Table, table_clear)

static void
table_init(Table *table, const gchar *name)
{
    table->flows = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    table->name = g_strdup(name);
}

static void
add(Table *table, const gchar *line, gsize length)
{
    const gchar *tab = memchr(line, '\t', length);
    gsize n = tab ? (gsize)(tab - line) : length;
    if (n > 0)
        g_hash_table_replace(table->flows, g_strndup(line, n), tab ? g_strndup(tab + 1, length - n - 1) : g_strdup(""));
}

/* At most `max` lines. */
static gboolean
parse(Table *table, const gchar *text, gsize length, gsize max, GError **error)
{
    const gchar *end = text + length;
    gsize n_lines = 0;
    if (length < strlen(HEAD) || strncmp(text, HEAD, strlen(HEAD)) != 0) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED, "%s is no table of `samictl diff --save`", table->name);
        return FALSE;
    }
    for (const gchar *at = text + strlen(HEAD); at < end;) {
        const gchar *line_end = memchr(at, '\n', (gsize)(end - at));
        gsize n = line_end ? (gsize)(line_end - at) : (gsize)(end - at);
        if (n == 0 || *at == '\t' || !memchr(at, '\t', n) || ++n_lines > max) {
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED, n_lines > max ? "%s: the table has more lines than any that this firewall could have"
                                                                              : "%s: a line of the table is no flow and its fields", table->name);
            return FALSE;
        }
        add(table, at, n);
        at += n + 1;
    }
    return TRUE;
}

/* From the daemon, slice by slice. */
static gboolean
ask(Ctl *ctl, Table *table, GError **error)
{
    g_autofree gchar *path = ctl_socket(ctl, CTL_EXPORTER);
    gint64 id = 0, from = 0, total = 1;
    table_init(table, "this firewall");
    while (from < total) {
        g_autoptr(JsonObject) request = json_object_new();
        json_object_set_string_member(request, "cmd", "table");
        json_object_set_int_member(request, "table", id);
        json_object_set_int_member(request, "at", from);
        g_autoptr(JsonObject) answer = ctl_call(path, request, error);
        JsonArray *flows = answer ? ctl_array(answer, "flows") : NULL;
        guint n = flows ? json_array_get_length(flows) : 0;
        if (answer && ctl_int(answer, "exit") != SAMI_EXIT_DONE)
            g_set_error_literal(error, SAMI_ERROR, ctl_int(answer, "exit") == SAMI_EXIT_NOT_PERMITTED ? SAMI_ERROR_PERMISSION : SAMI_ERROR_FAILED,
                                ctl_string(answer, "error"));
        if (!answer || ctl_int(answer, "exit") != SAMI_EXIT_DONE)
            return FALSE;
        for (guint i = 0; i < n; i++) {
            const gchar *line = json_array_get_string_element(flows, i);
            add(table, line, strlen(line));
        }
        id = ctl_int(answer, "table");
        total = n > 0 ? ctl_int(answer, "total") : 0;
        from += n;
    }
    return TRUE;
}

static gint
compare_words(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const gchar *const *)a, *(const gchar *const *)b);
}

/* (transfer container) */
static GPtrArray *
sort_flows(const Table *table)
{
    GPtrArray *words = g_ptr_array_new();
    GHashTableIter iter;
    gpointer flow;
    g_hash_table_iter_init(&iter, table->flows);
    while (g_hash_table_iter_next(&iter, &flow, NULL))
        g_ptr_array_add(words, flow);
    g_ptr_array_sort(words, compare_words);
    return words;
}

static SamiExit
save(const Table *table, const gchar *path, GError **error)
{
    g_autoptr(GPtrArray) words = sort_flows(table);
    g_autoptr(GString) text = g_string_new(HEAD);
    for (guint i = 0; i < words->len; i++)
        g_string_append_printf(text, "%s\t%s\n", (const gchar *)words->pdata[i],
                               (const gchar *)g_hash_table_lookup(table->flows, words->pdata[i]));
    if (!strcmp(path, "-"))
        return fwrite(text->str, 1, text->len, stdout) == text->len ? SAMI_EXIT_DONE : SAMI_EXIT_FAILED;
    /* For operators: each connection is in it. */
    return g_file_set_contents_full(path, text->str, (gssize)text->len, G_FILE_SET_CONTENTS_CONSISTENT, 0600, error) ? SAMI_EXIT_DONE : SAMI_EXIT_FAILED;
}

static gboolean
load(Table *table, const gchar *path, GError **error)
{
    g_autofree gchar *text = NULL;
    gsize length;
    table_init(table, path);
    return g_file_get_contents(path, &text, &length, error) && parse(table, text, length, G_MAXSIZE, error);
}

/* Flows of a table that is as large as ours may become. */
static gsize
flows_max(void)
{
    g_autofree gchar *text = NULL;
    guint64 n = g_file_get_contents("/proc/sys/net/netfilter/nf_conntrack_max", &text, NULL, NULL) ? g_ascii_strtoull(text, NULL, 10) : 0;
    return (gsize)CLAMP(n, FLOWS_MIN, G_MAXINT / LINE_OCTETS);
}

/* The far end is not believed: it has no more memory of ours than its table needs, and no word with the terminal. */
static gboolean
fetch(Table *table, const gchar *host, GError **error)
{
    static const gchar *const words[] = {"samictl", "diff", "--save", "-", NULL};
    g_auto(GStrv) ssh = ctl_ssh(host, "--with", NULL, FALSE, error);
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_autoptr(GString) out = g_string_new(NULL), err = g_string_new(NULL);
    gsize max = flows_max();
    gint code = 0;
    table_init(table, host);
    if (!ssh)
        return FALSE;
    for (guint i = 0; ssh[i]; i++)
        g_ptr_array_add(argv, ssh[i]);
    for (guint i = 0; i < G_N_ELEMENTS(words); i++)
        g_ptr_array_add(argv, (gpointer)words[i]);
    if (!ctl_ssh_collect((gchar *const *)argv->pdata, NULL, max * LINE_OCTETS, out, err, &code, error)) {
        g_prefix_error(error, "%s: ", host);
        return FALSE;
    }
    if (code == 0)
        return parse(table, out->str, out->len, max * LINES_A_FLOW, error);
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s: its samictl, or ssh, ended with exit status %d", host, code);
    return FALSE;
}

/* The fields that differ; who owns a flow differs by right. (transfer full) NULL: none */
static gchar *
compare_fields(const gchar *a, const gchar *b)
{
    g_auto(GStrv) left = g_strsplit(a, "\t", -1), right = g_strsplit(b, "\t", -1);
    GString *text = g_string_new(NULL);
    for (guint side = 0; side < 2; side++) {
        GStrv from = side ? right : left, to = side ? left : right;
        for (guint i = 0; from[i]; i++) {
            if (g_strv_contains((const gchar *const *)to, from[i]) || g_str_has_prefix(from[i], "owner="))
                continue;
            g_string_append_printf(text, "%s%s%s", text->len ? ", " : "", side ? "there " : "here ", from[i]);
        }
    }
    return g_string_free(text, text->len == 0);
}

typedef struct {
    guint n_missing, n_more, n_different, n_equal;
    gboolean is_quiet;
} Result;

static void
show(Result *result, guint *counter, const gchar *what, const gchar *flow, const gchar *detail)
{
    if (++*counter <= SHOWN && !result->is_quiet)
        ctl_say(stdout, "%s  %s%s%s\n", what, flow, *detail ? "  " : "", detail);
}

static SamiExit
compare(const Table *a, const Table *b, gboolean is_quiet)
{
    Result result = {.is_quiet = is_quiet};
    g_autoptr(GPtrArray) here = sort_flows(a), there = sort_flows(b);
    for (guint i = 0; i < here->len; i++) {
        const gchar *flow = here->pdata[i], *other = g_hash_table_lookup(b->flows, flow);
        g_autofree gchar *fields = other ? compare_fields(g_hash_table_lookup(a->flows, flow), other) : NULL;
        if (!other)
            show(&result, &result.n_missing, "-", flow, "");
        else if (fields)
            show(&result, &result.n_different, "!", flow, fields);
        else
            result.n_equal++;
    }
    for (guint i = 0; i < there->len; i++)
        if (!g_hash_table_contains(a->flows, there->pdata[i]))
            show(&result, &result.n_more, "+", there->pdata[i], "");
    ctl_say(stdout, "%u equal, %u only in %s (-), %u only in %s (+), %u different (!)\n", result.n_equal, result.n_missing, a->name,
            result.n_more, b->name, result.n_different);
    return result.n_missing + result.n_more + result.n_different > 0 ? (SamiExit)DIFFER : SAMI_EXIT_DONE;
}

SamiExit
ctl_diff(Ctl *ctl, GError **error)
{
    const CtlArgs *args = &ctl->args;
    guint n = g_strv_length(args->operands);
    g_auto(Table) here = {0}, there = {0};
    if ((args->with != NULL) + (args->save != NULL) + (n == 2) != 1 || n == 1) {
        g_set_error_literal(error, SAMI_ERROR, SAMI_ERROR_USAGE, "diff needs --with HOST, or two saved tables, or --save FILE");
        return SAMI_EXIT_USAGE;
    }
    if (n == 2 ? !load(&here, args->operands[0], error) : !ask(ctl, &here, error))
        return SAMI_EXIT_FAILED;
    if (args->save)
        return save(&here, args->save, error);
    if (n == 2 ? !load(&there, args->operands[1], error) : !fetch(&there, args->with, error))
        return SAMI_EXIT_FAILED;
    return compare(&here, &there, args->is_quiet);
}
