/* Verbs that ask and print: freeze, settle, abort, thaw, resolve, status, stats, show peers. */
#include "ctl/ctl.h"

#include <string.h>

#include "common/control-json.h"
#include "common/value.h"

/* --- freeze --- */

typedef struct {
    GMainLoop *loop;
    JsonObject *answer;
    GError *error;
} Waiting;

static void
on_freeze_done(JsonObject *answer, const GError *error, gpointer user_data)
{
    Waiting *waiting = user_data;
    waiting->answer = answer ? json_object_ref(answer) : NULL;
    waiting->error = error ? g_error_copy(error) : NULL;
    g_main_loop_quit(waiting->loop);
}

static gboolean
on_timeout(gpointer user_data)
{
    Waiting *waiting = user_data;
    g_main_loop_quit(waiting->loop);
    return G_SOURCE_REMOVE;
}

SamiExit
ctl_freeze(Ctl *ctl, GError **error)
{
    const gchar *id = ctl->args.operands[0];
    guint64 timeout_ms = 0, hold_ms = 0;
    if (ctl->args.timeout &&
        !sami_value_duration(ctl->args.timeout, 1, 24 * 3600 * 1000, &timeout_ms, error)) {
        g_prefix_error(error, "--timeout ");
        return SAMI_EXIT_USAGE;
    }
    if (ctl->args.hold_ready && !sami_value_duration(ctl->args.hold_ready, 1, 3600 * 1000, &hold_ms, error)) {
        g_prefix_error(error, "--hold-ready ");
        return SAMI_EXIT_USAGE;
    }
    g_autofree gchar *path = ctl_socket(ctl, CTL_EXPORTER);
    g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
    /* After a timeout the call still runs in its thread, so what it will write to outlives this
     * function. */
    Waiting *waiting = g_new0(Waiting, 1);
    waiting->loop = loop;
    JsonObject *request = json_object_new();
    json_object_set_string_member(request, "cmd", "freeze");
    json_object_set_string_member(request, "id", id);
    json_object_set_int_member(request, "hold_ms", (gint64)hold_ms);
    if (timeout_ms) {
        json_object_set_int_member(request, "timeout_ms", (gint64)timeout_ms);
        g_timeout_add((guint)timeout_ms, on_timeout, waiting);
    }
    ctl_call_async(path, request, NULL, on_freeze_done, waiting);
    g_main_loop_run(loop);
    if (waiting->error) {
        g_propagate_error(error, g_steal_pointer(&waiting->error));
        g_free(waiting);
        return SAMI_EXIT_FAILED;
    }
    if (!waiting->answer) {
        ctl_say(stderr,
                "samictl: not READY after %s\n      next: samictl status %s    then wait on, or: "
                "samictl abort %s\n",
                ctl->args.timeout, id, id);
        return SAMI_EXIT_LATE;
    }
    SamiExit code = ctl_print_result(waiting->answer, ctl->args.is_quiet);
    json_object_unref(waiting->answer);
    g_free(waiting);
    return code;
}

/* --- all daemons at once --- */

void
ctl_answers_clear(CtlAnswers *answers)
{
    for (guint i = 0; i < CTL_N_ROLES; i++)
        g_clear_pointer(&answers->answers[i], json_object_unref);
}

gboolean
ctl_ask_all(Ctl *ctl, const gchar *cmd, const gchar *id, CtlAnswers *ret, GError **error)
{
    g_autoptr(JsonObject) request = json_object_new();
    json_object_set_string_member(request, "cmd", cmd);
    if (id)
        json_object_set_string_member(request, "id", id);
    return ctl_ask_all_with(ctl, request, ret, error);
}

