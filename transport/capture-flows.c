#include "transport/capture-flows.h"

#include <string.h>

#include <arpa/inet.h>
#include <netinet/in.h>

G_STATIC_ASSERT(sizeof(SamiCaptureKey) == 42);

struct SamiFlows {
    SamiCaptureCommon *common;
    GHashTable *table; /* SamiCaptureKey (of the flow) -> SamiFlow */
    GQueue orders[2];  /* silent longest first; [1] those that are ours */
    guint n_sides;
};

static guint
hash_key(gconstpointer data)
{
    return sami_capture_hash(data, sizeof(SamiCaptureKey));
}

static gboolean
is_same_key(gconstpointer a, gconstpointer b)
{
    return memcmp(a, b, sizeof(SamiCaptureKey)) == 0;
}

SamiFlows *
sami_flows_new(SamiCaptureCommon *common)
{
    SamiFlows *flows = g_new0(SamiFlows, 1);
    flows->common = common;
    flows->table = g_hash_table_new(hash_key, is_same_key);
    return flows;
}

static guint
count_sides(const SamiFlow *flow)
{
    return flow->key.protocol == IPPROTO_UDP ? 1 : 2;
}

static void
remove_flow(SamiFlows *flows, SamiFlow *flow)
{
    g_hash_table_remove(flows->table, &flow->key);
    g_queue_unlink(&flows->orders[flow->is_ours], &flow->link);
    flows->n_sides -= count_sides(flow);
    gboolean was_seen = flow->sessions[0].is_seen || flow->sessions[1].is_seen;
    if (!was_seen)
        flows->common->counts.n_other += flow->n_packets;
    sami_tcp_free(flow->tcp);
    sami_capture_sctp_free(flow->sctp);
    for (guint i = 0; i < G_N_ELEMENTS(flow->sessions); i++)
        sami_capture_session_clear(flows->common, &flow->sessions[i]);
    g_free(flow);
}

void
sami_flows_free(SamiFlows *flows)
{
    if (!flows)
        return;
    for (guint i = 0; i < G_N_ELEMENTS(flows->orders); i++)
        while (flows->orders[i].head)
            remove_flow(flows, flows->orders[i].head->data);
    g_hash_table_unref(flows->table);
    g_free(flows);
}

SamiCaptureKey
sami_flow_key(const SamiPacket *packet, guint16 source, guint16 destination, guint16 udp_source, guint16 udp_destination, guint *ret_side)
{
    SamiCaptureKey key = { .family = packet->family, .protocol = packet->protocol };
    gint order = memcmp(packet->source, packet->destination, sizeof packet->source);
    if (order == 0)
        order = (gint) source - destination;
    if (order == 0)
        order = (gint) udp_source - udp_destination;
    guint from = packet->protocol != IPPROTO_UDP && order > 0 ? 1 : 0;
    key.ports[from] = source;
    key.ports[1 - from] = destination;
    key.udp_ports[from] = udp_source;
    key.udp_ports[1 - from] = udp_destination;
    memcpy(key.addresses[from], packet->source, sizeof packet->source);
    memcpy(key.addresses[1 - from], packet->destination, sizeof packet->destination);
    *ret_side = from;
    return key;
}

SamiFlow *
sami_flows_find(SamiFlows *flows, const SamiCaptureKey *key)
{
    return g_hash_table_lookup(flows->table, key);
}

/* "192.0.2.1:40000", "[2001:db8::1]:4740" */
static gchar *
end_name(const SamiCaptureKey *key, guint end)
{
    gchar address[INET6_ADDRSTRLEN];
    inet_ntop(key->family == 4 ? AF_INET : AF_INET6, key->addresses[end], address, sizeof address);
    return g_strdup_printf(key->family == 4 ? "%s:%u" : "[%s]:%u", address, key->ports[end]);
}

/* A flow that is given up: its sessions, if they were seen, say why. */
static void
give_up(SamiFlows *flows, SamiFlow *flow, const gchar *why)
{
    for (guint i = 0; i < G_N_ELEMENTS(flow->sessions); i++) {
        SamiCaptureSession *session = &flow->sessions[i];
        if (!session->is_seen || session->is_closed)
            continue;
        sami_capture_fault(flows->common, session, "given up, with %zu octets that wait: %s", session->pending, why);
        sami_capture_close(flows->common, session);
    }
    remove_flow(flows, flow);
}

static void
make_room(SamiFlows *flows, guint n_sides)
{
    while (flows->n_sides + n_sides > SAMI_INPUT_STREAMS_MAX) {
        GList *oldest = flows->orders[0].head ? flows->orders[0].head : flows->orders[1].head;
        give_up(flows, oldest->data, "there are too many Transport Sessions at once, and this one was silent longest");
    }
}

SamiFlow *
sami_flows_add(SamiFlows *flows, const SamiCaptureKey *key)
{
    SamiFlow *flow = g_new0(SamiFlow, 1);
    g_autofree gchar *first = end_name(key, 0), *second = end_name(key, 1);
    g_autofree gchar *forward = g_strdup_printf("%s > %s", first, second), *back = g_strdup_printf("%s > %s", second, first);
    flow->key = *key;
    flow->link.data = flow;
    flow->sessions[0].ends = g_ref_string_new(forward);
    flow->sessions[1].ends = g_ref_string_new(back);
    make_room(flows, count_sides(flow));
    flows->n_sides += count_sides(flow);
    g_hash_table_insert(flows->table, &flow->key, flow);
    g_queue_push_tail_link(&flows->orders[0], &flow->link);
    return flow;
}

void
sami_flows_touch(SamiFlows *flows, SamiFlow *flow, gboolean is_ours)
{
    g_queue_unlink(&flows->orders[flow->is_ours], &flow->link);
    flow->is_ours = is_ours;
    g_queue_push_tail_link(&flows->orders[is_ours], &flow->link);
}

static void
finish(SamiFlow *flow)
{
    if (flow->tcp)
        sami_tcp_finish(flow->tcp);
    if (flow->sctp)
        sami_capture_sctp_finish(flow->sctp);
}

void
sami_flows_replace(SamiFlows *flows, SamiFlow *flow)
{
    finish(flow);
    for (guint i = 0; i < G_N_ELEMENTS(flow->sessions); i++)
        sami_capture_close(flows->common, &flow->sessions[i]);
    remove_flow(flows, flow);
}

/* The one silent longest for which something is kept. */
static SamiFlow *
find_keeper(const SamiFlows *flows)
{
    for (guint i = 0; i < G_N_ELEMENTS(flows->orders); i++)
        for (GList *link = flows->orders[i].head; link; link = link->next) {
            SamiFlow *flow = link->data;
            if (flow->sessions[0].pending + flow->sessions[1].pending > 0)
                return flow;
        }
    return NULL;
}

void
sami_flows_limit(SamiFlows *flows, SamiFragments *fragments)
{
    while (flows->common->pending > SAMI_INPUT_PENDING_MAX) {
        SamiFlow *flow;
        if (sami_fragments_drop(fragments, "too much is kept"))
            continue;
        flow = find_keeper(flows);
        if (!flow)
            return;
        give_up(flows, flow, "too much is kept, and this one was silent longest");
    }
}

gboolean
sami_flows_finish_one(SamiFlows *flows)
{
    GList *oldest = flows->orders[1].head ? flows->orders[1].head : flows->orders[0].head;
    if (!oldest)
        return FALSE;
    finish(oldest->data);
    remove_flow(flows, oldest->data);
    return TRUE;
}
