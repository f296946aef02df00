/* Listener and connector against each other, and the listener against peers that break the
 * rules. */
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/harness.h"
#include "tests/unit/transport-lab.h"
#include "transport/pki.h"

static LabProcess listener, connector;
static SamiSessionSocket *at_server, *at_client;

static int
set_up(void)
{
    if (!lab_open())
        return 1;
    g_autofree gchar *crt1 = lab_path("fw1", ".crt"), *key1 = lab_path("fw1", ".key");
    g_autofree gchar *crt2 = lab_path("fw2", ".crt"), *key2 = lab_path("fw2", ".key");
    if (!sami_pki_make_identity("fw1.example", crt1, key1, NULL) ||
        !sami_pki_make_identity("fw2.example", crt2, key2, NULL))
        return 1;
    lab_issue("ca", NULL, NULL, -1, 30);
    lab_issue("rogue-ca", NULL, NULL, -1, 30);
    lab_issue("ca-fw1", "fw1.example", "ca", -1, 30);
    lab_issue("ca-fw2", "fw2.example", "ca", -1, 30);
    lab_issue("ca-fw3", "fw3.example", "ca", -1, 30);
    lab_issue("ca-wild", "*.example", "ca", -1, 30);
    lab_issue("ca-expired", "fw1.example", "ca", -30, -1);
    lab_issue("rogue-fw1", "fw1.example", "rogue-ca", -1, 30);
    lab_issue("expired", "fw1.example", NULL, -30, -1);
    lab_issue("early", "fw1.example", NULL, 1, 30);
    lab_issue("stranger", "fw1.example", NULL, -1, 30);
    return 0;
}

static int
tear_down(void)
{
    lab_close();
    return 0;
}

static void
start(const gchar *server, const gchar *server_ca, const gchar *server_peers, const gchar *client,
      const gchar *client_ca, const gchar *client_peers)
{
    lab_listen(&listener, server, server_ca, server_peers, NULL);
    g_autofree gchar *address = g_strdup_printf("127.0.0.1:%u", listener.port);
    lab_connect(&connector, client, client_ca, client_peers, address);
}

static void
start_pinned(void)
{
    start("fw2", NULL, "fw1.example=fw1", "fw1", NULL, "fw2.example=fw2");
}

static void
stop(void)
{
    g_clear_pointer(&at_server, sami_session_socket_free);
    g_clear_pointer(&at_client, sami_session_socket_free);
    if (connector.pid)
        CU_ASSERT(lab_stop(&connector));
    if (listener.pid)
        CU_ASSERT(lab_stop(&listener));
}

/* Both ends of one session, both OPENs read. */
static gboolean
meet(SamiFrameOpen *ret_server, SamiFrameOpen *ret_client)
{
    at_client = lab_request(&connector, "fw2.example");
    gboolean is_open = lab_opened(at_client, ret_client);
    at_server = is_open ? lab_session(&listener, LAB_TIMEOUT_MS) : NULL;
    gboolean is_met = is_open && lab_opened(at_server, ret_server);
    CU_ASSERT(is_met);
    return is_met;
}

/* ---- a good session ---- */

typedef struct {
    SamiSessionSocket *socket;
    guint n_sent, n_received, n_wanted;
    gboolean has_closed, is_closed, is_wrong;
    guint8 *message; /* the next one to send */
    gsize length;
} Side;

static void
send_some(Side *side)
{
    g_autoptr(GError) error = NULL;
    while (!side->has_closed && !side->is_wrong && !error) {
        gboolean is_sent;
        if (side->n_sent == side->n_wanted) {
            side->has_closed = is_sent = sami_session_socket_send(side->socket, SAMI_FRAME_CLOSE,
                                                                  NULL, 0, &error);
        } else {
            if (!side->length)
                side->length = lab_message(side->n_sent, side->message);
            is_sent = sami_session_socket_send(side->socket, SAMI_FRAME_MESSAGE, side->message,
                                               side->length, &error);
            side->n_sent += is_sent;
            side->length = is_sent ? 0 : side->length;
        }
    }
    if (error && !g_error_matches(error, SAMI_ERROR, SAMI_ERROR_FULL))
        side->is_wrong = TRUE;
}