gboolean
ctl_ask_all_with(Ctl *ctl, JsonObject *request, CtlAnswers *ret, GError **error)
{
    g_autoptr(GError) first = NULL;
    guint n_answers = 0;
    for (guint i = 0; i < (ctl->args.socket ? 1u : (guint)CTL_N_ROLES); i++) {
        g_autofree gchar *path = ctl_socket(ctl, i);
        g_autoptr(GError) local = NULL;
        ret->answers[i] = ctl_call(path, request, &local);
        n_answers += ret->answers[i] != NULL;
        if (local && !ctl_is_not_running(local)) {
            g_propagate_error(error, g_steal_pointer(&local));
            return FALSE;
        }
        if (local && !first)
            first = g_steal_pointer(&local);
    }
    if (n_answers == 0)
        g_propagate_error(error, g_steal_pointer(&first));
    return n_answers > 0;
}

/* The exit code of a request that each daemon answered: done if one could do it, else what the last
 * one said that knew the id. */
static SamiExit
sum_up(const CtlAnswers *answers, JsonObject **ret_worst)
{
    JsonObject *worst = NULL;
    for (guint i = 0; i < CTL_N_ROLES; i++) {
        JsonObject *answer = answers->answers[i];
        if (!answer)
            continue;
        if (ctl_int(answer, "exit") == SAMI_EXIT_DONE)
            return SAMI_EXIT_DONE;
        if (!worst || ctl_int(worst, "exit") == SAMI_EXIT_USAGE)
            worst = answer;
    }
    *ret_worst = worst;
    return (SamiExit)ctl_int(worst, "exit");
}

static SamiExit
print_worst(JsonObject *worst, SamiExit code)
{
    const gchar *why = ctl_string(worst, "error");
    ctl_say(stderr, "samictl: %s\n", *why ? why : "the daemon gave no reason");
    return code;
}

SamiExit
ctl_abort(Ctl *ctl, GError **error)
{
    const gchar *id = ctl->args.operands[0];
    g_autoptr(GError) first = NULL;
    JsonObject *last = NULL;
    SamiExit code = SAMI_EXIT_FAILED;
    guint n_roles = ctl->args.socket ? 1u : (guint)CTL_N_ROLES;
    /* One after the other, the source first: it tells the destination itself. */
    for (guint i = 0; i < n_roles; i++) {
        g_autofree gchar *path = ctl_socket(ctl, i);
        g_autoptr(JsonObject) request = json_object_new();
        json_object_set_string_member(request, "cmd", "abort");
        json_object_set_string_member(request, "id", id);
        JsonObject *answer = ctl_call(path, request, first ? NULL : &first);
        if (!answer)
            continue;
        g_clear_pointer(&last, json_object_unref);
        last = answer;
        code = (SamiExit)ctl_int(answer, "exit");
        if (code != SAMI_EXIT_USAGE)
            break;
    }
    if (!last) {
        g_propagate_error(error, g_steal_pointer(&first));
        return code;
    }
    if (code == SAMI_EXIT_DONE && !ctl->args.is_quiet)
        ctl_say(stdout, "%.4s  ABORT   rolled back\n",
                *ctl_string(last, "id") ? ctl_string(last, "id") : id);
    if (code != SAMI_EXIT_DONE)
        print_worst(last, code);
    json_object_unref(last);
    return code;
}

/* --- settle, thaw, resolve: one request to one daemon --- */

static SamiExit
ask_one(Ctl *ctl, guint role, JsonObject *request, const gchar *format, GError **error)
{
    g_autofree gchar *path = ctl_socket(ctl, role);
    json_object_set_string_member(request, "id", ctl->args.operands[0]);
    g_autoptr(JsonObject) answer = ctl_call(path, request, error);
    if (!answer)
        return SAMI_EXIT_FAILED;
    SamiExit code = (SamiExit)ctl_int(answer, "exit");
    if (code != SAMI_EXIT_DONE)
        ctl_say(stderr, "samictl: %s\n", ctl_string(answer, "error"));
    else if (!ctl->args.is_quiet)
        ctl_say(stdout, "%.4s  %s\n", ctl_string(answer, "id"), format);
    return code;
}

