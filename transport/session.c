#include "transport/session.h"

#include <errno.h>
#include <glib-unix.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cursor.h"
#include "common/value.h"
#include "transport/session-pair.h"

#define OPEN_VERSION 1u
/* version, transport, message_max, ekm, and the two length octets of the strings */
#define OPEN_FIXED (1u + 1u + 2u + 32u + 1u + 1u)
#define ERROR_TEXT_MAX 1024u

struct SamiSessionSocket {
    int fd;
    guint8 buffer[SAMI_FRAME_MAX]; /* the frame that was received last */
};

typedef struct {
    gsize min;
    gsize max;
} FrameBounds;

static const FrameBounds frame_bounds[] = {
    [SAMI_FRAME_OPEN] = { OPEN_FIXED,
                          OPEN_FIXED + SAMI_NAME_MAX + sizeof(((SamiFrameOpen *) 0)->address) - 1 },
    [SAMI_FRAME_MESSAGE] = { SAMI_MESSAGE_HEADER, SAMI_MESSAGE_MAX },
    [SAMI_FRAME_CLOSE] = { 0, 0 },
    [SAMI_FRAME_ERROR] = { 0, ERROR_TEXT_MAX },
    [SAMI_FRAME_MALFORMED] = { 0, ERROR_TEXT_MAX },
};

/* Only a process with CAP_NET_ADMIN may exceed net.core.wmem_max. Each process sizes its own
 * end: the send buffer belongs to the end that sends. Without it a session works with the
 * smaller buffer, so failure is not an error. */
static void
force_send_buffer(int fd)
{
    const int size = SAMI_SESSION_BUFFER;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) != 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

gboolean
sami_session_pair(SamiSessionSocket **ret_own, int *ret_other, GError **error)
{
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "socketpair for a session: %s",
                    g_strerror(errno));
        return FALSE;
    }
    force_send_buffer(fds[1]);
    *ret_own = sami_session_socket_new(fds[0]);
    *ret_other = fds[1];
    return TRUE;
}

SamiSessionSocket *
sami_session_socket_new(int fd_take)
{
    SamiSessionSocket *socket = g_new(SamiSessionSocket, 1);
    socket->fd = fd_take;
    g_unix_set_fd_nonblocking(fd_take, TRUE, NULL);
    force_send_buffer(fd_take);
    return socket;
}

void
sami_session_socket_free(SamiSessionSocket *socket)
{
    if (!socket)
        return;
    close(socket->fd);
    g_free(socket);
}

int
sami_session_socket_fd(SamiSessionSocket *socket)
{
    return socket->fd;
}

static gboolean
is_frame_type(guint type)
{
    return type >= SAMI_FRAME_OPEN && type < G_N_ELEMENTS(frame_bounds);
}

static gboolean
check_frame(guint type, gsize length, GError **error)
{
    if (!is_frame_type(type)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED,
                    "session socket: frame type %u is not known", type);
        return FALSE;
    }
    if (length < frame_bounds[type].min || length > frame_bounds[type].max) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED,
                    "session socket: frame type %u with %" G_GSIZE_FORMAT
                    " octets, allowed are %" G_GSIZE_FORMAT " to %" G_GSIZE_FORMAT,
                    type, length, frame_bounds[type].min, frame_bounds[type].max);
        return FALSE;
    }
    return TRUE;
}

gboolean
sami_session_socket_send(SamiSessionSocket *socket, SamiFrameType type, const guint8 *payload,
                         gsize length, GError **error)
{
    guint8 octet = (guint8) type;
    struct iovec parts[2] = { { &octet, 1 }, { (void *) payload, length } };
    struct msghdr message = { .msg_iov = parts, .msg_iovlen = length ? 2 : 1 };
    ssize_t n;
    if (!check_frame(type, length, error))
        return FALSE;
    do
        n = sendmsg(socket->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n >= 0)
        return TRUE;
    int code = errno == EAGAIN                                              ? SAMI_ERROR_FULL
               : errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN ? SAMI_ERROR_PEER
                                                                            : SAMI_ERROR_FAILED;
    g_set_error(error, SAMI_ERROR, code, "session socket: %s", g_strerror(errno));
    return FALSE;
}

gboolean
sami_session_send_text(SamiSessionSocket *session, SamiFrameType type, const gchar *text,
                       GError **error)
{
    g_autofree gchar *valid = g_utf8_make_valid(text, -1);
    gsize length = strlen(valid);
    if (length > ERROR_TEXT_MAX)
        length = (gsize) (g_utf8_find_prev_char(valid, valid + ERROR_TEXT_MAX + 1) - valid);
    return sami_session_socket_send(session, type, (const guint8 *) valid, length, error);
}

static gboolean
check_address(const gchar *address, gsize length)
{
    return length == strspn(address, "0123456789abcdefghijklmnopqrstuvwxyzABCDEF.:[]%-");
}

