#include "templates/validate.h"

#include <netinet/in.h>
#include <string.h>

static const struct {
    guint16 number;
    const gchar *id, *source, *text;
} reasons[] = {
#define X(symbol, number, id, source, text) { number, id, source, text },
    SAMI_REASONS(X)
#undef X
};

static gint
find(guint reason)
{
    for (guint i = 0; i < G_N_ELEMENTS(reasons); i++)
        if (reasons[i].number == reason)
            return (gint) i;
    return -1;
}

const gchar *
sami_reason_id(guint reason)
{
    gint i = find(reason);
    return i < 0 ? "unknown" : reasons[i].id;
}

const gchar *
sami_reason_source(guint reason)
{
    gint i = find(reason);
    return i < 0 ? "" : reasons[i].source;
}

const gchar *
sami_reason_text(guint reason)
{
    gint i = find(reason);
    return i < 0 ? "unknown reason" : reasons[i].text;
}

gboolean
sami_reason_is_known(guint reason)
{
    return find(reason) >= 0;
}

/* What no session of a VM has: RFC 6890 special addresses that a firewall never tracks for somebody else. Nearly
 * every address is none of them, and its first octet says so. */
#define NEVER 0x80u
static const struct {
    SamiPrefix prefix;
    guint8 bit; /* SAMI_SPECIAL_* that lets it in */
} special[] = {
    { { { { 0 } }, 4, 8 }, NEVER },
    { { { { 127 } }, 4, 8 }, SAMI_SPECIAL_LOOPBACK },
    { { { { 169, 254 } }, 4, 16 }, SAMI_SPECIAL_LINK_LOCAL },
    { { { { 224 } }, 4, 4 }, SAMI_SPECIAL_MULTICAST },
    { { { { 240 } }, 4, 4 }, NEVER },
    { { { { 0 } }, 6, 128 }, NEVER },
    { { { { [15] = 1 } }, 6, 128 }, SAMI_SPECIAL_LOOPBACK },
    { { { { 0xfe, 0x80 } }, 6, 10 }, SAMI_SPECIAL_LINK_LOCAL },
    { { { { 0xff } }, 6, 8 }, SAMI_SPECIAL_MULTICAST },
    { { { { [10] = 0xff, [11] = 0xff } }, 6, 96 }, NEVER },
};

/* What it is, 0 for an ordinary one. */
static guint8
special_bit(guint8 family, const SamiAddress *address)
{
    guint8 first = address->octets[0];
    gboolean is_plain = family == 4 ? first != 0 && first != 127 && first != 169 && first < 224 : family == 6 && first != 0 && first < 0xfe;
    for (guint i = 0; !is_plain && i < G_N_ELEMENTS(special); i++)
        if (sami_prefix_contains(&special[i].prefix, family, address))
            return special[i].bit;
    return 0;
}

gboolean
sami_address_is_ordinary(guint8 family, const SamiAddress *address)
{
    return special_bit(family, address) == 0;
}

/* What this policy takes: see any_address. */
static gboolean
is_taken(const SamiPolicy *policy, guint8 family, const SamiAddress *address)
{
    return policy->any_address || !(special_bit(family, address) & ~policy->special);
}

/* As an end of a flow; a translated one is another matter. */
static gboolean
is_own(const SamiPolicy *policy, guint8 family, const SamiAddress *address)
{
    return policy->own && !policy->any_address && !(policy->special & SAMI_SPECIAL_OWN) && sami_address_set_has(policy->own, family, address);
}

SamiReason
sami_policy_takes_address(const SamiPolicy *policy, guint8 family, const SamiAddress *address)
{
    if (!is_taken(policy, family, address))
        return SAMI_REASON_ADDRESS_SPECIAL;
    return is_own(policy, family, address) ? SAMI_REASON_ADDRESS_OWN : SAMI_REASON_NONE;
}

static gboolean
has_bit(const guint32 *bits, guint number)
{
    return !bits || (bits[number / 32] >> (number % 32) & 1) != 0;
}

static gboolean
addresses_are_taken(const SamiPolicy *policy, guint8 family, const SamiTuple *tuple)
{
    return is_taken(policy, family, &tuple->src) && is_taken(policy, family, &tuple->dst);
}

static gboolean
has_port_numbers(guint8 protocol)
{
    return sami_protocol_selector(protocol) == SAMI_SELECTOR_PORTS;
}

