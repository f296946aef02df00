/* Listener and connector against peers that speak TLS, or not even that, and break the rules. */
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/harness.h"
#include "tests/unit/transport-pair.h"
#include "transport/address.h"
#include "transport/tls-context.h"

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
    lab_connect_timeout_s = LAB_NO_ANSWER_S;
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
    pair_stop();
    lab_connect_timeout_s = LAB_ANSWER_S;
    close(server);
}

/* The addresses of a peer are tried in their order: past one that refuses, one that never answers, and one where somebody else is. */
static void
test_next_address(void)
{
    SamiFrameOpen server, client;
    guint silent_port, other_port;
    int silent = bare_server(&silent_port), other = bare_server(&other_port);
    lab_listen(&listener, "fw2", NULL, "fw1.example=fw1", NULL);
    g_autofree gchar *good = g_strdup_printf("127.0.0.1:%u", listener.port);
    g_autofree gchar *addresses = g_strdup_printf("127.0.0.1:1,127.0.0.1:%u,127.0.0.1:%u,%s", other_port, silent_port, good);
    lab_connect(&connector, "fw1", NULL, "fw2.example=fw2", addresses);
    at_client = lab_request(&connector, "fw2.example");
    int fd = accept(other, NULL, NULL);
    CU_ASSERT_EQUAL(send(fd, "220 mail.example ESMTP\r\n", 24, MSG_NOSIGNAL), 24);
    CU_ASSERT(lab_opened(at_client, &client));
    at_server = lab_session(&listener, LAB_TIMEOUT_MS);
    CU_ASSERT(at_server && lab_opened(at_server, &server));
    CU_ASSERT_STRING_EQUAL(client.address, good);
    if (at_server)
        pair_exchange(3, 3);
    close(fd);
    pair_stop();
    /* None is good: each is named with its own reason. */
    g_autofree gchar *bad = g_strdup_printf("127.0.0.1:1,127.0.0.1:%u", other_port);
    g_autofree gchar *begin = g_strdup_printf("cannot connect to fw2.example at 127.0.0.1:1: Connection refused; at 127.0.0.1:%u: ", other_port);
    lab_connect(&connector, "fw1", NULL, "fw2.example=fw2", bad);
    at_client = lab_request(&connector, "fw2.example");
    fd = accept(other, NULL, NULL);
    CU_ASSERT_EQUAL(send(fd, "220 mail.example ESMTP\r\n", 24, MSG_NOSIGNAL), 24);
    g_autofree gchar *text = lab_error(at_client);
    CU_ASSERT(text && g_str_has_prefix(text, begin) && strstr(text, "not TLS"));
    g_clear_pointer(&at_client, sami_session_socket_free);
    at_client = lab_request(&connector, "fw2.example"); /* given up while the second waits */
    pair_stop();
    close(fd);
    close(silent);
    close(other);
}

/* ---- a bare client for the listener ---- */

typedef struct {
    int fd;
    SSL_CTX *context;
    SSL *ssl;
} Bare;

/* From this address of the loopback network. */
static int
bare_connect_from(guint32 host)
{
    struct timeval timeout = { 10, 0 };
    struct sockaddr_in own = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(host) };
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((guint16) listener.port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *) &own, sizeof(own)), 0);
    CU_ASSERT_EQUAL_FATAL(connect(fd, (struct sockaddr *) &address, sizeof(address)), 0);
    return fd;
}

static int
bare_connect(void)
{
    return bare_connect_from(INADDR_LOOPBACK);
}

