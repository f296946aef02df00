/* Dumps, on a socket of their own. A dump is no snapshot: parts are filled ahead, entries can come
 * twice.
 *
 * The kernel fills a part inside recv(), which takes longer than all that is then done with it. A
 * thread that does nothing else reads a few parts ahead, so that both are done at once: with one
 * thread the export path reached 0.4 of the rate of a bare dump, and it cannot reach 0.9. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "firewall/attributes.h"
#include "firewall/ops.h"

#define FILTER_SRC 1u           /* CTA_FILTER_F_CTA_IP_SRC in nf_internals.h: bit 0 */
#define FILTER_ADDRESSES_MAX 2u /* two passes each; for more hosts one full dump is cheaper */
#define PARTS 4u                /* read ahead at most; the kernel fills up to 32 kB a part */
#define PART_MAX 65536u
#define RESTARTS_MAX                                                                               \
    8u /* of one pass that the kernel calls interrupted; beyond it the dump fails instead of       \
          hanging */

/* One request to the kernel. IPv4 hosts are filtered there: original source first, then reply
 * source. The IPv6 match of CTA_FILTER is inverted (nf_conntrack_netlink.c of 6.18), so IPv6 is
 * filtered here, and so are prefixes. */
typedef struct {
    guint8 family; /* 0: both */
    gboolean is_filtered; /* by address */
    gboolean is_reply;    /* match on the reply tuple's source */
    SamiAddress address;
    gboolean is_nothing; /* asks for nothing, so that the descriptor becomes readable and the dump ends */
} Pass;

typedef struct {
    ssize_t length; /* as recv() said */
    int failure;    /* its errno */
    guint8 octets[PART_MAX];
} Part;

typedef struct {
    SamiFirewallDump base;
    SamiDumpFilter filter;
    struct mnl_socket *socket;
    GArray *passes; /* of Pass */
    guint pass;     /* the running one */
    guint32 sequence;
    gboolean is_interrupted; /* the running pass has to be repeated */
    gboolean is_mark_sent;   /* the kernel is asked to filter by mark */
    guint n_restarts;
    guint64 n_not_vm_end_before; /* count before the running pass, for its repetition */
    GThread *reader;
    GAsyncQueue *empty, *filled; /* of Part */
    int ready;                   /* eventfd: counts what is in `filled` */
    int stop;                    /* eventfd: tells the reader to end */
    Part parts[PARTS];
} LinuxDump;

/* FALSE when the dump is being freed. */
static gboolean
wait_for_part(const LinuxDump *self)
{
    struct pollfd fds[2] = {{.fd = mnl_socket_get_fd(self->socket), .events = POLLIN},
                            {.fd = self->stop, .events = POLLIN}};
    while (poll(fds, 2, -1) < 0 && errno == EINTR)
        ;
    return fds[1].revents == 0;
}

/* The reader uses nothing of the dump but the descriptors and the queues. */
static gpointer
read_parts(gpointer user_data)
{
    LinuxDump *self = user_data;
    const guint64 one = 1;
    for (;;) {
        Part *part = g_async_queue_pop(self->empty);
        do {
            if (!wait_for_part(self))
                return NULL;
            part->length = recv(mnl_socket_get_fd(self->socket), part->octets, PART_MAX,
                                MSG_DONTWAIT);
            part->failure = errno;
        } while (part->length < 0 && (part->failure == EAGAIN || part->failure == EINTR));
        g_async_queue_push(self->filled, part);
        if (write(self->ready, &one, sizeof one) != sizeof one)
            return NULL; /* the counter of an eventfd does not overflow with PARTS */
    }
}

/* (nullable) (transfer full) the oldest part that is there. */
static Part *
take_part(LinuxDump *self)
{
    guint64 one;
    return read(self->ready, &one, sizeof one) == sizeof one ? g_async_queue_pop(self->filled)
                                                              : NULL;
}

static const Pass *
running(const LinuxDump *self)
{
    return &g_array_index(self->passes, Pass, self->pass);
}

static void
add_hosts(LinuxDump *self)
{
    for (guint i = 0; i < self->filter.n_prefixes; i++)
        for (guint r = 0; r < 2 && self->filter.prefixes[i].family == 4; r++) {
            Pass pass = {4, TRUE, r == 1, self->filter.prefixes[i].address, FALSE};
            g_array_append_val(self->passes, pass);
        }
}

