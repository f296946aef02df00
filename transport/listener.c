#include <errno.h>
#include <glib-unix.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "transport/address.h"
#include "transport/network-process.h"

#define BACKLOG 128
/* Without descriptors or memory accept() fails at once and for ever; the loop would spin. */
#define ACCEPT_PAUSE_MS 1000
#define ACCEPTS_PER_TURN 16
/* Whoever can reach the port can be refused as often as he likes. */
#define REFUSALS_LOGGED_PER_MINUTE 10u
/* Refusals are told to the state process as counts: a flood of them must not fill the channel that
 * honest sessions come through. */
#define REPORT_MS 50
/* Datagrams for nobody are looked for so often, and logged once a minute. */
#define DATAGRAMS_S 1

enum { SOURCE_ACCEPT = 3, SOURCE_DATAGRAMS = SOURCE_ACCEPT }; /* TCP, or SCTP */

typedef struct {
    SamiNetworkProcess process;
    int listener;
    GQueue unproven;   /* of SamiTlsConnection, oldest first: in handshake, or refused and not yet
                          gone */
    guint32 n_unreported[SAMI_N_HANDSHAKE_CAUSES]; /* not yet told to the state process */
    GSource *report;
    SamiLogLimit refusals;
    SamiSctpDropped counted, logged; /* datagrams */
    gint64 logged_us;
} Listener;

static void watch_listener(Listener *listener, guint after_ms);

/* ---- socket ---- */

static int
open_socket(const struct addrinfo *info)
{
    const int on = 1, off = 0;
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, info->ai_protocol);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (info->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int saved_errno = errno;
    close(fd);
    errno = saved_errno;
    return -1;
}

static int
open_first(const gchar *host, const gchar *port, gint *ret_code)
{
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
                                    .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
    struct addrinfo *list = NULL;
    int fd = -1;
    *ret_code = getaddrinfo(host, port, &hints, &list);
    for (struct addrinfo *info = *ret_code ? NULL : list; info && fd < 0; info = info->ai_next)
        fd = open_socket(info);
    int saved_errno = errno;
    if (list)
        freeaddrinfo(list);
    errno = saved_errno;
    return fd;
}

static int
open_sctp(const SamiNetworkConfig *config, const gchar *host, const gchar *port, GError **error)
{
    int fd = sami_sctp_open(&config->sctp, host, port, error);
    if (fd < 0 && !strcmp(host, "::")) {
        g_clear_error(error);
        fd = sami_sctp_open(&config->sctp, "0.0.0.0", port, error);
    }
    if (fd < 0)
        g_prefix_error(error, "cannot listen at %s with SCTP (%s): ", config->listen,
                       sami_sctp_backend_name(sami_sctp_choose(config->sctp.backend)));
    return fd;
}

int
sami_listener_open(const SamiNetworkConfig *config, GError **error)
{
    const gchar *listen_text = config->listen;
    g_autofree gchar *host = NULL, *port = NULL;
    gint code;
    if (!sami_address_split(listen_text, &host, &port, error)) {
        g_prefix_error(error, "listen: ");
        return -1;
    }
    if (config->is_sctp)
        return open_sctp(config, host, port, error);
    int fd = open_first(host, port, &code);
    /* "Any" on a host without IPv6 means any IPv4 address. */
    if (fd < 0 && !strcmp(host, "::") && (code || errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL))
        fd = open_first("0.0.0.0", port, &code);
    if (fd < 0)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "cannot listen at %s: %s", listen_text,
                    code && code != EAI_SYSTEM ? gai_strerror(code) : g_strerror(errno));
    return fd;
}

/* ---- events of the connections ---- */

static gboolean
on_report(gpointer user_data)
{
    Listener *listener = user_data;
    for (guint i = 0; i < SAMI_N_HANDSHAKE_CAUSES; i++) {
        if (listener->n_unreported[i] == 0)
            continue;
        if (!sami_channel_send(listener->process.channel, SAMI_CHANNEL_REFUSED,
                               listener->n_unreported[i], sami_handshake_cause_id(i), -1, NULL))
            return G_SOURCE_CONTINUE; /* no room now */
        listener->n_unreported[i] = 0;
    }
    g_source_unref(g_steal_pointer(&listener->report));
    return G_SOURCE_REMOVE;
}

