/* The control protocol: one JSON object a line over a Unix stream socket.
 *
 * A request has "cmd". Every answer line is either an event ({"event":…}) or the last line of the request, which has
 * "exit" (an exit code of OPERATIONS §2) and, if that is not 0, "error" with the text for the operator. A client sends one
 * request at a time. The server reads peer credentials: root and members of the control group may do all. At most
 * SAMI_CONTROL_REQUEST_MAX octets a request, SAMI_CONTROL_CLIENTS_MAX clients. A stale socket file is removed at start only after a
 * connect to it was refused. */
#pragma once

#include <json-glib/json-glib.h>

#include "common/error.h"

/* Exit codes of OPERATIONS §2; also in the "exit" of a last line. */
typedef enum {
    SAMI_EXIT_DONE = 0,
    SAMI_EXIT_FAILED = 1,
    SAMI_EXIT_USAGE = 2,
    SAMI_EXIT_REFUSED = 3,
    SAMI_EXIT_ABORTED = 4,
    SAMI_EXIT_LATE = 5,
    SAMI_EXIT_DEGRADED = 6,
    SAMI_EXIT_IN_DOUBT = 7,
    SAMI_EXIT_UNCONFIRMED = 8,
    SAMI_EXIT_NOT_RUNNING = 9,
    SAMI_EXIT_NOT_PERMITTED = 10,
    SAMI_EXIT_WARNINGS = 20, /* of a check */
    SAMI_EXIT_LOSS = 21,     /* of a check: connections would be lost */
} SamiExit;
/* The exit code for an error of ours: REFUSED→3, USAGE→2, PERMISSION→10, everything else 1. */
SamiExit sami_exit_of_error(const GError *error);

typedef struct SamiControlServer SamiControlServer;
typedef struct SamiControlClient SamiControlClient;

/* Called in the main loop for each request. The client stays valid until its last line was sent or it hung up; whoever keeps it
 * longer than the call takes a reference. Sending to a client that hung up is harmless. */
typedef void (*SamiControlFunc)(SamiControlClient *client, JsonObject *request, gpointer user_data);

/* Makes the directory if it is missing, binds (mode 0660, group if it exists) and listens at once, so it can be called before privileges are dropped. */
SamiControlServer *sami_control_server_new(const gchar *path, const gchar *group, SamiControlFunc func, gpointer user_data, GError **error);
void sami_control_server_free(SamiControlServer *server); /* removes the socket file */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiControlServer, sami_control_server_free)

SamiControlClient *sami_control_client_ref(SamiControlClient *client);
void sami_control_client_unref(SamiControlClient *client);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiControlClient, sami_control_client_unref)
/* An event for a client that does not read is skipped; the next that fits has "skipped": how many. The last line never is. */
void sami_control_event(SamiControlClient *client, JsonObject *event_take);
void sami_control_finish(SamiControlClient *client, SamiExit code, JsonObject *answer_take, const gchar *error_text);
/* Which of n rows the request's "cmd" names; a row has `size` octets and begins with the name (const gchar *). -1: none, and the client has its
 * last line, SAMI_EXIT_USAGE, in which `who` ("the exporter") knows all of them. */
gssize sami_control_command(SamiControlClient *client, JsonObject *request, const gchar *who, gconstpointer rows, gsize n, gsize size);
/* The one of `migrations` whose id, a string inside its structure at `id_offset`, begins with the request's "id". (nullable): none or several,
 * and the client has its last line, SAMI_EXIT_USAGE. */
gpointer sami_control_select(SamiControlClient *client, JsonObject *request, const GPtrArray *migrations, gulong id_offset);
/* Called once when the client goes away before its last line; not by sami_control_server_free(). func NULL takes it back. */
void sami_control_client_on_hangup(SamiControlClient *client, GDestroyNotify func, gpointer user_data);

/* The other side, blocking: sends one request and calls func for each event line; returns the last line. SAMI_ERROR_PEER when no daemon
 * listens there (exit code 9), SAMI_ERROR_PERMISSION. (transfer full) */
typedef void (*SamiControlEventFunc)(JsonObject *event, gpointer user_data);
JsonObject *sami_control_call(const gchar *path, JsonObject *request, SamiControlEventFunc func, gpointer user_data, GError **error);