/* stem NULL: without certificate. */
static gboolean
bare_open_at(Bare *bare, int fd, const gchar *stem, int max_version)
{
    bare->fd = fd;
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

static gboolean
bare_open(Bare *bare, const gchar *stem, int max_version)
{
    return bare_open_at(bare, bare_connect(), stem, max_version);
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
    pair_start_pinned();
    bare_open(&bare, NULL, TLS1_3_VERSION);
    CU_ASSERT_EQUAL(bare_reason(&bare), SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED);
    bare_close(&bare);
    CU_ASSERT_FALSE(bare_open(&bare, "fw1", TLS1_2_VERSION));
    CU_ASSERT_EQUAL(ERR_GET_REASON(ERR_peek_error()), SSL_R_TLSV1_ALERT_PROTOCOL_VERSION);
    bare_close(&bare);
    at_server = lab_session(&listener, 50);
    CU_ASSERT_PTR_NULL(at_server);
    pair_stop();
}

/* What TLS 1.3 has done away with is refused with TLS 1.2 and below, whatever they offer; with a certificate that is believed. */
static void
test_old_versions(void)
{
    static const struct {
        const gchar *ciphers;
        guint64 options;
        int version;
    } offers[] = {
        { "DEFAULT", SSL_OP_NO_EXTENDED_MASTER_SECRET, TLS1_2_VERSION },
        { "aNULL:@SECLEVEL=0", 0, TLS1_2_VERSION },
        { "eNULL:@SECLEVEL=0", 0, TLS1_2_VERSION },
        { "DEFAULT:@SECLEVEL=0", SSL_OP_ALLOW_UNSAFE_LEGACY_RENEGOTIATION, TLS1_2_VERSION },
        { "DEFAULT:@SECLEVEL=0", 0, TLS1_1_VERSION },
    };
    pair_start_pinned();
    for (guint i = 0; i < G_N_ELEMENTS(offers); i++) {
        g_autofree gchar *crt = lab_path("fw1", ".crt"), *key = lab_path("fw1", ".key");
        Bare bare = { .fd = bare_connect(), .context = SSL_CTX_new(TLS_client_method()) };
        CU_ASSERT_EQUAL(SSL_CTX_set_cipher_list(bare.context, offers[i].ciphers), 1);
        SSL_CTX_set_min_proto_version(bare.context, 0);
        SSL_CTX_set_max_proto_version(bare.context, offers[i].version);
        SSL_CTX_set_options(bare.context, offers[i].options);
        SSL_CTX_use_certificate_chain_file(bare.context, crt);
        SSL_CTX_use_PrivateKey_file(bare.context, key, SSL_FILETYPE_PEM);
        bare.ssl = SSL_new(bare.context);
        SSL_set_fd(bare.ssl, bare.fd);
        ERR_clear_error();
        CU_ASSERT_NOT_EQUAL(SSL_connect(bare.ssl), 1);
        CU_ASSERT_EQUAL(ERR_GET_REASON(ERR_peek_error()), SSL_R_TLSV1_ALERT_PROTOCOL_VERSION);
        bare_close(&bare);
    }
    at_server = lab_session(&listener, 50);
    CU_ASSERT_PTR_NULL(at_server);
    pair_stop();
}

static void
test_no_resumption(void)
{
    Bare bare;
    pair_start_pinned();
    CU_ASSERT(bare_open(&bare, "fw1", TLS1_3_VERSION));
    at_server = lab_session(&listener, LAB_TIMEOUT_MS);
    SSL_set_mode(bare.ssl, SSL_MODE_AUTO_RETRY);
    g_clear_pointer(&at_server, sami_session_socket_free);
    gchar octet;
    SSL_read(bare.ssl, &octet, 1); /* up to the end: a ticket would have been read */
    CU_ASSERT_FALSE(SSL_SESSION_is_resumable(SSL_get0_session(bare.ssl)));
    CU_ASSERT_EQUAL(SSL_SESSION_get_max_early_data(SSL_get0_session(bare.ssl)), 0);
    bare_close(&bare);
    pair_stop();
}

static void
test_garbage(void)
{
    gchar answer[64];
    SamiFrameOpen server, client;
    pair_start_pinned();
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
    if (pair_meet(&server, &client)) /* and it still serves */
        pair_exchange(3, 3);
    pair_stop();
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
    { GOOD "\0\12\0\3ABCDABCDABCD", 32, 1, FALSE, "message-length: not an IPFIX Message: version 10, length 3" },
    { GOOD GOOD "\0\11\0\20ABCDABCDABCD", 48, 2, FALSE, "message-version: not an IPFIX Message: version 9, length 16" },
    { "\0\12\0\17", 4, 0, FALSE, "message-length: not an IPFIX Message: version 10, length 15" },
    { GOOD, 16, 1, FALSE, "truncated" },
    { GOOD "\0\12\0\20ABCD", 24, 1, FALSE, "truncated" },
    { GOOD "\0\12\0\20ABCD", 24, 1, TRUE, "message-cut: " },
    { "\0", 1, 0, TRUE, "message-cut: " },
};

/* What the peer sent is no IPFIX, and it is told so: the way back is open until the state process closes it. */
static void
answer_bad_stream(Bare *bare)
{
    gchar octets[64];
    CU_ASSERT(sami_session_socket_send(at_server, SAMI_FRAME_MESSAGE, (const guint8 *) GOOD, 16, NULL));
    CU_ASSERT(sami_session_socket_send(at_server, SAMI_FRAME_CLOSE, NULL, 0, NULL));
    int n = SSL_read(bare->ssl, octets, sizeof(octets));
    CU_ASSERT(n == 16 && !memcmp(octets, GOOD, 16));
    n = SSL_read(bare->ssl, octets, sizeof(octets));
    CU_ASSERT(n == 0 && SSL_get_error(bare->ssl, n) == SSL_ERROR_ZERO_RETURN);
}

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
    gboolean is_broken = strcmp(bad->text, "truncated") == 0;
    CU_ASSERT_EQUAL(type, is_broken ? SAMI_FRAME_ERROR : SAMI_FRAME_MALFORMED);
    g_autofree gchar *text = g_strndup((const gchar *) payload, length);
    CU_ASSERT(strstr(text, bad->text) && (!is_broken || strstr(text, "fw1.example")));
    if (!is_broken)
        answer_bad_stream(&bare);
    pair_expect_end(at_server);
    g_clear_pointer(&at_server, sami_session_socket_free);
    bare_close(&bare);
}