static void
report_soon(Listener *listener)
{
    if (listener->report)
        return;
    listener->report = g_timeout_source_new(REPORT_MS);
    g_source_set_callback(listener->report, on_report, listener, NULL);
    g_source_attach(listener->report, listener->process.context);
}

static void
on_refused(const gchar *address, SamiHandshakeCause cause, const gchar *reason, gpointer user_data)
{
    Listener *listener = user_data;
    listener->n_unreported[cause]++;
    report_soon(listener);
    if (sami_log_limit_take(&listener->refusals, REFUSALS_LOGGED_PER_MINUTE, "connections refused"))
        g_warning("refused a connection from %s: %s", address, reason);
}

/* Those too that have ended and still linger, so that coming and going is bounded as well. */
static guint
count_sessions(const Listener *listener, const gchar *name)
{
    GHashTableIter iter;
    gpointer connection;
    guint n = 0;
    g_hash_table_iter_init(&iter, listener->process.connections);
    while (g_hash_table_iter_next(&iter, &connection, NULL))
        n += sami_tls_connection_is_proven(connection) && g_str_equal(sami_tls_connection_name(connection), name);
    return n;
}

/* The state process refuses what is beyond the limit with a signed reason; what is still more, or does not go away, is cut here. */
static gboolean
has_room_for(Listener *listener, const SamiFrameOpen *open)
{
    guint max = listener->process.config.limits.sessions;
    if (!max || count_sessions(listener, open->name) < max + SAMI_PEER_REFUSED_MAX)
        return TRUE;
    g_autofree gchar *text = g_strdup_printf("%s has more than %u sessions (peer-sessions)", open->name, max);
    on_refused(open->address, SAMI_HANDSHAKE_PEER_LIMIT, text, listener);
    return FALSE;
}

static SamiSessionSocket *
on_accepted(const SamiFrameOpen *open, gpointer user_data)
{
    Listener *listener = user_data;
    g_autoptr(SamiSessionSocket) session = NULL;
    g_autoptr(GError) error = NULL;
    int other = -1;
    if (!has_room_for(listener, open))
        return NULL;
    if (!sami_session_pair(&session, &other, &error) ||
        !sami_channel_send(listener->process.channel, SAMI_CHANNEL_SESSION, 0, open->name, other,
                           &error)) {
        g_warning("session of %s at %s is dropped: %s", open->name, open->address, error->message);
        g_clear_pointer(&session, sami_session_socket_free);
    }
    if (other >= 0)
        close(other);
    return g_steal_pointer(&session);
}

static void
on_finished(SamiTlsConnection *connection, gpointer user_data)
{
    Listener *listener = user_data;
    g_queue_remove(&listener->unproven, connection);
    sami_network_process_remove(&listener->process, connection);
}

static const SamiTlsEvents events = { .accepted = on_accepted,
                                      .refused = on_refused,
                                      .finished = on_finished };

/* ---- accepting ---- */

static void
drop_unproven(Listener *listener, SamiTlsConnection *connection)
{
    g_queue_remove(&listener->unproven, connection);
    sami_network_process_remove(&listener->process, connection);
    sami_tls_connection_free(connection);
}

static void
forget_proven(Listener *listener)
{
    for (GList *link = listener->unproven.head, *next; link; link = next) {
        next = link->next;
        if (sami_tls_connection_is_proven(link->data))
            g_queue_delete_link(&listener->unproven, link);
    }
}

/* The oldest of the network that has most of them. */
static SamiTlsConnection *
choose_victim(Listener *listener)
{
    guint8 networks[SAMI_HANDSHAKES_MAX][SAMI_ADDRESS_NETWORK];
    guint n = 0, victim = 0, n_most = 0;
    for (GList *link = listener->unproven.head; link && n < SAMI_HANDSHAKES_MAX; link = link->next)
        sami_address_network(sami_tls_connection_address(link->data), networks[n++]);
    for (guint i = 0; i < n; i++) {
        guint n_same = 0;
        for (guint k = i; k < n; k++)
            n_same += memcmp(networks[i], networks[k], SAMI_ADDRESS_NETWORK) == 0;
        if (n_same > n_most) {
            n_most = n_same;
            victim = i;
        }
    }
    return g_queue_peek_nth(&listener->unproven, victim);
}

