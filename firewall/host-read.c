/* The facts of firewall/host.h, from the kernel. */
#include "firewall/host.h"

#include <errno.h>
#include <ifaddrs.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "firewall/attributes.h"
#include "firewall/ops.h"

#define SYSCTLS "/proc/sys/net/netfilter/"

static gint64
read_sysctl(const gchar *name)
{
    g_autofree gchar *path = g_strconcat(SYSCTLS, name, NULL), *text = NULL;
    return g_file_get_contents(path, &text, NULL, NULL) ? g_ascii_strtoll(text, NULL, 10) : -1;
}

static void
add(GArray *list, guint8 family, const void *address)
{
    SamiPrefix prefix = {.family = family, .length = family == 4 ? 32 : 128};
    memcpy(prefix.address.octets, address, family == 4 ? 4 : 16);
    g_array_append_val(list, prefix);
}

static gboolean
add_interfaces(GArray *list)
{
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all) != 0)
        return FALSE;
    for (const struct ifaddrs *one = all; one; one = one->ifa_next) {
        if (one->ifa_addr && one->ifa_addr->sa_family == AF_INET)
            add(list, 4, &((const struct sockaddr_in *)(const void *)one->ifa_addr)->sin_addr);
        else if (one->ifa_addr && one->ifa_addr->sa_family == AF_INET6)
            add(list, 6, &((const struct sockaddr_in6 *)(const void *)one->ifa_addr)->sin6_addr);
    }
    freeifaddrs(all);
    return TRUE;
}

static int
on_route(const struct nlmsghdr *nlh, void *data)
{
    const struct rtmsg *route = mnl_nlmsg_get_payload(nlh);
    guint8 family = route->rtm_family == AF_INET ? 4 : 6;
    const struct nlattr *attr;
    if (route->rtm_type != RTN_BROADCAST && route->rtm_type != RTN_ANYCAST) /* a kernel without a strict check gives all */
        return MNL_CB_OK;
    mnl_attr_for_each(attr, nlh, sizeof *route)
        if (mnl_attr_get_type(attr) == RTA_DST && mnl_attr_get_payload_len(attr) == (family == 4 ? 4 : 16) && route->rtm_dst_len == (family == 4 ? 32 : 128))
            add(data, family, mnl_attr_get_payload(attr));
    return MNL_CB_OK;
}

/* One dump: NLM_F_DUMP_INTR says that routes changed meanwhile, and then these are told, too. */
static gboolean
dump_routes(struct mnl_socket *nl, guint8 family, guint8 type, GArray *list)
{
    guint8 buffer[32768];
    struct nlmsghdr *nlh = mnl_nlmsg_put_header(buffer);
    nlh->nlmsg_type = RTM_GETROUTE;
    nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    nlh->nlmsg_seq = (guint32) family << 8 | type;
    struct rtmsg *wanted = mnl_nlmsg_put_extra_header(nlh, sizeof *wanted);
    wanted->rtm_family = family;
    wanted->rtm_type = type;
    guint32 seq = nlh->nlmsg_seq;
    int result = MNL_CB_OK;
    if (mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0)
        return FALSE;
    while (result > MNL_CB_STOP) {
        gssize n = mnl_socket_recvfrom(nl, buffer, sizeof buffer);
        result = n < 0 ? MNL_CB_ERROR : mnl_cb_run(buffer, (gsize) n, seq, mnl_socket_get_portid(nl), on_route, list);
    }
    return result == MNL_CB_STOP;
}

/* A packet to the broadcast address of a network of ours, or to the anycast address of its routers (RFC 4291 section 2.6.1), is for us, too. */
static gboolean
add_shared(GArray *list)
{
    static const struct {
        guint8 family, type;
    } wanted[] = { { AF_INET, RTN_BROADCAST }, { AF_INET6, RTN_ANYCAST } };
    struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    int on = 1;
    gboolean is_read = nl && mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) == 0;
    if (is_read) /* whole tables of routes stay in the kernel then; since Linux 4.20 */
        mnl_socket_setsockopt(nl, NETLINK_GET_STRICT_CHK, &on, sizeof on);
    for (guint i = 0; is_read && i < G_N_ELEMENTS(wanted); i++)
        is_read = dump_routes(nl, wanted[i].family, wanted[i].type, list);
    int saved = errno;
    if (nl)
        mnl_socket_close(nl);
    errno = saved;
    return is_read;
}

