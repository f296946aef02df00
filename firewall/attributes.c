#include "firewall/attributes.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <string.h>

#include "firewall/netlink.h"

/* Newer than the header of Debian 12 (Linux 6.1): nfnetlink_conntrack.h of 6.18. */
#define TIMESTAMP_EVENT 27

#define OFFLOADED_TCP_S 432000u /* nf_conntrack_proto_tcp.c, TCP_CONNTRACK_ESTABLISHED */
#define OFFLOADED_UDP_S 120u    /* nf_conntrack_proto_udp.c, UDP_CT_REPLIED; GRE's are 180 */

G_STATIC_ASSERT(CTA_PROTO_MAX < NESTED_MAX && CTA_TUPLE_MAX < NESTED_MAX &&
                CTA_IP_MAX < NESTED_MAX);
G_STATIC_ASSERT(CTA_PROTOINFO_TCP_MAX < NESTED_MAX && CTA_COUNTERS_MAX < NESTED_MAX);
G_STATIC_ASSERT(CTA_PROTOINFO_DCCP_MAX < NESTED_MAX && CTA_SEQADJ_MAX < NESTED_MAX && CTA_HELP_MAX < NESTED_MAX);

#define ON(kind) (1u << SAMI_OP_##kind)
#define ON_ALL (ON(CREATE) | ON(UPDATE_FULL) | ON(UPDATE_GROWN) | ON(UPDATE_FLAGS) | ON(UPDATE_TIMEOUT) | ON(UPDATE_FIXED) | ON(DELETE))

static gboolean
is_icmp(guint8 protocol)
{
    return sami_protocol_selector(protocol) == SAMI_SELECTOR_ICMP;
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
    } else if (sami_protocol_selector(*ret_protocol) != SAMI_SELECTOR_NONE) { /* of GRE: its keys */
        ret->src_port = (guint16)get_uint(proto[CTA_PROTO_SRC_PORT]);
        ret->dst_port = (guint16)get_uint(proto[CTA_PROTO_DST_PORT]);
    }
    return TRUE;
}

/* A zone for one direction only is in the tuple of that direction, and the other one is in zone 0. */
static void
parse_orig(const struct nlattr *attr, SamiSession *s)
{
    const struct nlattr *zone = NULL;
    if (!parse_tuple(attr, s->key.family, &s->key.orig, &s->key.protocol, &zone))
        s->key.family = 0;
    if (!zone)
        return;
    s->key.zone = (guint16)get_uint(zone);
    s->has |= s->key.zone ? SAMI_HAS_REPLY_ZONE : 0;
}

static void
parse_reply(const struct nlattr *attr, SamiSession *s)
{
    guint8 protocol;
    const struct nlattr *zone = NULL;
    if (!parse_tuple(attr, s->key.family, &s->reply, &protocol, &zone))
        return;
    s->has |= SAMI_HAS_REPLY;
    s->reply_zone = zone ? (guint16)get_uint(zone) : 0;
    s->has |= s->reply_zone ? SAMI_HAS_REPLY_ZONE : 0;
}

static void
parse_zone(const struct nlattr *attr, SamiSession *s)
{
    s->key.zone = (guint16)get_uint(attr);
}

