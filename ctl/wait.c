/* For whoever gates a VM: `wait` for READY at either end, `gate` at the destination. */
#include "ctl/ctl.h"

#include "common/status.h"
#include "common/value.h"

#define POLL_FIRST_US 5000u
#define POLL_LAST_US 50000u
#define TIMEOUT_MAX_MS (24 * 3600 * 1000u)
#define GATE_MAX_MS (3600 * 1000u)

typedef struct {
    JsonObject *answer;    /* holds `migration` */
    JsonObject *migration; /* NULL: none has that id */
    gboolean is_decided;
    SamiExit code;
} Look;

static void
look_clear(Look *look)
{
    g_clear_pointer(&look->answer, json_object_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Look, look_clear)

static void
merge(Look *look, JsonObject *answer_take, const gchar *id)
{
    SamiExit code = SAMI_EXIT_FAILED;
    JsonObject *migration = sami_status_find(answer_take, id);
    gboolean is_decided = migration && sami_status_is_decided(migration, &code);
    if (!migration || (look->migration && !is_decided)) {
        json_object_unref(answer_take);
        return;
    }
    look_clear(look);
    *look = (Look){answer_take, migration, is_decided, code};
}

/* FALSE only if no daemon can be asked. A firewall runs both, and both know a migration between two of its own namespaces. */
static gboolean
look_at(Ctl *ctl, const gchar *id, Look *ret, GError **error)
{
    g_autoptr(GError) first = NULL;
    guint n_answers = 0;
    for (guint i = 0; i < (ctl->args.socket ? 1u : (guint)CTL_N_ROLES) && !ret->is_decided; i++) {
        g_autofree gchar *path = ctl_socket(ctl, i);
        g_autoptr(JsonObject) request = json_object_new();
        json_object_set_string_member(request, "cmd", "status");
        json_object_set_string_member(request, "id", id);
        JsonObject *answer = ctl_call(path, request, first ? NULL : &first);
        n_answers += answer != NULL;
        if (answer)
            merge(ret, answer, id);
    }
    if (n_answers == 0)
        g_propagate_error(error, g_steal_pointer(&first));
    return n_answers > 0;
}

static gboolean
read_timeout(const Ctl *ctl, guint64 max_ms, guint64 *ret_ms, GError **error)
{
    if (!ctl->args.timeout || sami_value_duration(ctl->args.timeout, 1, max_ms, ret_ms, error))
        return TRUE;
    g_prefix_error(error, "--timeout ");
    return FALSE;
}

SamiExit
ctl_wait(Ctl *ctl, GError **error)
{
    const gchar *id = ctl->args.operands[0];
    guint64 timeout_ms = 0;
    if (!read_timeout(ctl, TIMEOUT_MAX_MS, &timeout_ms, error))
        return SAMI_EXIT_USAGE;
    gint64 end_us = g_get_monotonic_time() + (gint64)timeout_ms * 1000;
    for (gulong pause_us = POLL_FIRST_US;; pause_us = MIN(pause_us * 2, POLL_LAST_US)) {
        g_auto(Look) look = {0};
        if (!look_at(ctl, id, &look, error))
            return SAMI_EXIT_FAILED;
        if (!look.migration) {
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE,
                        "no migration '%s', or more than one; `samictl status` shows all", id);
            return SAMI_EXIT_USAGE;
        }
        if (look.is_decided) {
            json_object_set_int_member(look.migration, "exit", look.code);
            return ctl_print_result(look.migration, ctl->args.is_quiet);
        }
        gint64 left_us = end_us - g_get_monotonic_time();
        if (timeout_ms && left_us <= 0) {
            ctl_say(stderr,
                    "samictl: not READY after %s (%s)\n      next: samictl status %s    then wait "
                    "on, or: samictl abort %s\n",
                    ctl->args.timeout, sami_status_phase(look.migration), id, id);
            return SAMI_EXIT_LATE;
        }
        g_usleep(timeout_ms ? MIN(pause_us, (gulong)left_us) : pause_us);
    }
}

SamiExit
ctl_gate(Ctl *ctl, GError **error)
{
    guint64 timeout_ms = 0;
    g_autofree gchar *path = ctl_socket(ctl, CTL_COLLECTOR);
    g_autoptr(JsonObject) request = json_object_new();
    if (!read_timeout(ctl, GATE_MAX_MS, &timeout_ms, error))
        return SAMI_EXIT_USAGE;
    json_object_set_string_member(request, "cmd", "gate");
    json_object_set_string_member(request, "id", ctl->args.operands[0]);
    json_object_set_boolean_member(request, "open", ctl->args.is_open);
    if (timeout_ms)
        json_object_set_int_member(request, "timeout_ms", (gint64)timeout_ms);
    g_autoptr(JsonObject) answer = ctl_call(path, request, error);
    if (!answer)
        return SAMI_EXIT_FAILED;
    SamiExit code = (SamiExit)ctl_int(answer, "exit");
    if (code != SAMI_EXIT_DONE)
        ctl_say(stderr, "samictl: %s\n", ctl_string(answer, "error"));
    else if (!ctl->args.is_quiet && ctl->args.is_open)
        ctl_say(stdout, "%.4s  gate open\n", ctl_string(answer, "id"));
    else if (!ctl->args.is_quiet)
        ctl_say(stdout, "%.4s  gate closed until READY, at most %.1f s\n", ctl_string(answer, "id"),
                (gdouble)ctl_int(answer, "gate_left_ms") / 1000);
    return code;
}
