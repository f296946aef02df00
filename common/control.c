/* The server side; the client is in control-call.c. */
#define _GNU_SOURCE 1 /* accept4, struct ucred */
#include "common/control.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <glib-unix.h>

#include "common/control-json.h"
#include "common/limits.h"
#include "common/log.h"
#include "common/passing.h"
#include "common/trust.h"

/* Octets kept for a client that reads slowly. Above it events are skipped, and the next one that
 * fits says how many; the last line is always kept. */
#define OUTPUT_HIGH_WATER (256u * 1024u)
#define REFUSALS_LOGGED_PER_MINUTE 20u
/* One that was killed has its lock until the kernel has put it away: a second, in steps. */
#define LOCK_TRIES 50u
#define LOCK_STEP_US 20000u

typedef struct {
    gboolean is_known;
    guint32 id;
} Id;

struct SamiControlServer {
    int fd, handover_fd, lock_fd;
    gchar *path, *handover; /* NULL: not ours to remove */
    Id operators, readers;      /* groups */
    Id outsider;                /* a user */
    SamiLogLimit refusals;
    gint64 idle_us;
    SamiControlFunc func;
    gpointer user_data;
    GSource *source, *handover_source;
    GPtrArray *clients; /* of SamiControlClient, owned */
};

struct SamiControlClient {
    gatomicrefcount refs;
    SamiControlServer *server; /* NULL after it hung up */
    int fd;
    GSource *source;
    GByteArray *input;
    GByteArray *output;
    struct ucred peer;
    gboolean may_change; /* an operator's */
    gboolean is_handed;  /* by a daemon: may inspect, and no more */
    gint64 idle_us;      /* since when nothing runs for it */
    gboolean is_busy;   /* a request has no last line yet */
    gboolean is_ending; /* nothing more is read; closed when the output is sent */
    guint n_skipped;    /* events that found no room */
    GDestroyNotify hangup_func;
    gpointer hangup_data;
};

static gboolean on_client_ready(gint fd, GIOCondition condition, gpointer user_data);

SamiExit
sami_exit_of_error(const GError *error)
{
    static const struct {
        SamiErrorCode code;
        SamiExit exit;
    } exits[] = {
        {SAMI_ERROR_REFUSED, SAMI_EXIT_REFUSED},
        {SAMI_ERROR_USAGE, SAMI_EXIT_USAGE},
        {SAMI_ERROR_PERMISSION, SAMI_EXIT_NOT_PERMITTED},
    };
    for (guint i = 0; i < G_N_ELEMENTS(exits); i++)
        if (g_error_matches(error, SAMI_ERROR, (gint)exits[i].code))
            return exits[i].exit;
    return SAMI_EXIT_FAILED;
}

SamiControlClient *
sami_control_client_ref(SamiControlClient *client)
{
    g_atomic_ref_count_inc(&client->refs);
    return client;
}

gboolean
sami_control_client_may_change(const SamiControlClient *client)
{
    return client->may_change;
}

static void
stop_source(GSource **source)
{
    if (*source)
        g_source_destroy(*source);
    g_clear_pointer(source, g_source_unref);
}

/* From here on the client only exists for those who hold references; sends go nowhere. */
static void
detach(SamiControlClient *client)
{
    stop_source(&client->source);
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
    client->server = NULL;
}

void
sami_control_client_unref(SamiControlClient *client)
{
    if (!client || !g_atomic_ref_count_dec(&client->refs))
        return;
    detach(client);
    g_byte_array_unref(client->input);
    g_byte_array_unref(client->output);
    g_free(client);
}

static void
hang_up(SamiControlClient *client)
{
    SamiControlServer *server = client->server;
    GDestroyNotify func = client->hangup_func;
    gpointer data = client->hangup_data;
    client->hangup_func = NULL;
    client->hangup_data = NULL;
    if (!server)
        return;
    g_autoptr(SamiControlClient) held = sami_control_client_ref(client);
    detach(client);
    g_ptr_array_remove_fast(server->clients, client);
    if (func && client->is_busy)
        func(data);
}

static gboolean
has_line(const SamiControlClient *client)
{
    return client->input->len && memchr(client->input->data, '\n', client->input->len);
}

/* The next request is for when the answer to the last one is out: who asks and does not read takes no more memory than one answer. */
static gboolean
is_served(const SamiControlClient *client)
{
    return client->server && !client->is_busy && !client->is_ending && !client->output->len;
}

