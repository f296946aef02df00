/* The longest time that a kernel gives a flow of a protocol in a state (nf_conntrack_*_timeout_* of Linux 6.18): a record that says more
 * would stay longer than anything that packets could make here. Pure; firewall/host.h reads them. */
#pragma once

#include "templates/session.h"

/* Seconds; 0: not known, and no limit. */
typedef struct {
    guint32 tcp[SAMI_TCP_STATE_MAX + 1];   /* by state */
    guint32 sctp[SAMI_SCTP_STATE_MAX + 1]; /* by state */
    guint32 udp, udp_stream;               /* UDP-Lite has the same */
    guint32 icmp, icmpv6;
    guint32 gre, gre_stream;
    guint32 generic;                       /* protocols without a tracker */
} SamiTimeouts;

/* 0: no limit is known. What helpers give their flows is known for those of the kernel that do. Rules that give a timeout of their own (nft's `ct timeout`)
 * are no settings of the kernel: what they give beyond them is not known here. */
guint32 sami_timeouts_max(const SamiTimeouts *timeouts, const SamiSession *session);
