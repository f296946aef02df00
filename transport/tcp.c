#include "transport/tcp.h"

#include <glib.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

typedef struct {
    int level;
    int option;
    int value;
} SocketOption;

/* An idle peer that died shows after 5 + 3 * 3 s. Unacknowledged octets, and since Linux 5.11
 * also a window that stays shut, end the connection after 15 s (tcp(7), net/ipv4/tcp_timer.c): a
 * peer that does not read for so long is as good as gone. */
static const SocketOption options[] = {
    { SOL_SOCKET, SO_KEEPALIVE, 1 },          { IPPROTO_TCP, TCP_KEEPIDLE, 5 },
    { IPPROTO_TCP, TCP_KEEPINTVL, 3 },        { IPPROTO_TCP, TCP_KEEPCNT, 3 },
    { IPPROTO_TCP, TCP_USER_TIMEOUT, 15000 }, { IPPROTO_TCP, TCP_NODELAY, 1 },
};

void
sami_tcp_tune(int fd)
{
    for (guint i = 0; i < G_N_ELEMENTS(options); i++)
        setsockopt(fd, options[i].level, options[i].option, &options[i].value,
                   sizeof(options[i].value));
}
