/* The parts of DTLS over SCTP that need no association: the gate before OpenSSL, and the table of UDP peers. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "common/limits.h"
#include "tests/unit/harness.h"
#include "transport/dtls-gate.h"
#include "transport/sctp.h"
#include "transport/sctp-lanes.h"
#include "transport/sctp-udp.h"

static gsize
make_record(guint8 *record, guint8 type, guint epoch, guint64 number, gsize n)
{
    const guint8 head[] = { type, 0xfe, 0xfd, (guint8) (epoch >> 8), (guint8) epoch };
    memset(record, 0, SAMI_DTLS_HEADER + n);
    memcpy(record, head, sizeof(head));
    for (guint i = 0; i < 6; i++)
        record[5 + i] = (guint8) (number >> (40 - 8 * i));
    record[11] = (guint8) (n >> 8);
    record[12] = (guint8) n;
    return SAMI_DTLS_HEADER + n;
}

static gboolean
put(SamiDtlsGate *gate, guint8 type, guint epoch, guint64 number)
{
    guint8 record[64];
    return sami_dtls_gate_put(gate, record, make_record(record, type, epoch, number, 10), NULL);
}

/* The number of the next record that may go on, G_MAXUINT64 if none may; of epoch 0 with 1000000 added. */
static guint64
take(SamiDtlsGate *gate)
{
    GBytes *record = sami_dtls_gate_take(gate);
    if (!record)
        return G_MAXUINT64;
    const guint8 *octets = g_bytes_get_data(record, NULL);
    guint64 number = octets[4] == 0 ? 1000000 : 0;
    number += (guint64) octets[8] << 16 | (guint64) octets[9] << 8 | octets[10];
    g_bytes_unref(record);
    return number;
}

static void
test_in_order(void)
{
    g_autoptr(SamiDtlsGate) gate = sami_dtls_gate_new();
    CU_ASSERT(put(gate, SAMI_DTLS_HANDSHAKE, 0, 0) && put(gate, SAMI_DTLS_CCS, 0, 1));
    CU_ASSERT_EQUAL(take(gate), 1000000);
    CU_ASSERT(put(gate, SAMI_DTLS_HANDSHAKE, 1, 0));
    CU_ASSERT_EQUAL(take(gate), 1000001);
    for (guint i = 1; i < 1000; i++) {
        CU_ASSERT(put(gate, SAMI_DTLS_DATA, 1, i));
        CU_ASSERT_EQUAL(take(gate), i - 1);
    }
    CU_ASSERT_EQUAL(take(gate), 999);
    CU_ASSERT_EQUAL(take(gate), G_MAXUINT64);
    CU_ASSERT_EQUAL(sami_dtls_gate_most(gate), 2);
}

static void
test_window(void)
{
    g_autoptr(SamiDtlsGate) gate = sami_dtls_gate_new();
    for (guint i = 1; i <= 70; i++)
        CU_ASSERT(put(gate, SAMI_DTLS_DATA, 1, i));
    for (guint i = 1; i < SAMI_DTLS_WINDOW; i++) /* 64 would push 0 out of OpenSSL's window */
        CU_ASSERT_EQUAL(take(gate), i);
    CU_ASSERT_EQUAL(take(gate), G_MAXUINT64);
    CU_ASSERT(put(gate, SAMI_DTLS_HANDSHAKE, 1, 0));
    CU_ASSERT_EQUAL(take(gate), 0);
    for (guint i = SAMI_DTLS_WINDOW; i <= 70; i++)
        CU_ASSERT_EQUAL(take(gate), i);
}

static void
test_alert_waits(void)
{
    g_autoptr(SamiDtlsGate) gate = sami_dtls_gate_new();
    CU_ASSERT(put(gate, SAMI_DTLS_HANDSHAKE, 1, 0) && put(gate, SAMI_DTLS_ALERT, 1, 3) && put(gate, SAMI_DTLS_DATA, 1, 2));
    CU_ASSERT_EQUAL(take(gate), 0);
    CU_ASSERT_EQUAL(take(gate), 2);
    CU_ASSERT_EQUAL(take(gate), G_MAXUINT64);
    CU_ASSERT(put(gate, SAMI_DTLS_DATA, 1, 1));
    CU_ASSERT_EQUAL(take(gate), 1);
    CU_ASSERT_EQUAL(take(gate), 3);
}