static void
receive_some(Side *side, guint n_max)
{
    SamiFrameType type;
    guint8 *payload;
    gsize length;
    for (guint i = 0; i < n_max && !side->is_closed && !side->is_wrong; i++) {
        g_autoptr(GError) error = NULL;
        SamiReceive receive = sami_session_socket_receive(side->socket, &type, &payload, &length,
                                                          &error);
        if (receive == SAMI_RECEIVE_AGAIN)
            return;
        if (receive == SAMI_RECEIVE_FRAME && type == SAMI_FRAME_CLOSE)
            side->is_closed = TRUE;
        else if (receive == SAMI_RECEIVE_FRAME && type == SAMI_FRAME_MESSAGE &&
                 lab_is_message(side->n_received, payload, length))
            side->n_received++;
        else
            side->is_wrong = TRUE;
    }
}

static void
poll_sides(Side sides[2])
{
    struct pollfd entries[2];
    for (guint i = 0; i < 2; i++)
        entries[i] = (struct pollfd){
            sami_session_socket_fd(sides[i].socket),
            (short) ((sides[i].has_closed ? 0 : POLLOUT) | (sides[i].is_closed ? 0 : POLLIN)), 0
        };
    poll(entries, 2, 100);
}

static void
exchange(guint n_from_client, guint n_from_server)
{
    Side sides[2] = { { .socket = at_client, .n_wanted = n_from_client },
                      { .socket = at_server, .n_wanted = n_from_server } };
    gint64 end = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
    gboolean is_over = FALSE;
    for (guint i = 0; i < 2; i++)
        sides[i].message = g_malloc(SAMI_MESSAGE_MAX);
    while (!is_over && g_get_monotonic_time() < end) {
        is_over = TRUE;
        poll_sides(sides);
        for (guint i = 0; i < 2; i++) {
            send_some(&sides[i]);
            receive_some(&sides[i], 1000);
            is_over &= sides[i].is_wrong || (sides[i].has_closed && sides[i].is_closed);
        }
    }
    for (guint i = 0; i < 2; i++) {
        CU_ASSERT_FALSE(sides[i].is_wrong);
        CU_ASSERT(sides[i].is_closed);
        CU_ASSERT_EQUAL(sides[i].n_received, sides[1 - i].n_wanted);
        g_free(sides[i].message);
    }
}

static void
expect_end(SamiSessionSocket *session)
{
    SamiFrameType type;
    guint8 *payload;
    gsize length;
    CU_ASSERT_EQUAL(lab_receive(session, &type, &payload, &length), SAMI_RECEIVE_END);
}

static void
test_exchange(void)
{
    static const guint8 zero[32];
    SamiFrameOpen server, client;
    start_pinned();
    if (meet(&server, &client)) {
        g_autofree gchar *address = g_strdup_printf("127.0.0.1:%u", listener.port);
        CU_ASSERT_STRING_EQUAL(server.name, "fw1.example");
        CU_ASSERT_STRING_EQUAL(client.name, "fw2.example");
        CU_ASSERT_STRING_EQUAL(client.address, address);
        CU_ASSERT(g_str_has_prefix(server.address, "127.0.0.1:"));
        CU_ASSERT(!memcmp(server.ekm, client.ekm, 32) && memcmp(server.ekm, zero, 32));
        CU_ASSERT(server.transport == 1 && server.message_max == SAMI_MESSAGE_MAX);
        exchange(1000, 1000);
        expect_end(at_server);
        expect_end(at_client);
    }
    stop();
}

static void
test_by_ca(void)
{
    SamiFrameOpen server, client;
    start("ca-fw2", "ca", "fw3.example= fw1.example=", "ca-fw1", "ca", "fw2.example=");
    if (meet(&server, &client)) {
        CU_ASSERT_STRING_EQUAL(server.name, "fw1.example");
        exchange(10, 10);
    }
    stop();
}

