#include "firewall/attributes.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <string.h>

#define ATTRIBUTES_MAX 64

typedef struct {
    const struct nlattr *at[ATTRIBUTES_MAX];
} Attributes;

static int
collect(const struct nlattr *attr, void *data)
{
    Attributes *out = data;
    guint type = mnl_attr_get_type(attr);
    if (type < ATTRIBUTES_MAX)
        out->at[type] = attr;
    return MNL_CB_OK;
}

static guint32
get32(const struct nlattr *attr)
{
    return mnl_attr_get_payload_len(attr) >= 4 ? ntohl(mnl_attr_get_u32(attr)) : 0;
}

static guint64
get64(const struct nlattr *attr)
{
    return attr && mnl_attr_get_payload_len(attr) >= 8 ? GUINT64_FROM_BE(mnl_attr_get_u64(attr)) : 0;
}

static void
get_address(const struct nlattr *attr, SamiAddress *ret)
{
    memcpy(ret->octets, mnl_attr_get_payload(attr), MIN(mnl_attr_get_payload_len(attr), 16u));
}

static gboolean
parse_tuple(const struct nlattr *nest, guint8 family, SamiTuple *ret, guint8 *ret_protocol, guint16 *ret_zone)
{
    Attributes tuple = { { 0 } }, ip = { { 0 } }, proto = { { 0 } };
    mnl_attr_parse_nested(nest, collect, &tuple);
    if (!tuple.at[CTA_TUPLE_IP] || !tuple.at[CTA_TUPLE_PROTO])
        return FALSE;
    mnl_attr_parse_nested(tuple.at[CTA_TUPLE_IP], collect, &ip);
    mnl_attr_parse_nested(tuple.at[CTA_TUPLE_PROTO], collect, &proto);
    guint src = family == 4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, dst = family == 4 ? CTA_IP_V4_DST : CTA_IP_V6_DST;
    if (!ip.at[src] || !ip.at[dst] || !proto.at[CTA_PROTO_NUM])
        return FALSE;
    get_address(ip.at[src], &ret->src);
    get_address(ip.at[dst], &ret->dst);
    *ret_protocol = mnl_attr_get_u8(proto.at[CTA_PROTO_NUM]);
    if (tuple.at[CTA_TUPLE_ZONE])
        *ret_zone = ntohs(mnl_attr_get_u16(tuple.at[CTA_TUPLE_ZONE]));
    gboolean is_v4 = family == 4;
    const struct nlattr *id = proto.at[is_v4 ? CTA_PROTO_ICMP_ID : CTA_PROTO_ICMPV6_ID];
    const struct nlattr *type = proto.at[is_v4 ? CTA_PROTO_ICMP_TYPE : CTA_PROTO_ICMPV6_TYPE];
    const struct nlattr *code = proto.at[is_v4 ? CTA_PROTO_ICMP_CODE : CTA_PROTO_ICMPV6_CODE];
    if (id && type && code) {
        ret->src_port = ntohs(mnl_attr_get_u16(id));
        ret->dst_port = (guint16) (mnl_attr_get_u8(type) << 8 | mnl_attr_get_u8(code));
    }
    if (proto.at[CTA_PROTO_SRC_PORT])
        ret->src_port = ntohs(mnl_attr_get_u16(proto.at[CTA_PROTO_SRC_PORT]));
    if (proto.at[CTA_PROTO_DST_PORT])
        ret->dst_port = ntohs(mnl_attr_get_u16(proto.at[CTA_PROTO_DST_PORT]));
    return TRUE;
}

