/* Frames of a session and packets of the channel, well-formed and not. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/passing.h"
#include "tests/unit/harness.h"
#include "transport/address.h"
#include "transport/session-pair.h"

static SamiSessionSocket *left, *right;
static int raw = -1; /* the left end as a bare descriptor, when left is NULL */

static void
make_raw(void)
{
    int fds[2];
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    raw = fds[0];
    right = sami_session_socket_new(fds[1]);
}

static void
make_pair(void)
{
    int other;
    CU_ASSERT_FATAL(sami_session_pair(&left, &other, NULL));
    right = sami_session_socket_new(other);
}

static void
drop_pair(void)
{
    g_clear_pointer(&left, sami_session_socket_free);
    g_clear_pointer(&right, sami_session_socket_free);
    if (raw >= 0)
        close(raw);
    raw = -1;
}

static SamiReceive
receive(SamiFrameType *ret_type, guint8 **ret_payload, gsize *ret_length)
{
    g_autoptr(GError) error = NULL;
    SamiReceive result = sami_session_socket_receive(right, ret_type, ret_payload, ret_length,
                                                     &error);
    CU_ASSERT_EQUAL(result == SAMI_RECEIVE_BAD, error != NULL);
    return result;
}

static void
test_frames(void)
{
    g_autofree guint8 *message = g_malloc(SAMI_MESSAGE_MAX);
    SamiFrameType type;
    guint8 *payload;
    gsize length;
    memset(message, 0xa5, SAMI_MESSAGE_MAX);
    make_pair();
    CU_ASSERT_EQUAL(receive(&type, &payload, &length), SAMI_RECEIVE_AGAIN);
    CU_ASSERT(sami_session_socket_send(left, SAMI_FRAME_MESSAGE, message, SAMI_MESSAGE_MAX, NULL));
    CU_ASSERT(
        sami_session_socket_send(left, SAMI_FRAME_MESSAGE, message, SAMI_MESSAGE_HEADER, NULL));
    CU_ASSERT(sami_session_socket_send(left, SAMI_FRAME_CLOSE, NULL, 0, NULL));
    CU_ASSERT_EQUAL(receive(&type, &payload, &length), SAMI_RECEIVE_FRAME);
    CU_ASSERT(type == SAMI_FRAME_MESSAGE && length == SAMI_MESSAGE_MAX &&
              !memcmp(payload, message, length));
    CU_ASSERT_EQUAL(receive(&type, &payload, &length), SAMI_RECEIVE_FRAME);
    CU_ASSERT(type == SAMI_FRAME_MESSAGE && length == SAMI_MESSAGE_HEADER);
    CU_ASSERT_EQUAL(receive(&type, &payload, &length), SAMI_RECEIVE_FRAME);
    CU_ASSERT(type == SAMI_FRAME_CLOSE && length == 0);
    drop_pair();
}

/* A reset because of unread frames over there must not hide those that wait here. */
static void
test_end_after_tail(void)
{
    const guint8 message[SAMI_MESSAGE_HEADER] = { 0, 10, 0, 16 };
    g_autoptr(GError) error = NULL;
    SamiFrameType type;
    guint8 *payload;
    gsize length;
    make_pair();
    CU_ASSERT(sami_session_socket_send(right, SAMI_FRAME_CLOSE, NULL, 0, NULL));
    CU_ASSERT(sami_session_socket_send(left, SAMI_FRAME_MESSAGE, message, sizeof(message), NULL));
    g_clear_pointer(&left, sami_session_socket_free);
    CU_ASSERT_EQUAL(receive(&type, &payload, &length), SAMI_RECEIVE_FRAME);
    CU_ASSERT_EQUAL(type, SAMI_FRAME_MESSAGE);
    CU_ASSERT_EQUAL(receive(&type, &payload, &length), SAMI_RECEIVE_END);
    CU_ASSERT_FALSE(sami_session_socket_send(right, SAMI_FRAME_CLOSE, NULL, 0, &error));
    CU_ASSERT(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_PEER));
    drop_pair();
}