static void
test_by_host_name(void)
{
    SamiFrameOpen server, client;
    lab_listen(&listener, "fw2", NULL, "fw1.example=fw1", NULL);
    g_autofree gchar *address = g_strdup_printf("localhost:%u", listener.port);
    lab_connect(&connector, "fw1", NULL, "fw2.example=fw2", address);
    if (meet(&server, &client))
        exchange(3, 3);
    stop();
}

static void
test_many_sessions(void)
{
    SamiSessionSocket *sessions[40] = { NULL };
    SamiFrameOpen open, server, client;
    start_pinned();
    for (guint i = 0; i < G_N_ELEMENTS(sessions); i++)
        sessions[i] = lab_request(&connector, "fw2.example");
    for (guint i = 0; i < G_N_ELEMENTS(sessions); i++) {
        SamiSessionSocket *other = lab_session(&listener, LAB_TIMEOUT_MS);
        CU_ASSERT(lab_opened(sessions[i], &open));
        CU_ASSERT(lab_opened(other, &open));
        sami_session_socket_free(other);
    }
    for (guint i = 0; i < G_N_ELEMENTS(sessions); i++) {
        g_autofree gchar *text = lab_error(sessions[i]);
        CU_ASSERT(text != NULL); /* the other state process went without CLOSE */
        sami_session_socket_free(sessions[i]);
    }
    if (meet(&server, &client))
        exchange(3, 3);
    stop();
}

/* The reader sleeps until nothing more goes in anywhere: pair, connector, TCP, listener, pair.
 * Then everything is still there. */
static void
test_slow_reader(void)
{
    SamiFrameOpen open;
    start_pinned();
    if (meet(&open, &open)) {
        Side sides[2] = {
            { .socket = at_client, .n_wanted = 3000, .message = g_malloc(SAMI_MESSAGE_MAX) },
            { .socket = at_server }
        };
        guint n_stuck = 0, n_before = 0;
        while (n_stuck < 5) {
            send_some(&sides[0]);
            n_stuck = sides[0].n_sent == n_before ? n_stuck + 1 : 0;
            n_before = sides[0].n_sent;
            g_usleep(100 * 1000);
        }
        CU_ASSERT(sides[0].n_sent < sides[0].n_wanted);
        for (guint i = 0;
             i < 100000 && !sides[1].is_closed && !sides[1].is_wrong && !sides[0].is_wrong; i++) {
            receive_some(&sides[1], 10);
            send_some(&sides[0]);
            g_usleep(i % 10 == 0 ? 1000 : 0);
        }
        CU_ASSERT(sides[1].is_closed && !sides[1].is_wrong);
        CU_ASSERT_EQUAL(sides[1].n_received, sides[0].n_wanted);
        g_free(sides[0].message);
    }
    stop();
}

/* What was written before CLOSE arrives although both the session and the channel close at once. */
static void
test_tail_survives_stop(void)
{
    g_autofree guint8 *message = g_malloc(SAMI_MESSAGE_MAX);
    SamiFrameOpen open;
    start_pinned();
    if (meet(&open, &open)) {
        Side side = { .socket = at_server };
        for (guint i = 0; i < 30; i++)
            CU_ASSERT(sami_session_socket_send(at_client, SAMI_FRAME_MESSAGE, message,
                                               lab_message(i, message), NULL));
        CU_ASSERT(sami_session_socket_send(at_client, SAMI_FRAME_CLOSE, NULL, 0, NULL));
        g_clear_pointer(&at_client, sami_session_socket_free);
        CU_ASSERT(lab_stop(&connector));
        for (guint i = 0; i < 1000 && !side.is_closed && !side.is_wrong; i++) {
            receive_some(&side, 100);
            g_usleep(1000);
        }
        CU_ASSERT(side.is_closed);
        CU_ASSERT_EQUAL(side.n_received, 30);
    }
    stop();
}

/* One direction closes, the other goes on. */
static void
test_half_close(void)
{
    SamiFrameOpen open;
    start_pinned();
    if (meet(&open, &open))
        exchange(0, 200);
    stop();
}

