/* Captures of TCP: order, loss, repetition, beginnings and ends; TLS. */
#include <string.h>

#include <glib/gstdio.h>
#include <netinet/in.h>

#include "tests/unit/capture-check.h"
#include "tests/unit/tls-recording.h"
#include "transport/capture-common.h"
#include "transport/capture-tcp.h"

static const Ends out = { 4, 1, 2, 40000, 4739 }, back = { 4, 2, 1, 4739, 40000 }, elsewhere = { 6, 1, 2, 40000, 8080 };
static Frames frames;
static GByteArray *stream; /* Messages 0 to 9, 100 octets longer each, from 200 on */

#define ISN 0xfffffc00u /* numbers wrap in what follows */

static int
set_up(void)
{
    stream = g_byte_array_new();
    for (guint i = 0; i < 10; i++)
        stream = frames_join(stream, frames_message(i, 200 + 100 * i));
    return 0;
}

static int
tear_down(void)
{
    g_byte_array_unref(stream);
    return 0;
}

/* Octets `from` to `to` of the stream in a segment. */
static void
send_part(gsize from, gsize to)
{
    frames_add_tcp(&frames, &out, ACK, ISN + 1 + (guint32) from, frames_part(stream, from, to));
}

static void
acknowledge(gsize n)
{
    frames_add_ip(&frames, &back, IPPROTO_TCP, frames_tcp(&back, ACK, 1, ISN + 1 + (guint32) n, NULL));
}

static void
begin(void)
{
    frames_begin(&frames, DLT_EN10MB, FALSE);
    frames_add_tcp(&frames, &out, SYN, ISN, NULL);
}

#define ALL "0:0 0:1 0:2 0:3 0:4 0:5 0:6 0:7 0:8 0:9"

static void
test_in_order(void)
{
    static const gsize steps[] = { 1, 7, 200, 1000, 6500 };
    for (guint i = 0; i < G_N_ELEMENTS(steps); i++) {
        g_auto(Reading) reading = { 0 };
        begin();
        for (gsize at = 0; at < stream->len; at += steps[i])
            send_part(at, at + steps[i]);
        expect_reading(&frames, NULL, ALL, NULL, &reading);
        CU_ASSERT_EQUAL(reading.offset, frames.last_at);
        CU_ASSERT_EQUAL(reading.carrier, SAMI_CARRIER_TCP);
        CU_ASSERT_STRING_EQUAL(reading.ends->str, "192.0.2.1:40000 > 192.0.2.2:4739");
        CU_ASSERT_EQUAL(reading.counts.n_other + reading.counts.n_lost_octets, 0);
        frames_clear(&frames);
    }
}

/* The Message is that of the packet which completed it. */
static void
test_offsets(void)
{
    g_auto(Reading) reading = { 0 };
    begin();
    send_part(0, 150);
    send_part(150, 250);
    guint64 completed = frames.last_at;
    send_part(250, 300);
    expect_reading(&frames, NULL, "0:0 0!", "the stream ends after 100 octets of a Message of 300 (RFC 7011 §3.1)", &reading);
    frames_clear(&frames);
    begin();
    send_part(0, 150);
    send_part(150, 200);
    reading_clear(&reading);
    expect_reading(&frames, NULL, "0:0", NULL, &reading);
    CU_ASSERT_EQUAL(reading.offset, completed);
    frames_clear(&frames);
}

static void
test_out_of_order(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(7);
    for (guint round = 0; round < 50; round++) {
        guint order[65] = { 0 };
        begin();
        for (guint i = 0; i < G_N_ELEMENTS(order); i++) {
            guint j = (guint) g_rand_int_range(rand, 0, (gint) i + 1);
            order[i] = order[j];
            order[j] = i;
        }
        for (guint i = 0; i < G_N_ELEMENTS(order); i++) /* each overlaps its neighbours */
            send_part(order[i] * 100u, order[i] * 100u + 100u + (guint) g_rand_int_range(rand, 0, 200));
        expect(&frames, ALL, NULL);
        frames_clear(&frames);
    }
}

