/* Maps of the configuration, "FROM:TO" in lists: what a VLAN, an address, a mark or a label of another firewall is here. Pure.
 *
 * A map is one to one: no two pairs have overlapping left sides, nor overlapping right sides, so that it has an inverse. Nothing here
 * blocks, logs or knows whose map it is. */
#pragma once

#include "common/error.h"

typedef enum {
    SAMI_PAIRS_VLANS,     /* "10:1": VLAN 1 to 4094, conntrack zone 0 to 65535 */
    SAMI_PAIRS_ADDRESSES, /* "10.0.0.0/24:10.1.0.0/24", "2001:db8:a::/64:2001:db8:b::/64": of one family and length; IPv6 with its length */
    SAMI_PAIRS_MARKS,     /* "0x1/0xff:0x10/0xff": value and the bits that it is about; no mask: all bits */
    SAMI_PAIRS_LABELS,    /* "3:7": numbers of bits, 0 to 127 */
} SamiPairsKind;

/* What one side stands for: whatever has `value` under `mask`. Numbers are 32 bits in network order in the first four octets, IPv4
 * addresses too; the rest is 0. */
typedef struct {
    guint8 family; /* of an address 4 or 6, otherwise 0 */
    guint8 value[16];
    guint8 mask[16];
} SamiPattern;

typedef struct {
    SamiPattern from, to;
} SamiPair;

/* The pairs of a list in its order; NULL is the empty list. SAMI_ERROR_USAGE quotes what is no pair, or the two pairs that overlap, and says what
 * is allowed. (transfer full) of SamiPair */
GArray *sami_pairs_parse(SamiPairsKind kind, GStrv texts, GError **error);

gboolean sami_pattern_matches(const SamiPattern *pattern, guint8 family, const guint8 octets[16]);
guint32 sami_pattern_number(const SamiPattern *pattern);
/* The first pair whose left side the octets match puts its right side in the place of it; the bits of neither mask stay. FALSE, octets
 * untouched: none matches. */
gboolean sami_pairs_apply(const GArray *pairs, guint8 family, guint8 octets[16]);
/* The other way. */
gboolean sami_pairs_apply_back(const GArray *pairs, guint8 family, guint8 octets[16]);
