#include "ctl/ctl.h"

#include <string.h>

#include "common/control-json.h"

static const gchar *const roles[CTL_N_ROLES] = {"exporter", "collector"};

const gchar *
ctl_role_name(CtlRole role)
{
    return roles[role];
}

gchar *
ctl_socket(Ctl *ctl, CtlRole role)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(SamiConfig) main_only = NULL;
    if (ctl->args.socket)
        return g_strdup(ctl->args.socket);
    if (!ctl->config && !ctl_load_config(ctl, &error)) {
        g_autofree gchar *path = ctl_path(ctl, "sami.conf");
        main_only = sami_config_load_main(path, NULL);
        if (!ctl->is_config_reported)
            ctl_say(stderr, "samictl: %s\n", error->message);
        ctl->is_config_reported = TRUE;
    }
    const SamiConfig *config = ctl->config ? ctl->config : main_only;
    g_autofree gchar *file = g_strconcat(roles[role], ".sock", NULL);
    return g_build_filename(config ? config->run_dir : SAMI_RUNDIR, file, NULL);
}

gboolean
ctl_is_not_running(const GError *error)
{
    return g_error_matches(error, SAMI_ERROR, SAMI_ERROR_PEER);
}

/* Adds to the error of a call what to do about it. */
static void
explain(const gchar *path, GError **error)
{
    g_autofree gchar *name = g_path_get_basename(path);
    if (error && ctl_is_not_running(*error)) {
        g_autoptr(GString) text = g_string_new((*error)->message);
        for (guint i = 0; i < CTL_N_ROLES; i++) /* somebody else's socket is no unit of ours */
            if (g_str_has_prefix(name, roles[i]) && !strcmp(name + strlen(roles[i]), ".sock"))
                g_string_append_printf(text, "; start it: systemctl start sami-%s", roles[i]);
        g_clear_error(error);
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_PEER, "no daemon listens on %s", text->str);
    } else if (error && g_error_matches(*error, SAMI_ERROR, SAMI_ERROR_PERMISSION)) {
        g_prefix_error(error, "only root and members of the control group may do this: ");
    }
}

JsonObject *
ctl_call(const gchar *path, JsonObject *request, GError **error)
{
    g_autoptr(GError) local = NULL;
    JsonObject *answer = sami_control_call(path, request, NULL, NULL, &local);
    if (!answer) {
        explain(path, &local);
        g_propagate_error(error, g_steal_pointer(&local));
    }
    return answer;
}

gboolean
ctl_reload(Ctl *ctl, gboolean *ret_running, GError **error)
{
    gboolean is_good = TRUE;
    for (guint i = 0; i < CTL_N_ROLES; i++) {
        g_autofree gchar *path = ctl_socket(ctl, (CtlRole)i);
        g_autoptr(JsonObject) request = json_object_new();
        g_autoptr(GError) local = NULL;
        json_object_set_string_member(request, "cmd", "reload");
        g_autoptr(JsonObject) answer = ctl_call(path, request, &local);
        ret_running[i] = answer != NULL;
        if (answer && ctl_int(answer, "exit") != SAMI_EXIT_DONE)
            g_set_error(&local, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s", ctl_string(answer, "error"));
        if (!local || ctl_is_not_running(local))
            continue;
        if (is_good)
            g_propagate_error(error, g_steal_pointer(&local));
        is_good = FALSE; /* the other one is told all the same */
    }
    return is_good;
}

typedef struct {
    gchar *path;
    JsonObject *request;
    CtlEventFunc event;
    CtlDoneFunc done;
    gpointer user_data;
} Call;

/* What the thread hands to the main loop: objects of json-glib count references without locks, so
 * each belongs to one side only. */
typedef struct {
    Call *call;
    gchar *line;        /* an event */
    JsonObject *answer; /* or the end */
    GError *error;
} Delivery;

static gboolean
deliver(gpointer user_data)
{
    Delivery *delivery = user_data;
    Call *call = delivery->call;
    if (delivery->line) {
        g_autoptr(JsonObject) event =
            sami_control_json_parse(delivery->line, strlen(delivery->line), NULL);
        if (event && call->event)
            call->event(event, call->user_data);
    } else {
        call->done(delivery->answer, delivery->error, call->user_data);
        g_clear_pointer(&delivery->answer, json_object_unref);
        g_clear_error(&delivery->error);
        g_free(call->path);
        g_free(call);
    }
    g_free(delivery->line);
    g_free(delivery);
    return G_SOURCE_REMOVE;
}

/* g_main_context_invoke() would run the function in this thread while the main loop is not running
 * yet. */
static void
post(Delivery delivery)
{
    g_autoptr(GSource) source = g_idle_source_new();
    g_source_set_priority(source, G_PRIORITY_DEFAULT);
    g_source_set_callback(source, deliver, g_memdup2(&delivery, sizeof delivery), NULL);
    g_source_attach(source, NULL);
}

static void
on_event(JsonObject *event, gpointer user_data)
{
    post((Delivery){.call = user_data, .line = sami_control_json_print(event)});
}

static gpointer
run_call(gpointer user_data)
{
    Call *call = user_data;
    GError *error = NULL;
    JsonObject *answer = sami_control_call(call->path, call->request, on_event, call, &error);
    if (!answer)
        explain(call->path, &error);
    json_object_unref(call->request);
    post((Delivery){.call = call, .answer = answer, .error = error});
    return NULL;
}

void
ctl_call_async(const gchar *path, JsonObject *request_take, CtlEventFunc event, CtlDoneFunc done,
               gpointer user_data)
{
    Call *call = g_new0(Call, 1);
    *call = (Call){g_strdup(path), request_take, event, done, user_data};
    g_thread_unref(g_thread_new("call", run_call, call));
}
