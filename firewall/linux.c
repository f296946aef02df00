/* The request socket: operations and look-ups in batches. net/netfilter/nf_conntrack_netlink.c of
 * Linux 6.18: requests are worked off inside sendmsg(), and each failing one leaves its own
 * NLMSG_ERROR on the socket, so a batch needs no acknowledgements. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <string.h>
#include <sys/socket.h>

#include "firewall/attributes.h"
#include "firewall/ops.h"

#define BATCH_MESSAGES                                                                             \
    256u /* more than 64 at once is no faster; the errors of all of them fit into the receive      \
            buffer */
#define GET_MESSAGES 64u /* an answer occupies a page of the receive buffer */
#define REQUEST_BUFFER (4 * 1024 * 1024)
#define REPLY_MAX 4096u /* of one answer: the kernel makes none beyond a page (NLMSG_GOODSIZE) */
#define REPLIES 16u     /* taken at once: each answer is a datagram, and a system call costs as much as an answer */

typedef struct {
    SamiFirewall base;
    struct mnl_socket *socket;
    guint32 sequence; /* one for each message, which is how an answer finds its request */
    guint8 *batch;
    guint8 *reply;
} Linux;

struct mnl_socket *
sami_linux_socket(guint32 groups, int receive_buffer, GError **error)
{
    struct mnl_socket *nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (!nl || mnl_socket_bind(nl, groups, MNL_SOCKET_AUTOPID) != 0) {
        g_set_error(error, SAMI_ERROR,
                    errno == EPERM || errno == EACCES ? SAMI_ERROR_PERMISSION : SAMI_ERROR_KERNEL,
                    "netlink socket: %s", g_strerror(errno));
        if (nl)
            mnl_socket_close(nl);
        return NULL;
    }
    int fd = mnl_socket_get_fd(nl), on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &receive_buffer, sizeof receive_buffer) != 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on,
               sizeof on); /* errors without the whole request */
    return nl;
}

guint32
sami_linux_port(SamiFirewall *firewall)
{
    return mnl_socket_get_portid(((Linux *)firewall)->socket);
}

void
sami_linux_set_receive_buffer(SamiFirewall *firewall, int octets)
{
    setsockopt(mnl_socket_get_fd(((Linux *)firewall)->socket), SOL_SOCKET, SO_RCVBUF, &octets,
               sizeof octets);
}

int
sami_linux_errno(const struct nlmsghdr *nlh)
{
    const struct nlmsgerr *err = mnl_nlmsg_get_payload(nlh);
    return mnl_nlmsg_get_payload_len(nlh) >= sizeof err->error ? -err->error : EBADMSG;
}

static void
linux_free(SamiFirewall *firewall)
{
    Linux *self = (Linux *)firewall;
    mnl_socket_close(self->socket);
    g_free(self->batch);
    g_free(self->reply);
    g_free(self);
}

static gboolean
send_pieces(Linux *self, struct iovec *pieces, gsize n_pieces, GError **error)
{
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    struct msghdr message = {.msg_name = &kernel,
                             .msg_namelen = sizeof kernel,
                             .msg_iov = pieces,
                             .msg_iovlen = n_pieces};
    gsize length = 0;
    for (gsize i = 0; i < n_pieces; i++)
        length += pieces[i].iov_len;
    ssize_t n;
    while ((n = sendmsg(mnl_socket_get_fd(self->socket), &message, 0)) < 0 && errno == EINTR)
        ;
    if (n == (ssize_t)length)
        return TRUE;
    g_set_error(error, SAMI_ERROR, errno == EPERM ? SAMI_ERROR_PERMISSION : SAMI_ERROR_KERNEL,
                "netlink send: %s", g_strerror(errno));
    return FALSE;
}

static gboolean
send_batch(Linux *self, gsize length, GError **error)
{
    struct iovec piece = {self->batch, length};
    return send_pieces(self, &piece, 1, error);
}

