#include "templates/session.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "common/error.h"
#include "common/value.h"

/* FNV-1a over the 40 octets. The keys come from authenticated peers and a signer's own sessions are bounded,
 * so a keyed hash would buy nothing. */
guint
sami_flow_key_hash(gconstpointer key)
{
    const guint8 *octets = key;
    guint64 hash = 0xcbf29ce484222325u;
    for (gsize i = 0; i < sizeof(SamiFlowKey); i += 8) {
        guint64 word;
        memcpy(&word, octets + i, 8);
        hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 32;
    }
    return (guint) hash;
}

gboolean
sami_flow_key_equal(gconstpointer a, gconstpointer b)
{
    return memcmp(a, b, sizeof(SamiFlowKey)) == 0;
}

/* The kernel has them in words of its own order (include/net/netfilter/nf_conntrack_labels.h). */
#define LABEL_WORD_BITS (8 * sizeof(gulong))

static gulong
label_word(const guint8 labels[16], guint number)
{
    gulong word;
    memcpy(&word, labels + number / LABEL_WORD_BITS * sizeof word, sizeof word);
    return word;
}

gboolean
sami_labels_have(const guint8 labels[16], guint number)
{
    return label_word(labels, number) >> (number % LABEL_WORD_BITS) & 1;
}

void
sami_labels_put(guint8 labels[16], guint number, gboolean is_set)
{
    gulong word = label_word(labels, number), bit = 1ul << (number % LABEL_WORD_BITS);
    word = is_set ? word | bit : word & ~bit;
    memcpy(labels + number / LABEL_WORD_BITS * sizeof word, &word, sizeof word);
}

gboolean
sami_session_same_fixed(const SamiSession *a, const SamiSession *b, guint32 except)
{
    static const struct {
        guint32 has;
        gsize offset, size;
    } fixed[] = {
#define FIXED(bit, field) { bit, G_STRUCT_OFFSET(SamiSession, field), sizeof ((SamiSession *) NULL)->field }
        FIXED(SAMI_HAS_REPLY, reply), FIXED(SAMI_HAS_WSCALE, tcp_wscale), FIXED(SAMI_HAS_REPLY_ZONE, reply_zone),
        FIXED(SAMI_HAS_SEQADJ, seqadj), FIXED(SAMI_HAS_SYNPROXY, synproxy_isn), FIXED(SAMI_HAS_SYNPROXY, synproxy_its),
        FIXED(SAMI_HAS_SYNPROXY, synproxy_tsoff), FIXED(SAMI_HAS_HELPER, helper), FIXED(SAMI_HAS_MASTER, master),
#undef FIXED
    };
    for (gsize i = 0; i < G_N_ELEMENTS(fixed); i++) {
        guint32 bit = fixed[i].has & ~except;
        if (((a->has ^ b->has) & bit) ||
            ((a->has & bit) && memcmp((const guint8 *) a + fixed[i].offset, (const guint8 *) b + fixed[i].offset, fixed[i].size) != 0))
            return FALSE;
    }
    return TRUE;
}

gboolean
sami_session_equal(const SamiSession *a, const SamiSession *b)
{
#define SAME(bit, field) (!(a->has & (bit)) || memcmp(&a->field, &b->field, sizeof a->field) == 0)
    return a->has == b->has && a->action == b->action && a->flags == b->flags &&
           sami_flow_key_equal(&a->key, &b->key) && SAME(SAMI_HAS_REPLY, reply) &&
           SAME(SAMI_HAS_STATUS, status) && SAME(SAMI_HAS_TIMEOUT, timeout_s) &&
           SAME(SAMI_HAS_TCP, tcp_state) && SAME(SAMI_HAS_TCP, tcp_flags) &&
           SAME(SAMI_HAS_WSCALE, tcp_wscale) && SAME(SAMI_HAS_MARK, mark) &&
           SAME(SAMI_HAS_LABELS, labels) && SAME(SAMI_HAS_ID, flow_id) &&
           SAME(SAMI_HAS_START, start_ns) && SAME(SAMI_HAS_COUNTERS, packets) &&
           SAME(SAMI_HAS_COUNTERS, octets) && SAME(SAMI_HAS_VLAN, vlan) &&
           SAME(SAMI_HAS_REPLY_ZONE, reply_zone) && SAME(SAMI_HAS_SCTP, sctp_state) &&
           SAME(SAMI_HAS_SCTP, sctp_vtag) && SAME(SAMI_HAS_DCCP, dccp_state) &&
           SAME(SAMI_HAS_DCCP, dccp_role) && SAME(SAMI_HAS_DCCP, dccp_handshake_seq) &&
           SAME(SAMI_HAS_SEQADJ, seqadj) && SAME(SAMI_HAS_SYNPROXY, synproxy_isn) &&
           SAME(SAMI_HAS_SYNPROXY, synproxy_its) && SAME(SAMI_HAS_SYNPROXY, synproxy_tsoff) &&
           SAME(SAMI_HAS_HELPER, helper) && SAME(SAMI_HAS_HELPER_INFO, helper_info) &&
           SAME(SAMI_HAS_MASTER, master) && SAME(SAMI_HAS_SECCTX, secctx);
#undef SAME
}

