#include "packaging/qemu/vmstate.h"

#include <string.h>

#define BUS_NAME "org.qemu.VMState1"
#define OBJECT_PATH "/org/qemu/VMState1"
/* A daemon that hangs is given this much more before the timer answers in its stead. */
#define MARGIN_MS 100u

static const gchar introspection[] = "<node>"
                                     "<interface name='" BUS_NAME "'>"
                                     "<property name='Id' type='s' access='read'/>"
                                     "<method name='Load'><arg type='ay' name='data' direction='in'/></method>"
                                     "<method name='Save'><arg type='ay' name='data' direction='out'/></method>"
                                     "</interface>"
                                     "</node>";

/* One call of QEMU's. Two hold it: the thread and, until it is answered, the timer. QEMU may be its guest's by now, so of each kind one is under way, and
 * one thread asks a daemon: while that of an answered call still hangs, the next call waits for it. */
typedef struct SamiVmstateCall {
    gatomicrefcount count;
    SamiVmstate *self;
    GDBusMethodInvocation *invocation; /* NULL: answered. Main loop only */
    guint timer;
    gint64 end_us;
    gboolean is_load;
    gboolean has_company; /* another one was refused meanwhile, and it was logged */
    SamiToken token; /* in: Load; out: Save */
    GError *error;   /* out: Load */
} Call;

static void
call_unref(Call *call)
{
    if (!g_atomic_ref_count_dec(&call->count))
        return;
    g_clear_error(&call->error);
    g_free(call);
}

static Call *
call_new(SamiVmstate *self, GDBusMethodInvocation *invocation)
{
    Call *call = g_new0(Call, 1);
    g_atomic_ref_count_init(&call->count);
    call->self = self;
    call->invocation = invocation;
    return call;
}

/* It is answered by whoever gets this. (transfer full) */
static GDBusMethodInvocation *
take_invocation(Call *call)
{
    call->self->under_way[call->is_load] = NULL;
    return g_steal_pointer(&call->invocation);
}

static void
answer_save(Call *call, SamiToken token)
{
    token.left_ms = (guint)(MAX(call->end_us - g_get_monotonic_time(), 0) / 1000);
    g_autofree gchar *text = sami_token_print(&token);
    g_message("Save: %s", text);
    g_dbus_method_invocation_return_value(
        take_invocation(call),
        g_variant_new("(@ay)", g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, text, strlen(text), 1)));
}

static void
answer_load(Call *call, const GError *error)
{
    SamiVmstate *self = call->self;
    GDBusMethodInvocation *invocation = take_invocation(call);
    if (!error) {
        g_message("Load: %.8s is READY, the VM goes on", call->token.id);
    } else if (self->options->on_late == SAMI_LATE_RESUME) {
        self->n_late++;
        g_warning("Load: %s: the VM goes on with what is there (on-late resume)", error->message);
    } else {
        self->n_late++;
        g_warning("Load: %s: the VM's migration fails", error->message);
        g_dbus_method_invocation_return_error(
            invocation, G_DBUS_ERROR,
            g_error_matches(error, SAMI_ERROR, SAMI_ERROR_REFUSED) ? G_DBUS_ERROR_FAILED : G_DBUS_ERROR_TIMEOUT,
            "SAMI: %s", error->message);
        return;
    }
    g_dbus_method_invocation_return_value(invocation, NULL);
}

static void launch(Call *call);

static gboolean
on_done(gpointer user_data)
{
    Call *call = user_data;
    SamiVmstate *self = call->self;
    gboolean is_load = call->is_load;
    self->has_thread[is_load] = FALSE;
    if (call->invocation) {
        g_source_remove(call->timer);
        if (call->is_load)
            answer_load(call, call->error);
        else
            answer_save(call, call->token);
        call_unref(call);
    }
    call_unref(call);
    if (self->under_way[is_load])
        launch(self->under_way[is_load]);
    return G_SOURCE_REMOVE;
}

static gpointer
work(gpointer user_data)
{
    Call *call = user_data;
    if (call->is_load)
        sami_vmstate_load(call->self, &call->token, &call->error);
    else
        sami_vmstate_save(call->self, call->end_us, &call->token);
    g_idle_add_full(G_PRIORITY_DEFAULT, on_done, call, NULL);
    return NULL;
}

static gboolean
on_timer(gpointer user_data)
{
    Call *call = user_data;
    if (call->is_load) {
        g_autoptr(GError) error = g_error_new(SAMI_ERROR, SAMI_ERROR_FAILED,
                                              "%.8s is not READY within the deadline: the collector does not answer", call->token.id);
        answer_load(call, error);
    } else {
        /* The thread may be waiting for the freeze of a migration whose id it has found, but it owns the token. */
        SamiToken token = {.state = SAMI_TOKEN_NONE};
        g_mutex_lock(&call->self->lock);
        g_strlcpy(token.id, call->self->own, sizeof token.id);
        g_mutex_unlock(&call->self->lock);
        if (*token.id)
            token.state = SAMI_TOKEN_LATE;
        g_warning("Save: the exporter does not answer within the deadline");
        answer_save(call, token);
    }
    call_unref(call);
    return G_SOURCE_REMOVE;
}

