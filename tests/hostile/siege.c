/* siege CONFIG TO WAY N FILE: N connections or processes that attack a collector in one way, until FILE is gone; then a line of what was tried.
 *
 * From outside (one process): `silent` connections are held and say nothing, `slow` ones say one octet of a handshake now and then; what is cut is
 * opened anew at once. `rushed` ones handshake without a certificate, again and again. Over SCTP besides: `early` ones send records under a key that there is
 * not yet, `gaps` ones never what comes first; `datagrams` are of nobody, N a millisecond.
 * From inside, with a peer's certificate and keys, each in a process of its own that begins anew when it was cut: see `ways`. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/hostile/siege.h"
#include "transport/address.h"

#define OCTET_MS 50

static gboolean
uses_sctp(const Siege *siege)
{
    return g_str_equal(siege->identity->config->transport, "sctp");
}

gboolean
siege_is_over(const Siege *siege)
{
    return access(siege->flag, F_OK) != 0;
}

/* ---- outside ---- */

static struct addrinfo *
resolve(const Siege *siege)
{
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };
    struct addrinfo *info = NULL;
    g_autofree gchar *host = NULL, *port = NULL;
    if (!sami_address_split(siege->identity->peer->addresses[0], &host, &port, NULL) || getaddrinfo(host, port, &hints, &info) != 0)
        die("no address");
    return info;
}

