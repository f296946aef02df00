#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport/address.h"
#include "transport/network-process.h"
#include "transport/tcp.h"

#define CONNECT_TIMEOUT_DEFAULT_S 5u
/* Of several configured addresses each gets this long at least: the first SYN, and the second one after 1 s. */
#define ADDRESS_TIMEOUT_S 2u

typedef struct {
    SamiNetworkProcess process;
    GHashTable *attempts; /* set of Attempt */
    guint64 next_id;
} Connector;

/* The addresses of a peer, one after the other in the order of the configuration, until a TLS handshake succeeds at one: a name on
 * its way to socket addresses, those on their way to a connection. Owned by Connector.attempts. */
typedef struct {
    Connector *connector;
    guint64 id;           /* of its look-up; another one for each address of the peer */
    const SamiPeer *peer; /* in `peers` */
    GPtrArray *peers;     /* a reference: a reload may replace the list meanwhile */
    guint at;             /* in peer->addresses */
    GString *failures;    /* " at ADDRESS: reason", of the addresses before it */
    SamiSessionSocket *session;
    gint64 end_us;                    /* of the attempt */
    gint64 deadline_us;               /* of this address of the peer */
    struct addrinfo *addresses;       /* as getaddrinfo gave them */
    const struct addrinfo *next;      /* not yet tried */
    int fd;                           /* being connected, or -1 */
    SamiSctpAssoc *assoc;             /* being connected instead, or NULL */
    SamiTlsConnection *handshake;     /* (nullable) has the session while it runs */
    gchar address[SAMI_ADDRESS_TEXT]; /* tried last */
    GSource *fd_source, *timer, *hangup;
} Attempt;

/* A look-up in a thread of its own: getaddrinfo blocks for as long as name servers please. It
 * knows its attempt by number only, because the attempt may be over, or further, first. */
typedef struct {
    Connector *connector;
    GMainContext *context;
    guint64 id;
    gchar *host, *port;
    struct addrinfo *addresses;
    int code, saved_errno;
} Lookup;

static const gchar no_time[] = "no time left";

static void begin_address(Attempt *attempt);
static void watch_hangup(Attempt *attempt);
static void try_next(Attempt *attempt, const gchar *reason);

static void
clear_source(GSource **source)
{
    if (*source)
        g_source_destroy(*source);
    g_clear_pointer(source, g_source_unref);
}

static void
set_source(Attempt *attempt, GSource **slot, GSource *source_take, GSourceFunc func)
{
    clear_source(slot);
    g_source_set_callback(source_take, func, attempt, NULL);
    g_source_attach(source_take, attempt->connector->process.context);
    *slot = source_take;
}

/* What was being connected. */
static void
close_trial(Attempt *attempt)
{
    clear_source(&attempt->fd_source);
    g_clear_pointer(&attempt->assoc, sami_sctp_assoc_free);
    if (attempt->fd >= 0)
        close(attempt->fd);
    attempt->fd = -1;
}

static void
attempt_free(gpointer data)
{
    Attempt *attempt = data;
    clear_source(&attempt->timer);
    clear_source(&attempt->hangup);
    sami_session_socket_free(attempt->session);
    if (attempt->peers)
        g_ptr_array_unref(attempt->peers);
    if (attempt->addresses)
        freeaddrinfo(attempt->addresses);
    close_trial(attempt);
    g_string_free(attempt->failures, TRUE);
    g_free(attempt);
}

static gboolean
has_more_addresses(const Attempt *attempt)
{
    return attempt->peer->addresses[attempt->at + 1] != NULL;
}

/* This address is done with: the next one, or the end. */
static void
give_up(Attempt *attempt, const gchar *reason)
{
    const SamiPeer *peer = attempt->peer;
    g_string_append_printf(attempt->failures, "%s at %s: %s", attempt->failures->len ? ";" : "",
                           *attempt->address ? attempt->address : peer->addresses[attempt->at],
                           reason);
    if (has_more_addresses(attempt)) {
        attempt->at++;
        begin_address(attempt);
        return;
    }
    g_autofree gchar *text = g_strdup_printf("cannot connect to %s%s", peer->name,
                                             attempt->failures->str);
    /* Whoever is gone needs no answer. */
    sami_session_send_text(attempt->session, SAMI_FRAME_ERROR, text, NULL);
    g_hash_table_remove(attempt->connector->attempts, attempt);
}

