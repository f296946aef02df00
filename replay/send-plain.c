/* send --udp, --tcp: Messages to any collector, as they were recorded. Each Transport Session of the recording gets a connection, or a source port,
 * of its own, since templates and Sequence Numbers belong to it (RFC 7011 §2). */
#include "replay/send.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "replay/recut.h"
#include "transport/address.h"

#define LINKS_MAX 64u          /* Transport Sessions at once */
#define CONNECT_MS 5000        /* a connection */
#define STALL_MS 30000         /* a collector that takes nothing */
#define DRAIN_MS 5000          /* its end of a connection, behind ours */

typedef struct {
    int fd;
    ReplayRecut *recut; /* UDP */
} Link;

typedef struct {
    Replay *replay;
    const ReplayPlain *plain;
    ReplayPace pace;
    ReplaySay say;
    ReplayProgress progress;
    struct addrinfo *address;
    int signals; /* signalfd: SIGINT, SIGTERM */
    gboolean is_interrupted;
    GHashTable *links; /* session -> Link */
    Link *link;        /* of the Message that is being sent */
    const SamiInputMessage *message;
    guint64 n_recorded, n_sent, n_octets, n_faults;
    ReplayRecutCounts recut; /* of links that are closed */
    GError *failure;         /* nothing more can be sent */
} Plain;

static void
fail(Plain *p, const gchar *what)
{
    if (!p->failure)
        g_set_error(&p->failure, SAMI_ERROR, SAMI_ERROR_PEER, "%s: %s", p->plain->endpoint, what);
}

/* FALSE: interrupted, or not within `ms`. */
static gboolean
wait_for(Plain *p, int fd, short events, gint64 ms)
{
    gint64 end_us = g_get_monotonic_time() + ms * 1000;
    for (;;) {
        struct pollfd fds[] = { { .fd = p->signals, .events = POLLIN }, { .fd = fd, .events = events } };
        gint64 left_ms = (end_us - g_get_monotonic_time() + 999) / 1000;
        int n = poll(fds, 2, (int) CLAMP(left_ms, 0, 60000));
        p->is_interrupted |= fds[0].revents != 0;
        if (p->is_interrupted)
            return FALSE;
        if (n > 0 && fds[1].revents)
            return TRUE;
        if (left_ms <= 0)
            return FALSE;
    }
}

static void
wait_until(Plain *p, gint64 due_us)
{
    gint64 ms = (due_us - g_get_monotonic_time() + 999) / 1000;
    if (ms > 0)
        wait_for(p, -1, 0, ms);
}

static gboolean
may_go_on(const Plain *p)
{
    return !p->failure && !p->is_interrupted;
}

/* --- links --- */

static void
count_recut(Plain *p, const ReplayRecut *recut)
{
    const ReplayRecutCounts *more = replay_recut_counts(recut);
    p->recut.n_refreshes += more->n_refreshes;
    p->recut.n_cut += more->n_cut;
    p->recut.n_unsigned += more->n_unsigned;
    p->recut.n_withdrawals += more->n_withdrawals;
    p->recut.n_long += more->n_long;
    p->recut.n_dropped += more->n_dropped;
    p->recut.n_unremembered += more->n_unremembered;
}

/* Our end first, then all that the other side may still say: a reset would eat the tail. */
static void
end_connection(Plain *p, int fd)
{
    guint8 rest[4096];
    ssize_t n = 1;
    if (shutdown(fd, SHUT_WR) != 0)
        n = -1;
    while (n > 0 && wait_for(p, fd, POLLIN, DRAIN_MS))
        n = recv(fd, rest, sizeof rest, MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN)
        fail(p, errno == ECONNRESET ? "it has reset the connection: what it has taken is not known" : g_strerror(errno));
}

/* That nobody listens is told behind a datagram. */
static void
end_datagrams(Plain *p, int fd)
{
    int code = 0;
    socklen_t length = sizeof code;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &length) == 0 && code == ECONNREFUSED)
        fail(p, "nobody listens there");
}

static void
close_link(Plain *p, Link *link)
{
    if (may_go_on(p))
        (p->plain->is_udp ? end_datagrams : end_connection)(p, link->fd);
    if (link->recut)
        count_recut(p, link->recut);
    replay_recut_free(link->recut);
    close(link->fd);
    g_free(link);
}

static void
close_session(Plain *p, guint32 session)
{
    gpointer link;
    if (g_hash_table_steal_extended(p->links, GUINT_TO_POINTER(session), NULL, &link))
        close_link(p, link);
}

