#include "transport/sctp-udp.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/limits.h"
#include "transport/sctp-backend.h"
#include "transport/sctp-lanes.h"

#define SCTP_HEADER 12u
/* RFC 6951 §5.6: the UDP header, within the smallest and the largest packets that make sense; IPv6 promises 1280. */
#define UDP_HEADER 8u
#define MTU_LEAST 1280u
#define MTU_MOST 9216u

/* IPv4 as ::ffff:a.b.c.d. No padding: it is compared and hashed as octets. */
typedef struct {
    struct in6_addr ip;
    guint32 scope;
    guint32 port_be;
} Endpoint;

typedef struct {
    guint64 number;
    Endpoint remote;
    struct in6_addr local; /* where it sent to, and where answers come from; unspecified: the kernel's choice */
    guint32 local_index;
    guint n_held, n_trusted;
    gboolean was_held;
    gint64 seen_us;
    GList idle; /* in Udp.idle while nobody holds it */
} Peer;

struct SamiSctpUdp {
    int fd;
    int family;
    ssize_t (*send)(int fd, const struct msghdr *message, int flags);
    void (*forgotten)(guint64 peer);
    guint8 secret[32];
    GHashTable *by_endpoint, *by_number; /* of Peer; the second one owns */
    guint64 n_odd;                       /* datagrams that are no SCTP packet */
    guint64 n_crowded;                   /* of strangers, without room */
    GQueue idle;                         /* least recently seen first */
};

typedef union {
    struct cmsghdr header; /* for its alignment */
    guint8 octets[CMSG_SPACE(sizeof(struct in6_pktinfo))];
} Control;

int
sami_sctp_udp_open(const struct sockaddr *address, socklen_t length, GError **error)
{
    const int off = 0, size = SCTP_UDP_BUFFER;
    int fd = socket(address->sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && address->sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (fd >= 0 && bind(fd, address, length) == 0) {
        /* More than net.core.rmem_max only for who may; less costs speed, nothing else. */
        if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) != 0)
            setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
        if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) != 0)
            setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
        return fd;
    }
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "UDP socket: %s", g_strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

static guint
endpoint_hash(gconstpointer data)
{
    const guint8 *octets = data;
    guint hash = 5381;
    for (gsize i = 0; i < sizeof(Endpoint); i++)
        hash = hash * 33 + octets[i];
    return hash;
}

static gboolean
endpoint_equal(gconstpointer a, gconstpointer b)
{
    return !memcmp(a, b, sizeof(Endpoint));
}

SamiSctpUdp *
sami_sctp_udp_new(int fd_take, ssize_t (*send)(int, const struct msghdr *, int), void (*forgotten)(guint64))
{
    const int on = 1;
    SamiSctpUdp *udp = g_new0(SamiSctpUdp, 1);
    socklen_t length = sizeof(udp->family);
    udp->fd = fd_take;
    udp->send = send ? send : sendmsg;
    udp->forgotten = forgotten;
    getsockopt(udp->fd, SOL_SOCKET, SO_DOMAIN, &udp->family, &length);
    if (udp->family == AF_INET6)
        setsockopt(udp->fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on));
    else
        setsockopt(udp->fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on));
    while (getrandom(udp->secret, sizeof(udp->secret), 0) != (ssize_t) sizeof(udp->secret))
        ;
    udp->by_endpoint = g_hash_table_new(endpoint_hash, endpoint_equal);
    udp->by_number = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
    g_queue_init(&udp->idle);
    return udp;
}

void
sami_sctp_udp_free(SamiSctpUdp *udp)
{
    if (!udp)
        return;
    close(udp->fd);
    g_hash_table_unref(udp->by_endpoint);
    g_hash_table_unref(udp->by_number);
    explicit_bzero(udp->secret, sizeof(udp->secret));
    g_free(udp);
}

SamiSctpDropped
sami_sctp_udp_dropped(const SamiSctpUdp *udp)
{
    guint32 memory[SK_MEMINFO_VARS] = { 0 };
    socklen_t length = sizeof(memory);
    getsockopt(udp->fd, SOL_SOCKET, SO_MEMINFO, memory, &length);
    return (SamiSctpDropped){ udp->n_odd, udp->n_crowded + memory[SK_MEMINFO_DROPS] };
}