/* The claims, checked alike by the writer and the reader. */
static gboolean
check_open(const SamiFrameOpen *open, GError **error)
{
    const gchar *rule = NULL;
    if (open->version != OPEN_VERSION)
        rule = "version is not 1";
    else if (open->transport < 1 || open->transport > 3)
        rule = "transport is not 1, 2 or 3";
    else if (open->message_max < SAMI_MESSAGE_MAX_SCTP)
        rule = "message_max is smaller than that of any transport"; /* the encoder needs room for templates */
    else if (!memchr(open->name, 0, sizeof(open->name)) ||
             !memchr(open->address, 0, sizeof(open->address)))
        rule = "a string has no end";
    else if (!check_address(open->address, strlen(open->address)))
        rule = "address has characters that no address has";
    if (rule) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED, "session socket: OPEN: %s", rule);
        return FALSE;
    }
    /* Plain TCP verifies nobody, so it may have no name. */
    if (open->transport == 3 && !*open->name)
        return TRUE;
    g_autoptr(GError) local = NULL;
    if (!sami_value_name(open->name, &local)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED, "session socket: OPEN: name: %s",
                    local->message);
        return FALSE;
    }
    return TRUE;
}

static void
write_string(SamiWriter *w, const gchar *text)
{
    sami_writer_uint(w, strlen(text), 1);
    sami_writer_octets(w, text, strlen(text));
}

gboolean
sami_session_socket_send_open(SamiSessionSocket *socket, const SamiFrameOpen *open, GError **error)
{
    guint8 payload[OPEN_FIXED + SAMI_NAME_MAX + sizeof(open->address)];
    SamiWriter w;
    if (!check_open(open, error))
        return FALSE;
    sami_writer_init(&w, payload, sizeof(payload));
    sami_writer_uint(&w, open->version, 1);
    sami_writer_uint(&w, open->transport, 1);
    sami_writer_uint(&w, open->message_max, 2);
    sami_writer_octets(&w, open->ekm, sizeof(open->ekm));
    write_string(&w, open->name);
    write_string(&w, open->address);
    gboolean is_sent = sami_session_socket_send(socket, SAMI_FRAME_OPEN, payload,
                                                sami_writer_length(&w), error);
    explicit_bzero(payload, sizeof(payload));
    return is_sent;
}

/* A string with a NUL inside would read differently here and there; it is refused. `size`
 * includes the final NUL. */
static gboolean
read_string(SamiReader *r, gchar *ret_text, gsize size)
{
    gsize length = sami_reader_uint(r, 1);
    const guint8 *octets = sami_reader_take(r, length);
    if (!octets || length >= size || memchr(octets, 0, length))
        return FALSE;
    memcpy(ret_text, octets, length);
    ret_text[length] = '\0';
    return TRUE;
}

gboolean
sami_frame_open_parse(const guint8 *payload, gsize length, SamiFrameOpen *ret_open, GError **error)
{
    SamiFrameOpen open = { 0 };
    SamiReader r;
    sami_reader_init(&r, payload, length);
    open.version = (guint8) sami_reader_uint(&r, 1);
    open.transport = (guint8) sami_reader_uint(&r, 1);
    open.message_max = (guint16) sami_reader_uint(&r, 2);
    const guint8 *ekm = sami_reader_take(&r, sizeof(open.ekm));
    if (ekm)
        memcpy(open.ekm, ekm, sizeof(open.ekm));
    if (!read_string(&r, open.name, sizeof(open.name)) ||
        !read_string(&r, open.address, sizeof(open.address)) || sami_reader_left(&r) > 0) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED,
                    "session socket: OPEN of %" G_GSIZE_FORMAT
                    " octets: lengths and strings do not fit",
                    length);
        return FALSE;
    }
    if (!check_open(&open, error))
        return FALSE;
    *ret_open = open;
    return TRUE;
}

/* When the other end closes while frames that we sent lie unread there, Linux
 * (net/unix/af_unix.c, unix_release_sock) reports ECONNRESET once, ahead of frames that wait
 * here. Reading again gets those, and then the end. */
static ssize_t
receive_packet(int fd, struct msghdr *message)
{
    ssize_t n;
    guint resets = 0;
    do
        n = recvmsg(fd, message, MSG_DONTWAIT);
    while (n < 0 && (errno == EINTR || (errno == ECONNRESET && resets++ == 0)));
    return n;
}

SamiReceive
sami_session_socket_receive(SamiSessionSocket *socket, SamiFrameType *ret_type,
                            guint8 **ret_payload, gsize *ret_length, GError **error)
{
    struct iovec part = { socket->buffer, sizeof(socket->buffer) };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
    ssize_t n = receive_packet(socket->fd, &message);
    if (n < 0 && errno == EAGAIN)
        return SAMI_RECEIVE_AGAIN;
    if (n == 0 || (n < 0 && errno == ECONNRESET))
        return SAMI_RECEIVE_END;
    if (n < 0) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "session socket: %s", g_strerror(errno));
        return SAMI_RECEIVE_BAD;
    }
    /* No control buffer: the kernel drops descriptors that came along and says MSG_CTRUNC. */
    if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED, "session socket: %s",
                    message.msg_flags & MSG_TRUNC ? "a frame is longer than 65536 octets"
                                                  : "a frame carries descriptors");
        return SAMI_RECEIVE_BAD;
    }
    gsize length = (gsize) n - 1;
    if (!check_frame(socket->buffer[0], length, error))
        return SAMI_RECEIVE_BAD;
    if ((socket->buffer[0] == SAMI_FRAME_ERROR || socket->buffer[0] == SAMI_FRAME_MALFORMED) &&
        !g_utf8_validate_len((const gchar *) socket->buffer + 1, length, NULL)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED,
                    "session socket: the text of ERROR is not UTF-8");
        return SAMI_RECEIVE_BAD;
    }
    *ret_type = socket->buffer[0];
    *ret_payload = socket->buffer + 1;
    *ret_length = length;
    return SAMI_RECEIVE_FRAME;
}
