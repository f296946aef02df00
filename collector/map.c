#include "collector/map.h"

#include <string.h>

#include "common/pairs.h"
#include "common/vlans.h"

struct SamiMap {
    SamiVlans *vlans;  /* (nullable) */
    GArray *addresses; /* these of SamiPair */
    GArray *marks;
    GArray *labels;
    guint32 mark_mask;
};

static void
clear(gpointer data)
{
    SamiMap *map = data;
    sami_vlans_unref(map->vlans);
    g_clear_pointer(&map->addresses, g_array_unref);
    g_clear_pointer(&map->marks, g_array_unref);
    g_clear_pointer(&map->labels, g_array_unref);
}

SamiMap *
sami_map_ref(SamiMap *map)
{
    return map ? g_rc_box_acquire(map) : NULL;
}

void
sami_map_unref(SamiMap *map)
{
    if (map)
        g_rc_box_release_full(map, clear);
}

static gboolean
load_pairs(SamiPairsKind kind, GStrv texts, const gchar *key, GArray **ret, GError **error)
{
    g_autoptr(GError) local = NULL;
    *ret = sami_pairs_parse(kind, texts, &local);
    if (!*ret) /* the configuration has checked it when it was read */
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s: %s", key, local->message);
    return *ret != NULL;
}

gboolean
sami_map_load(const SamiConfig *config, const SamiConfigSigner *signer, SamiMap **ret_map, GError **error)
{
    SamiMap *map = g_rc_box_new0(SamiMap);
    map->mark_mask = (guint32) config->mark_mask;
    if (!sami_vlans_load(config->vlans, &map->vlans, error) ||
        !load_pairs(SAMI_PAIRS_ADDRESSES, signer->map_addresses, "map-addresses", &map->addresses, error) ||
        !load_pairs(SAMI_PAIRS_MARKS, signer->map_marks, "map-marks", &map->marks, error) ||
        !load_pairs(SAMI_PAIRS_LABELS, signer->map_labels, "map-labels", &map->labels, error)) {
        sami_map_unref(map);
        return FALSE;
    }
    gboolean is_used = map->vlans || map->addresses->len > 0 || map->marks->len > 0 || map->labels->len > 0 || map->mark_mask != G_MAXUINT32;
    if (!is_used)
        g_clear_pointer(&map, sami_map_unref);
    *ret_map = map;
    return TRUE;
}

/* About the map itself: then the record is still as its sender sent it. */
static gboolean
is_of_map(SamiReason reason)
{
    return reason == SAMI_REASON_VLAN_UNKNOWN || reason == SAMI_REASON_ZONE_OF_VLAN || reason == SAMI_REASON_MAP_CLASH;
}

/* An address that a pair gives to another one, and that has itself no pair: two of theirs would be one here. */
static gboolean
is_given(const SamiMap *map, guint8 family, const SamiAddress *address)
{
    for (guint i = 0; i < map->addresses->len; i++)
        if (sami_pattern_matches(&g_array_index(map->addresses, SamiPair, i).to, family, address->octets))
            return TRUE;
    return FALSE;
}

/* Both addresses, or MAP_CLASH: untouched. */
static SamiReason
map_tuple(const SamiMap *map, guint8 family, SamiTuple *tuple)
{
    SamiTuple copy = *tuple;
    SamiAddress *addresses[] = { &copy.src, &copy.dst };
    if (!map || map->addresses->len == 0)
        return SAMI_REASON_NONE;
    for (guint i = 0; i < G_N_ELEMENTS(addresses); i++)
        if (!sami_pairs_apply(map->addresses, family, addresses[i]->octets) && is_given(map, family, addresses[i]))
            return SAMI_REASON_MAP_CLASH;
    *tuple = copy;
    return SAMI_REASON_NONE;
}

SamiReason
sami_map_prefix(const SamiMap *map, SamiPrefix *prefix)
{
    guint max = prefix->family == 4 ? 32 : 128;
    SamiPattern whole = { .family = prefix->family };
    if (!map || prefix->length > max)
        return SAMI_REASON_NONE;
    memcpy(whole.value, prefix->address.octets, sizeof whole.value);
    for (guint i = 0; i < prefix->length; i++)
        whole.mask[i / 8] |= (guint8) (0x80 >> (i % 8));
    for (guint i = 0; i < map->addresses->len; i++) {
        const SamiPair *pair = &g_array_index(map->addresses, SamiPair, i);
        gboolean is_narrower = memcmp(pair->from.mask, whole.mask, sizeof whole.mask) > 0; /* octets of 1 bits before 0 bits */
        if (is_narrower && (sami_pattern_matches(&whole, pair->from.family, pair->from.value) ||
                            sami_pattern_matches(&whole, pair->to.family, pair->to.value)))
            return SAMI_REASON_MAP_CLASH;
    }
    if (!sami_pairs_apply(map->addresses, prefix->family, prefix->address.octets) && is_given(map, prefix->family, &prefix->address))
        return SAMI_REASON_MAP_CLASH;
    return SAMI_REASON_NONE;
}

static guint32
map_mark(const SamiMap *map, guint32 mark)
{
    guint32 mark_be = GUINT32_TO_BE(mark);
    guint8 octets[16] = { 0 };
    memcpy(octets, &mark_be, sizeof mark_be);
    sami_pairs_apply(map->marks, 0, octets);
    memcpy(&mark_be, octets, sizeof mark_be);
    return GUINT32_FROM_BE(mark_be);
}

