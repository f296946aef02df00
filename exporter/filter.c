/* What a replication sends of what is ours: by protocol and address for the whole life of a flow, by TCP state while it lasts. */
#include "exporter/filter.h"

#include <netinet/in.h>
#include <string.h>

#define ALL_STATES ((1u << (SAMI_TCP_STATE_MAX + 1)) - 1)

struct SamiFilter {
    guint protocols;            /* bits of the rows of `protocols`; 0: all, others too */
    GArray *included, *ignored; /* of SamiPrefix; nothing included: all */
    guint states;               /* bits of the rows of `states`, which are enum tcp_conntrack */
};

typedef struct {
    const gchar *name;
    guint value;
} Word;

static const Word protocols[] = { { "tcp", IPPROTO_TCP }, { "udp", IPPROTO_UDP }, { "icmp", IPPROTO_ICMP }, { "icmpv6", IPPROTO_ICMPV6 } };

/* By the kernel's number (linux/netfilter/nf_conntrack_tcp.h), with the place in the life of a flow as the value: net/netfilter/nf_conntrack_proto_tcp.c
 * (6.18) never goes back in one entry; a port that is used again is a new one. */
static const Word states[SAMI_TCP_STATE_MAX + 1] = { { "none", 0 },       { "syn-sent", 1 }, { "syn-recv", 3 },  { "established", 4 }, { "fin-wait", 5 },
                                     { "close-wait", 6 }, { "last-ack", 7 }, { "time-wait", 8 }, { "close", 9 },       { "syn-sent2", 2 } };

static GArray *
read_prefixes(const SamiConfigPeer *peer, const gchar *key, GStrv list, GError **error)
{
    g_autofree gchar *what = g_strdup_printf("peer %s: %s", peer->name, key);
    return sami_prefix_list(list, what, error);
}

/* Bits of the rows that the list names. The configuration knows the same words; one that only it knew would let everything pass. */
static gboolean
read_words(const SamiConfigPeer *peer, const gchar *key, GStrv list, const Word *words, guint n, guint *ret_bits, GError **error)
{
    guint bits = 0;
    for (guint i = 0; list && list[i]; i++) {
        guint k = 0;
        while (k < n && strcmp(list[i], words[k].name) != 0)
            k++;
        if (k == n) {
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "peer %s: %s: '%s' is unknown", peer->name, key, list[i]);
            return FALSE;
        }
        bits |= 1u << k;
    }
    *ret_bits = bits;
    return TRUE;
}

SamiFilter *
sami_filter_new(const SamiConfigPeer *peer, GError **error)
{
    g_autoptr(SamiFilter) filter = g_new0(SamiFilter, 1);
    filter->included = read_prefixes(peer, "replicate-addresses", peer->replicate_addresses, error);
    filter->ignored = filter->included ? read_prefixes(peer, "replicate-ignore", peer->replicate_ignore, error) : NULL;
    if (!filter->ignored ||
        !read_words(peer, "replicate-protocols", peer->replicate_protocols, protocols, G_N_ELEMENTS(protocols), &filter->protocols, error) ||
        !read_words(peer, "replicate-states", peer->replicate_states, states, G_N_ELEMENTS(states), &filter->states, error))
        return NULL;
    if (filter->states == 0)
        filter->states = ALL_STATES;
    return g_steal_pointer(&filter);
}

void
sami_filter_free(SamiFilter *filter)
{
    if (!filter)
        return;
    if (filter->included)
        g_array_unref(filter->included);
    if (filter->ignored)
        g_array_unref(filter->ignored);
    g_free(filter);
}

static gboolean
equal_prefixes(const GArray *a, const GArray *b)
{
    return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len * sizeof(SamiPrefix)) == 0);
}

gboolean
sami_filter_equal(const SamiFilter *a, const SamiFilter *b)
{
    return a->protocols == b->protocols && a->states == b->states && equal_prefixes(a->included, b->included) && equal_prefixes(a->ignored, b->ignored);
}

/* Either end, as it calls itself: the public address of a translation is often the firewall's own, and ignoring that must not lose what is
 * masqueraded behind it. */
static gboolean
names_one_of(const GArray *list, const SamiSession *s)
{
    const SamiAddress *ends[] = { &s->key.orig.src, (s->has & SAMI_HAS_REPLY) ? &s->reply.src : &s->key.orig.dst };
    for (guint i = 0; i < G_N_ELEMENTS(ends); i++)
        if (sami_prefixes_contain((const SamiPrefix *) (const void *) list->data, list->len, s->key.family, ends[i]))
            return TRUE;
    return FALSE;
}

static gboolean
has_protocol(const SamiFilter *filter, guint8 protocol)
{
    if (filter->protocols == 0)
        return TRUE;
    for (guint i = 0; i < G_N_ELEMENTS(protocols); i++)
        if ((filter->protocols >> i & 1) && protocols[i].value == protocol)
            return TRUE;
    return FALSE;
}

gboolean
sami_filter_has_flow(const SamiFilter *filter, const SamiSession *s)
{
    return has_protocol(filter, s->key.protocol) &&
           (filter->included->len == 0 || names_one_of(filter->included, s)) && !names_one_of(filter->ignored, s);
}

static gboolean
may_have_passed(const SamiFilter *filter, guint state)
{
    for (guint i = 0; i < G_N_ELEMENTS(states); i++)
        if ((filter->states >> i & 1) && states[i].value <= states[state].value)
            return TRUE;
    return FALSE;
}

gboolean
sami_filter_record(const SamiFilter *filter, const SamiSession *s, SamiAction *action)
{
    if (s->key.protocol != IPPROTO_TCP || !(s->has & SAMI_HAS_TCP) || s->tcp_state > SAMI_TCP_STATE_MAX)
        return TRUE;
    if (*action != SAMI_ACTION_DELETED && (filter->states >> s->tcp_state & 1))
        return TRUE;
    if (*action == SAMI_ACTION_CREATED || !may_have_passed(filter, s->tcp_state))
        return FALSE;
    *action = SAMI_ACTION_DELETED;
    return TRUE;
}
