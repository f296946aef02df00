/* Listener and connector against each other, over either transport. */
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/harness.h"
#include "tests/unit/transport-pair.h"
#include "transport/reload.h"

static void
test_exchange(void)
{
    static const guint8 zero[32];
    SamiFrameOpen server, client;
    pair_start_pinned();
    if (pair_meet(&server, &client)) {
        g_autofree gchar *address = g_strdup_printf("127.0.0.1:%u", listener.port);
        CU_ASSERT_STRING_EQUAL(server.name, "fw1.example");
        CU_ASSERT_STRING_EQUAL(client.name, "fw2.example");
        CU_ASSERT_STRING_EQUAL(client.address, address);
        CU_ASSERT(g_str_has_prefix(server.address, "127.0.0.1:"));
        CU_ASSERT(!memcmp(server.ekm, client.ekm, 32) && memcmp(server.ekm, zero, 32));
        CU_ASSERT(server.transport == (lab_is_sctp ? 2 : 1) && server.message_max == lab_message_max());
        CU_ASSERT(client.transport == server.transport && client.message_max == server.message_max);
        pair_exchange(1000, 1000);
        pair_expect_end(at_server);
        pair_expect_end(at_client);
    }
    pair_stop();
}

static void
test_by_ca(void)
{
    SamiFrameOpen server, client;
    pair_start("ca-fw2", "ca", "fw3.example= fw1.example=", "ca-fw1", "ca", "fw2.example=");
    if (pair_meet(&server, &client)) {
        CU_ASSERT_STRING_EQUAL(server.name, "fw1.example");
        pair_exchange(10, 10);
    }
    pair_stop();
}

static void
test_by_host_name(void)
{
    SamiFrameOpen server, client;
    lab_listen(&listener, "fw2", NULL, "fw1.example=fw1", NULL);
    g_autofree gchar *address = g_strdup_printf("localhost:%u", listener.port);
    lab_connect(&connector, "fw1", NULL, "fw2.example=fw2", address);
    if (pair_meet(&server, &client))
        pair_exchange(3, 3);
    pair_stop();
}

static void
test_many_sessions(void)
{
    SamiSessionSocket *sessions[40] = { NULL };
    SamiFrameOpen open, server, client;
    pair_start_pinned();
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
    if (pair_meet(&server, &client))
        pair_exchange(3, 3);
    pair_stop();
}

/* The reader sleeps until nothing more goes in anywhere: pair, connector, TCP, listener, pair.
 * Then everything is still there. */
static void
test_slow_reader(void)
{
    SamiFrameOpen open;
    pair_start_pinned();
    if (pair_meet(&open, &open)) {
        PairSide sides[2] = {
            { .socket = at_client, .n_wanted = 3000, .message = g_malloc(SAMI_MESSAGE_MAX) },
            { .socket = at_server }
        };
        guint n_stuck = 0, n_before = 0;
        while (n_stuck < 5) {
            pair_send_some(&sides[0]);
            n_stuck = sides[0].n_sent == n_before ? n_stuck + 1 : 0;
            n_before = sides[0].n_sent;
            g_usleep(100 * 1000);
        }
        CU_ASSERT(sides[0].n_sent < sides[0].n_wanted);
        for (guint i = 0;
             i < 100000 && !sides[1].is_closed && !sides[1].is_wrong && !sides[0].is_wrong; i++) {
            pair_receive_some(&sides[1], 10);
            pair_send_some(&sides[0]);
            g_usleep(i % 10 == 0 ? 1000 : 0);
        }
        CU_ASSERT(sides[1].is_closed && !sides[1].is_wrong);
        CU_ASSERT_EQUAL(sides[1].n_received, sides[0].n_wanted);
        g_free(sides[0].message);
    }
    pair_stop();
}

/* What was written before CLOSE arrives although both the session and the channel close at once. */
static void
test_tail_survives_stop(void)
{
    g_autofree guint8 *message = g_malloc(SAMI_MESSAGE_MAX);
    SamiFrameOpen open;
    pair_start_pinned();
    if (pair_meet(&open, &open)) {
        PairSide side = { .socket = at_server };
        for (guint i = 0; i < 30; i++)
            CU_ASSERT(sami_session_socket_send(at_client, SAMI_FRAME_MESSAGE, message,
                                               lab_message(i, message), NULL));
        CU_ASSERT(sami_session_socket_send(at_client, SAMI_FRAME_CLOSE, NULL, 0, NULL));
        g_clear_pointer(&at_client, sami_session_socket_free);
        CU_ASSERT(lab_stop(&connector));
        for (guint i = 0; i < 1000 && !side.is_closed && !side.is_wrong; i++) {
            pair_receive_some(&side, 100);
            g_usleep(1000);
        }
        CU_ASSERT(side.is_closed);
        CU_ASSERT_EQUAL(side.n_received, 30);
    }
    pair_stop();
}

