/* The source: which migration, its freeze, its end. */
#include "packaging/qemu/vmstate.h"

#include <string.h>

#include "common/control-json.h"
#include "common/status.h"

#define POLL_US 5000u
/* Longer than any Load; then the migration ends as if the monitor had told of the end of the move. */
#define HOLD_MS 60000

JsonObject *
sami_vmstate_request(const gchar *cmd, const gchar *id)
{
    JsonObject *request = json_object_new();
    json_object_set_string_member(request, "cmd", cmd);
    if (id)
        json_object_set_string_member(request, "id", id);
    return request;
}

static void
set_own(SamiVmstate *self, const gchar *id)
{
    g_mutex_lock(&self->lock);
    g_strlcpy(self->own, id, sizeof self->own);
    g_mutex_unlock(&self->lock);
}

static const gchar *
get_id(JsonObject *object)
{
    return sami_control_json_text(object, "id", "");
}

static gboolean
get_flag(JsonObject *object, const gchar *member)
{
    return json_object_get_boolean_member_with_default(object, member, FALSE);
}

static gboolean
is_frozen(JsonObject *migration)
{
    static const gchar *const phases[] = {"FREEZE", "READY", "SETTLE", NULL};
    return g_strv_contains(phases, sami_status_phase(migration));
}

/* By an earlier Save of ours: QEMU saves once a move, so this is another one, of which no monitor has told us. With the lock held. */
static gboolean
is_saved(SamiVmstate *self, JsonObject *migration)
{
    return *self->saved && !strcmp(self->saved, get_id(migration));
}

/* Is the migration one of this VM, and one that a Save can mean? Somebody else may have frozen it already. One that has ended belongs to
 * an earlier move, unless QEMU's monitor made us start it for this one and no Save has used it yet. */
static gboolean
is_ours(SamiVmstate *self, JsonObject *migration)
{
    static const gchar *const phases[] = {"PREPARE", "FOLLOW", "FREEZE", "READY", "SETTLE", NULL};
    JsonArray *list = sami_control_json_array(migration, "vm");
    g_mutex_lock(&self->lock);
    gboolean is_own = *self->own && !strcmp(self->own, get_id(migration));
    gboolean is_used_up = is_saved(self, migration);
    g_mutex_unlock(&self->lock);
    if (is_own && !is_used_up)
        return TRUE;
    if (!g_strv_contains(phases, sami_status_phase(migration)))
        return FALSE;
    gint64 vlan = json_object_get_int_member_with_default(migration, "vlan", 0);
    if (vlan && self->options->vlan && vlan != self->options->vlan) /* the same addresses, of another VM */
        return FALSE;
    for (guint i = 0; list && i < json_array_get_length(list); i++) {
        const gchar *address = json_array_get_string_element(list, i);
        if (address && g_strv_contains((const gchar *const *)self->options->vm, address))
            return TRUE;
    }
    return FALSE;
}

/* The newest, if there are several: an older one is a leftover. (transfer none) (nullable) */
static JsonObject *
choose(SamiVmstate *self, JsonObject *answer)
{
    JsonArray *list = sami_control_json_array(answer, "migrations");
    JsonObject *best = NULL;
    for (guint i = 0; list && i < json_array_get_length(list); i++) {
        JsonNode *element = json_array_get_element(list, i);
        if (JSON_NODE_HOLDS_OBJECT(element) && is_ours(self, json_node_get_object(element)))
            best = json_node_get_object(element);
    }
    return best;
}

/* One request about one migration, whose answer says whether it was done. */
static gboolean
tell(SamiVmstate *self, const gchar *cmd, const gchar *id, const gchar *done, const gchar *failed)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) request = sami_vmstate_request(cmd, id);
    g_autoptr(JsonObject) answer = sami_control_call(self->options->exporter, request, NULL, NULL, &error);
    gboolean is_done = answer && json_object_get_int_member_with_default(answer, "exit", SAMI_EXIT_FAILED) == SAMI_EXIT_DONE;
    if (!is_done)
        g_warning("%.8s %s: %s", id, failed, answer ? sami_control_json_text(answer, "error", "") : error->message);
    else if (done)
        g_message("%.8s %s", id, done);
    return is_done;
}