/* Which conditions matter now. While a request runs nothing is read, so that a client has one
 * request at a time and input stays bounded; HUP is always reported. */
static void
watch(SamiControlClient *client)
{
    GIOCondition wanted = is_served(client) ? G_IO_IN : 0;
    /* A request that waited behind the last one is in the input already and makes no event of its
     * own; a writable socket does. */
    if (client->output->len || (is_served(client) && has_line(client)))
        wanted |= G_IO_OUT;
    stop_source(&client->source);
    client->source = g_unix_fd_source_new(client->fd, wanted);
    g_source_set_callback(client->source, G_SOURCE_FUNC(on_client_ready), client, NULL);
    if (!client->is_busy)
        g_source_set_ready_time(client->source, client->idle_us + client->server->idle_us);
    g_source_attach(client->source, g_main_context_get_thread_default());
}

/* Sends what the socket takes. FALSE if the client is gone, with or without fault. */
static gboolean
flush(SamiControlClient *client)
{
    while (client->output->len) {
        gssize n = send(client->fd, client->output->data, client->output->len,
                        MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return TRUE;
        if (n < 0)
            return FALSE;
        g_byte_array_remove_range(client->output, 0, (guint)n);
    }
    return !client->is_ending;
}

static void
queue(SamiControlClient *client, JsonObject *object)
{
    g_autofree gchar *text = sami_control_json_print(object);
    g_byte_array_append(client->output, (const guint8 *)text, (guint)strlen(text));
    g_byte_array_append(client->output, (const guint8 *)"\n", 1);
    /* Whether this worked is found out in the loop: a caller must not see its client vanish below a
     * send. */
    flush(client);
    watch(client);
}

void
sami_control_event(SamiControlClient *client, JsonObject *event_take)
{
    g_autoptr(JsonObject) event = event_take;
    if (!client->server || !client->is_busy)
        return;
    if (client->output->len > OUTPUT_HIGH_WATER) {
        client->n_skipped++;
        return;
    }
    if (client->n_skipped)
        json_object_set_int_member(event, "skipped", client->n_skipped);
    client->n_skipped = 0;
    queue(client, event);
}

void
sami_control_finish(SamiControlClient *client, SamiExit code, JsonObject *answer_take,
                    const gchar *error_text)
{
    g_autoptr(JsonObject) answer = answer_take ? answer_take : json_object_new();
    client->hangup_func = NULL;
    client->hangup_data = NULL;
    if (!client->server || !client->is_busy)
        return;
    json_object_set_int_member(answer, "exit", code);
    if (error_text)
        json_object_set_string_member(answer, "error", error_text);
    client->is_busy = FALSE;
    client->idle_us = g_get_monotonic_time();
    client->n_skipped = 0;
    queue(client, answer);
}

/* Whoever may ask can be refused as often as he likes. */
static gboolean
is_refusal_logged(SamiControlServer *server)
{
    return sami_log_limit_take(&server->refusals, REFUSALS_LOGGED_PER_MINUTE, "control: requests and callers refused");
}

/* What the request is about, for the log: of a long list its beginning. (transfer full) */
static gchar *
describe_request(JsonObject *request)
{
    static const gchar *const names[] = {"vm", "from", "to", "peer", "id"};
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        JsonArray *array = sami_control_json_array(request, names[i]);
        g_autoptr(GString) value = g_string_new(sami_control_json_text(request, names[i], ""));
        for (guint k = 0; array && k < json_array_get_length(array); k++)
            g_string_append_printf(value, "%s%s", k ? "," : "", json_array_get_string_element(array, k));
        g_autofree gchar *quoted = g_strescape(value->str, NULL);
        if (*quoted)
            g_string_append_printf(text, "%s %s=%.200s", text->len ? "" : ":", names[i], quoted);
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

/* One line for each request that can change something: who asked, and for what. */
static gboolean
is_allowed(SamiControlClient *client, const SamiControlCommand *command, JsonObject *request)
{
    const gchar *op = sami_control_json_text(request, "op", "");
    if (command->class == SAMI_CONTROL_READS || g_strcmp0(command->reading_op, op) == 0)
        return TRUE;
    if ((client->may_change || client->is_handed) && command->class == SAMI_CONTROL_INSPECTS)
        return TRUE;
    if (client->may_change) {
        g_autofree gchar *what = describe_request(request);
        g_message("control: %s%s%s by user %u, process %d%s", command->name, *op ? " " : "", command->reading_op ? op : "",
                  client->peer.uid, client->peer.pid, what);
        return TRUE;
    }
    if (is_refusal_logged(client->server))
        g_message("control: %s refused for user %u, process %d", command->name, client->peer.uid, client->peer.pid);
    g_autofree gchar *text = g_strdup_printf("'%s' is for root and members of the control group; the monitor group only reads", command->name);
    sami_control_finish(client, SAMI_EXIT_NOT_PERMITTED, NULL, text);
    return FALSE;
}

gssize
sami_control_command(SamiControlClient *client, JsonObject *request, const gchar *who, gconstpointer rows, gsize n, gsize size)
{
    const gchar *name = sami_control_json_text(request, "cmd", "");
    g_autoptr(GString) known = g_string_new(who);
    for (gsize i = 0; i < n; i++) {
        const SamiControlCommand *row = G_STRUCT_MEMBER_P(rows, i * size);
        if (g_str_equal(name, row->name))
            return is_allowed(client, row, request) ? (gssize)i : -1;
        g_string_append_printf(known, "%s %s", i == 0 ? " knows:" : ",", row->name);
    }
    sami_control_finish(client, SAMI_EXIT_USAGE, NULL, known->str);
    return -1;
}

gpointer
sami_control_select(SamiControlClient *client, JsonObject *request, const GPtrArray *migrations, gulong id_offset)
{
    const gchar *id = sami_control_json_text(request, "id", "");
    gpointer found = NULL;
    for (guint i = 0; *id && i < migrations->len; i++) {
        gpointer migration = g_ptr_array_index(migrations, i);
        if (!g_str_has_prefix(G_STRUCT_MEMBER_P(migration, id_offset), id))
            continue;
        if (found) {
            sami_control_finish(client, SAMI_EXIT_USAGE, NULL, "more than one migration begins with that id");
            return NULL;
        }
        found = migration;
    }
    if (!found)
        sami_control_finish(client, SAMI_EXIT_USAGE, NULL, "no migration with that id; see 'samictl status'");
    return found;
}

void
sami_control_client_on_hangup(SamiControlClient *client, GDestroyNotify func, gpointer user_data)
{
    client->hangup_func = func;
    client->hangup_data = user_data;
}

/* Answers a request that is none, in place of the handler. */
static void
reject(SamiControlClient *client, SamiExit code, const gchar *text)
{
    client->is_busy = TRUE;
    sami_control_finish(client, code, NULL, text);
}

static void
run_line(SamiControlClient *client, const gchar *line, gsize length)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) request = sami_control_json_parse(line, length, &error);
    if (!request)
        return reject(client, SAMI_EXIT_USAGE, error->message);
    JsonNode *cmd = json_object_get_member(request, "cmd");
    if (!cmd || !JSON_NODE_HOLDS_VALUE(cmd) || json_node_get_value_type(cmd) != G_TYPE_STRING)
        return reject(client, SAMI_EXIT_USAGE, "the request has no \"cmd\"");
    if (!sami_control_request_check(request, &error))
        return reject(client, SAMI_EXIT_USAGE, error->message);
    client->is_busy = TRUE;
    client->server->func(client, request, client->server->user_data);
}