static void
test_bad_streams(void)
{
    pair_start_pinned();
    for (guint i = 0; i < G_N_ELEMENTS(bad_streams); i++)
        run_bad_stream(&bad_streams[i]);
    pair_stop();
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
    pair_start_pinned();
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
    pair_stop();
}

/* More half-open connections than there is room for: an honest peer still gets in. */
static void
test_half_open_flood(void)
{
    int fds[SAMI_HANDSHAKES_MAX + 20];
    SamiFrameOpen server, client;
    pair_start_pinned();
    for (guint i = 0; i < G_N_ELEMENTS(fds); i++)
        fds[i] = bare_connect();
    if (pair_meet(&server, &client))
        pair_exchange(3, 3);
    for (guint i = 0; i < G_N_ELEMENTS(fds); i++)
        close(fds[i]);
    pair_stop();
}

/* From one network, while somebody elsewhere takes his time: the oldest of all is not the one that goes. */
static void
test_flood_from_one_network(void)
{
    int fds[SAMI_HANDSHAKES_MAX + 20];
    SamiFrameOpen open;
    Bare bare;
    pair_start_pinned();
    int patient = bare_connect_from(INADDR_LOOPBACK + 1);
    for (guint i = 0; i < G_N_ELEMENTS(fds); i++)
        fds[i] = bare_connect();
    gchar octet;
    CU_ASSERT_EQUAL(recv(fds[0], &octet, 1, 0), 0); /* the flood has lost one */
    CU_ASSERT(bare_open_at(&bare, patient, "fw1", TLS1_3_VERSION));
    at_server = lab_session(&listener, LAB_TIMEOUT_MS);
    CU_ASSERT(lab_opened(at_server, &open));
    bare_close(&bare);
    for (guint i = 0; i < G_N_ELEMENTS(fds); i++)
        close(fds[i]);
    pair_stop();
}

