#include "templates/template.h"

#include <netinet/in.h>
#include <stddef.h>
#include <string.h>

#include "common/cursor.h"
#include "templates/rules.h"

#define WIDTH(member) sizeof(((SamiRecord *) NULL)->member)
#define UINT(e, member, group) { SAMI_E_##e, SAMI_FIELD_UINT, offsetof(SamiRecord, member), WIDTH(member), group }
#define OCTETS(e, member, group) { SAMI_E_##e, SAMI_FIELD_OCTETS, offsetof(SamiRecord, member), WIDTH(member), group }
#define FIELD(e, f, member, group) { SAMI_E_##e, SAMI_FIELD_##f, offsetof(SamiRecord, member), WIDTH(member), group }
#define KIND { SAMI_E_RECORD_KIND, SAMI_FIELD_KIND, 0, 0, 0 }
#define G(name) SAMI_GROUP_##name

/* Order on the wire. postNAT source is where replies go to, destination is where they come from. */
static const SamiField session_fields[] = {
    UINT(FIREWALL_EVENT, session.action, G(BASE)),
    UINT(PROTOCOL, session.key.protocol, G(BASE)),
    FIELD(SRC4, IPV4, session.key.orig.src, G(V4)),
    FIELD(DST4, IPV4, session.key.orig.dst, G(V4)),
    OCTETS(SRC6, session.key.orig.src, G(V6)),
    OCTETS(DST6, session.key.orig.dst, G(V6)),
    UINT(SPORT, session.key.orig.src_port, G(PORTS)),
    UINT(DPORT, session.key.orig.dst_port, G(PORTS)),
    { SAMI_E_ICMP_ID, SAMI_FIELD_UINT, offsetof(SamiRecord, session.key.orig.src_port), 2, G(ICMP4) | G(ICMP6) },
    FIELD(ICMP_TYPE4, HIGH, session.key.orig.dst_port, G(ICMP4)),
    FIELD(ICMP_CODE4, LOW, session.key.orig.dst_port, G(ICMP4)),
    FIELD(ICMP_TYPE6, HIGH, session.key.orig.dst_port, G(ICMP6)),
    FIELD(ICMP_CODE6, LOW, session.key.orig.dst_port, G(ICMP6)),
    UINT(GRE_KEY, session.key.orig.dst_port, G(GRE)),
    UINT(GRE_KEY_R, session.key.orig.src_port, G(GRE)),
    FIELD(POST_SRC4, IPV4, session.reply.dst, G(REPLY4)),
    FIELD(POST_DST4, IPV4, session.reply.src, G(REPLY4)),
    OCTETS(POST_SRC6, session.reply.dst, G(REPLY6)),
    OCTETS(POST_DST6, session.reply.src, G(REPLY6)),
    UINT(POST_SPORT, session.reply.dst_port, G(REPLY_PORTS)),
    UINT(POST_DPORT, session.reply.src_port, G(REPLY_PORTS)),
    UINT(ICMP_ID_R, session.reply.src_port, G(REPLY_ICMP)),
    UINT(POST_GRE_KEY, session.reply.src_port, G(REPLY_GRE)),
    UINT(POST_GRE_KEY_R, session.reply.dst_port, G(REPLY_GRE)),
    UINT(ZONE, session.key.zone, G(ZONE)),
    UINT(ZONE_R, session.reply_zone, G(REPLY_ZONE)),
    UINT(SESSION_FLAGS, session.flags, G(FLAGS)),
    UINT(STATUS, session.status, G(STATUS)),
    UINT(TIMEOUT, session.timeout_s, G(TIMEOUT)),
    UINT(TCP_STATE, session.tcp_state, G(TCP)),
    UINT(TCP_FLAGS, session.tcp_flags[0], G(TCP)),
    UINT(TCP_FLAGS_R, session.tcp_flags[1], G(TCP)),
    UINT(WSCALE, session.tcp_wscale[0], G(WSCALE)),
    UINT(WSCALE_R, session.tcp_wscale[1], G(WSCALE)),
    UINT(MARK, session.mark, G(MARK)),
    OCTETS(LABELS, session.labels, G(LABELS)),
    UINT(FLOW_ID, session.flow_id, G(ID)),
    FIELD(START, MS, session.start_ns, G(START)),
    UINT(PACKETS, session.packets[0], G(COUNTERS)),
    UINT(PACKETS_R, session.packets[1], G(COUNTERS)),
    UINT(OCTETS, session.octets[0], G(COUNTERS)),
    UINT(OCTETS_R, session.octets[1], G(COUNTERS)),
    UINT(VLAN, session.vlan, G(VLAN)),
    UINT(SCTP_STATE, session.sctp_state, G(SCTP)),
    UINT(SCTP_VTAG, session.sctp_vtag[0], G(SCTP)),
    UINT(SCTP_VTAG_R, session.sctp_vtag[1], G(SCTP)),
    UINT(DCCP_STATE, session.dccp_state, G(DCCP)),
    UINT(DCCP_ROLE, session.dccp_role, G(DCCP)),
    UINT(DCCP_HANDSHAKE, session.dccp_handshake_seq, G(DCCP)),
    UINT(SEQADJ_POS, session.seqadj[0].correction_pos, G(SEQADJ)),
    UINT(SEQADJ_BEFORE, session.seqadj[0].offset_before, G(SEQADJ)),
    UINT(SEQADJ_AFTER, session.seqadj[0].offset_after, G(SEQADJ)),
    UINT(SEQADJ_POS_R, session.seqadj[1].correction_pos, G(SEQADJ)),
    UINT(SEQADJ_BEFORE_R, session.seqadj[1].offset_before, G(SEQADJ)),
    UINT(SEQADJ_AFTER_R, session.seqadj[1].offset_after, G(SEQADJ)),
    UINT(SYNPROXY_ISN, session.synproxy_isn, G(SYNPROXY)),
    UINT(SYNPROXY_ITS, session.synproxy_its, G(SYNPROXY)),
    UINT(SYNPROXY_TSOFF, session.synproxy_tsoff, G(SYNPROXY)),
    OCTETS(HELPER, session.helper, G(HELPER)),
    OCTETS(HELPER_INFO, session.helper_info, G(HELPER_INFO)),
    FIELD(MASTER_SRC4, IPV4, session.master.orig.src, G(MASTER4)),
    FIELD(MASTER_DST4, IPV4, session.master.orig.dst, G(MASTER4)),
    OCTETS(MASTER_SRC6, session.master.orig.src, G(MASTER6)),
    OCTETS(MASTER_DST6, session.master.orig.dst, G(MASTER6)),
    UINT(MASTER_SPORT, session.master.orig.src_port, G(MASTER4) | G(MASTER6)),
    UINT(MASTER_DPORT, session.master.orig.dst_port, G(MASTER4) | G(MASTER6)),
    UINT(MASTER_PROTOCOL, session.master.protocol, G(MASTER4) | G(MASTER6)),
    OCTETS(SECCTX, session.secctx, G(SECCTX)),
};
static const SamiField cumulative_fields[] = {
    OCTETS(SET_NAME, cumulative.set, G(BASE)),
    OCTETS(ORIGIN, cumulative.origin, G(BASE)),
    UINT(KEY_TYPE, cumulative.key_type, G(BASE)),
    UINT(KEY_LENGTH, cumulative.key_length, G(BASE)),
    OCTETS(KEY16, cumulative.key, G(KEY16)),
    OCTETS(KEY64, cumulative.key, G(KEY64)),
    FIELD(SRC4, IPV4, cumulative.source, G(SOURCE4)),
    OCTETS(SRC6, cumulative.source, G(SOURCE6)),
    UINT(PACKETS, cumulative.packets, G(COUNTER)),
    UINT(OCTETS, cumulative.octets, G(COUNTER)),
    UINT(QUOTA_FLAGS, cumulative.quota_flags, G(QUOTA)),
    UINT(QUOTA_USED, cumulative.quota_used, G(QUOTA)),
    UINT(QUOTA_LIMIT, cumulative.quota_limit, G(QUOTA)),
    UINT(ELEMENT_TIMEOUT, cumulative.timeout_ms, G(EXPIRY)),
    UINT(ELEMENT_REMAINING, cumulative.remaining_ms, G(EXPIRY)),
};
/* Ports of GRE are its keys. The translation is of the expected flow's destination. */
static const SamiField expectation_fields[] = {
    UINT(FIREWALL_EVENT, expectation.action, G(BASE)),
    UINT(EXPECT_TIMEOUT, expectation.timeout_s, G(BASE)),
    UINT(EXPECT_FLAGS, expectation.flags, G(BASE)),
    UINT(EXPECT_CLASS, expectation.expect_class, G(BASE)),
    UINT(PROTOCOL, expectation.key.protocol, G(BASE)),
    FIELD(SRC4, IPV4, expectation.key.orig.src, G(V4)),
    FIELD(DST4, IPV4, expectation.key.orig.dst, G(V4)),
    OCTETS(SRC6, expectation.key.orig.src, G(V6)),
    OCTETS(DST6, expectation.key.orig.dst, G(V6)),
    UINT(SPORT, expectation.key.orig.src_port, G(BASE)),
    UINT(DPORT, expectation.key.orig.dst_port, G(BASE)),
    FIELD(EXPECT_MASK_SRC4, IPV4, expectation.mask_src, G(V4)),
    OCTETS(EXPECT_MASK_SRC6, expectation.mask_src, G(V6)),
    UINT(EXPECT_MASK_SPORT, expectation.mask_src_port, G(BASE)),
    FIELD(MASTER_SRC4, IPV4, expectation.master.orig.src, G(V4)),
    FIELD(MASTER_DST4, IPV4, expectation.master.orig.dst, G(V4)),
    OCTETS(MASTER_SRC6, expectation.master.orig.src, G(V6)),
    OCTETS(MASTER_DST6, expectation.master.orig.dst, G(V6)),
    UINT(MASTER_SPORT, expectation.master.orig.src_port, G(BASE)),
    UINT(MASTER_DPORT, expectation.master.orig.dst_port, G(BASE)),
    UINT(MASTER_PROTOCOL, expectation.master.protocol, G(BASE)),
    UINT(ZONE, expectation.key.zone, G(ZONE)),
    UINT(VLAN, expectation.vlan, G(VLAN)),
    { SAMI_E_EXPECT_NAT_DIR, SAMI_FIELD_UINT, offsetof(SamiRecord, expectation.nat_direction), 1, G(EXPECT_NAT4) | G(EXPECT_NAT6) },
    FIELD(POST_DST4, IPV4, expectation.nat_address, G(EXPECT_NAT4)),
    OCTETS(POST_DST6, expectation.nat_address, G(EXPECT_NAT6)),
    { SAMI_E_POST_DPORT, SAMI_FIELD_UINT, offsetof(SamiRecord, expectation.nat_port), 2, G(EXPECT_NAT4) | G(EXPECT_NAT6) },
    OCTETS(EXPECT_FUNCTION, expectation.function, G(EXPECT_FUNCTION)),
    OCTETS(HELPER, expectation.helper, G(EXPECT_HELPER)),
};
static const SamiField hello_fields[] = {
    KIND, UINT(VERSION, hello.version, 0), UINT(PEN, hello.pen, 0), OCTETS(NONCE_E, hello.nonce, 0),
    OCTETS(PUBLIC_KEY, hello.public_key, 0), OCTETS(DESTINATION, hello.destination, 0),
    UINT(OPENING, hello.opening, 0), UINT(GENERATION, hello.generation, 0),
};
static const SamiField hello_reply_fields[] = {
    KIND, UINT(VERSION, hello_reply.version, 0), OCTETS(NONCE_E, hello_reply.nonce_e, 0),
    OCTETS(NONCE_C, hello_reply.nonce_c, 0), OCTETS(PUBLIC_KEY, hello_reply.public_key, 0),
    UINT(NEXT_COUNTER, hello_reply.next_counter, 0), UINT(LEASE, hello_reply.lease_s, 0),
    UINT(MESSAGE_MAX, hello_reply.message_max, 0), UINT(SESSIONS_MAX, hello_reply.sessions_max, 0),
};
static const SamiField vm_address4_fields[] = {
    KIND, FIELD(PREFIX4, IPV4, vm_address.address, 0), UINT(PREFIX4_LEN, vm_address.length, 0),
};
static const SamiField vm_address6_fields[] = {
    KIND, OCTETS(PREFIX6, vm_address.address, 0), UINT(PREFIX6_LEN, vm_address.length, 0),
};
static const SamiField begin_fields[] = {
    KIND, UINT(N_ADDRESSES, begin.n_addresses, 0), UINT(LEASE, begin.lease_s, 0),
    UINT(KINDS, begin.kinds, 0), OCTETS(DESTINATION, begin.destination, 0),
};
static const SamiField epoch_fields[] = {
    KIND, UINT(GENERATION, epoch.generation, 0), UINT(EPOCH_PHASE, epoch.phase, 0),
};
static const SamiField marker_fields[] = {
    KIND, UINT(MARKER, marker.marker, 0), UINT(N_RECORDS, marker.n_records, 0),
    UINT(FREEZE_MODE, marker.freeze_mode, 0),
};
static const SamiField end_fields[] = { KIND, UINT(N_RECORDS, end.n_records, 0) };
static const SamiField abort_fields[] = {
    KIND, UINT(ABORT_REASON, abort.reason, 0), UINT(MARKER_COUNTER, abort.marker_counter, 0),
};
static const SamiField receipt_fields[] = {
    KIND, UINT(RECEIPT_PHASE, receipt.phase, 0), UINT(MARKER_COUNTER, receipt.marker_counter, 0),
    UINT(N_RECORDS, receipt.n_records, 0), UINT(FREEZE_MODE, receipt.freeze_mode, 0),
    UINT(RECEIPT_FLAGS, receipt.flags, 0), UINT(N_ACCEPTED, receipt.n_accepted, 0),
    UINT(N_PRESENT, receipt.n_present, 0), UINT(N_MERGED, receipt.n_merged, 0),
    UINT(N_EXACT, receipt.n_exact, 0), UINT(N_DEGRADED, receipt.n_degraded, 0),
    UINT(N_REFUSED, receipt.n_refused, 0),
};
static const SamiField reason_count_fields[] = {
    KIND, UINT(REFUSAL_SCOPE, reason_count.scope, 0), UINT(REASON, reason_count.reason, 0),
    UINT(REASON_COUNT, reason_count.count, 0),
};
static const SamiField refusal_fields[] = {
    KIND, UINT(REFUSAL_SCOPE, refusal.scope, 0), UINT(REASON, refusal.reason, 0),
    UINT(COUNTER, refusal.counter, 0), OCTETS(FLOW_KEY, refusal.key, 0),
    OCTETS(DETAIL, refusal.detail, 0),
};
static const SamiField type_information_fields[] = {
    UINT(PEN, type_information.pen, 0), UINT(IE_ID, type_information.number, 0),
    UINT(IE_TYPE, type_information.type, 0), UINT(IE_SEMANTICS, type_information.semantics, 0),
    UINT(IE_UNITS, type_information.units, 0), OCTETS(IE_NAME, type_information.name, 0),
};
/* RFC 7011 §4.3; the same element twice is what it asks for. */
static const SamiField statistics_fields[] = {
    UINT(EXPORTING_PROCESS, statistics.process_id, 0), UINT(NOT_SENT_FLOWS, statistics.n_flows, 0),
    UINT(NOT_SENT_PACKETS, statistics.n_packets, 0), UINT(NOT_SENT_OCTETS, statistics.n_octets, 0),
    UINT(OBSERVATION_TIME, statistics.first_ms, 0), UINT(OBSERVATION_TIME, statistics.last_ms, 0),
};
static const SamiField kind_count_fields[] = {
    KIND, UINT(COUNTED_KIND, kind_count.kind, 0), UINT(KIND_RECORDS, kind_count.n_records, 0),
    UINT(KIND_APPLIED, kind_count.n_applied, 0), UINT(KIND_UNCHANGED, kind_count.n_unchanged, 0),
    UINT(KIND_REFUSED, kind_count.n_refused, 0),
};
static const SamiField finding_fields[] = {
    KIND, OCTETS(FINDING_ID, finding.id, 0), UINT(SEVERITY, finding.severity, 0), OCTETS(SUBJECT, finding.subject, 0),
    UINT(FINDING_COUNT, finding.count, 0), OCTETS(DETAIL, finding.text, 0), OCTETS(FIX, finding.fix, 0),
};