/* ---- peers ---- */

static void
map_v4(struct in_addr from, struct in6_addr *ret_ip)
{
    memset(ret_ip, 0, sizeof(*ret_ip));
    ret_ip->s6_addr[10] = ret_ip->s6_addr[11] = 0xff;
    memcpy(ret_ip->s6_addr + 12, &from, 4);
}

static gboolean
fill_endpoint(const struct sockaddr *address, Endpoint *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (address->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof(v4));
        map_v4(v4.sin_addr, &ret->ip);
        ret->port_be = v4.sin_port;
        return TRUE;
    }
    if (address->sa_family != AF_INET6)
        return FALSE;
    struct sockaddr_in6 v6;
    memcpy(&v6, address, sizeof(v6));
    ret->ip = v6.sin6_addr;
    ret->scope = IN6_IS_ADDR_LINKLOCAL(&v6.sin6_addr) ? v6.sin6_scope_id : 0;
    ret->port_be = v6.sin6_port;
    return TRUE;
}

static socklen_t
fill_address(const SamiSctpUdp *udp, const Endpoint *from, struct sockaddr_storage *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (udp->family == AF_INET) {
        struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = (in_port_t) from->port_be };
        memcpy(&v4.sin_addr, from->ip.s6_addr + 12, 4);
        memcpy(ret, &v4, sizeof(v4));
        return sizeof(v4);
    }
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = (in_port_t) from->port_be, .sin6_addr = from->ip, .sin6_scope_id = from->scope };
    memcpy(ret, &v6, sizeof(v6));
    return sizeof(v6);
}

/* Nobody can choose addresses with equal numbers without the key. */
static guint64
number_of(const SamiSctpUdp *udp, const Endpoint *endpoint)
{
    guint8 digest[32];
    gsize n = sizeof(digest);
    guint64 number;
    GHmac *hmac = g_hmac_new(G_CHECKSUM_SHA256, udp->secret, sizeof(udp->secret));
    g_hmac_update(hmac, (const guchar *) endpoint, sizeof(*endpoint));
    g_hmac_get_digest(hmac, digest, &n);
    g_hmac_unref(hmac);
    memcpy(&number, digest, sizeof(number));
    return number ? number : 1;
}

static void
forget(SamiSctpUdp *udp, Peer *peer)
{
    if (peer->was_held)
        udp->forgotten(peer->number);
    g_queue_unlink(&udp->idle, &peer->idle);
    g_hash_table_remove(udp->by_endpoint, &peer->remote);
    g_hash_table_remove(udp->by_number, &peer->number);
}

static Peer *
learn(SamiSctpUdp *udp, const Endpoint *endpoint)
{
    Peer *peer = g_hash_table_lookup(udp->by_endpoint, endpoint);
    if (!peer) {
        guint64 number = number_of(udp, endpoint);
        if (g_hash_table_contains(udp->by_number, &number))
            return NULL;
        while (udp->idle.length >= SAMI_SCTP_PEERS_MAX)
            forget(udp, g_queue_peek_head(&udp->idle));
        peer = g_new0(Peer, 1);
        peer->number = number;
        peer->remote = *endpoint;
        peer->idle.data = peer;
        g_hash_table_insert(udp->by_endpoint, &peer->remote, peer);
        g_hash_table_insert(udp->by_number, &peer->number, peer);
        g_queue_push_tail_link(&udp->idle, &peer->idle);
    } else if (!peer->n_held) {
        g_queue_unlink(&udp->idle, &peer->idle);
        g_queue_push_tail_link(&udp->idle, &peer->idle);
    }
    peer->seen_us = g_get_monotonic_time();
    return peer;
}

guint64
sami_sctp_udp_find(SamiSctpUdp *udp, const struct sockaddr *address, guint16 port)
{
    Endpoint endpoint;
    if (!fill_endpoint(address, &endpoint) || (udp->family == AF_INET && !IN6_IS_ADDR_V4MAPPED(&endpoint.ip)))
        return 0;
    endpoint.port_be = htons(port);
    Peer *peer = learn(udp, &endpoint);
    return peer ? peer->number : 0;
}

