/* Captures of SCTP, native and inside of UDP. */
#include <netinet/in.h>

#include "tests/unit/capture-check.h"

static const Ends out = { 4, 1, 2, 40000, 4739 }, back = { 4, 2, 1, 4739, 40000 };
static Frames frames;

#define WHOLE (DATA_B | DATA_E)
#define TSN 0xfffffffdu /* numbers wrap in what follows */
#define TAG 0x11223344u
#define BACK_TAG 0x55667788u

static void
send_chunks(GByteArray *chunks)
{
    frames_add_ip(&frames, &out, IPPROTO_SCTP, frames_sctp(&out, TAG, chunks));
}

static void
answer(GByteArray *chunks)
{
    frames_add_ip(&frames, &back, IPPROTO_SCTP, frames_sctp(&back, BACK_TAG, chunks));
}

static void
begin(void)
{
    frames_begin(&frames, DLT_EN10MB, FALSE);
    frames_add_ip(&frames, &out, IPPROTO_SCTP, frames_sctp(&out, 0, frames_init(FALSE, BACK_TAG, TSN)));
    answer(frames_init(TRUE, TAG, 500));
}

static GByteArray *
whole(guint n, guint16 stream, guint16 ssn)
{
    return frames_data(WHOLE, TSN + n, stream, ssn, frames_message(n, 101 + n));
}

static void
sack(guint32 tsn)
{
    g_autoptr(GByteArray) body = frames_octets("\0\0\0\0\0\1\0\0\0\0\0\0", 12);
    for (guint i = 0; i < 4; i++)
        body->data[i] = (guint8) (tsn >> (24 - 8 * i));
    answer(frames_chunk(3, 0, g_byte_array_ref(body)));
}

static void
test_whole(void)
{
    g_auto(Reading) reading = { 0 };
    begin();
    send_chunks(frames_join(whole(0, 0, 0), whole(1, 3, 0)));
    answer(frames_data(WHOLE, 500, 0, 0, frames_message(50, 60)));
    send_chunks(whole(2, 3, 1));
    send_chunks(whole(2, 3, 1)); /* a copy */
    send_chunks(frames_join(whole(3, 0, 1), whole(4, 3, 2)));
    expect_reading(&frames, NULL, "0:0 0:1 1:50 0:2 0:3 0:4", NULL, &reading);
    CU_ASSERT_EQUAL(reading.carrier, SAMI_CARRIER_SCTP);
    CU_ASSERT_EQUAL(reading.sctp_stream, 3);
    CU_ASSERT_EQUAL(reading.offset, frames.last_at);
    CU_ASSERT_EQUAL(reading.counts.n_other, 0);
    frames_clear(&frames);
}

static void
test_fragments(void)
{
    g_autoptr(GByteArray) large = frames_message(7, 60000);
    begin();
    for (guint i = 60; i-- > 0;) /* the last one first */
        send_chunks(frames_data((i == 0 ? DATA_B : 0) | (i == 59 ? DATA_E : 0), TSN + i, 0, 0, frames_part(large, i * 1000, i * 1000 + 1000)));
    expect(&frames, "0:7", NULL);
    frames_clear(&frames);
}

static void
test_order(void)
{
    begin();
    send_chunks(whole(2, 1, 0));
    send_chunks(whole(1, 0, 1));
    send_chunks(whole(0, 0, 0));
    send_chunks(frames_data(WHOLE, TSN + 3, 0, 3, frames_message(3, 100))); /* numbered in another order than sent */
    send_chunks(frames_data(WHOLE | DATA_U, TSN + 4, 0, 0, frames_message(4, 100)));
    send_chunks(frames_data(WHOLE, TSN + 5, 0, 2, frames_message(5, 100)));
    expect(&frames, "0:0 0:1 0:2 0:4 0:5 0:3", NULL);
    frames_clear(&frames);
}