/* Takes all that is queued now. *ret_is_lost: ENOBUFS, so some answers are missing. */
static gboolean
drain(Linux *self, SamiReplyFunc func, gpointer user_data, gboolean *ret_is_lost, GError **error)
{
    struct iovec pieces[REPLIES];
    struct mmsghdr messages[REPLIES] = {0};
    for (guint i = 0; i < REPLIES; i++) {
        pieces[i] = (struct iovec){self->reply + i * REPLY_MAX, REPLY_MAX};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &pieces[i], .msg_iovlen = 1};
    }
    *ret_is_lost = FALSE;
    for (;;) {
        int n = recvmmsg(mnl_socket_get_fd(self->socket), messages, REPLIES, MSG_DONTWAIT, NULL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == ENOBUFS) {
            *ret_is_lost = TRUE;
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return TRUE;
        if (n < 0) {
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_KERNEL, "netlink receive: %s",
                        g_strerror(errno));
            return FALSE;
        }
        for (int i = 0; i < n; i++) {
            int left = (int)messages[i].msg_len;
            *ret_is_lost |= (messages[i].msg_hdr.msg_flags & MSG_TRUNC) != 0;
            for (const struct nlmsghdr *nlh = pieces[i].iov_base; mnl_nlmsg_ok(nlh, left);
                 nlh = mnl_nlmsg_next(nlh, &left))
                func(nlh, user_data);
        }
    }
}

gboolean
sami_linux_ask(SamiFirewall *firewall, struct nlmsghdr *nlh, SamiReplyFunc func, gpointer user_data,
               GError **error)
{
    Linux *self = (Linux *)firewall;
    struct iovec piece = {nlh, nlh->nlmsg_len};
    gboolean is_lost;
    nlh->nlmsg_seq = self->sequence++;
    if (!send_pieces(self, &piece, 1, error) || !drain(self, func, user_data, &is_lost, error))
        return FALSE;
    if (is_lost)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_KERNEL,
                    "netlink: the answer to a single request was lost");
    return !is_lost;
}

typedef struct {
    guint32 first;
    guint n;
    SamiOp *ops;
} OpBatch;

static void
on_op_reply(const struct nlmsghdr *nlh, gpointer user_data)
{
    const OpBatch *batch = user_data;
    guint32 i = nlh->nlmsg_seq - batch->first;
    if (i < batch->n && nlh->nlmsg_type == NLMSG_ERROR)
        batch->ops[i].result = sami_linux_errno(nlh);
}

static struct nlmsghdr *
build(guint8 *buffer, const SamiSession *s, SamiOpKind kind)
{
    guint16 type = kind == SAMI_OP_DELETE ? IPCTNL_MSG_CT_DELETE : IPCTNL_MSG_CT_NEW;
    guint16 flags = kind == SAMI_OP_CREATE ? NLM_F_CREATE | NLM_F_EXCL : 0;
    struct nlmsghdr *nlh = sami_ct_message(buffer, type, flags, s->key.family, 0);
    sami_ct_put(nlh, s, kind);
    nlh->nlmsg_len = MNL_ALIGN(nlh->nlmsg_len);
    return nlh;
}

gsize
sami_firewall_build(const SamiSession *session, SamiOpKind kind, guint32 timeout_s, guint8 *buffer)
{
    SamiSession copy = *session;
    copy.timeout_s = timeout_s;
    return build(buffer, &copy, kind)->nlmsg_len;
}

gboolean
sami_firewall_parse(const guint8 *message, gsize n, SamiSession *ret)
{
    guint32 aligned[SAMI_FIREWALL_MESSAGE_MAX / sizeof(guint32)];
    const struct nlmsghdr *nlh = (const struct nlmsghdr *)(const void *)aligned;
    SamiSession session;
    if (n > sizeof aligned)
        return FALSE;
    memcpy(aligned, message, n);
    if (!mnl_nlmsg_ok(nlh, (int)n) || nlh->nlmsg_len != n || mnl_nlmsg_get_payload_len(nlh) < sizeof(struct nfgenmsg) ||
        !sami_ct_parse(nlh, &session))
        return FALSE;
    *ret = session;
    return TRUE;
}

static gboolean
run_batch(Linux *self, SamiOp *ops, guint n, gboolean *ret_is_lost, GError **error)
{
    OpBatch batch = {self->sequence, n, ops};
    struct iovec pieces[BATCH_MESSAGES];
    guint n_pieces = 0;
    guint8 *at = self->batch, *end = NULL;
    for (guint i = 0; i < n; i++) {
        struct nlmsghdr *nlh = (struct nlmsghdr *)(void *)ops[i].message;
        if (!nlh) {
            nlh = build(at, ops[i].session, ops[i].kind);
            at += nlh->nlmsg_len;
        }
        nlh->nlmsg_seq = self->sequence++;
        ops[i].result = 0;
        if ((guint8 *)nlh == end)
            pieces[n_pieces - 1].iov_len += nlh->nlmsg_len;
        else
            pieces[n_pieces++] = (struct iovec){nlh, nlh->nlmsg_len};
        end = (guint8 *)nlh + nlh->nlmsg_len;
    }
    return send_pieces(self, pieces, n_pieces, error) &&
           drain(self, on_op_reply, &batch, ret_is_lost, error);
}

