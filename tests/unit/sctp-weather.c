#include "tests/unit/sctp-weather.h"

#include <poll.h>
#include <string.h>

#include "tests/tools/sctp-checksum.h"

#define HEADER 12u
#define CHUNK_INIT 1
#define CHUNK_INIT_ACK 2
#define CHUNK_ABORT 6
#define CHUNK_COOKIE_ECHO 10
#define CHUNK_COOKIE_ACK 11
#define CHUNK_AUTH 15
#define PARAMETER_COOKIE 7

guint weather_loss, weather_twice, weather_late;

typedef struct {
    guint8 octets[65536], control[256];
    struct sockaddr_storage to;
    struct iovec part;
    struct msghdr message;
    gboolean is_full;
} Held;

static Held held; /* of this process */

static gboolean
happens(guint per_mille)
{
    return (guint) g_random_int_range(0, 1000) < per_mille;
}

static void
hold(const struct msghdr *message)
{
    held.part = (struct iovec){ held.octets, message->msg_iov[0].iov_len };
    held.message = (struct msghdr){ .msg_name = &held.to, .msg_namelen = message->msg_namelen, .msg_iov = &held.part, .msg_iovlen = 1,
                                    .msg_control = message->msg_controllen ? held.control : NULL, .msg_controllen = message->msg_controllen };
    memcpy(held.octets, message->msg_iov[0].iov_base, held.part.iov_len);
    memcpy(&held.to, message->msg_name, message->msg_namelen);
    if (message->msg_controllen)
        memcpy(held.control, message->msg_control, MIN(message->msg_controllen, sizeof(held.control)));
    held.is_full = TRUE;
}

ssize_t
weather_send(int fd, const struct msghdr *message, int flags)
{
    ssize_t n = (ssize_t) message->msg_iov[0].iov_len;
    if (happens(weather_loss))
        return n;
    if (!held.is_full && happens(weather_late)) {
        hold(message);
        return n;
    }
    n = sendmsg(fd, message, flags);
    if (happens(weather_twice))
        sendmsg(fd, message, flags);
    if (held.is_full)
        sendmsg(fd, &held.message, flags);
    held.is_full = FALSE;
    return n;
}

/* ---- forgery ---- */

static gsize
padded_length(const guint8 *at)
{
    return (((gsize) at[2] << 8 | at[3]) + 3) & ~(gsize) 3;
}

typedef gsize (*Change)(guint8 *chunk, gsize n); /* the chunk's new length, 0: it is gone */

static ssize_t
send_changed(int fd, const struct msghdr *message, int flags, Change change)
{
    guint8 packet[65536];
    const guint8 *from = message->msg_iov[0].iov_base;
    gsize n = message->msg_iov[0].iov_len, at = HEADER, length = HEADER;
    memcpy(packet, from, HEADER);
    while (at + 4 <= n) {
        gsize chunk = MIN(padded_length(from + at), n - at);
        memcpy(packet + length, from + at, chunk);
        length += change(packet + length, chunk);
        at += chunk;
    }
    sctp_set_checksum(packet, length);
    struct iovec part = { packet, length };
    struct msghdr changed = *message;
    changed.msg_iov = &part;
    sendmsg(fd, &changed, flags);
    return (ssize_t) n;
}

static gsize
drop_offer(guint8 *chunk, gsize n)
{
    gsize at = 20, kept = 20;
    if (chunk[0] != CHUNK_INIT && chunk[0] != CHUNK_INIT_ACK)
        return n;
    while (at + 4 <= n) {
        gsize parameter = MIN(padded_length(chunk + at), n - at);
        gboolean is_auth = chunk[at] == 0x80 && (chunk[at + 1] == 2 || chunk[at + 1] == 3 || chunk[at + 1] == 4 || chunk[at + 1] == 8);
        if (!is_auth) {
            memmove(chunk + kept, chunk + at, parameter);
            kept += parameter;
        }
        at += parameter;
    }
    chunk[2] = (guint8) (kept >> 8);
    chunk[3] = (guint8) kept;
    return kept;
}

static gsize
drop_auth(guint8 *chunk, gsize n)
{
    return chunk[0] == CHUNK_AUTH ? 0 : n;
}

static gsize
spoil_auth(guint8 *chunk, gsize n)
{
    if (chunk[0] == CHUNK_AUTH && chunk[5] == 1)
        chunk[n - 1] ^= 1;
    return n;
}

ssize_t
weather_send_without_offer(int fd, const struct msghdr *message, int flags)
{
    return send_changed(fd, message, flags, drop_offer);
}

