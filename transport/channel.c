#include "transport/session.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cursor.h"
#include "common/passing.h"

#define CHANNEL_HEADER 5u
#define CHANNEL_TEXT_MAX 1024u
/* One is allowed. Room for more, so that they can be closed here and do not depend on the
 * kernel's truncation. */
#define CHANNEL_FDS_SEEN 8u

typedef union {
    struct cmsghdr header; /* for its alignment */
    guint8 octets[CMSG_SPACE(CHANNEL_FDS_SEEN * sizeof(int))];
} FdBuffer;

const gchar *
sami_handshake_cause_id(SamiHandshakeCause cause)
{
    static const gchar *const ids[] = {
#define X(symbol, id) id,
        SAMI_HANDSHAKE_CAUSES(X)
#undef X
    };
    return ids[cause];
}

static gboolean
is_channel_type(guint type)
{
    return type >= SAMI_CHANNEL_SESSION && type <= SAMI_CHANNEL_SECRET;
}

gboolean
sami_channel_send(int channel, SamiChannelType type, guint32 request, const gchar *text, int fd,
                  GError **error)
{
    gsize length = text ? strlen(text) : 0;
    guint8 head[CHANNEL_HEADER];
    SamiPassing control;
    SamiWriter w;
    if (!is_channel_type(type) || length > CHANNEL_TEXT_MAX) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED,
                    "channel: type %d with %" G_GSIZE_FORMAT " octets of text", (int) type, length);
        return FALSE;
    }
    sami_writer_init(&w, head, sizeof(head));
    sami_writer_uint(&w, type, 1);
    sami_writer_uint(&w, request, 4);
    struct iovec parts[2] = { { head, sizeof(head) }, { (void *) text, length } };
    struct msghdr message = { .msg_iov = parts, .msg_iovlen = length ? 2 : 1 };
    if (fd >= 0)
        sami_passing_attach(&message, &control, &fd, 1);
    ssize_t n;
    do
        n = sendmsg(channel, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n >= 0)
        return TRUE;
    int code = errno == EAGAIN                                              ? SAMI_ERROR_FULL
               : errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN ? SAMI_ERROR_PEER
                                                                            : SAMI_ERROR_FAILED;
    g_set_error(error, SAMI_ERROR, code, "channel: %s", g_strerror(errno));
    return FALSE;
}

/* Every descriptor that came, so that none is leaked whatever the verdict on the packet. */
static guint
collect_fds(struct msghdr *message, int fds[CHANNEL_FDS_SEEN])
{
    guint n_fds = 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header;
         header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        guint n = (guint) ((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (guint i = 0; i < n && n_fds < CHANNEL_FDS_SEEN; i++)
            memcpy(&fds[n_fds++], CMSG_DATA(header) + i * sizeof(int), sizeof(int));
    }
    return n_fds;
}

static gboolean
check_packet(const guint8 *packet, gsize length, int flags, const int *fds, guint n_fds, GError **error)
{
    const gchar *rule = NULL;
    if (flags & MSG_TRUNC)
        rule = "a packet is too long";
    else if (length < CHANNEL_HEADER)
        rule = "a packet is too short";
    else if (!is_channel_type(packet[0]))
        rule = "a packet has an unknown type";
    else if ((flags & MSG_CTRUNC) || n_fds > 1 ||
             (n_fds && packet[0] != SAMI_CHANNEL_SESSION && packet[0] != SAMI_CHANNEL_RELOAD && packet[0] != SAMI_CHANNEL_SECRET))
        rule = "a packet carries descriptors that do not belong to it";
    else if (n_fds && packet[0] == SAMI_CHANNEL_SESSION && !sami_passing_is_local(fds[0], SOCK_SEQPACKET)) /* anything else would be read and written as a session, with CAP_NET_ADMIN */
        rule = "what a packet passes as a session is none";
    else if (!g_utf8_validate_len((const gchar *) packet + CHANNEL_HEADER, length - CHANNEL_HEADER,
                                  NULL))
        rule = "a text is not UTF-8";
    if (rule)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED, "channel: %s", rule);
    return !rule;
}

SamiReceive
sami_channel_receive(int channel, SamiChannelType *ret_type, guint32 *ret_request, gchar **ret_text,
                     int *ret_fd, GError **error)
{
    guint8 packet[CHANNEL_HEADER + CHANNEL_TEXT_MAX];
    FdBuffer control;
    int fds[CHANNEL_FDS_SEEN];
    struct iovec part = { packet, sizeof(packet) };
    struct msghdr message = { .msg_iov = &part,
                              .msg_iovlen = 1,
                              .msg_control = control.octets,
                              .msg_controllen = sizeof(control) };
    ssize_t n;
    guint resets = 0;
    do /* ECONNRESET comes once, ahead of packets that wait: see session.c */
        n = recvmsg(channel, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (n < 0 && (errno == EINTR || (errno == ECONNRESET && resets++ == 0)));
    if (n < 0 && errno == EAGAIN)
        return SAMI_RECEIVE_AGAIN;
    if (n == 0 || (n < 0 && errno == ECONNRESET))
        return SAMI_RECEIVE_END;
    if (n < 0) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "channel: %s", g_strerror(errno));
        return SAMI_RECEIVE_BAD;
    }
    guint n_fds = collect_fds(&message, fds);
    if (!check_packet(packet, (gsize) n, message.msg_flags, fds, n_fds, error)) {
        for (guint i = 0; i < n_fds; i++)
            close(fds[i]);
        return SAMI_RECEIVE_BAD;
    }
    SamiReader r;
    sami_reader_init(&r, packet, (gsize) n);
    *ret_type = (SamiChannelType) sami_reader_uint(&r, 1);
    *ret_request = (guint32) sami_reader_uint(&r, 4);
    *ret_text = g_strndup((const gchar *) packet + CHANNEL_HEADER, (gsize) n - CHANNEL_HEADER);
    *ret_fd = n_fds ? fds[0] : -1;
    return SAMI_RECEIVE_FRAME;
}