static gboolean linux_get(SamiFirewall *firewall, const SamiFlowKey *keys, guint n,
                          SamiSession *ret, gboolean *found, GError **error);

/* A creation whose answer may be lost, and the entry is there: only a start time after sending
 * proves that it is new. What is not proved is EEXIST, so that the caller does not take for its own
 * what may be somebody else's. */
static gboolean
is_proved_new(const SamiSession *sent, const SamiSession *found, guint64 sent_ns)
{
    return sami_flow_key_equal(&sent->key, &found->key) && (found->has & SAMI_HAS_START) &&
           found->start_ns >= sent_ns &&
           (!(sent->has & SAMI_HAS_REPLY) ||
            memcmp(&sent->reply, &found->reply, sizeof sent->reply) == 0);
}

/* Errors overflowed the socket. What is not known to have failed is looked up or done again, one at
 * a time: a single answer always fits. Updates and deletions can be repeated. */
static gboolean
find_out(Linux *self, SamiOp *ops, guint n, guint64 sent_ns, GError **error)
{
    for (guint i = 0; i < n; i++) {
        SamiOp *op = &ops[i];
        SamiSession found;
        gboolean is_found = FALSE, is_lost = FALSE;
        if (op->result != 0)
            continue;
        if (op->kind == SAMI_OP_CREATE &&
            !linux_get(&self->base, &op->session->key, 1, &found, &is_found, error))
            return FALSE;
        if (is_found) {
            op->result = is_proved_new(op->session, &found, sent_ns) ? 0 : EEXIST;
            continue;
        }
        if (!run_batch(self, op, 1, &is_lost, error))
            return FALSE;
        if (is_lost) {
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_KERNEL,
                        "netlink: the answer to a single request was lost");
            return FALSE;
        }
        if (op->kind == SAMI_OP_DELETE && op->result == ENOENT) /* the first one did it */
            op->result = 0;
    }
    return TRUE;
}

