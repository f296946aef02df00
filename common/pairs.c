#include "common/pairs.h"

#include <arpa/inet.h>
#include <string.h>

#include "common/value.h"

static const gchar *const allowed[] = {
    [SAMI_PAIRS_VLANS] = "VLAN:ZONE, a VLAN from 1 to 4094 and a conntrack zone from 0 to 65535, as in 10:1",
    [SAMI_PAIRS_ADDRESSES] = ("two addresses or prefixes of the same length, without bits beyond it, as in 10.0.0.0/24:10.1.0.0/24 or "
                              "2001:db8:a::/64:2001:db8:b::/64, IPv6 always with its length"),
    [SAMI_PAIRS_MARKS] = "VALUE/MASK:VALUE/MASK, values without bits beyond their mask, as in 0x1/0xff:0x10/0xff",
    [SAMI_PAIRS_LABELS] = "BIT:BIT, each from 0 to 127, as in 3:7",
};

static void
set_number(SamiPattern *pattern, guint32 value, guint32 mask)
{
    guint32 value_be = GUINT32_TO_BE(value), mask_be = GUINT32_TO_BE(mask);
    memcpy(pattern->value, &value_be, sizeof value_be);
    memcpy(pattern->mask, &mask_be, sizeof mask_be);
}

static gboolean
read_number(const gchar *text, guint64 min, guint64 max, SamiPattern *ret)
{
    guint64 number = 0;
    if (!sami_value_uint(text, min, max, &number, NULL))
        return FALSE;
    set_number(ret, (guint32) number, G_MAXUINT32);
    return TRUE;
}

static gboolean
read_mark(const gchar *text, SamiPattern *ret)
{
    const gchar *slash = strchr(text, '/');
    g_autofree gchar *first = slash ? g_strndup(text, (gsize) (slash - text)) : g_strdup(text);
    guint64 value = 0, mask = G_MAXUINT32;
    if (!sami_value_uint(first, 0, G_MAXUINT32, &value, NULL) || (slash && !sami_value_uint(slash + 1, 1, G_MAXUINT32, &mask, NULL)) ||
        (value & ~mask) != 0)
        return FALSE;
    set_number(ret, (guint32) value, (guint32) mask);
    return TRUE;
}

static gboolean
read_prefix(const gchar *text, SamiPattern *ret)
{
    const gchar *slash = strchr(text, '/');
    g_autofree gchar *address = slash ? g_strndup(text, (gsize) (slash - text)) : g_strdup(text);
    guint8 family = strchr(text, ':') ? 6 : 4;
    guint64 length = family == 4 ? 32 : 128;
    if ((slash && !g_ascii_string_to_unsigned(slash + 1, 10, 0, length, &length, NULL)) ||
        inet_pton(family == 4 ? AF_INET : AF_INET6, address, ret->value) != 1)
        return FALSE;
    ret->family = family;
    for (guint i = 0; i < length; i++)
        ret->mask[i / 8] |= (guint8) (0x80 >> (i % 8));
    for (guint i = 0; i < sizeof ret->value; i++)
        if (ret->value[i] & ~ret->mask[i])
            return FALSE;
    return TRUE;
}

/* The colon between the sides. IPv6 has colons of its own, all of them before its length. */
static const gchar *
find_colon(const gchar *text)
{
    const gchar *slash = strchr(text, '/'), *first = strchr(text, ':'), *second = first ? strchr(first + 1, ':') : NULL;
    return slash && second && second < slash ? strchr(slash, ':') : first;
}