static void
test_retransmission(void)
{
    g_auto(Reading) reading = { 0 };
    begin();
    frames_add_tcp(&frames, &out, SYN, ISN, NULL);
    send_part(0, 1000);
    send_part(0, 1000);
    send_part(500, 1500);
    frames_add_tcp(&frames, &out, ACK, ISN + 1500, frames_octets("x", 1)); /* keep-alive */
    send_part(3000, 6500);
    send_part(2900, 4000);
    send_part(1500, 3000);
    expect_reading(&frames, NULL, ALL, NULL, &reading);
    CU_ASSERT_EQUAL(reading.counts.n_differing, 0);
    frames_clear(&frames);
}

/* The first copy is taken. */
static void
test_differing_copy(void)
{
    g_auto(Reading) reading = { 0 };
    g_autoptr(GByteArray) wrong = frames_part(stream, 1000, 2000);
    for (guint i = 0; i < wrong->len; i++)
        wrong->data[i] ^= 0x55;
    begin();
    send_part(1000, 2000);
    frames_add_tcp(&frames, &out, ACK, ISN + 1 + 1000, frames_part(wrong, 0, 900));
    send_part(0, 1000);
    send_part(2000, 6500);
    expect_reading(&frames, NULL, ALL, NULL, &reading);
    CU_ASSERT_EQUAL(reading.counts.n_differing, 900);
    frames_clear(&frames);
}

/* Lost inside a Message: its Length says where the next one begins. */
static void
test_loss_inside(void)
{
    g_auto(Reading) reading = { 0 };
    begin();
    send_part(0, 220); /* Message 1 stands at 200 to 500 */
    send_part(320, 1000);
    guint64 at = frames.last_at;
    acknowledge(1000);
    send_part(1000, 6500);
    expect_reading(&frames, NULL, "0:0 0! 0:2 0:3 0:4 0:5 0:6 0:7 0:8 0:9",
                   "100 octets of the stream are not in the capture; with them 200 others of Messages (RFC 7011 §3.1) are passed over", &reading);
    CU_ASSERT_EQUAL(reading.counts.n_lost_octets, 100);
    CU_ASSERT(at < reading.offset);
    frames_clear(&frames);
}

/* Lost with a header: the next one is searched, and what its neighbours are tells that it is one. */
static void
test_loss_of_header(void)
{
    g_auto(Reading) reading = { 0 };
    begin();
    send_part(0, 150);
    send_part(600, 6500); /* inside Message 2, at 500 to 900 */
    acknowledge(6500);
    expect_reading(&frames, NULL, "0! 0:3 0:4 0:5 0:6 0:7 0:8 0:9", "450 octets of the stream are not in the capture; with them 450 others", &reading);
    CU_ASSERT_EQUAL(reading.counts.n_lost_octets, 450);
    frames_clear(&frames);
}

/* What was acknowledged is still waited for a while, since the capture may have the answer first. */
static void
test_late_octets(void)
{
    g_auto(Reading) reading = { 0 };
    begin();
    send_part(0, 200);
    send_part(500, 900);
    acknowledge(900);
    send_part(200, 500);
    send_part(900, 6500);
    expect(&frames, ALL, NULL);
    frames_clear(&frames);

    begin();
    send_part(0, 200);
    send_part(500, 900);
    for (guint i = 0; i < SAMI_TCP_GRACE; i++)
        acknowledge(900);
    guint64 given_up = frames.last_at;
    acknowledge(900);
    send_part(200, 500);
    expect_reading(&frames, NULL, "0:0 0! 0:2", "300 octets of the stream are not in the capture", &reading);
    CU_ASSERT(reading.offset > given_up && reading.offset < frames.last_at);
    frames_clear(&frames);
}

