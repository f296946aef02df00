#include "common/vlans.h"

#include "common/pairs.h"

#define VLANS 4096u

struct SamiVlans {
    gboolean has_zone[VLANS];
    guint16 zones[VLANS];
    guint16 vlans[G_MAXUINT16 + 1]; /* of a zone; 0: none */
};

gboolean
sami_vlans_load(GStrv texts, SamiVlans **ret_vlans, GError **error)
{
    g_autoptr(GArray) pairs = sami_pairs_parse(SAMI_PAIRS_VLANS, texts, error);
    if (!pairs)
        return FALSE;
    *ret_vlans = pairs->len > 0 ? g_rc_box_new0(SamiVlans) : NULL;
    for (guint i = 0; i < pairs->len; i++) {
        const SamiPair *pair = &g_array_index(pairs, SamiPair, i);
        guint32 vlan = sami_pattern_number(&pair->from), zone = sami_pattern_number(&pair->to);
        (*ret_vlans)->has_zone[vlan] = TRUE;
        (*ret_vlans)->zones[vlan] = (guint16) zone;
        (*ret_vlans)->vlans[zone] = (guint16) vlan;
    }
    return TRUE;
}

SamiVlans *
sami_vlans_ref(SamiVlans *vlans)
{
    return vlans ? g_rc_box_acquire(vlans) : NULL;
}

void
sami_vlans_unref(SamiVlans *vlans)
{
    if (vlans)
        g_rc_box_release(vlans);
}

guint16
sami_vlans_of_zone(const SamiVlans *vlans, guint16 zone)
{
    return vlans ? vlans->vlans[zone] : 0;
}

gboolean
sami_vlans_zone(const SamiVlans *vlans, guint vlan, guint16 *ret_zone)
{
    if (!vlans || vlan >= VLANS || !vlans->has_zone[vlan])
        return FALSE;
    *ret_zone = vlans->zones[vlan];
    return TRUE;
}

gchar *
sami_vlans_to_string(const SamiVlans *vlans)
{
    GString *text = g_string_new(NULL);
    for (guint vlan = 0; vlans && vlan < VLANS; vlan++)
        if (vlans->has_zone[vlan])
            g_string_append_printf(text, "%s%u", text->len ? ", " : "", vlan);
    return g_string_free(text, FALSE);
}