static void
launch(Call *call)
{
    call->self->has_thread[call->is_load] = TRUE;
    g_atomic_ref_count_inc(&call->count);
    g_thread_unref(g_thread_new(call->is_load ? "load" : "save", work, call));
}

static void
start(Call *call, guint limit_ms)
{
    call->end_us = g_get_monotonic_time() + (gint64)limit_ms * 1000;
    call->timer = g_timeout_add(limit_ms + MARGIN_MS, on_timer, call);
    call->self->under_way[call->is_load] = call;
    if (!call->self->has_thread[call->is_load])
        launch(call);
}

/* QEMU makes one call after the other. */
static gboolean
is_refused(SamiVmstate *self, gboolean is_load, GDBusMethodInvocation *invocation)
{
    const gchar *what = is_load ? "Load" : "Save";
    Call *call = self->under_way[is_load];
    if (!call)
        return FALSE;
    if (!call->has_company)
        g_warning("%s: refused, and so are more of them: one is under way", what);
    call->has_company = TRUE;
    g_dbus_method_invocation_return_error(invocation, G_DBUS_ERROR, G_DBUS_ERROR_LIMITS_EXCEEDED, "SAMI: a %s is under way", what);
    return TRUE;
}

static void
on_save(SamiVmstate *self, GDBusMethodInvocation *invocation)
{
    if (is_refused(self, FALSE, invocation))
        return;
    Call *call = call_new(self, invocation);
    self->n_saves++;
    sami_vmstate_attempt(self);
    g_mutex_lock(&self->lock);
    if (!self->is_own_started) /* the last move's */
        self->own[0] = '\0';
    g_mutex_unlock(&self->lock);
    start(call, self->options->deadline_ms);
}

static void
on_load(SamiVmstate *self, GVariant *parameters, GDBusMethodInvocation *invocation)
{
    gsize length = 0;
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) bytes = g_variant_get_child_value(parameters, 0);
    const guint8 *data = g_variant_get_fixed_array(bytes, &length, 1);
    SamiToken token;
    if (is_refused(self, TRUE, invocation))
        return;
    self->n_loads++;
    if (!sami_token_parse(data, length, &token, &error)) {
        g_warning("Load: %s", error->message);
        g_dbus_method_invocation_return_error(invocation, G_DBUS_ERROR, G_DBUS_ERROR_INVALID_ARGS, "SAMI: %s", error->message);
        return;
    }
    Call *call = call_new(self, invocation);
    call->is_load = TRUE;
    call->token = token;
    start(call, sami_vmstate_load_limit_ms(self, &token));
}

static void
on_call(GDBusConnection *bus, const gchar *sender, const gchar *path, const gchar *interface, const gchar *method, GVariant *parameters,
        GDBusMethodInvocation *invocation, gpointer user_data)
{
    if (!strcmp(method, "Save"))
        on_save(user_data, invocation);
    else
        on_load(user_data, parameters, invocation); /* GDBus has checked both against the introspection data */
}

static GVariant *
on_get(GDBusConnection *bus, const gchar *sender, const gchar *path, const gchar *interface, const gchar *property, GError **error,
       gpointer user_data)
{
    const SamiVmstate *self = user_data;
    return g_variant_new_string(self->options->id);
}

static void
on_owned(GDBusConnection *bus, const gchar *name, gpointer user_data)
{
    g_message("%s is ours", name);
}

static void
on_lost(GDBusConnection *bus, const gchar *name, gpointer user_data)
{
    SamiVmstate *self = user_data;
    if (bus) {
        g_message("in the queue for %s, behind another helper", name);
        return;
    }
    g_warning("the bus does not give us the name %s", name);
    self->status = 1;
    g_main_loop_quit(self->loop);
}

gboolean
sami_vmstate_export(SamiVmstate *self, GDBusConnection *bus, GError **error)
{
    static const GDBusInterfaceVTable table = {.method_call = on_call, .get_property = on_get};
    g_autoptr(GDBusNodeInfo) node = g_dbus_node_info_new_for_xml(introspection, error);
    if (!node || g_dbus_connection_register_object(bus, OBJECT_PATH, node->interfaces[0], &table, self, NULL, error) == 0)
        return FALSE;
    /* No flags: neither replaces others nor refuses to queue. */
    g_bus_own_name_on_connection(bus, BUS_NAME, G_BUS_NAME_OWNER_FLAGS_NONE, on_owned, on_lost, self, NULL);
    return TRUE;
}
