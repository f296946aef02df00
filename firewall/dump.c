/* Dumps, on a socket of their own. A dump is no snapshot: parts are filled one ahead, entries can come twice. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <string.h>
#include <sys/socket.h>

#include "firewall/attributes.h"
#include "firewall/ops.h"

/* One request to the kernel. IPv4 hosts are filtered there: original source first, then reply source. Its IPv6 match is inverted
 * (nf_conntrack_netlink.c of 6.18), so IPv6 and prefixes are filtered here. */
typedef struct {
    guint8 family;
    gboolean is_filtered;
    gboolean is_reply; /* match on the reply tuple's source */
    SamiAddress address;
} Pass;

typedef struct {
    SamiFirewallDump base;
    SamiDumpFilter filter;
    struct mnl_socket *socket;
    GArray *passes; /* of Pass */
    guint next_pass;
    guint n_handed_out; /* of the running pass */
    guint8 buffer[65536];
} LinuxDump;

#define FILTER_SRC 1u /* CTA_FILTER_F_CTA_IP_SRC of the kernel's own enum: bit 0 */
#define FILTER_ADDRESSES_MAX 2u /* two passes each; more hosts than this: one full dump is cheaper */

static void
plan(LinuxDump *self)
{
    const SamiDumpFilter *f = &self->filter;
    guint n_v4 = 0, n_v6 = 0;
    gboolean is_hosts = f->n_prefixes > 0;
    for (guint i = 0; i < f->n_prefixes; i++) {
        n_v4 += f->prefixes[i].family == 4;
        n_v6 += f->prefixes[i].family == 6;
        is_hosts &= f->prefixes[i].family != 4 || f->prefixes[i].length == 32;
    }
    if (f->family != 6 && (f->n_prefixes == 0 || n_v4 > 0)) {
        if (is_hosts && n_v4 <= FILTER_ADDRESSES_MAX && !f->is_counting_not_vm_end) {
            for (guint i = 0; i < f->n_prefixes; i++)
                for (guint r = 0; r < 2 && f->prefixes[i].family == 4; r++) {
                    Pass pass = { 4, TRUE, r == 1, f->prefixes[i].address };
                    g_array_append_val(self->passes, pass);
                }
        } else {
            Pass pass = { .family = 4 };
            g_array_append_val(self->passes, pass);
        }
    }
    if (f->family != 4 && (f->n_prefixes == 0 || n_v6 > 0)) {
        Pass pass = { .family = 6 };
        g_array_append_val(self->passes, pass);
    }
}

static void
put_filter(struct nlmsghdr *nlh, const Pass *pass)
{
    struct nlattr *tuple = mnl_attr_nest_start(nlh, pass->is_reply ? CTA_TUPLE_REPLY : CTA_TUPLE_ORIG);
    struct nlattr *ip = mnl_attr_nest_start(nlh, CTA_TUPLE_IP);
    mnl_attr_put(nlh, CTA_IP_V4_SRC, 4, pass->address.octets);
    mnl_attr_nest_end(nlh, ip);
    mnl_attr_nest_end(nlh, tuple);
    struct nlattr *filter = mnl_attr_nest_start(nlh, CTA_FILTER);
    mnl_attr_put_u32(nlh, CTA_FILTER_ORIG_FLAGS, pass->is_reply ? 0 : FILTER_SRC);
    mnl_attr_put_u32(nlh, CTA_FILTER_REPLY_FLAGS, pass->is_reply ? FILTER_SRC : 0);
    mnl_attr_nest_end(nlh, filter);
}

static gboolean
request(LinuxDump *self, GError **error)
{
    const Pass *pass = &g_array_index(self->passes, Pass, self->next_pass);
    guint8 buffer[512];
    struct nlmsghdr *nlh = sami_ct_message(buffer, IPCTNL_MSG_CT_GET, NLM_F_DUMP, pass->family, self->next_pass + 1);
    if (pass->is_filtered)
        put_filter(nlh, pass);
    self->next_pass++;
    self->n_handed_out = 0;
    if (mnl_socket_sendto(self->socket, nlh, nlh->nlmsg_len) >= 0)
        return TRUE;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_KERNEL, "conntrack dump: %s", g_strerror(errno));
    return FALSE;
}

