/* `expect`: announcements at the destination, which signers with require-expect need. */
#include "ctl/ctl.h"

#include "common/control-json.h"
#include "common/value.h"

#define FOR_MAX_MS (30ull * 86400 * 1000)

static gboolean
check_options(const CtlArgs *args, GError **error)
{
    const gchar *clash =
        args->is_list && args->is_remove                             ? "--list and --remove exclude each other"
        : args->is_list && (args->vm || args->from || args->duration) ? "--list shows all; it takes none of --vm, --from, --for"
        : args->is_remove && args->duration                          ? "--remove takes no --for"
        : args->is_json && !args->is_list                            ? "--json goes with --list"
        : !args->is_list && !args->is_remove && !args->from
            ? "expect needs --from PEER, or --from any-peer where the source is not known"
            : NULL;
    if (clash)
        g_set_error_literal(error, SAMI_ERROR, SAMI_ERROR_USAGE, clash);
    return !clash;
}

static JsonObject *
make_request(const Ctl *ctl, guint64 for_ms, GError **error)
{
    const CtlArgs *args = &ctl->args;
    JsonArray *vm = args->is_list ? NULL : ctl_vm(ctl, "expect", error);
    if (!args->is_list && !vm)
        return NULL;
    JsonObject *request = json_object_new();
    json_object_set_string_member(request, "cmd", "expect");
    json_object_set_string_member(request, "op", args->is_list ? "list" : args->is_remove ? "remove" : "add");
    if (vm)
        json_object_set_array_member(request, "vm", vm);
    if (args->from)
        json_object_set_string_member(request, "from", args->from);
    json_object_set_int_member(request, "for_s", (gint64)((for_ms + 999) / 1000));
    return request;
}

static void
print_list(JsonArray *list)
{
    guint n = list ? json_array_get_length(list) : 0;
    for (guint i = 0; i < n; i++) {
        JsonObject *object = json_array_get_object_element(list, i);
        g_autoptr(GDateTime) until = g_date_time_new_from_unix_local(ctl_int(object, "until"));
        g_autofree gchar *text = until ? g_date_time_format(until, "%F %T") : g_strdup("?");
        ctl_say(stdout, "%-43s  from %-24s  until %s\n", ctl_string(object, "vm"), ctl_string(object, "from"), text);
    }
}

/* What was taken back may be a part of what stands, or be expected from somebody else, too. */
static void
print_removed(const gchar *vm, JsonArray *still)
{
    gboolean is_still = still && json_array_get_length(still) > 0;
    ctl_say(stdout, "%s: %s\n", vm, is_still ? "taken back, but still expected by" : "not expected any more");
    print_list(still);
}

SamiExit
ctl_expect(Ctl *ctl, GError **error)
{
    const CtlArgs *args = &ctl->args;
    guint64 for_ms = 3600 * 1000;
    if (!check_options(args, error))
        return SAMI_EXIT_USAGE;
    if (args->duration && !sami_value_duration(args->duration, 1000, FOR_MAX_MS, &for_ms, error)) {
        g_prefix_error(error, "--for ");
        return SAMI_EXIT_USAGE;
    }
    if (!ctl_load_config(ctl, error))
        return SAMI_EXIT_FAILED;
    g_autoptr(JsonObject) request = make_request(ctl, for_ms, error);
    if (!request)
        return SAMI_EXIT_USAGE;
    g_autofree gchar *path = ctl_socket(ctl, CTL_COLLECTOR);
    g_autoptr(JsonObject) answer = ctl_call(path, request, error);
    if (!answer)
        return SAMI_EXIT_FAILED;
    SamiExit code = (SamiExit)ctl_int(answer, "exit");
    JsonArray *list = ctl_array(answer, "announcements");
    if (code != SAMI_EXIT_DONE) {
        ctl_say(stderr, "samictl: %s\n", ctl_string(answer, "error"));
    } else if (args->is_list && args->is_json) {
        g_autofree gchar *text = sami_control_json_print(answer);
        ctl_say(stdout, "%s\n", text);
    } else if (args->is_list) {
        if (!list || json_array_get_length(list) == 0)
            ctl_say(stdout, "nothing is expected; announce: samictl expect --vm ADDRESS --from PEER\n");
        print_list(list);
    } else if (!args->is_quiet) {
        g_autofree gchar *vm = g_strjoinv(",", args->vm);
        g_autofree gchar *time = sami_value_duration_print(for_ms);
        if (args->is_remove)
            print_removed(vm, list);
        else
            ctl_say(stdout, "%s: expected from %s for %s\n", vm, args->from, time);
    }
    return code;
}
