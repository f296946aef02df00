/* What helpers wait for goes along in the freeze (LIFECYCLE §5): there are few, and until then they come and go with every packet. */
#include <string.h>

#include "common/limits.h"
#include "exporter/exporter.h"
#include "firewall/expect.h"

#define ZONES_MAX 64u /* of one VM; beyond them an expectation does not find its master, and is counted */

/* The kernel does not say in which zone an expectation is: its master is looked for in those where helpers are. */
typedef struct {
    SamiExpectation expectation;
    guint n_masters;   /* that it may have */
    SamiSession master; /* the first of them */
} Candidate;

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
take(const SamiExpectation *e, gpointer user_data)
{
    Candidate candidate = { .expectation = *e };
    g_array_append_val((GArray *) user_data, candidate);
}

/* One look-up of all of them in one zone. */
static gboolean
look_in_zone(SamiFirewall *firewall, GArray *candidates, guint16 zone, GError **error)
{
    guint n = candidates->len;
    g_autofree SamiFlowKey *keys = g_new(SamiFlowKey, n);
    g_autofree SamiSession *found = g_new0(SamiSession, n);
    g_autofree gboolean *is_found = g_new0(gboolean, n);
    for (guint i = 0; i < n; i++) {
        keys[i] = g_array_index(candidates, Candidate, i).expectation.master;
        keys[i].zone = zone;
    }
    if (!sami_firewall_get(firewall, keys, n, found, is_found, error))
        return FALSE;
    for (guint i = 0; i < n; i++) {
        Candidate *candidate = &g_array_index(candidates, Candidate, i);
        if (!is_found[i] || !sami_flow_key_equal(&found[i].key, &keys[i]) || !(found[i].has & SAMI_HAS_HELPER))
            continue;
        if (candidate->n_masters++ == 0)
            candidate->master = found[i];
    }
    return TRUE;
}

typedef struct {
    const SamiExpectation *wanted;
    gboolean is_found;
} Search;

static void
compare(const SamiExpectation *e, gpointer user_data)
{
    Search *search = user_data;
    SamiExpectation here = *e;
    here.key.zone = here.master.zone = 0;
    search->is_found |= sami_expectation_is_same(&here, search->wanted);
}

/* The same addresses in several zones: the kernel is asked for the expectations of each. FALSE: it is in none of them any more. */
static gboolean
choose_zone(SamiFirewall *firewall, const GArray *zones, Candidate *candidate, GError **error)
{
    Search search = { .wanted = &candidate->expectation };
    for (guint i = 0; i < zones->len && !search.is_found; i++) {
        SamiFlowKey key = candidate->expectation.master;
        gboolean is_there = FALSE;
        key.zone = g_array_index(zones, guint16, i);
        if (!sami_firewall_get(firewall, &key, 1, &candidate->master, &is_there, error) ||
            !sami_firewall_expectations(firewall, &key, compare, &search, error))
            return FALSE;
        search.is_found &= is_there;
    }
    return search.is_found;
}

gboolean
sami_expectations_find(SamiFirewall *firewall, const GArray *zones, SamiExpectedFunc func, gpointer user_data, GError **error)
{
    g_autoptr(GArray) candidates = g_array_new(FALSE, TRUE, sizeof(Candidate));
    if (!sami_firewall_expectations(firewall, NULL, take, candidates, error))
        return FALSE;
    for (guint i = 0; i < zones->len; i++)
        if (!look_in_zone(firewall, candidates, g_array_index(zones, guint16, i), error))
            return FALSE;
    for (guint i = 0; i < candidates->len; i++) {
        Candidate *candidate = &g_array_index(candidates, Candidate, i);
        SamiExpectation *e = &candidate->expectation;
        g_autoptr(GError) local = NULL;
        gboolean is_known = candidate->n_masters == 1 || (candidate->n_masters > 1 && choose_zone(firewall, zones, candidate, &local));
        if (local) {
            g_propagate_error(error, g_steal_pointer(&local));
            return FALSE;
        }
        e->key.zone = e->master.zone = candidate->master.key.zone;
        if (is_known)
            func(e, &candidate->master, user_data);
    }
    return TRUE;
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