/* Whole Messages may be as far apart as they like; one that has begun ends within max-delay, or is no Message. */
static void
test_message_without_end(void)
{
    Bare bare;
    SamiFrameOpen open;
    SamiFrameType type = 0;
    guint8 *payload;
    gsize length;
    lab_limits.max_delay_ms = 300;
    pair_start_pinned();
    lab_limits.max_delay_ms = 0;
    CU_ASSERT(bare_open(&bare, "fw1", TLS1_3_VERSION));
    at_server = lab_session(&listener, LAB_TIMEOUT_MS);
    CU_ASSERT(lab_opened(at_server, &open));
    for (guint i = 0; i < 3; i++) {
        g_usleep(200 * 1000); /* together longer than that */
        CU_ASSERT_EQUAL(SSL_write(bare.ssl, GOOD, 16), 16);
        CU_ASSERT(lab_receive(at_server, &type, &payload, &length) == SAMI_RECEIVE_FRAME && type == SAMI_FRAME_MESSAGE);
    }
    for (guint i = 0; i < 15 && type == SAMI_FRAME_MESSAGE; i++) { /* an octet now and then */
        struct pollfd entry = { sami_session_socket_fd(at_server), POLLIN, 0 };
        CU_ASSERT_EQUAL(SSL_write(bare.ssl, &GOOD[i], 1), 1);
        if (poll(&entry, 1, 50) == 1)
            CU_ASSERT_EQUAL(sami_session_socket_receive(at_server, &type, &payload, &length, NULL), SAMI_RECEIVE_FRAME);
    }
    CU_ASSERT_EQUAL(type, SAMI_FRAME_MALFORMED);
    g_autofree gchar *text = type == SAMI_FRAME_MALFORMED ? g_strndup((const gchar *) payload, length) : NULL;
    CU_ASSERT(text && strstr(text, "did not end within 300 ms"));
    answer_bad_stream(&bare);
    bare_close(&bare);
    pair_stop();
}

static SamiSessionSocket *
meet_bare(Bare *bare, const gchar *stem)
{
    SamiFrameOpen open;
    CU_ASSERT(bare_open(bare, stem, TLS1_3_VERSION));
    SamiSessionSocket *session = lab_session(&listener, LAB_TIMEOUT_MS);
    CU_ASSERT(lab_opened(session, &open));
    return session;
}

/* One peer has what it may have, and some more that the state process can refuse; the next is cut, and another peer is let in. */
static void
test_share_of_a_peer(void)
{
    enum { MAX = 2, HELD = MAX + SAMI_PEER_REFUSED_MAX };
    Bare bare[HELD + 2];
    SamiSessionSocket *sessions[HELD];
    gchar octet;
    lab_issue("fw3", "fw3.example", NULL, -1, 30);
    lab_limits.sessions = MAX;
    lab_listen(&listener, "fw2", NULL, "fw1.example=fw1 fw3.example=fw3", NULL);
    lab_limits.sessions = 0;
    for (guint i = 0; i < HELD; i++)
        sessions[i] = meet_bare(&bare[i], "fw1");
    CU_ASSERT(bare_open(&bare[HELD], "fw1", TLS1_3_VERSION)); /* the client's end is done before the server's */
    CU_ASSERT_EQUAL(SSL_read(bare[HELD].ssl, &octet, 1), 0);
    at_server = meet_bare(&bare[HELD + 1], "fw3");
    for (guint i = 0; i < HELD; i++)
        sami_session_socket_free(sessions[i]);
    for (guint i = 0; i < HELD + 2; i++)
        bare_close(&bare[i]);
    pair_stop();
}

/* ---- what is no Message (transport/tls-excess.c) ---- */

#define FLOOD 2000u /* fits into the buffers of the kernel: nobody reads on */

static void
update_keys(SSL *ssl, guint n, int kind)
{
    for (guint i = 0; i < n && SSL_key_update(ssl, kind) == 1 && SSL_do_handshake(ssl) == 1; i++)
        ;
    ERR_clear_error();
}

static void
count_answers(int is_sent, int version, int type, const void *octets, size_t n, SSL *ssl, void *user_data)
{
    guint *n_answers = user_data;
    *n_answers += !is_sent && type == SSL3_RT_HANDSHAKE;
}