static void
plan(LinuxDump *self)
{
    const SamiDumpFilter *f = &self->filter;
    Pass v4 = {.family = 4}, v6 = {.family = 6}, both = {.family = 0}, nothing = {.is_nothing = TRUE};
    guint n_v4 = 0, n_v6 = 0;
    gboolean is_hosts = !f->is_counting_not_vm_end; /* what is to be counted must be seen */
    for (guint i = 0; i < f->n_prefixes; i++) {
        n_v4 += f->prefixes[i].family == 4;
        n_v6 += f->prefixes[i].family == 6;
        is_hosts &= f->prefixes[i].family != 4 || f->prefixes[i].length == 32;
    }
    gboolean is_v4 = f->family != 6 && (f->n_prefixes == 0 || n_v4 > 0);
    gboolean is_v6 = f->family != 4 && (f->n_prefixes == 0 || n_v6 > 0);
    if (is_v4 && n_v4 > 0 && n_v4 <= FILTER_ADDRESSES_MAX && is_hosts)
        add_hosts(self);
    else if (is_v4 && is_v6) /* each pass walks the machine's whole table */
        g_array_append_val(self->passes, both);
    else if (is_v4)
        g_array_append_val(self->passes, v4);
    if (is_v6 && (self->passes->len == 0 || running(self)->family == 4))
        g_array_append_val(self->passes, v6);
    if (self->passes->len == 0)
        g_array_append_val(self->passes, nothing);
    self->is_mark_sent = f->has_mark;
}

static void
put_filter(struct nlmsghdr *nlh, const Pass *pass)
{
    struct nlattr *tuple =
        mnl_attr_nest_start(nlh, pass->is_reply ? CTA_TUPLE_REPLY : CTA_TUPLE_ORIG);
    struct nlattr *ip = mnl_attr_nest_start(nlh, CTA_TUPLE_IP);
    mnl_attr_put(nlh, CTA_IP_V4_SRC, 4, pass->address.octets);
    mnl_attr_nest_end(nlh, ip);
    mnl_attr_nest_end(nlh, tuple);
    struct nlattr *filter = mnl_attr_nest_start(nlh, CTA_FILTER);
    mnl_attr_put_u32(nlh, CTA_FILTER_ORIG_FLAGS, pass->is_reply ? 0 : FILTER_SRC);
    mnl_attr_put_u32(nlh, CTA_FILTER_REPLY_FLAGS, pass->is_reply ? FILTER_SRC : 0);
    mnl_attr_nest_end(nlh, filter);
}

/* Asks for the running pass. */
static gboolean
request(LinuxDump *self, GError **error)
{
    const Pass *pass = running(self);
    guint8 buffer[SAMI_CT_MESSAGE_MAX];
    struct nlmsghdr *nlh =
        sami_ct_message(buffer, IPCTNL_MSG_CT_GET, NLM_F_DUMP, pass->family, ++self->sequence);
    if (pass->is_filtered)
        put_filter(nlh, pass);
    if (self->is_mark_sent) {
        mnl_attr_put_u32(nlh, CTA_MARK, htonl(self->filter.mark));
        mnl_attr_put_u32(nlh, CTA_MARK_MASK, htonl(self->filter.mark_mask));
    }
    if (pass->is_nothing) {
        nlh->nlmsg_type = NLMSG_NOOP;
        nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    }
    self->is_interrupted = FALSE;
    self->n_not_vm_end_before = self->base.n_not_vm_end;
    if (mnl_socket_sendto(self->socket, nlh, nlh->nlmsg_len) >= 0)
        return TRUE;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_KERNEL, "conntrack dump: %s", g_strerror(errno));
    return FALSE;
}

static SamiDumpStatus
fail(int failure, GError **error)
{
    g_set_error(error, SAMI_ERROR, failure == EPERM ? SAMI_ERROR_PERMISSION : SAMI_ERROR_KERNEL,
                "conntrack dump: %s", g_strerror(failure));
    return SAMI_DUMP_BAD;
}

/* An entry without translation matches both passes of its address: the second one leaves it out. */
static gboolean
was_handed_out(const LinuxDump *self, const SamiSession *s)
{
    return running(self)->is_reply &&
           sami_prefixes_contain(self->filter.prefixes, self->filter.n_prefixes, s->key.family,
                                 &s->key.orig.src);
}

/* A kernel without the filter: ask for everything of the family instead. Passes by address are IPv4
 * and come first. */
static SamiDumpStatus
fall_back(LinuxDump *self, int failure, GError **error)
{
    if (failure == 0) /* the acknowledgement of the request for nothing */
        return SAMI_DUMP_END;
    if ((failure != EOPNOTSUPP && failure != EINVAL) ||
        (!running(self)->is_filtered && !self->is_mark_sent))
        return fail(failure, error);
    Pass full = {.family = running(self)->family};
    if (running(self)->is_filtered) {
        while (self->passes->len > 0 && g_array_index(self->passes, Pass, 0).is_filtered)
            g_array_remove_index(self->passes, 0);
        g_array_prepend_val(self->passes, full);
        self->pass = 0;
    } else {
        self->is_mark_sent = FALSE;
    }
    return request(self, error) ? SAMI_DUMP_MORE : SAMI_DUMP_BAD;
}

