#include "tests/unit/transport-pair.h"

#include <poll.h>

#include "tests/unit/harness.h"
#include "transport/pki.h"

#define IDLE_US (60 * G_USEC_PER_SEC) /* nothing arrives for so long: stuck. An emulated machine is slow */

LabProcess listener, connector;
SamiSessionSocket *at_server, *at_client;

int
pair_set_up(void)
{
    if (!lab_open())
        return 1;
    g_autofree gchar *crt1 = lab_path("fw1", ".crt"), *key1 = lab_path("fw1", ".key");
    g_autofree gchar *crt2 = lab_path("fw2", ".crt"), *key2 = lab_path("fw2", ".key");
    if (!sami_pki_make_identity("fw1.example", crt1, key1, NULL, NULL) ||
        !sami_pki_make_identity("fw2.example", crt2, key2, NULL, NULL))
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

int
pair_tear_down(void)
{
    lab_close();
    return 0;
}

void
pair_start(const gchar *server, const gchar *server_ca, const gchar *server_peers, const gchar *client,
      const gchar *client_ca, const gchar *client_peers)
{
    lab_listen(&listener, server, server_ca, server_peers, NULL);
    g_autofree gchar *address = g_strdup_printf("%s:%u", lab_host, listener.port);
    lab_connect(&connector, client, client_ca, client_peers, address);
}

void
pair_start_pinned(void)
{
    pair_start("fw2", NULL, "fw1.example=fw1", "fw1", NULL, "fw2.example=fw2");
}

void
pair_stop(void)
{
    g_clear_pointer(&at_server, sami_session_socket_free);
    g_clear_pointer(&at_client, sami_session_socket_free);
    if (connector.pid)
        CU_ASSERT(lab_stop(&connector));
    if (listener.pid)
        CU_ASSERT(lab_stop(&listener));
}

/* Both ends of one session, both OPENs read. */
gboolean
pair_meet(SamiFrameOpen *ret_server, SamiFrameOpen *ret_client)
{
    at_client = lab_request(&connector, "fw2.example");
    gboolean is_open = lab_opened(at_client, ret_client);
    at_server = is_open ? lab_session(&listener, LAB_TIMEOUT_MS) : NULL;
    gboolean is_met = is_open && lab_opened(at_server, ret_server);
    CU_ASSERT(is_met);
    return is_met;
}

/* ---- a good session ---- */

void
pair_send_some(PairSide *side)
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

void
pair_receive_some(PairSide *side, guint n_max)
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
        if (side->is_wrong && receive == SAMI_RECEIVE_FRAME && type == SAMI_FRAME_ERROR)
            g_printerr("after %u Messages: %.*s\n", side->n_received, (int) length, payload);
    }
}

static void
poll_sides(PairSide sides[2])
{
    struct pollfd entries[2];
    for (guint i = 0; i < 2; i++)
        entries[i] = (struct pollfd){
            sami_session_socket_fd(sides[i].socket),
            (short) ((sides[i].has_closed ? 0 : POLLOUT) | (sides[i].is_closed ? 0 : POLLIN)), 0
        };
    poll(entries, 2, 100);
}

void
pair_exchange(guint n_from_client, guint n_from_server)
{
    PairSide sides[2] = { { .socket = at_client, .n_wanted = n_from_client },
                      { .socket = at_server, .n_wanted = n_from_server } };
    gint64 end = g_get_monotonic_time() + IDLE_US;
    guint n_received = 0;
    gboolean is_over = FALSE;
    for (guint i = 0; i < 2; i++)
        sides[i].message = g_malloc(SAMI_MESSAGE_MAX);
    while (!is_over && g_get_monotonic_time() < end) {
        is_over = TRUE;
        poll_sides(sides);
        for (guint i = 0; i < 2; i++) {
            pair_send_some(&sides[i]);
            pair_receive_some(&sides[i], 1000);
            is_over &= sides[i].is_wrong || (sides[i].has_closed && sides[i].is_closed);
        }
        if (sides[0].n_received + sides[1].n_received != n_received)
            end = g_get_monotonic_time() + IDLE_US;
        n_received = sides[0].n_received + sides[1].n_received;
    }
    for (guint i = 0; i < 2; i++) {
        CU_ASSERT_FALSE(sides[i].is_wrong);
        CU_ASSERT(sides[i].is_closed);
        CU_ASSERT_EQUAL(sides[i].n_received, sides[1 - i].n_wanted);
        g_free(sides[i].message);
    }
}

void
pair_expect_end(SamiSessionSocket *session)
{
    SamiFrameType type;
    guint8 *payload;
    gsize length;
    CU_ASSERT_EQUAL(lab_receive(session, &type, &payload, &length), SAMI_RECEIVE_END);
}