/* The ports of the untranslated ends. Which end opened the flow is the sender's word, and what is let in is the same either way. */
static SamiReason
check_ports(const SamiSession *s, const SamiPolicy *policy, gboolean is_source, gboolean is_responder)
{
    if ((!policy->ports && !policy->remote_ports) || !has_port_numbers(s->key.protocol))
        return SAMI_REASON_NONE;
    return has_bit(is_source ? policy->ports : policy->remote_ports, s->key.orig.src_port) &&
                   has_bit(is_responder ? policy->ports : policy->remote_ports, s->reply.src_port)
               ? SAMI_REASON_NONE : SAMI_REASON_PORT_NOT_ALLOWED;
}

static gboolean
is_translated_here(const SamiPolicy *policy, guint8 family)
{
    const SamiTranslations *t = policy->translations;
    return !t || !t->is_known || (family == 4 ? t->is_ipv4 : t->is_ipv6);
}

/* LIFECYCLE §9: the VM is the untranslated end, and what was translated onto is listed. */
static SamiReason
check_addresses(const SamiSession *s, const SamiPolicy *policy)
{
    guint8 family = s->key.family;
    gboolean is_source = sami_prefixes_contain(policy->vm, policy->n_vm, family, &s->key.orig.src);
    gboolean is_responder = (s->has & SAMI_HAS_REPLY) &&
                            sami_prefixes_contain(policy->vm, policy->n_vm, family, &s->reply.src);
    if (!(s->has & SAMI_HAS_REPLY)) /* a deletion names its entry by the original tuple; the ledger decides */
        return SAMI_REASON_NONE;
    if (!is_source && !is_responder)
        return SAMI_REASON_ADDRESS_NOT_ALLOWED;
    if ((sami_session_has_snat(s) || sami_session_has_dnat(s)) && !is_translated_here(policy, family))
        return SAMI_REASON_NO_NAT_HOOK;
    if (memcmp(&s->reply.dst, &s->key.orig.src, sizeof(SamiAddress)) != 0 &&
        !sami_prefixes_contain(policy->nat_addresses, policy->n_nat_addresses, family, &s->reply.dst))
        return SAMI_REASON_NAT_ADDRESS;
    if (memcmp(&s->reply.src, &s->key.orig.dst, sizeof(SamiAddress)) != 0 &&
        !sami_prefixes_contain(policy->nat_addresses, policy->n_nat_addresses, family, &s->key.orig.dst))
        return SAMI_REASON_NAT_ADDRESS;
    if (is_own(policy, family, &s->key.orig.src) || is_own(policy, family, &s->reply.src))
        return SAMI_REASON_ADDRESS_OWN;
    return check_ports(s, policy, is_source, is_responder);
}

/* The name goes into the kernel's list of helpers or functions and into messages for the operator. */
static gboolean
is_name(const gchar *name, gsize size)
{
    gsize length = strnlen(name, size);
    if (length == 0 || length == size)
        return FALSE;
    for (gsize i = 0; i < size; i++)
        if (i < length ? !g_ascii_isalnum(name[i]) && !strchr("-_.", name[i]) : name[i] != 0)
            return FALSE;
    return TRUE;
}

/* What only flows of one protocol have, and which of it they need. */
static const struct {
    guint32 has;
    guint8 protocol;
    gboolean is_needed;
} attributes_of[] = {
    { SAMI_HAS_TCP, IPPROTO_TCP, TRUE },    { SAMI_HAS_WSCALE, IPPROTO_TCP, FALSE },   { SAMI_HAS_SEQADJ, IPPROTO_TCP, FALSE },
    { SAMI_HAS_SCTP, IPPROTO_SCTP, TRUE },  { SAMI_HAS_SYNPROXY, IPPROTO_TCP, FALSE }, { SAMI_HAS_DCCP, IPPROTO_DCCP, TRUE },
};

static SamiReason
check_attributes(const SamiSession *s)
{
    for (guint i = 0; i < G_N_ELEMENTS(attributes_of); i++) {
        gboolean has = (s->has & attributes_of[i].has) != 0, is_its = s->key.protocol == attributes_of[i].protocol;
        if (has && !is_its)
            return SAMI_REASON_STATE_RANGE;
        if (!has && is_its && attributes_of[i].is_needed)
            return SAMI_REASON_FIELD_MISSING;
    }
    if ((s->has & SAMI_HAS_HELPER_INFO) && !(s->has & SAMI_HAS_HELPER))
        return SAMI_REASON_FIELD_MISSING;
    if ((s->has & SAMI_HAS_HELPER) && !is_name(s->helper, sizeof s->helper))
        return SAMI_REASON_STATE_RANGE;
    if ((s->has & SAMI_HAS_MASTER) && sami_flow_key_equal(&s->master, &s->key))
        return SAMI_REASON_TUPLE_INCONSISTENT;
    return SAMI_REASON_NONE;
}