/* Those that no pair names stay. */
static void
map_labels(const SamiMap *map, guint8 labels[16])
{
    guint8 old[16];
    memcpy(old, labels, sizeof old);
    for (guint i = 0; i < map->labels->len; i++)
        sami_labels_put(labels, sami_pattern_number(&g_array_index(map->labels, SamiPair, i).from), FALSE);
    for (guint i = 0; i < map->labels->len; i++) {
        const SamiPair *pair = &g_array_index(map->labels, SamiPair, i);
        if (sami_labels_have(old, sami_pattern_number(&pair->from)))
            sami_labels_put(labels, sami_pattern_number(&pair->to), TRUE);
    }
}

/* Zone 0 of one direction, where the other has another one, is no segment but the kernel's word for "in none" (nf_ct_zone_id()). */
static SamiReason
map_zone(const SamiMap *map, const SamiSession *s, guint16 *ret_zone)
{
    guint16 reply_zone = (s->has & SAMI_HAS_REPLY_ZONE) ? s->reply_zone : 0;
    if (reply_zone && sami_vlans_of_zone(map->vlans, reply_zone))
        return SAMI_REASON_ZONE_OF_VLAN;
    if (s->has & SAMI_HAS_VLAN)
        return sami_vlans_zone(map->vlans, s->vlan, ret_zone) ? SAMI_REASON_NONE : SAMI_REASON_VLAN_UNKNOWN;
    return !reply_zone && sami_vlans_of_zone(map->vlans, s->key.zone) ? SAMI_REASON_ZONE_OF_VLAN : SAMI_REASON_NONE;
}

static SamiReason
map_tuples(const SamiMap *map, SamiSession *s)
{
    SamiTuple *const tuples[] = { &s->key.orig, (s->has & SAMI_HAS_REPLY) ? &s->reply : NULL, (s->has & SAMI_HAS_MASTER) ? &s->master.orig : NULL };
    SamiReason reason = SAMI_REASON_NONE;
    for (guint i = 0; reason == SAMI_REASON_NONE && map->addresses->len > 0 && i < G_N_ELEMENTS(tuples); i++)
        if (tuples[i])
            reason = map_tuple(map, s->key.family, tuples[i]);
    return reason;
}

SamiReason
sami_map_session(const SamiMap *map, SamiSession *session, guint64 *ret_n_cut)
{
    if (!map)
        return (session->has & SAMI_HAS_VLAN) ? SAMI_REASON_VLAN_UNKNOWN : SAMI_REASON_NONE;
    SamiSession mapped = *session, *s = &mapped;
    SamiReason reason = map_zone(map, s, &s->key.zone);
    if (reason == SAMI_REASON_NONE)
        reason = map_tuples(map, s);
    if (reason != SAMI_REASON_NONE)
        return reason;
    if (s->has & SAMI_HAS_MASTER)
        s->master.zone = s->key.zone;
    if ((s->has & SAMI_HAS_VLAN) && (s->has & SAMI_HAS_REPLY_ZONE) && s->reply_zone == s->key.zone) /* zone 0 has no direction */
        s->has &= ~(guint32) SAMI_HAS_REPLY_ZONE;
    if (s->has & SAMI_HAS_MARK) {
        guint32 mark = map_mark(map, s->mark);
        s->mark = mark & map->mark_mask;
        if (ret_n_cut && s->mark != mark)
            ++*ret_n_cut;
    }
    if ((s->has & SAMI_HAS_LABELS) && map->labels->len > 0)
        map_labels(map, s->labels);
    *session = mapped;
    return SAMI_REASON_NONE;
}

SamiReason
sami_map_expectation(const SamiMap *map, SamiExpectation *expectation)
{
    gboolean has_vlan = (expectation->has & SAMI_EXPECT_HAS_VLAN) != 0;
    if (!map)
        return has_vlan ? SAMI_REASON_VLAN_UNKNOWN : SAMI_REASON_NONE;
    SamiExpectation e = *expectation;
    SamiTuple translation = { .src = e.nat_address };
    SamiTuple *const tuples[] = { &e.key.orig, &e.master.orig, &translation };
    if (has_vlan ? !sami_vlans_zone(map->vlans, e.vlan, &e.key.zone) : sami_vlans_of_zone(map->vlans, e.key.zone) != 0)
        return has_vlan ? SAMI_REASON_VLAN_UNKNOWN : SAMI_REASON_ZONE_OF_VLAN;
    for (guint i = 0; map->addresses->len > 0 && i < G_N_ELEMENTS(tuples); i++) {
        SamiReason reason = map_tuple(map, e.key.family, tuples[i]);
        if (reason != SAMI_REASON_NONE)
            return reason;
    }
    e.master.zone = e.key.zone;
    e.nat_address = translation.src;
    *expectation = e;
    return SAMI_REASON_NONE;
}

void
sami_map_key_back(const SamiMap *map, SamiFlowKey *key)
{
    if (!map)
        return;
    guint16 vlan = sami_vlans_of_zone(map->vlans, key->zone);
    sami_pairs_apply_back(map->addresses, key->family, key->orig.src.octets);
    sami_pairs_apply_back(map->addresses, key->family, key->orig.dst.octets);
    if (vlan == 0)
        return;
    key->zone = vlan;
    key->family |= SAMI_FLOW_KEY_VLAN;
}

SamiFlowKey
sami_map_key_told(const SamiMap *map, SamiReason reason, const SamiFlowKey *key, guint16 vlan)
{
    SamiFlowKey theirs = *key;
    if (!is_of_map(reason)) {
        sami_map_key_back(map, &theirs);
    } else if (vlan) { /* it was not mapped */
        theirs.zone = vlan;
        theirs.family |= SAMI_FLOW_KEY_VLAN;
    }
    return theirs;
}