static void
test_end_without_close(void)
{
    SamiFrameOpen open;
    start_pinned();
    if (meet(&open, &open)) {
        const guint8 message[] = { 0, 10, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
        SamiFrameType type = 0;
        guint8 *payload;
        gsize length;
        CU_ASSERT(sami_session_socket_send(at_client, SAMI_FRAME_MESSAGE, message, sizeof(message),
                                           NULL));
        g_clear_pointer(&at_client, sami_session_socket_free);
        CU_ASSERT_EQUAL(lab_receive(at_server, &type, &payload, &length), SAMI_RECEIVE_FRAME);
        CU_ASSERT_EQUAL(type, SAMI_FRAME_MESSAGE);
        g_autofree gchar *text = lab_error(at_server);
        CU_ASSERT(text && strstr(text, "truncated"));
    }
    stop();
}

static void
test_wrong_frame_from_state(void)
{
    SamiFrameOpen open;
    start_pinned();
    if (meet(&open, &open)) {
        const guint8 message[] = {
            0, 10, 0, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
        }; /* Length is not the frame's */
        CU_ASSERT(sami_session_socket_send(at_client, SAMI_FRAME_MESSAGE, message, sizeof(message),
                                           NULL));
        g_autofree gchar *here = lab_error(at_client), *there = lab_error(at_server);
        CU_ASSERT(here && there);
    }
    stop();
}

static void
test_killed(void)
{
    SamiFrameOpen open;
    start_pinned();
    if (meet(&open, &open)) {
        lab_kill(&connector);
        g_autofree gchar *text = lab_error(at_server);
        CU_ASSERT(text && strstr(text, "fw1.example at 127.0.0.1:"));
        expect_end(at_client);
    }
    stop();
    start_pinned();
    if (meet(&open, &open)) {
        lab_kill(&listener);
        g_autofree gchar *text = lab_error(at_client);
        CU_ASSERT(text && strstr(text, "fw2.example at 127.0.0.1:"));
    }
    stop();
}

/* ---- refusals ---- */

typedef struct {
    const gchar *server, *server_ca, *server_peers;
    const gchar *client, *client_ca, *client_peers;
    const gchar *text; /* what the client's operator reads */
} Refusal;

static const Refusal refusals[] = {
    /* the server refuses the client, and the client learns why */
    { "fw2", NULL, "fw1.example=fw1", "stranger", NULL, "fw2.example=fw2", "unknown_ca" },
    { "fw2", NULL, "fw9.example=fw1", "fw1", NULL, "fw2.example=fw2", "bad_certificate" },
    { "fw2", NULL, "fw1.example=expired", "expired", NULL, "fw2.example=fw2",
      "certificate_expired" },
    { "fw2", NULL, "fw1.example=early", "early", NULL, "fw2.example=fw2",
      "refused our certificate" },
    { "fw2", "ca", "fw1.example=", "rogue-fw1", NULL, "fw2.example=fw2", "unknown_ca" },
    { "fw2", "ca", "fw1.example=", "ca-expired", NULL, "fw2.example=fw2", "certificate_expired" },
    { "fw2", "ca", "fw1.example=", "ca-fw3", NULL, "fw2.example=fw2", "bad_certificate" },
    { "fw2", "ca", "fw1.example=", "ca-wild", NULL, "fw2.example=fw2", "bad_certificate" },
    { "fw2", "ca", "fw1.example=fw1", "ca-fw1", NULL, "fw2.example=fw2",
      "bad_certificate" }, /* pinned means pinned */
    /* the client refuses the server */
    { "fw2", NULL, "fw1.example=fw1", "fw1", NULL, "fw2.example=stranger",
      "'fw2.example' that is pinned for no such peer" },
    { "fw1", NULL, "fw1.example=fw1", "fw1", NULL, "fw2.example=fw1",
      "pinned for fw2.example names 'fw1.example'" },
    { "ca-fw3", NULL, "fw1.example=fw1", "fw1", "ca",
      "fw2.example= fw3.example=", "presented a certificate for 'fw3.example'" },
    { "rogue-fw1", NULL, "fw1.example=fw1", "fw1", "ca", "fw2.example=", "by tls-ca" },
};

static void
test_refusals(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(refusals); i++) {
        const Refusal *r = &refusals[i];
        start(r->server, r->server_ca, r->server_peers, r->client, r->client_ca, r->client_peers);
        at_client = lab_request(&connector, "fw2.example");
        g_autofree gchar *text = lab_error(at_client);
        if (!text || !strstr(text, r->text))
            g_printerr("refusal %u: '%s' has no '%s'\n", i, text, r->text);
        CU_ASSERT(text && strstr(text, r->text));
        at_server = lab_session(&listener, 50);
        CU_ASSERT_PTR_NULL(at_server);
        stop();
    }
}