SamiExit
ctl_settle(Ctl *ctl, GError **error)
{
    g_autoptr(JsonObject) request = json_object_new();
    json_object_set_string_member(request, "cmd", "settle");
    return ask_one(ctl, CTL_EXPORTER, request, "SETTLE  the VM goes on there", error);
}

SamiExit
ctl_thaw(Ctl *ctl, GError **error)
{
    g_autoptr(JsonObject) request = json_object_new();
    json_object_set_string_member(request, "cmd", "thaw");
    return ask_one(ctl, CTL_EXPORTER, request, "FOLLOW  the VM goes on here; freeze again when it pauses", error);
}

SamiExit
ctl_resolve(Ctl *ctl, GError **error)
{
    g_autoptr(JsonObject) request = json_object_new();
    if (ctl->args.is_keep == ctl->args.is_remove) {
        g_set_error_literal(error, SAMI_ERROR, SAMI_ERROR_USAGE,
                            "resolve needs --keep (the VM runs here) or --remove (it does not)");
        return SAMI_EXIT_USAGE;
    }
    json_object_set_string_member(request, "cmd", "resolve");
    json_object_set_boolean_member(request, "keep", ctl->args.is_keep);
    return ask_one(ctl, CTL_COLLECTOR, request, ctl->args.is_keep ? "DONE    kept" : "removing what it created", error);
}

/* --- status --- */

/* Every migration of every answer, each with its role. (transfer full) */
static JsonArray *
merge_migrations(const CtlAnswers *answers, const gchar *id)
{
    JsonArray *merged = json_array_new();
    for (guint i = 0; i < CTL_N_ROLES; i++) {
        JsonArray *list = answers->answers[i] ? ctl_array(answers->answers[i], "migrations") : NULL;
        const gchar *role = answers->answers[i] ? ctl_string(answers->answers[i], "role") : "";
        for (guint j = 0; list && j < json_array_get_length(list); j++) {
            JsonNode *node = json_array_get_element(list, j);
            JsonObject *migration =
                JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
            if (!migration || (id && !g_str_has_prefix(ctl_string(migration, "id"), id)))
                continue;
            if (!*ctl_string(migration, "role"))
                json_object_set_string_member(migration, "role", *role ? role : ctl_role_name(i));
            json_array_add_object_element(merged, json_object_ref(migration));
        }
    }
    return merged;
}

static gchar *
print_since(JsonObject *migration)
{
    JsonNode *node = json_object_get_member(migration, "since");
    if (!node && json_object_has_member(migration, "elapsed_ms")) {
        g_autoptr(GDateTime) now = g_date_time_new_now_local();
        gint64 elapsed_ms = CLAMP(ctl_int(migration, "elapsed_ms"), 0, 36500 * (G_TIME_SPAN_DAY / 1000)); /* of a daemon that may say anything */
        g_autoptr(GDateTime) start = g_date_time_add(now, -elapsed_ms * 1000);
        return g_date_time_format(start, "%F %T");
    }
    if (!node || !JSON_NODE_HOLDS_VALUE(node))
        return g_strdup("-");
    if (json_node_get_value_type(node) == G_TYPE_STRING)
        return json_node_dup_string(node);
    g_autoptr(GDateTime) time = g_date_time_new_from_unix_local(json_node_get_int(node));
    return time ? g_date_time_format(time, "%F %T") : g_strdup("-");
}

static gint64
count_reasons(JsonObject *reasons)
{
    g_autoptr(GList) names = reasons ? json_object_get_members(reasons) : NULL;
    gint64 sum = 0;
    for (GList *at = names; at; at = at->next)
        sum += ctl_int(reasons, at->data);
    return sum;
}

