/* `migrate`: one attached call, an optional command that pauses the VM, and the operator's Ctrl-C.
 */
#include "ctl/ctl.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <glib-unix.h>

#include "common/control-json.h"
#include "common/limits.h"
#include "common/status.h"
#include "common/value.h"

/* In their order, so that "before READY" is a comparison. */
typedef enum {
    PHASE_NONE,
    PHASE_PREPARE,
    PHASE_FOLLOW,
    PHASE_FREEZE,
    PHASE_READY,
    PHASE_SETTLE,
    PHASE_DONE,
    PHASE_ABORT,
    N_PHASES
} Phase;
static const gchar *const phases[N_PHASES] = {"",      "PREPARE", "FOLLOW", "FREEZE",
                                              "READY", "SETTLE",  "DONE",   "ABORT"};

typedef struct {
    Ctl *ctl;
    GMainLoop *loop;
    gchar *socket;
    gchar *id; /* NULL until the first event */
    Phase phase;
    gboolean has_bar;
    gboolean is_command_started, is_command_running;
    gchar *failure; /* of the command; NULL: none */
    gboolean is_late;
    gboolean is_abort_sent;
    gboolean is_ended;
    guint n_interrupts;
    SamiExit code;
    GError *error;
} Migrate;

static gboolean
has_bar(const Ctl *ctl)
{
    return !ctl->args.is_quiet && !ctl->args.is_json && isatty(STDOUT_FILENO);
}

/* --- the request --- */

static gboolean
add_vm(const Ctl *ctl, const gchar *word, JsonArray *addresses, GError **error)
{
    g_autoptr(GError) local = NULL;
    if (sami_value_address(word, TRUE, &local)) {
        json_array_add_string_element(addresses, word);
        return TRUE;
    }
    if (strchr(word, '/')) { /* which no name of a file has */
        g_propagate_prefixed_error(error, g_steal_pointer(&local), "--vm ");
        return FALSE;
    }
    const SamiConfigVm *vm = ctl->config ? sami_config_vm(ctl->config, word) : NULL;
    for (guint i = 0; vm && vm->addresses[i]; i++)
        json_array_add_string_element(addresses, vm->addresses[i]);
    if (vm)
        return TRUE;
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    for (guint i = 0; ctl->config && i < ctl->config->vms->len; i++)
        g_ptr_array_add(names, ((const SamiConfigVm *)ctl->config->vms->pdata[i])->name);
    g_ptr_array_add(names, NULL);
    const gchar *near = ctl_suggest(word, (const gchar *const *)names->pdata);
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE,
                "--vm '%s' is no address, and there is no %s/vms.d/%s.conf%s%s%s", word,
                ctl_config_dir(ctl), word, near ? "; did you mean '" : "", near ? near : "",
                near ? "'?" : "");
    return FALSE;
}

JsonArray *
ctl_vm(const Ctl *ctl, const gchar *verb, GError **error)
{
    g_autoptr(JsonArray) addresses = json_array_new();
    for (guint i = 0; ctl->args.vm && ctl->args.vm[i]; i++) {
        g_auto(GStrv) words = sami_value_list(ctl->args.vm[i], error);
        for (guint j = 0; words && words[j]; j++)
            if (!add_vm(ctl, words[j], addresses, error))
                return NULL;
        if (!words) {
            g_prefix_error(error, "--vm ");
            return NULL;
        }
    }
    guint n = json_array_get_length(addresses);
    if (n == 0 || n > SAMI_VM_ADDRESSES_MAX) {
        if (n)
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE,
                        "--vm: %u addresses; allowed: 1 to %u", n, SAMI_VM_ADDRESSES_MAX);
        else
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "%s needs --vm NAME or ADDRESS", verb);
        return NULL;
    }
    return g_steal_pointer(&addresses);
}

static gboolean
add_number(JsonObject *request, const gchar *name, const gchar *text, guint64 max, GError **error)
{
    guint64 value = 0;
    if (!text)
        return TRUE;
    if (!sami_value_uint(text, 0, max, &value, error)) {
        g_prefix_error(error, "--%s ", name);
        return FALSE;
    }
    json_object_set_int_member(request, name, (gint64)value);
    return TRUE;
}