/* When too many are half open an old one goes, not the newest: a flood then costs an honest peer
 * nothing as long as its own handshake, some milliseconds, is shorter than the flood needs to
 * fill the table. And it goes where most come from, so that a flood from one network costs the
 * others nothing at all. */
static gboolean
make_room(Listener *listener, const gchar *address)
{
    GHashTable *connections = listener->process.connections;
    forget_proven(listener);
    if (g_queue_get_length(&listener->unproven) >= SAMI_HANDSHAKES_MAX) {
        SamiTlsConnection *victim = choose_victim(listener);
        on_refused(sami_tls_connection_address(victim), SAMI_HANDSHAKE_LIMIT,
                   "too many handshakes at once, most of them from there, and this was the oldest", listener);
        drop_unproven(listener, victim);
    }
    if (g_hash_table_size(connections) <
        SAMI_SESSIONS_MAX + g_queue_get_length(&listener->unproven))
        return TRUE;
    on_refused(address, SAMI_HANDSHAKE_LIMIT, "too many sessions", listener);
    return FALSE;
}

static void
take_connection(Listener *listener, SamiWire *wire)
{
    g_autoptr(GError) error = NULL;
    gchar address[SAMI_ADDRESS_TEXT];
    wire->ops->print(wire, address);
    if (!make_room(listener, address)) {
        wire->ops->free(wire);
        return;
    }
    gint64 deadline_us = g_get_monotonic_time() + SAMI_HANDSHAKE_TIMEOUT_S * G_USEC_PER_SEC;
    SamiTlsConnection *connection = sami_tls_connection_new(listener->process.tls, wire, NULL, NULL, deadline_us, listener->process.context,
                                                            &events, listener, &error);
    if (!connection) {
        on_refused(address, SAMI_HANDSHAKE_OTHER, error->message, listener);
        return;
    }
    g_queue_push_tail(&listener->unproven, connection);
    sami_network_process_add(&listener->process, connection);
}

/* Errors that concern one connection only, or nobody (accept(2)). */
static gboolean
is_passing(int code)
{
    static const int passing[] = { EINTR,       ECONNABORTED, EPROTO, ENETDOWN,
                                   ENOPROTOOPT, EHOSTDOWN,    ENONET, EHOSTUNREACH,
                                   EOPNOTSUPP,  ENETUNREACH,  EPERM };
    for (guint i = 0; i < G_N_ELEMENTS(passing); i++)
        if (passing[i] == code)
            return TRUE;
    return FALSE;
}

static gboolean
on_connection(gint fd, GIOCondition condition, gpointer user_data)
{
    Listener *listener = user_data;
    for (guint i = 0; i < ACCEPTS_PER_TURN; i++) {
        int accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (accepted >= 0) {
            take_connection(listener, sami_wire_tcp_new(accepted, TRUE));
        } else if (errno == EAGAIN) {
            break;
        } else if (!is_passing(errno)) {
            on_refused("somebody", SAMI_HANDSHAKE_OTHER, g_strerror(errno), listener);
            watch_listener(listener, ACCEPT_PAUSE_MS);
            return G_SOURCE_REMOVE;
        }
    }
    return G_SOURCE_CONTINUE;
}

static gboolean
on_pause_over(gpointer user_data)
{
    watch_listener(user_data, 0);
    return G_SOURCE_REMOVE;
}

static void
unwatch_listener(Listener *listener)
{
    GSource **slot = &listener->process.sources[SOURCE_ACCEPT];
    if (*slot)
        g_source_destroy(*slot);
    g_clear_pointer(slot, g_source_unref);
}