static void
print_migration(JsonObject *migration)
{
    JsonObject *counts = ctl_object(migration, "counts");
    JsonArray *vm = ctl_array(migration, "vm");
    g_autofree gchar *since = print_since(migration);
    g_autoptr(GString) addresses = g_string_new(NULL);
    for (guint i = 0; vm && i < json_array_get_length(vm); i++) {
        JsonNode *node = json_array_get_element(vm, i);
        const gchar *address = JSON_NODE_HOLDS_VALUE(node) ? json_node_get_string(node) : NULL;
        g_string_append_printf(addresses, "%s%s", i ? "," : "", address ? address : "?");
    }
    ctl_say(
        stdout,
        "%-8.8s  %-9s  %-8s  %-24s  %-19s  %7" G_GINT64_FORMAT " %7" G_GINT64_FORMAT
        " %7" G_GINT64_FORMAT " %7" G_GINT64_FORMAT " %8" G_GINT64_FORMAT " %7" G_GINT64_FORMAT
        "  %s\n",
        ctl_string(migration, "id"), ctl_string(migration, "role"), ctl_string(migration, "phase"),
        ctl_string(migration, "peer"), since,
        ctl_int(counts, counts && json_object_has_member(counts, "received") ? "received" : "sent"),
        ctl_int(counts, "dirty"), ctl_int(counts, "exact"), ctl_int(counts, "merged"),
        count_reasons(ctl_object(counts, "degraded")), count_reasons(ctl_object(counts, "refused")),
        addresses->str);
}

static const gchar *
get_host(const CtlAnswers *answers)
{
    for (guint i = 0; i < CTL_N_ROLES; i++)
        if (answers->answers[i] && *ctl_string(answers->answers[i], "host"))
            return ctl_string(answers->answers[i], "host");
    return "";
}

static void
print_line(JsonObject *object)
{
    g_autofree gchar *text = sami_control_json_print(object);
    printf("%s\n", text);
}

SamiExit
ctl_status(Ctl *ctl, GError **error)
{
    g_auto(CtlAnswers) answers = {0};
    const gchar *id = ctl->args.operands[0];
    JsonObject *worst = NULL;
    if (!ctl_ask_all(ctl, "status", id, &answers, error))
        return SAMI_EXIT_FAILED;
    SamiExit code = sum_up(&answers, &worst);
    if (code != SAMI_EXIT_DONE)
        return print_worst(worst, code);
    g_autoptr(JsonArray) migrations = merge_migrations(&answers, id);
    guint n = json_array_get_length(migrations);
    if (id && n == 0) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE,
                    "no migration '%s'; `samictl status` shows all", id);
        return SAMI_EXIT_USAGE;
    }
    if (ctl->args.is_json) {
        g_autoptr(JsonObject) object = json_object_new();
        json_object_set_int_member(object, "v", 1);
        json_object_set_string_member(object, "host", get_host(&answers));
        json_object_set_array_member(object, "migrations", json_array_ref(migrations));
        JsonArray *replications = answers.answers[CTL_EXPORTER] ? ctl_array(answers.answers[CTL_EXPORTER], "replications") : NULL;
        json_object_set_array_member(object, "replications", replications ? json_array_ref(replications) : json_array_new());
        print_line(object);
        return SAMI_EXIT_DONE;
    }
    if (n == 0 && !ctl->args.is_quiet)
        ctl_say(stdout, "no migrations\n");
    if (n > 0)
        ctl_say(stdout, "%-8s  %-9s  %-8s  %-24s  %-19s  %7s %7s %7s %7s %8s %7s  %s\n", "ID",
                "ROLE", "PHASE", "PEER", "SINCE", "RECORDS", "DIRTY", "EXACT", "MERGED", "DEGRADED",
                "REFUSED", "VM");
    for (guint i = 0; i < n; i++)
        print_migration(json_array_get_object_element(migrations, i));
    for (guint i = 0; i < CTL_N_ROLES && !id; i++)
        if (answers.answers[i])
            ctl_print_replications(answers.answers[i]);
    return SAMI_EXIT_DONE;
}

