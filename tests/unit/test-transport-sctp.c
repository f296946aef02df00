/* DTLS over SCTP: what TLS over TCP does not have. The rest is in test-transport-dtls. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/harness.h"
#include "tests/unit/sctp-weather.h"
#include "tests/unit/transport-pair.h"

#define N_RECORDS 100000u

static int
set_up(void)
{
    lab_is_sctp = TRUE;
    lab_sctp.udp_port = 9; /* nobody answers there */
    return pair_set_up();
}

/* ---- loss ---- */

/* Small Messages, several a packet. */
static void
exchange_in(guint loss, guint n_from_client, guint n_from_server)
{
    SamiFrameOpen open;
    weather_loss = loss;
    weather_twice = weather_late = loss ? 30 : 0;
    lab_sctp.send = loss ? weather_send : NULL;
    lab_message_limit = 120;
    pair_start_pinned();
    if (pair_meet(&open, &open))
        pair_exchange(n_from_client, n_from_server);
    pair_stop();
    lab_sctp.send = NULL;
    lab_message_limit = 0;
}

static void
test_records(void)
{
    exchange_in(0, N_RECORDS, 1000);
}

static void
test_bad_weather(void)
{
    exchange_in(10, N_RECORDS / 5, N_RECORDS / 5);
    exchange_in(50, N_RECORDS - 10000, 10000);
}

/* Full Messages in several packets each, and the end of both directions while packets are lost. */
static void
test_tail_in_bad_weather(void)
{
    SamiFrameOpen open;
    weather_loss = weather_twice = weather_late = 50;
    lab_sctp.send = weather_send;
    for (guint i = 0; i < 5; i++) {
        pair_start_pinned();
        if (pair_meet(&open, &open))
            pair_exchange(30, 10);
        pair_stop();
    }
    lab_sctp.send = NULL;
}

/* ---- authentication ---- */

typedef ssize_t (*Send)(int fd, const struct msghdr *message, int flags);

/* (transfer full) what the client's operator reads; there is no session. */
static gchar *
refusal_of(Send server, Send client)
{
    lab_sctp.send = server;
    lab_listen(&listener, "fw2", NULL, "fw1.example=fw1", NULL);
    lab_sctp.send = client;
    g_autofree gchar *address = g_strdup_printf("127.0.0.1:%u", listener.port);
    lab_connect_timeout_s = LAB_NO_ANSWER_S; /* what is thrown away has no answer */
    lab_connect(&connector, "fw1", NULL, "fw2.example=fw2", address);
    lab_connect_timeout_s = LAB_ANSWER_S;
    lab_sctp.send = NULL;
    at_client = lab_request(&connector, "fw2.example");
    gchar *text = lab_error(at_client);
    at_server = lab_session(&listener, 50);
    CU_ASSERT_PTR_NULL(at_server);
    pair_stop();
    return text;
}

static void
test_peer_without_auth(void)
{
    g_autofree gchar *of_server = refusal_of(NULL, weather_send_without_offer);
    CU_ASSERT(of_server && strstr(of_server, "aborted"));
    g_autofree gchar *of_client = refusal_of(weather_send_without_offer, NULL);
    CU_ASSERT(of_client && strstr(of_client, "does not authenticate DATA"));
}

static void
test_data_without_auth(void)
{
    g_autofree gchar *of_client = refusal_of(NULL, weather_send_without_auth);
    CU_ASSERT(of_client && strstr(of_client, "took too long"));
    g_autofree gchar *of_server = refusal_of(weather_send_without_auth, NULL);
    CU_ASSERT(of_server && strstr(of_server, "took too long"));
}

static void
test_wrong_key(void)
{
    g_autofree gchar *text = refusal_of(NULL, weather_send_wrong_key);
    CU_ASSERT(text && strstr(text, "took too long"));
}

/* ---- what is no DTLS ---- */

typedef struct {
    GMainContext *context;
    SamiSctp *sctp;
    SamiSctpAssoc *assoc;
} Rogue;

static gboolean
wait_for(Rogue *rogue, gboolean is_up)
{
    gint64 end = g_get_monotonic_time() + 8 * G_USEC_PER_SEC;
    while (g_get_monotonic_time() < end) {
        const guint8 *message;
        gsize n;
        guint16 stream;
        SamiSctpState state = sami_sctp_assoc_state(rogue->assoc);
        if (is_up ? state == SAMI_SCTP_UP : state > SAMI_SCTP_UP)
            return TRUE;
        if (sami_sctp_assoc_receive(rogue->assoc, &message, &n, &stream) != SAMI_SCTP_DONE)
            g_main_context_iteration(rogue->context, FALSE);
    }
    return FALSE;
}

/* In a child: an association on which this is said instead of a ClientHello. 0: the server ended it. */
static int
say(guint16 port, const guint8 *message, gsize n)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    const SamiSctpConfig config = { .backend = SAMI_SCTP_USERLAND, .udp_port = port };
    Rogue rogue = { .context = g_main_context_new() };
    rogue.sctp = sami_sctp_new(&config, -1, 0, rogue.context, NULL);
    rogue.assoc = rogue.sctp ? sami_sctp_connect(rogue.sctp, (struct sockaddr *) &to, NULL) : NULL;
    if (!rogue.assoc || !wait_for(&rogue, TRUE))
        return 1;
    if (n && sami_sctp_assoc_send(rogue.assoc, 0, message, n, TRUE) != SAMI_SCTP_DONE)
        return 2;
    int status = wait_for(&rogue, FALSE) ? 0 : 3;
    sami_sctp_assoc_free(rogue.assoc);
    sami_sctp_free(rogue.sctp);
    g_main_context_unref(rogue.context);
    return status;
}