/* ---- connected ---- */

static Attempt *
find_handshake(SamiNetworkProcess *process, const SamiTlsConnection *connection)
{
    GHashTableIter iter;
    gpointer key;
    g_hash_table_iter_init(&iter, ((Connector *) process->role)->attempts);
    while (g_hash_table_iter_next(&iter, &key, NULL))
        if (((Attempt *) key)->handshake == connection)
            return key;
    return NULL;
}

static void
on_opened(SamiTlsConnection *connection, gpointer user_data)
{
    Attempt *attempt = find_handshake(user_data, connection);
    if (attempt)
        g_hash_table_remove(attempt->connector->attempts, attempt);
}

/* What answers at an address need not be the peer, and a path may be too narrow for certificates. */
static gboolean
on_failed(SamiTlsConnection *connection, SamiSessionSocket *session, const gchar *reason,
          gpointer user_data)
{
    Attempt *attempt = find_handshake(user_data, connection);
    gboolean is_sole = attempt && !attempt->failures->len && !has_more_addresses(attempt);
    if (!attempt || is_sole) { /* the connection tells it */
        on_opened(connection, user_data);
        return FALSE;
    }
    attempt->handshake = NULL;
    attempt->session = session;
    watch_hangup(attempt);
    give_up(attempt, reason);
    return TRUE;
}

static void
on_finished(SamiTlsConnection *connection, gpointer user_data)
{
    on_opened(connection, user_data);
    sami_network_process_remove(user_data, connection);
}

static const SamiTlsEvents events = { .opened = on_opened, .failed = on_failed, .finished = on_finished };

static void
hand_over(Attempt *attempt)
{
    SamiNetworkProcess *process = &attempt->connector->process;
    g_autoptr(GError) error = NULL;
    clear_source(&attempt->fd_source);
    clear_source(&attempt->timer);
    SamiWire *wire = attempt->assoc ? sami_wire_sctp_new(g_steal_pointer(&attempt->assoc), FALSE) : sami_wire_tcp_new(attempt->fd, FALSE);
    attempt->fd = -1;
    SamiTlsConnection *connection = sami_tls_connection_new(process->tls, wire, attempt->peer->name, attempt->session, attempt->deadline_us,
                                                            process->context, &events, process, &error);
    if (!connection) {
        give_up(attempt, error->message);
        return;
    }
    clear_source(&attempt->hangup);
    attempt->session = NULL;
    attempt->handshake = connection;
    sami_network_process_add(process, connection);
}

/* ---- connecting ---- */

static gboolean
on_writable(gint fd, GIOCondition condition, gpointer user_data)
{
    int code = 0;
    socklen_t length = sizeof(code);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &length) != 0)
        code = errno;
    if (code)
        try_next(user_data, g_strerror(code));
    else
        hand_over(user_data);
    return G_SOURCE_REMOVE;
}

static gboolean
call(GSource *source, GSourceFunc callback, gpointer user_data)
{
    return callback(user_data);
}

/* Dispatched by its ready time alone. */
static GSource *
ready_source_new(void)
{
    static GSourceFuncs functions = { .dispatch = call };
    return g_source_new(&functions, sizeof(GSource));
}

/* The association may have come up, or been refused. */
static gboolean
on_association(gpointer user_data)
{
    Attempt *attempt = user_data;
    const guint8 *message;
    gsize n;
    guint16 stream;
    g_source_set_ready_time(attempt->fd_source, -1);
    if (sami_sctp_assoc_state(attempt->assoc) == SAMI_SCTP_CONNECTING)
        sami_sctp_assoc_receive(attempt->assoc, &message, &n, &stream);
    SamiSctpState state = sami_sctp_assoc_state(attempt->assoc);
    if (state == SAMI_SCTP_CONNECTING)
        return G_SOURCE_CONTINUE;
    if (state == SAMI_SCTP_UP) {
        sami_sctp_assoc_wake(attempt->assoc, NULL);
        hand_over(attempt);
    } else {
        g_autofree gchar *reason = g_strdup(sami_sctp_assoc_failure(attempt->assoc));
        try_next(attempt, reason ? reason : "the association ended at once");
    }
    return G_SOURCE_REMOVE;
}