static void
test_loss(void)
{
    begin();
    send_chunks(whole(0, 0, 0));
    send_chunks(frames_data(DATA_B, TSN + 1, 0, 1, frames_octets("abc", 3)));
    send_chunks(frames_data(DATA_E, TSN + 3, 0, 1, frames_octets("def", 3)));
    send_chunks(whole(4, 0, 3));
    sack(TSN + 3);
    send_chunks(whole(5, 0, 4));
    expect(&frames, "0:0 0! 0:4 0:5", "1 DATA chunks are not in the capture");
    frames_clear(&frames);

    begin(); /* FORWARD-TSN */
    send_chunks(whole(0, 0, 0));
    send_chunks(whole(3, 0, 2));
    GByteArray *body = frames_octets("\0\0\0\0", 4);
    g_assert(TSN + 2 == 0xffffffffu);
    for (guint i = 0; i < 4; i++)
        body->data[i] = 0xff;
    send_chunks(frames_chunk(192, 0, body));
    expect(&frames, "0:0 0! 0:3", "2 DATA chunks were abandoned by their sender");
    frames_clear(&frames);
}

static void
test_inside(void)
{
    frames_begin(&frames, DLT_EN10MB, FALSE);
    send_chunks(frames_data(DATA_E, TSN, 0, 7, frames_octets("abc", 3)));
    send_chunks(whole(1, 0, 8));
    frames_add_ip(&frames, &out, IPPROTO_SCTP, frames_sctp(&out, 99, frames_data(WHOLE, 1, 0, 0, frames_message(70, 70)))); /* of another association */
    expect(&frames, "0! 0:1 0x 1:70", "the capture does not have its beginning (RFC 9260 §6.9)");
    frames_clear(&frames);
}

static void
test_ends(void)
{
    begin();
    send_chunks(whole(0, 0, 0));
    frames_add_ip(&frames, &out, IPPROTO_SCTP, frames_sctp(&out, 0x99999999u, frames_chunk(6, 0, g_byte_array_new()))); /* with a wrong tag */
    send_chunks(whole(1, 0, 1));
    answer(frames_data(WHOLE, 500, 0, 0, frames_message(50, 60)));
    answer(frames_chunk(6, 0, g_byte_array_new()));
    send_chunks(whole(2, 0, 2));
    frames_add_ip(&frames, &out, IPPROTO_SCTP, frames_sctp(&out, 0, frames_init(FALSE, 8, 1))); /* again */
    frames_add_ip(&frames, &out, IPPROTO_SCTP, frames_sctp(&out, 9, frames_data(WHOLE, 1, 0, 0, frames_message(60, 60))));
    frames_add_ip(&frames, &out, IPPROTO_SCTP, frames_sctp(&out, 0, frames_init(FALSE, 10, 1))); /* and without an end before */
    frames_add_ip(&frames, &out, IPPROTO_SCTP, frames_sctp(&out, 11, frames_data(WHOLE, 1, 0, 0, frames_message(61, 60))));
    frames_add_ip(&frames, &out, IPPROTO_SCTP, frames_sctp(&out, 11, frames_chunk(14, 0, g_byte_array_new())));
    expect(&frames, "0:0 0:1 1:50 0x 1x 2:60 2x 3:61 3x", NULL);
    frames_clear(&frames);
}

static void
test_no_message(void)
{
    begin();
    send_chunks(frames_data(WHOLE, TSN, 0, 0, frames_join(frames_message(1, 60), frames_message(2, 60))));
    send_chunks(frames_data(WHOLE, TSN + 1, 0, 1, frames_octets("abc", 3)));
    send_chunks(frames_chunk(64, WHOLE, frames_octets("0123456789abcdef0123", 20)));
    send_chunks(frames_data(DATA_B, TSN + 2, 0, 2, frames_octets("abc", 3)));
    send_chunks(frames_data(WHOLE, TSN + 3, 0, 2, frames_message(3, 60)));
    frames_add(&frames, frames_ether(0, frames_ip(&out, IPPROTO_SCTP, frames_sctp(&out, TAG, whole(4, 0, 3)))), 20);
    send_chunks(whole(5, 0, 4));
    expect(&frames, "0! 0! 0! 0! 0:3 0! 0:5",
           "a user message of 120 octets is not one Message: version 10, Length 60|a user message of 3 octets|I-DATA|it has no end|in part only");
    frames_clear(&frames);
}

