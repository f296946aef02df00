/* Captures: files, link layers, IP and its fragments, UDP; and what is broken. */
#include <string.h>
#include <unistd.h>

#include <netinet/in.h>

#include "tests/unit/capture-check.h"

static const Ends plain = { 4, 1, 2, 40000, 4739 }, plain6 = { 6, 1, 2, 40000, 4739 }, elsewhere = { 4, 1, 2, 40000, 9995 };

static GByteArray *
udp(const Ends *ends, guint32 number, gsize length)
{
    return frames_udp(ends, frames_message(number, length));
}

static void
add_udp(Frames *frames, const Ends *ends, guint32 number, gsize length)
{
    frames_add_ip(frames, ends, IPPROTO_UDP, udp(ends, number, length));
}

static void
test_files(void)
{
    for (guint is_ng = 0; is_ng < 2; is_ng++) {
        g_auto(Reading) reading = { 0 };
        Frames frames;
        frames_begin(&frames, DLT_EN10MB, is_ng);
        add_udp(&frames, &plain, 1, 61);
        add_udp(&frames, &plain, 2, 16);
        expect_reading(&frames, NULL, "0:1 0:2", NULL, &reading);
        CU_ASSERT_EQUAL(reading.offset, frames.last_at);
        CU_ASSERT_EQUAL(reading.time_ns, G_GINT64_CONSTANT(1700000002250000000));
        CU_ASSERT_EQUAL(reading.carrier, SAMI_CARRIER_UDP);
        CU_ASSERT_STRING_EQUAL(reading.ends->str, "192.0.2.1:40000 > 192.0.2.2:4739");
        CU_ASSERT_EQUAL(reading.counts.n_packets, 2);
        CU_ASSERT_EQUAL(reading.counts.n_sessions, 1);
        CU_ASSERT_EQUAL(reading.counts.n_other, 0);
        frames_clear(&frames);
    }
}

