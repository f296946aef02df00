/* Datagrams of those who have not proven who they are, of one rank (transport/sctp-udp.h), which wait until there is time for them. Private to sctp*.c.
 *
 * By networks, which take turns: who fills his lane loses what he sends, and nobody else anything, but for 1 in 64 whose lane it is too. */
#pragma once

#include <glib.h>

#define SAMI_SCTP_LANES 64u

typedef struct SamiSctpLanes SamiSctpLanes;

SamiSctpLanes *sami_sctp_lanes_new(void);
void sami_sctp_lanes_free(SamiSctpLanes *lanes);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiSctpLanes, sami_sctp_lanes_free)
/* A bit for each lane that has no room. */
guint64 sami_sctp_lanes_full(const SamiSctpLanes *lanes);
gboolean sami_sctp_lanes_is_empty(const SamiSctpLanes *lanes);
/* `lane`, which is not full, takes a copy. */
void sami_sctp_lanes_put(SamiSctpLanes *lanes, guint lane, guint64 peer, const guint8 *packet, gsize n);
/* The next one of the next lane that has one; `*ret_packet` until the next call. FALSE: there is none. */
gboolean sami_sctp_lanes_take(SamiSctpLanes *lanes, guint64 *ret_peer, const guint8 **ret_packet, gsize *ret_n);
