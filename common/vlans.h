/* The key `vlans`: which conntrack zone is which VLAN. A VLAN is the network-wide name of a segment, a zone this firewall's own number for it. */
#pragma once

#include "common/error.h"

typedef struct SamiVlans SamiVlans;

/* *ret_vlans is NULL for an empty list: then no zone has a name, and nothing is looked up. Errors as of sami_pairs_parse(). */
gboolean sami_vlans_load(GStrv pairs, SamiVlans **ret_vlans, GError **error);
/* NULL is fine. Not thread safe. */
SamiVlans *sami_vlans_ref(SamiVlans *vlans);
void sami_vlans_unref(SamiVlans *vlans);

/* 0: none. `vlans` may be NULL. */
guint16 sami_vlans_of_zone(const SamiVlans *vlans, guint16 zone);
/* FALSE, ret untouched: it has none. `vlans` may be NULL, and `vlan` any number. */
gboolean sami_vlans_zone(const SamiVlans *vlans, guint vlan, guint16 *ret_zone);
/* "10, 20", for messages. (transfer full) */
gchar *sami_vlans_to_string(const SamiVlans *vlans);
