/* SCTP packets in UDP datagrams (RFC 6951): one socket, and who sent us something. Private to sctp*.c.
 *
 * A peer is named by a number that is a keyed hash of its address: the same address has the same number again after its entry was forgotten, so
 * that what an SCTP cookie says of it stays true. Entries without an association are bounded and expire (SAMI_SCTP_PEERS_MAX, SAMI_SCTP_PEER_TTL_S). */
#pragma once

#include <sys/socket.h>

#include "common/error.h"
#include "transport/sctp.h"

typedef struct SamiSctpUdp SamiSctpUdp;

/* A bound socket; an IPv6 wildcard serves IPv4 too. */
int sami_sctp_udp_open(const struct sockaddr *address, socklen_t length, GError **error);
/* Takes `fd`. `send`: see SamiSctpConfig. `forgotten` is told of each entry that goes and was held once. */
SamiSctpUdp *sami_sctp_udp_new(int fd_take, ssize_t (*send)(int, const struct msghdr *, int), void (*forgotten)(guint64 peer));
void sami_sctp_udp_free(SamiSctpUdp *udp);

/* Datagrams that cannot be SCTP packets, and those that the kernel had no room for. */
SamiSctpDropped sami_sctp_udp_dropped(const SamiSctpUdp *udp);
/* Who a datagram says that it is from. */
typedef enum {
    SAMI_SCTP_STRANGER, /* anybody may say so */
    SAMI_SCTP_KNOWN,    /* it has an association, so it gets what is sent there */
    SAMI_SCTP_TRUSTED,
} SamiSctpRank;

/* The next datagram; its length, 0 if it is none that can be an SCTP packet, or -1 if there is none. `*ret_lane`: of the network that it came from
 * (transport/sctp-lanes.h). If that lane is full, of the rank, it is thrown away, 0, for less than it costs to look at it. */
gssize sami_sctp_udp_receive(SamiSctpUdp *udp, guint8 *buffer, gsize size, const guint64 full_lanes[SAMI_SCTP_TRUSTED], guint64 *ret_peer,
                             SamiSctpRank *ret_rank, guint *ret_lane);
/* 0: it left, or was lost as datagrams are. errno else, ENOENT for a peer that was forgotten. */
int sami_sctp_udp_send(SamiSctpUdp *udp, guint64 peer, const guint8 *packet, gsize n);
/* The number of `address` with UDP port `port`; 0 if a family does not fit the socket. */
guint64 sami_sctp_udp_find(SamiSctpUdp *udp, const struct sockaddr *address, guint16 port);
/* An association begins or ends: its peer's entry stays meanwhile. TRUE: it is the first one that this entry has. */
gboolean sami_sctp_udp_hold(SamiSctpUdp *udp, guint64 peer);
void sami_sctp_udp_release(SamiSctpUdp *udp, guint64 peer);
/* The peer of an association has proven who it is, and at the end of that association, FALSE. */
void sami_sctp_udp_trust(SamiSctpUdp *udp, guint64 peer, gboolean is_trusted);
void sami_sctp_udp_expire(SamiSctpUdp *udp);
guint sami_sctp_udp_n_idle(const SamiSctpUdp *udp);
void sami_sctp_udp_print(const SamiSctpUdp *udp, guint64 peer, gchar ret_text[SAMI_ADDRESS_TEXT]);
/* Octets of an SCTP packet that fit into one IP packet on the way to `peer`, as far as the kernel knows. */
guint sami_sctp_udp_mtu(const SamiSctpUdp *udp, guint64 peer);