/* Which group carries the protocol's selectors, and which the reply's; 0: it has none. */
static SamiGroups
selector_groups(guint8 family, guint8 protocol, SamiGroups *ret_reply)
{
    const struct {
        SamiGroups original, reply;
    } groups[] = {
        [SAMI_SELECTOR_NONE] = { 0, 0 },
        [SAMI_SELECTOR_PORTS] = { G(PORTS), G(REPLY_PORTS) },
        [SAMI_SELECTOR_ICMP] = { family == 4 ? G(ICMP4) : G(ICMP6), G(REPLY_ICMP) },
        [SAMI_SELECTOR_GRE] = { G(GRE), G(REPLY_GRE) },
    };
    SamiSelector selector = sami_protocol_selector(protocol);
    *ret_reply = groups[selector].reply;
    return groups[selector].original;
}
#define SELECTORS (G(PORTS) | G(ICMP4) | G(ICMP6) | G(GRE))
#define REPLY_SELECTORS (G(REPLY_PORTS) | G(REPLY_ICMP) | G(REPLY_GRE))

/* Presence of a group of fields in a record and in its template. */
static const struct {
    guint32 has;
    SamiGroups group;
} optional[] = {
    { SAMI_HAS_STATUS, G(STATUS) },     { SAMI_HAS_TIMEOUT, G(TIMEOUT) },   { SAMI_HAS_TCP, G(TCP) },
    { SAMI_HAS_WSCALE, G(WSCALE) },     { SAMI_HAS_MARK, G(MARK) },         { SAMI_HAS_LABELS, G(LABELS) },
    { SAMI_HAS_ID, G(ID) },             { SAMI_HAS_START, G(START) },       { SAMI_HAS_COUNTERS, G(COUNTERS) },
    { SAMI_HAS_VLAN, G(VLAN) },         { SAMI_HAS_SCTP, G(SCTP) },         { SAMI_HAS_DCCP, G(DCCP) },
    { SAMI_HAS_SEQADJ, G(SEQADJ) },     { SAMI_HAS_SYNPROXY, G(SYNPROXY) }, { SAMI_HAS_HELPER, G(HELPER) },
    { SAMI_HAS_HELPER_INFO, G(HELPER_INFO) }, { SAMI_HAS_SECCTX, G(SECCTX) }, { SAMI_HAS_REPLY_ZONE, G(REPLY_ZONE) },
};