static void
parse_tcp(const struct nlattr *nest, SamiSession *s)
{
    Attributes info = { { 0 } }, tcp = { { 0 } };
    mnl_attr_parse_nested(nest, collect, &info);
    if (!info.at[CTA_PROTOINFO_TCP])
        return;
    mnl_attr_parse_nested(info.at[CTA_PROTOINFO_TCP], collect, &tcp);
    if (!tcp.at[CTA_PROTOINFO_TCP_STATE])
        return;
    s->tcp_state = mnl_attr_get_u8(tcp.at[CTA_PROTOINFO_TCP_STATE]);
    s->has |= SAMI_HAS_TCP;
    const struct nlattr *flags[2] = { tcp.at[CTA_PROTOINFO_TCP_FLAGS_ORIGINAL], tcp.at[CTA_PROTOINFO_TCP_FLAGS_REPLY] };
    const struct nlattr *scale[2] = { tcp.at[CTA_PROTOINFO_TCP_WSCALE_ORIGINAL], tcp.at[CTA_PROTOINFO_TCP_WSCALE_REPLY] };
    for (guint d = 0; d < 2; d++)
        if (flags[d])
            s->tcp_flags[d] = ((const struct nf_ct_tcp_flags *) mnl_attr_get_payload(flags[d]))->flags;
    if (!scale[0] || !scale[1])
        return;
    s->tcp_wscale[0] = mnl_attr_get_u8(scale[0]);
    s->tcp_wscale[1] = mnl_attr_get_u8(scale[1]);
    /* Without the flag in both directions the kernel does not use the scale (tcp_in_window), and would not take it. */
    if (s->tcp_flags[0] & s->tcp_flags[1] & SAMI_TCP_FLAG_WINDOW_SCALE)
        s->has |= SAMI_HAS_WSCALE;
    else
        s->tcp_wscale[0] = s->tcp_wscale[1] = 0;
}

static void
parse_counters(const struct nlattr *nest, SamiSession *s, guint direction)
{
    Attributes counters = { { 0 } };
    mnl_attr_parse_nested(nest, collect, &counters);
    s->packets[direction] = get64(counters.at[CTA_COUNTERS_PACKETS]);
    s->octets[direction] = get64(counters.at[CTA_COUNTERS_BYTES]);
    s->has |= SAMI_HAS_COUNTERS;
}

static void
parse_rest(const Attributes *a, SamiSession *s)
{
    static const guint8 none[16] = { 0 };
    if (a->at[CTA_STATUS]) {
        s->status = get32(a->at[CTA_STATUS]);
        s->has |= SAMI_HAS_STATUS;
    }
    if (a->at[CTA_TIMEOUT]) {
        s->timeout_s = get32(a->at[CTA_TIMEOUT]);
        s->has |= SAMI_HAS_TIMEOUT;
    }
    if (a->at[CTA_MARK] && (s->mark = get32(a->at[CTA_MARK])) != 0)
        s->has |= SAMI_HAS_MARK;
    if (a->at[CTA_LABELS]) {
        memcpy(s->labels, mnl_attr_get_payload(a->at[CTA_LABELS]), MIN(mnl_attr_get_payload_len(a->at[CTA_LABELS]), 16u));
        if (memcmp(s->labels, none, sizeof none) != 0)
            s->has |= SAMI_HAS_LABELS;
    }
    if (a->at[CTA_ID]) {
        s->flow_id = get32(a->at[CTA_ID]);
        s->has |= SAMI_HAS_ID;
    }
    if (a->at[CTA_PROTOINFO] && s->key.protocol == IPPROTO_TCP)
        parse_tcp(a->at[CTA_PROTOINFO], s);
    if (a->at[CTA_COUNTERS_ORIG])
        parse_counters(a->at[CTA_COUNTERS_ORIG], s, 0);
    if (a->at[CTA_COUNTERS_REPLY])
        parse_counters(a->at[CTA_COUNTERS_REPLY], s, 1);
    if (a->at[CTA_TIMESTAMP]) {
        Attributes stamp = { { 0 } };
        mnl_attr_parse_nested(a->at[CTA_TIMESTAMP], collect, &stamp);
        s->start_ns = get64(stamp.at[CTA_TIMESTAMP_START]);
        if (s->start_ns)
            s->has |= SAMI_HAS_START;
    }
}