/* One request a turn: others wait. */
static void
run_input(SamiControlClient *client)
{
    const guint8 *end = client->input->len ? memchr(client->input->data, '\n', client->input->len) : NULL;
    if (end) {
        gsize length = (gsize)(end - client->input->data);
        g_autofree gchar *line = g_strndup((const gchar *)client->input->data, length);
        g_byte_array_remove_range(client->input, 0, (guint)length + 1);
        run_line(client, line, length);
    } else if (client->input->len >= SAMI_CONTROL_REQUEST_MAX) {
        g_autofree gchar *text = g_strdup_printf("the request is longer than %u octets", SAMI_CONTROL_REQUEST_MAX);
        client->is_ending = TRUE;
        reject(client, SAMI_EXIT_USAGE, text);
    }
}

static void
read_input(SamiControlClient *client)
{
    guint8 buffer[4096];
    gsize room = MIN(sizeof buffer, SAMI_CONTROL_REQUEST_MAX - client->input->len);
    gssize n = recv(client->fd, buffer, room, MSG_DONTWAIT);
    if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK))
        return;
    if (n <= 0) {
        /* The end of its requests: what is queued still goes out, if anybody reads it. */
        client->is_ending = TRUE;
        return;
    }
    g_byte_array_append(client->input, buffer, (guint)n);
    run_input(client);
}