ssize_t
weather_send_without_auth(int fd, const struct msghdr *message, int flags)
{
    return send_changed(fd, message, flags, drop_auth);
}

ssize_t
weather_send_wrong_key(int fd, const struct msghdr *message, int flags)
{
    return send_changed(fd, message, flags, spoil_auth);
}

gsize
weather_init(guint16 port, guint32 tag, guint8 ret_packet[32])
{
    const guint8 packet[32] = { 0x30, 0x39, (guint8) (port >> 8), (guint8) port, 0, 0, 0, 0, 0, 0, 0, 0, CHUNK_INIT, 0, 0, 20,
                                (guint8) (tag >> 24), (guint8) (tag >> 16), (guint8) (tag >> 8), (guint8) tag, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1 };
    memcpy(ret_packet, packet, sizeof(packet));
    sctp_set_checksum(ret_packet, sizeof(packet));
    return sizeof(packet);
}

/* ---- a peer that only comes up ---- */

/* The next packet's first chunk of this type; NULL if none comes in time. `packet` has 65536 octets. */
static guint8 *
wait_for_chunk(int fd, guint8 type, guint8 *packet, gsize *ret_length, gint64 timeout_ms)
{
    gint64 end = g_get_monotonic_time() + timeout_ms * 1000;
    gint64 left_ms;
    while ((left_ms = (end - g_get_monotonic_time()) / 1000) > 0) {
        struct pollfd entry = { fd, POLLIN, 0 };
        if (poll(&entry, 1, (int) left_ms) != 1)
            return NULL;
        ssize_t n = recv(fd, packet, 65536, MSG_DONTWAIT);
        if (n >= (ssize_t) HEADER + 4 && packet[HEADER] == type) {
            *ret_length = MIN((gsize) packet[HEADER + 2] << 8 | packet[HEADER + 3], (gsize) n - HEADER);
            return packet + HEADER;
        }
    }
    return NULL;
}

/* RANDOM, CHUNKS (DATA, FORWARD TSN), HMAC-ALGO (SHA-1), and AUTH among the supported extensions (RFC 4895 §3, RFC 5061 §4.2.7). */
static gsize
write_offer(guint8 *at)
{
    static const guint8 rest[] = { 0x80, 3, 0, 6, 0, 0xc0, 0, 0, 0x80, 4, 0, 6, 0, 1, 0, 0, 0x80, 8, 0, 5, CHUNK_AUTH, 0, 0, 0 };
    at[0] = 0x80;
    at[1] = 2;
    at[2] = 0;
    at[3] = 36;
    for (guint i = 4; i < 36; i++)
        at[i] = (guint8) g_random_int_range(0, 256);
    memcpy(at + 36, rest, sizeof(rest));
    return 36 + sizeof(rest);
}

gboolean
weather_associate(int fd, guint16 port, guint32 tag)
{
    g_autofree guint8 *packet = g_malloc(65536);
    guint8 init[256], echo[4096];
    gsize n = weather_init(port, tag, init), length;
    n += write_offer(init + n);
    init[HEADER + 3] = (guint8) (n - HEADER);
    sctp_set_checksum(init, n);
    if (send(fd, init, n, 0) != (ssize_t) n)
        return FALSE;
    const guint8 *answer = wait_for_chunk(fd, CHUNK_INIT_ACK, packet, &length, 2000);
    gsize at = 20;
    while (answer && at + 4 <= length && (answer[at] != 0 || answer[at + 1] != PARAMETER_COOKIE))
        at += padded_length(answer + at);
    if (!answer || at + 4 > length)
        return FALSE;
    gsize cookie = MIN((gsize) answer[at + 2] << 8 | answer[at + 3], MIN(length - at, sizeof(echo) - 16));
    memcpy(echo, init, HEADER);
    memcpy(echo + 4, answer + 4, 4); /* the server's tag */
    memcpy(echo + HEADER, answer + at, cookie);
    echo[HEADER] = CHUNK_COOKIE_ECHO;
    echo[HEADER + 1] = 0;
    n = HEADER + padded_length(echo + HEADER);
    sctp_set_checksum(echo, n);
    return send(fd, echo, n, 0) == (ssize_t) n && wait_for_chunk(fd, CHUNK_COOKIE_ACK, packet, &length, 2000);
}

gboolean
weather_is_aborted(int fd, gint64 timeout_ms)
{
    g_autofree guint8 *packet = g_malloc(65536);
    gsize length;
    return wait_for_chunk(fd, CHUNK_ABORT, packet, &length, timeout_ms) != NULL;
}