static void
close_all(Plain *p)
{
    GHashTableIter iter;
    gpointer link;
    g_hash_table_iter_init(&iter, p->links);
    while (g_hash_table_iter_next(&iter, NULL, &link)) {
        g_hash_table_iter_steal(&iter);
        close_link(p, link);
    }
}

/* -1 with errno */
static int
connect_to(Plain *p, const struct addrinfo *info)
{
    int code = 0, fd = socket(info->ai_family, info->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, info->ai_protocol);
    socklen_t length = sizeof code;
    if (fd < 0)
        return -1;
    if (connect(fd, info->ai_addr, info->ai_addrlen) == 0)
        return fd;
    code = errno;
    if (code == EINPROGRESS && (!wait_for(p, fd, POLLOUT, CONNECT_MS) || getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &length) != 0))
        code = ETIMEDOUT;
    if (code == 0)
        return fd;
    close(fd);
    errno = code;
    return -1;
}

static Link *
obtain_link(Plain *p, guint32 session)
{
    Link *link = g_hash_table_lookup(p->links, GUINT_TO_POINTER(session));
    int fd = -1;
    if (link)
        return link;
    if (g_hash_table_size(p->links) >= LINKS_MAX) {
        g_autofree gchar *text = g_strdup_printf("more than %u Transport Sessions at once; --capture-port chooses", LINKS_MAX);
        fail(p, text);
        return NULL;
    }
    for (const struct addrinfo *info = p->address; info && fd < 0 && may_go_on(p); info = info->ai_next)
        fd = connect_to(p, info);
    if (fd < 0) {
        if (!p->is_interrupted)
            fail(p, g_strerror(errno));
        return NULL;
    }
    link = g_new0(Link, 1);
    link->fd = fd;
    if (p->plain->is_udp)
        link->recut = replay_recut_new(p->plain->mtu, p->plain->every, p->plain->every_ms);
    g_hash_table_insert(p->links, GUINT_TO_POINTER(session), link);
    return link;
}

/* --- Messages --- */

static void
write_message(Plain *p, const guint8 *octets, gsize length)
{
    while (length > 0 && may_go_on(p)) {
        ssize_t n = send(p->link->fd, octets, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0) {
            octets += n;
            length -= (gsize) n;
            p->n_octets += (guint64) n;
        } else if (errno == EMSGSIZE) {
            fail(p, "the path takes no datagram of this length: a smaller --mtu");
        } else if (errno == ECONNREFUSED && p->plain->is_udp) {
            fail(p, "nobody listens there");
        } else if (errno == ENOBUFS) { /* of a device's queue, whose end nothing tells */
            wait_for(p, -1, 0, 1);
        } else if (errno != EINTR && errno != EAGAIN) {
            fail(p, g_strerror(errno));
        } else if (errno == EAGAIN && !wait_for(p, p->link->fd, POLLOUT, STALL_MS) && !p->is_interrupted) {
            fail(p, "it has taken nothing for 30 s");
        }
    }
    p->n_sent += length == 0;
}

static void
on_piece(const guint8 *message, gsize length, gpointer user_data)
{
    Plain *p = user_data;
    if (p->pace.kind == REPLAY_PACE_RATE) /* of what is sent, not of what was recorded: one may be many */
        wait_until(p, replay_pace_due(&p->pace, p->message, g_get_monotonic_time()));
    write_message(p, message, length);
}

static void
say_fault(Plain *p, const gchar *path, const SamiInputMessage *message, const GError *fault)
{
    p->n_faults++;
    replay_say(stderr, &p->progress, "sami-replay: %s: octet %" G_GUINT64_FORMAT ": %s\n", path, message->offset, fault->message);
}

static void
send_message(Plain *p, const gchar *path, const SamiInputMessage *message)
{
    g_autoptr(GError) fault = NULL;
    p->n_recorded++;
    p->message = message;
    if (!p->plain->is_udp || p->pace.kind != REPLAY_PACE_RATE)
        wait_until(p, replay_pace_due(&p->pace, message, g_get_monotonic_time()));
    if (!may_go_on(p) || !(p->link = obtain_link(p, message->session)))
        return;
    if (!p->link->recut)
        write_message(p, message->octets, message->length);
    else if (!replay_recut_message(p->link->recut, message->octets, message->length, (guint64) g_get_monotonic_time() / 1000, on_piece, p, &fault))
        say_fault(p, path, message, fault);
}