static gboolean
on_client_ready(gint fd, GIOCondition condition, gpointer user_data)
{
    g_autoptr(SamiControlClient) client = sami_control_client_ref(user_data);
    if (!condition || (condition & (G_IO_HUP | G_IO_ERR | G_IO_NVAL))) { /* none: its time is over */
        hang_up(client);
        return G_SOURCE_REMOVE;
    }
    flush(client);
    if (is_served(client) && has_line(client))
        run_input(client);
    else if (is_served(client) && (condition & G_IO_IN))
        read_input(client);
    if (!client->server)
        return G_SOURCE_REMOVE;
    if (!flush(client)) {
        hang_up(client);
        return G_SOURCE_REMOVE;
    }
    watch(client);
    return G_SOURCE_REMOVE; /* watch() made the source for the next turn */
}

static gboolean
is_member(const Id *group, const struct ucred *peer, const gid_t *groups, gsize n)
{
    gboolean is_in = group->is_known && peer->gid == group->id;
    for (gsize i = 0; group->is_known && i < n; i++)
        is_in |= groups[i] == group->id;
    return is_in;
}

/* The network process, which talks to strangers: its user may well have the control group for its own. */
static gboolean
is_outsider(SamiControlServer *server, const struct ucred *peer)
{
    gboolean is_it = server->outsider.is_known && peer->uid == server->outsider.id;
    if (is_it && is_refusal_logged(server))
        g_warning("control: process %d of user %u is turned away: that is the user of the network processes, which have nothing to ask here", peer->pid, peer->uid);
    return is_it;
}

/* FALSE: of neither class. */
static gboolean
classify(SamiControlServer *server, SamiControlClient *client)
{
    gid_t groups[256];
    socklen_t length = sizeof client->peer, size = sizeof groups;
    if (getsockopt(client->fd, SOL_SOCKET, SO_PEERCRED, &client->peer, &length) != 0 || is_outsider(server, &client->peer))
        return FALSE;
    gsize n = getsockopt(client->fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) == 0 ? size / sizeof groups[0] : 0;
    client->may_change = !client->is_handed && (client->peer.uid == 0 || client->peer.uid == geteuid() || is_member(&server->operators, &client->peer, groups, n));
    return client->may_change || client->is_handed || is_member(&server->readers, &client->peer, groups, n);
}

static gboolean
is_reader(const SamiControlClient *client)
{
    return !client->may_change && !client->is_handed;
}

/* A monitor that leaks connections must not keep operators out. */
static gboolean
is_full(const SamiControlServer *server, const SamiControlClient *client)
{
    guint n_readers = 0;
    for (guint i = 0; i < server->clients->len; i++)
        n_readers += is_reader(server->clients->pdata[i]);
    return server->clients->len >= SAMI_CONTROL_CLIENTS_MAX || (is_reader(client) && n_readers >= SAMI_CONTROL_READERS_MAX);
}

static void
admit(SamiControlServer *server, int client_fd, gboolean is_handed)
{
    SamiControlClient *client = g_new0(SamiControlClient, 1);
    g_atomic_ref_count_init(&client->refs);
    client->fd = client_fd;
    client->server = server;
    client->is_handed = is_handed;
    client->idle_us = g_get_monotonic_time();
    client->input = g_byte_array_new();
    client->output = g_byte_array_new();
    gboolean is_known = classify(server, client), is_refused = !is_known || is_full(server, client);
    g_ptr_array_add(server->clients, client);
    if (is_refused) {
        client->is_ending = TRUE;
        if (is_known)
            reject(client, SAMI_EXIT_FAILED, "too many clients on the control socket");
        else
            reject(client, SAMI_EXIT_NOT_PERMITTED,
                   "only root and members of the control group may use this socket, and the monitor group to read");
        hang_up(client);
        return;
    }
    watch(client);
}

static gboolean
on_connect(gint fd, GIOCondition condition, gpointer user_data)
{
    int client_fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client_fd >= 0)
        admit(user_data, client_fd, FALSE);
    return G_SOURCE_CONTINUE;
}

