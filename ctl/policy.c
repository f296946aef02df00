/* `show policy`: what each signer may do at this firewall, as its collector has loaded it. */
#include "ctl/ctl.h"

#include "common/control-json.h"

/* A row of the table: what it is called, and how its value is printed. */
typedef struct {
    const gchar *key;
    enum { ROW_LIST, ROW_LIMIT, ROW_MASK, ROW_WORD, ROW_SWITCH } type; /* LIMIT: 0 is none */
    const gchar *nothing; /* for what is empty, or no limit */
} Row;

static const Row rows[] = {
    {"keys", ROW_LIST, "none"},
    {"tls-names", ROW_LIST, "none"},
    {"valid-from", ROW_WORD, "always"},
    {"valid-until", ROW_WORD, "always"},
    {"require-expect", ROW_SWITCH, NULL},
    {"unscoped", ROW_SWITCH, NULL},
    {"allow-prefixes", ROW_LIST, "none: nothing is accepted"},
    {"nat-addresses", ROW_LIST, "none"},
    {"allow-special", ROW_LIST, "none"},
    {"zones", ROW_LIST, "none"},
    {"vlans", ROW_LIST, "none"},
    {"map-addresses", ROW_LIST, "none"},
    {"map-marks", ROW_LIST, "none"},
    {"map-labels", ROW_LIST, "none"},
    {"protocols", ROW_LIST, "none"},
    {"ports", ROW_LIST, "none"},
    {"remote-ports", ROW_LIST, "none"},
    {"kinds", ROW_LIST, "none"},
    {"helpers", ROW_LIST, "none"},
    {"mark-mask", ROW_MASK, NULL},
    {"labels", ROW_LIST, "none"},
    {"long-timeouts", ROW_SWITCH, NULL},
    {"on-conflict", ROW_WORD, "merge"},
    {"max-migrations", ROW_LIMIT, "the collector's"},
    {"max-sessions", ROW_LIMIT, "the collector's"},
    {"max-expectations", ROW_LIMIT, "the collector's"},
    {"max-elements", ROW_LIMIT, "the sets'"},
    {"max-rate", ROW_LIMIT, "none"},
};

/* (transfer full) */
static gchar *
join(JsonArray *list)
{
    GString *text = g_string_new(NULL);
    for (guint i = 0; list && i < json_array_get_length(list); i++)
        g_string_append_printf(text, "%s%s", i ? ", " : "", json_array_get_string_element(list, i));
    return g_string_free(text, FALSE);
}

/* (transfer full) */
static gchar *
print_value(JsonObject *signer, const Row *row)
{
    gint64 number = row->type == ROW_LIMIT || row->type == ROW_MASK ? ctl_int(signer, row->key) : 0;
    g_autofree gchar *text = row->type == ROW_LIST   ? join(ctl_array(signer, row->key))
                             : row->type == ROW_WORD ? g_strdup(ctl_string(signer, row->key))
                             : row->type == ROW_MASK ? g_strdup_printf("0x%08" G_GINT64_MODIFIER "x", number)
                             : row->type == ROW_SWITCH
                                 ? g_strdup(json_object_get_boolean_member_with_default(signer, row->key, FALSE) ? "true" : "false")
                             : row->type == ROW_LIMIT && number == 0 ? g_strdup("")
                                                                     : g_strdup_printf("%" G_GINT64_FORMAT, number);
    return *text || !row->nothing ? g_steal_pointer(&text) : g_strdup(row->nothing);
}

static void
print_signer(JsonObject *signer)
{
    JsonObject *now = ctl_object(signer, "now");
    gboolean is_valid = json_object_get_boolean_member_with_default(signer, "valid", TRUE);
    ctl_say(stdout, "%s%s\n", ctl_string(signer, "name"), is_valid ? "" : "   NOT VALID NOW: everything of it is refused");
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree gchar *text = print_value(signer, &rows[i]);
        ctl_say(stdout, "    %-17s %s\n", rows[i].key, text);
    }
    if (now)
        ctl_say(stdout,
                "    %-17s %" G_GINT64_FORMAT " migrations, %" G_GINT64_FORMAT " sessions, %" G_GINT64_FORMAT
                " expectations; waited %" G_GINT64_FORMAT " times for max-rate, %" G_GINT64_FORMAT " ms\n",
                "now", ctl_int(now, "migrations"), ctl_int(now, "sessions"), ctl_int(now, "expectations"),
                ctl_int(now, "rate_waits"), ctl_int(now, "rate_waited_ms"));
}

SamiExit
ctl_show_policy(Ctl *ctl, GError **error)
{
    const gchar *name = ctl->args.operands[0];
    g_autoptr(JsonObject) request = json_object_new();
    g_autofree gchar *path = ctl_socket(ctl, CTL_COLLECTOR);
    json_object_set_string_member(request, "cmd", "policy");
    json_object_set_string_member(request, "signer", name ? name : "");
    g_autoptr(JsonObject) answer = ctl_call(path, request, error);
    if (!answer)
        return SAMI_EXIT_FAILED;
    SamiExit code = (SamiExit)ctl_int(answer, "exit");
    JsonArray *signers = ctl_array(answer, "signers");
    guint n = signers ? json_array_get_length(signers) : 0;
    if (code != SAMI_EXIT_DONE) {
        ctl_say(stderr, "samictl: %s\n", ctl_string(answer, "error"));
        return code;
    }
    if (ctl->args.is_json) {
        g_autofree gchar *text = sami_control_json_print(answer);
        ctl_say(stdout, "%s\n", text);
        return code;
    }
    if (n == 0 && !ctl->args.is_quiet)
        ctl_say(stdout, "no signers: nothing is accepted from anybody\n");
    for (guint i = 0; i < n; i++)
        print_signer(json_array_get_object_element(signers, i));
    g_autofree gchar *own = join(ctl_array(answer, "own-addresses"));
    if (!name && n > 0)
        ctl_say(stdout, "own addresses, which no session may have but translated onto nat-addresses: %s\n", own);
    return code;
}