GArray *
sami_host_addresses(GError **error)
{
    g_autoptr(GArray) list = g_array_new(FALSE, TRUE, sizeof(SamiPrefix));
    if (add_interfaces(list) && add_shared(list))
        return g_steal_pointer(&list);
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "addresses of the interfaces: %s", g_strerror(errno));
    return NULL;
}

void
sami_host_timeouts(SamiTimeouts *ret)
{
    static const struct {
        const gchar *name; /* behind nf_conntrack_ */
        gsize offset;
    } settings[] = {
#define T(field) G_STRUCT_OFFSET(SamiTimeouts, field)
        { "tcp_timeout_syn_sent", T(tcp[0]) },      { "tcp_timeout_syn_sent", T(tcp[1]) },
        { "tcp_timeout_syn_recv", T(tcp[2]) },      { "tcp_timeout_established", T(tcp[3]) },
        { "tcp_timeout_fin_wait", T(tcp[4]) },      { "tcp_timeout_close_wait", T(tcp[5]) },
        { "tcp_timeout_last_ack", T(tcp[6]) },      { "tcp_timeout_time_wait", T(tcp[7]) },
        { "tcp_timeout_close", T(tcp[8]) },         { "tcp_timeout_syn_sent", T(tcp[9]) }, /* SYN_SENT2 has none of its own */
        { "sctp_timeout_closed", T(sctp[0]) },      { "sctp_timeout_closed", T(sctp[1]) },
        { "sctp_timeout_cookie_wait", T(sctp[2]) }, { "sctp_timeout_cookie_echoed", T(sctp[3]) },
        { "sctp_timeout_established", T(sctp[4]) }, { "sctp_timeout_shutdown_sent", T(sctp[5]) },
        { "sctp_timeout_shutdown_recd", T(sctp[6]) }, { "sctp_timeout_shutdown_ack_sent", T(sctp[7]) },
        { "sctp_timeout_heartbeat_sent", T(sctp[8]) }, { "udp_timeout", T(udp) },
        { "udp_timeout_stream", T(udp_stream) },    { "icmp_timeout", T(icmp) },
        { "icmpv6_timeout", T(icmpv6) },            { "gre_timeout", T(gre) },
        { "gre_timeout_stream", T(gre_stream) },    { "generic_timeout", T(generic) },
#undef T
    };
    for (guint i = 0; i < G_N_ELEMENTS(settings); i++) {
        g_autofree gchar *name = g_strconcat("nf_conntrack_", settings[i].name, NULL);
        gint64 value = read_sysctl(name);
        *(guint32 *)G_STRUCT_MEMBER_P(ret, settings[i].offset) = value > 0 ? (guint32)MIN(value, (gint64)G_MAXINT32) : 0;
    }
}