/* The VM has gone on here since the freeze, so whatever READY there is tells of the past. */
static gboolean
thaw(SamiVmstate *self, const gchar *id)
{
    return tell(self, "thaw", id, "is thawed: it follows the VM here again", "is not thawed");
}

/* Waits until a migration of the VM has its snapshot confirmed. FALSE: none came, and *ret_why. */
static gboolean
find(SamiVmstate *self, gint64 end_us, gchar *ret_id, gboolean *ret_is_ready, const gchar **ret_why)
{
    gboolean is_stuck = FALSE; /* in the freeze of the last move, so only another migration can be this one's */
    for (;;) {
        g_autoptr(GError) error = NULL;
        g_autoptr(JsonObject) request = sami_vmstate_request("status", NULL);
        g_autoptr(JsonObject) answer = sami_control_call(self->options->exporter, request, NULL, NULL, &error);
        JsonObject *migration = answer ? choose(self, answer) : NULL;
        g_mutex_lock(&self->lock);
        gboolean is_coming = self->is_own_running;
        gboolean is_of_last_save = migration && is_saved(self, migration) && is_frozen(migration);
        g_mutex_unlock(&self->lock);
        if (is_of_last_save && !is_stuck && thaw(self, get_id(migration)))
            continue;
        is_stuck |= is_of_last_save;
        if (migration && !is_of_last_save && get_flag(migration, "confirmed_snapshot")) {
            SamiExit code = SAMI_EXIT_FAILED;
            *ret_is_ready = sami_status_is_decided(migration, &code);
            *ret_why = "it has failed, or was rolled back";
            g_strlcpy(ret_id, get_id(migration), 33);
            return !*ret_is_ready || code == SAMI_EXIT_DONE || code == SAMI_EXIT_DEGRADED;
        }
        *ret_why = !answer ? "the exporter does not answer"
                   : is_stuck ? "the freeze of the last move cannot be taken back"
                   : migration || is_coming ? "the snapshot is not confirmed"
                                            : "no migration of this VM has been started";
        if (!answer || (!migration && !is_coming && !is_stuck) || g_get_monotonic_time() >= end_us)
            return FALSE;
        g_usleep(POLL_US);
    }
}

/* FALSE: refused as not-ready because a re-dump runs, which ends by itself. */
static gboolean
freeze(SamiVmstate *self, gint64 end_us, SamiToken *token)
{
    g_autoptr(GError) error = NULL;
    gint64 left_ms = MAX(end_us - g_get_monotonic_time(), 0) / 1000;
    g_autoptr(JsonObject) request = sami_vmstate_request("freeze", token->id);
    json_object_set_int_member(request, "deadline_ms", MAX(left_ms, 10));
    if (self->options->has_monitor)
        json_object_set_int_member(request, "hold_ms", HOLD_MS);
    g_autoptr(JsonObject) answer = sami_control_call(self->options->exporter, request, NULL, NULL, &error);
    gint64 code = answer ? json_object_get_int_member_with_default(answer, "exit", SAMI_EXIT_FAILED) : SAMI_EXIT_FAILED;
    const gchar *why = answer ? sami_control_json_text(answer, "error", "late") : error->message;
    if (code == SAMI_EXIT_DONE || code == SAMI_EXIT_DEGRADED)
        token->state = SAMI_TOKEN_READY;
    else if (g_str_has_prefix(why, "not-ready") && left_ms > 0)
        return FALSE;
    else
        g_warning("Save: %.8s is not READY: %s", token->id, why);
    return TRUE;
}

/* What belongs to the last move is over before this one looks for its own. */
static gboolean
wait_undone(SamiVmstate *self, gint64 end_us)
{
    gboolean is_in_time = TRUE;
    g_mutex_lock(&self->lock);
    while (self->n_undoing > 0 && is_in_time)
        is_in_time = g_cond_wait_until(&self->undone, &self->lock, end_us);
    g_mutex_unlock(&self->lock);
    return is_in_time;
}