/* Nobody acknowledges: when too much waits, or at the end. */
static void
test_loss_without_acknowledgement(void)
{
    begin();
    send_part(0, 200);
    send_part(500, 6500);
    expect(&frames, "0:0 0! 0:2 0:3 0:4 0:5 0:6 0:7 0:8 0:9", "300 octets of the stream are not in the capture; with them 0 others");
    frames_clear(&frames);

    begin();
    for (guint i = 1; i < 30; i++)
        frames_add_tcp(&frames, &out, ACK, ISN + 1 + i * 10000, frames_message(i, 10000));
    frames_add_tcp(&frames, &out, SYN, 5, NULL); /* not the end of the capture */
    frames_add_tcp(&frames, &out, ACK, 6, frames_message(99, 100));
    expect(&frames,
           "0! 0:1 0:2 0:3 0:4 0:5 0:6 0:7 0:8 0:9 0:10 0:11 0:12 0:13 0:14 0:15 0:16 0:17 0:18 0:19 0:20 0:21 0:22 0:23 0:24 0:25 0:26 0:27 0:28 0:29 0x "
           "1:99",
           "10000 octets");
    frames_clear(&frames);
}

/* The last octets are lost, which only FIN shows. */
static void
test_loss_at_end(void)
{
    begin();
    send_part(0, 550);
    frames_add_tcp(&frames, &out, ACK | FIN, ISN + 1 + 900, NULL);
    acknowledge(901);
    expect(&frames, "0:0 0:1 0! 0x", "350 octets of the stream are not in the capture; with them 50 others");
    frames_clear(&frames);
}

static void
test_cut_packets(void)
{
    g_auto(Reading) reading = { 0 };
    begin();
    send_part(0, 500);
    frames_add(&frames, frames_ether(0, frames_ip(&out, IPPROTO_TCP, frames_tcp(&out, ACK, ISN + 1 + 500, 0, frames_part(stream, 500, 1400)))), 800);
    send_part(1400, 6500);
    expect_reading(&frames, NULL, "0:0 0:1 0! 0:4 0:5 0:6 0:7 0:8 0:9", "800 octets of the stream are not in the capture; with them 100 others", &reading);
    CU_ASSERT_EQUAL(reading.counts.n_cut, 1);
    frames_clear(&frames);
}

/* The capture begins when the connection is there. */
static void
test_inside(void)
{
    frames_begin(&frames, DLT_EN10MB, FALSE);
    send_part(500, 1000);
    send_part(1000, 6500);
    expect(&frames, "0:2 0:3 0:4 0:5 0:6 0:7 0:8 0:9", NULL);
    frames_clear(&frames);

    frames_begin(&frames, DLT_EN10MB, FALSE);
    send_part(550, 1000);
    send_part(1000, 6500);
    expect(&frames, "0! 0:3 0:4 0:5 0:6 0:7 0:8 0:9", "the capture begins inside the stream: 350 octets are passed over");
    frames_clear(&frames);

    /* One Message, which is a segment: nothing follows it, but the segment ends with it. */
    frames_begin(&frames, DLT_EN10MB, FALSE);
    send_part(900, 1400);
    expect(&frames, "0:3", NULL);
    frames_clear(&frames);

    frames_begin(&frames, DLT_EN10MB, FALSE);
    send_part(910, 1300);
    expect(&frames, "0!", "in the 390 octets that it has no Message begins");
    frames_clear(&frames);

    /* On a port of others, and none within as many octets as are searched: it is not looked at any more, though one comes. */
    static const guint8 noise[1000];
    const guint n = SAMI_CAPTURE_SEARCH_MAX / sizeof noise + 1;
    frames_begin(&frames, DLT_EN10MB, FALSE);
    for (guint i = 0; i < n; i++)
        frames_add_tcp(&frames, &elsewhere, ACK, ISN + 1 + i * (guint32) sizeof noise, frames_octets(noise, sizeof noise));
    frames_add_tcp(&frames, &elsewhere, ACK, ISN + 1 + n * (guint32) sizeof noise, frames_message(7, 300));
    expect(&frames, "", NULL);
    frames_clear(&frames);
}

static void
test_no_message(void)
{
    begin();
    send_part(0, 500);
    frames_add_tcp(&frames, &out, ACK, ISN + 1 + 500, frames_octets("\0\12\0\17 too short for a header", 28));
    frames_add_tcp(&frames, &out, ACK, ISN + 1 + 528, frames_join(frames_message(5, 300), frames_message(6, 16)));
    expect(&frames, "0:0 0:1 0! 0:5 0:6", "28 octets are no Message (version 10 and a Length of at least 16, RFC 7011 §3.1): passed over");
    frames_clear(&frames);

    begin();
    frames_add_tcp(&frames, &out, ACK, ISN + 1, frames_octets("SSH-2.0-something", 17));
    frames_add_tcp(&frames, &out, ACK | FIN, ISN + 18, NULL);
    expect(&frames, "0! 0x", "17 octets are no Message");
    frames_clear(&frames);
}

