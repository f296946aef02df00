/* The collector's samples (OPERATIONS §2). */
#include "collector/collector.h"
#include "transport/daemon.h"

#define ROLE "collector"

static void
add_migrations(const SamiCollector *collector, JsonArray *samples)
{
    static const struct {
        const gchar *result;
        SamiCollectorPhase phase;
    } results[] = { { "done", SAMI_PHASE_DONE }, { "aborted", SAMI_PHASE_ABORTED }, { "in-doubt", SAMI_PHASE_IN_DOUBT } };
    guint n[SAMI_N_PHASES] = { 0 };
    for (gsize i = 0; i < G_N_ELEMENTS(results); i++)
        sami_metrics_add(samples, SAMI_METRIC_MIGRATIONS, collector->n_results[results[i].phase],
                         SAMI_LABELS("role", ROLE, "result", results[i].result));
    for (guint i = 0; i < collector->migrations->len; i++) {
        const SamiCollectorMigration *m = g_ptr_array_index(collector->migrations, i);
        n[m->phase] += m->replication == NULL;
    }
    for (guint i = 0; i < SAMI_N_PHASES; i++)
        if (!sami_collector_is_over(i)) /* in doubt is not: somebody has to decide */
            sami_metrics_add(samples, SAMI_METRIC_ACTIVE, n[i],
                             SAMI_LABELS("role", ROLE, "phase", sami_collector_phase_name(i)));
}

static void
add_records(const SamiTotals *totals, JsonArray *samples)
{
    const struct {
        const gchar *outcome;
        guint64 n;
    } outcomes[] = { { "accepted", totals->n_accepted },   { "merged", totals->n_merged },     { "degraded", totals->n_degraded },
                     { "unchanged", totals->n_unchanged }, { "not-ours", totals->n_foreign }, { "refused", totals->n_refused } };
    for (gsize i = 0; i < G_N_ELEMENTS(outcomes); i++)
        sami_metrics_add(samples, SAMI_METRIC_RECORDS, outcomes[i].n,
                         SAMI_LABELS("role", ROLE, "kind", "session", "outcome", outcomes[i].outcome));
    for (guint i = 0; i < sami_n_sink_kinds; i++) {
        const gchar *kind = sami_sink_kinds[i]->name;
        sami_metrics_add(samples, SAMI_METRIC_RECORDS, totals->kinds[i].n_applied, SAMI_LABELS("role", ROLE, "kind", kind, "outcome", "accepted"));
        sami_metrics_add(samples, SAMI_METRIC_RECORDS, totals->kinds[i].n_unchanged, SAMI_LABELS("role", ROLE, "kind", kind, "outcome", "unchanged"));
        sami_metrics_add(samples, SAMI_METRIC_RECORDS, totals->kinds[i].n_refused, SAMI_LABELS("role", ROLE, "kind", kind, "outcome", "refused"));
    }
    sami_metrics_add(samples, SAMI_METRIC_RECORDS, totals->expected.n_applied,
                     SAMI_LABELS("role", ROLE, "kind", "expectation", "outcome", "accepted"));
    sami_metrics_add(samples, SAMI_METRIC_RECORDS, totals->expected.n_unchanged,
                     SAMI_LABELS("role", ROLE, "kind", "expectation", "outcome", "present"));
    sami_metrics_add(samples, SAMI_METRIC_RECORDS, totals->expected.n_refused,
                     SAMI_LABELS("role", ROLE, "kind", "expectation", "outcome", "refused"));
}

static void
add_refusals(const SamiCollector *collector, const SamiTotals *totals, JsonArray *samples)
{
    for (guint i = 1; i < SAMI_N_REASONS; i++)
        if (sami_reason_is_known(i))
            sami_metrics_add(samples, SAMI_METRIC_REFUSALS, (collector->refused_messages[i] + totals->refused[i]),
                             SAMI_LABELS("reason", sami_reason_id(i)));
    for (guint i = 1; i < SAMI_N_RULES; i++)
        if (sami_rule_where(i) & SAMI_RULE_IN_STREAM)
            sami_metrics_add(samples, SAMI_METRIC_MALFORMED, collector->broken_rules[i], SAMI_LABELS("role", ROLE, "rule", sami_rule_id(i)));
    for (guint i = 0; i < SAMI_N_HANDSHAKE_CAUSES; i++) {
        g_autofree gchar *reason = g_strconcat("handshake-", sami_handshake_cause_id(i), NULL);
        sami_metrics_add(samples, SAMI_METRIC_REFUSALS, collector->refused_handshakes[i],
                         SAMI_LABELS("reason", g_strdelimit(reason, "_", '-')));
    }
}

/* A peer that nothing comes from now is neither up nor down. */
static void
add_peers(const SamiCollector *collector, JsonArray *samples)
{
    g_autoptr(GHashTable) peers = g_hash_table_new(g_str_hash, g_str_equal);
    GHashTableIter iter;
    gpointer peer, is_up;
    for (guint i = 0; i < collector->migrations->len; i++) {
        const SamiCollectorMigration *m = g_ptr_array_index(collector->migrations, i);
        gboolean was_up = GPOINTER_TO_INT(g_hash_table_lookup(peers, m->peer));
        if (m->replication || (!sami_collector_is_over(m->phase) && m->phase != SAMI_PHASE_IN_DOUBT))
            g_hash_table_insert(peers, m->peer, GINT_TO_POINTER(was_up || m->session != NULL));
    }
    g_hash_table_iter_init(&iter, peers);
    while (g_hash_table_iter_next(&iter, &peer, &is_up))
        sami_metrics_add(samples, SAMI_METRIC_PEER_UP, GPOINTER_TO_INT(is_up), SAMI_LABELS("role", ROLE, "peer", peer));
}

void
sami_collector_metrics(SamiCollector *collector, SamiControlClient *client, JsonObject *request)
{
    JsonObject *answer = json_object_new();
    JsonArray *samples = json_array_new();
    SamiTotals totals;
    guint64 n_entries, max;
    sami_collector_totals(collector, &totals);
    sami_metrics_add_build(samples, ROLE);
    sami_metrics_add(samples, SAMI_METRIC_KEY_LOG, collector->config->key_log != NULL, SAMI_LABELS("role", ROLE));
    sami_metrics_add(samples, SAMI_METRIC_SANDBOX, sami_daemon_is_sandboxed(collector->config), SAMI_LABELS("role", ROLE));
    sami_metrics_add(samples, SAMI_METRIC_NETWORK_ROOT, sami_daemon_keeps_root(collector->config), SAMI_LABELS("role", ROLE));
    add_migrations(collector, samples);
    add_records(&totals, samples);
    add_refusals(collector, &totals, samples);
    add_peers(collector, samples);
    sami_collector_shares_measure(collector, ROLE, samples);
    if (sami_firewall_headroom(collector->firewall, &n_entries, &max, NULL)) {
        sami_metrics_add(samples, SAMI_METRIC_ENTRIES, n_entries, NULL);
        sami_metrics_add(samples, SAMI_METRIC_ENTRIES_LIMIT, max, NULL);
    }
    if (collector->config->journal)
        sami_metrics_add(samples, SAMI_METRIC_JOURNAL, (gdouble) sami_journal_size(collector->config->journal_dir), NULL);
    json_object_set_array_member(answer, "samples", samples);
    sami_control_finish(client, SAMI_EXIT_DONE, answer, NULL);
}
