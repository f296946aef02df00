/* What a network process in the wrong hands can try. To the table belongs only what is an attack: it may always cut and delay. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cursor.h"
#include "common/passing.h"
#include "tests/hostile/between.h"
#include "tests/hostile/watch.h"

/* Of the exporter's Messages 0 is hello, under a binding of its own; 1 is the first that can bring state. Of the collector's 0 is hello-reply. */
#define FIRST 1u
/* In the signature Set: header, scope, algorithm, role and flags are before it (PROTOCOL §2). */
#define KEY_ID_OFFSET 8u
#define RANDOM_FRAMES 10000u
/* max-delay of the test's configuration is 3 s. */
#define TOO_LONG_US (3500 * 1000)

static const guint8 *
recorded(const Between *between, guint from, guint i, gsize *ret_length)
{
    const GPtrArray *messages = between->recording.messages[from];
    if (i >= messages->len)
        return NULL;
    return g_bytes_get_data(messages->pdata[i], ret_length);
}

static void
replay(Session *s, guint from, guint i)
{
    gsize length;
    const guint8 *message = recorded(s->between, from, i, &length);
    if (message && s->ends[!from])
        between_send(s->ends[!from], SAMI_FRAME_MESSAGE, message, length);
}

/* ---- Messages of the exporter ---- */

static gboolean
alter(Session *s, guint from, guint8 *message, gsize *length)
{
    if (from == EXPORTER && s->n[from] >= FIRST)
        message[*length - SAMI_SIGNATURE_SET - 1] ^= 1;
    return TRUE;
}

/* Whole again, but signed by the wrong key, which says that it is the right one. */
static gboolean
sign_anew(Session *s, guint from, guint8 *message, gsize *length)
{
    SamiSignature fields;
    if (from != EXPORTER || s->n[from] < FIRST || !sami_signature_read(message, *length, &fields, NULL))
        return TRUE;
    guint8 key_id[SAMI_KEY_ID];
    memcpy(key_id, fields.key_id, sizeof key_id);
    *length = sami_signature_seal(s->between->key, &fields, message, *length - SAMI_SIGNATURE_SET);
    memcpy(message + *length - SAMI_SIGNATURE_SET + KEY_ID_OFFSET, key_id, sizeof key_id);
    return TRUE;
}

static gboolean
drop(Session *s, guint from, guint8 *message, gsize *length)
{
    return from != EXPORTER || s->n[from] != FIRST;
}

static gboolean
twice(Session *s, guint from, guint8 *message, gsize *length)
{
    if (from == EXPORTER && s->n[from] == FIRST && s->ends[COLLECTOR])
        between_send(s->ends[COLLECTOR], SAMI_FRAME_MESSAGE, message, *length);
    return TRUE;
}

/* 1 comes behind 2. */
static gboolean
swap(Session *s, guint from, guint8 *message, gsize *length)
{
    if (from != EXPORTER || s->n[from] < FIRST || s->n[from] > FIRST + 1)
        return TRUE;
    if (s->n[from] == FIRST) {
        g_ptr_array_add(s->held, g_bytes_new(message, *length));
        return FALSE;
    }
    if (s->ends[COLLECTOR])
        between_send(s->ends[COLLECTOR], SAMI_FRAME_MESSAGE, message, *length);
    between_deliver(s);
    return FALSE;
}

/* All of them, in their order. */
static gboolean
hold(Session *s, guint from, guint8 *message, gsize *length)
{
    if (from != EXPORTER || s->n[from] < FIRST || (s->n[from] > FIRST && !s->held_until_us))
        return TRUE;
    if (s->n[from] == FIRST)
        s->held_until_us = g_get_monotonic_time() + TOO_LONG_US;
    g_ptr_array_add(s->held, g_bytes_new(message, *length));
    return FALSE;
}

static gboolean
truncate_message(Session *s, guint from, guint8 *message, gsize *length)
{
    if (from == EXPORTER && s->n[from] == FIRST)
        *length /= 2;
    return TRUE;
}

/* The honest session's Messages in place of this one's; it goes by the number that the collector asks for. */
static gboolean
replay_state(Session *s, guint from, guint8 *message, gsize *length)
{
    if (from != EXPORTER || s->n[from] < FIRST)
        return TRUE;
    replay(s, EXPORTER, s->n[from]);
    return FALSE;
}

static void
open_as_recorded(Session *s, SamiFrameOpen opens[2])
{
    memcpy(opens[EXPORTER].ekm, s->between->recording.open.ekm, sizeof opens[EXPORTER].ekm);
    opens[COLLECTOR] = s->between->recording.open;
}

