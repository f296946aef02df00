/* The control protocol: one JSON object a line over a Unix stream socket.
 *
 * A request has "cmd". Every answer line is either an event ({"event":…}) or the last line of the request, which has
 * "exit" (an exit code of OPERATIONS §2) and, if that is not 0, "error" with the text for the operator. A client sends one
 * request at a time, whose members have the types of control-request.c; what it asks behind that waits until it has read the answer.
 * At most SAMI_CONTROL_REQUEST_MAX octets a request,
 * SAMI_CONTROL_CLIENTS_MAX clients, of them SAMI_CONTROL_READERS_MAX that may only read; one that has asked for nothing for
 * SAMI_CONTROL_IDLE_S, or does not read its last line, is cut off. A stale socket file is removed at start only by
 * whoever has the lock of PATH.lock, and after a connect to it was refused.
 *
 * Who may do what is decided by the credentials that the client had when it connected (SO_PEERCRED): root, the daemon's own user and members of the
 * control group may do all, members of the monitor group only what changes nothing, and the user of the network process nothing at all. Whatever may
 * change something is logged, with who asked for it. */
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

/* The groups of the two classes, and the user who is of neither whatever his groups are; NULL, "" or what does not exist: nobody. Names are resolved once. */
typedef struct {
    const gchar *operators; /* control-group= */
    const gchar *readers;   /* monitor-group= */
    const gchar *outsider;  /* user= */
    const gchar *handover;  /* (nullable) path of a datagram socket, mode 0600, for sami_control_call_handed() */
    guint idle_ms;          /* 0: SAMI_CONTROL_IDLE_S */
} SamiControlAccess;

/* Makes the directory if it is missing, refuses one that others may write, binds and listens at once, so it can be called before privileges are dropped.
 * The file's mode is 0660 with the operators' group; with readers it is 0666, since a file has one group only, and whoever is of neither class is turned away when he connects. */
SamiControlServer *sami_control_server_new(const gchar *path, const SamiControlAccess *access, SamiControlFunc func, gpointer user_data,
                                           GError **error);
void sami_control_server_free(SamiControlServer *server); /* removes the socket files */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiControlServer, sami_control_server_free)

SamiControlClient *sami_control_client_ref(SamiControlClient *client);
void sami_control_client_unref(SamiControlClient *client);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiControlClient, sami_control_client_unref)
/* FALSE: it is of the monitor group, which is shown no single connection. */
gboolean sami_control_client_may_change(const SamiControlClient *client);
/* An event for a client that does not read is skipped; the next that fits has "skipped": how many. The last line never is. */
void sami_control_event(SamiControlClient *client, JsonObject *event_take);
void sami_control_finish(SamiControlClient *client, SamiExit code, JsonObject *answer_take, const gchar *error_text);
/* What a row of a daemon's commands begins with. */
typedef enum {
    SAMI_CONTROL_READS,    /* counts and states: for monitors too */
    SAMI_CONTROL_INSPECTS, /* changes nothing here, but shows single connections, or makes work at a peer: operators */
    SAMI_CONTROL_CHANGES,  /* operators, and it is logged */
} SamiControlClass;
typedef struct {
    const gchar *name;       /* "cmd" */
    SamiControlClass class;
    const gchar *reading_op; /* (nullable) of one that changes: with this "op" it only reads */
} SamiControlCommand;

/* Which of n rows the request's "cmd" names; a row has `size` octets and begins with a SamiControlCommand. -1: none, or not for this client, who
 * has its last line: SAMI_EXIT_USAGE, in which `who` ("the exporter") knows all of them, or SAMI_EXIT_NOT_PERMITTED. */
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

/* The same for a process whose sandbox has no connect(): it makes both ends of the connection and sends one of them to the server's `handover`. Whoever
 * comes so is root, and yet may do nothing that is SAMI_CONTROL_CHANGES. (transfer full) */
JsonObject *sami_control_call_handed(const gchar *path, JsonObject *request, GError **error);