static SamiGroups
session_groups(const SamiRecord *record)
{
    const SamiSession *s = &record->session;
    SamiGroups reply_selectors;
    SamiGroups groups = G(BASE) | (s->key.family == 4 ? G(V4) : G(V6)) |
                        selector_groups(s->key.family, s->key.protocol, &reply_selectors);
    SamiTuple mirror = { 0 };
    if ((s->has & SAMI_HAS_REPLY) &&
        (!sami_flow_key_mirror(&s->key, &mirror) || memcmp(&mirror, &s->reply, sizeof mirror) != 0))
        groups |= (s->key.family == 4 ? G(REPLY4) : G(REPLY6)) | reply_selectors;
    if (s->key.zone)
        groups |= G(ZONE);
    if (s->flags)
        groups |= G(FLAGS);
    if (s->has & SAMI_HAS_MASTER)
        groups |= s->key.family == 4 ? G(MASTER4) : G(MASTER6);
    for (gsize i = 0; i < G_N_ELEMENTS(optional); i++)
        if (s->has & optional[i].has)
            groups |= optional[i].group;
    return groups;
}

static guint32
session_has(SamiGroups groups, guint8 action)
{
    guint32 has = action == SAMI_ACTION_DELETED ? 0 : SAMI_HAS_REPLY;
    if (groups & (G(MASTER4) | G(MASTER6)))
        has |= SAMI_HAS_MASTER;
    for (gsize i = 0; i < G_N_ELEMENTS(optional); i++)
        if (groups & optional[i].group)
            has |= optional[i].has;
    return has;
}