static void
open_with_other_ekm(Session *s, SamiFrameOpen opens[2])
{
    opens[COLLECTOR].ekm[31] ^= 1;
}

static void
open_with_other_name(Session *s, SamiFrameOpen opens[2])
{
    g_strlcpy(opens[COLLECTOR].name, "fw3.example", sizeof opens[COLLECTOR].name);
}

/* What the collector says itself, as if the exporter had said it. */
static gboolean
reflect_answers(Session *s, guint from, guint8 *message, gsize *length)
{
    if (from == COLLECTOR && s->n[from] > 0 && s->ends[COLLECTOR])
        between_send(s->ends[COLLECTOR], SAMI_FRAME_MESSAGE, message, *length);
    return from == COLLECTOR ? s->n[from] == 0 : s->n[from] < FIRST;
}

static gboolean
reflect_reply(Session *s, guint from, guint8 *message, gsize *length)
{
    if (from == COLLECTOR && s->ends[COLLECTOR])
        between_send(s->ends[COLLECTOR], SAMI_FRAME_MESSAGE, message, *length);
    return from == COLLECTOR || s->n[from] < FIRST;
}

/* ---- answers of the collector, forged: no migration may end well ---- */

/* The collector gets nothing after hello; the exporter the receipts of the honest migration, READY and all. */
static gboolean
replay_receipts(Session *s, guint from, guint8 *message, gsize *length)
{
    if (from == EXPORTER && s->n[from] >= FIRST)
        replay(s, COLLECTOR, ++s->n_replayed);
    return from == EXPORTER ? s->n[from] < FIRST : s->n[from] == 0;
}

static gboolean
reflect_state(Session *s, guint from, guint8 *message, gsize *length)
{
    if (from == EXPORTER && s->n[from] >= FIRST && s->ends[EXPORTER])
        between_send(s->ends[EXPORTER], SAMI_FRAME_MESSAGE, message, *length);
    return from == EXPORTER ? s->n[from] < FIRST : s->n[from] == 0;
}

static gboolean
alter_receipts(Session *s, guint from, guint8 *message, gsize *length)
{
    if (from == COLLECTOR && s->n[from] > 0)
        message[*length - SAMI_SIGNATURE_SET - 1] ^= 1;
    return TRUE;
}

static gboolean
sign_receipts_anew(Session *s, guint from, guint8 *message, gsize *length)
{
    SamiSignature fields;
    if (from == COLLECTOR && s->n[from] > 0 && sami_signature_read(message, *length, &fields, NULL))
        *length = sami_signature_seal(s->between->key, &fields, message, *length - SAMI_SIGNATURE_SET);
    return TRUE;
}

/* hello-reply itself: nonce and key of the attacker, who would then be believed in all that follows. */
static gboolean
sign_reply_anew(Session *s, guint from, guint8 *message, gsize *length)
{
    SamiSignature fields;
    if (from == COLLECTOR && sami_signature_read(message, *length, &fields, NULL))
        *length = sami_signature_seal(s->between->key, &fields, message, *length - SAMI_SIGNATURE_SET);
    return TRUE;
}

static gboolean
keep_receipts(Session *s, guint from, guint8 *message, gsize *length)
{
    return from == EXPORTER || s->n[from] == 0;
}

/* The last receipt of the honest migration instead of the first of this one. */
static gboolean
replay_last_receipt(Session *s, guint from, guint8 *message, gsize *length)
{
    if (from != COLLECTOR || s->n[from] == 0)
        return TRUE;
    replay(s, COLLECTOR, s->between->recording.messages[COLLECTOR]->len - 1);
    return FALSE;
}

/* ---- frames that no exporter and no collector have sent ---- */

static void
open_honestly(SamiSessionSocket *to)
{
    SamiFrameOpen open = { .version = 1, .transport = 1, .message_max = SAMI_MESSAGE_MAX, .name = "fw1.example", .address = "10.255.0.1:4740" };
    sami_random(open.ekm, sizeof open.ekm);
    sami_session_socket_send_open(to, &open, NULL);
}