static void
expect_fault(const guint8 *message, gsize n, const gchar *text)
{
    g_autoptr(SamiDtlsGate) gate = sami_dtls_gate_new();
    g_autoptr(GError) error = NULL;
    CU_ASSERT_FALSE(sami_dtls_gate_put(gate, message, n, &error));
    CU_ASSERT(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_MALFORMED) && strstr(error->message, text));
    CU_ASSERT_EQUAL(take(gate), G_MAXUINT64);
}

static void
test_faults(void)
{
    g_autofree guint8 *record = g_malloc(65536);
    gsize n = make_record(record, SAMI_DTLS_DATA, 1, 0, 100);
    expect_fault(record, 0, "shorter");
    expect_fault(record, 12, "shorter");
    expect_fault(record, n - 1, "not exactly one");
    expect_fault(record, n + 1, "not exactly one");
    expect_fault(record, n + make_record(record + n, SAMI_DTLS_DATA, 1, 1, 100), "not exactly one");
    expect_fault(record, make_record(record, SAMI_DTLS_DATA, 2, 0, 100), "renegotiation");
    expect_fault(record, make_record(record, 24, 1, 0, 100), "not a record");
    n = make_record(record, SAMI_DTLS_DATA, 1, 0, 100);
    record[1] = 3;
    expect_fault(record, n, "not a record");
    expect_fault(record, make_record(record, SAMI_DTLS_DATA, 1, 0, SAMI_DTLS_RECORD_MAX - SAMI_DTLS_HEADER + 1), "longer");
    g_autoptr(SamiDtlsGate) gate = sami_dtls_gate_new();
    CU_ASSERT(sami_dtls_gate_put(gate, record, make_record(record, SAMI_DTLS_DATA, 1, 0, SAMI_DTLS_RECORD_MAX - SAMI_DTLS_HEADER), NULL));
    CU_ASSERT(put(gate, SAMI_DTLS_DATA, 1, 5));
    CU_ASSERT_FALSE(put(gate, SAMI_DTLS_DATA, 1, 5));
    CU_ASSERT_FALSE(put(gate, SAMI_DTLS_DATA, 1, 0));
}

/* A peer that leaves one out: what waits is bounded. */
static void
test_bound(void)
{
    g_autoptr(SamiDtlsGate) gate = sami_dtls_gate_new();
    g_autofree guint8 *record = g_malloc(65536);
    guint i = 1;
    while (i < 100000 && sami_dtls_gate_put(gate, record, make_record(record, SAMI_DTLS_DATA, 1, i, 16384), NULL))
        i++;
    CU_ASSERT(i > 60 && (gsize) i * 16384 <= SAMI_DTLS_GATE_MAX);
    g_autoptr(SamiDtlsGate) of_short = sami_dtls_gate_new(); /* of which each takes more than it is long */
    for (i = 1; i < 100000 && sami_dtls_gate_put(of_short, record, make_record(record, SAMI_DTLS_DATA, 1, i, 25), NULL);)
        i++;
    CU_ASSERT(i > 3000 && i <= SAMI_DTLS_GATE_MAX / SAMI_DTLS_RECORD_COST);
}

/* Each of 100 000 records overtakes up to 500 others, as on many streams with losses; OpenSSL's own window never meets one that it would drop. */
static void
test_shuffled(void)
{
    enum { N = 100000, SPAN = 500 };
    g_autoptr(SamiDtlsGate) gate = sami_dtls_gate_new();
    g_autofree guint *numbers = g_new(guint, N);
    g_autofree guint8 *seen = g_new0(guint8, N);
    g_autoptr(GRand) dice = g_rand_new_with_seed(6083);
    guint n_taken = 0, n_late = 0;
    guint64 highest = 0, number;
    for (guint i = 0; i < N; i++)
        numbers[i] = i;
    for (guint i = 0; i + SPAN < N; i += SPAN)
        for (guint k = SPAN - 1; k > 0; k--) {
            guint other = (guint) g_rand_int_range(dice, 0, (gint) k + 1), kept = numbers[i + k];
            numbers[i + k] = numbers[i + other];
            numbers[i + other] = kept;
        }
    for (guint i = 0; i < N; i++) {
        CU_ASSERT_FATAL(put(gate, SAMI_DTLS_DATA, 1, numbers[i]));
        while ((number = take(gate)) != G_MAXUINT64) {
            n_late += number + SAMI_DTLS_WINDOW <= highest;
            highest = MAX(highest, number);
            n_taken += number < N && !seen[number]++;
        }
    }
    CU_ASSERT_EQUAL(n_taken, N);
    CU_ASSERT_EQUAL(n_late, 0);
    CU_ASSERT(sami_dtls_gate_most(gate) <= SPAN);
}