static void
test_cannot_connect(void)
{
    lab_connect(&connector, "fw1", NULL, "fw2.example=fw2", "127.0.0.1:1");
    at_client = lab_request(&connector, "fw2.example");
    g_autofree gchar *refused = lab_error(at_client);
    CU_ASSERT_STRING_EQUAL(refused,
                           "cannot connect to fw2.example at 127.0.0.1:1: Connection refused");
    g_clear_pointer(&at_client, sami_session_socket_free);
    at_client = lab_request(&connector, "fw\n9.example");
    g_autofree gchar *unknown = lab_error(at_client);
    CU_ASSERT_STRING_EQUAL(unknown, "'fw\\n9.example' is not a configured peer");
    stop();
    lab_connect(&connector, "fw1", NULL, "fw2.example=fw2", "no-such-host.invalid:1");
    at_client = lab_request(&connector, "fw2.example");
    g_autofree gchar *unresolved = lab_error(at_client);
    CU_ASSERT(
        unresolved &&
        g_str_has_prefix(unresolved, "cannot connect to fw2.example at no-such-host.invalid:1: "));
    stop();
}

/* ---- a bare server for the connector ---- */

static int
bare_server(guint *ret_port)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_FATAL(bind(fd, (struct sockaddr *) &address, length) == 0 && listen(fd, 1) == 0);
    getsockname(fd, (struct sockaddr *) &address, &length);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static void
test_server_is_no_server(void)
{
    guint port;
    int server = bare_server(&port);
    g_autofree gchar *address = g_strdup_printf("127.0.0.1:%u", port);
    lab_connect(&connector, "fw1", NULL, "fw2.example=fw2", address);
    at_client = lab_request(&connector, "fw2.example");
    int fd = accept(server, NULL, NULL);
    CU_ASSERT_EQUAL(send(fd, "220 mail.example ESMTP\r\n", 24, MSG_NOSIGNAL), 24);
    g_autofree gchar *garbage = lab_error(at_client);
    CU_ASSERT(garbage && strstr(garbage, "not TLS"));
    g_clear_pointer(&at_client, sami_session_socket_free);
    close(fd);
    at_client = lab_request(&connector,
                            "fw2.example"); /* accepted by the backlog, answered by nobody */
    g_autofree gchar *silence = lab_error(at_client);
    CU_ASSERT(silence && strstr(silence, "took too long"));
    g_clear_pointer(&at_client, sami_session_socket_free);
    at_client = lab_request(&connector, "fw2.example"); /* given up while waiting */
    stop();
    close(server);
}

/* ---- a bare client for the listener ---- */

typedef struct {
    int fd;
    SSL_CTX *context;
    SSL *ssl;
} Bare;