/* Through sami_input_open(), from a pipe, which cannot seek. */
static void
test_pipe(void)
{
    const SamiInputOptions options = { 0 };
    g_autoptr(GError) error = NULL;
    int fds[2];
    Frames frames;
    SamiInputMessage message;
    frames_begin(&frames, DLT_EN10MB, TRUE);
    add_udp(&frames, &plain, 1, 300);
    add_udp(&frames, &plain, 2, 400);
    CU_ASSERT_EQUAL_FATAL(pipe(fds), 0);
    CU_ASSERT_EQUAL(write(fds[1], frames.file->data, frames.file->len), (gssize) frames.file->len);
    close(fds[1]);
    g_autofree gchar *path = g_strdup_printf("/dev/fd/%d", fds[0]);
    g_autoptr(SamiInput) input = sami_input_open(path, &options, &error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(input);
    CU_ASSERT_STRING_EQUAL(sami_input_form(input), "pcapng");
    for (guint i = 1; i <= 2; i++) {
        CU_ASSERT_EQUAL(sami_input_next(input, &message, &error), SAMI_INPUT_MESSAGE);
        CU_ASSERT(frames_is_message(message.octets, message.length) && message.octets[11] == i);
    }
    CU_ASSERT_EQUAL(message.offset, frames.last_at);
    CU_ASSERT_EQUAL(sami_input_next(input, &message, &error), SAMI_INPUT_END);
    CU_ASSERT_PTR_NULL(error);
    close(fds[0]);
    frames_clear(&frames);
}

static GByteArray *
behind(const guint8 *header, gsize n, const Ends *ends)
{
    return frames_join(frames_octets(header, n), frames_ip(ends, IPPROTO_UDP, udp(ends, 1, 50)));
}

static void
test_links(void)
{
    static const struct {
        guint link;
        gsize n;
        guint8 v4[24], v6[24];
    } links[] = {
        { DLT_RAW, 0, { 0 }, { 0 } },
        { DLT_NULL, 4, { 2, 0, 0, 0 }, { 0, 0, 0, 30 } },
        { DLT_LOOP, 4, { 0, 0, 0, 2 }, { 0, 0, 0, 24 } },
        { DLT_LINUX_SLL, 16, { 0, 0, 0, 1, 0, 6, [14] = 0x08, 0x00 }, { 0, 0, 0, 1, 0, 6, [14] = 0x86, 0xdd } },
        { DLT_LINUX_SLL, 20, { [14] = 0x81, 0x00, 0, 7, 0x08, 0x00 }, { [14] = 0x81, 0x00, 0, 7, 0x86, 0xdd } },
        { DLT_LINUX_SLL2, 20, { 0x08, 0x00 }, { 0x86, 0xdd } },
    };
    for (guint i = 0; i < G_N_ELEMENTS(links); i++) {
        Frames frames;
        frames_begin(&frames, links[i].link, FALSE);
        frames_add(&frames, behind(links[i].v4, links[i].n, &plain), 0);
        frames_add(&frames, behind(links[i].v6, links[i].n, &plain6), 0);
        expect(&frames, "0:1 1:1", NULL);
        frames_clear(&frames);
    }
    const guint of_one[] = { DLT_IPV4, DLT_IPV6 };
    for (guint i = 0; i < 2; i++) {
        Frames frames;
        frames_begin(&frames, of_one[i], FALSE);
        frames_add(&frames, behind(NULL, 0, i == 0 ? &plain : &plain6), 0);
        expect(&frames, "0:1", NULL);
        frames_clear(&frames);
    }
}

static void
test_tags(void)
{
    g_auto(Reading) reading = { 0 };
    Frames frames;
    frames_begin(&frames, DLT_EN10MB, FALSE);
    for (guint n = 0; n <= 10; n++)
        frames_add(&frames, frames_ether(n, frames_ip(n & 1 ? &plain6 : &plain, IPPROTO_UDP, udp(n & 1 ? &plain6 : &plain, n, 40))), 0);
    expect_reading(&frames, NULL, "0:0 1:1 0:2 1:3 0:4 1:5 0:6 1:7 0:8", NULL, &reading);
    CU_ASSERT_EQUAL(reading.counts.n_other, 2);
    frames_clear(&frames);
}

static void
test_padding(void)
{
    Frames frames;
    frames_begin(&frames, DLT_EN10MB, FALSE);
    GByteArray *frame = frames_ether(0, frames_ip(&plain, IPPROTO_UDP, udp(&plain, 1, 16)));
    frames_add(&frames, frames_join(frame, frames_octets("\0\0\0\0\0\0\0", 7)), 0);
    expect(&frames, "0:1", NULL);
    frames_clear(&frames);
}

static void
test_others(void)
{
    static const guint8 arp[28] = { 0, 1, 8, 0, 6, 4 };
    g_auto(Reading) reading = { 0 };
    Frames frames;
    frames_begin(&frames, DLT_EN10MB, FALSE);
    GByteArray *frame = frames_ether(0, frames_octets(arp, sizeof arp));
    frame->data[12] = 8, frame->data[13] = 6;
    frames_add(&frames, frame, 0);
    frames_add_ip(&frames, &plain, IPPROTO_ICMP, frames_octets("\10\0\0\0\0\0\0\0", 8));
    frames_add_ip(&frames, &plain, IPPROTO_ESP, frames_octets("\10\0\0\0\0\0\0\0", 8));
    frames_add_ip(&frames, &elsewhere, IPPROTO_UDP, frames_udp(&elsewhere, frames_octets("hello world, no IPFIX here", 26)));
    frames_add_ip(&frames, &elsewhere, IPPROTO_UDP, frames_octets("abc", 3));
    frames_add(&frames, frames_octets("", 1), 0);
    add_udp(&frames, &elsewhere, 1, 100); /* at another port, but it is IPFIX */
    expect_reading(&frames, NULL, "0:1", NULL, &reading);
    CU_ASSERT_EQUAL(reading.counts.n_other, 6);
    frames_clear(&frames);
}

static void
test_ports(void)
{
    const guint16 ports[] = { 9995 };
    const SamiInputOptions options = { .ports = ports, .n_ports = 1 };
    g_auto(Reading) reading = { 0 };
    const Ends back = ends_back(&elsewhere);
    Frames frames;
    frames_begin(&frames, DLT_EN10MB, FALSE);
    add_udp(&frames, &plain, 1, 100);
    add_udp(&frames, &elsewhere, 2, 100);
    add_udp(&frames, &back, 3, 100);
    frames_add_ip(&frames, &elsewhere, IPPROTO_UDP, frames_udp(&elsewhere, frames_octets("\0\11 no IPFIX here", 16)));
    expect_reading(&frames, &options, "0:2 1:3 0!", "a datagram of 16 octets is not one Message: version 9, Length 8302 (RFC 7011 §3.1, §10.3)",
                   &reading);
    CU_ASSERT_EQUAL(reading.counts.n_other, 1);
    frames_clear(&frames);
}

static void
test_datagrams(void)
{
    g_auto(Reading) reading = { 0 };
    Frames frames;
    frames_begin(&frames, DLT_EN10MB, FALSE);
    frames_add_ip(&frames, &plain, IPPROTO_UDP, frames_udp(&plain, frames_join(frames_message(1, 60), frames_message(2, 60))));
    frames_add_ip(&frames, &plain, IPPROTO_UDP, frames_udp(&plain, frames_octets("abc", 3)));
    frames_add_ip(&frames, &plain, IPPROTO_UDP, frames_udp(&plain, g_byte_array_new()));
    frames_add(&frames, frames_ether(0, frames_ip(&plain, IPPROTO_UDP, udp(&plain, 3, 200))), 20);
    frames_add_ip(&frames, &plain, IPPROTO_UDP, frames_udp(&plain, frames_octets("\26\376\375 a DTLS record would stand here", 33)));
    frames_add_ip(&frames, &plain, IPPROTO_UDP, frames_udp(&plain, frames_octets("\26\376\375 a DTLS record would stand here", 33)));
    add_udp(&frames, &plain, 4, 60);
    expect_reading(&frames, NULL, "0! 0! 0! 0! 0:4",
                   "a datagram of 120 octets is not one Message: version 10, Length 60|a datagram of 3 octets is no Message|180 of the 200 octets|DTLS",
                   &reading);
    CU_ASSERT_EQUAL(reading.counts.n_cut, 1);
    CU_ASSERT_EQUAL(reading.counts.n_other, 2);
    frames_clear(&frames);
}

/* --- fragments --- */

static void
add_fragment(Frames *frames, const Ends *ends, guint32 id, const GByteArray *datagram, gsize from, gsize to)
{
    GByteArray *part = frames_part(datagram, from, to);
    frames_add(frames, frames_ether(0, frames_fragment(ends, IPPROTO_UDP, id, (guint) from, to < datagram->len, part)), 0);
}

static void
test_fragments(void)
{
    const Ends *both[] = { &plain, &plain6 };
    for (guint i = 0; i < 2; i++) {
        g_auto(Reading) reading = { 0 };
        g_autoptr(GByteArray) first = udp(both[i], 1, 4000), second = udp(both[i], 2, 3000);
        Frames frames;
        frames_begin(&frames, DLT_EN10MB, FALSE);
        add_fragment(&frames, both[i], 7, first, 2400, 4008);
        add_fragment(&frames, both[i], 8, second, 0, 1200);
        add_fragment(&frames, both[i], 7, first, 0, 1200);
        add_fragment(&frames, both[i], 7, first, 0, 1200); /* an exact copy */
        add_fragment(&frames, both[i], 8, second, 1200, 3008);
        add_fragment(&frames, both[i], 7, first, 1200, 2400);
        expect_reading(&frames, NULL, "0:2 0:1", NULL, &reading);
        CU_ASSERT_EQUAL(reading.offset, frames.last_at);
        CU_ASSERT_EQUAL(reading.counts.n_fragments, 6);
        CU_ASSERT_EQUAL(reading.counts.n_other, 0);
        frames_clear(&frames);
    }
}

/* RFC 6946: a fragment header without fragments. */
static void
test_atomic_fragment(void)
{
    g_autoptr(GByteArray) datagram = udp(&plain6, 1, 100);
    Frames frames;
    frames_begin(&frames, DLT_EN10MB, FALSE);
    add_fragment(&frames, &plain6, 7, datagram, 0, datagram->len);
    expect(&frames, "0:1", NULL);
    frames_clear(&frames);
}

static void
test_overlap(void)
{
    const Ends *both[] = { &plain, &plain6 };
    for (guint i = 0; i < 2; i++) {
        g_autoptr(GByteArray) first = udp(both[i], 1, 3000), last = udp(both[i], 2, 3000);
        Frames frames;
        frames_begin(&frames, DLT_EN10MB, FALSE);
        add_fragment(&frames, both[i], 7, first, 0, 1200);
        add_fragment(&frames, both[i], 7, first, 800, 2000);
        add_fragment(&frames, both[i], 7, first, 1200, 3008); /* of what is refused already */
        add_fragment(&frames, both[i], 8, last, 0, 1600);
        frames_add(&frames, frames_ether(0, frames_fragment(both[i], IPPROTO_UDP, 8, 1600, TRUE, frames_octets("only one", 7))), 0);
        add_fragment(&frames, both[i], 9, last, 0, 1600); /* and no more of it */
        expect(&frames, "! ! !", "fragments overlap (RFC 5722 §4)|a length that it cannot have|does not have the rest");
        frames_clear(&frames);
    }
}

/* Endless beginnings: the oldest are given up, and one that begins later is read. */
static void
test_many_fragments(void)
{
    g_autoptr(GByteArray) first = udp(&elsewhere, 1, 60000), last = udp(&plain, 2, 3000);
    g_auto(Reading) reading = { 0 };
    Frames frames;
    frames_begin(&frames, DLT_EN10MB, FALSE);
    for (guint i = 0; i < 2000; i++) {
        add_fragment(&frames, &elsewhere, i, first, 59960, 60000);
        frames.n_packets--;
    }
    add_fragment(&frames, &plain, 9, last, 0, 1600);
    add_fragment(&frames, &plain, 9, last, 1600, 3008);
    expect_reading(&frames, NULL, "0:2", NULL, &reading);
    CU_ASSERT_EQUAL(reading.counts.n_other, 2000);
    frames_clear(&frames);
}

/* --- what is broken --- */

static void
test_refused(void)
{
    static const guint8 nothing[24] = { 0xa1, 0xb2, 0xc3, 0xd4, 0, 2, 0, 4, [19] = 96, [23] = 1 };
    g_auto(Reading) reading = { 0 }, other = { 0 };
    Frames frames;
    frames_begin(&frames, DLT_IEEE802_11, FALSE);
    CU_ASSERT_FALSE(read_capture(frames.file->data, frames.file->len, NULL, &reading));
    CU_ASSERT_PTR_NOT_NULL(strstr(reading.faults->str, "link type 105 (IEEE802_11) is not read"));
    CU_ASSERT_FALSE(read_capture(nothing, 20, NULL, &other));
    CU_ASSERT(other.faults->len > 0);
    CU_ASSERT_FALSE(sami_capture_is((const guint8 *) "\0\12\0\20"));
    frames_clear(&frames);
}

static void
test_truncated(void)
{
    for (guint is_ng = 0; is_ng < 2; is_ng++) {
        g_auto(Reading) reading = { 0 };
        Frames frames;
        frames_begin(&frames, DLT_EN10MB, is_ng);
        add_udp(&frames, &plain, 1, 100);
        add_udp(&frames, &plain, 2, 100);
        g_byte_array_set_size(frames.file, frames.file->len - 30);
        expect_reading(&frames, NULL, "0:1 !", "nothing behind it can be read", &reading);
        CU_ASSERT_EQUAL(reading.offset, frames.last_at);
        frames_clear(&frames);
    }
}

/* Bits that tip over, a piece that is missing, an end that comes early. What comes out is not asked: it ends, without a crash, and keeps nothing (the
 * sanitizers look at that). */
static void
test_corruptions(void)
{
    guint n_opened = 0;
    g_autoptr(GRand) rand = g_rand_new_with_seed(20240229);
    Frames frames[2];
    for (guint i = 0; i < 2; i++) {
        frames_begin(&frames[i], DLT_EN10MB, i == 1);
        frames_add_all(&frames[i]);
    }
    for (guint i = 0; i < 10000; i++) {
        g_auto(Reading) reading = { 0 };
        g_autoptr(GByteArray) bad = frames_part(frames[i % 2].file, 0, G_MAXSIZE);
        guint n_flips = (guint) g_rand_int_range(rand, 1, 20);
        for (guint n = 0; n < n_flips; n++)
            bad->data[g_rand_int_range(rand, 0, (gint) bad->len)] ^= (guint8) (1 << g_rand_int_range(rand, 0, 8));
        if (i % 3 == 1)
            g_byte_array_set_size(bad, (guint) g_rand_int_range(rand, 4, (gint) bad->len));
        guint at = (guint) g_rand_int_range(rand, 0, (gint) bad->len), n_gone = (guint) g_rand_int_range(rand, 1, 2000);
        if (i % 3 == 2)
            g_byte_array_remove_range(bad, at, MIN(n_gone, bad->len - at));
        n_opened += bad->len > 0 && read_capture(bad->data, bad->len, NULL, &reading);
    }
    CU_ASSERT(n_opened > 9000);
    for (guint i = 0; i < 2; i++)
        frames_clear(&frames[i]);
}

static void
test_all(void)
{
    for (guint is_ng = 0; is_ng < 2; is_ng++) {
        g_auto(Reading) reading = { 0 };
        Frames frames;
        frames_begin(&frames, DLT_EN10MB, is_ng);
        frames_add_all(&frames);
        expect_reading(&frames, NULL, "0:1 1:2 2:0 2:1 2:2 2:3 2:4 2:5 2:6 2:7 2:8 2x 0:3 3:0 3:1 3:2 3:3 3:4 3:5 3:6 3:7 3:8 3x 4:9 5:10", NULL,
                       &reading);
        CU_ASSERT_EQUAL(reading.counts.n_sessions, 6);
        CU_ASSERT_EQUAL(reading.counts.n_other, 0);
        frames_clear(&frames);
    }
}

int
main(void)
{
    static const SamiTest tests[] = {
        { "pcap and pcapng", test_files },
        { "from a pipe", test_pipe },
        { "link layers", test_links },
        { "VLAN tags", test_tags },
        { "padding of Ethernet", test_padding },
        { "what is no IPFIX is counted", test_others },
        { "only some ports", test_ports },
        { "a datagram is one Message", test_datagrams },
        { "fragments", test_fragments },
        { "a fragment of nothing", test_atomic_fragment },
        { "fragments that overlap", test_overlap },
        { "many fragments", test_many_fragments },
        { "files that are refused", test_refused },
        { "files that are cut", test_truncated },
        { "everything in one file", test_all },
        { "10 000 corruptions", test_corruptions },
    };
    return sami_test_main("capture", tests, G_N_ELEMENTS(tests), NULL, NULL);
}