static SamiReason
check_state(const SamiSession *s)
{
    SamiReason reason = check_attributes(s);
    if (reason != SAMI_REASON_NONE)
        return reason;
    if (s->timeout_s == 0 || s->timeout_s > G_MAXINT32)
        return SAMI_REASON_STATE_RANGE;
    if ((s->has & SAMI_HAS_SCTP) && s->sctp_state > SAMI_SCTP_STATE_MAX) /* nlattr_to_sctp() stores it unchecked and indexes with it */
        return SAMI_REASON_STATE_RANGE;
    if ((s->has & SAMI_HAS_TCP) && s->tcp_state > SAMI_TCP_STATE_MAX)
        return SAMI_REASON_STATE_RANGE;
    for (guint d = 0; d < 2; d++)
        if ((s->has & SAMI_HAS_WSCALE) && s->tcp_wscale[d] > 14)
            return SAMI_REASON_STATE_RANGE;
    return SAMI_REASON_NONE;
}

/* DCCP would become a flow of all ports: since 6.17 the kernel has no tracker for it, and drops its ports without a word. */
static SamiReason
check_protocol(const SamiFlowKey *key)
{
    if (key->protocol == 0 || key->protocol == IPPROTO_DCCP)
        return SAMI_REASON_PROTOCOL_UNSUPPORTED;
    if ((key->protocol == IPPROTO_ICMP && key->family != 4) || (key->protocol == IPPROTO_ICMPV6 && key->family != 6))
        return SAMI_REASON_TUPLE_INCONSISTENT;
    return SAMI_REASON_NONE;
}

static gboolean
has_number(const guint16 *numbers, guint n, guint16 number)
{
    for (guint i = 0; i < n; i++)
        if (numbers[i] == number)
            return TRUE;
    return FALSE;
}

/* Who names the VLAN leaves the zone to us. */
static SamiReason
check_segment(const SamiPolicy *policy, gboolean has_vlan, guint16 vlan, guint16 zone)
{
    if (policy->any_segment)
        return SAMI_REASON_NONE;
    if (has_vlan)
        return has_number(policy->vlans, policy->n_vlans, vlan) ? SAMI_REASON_NONE : SAMI_REASON_VLAN_NOT_ALLOWED;
    return has_number(policy->zones, policy->n_zones, zone) ? SAMI_REASON_NONE : SAMI_REASON_ZONE_NOT_ALLOWED;
}

/* A zone for one direction only leaves the other in zone 0 (nf_ct_zone_id()). */
static SamiReason
check_zones(const SamiSession *s, const SamiPolicy *policy)
{
    SamiReason reason = check_segment(policy, (s->has & SAMI_HAS_VLAN) != 0, s->vlan, s->key.zone);
    if (reason != SAMI_REASON_NONE || !(s->has & SAMI_HAS_REPLY_ZONE))
        return reason;
    if (s->reply_zone == s->key.zone || (s->reply_zone && s->key.zone))
        return SAMI_REASON_STATE_RANGE;
    return policy->any_segment || has_number(policy->zones, policy->n_zones, s->reply_zone) ? SAMI_REASON_NONE : SAMI_REASON_ZONE_NOT_ALLOWED;
}

SamiReason
sami_validate_session(const SamiSession *s, const SamiPolicy *policy)
{
    SamiReason reason = check_protocol(&s->key);
    if (reason != SAMI_REASON_NONE)
        return reason;
    if (!addresses_are_taken(policy, s->key.family, &s->key.orig))
        return SAMI_REASON_ADDRESS_SPECIAL;
    reason = check_zones(s, policy);
    if (reason != SAMI_REASON_NONE)
        return reason;
    if (s->action == SAMI_ACTION_DELETED)
        return SAMI_REASON_NONE;
    if (s->action != SAMI_ACTION_CREATED && s->action != SAMI_ACTION_UPDATE)
        return SAMI_REASON_STATE_RANGE;
    if (!(s->has & SAMI_HAS_TIMEOUT) || !(s->has & SAMI_HAS_REPLY))
        return SAMI_REASON_FIELD_MISSING;
    if (!has_bit(policy->protocols, s->key.protocol))
        return SAMI_REASON_PROTOCOL_NOT_ALLOWED;
    if (!addresses_are_taken(policy, s->key.family, &s->reply))
        return SAMI_REASON_ADDRESS_SPECIAL;
    SamiTuple mirror;
    if (!sami_flow_key_mirror(&s->key, &mirror))
        return SAMI_REASON_TUPLE_INCONSISTENT;
    if (sami_protocol_selector(s->key.protocol) == SAMI_SELECTOR_ICMP && s->reply.dst_port != mirror.dst_port)
        return SAMI_REASON_TUPLE_INCONSISTENT;
    reason = check_state(s);
    return reason != SAMI_REASON_NONE ? reason : check_addresses(s, policy);
}

