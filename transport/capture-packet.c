#include "transport/capture-packet.h"

#include <string.h>

#include <netinet/in.h>
#include <pcap/pcap.h>

#include "common/cursor.h"

#define ETHERTYPE_V4 0x0800u
#define ETHERTYPE_V6 0x86ddu
#define ETHER_ADDRESSES 12u
#define SLL_BEFORE_TYPE 14u
#define SLL2_AFTER_TYPE 18u
#define V4_HEADER 20u
#define V6_HEADER 40u

#ifndef IPPROTO_MH
#define IPPROTO_MH 135
#endif
#define IPPROTO_HIP 139u
#define IPPROTO_SHIM6 140u

gboolean
sami_packet_is_link_known(int link)
{
    static const int known[] = { DLT_EN10MB, DLT_LINUX_SLL, DLT_LINUX_SLL2, DLT_RAW, DLT_IPV4, DLT_IPV6, DLT_NULL, DLT_LOOP };
    for (guint i = 0; i < G_N_ELEMENTS(known); i++)
        if (known[i] == link)
            return TRUE;
    return FALSE;
}

/* The reader stands behind an EtherType; passes over tags (IEEE 802.1Q, 802.1ad). */
static gboolean
is_ip(SamiReader *r, guint type)
{
    for (guint i = 0; type == 0x8100u || type == 0x88a8u || type == 0x9100u; i++) {
        sami_reader_take(r, 2);
        type = (guint) sami_reader_uint(r, 2);
        if (i == SAMI_PACKET_TAGS_MAX)
            return FALSE;
    }
    return type == ETHERTYPE_V4 || type == ETHERTYPE_V6;
}

/* An address family of whoever captured, in his byte order (DLT_NULL) or the network's (DLT_LOOP). */
static gboolean
is_ip_family(guint32 family)
{
    if (family > 0xffff)
        family = GUINT32_SWAP_LE_BE(family);
    return family == 2 || family == 10 || family == 24 || family == 28 || family == 30;
}

static gboolean
skip_link(int link, SamiReader *r)
{
    guint type;
    switch (link) {
    case DLT_EN10MB:
        sami_reader_take(r, ETHER_ADDRESSES);
        return is_ip(r, (guint) sami_reader_uint(r, 2));
    case DLT_LINUX_SLL:
        sami_reader_take(r, SLL_BEFORE_TYPE);
        return is_ip(r, (guint) sami_reader_uint(r, 2));
    case DLT_LINUX_SLL2:
        type = (guint) sami_reader_uint(r, 2);
        sami_reader_take(r, SLL2_AFTER_TYPE);
        return is_ip(r, type);
    case DLT_NULL:
    case DLT_LOOP:
        return is_ip_family((guint32) sami_reader_uint(r, 4));
    default:
        return TRUE;
    }
}

/* RFC 791 §3.1. Length 0: the sender's card was to cut the packet (segmentation offload), so the frame has to say how long it is. */
static gboolean
parse_v4(SamiReader *r, gsize length_sent, SamiPacket *ret)
{
    const guint8 *p = sami_reader_take(r, V4_HEADER);
    if (!p)
        return FALSE;
    gsize header = (p[0] & 15u) * 4u, total = (gsize) p[2] << 8 | p[3];
    guint fragment = (guint) p[6] << 8 | p[7];
    if (total == 0)
        total = length_sent;
    if (header < V4_HEADER || total < header || !sami_reader_take(r, header - V4_HEADER))
        return FALSE;
    ret->family = 4;
    ret->protocol = p[9];
    memcpy(ret->source, p + 12, 4);
    memcpy(ret->destination, p + 16, 4);
    ret->fragment_id = (guint32) (p[4] << 8 | p[5]);
    ret->fragment_at = (fragment & 0x1fff) * 8;
    ret->has_more = (fragment & 0x2000) != 0;
    ret->is_fragment = ret->has_more || ret->fragment_at > 0;
    ret->octets = r->at;
    ret->length_sent = total - header;
    ret->length = MIN(sami_reader_left(r), ret->length_sent);
    return TRUE;
}

/* RFC 8200 §3. */
static gboolean
parse_v6(SamiReader *r, gsize length_sent, SamiPacket *ret)
{
    const guint8 *p = sami_reader_take(r, V6_HEADER);
    if (!p)
        return FALSE;
    gsize payload = (gsize) p[4] << 8 | p[5];
    if (payload == 0 && length_sent > V6_HEADER)
        payload = length_sent - V6_HEADER;
    ret->family = 6;
    ret->protocol = p[6];
    memcpy(ret->source, p + 8, 16);
    memcpy(ret->destination, p + 24, 16);
    ret->octets = r->at;
    ret->length_sent = payload;
    ret->length = MIN(sami_reader_left(r), payload);
    return sami_packet_skip_extensions(ret);
}

static void
skip(SamiPacket *packet, gsize n)
{
    packet->octets += n;
    packet->length -= n;
    packet->length_sent -= n;
}

/* RFC 8200 §4.5. One that is no part of anything (RFC 6946) is passed over like any other header. */
static void
read_fragment_header(SamiPacket *packet)
{
    const guint8 *p = packet->octets;
    guint fragment = (guint) p[2] << 8 | p[3];
    packet->fragment_at = fragment & 0xfff8;
    packet->has_more = fragment & 1;
    packet->is_fragment = packet->has_more || packet->fragment_at > 0;
    packet->fragment_id = (guint32) p[4] << 24 | (guint32) p[5] << 16 | (guint32) p[6] << 8 | p[7];
    packet->protocol = p[0];
    skip(packet, 8);
}

gboolean
sami_packet_skip_extensions(SamiPacket *packet)
{
    for (guint i = 0; packet->family == 6 && !packet->is_fragment; i++) {
        gsize length;
        switch (packet->protocol) {
        case IPPROTO_HOPOPTS:
        case IPPROTO_ROUTING:
        case IPPROTO_DSTOPTS:
        case IPPROTO_MH:
        case IPPROTO_HIP:
        case IPPROTO_SHIM6:
        case IPPROTO_FRAGMENT:
        case IPPROTO_AH:
            break;
        default:
            return TRUE;
        }
        if (packet->length < 8 || i == SAMI_PACKET_EXTENSIONS_MAX)
            return FALSE;
        if (packet->protocol == IPPROTO_FRAGMENT) {
            read_fragment_header(packet);
            continue;
        }
        length = packet->protocol == IPPROTO_AH ? (packet->octets[1] + 2u) * 4u : (packet->octets[1] + 1u) * 8u;
        if (packet->length < length)
            return FALSE;
        packet->protocol = packet->octets[0];
        skip(packet, length);
    }
    return TRUE;
}

gboolean
sami_packet_parse(int link, const guint8 *octets, gsize length, gsize length_sent, SamiPacket *ret)
{
    SamiReader r;
    sami_reader_init(&r, octets, length);
    if (!skip_link(link, &r) || r.is_bad || sami_reader_left(&r) == 0)
        return FALSE;
    gsize before = length - sami_reader_left(&r);
    length_sent = MAX(length_sent, length) - before;
    SamiPacket packet = { 0 };
    gboolean is_parsed = r.at[0] >> 4 == 4 ? parse_v4(&r, length_sent, &packet) : r.at[0] >> 4 == 6 && parse_v6(&r, length_sent, &packet);
    if (is_parsed)
        *ret = packet;
    return is_parsed;
}