/* ---- UDP peers ---- */

static guint n_forgotten;

static void
on_forgotten(guint64 peer)
{
    n_forgotten++;
}

static void
test_peers(void)
{
    struct sockaddr_in6 any = { .sin6_family = AF_INET6 };
    int fd = sami_sctp_udp_open((const struct sockaddr *) &any, sizeof(any), NULL);
    if (fd < 0) {
        g_printerr("SKIP: no IPv6 here\n");
        return;
    }
    SamiSctpUdp *udp = sami_sctp_udp_new(fd, NULL, on_forgotten);
    struct sockaddr_in from = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    gchar text[SAMI_ADDRESS_TEXT];
    guint64 first = sami_sctp_udp_find(udp, (const struct sockaddr *) &from, 1000);
    guint64 held = sami_sctp_udp_find(udp, (const struct sockaddr *) &from, 1001);
    CU_ASSERT(first && held && first != held);
    CU_ASSERT(sami_sctp_udp_hold(udp, held));
    CU_ASSERT_FALSE(sami_sctp_udp_hold(udp, held));
    for (guint i = 0; i < 5 * SAMI_SCTP_PEERS_MAX; i++) {
        from.sin_addr.s_addr = htonl(0x0a000000 + i);
        CU_ASSERT(sami_sctp_udp_find(udp, (const struct sockaddr *) &from, 9899) != 0);
    }
    CU_ASSERT_EQUAL(sami_sctp_udp_n_idle(udp), SAMI_SCTP_PEERS_MAX);
    CU_ASSERT_EQUAL(sami_sctp_udp_send(udp, first, (const guint8 *) "", 0), ENOENT); /* forgotten */
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CU_ASSERT_EQUAL(sami_sctp_udp_find(udp, (const struct sockaddr *) &from, 1000), first); /* and the same again */
    sami_sctp_udp_print(udp, held, text);
    CU_ASSERT_STRING_EQUAL(text, "127.0.0.1:1001");
    CU_ASSERT_EQUAL(n_forgotten, 0);
    sami_sctp_udp_release(udp, held);
    sami_sctp_udp_release(udp, held);
    for (guint i = 0; i < SAMI_SCTP_PEERS_MAX; i++) {
        from.sin_addr.s_addr = htonl(0x0b000000 + i);
        sami_sctp_udp_find(udp, (const struct sockaddr *) &from, 9899);
    }
    CU_ASSERT_EQUAL(n_forgotten, 1);
    sami_sctp_udp_free(udp);
}

