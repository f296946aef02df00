/* Descriptors that one process passes to another over a local socket (unix(7), SCM_RIGHTS). */
#pragma once

#include <glib.h>
#include <sys/socket.h>

/* Room for one. */
typedef union {
    struct cmsghdr header; /* for its alignment */
    guint8 octets[CMSG_SPACE(sizeof(int))];
} SamiPassing;

/* Adds n descriptors, at least one, to a message that is to be sent. `control` (transfer none) has room for CMSG_SPACE() of them, aligned as a struct
 * cmsghdr, until it has been sent. */
void sami_passing_attach(struct msghdr *message, gpointer control, const int *fds, guint n);
/* Is what was passed a local socket of this type, SOCK_STREAM or another? */
gboolean sami_passing_is_local(int fd, int type);