/* Past the checks of the sender. */
static void
send_raw(SamiSessionSocket *to, const guint8 *octets, gsize length)
{
    while (send(sami_session_socket_fd(to), octets, length, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno == EAGAIN)
        g_usleep(1000);
}

/* Reads until the other end is gone. */
static void
drain(SamiSessionSocket *socket)
{
    SamiFrameType type;
    guint8 *payload;
    gsize length;
    gint64 end_us = g_get_monotonic_time() + 5 * G_USEC_PER_SEC;
    SamiReceive receive = SAMI_RECEIVE_AGAIN;
    while ((receive == SAMI_RECEIVE_AGAIN || receive == SAMI_RECEIVE_FRAME) && g_get_monotonic_time() < end_us) {
        receive = sami_session_socket_receive(socket, &type, &payload, &length, NULL);
        if (receive == SAMI_RECEIVE_AGAIN)
            g_usleep(1000);
    }
    if (g_get_monotonic_time() >= end_us)
        die("the session is not ended");
    sami_session_socket_free(socket);
}

/* A whole session again, with the exporter value that it had: what the listener of a stolen journal could do. */
static void
replay_session(Between *between)
{
    SamiSessionSocket *socket = between_pair(between, COLLECTOR, 0);
    gsize length;
    sami_session_socket_send_open(socket, &between->recording.open, NULL);
    for (guint i = 0; i < between->recording.messages[EXPORTER]->len; i++) {
        const guint8 *message = recorded(between, EXPORTER, i, &length);
        between_send(socket, SAMI_FRAME_MESSAGE, message, length);
    }
    between_send(socket, SAMI_FRAME_CLOSE, NULL, 0);
    drain(socket);
}

static void
open_twice(Between *between)
{
    SamiSessionSocket *socket = between_pair(between, COLLECTOR, 0);
    open_honestly(socket);
    open_honestly(socket);
    drain(socket);
}

static void
message_before_open(Between *between)
{
    gsize length;
    SamiSessionSocket *socket = between_pair(between, COLLECTOR, 0);
    const guint8 *message = recorded(between, EXPORTER, 0, &length);
    between_send(socket, SAMI_FRAME_MESSAGE, message, length);
    drain(socket);
}

/* Every length of a frame around its bounds, and every type. */
static void
odd_frames(Between *between)
{
    static const gsize lengths[] = { 0, 1, 2, 16, 17, 37, 38, 39, 64, 255, 256, 1024, 1026, 16384, 65535, 65536, 65537, 100000 };
    g_autofree guint8 *octets = g_malloc(100001);
    for (guint type = 0; type < 8; type++)
        for (guint i = 0; i < G_N_ELEMENTS(lengths); i++) {
            SamiSessionSocket *socket = between_pair(between, COLLECTOR, 0);
            if (type & 1)
                open_honestly(socket);
            sami_random(octets, 100001);
            octets[0] = (guint8) type;
            send_raw(socket, octets, lengths[i]);
            sami_session_socket_free(socket);
        }
}

/* Of any type and length; every other one is a recorded Message of which some octets are others. */
static void
random_frames_to(Between *between, guint side)
{
    GRand *random = g_rand_new_with_seed(side + 1);
    SamiSessionSocket *socket = NULL;
    g_autofree guint8 *octets = g_malloc(SAMI_FRAME_MAX);
    for (guint n = 0; n < RANDOM_FRAMES; n++) {
        const GPtrArray *messages = between->recording.messages[!side];
        gsize length = 0;
        if (!socket) {
            socket = between_pair(between, side, g_rand_int(random) % 16);
            if (g_rand_int(random) % 8)
                open_honestly(socket);
        }
        if (g_rand_boolean(random)) {
            const guint8 *message = recorded(between, !side, g_rand_int(random) % messages->len, &length);
            octets[0] = SAMI_FRAME_MESSAGE;
            memcpy(octets + 1, message, length++);
            for (guint k = g_rand_int(random) % 8; k > 0; k--)
                octets[1 + g_rand_int(random) % (length - 1)] = (guint8) g_rand_int(random);
        } else {
            length = 1 + g_rand_int(random) % (g_rand_int(random) % 16 ? 600 : SAMI_FRAME_MAX);
            for (gsize k = 0; k < length; k++)
                octets[k] = (guint8) g_rand_int(random);
            octets[0] = (guint8) (g_rand_int(random) % 8);
        }
        ssize_t sent;
        while ((sent = send(sami_session_socket_fd(socket), octets, length, MSG_NOSIGNAL | MSG_DONTWAIT)) < 0 && errno == EAGAIN)
            g_usleep(200);
        if (sent < 0) /* ended by the other side, as it should */
            g_clear_pointer(&socket, sami_session_socket_free);
    }
    sami_session_socket_free(socket);
    g_rand_free(random);
}

static void
random_frames(Between *between)
{
    random_frames_to(between, COLLECTOR);
}

static void
random_frames_at_exporter(Between *between)
{
    random_frames_to(between, EXPORTER);
}

/* ---- the channel ---- */

typedef union {
    struct cmsghdr header;
    guint8 octets[CMSG_SPACE(253 * sizeof(int))];
} Control;

static void
send_packet(int channel, const guint8 *packet, gsize length, const int *fds, guint n_fds)
{
    Control control = { .octets = { 0 } };
    struct iovec part = { (void *) packet, length };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
    if (n_fds)
        sami_passing_attach(&message, &control, fds, n_fds);
    while (sendmsg(channel, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        if (errno != EAGAIN)
            die("the channel: %s", g_strerror(errno));
        else
            g_usleep(1000);
}

static void
odd_channel_to(Between *between, guint side)
{
    int channel = between->channels[side], pipes[2], many[253], others[6];
    guint8 packet[4096] = { 0 };
    if (pipe2(pipes, O_CLOEXEC) != 0)
        die("pipe");
    others[0] = pipes[0];
    others[1] = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    others[2] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    others[3] = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 12); /* a socket of netfilter: a state process writes what it is given */
    others[4] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    others[5] = channel;
    for (guint i = 0; i < G_N_ELEMENTS(many); i++)
        many[i] = pipes[1];
    for (guint type = 0; type < 8; type++) {
        packet[0] = (guint8) type;
        for (guint i = 0; i < G_N_ELEMENTS(others); i++)
            send_packet(channel, packet, 5, &others[i], 1);
        send_packet(channel, packet, 5, many, 2);
        send_packet(channel, packet, 5, many, G_N_ELEMENTS(many));
        send_packet(channel, packet, 1, NULL, 0);
        send_packet(channel, packet, 5, NULL, 0);
        memset(packet + 5, 0xff, sizeof packet - 5);
        send_packet(channel, packet, 64, NULL, 0);
        send_packet(channel, packet, sizeof packet, NULL, 0);
        memset(packet + 5, 0, sizeof packet - 5);
    }
    for (guint n = 0; n < 1000; n++) {
        sami_random(packet, 64);
        packet[0] = packet[0] % 8;
        send_packet(channel, packet, 1 + packet[1] % 64, NULL, 0);
    }
    close(pipes[0]);
    close(pipes[1]);
    for (guint i = 1; i < 5; i++)
        close(others[i]);
}

static void
odd_channel(Between *between)
{
    odd_channel_to(between, COLLECTOR);
}

static void
odd_channel_at_exporter(Between *between)
{
    odd_channel_to(between, EXPORTER);
}

const BetweenCase between_cases[] = {
    { "altered", "bad-signature", alter, .is_untouched = TRUE },
    { "signed-by-another", "bad-signature", sign_anew, .is_untouched = TRUE },
    { "dropped", "wrong-counter", drop, .is_untouched = TRUE },
    { "twice", "wrong-counter", twice },
    { "out-of-order", "wrong-counter", swap, .is_untouched = TRUE },
    { "held-back", "too-late", hold, .is_untouched = TRUE },
    { "truncated", "malformed", truncate_message, .is_untouched = TRUE },
    { "replayed-with-its-ekm", "wrong-session", replay_state, open_as_recorded, .is_untouched = TRUE },
    { "of-another-migration", "wrong-session", replay_state, .is_untouched = TRUE },
    { "other-ekm", "wrong-session", NULL, open_with_other_ekm, .is_untouched = TRUE },
    { "other-name", "tls-name", NULL, open_with_other_name, .is_untouched = TRUE },
    { "answers-reflected", NULL, reflect_answers, .is_untouched = TRUE },
    { "reply-reflected", "wrong-role", reflect_reply, .is_untouched = TRUE },
    { "receipts-replayed", "wrong-session", replay_receipts, .is_untouched = TRUE },
    { "receipts-replayed-with-their-ekm", "wrong-session", replay_receipts, open_as_recorded, .is_untouched = TRUE },
    { "last-receipt-replayed", "wrong-session", replay_last_receipt },
    { "state-reflected", "wrong-role", reflect_state, .is_untouched = TRUE },
    { "receipts-altered", "bad-signature", alter_receipts },
    { "receipts-signed-by-another", "unknown-signer", sign_receipts_anew },
    { "reply-signed-by-another", "unknown-signer", sign_reply_anew, .is_untouched = TRUE },
    { "receipts-kept", NULL, keep_receipts },
    { "session-replayed", .alone = replay_session, .is_untouched = TRUE },
    { "opened-twice", .alone = open_twice, .is_untouched = TRUE },
    { "message-before-open", .alone = message_before_open, .is_untouched = TRUE },
    { "odd-frames", .alone = odd_frames, .is_untouched = TRUE },
    { "random-frames", .alone = random_frames, .is_untouched = TRUE },
    { "random-frames-at-the-exporter", .alone = random_frames_at_exporter, .is_untouched = TRUE },
    { "odd-channel", .alone = odd_channel, .is_untouched = TRUE },
    { "odd-channel-at-the-exporter", .alone = odd_channel_at_exporter, .is_untouched = TRUE },
    { NULL },
};
