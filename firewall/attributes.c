#include "firewall/attributes.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <string.h>

/* Newer than the header of Debian 12 (Linux 6.1): nfnetlink_conntrack.h of 6.18. */
#define TIMESTAMP_EVENT 27

#define NESTED_MAX 16
G_STATIC_ASSERT(CTA_PROTO_MAX < NESTED_MAX && CTA_TUPLE_MAX < NESTED_MAX &&
                CTA_IP_MAX < NESTED_MAX);
G_STATIC_ASSERT(CTA_PROTOINFO_TCP_MAX < NESTED_MAX && CTA_COUNTERS_MAX < NESTED_MAX);

#define ON(kind) (1u << SAMI_OP_##kind)
#define ON_ALL (ON(CREATE) | ON(UPDATE_FULL) | ON(UPDATE_FLAGS) | ON(UPDATE_TIMEOUT) | ON(DELETE))

typedef const struct nlattr *Nested[NESTED_MAX];

static void
open_nest(const struct nlattr *nest, Nested ret)
{
    const struct nlattr *attr;
    memset(ret, 0, sizeof(Nested));
    mnl_attr_for_each_nested(attr, nest) if (mnl_attr_get_type(attr) < NESTED_MAX)
        ret[mnl_attr_get_type(attr)] = attr;
}

/* A big-endian number of at most 8 octets; 0 if it is absent. */
static guint64
get_uint(const struct nlattr *attr)
{
    guint64 value = 0;
    const guint8 *octets = attr ? mnl_attr_get_payload(attr) : NULL;
    for (guint i = 0; octets && i < MIN(mnl_attr_get_payload_len(attr), 8u); i++)
        value = value << 8 | octets[i];
    return value;
}

static void
get_octets(const struct nlattr *attr, guint8 ret[16])
{
    memcpy(ret, mnl_attr_get_payload(attr), MIN(mnl_attr_get_payload_len(attr), 16u));
}

static gboolean
is_icmp(guint8 protocol)
{
    return protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6;
}

static gboolean
parse_tuple(const struct nlattr *nest, guint8 family, SamiTuple *ret, guint8 *ret_protocol,
            const struct nlattr **ret_zone)
{
    Nested tuple, ip, proto;
    gboolean is_v4 = family == 4;
    open_nest(nest, tuple);
    if (!tuple[CTA_TUPLE_IP] || !tuple[CTA_TUPLE_PROTO])
        return FALSE;
    open_nest(tuple[CTA_TUPLE_IP], ip);
    open_nest(tuple[CTA_TUPLE_PROTO], proto);
    const struct nlattr *src = ip[is_v4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC],
                        *dst = ip[is_v4 ? CTA_IP_V4_DST : CTA_IP_V6_DST];
    if (!src || !dst || !proto[CTA_PROTO_NUM])
        return FALSE;
    get_octets(src, ret->src.octets);
    get_octets(dst, ret->dst.octets);
    *ret_protocol = (guint8)get_uint(proto[CTA_PROTO_NUM]);
    *ret_zone = tuple[CTA_TUPLE_ZONE];
    if (*ret_protocol == IPPROTO_ICMP) {
        ret->src_port = (guint16)get_uint(proto[CTA_PROTO_ICMP_ID]);
        ret->dst_port = (guint16)(get_uint(proto[CTA_PROTO_ICMP_TYPE]) << 8 |
                                  get_uint(proto[CTA_PROTO_ICMP_CODE]));
    } else if (*ret_protocol == IPPROTO_ICMPV6) {
        ret->src_port = (guint16)get_uint(proto[CTA_PROTO_ICMPV6_ID]);
        ret->dst_port = (guint16)(get_uint(proto[CTA_PROTO_ICMPV6_TYPE]) << 8 |
                                  get_uint(proto[CTA_PROTO_ICMPV6_CODE]));
    } else {
        ret->src_port = (guint16)get_uint(proto[CTA_PROTO_SRC_PORT]);
        ret->dst_port = (guint16)get_uint(proto[CTA_PROTO_DST_PORT]);
    }
    return TRUE;
}