gboolean
sami_sctp_udp_hold(SamiSctpUdp *udp, guint64 number)
{
    Peer *peer = g_hash_table_lookup(udp->by_number, &number);
    if (!peer)
        return FALSE;
    if (peer->n_held++ == 0)
        g_queue_unlink(&udp->idle, &peer->idle);
    gboolean is_first = !peer->was_held;
    peer->was_held = TRUE;
    return is_first;
}

void
sami_sctp_udp_release(SamiSctpUdp *udp, guint64 number)
{
    Peer *peer = g_hash_table_lookup(udp->by_number, &number);
    if (!peer || --peer->n_held > 0)
        return;
    peer->seen_us = g_get_monotonic_time();
    g_queue_push_tail_link(&udp->idle, &peer->idle);
}

void
sami_sctp_udp_trust(SamiSctpUdp *udp, guint64 number, gboolean is_trusted)
{
    Peer *peer = g_hash_table_lookup(udp->by_number, &number);
    if (peer && is_trusted)
        peer->n_trusted++;
    else if (peer)
        peer->n_trusted--;
}

void
sami_sctp_udp_expire(SamiSctpUdp *udp)
{
    gint64 before = g_get_monotonic_time() - (gint64) SAMI_SCTP_PEER_TTL_S * G_USEC_PER_SEC;
    Peer *peer;
    while ((peer = g_queue_peek_head(&udp->idle)) && peer->seen_us < before)
        forget(udp, peer);
}

guint
sami_sctp_udp_n_idle(const SamiSctpUdp *udp)
{
    return udp->idle.length;
}

void
sami_sctp_udp_print(const SamiSctpUdp *udp, guint64 number, gchar ret_text[SAMI_ADDRESS_TEXT])
{
    const Peer *peer = g_hash_table_lookup(udp->by_number, &number);
    struct sockaddr_storage address;
    g_strlcpy(ret_text, "unknown", SAMI_ADDRESS_TEXT);
    if (!peer)
        return;
    fill_address(udp, &peer->remote, &address);
    sami_address_print((const struct sockaddr *) &address, ret_text);
}

guint
sami_sctp_udp_mtu(const SamiSctpUdp *udp, guint64 number)
{
    const Peer *peer = g_hash_table_lookup(udp->by_number, &number);
    struct sockaddr_storage address;
    int mtu = 0;
    socklen_t length = sizeof(mtu);
    if (!peer)
        return MTU_LEAST - 40 - UDP_HEADER;
    socklen_t address_length = fill_address(udp, &peer->remote, &address);
    gboolean is_v4 = IN6_IS_ADDR_V4MAPPED(&peer->remote.ip);
    int fd = socket(udp->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    gboolean is_known = fd >= 0 && connect(fd, (const struct sockaddr *) &address, address_length) == 0 &&
                        (is_v4 ? getsockopt(fd, IPPROTO_IP, IP_MTU, &mtu, &length) : getsockopt(fd, IPPROTO_IPV6, IPV6_MTU, &mtu, &length)) == 0;
    if (fd >= 0)
        close(fd);
    guint ip = is_v4 ? 20 : 40;
    return (is_known ? CLAMP((guint) mtu, MTU_LEAST, MTU_MOST) : MTU_LEAST) - ip - UDP_HEADER;
}

/* ---- datagrams ---- */

/* An IPv4 address, or the /64 of an IPv6 one. Nobody can choose one that has somebody's lane without the key. */
static guint
lane_of(const SamiSctpUdp *udp, const Endpoint *endpoint)
{
    guint64 word, keys[2];
    memcpy(&word, endpoint->ip.s6_addr + (IN6_IS_ADDR_V4MAPPED(&endpoint->ip) ? 8 : 0), sizeof(word));
    memcpy(keys, udp->secret, sizeof(keys));
    word = (word ^ keys[0]) * G_GUINT64_CONSTANT(0x9e3779b97f4a7c15);
    word = (word ^ word >> 32 ^ keys[1]) * G_GUINT64_CONSTANT(0x9e3779b97f4a7c15);
    return (guint) (word >> 32) % SAMI_SCTP_LANES;
}

/* A firewall has many addresses: an answer that came from another one than the peer asked would not be taken for one. */
static void
note_local(const SamiSctpUdp *udp, Peer *peer, struct msghdr *message)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof(info));
            peer->local = info.ipi6_addr;
            peer->local_index = IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr) ? info.ipi6_ifindex : 0;
        } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof(info));
            map_v4(info.ipi_addr, &peer->local);
        }
    }
}