static gboolean
read_pair(SamiPairsKind kind, const gchar *text, SamiPair *ret)
{
    const gchar *colon = find_colon(text);
    g_autofree gchar *left = colon ? g_strndup(text, (gsize) (colon - text)) : NULL;
    SamiPair pair = { 0 };
    gboolean is_read = FALSE;
    if (!colon)
        return FALSE;
    const gchar *right = colon + 1;
    switch (kind) {
    case SAMI_PAIRS_VLANS: is_read = read_number(left, 1, 4094, &pair.from) && read_number(right, 0, 65535, &pair.to); break;
    case SAMI_PAIRS_LABELS: is_read = read_number(left, 0, 127, &pair.from) && read_number(right, 0, 127, &pair.to); break;
    case SAMI_PAIRS_MARKS: is_read = read_mark(left, &pair.from) && read_mark(right, &pair.to); break;
    case SAMI_PAIRS_ADDRESSES:
        is_read = read_prefix(left, &pair.from) && read_prefix(right, &pair.to) && pair.from.family == pair.to.family &&
                  memcmp(pair.from.mask, pair.to.mask, sizeof pair.to.mask) == 0;
        break;
    default: return FALSE;
    }
    if (is_read)
        *ret = pair;
    return is_read;
}

/* Is there anything that both stand for? */
static gboolean
overlap(const SamiPattern *a, const SamiPattern *b)
{
    if (a->family != b->family)
        return FALSE;
    for (guint i = 0; i < sizeof a->value; i++)
        if ((a->value[i] ^ b->value[i]) & a->mask[i] & b->mask[i])
            return FALSE;
    return TRUE;
}

GArray *
sami_pairs_parse(SamiPairsKind kind, GStrv texts, GError **error)
{
    g_autoptr(GArray) pairs = g_array_new(FALSE, TRUE, sizeof(SamiPair));
    for (guint i = 0; texts && texts[i]; i++) {
        SamiPair pair;
        g_autofree gchar *quoted = g_strescape(texts[i], NULL);
        if (!read_pair(kind, texts[i], &pair)) {
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "'%.100s' is no pair; allowed: %s", quoted, allowed[kind]);
            return NULL;
        }
        for (guint k = 0; k < i; k++) {
            const SamiPair *other = &g_array_index(pairs, SamiPair, k);
            gboolean is_left = overlap(&pair.from, &other->from);
            if (!is_left && !overlap(&pair.to, &other->to))
                continue;
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "'%s' and '%s' overlap in their %s sides; allowed: each side stands for something of its own, "
                        "so that the map has an inverse", texts[k], texts[i], is_left ? "left" : "right");
            return NULL;
        }
        g_array_append_val(pairs, pair);
    }
    return g_steal_pointer(&pairs);
}

gboolean
sami_pattern_matches(const SamiPattern *pattern, guint8 family, const guint8 octets[16])
{
    if (pattern->family != family)
        return FALSE;
    for (guint i = 0; i < sizeof pattern->value; i++)
        if ((octets[i] ^ pattern->value[i]) & pattern->mask[i])
            return FALSE;
    return TRUE;
}

guint32
sami_pattern_number(const SamiPattern *pattern)
{
    guint32 value_be;
    memcpy(&value_be, pattern->value, sizeof value_be);
    return GUINT32_FROM_BE(value_be);
}

static void
replace(const SamiPattern *from, const SamiPattern *to, guint8 octets[16])
{
    for (guint i = 0; i < sizeof to->value; i++)
        octets[i] = (guint8) ((octets[i] & ~from->mask[i] & ~to->mask[i]) | to->value[i]);
}

gboolean
sami_pairs_apply(const GArray *pairs, guint8 family, guint8 octets[16])
{
    for (guint i = 0; i < pairs->len; i++) {
        const SamiPair *pair = &g_array_index(pairs, SamiPair, i);
        if (sami_pattern_matches(&pair->from, family, octets)) {
            replace(&pair->from, &pair->to, octets);
            return TRUE;
        }
    }
    return FALSE;
}

gboolean
sami_pairs_apply_back(const GArray *pairs, guint8 family, guint8 octets[16])
{
    for (guint i = 0; i < pairs->len; i++) {
        const SamiPair *pair = &g_array_index(pairs, SamiPair, i);
        if (sami_pattern_matches(&pair->to, family, octets)) {
            replace(&pair->to, &pair->from, octets);
            return TRUE;
        }
    }
    return FALSE;
}