/* --vlan, or what vms.d says of every VM that is named. */
static gboolean
add_vlan(const Ctl *ctl, JsonObject *request, GError **error)
{
    guint vlan = 0;
    for (guint i = 0; !ctl->args.vlan && ctl->args.vm && ctl->args.vm[i]; i++) {
        g_auto(GStrv) words = sami_value_list(ctl->args.vm[i], NULL);
        for (guint j = 0; words && words[j]; j++) {
            const SamiConfigVm *vm = ctl->config ? sami_config_vm(ctl->config, words[j]) : NULL;
            if (vm && vm->vlan && vlan && vm->vlan != vlan) {
                g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "--vm names VMs of VLAN %u and of VLAN %u: migrate them one by one", vlan, vm->vlan);
                return FALSE;
            }
            vlan = vm && vm->vlan ? vm->vlan : vlan;
        }
    }
    if (vlan)
        json_object_set_int_member(request, "vlan", vlan);
    return add_number(request, "vlan", ctl->args.vlan, 4094, error);
}

gboolean
ctl_add_segment(const Ctl *ctl, JsonObject *request, GError **error)
{
    return add_number(request, "mark", ctl->args.mark, G_MAXUINT32, error) && add_number(request, "zone", ctl->args.zone, 65535, error) &&
           add_vlan(ctl, request, error);
}

static gboolean
add_deadline(JsonObject *request, const CtlArgs *args, GError **error)
{
    static const gchar *const words[] = {"wait", "resume", "abort", NULL};
    guint64 ms = 0;
    if (args->deadline && !sami_value_duration(args->deadline, 10, 3600 * 1000, &ms, error)) {
        g_prefix_error(error, "--deadline ");
        return FALSE;
    }
    if (args->deadline)
        json_object_set_int_member(request, "deadline_ms", (gint64)ms);
    if (args->on_late && !g_strv_contains(words, args->on_late)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE,
                    "--on-late '%s' is unknown; allowed: wait, resume or abort", args->on_late);
        return FALSE;
    }
    json_object_set_string_member(request, "on_late", args->on_late ? args->on_late : "wait");
    return TRUE;
}

static JsonObject *
make_request(const Ctl *ctl, GError **error)
{
    const CtlArgs *args = &ctl->args;
    const gchar *clash =
        args->is_now && args->is_hold ? "--now and --hold exclude each other"
        : args->is_now && args->command
            ? "--now and -- CMD exclude each other: CMD's pause is what the freeze waits for"
        : !args->to ? "migrate needs --to PEER; `samictl peer list` shows them"
                    : NULL;
    if (clash) {
        g_set_error_literal(error, SAMI_ERROR, SAMI_ERROR_USAGE, clash);
        return NULL;
    }
    JsonArray *vm = ctl_vm(ctl, "migrate", error);
    if (!vm)
        return NULL;
    g_autoptr(JsonObject) request = json_object_new();
    json_object_set_string_member(request, "cmd", "migrate");
    json_object_set_array_member(request, "vm", vm);
    json_object_set_string_member(request, "to", args->to);
    json_object_set_boolean_member(request, "now", args->is_now);
    json_object_set_boolean_member(request, "purge", args->is_purge);
    if (!add_deadline(request, args, error) ||
        !ctl_add_segment(ctl, request, error))
        return NULL;
    return g_steal_pointer(&request);
}

/* --- what goes on while the call is open --- */

static void
say(Migrate *migrate, const gchar *text)
{
    if (migrate->has_bar)
        ctl_clear_progress();
    fflush(stdout);
    ctl_say(stderr, "samictl: %s\n", text);
}

static JsonObject *
make_id_request(const Migrate *migrate, const gchar *cmd)
{
    JsonObject *request = json_object_new();
    json_object_set_string_member(request, "cmd", cmd);
    json_object_set_string_member(request, "id", migrate->id);
    return request;
}

/* What the end is worth, together with what became of the command and of the deadline. */
static void
judge(Migrate *migrate)
{
    gboolean is_moved = migrate->code == SAMI_EXIT_DONE || migrate->code == SAMI_EXIT_DEGRADED;
    if (is_moved && migrate->failure)
        migrate->code = SAMI_EXIT_FAILED;
    else if (is_moved && migrate->is_late && !g_strcmp0(migrate->ctl->args.on_late, "resume"))
        migrate->code = SAMI_EXIT_LATE;
    else if (migrate->code == SAMI_EXIT_ABORTED && migrate->is_command_started &&
             !migrate->failure)
        say(migrate, "the sessions were rolled back, but the command succeeded: if it moved the VM, "
                     "the VM is there without them");
}

static void
maybe_quit(Migrate *migrate)
{
    /* A command that still runs may be moving the VM: leaving it alone behind our back would hide
     * how that ended. */
    if (!migrate->is_ended || migrate->is_command_running)
        return;
    judge(migrate);
    g_main_loop_quit(migrate->loop);
}

/* The answer to our own freeze or abort. How the migration ended comes as the last line of the
 * attached call. */