static void
send_file(Plain *p, const gchar *path)
{
    SamiInputMessage message;
    SamiInputStatus status;
    g_autoptr(GError) fault = NULL;
    g_autoptr(SamiInput) input = replay_open(p->replay, path, &p->failure);
    if (!input)
        return;
    replay_progress_begin(&p->progress, p->replay, input, path);
    while (may_go_on(p) && (status = sami_input_next(input, &message, &fault)) != SAMI_INPUT_END) {
        replay_progress(&p->progress);
        if (status == SAMI_INPUT_MESSAGE)
            send_message(p, path, &message);
        else if (status == SAMI_INPUT_CLOSED)
            close_session(p, message.session);
        else if (status == SAMI_INPUT_FAULT)
            say_fault(p, path, &message, fault);
        g_clear_error(&fault);
    }
    if (fault && !p->failure)
        g_propagate_prefixed_error(&p->failure, g_steal_pointer(&fault), "%s: ", path);
    close_all(p);
    replay_progress_end(&p->progress);
}

/* --- the whole --- */

static gboolean
open_signals(Plain *p, GError **error)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    if (sigprocmask(SIG_BLOCK, &set, NULL) == 0 && (p->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC)) >= 0)
        return TRUE;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "signalfd: %s", g_strerror(errno));
    return FALSE;
}

static gboolean
resolve(Plain *p, GError **error)
{
    const struct addrinfo hints = { .ai_socktype = p->plain->is_udp ? SOCK_DGRAM : SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
    g_autofree gchar *host = NULL, *port = NULL;
    if (!sami_address_split(p->plain->endpoint, &host, &port, error))
        return FALSE;
    int code = getaddrinfo(host, port, &hints, &p->address);
    if (code == 0)
        return TRUE;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_PEER, "%s: %s", p->plain->endpoint, code == EAI_SYSTEM ? g_strerror(errno) : gai_strerror(code));
    return FALSE;
}

static SamiExit
tell(Plain *p)
{
    const ReplayRecutCounts *c = &p->recut;
    const ReplayNumber numbers[] = {
        { "messages", p->n_sent },         { "octets", p->n_octets },           { "recorded", p->n_recorded },
        { "template_messages", c->n_refreshes }, { "divided", c->n_cut },       { "signatures_left_out", c->n_unsigned },
        { "withdrawals_left_out", c->n_withdrawals }, { "too_long", c->n_long }, { "dropped", c->n_dropped },
        { "templates_not_repeated", c->n_unremembered }, { "faults", p->n_faults },
    };
    SamiExit code = p->failure                       ? sami_exit_of_error(p->failure)
                    : p->is_interrupted              ? SAMI_EXIT_ABORTED
                    : p->n_faults > 0 || c->n_dropped > 0 ? REPLAY_EXIT_BROKEN
                                                     : SAMI_EXIT_UNCONFIRMED;
    if (c->n_unsigned > 0)
        replay_say(stderr, NULL, "sami-replay: Messages longer than %zu octets were divided: these are not signed any more\n", p->plain->mtu);
    replay_say_end(&p->say, code, code == SAMI_EXIT_ABORTED ? "ABORTED" : p->failure ? "FAILED" : "SENT",
                   p->failure ? p->failure->message : p->is_interrupted ? "interrupted" : NULL, numbers, G_N_ELEMENTS(numbers), NULL, NULL);
    return code;
}

SamiExit
replay_send_plain(Replay *replay, const ReplayPlain *plain, GError **error)
{
    Plain p = { .replay = replay, .plain = plain, .pace = plain->pace, .signals = -1,
                .say = { .is_json = replay->args.is_json, .is_quiet = replay->args.is_quiet, .peer = plain->endpoint } };
    SamiExit code = SAMI_EXIT_FAILED;
    p.links = g_hash_table_new(NULL, NULL);
    if (resolve(&p, error) && open_signals(&p, error)) {
        replay_say(stderr, NULL, "sami-replay: %s: plain %s is neither encrypted nor authenticated, and nobody confirms it\n", plain->endpoint,
                   plain->is_udp ? "UDP" : "TCP");
        for (guint i = 0; replay->args.operands[i] && may_go_on(&p); i++)
            send_file(&p, replay->args.operands[i]);
        code = tell(&p);
    }
    if (p.address)
        freeaddrinfo(p.address);
    if (p.signals >= 0)
        close(p.signals);
    g_hash_table_unref(p.links);
    g_clear_error(&p.failure);
    return code;
}