static void
test_full(void)
{
    g_autofree guint8 *message = g_malloc0(SAMI_MESSAGE_MAX);
    g_autoptr(GError) error = NULL;
    SamiFrameType type;
    guint8 *payload;
    gsize length;
    guint n_sent = 0, n_received = 0;
    make_pair();
    while (n_sent < 10000 &&
           sami_session_socket_send(left, SAMI_FRAME_MESSAGE, message, SAMI_MESSAGE_MAX, &error))
        n_sent++;
    CU_ASSERT(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_FULL));
    CU_ASSERT(n_sent > 1);
    while (receive(&type, &payload, &length) == SAMI_RECEIVE_FRAME)
        n_received++;
    CU_ASSERT_EQUAL(n_received, n_sent);
    CU_ASSERT(sami_session_socket_send(left, SAMI_FRAME_MESSAGE, message, SAMI_MESSAGE_MAX, NULL));
    drop_pair();
}

static void
test_bad_frames(void)
{
    g_autofree guint8 *octets = g_malloc0(SAMI_FRAME_MAX + 1);
    static const struct {
        guint8 type;
        gsize length; /* of the packet */
    } bad[] = {
        { 0, 20 },
        { 5, 20 },
        { 255, 1 },
        { SAMI_FRAME_MESSAGE, 1 },
        { SAMI_FRAME_MESSAGE, SAMI_MESSAGE_HEADER },
        { SAMI_FRAME_MESSAGE, SAMI_FRAME_MAX + 1 },
        { SAMI_FRAME_CLOSE, 2 },
        { SAMI_FRAME_OPEN, 10 },
        { SAMI_FRAME_OPEN, 500 },
        { SAMI_FRAME_ERROR, 2000 },
        { SAMI_FRAME_ERROR, 3 }, /* NUL octets in a text */
    };
    SamiFrameType type;
    guint8 *payload;
    gsize length;
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        make_raw();
        octets[0] = bad[i].type;
        CU_ASSERT_EQUAL(send(raw, octets, bad[i].length, 0), (ssize_t) bad[i].length);
        CU_ASSERT_EQUAL(receive(&type, &payload, &length), SAMI_RECEIVE_BAD);
        drop_pair();
    }
    make_pair();
    g_autoptr(GError) error = NULL;
    CU_ASSERT_FALSE(
        sami_session_socket_send(left, SAMI_FRAME_MESSAGE, octets, SAMI_MESSAGE_MAX + 1, &error));
    CU_ASSERT(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_MALFORMED));
    drop_pair();
}

static void
test_error_text(void)
{
    g_autoptr(GString) text = g_string_new("x");
    SamiFrameType type;
    guint8 *payload;
    gsize length;
    while (text->len < 3000)
        g_string_append(text, "\xc3\xa4"); /* two octets each: the bound falls within a character */
    make_pair();
    CU_ASSERT(sami_session_send_text(left, SAMI_FRAME_ERROR, text->str, NULL));
    CU_ASSERT_EQUAL(receive(&type, &payload, &length), SAMI_RECEIVE_FRAME);
    CU_ASSERT(type == SAMI_FRAME_ERROR && length == 1023);
    drop_pair();
}

static SamiFrameOpen
sample_open(void)
{
    SamiFrameOpen open = { .version = 1,
                           .transport = 1,
                           .message_max = 65535,
                           .name = "fw1.example",
                           .address = "[2001:db8::1]:4740" };
    for (guint i = 0; i < sizeof(open.ekm); i++)
        open.ekm[i] = (guint8) (i + 1);
    return open;
}

/* The payload as the writer makes it. */
static gsize
print_open(const SamiFrameOpen *open, guint8 *ret_payload)
{
    SamiFrameType type;
    guint8 *payload;
    gsize length = 0;
    make_pair();
    if (sami_session_socket_send_open(left, open, NULL)) {
        CU_ASSERT_EQUAL(receive(&type, &payload, &length), SAMI_RECEIVE_FRAME);
        CU_ASSERT_EQUAL(type, SAMI_FRAME_OPEN);
        memcpy(ret_payload, payload, length);
    }
    drop_pair();
    return length;
}