/* The end of a pass. While one runs on a socket the kernel answers another with EBUSY, so an
 * interrupted one is read to its end before it is asked for again. */
static SamiDumpStatus
finish_pass(LinuxDump *self, const struct nlmsghdr *nlh, GError **error)
{
    int failure = mnl_nlmsg_get_payload_len(nlh) >= sizeof(int)
                      ? -*(const int *)mnl_nlmsg_get_payload(nlh)
                      : 0;
    if (failure > 0)
        return fall_back(self, failure, error);
    if (self->is_interrupted && self->n_restarts++ >= RESTARTS_MAX)
        return fail(EINTR, error);
    if (self->is_interrupted) {
        self->base.n_not_vm_end = self->n_not_vm_end_before;
        return request(self, error) ? SAMI_DUMP_MORE : SAMI_DUMP_BAD;
    }
    if (++self->pass == self->passes->len)
        return SAMI_DUMP_END;
    self->n_restarts = 0;
    return request(self, error) ? SAMI_DUMP_MORE : SAMI_DUMP_BAD;
}

static int
dump_fd(SamiFirewallDump *dump)
{
    return ((LinuxDump *)dump)->ready;
}

static SamiDumpStatus
read_part(LinuxDump *self, const Part *part, SamiSessionFunc func, gpointer user_data,
          GError **error)
{
    int left = (int)part->length;
    if (part->length < 0)
        return fail(part->failure, error);
    for (const struct nlmsghdr *nlh = (const struct nlmsghdr *)(const void *)part->octets;
         mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left)) {
        SamiSession session;
        self->is_interrupted |= (nlh->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
        if (nlh->nlmsg_type == NLMSG_ERROR)
            return fall_back(self, sami_linux_errno(nlh), error);
        if (nlh->nlmsg_type == NLMSG_DONE)
            return finish_pass(self, nlh, error);
        if (sami_ct_parse(nlh, &session) &&
            sami_firewall_selects(&self->filter, &session, &self->base.n_not_vm_end) &&
            !was_handed_out(self, &session))
            func(&session, user_data);
    }
    return SAMI_DUMP_MORE;
}

static SamiDumpStatus
dump_next(SamiFirewallDump *dump, SamiSessionFunc func, gpointer user_data, GError **error)
{
    LinuxDump *self = (LinuxDump *)dump;
    if (self->pass == self->passes->len)
        return SAMI_DUMP_END;
    Part *part = take_part(self);
    if (!part)
        return SAMI_DUMP_MORE;
    SamiDumpStatus status = read_part(self, part, func, user_data, error);
    g_async_queue_push(self->empty, part);
    return status;
}

static void
dump_free(SamiFirewallDump *dump)
{
    LinuxDump *self = (LinuxDump *)dump;
    const guint64 one = 1;
    if (self->reader) {
        /* It waits for a part of the kernel or for an empty one of ours. */
        gssize n = write(self->stop, &one, sizeof one);
        g_assert(n == sizeof one);
        g_async_queue_push(self->empty, &self->parts[0]);
        g_thread_join(self->reader);
    }
    g_async_queue_unref(self->empty);
    g_async_queue_unref(self->filled);
    if (self->ready >= 0)
        close(self->ready);
    if (self->stop >= 0)
        close(self->stop);
    if (self->socket)
        mnl_socket_close(self->socket);
    g_array_unref(self->passes);
    g_free(self);
}

SamiFirewallDump *
sami_linux_dump_new(SamiFirewall *firewall, const SamiDumpFilter *filter, GError **error)
{
    static const SamiDumpOps ops = {dump_fd, dump_next, dump_free};
    g_autoptr(SamiFirewallDump) dump = (SamiFirewallDump *)g_new0(LinuxDump, 1);
    LinuxDump *self = (LinuxDump *)dump;
    dump->ops = &ops;
    self->filter = *filter;
    self->passes = g_array_new(FALSE, TRUE, sizeof(Pass));
    self->empty = g_async_queue_new();
    self->filled = g_async_queue_new();
    self->ready = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
    self->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    self->socket = sami_linux_socket(0, 1024 * 1024, error);
    plan(self);
    if (!self->socket || !request(self, error))
        return NULL;
    if (self->ready < 0 || self->stop < 0)
        return fail(errno, error), NULL;
    for (guint i = 0; i < PARTS; i++)
        g_async_queue_push(self->empty, &self->parts[i]);
    self->reader = g_thread_try_new("dump", read_parts, self, error);
    if (!self->reader)
        return NULL;
    return g_steal_pointer(&dump);
}