static gboolean
begin_association(Attempt *attempt, const struct sockaddr *address, GError **error)
{
    SamiNetworkProcess *process = &attempt->connector->process;
    attempt->assoc = sami_sctp_connect(process->sctp, address, error);
    if (!attempt->assoc)
        return FALSE;
    set_source(attempt, &attempt->fd_source, ready_source_new(), on_association);
    sami_sctp_assoc_wake(attempt->assoc, attempt->fd_source);
    return TRUE;
}

static gboolean
on_address_timeout(gpointer user_data)
{
    try_next(user_data, "no answer in time");
    return G_SOURCE_REMOVE;
}

/* Each address gets its share of what is left, so that one that swallows packets leaves time for
 * the others. */
static gint64
share_of_time(const Attempt *attempt)
{
    guint n_left = 1;
    for (const struct addrinfo *info = attempt->next; info; info = info->ai_next)
        n_left++;
    gint64 left_us = attempt->deadline_us - g_get_monotonic_time();
    return MAX(left_us, 0) / n_left;
}

static gboolean
begin_connection(Attempt *attempt, const struct addrinfo *info, GError **error)
{
    attempt->fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                         info->ai_protocol);
    if (attempt->fd >= 0)
        sami_tcp_tune(attempt->fd, attempt->peer->addresses[1] != NULL);
    if (attempt->fd >= 0 && (connect(attempt->fd, info->ai_addr, info->ai_addrlen) == 0 || errno == EINPROGRESS)) {
        set_source(attempt, &attempt->fd_source, g_unix_fd_source_new(attempt->fd, G_IO_OUT), (GSourceFunc) (void (*)(void)) on_writable);
        return TRUE;
    }
    g_set_error_literal(error, SAMI_ERROR, SAMI_ERROR_PEER, g_strerror(errno));
    return FALSE;
}

/* FALSE if it failed at once. */
static gboolean
start_connect(Attempt *attempt, const struct addrinfo *info, GError **error)
{
    sami_address_print(info->ai_addr, attempt->address);
    return attempt->connector->process.sctp ? begin_association(attempt, info->ai_addr, error) : begin_connection(attempt, info, error);
}

static void
try_next(Attempt *attempt, const gchar *reason)
{
    g_autofree gchar *why = g_strdup(reason); /* NULL: none was tried yet */
    while (attempt->next && g_get_monotonic_time() < attempt->deadline_us) {
        const struct addrinfo *info = attempt->next;
        g_autoptr(GError) error = NULL;
        close_trial(attempt);
        attempt->next = info->ai_next;
        if (start_connect(attempt, info, &error)) {
            set_source(attempt, &attempt->timer,
                       g_timeout_source_new((guint) (share_of_time(attempt) / 1000) + 1),
                       on_address_timeout);
            return;
        }
        g_free(why);
        why = g_strdup(error->message);
    }
    give_up(attempt, why ? why : attempt->next ? no_time : "no address");
}

/* ---- resolving ---- */

static void
lookup_free(gpointer data)
{
    Lookup *lookup = data;
    if (lookup->addresses)
        freeaddrinfo(lookup->addresses);
    g_main_context_unref(lookup->context);
    g_free(lookup->host);
    g_free(lookup->port);
    g_free(lookup);
}

static Attempt *
find_attempt(Connector *connector, guint64 id)
{
    GHashTableIter iter;
    gpointer key;
    g_hash_table_iter_init(&iter, connector->attempts);
    while (g_hash_table_iter_next(&iter, &key, NULL))
        if (((Attempt *) key)->id == id)
            return key;
    return NULL;
}

/* The sandbox has the files of the start: one that was replaced is not read any more, and the C library goes on without it. */
static gchar *
explain_lookup(const Lookup *lookup)
{
    static const gchar *const files[] = { "/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf" };
    const gchar *text = lookup->code == EAI_SYSTEM ? g_strerror(lookup->saved_errno) : gai_strerror(lookup->code);
    for (guint i = 0; i < G_N_ELEMENTS(files); i++) {
        int fd = open(files[i], O_RDONLY | O_CLOEXEC);
        if (fd < 0 && errno == EACCES)
            return g_strdup_printf("%s (%s was replaced since the start, and the sandbox keeps the new one away: restart the daemon)", text, files[i]);
        if (fd >= 0)
            close(fd);
    }
    return g_strdup(text);
}