/* Each direction is a session; the connection ends by FIN of both, or by RST, or when another one has its ports. */
static void
test_ends(void)
{
    g_auto(Reading) reading = { 0 };
    begin();
    frames_add_tcp(&frames, &back, SYN | ACK, 99, NULL);
    send_part(0, 500);
    frames_add_tcp(&frames, &back, ACK, 100, frames_message(50, 100));
    frames_add_tcp(&frames, &out, ACK | FIN, ISN + 501, NULL);
    frames_add_tcp(&frames, &back, ACK | FIN, 200, frames_message(51, 100));
    send_part(0, 500); /* an old one */
    expect_reading(&frames, NULL, "0:0 0:1 1:50 0x 1:51 1x", NULL, &reading);
    CU_ASSERT_STRING_EQUAL(reading.ends->str, "192.0.2.2:4739 > 192.0.2.1:40000");
    frames_clear(&frames);

    begin();
    send_part(0, 550);
    frames_add_tcp(&frames, &back, RST, 0, NULL);
    send_part(550, 900);
    frames_add_tcp(&frames, &out, SYN, 5000, NULL);
    frames_add_tcp(&frames, &out, ACK, 5001, frames_message(7, 70));
    frames_add_tcp(&frames, &out, SYN, 9000, frames_message(8, 70)); /* RFC 7413 */
    frames_add_tcp(&frames, &out, ACK, 9071, frames_message(9, 70));
    expect(&frames, "0:0 0:1 0! 0x 1:7 1x 2:8 2:9", "the stream ends after 50 octets of a Message of 400");
    frames_clear(&frames);
}

static void
test_elsewhere(void)
{
    g_auto(Reading) reading = { 0 };
    frames_begin(&frames, DLT_EN10MB, FALSE);
    frames_add_tcp(&frames, &elsewhere, SYN, 1, NULL);
    frames_add_tcp(&frames, &elsewhere, ACK, 2, frames_octets("\0\12", 2));
    frames_add_tcp(&frames, &elsewhere, ACK, 4, frames_part(stream, 2, 500));
    Ends other = elsewhere;
    other.source_port = 1;
    frames_add_tcp(&frames, &other, SYN, 1, NULL);
    frames_add_tcp(&frames, &other, ACK, 2, frames_octets("\0\12\0\40 ten octets, by another rule", 32));
    frames_add_tcp(&frames, &other, ACK, 34, frames_part(stream, 0, 500));
    other.source_port = 4; /* too little of its begin */
    frames_add_tcp(&frames, &other, SYN, 1, NULL);
    frames_add_tcp(&frames, &other, ACK, 2, frames_part(stream, 0, 2));
    frames_add_tcp(&frames, &other, ACK, 102, frames_part(stream, 100, 500));
    other.source_port = 2; /* the capture begins inside of it */
    frames_add_tcp(&frames, &other, ACK, 34, frames_part(stream, 100, 500));
    frames_add_tcp(&frames, &other, ACK, 434, frames_part(stream, 500, 900));
    other.source_port = 3;
    for (guint i = 0; i < 3; i++)
        frames_add_tcp(&frames, &other, ACK, 1 + i * 60000, frames_part(stream, 210, 490));
    expect_reading(&frames, NULL, "0:0 0:1 1! 1:1 1:2", "begins inside the stream: 100 octets", &reading);
    CU_ASSERT_EQUAL(reading.counts.n_other, 9);
    CU_ASSERT_STRING_EQUAL(reading.ends->str, "[2001:db8::1]:2 > [2001:db8::2]:8080");
    frames_clear(&frames);
}