static gboolean
is_cut(int fd, gboolean is_slow, guint turn)
{
    static const guint8 hello[] = { 0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3 }; /* of a ClientHello of 512 octets */
    guint8 octets[256];
    if (is_slow && send(fd, turn < sizeof hello ? &hello[turn] : octets, 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EAGAIN && errno != ENOTCONN)
        return TRUE;
    ssize_t n = recv(fd, octets, sizeof octets, MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != ENOTCONN);
}

static void
hold_connections(const Siege *siege, gboolean is_slow)
{
    struct addrinfo *info = resolve(siege);
    g_autofree int *fds = g_new(int, siege->n);
    g_autofree guint *turns = g_new0(guint, siege->n);
    guint64 n_opened = 0, n_cut = 0;
    memset(fds, -1, siege->n * sizeof *fds);
    while (!siege_is_over(siege)) {
        for (guint i = 0; i < siege->n; i++) {
            if (fds[i] >= 0 && is_cut(fds[i], is_slow, turns[i]++)) {
                close(fds[i]);
                fds[i] = -1;
                n_cut++;
            }
            if (fds[i] >= 0)
                continue;
            turns[i] = 0;
            fds[i] = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
            if (fds[i] >= 0)
                n_opened += connect(fds[i], info->ai_addr, info->ai_addrlen) == 0 || errno == EINPROGRESS;
        }
        g_usleep(OCTET_MS * 1000);
    }
    freeaddrinfo(info);
    g_print("%" G_GUINT64_FORMAT " connections, %" G_GUINT64_FORMAT " of them cut\n", n_opened, n_cut);
}

static void
silent(const Siege *siege)
{
    if (uses_sctp(siege))
        siege_sctp_silent(siege);
    else
        hold_connections(siege, FALSE);
}

static void
slow(const Siege *siege)
{
    if (uses_sctp(siege))
        siege_sctp_slow(siege);
    else
        hold_connections(siege, TRUE);
}

/* ---- inside; each returns or dies when it was cut ---- */

static Client *
enter_tls(const Siege *siege)
{
    g_autofree gchar *alert = NULL;
    Client *c = client_new(siege->identity, NULL, &alert);
    if (!c)
        die("%s", alert);
    return c;
}

static Client *
begin(const Siege *siege)
{
    Client *c = enter_tls(siege);
    client_hello(c);
    client_begin(c);
    return c;
}

static void
send_more(Client *c)
{
    client_send(c);
    g_ptr_array_set_size(c->sent, 0);
}

static void
rushed(const Siege *siege)
{
    Identity nobody = *siege->identity;
    nobody.certificate = nobody.key = NULL;
    while (!siege_is_over(siege)) {
        g_autofree gchar *alert = NULL;
        Client *c = client_new(&nobody, NULL, &alert);
        if (!c)
            continue;
        client_answer(c);
        client_free(c);
    }
}

/* Says nothing, from some point on, until the collector ends it. */
static void
wait_for_the_end(const Siege *siege, Client *c)
{
    struct pollfd socket = { .fd = c->wire ? -1 : SSL_get_fd(c->ssl), .events = POLLIN | POLLRDHUP };
    while (c->wire && !siege_is_over(siege) && !client_sctp_is_over(c))
        ;
    while (!c->wire && !siege_is_over(siege) && !(poll(&socket, 1, 100) == 1 && socket.revents & (POLLRDHUP | POLLHUP | POLLERR)))
        socket.events = POLLRDHUP;
    client_free(c);
}

static void idle(const Siege *siege) { wait_for_the_end(siege, enter_tls(siege)); }
static void begun(const Siege *siege) { wait_for_the_end(siege, begin(siege)); }

static void
greeted(const Siege *siege)
{
    Client *c = enter_tls(siege);
    client_hello(c);
    wait_for_the_end(siege, c);
}

/* One Message that never ends. */
static void
endless(const Siege *siege)
{
    static const guint8 header[] = { 0, 10, 0xff, 0xff };
    Client *c = begin(siege);
    client_transmit_octets(c, header, sizeof header);
    while (!siege_is_over(siege)) {
        client_transmit_octets(c, header, 1);
        g_usleep(OCTET_MS * 1000);
    }
}

static void
add_marker(Client *c, guint8 marker)
{
    SamiRecord record = { .kind = SAMI_RECORD_MARKER, .marker = { .marker = marker, .freeze_mode = SAMI_FREEZE_EVENTS } };
    client_add(c, &record);
}

/* Asks and asks, and reads no answer. */
static void
unread(const Siege *siege)
{
    Client *c = begin(siege);
    while (!siege_is_over(siege)) {
        for (guint i = 0; i < SAMI_CONTROLS_MAX; i++)
            add_marker(c, SAMI_MARKER_SNAPSHOT);
        send_more(c);
    }
}

/* Each freeze goes to the disk. */
static void
undecided(const Siege *siege)
{
    Client *c = begin(siege);
    while (!siege_is_over(siege)) {
        for (guint i = 0; i < SAMI_CONTROLS_MAX; i++)
            add_marker(c, i % 2 ? SAMI_MARKER_THAW : SAMI_MARKER_FREEZE);
        send_more(c);
    }
}

static SamiRecord
flow(guint i, guint8 action)
{
    SamiRecord record = { .session = honest_session() };
    SamiSession *s = &record.session;
    s->action = action;
    s->key.orig.src_port = (guint16) (1024 + i % 50000);
    memcpy(s->key.orig.dst.octets + 2, (guint8[]){ (guint8) (i / 50000), (guint8) (i / 50000 / 256) }, 2);
    s->key.orig.dst.octets[0] = 198;
    s->key.orig.dst.octets[1] = 19;
    sami_flow_key_mirror(&s->key, &s->reply);
    return record;
}

/* Nothing of it may come, and each is another one. */
static void
forbidden(const Siege *siege)
{
    Client *c = begin(siege);
    for (guint i = 0; !siege_is_over(siege); i++) {
        SamiRecord record = flow(i, SAMI_ACTION_CREATED);
        record.session.key.orig.src.octets[3] = 77;
        sami_flow_key_mirror(&record.session.key, &record.session.reply);
        client_add(c, &record);
        if (i % 500 == 499)
            send_more(c);
    }
}

/* What comes goes again, and nothing is ever the same. */
static void
fleeting(const Siege *siege)
{
    Client *c = begin(siege);
    for (guint i = 0; !siege_is_over(siege); i += 200) {
        for (guint k = 0; k < 400; k++) {
            SamiRecord record = flow(i + k % 200, k < 200 ? SAMI_ACTION_CREATED : SAMI_ACTION_DELETED);
            client_add(c, &record);
        }
        send_more(c);
    }
}

/* READY, and never more: each stays here until an operator decides. */
static void
doubtful(const Siege *siege)
{
    while (!siege_is_over(siege)) {
        Client *c = enter_tls(siege);
        c->lease_s = 1;
        client_hello(c);
        client_begin(c);
        add_marker(c, SAMI_MARKER_FREEZE);
        send_more(c);
        client_answer(c);
        c->is_cut = TRUE;
        client_free(c);
    }
}

static void
ask(Client *c, guint8 marker)
{
    add_marker(c, marker);
    client_send(c);
    client_answer(c);
    if (c->reason)
        die("%s", c->answers->str);
}

/* Small migrations by the hundred, each honest to the end: the flow that comes is looked after until packets have been seen. */
static void
prolific(const Siege *siege)
{
    for (guint i = (guint) g_random_int_range(0, 1 << 24); !siege_is_over(siege); i++) {
        SamiRecord record = flow(i, SAMI_ACTION_CREATED);
        Client *c = begin(siege);
        c->may_accept = TRUE;
        client_add(c, &record);
        ask(c, SAMI_MARKER_SNAPSHOT);
        ask(c, SAMI_MARKER_FREEZE);
        ask(c, SAMI_MARKER_SETTLE);
        client_free(c);
    }
}

/* Sessions that are over before they begin: each leaves a file. */
static void
hasty(const Siege *siege)
{
    while (!siege_is_over(siege)) {
        Client *c = enter_tls(siege);
        client_hello(c);
        client_free(c);
    }
}

/* New keys, and for each of them the collector is to take some of its own; over TLS only. */
static void
rekeying(const Siege *siege)
{
    Client *c = enter_tls(siege);
    client_hello(c);
    while (!siege_is_over(siege) && SSL_key_update(c->ssl, SSL_KEY_UPDATE_REQUESTED) == 1 && SSL_do_handshake(c->ssl) == 1)
        ;
    c->is_cut = TRUE;
    client_free(c);
}

static const struct {
    const gchar *name;
    void (*run)(const Siege *siege);
    gboolean is_alone; /* one process does it N times */
} ways[] = {
    { "silent", silent, TRUE },      { "slow", slow, TRUE },       { "rushed", rushed, FALSE },       { "idle", idle, FALSE },
    { "greeted", greeted, FALSE },   { "begun", begun, FALSE },    { "endless", endless, FALSE },     { "unread", unread, FALSE },
    { "undecided", undecided, FALSE }, { "forbidden", forbidden, FALSE }, { "fleeting", fleeting, FALSE }, { "doubtful", doubtful, FALSE },
    { "prolific", prolific, FALSE }, { "hasty", hasty, FALSE },     { "rekeying", rekeying, FALSE },
    { "early", siege_sctp_early, TRUE }, { "gaps", siege_sctp_gaps, TRUE }, { "datagrams", siege_sctp_datagrams, TRUE },
};

static pid_t
start(const Siege *siege, void (*run)(const Siege *siege))
{
    pid_t parent = getpid(), pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(0);
    run(siege);
    _exit(EXIT_SUCCESS);
}

static void
run_processes(const Siege *siege, void (*run)(const Siege *siege))
{
    guint64 n_begun = 0, n_ended = 0;
    g_autoptr(GHashTable) pids = g_hash_table_new(NULL, NULL);
    while (!siege_is_over(siege)) {
        int status;
        pid_t pid;
        while (g_hash_table_size(pids) < siege->n && (pid = start(siege, run)) > 0) {
            g_hash_table_add(pids, GINT_TO_POINTER(pid));
            n_begun++;
        }
        g_usleep(20000);
        while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
            g_hash_table_remove(pids, GINT_TO_POINTER(pid));
            n_ended++;
        }
    }
    g_print("%" G_GUINT64_FORMAT " attempts, %" G_GUINT64_FORMAT " of them ended\n", n_begun, n_ended);
    GHashTableIter iter;
    gpointer pid;
    g_hash_table_iter_init(&iter, pids);
    while (g_hash_table_iter_next(&iter, &pid, NULL))
        kill(GPOINTER_TO_INT(pid), SIGKILL);
}

