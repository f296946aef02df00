#include "packaging/qemu/qmp.h"

#include <gio/gunixsocketaddress.h>
#include <string.h>

#include "common/control-json.h"

/* A line of QEMU's is a few hundred octets; anything longer than this is not one. */
#define LINE_MAX_OCTETS (1024u * 1024u)

struct SamiQmp {
    SamiVmstate *self;
    GSocketConnection *connection;
    GInputStream *input; /* the connection's */
    gchar buffer[4096];
    GString *text; /* of a line whose end has not come */
    GCancellable *cancellable;
    gboolean is_stopped; /* the VM, as far as we were told: by events, and before them by query-status */
    gboolean is_failed;  /* the move, and nothing was taken back yet */
};

static void
take_back(SamiQmp *qmp)
{
    if (!qmp->is_failed)
        return;
    qmp->is_failed = FALSE;
    sami_vmstate_move_failed(qmp->self);
}

static void
on_status(SamiQmp *qmp, const gchar *status)
{
    g_message("QEMU: migration %s", status);
    if (!strcmp(status, "setup")) {
        take_back(qmp); /* of the last move, whose VM is still paused here */
        sami_vmstate_move_began(qmp->self);
    } else if (!strcmp(status, "completed")) {
        qmp->is_failed = FALSE;
        sami_vmstate_move_completed(qmp->self);
    } else if (!strcmp(status, "failed") || !strcmp(status, "cancelled")) {
        qmp->is_failed = TRUE;
        if (!qmp->is_stopped)
            take_back(qmp);
        else
            g_message("the VM is stopped: nothing is taken back before it runs here");
    }
}

static void
on_event(SamiQmp *qmp, const gchar *event, JsonNode *data)
{
    if (!strcmp(event, "STOP")) {
        qmp->is_stopped = TRUE;
    } else if (!strcmp(event, "RESUME")) {
        qmp->is_stopped = FALSE;
        take_back(qmp);
    } else if (!strcmp(event, "MIGRATION") && data && JSON_NODE_HOLDS_OBJECT(data)) {
        on_status(qmp, sami_control_json_text(json_node_get_object(data), "status", ""));
    }
}

/* Answers and events come in the order in which they were made, so an answer never undoes a later event. That of query-status has
 * `running`, no other one of ours has. */
static void
on_return(SamiQmp *qmp, JsonNode *node)
{
    JsonObject *object = JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
    if (!object || !json_object_has_member(object, "running"))
        return;
    qmp->is_stopped = !json_object_get_boolean_member_with_default(object, "running", TRUE);
    if (qmp->is_stopped)
        g_message("QEMU: the VM is stopped");
    else
        take_back(qmp);
}

static void
on_line(SamiQmp *qmp, const gchar *line, gsize length)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) object = sami_control_json_parse(line, length, &error);
    if (!object)
        g_warning("QEMU's monitor: %s", error->message);
    else if (json_object_has_member(object, "error"))
        g_warning("QEMU's monitor refused: %.200s", line);
    else if (json_object_has_member(object, "return"))
        on_return(qmp, json_object_get_member(object, "return"));
    else
        on_event(qmp, sami_control_json_text(object, "event", ""), json_object_get_member(object, "data"));
}

static void on_read(GObject *source, GAsyncResult *result, gpointer user_data);

/* The lines that are whole; what is left is the beginning of one. */
static void
take_lines(SamiQmp *qmp)
{
    const gchar *at = qmp->text->str, *end;
    while ((end = memchr(at, '\n', (gsize)(qmp->text->str + qmp->text->len - at)))) {
        gsize length = (gsize)(end - at);
        g_autofree gchar *line = g_strndup(at, length > 0 && end[-1] == '\r' ? length - 1 : length);
        if (*line)
            on_line(qmp, line, strlen(line));
        at = end + 1;
    }
    g_string_erase(qmp->text, 0, at - qmp->text->str);
}

static void
read_more(SamiQmp *qmp)
{
    g_input_stream_read_async(qmp->input, qmp->buffer, sizeof qmp->buffer, G_PRIORITY_DEFAULT, qmp->cancellable, on_read, qmp);
}

static void
on_read(GObject *source, GAsyncResult *result, gpointer user_data)
{
    SamiQmp *qmp = user_data;
    g_autoptr(GError) error = NULL;
    gssize n = g_input_stream_read_finish(G_INPUT_STREAM(source), result, &error);
    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
        return;
    if (n <= 0) {
        g_message("QEMU's monitor has ended%s%s", error ? ": " : "", error ? error->message : "");
        return;
    }
    g_string_append_len(qmp->text, qmp->buffer, n);
    take_lines(qmp);
    if (qmp->text->len <= LINE_MAX_OCTETS) {
        read_more(qmp);
        return;
    }
    g_warning("QEMU's monitor: a line of more than %u octets; it is not listened to any more", LINE_MAX_OCTETS);
    g_string_truncate(qmp->text, 0);
    g_io_stream_close(G_IO_STREAM(qmp->connection), NULL, NULL);
}

SamiQmp *
sami_qmp_new(SamiVmstate *self, const gchar *path, GError **error)
{
    static const gchar hello[] = "{\"execute\":\"qmp_capabilities\"}\n"
                                 "{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":"
                                 "[{\"capability\":\"events\",\"state\":true}]}}\n"
                                 "{\"execute\":\"query-status\"}\n";
    g_autoptr(GSocketClient) client = g_socket_client_new();
    g_autoptr(GSocketAddress) address = g_unix_socket_address_new(path);
    g_autoptr(GSocketConnection) connection =
        g_socket_client_connect(client, G_SOCKET_CONNECTABLE(address), NULL, error);
    if (!connection ||
        !g_output_stream_write_all(g_io_stream_get_output_stream(G_IO_STREAM(connection)), hello, strlen(hello), NULL, NULL, error)) {
        g_prefix_error(error, "QEMU's monitor %s: ", path);
        return NULL;
    }
    SamiQmp *qmp = g_new0(SamiQmp, 1);
    qmp->self = self;
    qmp->is_stopped = TRUE; /* until we are told: what fails meanwhile is taken back then */
    qmp->input = g_io_stream_get_input_stream(G_IO_STREAM(connection));
    qmp->text = g_string_new(NULL);
    qmp->connection = g_steal_pointer(&connection);
    qmp->cancellable = g_cancellable_new();
    read_more(qmp);
    return qmp;
}

void
sami_qmp_free(SamiQmp *qmp)
{
    if (!qmp)
        return;
    g_cancellable_cancel(qmp->cancellable);
    /* The read that is cancelled still reports in the loop, which has ended when we come here. */
    g_object_unref(qmp->cancellable);
    g_object_unref(qmp->connection);
    g_string_free(qmp->text, TRUE);
    g_free(qmp);
}
