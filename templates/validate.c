#include "templates/validate.h"

#include <netinet/in.h>
#include <string.h>

static const struct {
    guint16 number;
    const gchar *id;
    const gchar *text;
} reasons[] = {
#define X(symbol, number, id, text) { number, id, text },
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

/* What no session of a VM has: RFC 6890 special addresses that a firewall never tracks for somebody else. */
static const struct {
    guint8 family, length;
    guint8 octets[16];
} special[] = {
    { 4, 8, { 0 } },           { 4, 8, { 127 } },        { 4, 16, { 169, 254 } },
    { 4, 4, { 224 } },         { 4, 4, { 240 } },        { 6, 128, { 0 } },
    { 6, 128, { [15] = 1 } },  { 6, 10, { 0xfe, 0x80 } }, { 6, 8, { 0xff } },
    { 6, 96, { [10] = 0xff, [11] = 0xff } },
};

gboolean
sami_address_is_ordinary(guint8 family, const SamiAddress *address)
{
    for (gsize i = 0; i < G_N_ELEMENTS(special); i++) {
        SamiPrefix prefix = { .family = special[i].family, .length = special[i].length };
        memcpy(prefix.address.octets, special[i].octets, 16);
        if (sami_prefix_contains(&prefix, family, address))
            return FALSE;
    }
    return TRUE;
}

static gboolean
addresses_are_ordinary(guint8 family, const SamiTuple *tuple)
{
    return sami_address_is_ordinary(family, &tuple->src) && sami_address_is_ordinary(family, &tuple->dst);
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
    if (memcmp(&s->reply.dst, &s->key.orig.src, sizeof(SamiAddress)) != 0 &&
        !sami_prefixes_contain(policy->nat_addresses, policy->n_nat_addresses, family, &s->reply.dst))
        return SAMI_REASON_NAT_ADDRESS;
    if (memcmp(&s->reply.src, &s->key.orig.dst, sizeof(SamiAddress)) != 0 &&
        !sami_prefixes_contain(policy->nat_addresses, policy->n_nat_addresses, family, &s->key.orig.dst))
        return SAMI_REASON_NAT_ADDRESS;
    return SAMI_REASON_NONE;
}

static SamiReason
check_state(const SamiSession *s)
{
    if (s->timeout_s == 0 || s->timeout_s > G_MAXINT32)
        return SAMI_REASON_STATE_RANGE;
    if (s->key.protocol != IPPROTO_TCP)
        return (s->has & (SAMI_HAS_TCP | SAMI_HAS_WSCALE)) ? SAMI_REASON_STATE_RANGE : SAMI_REASON_NONE;
    if (!(s->has & SAMI_HAS_TCP))
        return SAMI_REASON_FIELD_MISSING;
    if (s->tcp_state > SAMI_TCP_STATE_MAX)
        return SAMI_REASON_STATE_RANGE;
    for (guint d = 0; d < 2; d++)
        if ((s->has & SAMI_HAS_WSCALE) && s->tcp_wscale[d] > 14)
            return SAMI_REASON_STATE_RANGE;
    return SAMI_REASON_NONE;
}

SamiReason
sami_validate_session(const SamiSession *s, const SamiPolicy *policy)
{
    static const guint8 supported[] = { IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP, IPPROTO_ICMPV6 };
    if (!memchr(supported, s->key.protocol, sizeof supported))
        return SAMI_REASON_PROTOCOL_UNSUPPORTED;
    if ((s->key.protocol == IPPROTO_ICMP && s->key.family != 4) ||
        (s->key.protocol == IPPROTO_ICMPV6 && s->key.family != 6))
        return SAMI_REASON_TUPLE_INCONSISTENT;
    if (!addresses_are_ordinary(s->key.family, &s->key.orig))
        return SAMI_REASON_ADDRESS_SPECIAL;
    gboolean is_zone_allowed = FALSE;
    for (guint i = 0; i < policy->n_zones; i++)
        is_zone_allowed |= policy->zones[i] == s->key.zone;
    if (!is_zone_allowed)
        return SAMI_REASON_ZONE_NOT_ALLOWED;
    if (s->action == SAMI_ACTION_DELETED)
        return SAMI_REASON_NONE;
    if (s->action != SAMI_ACTION_CREATED && s->action != SAMI_ACTION_UPDATE)
        return SAMI_REASON_STATE_RANGE;
    if (!(s->has & SAMI_HAS_TIMEOUT) || !(s->has & SAMI_HAS_REPLY))
        return SAMI_REASON_FIELD_MISSING;
    if (!addresses_are_ordinary(s->key.family, &s->reply))
        return SAMI_REASON_ADDRESS_SPECIAL;
    SamiTuple mirror;
    if (!sami_flow_key_mirror(&s->key, &mirror))
        return SAMI_REASON_TUPLE_INCONSISTENT;
    gboolean is_icmp = s->key.protocol == IPPROTO_ICMP || s->key.protocol == IPPROTO_ICMPV6;
    if (is_icmp && s->reply.dst_port != mirror.dst_port)
        return SAMI_REASON_TUPLE_INCONSISTENT;
    SamiReason reason = check_state(s);
    return reason != SAMI_REASON_NONE ? reason : check_addresses(s, policy);
}