static int
bare_connect(void)
{
    struct timeval timeout = { 10, 0 };
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((guint16) listener.port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    CU_ASSERT_EQUAL_FATAL(connect(fd, (struct sockaddr *) &address, sizeof(address)), 0);
    return fd;
}

/* stem NULL: without certificate. */
static gboolean
bare_open(Bare *bare, const gchar *stem, int max_version)
{
    bare->fd = bare_connect();
    bare->context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_max_proto_version(bare->context, max_version);
    if (stem) {
        g_autofree gchar *crt = lab_path(stem, ".crt"), *key = lab_path(stem, ".key");
        SSL_CTX_use_certificate_chain_file(bare->context, crt);
        SSL_CTX_use_PrivateKey_file(bare->context, key, SSL_FILETYPE_PEM);
    }
    bare->ssl = SSL_new(bare->context);
    SSL_set_fd(bare->ssl, bare->fd);
    return SSL_connect(bare->ssl) == 1;
}

static void
bare_close(Bare *bare)
{
    SSL_free(bare->ssl);
    SSL_CTX_free(bare->context);
    close(bare->fd);
    ERR_clear_error();
}

/* The reason that SSL_read() fails with. */
static int
bare_reason(Bare *bare)
{
    gchar octet;
    ERR_clear_error();
    int n = SSL_read(bare->ssl, &octet, 1);
    return n > 0 ? 0 : ERR_GET_REASON(ERR_peek_error());
}

static void
test_client_without_certificate(void)
{
    Bare bare;
    start_pinned();
    bare_open(&bare, NULL, TLS1_3_VERSION);
    CU_ASSERT_EQUAL(bare_reason(&bare), SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED);
    bare_close(&bare);
    CU_ASSERT_FALSE(bare_open(&bare, "fw1", TLS1_2_VERSION));
    CU_ASSERT_EQUAL(ERR_GET_REASON(ERR_peek_error()), SSL_R_TLSV1_ALERT_PROTOCOL_VERSION);
    bare_close(&bare);
    at_server = lab_session(&listener, 50);
    CU_ASSERT_PTR_NULL(at_server);
    stop();
}

static void
test_no_resumption(void)
{
    Bare bare;
    start_pinned();
    CU_ASSERT(bare_open(&bare, "fw1", TLS1_3_VERSION));
    at_server = lab_session(&listener, LAB_TIMEOUT_MS);
    SSL_set_mode(bare.ssl, SSL_MODE_AUTO_RETRY);
    g_clear_pointer(&at_server, sami_session_socket_free);
    gchar octet;
    SSL_read(bare.ssl, &octet, 1); /* up to the end: a ticket would have been read */
    CU_ASSERT_FALSE(SSL_SESSION_is_resumable(SSL_get0_session(bare.ssl)));
    bare_close(&bare);
    stop();
}

static void
test_garbage(void)
{
    gchar answer[64];
    SamiFrameOpen server, client;
    start_pinned();
    int fds[3] = { bare_connect(), bare_connect(), bare_connect() };
    CU_ASSERT(send(fds[0], "GET / HTTP/1.0\r\n\r\n", 18, 0) == 18);
    CU_ASSERT(send(fds[1], "\0\12\0\20ABCDABCDABCDABCDABCDABCD", 28, 0) == 28);
    close(fds[2]);
    for (guint i = 0; i < 2; i++) { /* perhaps an alert, then the end, no reset */
        ssize_t n;
        while ((n = recv(fds[i], answer, sizeof(answer), 0)) > 0)
            ;
        CU_ASSERT_EQUAL(n, 0);
        close(fds[i]);
    }
    if (meet(&server, &client)) /* and it still serves */
        exchange(3, 3);
    stop();
}

typedef struct {
    const gchar *octets;
    gsize length;
    guint n_messages;     /* that come whole before the error */
    gboolean is_notified; /* the client sends close_notify */
    const gchar *text;
} BadStream;

#define GOOD "\0\12\0\20ABCDABCDABCD"
static const BadStream bad_streams[] = {
    { GOOD "\0\12\0\3ABCDABCDABCD", 32, 1, FALSE, "version 10, length 3" },
    { GOOD GOOD "\0\11\0\20ABCDABCDABCD", 48, 2, FALSE, "version 9, length 16" },
    { "\0\12\0\17", 4, 0, FALSE, "version 10, length 15" },
    { GOOD, 16, 1, FALSE, "truncated" },
    { GOOD "\0\12\0\20ABCD", 24, 1, FALSE, "truncated" },
    { GOOD "\0\12\0\20ABCD", 24, 1, TRUE, "closed within a Message" },
    { "\0", 1, 0, TRUE, "closed within a Message" },
};

static void
run_bad_stream(const BadStream *bad)
{
    Bare bare;
    SamiFrameOpen open;
    SamiFrameType type;
    guint8 *payload;
    gsize length;
    CU_ASSERT(bare_open(&bare, "fw1", TLS1_3_VERSION));
    at_server = lab_session(&listener, LAB_TIMEOUT_MS);
    CU_ASSERT(lab_opened(at_server, &open));
    CU_ASSERT_EQUAL(SSL_write(bare.ssl, bad->octets, (int) bad->length), (int) bad->length);
    if (bad->is_notified)
        SSL_shutdown(bare.ssl);
    else if (strstr(bad->text, "truncated"))
        shutdown(bare.fd, SHUT_WR);
    for (guint i = 0; i < bad->n_messages; i++) {
        CU_ASSERT_EQUAL(lab_receive(at_server, &type, &payload, &length), SAMI_RECEIVE_FRAME);
        CU_ASSERT(type == SAMI_FRAME_MESSAGE && length == 16 && !memcmp(payload, GOOD, 16));
    }
    CU_ASSERT_EQUAL(lab_receive(at_server, &type, &payload, &length), SAMI_RECEIVE_FRAME);
    CU_ASSERT_EQUAL(type, SAMI_FRAME_ERROR);
    g_autofree gchar *text = g_strndup((const gchar *) payload, length);
    CU_ASSERT(strstr(text, bad->text) && strstr(text, "fw1.example"));
    expect_end(at_server);
    g_clear_pointer(&at_server, sami_session_socket_free);
    bare_close(&bare);
}

static void
test_bad_streams(void)
{
    start_pinned();
    for (guint i = 0; i < G_N_ELEMENTS(bad_streams); i++)
        run_bad_stream(&bad_streams[i]);
    stop();
}

/* One octet a record, one Message in many. */
static void
test_dribble(void)
{
    Bare bare;
    SamiFrameOpen open;
    SamiFrameType type;
    guint8 *payload;
    gsize length;
    start_pinned();
    CU_ASSERT(bare_open(&bare, "fw1", TLS1_3_VERSION));
    at_server = lab_session(&listener, LAB_TIMEOUT_MS);
    CU_ASSERT(lab_opened(at_server, &open));
    for (guint i = 0; i < 48; i++)
        CU_ASSERT_EQUAL(SSL_write(bare.ssl, (GOOD GOOD GOOD) + i, 1), 1);
    SSL_shutdown(bare.ssl);
    for (guint i = 0; i < 3; i++)
        CU_ASSERT(lab_receive(at_server, &type, &payload, &length) == SAMI_RECEIVE_FRAME &&
                  type == SAMI_FRAME_MESSAGE);
    CU_ASSERT(lab_receive(at_server, &type, &payload, &length) == SAMI_RECEIVE_FRAME &&
              type == SAMI_FRAME_CLOSE);
    bare_close(&bare);
    stop();
}

/* More half-open connections than there is room for: an honest peer still gets in. */
static void
test_half_open_flood(void)
{
    int fds[SAMI_HANDSHAKES_MAX + 20];
    SamiFrameOpen server, client;
    start_pinned();
    for (guint i = 0; i < G_N_ELEMENTS(fds); i++)
        fds[i] = bare_connect();
    if (meet(&server, &client))
        exchange(3, 3);
    for (guint i = 0; i < G_N_ELEMENTS(fds); i++)
        close(fds[i]);
    stop();
}

/* ---- the process ---- */

static gboolean
status_has(pid_t pid, const gchar *line)
{
    g_autofree gchar *path = g_strdup_printf("/proc/%d/status", (int) pid), *text = NULL;
    return g_file_get_contents(path, &text, NULL, NULL) && strstr(text, line);
}

static void
test_privileges(void)
{
    SamiFrameOpen server, client;
    if (geteuid() != 0) {
        g_printerr("SKIP: dropping privileges needs root\n");
        return;
    }
    lab_listen(&listener, "fw2", NULL, "fw1.example=fw1", "nobody");
    g_autofree gchar *address = g_strdup_printf("127.0.0.1:%u", listener.port);
    lab_connect(&connector, "fw1", NULL, "fw2.example=fw2", address);
    if (meet(&server, &client)) {
        CU_ASSERT(status_has(listener.pid, "CapEff:\t0000000000000000"));
        CU_ASSERT(status_has(listener.pid, "CapPrm:\t0000000000000000"));
        CU_ASSERT(status_has(listener.pid, "CapBnd:\t0000000000000000"));
        CU_ASSERT(status_has(listener.pid, "NoNewPrivs:\t1"));
        CU_ASSERT_FALSE(status_has(listener.pid, "Uid:\t0"));
        CU_ASSERT(status_has(connector.pid, "NoNewPrivs:\t1"));
        exchange(100, 100);
    }
    stop();
    lab_listen(&listener, "fw2", NULL, "fw1.example=fw1", "no-such-user");
    CU_ASSERT_FALSE(lab_stop(&listener));
    lab_listen(&listener, "fw2", NULL, "fw1.example=fw1", "root");
    CU_ASSERT_FALSE(lab_stop(&listener));
    lab_listen(&listener, "fw2", NULL, "fw1.example=nowhere", NULL);
    CU_ASSERT_FALSE(lab_stop(&listener));
}

static void
test_reload(void)
{
    SamiFrameOpen server, client;
    lab_issue("changing", "fw1.example", NULL, -1, 30);
    start("fw2", NULL, "fw1.example=changing", "fw1", NULL, "fw2.example=fw2");
    at_client = lab_request(&connector, "fw2.example");
    g_autofree gchar *text = lab_error(at_client);
    CU_ASSERT(text && strstr(text, "unknown_ca"));
    g_clear_pointer(&at_client, sami_session_socket_free);
    g_autofree gchar *from = lab_path("fw1", ".crt"), *to = lab_path("changing", ".crt"),
                     *pem = NULL;
    CU_ASSERT(g_file_get_contents(from, &pem, NULL, NULL) &&
              g_file_set_contents(to, pem, -1, NULL));
    CU_ASSERT(sami_channel_send(listener.channel, SAMI_CHANNEL_RELOAD, 0, NULL, -1, NULL));
    g_usleep(100 * 1000); /* nothing tells when it was read */
    if (meet(&server, &client))
        exchange(3, 3);
    stop();
}

/* SIGTERM ends the process once the standing sessions have ended, and takes no new ones. */
static void
test_sigterm(void)
{
    SamiFrameOpen server, client;
    start_pinned();
    if (meet(&server, &client)) {
        kill(listener.pid, SIGTERM);
        kill(connector.pid, SIGTERM);
        exchange(100, 100);
    }
    stop();
}

static const SamiTest tests[] = {
    { "1000 Messages each way", test_exchange },
    { "certificates of a CA", test_by_ca },
    { "host name", test_by_host_name },
    { "many sessions", test_many_sessions },
    { "slow reader", test_slow_reader },
    { "tail survives stop", test_tail_survives_stop },
    { "half close", test_half_close },
    { "end without CLOSE", test_end_without_close },
    { "wrong frame from the state process", test_wrong_frame_from_state },
    { "killed peer", test_killed },
    { "refused certificates", test_refusals },
    { "cannot connect", test_cannot_connect },
    { "server is no server", test_server_is_no_server },
    { "client without certificate or TLS 1.3", test_client_without_certificate },
    { "no resumption", test_no_resumption },
    { "garbage", test_garbage },
    { "bad streams", test_bad_streams },
    { "dribble", test_dribble },
    { "half-open flood", test_half_open_flood },
    { "privileges", test_privileges },
    { "reload", test_reload },
    { "SIGTERM", test_sigterm },
};

int
main(void)
{
    signal(SIGPIPE, SIG_IGN);
    return sami_test_main("transport TLS", tests, G_N_ELEMENTS(tests), set_up, tear_down);
}