static gboolean
is_nothing(const SamiAddress *address)
{
    static const SamiAddress nothing;
    return memcmp(address, &nothing, sizeof nothing) == 0;
}

/* A mask of all bits, or of none with nothing under it. */
static gboolean
is_whole_mask(guint8 family, const SamiAddress *mask, const SamiAddress *value, gboolean *ret_is_any)
{
    *ret_is_any = is_nothing(mask);
    for (guint i = 0; i < (family == 4 ? 4u : 16u) && !*ret_is_any; i++)
        if (mask->octets[i] != 0xff)
            return FALSE;
    return !*ret_is_any || is_nothing(value);
}

/* What helpers leave open is the source port, and where they do not know who will come, the source address. Everything else lets in more
 * than one flow, or lets it in more than once. */
static SamiReason
check_width(const SamiExpectation *e, gboolean *ret_is_any)
{
    gboolean is_port_whole = e->mask_src_port == G_MAXUINT16 || (e->mask_src_port == 0 && e->key.orig.src_port == 0);
    gboolean is_gre = e->key.protocol == IPPROTO_GRE;
    if (!is_whole_mask(e->key.family, &e->mask_src, &e->key.orig.src, ret_is_any) || !is_port_whole ||
        (e->flags & SAMI_EXPECT_PERMANENT))
        return SAMI_REASON_EXPECTATION_WIDE;
    if (is_gre ? *ret_is_any || e->mask_src_port == 0 : e->key.orig.dst_port == 0)
        return SAMI_REASON_EXPECTATION_WIDE;
    return SAMI_REASON_NONE;
}

static gboolean
is_end_allowed(const SamiExpectation *e, const SamiPolicy *policy, const SamiAddress *address)
{
    return sami_prefixes_contain(policy->vm, policy->n_vm, e->key.family, address) || sami_expectation_is_of_master(e, address) ||
           sami_prefixes_contain(policy->nat_addresses, policy->n_nat_addresses, e->key.family, address);
}

static gboolean
is_own_end(const SamiExpectation *e, const SamiPolicy *policy, const SamiAddress *address)
{
    return is_own(policy, e->key.family, address) && !sami_prefixes_contain(policy->nat_addresses, policy->n_nat_addresses, e->key.family, address);
}

static SamiReason
check_expected_addresses(const SamiExpectation *e, const SamiPolicy *policy, gboolean is_any)
{
    gboolean has_address = (e->has & SAMI_EXPECT_HAS_NAT) && !is_nothing(&e->nat_address); /* helpers that only save a port leave it 0 */
    guint8 family = e->key.family;
    if (!addresses_are_taken(policy, family, &e->master.orig) || !is_taken(policy, family, &e->key.orig.dst) ||
        (!is_any && !is_taken(policy, family, &e->key.orig.src)) || (has_address && !is_taken(policy, family, &e->nat_address)))
        return SAMI_REASON_ADDRESS_SPECIAL;
    if (is_own_end(e, policy, &e->key.orig.dst) || (!is_any && is_own_end(e, policy, &e->key.orig.src)) ||
        (has_address && is_own_end(e, policy, &e->nat_address)))
        return SAMI_REASON_ADDRESS_OWN;
    if (!is_end_allowed(e, policy, &e->key.orig.dst) || (!is_any && !is_end_allowed(e, policy, &e->key.orig.src)))
        return SAMI_REASON_ADDRESS_NOT_ALLOWED;
    return !has_address || is_end_allowed(e, policy, &e->nat_address) ? SAMI_REASON_NONE : SAMI_REASON_NAT_ADDRESS;
}

/* Where the flow to come ends is what it opens. A port that is left open does not matter where the VM opens the flow; where somebody else does, it may be
 * any. */