static gboolean
on_resolved(gpointer data)
{
    Lookup *lookup = data;
    Attempt *attempt = find_attempt(lookup->connector, lookup->id);
    if (!attempt)
        return G_SOURCE_REMOVE;
    if (lookup->code) {
        g_autofree gchar *reason = explain_lookup(lookup);
        give_up(attempt, reason);
        return G_SOURCE_REMOVE;
    }
    attempt->next = attempt->addresses = g_steal_pointer(&lookup->addresses);
    try_next(attempt, NULL);
    return G_SOURCE_REMOVE;
}

static void
resolve(Lookup *lookup, int flags)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | flags };
    lookup->code = getaddrinfo(lookup->host, lookup->port, &hints, &lookup->addresses);
    lookup->saved_errno = errno;
}

static gpointer
resolve_in_thread(gpointer data)
{
    Lookup *lookup = data;
    resolve(lookup, AI_ADDRCONFIG);
    GSource *source = g_idle_source_new();
    g_source_set_priority(source, G_PRIORITY_DEFAULT);
    g_source_set_callback(source, on_resolved, lookup, lookup_free);
    /* The context may lose its last other reference while the source is attached. */
    g_autoptr(GMainContext) context = g_main_context_ref(lookup->context);
    g_source_attach(source, context);
    g_source_unref(source);
    return NULL;
}

static void
begin_lookup(Attempt *attempt)
{
    g_autoptr(GError) error = NULL;
    g_autofree gchar *host = NULL, *port = NULL;
    if (!sami_address_split(attempt->peer->addresses[attempt->at], &host, &port, &error)) {
        give_up(attempt, error->message);
        return;
    }
    Lookup *lookup = g_new0(Lookup, 1);
    lookup->connector = attempt->connector;
    lookup->context = g_main_context_ref(attempt->connector->process.context);
    lookup->id = attempt->id;
    lookup->host = g_steal_pointer(&host);
    lookup->port = g_steal_pointer(&port);
    resolve(lookup, AI_NUMERICHOST);
    if (lookup->code != EAI_NONAME) { /* a literal address needs no thread */
        on_resolved(lookup);
        lookup_free(lookup);
        return;
    }
    GThread *thread = g_thread_try_new("lookup", resolve_in_thread, lookup, &error);
    if (thread) {
        g_thread_unref(thread);
        return;
    }
    lookup_free(lookup);
    give_up(attempt, error->message);
}

/* ---- requests ---- */

static gboolean
on_deadline(gpointer user_data)
{
    give_up(user_data, "no answer in time");
    return G_SOURCE_REMOVE;
}

/* Each address of the peer gets its share of what is left. */
static void
begin_address(Attempt *attempt)
{
    gint64 now_us = g_get_monotonic_time();
    guint n_left = g_strv_length(attempt->peer->addresses) - attempt->at;
    attempt->deadline_us = now_us + MAX(attempt->end_us - now_us, 0) / n_left;
    attempt->id = ++attempt->connector->next_id;
    *attempt->address = '\0';
    attempt->next = NULL;
    g_clear_pointer(&attempt->addresses, freeaddrinfo);
    close_trial(attempt);
    if (now_us >= attempt->end_us) {
        give_up(attempt, no_time);
        return;
    }
    set_source(attempt, &attempt->timer,
               g_timeout_source_new((guint) ((attempt->deadline_us - now_us) / 1000) + 1), on_deadline);
    begin_lookup(attempt);
}

static gboolean
on_hangup(gint fd, GIOCondition condition, gpointer user_data)
{
    Attempt *attempt = user_data;
    g_hash_table_remove(attempt->connector->attempts, attempt);
    return G_SOURCE_REMOVE;
}

static void
watch_hangup(Attempt *attempt)
{
    set_source(attempt, &attempt->hangup,
               g_unix_fd_source_new(sami_session_socket_fd(attempt->session), G_IO_HUP),
               (GSourceFunc) (void (*)(void)) on_hangup);
}

static const SamiPeer *
find_peer(const SamiNetworkConfig *config, const gchar *name)
{
    for (guint i = 0; config->peers && i < config->peers->len; i++) {
        const SamiPeer *peer = g_ptr_array_index(config->peers, i);
        if (!strcmp(peer->name, name))
            return peer;
    }
    return NULL;
}