static const gchar *
check_session_groups(SamiGroups groups)
{
    SamiGroups selectors = groups & SELECTORS, reply_selectors = groups & REPLY_SELECTORS;
    SamiGroups only4 = G(V4) | G(REPLY4) | G(ICMP4) | G(MASTER4), only6 = G(V6) | G(REPLY6) | G(ICMP6) | G(MASTER6);
    gboolean is_one_family = ((groups & G(V4)) != 0) != ((groups & G(V6)) != 0) && !((groups & only4) && (groups & only6));
    if (!(groups & G(BASE)) || !is_one_family || (selectors & (selectors - 1)) || (reply_selectors & (reply_selectors - 1)))
        return "a session template needs its groups whole, one address family and no more than one kind of selector";
    return NULL;
}

static gboolean
finish_session(const SamiTemplate *tmpl, SamiRecord *record, GError **error)
{
    SamiSession *s = &record->session;
    SamiGroups reply_selectors;
    gboolean has_reply = (tmpl->groups & (G(REPLY4) | G(REPLY6))) != 0;
    s->key.family = (tmpl->groups & G(V4)) ? 4 : 6;
    if ((tmpl->groups & SELECTORS) != selector_groups(s->key.family, s->key.protocol, &reply_selectors) ||
        (tmpl->groups & REPLY_SELECTORS) != (has_reply ? reply_selectors : 0))
        return sami_rule_error(error, SAMI_RULE_RECORD_SELECTORS, "template %u does not have the selectors of protocol %u", tmpl->id, s->key.protocol);
    s->has = session_has(tmpl->groups, s->action);
    if (s->has & SAMI_HAS_MASTER) {
        s->master.family = s->key.family;
        s->master.zone = s->key.zone;
    }
    SamiTuple mirror = { 0 };
    gboolean has_mirror = sami_flow_key_mirror(&s->key, &mirror);
    if (!has_reply) {
        if (!has_mirror && (s->has & SAMI_HAS_REPLY))
            return sami_rule_error(error, SAMI_RULE_RECORD_REPLY, "an ICMP type without an answer needs a reply tuple");
        s->reply = mirror;
    } else if (reply_selectors == G(REPLY_ICMP) && has_mirror) {
        s->reply.dst_port = mirror.dst_port; /* the answer's type is implied */
    }
    return TRUE;
}