/* Messages of many connections at once, more than are kept. */
static void
test_many_connections(void)
{
    g_auto(Reading) reading = { 0 };
    Ends many = out;
    frames_begin(&frames, DLT_EN10MB, FALSE);
    for (guint i = 0; i < SAMI_INPUT_STREAMS_MAX / 2 + 1; i++) {
        many.source_port = (guint16) (1000 + i);
        frames_add_tcp(&frames, &many, SYN, 7, NULL);
        frames_add_tcp(&frames, &many, ACK, 8, frames_message(i, 20));
    }
    read_capture(frames.file->data, frames.file->len, NULL, &reading);
    CU_ASSERT_STRING_EQUAL(reading.faults->str,
                           "given up, with 0 octets that wait: there are too many Transport Sessions at once, and this one was silent longest\n");
    CU_ASSERT(g_str_has_suffix(reading.events->str, " 2047:2047 0! 0x 2048:2048"));
    frames_clear(&frames);
}

/* What waits of all together has a limit. */
static void
test_much_waits(void)
{
    g_auto(Reading) reading = { 0 };
    g_autoptr(GByteArray) message = frames_message(1, 40000);
    Ends many = out;
    frames_begin(&frames, DLT_EN10MB, FALSE);
    for (guint i = 0; i < 300; i++) {
        many.source_port = (guint16) (1000 + i);
        frames_add_tcp(&frames, &many, SYN, 7, frames_message(i, 20));
        for (guint n = 0; n < 6; n++)
            frames_add_tcp(&frames, &many, ACK, 100 + n * 40000, frames_part(message, 0, 40000));
    }
    read_capture(frames.file->data, frames.file->len, NULL, &reading);
    CU_ASSERT_PTR_NOT_NULL(strstr(reading.events->str, " 0! 0x "));
    CU_ASSERT(g_str_has_prefix(reading.faults->str, "given up, with 240384 octets that wait: too much is kept"));
    frames_clear(&frames);
}

/* --- TLS --- */

/* The recorded connection as a capture: octets in segments, the two directions as they were. */
static void
add_recording(const Recording *recording, const Ends *client)
{
    const Ends ends[] = { *client, ends_back(client) };
    guint32 at[2] = { 0, 0 };
    for (guint i = 0; i < 2; i++)
        frames_add_tcp(&frames, &ends[i], i == 0 ? SYN : SYN | ACK, 999, NULL);
    for (guint i = 0; i < recording->order->len; i++) {
        const Piece *piece = &g_array_index(recording->order, Piece, i);
        guint side = piece->sender == CLIENT ? 0 : 1;
        for (gsize n = 0; n < piece->n; n += 1000) {
            GByteArray *part = frames_part(recording->wire[piece->sender], at[side], at[side] + MIN(piece->n - n, 1000));
            guint32 length = part->len;
            frames_add_tcp(&frames, &ends[side], ACK, 1000 + at[side], part);
            at[side] += length;
        }
    }
}

static void
record(Recording *recording, const gchar *directory)
{
    recording_init(recording, directory);
    CU_ASSERT_TRUE_FATAL(recording_open(recording));
    for (guint i = 0; i < 3; i++) {
        recording_say_octets(recording, CLIENT, stream->data + i * 2000, i == 2 ? stream->len - 4000 : 2000);
        g_autoptr(GByteArray) answer = frames_message(100 + i, 300);
        recording_say_octets(recording, SERVER, answer->data, answer->len);
    }
    recording_close(recording);
}

/* Whatever tips over, the end is reached. */
static void
corrupt(const SamiInputOptions *options)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    for (guint i = 0; i < 500; i++) {
        g_auto(Reading) reading = { 0 };
        g_autoptr(GByteArray) bad = frames_part(frames.file, 0, G_MAXSIZE);
        for (guint n = 0; n <= i % 4; n++)
            bad->data[g_rand_int_range(rand, 24, (gint) bad->len)] ^= (guint8) (1 << g_rand_int_range(rand, 0, 8));
        CU_ASSERT(read_capture(bad->data, bad->len, options, &reading));
    }
}

