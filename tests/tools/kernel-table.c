#include "tests/tools/kernel-table.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 256u       /* beyond 64 nothing gets faster */
#define MESSAGE_MAX 512u /* octets */
#define BUFFER (16 * 1024 * 1024)

struct TableBatches {
    GByteArray *octets;
    GArray *ends; /* of guint, one a batch */
    guint n;
};

static void G_GNUC_PRINTF(1, 2) G_GNUC_NORETURN
die(const gchar *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree gchar *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_printerr("%s: %s\n", text, g_strerror(errno));
    exit(2);
}

double
table_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

void
table_enter(const gchar *netns)
{
    g_autofree gchar *path = g_strdup_printf("/run/netns/%s", netns);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns(fd, CLONE_NEWNET) != 0)
        die("namespace %s", netns);
    close(fd);
}

static struct mnl_socket *
open_socket(void)
{
    struct mnl_socket *nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
    int size = BUFFER, on = 1;
    if (!nl || mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) != 0)
        die("netlink socket");
    setsockopt(mnl_socket_get_fd(nl), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    setsockopt(mnl_socket_get_fd(nl), SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    setsockopt(mnl_socket_get_fd(nl), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
    return nl;
}

static struct nlmsghdr *
begin(gpointer buffer, guint16 type, guint16 flags, guint8 family, guint32 sequence)
{
    struct nlmsghdr *nlh = mnl_nlmsg_put_header(buffer);
    struct nfgenmsg *header = mnl_nlmsg_put_extra_header(nlh, sizeof *header);
    nlh->nlmsg_type = (guint16) (NFNL_SUBSYS_CTNETLINK << 8 | type);
    nlh->nlmsg_flags = NLM_F_REQUEST | flags;
    nlh->nlmsg_seq = sequence;
    header->nfgen_family = family == 4 ? AF_INET : family == 6 ? AF_INET6 : AF_UNSPEC;
    header->version = NFNETLINK_V0;
    return nlh;
}

/* ---- filling ---- */

typedef struct {
    guint8 octets[16];
} Address;

typedef struct {
    Address src, dst;
    guint16 sport, dport;
} Tuple;

typedef struct {
    guint8 family, protocol;
    Tuple orig, reply; /* reply as the kernel takes it: untranslated */
    gboolean has_snat, has_dnat;
    Address nat;
    guint16 nat_port;
    guint32 timeout, mark;
    gboolean has_scale, has_labels;
} Flow;

static Address
address(guint8 family, const gchar *text)
{
    Address out = { { 0 } };
    if (inet_pton(family == 4 ? AF_INET : AF_INET6, text, out.octets) != 1) {
        errno = EINVAL;
        die("address %s", text);
    }
    return out;
}

static void
put_address(struct nlmsghdr *nlh, guint16 v4, guint16 v6, guint8 family, const Address *a)
{
    mnl_attr_put(nlh, family == 4 ? v4 : v6, family == 4 ? 4 : 16, a->octets);
}

static void
put_tuple(struct nlmsghdr *nlh, guint16 type, const Flow *f, const Tuple *t)
{
    struct nlattr *nest = mnl_attr_nest_start(nlh, type);
    struct nlattr *ip = mnl_attr_nest_start(nlh, CTA_TUPLE_IP);
    put_address(nlh, CTA_IP_V4_SRC, CTA_IP_V6_SRC, f->family, &t->src);
    put_address(nlh, CTA_IP_V4_DST, CTA_IP_V6_DST, f->family, &t->dst);
    mnl_attr_nest_end(nlh, ip);
    struct nlattr *proto = mnl_attr_nest_start(nlh, CTA_TUPLE_PROTO);
    mnl_attr_put_u8(nlh, CTA_PROTO_NUM, f->protocol);
    mnl_attr_put_u16(nlh, CTA_PROTO_SRC_PORT, htons(t->sport));
    mnl_attr_put_u16(nlh, CTA_PROTO_DST_PORT, htons(t->dport));
    mnl_attr_nest_end(nlh, proto);
    mnl_attr_nest_end(nlh, nest);
}

static void
put_tcp(struct nlmsghdr *nlh, gboolean has_scale)
{
    guint8 flags = IP_CT_TCP_FLAG_SACK_PERM | (has_scale ? IP_CT_TCP_FLAG_WINDOW_SCALE : 0);
    struct nf_ct_tcp_flags value = { flags, 0xff };
    struct nlattr *info = mnl_attr_nest_start(nlh, CTA_PROTOINFO);
    struct nlattr *tcp = mnl_attr_nest_start(nlh, CTA_PROTOINFO_TCP);
    mnl_attr_put_u8(nlh, CTA_PROTOINFO_TCP_STATE, TCP_CONNTRACK_ESTABLISHED);
    mnl_attr_put(nlh, CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, sizeof value, &value);
    mnl_attr_put(nlh, CTA_PROTOINFO_TCP_FLAGS_REPLY, sizeof value, &value);
    if (has_scale) {
        mnl_attr_put_u8(nlh, CTA_PROTOINFO_TCP_WSCALE_ORIGINAL, 7);
        mnl_attr_put_u8(nlh, CTA_PROTOINFO_TCP_WSCALE_REPLY, 9);
    }
    mnl_attr_nest_end(nlh, tcp);
    mnl_attr_nest_end(nlh, info);
}

static void
put_nat(struct nlmsghdr *nlh, const Flow *f)
{
    struct nlattr *nest = mnl_attr_nest_start(nlh, f->has_snat ? CTA_NAT_SRC : CTA_NAT_DST);
    put_address(nlh, CTA_NAT_V4_MINIP, CTA_NAT_V6_MINIP, f->family, &f->nat);
    put_address(nlh, CTA_NAT_V4_MAXIP, CTA_NAT_V6_MAXIP, f->family, &f->nat);
    struct nlattr *proto = mnl_attr_nest_start(nlh, CTA_NAT_PROTO);
    mnl_attr_put_u16(nlh, CTA_PROTONAT_PORT_MIN, htons(f->nat_port));
    mnl_attr_put_u16(nlh, CTA_PROTONAT_PORT_MAX, htons(f->nat_port));
    mnl_attr_nest_end(nlh, proto);
    mnl_attr_nest_end(nlh, nest);
}

static gsize
put_flow(gpointer buffer, const Flow *f, guint32 sequence)
{
    static const guint8 labels[16] = { 0x05, 0, 0, 0, 0, 0, 0, 0x80 };
    struct nlmsghdr *nlh = begin(buffer, IPCTNL_MSG_CT_NEW, NLM_F_CREATE | NLM_F_EXCL, f->family, sequence);
    put_tuple(nlh, CTA_TUPLE_ORIG, f, &f->orig);
    put_tuple(nlh, CTA_TUPLE_REPLY, f, &f->reply);
    mnl_attr_put_u32(nlh, CTA_STATUS, htonl(IPS_CONFIRMED | IPS_SEEN_REPLY | IPS_ASSURED));
    mnl_attr_put_u32(nlh, CTA_TIMEOUT, htonl(f->timeout));
    if (f->protocol == IPPROTO_TCP)
        put_tcp(nlh, f->has_scale);
    if (f->has_snat || f->has_dnat)
        put_nat(nlh, f);
    if (f->mark)
        mnl_attr_put_u32(nlh, CTA_MARK, htonl(f->mark));
    if (f->has_labels)
        mnl_attr_put(nlh, CTA_LABELS, sizeof labels, labels);
    return MNL_ALIGN(nlh->nlmsg_len);
}

/* Other users of the kernel make such changes, and each one is an event. */
static gsize
put_mark(gpointer buffer, const Flow *f, guint32 mark, guint32 sequence)
{
    struct nlmsghdr *nlh = begin(buffer, IPCTNL_MSG_CT_NEW, 0, f->family, sequence);
    put_tuple(nlh, CTA_TUPLE_ORIG, f, &f->orig);
    mnl_attr_put_u32(nlh, CTA_MARK, htonl(mark));
    return MNL_ALIGN(nlh->nlmsg_len);
}

/* What a flow of a number looks like. `shape`: 0 out, 1 in, 2 UDP out, 3 SNAT, 4 DNAT, 5 IPv6, 6 IPv6 UDP in, 7 labels. */
static void
shape_flow(Flow *f, guint shape, guint i)
{
    gboolean is_inward = shape == 1 || shape == 4 || shape == 6;
    Address public = { { 192, 0, 2, 1 } }, vm = f->orig.src;
    f->protocol = shape == 2 || shape == 6 ? IPPROTO_UDP : IPPROTO_TCP;
    f->timeout = f->protocol == IPPROTO_TCP ? 300000 + i % 100000 : 2000 + i % 1000;
    f->has_scale = shape != 1 || i % 16 < 8;
    f->mark = shape == 1 || shape == 6 || shape == 7 ? 0x10000 + i % 4096 : 0;
    f->has_labels = shape == 7;
    if (is_inward) {
        f->orig = (Tuple){ f->orig.dst, shape == 4 ? public : vm, f->orig.sport, shape == 4 ? 8443 : f->orig.dport };
        f->has_dnat = shape == 4;
        f->nat = vm;
        f->nat_port = 443;
    } else if (shape == 3) {
        f->has_snat = TRUE;
        f->nat = public;
        f->nat_port = (guint16) (20000 + f->orig.sport % 10000);
    }
    f->reply = (Tuple){ f->orig.dst, f->orig.src, f->orig.dport, f->orig.sport };
}

TableBatches *
table_build(const TableFill *fill)
{
    Address vm4 = address(4, fill->vm4 ? fill->vm4 : "10.0.0.13"), vm6 = address(6, fill->vm6 ? fill->vm6 : "2001:db8:a::13");
    Address peer4 = address(4, "198.18.0.0"), peer6 = address(6, "2001:db8:c::");
    TableBatches *batches = g_new0(TableBatches, 1);
    guint8 buffer[MESSAGE_MAX];
    batches->octets = g_byte_array_sized_new(MAX(fill->n, 1) * 216);
    batches->ends = g_array_new(FALSE, FALSE, sizeof(guint));
    batches->n = fill->n;
    for (guint k = 0; k < fill->n; k++) {
        guint i = fill->from + (fill->modulo ? k % fill->modulo : k);
        guint shape = fill->kind == TABLE_MIXED ? i % 8 : fill->kind == TABLE_NAT ? 3 + i % 2 : 0;
        gboolean is_v6 = fill->kind == TABLE_MIXED ? shape == 5 || shape == 6 : fill->family == 6;
        Flow f = { .family = is_v6 ? 6 : 4 };
        Address peer = is_v6 ? peer6 : peer4;
        guint host = i % 131071u + 1; /* 198.18.0.0/15 */
        peer.octets[is_v6 ? 13 : 1] = (guint8) (peer.octets[is_v6 ? 13 : 1] + (host >> 16));
        peer.octets[is_v6 ? 14 : 2] = (guint8) (host >> 8);
        peer.octets[is_v6 ? 15 : 3] = (guint8) host;
        f.orig = (Tuple){ is_v6 ? vm6 : vm4, peer, (guint16) (10000 + i / 131071u), 443 };
        shape_flow(&f, shape, i);
        gsize length = fill->mark ? put_mark(buffer, &f, fill->mark + k, k + 1) : put_flow(buffer, &f, k + 1);
        g_byte_array_append(batches->octets, buffer, (guint) length);
        if (k % BATCH == BATCH - 1 || k == fill->n - 1)
            g_array_append_val(batches->ends, batches->octets->len);
    }
    return batches;
}

void
table_batches_free(TableBatches *batches)
{
    if (!batches)
        return;
    g_byte_array_unref(batches->octets);
    g_array_unref(batches->ends);
    g_free(batches);
}

/* Refusals that are queued now. */
static guint
drain(int fd, int *ret_errno)
{
    guint8 buffer[65536];
    guint n = 0;
    ssize_t length;
    while ((length = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT)) > 0) {
        int left = (int) length;
        for (const struct nlmsghdr *nlh = (struct nlmsghdr *) (void *) buffer; mnl_nlmsg_ok(nlh, left);
             nlh = mnl_nlmsg_next(nlh, &left)) {
            const struct nlmsgerr *failure = mnl_nlmsg_get_payload(nlh);
            if (nlh->nlmsg_type != NLMSG_ERROR || failure->error == 0)
                continue;
            *ret_errno = n++ ? *ret_errno : -failure->error;
        }
    }
    if (length < 0 && errno != EAGAIN)
        die("netlink receive");
    return n;
}

guint
table_inject(const TableBatches *batches, double *ret_seconds, int *ret_errno)
{
    struct mnl_socket *nl = open_socket();
    guint n_refused = 0, start = 0;
    double began = table_now();
    *ret_errno = 0;
    for (guint b = 0; b < batches->ends->len; b++) {
        guint end = g_array_index(batches->ends, guint, b);
        int failure = 0;
        if (mnl_socket_sendto(nl, batches->octets->data + start, end - start) != (ssize_t) (end - start))
            die("netlink send");
        n_refused += drain(mnl_socket_get_fd(nl), &failure);
        *ret_errno = *ret_errno ? *ret_errno : failure;
        start = end;
    }
    *ret_seconds = table_now() - began;
    mnl_socket_close(nl);
    return n_refused;
}

/* ---- the whole table ---- */

guint
table_count(void)
{
    g_autofree gchar *text = NULL;
    if (!g_file_get_contents("/proc/sys/net/netfilter/nf_conntrack_count", &text, NULL, NULL))
        die("nf_conntrack_count");
    return (guint) g_ascii_strtoull(text, NULL, 10);
}

void
table_flush(void)
{
    guint8 buffer[MESSAGE_MAX], reply[8192];
    struct mnl_socket *nl = open_socket();
    struct nlmsghdr *nlh = begin(buffer, IPCTNL_MSG_CT_DELETE, NLM_F_ACK, 0, 1);
    if (mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0 || mnl_socket_recvfrom(nl, reply, sizeof reply) < 0)
        die("flush");
    mnl_socket_close(nl);
}

guint
table_dump(TableFunc func, gpointer user_data)
{
    guint8 request[MESSAGE_MAX];
    g_autofree guint8 *buffer = g_malloc(262144);
    struct mnl_socket *nl = open_socket();
    struct nlmsghdr *nlh = begin(request, IPCTNL_MSG_CT_GET, NLM_F_DUMP, 0, 1);
    guint n = 0;
    if (mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0)
        die("dump");
    for (;;) {
        ssize_t length = mnl_socket_recvfrom(nl, buffer, 262144);
        double received = table_now();
        int left = (int) length;
        if (length < 0)
            die("dump");
        for (const struct nlmsghdr *at = (struct nlmsghdr *) (void *) buffer; mnl_nlmsg_ok(at, left);
             at = mnl_nlmsg_next(at, &left)) {
            if (at->nlmsg_type == NLMSG_ERROR) {
                errno = -((const struct nlmsgerr *) mnl_nlmsg_get_payload(at))->error;
                die("dump");
            }
            if (at->nlmsg_type == NLMSG_DONE) {
                mnl_socket_close(nl);
                return n;
            }
            n++;
            if (func)
                func(at, received, user_data);
        }
    }
}
