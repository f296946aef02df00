/* What a listener that was broken into can tell the state process: frames of a session, and of the channel. */
#include "tests/fuzz/fuzz.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport/session.h"

/* An OPEN that is taken is one that a session can be made of. */
static void
check_open(const guint8 *payload, gsize length)
{
    SamiFrameOpen open;
    SamiRecord record = {.kind = SAMI_RECORD_END};
    guint8 *message;
    gsize n;
    if (!sami_frame_open_parse(payload, length, &open, NULL))
        return;
    g_assert(memchr(open.name, 0, sizeof open.name) && memchr(open.address, 0, sizeof open.address));
    g_autoptr(SamiEncoder) encoder = sami_encoder_new(SAMI_DOMAIN_REVERSE, open.message_max);
    while (sami_encoder_add(encoder, &record, NULL))
        ;
    g_assert(sami_encoder_pending(encoder) > 0 && sami_encoder_take(encoder, 0, &message, &n, NULL));
    g_assert(n + SAMI_SIGNATURE_SET <= open.message_max);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fds[2], fd = -1;
    SamiFrameType type;
    SamiChannelType channel_type;
    guint32 request;
    guint8 *payload;
    gsize length;
    g_autofree gchar *text = NULL;
    g_autoptr(GError) error = NULL;
    if (size == 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0)
        return 0;
    g_autoptr(SamiSessionSocket) session = sami_session_socket_new(fds[1]);
    if (send(fds[0], data, size, MSG_NOSIGNAL) == (gssize)size) {
        SamiReceive got = sami_session_socket_receive(session, &type, &payload, &length, &error);
        g_assert(got == SAMI_RECEIVE_FRAME || (got == SAMI_RECEIVE_BAD && error));
        if (got == SAMI_RECEIVE_FRAME && type == SAMI_FRAME_OPEN)
            check_open(payload, length);
    }
    g_clear_error(&error);
    if (send(fds[0], data, size, MSG_NOSIGNAL) == (gssize)size) {
        SamiReceive got = sami_channel_receive(fds[1], &channel_type, &request, &text, &fd, &error);
        g_assert((got == SAMI_RECEIVE_FRAME && fd == -1) || (got == SAMI_RECEIVE_BAD && error));
        g_assert(got == SAMI_RECEIVE_BAD || !text || g_utf8_validate(text, -1, NULL));
    }
    close(fds[0]);
    return 0;
}