static void
expect_end(const guint8 *message, gsize n)
{
    int status = -1;
    pid_t pid = fork();
    if (pid == 0)
        _exit(say((guint16) listener.port, message, n));
    waitpid(pid, &status, 0);
    CU_ASSERT(WIFEXITED(status));
    CU_ASSERT_EQUAL(WEXITSTATUS(status), 0);
}

static void
test_no_dtls(void)
{
    static const guint8 http[] = "GET / HTTP/1.1\r\n\r\n";
    g_autofree guint8 *large = g_malloc0(SAMI_SCTP_USER_MESSAGE_MAX + 1);
    SamiFrameOpen open;
    const gsize sizes[] = { SAMI_DTLS_RECORD_MAX + 1, SAMI_SCTP_USER_MESSAGE_MAX, SAMI_SCTP_USER_MESSAGE_MAX + 1 };
    pair_start_pinned();
    expect_end(http, sizeof(http));
    for (guint i = 0; i < G_N_ELEMENTS(sizes); i++) {
        const guint8 header[] = { 22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, (guint8) ((sizes[i] - 13) >> 8), (guint8) (sizes[i] - 13) };
        memcpy(large, header, sizeof(header));
        expect_end(large, sizes[i]);
    }
    if (pair_meet(&open, &open))
        pair_exchange(3, 3);
    pair_stop();
}

/* ---- peers that are not there ---- */

/* INITs from addresses that nobody has: a session stands and another one begins meanwhile. */
static void
test_flood(void)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    SamiFrameOpen open;
    guint8 packet[32];
    guint n_sent = 0;
    pair_start_pinned();
    to.sin_port = htons((guint16) listener.port);
    for (guint i = 0; i < 4 * SAMI_SCTP_PEERS_MAX; i++) {
        struct sockaddr_in from = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f010000 + i) };
        int fd = socket(AF_INET, SOCK_DGRAM, 0);
        gsize n = weather_init((guint16) listener.port, i + 1, packet);
        if (bind(fd, (struct sockaddr *) &from, sizeof(from)) == 0)
            n_sent += sendto(fd, packet, n, 0, (struct sockaddr *) &to, sizeof(to)) == (ssize_t) n;
        close(fd);
    }
    CU_ASSERT_EQUAL(n_sent, 4 * SAMI_SCTP_PEERS_MAX);
    if (pair_meet(&open, &open))
        pair_exchange(10, 10);
    pair_stop();
}

static int
open_raw(void)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((guint16) listener.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_FATAL(fd >= 0 && connect(fd, (struct sockaddr *) &to, sizeof(to)) == 0);
    return fd;
}

/* The same ports and another tag (RFC 9260 §5.2): no DTLS session goes on in that. And a peer that comes up and says nothing more. */
static void
test_restart(void)
{
    SamiFrameOpen open;
    pair_start_pinned();
    int restarting = open_raw(), silent = open_raw();
    CU_ASSERT(weather_associate(silent, (guint16) listener.port, 11));
    CU_ASSERT(weather_associate(restarting, (guint16) listener.port, 1));
    CU_ASSERT_FALSE(weather_is_aborted(restarting, 200));
    CU_ASSERT(weather_associate(restarting, (guint16) listener.port, 2));
    CU_ASSERT(weather_is_aborted(restarting, 2000));
    if (pair_meet(&open, &open))
        pair_exchange(10, 10);
    CU_ASSERT(weather_is_aborted(silent, LAB_TIMEOUT_MS));
    close(restarting);
    close(silent);
    pair_stop();
}

static void
test_ipv6(void)
{
    SamiFrameOpen server, client;
    lab_host = "[::1]";
    pair_start_pinned();
    if (pair_meet(&server, &client)) {
        CU_ASSERT(g_str_has_prefix(server.address, "[::1]:") && g_str_has_prefix(client.address, "[::1]:"));
        pair_exchange(100, 100);
    }
    pair_stop();
    lab_host = "127.0.0.1";
}

/* A peer that stands still without an end: heartbeats notice it. */
static void
test_frozen_peer(void)
{
    SamiFrameOpen open;
    pair_start_pinned();
    if (pair_meet(&open, &open)) {
        kill(connector.pid, SIGSTOP);
        g_autofree gchar *text = lab_error(at_server);
        CU_ASSERT(text && strstr(text, "answers no more"));
        kill(connector.pid, SIGCONT);
    }
    pair_stop();
}

static const SamiTest tests[] = {
    { "100000 records", test_records },
    { "100000 records in bad weather", test_bad_weather },
    { "tails in bad weather", test_tail_in_bad_weather },
    { "peer without SCTP-AUTH", test_peer_without_auth },
    { "DATA without AUTH", test_data_without_auth },
    { "wrong key", test_wrong_key },
    { "what is no DTLS record", test_no_dtls },
    { "INITs from nowhere", test_flood },
    { "restart, and a peer that only comes up", test_restart },
    { "IPv6", test_ipv6 },
    { "frozen peer", test_frozen_peer },
};

int
main(void)
{
    signal(SIGPIPE, SIG_IGN);
    return sami_test_main("transport SCTP", tests, G_N_ELEMENTS(tests), set_up, pair_tear_down);
}
