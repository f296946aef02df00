/* Who talks to whom: TCP connections and SCTP associations with both directions, and UDP, where each direction is a flow of its own.
 *
 * At most SAMI_INPUT_STREAMS_MAX directions and SAMI_INPUT_PENDING_MAX octets; beyond it flows are given up, those silent longest first, and among them
 * those first that are no IPFIX as far as is known. */
#pragma once

#include "transport/capture-fragments.h"
#include "transport/capture-sctp.h"
#include "transport/capture-tcp.h"

/* Without holes: it is hashed and compared as octets. Of TCP and SCTP the ends are sorted. */
typedef struct {
    guint8 family, protocol;
    guint16 udp_ports[2]; /* of SCTP inside of UDP */
    guint16 ports[2];
    guint8 addresses[2][16];
} SamiCaptureKey;

typedef struct {
    SamiCaptureKey key;
    GList link;       /* in one of the two orders */
    gboolean is_ours; /* in which */
    gboolean is_told; /* of UDP: that it is DTLS */
    guint64 n_packets; /* that count as others, should it turn out to be none of ours */
    SamiCaptureSession sessions[2];
    SamiTcp *tcp;     /* (nullable) */
    SamiCaptureSctp *sctp;   /* (nullable) */
} SamiFlow;

typedef struct SamiFlows SamiFlows;
SamiFlows *sami_flows_new(SamiCaptureCommon *common);
void sami_flows_free(SamiFlows *flows);
/* The key of a packet between these ports; *ret_side: which of its ends sent it. */
SamiCaptureKey sami_flow_key(const SamiPacket *packet, guint16 source, guint16 destination, guint16 udp_source, guint16 udp_destination, guint *ret_side);
/* NULL: there is none. Borrowed, until a flow is added, removed or given up. */
SamiFlow *sami_flows_find(SamiFlows *flows, const SamiCaptureKey *key);
SamiFlow *sami_flows_add(SamiFlows *flows, const SamiCaptureKey *key);
/* A packet came. */
void sami_flows_touch(SamiFlows *flows, SamiFlow *flow, gboolean is_ours);
/* Another one begins between the same ends: what waits is taken as it is, its sessions are CLOSED. */
void sami_flows_replace(SamiFlows *flows, SamiFlow *flow);
/* Gives up what is beyond the limit on octets. */
void sami_flows_limit(SamiFlows *flows, SamiFragments *fragments);
/* At the end of the capture: takes what waits in one flow, and removes it. FALSE: there is none any more. */
gboolean sami_flows_finish_one(SamiFlows *flows);