static void
test_open(void)
{
    SamiFrameOpen open = sample_open(), parsed;
    guint8 payload[512];
    gsize length = print_open(&open, payload);
    CU_ASSERT_EQUAL(length, 1 + 1 + 2 + 32 + 1 + 11 + 1 + 18);
    CU_ASSERT(payload[2] == 0xff && payload[3] == 0xff && payload[4] == 1 && payload[36] == 11);
    CU_ASSERT(sami_frame_open_parse(payload, length, &parsed, NULL));
    CU_ASSERT(parsed.version == 1 && parsed.transport == 1 && parsed.message_max == 65535);
    CU_ASSERT(!memcmp(parsed.ekm, open.ekm, 32) && !strcmp(parsed.name, open.name) &&
              !strcmp(parsed.address, open.address));
    for (gsize i = 0; i < length; i++) /* every prefix is too short */
        CU_ASSERT_FALSE(sami_frame_open_parse(payload, i, &parsed, NULL));
    payload[length] = 0;
    CU_ASSERT_FALSE(sami_frame_open_parse(payload, length + 1, &parsed, NULL));
}

static void
test_bad_open(void)
{
    static const struct {
        gsize at;
        guint8 octet;
    } bad[] = {
        { 0, 0 },    { 0, 2 },     { 1, 0 },     { 1, 4 },    /* version, transport */
        { 36, 0 },   { 36, 10 },   { 36, 12 },   { 36, 255 }, /* length of the name */
        { 37, 'F' }, { 37, 0 },    { 38, ' ' },  { 37, '.' },
        { 37, '-' }, { 39, 0xff }, { 39, '*' },  { 48, 17 },
        { 48, 200 }, { 50, 0 },    { 50, '\n' }, { 50, 0x80 }, /* the address */
    };
    SamiFrameOpen open = sample_open(), parsed = { .version = 77 };
    guint8 payload[512];
    gsize length = print_open(&open, payload);
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        guint8 saved = payload[bad[i].at];
        g_autoptr(GError) error = NULL;
        payload[bad[i].at] = bad[i].octet;
        CU_ASSERT_FALSE(sami_frame_open_parse(payload, length, &parsed, &error));
        CU_ASSERT(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_MALFORMED));
        payload[bad[i].at] = saved;
    }
    payload[2] = 0; /* message_max */
    payload[3] = 159;
    CU_ASSERT_FALSE(sami_frame_open_parse(payload, length, &parsed, NULL));
    CU_ASSERT_EQUAL(parsed.version, 77); /* outputs untouched */
    open.transport = 3;                  /* plain TCP has no name */
    open.name[0] = '\0';
    length = print_open(&open, payload);
    CU_ASSERT(length && sami_frame_open_parse(payload, length, &parsed, NULL));
    open.transport = 1;
    CU_ASSERT_EQUAL(print_open(&open, payload), 0);
}

/* ---- channel ---- */

static guint
count_fds(void)
{
    guint n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void
send_packet(int channel, const guint8 *packet, gsize length, const int *fds, guint n_fds)
{
    _Alignas(struct cmsghdr) guint8 control[CMSG_SPACE(16 * sizeof(int))] = { 0 };
    struct iovec part = { (void *) packet, length };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
    if (n_fds)
        sami_passing_attach(&message, control, fds, n_fds);
    CU_ASSERT_EQUAL(sendmsg(channel, &message, 0), (ssize_t) length);
}

static void
test_channel(void)
{
    int channel[2], fd;
    SamiChannelType type;
    guint32 request;
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, channel), 0);
    g_autofree gchar *text = NULL, *empty = NULL;
    CU_ASSERT_EQUAL(sami_channel_receive(channel[1], &type, &request, &text, &fd, NULL),
                    SAMI_RECEIVE_AGAIN);
    CU_ASSERT(
        sami_channel_send(channel[0], SAMI_CHANNEL_CONNECT, 0x01020304, "fw2.example", -1, NULL));
    CU_ASSERT(sami_channel_send(channel[0], SAMI_CHANNEL_SESSION, 7, NULL, channel[0], NULL));
    CU_ASSERT_EQUAL(sami_channel_receive(channel[1], &type, &request, &text, &fd, NULL),
                    SAMI_RECEIVE_FRAME);
    CU_ASSERT(type == SAMI_CHANNEL_CONNECT && request == 0x01020304 && fd == -1);
    CU_ASSERT_STRING_EQUAL(text, "fw2.example");
    CU_ASSERT_EQUAL(sami_channel_receive(channel[1], &type, &request, &empty, &fd, NULL),
                    SAMI_RECEIVE_FRAME);
    CU_ASSERT(type == SAMI_CHANNEL_SESSION && request == 7 && fd >= 0);
    CU_ASSERT_STRING_EQUAL(empty, "");
    CU_ASSERT(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
    close(channel[0]);
    CU_ASSERT_EQUAL(sami_channel_receive(channel[1], &type, &request, &text, &fd, NULL),
                    SAMI_RECEIVE_END);
    close(channel[1]);
}

