#include "transport/capture-dispatch.h"

#include <netinet/in.h>

#define UDP_HEADER 8u

/* Counts a packet of a flow that may be one of ours, and settles the flow's place. */
static void
settle(SamiDispatch *dispatch, SamiFlow *flow, gboolean is_ours, gboolean is_other)
{
    flow->n_packets++;
    if (is_ours || is_other) {
        if (is_other)
            dispatch->common->counts.n_other += flow->n_packets;
        flow->n_packets = 0;
    }
    sami_flows_touch(dispatch->flows, flow, is_ours);
}

static void
take_tcp(SamiDispatch *dispatch, const SamiPacket *packet)
{
    SamiTcpSegment segment;
    guint side;
    if (!sami_tcp_parse(packet, &segment) || !sami_capture_is_wanted(dispatch->common, segment.source, segment.destination)) {
        dispatch->common->counts.n_other++;
        return;
    }
    SamiCaptureKey key = sami_flow_key(packet, segment.source, segment.destination, 0, 0, &side);
    SamiFlow *flow = sami_flows_find(dispatch->flows, &key);
    gboolean is_expected = sami_capture_is_expected(dispatch->common, segment.source, segment.destination);
    if (flow && sami_tcp_is_new(flow->tcp, side, &segment)) {
        sami_flows_replace(dispatch->flows, flow);
        flow = NULL;
    }
    if (!flow && !segment.is_syn && segment.length + segment.n_cut == 0) {
        dispatch->common->counts.n_other += !is_expected;
        return;
    }
    if (!flow) {
        gboolean is_from_client = segment.is_syn ? !segment.is_ack : sami_capture_is_expected(dispatch->common, segment.destination, segment.destination);
        flow = sami_flows_add(dispatch->flows, &key);
        flow->tcp = sami_tcp_new(dispatch->common, flow->sessions, is_expected, is_from_client ? side : 1 - side, dispatch->key_log);
    }
    sami_tcp_push(flow->tcp, side, &segment);
    const SamiContent *content = sami_tcp_content(flow->tcp);
    settle(dispatch, flow, sami_content_is_ours(content) && !sami_tcp_is_over(flow->tcp), sami_content_is_other(content));
}

static void
take_sctp(SamiDispatch *dispatch, const SamiPacket *packet, const guint8 *octets, gsize n, gsize n_sent, const guint16 udp_ports[2])
{
    SamiCaptureCommon *common = dispatch->common;
    SamiCaptureSctpPacket sctp;
    SamiPacket inner = *packet;
    guint side;
    inner.protocol = IPPROTO_SCTP;
    if (!sami_capture_sctp_parse(octets, n, n_sent, &sctp) || (!sami_capture_is_wanted(common, sctp.source, sctp.destination) &&
                                                       !(udp_ports[0] > 0 && sami_capture_is_wanted(common, udp_ports[0], udp_ports[1])))) {
        common->counts.n_other++;
        return;
    }
    SamiCaptureKey key = sami_flow_key(&inner, sctp.source, sctp.destination, udp_ports[0], udp_ports[1], &side);
    SamiFlow *flow = sami_flows_find(dispatch->flows, &key);
    if (flow && sami_capture_sctp_is_new(flow->sctp, side, &sctp)) {
        sami_flows_replace(dispatch->flows, flow);
        flow = NULL;
    }
    if (!flow) {
        gboolean is_expected = sami_capture_is_expected(common, sctp.source, sctp.destination) ||
                               (common->options->n_ports > 0 && sami_capture_is_expected(common, udp_ports[0], udp_ports[1]));
        flow = sami_flows_add(dispatch->flows, &key);
        flow->sctp = sami_capture_sctp_new(common, flow->sessions, is_expected);
    }
    if (!sami_capture_sctp_push(flow->sctp, side, &sctp)) {
        common->counts.n_other++;
        return;
    }
    settle(dispatch, flow, sami_capture_sctp_is_ours(flow->sctp) && !sami_capture_sctp_is_over(flow->sctp), sami_capture_sctp_is_other(flow->sctp));
}

typedef struct {
    guint16 ports[2];
    const guint8 *octets;
    gsize n, n_sent; /* n of n_sent octets were captured */
} Datagram;