/* A zone for one direction only is in the tuple of that direction. The original's names the flow;
 * that the other direction has none is not carried, so the copy has the zone in both. */
static void
parse_orig(const struct nlattr *attr, SamiSession *s)
{
    const struct nlattr *zone = NULL;
    if (!parse_tuple(attr, s->key.family, &s->key.orig, &s->key.protocol, &zone))
        s->key.family = 0;
    if (zone)
        s->key.zone = (guint16)get_uint(zone);
}

static void
parse_reply(const struct nlattr *attr, SamiSession *s)
{
    guint8 protocol;
    const struct nlattr *zone;
    if (parse_tuple(attr, s->key.family, &s->reply, &protocol, &zone))
        s->has |= SAMI_HAS_REPLY;
}

static void
parse_zone(const struct nlattr *attr, SamiSession *s)
{
    s->key.zone = (guint16)get_uint(attr);
}

static void
parse_status(const struct nlattr *attr, SamiSession *s)
{
    s->status = (guint32)get_uint(attr);
    s->has |= SAMI_HAS_STATUS;
}

static void
parse_timeout(const struct nlattr *attr, SamiSession *s)
{
    s->timeout_s = (guint32)get_uint(attr);
    s->has |= SAMI_HAS_TIMEOUT;
}

static void
parse_protoinfo(const struct nlattr *attr, SamiSession *s)
{
    Nested info, tcp;
    open_nest(attr, info);
    if (!info[CTA_PROTOINFO_TCP])
        return;
    open_nest(info[CTA_PROTOINFO_TCP], tcp);
    if (!tcp[CTA_PROTOINFO_TCP_STATE])
        return;
    s->tcp_state = (guint8)get_uint(tcp[CTA_PROTOINFO_TCP_STATE]);
    s->has |= SAMI_HAS_TCP;
    for (guint d = 0; d < 2; d++) {
        const struct nlattr *flags =
            tcp[d == 0 ? CTA_PROTOINFO_TCP_FLAGS_ORIGINAL : CTA_PROTOINFO_TCP_FLAGS_REPLY];
        if (flags && mnl_attr_get_payload_len(flags) >= sizeof(struct nf_ct_tcp_flags))
            s->tcp_flags[d] = ((const struct nf_ct_tcp_flags *)mnl_attr_get_payload(flags))->flags;
    }
    /* Without the flag in both directions the kernel does not use the scale (tcp_in_window), and
     * would not take it. */
    if (!tcp[CTA_PROTOINFO_TCP_WSCALE_ORIGINAL] || !tcp[CTA_PROTOINFO_TCP_WSCALE_REPLY] ||
        !(s->tcp_flags[0] & s->tcp_flags[1] & SAMI_TCP_FLAG_WINDOW_SCALE))
        return;
    s->tcp_wscale[0] = (guint8)get_uint(tcp[CTA_PROTOINFO_TCP_WSCALE_ORIGINAL]);
    s->tcp_wscale[1] = (guint8)get_uint(tcp[CTA_PROTOINFO_TCP_WSCALE_REPLY]);
    s->has |= SAMI_HAS_WSCALE;
}

/* Absence means 0 (templates/session.h), which keeps the records of unmarked flows small. */
static void
parse_mark(const struct nlattr *attr, SamiSession *s)
{
    s->mark = (guint32)get_uint(attr);
    s->has |= s->mark ? SAMI_HAS_MARK : 0;
}

static void
parse_labels(const struct nlattr *attr, SamiSession *s)
{
    static const guint8 none[16] = {0};
    get_octets(attr, s->labels);
    s->has |= memcmp(s->labels, none, sizeof none) != 0 ? SAMI_HAS_LABELS : 0;
}

