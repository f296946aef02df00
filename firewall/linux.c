/* The request socket: operations and look-ups in batches. net/netfilter/nf_conntrack_netlink.c of Linux 6.18: requests are worked off
 * inside sendmsg(), and each failing one leaves its own NLMSG_ERROR on the socket, so a batch needs no acknowledgements. */
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "firewall/attributes.h"
#include "firewall/ops.h"

#define BATCH_MESSAGES 256u
#define MESSAGE_ROOM 640u /* the largest create message: both IPv6 tuples, both translations, everything else */
#define REQUEST_BUFFER (4 * 1024 * 1024)

typedef struct {
    SamiFirewall base;
    struct mnl_socket *socket;
    guint32 sequence;
    guint8 *batch;
    guint8 *reply;
    gsize reply_size;
} Linux;

struct mnl_socket *
sami_linux_socket(guint32 groups, int receive_buffer, GError **error)
{
    struct mnl_socket *nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
    if (!nl || mnl_socket_bind(nl, groups, MNL_SOCKET_AUTOPID) != 0) {
        g_set_error(error, SAMI_ERROR, errno == EPERM || errno == EACCES ? SAMI_ERROR_PERMISSION : SAMI_ERROR_KERNEL,
                    "netlink socket: %s", g_strerror(errno));
        if (nl)
            mnl_socket_close(nl);
        return NULL;
    }
    int fd = mnl_socket_get_fd(nl), on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &receive_buffer, sizeof receive_buffer) != 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on); /* errors without the whole request */
    return nl;
}

guint32
sami_linux_port(SamiFirewall *firewall)
{
    return mnl_socket_get_portid(((Linux *) firewall)->socket);
}

static void
linux_free(SamiFirewall *firewall)
{
    Linux *self = (Linux *) firewall;
    mnl_socket_close(self->socket);
    g_free(self->batch);
    g_free(self->reply);
    g_free(self);
}

static gboolean
send_batch(Linux *self, gsize length, GError **error)
{
    struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
    struct iovec iov = { self->batch, length };
    struct msghdr message = { .msg_name = &kernel, .msg_namelen = sizeof kernel, .msg_iov = &iov, .msg_iovlen = 1 };
    ssize_t n;
    while ((n = sendmsg(mnl_socket_get_fd(self->socket), &message, 0)) < 0 && errno == EINTR)
        ;
    if (n == (ssize_t) length)
        return TRUE;
    g_set_error(error, SAMI_ERROR, errno == EPERM ? SAMI_ERROR_PERMISSION : SAMI_ERROR_KERNEL, "netlink send: %s", g_strerror(errno));
    return FALSE;
}

typedef void (*ReplyFunc)(Linux *self, const struct nlmsghdr *nlh, gpointer user_data);