gssize
sami_sctp_udp_receive(SamiSctpUdp *udp, guint8 *buffer, gsize size, const guint64 full_lanes[SAMI_SCTP_TRUSTED], guint64 *ret_peer,
                      SamiSctpRank *ret_rank, guint *ret_lane)
{
    struct sockaddr_storage from = { 0 };
    Control control;
    Endpoint endpoint;
    struct iovec part = { buffer, size };
    struct msghdr message = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &part, .msg_iovlen = 1,
                              .msg_control = control.octets, .msg_controllen = sizeof(control) };
    ssize_t n = recvmsg(udp->fd, &message, MSG_DONTWAIT);
    if (n < 0) /* an ICMP error says nothing that the timers will not */
        return errno == EINTR || errno == ECONNREFUSED ? 0 : -1;
    gboolean may_be = n >= (ssize_t) SCTP_HEADER && !(message.msg_flags & MSG_TRUNC) && fill_endpoint((const struct sockaddr *) &from, &endpoint);
    Peer *peer = may_be ? g_hash_table_lookup(udp->by_endpoint, &endpoint) : NULL;
    *ret_rank = !peer || !peer->n_held ? SAMI_SCTP_STRANGER : peer->n_trusted ? SAMI_SCTP_TRUSTED : SAMI_SCTP_KNOWN;
    *ret_lane = may_be && *ret_rank != SAMI_SCTP_TRUSTED ? lane_of(udp, &endpoint) : 0;
    if (may_be && *ret_rank != SAMI_SCTP_TRUSTED && full_lanes[*ret_rank] >> *ret_lane & 1) {
        udp->n_crowded++;
        return 0;
    }
    peer = may_be ? learn(udp, &endpoint) : NULL;
    if (!peer) {
        udp->n_odd++;
        return 0;
    }
    if (!peer->n_held)
        note_local(udp, peer, &message);
    *ret_peer = peer->number;
    return n;
}

static gsize
fill_control(const SamiSctpUdp *udp, const Peer *peer, Control *control)
{
    struct cmsghdr *header = &control->header;
    memset(control, 0, sizeof(*control));
    if (IN6_IS_ADDR_UNSPECIFIED(&peer->local))
        return 0;
    if (udp->family == AF_INET6) {
        struct in6_pktinfo info = { .ipi6_addr = peer->local, .ipi6_ifindex = peer->local_index };
        header->cmsg_level = IPPROTO_IPV6;
        header->cmsg_type = IPV6_PKTINFO;
        header->cmsg_len = CMSG_LEN(sizeof(info));
        memcpy(CMSG_DATA(header), &info, sizeof(info));
        return CMSG_SPACE(sizeof(info));
    }
    struct in_pktinfo info = { 0 };
    memcpy(&info.ipi_spec_dst, peer->local.s6_addr + 12, 4);
    header->cmsg_level = IPPROTO_IP;
    header->cmsg_type = IP_PKTINFO;
    header->cmsg_len = CMSG_LEN(sizeof(info));
    memcpy(CMSG_DATA(header), &info, sizeof(info));
    return CMSG_SPACE(sizeof(info));
}

int
sami_sctp_udp_send(SamiSctpUdp *udp, guint64 number, const guint8 *packet, gsize n)
{
    const Peer *peer = g_hash_table_lookup(udp->by_number, &number);
    struct sockaddr_storage to;
    Control control;
    if (!peer)
        return ENOENT;
    struct iovec part = { (void *) packet, n };
    struct msghdr message = { .msg_name = &to, .msg_namelen = fill_address(udp, &peer->remote, &to), .msg_iov = &part, .msg_iovlen = 1 };
    gsize length = fill_control(udp, peer, &control);
    if (length) {
        message.msg_control = control.octets;
        message.msg_controllen = length;
    }
    return udp->send(udp->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 || errno == EAGAIN || errno == ECONNREFUSED ? 0 : errno;
}