static const struct {
    guint32 has;
    SamiGroups group4, group6;
} optional_expected[] = {
    { SAMI_EXPECT_HAS_NAT, G(EXPECT_NAT4), G(EXPECT_NAT6) },
    { SAMI_EXPECT_HAS_FUNCTION, G(EXPECT_FUNCTION), G(EXPECT_FUNCTION) },
    { SAMI_EXPECT_HAS_HELPER, G(EXPECT_HELPER), G(EXPECT_HELPER) },
    { SAMI_EXPECT_HAS_VLAN, G(VLAN), G(VLAN) },
};

static SamiGroups
expectation_groups(const SamiRecord *record)
{
    const SamiExpectation *e = &record->expectation;
    gboolean is_4 = e->key.family == 4;
    SamiGroups groups = G(BASE) | (is_4 ? G(V4) : G(V6)) | (e->key.zone ? G(ZONE) : 0);
    for (gsize i = 0; i < G_N_ELEMENTS(optional_expected); i++)
        if (e->has & optional_expected[i].has)
            groups |= is_4 ? optional_expected[i].group4 : optional_expected[i].group6;
    return groups;
}

static const gchar *
check_expectation_groups(SamiGroups groups)
{
    gboolean is_4 = (groups & (G(V4) | G(EXPECT_NAT4))) != 0, is_6 = (groups & (G(V6) | G(EXPECT_NAT6))) != 0;
    if (!(groups & G(BASE)) || !(groups & (G(V4) | G(V6))) || is_4 == is_6)
        return "an expectation template needs its groups whole and one address family";
    return NULL;
}

static gboolean
finish_expectation(const SamiTemplate *tmpl, SamiRecord *record, GError **error)
{
    SamiExpectation *e = &record->expectation;
    gboolean is_4 = (tmpl->groups & G(V4)) != 0;
    e->key.family = e->master.family = is_4 ? 4 : 6;
    e->master.zone = e->key.zone;
    for (gsize i = 0; i < G_N_ELEMENTS(optional_expected); i++)
        if (tmpl->groups & (is_4 ? optional_expected[i].group4 : optional_expected[i].group6))
            e->has |= optional_expected[i].has;
    return TRUE;
}

static gboolean
finish_vm_address(const SamiTemplate *tmpl, SamiRecord *record, GError **error)
{
    SamiPrefix *vm = &record->vm_address;
    guint n_bits = tmpl->kind == SAMI_RECORD_VM_ADDRESS4 ? 32 : 128;
    vm->family = n_bits == 32 ? 4 : 6;
    gboolean is_whole = vm->length <= n_bits;
    for (guint i = vm->length; i < n_bits && is_whole; i++)
        is_whole = !(vm->address.octets[i / 8] & (0x80 >> (i % 8)));
    return is_whole || sami_rule_error(error, SAMI_RULE_VM_ADDRESS_BITS, "vm-address of length %u with bits beyond it", vm->length);
}

/* Presence of a group in a cumulative record. */
static const struct {
    guint8 has;
    SamiGroups group;
} cumulative_optional[] = {
    { SAMI_CUMULATIVE_COUNTER, G(COUNTER) }, { SAMI_CUMULATIVE_QUOTA, G(QUOTA) }, { SAMI_CUMULATIVE_TIMEOUT, G(EXPIRY) },
};
#define SHORT_KEY 16u

static SamiGroups
cumulative_groups(const SamiRecord *record)
{
    const SamiCumulative *c = &record->cumulative;
    SamiGroups groups = G(BASE) | (c->key_length <= SHORT_KEY ? G(KEY16) : G(KEY64));
    groups |= c->family == 4 ? G(SOURCE4) : c->family == 6 ? G(SOURCE6) : 0;
    for (gsize i = 0; i < G_N_ELEMENTS(cumulative_optional); i++)
        if (c->has & cumulative_optional[i].has)
            groups |= cumulative_optional[i].group;
    return groups;
}

