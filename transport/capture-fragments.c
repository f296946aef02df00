#include "transport/capture-fragments.h"

#include <string.h>

#include <netinet/in.h>

#define DATAGRAM_MAX 65535u
#define UDP_HEADER 8u

/* Without holes: it is hashed and compared as octets. */
typedef struct {
    guint32 id;
    guint8 source[16], destination[16];
    guint8 family, protocol, zero[2];
} Key;

typedef struct {
    guint from, to;
} Range;

typedef struct {
    Key key;
    GList link;          /* in `order` */
    GByteArray *octets;
    GArray *ranges;      /* of Range, in order, apart from each other */
    guint8 protocol;     /* of the first fragment */
    guint length;        /* 0: the last fragment is not there yet */
    guint n_fragments;
    gsize held;
    gint64 begun_ns;
    guint64 offset;      /* of the first that came */
    gboolean is_refused; /* what still comes of it is passed over */
} Datagram;

struct SamiFragments {
    SamiCaptureCommon *common;
    GHashTable *datagrams; /* Key (of the Datagram) -> Datagram */
    GQueue order;          /* as they began */
    GByteArray *whole;     /* what add() gave out */
};

static guint
hash_key(gconstpointer data)
{
    return sami_capture_hash(data, sizeof(Key));
}

static gboolean
is_same_key(gconstpointer a, gconstpointer b)
{
    return memcmp(a, b, sizeof(Key)) == 0;
}

SamiFragments *
sami_fragments_new(SamiCaptureCommon *common)
{
    SamiFragments *fragments = g_new0(SamiFragments, 1);
    fragments->common = common;
    fragments->datagrams = g_hash_table_new(hash_key, is_same_key);
    return fragments;
}

static void
hold(SamiFragments *fragments, Datagram *datagram, gsize n)
{
    fragments->common->pending = fragments->common->pending - datagram->held + n;
    datagram->held = n;
}

static void
forget(SamiFragments *fragments, Datagram *datagram)
{
    hold(fragments, datagram, 0);
    g_hash_table_remove(fragments->datagrams, &datagram->key);
    g_queue_unlink(&fragments->order, &datagram->link);
    g_clear_pointer(&datagram->octets, g_byte_array_unref);
    g_array_unref(datagram->ranges);
    g_free(datagram);
}

void
sami_fragments_free(SamiFragments *fragments)
{
    if (!fragments)
        return;
    while (fragments->order.head)
        forget(fragments, fragments->order.head->data);
    g_hash_table_unref(fragments->datagrams);
    if (fragments->whole)
        g_byte_array_unref(fragments->whole);
    g_free(fragments);
}

/* Is it one that we should have read? Its first fragment tells: its ports, or how a datagram of UDP begins. */
static gboolean
is_ours(const SamiFragments *fragments, const Datagram *datagram)
{
    const guint8 *p = datagram->octets->data;
    gboolean has_first = datagram->ranges->len > 0 && g_array_index(datagram->ranges, Range, 0).from == 0;
    gsize n = has_first ? g_array_index(datagram->ranges, Range, 0).to : 0;
    guint8 protocol = datagram->protocol;
    if (n < UDP_HEADER || (protocol != IPPROTO_UDP && protocol != IPPROTO_TCP && protocol != IPPROTO_SCTP))
        return FALSE;
    guint16 source = (guint16) (p[0] << 8 | p[1]), destination = (guint16) (p[2] << 8 | p[3]);
    if (sami_capture_is_expected(fragments->common, source, destination))
        return TRUE;
    return protocol == IPPROTO_UDP && sami_capture_is_wanted(fragments->common, source, destination) &&
           sami_capture_looks(p + UDP_HEADER, n - UDP_HEADER) == SAMI_LOOKS_LIKE;
}

static void
refuse(SamiFragments *fragments, Datagram *datagram, const gchar *why)
{
    if (is_ours(fragments, datagram))
        sami_capture_fault_at(fragments->common, NULL, datagram->offset, "a datagram in %u fragments is passed over: %s", datagram->n_fragments, why);
    else
        fragments->common->counts.n_other += datagram->n_fragments;
    datagram->is_refused = TRUE;
    g_byte_array_unref(datagram->octets);
    datagram->octets = g_byte_array_new();
    g_array_set_size(datagram->ranges, 0);
    hold(fragments, datagram, SAMI_CAPTURE_PIECE_COST);
}

gboolean
sami_fragments_drop(SamiFragments *fragments, const gchar *why)
{
    Datagram *datagram = fragments->order.head ? fragments->order.head->data : NULL;
    if (!datagram)
        return FALSE;
    if (!datagram->is_refused)
        refuse(fragments, datagram, why);
    forget(fragments, datagram);
    return TRUE;
}