static SamiReason
check_expected_source(const SamiExpectation *e, const SamiPolicy *policy, gboolean is_vm)
{
    if (!has_port_numbers(e->key.protocol))
        return SAMI_REASON_NONE;
    if (e->mask_src_port == 0)
        return is_vm || !policy->remote_ports ? SAMI_REASON_NONE : SAMI_REASON_PORT_NOT_ALLOWED;
    return has_bit(is_vm ? policy->ports : policy->remote_ports, e->key.orig.src_port) ? SAMI_REASON_NONE : SAMI_REASON_PORT_NOT_ALLOWED;
}

static gboolean
is_vm(const SamiPolicy *policy, guint8 family, const SamiAddress *address)
{
    return sami_prefixes_contain(policy->vm, policy->n_vm, family, address);
}

guint8
sami_expectation_facts(const SamiExpectation *e, const SamiPolicy *policy)
{
    guint8 family = e->key.family, facts = 0;
    gboolean has_port = has_port_numbers(e->key.protocol);
    guint16 port = (e->has & SAMI_EXPECT_HAS_FUNCTION) ? e->nat_port : e->key.orig.dst_port;
    facts |= !is_nothing(&e->mask_src) && is_vm(policy, family, &e->key.orig.src) ? SAMI_EXPECT_SRC_VM : 0;
    facts |= sami_prefixes_contain(policy->nat_addresses, policy->n_nat_addresses, family, &e->key.orig.dst) ? SAMI_EXPECT_DST_LISTED : 0;
    facts |= !has_port || has_bit(policy->ports, port) ? SAMI_EXPECT_PORT_VM : 0;
    facts |= !has_port || has_bit(policy->remote_ports, port) ? SAMI_EXPECT_PORT_REMOTE : 0;
    return facts;
}

SamiReason
sami_expectation_judge(guint8 facts, gboolean is_target_vm, gboolean is_translated)
{
    if (!(facts & SAMI_EXPECT_SRC_VM) && !is_target_vm)
        return SAMI_REASON_ADDRESS_NOT_ALLOWED;
    if (is_translated && !(facts & SAMI_EXPECT_DST_LISTED))
        return SAMI_REASON_NAT_ADDRESS;
    return facts & (is_target_vm ? SAMI_EXPECT_PORT_VM : SAMI_EXPECT_PORT_REMOTE) ? SAMI_REASON_NONE : SAMI_REASON_PORT_NOT_ALLOWED;
}

/* As far as the record alone tells where it goes. */
static SamiReason
check_expected_target(const SamiExpectation *e, const SamiPolicy *policy)
{
    guint8 facts = sami_expectation_facts(e, policy), family = e->key.family;
    SamiExpectTarget target = sami_expectation_target(e);
    const SamiAddress *address = target == SAMI_EXPECT_TO_ITSELF                          ? &e->key.orig.dst
                                 : target == SAMI_EXPECT_TO_SAVED                         ? &e->nat_address
                                 : target == SAMI_EXPECT_TO_MASTER && e->nat_direction == 1 ? &e->master.orig.src
                                                                                          : NULL;
    SamiReason reason = check_expected_source(e, policy, facts & SAMI_EXPECT_SRC_VM);
    if (target == SAMI_EXPECT_TO_UNKNOWN)
        return SAMI_REASON_EXPECTATION_FUNCTION;
    if (reason != SAMI_REASON_NONE || !address)
        return reason;
    if (is_own(policy, family, address))
        return SAMI_REASON_ADDRESS_OWN;
    return sami_expectation_judge(facts, is_vm(policy, family, address), memcmp(address, &e->key.orig.dst, sizeof *address) != 0);
}

/* A call that is forwarded is expected from anybody to anybody (nf_conntrack_h323_main.c, expect_callforwarding()). */
static gboolean
is_forwarding(const gchar helper[SAMI_HELPER_NAME_MAX])
{
    static const gchar *const names[] = { "Q.931", "RAS", "H.245" };
    for (guint i = 0; i < G_N_ELEMENTS(names); i++)
        if (strncmp(names[i], helper, SAMI_HELPER_NAME_MAX) == 0)
            return TRUE;
    return FALSE;
}

static gboolean
is_helper_allowed(const SamiPolicy *policy, const gchar helper[SAMI_HELPER_NAME_MAX])
{
    for (guint i = 0; policy->helpers && policy->helpers[i]; i++)
        if (strncmp(policy->helpers[i], helper, SAMI_HELPER_NAME_MAX) == 0)
            return TRUE;
    return !policy->helpers && !is_forwarding(helper);
}