SamiSelector
sami_protocol_selector(guint8 protocol)
{
    switch (protocol) {
    case IPPROTO_TCP:
    case IPPROTO_UDP:
    case IPPROTO_UDPLITE:
    case IPPROTO_SCTP:
    case IPPROTO_DCCP: return SAMI_SELECTOR_PORTS;
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6: return SAMI_SELECTOR_ICMP;
    case IPPROTO_GRE: return SAMI_SELECTOR_GRE;
    default: return SAMI_SELECTOR_NONE;
    }
}

static gboolean
is_icmp(const SamiFlowKey *key)
{
    return sami_protocol_selector(key->protocol) == SAMI_SELECTOR_ICMP;
}

gboolean
sami_session_has_snat(const SamiSession *s)
{
    /* An ICMP identifier belongs to the source: it is translated with it (nf_nat_proto.c icmp_manip_pkt). */
    if (is_icmp(&s->key))
        return memcmp(&s->reply.dst, &s->key.orig.src, sizeof(SamiAddress)) != 0 ||
               s->reply.src_port != s->key.orig.src_port;
    return memcmp(&s->reply.dst, &s->key.orig.src, sizeof(SamiAddress)) != 0 ||
           s->reply.dst_port != s->key.orig.src_port;
}

gboolean
sami_session_has_dnat(const SamiSession *s)
{
    if (memcmp(&s->reply.src, &s->key.orig.dst, sizeof(SamiAddress)) != 0)
        return TRUE;
    return !is_icmp(&s->key) && s->reply.src_port != s->key.orig.dst_port;
}

/* Type of request -> type of answer (nf_conntrack_proto_icmp.c, nf_conntrack_proto_icmpv6.c: invmap). */
static const struct {
    guint8 protocol, type, answer;
} icmp_answers[] = {
    { IPPROTO_ICMP, 8, 0 },      { IPPROTO_ICMP, 0, 8 },      { IPPROTO_ICMP, 13, 14 },
    { IPPROTO_ICMP, 14, 13 },    { IPPROTO_ICMP, 15, 16 },    { IPPROTO_ICMP, 16, 15 },
    { IPPROTO_ICMP, 17, 18 },    { IPPROTO_ICMP, 18, 17 },    { IPPROTO_ICMPV6, 128, 129 },
    { IPPROTO_ICMPV6, 129, 128 }, { IPPROTO_ICMPV6, 139, 140 }, { IPPROTO_ICMPV6, 140, 139 },
};

gboolean
sami_flow_key_mirror(const SamiFlowKey *key, SamiTuple *ret_reply)
{
    SamiTuple reply = { .src = key->orig.dst, .dst = key->orig.src };
    if (is_icmp(key)) {
        guint8 type = key->orig.dst_port >> 8, code = key->orig.dst_port & 0xff;
        for (gsize i = 0; i < G_N_ELEMENTS(icmp_answers); i++)
            if (icmp_answers[i].protocol == key->protocol && icmp_answers[i].type == type) {
                reply.src_port = key->orig.src_port;
                reply.dst_port = (guint16) (icmp_answers[i].answer << 8 | code);
                *ret_reply = reply;
                return TRUE;
            }
        return FALSE;
    }
    reply.src_port = key->orig.dst_port;
    reply.dst_port = key->orig.src_port;
    *ret_reply = reply;
    return TRUE;
}

static const gchar *
format_address(guint8 family, const SamiAddress *address, gchar buffer[INET6_ADDRSTRLEN])
{
    return inet_ntop(family == 4 ? AF_INET : AF_INET6, address->octets, buffer, INET6_ADDRSTRLEN);
}

static const struct {
    guint8 protocol;
    const gchar *name;
} protocol_names[] = {
    { IPPROTO_TCP, "tcp" },   { IPPROTO_UDP, "udp" }, { IPPROTO_ICMP, "icmp" },       { IPPROTO_ICMPV6, "icmpv6" },
    { IPPROTO_SCTP, "sctp" }, { IPPROTO_GRE, "gre" }, { IPPROTO_UDPLITE, "udplite" }, { IPPROTO_DCCP, "dccp" },
};

const gchar *
sami_protocol_name(guint8 protocol)
{
    for (guint i = 0; i < G_N_ELEMENTS(protocol_names); i++)
        if (protocol_names[i].protocol == protocol)
            return protocol_names[i].name;
    return NULL;
}