int
sami_host_watch(GError **error)
{
    struct sockaddr_nl local = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    if (fd >= 0 && bind(fd, (const struct sockaddr *)(const void *)&local, sizeof local) == 0)
        return fd;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "changes of the interfaces' addresses: %s", g_strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

gboolean
sami_host_watch_drain(int fd)
{
    guint8 buffer[8192];
    gssize n;
    do
        n = recv(fd, buffer, sizeof buffer, 0);
    while (n > 0 || (n < 0 && (errno == EINTR || errno == ENOBUFS)));
    return n < 0 && errno == EAGAIN;
}

SamiHostFacts *
sami_host_read(SamiFirewall *firewall, const SamiHostDaemon *daemon)
{
    static const gchar *const names[SAMI_N_SYSCTLS] = {
        [SAMI_SYSCTL_EVENTS] = "nf_conntrack_events",       [SAMI_SYSCTL_TIMESTAMP] = "nf_conntrack_timestamp",
        [SAMI_SYSCTL_ACCT] = "nf_conntrack_acct",           [SAMI_SYSCTL_TCP_LOOSE] = "nf_conntrack_tcp_loose",
        [SAMI_SYSCTL_TCP_BE_LIBERAL] = "nf_conntrack_tcp_be_liberal",
    };
    SamiHostFacts *facts = g_new0(SamiHostFacts, 1);
    g_autoptr(GError) error = NULL;
    facts->daemon = *daemon;
    for (guint i = 0; i < SAMI_N_SYSCTLS; i++)
        facts->sysctls[i] = read_sysctl(names[i]);
    facts->n_buckets = read_sysctl("nf_conntrack_buckets");
    facts->addresses = sami_host_addresses(NULL);
    if (!sami_firewall_headroom(firewall, &facts->n_entries, &facts->n_max, NULL))
        facts->n_entries = facts->n_max = 0;
    facts->ruleset = sami_ruleset_read(&error);
    if (!facts->ruleset)
        facts->ruleset_error = g_strdup(error->message);
    return facts;
}

void
sami_host_facts_free(SamiHostFacts *facts)
{
    if (!facts)
        return;
    sami_ruleset_free(facts->ruleset);
    g_free(facts->ruleset_error);
    if (facts->addresses)
        g_array_unref(facts->addresses);
    g_free(facts);
}

/* Between two addresses of documentation (RFC 5737, RFC 3849), which nobody's flow has. */
static SamiFlowKey
make_key(guint8 family, guint8 protocol)
{
    static const guint8 ipv4[2][4] = {{192, 0, 2, 254}, {198, 51, 100, 254}};
    static const guint8 ipv6[4] = {0x20, 0x01, 0x0d, 0xb8};
    SamiFlowKey key = {.family = family, .protocol = protocol, .orig = {.src_port = 9, .dst_port = 9}};
    memcpy(&key.orig.src, family == 4 ? ipv4[0] : ipv6, 4);
    memcpy(&key.orig.dst, family == 4 ? ipv4[1] : ipv6, 4);
    if (family == 6)
        key.orig.dst.octets[15] = 1;
    return key;
}

static void
put_refused(struct nlmsghdr *nlh, const gchar *helper)
{
    struct nlattr *nest = mnl_attr_nest_start(nlh, CTA_HELP);
    mnl_attr_put_strz(nlh, CTA_HELP_NAME, helper);
    mnl_attr_nest_end(nlh, nest);
    /* Of two attributes of one type the kernel takes the last. EBUSY, before the entry is in the table. */
    mnl_attr_put_u32(nlh, CTA_STATUS, htonl(IPS_CONFIRMED | IPS_DYING));
}

gint
sami_host_has_helper(const gchar *name, guint8 family, guint8 protocol)
{
    guint8 buffer[SAMI_CT_MESSAGE_MAX + 64], reply[4096];
    SamiSession s = {.key = make_key(family, protocol), .has = SAMI_HAS_TIMEOUT | SAMI_HAS_REPLY, .timeout_s = 1};
    struct mnl_socket *socket = strlen(name) < 16 && sami_flow_key_mirror(&s.key, &s.reply) ? sami_linux_socket(0, sizeof reply, NULL) : NULL;
    int failure = 0;
    if (!socket)
        return -1;
    struct nlmsghdr *nlh = sami_ct_message(buffer, IPCTNL_MSG_CT_NEW, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, family, 1);
    sami_ct_put(nlh, &s, SAMI_OP_CREATE);
    put_refused(nlh, name);
    /* EAGAIN: the kernel has just loaded the helper's module. */
    for (guint i = 0; i < 2 && (i == 0 || failure == EAGAIN); i++) {
        gssize n = mnl_socket_sendto(socket, nlh, nlh->nlmsg_len) < 0 ? -1 : mnl_socket_recvfrom(socket, reply, sizeof reply);
        const struct nlmsghdr *answer = (const void *)reply;
        failure = n > 0 && mnl_nlmsg_ok(answer, (int)n) && answer->nlmsg_type == NLMSG_ERROR ? sami_linux_errno(answer) : EPROTO;
    }
    mnl_socket_close(socket);
    return failure == EBUSY ? 1 : failure == EOPNOTSUPP ? 0 : -1;
}