static void
parse_master(const struct nlattr *attr, SamiSession *s)
{
    const struct nlattr *zone;
    s->master.family = s->key.family;
    if (parse_tuple(attr, s->key.family, &s->master.orig, &s->master.protocol, &zone))
        s->has |= SAMI_HAS_MASTER;
    else
        memset(&s->master, 0, sizeof s->master);
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
parse_tcp(const struct nlattr *attr, SamiSession *s)
{
    Nested tcp;
    open_nest(attr, tcp);
    if (!tcp[CTA_PROTOINFO_TCP_STATE])
        return;
    s->tcp_state = (guint8)get_uint(tcp[CTA_PROTOINFO_TCP_STATE]);
    s->has |= SAMI_HAS_TCP;
    for (guint d = 0; d < 2; d++) {
        const struct nlattr *flags =
            tcp[d == 0 ? CTA_PROTOINFO_TCP_FLAGS_ORIGINAL : CTA_PROTOINFO_TCP_FLAGS_REPLY];
        if (flags && attr_length(flags) >= sizeof(struct nf_ct_tcp_flags))
            s->tcp_flags[d] = attr_octets(flags)[0];
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

/* Without the tags it is a DESTROY event, which has the state only. */
static void
parse_sctp(const struct nlattr *attr, SamiSession *s)
{
    Nested sctp;
    open_nest(attr, sctp);
    if (!sctp[CTA_PROTOINFO_SCTP_STATE] || !sctp[CTA_PROTOINFO_SCTP_VTAG_ORIGINAL] ||
        !sctp[CTA_PROTOINFO_SCTP_VTAG_REPLY])
        return;
    s->sctp_state = (guint8)get_uint(sctp[CTA_PROTOINFO_SCTP_STATE]);
    s->sctp_vtag[0] = (guint32)get_uint(sctp[CTA_PROTOINFO_SCTP_VTAG_ORIGINAL]);
    s->sctp_vtag[1] = (guint32)get_uint(sctp[CTA_PROTOINFO_SCTP_VTAG_REPLY]);
    s->has |= SAMI_HAS_SCTP;
}

static void
parse_dccp(const struct nlattr *attr, SamiSession *s)
{
    Nested dccp;
    open_nest(attr, dccp);
    if (!dccp[CTA_PROTOINFO_DCCP_STATE] || !dccp[CTA_PROTOINFO_DCCP_ROLE])
        return;
    s->dccp_state = (guint8)get_uint(dccp[CTA_PROTOINFO_DCCP_STATE]);
    s->dccp_role = (guint8)get_uint(dccp[CTA_PROTOINFO_DCCP_ROLE]);
    s->dccp_handshake_seq = get_uint(dccp[CTA_PROTOINFO_DCCP_HANDSHAKE_SEQ]);
    s->has |= SAMI_HAS_DCCP;
}

static void
parse_protoinfo(const struct nlattr *attr, SamiSession *s)
{
    Nested info;
    open_nest(attr, info);
    if (info[CTA_PROTOINFO_TCP])
        parse_tcp(info[CTA_PROTOINFO_TCP], s);
    if (info[CTA_PROTOINFO_SCTP])
        parse_sctp(info[CTA_PROTOINFO_SCTP], s);
    if (info[CTA_PROTOINFO_DCCP])
        parse_dccp(info[CTA_PROTOINFO_DCCP], s);
}

static void
parse_help(const struct nlattr *attr, SamiSession *s)
{
    Nested help;
    open_nest(attr, help);
    if (!help[CTA_HELP_NAME] || attr_length(help[CTA_HELP_NAME]) == 0)
        return;
    get_text(help[CTA_HELP_NAME], s->helper, sizeof s->helper);
    s->has |= SAMI_HAS_HELPER;
    if (!help[CTA_HELP_INFO])
        return;
    memcpy(s->helper_info, attr_octets(help[CTA_HELP_INFO]),
           MIN(attr_length(help[CTA_HELP_INFO]), sizeof s->helper_info));
    s->has |= SAMI_HAS_HELPER_INFO;
}

/* The kernel sends both or none (ctnetlink_dump_ct_seq_adj). */
static void
parse_seqadj(const struct nlattr *attr, SamiSession *s)
{
    Nested adj;
    guint direction = attr_type(attr) == CTA_SEQ_ADJ_REPLY;
    open_nest(attr, adj);
    s->seqadj[direction] = (SamiSeqAdj){(guint32)get_uint(adj[CTA_SEQADJ_CORRECTION_POS]),
                                        (gint32)get_uint(adj[CTA_SEQADJ_OFFSET_BEFORE]),
                                        (gint32)get_uint(adj[CTA_SEQADJ_OFFSET_AFTER])};
    s->has |= SAMI_HAS_SEQADJ;
}

/* Every flow that a SYNPROXY rule might have seen has the extension; zeros say that none has. */
static void
parse_synproxy(const struct nlattr *attr, SamiSession *s)
{
    Nested synproxy;
    open_nest(attr, synproxy);
    s->synproxy_isn = (guint32)get_uint(synproxy[CTA_SYNPROXY_ISN]);
    s->synproxy_its = (guint32)get_uint(synproxy[CTA_SYNPROXY_ITS]);
    s->synproxy_tsoff = (guint32)get_uint(synproxy[CTA_SYNPROXY_TSOFF]);
    s->has |= s->synproxy_isn | s->synproxy_its | s->synproxy_tsoff ? SAMI_HAS_SYNPROXY : 0;
}

static void
parse_secctx(const struct nlattr *attr, SamiSession *s)
{
    Nested secctx;
    open_nest(attr, secctx);
    if (!secctx[CTA_SECCTX_NAME])
        return;
    get_text(secctx[CTA_SECCTX_NAME], s->secctx, sizeof s->secctx);
    s->has |= SAMI_HAS_SECCTX;
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
    guint direction = attr_type(attr) == CTA_COUNTERS_REPLY;
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
    put(nlh, type, family == 4 ? 4 : 16, address->octets);
}

/* `zone` not 0: of this direction only. */
static void
put_tuple(struct nlmsghdr *nlh, guint16 type, const SamiFlowKey *key, const SamiTuple *tuple, guint16 zone)
{
    gboolean is_v4 = key->family == 4;
    struct nlattr *nest = nest_start(nlh, type);
    struct nlattr *ip = nest_start(nlh, CTA_TUPLE_IP);
    put_address(nlh, is_v4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, key->family, &tuple->src);
    put_address(nlh, is_v4 ? CTA_IP_V4_DST : CTA_IP_V6_DST, key->family, &tuple->dst);
    nest_end(nlh, ip);
    struct nlattr *proto = nest_start(nlh, CTA_TUPLE_PROTO);
    put_u8(nlh, CTA_PROTO_NUM, key->protocol);
    if (is_icmp(key->protocol)) {
        gboolean is_4 = key->protocol == IPPROTO_ICMP;
        put_u16(nlh, is_4 ? CTA_PROTO_ICMP_ID : CTA_PROTO_ICMPV6_ID,
                         htons(tuple->src_port));
        put_u8(nlh, is_4 ? CTA_PROTO_ICMP_TYPE : CTA_PROTO_ICMPV6_TYPE,
                        (guint8)(tuple->dst_port >> 8));
        put_u8(nlh, is_4 ? CTA_PROTO_ICMP_CODE : CTA_PROTO_ICMPV6_CODE,
                        (guint8)tuple->dst_port);
    } else if (sami_protocol_selector(key->protocol) != SAMI_SELECTOR_NONE) {
        put_u16(nlh, CTA_PROTO_SRC_PORT, htons(tuple->src_port));
        put_u16(nlh, CTA_PROTO_DST_PORT, htons(tuple->dst_port));
    }
    nest_end(nlh, proto);
    if (zone)
        put_u16(nlh, CTA_TUPLE_ZONE, htons(zone));
    nest_end(nlh, nest);
}

/* Only a creation needs to know of a zone for one direction: the kernel finds an entry by the zone of its original direction. */
static gboolean
has_two_zones(const SamiSession *s, SamiOpKind kind)
{
    return kind == SAMI_OP_CREATE && (s->has & SAMI_HAS_REPLY_ZONE);
}

static void
put_orig(struct nlmsghdr *nlh, const SamiSession *s, SamiOpKind kind)
{
    put_tuple(nlh, CTA_TUPLE_ORIG, &s->key, &s->key.orig, has_two_zones(s, kind) ? s->key.zone : 0);
}

/* The untranslated reply: with the translated one the kernel accepts CTA_NAT_* and translates
 * nothing. An ICMP type without an answer goes as it is, for the kernel to refuse. */
static void
put_reply(struct nlmsghdr *nlh, const SamiSession *s, SamiOpKind kind)
{
    SamiTuple mirror = s->reply;
    sami_flow_key_mirror(&s->key, &mirror);
    put_tuple(nlh, CTA_TUPLE_REPLY, &s->key, &mirror, has_two_zones(s, kind) ? s->reply_zone : 0);
}

static void
put_zone(struct nlmsghdr *nlh, const SamiSession *s, SamiOpKind kind)
{
    if (s->key.zone && !has_two_zones(s, kind)) /* in a tuple and here is EINVAL */
        put_u16(nlh, CTA_ZONE, htons(s->key.zone));
}

static gboolean
is_lasting_gre(const SamiSession *s, SamiOpKind kind)
{
    return kind == SAMI_OP_CREATE && s->key.protocol == IPPROTO_GRE;
}

/* CONFIRMED is required, EXPECTED and DYING are refused (ctnetlink_change_status); with
 * FIXED_TIMEOUT later updates of the timeout would fail. What NAT sets follows from CTA_NAT_*. */
static void
put_status(struct nlmsghdr *nlh, const SamiSession *s, SamiOpKind kind)
{
    guint32 status = (s->status & (SAMI_IPS_SEEN_REPLY | SAMI_IPS_ASSURED)) | SAMI_IPS_CONFIRMED;
    if (kind == SAMI_OP_UPDATE_FIXED || is_lasting_gre(s, kind)) /* the timeout of the same message is set before (ctnetlink_change_conntrack) */
        status |= SAMI_IPS_FIXED_TIMEOUT;
    put_u32(nlh, CTA_STATUS, htonl(status));
}

/* Never a made-up value: with 0 the kernel says yes and the entry is gone at once. Without one a
 * creation is EINVAL. */
static void
put_timeout(struct nlmsghdr *nlh, const SamiSession *s, SamiOpKind kind)
{
    if (s->has & SAMI_HAS_TIMEOUT)
        put_u32(nlh, CTA_TIMEOUT, htonl(is_lasting_gre(s, kind) ? MAX(s->timeout_s, SAMI_FIREWALL_GRE_S) : s->timeout_s));
}

/* Bits above 0x07 describe data that the kernel does not export (0x20, MAXACK_SET, would make
 * legitimate RSTs INVALID), hence never as dumped. An entry that no packet has touched stays as
 * lenient as it was created. */
static void
put_tcp(struct nlmsghdr *nlh, const SamiSession *s, SamiOpKind kind)
{
    struct nlattr *tcp = nest_start(nlh, CTA_PROTOINFO_TCP);
    if (kind != SAMI_OP_UPDATE_FLAGS)
        put_u8(nlh, CTA_PROTOINFO_TCP_STATE, s->tcp_state);
    for (guint d = 0; d < 2; d++) {
        struct nf_ct_tcp_flags flags = {s->tcp_flags[d] & SAMI_TCP_FLAG_BE_LIBERAL,
                                        SAMI_TCP_FLAG_BE_LIBERAL};
        if (kind == SAMI_OP_CREATE)
            flags = (struct nf_ct_tcp_flags){
                (guint8)((s->tcp_flags[d] & 0x07) | SAMI_TCP_FLAG_BE_LIBERAL), 0xff};
        else if (kind == SAMI_OP_UPDATE_FULL || kind == SAMI_OP_UPDATE_GROWN)
            flags.flags = SAMI_TCP_FLAG_BE_LIBERAL;
        put(nlh, d == 0 ? CTA_PROTOINFO_TCP_FLAGS_ORIGINAL : CTA_PROTOINFO_TCP_FLAGS_REPLY,
                     sizeof flags, &flags);
    }
    if (kind == SAMI_OP_CREATE && (s->has & SAMI_HAS_WSCALE)) {
        put_u8(nlh, CTA_PROTOINFO_TCP_WSCALE_ORIGINAL, s->tcp_wscale[0]);
        put_u8(nlh, CTA_PROTOINFO_TCP_WSCALE_REPLY, s->tcp_wscale[1]);
    }
    nest_end(nlh, tcp);
}

/* A state without both tags is EINVAL (nlattr_to_sctp). */
static void
put_sctp(struct nlmsghdr *nlh, const SamiSession *s, SamiOpKind kind)
{
    struct nlattr *sctp = nest_start(nlh, CTA_PROTOINFO_SCTP);
    put_u8(nlh, CTA_PROTOINFO_SCTP_STATE, s->sctp_state);
    put_u32(nlh, CTA_PROTOINFO_SCTP_VTAG_ORIGINAL, htonl(s->sctp_vtag[0]));
    put_u32(nlh, CTA_PROTOINFO_SCTP_VTAG_REPLY, htonl(s->sctp_vtag[1]));
    nest_end(nlh, sctp);
}

static void
put_dccp(struct nlmsghdr *nlh, const SamiSession *s, SamiOpKind kind)
{
    guint64 sequence_be = GUINT64_TO_BE(s->dccp_handshake_seq);
    struct nlattr *dccp = nest_start(nlh, CTA_PROTOINFO_DCCP);
    put_u8(nlh, CTA_PROTOINFO_DCCP_STATE, s->dccp_state);
    put_u8(nlh, CTA_PROTOINFO_DCCP_ROLE, s->dccp_role);
    put(nlh, CTA_PROTOINFO_DCCP_HANDSHAKE_SEQ, sizeof sequence_be, &sequence_be);
    nest_end(nlh, dccp);
}

static const struct {
    guint8 protocol;
    guint32 has;
    gboolean has_flags; /* that an operation may be about, without a state */
    void (*put)(struct nlmsghdr *nlh, const SamiSession *s, SamiOpKind kind);
} protoinfos[] = {
    {IPPROTO_TCP, SAMI_HAS_TCP, TRUE, put_tcp},
    {IPPROTO_SCTP, SAMI_HAS_SCTP, FALSE, put_sctp},
    {IPPROTO_DCCP, SAMI_HAS_DCCP, FALSE, put_dccp},
};

static void
put_protoinfo(struct nlmsghdr *nlh, const SamiSession *s, SamiOpKind kind)
{
    for (guint i = 0; i < G_N_ELEMENTS(protoinfos); i++) {
        gboolean is_wanted = kind == SAMI_OP_UPDATE_FLAGS ? protoinfos[i].has_flags : (s->has & protoinfos[i].has) != 0;
        if (protoinfos[i].protocol != s->key.protocol || !is_wanted)
            continue;
        struct nlattr *info = nest_start(nlh, CTA_PROTOINFO);
        protoinfos[i].put(nlh, s, kind);
        nest_end(nlh, info);
    }
}

/* The helper is looked up by name, and is there for the flow's protocol and family or not (EOPNOTSUPP). */
static void
put_help(struct nlmsghdr *nlh, const SamiSession *s, SamiOpKind kind)
{
    if (!(s->has & SAMI_HAS_HELPER))
        return;
    struct nlattr *help = nest_start(nlh, CTA_HELP);
    put(nlh, CTA_HELP_NAME, strnlen(s->helper, sizeof s->helper - 1) + 1, s->helper);
    if (s->has & SAMI_HAS_HELPER_INFO)
        put(nlh, CTA_HELP_INFO, sizeof s->helper_info, s->helper_info);
    nest_end(nlh, help);
}

static void
put_seqadj(struct nlmsghdr *nlh, guint16 type, const SamiSeqAdj *adj)
{
    struct nlattr *nest = nest_start(nlh, type);
    put_u32(nlh, CTA_SEQADJ_CORRECTION_POS, htonl(adj->correction_pos));
    put_u32(nlh, CTA_SEQADJ_OFFSET_BEFORE, htonl((guint32)adj->offset_before));
    put_u32(nlh, CTA_SEQADJ_OFFSET_AFTER, htonl((guint32)adj->offset_after));
    nest_end(nlh, nest);
}

static void
put_seqadj_orig(struct nlmsghdr *nlh, const SamiSession *s, SamiOpKind kind)
{
    if (s->has & SAMI_HAS_SEQADJ)
        put_seqadj(nlh, CTA_SEQ_ADJ_ORIG, &s->seqadj[0]);
}

static void
put_seqadj_reply(struct nlmsghdr *nlh, const SamiSession *s, SamiOpKind kind)
{
    if (s->has & SAMI_HAS_SEQADJ)
        put_seqadj(nlh, CTA_SEQ_ADJ_REPLY, &s->seqadj[1]);
}

static void
put_synproxy(struct nlmsghdr *nlh, const SamiSession *s, SamiOpKind kind)
{
    if (!(s->has & SAMI_HAS_SYNPROXY))
        return;
    struct nlattr *nest = nest_start(nlh, CTA_SYNPROXY);
    put_u32(nlh, CTA_SYNPROXY_ISN, htonl(s->synproxy_isn));
    put_u32(nlh, CTA_SYNPROXY_ITS, htonl(s->synproxy_its));
    put_u32(nlh, CTA_SYNPROXY_TSOFF, htonl(s->synproxy_tsoff));
    nest_end(nlh, nest);
}

/* The master must be there, in the same zone (ENOENT); the kernel sets EXPECTED by itself. */
static void
put_master(struct nlmsghdr *nlh, const SamiSession *s, SamiOpKind kind)
{
    if (s->has & SAMI_HAS_MASTER)
        put_tuple(nlh, CTA_TUPLE_MASTER, &s->master, &s->master.orig, 0);
}

/* One exact address and port: an address alone may get another port, anything else is accepted and
 * translates nothing. */
static void
put_nat(struct nlmsghdr *nlh, guint16 type, const SamiFlowKey *key, const SamiAddress *address, guint16 port)
{
    guint8 family = key->family;
    gboolean has_port = sami_protocol_selector(key->protocol) != SAMI_SELECTOR_NONE;
    struct nlattr *nest = nest_start(nlh, type);
    put_address(nlh, family == 4 ? CTA_NAT_V4_MINIP : CTA_NAT_V6_MINIP, family, address);
    put_address(nlh, family == 4 ? CTA_NAT_V4_MAXIP : CTA_NAT_V6_MAXIP, family, address);
    if (has_port) {
        struct nlattr *proto = nest_start(nlh, CTA_NAT_PROTO);
        put_u16(nlh, CTA_PROTONAT_PORT_MIN, htons(port));
        put_u16(nlh, CTA_PROTONAT_PORT_MAX, htons(port));
        nest_end(nlh, proto);
    }
    nest_end(nlh, nest);
}

static gboolean
has_reply(const SamiSession *s)
{
    return (s->has & SAMI_HAS_REPLY) != 0;
}

/* The ICMP identifier is in src_port of either tuple, and is one for both directions
 * (nf_nat_core.c). A protocol without selectors has nothing but the address. */
static void
put_nat_src(struct nlmsghdr *nlh, const SamiSession *s, SamiOpKind kind)
{
    if (has_reply(s) && sami_session_has_snat(s))
        put_nat(nlh, CTA_NAT_SRC, &s->key, &s->reply.dst,
                is_icmp(s->key.protocol) ? s->reply.src_port : s->reply.dst_port);
}

static void
put_nat_dst(struct nlmsghdr *nlh, const SamiSession *s, SamiOpKind kind)
{
    if (has_reply(s) && sami_session_has_dnat(s))
        put_nat(nlh, CTA_NAT_DST, &s->key, &s->reply.src, s->reply.src_port);
}

static void
put_mark(struct nlmsghdr *nlh, const SamiSession *s, SamiOpKind kind)
{
    if (s->has & SAMI_HAS_MARK)
        put_u32(nlh, CTA_MARK, htonl(s->mark));
}

static void
put_labels(struct nlmsghdr *nlh, const SamiSession *s, SamiOpKind kind)
{
    if (s->has & SAMI_HAS_LABELS)
        put(nlh, CTA_LABELS, sizeof s->labels, s->labels);
}

static void
put_id(struct nlmsghdr *nlh, const SamiSession *s, SamiOpKind kind)
{
    if (s->has & SAMI_HAS_ID)
        put_u32(nlh, CTA_ID, htonl(s->flow_id));
}

#define CARRIED(type, parse, build, ops) [type] = {#type, NULL, parse, build, ops}
#define NOT_CARRIED(type, because) [type] = {#type, because, NULL, NULL, 0}

/* Behaviour on create and update: nf_conntrack_netlink.c of 6.18 (ctnetlink_create_conntrack,
 * ctnetlink_change_conntrack). */
static const SamiCtAttribute attributes[] = {
    CARRIED(CTA_TUPLE_ORIG, parse_orig, put_orig, ON_ALL),
    CARRIED(CTA_TUPLE_REPLY, parse_reply, put_reply, ON(CREATE)),
    CARRIED(CTA_STATUS, parse_status, put_status, ON(CREATE) | ON(UPDATE_GROWN) | ON(UPDATE_FIXED)),
    CARRIED(CTA_PROTOINFO, parse_protoinfo, put_protoinfo,
            ON(CREATE) | ON(UPDATE_FULL) | ON(UPDATE_GROWN) | ON(UPDATE_FLAGS)),
    CARRIED(CTA_HELP, parse_help, put_help, ON(CREATE)),
    CARRIED(CTA_NAT_SRC, NULL, put_nat_src, ON(CREATE)), /* never dumped: follows from the tuples */
    CARRIED(CTA_TIMEOUT, parse_timeout, put_timeout,
            ON(CREATE) | ON(UPDATE_FULL) | ON(UPDATE_GROWN) | ON(UPDATE_TIMEOUT) | ON(UPDATE_FIXED)),
    CARRIED(CTA_MARK, parse_mark, put_mark, ON(CREATE) | ON(UPDATE_FULL) | ON(UPDATE_GROWN)),
    CARRIED(CTA_COUNTERS_ORIG, parse_counters, NULL,
            0), /* the kernel starts at 0 whatever is sent */
    CARRIED(CTA_COUNTERS_REPLY, parse_counters, NULL, 0),
    NOT_CARRIED(CTA_USE, "a reference count of the kernel that dumped it"),
    CARRIED(CTA_ID, parse_id, put_id, ON(DELETE)),
    CARRIED(CTA_NAT_DST, NULL, put_nat_dst, ON(CREATE)),
    CARRIED(CTA_TUPLE_MASTER, parse_master, put_master, ON(CREATE)),
    CARRIED(CTA_SEQ_ADJ_ORIG, parse_seqadj, put_seqadj_orig, ON(CREATE)),
    CARRIED(CTA_SEQ_ADJ_REPLY, parse_seqadj, put_seqadj_reply, ON(CREATE)),
    NOT_CARRIED(CTA_SECMARK, "obsolete: the kernel neither dumps nor takes it"),
    CARRIED(CTA_ZONE, parse_zone, put_zone, ON_ALL),
    CARRIED(CTA_SECCTX, parse_secctx, NULL, 0), /* the kernel ignores it: the local security module decides */
    CARRIED(CTA_TIMESTAMP, parse_timestamp, NULL, 0), /* a new entry starts now */
    NOT_CARRIED(CTA_MARK_MASK, "no state: says which bits of CTA_MARK a request means"),
    CARRIED(CTA_LABELS, parse_labels, put_labels, ON(CREATE) | ON(UPDATE_FULL) | ON(UPDATE_GROWN)),
    NOT_CARRIED(CTA_LABELS_MASK, "no state: says which bits of CTA_LABELS a request means"),
    CARRIED(CTA_SYNPROXY, parse_synproxy, put_synproxy, ON(CREATE)),
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

/* A flow in a flowtable is dumped without timeout and protocol state (ctnetlink_fill_info): the flowtable has them. It is there because
 * it was established, and a packet brings it back with the timeout of that state (flow_offload_fixup_ct): the kernel's defaults stand for
 * it. What its windows are is not known, so its tracking stays lenient. Events do not say the bit of what has left the table. */
static void
complete_offloaded(SamiSession *s)
{
    if (!(s->has & SAMI_HAS_STATUS) || !(s->status & SAMI_IPS_OFFLOAD) || (s->has & SAMI_HAS_TIMEOUT))
        return;
    gboolean is_tcp = s->key.protocol == IPPROTO_TCP;
    s->has |= SAMI_HAS_TIMEOUT;
    s->timeout_s = is_tcp ? OFFLOADED_TCP_S : OFFLOADED_UDP_S;
    if (!is_tcp || (s->has & SAMI_HAS_TCP))
        return;
    s->has |= SAMI_HAS_TCP;
    s->tcp_state = SAMI_TCP_STATE_ESTABLISHED;
    s->tcp_flags[0] = s->tcp_flags[1] = SAMI_TCP_FLAG_BE_LIBERAL;
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
    const guint8 *end = (const guint8 *)nlh + nlh->nlmsg_len;
    for (attr = attr_at((const guint8 *)header + MNL_ALIGN(sizeof *header), end); attr;
         attr = attr_next(attr, end)) {
        const SamiCtAttribute *row = sami_ct_attribute(attr_type(attr));
        if (row && row->parse)
            row->parse(attr, ret);
    }
    if (ret->has & SAMI_HAS_MASTER) /* its zone is not in its tuple: it is the child's */
        ret->master.zone = ret->key.zone;
    complete_offloaded(ret);
    return ret->key.family != 0 && ret->key.protocol != 0;
}

void
sami_ct_put(struct nlmsghdr *nlh, const SamiSession *session, SamiOpKind kind)
{
    for (gsize i = 0; i < G_N_ELEMENTS(attributes); i++)
        if (attributes[i].ops & 1u << kind)
            attributes[i].build(nlh, session, kind);
}

gboolean
sami_ct_parse_tuple(const struct nlattr *nest, guint8 family, SamiTuple *ret, guint8 *ret_protocol)
{
    const struct nlattr *zone;
    return parse_tuple(nest, family, ret, ret_protocol, &zone);
}

void
sami_ct_put_tuple(struct nlmsghdr *nlh, guint16 type, const SamiFlowKey *key, const SamiTuple *tuple)
{
    put_tuple(nlh, type, key, tuple, 0);
}

void
sami_ct_put_key(struct nlmsghdr *nlh, const SamiFlowKey *key)
{
    put_tuple(nlh, CTA_TUPLE_ORIG, key, &key->orig, 0);
    if (key->zone)
        put_u16(nlh, CTA_ZONE, htons(key->zone));
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