static void
parse_counters(const struct nlattr *attr, SamiSession *s)
{
    Nested counters;
    guint direction = mnl_attr_get_type(attr) == CTA_COUNTERS_REPLY;
    open_nest(attr, counters);
    s->packets[direction] = get_uint(counters[CTA_COUNTERS_PACKETS]);
    s->octets[direction] = get_uint(counters[CTA_COUNTERS_BYTES]);
    s->has |= SAMI_HAS_COUNTERS;
}

static void
parse_id(const struct nlattr *attr, SamiSession *s)
{
    s->flow_id = (guint32)get_uint(attr);
    s->has |= SAMI_HAS_ID;
}

static void
parse_timestamp(const struct nlattr *attr, SamiSession *s)
{
    Nested stamp;
    open_nest(attr, stamp);
    s->start_ns = get_uint(stamp[CTA_TIMESTAMP_START]);
    s->has |= s->start_ns ? SAMI_HAS_START : 0;
}

static void
put_address(struct nlmsghdr *nlh, guint16 type, guint8 family, const SamiAddress *address)
{
    mnl_attr_put(nlh, type, family == 4 ? 4 : 16, address->octets);
}

static void
put_tuple(struct nlmsghdr *nlh, guint16 type, const SamiFlowKey *key, const SamiTuple *tuple)
{
    gboolean is_v4 = key->family == 4;
    struct nlattr *nest = mnl_attr_nest_start(nlh, type);
    struct nlattr *ip = mnl_attr_nest_start(nlh, CTA_TUPLE_IP);
    put_address(nlh, is_v4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, key->family, &tuple->src);
    put_address(nlh, is_v4 ? CTA_IP_V4_DST : CTA_IP_V6_DST, key->family, &tuple->dst);
    mnl_attr_nest_end(nlh, ip);
    struct nlattr *proto = mnl_attr_nest_start(nlh, CTA_TUPLE_PROTO);
    mnl_attr_put_u8(nlh, CTA_PROTO_NUM, key->protocol);
    if (is_icmp(key->protocol)) {
        gboolean is_4 = key->protocol == IPPROTO_ICMP;
        mnl_attr_put_u16(nlh, is_4 ? CTA_PROTO_ICMP_ID : CTA_PROTO_ICMPV6_ID,
                         htons(tuple->src_port));
        mnl_attr_put_u8(nlh, is_4 ? CTA_PROTO_ICMP_TYPE : CTA_PROTO_ICMPV6_TYPE,
                        (guint8)(tuple->dst_port >> 8));
        mnl_attr_put_u8(nlh, is_4 ? CTA_PROTO_ICMP_CODE : CTA_PROTO_ICMPV6_CODE,
                        (guint8)tuple->dst_port);
    } else {
        mnl_attr_put_u16(nlh, CTA_PROTO_SRC_PORT, htons(tuple->src_port));
        mnl_attr_put_u16(nlh, CTA_PROTO_DST_PORT, htons(tuple->dst_port));
    }
    mnl_attr_nest_end(nlh, proto);
    mnl_attr_nest_end(nlh, nest);
}

static void
put_orig(struct nlmsghdr *nlh, const SamiSession *s, SamiOpKind kind)
{
    put_tuple(nlh, CTA_TUPLE_ORIG, &s->key, &s->key.orig);
}

/* The untranslated reply: with the translated one the kernel accepts CTA_NAT_* and translates
 * nothing. An ICMP type without an answer goes as it is, for the kernel to refuse. */
static void
put_reply(struct nlmsghdr *nlh, const SamiSession *s, SamiOpKind kind)
{
    SamiTuple mirror = s->reply;
    sami_flow_key_mirror(&s->key, &mirror);
    put_tuple(nlh, CTA_TUPLE_REPLY, &s->key, &mirror);
}

static void
put_zone(struct nlmsghdr *nlh, const SamiSession *s, SamiOpKind kind)
{
    if (s->key.zone)
        mnl_attr_put_u16(nlh, CTA_ZONE, htons(s->key.zone));
}

/* CONFIRMED is required, EXPECTED and DYING are refused (ctnetlink_change_status); with
 * FIXED_TIMEOUT later updates of the timeout would fail. What NAT sets follows from CTA_NAT_*. */