/* Why there is nothing to try; NULL if there is. (transfer full) */
static gchar *
find_obstacle(Connector *connector, const SamiPeer *peer, const gchar *name)
{
    guint n = g_hash_table_size(connector->process.connections);
    GHashTableIter iter;
    gpointer key;
    g_hash_table_iter_init(&iter, connector->attempts);
    while (g_hash_table_iter_next(&iter, &key, NULL))
        n += !((Attempt *) key)->handshake; /* which is one of the connections */
    if (!peer) {
        g_autofree gchar *escaped = g_strescape(name, NULL);
        return g_strdup_printf("'%s' is not a configured peer", escaped);
    }
    if (!peer->addresses)
        return g_strdup_printf("peer %s has no address= to connect to", peer->name);
    return n >= SAMI_SESSIONS_MAX
               ? g_strdup_printf("cannot connect to %s: too many sessions (%u)", peer->name, n)
               : NULL;
}

static void
begin_attempt(Connector *connector, const SamiPeer *peer, SamiSessionSocket *session_take)
{
    const SamiNetworkConfig *config = &connector->process.config;
    guint n_addresses = g_strv_length(peer->addresses);
    guint timeout_s = config->connect_timeout_s ? config->connect_timeout_s
                                                : CONNECT_TIMEOUT_DEFAULT_S;
    timeout_s = MAX(timeout_s, n_addresses > 1 ? n_addresses * ADDRESS_TIMEOUT_S : 0);
    Attempt *attempt = g_new0(Attempt, 1);
    attempt->connector = connector;
    attempt->peer = peer;
    attempt->peers = g_ptr_array_ref(config->peers);
    attempt->session = session_take;
    attempt->fd = -1;
    attempt->failures = g_string_new(NULL);
    attempt->end_us = g_get_monotonic_time() + timeout_s * G_USEC_PER_SEC;
    g_hash_table_add(connector->attempts, attempt);
    watch_hangup(attempt);
    begin_address(attempt);
}

static void
on_connect_request(SamiNetworkProcess *process, guint32 request, const gchar *name)
{
    Connector *connector = process->role;
    SamiSessionSocket *session = NULL;
    g_autoptr(GError) error = NULL;
    int other = -1;
    if (!sami_session_pair(&session, &other, &error)) {
        g_warning("connect to %s: %s", name, error->message);
        sami_channel_send(process->channel, SAMI_CHANNEL_SESSION, request, error->message, -1,
                          NULL);
        return;
    }
    gboolean is_passed = sami_channel_send(process->channel, SAMI_CHANNEL_SESSION, request, NULL,
                                           other, &error);
    close(other);
    if (!is_passed) {
        g_warning("connect to %s: %s", name, error->message);
        sami_session_socket_free(session);
        return;
    }
    const SamiPeer *peer = find_peer(&process->config, name);
    g_autofree gchar *obstacle = find_obstacle(connector, peer, name);
    if (obstacle) {
        sami_session_send_text(session, SAMI_FRAME_ERROR, obstacle, NULL);
        sami_session_socket_free(session);
        return;
    }
    begin_attempt(connector, peer, session);
}

static void
stop(SamiNetworkProcess *process)
{
    g_hash_table_remove_all(((Connector *) process->role)->attempts);
}

int
sami_connector_run(const SamiNetworkConfig *config, int channel, const gchar *user)
{
    Connector connector = { .process = {
                                .connect = on_connect_request, .stop = stop, .role = &connector } };
    g_autoptr(GError) error = NULL;
    connector.attempts = g_hash_table_new_full(NULL, NULL, attempt_free, NULL);
    gboolean is_ready = sami_network_process_init(&connector.process, config, FALSE, channel, user,
                                                  &error);
    if (is_ready && config->is_sctp) {
        connector.process.sctp = sami_sctp_new(&config->sctp, -1, 0, connector.process.context, &error);
        is_ready = connector.process.sctp != NULL;
    }
    if (is_ready)
        sami_network_process_run(&connector.process);
    else
        g_critical("the connector cannot start: %s", error->message);
    g_hash_table_unref(connector.attempts);
    sami_network_process_clear(&connector.process);
    return is_ready ? EXIT_SUCCESS : EXIT_FAILURE;
}