gboolean
sami_ct_parse(const struct nlmsghdr *nlh, SamiSession *ret)
{
    Attributes a = { { 0 } };
    guint8 reply_protocol = 0;
    guint16 reply_zone = 0;
    const struct nfgenmsg *header = mnl_nlmsg_get_payload(nlh);
    memset(ret, 0, sizeof *ret);
    if (mnl_nlmsg_get_payload_len(nlh) < sizeof *header)
        return FALSE;
    mnl_attr_parse(nlh, sizeof *header, collect, &a);
    ret->key.family = header->nfgen_family == AF_INET6 ? 6 : 4;
    ret->action = SAMI_ACTION_CREATED;
    if (a.at[CTA_ZONE])
        ret->key.zone = ntohs(mnl_attr_get_u16(a.at[CTA_ZONE]));
    if (!a.at[CTA_TUPLE_ORIG] ||
        !parse_tuple(a.at[CTA_TUPLE_ORIG], ret->key.family, &ret->key.orig, &ret->key.protocol, &ret->key.zone))
        return FALSE;
    if (a.at[CTA_TUPLE_REPLY] &&
        parse_tuple(a.at[CTA_TUPLE_REPLY], ret->key.family, &ret->reply, &reply_protocol, &reply_zone))
        ret->has |= SAMI_HAS_REPLY;
    parse_rest(&a, ret);
    return TRUE;
}

struct nlmsghdr *
sami_ct_message(gpointer buffer, guint16 type, guint16 flags, guint8 family, guint32 sequence)
{
    struct nlmsghdr *nlh = mnl_nlmsg_put_header(buffer);
    nlh->nlmsg_type = (guint16) (NFNL_SUBSYS_CTNETLINK << 8 | type);
    nlh->nlmsg_flags = NLM_F_REQUEST | flags;
    nlh->nlmsg_seq = sequence;
    struct nfgenmsg *header = mnl_nlmsg_put_extra_header(nlh, sizeof *header);
    header->nfgen_family = family == 6 ? AF_INET6 : family == 4 ? AF_INET : AF_UNSPEC;
    header->version = NFNETLINK_V0;
    header->res_id = 0;
    return nlh;
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
    if (key->protocol == IPPROTO_ICMP || key->protocol == IPPROTO_ICMPV6) {
        mnl_attr_put_u16(nlh, is_v4 ? CTA_PROTO_ICMP_ID : CTA_PROTO_ICMPV6_ID, htons(tuple->src_port));
        mnl_attr_put_u8(nlh, is_v4 ? CTA_PROTO_ICMP_TYPE : CTA_PROTO_ICMPV6_TYPE, (guint8) (tuple->dst_port >> 8));
        mnl_attr_put_u8(nlh, is_v4 ? CTA_PROTO_ICMP_CODE : CTA_PROTO_ICMPV6_CODE, (guint8) tuple->dst_port);
    } else {
        mnl_attr_put_u16(nlh, CTA_PROTO_SRC_PORT, htons(tuple->src_port));
        mnl_attr_put_u16(nlh, CTA_PROTO_DST_PORT, htons(tuple->dst_port));
    }
    mnl_attr_nest_end(nlh, proto);
    mnl_attr_nest_end(nlh, nest);
}

void
sami_ct_put_key(struct nlmsghdr *nlh, const SamiFlowKey *key)
{
    put_tuple(nlh, CTA_TUPLE_ORIG, key, &key->orig);
    if (key->zone)
        mnl_attr_put_u16(nlh, CTA_ZONE, htons(key->zone));
}

void
sami_ct_put_timeout(struct nlmsghdr *nlh, guint32 timeout_s)
{
    mnl_attr_put_u32(nlh, CTA_TIMEOUT, htonl(timeout_s));
}

void
sami_ct_put_id(struct nlmsghdr *nlh, guint32 flow_id)
{
    mnl_attr_put_u32(nlh, CTA_ID, htonl(flow_id));
}

/* Translation as one exact address and port: min = max (kernel.md of the project: every other form is accepted and not translated). */
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

static void
put_tcp_flags(struct nlmsghdr *nlh, const guint8 values[2], guint8 mask)
{
    for (guint d = 0; d < 2; d++) {
        struct nf_ct_tcp_flags flags = { .flags = values[d], .mask = mask };
        mnl_attr_put(nlh, d == 0 ? CTA_PROTOINFO_TCP_FLAGS_ORIGINAL : CTA_PROTOINFO_TCP_FLAGS_REPLY, sizeof flags, &flags);
    }
}