static void
test_dtls(void)
{
    begin();
    for (guint i = 0; i < 3; i++)
        send_chunks(frames_data(WHOLE, TSN + i, 0, (guint16) i, frames_octets("\26\376\375 a DTLS record would stand here", 33)));
    expect(&frames, "0!", "this association is DTLS (RFC 6083)");
    frames_clear(&frames);
}

static void
add_inside_udp(const Ends *udp, const Ends *sctp, guint number)
{
    GByteArray *chunk = frames_data(WHOLE, number, 0, (guint16) number, frames_message(number, 100));
    frames_add_ip(&frames, udp, IPPROTO_UDP, frames_udp(udp, frames_sctp(sctp, TAG, chunk)));
}

static void
test_inside_udp(void)
{
    const Ends udp = { 4, 1, 2, 33333, 9899 }, other = { 4, 1, 2, 33333, 44444 }, elsewhere = { 6, 1, 2, 5, 6 }, udp6 = { 6, 1, 2, 9899, 9899 };
    const guint16 ports[] = { 44444 };
    const SamiInputOptions options = { .ports = ports, .n_ports = 1 };
    g_auto(Reading) reading = { 0 };
    frames_begin(&frames, DLT_EN10MB, FALSE);
    for (guint i = 0; i < 2; i++) {
        add_inside_udp(&udp, &out, i);
        add_inside_udp(&other, &out, i); /* by its checksum */
        add_inside_udp(&udp6, &elsewhere, i);
    }
    g_autoptr(GByteArray) wrong = frames_sctp(&out, TAG, frames_data(WHOLE, 3, 0, 3, frames_message(3, 100)));
    wrong->data[8] ^= 1;
    frames_add_ip(&frames, &other, IPPROTO_UDP, frames_udp(&other, g_byte_array_ref(wrong)));
    expect_reading(&frames, NULL, "0:0 1:0 2:0 0:1 1:1 2:1", NULL, &reading);
    CU_ASSERT_EQUAL(reading.counts.n_other, 1);
    CU_ASSERT_STRING_EQUAL(reading.ends->str, "[2001:db8::1]:5 > [2001:db8::2]:6");
    reading_clear(&reading);
    expect_reading(&frames, &options, "0:0 0:1 1!", "a datagram of 128 octets is not one Message", &reading);
    frames_clear(&frames);
}

static void
test_others(void)
{
    const Ends ends = { 4, 1, 2, 7, 8 };
    g_auto(Reading) reading = { 0 };
    frames_begin(&frames, DLT_EN10MB, FALSE);
    for (guint i = 0; i < 5; i++)
        frames_add_ip(&frames, &ends, IPPROTO_SCTP, frames_sctp(&ends, 1, frames_data(WHOLE, i, 0, (guint16) i, frames_octets("something else", 14))));
    expect_reading(&frames, NULL, "", NULL, &reading);
    CU_ASSERT_EQUAL(reading.counts.n_other, 5);
    frames_clear(&frames);
}

int
main(void)
{
    static const SamiTest tests[] = {
        { "whole Messages", test_whole },
        { "fragments", test_fragments },
        { "order", test_order },
        { "loss", test_loss },
        { "a beginning inside", test_inside },
        { "ends", test_ends },
        { "what is no Message", test_no_message },
        { "DTLS", test_dtls },
        { "inside of UDP", test_inside_udp },
        { "what is no IPFIX is counted", test_others },
    };
    return sami_test_main("capture-sctp", tests, G_N_ELEMENTS(tests), NULL, NULL);
}
