#include "transport/tcp.h"

#include <glib.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

typedef struct {
    int level;
    int option;
    int value;
    int value_of_many; /* with another path to try */
} SocketOption;

/* An idle peer that died shows after 5 + 3 * 3 s. Unacknowledged octets, and since Linux 5.11
 * also a window that stays shut, end the connection after 15 s (tcp(7), net/ipv4/tcp_timer.c): a
 * peer that does not read for so long is as good as gone. Where the peer has another address, waiting for
 * a dead path to come back is the worse choice: 2 + 3 * 1 s, and 5 s. */
static const SocketOption options[] = {
    { SOL_SOCKET, SO_KEEPALIVE, 1, 1 },
    { IPPROTO_TCP, TCP_KEEPIDLE, 5, 2 },
    { IPPROTO_TCP, TCP_KEEPINTVL, 3, 1 },
    { IPPROTO_TCP, TCP_KEEPCNT, 3, 3 },
    { IPPROTO_TCP, TCP_USER_TIMEOUT, 15000, 5000 },
    { IPPROTO_TCP, TCP_NODELAY, 1, 1 },
};

void
sami_tcp_tune(int fd, gboolean has_other_paths)
{
    for (guint i = 0; i < G_N_ELEMENTS(options); i++) {
        int value = has_other_paths ? options[i].value_of_many : options[i].value;
        setsockopt(fd, options[i].level, options[i].option, &value, sizeof(value));
    }
}
