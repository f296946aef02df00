/* What a record calls the segment of its flow and which bits of its mark leave, and the way back from what a collector names. Everything else at
 * the source knows this firewall's own zones only. */
#include "exporter/exporter.h"

void
sami_vlan_name(SamiExporter *exporter, const SamiConfig *config, const SamiVlans *vlans, SamiSession *s)
{
    gboolean is_reply_only = (s->has & SAMI_HAS_REPLY_ZONE) && s->reply_zone; /* then the key's 0 is no segment */
    guint16 vlan = is_reply_only ? 0 : sami_vlans_of_zone(vlans, s->key.zone);
    guint32 mark = s->mark & (guint32) config->mark_mask;
    if ((s->has & SAMI_HAS_MARK) && mark != s->mark) {
        exporter->n_marks_masked++;
        s->mark = mark;
    }
    if (vlan == 0)
        return;
    s->has |= SAMI_HAS_VLAN;
    s->vlan = vlan;
    s->key.zone = s->master.zone = 0;
}

void
sami_vlan_name_expectation(const SamiVlans *vlans, SamiExpectation *e)
{
    guint16 vlan = sami_vlans_of_zone(vlans, e->key.zone);
    if (vlan == 0)
        return;
    e->has |= SAMI_EXPECT_HAS_VLAN;
    e->vlan = vlan;
    e->key.zone = e->master.zone = 0;
}

void
sami_vlan_own_key(const SamiVlans *vlans, SamiFlowKey *key)
{
    if ((key->family & SAMI_FLOW_KEY_VLAN) && sami_vlans_zone(vlans, key->zone, &key->zone))
        key->family &= (guint8) ~SAMI_FLOW_KEY_VLAN;
}

gboolean
sami_vlan_select(const SamiExporter *exporter, JsonObject *request, gboolean *ret_has_zone, guint16 *ret_zone, GError **error)
{
    gboolean has_vlan = json_object_has_member(request, "vlan"), has_zone = json_object_has_member(request, "zone");
    guint16 vlan = (guint16) json_object_get_int_member_with_default(request, "vlan", 0);
    guint16 zone = (guint16) json_object_get_int_member_with_default(request, "zone", 0), of_vlan = 0;
    if (has_vlan && !sami_vlans_zone(exporter->vlans, vlan, &of_vlan)) {
        g_autofree gchar *known = sami_vlans_to_string(exporter->vlans);
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "VLAN %u has no zone here: vlans in %s names %s", vlan, exporter->config->path,
                    *known ? known : "none");
        return FALSE;
    }
    if (has_vlan && has_zone && zone != of_vlan) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "VLAN %u is zone %u here, not zone %u: name one of them", vlan, of_vlan, zone);
        return FALSE;
    }
    /* The same addresses may be another VM's in another VLAN, and what moves may be purged here. */
    if (exporter->vlans && !has_vlan && !has_zone) {
        g_autofree gchar *known = sami_vlans_to_string(exporter->vlans);
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE,
                    "name the VM's VLAN (--vlan, or vlan= in its file in vms.d; known are %s), or its zone (--zone): its addresses may be in use in "
                    "more than one", known);
        return FALSE;
    }
    *ret_has_zone = has_vlan || has_zone;
    *ret_zone = has_vlan ? of_vlan : zone;
    return TRUE;
}