/* --- stats --- */

SamiExit
ctl_stats(Ctl *ctl, GError **error)
{
    g_auto(CtlAnswers) answers = {0};
    g_autoptr(JsonObject) all = json_object_new();
    JsonObject *worst = NULL;
    if (!ctl_ask_all(ctl, "stats", NULL, &answers, error))
        return SAMI_EXIT_FAILED;
    SamiExit code = sum_up(&answers, &worst);
    if (code != SAMI_EXIT_DONE)
        return print_worst(worst, code);
    for (guint i = 0; i < CTL_N_ROLES; i++) {
        JsonObject *counters =
            answers.answers[i] ? ctl_object(answers.answers[i], "counters") : NULL;
        const gchar *role = answers.answers[i] ? ctl_string(answers.answers[i], "role") : "";
        g_autoptr(GList) names = counters ? json_object_get_members(counters) : NULL;
        if (!*role)
            role = ctl->args.socket ? "daemon" : ctl_role_name(i);
        if (counters)
            json_object_set_object_member(all, role, json_object_ref(counters));
        for (GList *at = names; at && !ctl->args.is_json; at = at->next)
            ctl_say(stdout, "%-9s  %-40s %" G_GINT64_FORMAT "\n", role, (const gchar *)at->data,
                    ctl_int(counters, at->data));
    }
    if (ctl->args.is_json) {
        g_autoptr(JsonObject) object = json_object_new();
        json_object_set_int_member(object, "v", 1);
        json_object_set_object_member(object, "counters", json_object_ref(all));
        print_line(object);
    }
    return SAMI_EXIT_DONE;
}

/* --- show peers --- */

SamiExit
ctl_show_peers(Ctl *ctl, GError **error)
{
    g_autofree gchar *path = ctl_socket(ctl, CTL_COLLECTOR);
    g_autoptr(JsonObject) request = json_object_new();
    json_object_set_string_member(request, "cmd", "status");
    g_autoptr(JsonObject) answer = ctl_call(path, request, error); /* a collector that does not run has no peers, but that is not what was asked */
    if (!answer)
        return SAMI_EXIT_FAILED;
    SamiExit code = (SamiExit)ctl_int(answer, "exit");
    if (code != SAMI_EXIT_DONE)
        return print_worst(answer, code);
    JsonArray *peers = ctl_array(answer, "peers");
    guint n = peers ? json_array_get_length(peers) : 0;
    if (ctl->args.is_json) {
        g_autoptr(JsonObject) object = json_object_new();
        json_object_set_int_member(object, "v", 1);
        json_object_set_string_member(object, "host", ctl_string(answer, "host"));
        json_object_set_array_member(object, "peers", peers ? json_array_ref(peers) : json_array_new());
        print_line(object);
        return SAMI_EXIT_DONE;
    }
    if (n == 0 && !ctl->args.is_quiet)
        ctl_say(stdout, "no peer has a session or migration here\n");
    if (n > 0)
        ctl_say(stdout, "%-32s %8s %10s %8s %12s %12s\n", "PEER", "SESSIONS", "MIGRATIONS", "IN-DOUBT", "STATE-KIB", "LISTENER-KIB");
    for (guint i = 0; i < n; i++) {
        JsonObject *peer = json_array_get_object_element(peers, i);
        ctl_say(stdout, "%-32s %8" G_GINT64_FORMAT " %10" G_GINT64_FORMAT " %8" G_GINT64_FORMAT " %12" G_GINT64_FORMAT " %12" G_GINT64_FORMAT "\n",
                ctl_string(peer, "peer"), ctl_int(peer, "sessions"), ctl_int(peer, "migrations"), ctl_int(peer, "in_doubt"),
                ctl_int(peer, "octets") / 1024, ctl_int(peer, "listener_octets") / 1024);
    }
    return SAMI_EXIT_DONE;
}