int
main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    struct rlimit files;
    if (argc != 6)
        die("usage: siege CONFIG TO WAY N FILE");
    g_autoptr(SamiConfig) config = sami_config_load(argv[1], &error);
    if (!config)
        die("%s", error->message);
    Identity identity = { .config = config, .peer = sami_config_peer(config, argv[2]), .certificate = config->certificate, .key = config->key };
    if (!identity.peer || !(identity.signing_key = sami_key_load_private(config->signing_key, NULL, &error)) ||
        !(identity.peer_key = sami_key_load_public(identity.peer->signing_key_file, &error)))
        die("%s: %s", argv[2], error ? error->message : "is no peer");
    Siege siege = { .identity = &identity, .flag = argv[5], .n = (guint) g_ascii_strtoull(argv[4], NULL, 10) };
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    signal(SIGPIPE, SIG_IGN);
    for (gsize i = 0; i < G_N_ELEMENTS(ways); i++) {
        if (!g_str_equal(ways[i].name, argv[3]))
            continue;
        if (ways[i].is_alone)
            ways[i].run(&siege);
        else
            run_processes(&siege, ways[i].run);
        sami_key_free(identity.signing_key);
        sami_key_free(identity.peer_key);
        return EXIT_SUCCESS;
    }
    die("there is no way '%s'", argv[3]);
}
