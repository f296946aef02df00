/* Expectations with what a dump of them does not say: zone and master. */
#include "firewall/expect.h"

/* The kernel does not say in which zone an expectation is: its master is looked for in those where helpers are. */
typedef struct {
    SamiExpectation expectation;
    guint n_masters;   /* that it may have */
    SamiSession master; /* the first of them */
} Candidate;

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
