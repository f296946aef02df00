/* One frame of a capture down to what IP carries. Checksums are not looked at: a host that captures its own packets has not computed them yet.
 * VLAN tags are passed over and do not tell flows apart: the two directions of one may come with different ones. */
#pragma once

#include <glib.h>

/* More VLAN tags, or IPv6 extension headers, make a packet one that is not read. */
#define SAMI_PACKET_TAGS_MAX 8u
#define SAMI_PACKET_EXTENSIONS_MAX 16u

typedef struct {
    guint8 family;      /* 4, 6 */
    guint8 protocol;    /* of what `octets` begin with */
    guint8 source[16], destination[16];
    const guint8 *octets; /* borrowed from the frame */
    gsize length;       /* that were captured */
    gsize length_sent;  /* as IP says; more than `length`: the capture cut the packet (snaplen) */
    /* a fragment, `octets` being its part from `fragment_at` on */
    gboolean is_fragment, has_more;
    guint32 fragment_id;
    guint fragment_at;
} SamiPacket;

/* Link types (DLT_…) that are read. */
gboolean sami_packet_is_link_known(int link);
/* FALSE: no IPv4 or IPv6, or not whole enough to tell. */
gboolean sami_packet_parse(int link, const guint8 *octets, gsize length, gsize length_sent, SamiPacket *ret);
/* Passes over IPv6 extension headers, up to a fragment header, which sets is_fragment. FALSE: something is wrong with them. For the payload of a
 * reassembled packet too. */
gboolean sami_packet_skip_extensions(SamiPacket *packet);