static void
expect_good(SamiSessionSocket *session)
{
    SamiFrameType type;
    guint8 *payload;
    gsize length;
    CU_ASSERT(lab_receive(session, &type, &payload, &length) == SAMI_RECEIVE_FRAME && type == SAMI_FRAME_MESSAGE);
}

/* A few KeyUpdates are nobody's business. With too many the session ends, and the peer's other one goes on. */
static void
test_key_updates(void)
{
    static const int kinds[] = { SSL_KEY_UPDATE_NOT_REQUESTED, SSL_KEY_UPDATE_REQUESTED };
    SamiFrameOpen server, client;
    gchar octet;
    pair_start_pinned();
    pair_meet(&server, &client);
    for (guint i = 0; i < G_N_ELEMENTS(kinds); i++) {
        guint n_answers = 0;
        Bare bare;
        SamiSessionSocket *session = meet_bare(&bare, "fw1");
        SSL_set_msg_callback(bare.ssl, count_answers);
        SSL_set_msg_callback_arg(bare.ssl, &n_answers);
        for (guint k = 0; k < SAMI_TLS_EXTRA_MAX; k += 4) {
            update_keys(bare.ssl, 4, kinds[i]);
            CU_ASSERT_EQUAL(SSL_write(bare.ssl, GOOD, 16), 16);
            expect_good(session);
        }
        update_keys(bare.ssl, FLOOD, kinds[i]);
        g_autofree gchar *text = lab_error(session);
        CU_ASSERT(text && strstr(text, "TLS: fw1.example at ") && strstr(text, "more than 32 times it has sent what is no Message"));
        while (SSL_read(bare.ssl, &octet, 1) > 0)
            ;
        CU_ASSERT_EQUAL(n_answers > 0, kinds[i] == SSL_KEY_UPDATE_REQUESTED);
        CU_ASSERT(n_answers <= SAMI_TLS_EXTRA_MAX);
        sami_session_socket_free(session);
        bare_close(&bare);
    }
    if (at_server)
        pair_exchange(20, 20);
    pair_stop();
}

/* As above, to a connector: besides, there is no end of session tickets. OpenSSL's own server gives two, and with a KeyUpdate or two it is no worse. */
static void
flood_connector(int server, gboolean is_tickets)
{
    SamiFrameOpen open;
    g_autofree gchar *crt = lab_path("fw2", ".crt"), *key = lab_path("fw2", ".key");
    Bare bare = { .context = SSL_CTX_new(TLS_server_method()) };
    SSL_CTX_use_certificate_chain_file(bare.context, crt);
    SSL_CTX_use_PrivateKey_file(bare.context, key, SSL_FILETYPE_PEM);
    SamiSessionSocket *session = lab_request(&connector, "fw2.example");
    bare.fd = accept(server, NULL, NULL);
    bare.ssl = SSL_new(bare.context);
    SSL_set_fd(bare.ssl, bare.fd);
    CU_ASSERT_EQUAL(SSL_accept(bare.ssl), 1);
    CU_ASSERT(lab_opened(session, &open));
    update_keys(bare.ssl, 2, SSL_KEY_UPDATE_REQUESTED);
    CU_ASSERT_EQUAL(SSL_write(bare.ssl, GOOD, 16), 16);
    expect_good(session);
    if (!is_tickets)
        update_keys(bare.ssl, FLOOD, SSL_KEY_UPDATE_NOT_REQUESTED);
    for (guint i = 0; is_tickets && i <= SAMI_TLS_EXTRA_MAX && SSL_new_session_ticket(bare.ssl) == 1 && SSL_do_handshake(bare.ssl) == 1; i++)
        ;
    g_autofree gchar *text = lab_error(session);
    CU_ASSERT(text && strstr(text, "TLS: fw2.example at ") && strstr(text, "more than 32 times it has sent what is no Message"));
    sami_session_socket_free(session);
    bare_close(&bare);
}