static gboolean
linux_apply(SamiFirewall *firewall, SamiOp *ops, guint n, GError **error)
{
    Linux *self = (Linux *)firewall;
    for (guint start = 0; start < n; start += BATCH_MESSAGES) {
        guint n_batch = MIN(BATCH_MESSAGES, n - start);
        guint64 sent_ns = (guint64)g_get_real_time() * 1000;
        gboolean is_lost;
        if (run_batch(self, ops + start, n_batch, &is_lost, error) &&
            (!is_lost || find_out(self, ops + start, n_batch, sent_ns, error)))
            continue;
        for (guint i = start; i < n; i++)
            ops[i].result = ECANCELED;
        return FALSE;
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
on_get_reply(const struct nlmsghdr *nlh, gpointer user_data)
{
    GetBatch *batch = user_data;
    guint32 i = nlh->nlmsg_seq - batch->first;
    if (i >= batch->n)
        return;
    batch->n_answered++;
    if (nlh->nlmsg_type != NLMSG_ERROR) {
        batch->found[i] = sami_ct_parse(nlh, &batch->ret[i]);
        return;
    }
    /* EINVAL: a tuple that the kernel does not track, such as an ICMP error: no such entry, and no
     * reason to fail the others. */
    int failure = sami_linux_errno(nlh);
    if (failure != ENOENT && failure != EINVAL)
        batch->failure = failure;
}

static gboolean
run_get(Linux *self, const SamiFlowKey *keys, guint n, SamiSession *ret, gboolean *found,
        GError **error)
{
    GetBatch batch = {.first = self->sequence, .n = n, .ret = ret, .found = found};
    gsize length = 0;
    gboolean is_lost;
    for (guint i = 0; i < n; i++) {
        struct nlmsghdr *nlh = sami_ct_message(self->batch + length, IPCTNL_MSG_CT_GET, 0,
                                               keys[i].family, self->sequence++);
        sami_ct_put_key(nlh, &keys[i]);
        length += MNL_ALIGN(nlh->nlmsg_len);
        found[i] = FALSE;
    }
    if (!send_batch(self, length, error) || !drain(self, on_get_reply, &batch, &is_lost, error))
        return FALSE;
    if (batch.failure == 0 && batch.n_answered == n)
        return TRUE;
    if (batch.failure == 0 && n > 1) { /* answers were lost: a look-up can be repeated */
        for (guint i = 0; i < n; i++)
            if (!run_get(self, &keys[i], 1, &ret[i], &found[i], error))
                return FALSE;
        return TRUE;
    }
    g_set_error(
        error, SAMI_ERROR, batch.failure == EPERM ? SAMI_ERROR_PERMISSION : SAMI_ERROR_KERNEL,
        "conntrack look-up: %s", batch.failure ? g_strerror(batch.failure) : "the answer was lost");
    return FALSE;
}

static gboolean
linux_get(SamiFirewall *firewall, const SamiFlowKey *keys, guint n, SamiSession *ret,
          gboolean *found, GError **error)
{
    for (guint start = 0; start < n; start += GET_MESSAGES)
        if (!run_get((Linux *)firewall, keys + start, MIN(GET_MESSAGES, n - start), ret + start,
                     found + start, error))
            return FALSE;
    return TRUE;
}

typedef struct {
    gboolean has_entries, has_max;
    guint64 entries, max;
} Stats;

static void
on_stats(const struct nlmsghdr *nlh, gpointer user_data)
{
    Stats *stats = user_data;
    const struct nlattr *attr;
    if (nlh->nlmsg_type != (NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET_STATS))
        return;
    mnl_attr_for_each(attr, nlh, sizeof(struct nfgenmsg))
    {
        if (mnl_attr_get_payload_len(attr) < 4)
            continue;
        guint32 value = ntohl(mnl_attr_get_u32(attr));
        if (mnl_attr_get_type(attr) == CTA_STATS_GLOBAL_ENTRIES) {
            stats->entries = value;
            stats->has_entries = TRUE;
        } else if (mnl_attr_get_type(attr) == CTA_STATS_GLOBAL_MAX_ENTRIES) {
            stats->max = value;
            stats->has_max = TRUE;
        }
    }
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

/* Asked of the socket first: /proc shows the namespace of the reader, which need not be the
 * socket's. */
static gboolean
linux_headroom(SamiFirewall *firewall, guint64 *ret_entries, guint64 *ret_max, GError **error)
{
    Linux *self = (Linux *)firewall;
    Stats stats = {0};
    gboolean is_lost;
    struct nlmsghdr *nlh =
        sami_ct_message(self->batch, IPCTNL_MSG_CT_GET_STATS, 0, 0, self->sequence++);
    if (!send_batch(self, nlh->nlmsg_len, error) || !drain(self, on_stats, &stats, &is_lost, error))
        return FALSE;
    if (!stats.has_entries)
        stats.has_entries =
            read_number("/proc/sys/net/netfilter/nf_conntrack_count", &stats.entries);
    if (!stats.has_max)
        stats.has_max = read_number("/proc/sys/net/netfilter/nf_conntrack_max", &stats.max);
    if (!stats.has_entries || !stats.has_max) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_KERNEL,
                    "nf_conntrack_count and nf_conntrack_max cannot be read");
        return FALSE;
    }
    *ret_entries = stats.entries;
    *ret_max = stats.max;
    return TRUE;
}

SamiFirewall *
sami_firewall_linux_new(GError **error)
{
    static const SamiFirewallOps ops = {linux_free,          linux_apply,           linux_get,
                                        sami_linux_dump_new, sami_linux_events_new, linux_headroom,
                                        sami_linux_expect,   sami_linux_expectations};
    static const SamiFlowKey nobody = {.family = 4, .protocol = 255};
    struct mnl_socket *nl = sami_linux_socket(0, REQUEST_BUFFER, error);
    if (!nl)
        return NULL;
    int size = REQUEST_BUFFER;
    setsockopt(mnl_socket_get_fd(nl), SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    g_autoptr(SamiFirewall) firewall = (SamiFirewall *)g_new0(Linux, 1);
    Linux *self = (Linux *)firewall;
    self->base.ops = &ops;
    self->socket = nl;
    self->sequence = 1;
    self->batch = g_malloc(BATCH_MESSAGES * SAMI_CT_MESSAGE_MAX);
    self->reply = g_malloc(REPLIES * REPLY_MAX);
    /* Anybody may open the socket; without CAP_NET_ADMIN each request is EPERM. A harmless look-up
     * tells now. */
    SamiSession session;
    gboolean is_found;
    if (!linux_get(firewall, &nobody, 1, &session, &is_found, error))
        return NULL;
    return g_steal_pointer(&firewall);
}