static Datagram *
find(SamiFragments *fragments, const SamiPacket *packet)
{
    /* RFC 791 §3.2; of IPv6 the protocol may differ between fragments (RFC 8200 §4.5). */
    Key key = { .id = packet->fragment_id, .family = packet->family, .protocol = packet->family == 4 ? packet->protocol : 0 };
    memcpy(key.source, packet->source, sizeof key.source);
    memcpy(key.destination, packet->destination, sizeof key.destination);
    Datagram *datagram = g_hash_table_lookup(fragments->datagrams, &key);
    if (datagram)
        return datagram;
    if (fragments->order.length >= SAMI_FRAGMENTS_DATAGRAMS_MAX)
        sami_fragments_drop(fragments, "too many datagrams are not whole");
    datagram = g_new0(Datagram, 1);
    datagram->key = key;
    datagram->link.data = datagram;
    datagram->octets = g_byte_array_new();
    datagram->ranges = g_array_new(FALSE, FALSE, sizeof(Range));
    datagram->begun_ns = fragments->common->time_ns;
    datagram->offset = fragments->common->offset;
    g_hash_table_insert(fragments->datagrams, &datagram->key, datagram);
    g_queue_push_tail_link(&fragments->order, &datagram->link);
    return datagram;
}

/* The first range that ends behind `from`. */
static guint
find_range(const Datagram *datagram, guint from)
{
    guint low = 0, high = datagram->ranges->len;
    while (low < high) {
        guint middle = (low + high) / 2;
        if (g_array_index(datagram->ranges, Range, middle).to > from)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* NULL: it fits; "": it is an exact copy; else what is wrong with it. */
static const gchar *
judge(const Datagram *datagram, const SamiPacket *packet, guint from, guint to, guint n)
{
    if (packet->length < packet->length_sent)
        return "the capture has a fragment in part only";
    if (from + packet->length > DATAGRAM_MAX || packet->length == 0 || (packet->has_more && packet->length % 8 != 0))
        return "a fragment has a length that it cannot have (RFC 791 §3.1, RFC 8200 §4.5)";
    if (datagram->length > 0 && (packet->has_more ? to >= datagram->length : to != datagram->length))
        return "fragments disagree about where it ends (RFC 8200 §4.5)";
    if (!packet->has_more && datagram->ranges->len > 0 && g_array_index(datagram->ranges, Range, datagram->ranges->len - 1).to > to)
        return "fragments disagree about where it ends (RFC 8200 §4.5)";
    if (n == datagram->ranges->len || g_array_index(datagram->ranges, Range, n).from >= to)
        return NULL;
    const Range *range = &g_array_index(datagram->ranges, Range, n);
    if (from >= range->from && to <= range->to && memcmp(datagram->octets->data + from, packet->octets, packet->length) == 0)
        return "";
    return "fragments overlap (RFC 5722 §4)";
}

/* Joins [from, to) with its neighbours. */
static void
add_range(Datagram *datagram, guint n, guint from, guint to)
{
    GArray *ranges = datagram->ranges;
    Range range = { from, to };
    gboolean joins_left = n > 0 && g_array_index(ranges, Range, n - 1).to == from;
    gboolean joins_right = n < ranges->len && g_array_index(ranges, Range, n).from == to;
    if (joins_left && joins_right) {
        g_array_index(ranges, Range, n - 1).to = g_array_index(ranges, Range, n).to;
        g_array_remove_index(ranges, n);
    } else if (joins_left) {
        g_array_index(ranges, Range, n - 1).to = to;
    } else if (joins_right) {
        g_array_index(ranges, Range, n).from = from;
    } else {
        g_array_insert_val(ranges, n, range);
    }
}

static void
put(SamiFragments *fragments, Datagram *datagram, const SamiPacket *packet, guint n)
{
    guint from = packet->fragment_at, to = from + (guint) packet->length;
    if (datagram->octets->len < to)
        g_byte_array_set_size(datagram->octets, to);
    memcpy(datagram->octets->data + from, packet->octets, packet->length);
    add_range(datagram, n, from, to);
    if (!packet->has_more)
        datagram->length = to;
    if (from == 0)
        datagram->protocol = packet->protocol;
    hold(fragments, datagram, datagram->octets->len + datagram->ranges->len * sizeof(Range) + SAMI_CAPTURE_PIECE_COST);
}

static void
drop_old(SamiFragments *fragments)
{
    while (fragments->order.head) {
        const Datagram *oldest = fragments->order.head->data;
        if (fragments->common->time_ns - oldest->begun_ns <= SAMI_FRAGMENTS_AGE_NS)
            return;
        sami_fragments_drop(fragments, "the rest did not come within a minute (RFC 8200 §4.5)");
    }
}

gboolean
sami_fragments_add(SamiFragments *fragments, SamiPacket *packet)
{
    drop_old(fragments);
    Datagram *datagram = find(fragments, packet);
    guint from = packet->fragment_at, to = from + (guint) packet->length, n = find_range(datagram, from);
    datagram->n_fragments++;
    if (datagram->is_refused) {
        fragments->common->counts.n_other++;
        return FALSE;
    }
    const gchar *wrong = judge(datagram, packet, from, to, n);
    if (wrong && *wrong)
        refuse(fragments, datagram, wrong);
    if (wrong)
        return FALSE;
    put(fragments, datagram, packet, n);
    const Range *range = &g_array_index(datagram->ranges, Range, 0);
    if (datagram->length == 0 || range->from > 0 || range->to < datagram->length)
        return FALSE;
    if (fragments->whole)
        g_byte_array_unref(fragments->whole);
    fragments->whole = g_steal_pointer(&datagram->octets);
    packet->protocol = datagram->protocol;
    packet->octets = fragments->whole->data;
    packet->length = packet->length_sent = datagram->length;
    packet->is_fragment = packet->has_more = FALSE;
    forget(fragments, datagram);
    return TRUE;
}