static int
dump_fd(SamiFirewallDump *dump)
{
    return mnl_socket_get_fd(((LinuxDump *) dump)->socket);
}

/* An entry without translation matches both passes of its address: the second one leaves it out. */
static gboolean
was_handed_out(const LinuxDump *self, const SamiSession *s)
{
    const Pass *pass = &g_array_index(self->passes, Pass, self->next_pass - 1);
    return pass->is_filtered && pass->is_reply &&
           sami_prefixes_contain(self->filter.prefixes, self->filter.n_prefixes, s->key.family, &s->key.orig.src);
}

/* The kernel does not know the filter: ask for everything of this family instead. */
static gboolean
fall_back(LinuxDump *self, int failure, GError **error)
{
    Pass *pass = &g_array_index(self->passes, Pass, self->next_pass - 1);
    if (!pass->is_filtered || (failure != EOPNOTSUPP && failure != EINVAL)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_KERNEL, "conntrack dump: %s", g_strerror(failure));
        return FALSE;
    }
    guint8 family = pass->family;
    for (guint i = self->passes->len; i > 0; i--)
        if (g_array_index(self->passes, Pass, i - 1).family == family)
            g_array_remove_index(self->passes, i - 1);
    Pass full = { .family = family };
    g_array_prepend_val(self->passes, full);
    self->next_pass = 0;
    return request(self, error);
}

static SamiDumpStatus
dump_next(SamiFirewallDump *dump, SamiSessionFunc func, gpointer user_data, GError **error)
{
    LinuxDump *self = (LinuxDump *) dump;
    if (self->passes->len == 0)
        return SAMI_DUMP_END;
    ssize_t n = recv(mnl_socket_get_fd(self->socket), self->buffer, sizeof self->buffer, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return SAMI_DUMP_MORE;
    if (n < 0) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_KERNEL, "conntrack dump: %s", g_strerror(errno));
        return SAMI_DUMP_BAD;
    }
    int left = (int) n;
    for (const struct nlmsghdr *nlh = (struct nlmsghdr *) (void *) self->buffer; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left)) {
        SamiSession session;
        if (nlh->nlmsg_flags & NLM_F_DUMP_INTR) { /* again: repeated entries are allowed */
            self->next_pass--;
            return request(self, error) ? SAMI_DUMP_MORE : SAMI_DUMP_BAD;
        }
        if (nlh->nlmsg_type == NLMSG_ERROR) {
            const struct nlmsgerr *err = mnl_nlmsg_get_payload(nlh);
            return fall_back(self, -err->error, error) ? SAMI_DUMP_MORE : SAMI_DUMP_BAD;
        }
        if (nlh->nlmsg_type == NLMSG_DONE) {
            if (self->next_pass == self->passes->len)
                return SAMI_DUMP_END;
            return request(self, error) ? SAMI_DUMP_MORE : SAMI_DUMP_BAD;
        }
        if (sami_ct_parse(nlh, &session) && sami_firewall_selects(&self->filter, &session, &dump->n_not_vm_end) &&
            !was_handed_out(self, &session))
            func(&session, user_data);
    }
    return SAMI_DUMP_MORE;
}

static void
dump_free(SamiFirewallDump *dump)
{
    LinuxDump *self = (LinuxDump *) dump;
    if (self->socket)
        mnl_socket_close(self->socket);
    g_array_unref(self->passes);
    g_free(self);
}

SamiFirewallDump *
sami_linux_dump_new(SamiFirewall *firewall, const SamiDumpFilter *filter, GError **error)
{
    static const SamiDumpOps ops = { dump_fd, dump_next, dump_free };
    LinuxDump *self = g_new0(LinuxDump, 1);
    self->base.ops = &ops;
    self->filter = *filter;
    self->passes = g_array_new(FALSE, TRUE, sizeof(Pass));
    self->socket = sami_linux_socket(0, 1024 * 1024, error);
    plan(self);
    if (!self->socket || (self->passes->len > 0 && !request(self, error))) {
        dump_free(&self->base);
        return NULL;
    }
    return &self->base;
}
