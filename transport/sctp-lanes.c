#include "transport/sctp-lanes.h"

#include <string.h>

#include "common/limits.h"

typedef struct {
    guint64 peer;
    gsize n;
    guint8 packet[];
} Datagram;

typedef struct {
    GQueue waiting; /* of Datagram */
    gsize n_octets;
} Lane;

struct SamiSctpLanes {
    Lane lanes[SAMI_SCTP_LANES];
    guint64 full;
    guint next, n_waiting;
    Datagram *taken;
};

SamiSctpLanes *
sami_sctp_lanes_new(void)
{
    SamiSctpLanes *lanes = g_new0(SamiSctpLanes, 1);
    for (guint i = 0; i < SAMI_SCTP_LANES; i++)
        g_queue_init(&lanes->lanes[i].waiting);
    return lanes;
}

void
sami_sctp_lanes_free(SamiSctpLanes *lanes)
{
    if (!lanes)
        return;
    for (guint i = 0; i < SAMI_SCTP_LANES; i++)
        g_queue_clear_full(&lanes->lanes[i].waiting, g_free);
    g_free(lanes->taken);
    g_free(lanes);
}

guint64
sami_sctp_lanes_full(const SamiSctpLanes *lanes)
{
    return lanes->full;
}

gboolean
sami_sctp_lanes_is_empty(const SamiSctpLanes *lanes)
{
    return lanes->n_waiting == 0;
}

static void
note_room(SamiSctpLanes *lanes, guint i)
{
    const Lane *lane = &lanes->lanes[i];
    gboolean is_full = lane->waiting.length >= SAMI_SCTP_LANE_DATAGRAMS || lane->n_octets >= SAMI_SCTP_LANE_OCTETS;
    lanes->full = (lanes->full & ~(G_GUINT64_CONSTANT(1) << i)) | (guint64) is_full << i;
}

void
sami_sctp_lanes_put(SamiSctpLanes *lanes, guint i, guint64 peer, const guint8 *packet, gsize n)
{
    Datagram *datagram = g_malloc(sizeof(Datagram) + n);
    datagram->peer = peer;
    datagram->n = n;
    memcpy(datagram->packet, packet, n);
    g_queue_push_tail(&lanes->lanes[i].waiting, datagram);
    lanes->lanes[i].n_octets += n;
    lanes->n_waiting++;
    note_room(lanes, i);
}

gboolean
sami_sctp_lanes_take(SamiSctpLanes *lanes, guint64 *ret_peer, const guint8 **ret_packet, gsize *ret_n)
{
    g_clear_pointer(&lanes->taken, g_free);
    for (guint k = 0; k < SAMI_SCTP_LANES && lanes->n_waiting && !lanes->taken; k++) {
        guint i = lanes->next++ % SAMI_SCTP_LANES;
        lanes->taken = g_queue_pop_head(&lanes->lanes[i].waiting);
        if (!lanes->taken)
            continue;
        lanes->lanes[i].n_octets -= lanes->taken->n;
        lanes->n_waiting--;
        note_room(lanes, i);
    }
    if (!lanes->taken)
        return FALSE;
    *ret_peer = lanes->taken->peer;
    *ret_packet = lanes->taken->packet;
    *ret_n = lanes->taken->n;
    return TRUE;
}