static void
put_status(struct nlmsghdr *nlh, const SamiSession *s, SamiOpKind kind)
{
    guint32 status = (s->status & (SAMI_IPS_SEEN_REPLY | SAMI_IPS_ASSURED)) | SAMI_IPS_CONFIRMED;
    mnl_attr_put_u32(nlh, CTA_STATUS, htonl(status));
}

/* Never a made-up value: with 0 the kernel says yes and the entry is gone at once. Without one a
 * creation is EINVAL. */
static void
put_timeout(struct nlmsghdr *nlh, const SamiSession *s, SamiOpKind kind)
{
    if (s->has & SAMI_HAS_TIMEOUT)
        mnl_attr_put_u32(nlh, CTA_TIMEOUT, htonl(s->timeout_s));
}

/* Bits above 0x07 describe data that the kernel does not export (0x20, MAXACK_SET, would make
 * legitimate RSTs INVALID), hence never as dumped. An entry that no packet has touched stays as
 * lenient as it was created. */
static void
put_protoinfo(struct nlmsghdr *nlh, const SamiSession *s, SamiOpKind kind)
{
    if (s->key.protocol != IPPROTO_TCP ||
        (kind != SAMI_OP_UPDATE_FLAGS && !(s->has & SAMI_HAS_TCP)))
        return;
    struct nlattr *info = mnl_attr_nest_start(nlh, CTA_PROTOINFO);
    struct nlattr *tcp = mnl_attr_nest_start(nlh, CTA_PROTOINFO_TCP);
    if (kind != SAMI_OP_UPDATE_FLAGS)
        mnl_attr_put_u8(nlh, CTA_PROTOINFO_TCP_STATE, s->tcp_state);
    for (guint d = 0; d < 2; d++) {
        struct nf_ct_tcp_flags flags = {s->tcp_flags[d] & SAMI_TCP_FLAG_BE_LIBERAL,
                                        SAMI_TCP_FLAG_BE_LIBERAL};
        if (kind == SAMI_OP_CREATE)
            flags = (struct nf_ct_tcp_flags){
                (guint8)((s->tcp_flags[d] & 0x07) | SAMI_TCP_FLAG_BE_LIBERAL), 0xff};
        else if (kind == SAMI_OP_UPDATE_FULL)
            flags.flags = SAMI_TCP_FLAG_BE_LIBERAL;
        mnl_attr_put(nlh, d == 0 ? CTA_PROTOINFO_TCP_FLAGS_ORIGINAL : CTA_PROTOINFO_TCP_FLAGS_REPLY,
                     sizeof flags, &flags);
    }
    if (kind == SAMI_OP_CREATE && (s->has & SAMI_HAS_WSCALE)) {
        mnl_attr_put_u8(nlh, CTA_PROTOINFO_TCP_WSCALE_ORIGINAL, s->tcp_wscale[0]);
        mnl_attr_put_u8(nlh, CTA_PROTOINFO_TCP_WSCALE_REPLY, s->tcp_wscale[1]);
    }
    mnl_attr_nest_end(nlh, tcp);
    mnl_attr_nest_end(nlh, info);
}

/* One exact address and port: an address alone may get another port, anything else is accepted and
 * translates nothing. */
static void
put_nat(struct nlmsghdr *nlh, guint16 type, guint8 family, const SamiAddress *address, guint16 port)
{
    struct nlattr *nest = mnl_attr_nest_start(nlh, type);
    put_address(nlh, family == 4 ? CTA_NAT_V4_MINIP : CTA_NAT_V6_MINIP, family, address);
    put_address(nlh, family == 4 ? CTA_NAT_V4_MAXIP : CTA_NAT_V6_MAXIP, family, address);
    struct nlattr *proto = mnl_attr_nest_start(nlh, CTA_NAT_PROTO);
    mnl_attr_put_u16(nlh, CTA_PROTONAT_PORT_MIN, htons(port));
    mnl_attr_put_u16(nlh, CTA_PROTONAT_PORT_MAX, htons(port));
    mnl_attr_nest_end(nlh, proto);
    mnl_attr_nest_end(nlh, nest);
}