static gboolean
on_handover(gint fd, GIOCondition condition, gpointer user_data)
{
    SamiControlServer *server = user_data;
    SamiPassing control;
    gchar octet;
    struct iovec part = {&octet, 1};
    /* Not CMSG_SPACE(), in which there is room for two: of more than one the kernel closes the others. */
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.octets, .msg_controllen = CMSG_LEN(sizeof(int))};
    int client_fd = -1;
    if (recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < 0)
        return G_SOURCE_CONTINUE;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS && header->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&client_fd, CMSG_DATA(header), sizeof client_fd);
    if (client_fd >= 0 && sami_passing_is_local(client_fd, SOCK_STREAM)) { /* its reading and writing never wait; closing another kind of socket could */
        admit(server, client_fd, TRUE);
        return G_SOURCE_CONTINUE;
    }
    if (client_fd >= 0)
        close(client_fd);
    if (is_refusal_logged(server))
        g_message("control: what was handed over at %s is no connection", server->handover);
    return G_SOURCE_CONTINUE;
}

/* For as long as the server is there. A connect() alone does not tell a socket that is stale from one whose daemon is between bind() and listen(). The file
 * stays: whoever removed it could remove one that another has locked by then. */
static gboolean
take_lock(SamiControlServer *server, GError **error)
{
    g_autofree gchar *path = g_strconcat(server->path, ".lock", NULL);
    server->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK, 0600);
    gint result = server->lock_fd < 0 ? -1 : flock(server->lock_fd, LOCK_EX | LOCK_NB);
    for (guint i = 0; result != 0 && server->lock_fd >= 0 && errno == EWOULDBLOCK && i < LOCK_TRIES; i++) {
        g_usleep(LOCK_STEP_US);
        result = flock(server->lock_fd, LOCK_EX | LOCK_NB);
    }
    if (result != 0 && server->lock_fd >= 0 && errno == EWOULDBLOCK)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s: another daemon has this socket already", server->path);
    else if (result != 0)
        g_set_error(error, SAMI_ERROR, errno == EACCES ? SAMI_ERROR_PERMISSION : SAMI_ERROR_FAILED, "cannot lock %s: %s", path, g_strerror(errno));
    return result == 0;
}

/* Removes a socket file that nobody listens on; a listener is an error. */
static gboolean
clear_stale(const struct sockaddr_un *address, GError **error)
{
    struct stat status;
    if (lstat(address->sun_path, &status) != 0)
        return TRUE;
    if (!S_ISSOCK(status.st_mode)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s exists and is no socket",
                    address->sun_path);
        return FALSE;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int result = fd < 0 ? -1 : connect(fd, (const struct sockaddr *)address, sizeof *address);
    int reason = errno;
    if (fd >= 0)
        close(fd);
    if (result != 0 && reason == ECONNREFUSED && unlink(address->sun_path) == 0)
        return TRUE;
    if (result == 0 || reason == EAGAIN)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED,
                    "%s: another daemon listens there already", address->sun_path);
    else
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "cannot remove stale socket %s: %s",
                    address->sun_path, g_strerror(reason));
    return FALSE;
}

static gboolean
fill_address(const gchar *path, struct sockaddr_un *address, GError **error)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (g_strlcpy(address->sun_path, path, sizeof address->sun_path) < sizeof address->sun_path)
        return TRUE;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s: longer than the %zu octets of a socket path", path, sizeof address->sun_path - 1);
    return FALSE;
}

static gboolean
open_socket(SamiControlServer *server, GError **error)
{
    struct sockaddr_un address;
    mode_t mode = server->readers.is_known ? 0666 : 0660;
    if (!fill_address(server->path, &address, error))
        return FALSE;
    g_autofree gchar *directory = g_path_get_dirname(server->path);
    if (g_mkdir_with_parents(directory, 0755) != 0) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "cannot make %s: %s", directory,
                    g_strerror(errno));
        return FALSE;
    }
    /* Whoever can write there could put his own socket in our place, and have us change the mode of what he names. */
    if (!sami_trust_directory(directory, FALSE, error) || !take_lock(server, error) || !clear_stale(&address, error))
        return FALSE;
    server->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* fchmod before bind sets the mode that the file is made with (Linux: S_IFSOCK | inode mode &
     * ~umask), so that there is no moment in which it is open to all. */
    if (server->fd < 0 || fchmod(server->fd, mode) != 0 ||
        bind(server->fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        g_set_error(error, SAMI_ERROR, errno == EACCES ? SAMI_ERROR_PERMISSION : SAMI_ERROR_FAILED,
                    "cannot bind control socket %s: %s", server->path, g_strerror(errno));
        return FALSE;
    }
    if (chown(server->path, (uid_t)-1, server->operators.is_known ? server->operators.id : (gid_t)-1) != 0 ||
        chmod(server->path, mode) != 0 || listen(server->fd, 16) != 0) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "control socket %s: %s", server->path,
                    g_strerror(errno));
        unlink(server->path);
        return FALSE;
    }
    return TRUE;
}

