/* The event socket. Its queue is what tells how much was missed: ENOBUFS is an overrun, and never
 * switched off. */
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_compat.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "firewall/attributes.h"
#include "firewall/ops.h"

#define EVENT_BUFFER (64 * 1024 * 1024)
#define BARRIER_MS 50

typedef struct {
    SamiFirewallEvents base;
    struct mnl_socket *socket;
    guint32 own_ports[2]; /* the request socket's, this one's */
    guint32 sequence;
    gboolean is_barrier_answered;
    guint8 buffer[65536];
} LinuxEvents;

static int
events_fd(SamiFirewallEvents *events)
{
    return mnl_socket_get_fd(((LinuxEvents *)events)->socket);
}

static gboolean
is_own(const LinuxEvents *self, guint32 port)
{
    return port != 0 &&
           (port == self->own_ports[0] || port == self->own_ports[1]); /* 0: packets and timers */
}

static void
hand_out(LinuxEvents *self, const struct nlmsghdr *nlh, SamiEventFunc func, gpointer user_data)
{
    SamiSession session;
    if (nlh->nlmsg_type == NLMSG_ERROR) {
        self->is_barrier_answered |= nlh->nlmsg_seq == self->sequence;
        return;
    }
    guint type = nlh->nlmsg_type & 0xff;
    if (nlh->nlmsg_type >> 8 != NFNL_SUBSYS_CTNETLINK || is_own(self, nlh->nlmsg_pid) ||
        !sami_ct_parse(nlh, &session))
        return;
    SamiEventKind kind = type == IPCTNL_MSG_CT_DELETE                     ? SAMI_EVENT_DESTROY
                         : nlh->nlmsg_flags & (NLM_F_CREATE | NLM_F_EXCL) ? SAMI_EVENT_NEW
                                                                          : SAMI_EVENT_UPDATE;
    session.action = sami_firewall_action(kind);
    if (type == IPCTNL_MSG_CT_DELETE || type == IPCTNL_MSG_CT_NEW)
        func(kind, &session, user_data);
}

/* One datagram, which is one event. 1 taken, 0 nothing there, -1 error. */
static int
take_one(LinuxEvents *self, SamiEventFunc func, gpointer user_data, GError **error)
{
    ssize_t n;
    while ((n = recv(mnl_socket_get_fd(self->socket), self->buffer, sizeof self->buffer,
                     MSG_DONTWAIT)) < 0 &&
           errno == EINTR)
        ;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    if (n < 0) {
        g_set_error(error, SAMI_ERROR, errno == ENOBUFS ? SAMI_ERROR_OVERRUN : SAMI_ERROR_KERNEL,
                    "conntrack events: %s",
                    errno == ENOBUFS ? "the kernel dropped some" : g_strerror(errno));
        return -1;
    }
    int left = (int)n;
    for (const struct nlmsghdr *nlh = (struct nlmsghdr *)(void *)self->buffer;
         mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
        hand_out(self, nlh, func, user_data);
    return 1;
}

static gboolean
events_read(SamiFirewallEvents *events, guint max_events, SamiEventFunc func, gpointer user_data,
            GError **error)
{
    for (guint i = 0; i < max_events; i++) {
        int n = take_one((LinuxEvents *)events, func, user_data, error);
        if (n <= 0)
            return n == 0;
    }
    return TRUE;
}

/* A tuple that cannot exist: protocol 255 between unspecified addresses. */
static gboolean
send_barrier(LinuxEvents *self, GError **error)
{
    guint8 buffer[512];
    SamiFlowKey nobody = {.family = 4, .protocol = 255};
    struct nlmsghdr *nlh = sami_ct_message(buffer, IPCTNL_MSG_CT_GET, 0, 4, ++self->sequence);
    sami_ct_put_key(nlh, &nobody);
    self->is_barrier_answered = FALSE;
    if (mnl_socket_sendto(self->socket, nlh, nlh->nlmsg_len) >= 0)
        return TRUE;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_KERNEL, "barrier: %s", g_strerror(errno));
    return FALSE;
}

/* The 50 ms are for waiting only: the answer is queued when the request was sent, so what stands
 * before it is finite, and handing that out costs less than the new epoch that an overrun means. */
static gboolean
events_barrier(SamiFirewallEvents *events, SamiEventFunc func, gpointer user_data, GError **error)
{
    LinuxEvents *self = (LinuxEvents *)events;
    gint64 end = g_get_monotonic_time() + BARRIER_MS * 1000;
    if (!send_barrier(self, error))
        return FALSE;
    while (!self->is_barrier_answered) {
        int n = take_one(self, func, user_data, error);
        if (n < 0)
            return FALSE;
        if (n > 0)
            continue;
        struct pollfd pollfd = {mnl_socket_get_fd(self->socket), POLLIN, 0};
        gint64 left_ms = (end - g_get_monotonic_time()) / 1000;
        if (left_ms <= 0 || poll(&pollfd, 1, (int)left_ms) == 0) {
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_OVERRUN, "the barrier's answer was lost");
            return FALSE;
        }
    }
    return TRUE;
}

static void
events_free(SamiFirewallEvents *events)
{
    mnl_socket_close(((LinuxEvents *)events)->socket);
    g_free(events);
}

SamiFirewallEvents *
sami_linux_events_new(SamiFirewall *firewall, GError **error)
{
    static const SamiEventsOps ops = {events_fd, events_read, events_barrier, events_free};
    guint32 groups =
        NF_NETLINK_CONNTRACK_NEW | NF_NETLINK_CONNTRACK_UPDATE | NF_NETLINK_CONNTRACK_DESTROY;
    struct mnl_socket *nl = sami_linux_socket(groups, EVENT_BUFFER, error);
    if (!nl)
        return NULL;
    LinuxEvents *self = g_new0(LinuxEvents, 1);
    self->base.ops = &ops;
    self->socket = nl;
    self->own_ports[0] = sami_linux_port(firewall);
    self->own_ports[1] = mnl_socket_get_portid(nl);
    return &self->base;
}