static void
test_tls(void)
{
    static const Ends client = { 4, 1, 2, 50000, 4740 };
    static const gchar *const names[] = { "tls.crt", "tls.key", "key-log" };
    g_autofree gchar *directory = g_dir_make_tmp("sami-capture-XXXXXX", NULL), *path = g_build_filename(directory, "key-log", NULL);
    const SamiInputOptions options = { .key_log = path };
    g_auto(Reading) reading = { 0 };
    Recording recording = { 0 };
    record(&recording, directory);
    CU_ASSERT(g_file_set_contents(path, recording.key_log->str, -1, NULL));
    frames_begin(&frames, DLT_EN10MB, FALSE);
    add_recording(&recording, &client);
    expect(&frames, "0!", "this connection is TLS: read the collector's journal");
    expect_reading(&frames, &options, "0:0 0:1 0:2 0:3 0:4 1:100 0:5 0:6 1:101 0:7 0:8 0:9 1:102 0x 1x", NULL, &reading);
    CU_ASSERT_EQUAL(reading.carrier, SAMI_CARRIER_TLS);
    corrupt(&options);
    frames_clear(&frames);

    /* Without its beginning there is no random to look a secret up by. */
    CU_ASSERT(g_file_set_contents(path, "# nothing\n", -1, NULL));
    frames_begin(&frames, DLT_EN10MB, FALSE);
    add_recording(&recording, &client);
    reading_clear(&reading);
    expect_reading(&frames, &options, "0! 0x 1! 1x", "no secret for this connection|no secret for this connection", &reading);
    frames_clear(&frames);
    recording_clear(&recording);
    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree gchar *file = g_build_filename(directory, names[i], NULL);
        g_unlink(file);
    }
    g_rmdir(directory);
}

/* Lost octets of a TLS connection: what comes behind them cannot be read. */
static void
test_tls_loss(void)
{
    static const Ends client = { 4, 1, 2, 50000, 4740 };
    g_autofree gchar *directory = g_dir_make_tmp("sami-capture-XXXXXX", NULL), *path = g_build_filename(directory, "key-log", NULL);
    const SamiInputOptions options = { .key_log = path };
    g_auto(Reading) reading = { 0 };
    Recording recording = { 0 };
    record(&recording, directory);
    CU_ASSERT(g_file_set_contents(path, recording.key_log->str, -1, NULL));
    GArray *order = recording.order;
    frames_begin(&frames, DLT_EN10MB, FALSE);
    add_recording(&recording, &client);
    frames_clear(&frames);
    CU_ASSERT(order->len > 4);
    frames_begin(&frames, DLT_EN10MB, FALSE);
    guint n_client = recording.wire[CLIENT]->len;
    frames_add_tcp(&frames, &client, SYN, 999, NULL);
    frames_add_tcp(&frames, &client, ACK, 1000, frames_part(recording.wire[CLIENT], 0, 200));
    frames_add_tcp(&frames, &client, ACK | FIN, 1300, frames_part(recording.wire[CLIENT], 300, n_client));
    expect_reading(&frames, &options, "0! 0x", "100 octets of a TLS connection are not in the capture", &reading);
    frames_clear(&frames);
    recording_clear(&recording);
    g_autofree gchar *command = g_strdup_printf("%s/tls.crt", directory), *key = g_strdup_printf("%s/tls.key", directory);
    g_unlink(command);
    g_unlink(key);
    g_unlink(path);
    g_rmdir(directory);
}

int
main(void)
{
    static const SamiTest tests[] = {
        { "in order", test_in_order },
        { "offsets", test_offsets },
        { "out of order", test_out_of_order },
        { "retransmission", test_retransmission },
        { "a copy that differs", test_differing_copy },
        { "loss inside a Message", test_loss_inside },
        { "loss of a header", test_loss_of_header },
        { "octets that come behind their acknowledgement", test_late_octets },
        { "loss without acknowledgement", test_loss_without_acknowledgement },
        { "loss at the end", test_loss_at_end },
        { "packets in part", test_cut_packets },
        { "a beginning inside", test_inside },
        { "what is no Message", test_no_message },
        { "ends", test_ends },
        { "other ports", test_elsewhere },
        { "many connections", test_many_connections },
        { "much that waits", test_much_waits },
        { "TLS", test_tls },
        { "TLS with a gap", test_tls_loss },
    };
    return sami_test_main("capture-tcp", tests, G_N_ELEMENTS(tests), set_up, tear_down);
}
