/* The facts of firewall/host.h, from the kernel. */
#include "firewall/host.h"

#include <errno.h>
#include <ifaddrs.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
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

/* What is for all of its network: fib_add_ifaddr() of net/ipv4/fib_frontend.c, and an address that was given. */
static void
add_broadcast(GArray *list, const struct ifaddrs *one)
{
    const struct sockaddr_in *address = (const void *)one->ifa_addr, *mask = (const void *)one->ifa_netmask, *given = (const void *)one->ifa_broadaddr;
    guint32 hosts = mask ? ~mask->sin_addr.s_addr : 0, all = address->sin_addr.s_addr | hosts;
    if (ntohl(hosts) > 1) /* none of a /31 */
        add(list, 4, &all);
    if ((one->ifa_flags & IFF_BROADCAST) && given && given->sin_family == AF_INET && given->sin_addr.s_addr)
        add(list, 4, &given->sin_addr);
}

/* And for one of its routers (RFC 4291 section 2.6.1): addrconf_join_anycast() of net/ipv6/addrconf.c. */
static void
add_anycast(GArray *list, const struct ifaddrs *one)
{
    const struct sockaddr_in6 *address = (const void *)one->ifa_addr, *mask = (const void *)one->ifa_netmask;
    struct in6_addr network = address->sin6_addr;
    for (guint i = 0; mask && i < sizeof network.s6_addr; i++)
        network.s6_addr[i] &= mask->sin6_addr.s6_addr[i];
    if (mask && (mask->sin6_addr.s6_addr[15] & 0x02) == 0) /* none of a /127 */
        add(list, 6, &network);
}

GArray *
sami_host_addresses(GError **error)
{
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all) != 0) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "addresses of the interfaces: %s", g_strerror(errno));
        return NULL;
    }
    GArray *list = g_array_new(FALSE, TRUE, sizeof(SamiPrefix));
    for (const struct ifaddrs *one = all; one; one = one->ifa_next) {
        if (one->ifa_addr && one->ifa_addr->sa_family == AF_INET) {
            add(list, 4, &((const struct sockaddr_in *)(const void *)one->ifa_addr)->sin_addr);
            add_broadcast(list, one);
        } else if (one->ifa_addr && one->ifa_addr->sa_family == AF_INET6) {
            add(list, 6, &((const struct sockaddr_in6 *)(const void *)one->ifa_addr)->sin6_addr);
            add_anycast(list, one);
        }
    }
    freeifaddrs(all);
    return list;
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