void
sami_vmstate_save(SamiVmstate *self, gint64 end_us, SamiToken *ret_token)
{
    const gchar *why = "";
    gboolean is_ready = FALSE;
    *ret_token = (SamiToken){.state = SAMI_TOKEN_NONE};
    if (!wait_undone(self, end_us)) {
        g_warning("Save: the last move's migration is not taken back yet: the VM's sessions do not move with it");
        return;
    }
    if (!find(self, end_us, ret_token->id, &is_ready, &why)) {
        g_warning("Save: %s: the VM's sessions do not move with it", why);
        *ret_token->id = '\0';
        return;
    }
    /* The exporter hung, and the timer has answered that there is nothing to wait for: then nothing is frozen behind its back. */
    if (g_get_monotonic_time() >= end_us && !is_ready) {
        g_warning("Save: %.8s was found too late to be frozen", ret_token->id);
        *ret_token = (SamiToken){.state = SAMI_TOKEN_NONE};
        return;
    }
    set_own(self, ret_token->id);
    g_mutex_lock(&self->lock);
    g_strlcpy(self->saved, ret_token->id, sizeof self->saved);
    g_mutex_unlock(&self->lock);
    ret_token->state = is_ready ? SAMI_TOKEN_READY : SAMI_TOKEN_LATE;
    while (!is_ready && !freeze(self, end_us, ret_token))
        g_usleep(POLL_US);
}

/* --- taking back --- */

typedef struct {
    SamiVmstate *self;
    SamiFailure what;
    gchar id[33];
} Undo;

/* A move that failed before its Save has frozen nothing, and its migration goes on as it is. */
static void
thaw_if_frozen(SamiVmstate *self, const gchar *id)
{
    g_autoptr(JsonObject) request = sami_vmstate_request("status", id);
    g_autoptr(JsonObject) answer = sami_control_call(self->options->exporter, request, NULL, NULL, NULL);
    JsonObject *migration = answer ? sami_status_find(answer, id) : NULL;
    SamiExit code = SAMI_EXIT_FAILED;
    if (migration && !is_frozen(migration) && !sami_status_is_decided(migration, &code))
        g_message("%.8s is not frozen: it follows the VM here", id);
    else
        thaw(self, id);
}

static gpointer
run_undo(gpointer user_data)
{
    g_autofree Undo *undo = user_data;
    SamiVmstate *self = undo->self;
    if (undo->what == SAMI_FAILURE_THAW)
        thaw_if_frozen(self, undo->id);
    else
        tell(self, "abort", undo->id, "is rolled back: the VM stays here", "is not rolled back");
    g_mutex_lock(&self->lock);
    if (--self->n_undoing == 0)
        g_cond_broadcast(&self->undone);
    g_mutex_unlock(&self->lock);
    return NULL;
}

/* With the lock held. */
static void
start_undo(SamiVmstate *self, SamiFailure what, const gchar *id)
{
    Undo *undo = g_new0(Undo, 1);
    undo->self = self;
    undo->what = what;
    g_strlcpy(undo->id, id, sizeof undo->id);
    self->n_undoing++;
    g_thread_unref(g_thread_new("undo", run_undo, undo));
}

static void
take_back(SamiVmstate *self, SamiFailure what)
{
    g_mutex_lock(&self->lock);
    if (what == SAMI_FAILURE_ABORT) {
        self->is_own_dropped = self->is_own_running;
        self->is_own_wanted = FALSE;
    }
    if (*self->own)
        start_undo(self, what, self->own);
    if (what == SAMI_FAILURE_ABORT)
        self->own[0] = '\0';
    g_mutex_unlock(&self->lock);
}

static gboolean
on_retry_over(gpointer user_data)
{
    SamiVmstate *self = user_data;
    self->retry_timer = 0;
    g_message("no other attempt to move the VM has come: its migration is aborted");
    take_back(self, SAMI_FAILURE_ABORT);
    return G_SOURCE_REMOVE;
}

void
sami_vmstate_attempt(SamiVmstate *self)
{
    if (self->retry_timer)
        g_source_remove(self->retry_timer);
    self->retry_timer = 0;
}

