#include "common/passing.h"

#include <string.h>

void
sami_passing_attach(struct msghdr *message, gpointer control, const int *fds, guint n)
{
    memset(control, 0, CMSG_SPACE(n * sizeof(int)));
    message->msg_control = control;
    message->msg_controllen = CMSG_SPACE(n * sizeof(int));
    struct cmsghdr *header = CMSG_FIRSTHDR(message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(n * sizeof(int));
    memcpy(CMSG_DATA(header), fds, n * sizeof(int));
}

gboolean
sami_passing_is_local(int fd, int type)
{
    int domain = 0, is = 0;
    socklen_t of_domain = sizeof domain, of_is = sizeof is;
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &of_domain) == 0 && getsockopt(fd, SOL_SOCKET, SO_TYPE, &is, &of_is) == 0 &&
           domain == AF_UNIX && is == type;
}