/* A datagram, and the answer to it from the very address that it was sent to. */
/* Lanes take turns, each has its own bound, and what waits comes out as it came in. */
static void
test_lanes(void)
{
    enum { MANY = 1000 };
    g_autoptr(SamiSctpLanes) lanes = sami_sctp_lanes_new();
    static const guint8 packet[20000];
    const guint8 *taken;
    guint64 peer, sum = 0;
    gsize n;
    guint n_put = 0, n_taken = 0;
    CU_ASSERT(sami_sctp_lanes_is_empty(lanes) && !sami_sctp_lanes_take(lanes, &peer, &taken, &n));
    while (n_put < MANY && !(sami_sctp_lanes_full(lanes) & 1 << 3))
        sami_sctp_lanes_put(lanes, 3, n_put++, packet, 12);
    CU_ASSERT_EQUAL(n_put, SAMI_SCTP_LANE_DATAGRAMS);
    CU_ASSERT_EQUAL(sami_sctp_lanes_full(lanes), 1 << 3);
    sami_sctp_lanes_put(lanes, 63, MANY, packet, 13);
    for (guint i = 0; i < 2; i++) /* the honest one does not wait behind the others */
        CU_ASSERT(sami_sctp_lanes_take(lanes, &peer, &taken, &n) && (peer == MANY ? n == 13 : peer == 0 && n == 12) && (sum += peer) <= MANY);
    CU_ASSERT_EQUAL(sum, MANY);
    CU_ASSERT_EQUAL(sami_sctp_lanes_full(lanes), 0);
    while (sami_sctp_lanes_take(lanes, &peer, &taken, &n))
        CU_ASSERT_EQUAL(peer, ++n_taken);
    CU_ASSERT_EQUAL(n_taken, n_put - 1);
    for (n_put = 0; n_put < MANY && !sami_sctp_lanes_full(lanes); n_put++)
        sami_sctp_lanes_put(lanes, 0, 1, packet, sizeof(packet));
    CU_ASSERT_EQUAL(n_put, SAMI_SCTP_LANE_OCTETS / sizeof(packet) + 1);
}

/* Each rank has its own room, those that are trusted always; what finds none is counted. */
static void
check_ranks(SamiSctpUdp *udp, int client, guint64 peer)
{
    static const struct {
        SamiSctpRank rank, full;
        gssize n;
    } cases[] = { { SAMI_SCTP_STRANGER, SAMI_SCTP_KNOWN, 13 }, { SAMI_SCTP_STRANGER, SAMI_SCTP_STRANGER, 0 }, { SAMI_SCTP_KNOWN, SAMI_SCTP_STRANGER, 13 },
                  { SAMI_SCTP_KNOWN, SAMI_SCTP_KNOWN, 0 },     { SAMI_SCTP_TRUSTED, SAMI_SCTP_KNOWN, 13 } };
    SamiSctpRank rank, before = SAMI_SCTP_STRANGER;
    guint8 buffer[64];
    guint lane;
    guint64 n_odd = sami_sctp_udp_dropped(udp).n_strange;
    for (guint i = 0; i < G_N_ELEMENTS(cases); before = cases[i++].rank) {
        guint64 full[SAMI_SCTP_TRUSTED] = { 0 }, from = peer;
        full[cases[i].full] = G_MAXUINT64;
        if (cases[i].rank > before && cases[i].rank == SAMI_SCTP_KNOWN)
            CU_ASSERT(sami_sctp_udp_hold(udp, peer));
        if (cases[i].rank > before && cases[i].rank == SAMI_SCTP_TRUSTED)
            sami_sctp_udp_trust(udp, peer, TRUE);
        CU_ASSERT_EQUAL(send(client, "twelve octets", 13, 0), 13);
        CU_ASSERT_EQUAL(sami_sctp_udp_receive(udp, buffer, sizeof(buffer), full, &from, &rank, &lane), cases[i].n);
        CU_ASSERT(rank == cases[i].rank && from == peer && lane < SAMI_SCTP_LANES);
    }
    sami_sctp_udp_trust(udp, peer, FALSE);
    sami_sctp_udp_release(udp, peer);
    CU_ASSERT_EQUAL(sami_sctp_udp_dropped(udp).n_lost, 2);
    CU_ASSERT_EQUAL(sami_sctp_udp_dropped(udp).n_strange, n_odd);
}