static const gchar *
check_cumulative_groups(SamiGroups groups)
{
    gboolean is_one_key = ((groups & G(KEY16)) != 0) != ((groups & G(KEY64)) != 0);
    if (!(groups & G(BASE)) || !is_one_key || ((groups & G(SOURCE4)) && (groups & G(SOURCE6))))
        return "a cumulative template needs its groups whole, one key, and no more than one source address";
    return NULL;
}

static gboolean
finish_cumulative(const SamiTemplate *tmpl, SamiRecord *record, GError **error)
{
    SamiCumulative *c = &record->cumulative;
    guint8 room = (tmpl->groups & G(KEY16)) ? SHORT_KEY : sizeof c->key;
    if (c->key_length == 0 || c->key_length > room)
        return sami_rule_error(error, SAMI_RULE_RECORD_KEY, "a key of %u octets; template %u has room for 1 to %u", c->key_length, tmpl->id, room);
    memset(c->key + c->key_length, 0, sizeof c->key - c->key_length);
    c->family = (tmpl->groups & G(SOURCE4)) ? 4 : (tmpl->groups & G(SOURCE6)) ? 6 : 0;
    for (gsize i = 0; i < G_N_ELEMENTS(cumulative_optional); i++)
        if (tmpl->groups & cumulative_optional[i].group)
            c->has |= cumulative_optional[i].has;
    return TRUE;
}

