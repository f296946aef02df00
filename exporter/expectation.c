/* What helpers wait for goes along in the freeze (LIFECYCLE §5): there are few, and until then they come and go with every packet. */
#include <string.h>

#include "common/limits.h"
#include "exporter/exporter.h"
#include "firewall/expect.h"

#define ZONES_MAX 64u /* of one VM; beyond them an expectation does not find its master, and is counted */

void
sami_expectations_see(SamiMigration *m, const SamiSession *s)
{
    if (!(s->has & SAMI_HAS_HELPER))
        return;
    if (!m->helped_zones)
        m->helped_zones = g_array_new(FALSE, FALSE, sizeof(guint16));
    for (guint i = 0; i < m->helped_zones->len; i++)
        if (g_array_index(m->helped_zones, guint16, i) == s->key.zone)
            return;
    if (m->helped_zones->len < ZONES_MAX)
        g_array_append_val(m->helped_zones, s->key.zone);
}

static void
send_one(const SamiExpectation *e, const SamiSession *master, gpointer user_data)
{
    SamiMigration *m = user_data;
    SamiRecord record = { .kind = SAMI_RECORD_EXPECTATION, .expectation = *e };
    if (!sami_source_selects(m->source, master) || sami_ignore_is(m->ignored, m->vm, master))
        return;
    if (m->n_expectations >= m->expectations_max) {
        m->n_expectations_left++;
        return;
    }
    record.expectation.action = SAMI_ACTION_CREATED;
    record.expectation.timeout_s = MAX(e->timeout_s, 1); /* its last second */
    record.expectation.has &= ~(guint32) SAMI_EXPECT_HAS_ID;
    sami_vlan_name_expectation(m->vlans, &record.expectation);
    if (sami_link_add(m, &record))
        m->n_expectations++;
}

void
sami_expectations_send(SamiMigration *m)
{
    g_autoptr(GError) error = NULL;
    guint64 n_sent = m->n_expectations, n_left = m->n_expectations_left;
    if (!m->helped_zones || m->replication)
        return;
    m->expectations_max = n_sent + SAMI_EXPECTATIONS_MAX;
    if (!sami_expectations_find(sami_source_firewall(m->source), m->helped_zones, send_one, m, &error)) { /* the flows themselves are complete: they move all the same */
        m->n_expectations_left++;
        g_warning("%.8s: what helpers wait for cannot be read, and is not sent: %s", m->hex, error->message);
    } else if (m->n_expectations_left > n_left) {
        g_warning("%.8s: more than %u expectations: the rest is not sent", m->hex, SAMI_EXPECTATIONS_MAX);
    }
    m->exporter->n_expectations += m->n_expectations - n_sent;
    m->exporter->n_expectations_left += m->n_expectations_left - n_left;
}