/* Takes all that is queued now. *ret_is_lost: ENOBUFS, so some replies are missing. */
static gboolean
drain(Linux *self, ReplyFunc func, gpointer user_data, gboolean *ret_is_lost, GError **error)
{
    *ret_is_lost = FALSE;
    for (;;) {
        ssize_t n = recv(mnl_socket_get_fd(self->socket), self->reply, self->reply_size, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == ENOBUFS) {
            *ret_is_lost = TRUE;
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return TRUE;
        if (n < 0) {
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_KERNEL, "netlink receive: %s", g_strerror(errno));
            return FALSE;
        }
        int left = (int) n;
        for (const struct nlmsghdr *nlh = (struct nlmsghdr *) (void *) self->reply; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
            func(self, nlh, user_data);
    }
}

static int
error_of(const struct nlmsghdr *nlh)
{
    const struct nlmsgerr *err = mnl_nlmsg_get_payload(nlh);
    return nlh->nlmsg_type == NLMSG_ERROR && mnl_nlmsg_get_payload_len(nlh) >= sizeof err->error ? -err->error : 0;
}

typedef struct {
    guint32 first;
    guint n;
    SamiOp *ops;
} OpBatch;

static void
on_op_reply(Linux *self, const struct nlmsghdr *nlh, gpointer user_data)
{
    const OpBatch *batch = user_data;
    guint32 i = nlh->nlmsg_seq - batch->first;
    if (i < batch->n)
        batch->ops[i].result = error_of(nlh);
}

static gsize
put_op(guint8 *at, const SamiOp *op, guint32 sequence)
{
    const SamiSession *s = op->session;
    struct nlmsghdr *nlh = sami_ct_message(at, op->kind == SAMI_OP_DELETE ? IPCTNL_MSG_CT_DELETE : IPCTNL_MSG_CT_NEW,
                                           op->kind == SAMI_OP_CREATE ? NLM_F_CREATE | NLM_F_EXCL : 0, s->key.family, sequence);
    switch (op->kind) {
    case SAMI_OP_CREATE: sami_ct_put_create(nlh, s); break;
    case SAMI_OP_UPDATE_FULL: sami_ct_put_update_full(nlh, s); break;
    case SAMI_OP_UPDATE_FLAGS: sami_ct_put_update_flags(nlh, s); break;
    case SAMI_OP_UPDATE_TIMEOUT:
        sami_ct_put_key(nlh, &s->key);
        sami_ct_put_timeout(nlh, s->timeout_s);
        break;
    case SAMI_OP_DELETE:
        sami_ct_put_key(nlh, &s->key);
        if (s->has & SAMI_HAS_ID)
            sami_ct_put_id(nlh, s->flow_id);
        break;
    }
    return MNL_ALIGN(nlh->nlmsg_len);
}

static gboolean linux_get(SamiFirewall *firewall, const SamiFlowKey *keys, guint n, SamiSession *ret, gboolean *found, GError **error);

/* Errors overflowed the socket: look what is there instead of guessing. */
static gboolean
find_out(Linux *self, OpBatch *batch, GError **error)
{
    g_autofree SamiFlowKey *keys = g_new(SamiFlowKey, batch->n);
    g_autofree SamiSession *found = g_new(SamiSession, batch->n);
    g_autofree gboolean *is_found = g_new(gboolean, batch->n);
    for (guint i = 0; i < batch->n; i++)
        keys[i] = batch->ops[i].session->key;
    if (!linux_get(&self->base, keys, batch->n, found, is_found, error))
        return FALSE;
    for (guint i = 0; i < batch->n; i++) {
        gboolean is_wanted = batch->ops[i].kind != SAMI_OP_DELETE;
        if (batch->ops[i].result == 0 && is_found[i] != is_wanted)
            batch->ops[i].result = is_wanted ? ENOBUFS : EBUSY;
    }
    return TRUE;
}

static gboolean
linux_apply(SamiFirewall *firewall, SamiOp *ops, guint n, GError **error)
{
    Linux *self = (Linux *) firewall;
    for (guint start = 0; start < n; start += BATCH_MESSAGES) {
        OpBatch batch = { self->sequence, MIN(BATCH_MESSAGES, n - start), ops + start };
        gsize length = 0;
        gboolean is_lost;
        for (guint i = 0; i < batch.n; i++) {
            batch.ops[i].result = 0;
            length += put_op(self->batch + length, &batch.ops[i], self->sequence++);
        }
        if (!send_batch(self, length, error) || !drain(self, on_op_reply, &batch, &is_lost, error) ||
            (is_lost && !find_out(self, &batch, error))) {
            for (guint i = start; i < n; i++)
                ops[i].result = ECANCELED;
            return FALSE;
        }
    }
    return TRUE;
}

typedef struct {
    guint32 first;
    guint n;
    guint n_answered;
    SamiSession *ret;
    gboolean *found;
    int failure;
} GetBatch;

static void
on_get_reply(Linux *self, const struct nlmsghdr *nlh, gpointer user_data)
{
    GetBatch *batch = user_data;
    guint32 i = nlh->nlmsg_seq - batch->first;
    if (i >= batch->n)
        return;
    batch->n_answered++;
    if (nlh->nlmsg_type != NLMSG_ERROR)
        batch->found[i] = sami_ct_parse(nlh, &batch->ret[i]);
    else if (error_of(nlh) != ENOENT && error_of(nlh) != 0)
        batch->failure = error_of(nlh);
}

static gboolean
linux_get(SamiFirewall *firewall, const SamiFlowKey *keys, guint n, SamiSession *ret, gboolean *found, GError **error)
{
    Linux *self = (Linux *) firewall;
    for (guint start = 0; start < n; start += BATCH_MESSAGES) {
        GetBatch batch = { .first = self->sequence, .n = MIN(BATCH_MESSAGES, n - start), .ret = ret + start, .found = found + start };
        gsize length = 0;
        gboolean is_lost;
        for (guint i = 0; i < batch.n; i++) {
            struct nlmsghdr *nlh = sami_ct_message(self->batch + length, IPCTNL_MSG_CT_GET, 0, keys[start + i].family, self->sequence++);
            sami_ct_put_key(nlh, &keys[start + i]);
            length += MNL_ALIGN(nlh->nlmsg_len);
            batch.found[i] = FALSE;
        }
        if (!send_batch(self, length, error) || !drain(self, on_get_reply, &batch, &is_lost, error))
            return FALSE;
        if (is_lost || batch.failure || batch.n_answered < batch.n) {
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_KERNEL, "conntrack look-up: %s",
                        batch.failure ? g_strerror(batch.failure) : "answers were lost");
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
read_number(const gchar *path, guint64 *ret)
{
    g_autofree gchar *text = NULL;
    if (!g_file_get_contents(path, &text, NULL, NULL))
        return FALSE;
    *ret = g_ascii_strtoull(text, NULL, 10);
    return TRUE;
}

static gboolean
linux_headroom(SamiFirewall *firewall, guint64 *ret_entries, guint64 *ret_max, GError **error)
{
    if (read_number("/proc/sys/net/netfilter/nf_conntrack_count", ret_entries) &&
        read_number("/proc/sys/net/netfilter/nf_conntrack_max", ret_max))
        return TRUE;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_KERNEL, "nf_conntrack_count and nf_conntrack_max cannot be read");
    return FALSE;
}

SamiFirewall *
sami_firewall_linux_new(GError **error)
{
    static const SamiFirewallOps ops = { linux_free, linux_apply, linux_get, sami_linux_dump_new, sami_linux_events_new, linux_headroom };
    struct mnl_socket *nl = sami_linux_socket(0, REQUEST_BUFFER, error);
    if (!nl)
        return NULL;
    int on = REQUEST_BUFFER;
    setsockopt(mnl_socket_get_fd(nl), SOL_SOCKET, SO_SNDBUFFORCE, &on, sizeof on);
    Linux *self = g_new0(Linux, 1);
    self->base.ops = &ops;
    self->socket = nl;
    self->sequence = 1;
    self->batch = g_malloc(BATCH_MESSAGES * MESSAGE_ROOM);
    self->reply_size = 65536;
    self->reply = g_malloc(self->reply_size);
    return &self->base;
}