static void
watch_listener(Listener *listener, guint after_ms)
{
    GSource *source = after_ms ? g_timeout_source_new(after_ms)
                               : g_unix_fd_source_new(listener->listener, G_IO_IN);
    GSourceFunc func = after_ms ? on_pause_over : (GSourceFunc) (void (*)(void)) on_connection;
    unwatch_listener(listener);
    g_source_set_callback(source, func, listener, NULL);
    g_source_attach(source, listener->process.context);
    listener->process.sources[SOURCE_ACCEPT] = source;
}

/* They are no connections: anybody can send them in any name. */
static gboolean
on_datagrams(gpointer user_data)
{
    Listener *listener = user_data;
    gint64 now_us = g_get_monotonic_time();
    SamiSctpDropped dropped = sami_sctp_dropped(listener->process.sctp);
    guint64 n_strange = dropped.n_strange - listener->logged.n_strange, n_lost = dropped.n_lost - listener->logged.n_lost;
    guint64 n = dropped.n_strange + dropped.n_lost - listener->counted.n_strange - listener->counted.n_lost;
    listener->counted = dropped;
    listener->n_unreported[SAMI_HANDSHAKE_DATAGRAM] += (guint32) n;
    if (n)
        report_soon(listener);
    if ((n_strange || n_lost) && (!listener->logged_us || now_us - listener->logged_us >= 60 * G_USEC_PER_SEC)) {
        g_message("UDP datagrams of no association: %" G_GUINT64_FORMAT "; that came faster than they were read: %" G_GUINT64_FORMAT, n_strange, n_lost);
        listener->logged = dropped;
        listener->logged_us = now_us;
    }
    return G_SOURCE_CONTINUE;
}

static void
on_association(SamiSctpAssoc *assoc, gpointer user_data)
{
    take_connection(user_data, sami_wire_sctp_new(assoc, TRUE));
}

static gboolean
begin_listening(Listener *listener, GError **error)
{
    SamiNetworkProcess *process = &listener->process;
    g_autofree gchar *host = NULL, *port = NULL;
    if (!process->config.is_sctp) {
        watch_listener(listener, 0);
        return TRUE;
    }
    if (!sami_address_split(process->config.listen, &host, &port, error))
        return FALSE;
    process->sctp = sami_sctp_new(&process->config.sctp, listener->listener, (guint16) g_ascii_strtoull(port, NULL, 10), process->context, error);
    if (!process->sctp)
        return FALSE;
    sami_sctp_listen(process->sctp, on_association, listener);
    process->sources[SOURCE_DATAGRAMS] = g_timeout_source_new_seconds(DATAGRAMS_S);
    g_source_set_callback(process->sources[SOURCE_DATAGRAMS], on_datagrams, listener, NULL);
    g_source_attach(process->sources[SOURCE_DATAGRAMS], process->context);
    return TRUE;
}

/* Those who have not said who they are are not waited for. */
static void
stop(SamiNetworkProcess *process)
{
    Listener *listener = process->role;
    unwatch_listener(listener);
    if (process->sctp)
        sami_sctp_listen(process->sctp, NULL, NULL);
    forget_proven(listener);
    while (!g_queue_is_empty(&listener->unproven))
        drop_unproven(listener, g_queue_peek_head(&listener->unproven));
}

int
sami_listener_run(const SamiNetworkConfig *config, int listener_fd, int channel, const gchar *user)
{
    Listener listener = { .listener = listener_fd, .process = { .stop = stop, .role = &listener } };
    g_autoptr(GError) error = NULL;
    g_queue_init(&listener.unproven);
    gboolean is_ready = sami_network_process_init(&listener.process, config, TRUE, channel, user,
                                                  &error) &&
                        begin_listening(&listener, &error);
    if (is_ready) {
        sami_network_process_run(&listener.process);
        sami_log_limit_sum_up(&listener.refusals, TRUE);
    } else {
        g_critical("the listener cannot start: %s", error->message);
    }
    g_queue_clear(&listener.unproven);
    if (listener.report) {
        g_source_destroy(listener.report);
        g_source_unref(listener.report);
    }
    sami_network_process_clear(&listener.process);
    return is_ready ? EXIT_SUCCESS : EXIT_FAILURE;
}