/* LIFECYCLE §5: value (dumped & 0x07) | 0x08 under mask 0xff on create; the bits above describe data that the kernel does not export. */
static void
put_tcp(struct nlmsghdr *nlh, const SamiSession *s, gboolean is_create)
{
    guint8 values[2];
    if (!(s->has & SAMI_HAS_TCP) || s->key.protocol != IPPROTO_TCP)
        return;
    struct nlattr *info = mnl_attr_nest_start(nlh, CTA_PROTOINFO);
    struct nlattr *tcp = mnl_attr_nest_start(nlh, CTA_PROTOINFO_TCP);
    mnl_attr_put_u8(nlh, CTA_PROTOINFO_TCP_STATE, s->tcp_state);
    for (guint d = 0; d < 2; d++)
        values[d] = (guint8) ((s->tcp_flags[d] & 0x07) | SAMI_TCP_FLAG_BE_LIBERAL);
    put_tcp_flags(nlh, values, is_create ? 0xff : SAMI_TCP_FLAG_BE_LIBERAL);
    if (is_create && (s->has & SAMI_HAS_WSCALE)) {
        mnl_attr_put_u8(nlh, CTA_PROTOINFO_TCP_WSCALE_ORIGINAL, s->tcp_wscale[0]);
        mnl_attr_put_u8(nlh, CTA_PROTOINFO_TCP_WSCALE_REPLY, s->tcp_wscale[1]);
    }
    mnl_attr_nest_end(nlh, tcp);
    mnl_attr_nest_end(nlh, info);
}

static void
put_mark_and_labels(struct nlmsghdr *nlh, const SamiSession *s)
{
    if (s->has & SAMI_HAS_MARK)
        mnl_attr_put_u32(nlh, CTA_MARK, htonl(s->mark));
    if (s->has & SAMI_HAS_LABELS)
        mnl_attr_put(nlh, CTA_LABELS, sizeof s->labels, s->labels);
}

void
sami_ct_put_create(struct nlmsghdr *nlh, const SamiSession *s)
{
    gboolean is_icmp = s->key.protocol == IPPROTO_ICMP || s->key.protocol == IPPROTO_ICMPV6;
    SamiTuple mirror = s->reply;
    sami_flow_key_mirror(&s->key, &mirror);
    sami_ct_put_key(nlh, &s->key);
    put_tuple(nlh, CTA_TUPLE_REPLY, &s->key, &mirror);
    if (sami_session_has_snat(s))
        put_nat(nlh, CTA_NAT_SRC, s->key.family, &s->reply.dst, is_icmp ? s->reply.src_port : s->reply.dst_port);
    if (sami_session_has_dnat(s))
        put_nat(nlh, CTA_NAT_DST, s->key.family, &s->reply.src, is_icmp ? s->reply.src_port : s->reply.src_port);
    mnl_attr_put_u32(nlh, CTA_STATUS,
                     htonl((s->status & (SAMI_IPS_SEEN_REPLY | SAMI_IPS_ASSURED)) | SAMI_IPS_CONFIRMED));
    sami_ct_put_timeout(nlh, s->timeout_s);
    put_tcp(nlh, s, TRUE);
    put_mark_and_labels(nlh, s);
}

void
sami_ct_put_update_full(struct nlmsghdr *nlh, const SamiSession *s)
{
    sami_ct_put_key(nlh, &s->key);
    sami_ct_put_timeout(nlh, s->timeout_s);
    put_tcp(nlh, s, FALSE);
    put_mark_and_labels(nlh, s);
}

void
sami_ct_put_update_flags(struct nlmsghdr *nlh, const SamiSession *s)
{
    sami_ct_put_key(nlh, &s->key);
    struct nlattr *info = mnl_attr_nest_start(nlh, CTA_PROTOINFO);
    struct nlattr *tcp = mnl_attr_nest_start(nlh, CTA_PROTOINFO_TCP);
    put_tcp_flags(nlh, s->tcp_flags, SAMI_TCP_FLAG_BE_LIBERAL);
    mnl_attr_nest_end(nlh, tcp);
    mnl_attr_nest_end(nlh, info);
}