#define ROW(kind, name, table, n_scope, ...) \
    [SAMI_RECORD_##kind] = { SAMI_RECORD_##kind, name, table, G_N_ELEMENTS(table), n_scope, __VA_ARGS__ }
#define FIXED NULL, NULL, NULL
const SamiKind sami_kinds[SAMI_N_RECORD_KINDS] = {
    ROW(SESSION, "session", session_fields, 0, session_groups, check_session_groups, finish_session),
    ROW(HELLO, "hello", hello_fields, 1, FIXED),
    ROW(HELLO_REPLY, "hello-reply", hello_reply_fields, 1, FIXED),
    ROW(VM_ADDRESS4, "vm-address (IPv4)", vm_address4_fields, 1, NULL, NULL, finish_vm_address),
    ROW(VM_ADDRESS6, "vm-address (IPv6)", vm_address6_fields, 1, NULL, NULL, finish_vm_address),
    ROW(BEGIN, "begin", begin_fields, 1, FIXED),
    ROW(EPOCH, "epoch", epoch_fields, 1, FIXED),
    ROW(MARKER, "marker", marker_fields, 1, FIXED),
    ROW(END, "end", end_fields, 1, FIXED),
    ROW(ABORT, "abort", abort_fields, 1, FIXED),
    ROW(RECEIPT, "receipt", receipt_fields, 1, FIXED),
    ROW(REASON_COUNT, "reason-count", reason_count_fields, 1, FIXED),
    ROW(REFUSAL, "refusal", refusal_fields, 1, FIXED),
    ROW(TYPE_INFORMATION, "type-information", type_information_fields, 2, FIXED),
    ROW(STATISTICS, "statistics", statistics_fields, 1, FIXED),
    ROW(EXPECTATION, "expectation", expectation_fields, 0, expectation_groups, check_expectation_groups, finish_expectation),
    ROW(CUMULATIVE, "cumulative", cumulative_fields, 0, cumulative_groups, check_cumulative_groups, finish_cumulative),
    ROW(KIND_COUNT, "kind-count", kind_count_fields, 1, FIXED),
    ROW(FINDING, "finding", finding_fields, 1, FIXED),
};

SamiGroups
sami_record_groups(const SamiRecord *record)
{
    const SamiKind *row = &sami_kinds[record->kind];
    return row->groups ? row->groups(record) : 0;
}

gboolean
sami_template_make(SamiRecordKind kind, SamiGroups groups, guint16 id, SamiTemplate *ret)
{
    const SamiKind *row = &sami_kinds[kind];
    *ret = (SamiTemplate){ .id = id, .kind = kind, .groups = groups, .n_scope = (guint16) row->n_scope };
    for (guint i = 0; i < row->n_fields; i++) {
        const SamiField *field = &row->fields[i];
        if (row->groups && !(field->group & groups))
            continue;
        if (ret->n_fields == SAMI_TEMPLATE_FIELDS_MAX)
            return FALSE;
        ret->fields[ret->n_fields++] = field;
        ret->length += sami_elements[field->element].length;
    }
    return TRUE;
}

gsize
sami_template_write(const SamiTemplate *tmpl, guint8 *buffer, gsize size)
{
    SamiWriter w;
    sami_writer_init(&w, buffer, size);
    sami_writer_uint(&w, tmpl->n_scope ? 3 : 2, 2);
    sami_writer_uint(&w, 0, 2);
    sami_writer_uint(&w, tmpl->id, 2);
    sami_writer_uint(&w, tmpl->n_fields, 2);
    if (tmpl->n_scope)
        sami_writer_uint(&w, tmpl->n_scope, 2);
    for (guint i = 0; i < tmpl->n_fields; i++) {
        const SamiElement *e = &sami_elements[tmpl->fields[i]->element];
        sami_writer_uint(&w, e->pen ? e->number | 0x8000u : e->number, 2);
        sami_writer_uint(&w, e->length, 2);
        if (e->pen)
            sami_writer_uint(&w, e->pen, 4);
    }
    g_assert(!w.is_bad);
    gsize length = sami_writer_length(&w);
    buffer[2] = (guint8) (length >> 8);
    buffer[3] = (guint8) length;
    return length;
}

static gboolean
is_element(const SamiSpecifier *s, SamiElementId id)
{
    const SamiElement *e = &sami_elements[id];
    return s->pen == e->pen && s->number == e->number && s->length == e->length;
}

/* Field number `index` is the first that no kind has there. */
static gboolean
refuse_specifier(const SamiSpecifier *specifiers, guint index, guint16 id, GError **error)
{
    const SamiSpecifier *s = &specifiers[index];
    const SamiElement *e = NULL;
    for (guint i = 0; i < SAMI_N_ELEMENTS && !e; i++)
        if (sami_elements[i].pen == s->pen && sami_elements[i].number == s->number)
            e = &sami_elements[i];
    if (!e)
        return sami_rule_error(error, SAMI_RULE_TEMPLATE_ELEMENT, "template %u: field %u: unknown element %u/%u", id, index, s->pen, s->number);
    if (e->length != s->length)
        return sami_rule_error(error, SAMI_RULE_TEMPLATE_LENGTH, "template %u: field %u: %s (%u/%u) has %u octets, allowed are %u", id, index, e->name,
                               s->pen, s->number, s->length, e->length);
    for (guint i = 0; i < index; i++)
        if (specifiers[i].pen == s->pen && specifiers[i].number == s->number)
            return sami_rule_error(error, SAMI_RULE_TEMPLATE_TWICE, "template %u: field %u: %s is there twice", id, index, e->name);
    return sami_rule_error(error, SAMI_RULE_TEMPLATE_PLACE, "template %u: field %u: %s is out of order or not allowed in this template", id, index, e->name);
}

/* The groups are those of the fields that are in one group only. A group that lacks a field, or a field without its group, is refused by
 * making the template of these groups and comparing. *ret_bad: the first field that the kind does not have in this place. */
static gboolean
match_kind(const SamiKind *kind, const SamiSpecifier *specifiers, guint n, guint16 id, SamiTemplate *ret, guint *ret_bad)
{
    SamiGroups groups = 0;
    guint next = 0;
    for (guint i = 0; i < n; i++) {
        guint f = next;
        while (f < kind->n_fields && !is_element(&specifiers[i], kind->fields[f].element))
            f++;
        if (f == kind->n_fields || (!kind->groups && f != next)) {
            *ret_bad = i;
            return FALSE;
        }
        SamiGroups group = kind->fields[f].group;
        groups |= (group & (group - 1)) ? 0 : group;
        next = f + 1;
    }
    *ret_bad = n;
    return sami_template_make(kind->kind, groups, id, ret) && ret->n_fields == n;
}

gboolean
sami_template_match(const SamiSpecifier *specifiers, guint n, guint n_scope, guint16 id, SamiTemplate *ret, GError **error)
{
    SamiTemplate tmpl;
    guint farthest = 0; /* field that no kind has: where the best of them stopped */
    const gchar *rule = NULL;
    for (guint k = 0; k < SAMI_N_RECORD_KINDS; k++) {
        const SamiKind *kind = &sami_kinds[k];
        guint bad = 0;
        if (kind->n_scope != n_scope || kind->n_fields == 0) /* a number without a record */
            continue;
        if (match_kind(kind, specifiers, n, id, &tmpl, &bad)) {
            rule = kind->check ? kind->check(tmpl.groups) : NULL;
            if (!rule) {
                *ret = tmpl;
                return TRUE;
            }
        }
        farthest = MAX(farthest, bad);
    }
    if (farthest < n)
        return refuse_specifier(specifiers, farthest, id, error);
    if (rule)
        return sami_rule_error(error, SAMI_RULE_TEMPLATE_GROUPS, "template %u: %s", id, rule);
    return sami_rule_error(error, SAMI_RULE_TEMPLATE_INCOMPLETE, "template %u: fields are missing: a template has those of its kind or of its groups whole", id);
}

static guint64
read_host(const guint8 *p, guint n)
{
    switch (n) {
    case 1: return *p;
    case 2: { guint16 v; memcpy(&v, p, 2); return v; }
    case 4: { guint32 v; memcpy(&v, p, 4); return v; }
    default: { guint64 v; memcpy(&v, p, 8); return v; }
    }
}

static void
write_host(guint8 *p, guint n, guint64 value)
{
    switch (n) {
    case 1: *p = (guint8) value; break;
    case 2: { guint16 v = (guint16) value; memcpy(p, &v, 2); break; }
    case 4: { guint32 v = (guint32) value; memcpy(p, &v, 4); break; }
    default: memcpy(p, &value, 8); break;
    }
}

void
sami_template_pack(const SamiTemplate *tmpl, const SamiRecord *record, guint8 *at)
{
    for (guint i = 0; i < tmpl->n_fields; i++) {
        const SamiField *field = tmpl->fields[i];
        const guint8 *place = (const guint8 *) record + field->offset;
        guint length = sami_elements[field->element].length;
        switch (field->form) {
        case SAMI_FIELD_UINT: write_host(at, length, read_host(place, field->width)); break;
        case SAMI_FIELD_HIGH: *at = (guint8) (read_host(place, 2) >> 8); break;
        case SAMI_FIELD_LOW: *at = (guint8) read_host(place, 2); break;
        case SAMI_FIELD_OCTETS: memcpy(at, place, length); break;
        case SAMI_FIELD_IPV4: write_host(at, 4, g_ntohl((guint32) read_host(place, 4))); break;
        case SAMI_FIELD_MS: write_host(at, 8, read_host(place, 8) / 1000000u); break;
        case SAMI_FIELD_KIND: *at = (guint8) tmpl->kind; break;
        }
        at += length;
    }
}

gboolean
sami_template_unpack(const SamiTemplate *tmpl, const guint8 *at, SamiRecord *ret, GError **error)
{
    memset(ret, 0, sizeof *ret);
    ret->kind = tmpl->kind;
    for (guint i = 0; i < tmpl->n_fields; i++) {
        const SamiField *field = tmpl->fields[i];
        guint8 *place = (guint8 *) ret + field->offset;
        guint length = sami_elements[field->element].length;
        switch (field->form) {
        case SAMI_FIELD_UINT: write_host(place, field->width, read_host(at, length)); break;
        case SAMI_FIELD_HIGH:
            write_host(place, 2, read_host(place, 2) | (guint64) *at << 8);
            break;
        case SAMI_FIELD_LOW: write_host(place, 2, read_host(place, 2) | *at); break;
        case SAMI_FIELD_OCTETS: memcpy(place, at, length); break;
        case SAMI_FIELD_IPV4: write_host(place, 4, g_htonl((guint32) read_host(at, 4))); break;
        case SAMI_FIELD_MS: write_host(place, 8, read_host(at, 8) * 1000000u); break;
        case SAMI_FIELD_KIND:
            if (*at != tmpl->kind)
                return sami_rule_error(error, SAMI_RULE_RECORD_KIND, "samiRecordKind is %u in the template of %s", *at, sami_kinds[tmpl->kind].name);
            break;
        }
        at += length;
    }
    const SamiKind *kind = &sami_kinds[tmpl->kind];
    return !kind->finish || kind->finish(tmpl, ret, error);
}

/* What libfixbuf turns round on its way in: integers, times and IPv4 addresses. */
static gboolean
is_swapped(SamiElementType type)
{
    return type != SAMI_TYPE_OCTETS && type != SAMI_TYPE_STRING && type != SAMI_TYPE_IPV6;
}

gboolean
sami_template_unpack_wire(const SamiTemplate *tmpl, const guint8 *octets, SamiRecord *ret, GError **error)
{
    guint8 packed[SAMI_TEMPLATE_FIELDS_MAX * 256];
    SamiReader r;
    guint8 *at = packed;
    sami_reader_init(&r, octets, tmpl->length);
    for (guint i = 0; i < tmpl->n_fields; i++) {
        const SamiElement *e = &sami_elements[tmpl->fields[i]->element];
        if (is_swapped(e->type) && e->length > 1)
            write_host(at, e->length, sami_reader_uint(&r, e->length));
        else
            memcpy(at, sami_reader_take(&r, e->length), e->length);
        at += e->length;
    }
    return sami_template_unpack(tmpl, packed, ret, error);
}

void
sami_template_pack_wire(const SamiTemplate *tmpl, const SamiRecord *record, guint8 *octets)
{
    SamiWriter w;
    sami_template_pack(tmpl, record, octets);
    sami_writer_init(&w, octets, tmpl->length);
    for (guint i = 0; i < tmpl->n_fields; i++) {
        const SamiElement *e = &sami_elements[tmpl->fields[i]->element];
        if (is_swapped(e->type) && e->length > 1)
            sami_writer_uint(&w, read_host(w.at, e->length), e->length);
        else
            w.at += e->length;
    }
}

void
sami_flow_key_pack(const SamiFlowKey *key, guint8 ret_octets[40])
{
    SamiWriter w;
    sami_writer_init(&w, ret_octets, 40);
    sami_writer_octets(&w, &key->orig.src, 16);
    sami_writer_octets(&w, &key->orig.dst, 16);
    sami_writer_uint(&w, key->orig.src_port, 2);
    sami_writer_uint(&w, key->orig.dst_port, 2);
    sami_writer_uint(&w, key->zone, 2);
    sami_writer_uint(&w, key->family, 1);
    sami_writer_uint(&w, key->protocol, 1);
}

void
sami_flow_key_unpack(const guint8 octets[40], SamiFlowKey *ret_key)
{
    SamiReader r;
    sami_reader_init(&r, octets, 40);
    memcpy(&ret_key->orig.src, sami_reader_take(&r, 16), 16);
    memcpy(&ret_key->orig.dst, sami_reader_take(&r, 16), 16);
    ret_key->orig.src_port = (guint16) sami_reader_uint(&r, 2);
    ret_key->orig.dst_port = (guint16) sami_reader_uint(&r, 2);
    ret_key->zone = (guint16) sami_reader_uint(&r, 2);
    ret_key->family = (guint8) sami_reader_uint(&r, 1);
    ret_key->protocol = (guint8) sami_reader_uint(&r, 1);
}

gboolean
sami_type_information(guint i, SamiTypeInformation *ret)
{
    const SamiElement *e = &sami_elements[i];
    if (e->pen != SAMI_PEN)
        return FALSE;
    *ret = (SamiTypeInformation){ .pen = e->pen, .number = e->number, .type = (guint8) e->type, .semantics = e->semantics, .units = e->units };
    g_strlcpy(ret->name, e->name, sizeof ret->name);
    return TRUE;
}

gboolean
sami_refusal_has_flow(const SamiRefusal *refusal)
{
    static const guint8 none[sizeof refusal->key];
    return memcmp(refusal->key, none, sizeof none) != 0;
}