/* One direction closes, the other goes on. */
static void
test_half_close(void)
{
    SamiFrameOpen open;
    pair_start_pinned();
    if (pair_meet(&open, &open))
        pair_exchange(0, 200);
    pair_stop();
}

static void
test_end_without_close(void)
{
    SamiFrameOpen open;
    pair_start_pinned();
    if (pair_meet(&open, &open)) {
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
    pair_stop();
}

static void
test_wrong_frame_from_state(void)
{
    SamiFrameOpen open;
    pair_start_pinned();
    if (pair_meet(&open, &open)) {
        const guint8 message[] = {
            0, 10, 0, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
        }; /* Length is not the frame's */
        CU_ASSERT(sami_session_socket_send(at_client, SAMI_FRAME_MESSAGE, message, sizeof(message),
                                           NULL));
        g_autofree gchar *here = lab_error(at_client), *there = lab_error(at_server);
        CU_ASSERT(here && there);
    }
    pair_stop();
}

static void
test_killed(void)
{
    SamiFrameOpen open;
    pair_start_pinned();
    if (pair_meet(&open, &open)) {
        lab_kill(&connector);
        g_autofree gchar *text = lab_error(at_server);
        CU_ASSERT(text && strstr(text, "fw1.example at 127.0.0.1:"));
        pair_expect_end(at_client);
    }
    pair_stop();
    pair_start_pinned();
    if (pair_meet(&open, &open)) {
        lab_kill(&listener);
        g_autofree gchar *text = lab_error(at_client);
        CU_ASSERT(text && strstr(text, "fw2.example at 127.0.0.1:"));
    }
    pair_stop();
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
        pair_start(r->server, r->server_ca, r->server_peers, r->client, r->client_ca, r->client_peers);
        at_client = lab_request(&connector, "fw2.example");
        g_autofree gchar *text = lab_error(at_client);
        if (!text || !strstr(text, r->text))
            g_printerr("refusal %u: '%s' has no '%s'\n", i, text ? text : "", r->text);
        CU_ASSERT(text && strstr(text, r->text));
        at_server = lab_session(&listener, 50);
        CU_ASSERT_PTR_NULL(at_server);
        pair_stop();
    }
}

static void
test_cannot_connect(void)
{
    lab_connect_timeout_s = LAB_NO_ANSWER_S;
    lab_connect(&connector, "fw1", NULL, "fw2.example=fw2", "127.0.0.1:1");
    at_client = lab_request(&connector, "fw2.example");
    g_autofree gchar *refused = lab_error(at_client);
    g_autofree gchar *expected = g_strdup_printf("cannot connect to fw2.example at 127.0.0.1:1: %s",
                                                 !lab_is_sctp                           ? "Connection refused"
                                                 : lab_sctp.backend == SAMI_SCTP_KERNEL ? "the peer refused the association"
                                                                                        : "no answer in time");
    CU_ASSERT_STRING_EQUAL(refused, expected);
    g_clear_pointer(&at_client, sami_session_socket_free);
    at_client = lab_request(&connector, "fw\n9.example");
    g_autofree gchar *unknown = lab_error(at_client);
    CU_ASSERT_STRING_EQUAL(unknown, "'fw\\n9.example' is not a configured peer");
    pair_stop();
    lab_connect(&connector, "fw1", NULL, "fw2.example=fw2", "no-such-host.invalid:1");
    at_client = lab_request(&connector, "fw2.example");
    g_autofree gchar *unresolved = lab_error(at_client);
    CU_ASSERT(
        unresolved &&
        g_str_has_prefix(unresolved, "cannot connect to fw2.example at no-such-host.invalid:1: "));
    pair_stop();
    lab_connect_timeout_s = LAB_ANSWER_S;
}

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
    if (pair_meet(&server, &client)) {
        CU_ASSERT(status_has(listener.pid, "CapEff:\t0000000000000000"));
        CU_ASSERT(status_has(listener.pid, "CapPrm:\t0000000000000000"));
        CU_ASSERT(status_has(listener.pid, "CapBnd:\t0000000000000000"));
        CU_ASSERT(status_has(listener.pid, "NoNewPrivs:\t1"));
        CU_ASSERT_FALSE(status_has(listener.pid, "Uid:\t0"));
        CU_ASSERT(status_has(connector.pid, "NoNewPrivs:\t1"));
        pair_exchange(100, 100);
    }
    pair_stop();
    lab_listen(&listener, "fw2", NULL, "fw1.example=fw1", "no-such-user");
    CU_ASSERT_FALSE(lab_stop(&listener));
    lab_listen(&listener, "fw2", NULL, "fw1.example=fw1", "root");
    CU_ASSERT_FALSE(lab_stop(&listener));
    lab_listen(&listener, "fw2", NULL, "fw1.example=nowhere", NULL);
    CU_ASSERT_FALSE(lab_stop(&listener));
}

