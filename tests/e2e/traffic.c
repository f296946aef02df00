/* Live transfers for the end-to-end tests: real sockets, paced, every octet compared at its receiver.
 *
 *   traffic server --ready FILE PORT...        serves TCP and UDP, IPv4 and IPv6, until it is ended
 *   traffic client --ready FILE --result FILE [--dead SECONDS] NAME,MODE,ADDRESS,PORT,RATE,OCTETS...
 *
 * MODE is push, pull, both (TCP; OCTETS each way at RATE octets a second) or datagrams (UDP: one datagram opens, then only the
 * server sends, RATE datagrams a second, OCTETS of them). The client's ready file says "open N of M" when every transfer has moved
 * octets; its result file has one line a transfer:
 *
 *   NAME MODE finished|died|reset|unopened sent=N received=N checksum=ok|bad|none gap_ms=N lost=N
 *
 * A transfer is finished when both ends have compared everything and have told each other; died when its progress stops for
 * --dead seconds. gap_ms is the longest receive gap of either end. Both ends talk in text lines of LINE octets. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <glib.h>

#define LINE 96u              /* a request or a verdict, padded with blanks */
#define BLOCK 65521u          /* prime, so that no shift of the pattern by a power of two equals it */
#define TICK_MS 4
#define SEND_MAX 262144u      /* octets a turn and transfer, so that none starves the others */
#define OPEN_MS 8000
#define DATAGRAM 512u
#define FNV_BASIS 0xcbf29ce484222325u
#define FNV_PRIME 0x100000001b3u

typedef enum { PUSH, PULL, BOTH, DATAGRAMS, N_MODES } Mode;
static const gchar *const mode_names[N_MODES] = { "push", "pull", "both", "datagrams" };

/* One direction of a transfer. */
typedef struct {
    guint64 total, done;
    guint64 checksum;
    guint start;              /* where in the block the pattern begins */
    gsize line_done;          /* of the verdict that follows the octets */
    gchar line[LINE + 1];
} Way;

typedef struct {
    int fd;
    gchar *name;
    Mode mode;
    gboolean is_server, is_connecting, is_open, is_bad;
    const gchar *result;      /* NULL: goes on */
    guint id;
    guint64 rate;
    struct sockaddr_in6 peer;
    Way in, out;
    gchar request[LINE + 1];
    gsize request_done;
    gint64 started, last_in, last_acked, out_ended, looked; /* milliseconds */
    guint64 acked;
    gint64 gap_ms, peer_gap_ms;
    guint64 lost;
} Flow;

typedef struct {
    guint8 block[2 * BLOCK];  /* twice, so that every stretch of BLOCK octets is in one piece */
    GPtrArray *flows;
    GArray *listeners, *datagrams; /* of int */
    const gchar *ready_file, *result_file;
    gint64 dead_ms, now;
    gboolean is_server, is_told;
} Traffic;

static gint64
now_ms(void)
{
    return g_get_monotonic_time() / 1000;
}

static void
fail(const gchar *what)
{
    fprintf(stderr, "traffic: %s: %s\n", what, g_strerror(errno));
    exit(1);
}

static void
make_block(Traffic *t)
{
    guint64 x = 0x9e3779b97f4a7c15u;
    for (guint i = 0; i < BLOCK; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        t->block[i] = t->block[i + BLOCK] = (guint8) (x >> 32);
    }
}

static guint64
add_checksum(guint64 sum, const guint8 *data, gsize length)
{
    for (gsize i = 0; i < length; i++)
        sum = (sum ^ data[i]) * FNV_PRIME;
    return sum;
}

static void
write_line(gchar *line, const gchar *text)
{
    g_snprintf(line, LINE + 1, "%-*s\n", (int) LINE - 1, text);
}

static void
set_up_ways(Flow *f)
{
    /* The client's octets and the server's differ, and so do those of any two transfers. */
    Way *push = f->is_server ? &f->in : &f->out, *pull = f->is_server ? &f->out : &f->in;
    push->start = (guint) ((f->id * 7919u) % BLOCK);
    pull->start = (guint) ((f->id * 7919u + 104729u) % BLOCK);
    push->checksum = pull->checksum = FNV_BASIS;
}