static void
test_key_updates_of_a_server(void)
{
    guint port;
    int server = bare_server(&port);
    g_autofree gchar *address = g_strdup_printf("127.0.0.1:%u", port);
    lab_connect(&connector, "fw1", NULL, "fw2.example=fw2", address);
    flood_connector(server, FALSE);
    flood_connector(server, TRUE);
    pair_stop();
    close(server);
}

/* A client and our server with nothing but memory between them. */
typedef struct {
    SamiTls *tls;
    SamiTlsVerdict verdict;
    Bare client;
    SSL *server;
    BIO *in; /* what the client has said */
} Inside;

static void
inside_open(Inside *inside)
{
    g_autoptr(GError) error = NULL;
    g_autofree gchar *crt = lab_path("fw2", ".crt"), *key = lab_path("fw2", ".key"), *peer_crt = lab_path("fw1", ".crt"), *peer_key = lab_path("fw1", ".key");
    SamiPeer peer = { .name = (gchar *) "fw1.example", .certificate_file = peer_crt };
    g_autoptr(GPtrArray) peers = g_ptr_array_new();
    g_ptr_array_add(peers, &peer);
    const SamiNetworkConfig config = { .certificate_file = crt, .key_file = key, .peers = peers };
    BIO *out = BIO_new(BIO_s_mem());
    *inside = (Inside){ .tls = sami_tls_new(&config, TRUE, &error), .client.context = SSL_CTX_new(TLS_client_method()), .in = BIO_new(BIO_s_mem()) };
    CU_ASSERT_PTR_NOT_NULL_FATAL(inside->tls);
    inside->server = sami_tls_open(inside->tls, &inside->verdict, -1, &error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(inside->server);
    SSL_CTX_use_certificate_chain_file(inside->client.context, peer_crt);
    SSL_CTX_use_PrivateKey_file(inside->client.context, peer_key, SSL_FILETYPE_PEM);
    inside->client.fd = -1;
    inside->client.ssl = SSL_new(inside->client.context);
    SSL_set_connect_state(inside->client.ssl);
    BIO_set_mem_eof_return(inside->in, -1);
    BIO_set_mem_eof_return(out, -1);
    BIO_up_ref(inside->in);
    BIO_up_ref(out);
    SSL_set_bio(inside->server, inside->in, out);
    SSL_set_bio(inside->client.ssl, out, inside->in);
}

static void
inside_close(Inside *inside)
{
    SSL_free(inside->server);
    SSL_free(inside->client.ssl);
    SSL_CTX_free(inside->client.context);
    sami_tls_verdict_clear(&inside->verdict);
    sami_tls_free(inside->tls);
    ERR_clear_error();
}

/* Whatever waits behind the limit, neither is it read from the wire nor decrypted: the call returns, and so does every other. */
static void
test_one_call_ends(void)
{
    Inside inside;
    gchar octets[16];
    gsize n;
    inside_open(&inside);
    for (guint i = 0; i < 2; i++) {
        SSL_do_handshake(inside.client.ssl);
        SSL_do_handshake(inside.server);
    }
    CU_ASSERT_FATAL(SSL_is_init_finished(inside.server) && inside.verdict.name);
    sami_tls_count_session(&inside.verdict);
    update_keys(inside.client.ssl, 20000, SSL_KEY_UPDATE_NOT_REQUESTED);
    CU_ASSERT_EQUAL(SSL_write(inside.client.ssl, GOOD, 16), 16);
    size_t n_said = BIO_ctrl_pending(inside.in);
    for (guint i = 0; i < 3; i++) {
        CU_ASSERT_EQUAL(SSL_read_ex(inside.server, octets, sizeof(octets), &n), 0);
        CU_ASSERT(inside.verdict.is_excessive && inside.verdict.reason);
        CU_ASSERT(inside.verdict.n_messages <= SAMI_TLS_EXTRA_MAX + 1 && inside.verdict.n_records <= SAMI_TLS_EXTRA_MAX + 2);
        CU_ASSERT(n_said - BIO_ctrl_pending(inside.in) <= 65536 + 1024); /* one read buffer */
    }
    inside_close(&inside);
}

/* A ClientHello, an octet a record. */
static void
test_handshake_in_crumbs(void)
{
    Inside inside;
    guint8 hello[4096];
    gsize n = 0;
    inside_open(&inside);
    SSL_set_tlsext_host_name(inside.client.ssl, "a-name-that-makes-it-longer-than-so-many-octets-as-there-may-be-records.example");
    SSL_do_handshake(inside.client.ssl);
    CU_ASSERT_FATAL(BIO_read_ex(inside.in, hello, sizeof(hello), &n) == 1 && n > 5 + SAMI_TLS_HANDSHAKE_RECORDS_MAX);
    for (gsize i = 5; i < n; i++) {
        const guint8 record[] = { hello[0], hello[1], hello[2], 0, 1, hello[i] };
        CU_ASSERT_EQUAL(BIO_write(inside.in, record, sizeof(record)), (int) sizeof(record));
        if (i == 5 + SAMI_TLS_HANDSHAKE_RECORDS_MAX / 2) {
            CU_ASSERT_EQUAL(SSL_do_handshake(inside.server), -1);
            CU_ASSERT_FALSE(inside.verdict.is_excessive);
        }
    }
    CU_ASSERT_EQUAL(SSL_do_handshake(inside.server), -1);
    CU_ASSERT(inside.verdict.is_excessive && strstr(inside.verdict.reason, "more records than any needs"));
    inside_close(&inside);
    pair_start_pinned();
    int fd = bare_connect();
    guint8 octet;
    for (gsize i = 5; i < n; i++) {
        const guint8 record[] = { hello[0], hello[1], hello[2], 0, 1, hello[i] };
        send(fd, record, sizeof(record), MSG_NOSIGNAL);
    }
    CU_ASSERT(recv(fd, &octet, 1, 0) <= 0); /* not a word of a ServerHello */
    close(fd);
    pair_stop();
}

static void
test_networks(void)
{
    static const struct {
        const gchar *a, *b;
        gboolean is_one;
    } pairs[] = {
        { "192.0.2.1:4740", "192.0.2.1:5", TRUE },
        { "192.0.2.1:4740", "192.0.2.2:4740", FALSE },
        { "[2001:db8::1]:4740", "[2001:db8::ffff:1]:5", TRUE },
        { "[2001:db8::1]:4740", "[2001:db8:0:1::1]:4740", FALSE },
        { "[fe80::1]:4740", "[2001:db8::1]:4740", FALSE },
        { "unknown", "unknown", TRUE },
        { "unknown", "192.0.2.1:4740", FALSE },
    };
    for (guint i = 0; i < G_N_ELEMENTS(pairs); i++) {
        guint8 a[SAMI_ADDRESS_NETWORK], b[SAMI_ADDRESS_NETWORK];
        sami_address_network(pairs[i].a, a);
        sami_address_network(pairs[i].b, b);
        CU_ASSERT_EQUAL(memcmp(a, b, sizeof(a)) == 0, pairs[i].is_one);
    }
}

/* ---- the process ---- */

static const SamiTest tests[] = {
    { "server is no server", test_server_is_no_server },
    { "next address", test_next_address },
    { "client without certificate or TLS 1.3", test_client_without_certificate },
    { "no resumption", test_no_resumption },
    { "garbage", test_garbage },
    { "bad streams", test_bad_streams },
    { "dribble", test_dribble },
    { "half-open flood", test_half_open_flood },
    { "half-open flood from one network", test_flood_from_one_network },
    { "old versions of TLS", test_old_versions },
    { "Message without end", test_message_without_end },
    { "share of a peer", test_share_of_a_peer },
    { "KeyUpdates", test_key_updates },
    { "KeyUpdates and tickets of a server", test_key_updates_of_a_server },
    { "one call ends", test_one_call_ends },
    { "handshake in crumbs", test_handshake_in_crumbs },
    { "networks of addresses", test_networks },
};

int
main(void)
{
    signal(SIGPIPE, SIG_IGN);
    return sami_test_main("transport bare", tests, G_N_ELEMENTS(tests), pair_set_up, pair_tear_down);
}