/* RFC 768; a length of 0 is that of IP (RFC 2675 §4). */
static gboolean
parse_datagram(const SamiPacket *packet, Datagram *ret)
{
    const guint8 *p = packet->octets;
    if (packet->length < UDP_HEADER)
        return FALSE;
    gsize length = (gsize) p[4] << 8 | p[5];
    if (length == 0)
        length = packet->length_sent;
    if (length < UDP_HEADER || length > packet->length_sent)
        return FALSE;
    ret->ports[0] = (guint16) (p[0] << 8 | p[1]);
    ret->ports[1] = (guint16) (p[2] << 8 | p[3]);
    ret->octets = p + UDP_HEADER;
    ret->n_sent = length - UDP_HEADER;
    ret->n = MIN(packet->length - UDP_HEADER, ret->n_sent);
    return TRUE;
}

static gboolean
is_encapsulated_sctp(const Datagram *datagram)
{
    if (datagram->ports[0] == SAMI_SCTP_UDP_PORT || datagram->ports[1] == SAMI_SCTP_UDP_PORT)
        return TRUE;
    return datagram->n == datagram->n_sent && sami_capture_sctp_is_checksum_right(datagram->octets, datagram->n);
}

static gboolean
is_dtls(const Datagram *datagram)
{
    return datagram->n >= 3 && datagram->octets[0] >= 20 && datagram->octets[0] <= 25 && datagram->octets[1] == 0xfe;
}

static void
report_datagram(SamiCaptureCommon *common, SamiFlow *flow, const Datagram *d)
{
    SamiCaptureSession *session = &flow->sessions[0];
    if (is_dtls(d) && !flow->is_told)
        sami_capture_fault(common, session, "this is DTLS, which is not read: a collector's journal has the same Messages");
    else if (is_dtls(d))
        common->counts.n_other++;
    else if (d->n < d->n_sent)
        sami_capture_fault(common, session, "the capture has %zu of the %zu octets of a Message (snaplen)", d->n, d->n_sent);
    else if (d->n < SAMI_MESSAGE_HEADER)
        sami_capture_fault(common, session, "a datagram of %zu octets is no Message (RFC 7011 §3.1, §10.3)", d->n);
    else
        sami_capture_fault(common, session, "a datagram of %zu octets is not one Message: version %u, Length %u (RFC 7011 §3.1, §10.3)", d->n,
                           d->octets[0] << 8 | d->octets[1], d->octets[2] << 8 | d->octets[3]);
    flow->is_told |= is_dtls(d);
}

/* One datagram is one Message (RFC 7011 §10.3). */
static void
take_datagram(SamiDispatch *dispatch, const SamiPacket *packet, const Datagram *d)
{
    gboolean is_expected = sami_capture_is_expected(dispatch->common, d->ports[0], d->ports[1]);
    gboolean has_length = d->n >= 4 && sami_capture_is_header(d->octets) && ((gsize) d->octets[2] << 8 | d->octets[3]) == d->n_sent;
    gboolean is_message = has_length && (is_expected || sami_capture_looks(d->octets, d->n) == SAMI_LOOKS_LIKE);
    guint side;
    if (d->n_sent == 0 || (!is_expected && !is_message)) {
        dispatch->common->counts.n_other++;
        return;
    }
    SamiCaptureKey key = sami_flow_key(packet, d->ports[0], d->ports[1], 0, 0, &side);
    SamiFlow *flow = sami_flows_find(dispatch->flows, &key);
    if (!flow)
        flow = sami_flows_add(dispatch->flows, &key);
    flow->sessions[0].carrier = SAMI_CARRIER_UDP;
    if (is_message && d->n == d->n_sent)
        sami_capture_message(dispatch->common, &flow->sessions[0], d->octets, d->n, 0);
    else
        report_datagram(dispatch->common, flow, d);
    sami_flows_touch(dispatch->flows, flow, TRUE);
}

static void
take_udp(SamiDispatch *dispatch, const SamiPacket *packet)
{
    Datagram datagram;
    if (!parse_datagram(packet, &datagram))
        dispatch->common->counts.n_other++;
    else if (is_encapsulated_sctp(&datagram))
        take_sctp(dispatch, packet, datagram.octets, datagram.n, datagram.n_sent, datagram.ports);
    else if (!sami_capture_is_wanted(dispatch->common, datagram.ports[0], datagram.ports[1]))
        dispatch->common->counts.n_other++;
    else
        take_datagram(dispatch, packet, &datagram);
}

void
sami_dispatch_packet(SamiDispatch *dispatch, const SamiPacket *packet)
{
    switch (packet->protocol) {
    case IPPROTO_TCP: take_tcp(dispatch, packet); break;
    case IPPROTO_UDP: take_udp(dispatch, packet); break;
    case IPPROTO_SCTP: take_sctp(dispatch, packet, packet->octets, packet->length, packet->length_sent, (const guint16[2]){ 0, 0 }); break;
    default: dispatch->common->counts.n_other++; break;
    }
}