static void
test_bad_channel(void)
{
    static const struct {
        const gchar *packet;
        gsize length;
        guint n_fds;
    } bad[] = {
        { "\1\0\0\0", 4, 0 },     { "\1\0\0\0", 4, 1 },      { "\0\0\0\0\0", 5, 0 },
        { "\4\0\0\0\0", 5, 1 },   { "\1\0\0\0\0", 5, 2 },    { "\1\0\0\0\0", 5, 12 },
        { "\2\0\0\0\0fw", 7, 1 }, { "\2\0\0\0\0f\0", 7, 0 }, { "\2\0\0\0\0\xff", 6, 0 },
        { NULL, 5 + 1025, 1 },
    };
    g_autofree gchar *longest = g_strnfill(2000, 'x');
    const int fds[16] = { 0 };
    longest[0] = 1;
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        int channel[2], fd = 99;
        SamiChannelType type;
        guint32 request;
        g_autofree gchar *text = NULL;
        g_autoptr(GError) error = NULL;
        CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, channel), 0);
        guint n_before = count_fds();
        send_packet(channel[0], (const guint8 *) (bad[i].packet ? bad[i].packet : longest),
                    bad[i].length, fds, bad[i].n_fds);
        CU_ASSERT_EQUAL(sami_channel_receive(channel[1], &type, &request, &text, &fd, &error),
                        SAMI_RECEIVE_BAD);
        CU_ASSERT(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_MALFORMED));
        CU_ASSERT_EQUAL(count_fds(), n_before);
        CU_ASSERT_EQUAL(fd, 99);
        close(channel[0]);
        close(channel[1]);
    }
    g_autoptr(GError) error = NULL;
    CU_ASSERT_FALSE(sami_channel_send(0, SAMI_CHANNEL_CONNECT, 0, longest, -1, &error));
}

static void
test_addresses(void)
{
    static const struct {
        const gchar *text, *host, *port;
    } cases[] = {
        { "192.0.2.1:4740", "192.0.2.1", "4740" },
        { "[2001:db8::1]:4740", "2001:db8::1", "4740" },
        { "fw2.example:1", "fw2.example", "1" },
        { "2001:db8::1:4740", NULL, NULL },
        { "[2001:db8::1]", NULL, NULL },
        { "fw2.example", NULL, NULL },
        { ":4740", NULL, NULL },
        { "[]:4740", NULL, NULL },
        { "fw2.example:", NULL, NULL },
        { "fw2.example:65536", NULL, NULL },
        { "", NULL, NULL },
        { "[", NULL, NULL },
        { "fw2:+1", NULL, NULL },
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree gchar *host = NULL, *port = NULL;
        gboolean is_split = sami_address_split(cases[i].text, &host, &port, NULL);
        CU_ASSERT_EQUAL(is_split, cases[i].host != NULL);
        if (is_split && cases[i].host) {
            CU_ASSERT_STRING_EQUAL(host, cases[i].host);
            CU_ASSERT_STRING_EQUAL(port, cases[i].port);
        }
    }
}

static const SamiTest tests[] = {
    { "frames", test_frames },
    { "end after the tail", test_end_after_tail },
    { "full socket", test_full },
    { "bad frames", test_bad_frames },
    { "error text is cut at a character", test_error_text },
    { "open", test_open },
    { "bad open", test_bad_open },
    { "channel", test_channel },
    { "bad channel packets leave no descriptor", test_bad_channel },
    { "addresses", test_addresses },
};

int
main(void)
{
    return sami_test_main("transport frames", tests, G_N_ELEMENTS(tests), NULL, NULL);
}