gchar *
sami_flow_key_to_string(const SamiFlowKey *key)
{
    gchar src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN], number[8];
    const gchar *name = sami_protocol_name(key->protocol);
    g_snprintf(number, sizeof number, "ip%u", key->protocol);
    name = name ? name : number;
    guint8 family = (guint8) (key->family & ~SAMI_FLOW_KEY_VLAN);
    const gchar *segment = family == key->family ? "zone" : "vlan";
    format_address(family, &key->orig.src, src);
    format_address(family, &key->orig.dst, dst);
    if (is_icmp(key))
        return g_strdup_printf("%s %s -> %s type %u code %u id %u %s %u", name, src, dst,
                               key->orig.dst_port >> 8, key->orig.dst_port & 0xff,
                               key->orig.src_port, segment, key->zone);
    if (sami_protocol_selector(key->protocol) == SAMI_SELECTOR_NONE)
        return g_strdup_printf("%s %s -> %s %s %u", name, src, dst, segment, key->zone);
    if (key->protocol == IPPROTO_GRE)
        return g_strdup_printf("%s %s -> %s keys %u %u %s %u", name, src, dst, key->orig.src_port, key->orig.dst_port, segment, key->zone);
    const gchar *open = family == 4 ? "" : "[", *close = family == 4 ? "" : "]";
    return g_strdup_printf("%s %s%s%s:%u -> %s%s%s:%u %s %u", name, open, src, close,
                           key->orig.src_port, open, dst, close, key->orig.dst_port, segment, key->zone);
}

static gboolean
bits_equal(const guint8 *a, const guint8 *b, guint n_bits)
{
    guint whole = n_bits / 8, rest = n_bits % 8;
    if (memcmp(a, b, whole) != 0)
        return FALSE;
    return rest == 0 || ((a[whole] ^ b[whole]) & (0xff << (8 - rest)) & 0xff) == 0;
}

gboolean
sami_prefix_parse(const gchar *text, SamiPrefix *ret_prefix, GError **error)
{
    SamiPrefix prefix = { .family = strchr(text, ':') ? 6 : 4 };
    const gchar *slash = strchr(text, '/');
    g_autofree gchar *address = slash ? g_strndup(text, (gsize) (slash - text)) : g_strdup(text);
    if (!sami_value_address(text, TRUE, error))
        return FALSE;
    inet_pton(prefix.family == 4 ? AF_INET : AF_INET6, address, prefix.address.octets);
    prefix.length = slash ? (guint8) g_ascii_strtoull(slash + 1, NULL, 10) : prefix.family == 4 ? 32 : 128;
    *ret_prefix = prefix;
    return TRUE;
}

GArray *
sami_prefix_list(GStrv texts, const gchar *what, GError **error)
{
    g_autoptr(GArray) list = g_array_new(FALSE, TRUE, sizeof(SamiPrefix));
    for (guint i = 0; texts && texts[i]; i++) {
        SamiPrefix prefix;
        g_autoptr(GError) cause = NULL;
        if (!sami_prefix_parse(texts[i], &prefix, &cause)) {
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s: %s", what, cause->message);
            return NULL;
        }
        g_array_append_val(list, prefix);
    }
    return g_steal_pointer(&list);
}

gchar *
sami_prefix_to_string(const SamiPrefix *prefix)
{
    gchar buffer[INET6_ADDRSTRLEN];
    format_address(prefix->family, &prefix->address, buffer);
    if (prefix->length == (prefix->family == 4 ? 32 : 128))
        return g_strdup(buffer);
    return g_strdup_printf("%s/%u", buffer, prefix->length);
}

gboolean
sami_prefix_contains(const SamiPrefix *prefix, guint8 family, const SamiAddress *address)
{
    return prefix->family == family &&
           bits_equal(prefix->address.octets, address->octets, prefix->length);
}

gboolean
sami_prefix_covers(const SamiPrefix *outer, const SamiPrefix *inner)
{
    return outer->length <= inner->length &&
           sami_prefix_contains(outer, inner->family, &inner->address);
}

gboolean
sami_prefixes_cover(const GArray *outer, const SamiPrefix *inner)
{
    for (guint i = 0; i < outer->len; i++)
        if (sami_prefix_covers(&g_array_index(outer, SamiPrefix, i), inner))
            return TRUE;
    return FALSE;
}

gboolean
sami_prefixes_contain(const SamiPrefix *prefixes, guint n, guint8 family, const SamiAddress *address)
{
    for (guint i = 0; i < n; i++)
        if (sami_prefix_contains(&prefixes[i], family, address))
            return TRUE;
    return FALSE;
}