/* When the other socket is ours, so that no other daemon's is in this place, and in a directory that it has looked at. */
static gboolean
open_handover(SamiControlServer *server, const gchar *path, GError **error)
{
    struct sockaddr_un address;
    struct stat status;
    if (!path)
        return TRUE;
    if (!fill_address(path, &address, error))
        return FALSE;
    if (lstat(path, &status) == 0 && S_ISSOCK(status.st_mode))
        unlink(path);
    server->handover_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (server->handover_fd < 0 || fchmod(server->handover_fd, 0600) != 0 ||
        bind(server->handover_fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        g_set_error(error, SAMI_ERROR, errno == EACCES ? SAMI_ERROR_PERMISSION : SAMI_ERROR_FAILED, "cannot bind control socket %s: %s", path,
                    g_strerror(errno));
        return FALSE;
    }
    server->handover = g_strdup(path);
    return TRUE;
}

/* Without root (a lab) the file cannot be given to another group: then only our own user may. */
static Id
find_group(const gchar *name)
{
    const struct group *entry = name && *name && geteuid() == 0 ? getgrnam(name) : NULL;
    return (Id){.is_known = entry != NULL, .id = entry ? entry->gr_gid : 0};
}

/* Whoever is not root cannot have given a process to another user. */
static Id
find_user(const gchar *name)
{
    const struct passwd *entry = name && *name && geteuid() == 0 ? getpwnam(name) : NULL;
    return (Id){.is_known = entry != NULL, .id = entry ? entry->pw_uid : 0};
}

static GSource *
listen_to(SamiControlServer *server, int fd, GUnixFDSourceFunc func)
{
    GSource *source = g_unix_fd_source_new(fd, G_IO_IN);
    g_source_set_callback(source, G_SOURCE_FUNC(func), server, NULL);
    g_source_attach(source, g_main_context_get_thread_default());
    return source;
}

SamiControlServer *
sami_control_server_new(const gchar *path, const SamiControlAccess *access, SamiControlFunc func, gpointer user_data, GError **error)
{
    SamiControlServer *server = g_new0(SamiControlServer, 1);
    server->fd = server->handover_fd = server->lock_fd = -1;
    server->path = g_strdup(path);
    server->func = func;
    server->user_data = user_data;
    server->operators = find_group(access->operators);
    server->readers = find_group(access->readers);
    server->outsider = find_user(access->outsider);
    server->idle_us = access->idle_ms ? access->idle_ms * (gint64)1000 : SAMI_CONTROL_IDLE_S * G_USEC_PER_SEC;
    server->clients = g_ptr_array_new_with_free_func((GDestroyNotify)sami_control_client_unref);
    if (!open_socket(server, error)) {
        g_clear_pointer(&server->path, g_free); /* not ours to remove */
        sami_control_server_free(server);
        return NULL;
    }
    if (!open_handover(server, access->handover, error)) {
        sami_control_server_free(server);
        return NULL;
    }
    server->source = listen_to(server, server->fd, on_connect);
    if (server->handover)
        server->handover_source = listen_to(server, server->handover_fd, on_handover);
    return server;
}

void
sami_control_server_free(SamiControlServer *server)
{
    if (!server)
        return;
    stop_source(&server->source);
    stop_source(&server->handover_source);
    for (guint i = 0; i < server->clients->len; i++) {
        SamiControlClient *client = server->clients->pdata[i];
        flush(client);
        detach(client);
    }
    g_ptr_array_unref(server->clients);
    const int fds[] = {server->fd, server->handover_fd};
    gchar *const paths[] = {server->path, server->handover};
    for (guint i = 0; i < G_N_ELEMENTS(fds); i++) {
        if (fds[i] >= 0)
            close(fds[i]);
        if (paths[i])
            unlink(paths[i]);
        g_free(paths[i]);
    }
    if (server->lock_fd >= 0)
        close(server->lock_fd); /* now that what it stands for is gone */
    g_free(server);
}