static gboolean
has_reply(const SamiSession *s)
{
    return (s->has & SAMI_HAS_REPLY) != 0;
}

/* The ICMP identifier is in src_port of either tuple, and is one for both directions
 * (nf_nat_core.c). */
static void
put_nat_src(struct nlmsghdr *nlh, const SamiSession *s, SamiOpKind kind)
{
    if (has_reply(s) && sami_session_has_snat(s))
        put_nat(nlh, CTA_NAT_SRC, s->key.family, &s->reply.dst,
                is_icmp(s->key.protocol) ? s->reply.src_port : s->reply.dst_port);
}

static void
put_nat_dst(struct nlmsghdr *nlh, const SamiSession *s, SamiOpKind kind)
{
    if (has_reply(s) && sami_session_has_dnat(s))
        put_nat(nlh, CTA_NAT_DST, s->key.family, &s->reply.src, s->reply.src_port);
}

static void
put_mark(struct nlmsghdr *nlh, const SamiSession *s, SamiOpKind kind)
{
    if (s->has & SAMI_HAS_MARK)
        mnl_attr_put_u32(nlh, CTA_MARK, htonl(s->mark));
}

static void
put_labels(struct nlmsghdr *nlh, const SamiSession *s, SamiOpKind kind)
{
    if (s->has & SAMI_HAS_LABELS)
        mnl_attr_put(nlh, CTA_LABELS, sizeof s->labels, s->labels);
}

static void
put_id(struct nlmsghdr *nlh, const SamiSession *s, SamiOpKind kind)
{
    if (s->has & SAMI_HAS_ID)
        mnl_attr_put_u32(nlh, CTA_ID, htonl(s->flow_id));
}

#define CARRIED(type, parse, build, ops) [type] = {#type, NULL, parse, build, ops}
#define NOT_CARRIED(type, because) [type] = {#type, because, NULL, NULL, 0}

/* Behaviour on create and update: nf_conntrack_netlink.c of 6.18 (ctnetlink_create_conntrack,
 * ctnetlink_change_conntrack). */
static const SamiCtAttribute attributes[] = {
    CARRIED(CTA_TUPLE_ORIG, parse_orig, put_orig, ON_ALL),
    CARRIED(CTA_TUPLE_REPLY, parse_reply, put_reply, ON(CREATE)),
    CARRIED(CTA_STATUS, parse_status, put_status, ON(CREATE)),
    CARRIED(CTA_PROTOINFO, parse_protoinfo, put_protoinfo,
            ON(CREATE) | ON(UPDATE_FULL) | ON(UPDATE_FLAGS)),
    NOT_CARRIED(
        CTA_HELP,
        "a helper watches the payload from the first packet, and its state is not exported"),
    CARRIED(CTA_NAT_SRC, NULL, put_nat_src, ON(CREATE)), /* never dumped: follows from the tuples */
    CARRIED(CTA_TIMEOUT, parse_timeout, put_timeout,
            ON(CREATE) | ON(UPDATE_FULL) | ON(UPDATE_TIMEOUT)),
    CARRIED(CTA_MARK, parse_mark, put_mark, ON(CREATE) | ON(UPDATE_FULL)),
    CARRIED(CTA_COUNTERS_ORIG, parse_counters, NULL,
            0), /* the kernel starts at 0 whatever is sent */
    CARRIED(CTA_COUNTERS_REPLY, parse_counters, NULL, 0),
    NOT_CARRIED(CTA_USE, "a reference count of the kernel that dumped it"),
    CARRIED(CTA_ID, parse_id, put_id, ON(DELETE)),
    CARRIED(CTA_NAT_DST, NULL, put_nat_dst, ON(CREATE)),
    NOT_CARRIED(CTA_TUPLE_MASTER, "a child goes as a flow of its own; only helpers need the link"),
    NOT_CARRIED(CTA_SEQ_ADJ_ORIG,
                "only helpers that rewrite payload set it, and helpers are not carried"),
    NOT_CARRIED(CTA_SEQ_ADJ_REPLY,
                "only helpers that rewrite payload set it, and helpers are not carried"),
    NOT_CARRIED(CTA_SECMARK, "obsolete: the kernel neither dumps nor takes it"),
    CARRIED(CTA_ZONE, parse_zone, put_zone, ON_ALL),
    NOT_CARRIED(CTA_SECCTX, "a name of the local security module; the kernel ignores it on create"),
    CARRIED(CTA_TIMESTAMP, parse_timestamp, NULL, 0), /* a new entry starts now */
    NOT_CARRIED(CTA_MARK_MASK, "no state: says which bits of CTA_MARK a request means"),
    CARRIED(CTA_LABELS, parse_labels, put_labels, ON(CREATE) | ON(UPDATE_FULL)),
    NOT_CARRIED(CTA_LABELS_MASK, "no state: says which bits of CTA_LABELS a request means"),
    NOT_CARRIED(CTA_SYNPROXY, "belongs to a SYNPROXY rule, without which it means nothing"),
    NOT_CARRIED(CTA_FILTER, "no state: part of a dump request"),
    NOT_CARRIED(CTA_STATUS_MASK, "no state: part of a dump request"),
    [TIMESTAMP_EVENT] = {"CTA_TIMESTAMP_EVENT", "the time of a message, not of an entry", NULL,
                         NULL, 0},
};