static void
finish(Flow *f, const gchar *result)
{
    f->result = result;
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

static void
saw_octets(Traffic *t, Flow *f)
{
    if (f->last_in && f->in.done > 0)
        f->gap_ms = MAX(f->gap_ms, t->now - f->last_in);
    f->last_in = t->now;
    f->is_open = TRUE;
}

static const guint8 *
pattern_at(const Traffic *t, const Way *way)
{
    return t->block + (way->start + way->done) % BLOCK;
}

/* --- TCP: sending --- */

static gboolean
send_octets(Flow *f, const void *data, gsize length, gsize *ret_sent)
{
    gssize n = send(f->fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    *ret_sent = n > 0 ? (gsize) n : 0;
    if (n >= 0 || errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR || errno == ENOBUFS)
        return n >= 0 && *ret_sent == length;
    finish(f, "reset");
    return FALSE;
}

static gboolean
send_line(Flow *f, const gchar *line, gsize *done)
{
    gsize sent = 0;
    if (*done < LINE)
        send_octets(f, line + *done, LINE - *done, &sent);
    *done += sent;
    return *done == LINE;
}

static void
send_some(Traffic *t, Flow *f)
{
    if (f->is_server ? f->request_done < LINE : !send_line(f, f->request, &f->request_done))
        return;
    guint64 allowed = MIN(f->out.total, f->rate * (guint64) (t->now - f->started) / 1000u);
    guint64 turn = 0;
    while (f->fd >= 0 && f->out.done < allowed && turn < SEND_MAX) {
        gsize sent, length = MIN(MIN(allowed - f->out.done, (guint64) BLOCK), SEND_MAX - turn);
        const guint8 *data = pattern_at(t, &f->out);
        gboolean is_all = send_octets(f, data, length, &sent);
        f->out.checksum = add_checksum(f->out.checksum, data, sent);
        f->out.done += sent;
        turn += sent;
        if (!is_all)
            break;
    }
    if (f->fd < 0 || f->out.done < f->out.total || f->in.done < f->in.total)
        return;
    if (!f->out.line[0]) {
        g_autofree gchar *text = g_strdup_printf("%s %" G_GINT64_MODIFIER "x %" G_GINT64_FORMAT, f->is_bad ? "bad" : "ok",
                                                 f->in.checksum, f->gap_ms);
        write_line(f->out.line, text);
        f->out_ended = t->now;
    }
    send_line(f, f->out.line, &f->out.line_done);
}

/* --- TCP: receiving --- */

static void
take_verdict(Flow *f)
{
    gchar word[8] = "";
    guint64 checksum = 0;
    if (sscanf(f->in.line, "%7s %" G_GINT64_MODIFIER "x %" G_GINT64_FORMAT, word, &checksum, &f->peer_gap_ms) != 3 ||
        strcmp(word, "ok") != 0 || checksum != f->out.checksum)
        f->is_bad = TRUE;
}

static void
take_request(Traffic *t, Flow *f)
{
    guint64 push = 0, pull = 0;
    if (sscanf(f->request, "SAMI %u %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT, &f->id, &push, &pull,
               &f->rate) != 4) {
        finish(f, "reset");
        return;
    }
    f->in.total = push;
    f->out.total = pull;
    f->started = t->now;
    set_up_ways(f);
}

static void
take_octets(Traffic *t, Flow *f, const guint8 *data, gsize length)
{
    while (length > 0) {
        gsize n;
        if (f->is_server && f->request_done < LINE) {
            n = MIN(length, LINE - f->request_done);
            memcpy(f->request + f->request_done, data, n);
            if ((f->request_done += n) == LINE)
                take_request(t, f);
        } else if (f->in.done < f->in.total) {
            n = MIN(MIN((guint64) length, f->in.total - f->in.done), (guint64) BLOCK);
            f->is_bad = f->is_bad || memcmp(data, pattern_at(t, &f->in), n) != 0;
            f->in.checksum = add_checksum(f->in.checksum, data, n);
            saw_octets(t, f);
            f->in.done += n;
        } else {
            n = MIN(length, LINE - f->in.line_done);
            if (n == 0)
                f->is_bad = TRUE;
            memcpy(f->in.line + f->in.line_done, data, n);
            if (n > 0 && (f->in.line_done += n) == LINE)
                take_verdict(f);
            f->last_in = t->now;
        }
        if (n == 0 || f->fd < 0)
            return;
        data += n;
        length -= n;
    }
}

static void
receive_some(Traffic *t, Flow *f)
{
    static guint8 buffer[SEND_MAX]; /* one thread; 256 KiB do not belong on the stack */
    for (guint i = 0; i < 4 && f->fd >= 0; i++) {
        gssize n = recv(f->fd, buffer, sizeof buffer, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
            return;
        /* The peer closes once it has our verdict and we have its. */
        if (n == 0 && f->in.line_done == LINE && f->out.line_done == LINE)
            return;
        if (n <= 0) {
            finish(f, "reset");
            return;
        }
        take_octets(t, f, buffer, (gsize) n);
    }
}

/* What has reached the peer's kernel: our only sign of progress while we push. */
static void
look_at_acked(Traffic *t, Flow *f)
{
    int unsent = 0;
    if (f->fd < 0 || t->now - f->looked < 50 || ioctl(f->fd, SIOCOUTQ, &unsent) != 0)
        return;
    guint64 acked = f->request_done + f->out.done + f->out.line_done - (guint64) unsent;
    f->looked = t->now;
    if (acked != f->acked)
        f->last_acked = t->now;
    if (acked > LINE)
        f->is_open = TRUE;
    /* Nothing in flight: the pace is what holds us, not the path. */
    if (unsent == 0 && f->out.done < f->out.total)
        f->last_acked = t->now;
    f->acked = acked;
}

static void
judge(Traffic *t, Flow *f)
{
    if (f->fd < 0)
        return;
    gboolean is_told = f->out.line_done == LINE, has_verdict = f->in.line_done == LINE;
    if (is_told && has_verdict && (f->is_server || f->in.done == f->in.total)) {
        int unsent = 0;
        /* The peer still waits for our verdict while it is unacknowledged. */
        if (ioctl(f->fd, SIOCOUTQ, &unsent) == 0 && unsent == 0)
            finish(f, "finished");
        return;
    }
    gint64 wait_in = f->in.done < f->in.total ? MAX(f->last_in, f->started) : is_told ? MAX(f->last_in, f->out_ended) : t->now;
    gint64 wait_out = f->acked < LINE + f->out.total ? MAX(f->last_acked, f->started) : t->now;
    gint64 idle = t->now - MIN(wait_in, wait_out);
    if (f->is_server || (f->is_open ? idle <= t->dead_ms : idle <= OPEN_MS))
        return;
    f->gap_ms = MAX(f->gap_ms, idle);
    finish(f, f->is_open ? "died" : "unopened");
}

/* Nagle's wait for the delayed acknowledgement would be the longest gap of all. */
static void
set_nodelay(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static void
connected(Traffic *t, Flow *f)
{
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(f->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    f->is_connecting = FALSE;
    set_nodelay(f->fd);
    if (error)
        finish(f, "unopened");
    f->started = f->last_in = f->last_acked = t->now;
}

/* --- UDP --- */

static void
send_datagram(Flow *f, const gchar *text)
{
    gchar data[DATAGRAM] = "";
    g_strlcpy(data, text, sizeof data);
    /* Lost datagrams are what is measured, so the result does not matter. */
    (void) !sendto(f->fd, data, sizeof data, MSG_DONTWAIT | MSG_NOSIGNAL, f->is_server ? (struct sockaddr *) &f->peer : NULL,
                   f->is_server ? sizeof f->peer : 0);
}

static void
serve_datagrams(Traffic *t, Flow *f)
{
    guint64 due = MIN(f->out.total, f->rate * (guint64) (t->now - f->started) / 1000u);
    while (f->out.done < due) {
        g_autofree gchar *text = g_strdup_printf("%u %" G_GUINT64_FORMAT, f->id, f->out.done++);
        send_datagram(f, text);
    }
    if (f->out.done == f->out.total)
        f->result = "finished"; /* the socket is the port's */
}

static void
receive_datagrams(Traffic *t, Flow *f)
{
    gchar data[DATAGRAM + 1] = "";
    guint id;
    guint64 number;
    while (recv(f->fd, data, DATAGRAM, MSG_DONTWAIT) > 0)
        if (sscanf(data, "%u %" G_GUINT64_FORMAT, &id, &number) == 2 && id == f->id) {
            saw_octets(t, f);
            f->in.done++;
            f->in.line_done = (gsize) number + 1;
        }
    if (!f->is_open && t->now - f->last_acked > 500) {
        send_datagram(f, f->request);
        f->last_acked = t->now;
    }
    gint64 end = f->started + (gint64) (f->in.total * 1000u / f->rate) + 500;
    if (t->now < end && f->in.line_done < f->in.total)
        return;
    /* Alive at the end: something of the last second came. */
    gboolean is_alive = f->in.line_done + f->rate >= f->in.total;
    f->lost = f->in.total - MIN(f->in.done, f->in.total);
    if (!is_alive)
        f->gap_ms = MAX(f->gap_ms, t->now - f->last_in);
    finish(f, !f->is_open ? "unopened" : is_alive ? "finished" : "died");
}

static void
accept_datagram(Traffic *t, int fd)
{
    gchar data[DATAGRAM + 1] = "";
    Flow f = { .fd = fd, .mode = DATAGRAMS, .is_server = TRUE, .started = t->now };
    socklen_t length = sizeof f.peer;
    guint64 push;
    if (recvfrom(fd, data, DATAGRAM, MSG_DONTWAIT, (struct sockaddr *) &f.peer, &length) <= 0 ||
        sscanf(data, "SAMI %u %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT, &f.id, &push, &f.out.total, &f.rate) != 4)
        return;
    for (guint i = 0; i < t->flows->len; i++) {
        const Flow *other = g_ptr_array_index(t->flows, i);
        if (other->mode == DATAGRAMS && other->id == f.id && !memcmp(&other->peer, &f.peer, sizeof f.peer))
            return;
    }
    g_ptr_array_add(t->flows, g_memdup2(&f, sizeof f));
}

/* --- both ends --- */

static int
listen_on(guint16 port, int type)
{
    struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_addr = in6addr_any, .sin6_port = htons(port) };
    int fd = socket(AF_INET6, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1, off = 0;
    if (fd < 0 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, (struct sockaddr *) &address, sizeof address) != 0 || (type == SOCK_STREAM && listen(fd, 1024) != 0))
        fail("listen");
    return fd;
}

static void
accept_flows(Traffic *t, int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        Flow *f = g_new0(Flow, 1);
        f->fd = fd;
        f->is_server = TRUE;
        set_nodelay(fd);
        f->started = t->now;
        g_ptr_array_add(t->flows, f);
    }
}

static Flow *
open_flow(Traffic *t, const gchar *spec, guint id)
{
    g_auto(GStrv) words = g_strsplit(spec, ",", -1);
    Flow *f = g_new0(Flow, 1);
    if (g_strv_length(words) != 6) {
        fprintf(stderr, "traffic: %s: not NAME,MODE,ADDRESS,PORT,RATE,OCTETS\n", spec);
        exit(2);
    }
    f->name = g_strdup(words[0]);
    while (f->mode < N_MODES && strcmp(mode_names[f->mode], words[1]) != 0)
        f->mode++;
    f->id = id;
    f->rate = MAX(g_ascii_strtoull(words[4], NULL, 10), 1);
    guint64 octets = g_ascii_strtoull(words[5], NULL, 10);
    f->out.total = f->mode == PUSH || f->mode == BOTH ? octets : 0;
    f->in.total = f->mode != PUSH ? octets : 0;
    set_up_ways(f);
    g_autofree gchar *mapped = strchr(words[2], ':') ? g_strdup(words[2]) : g_strconcat("::ffff:", words[2], NULL);
    f->peer = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons((guint16) atoi(words[3])) };
    if (f->mode == N_MODES || inet_pton(AF_INET6, mapped, &f->peer.sin6_addr) != 1) {
        fprintf(stderr, "traffic: %s: unknown mode or address\n", spec);
        exit(2);
    }
    g_autofree gchar *request = g_strdup_printf("SAMI %u %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT, id,
                                                f->out.total, f->in.total, f->rate);
    write_line(f->request, request);
    f->fd = socket(AF_INET6, (f->mode == DATAGRAMS ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (f->fd < 0)
        fail("socket");
    f->started = f->last_acked = f->last_in = t->now;
    int result = connect(f->fd, (struct sockaddr *) &f->peer, sizeof f->peer);
    f->is_connecting = f->mode != DATAGRAMS;
    if (result != 0 && errno != EINPROGRESS)
        finish(f, "unopened");
    else if (f->mode == DATAGRAMS)
        send_datagram(f, f->request);
    return f;
}

static void
step(Traffic *t, Flow *f, gboolean is_writable)
{
    if (f->result)
        return;
    if (f->mode == DATAGRAMS) {
        if (f->is_server)
            serve_datagrams(t, f);
        else
            receive_datagrams(t, f);
        return;
    }
    if (f->is_connecting && is_writable)
        connected(t, f);
    if (!f->is_connecting && f->fd >= 0) {
        receive_some(t, f);
        if (f->fd >= 0)
            send_some(t, f);
        look_at_acked(t, f);
    }
    judge(t, f);
}

static void
write_file(const gchar *path, const gchar *text)
{
    g_autoptr(GError) error = NULL;
    if (path && !g_file_set_contents(path, text, -1, &error)) {
        fprintf(stderr, "traffic: %s\n", error->message);
        exit(1);
    }
}

/* TRUE when no transfer is left. */
static gboolean
report(Traffic *t)
{
    guint n_open = 0, n_ended = 0;
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; i < t->flows->len; i++) {
        const Flow *f = g_ptr_array_index(t->flows, i);
        n_open += f->is_open;
        n_ended += f->result != NULL;
        g_string_append_printf(text, "%s %s %s sent=%" G_GUINT64_FORMAT " received=%" G_GUINT64_FORMAT " checksum=%s gap_ms=%" G_GINT64_FORMAT
                                     " lost=%" G_GUINT64_FORMAT "\n",
                               f->name, mode_names[f->mode], f->result ? f->result : "", f->out.done, f->in.done,
                               f->is_bad ? "bad" : f->mode != DATAGRAMS && !g_strcmp0(f->result, "finished") ? "ok" : "none",
                               MAX(f->gap_ms, f->peer_gap_ms), f->lost);
    }
    if (!t->is_told && (n_open == t->flows->len || n_ended > 0)) {
        g_autofree gchar *line = g_strdup_printf("open %u of %u\n", n_open, t->flows->len);
        write_file(t->ready_file, line);
        t->is_told = TRUE;
    }
    if (n_ended < t->flows->len)
        return FALSE;
    write_file(t->result_file, text->str);
    return TRUE;
}

/* A server does not end; its finished transfers do. */
static void
drop_ended(Traffic *t)
{
    for (guint i = t->flows->len; i-- > 0;) {
        Flow *f = g_ptr_array_index(t->flows, i);
        if (f->result && f->mode != DATAGRAMS)
            g_free(g_ptr_array_remove_index_fast(t->flows, i));
    }
}

static void
run(Traffic *t)
{
    g_autoptr(GArray) fds = g_array_new(FALSE, TRUE, sizeof(struct pollfd));
    for (;;) {
        guint n_flows = t->flows->len;
        g_array_set_size(fds, 0);
        for (guint i = 0; i < n_flows; i++) {
            const Flow *f = g_ptr_array_index(t->flows, i);
            struct pollfd entry = { .fd = f->mode == DATAGRAMS && f->is_server ? -1 : f->fd,
                                    .events = f->is_connecting ? POLLOUT : POLLIN };
            g_array_append_val(fds, entry);
        }
        for (guint k = 0; k < t->listeners->len + t->datagrams->len; k++) {
            struct pollfd entry = { .events = POLLIN };
            entry.fd = k < t->listeners->len ? g_array_index(t->listeners, int, k)
                                             : g_array_index(t->datagrams, int, k - t->listeners->len);
            g_array_append_val(fds, entry);
        }
        if (poll((struct pollfd *) (void *) fds->data, fds->len, TICK_MS) < 0 && errno != EINTR)
            fail("poll");
        t->now = now_ms();
        for (guint i = 0; i < n_flows; i++)
            step(t, g_ptr_array_index(t->flows, i), g_array_index(fds, struct pollfd, i).revents != 0);
        for (guint k = 0; k < t->listeners->len; k++)
            accept_flows(t, g_array_index(t->listeners, int, k));
        for (guint k = 0; k < t->datagrams->len; k++)
            accept_datagram(t, g_array_index(t->datagrams, int, k));
        if (t->is_server)
            drop_ended(t);
        else if (report(t))
            return;
    }
}

int
main(int argc, char **argv)
{
    static Traffic t = { .dead_ms = 10000 };
    t.is_server = argc > 1 && !strcmp(argv[1], "server");
    t.flows = g_ptr_array_new();
    t.listeners = g_array_new(FALSE, FALSE, sizeof(int));
    t.datagrams = g_array_new(FALSE, FALSE, sizeof(int));
    t.now = now_ms();
    make_block(&t);
    if (!t.is_server && (argc < 2 || strcmp(argv[1], "client") != 0)) {
        fprintf(stderr, "usage: traffic server|client [--ready FILE] [--result FILE] [--dead SECONDS] PORT...|TRANSFER...\n");
        return 2;
    }
    for (int i = 2; i < argc; i++) {
        if (!strcmp(argv[i], "--ready") && i + 1 < argc) {
            t.ready_file = argv[++i];
        } else if (!strcmp(argv[i], "--result") && i + 1 < argc) {
            t.result_file = argv[++i];
        } else if (!strcmp(argv[i], "--dead") && i + 1 < argc) {
            t.dead_ms = 1000 * atoi(argv[++i]);
        } else if (t.is_server) {
            int tcp = listen_on((guint16) atoi(argv[i]), SOCK_STREAM), udp = listen_on((guint16) atoi(argv[i]), SOCK_DGRAM);
            g_array_append_val(t.listeners, tcp);
            g_array_append_val(t.datagrams, udp);
        } else {
            g_ptr_array_add(t.flows, open_flow(&t, argv[i], (guint) i));
        }
    }
    if (t.is_server)
        write_file(t.ready_file, "listening\n");
    run(&t);
    return 0;
}
