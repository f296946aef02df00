#include "templates/timeouts.h"

#include <netinet/in.h>
#include <string.h>

/* Helpers that prolong the flow that they look into, and by how much at most, unless their module was told otherwise:
 * nf_conntrack_sip.c SIP_TIMEOUT, nf_conntrack_amanda.c master_timeout, nf_conntrack_h323_main.c default_rrq_ttl. */
static const struct {
    const gchar *helper;
    guint32 max_s;
} prolonging[] = { { "sip", 3600 }, { "amanda", 300 }, { "RAS", 300 } };
#define PPTP_STREAM_S 18000u /* nf_conntrack_pptp.h, PPTP_GRE_STREAM_TIMEOUT: of the calls that its helper follows */

static guint32
max_of_protocol(const SamiTimeouts *t, const SamiSession *s)
{
    gboolean is_answered = (s->status & SAMI_IPS_SEEN_REPLY) != 0;
    switch (s->key.protocol) {
    case IPPROTO_TCP: return s->tcp_state <= SAMI_TCP_STATE_MAX ? t->tcp[s->tcp_state] : 0;
    case IPPROTO_SCTP: return s->sctp_state <= SAMI_SCTP_STATE_MAX ? t->sctp[s->sctp_state] : 0;
    case IPPROTO_UDP:
    case IPPROTO_UDPLITE: return is_answered && t->udp ? MAX(t->udp, t->udp_stream) : t->udp;
    case IPPROTO_ICMP: return t->icmp;
    case IPPROTO_ICMPV6: return t->icmpv6;
    case IPPROTO_GRE: {
        guint32 max = is_answered && t->gre ? MAX(t->gre, t->gre_stream) : t->gre;
        return s->key.orig.src_port && max ? MAX(max, PPTP_STREAM_S) : max;
    }
    default: return t->generic;
    }
}

guint32
sami_timeouts_max(const SamiTimeouts *timeouts, const SamiSession *session)
{
    guint32 max = max_of_protocol(timeouts, session);
    for (guint i = 0; max > 0 && (session->has & SAMI_HAS_HELPER) && i < G_N_ELEMENTS(prolonging); i++)
        if (strncmp(session->helper, prolonging[i].helper, sizeof session->helper) == 0)
            max = MAX(max, prolonging[i].max_s);
    return max;
}