static void
on_request_done(JsonObject *answer, const GError *error, gpointer user_data)
{
    Migrate *migrate = user_data;
    const gchar *why = answer ? ctl_string(answer, "error") : error->message;
    gint64 code = answer ? ctl_int(answer, "exit") : SAMI_EXIT_FAILED;
    if (!migrate->is_ended && code != SAMI_EXIT_DONE && *why)
        say(migrate, why);
}

static void
send_abort(Migrate *migrate)
{
    if (migrate->is_abort_sent || migrate->is_ended || !migrate->id)
        return;
    migrate->is_abort_sent = TRUE;
    ctl_call_async(migrate->socket, make_id_request(migrate, "abort"), NULL, on_request_done,
                   migrate);
}

static Phase
find_phase(const gchar *name)
{
    if (!strcmp(name, "UNDO") || !strcmp(name, "ABORTED")) /* an abort after READY, and the end of any */
        return PHASE_ABORT;
    for (guint i = N_PHASES; i-- > 1;)
        if (!strcmp(phases[i], name))
            return i;
    return PHASE_NONE;
}

static void
set_phase(Migrate *migrate, Phase phase)
{
    if (phase == PHASE_NONE)
        return;
    if (phase == PHASE_FOLLOW && migrate->phase > phase) /* thawed: another freeze has a deadline of its own */
        migrate->is_late = FALSE;
    migrate->phase = phase;
}

static void
tell_failure(Migrate *migrate)
{
    gboolean is_aborting = migrate->is_abort_sent || migrate->phase == PHASE_ABORT;
    migrate->is_command_running = FALSE;
    if (!is_aborting && (migrate->phase >= PHASE_READY || migrate->is_ended)) {
        g_autofree gchar *text = g_strdup_printf(
            "the command failed (%s) after %s; where the VM runs decides: "
            "samictl status %.8s, here and at the peer",
            migrate->failure, migrate->is_ended ? "the end of the migration" : "READY", migrate->id);
        say(migrate, text);
    } else if (!is_aborting) {
        g_autofree gchar *text = g_strdup_printf("the command failed (%s) before READY: aborting",
                                                 migrate->failure);
        say(migrate, text);
        send_abort(migrate);
    }
    maybe_quit(migrate);
}

/* Where the migration really stands: its events may be on their way to us, and an abort after READY is not ours to ask for. */
static void
on_standing(JsonObject *answer, const GError *error, gpointer user_data)
{
    Migrate *migrate = user_data;
    JsonObject *found = answer ? sami_status_find(answer, migrate->id) : NULL;
    if (found)
        set_phase(migrate, find_phase(sami_status_phase(found)));
    tell_failure(migrate);
}

static void
on_command_exit(GPid pid, gint status, gpointer user_data)
{
    Migrate *migrate = user_data;
    g_autoptr(GError) error = NULL;
    g_spawn_close_pid(pid);
    if (!g_spawn_check_wait_status(status, &error)) {
        migrate->failure = g_strdup(error->message);
        ctl_call_async(migrate->socket, make_id_request(migrate, "status"), NULL, on_standing,
                       migrate);
        return;
    }
    migrate->is_command_running = FALSE;
    if (!migrate->is_ended && migrate->phase < PHASE_FREEZE)
        ctl_call_async(migrate->socket, make_id_request(migrate, "freeze"), NULL, on_request_done,
                       migrate);
    maybe_quit(migrate);
}

static void
start_command(Migrate *migrate)
{
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) environment = g_get_environ();
    GPid pid = 0;
    environment = g_environ_setenv(environment, "SAMI_ID", migrate->id, TRUE);
    environment = g_environ_setenv(environment, "SAMI_SOCKET", migrate->socket, TRUE);
    migrate->is_command_started = TRUE;
    if (migrate->has_bar)
        ctl_clear_progress();
    fflush(stdout);
    /* With --json standard output is ours alone. */
    migrate->is_command_running = g_spawn_async_with_fds(
        NULL, migrate->ctl->args.command, environment,
        G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_CHILD_INHERITS_STDIN, NULL, NULL,
        &pid, -1, migrate->ctl->args.is_json ? STDERR_FILENO : -1, -1, &error);
    if (migrate->is_command_running) {
        g_child_watch_add(pid, on_command_exit, migrate);
        return;
    }
    g_autofree gchar *text =
        g_strdup_printf("cannot run the command: %s: aborting", error->message);
    migrate->failure = g_strdup(error->message);
    say(migrate, text);
    send_abort(migrate);
}

