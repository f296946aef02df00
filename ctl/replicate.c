/* Verbs of a pair of firewalls: replicate, takeover, resync. */
#include "ctl/ctl.h"

#include <string.h>

#include "common/control-json.h"

static gdouble
get_double(JsonObject *object, const gchar *member)
{
    JsonNode *node = object ? json_object_get_member(object, member) : NULL;
    return node && JSON_NODE_HOLDS_VALUE(node) ? json_node_get_double(node) : 0;
}

static gboolean
get_bool(JsonObject *object, const gchar *member)
{
    JsonNode *node = object ? json_object_get_member(object, member) : NULL;
    return node && JSON_NODE_HOLDS_VALUE(node) && json_node_get_boolean(node);
}

static void
print_sender(JsonObject *r)
{
    ctl_say(stdout,
            "replication to %s%s%s: %s, lag %.3f s, %" G_GINT64_FORMAT " octets unacknowledged, %" G_GINT64_FORMAT " entries there, %" G_GINT64_FORMAT
            " overruns, down %" G_GINT64_FORMAT " times%s%s\n",
            ctl_string(r, "peer"), *ctl_string(r, "address") ? " at " : "", ctl_string(r, "address"), get_bool(r, "in_step") ? "in step" : get_bool(r, "up") ? "up" : "DOWN", get_double(r, "lag_s"),
            ctl_int(r, "unacknowledged"), ctl_int(r, "present"), ctl_int(r, "overruns"), ctl_int(r, "down"),
            *ctl_string(r, "why") ? ": " : "", ctl_string(r, "why"));
}

static void
print_receiver(JsonObject *migration, JsonObject *r)
{
    ctl_say(stdout,
            "replication from %s: %s, heard %.1f s ago, %" G_GINT64_FORMAT " entries are the peer's, %" G_GINT64_FORMAT
            " became ours, %" G_GINT64_FORMAT " were ours, down %" G_GINT64_FORMAT " times\n",
            ctl_string(migration, "peer"), get_bool(r, "in_step") ? "in step" : get_bool(r, "peer_up") ? "up" : "STANDS STILL",
            get_double(r, "quiet_s"), ctl_int(r, "entries"), ctl_int(r, "passed_on"), ctl_int(r, "kept"), ctl_int(r, "peer_down"));
}

void
ctl_print_replications(JsonObject *answer)
{
    JsonArray *senders = ctl_array(answer, "replications"), *migrations = ctl_array(answer, "migrations");
    for (guint i = 0; senders && i < json_array_get_length(senders); i++)
        if (JSON_NODE_HOLDS_OBJECT(json_array_get_element(senders, i)))
            print_sender(json_array_get_object_element(senders, i));
    for (guint i = 0; migrations && i < json_array_get_length(migrations); i++) {
        JsonNode *node = json_array_get_element(migrations, i);
        JsonObject *migration = JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
        JsonObject *r = migration ? ctl_object(migration, "replication") : NULL;
        if (r)
            print_receiver(migration, r);
    }
}

/* (transfer full) NULL: it failed, and the error is set or was printed. */
static JsonObject *
call(Ctl *ctl, CtlRole role, JsonObject *request, SamiExit *ret_code, GError **error)
{
    g_autofree gchar *path = ctl_socket(ctl, role);
    g_autoptr(JsonObject) answer = ctl_call(path, request, error);
    *ret_code = SAMI_EXIT_FAILED;
    if (!answer)
        return NULL;
    *ret_code = (SamiExit)ctl_int(answer, "exit");
    if (*ret_code == SAMI_EXIT_DONE)
        return g_steal_pointer(&answer);
    ctl_say(stderr, "samictl: %s\n", ctl_string(answer, "error"));
    return NULL;
}

SamiExit
ctl_replicate(Ctl *ctl, GError **error)
{
    const CtlArgs *args = &ctl->args;
    SamiExit code;
    if (!args->to || (args->is_stop && (args->vm || args->is_wait))) {
        g_set_error_literal(error, SAMI_ERROR, SAMI_ERROR_USAGE,
                            args->to ? "--stop takes neither --vm nor --wait" : "replicate needs --to PEER");
        return SAMI_EXIT_USAGE;
    }
    if (!ctl_load_config(ctl, error))
        return SAMI_EXIT_FAILED;
    g_autoptr(JsonObject) request = json_object_new();
    json_object_set_string_member(request, "cmd", "replicate");
    json_object_set_string_member(request, "to", args->to);
    json_object_set_boolean_member(request, "wait", args->is_wait);
    json_object_set_boolean_member(request, "stop", args->is_stop);
    if (args->vm) {
        JsonArray *vm = ctl_vm(ctl, "replicate", error);
        if (!vm)
            return SAMI_EXIT_USAGE;
        json_object_set_array_member(request, "vm", vm);
    }
    g_autoptr(JsonObject) answer = call(ctl, CTL_EXPORTER, request, &code, error);
    if (answer && !args->is_quiet)
        ctl_say(stdout, "%s: %s\n", args->to,
                args->is_stop   ? "replication ended"
                : args->is_wait ? "in step"
                                : "replication begins; samictl status shows how far it is");
    return code;
}

SamiExit
ctl_takeover(Ctl *ctl, GError **error)
{
    SamiExit code;
    g_autoptr(JsonObject) request = json_object_new();
    json_object_set_string_member(request, "cmd", "takeover");
    if (ctl->args.from)
        json_object_set_string_member(request, "peer", ctl->args.from);
    g_autoptr(JsonObject) answer = call(ctl, CTL_COLLECTOR, request, &code, error);
    if (answer && !ctl->args.is_quiet)
        ctl_say(stdout, "%" G_GINT64_FORMAT " entries are this firewall's own now (%.1f ms)\n", ctl_int(answer, "entries"),
                get_double(answer, "took_ms"));
    return code;
}

/* Both daemons: what we have of the peer, and what the peer has of us. One that does not run has nothing to compare. */
SamiExit
ctl_resync(Ctl *ctl, GError **error)
{
    SamiExit code = SAMI_EXIT_FAILED, sent = SAMI_EXIT_FAILED;
    g_autoptr(GError) local = NULL;
    g_autoptr(JsonObject) request = json_object_new(), received = NULL, dumping = NULL;
    json_object_set_string_member(request, "cmd", "resync");
    json_object_set_boolean_member(request, "yield", ctl->args.is_yield);
    if (ctl->args.from)
        json_object_set_string_member(request, "peer", ctl->args.from);
    received = call(ctl, CTL_COLLECTOR, request, &code, error);
    if (!received)
        return code;
    dumping = call(ctl, CTL_EXPORTER, request, &sent, &local);
    if (local && !ctl_is_not_running(local)) {
        g_propagate_error(error, g_steal_pointer(&local));
        return SAMI_EXIT_FAILED;
    }
    if (!ctl->args.is_quiet)
        ctl_say(stdout, "%" G_GINT64_FORMAT " peers dump anew for us, we for %" G_GINT64_FORMAT "%s\n", ctl_int(received, "asked"),
                dumping ? ctl_int(dumping, "dumping") : 0, ctl->args.is_yield ? "; older entries here give way to theirs" : "");
    return dumping || local ? SAMI_EXIT_DONE : sent;
}