void
sami_vmstate_move_failed(SamiVmstate *self)
{
    const SamiVmstateOptions *options = self->options;
    sami_vmstate_attempt(self);
    take_back(self, options->on_failure);
    if (options->on_failure == SAMI_FAILURE_THAW && options->retry_ms > 0)
        self->retry_timer = g_timeout_add(options->retry_ms, on_retry_over, self);
}

/* --- the end --- */

typedef struct {
    SamiVmstate *self;
    gchar id[33];
} Settle;

static gpointer
run_settle(gpointer user_data)
{
    g_autofree Settle *settle = user_data;
    tell(settle->self, "settle", settle->id, NULL, "is not settled");
    return NULL;
}

void
sami_vmstate_move_completed(SamiVmstate *self)
{
    Settle *settle = g_new0(Settle, 1);
    settle->self = self;
    g_mutex_lock(&self->lock);
    g_strlcpy(settle->id, self->own, sizeof settle->id);
    g_mutex_unlock(&self->lock);
    if (*settle->id)
        g_thread_unref(g_thread_new("settle", run_settle, settle));
    else
        g_free(settle);
}

/* --- a migration of our own --- */

typedef struct {
    SamiVmstate *self;
    gboolean is_known; /* its id */
} Run;

static void
on_known(SamiVmstate *self, const gchar *id)
{
    g_mutex_lock(&self->lock);
    if (self->is_own_dropped) /* before we knew whom to abort */
        start_undo(self, SAMI_FAILURE_ABORT, id);
    else
        g_strlcpy(self->own, id, sizeof self->own);
    g_mutex_unlock(&self->lock);
}

static void
on_event(JsonObject *event, gpointer user_data)
{
    Run *run = user_data;
    const gchar *name = sami_control_json_text(event, "event", "");
    if (!run->is_known && *get_id(event)) {
        run->is_known = TRUE;
        on_known(run->self, get_id(event));
    }
    if (!strcmp(name, "phase"))
        g_message("%.8s %s", get_id(event), sami_status_phase(event));
}

/* Returns when it has ended. */
static void
run_once(SamiVmstate *self)
{
    Run run = {.self = self};
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) request = sami_vmstate_request("migrate", NULL);
    JsonArray *vm = json_array_new();
    for (guint i = 0; self->options->vm[i]; i++)
        json_array_add_string_element(vm, self->options->vm[i]);
    json_object_set_array_member(request, "vm", vm);
    if (self->options->vlan)
        json_object_set_int_member(request, "vlan", self->options->vlan);
    json_object_set_string_member(request, "to", self->options->to);
    json_object_set_int_member(request, "deadline_ms", self->options->deadline_ms);
    g_autoptr(JsonObject) answer = sami_control_call(self->options->exporter, request, on_event, &run, &error);
    gint64 code = answer ? json_object_get_int_member_with_default(answer, "exit", SAMI_EXIT_FAILED) : SAMI_EXIT_FAILED;
    const gchar *id = answer ? get_id(answer) : "";
    if (code == SAMI_EXIT_DONE || code == SAMI_EXIT_DEGRADED)
        g_message("%.8s ended with exit code %d", id, (int)code);
    else
        g_warning("%.8s ended: %s", *id ? id : "the migration",
                  answer ? sami_control_json_text(answer, "error", "without a reason") : error->message);
}

static gpointer
run_migrations(gpointer user_data)
{
    SamiVmstate *self = user_data;
    for (gboolean is_wanted = TRUE; is_wanted;) {
        run_once(self);
        g_mutex_lock(&self->lock);
        is_wanted = self->is_own_running = self->is_own_wanted;
        self->is_own_dropped = self->is_own_wanted = FALSE;
        g_mutex_unlock(&self->lock);
    }
    return NULL;
}

void
sami_vmstate_move_began(SamiVmstate *self)
{
    sami_vmstate_attempt(self);
    g_mutex_lock(&self->lock);
    gboolean is_first = self->options->to && !self->is_own_running;
    self->is_own_wanted = self->is_own_dropped;
    if (!self->is_own_running)
        self->own[0] = '\0';
    self->is_own_started = self->is_own_running = is_first || self->is_own_running;
    g_mutex_unlock(&self->lock);
    if (is_first)
        g_thread_unref(g_thread_new("migrate", run_migrations, self));
}