const SamiCtAttribute *
sami_ct_attribute(guint type)
{
    return type < G_N_ELEMENTS(attributes) && attributes[type].name ? &attributes[type] : NULL;
}

gboolean
sami_ct_parse(const struct nlmsghdr *nlh, SamiSession *ret)
{
    const struct nfgenmsg *header = mnl_nlmsg_get_payload(nlh);
    const struct nlattr *attr;
    memset(ret, 0, sizeof *ret);
    if (mnl_nlmsg_get_payload_len(nlh) < sizeof *header)
        return FALSE;
    ret->key.family = header->nfgen_family == AF_INET6  ? 6
                      : header->nfgen_family == AF_INET ? 4
                                                        : 0;
    ret->action = SAMI_ACTION_CREATED;
    if (ret->key.family == 0)
        return FALSE;
    mnl_attr_for_each(attr, nlh, sizeof *header)
    {
        const SamiCtAttribute *row = sami_ct_attribute(mnl_attr_get_type(attr));
        if (row && row->parse)
            row->parse(attr, ret);
    }
    return ret->key.family != 0 && ret->key.protocol != 0;
}

void
sami_ct_put(struct nlmsghdr *nlh, const SamiSession *session, SamiOpKind kind)
{
    for (gsize i = 0; i < G_N_ELEMENTS(attributes); i++)
        if (attributes[i].ops & 1u << kind)
            attributes[i].build(nlh, session, kind);
}

void
sami_ct_put_key(struct nlmsghdr *nlh, const SamiFlowKey *key)
{
    put_tuple(nlh, CTA_TUPLE_ORIG, key, &key->orig);
    if (key->zone)
        mnl_attr_put_u16(nlh, CTA_ZONE, htons(key->zone));
}

struct nlmsghdr *
sami_ct_message(gpointer buffer, guint16 type, guint16 flags, guint8 family, guint32 sequence)
{
    struct nlmsghdr *nlh = mnl_nlmsg_put_header(buffer);
    nlh->nlmsg_type = (guint16)(NFNL_SUBSYS_CTNETLINK << 8 | type);
    nlh->nlmsg_flags = NLM_F_REQUEST | flags;
    nlh->nlmsg_seq = sequence;
    struct nfgenmsg *header = mnl_nlmsg_put_extra_header(nlh, sizeof *header);
    header->nfgen_family = family == 6 ? AF_INET6 : family == 4 ? AF_INET : AF_UNSPEC;
    header->version = NFNETLINK_V0;
    header->res_id = 0;
    return nlh;
}