static void
round_trip(const gchar *host, int family)
{
    struct sockaddr_in6 any = { .sin6_family = AF_INET6 }, bound;
    struct sockaddr_in v4 = { .sin_family = AF_INET };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
    socklen_t length = sizeof(bound);
    guint64 peer = 0;
    const guint64 none_full[SAMI_SCTP_TRUSTED] = { 0 };
    SamiSctpRank rank;
    guint lane;
    guint8 buffer[64];
    int fd = sami_sctp_udp_open((const struct sockaddr *) &any, sizeof(any), NULL), client = socket(family, SOCK_DGRAM, 0);
    if (fd < 0 || client < 0 || getsockname(fd, (struct sockaddr *) &bound, &length) != 0)
        return;
    SamiSctpUdp *udp = sami_sctp_udp_new(fd, NULL, on_forgotten);
    v4.sin_port = v6.sin6_port = bound.sin6_port;
    inet_pton(family, host, family == AF_INET ? (void *) &v4.sin_addr : (void *) &v6.sin6_addr);
    /* Connected: an answer from another address would not be received. */
    CU_ASSERT_FATAL(connect(client, family == AF_INET ? (struct sockaddr *) &v4 : (struct sockaddr *) &v6,
                            family == AF_INET ? sizeof(v4) : sizeof(v6)) == 0);
    CU_ASSERT_EQUAL(send(client, "", 0, 0), 0);
    CU_ASSERT_EQUAL(sami_sctp_udp_receive(udp, buffer, sizeof(buffer), none_full, &peer, &rank, &lane), 0);
    CU_ASSERT_EQUAL(send(client, "twelve octets", 13, 0), 13);
    CU_ASSERT_EQUAL(sami_sctp_udp_receive(udp, buffer, sizeof(buffer), none_full, &peer, &rank, &lane), 13);
    CU_ASSERT_EQUAL(sami_sctp_udp_receive(udp, buffer, sizeof(buffer), none_full, &peer, &rank, &lane), -1);
    CU_ASSERT_EQUAL(sami_sctp_udp_send(udp, peer, (const guint8 *) "back", 4), 0);
    CU_ASSERT_EQUAL(recv(client, buffer, sizeof(buffer), MSG_DONTWAIT), 4);
    CU_ASSERT(sami_sctp_udp_mtu(udp, peer) >= 1280 - 48);
    check_ranks(udp, client, peer);
    close(client);
    sami_sctp_udp_free(udp);
}

static void
test_round_trip(void)
{
    round_trip("127.0.0.1", AF_INET);
    round_trip("127.0.0.7", AF_INET);
    round_trip("::1", AF_INET6);
}

/* ---- backends ---- */

static void
test_backends(void)
{
    g_autoptr(GError) error = NULL;
    SamiSctpConfig config = { .backend = SAMI_SCTP_USERLAND };
    gboolean has_kernel = sami_sctp_choose(SAMI_SCTP_AUTO) == SAMI_SCTP_KERNEL;
    CU_ASSERT_EQUAL(sami_sctp_backend_parse("auto"), SAMI_SCTP_AUTO);
    CU_ASSERT_EQUAL(sami_sctp_backend_parse("kernel"), SAMI_SCTP_KERNEL);
    CU_ASSERT_EQUAL(sami_sctp_backend_parse("userland"), SAMI_SCTP_USERLAND);
    CU_ASSERT_FALSE(sami_sctp_prepare(&config, NULL, &error));
    CU_ASSERT(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_CONFIG) && strstr(error->message, "SCTP over IP"));
    g_clear_error(&error);
    config = (SamiSctpConfig){ .backend = SAMI_SCTP_AUTO, .udp_port = has_kernel ? 0 : 9899 };
    CU_ASSERT(sami_sctp_prepare(&config, NULL, NULL));
    CU_ASSERT_EQUAL(config.backend, has_kernel ? SAMI_SCTP_KERNEL : SAMI_SCTP_USERLAND);
    if (has_kernel)
        return;
    config.backend = SAMI_SCTP_KERNEL;
    CU_ASSERT_FALSE(sami_sctp_prepare(&config, NULL, &error));
    CU_ASSERT(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_CONFIG) && strstr(error->message, "gives no SCTP socket"));
    g_clear_error(&error);
    CU_ASSERT_EQUAL(sami_sctp_open(&config, "127.0.0.1", "4740", &error), -1);
    CU_ASSERT(error && strstr(error->message, "SCTP socket"));
}

static const SamiTest tests[] = {
    { "records in order pass", test_in_order },
    { "the replay window", test_window },
    { "an alert waits", test_alert_waits },
    { "what is no record is refused", test_faults },
    { "what waits is bounded", test_bound },
    { "100000 records out of order", test_shuffled },
    { "UDP peers are bounded", test_peers },
    { "backends", test_backends },
    { "answers come from where was asked", test_round_trip },
    { "strangers wait in lanes", test_lanes },
};

int
main(void)
{
    return sami_test_main("SCTP parts", tests, G_N_ELEMENTS(tests), NULL, NULL);
}