static gboolean
has_ports(guint8 protocol)
{
    SamiSelector selector = sami_protocol_selector(protocol);
    return (selector == SAMI_SELECTOR_PORTS && protocol != IPPROTO_DCCP) || selector == SAMI_SELECTOR_GRE;
}

SamiReason
sami_validate_expectation(const SamiExpectation *e, const SamiPolicy *policy)
{
    gboolean is_any;
    if (!policy->may_help)
        return SAMI_REASON_EXPECTATION_NOT_ALLOWED;
    if (!has_ports(e->key.protocol) || !has_ports(e->master.protocol))
        return SAMI_REASON_PROTOCOL_UNSUPPORTED;
    SamiReason reason = check_segment(policy, (e->has & SAMI_EXPECT_HAS_VLAN) != 0, e->vlan, e->key.zone);
    if (reason != SAMI_REASON_NONE)
        return reason;
    if (e->action == SAMI_ACTION_DELETED)
        return SAMI_REASON_NONE;
    if (!has_bit(policy->protocols, e->key.protocol) || !has_bit(policy->protocols, e->master.protocol))
        return SAMI_REASON_PROTOCOL_NOT_ALLOWED;
    if (e->action != SAMI_ACTION_CREATED || e->timeout_s == 0 || e->timeout_s > SAMI_EXPECT_TIMEOUT_MAX_S ||
        (e->flags & ~SAMI_EXPECT_FLAGS) || e->expect_class > SAMI_EXPECT_CLASS_MAX || ((e->has & SAMI_EXPECT_HAS_NAT) && e->nat_direction > 1))
        return SAMI_REASON_STATE_RANGE;
    if (((e->has & SAMI_EXPECT_HAS_HELPER) && !is_name(e->helper, sizeof e->helper)) ||
        ((e->has & SAMI_EXPECT_HAS_FUNCTION) && !is_name(e->function, sizeof e->function)))
        return SAMI_REASON_STATE_RANGE;
    if (e->has & SAMI_EXPECT_HAS_HELPER ? !is_helper_allowed(policy, e->helper) : policy->helpers != NULL)
        return SAMI_REASON_HELPER_NOT_ALLOWED;
    if ((e->has & SAMI_EXPECT_HAS_FUNCTION) && !is_translated_here(policy, e->key.family))
        return SAMI_REASON_NO_NAT_HOOK;
    reason = check_width(e, &is_any);
    if (reason == SAMI_REASON_NONE)
        reason = check_expected_addresses(e, policy, is_any);
    return reason != SAMI_REASON_NONE ? reason : check_expected_target(e, policy);
}

static gboolean
cut_mark(const SamiPolicy *policy, SamiSession *s)
{
    if (!(s->has & SAMI_HAS_MARK) || !(s->mark & policy->mark_cut))
        return FALSE;
    s->mark &= ~policy->mark_cut;
    return TRUE;
}

static gboolean
cut_labels(const SamiPolicy *policy, SamiSession *s)
{
    guint8 cut = 0, left = 0;
    if (!(s->has & SAMI_HAS_LABELS))
        return FALSE;
    for (guint i = 0; i < sizeof s->labels; i++) {
        cut |= s->labels[i] & policy->labels_cut[i];
        s->labels[i] &= (guint8) ~policy->labels_cut[i];
        left |= s->labels[i];
    }
    if (left == 0)
        s->has &= ~(guint32) SAMI_HAS_LABELS;
    return cut != 0;
}

static gboolean
cut_timeout(const SamiPolicy *policy, SamiSession *s)
{
    guint32 max_s = policy->timeouts && (s->has & SAMI_HAS_TIMEOUT) ? sami_timeouts_max(policy->timeouts, s) : 0;
    if (max_s == 0 || s->timeout_s <= max_s)
        return FALSE;
    s->timeout_s = max_s;
    s->status &= ~SAMI_IPS_FIXED_TIMEOUT;
    return TRUE;
}

guint32
sami_policy_strip(const SamiPolicy *policy, SamiSession *s)
{
    gboolean may_have_helper = !(s->has & SAMI_HAS_HELPER) || (policy->may_help && is_helper_allowed(policy, s->helper));
    guint32 gone = may_have_helper ? 0 : s->has & (SAMI_HAS_HELPER | SAMI_HAS_HELPER_INFO);
    s->has &= ~gone;
    return gone | (cut_mark(policy, s) ? SAMI_HAS_MARK : 0) | (cut_labels(policy, s) ? SAMI_HAS_LABELS : 0) | (cut_timeout(policy, s) ? SAMI_HAS_TIMEOUT : 0);
}