static void
on_late(Migrate *migrate)
{
    const gchar *policy = migrate->ctl->args.on_late;
    migrate->is_late = TRUE;
    if (!g_strcmp0(policy, "abort"))
        say(migrate, "not READY within the deadline: aborting (--on-late abort)");
    else if (!g_strcmp0(policy, "resume"))
        say(migrate, "not READY within the deadline: the VM may go on there with what has arrived "
                     "(--on-late resume)");
    else
        say(migrate, "not READY within the deadline: waiting on (Ctrl-C aborts)");
}

static void
on_event(JsonObject *event, gpointer user_data)
{
    Migrate *migrate = user_data;
    const CtlArgs *args = &migrate->ctl->args;
    gboolean is_phase = !strcmp(ctl_string(event, "event"), "phase");
    if (!migrate->id && *ctl_string(event, "id"))
        migrate->id = g_strdup(ctl_string(event, "id"));
    set_phase(migrate, find_phase(ctl_string(event, "phase")));
    if (args->is_json) {
        g_autofree gchar *text = sami_control_json_print(event);
        printf("%s\n", text);
        fflush(stdout);
    } else if (is_phase && !args->is_quiet) {
        if (migrate->has_bar)
            ctl_clear_progress();
        ctl_print_phase(event);
    } else if (migrate->has_bar && !migrate->is_command_running) {
        ctl_print_progress(event);
    }
    if (!strcmp(ctl_string(event, "event"), "late"))
        on_late(migrate);
    /* An interrupt that came before we knew whom to abort. */
    if (migrate->n_interrupts)
        send_abort(migrate);
    JsonNode *confirmed = json_object_get_member(event, "confirmed_snapshot");
    if (args->command && !migrate->is_command_started && !migrate->n_interrupts &&
        migrate->phase == PHASE_FOLLOW && migrate->id && confirmed &&
        JSON_NODE_HOLDS_VALUE(confirmed) && json_node_get_boolean(confirmed))
        start_command(migrate);
}

static void
on_done(JsonObject *answer, const GError *error, gpointer user_data)
{
    Migrate *migrate = user_data;
    migrate->is_ended = TRUE;
    if (migrate->has_bar)
        ctl_clear_progress();
    if (!answer) {
        migrate->error = g_error_copy(error);
        if (migrate->id && !ctl_is_not_running(error))
            g_prefix_error(&migrate->error, "migration %.8s: ", migrate->id);
    } else if (migrate->ctl->args.is_json) {
        g_autofree gchar *text = sami_control_json_print(answer);
        printf("%s\n", text);
        fflush(stdout);
        migrate->code = (SamiExit)ctl_int(answer, "exit");
    } else {
        migrate->code = ctl_print_result(answer, migrate->ctl->args.is_quiet);
    }
    maybe_quit(migrate);
}

/* Once: roll back and wait for it. Twice: leave, and let the daemon go on. */
static gboolean
on_interrupt(gpointer user_data)
{
    Migrate *migrate = user_data;
    migrate->n_interrupts++;
    if (migrate->n_interrupts > 1 || (!migrate->id && migrate->is_ended)) {
        g_set_error(&migrate->error, SAMI_ERROR, SAMI_ERROR_FAILED,
                    "left; how it ends: samictl status %.8s", migrate->id ? migrate->id : "");
        g_main_loop_quit(migrate->loop);
        return G_SOURCE_CONTINUE;
    }
    if (migrate->phase >= PHASE_READY && migrate->phase != PHASE_ABORT)
        say(migrate, "interrupted after READY: the VM may run at the peer; asking for an abort all "
                     "the same (again: leave)");
    else
        say(migrate, "interrupted: aborting (again: leave)");
    send_abort(migrate);
    return G_SOURCE_CONTINUE;
}

SamiExit
ctl_migrate(Ctl *ctl, GError **error)
{
    if (!ctl_load_config(ctl, error))
        return SAMI_EXIT_FAILED;
    JsonObject *request = make_request(ctl, error);
    if (!request)
        return SAMI_EXIT_USAGE;
    g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
    g_autofree gchar *socket = ctl_socket(ctl, CTL_EXPORTER);
    Migrate migrate = {.ctl = ctl, .loop = loop, .socket = socket, .has_bar = has_bar(ctl)};
    g_unix_signal_add(SIGINT, on_interrupt, &migrate);
    g_unix_signal_add(SIGTERM, on_interrupt, &migrate);
    ctl_call_async(socket, request, on_event, on_done, &migrate);
    g_main_loop_run(loop);
    g_free(migrate.id);
    g_free(migrate.failure);
    if (migrate.error)
        g_propagate_error(error, migrate.error);
    return migrate.code;
}