static void
bring(const SamiPeer *peer, gchar *ca_file)
{
    g_autoptr(GPtrArray) peers = g_ptr_array_new();
    g_autoptr(GError) error = NULL;
    g_ptr_array_add(peers, (gpointer) peer);
    const SamiNetworkConfig config = { .peers = peers, .ca_file = ca_file };
    int fd = sami_reload_write(&config, &error);
    CU_ASSERT(fd >= 0 && sami_channel_send(listener.channel, SAMI_CHANNEL_RELOAD, 0, NULL, fd, NULL));
    close(fd);
    g_usleep(100 * 1000); /* nothing tells when it was read */
}

static void
expect_unknown(void)
{
    at_client = lab_request(&connector, "fw2.example");
    g_autofree gchar *text = lab_error(at_client);
    CU_ASSERT(text && strstr(text, "unknown_ca"));
    g_clear_pointer(&at_client, sami_session_socket_free);
}

/* A session that stands ends at both ends, and says why where the reload was. One that the peer has half closed is no other. */
static void
meet_and_cut(const SamiPeer *peer, gchar *ca_file, gboolean is_half_closed)
{
    SamiFrameOpen server, client;
    g_clear_pointer(&at_client, sami_session_socket_free);
    g_clear_pointer(&at_server, sami_session_socket_free);
    if (!pair_meet(&server, &client))
        return;
    if (is_half_closed) {
        SamiFrameType type;
        guint8 *payload;
        gsize length;
        CU_ASSERT(sami_session_socket_send(at_client, SAMI_FRAME_CLOSE, NULL, 0, NULL));
        CU_ASSERT(lab_receive(at_server, &type, &payload, &length) == SAMI_RECEIVE_FRAME && type == SAMI_FRAME_CLOSE);
    }
    bring(peer, ca_file);
    g_autofree gchar *here = lab_error(at_server), *there = lab_error(at_client);
    CU_ASSERT(here && strstr(here, "TLS: fw1.example at ") && strstr(here, "not believed any more since a reload"));
    CU_ASSERT_PTR_NOT_NULL(there);
    g_clear_pointer(&at_client, sami_session_socket_free);
    g_clear_pointer(&at_server, sami_session_socket_free);
}

/* Peers, certificates and the CA bundle come with RELOAD: a sandboxed process reads no file. What stands is judged by them, too. */
static void
test_reload_brought(void)
{
    SamiFrameOpen server, client;
    const SamiPeer by_ca = { .name = (gchar *) "fw1.example" };
    SamiPeer pinned = by_ca;
    g_autofree gchar *ca = lab_path("ca", ".crt"), *rogue = lab_path("rogue-ca", ".crt"), *own = lab_path("ca-fw1", ".crt"), *other = lab_path("fw1", ".crt");
    pair_start("fw2", "rogue-ca", "fw1.example=", "ca-fw1", NULL, "fw2.example=fw2");
    expect_unknown();
    bring(&by_ca, ca);
    if (pair_meet(&server, &client)) {
        bring(&by_ca, ca);
        pair_exchange(3, 3);
    }
    meet_and_cut(&by_ca, rogue, FALSE);
    bring(&by_ca, ca);
    pinned.certificate_file = other;
    meet_and_cut(&pinned, NULL, FALSE);
    expect_unknown();
    pinned.certificate_file = own;
    bring(&pinned, NULL);
    if (pair_meet(&server, &client)) {
        bring(&pinned, ca);
        pair_exchange(3, 3);
    }
    pinned.name = (gchar *) "fw3.example"; /* so nobody is fw1.example */
    meet_and_cut(&pinned, NULL, FALSE);
    pinned.name = by_ca.name;
    bring(&pinned, NULL);
    pinned.name = (gchar *) "fw3.example";
    meet_and_cut(&pinned, NULL, TRUE);
    pair_stop();
}

/* SIGTERM ends the process once the standing sessions have ended, and takes no new ones. */
static void
test_sigterm(void)
{
    SamiFrameOpen server, client;
    pair_start_pinned();
    if (pair_meet(&server, &client)) {
        kill(listener.pid, SIGTERM);
        kill(connector.pid, SIGTERM);
        pair_exchange(100, 100);
    }
    pair_stop();
}

const SamiTest transport_cases[] = {
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
    { "a reload that brings peers", test_reload_brought },
    { "privileges", test_privileges },
    { "SIGTERM", test_sigterm },
};

const guint n_transport_cases = G_N_ELEMENTS(transport_cases);
