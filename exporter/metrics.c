/* The exporter's samples (OPERATIONS §2). */
#include "exporter/exporter.h"
#include "exporter/kinds.h"
#include "transport/daemon.h"

#define ROLE "exporter"

static void
add_migrations(const SamiExporter *exporter, JsonArray *samples)
{
    static const struct {
        const gchar *result;
        SamiExporterState state;
    } results[] = { { "done", SAMI_STATE_DONE }, { "aborted", SAMI_STATE_ABORTED }, { "failed", SAMI_STATE_FAILED }, { "in-doubt", SAMI_STATE_IN_DOUBT } };
    guint n[SAMI_N_STATES] = { 0 };
    for (gsize i = 0; i < G_N_ELEMENTS(results); i++)
        sami_metrics_add(samples, SAMI_METRIC_MIGRATIONS, exporter->n_results[results[i].state],
                         SAMI_LABELS("role", ROLE, "result", results[i].result));
    for (guint i = 0; i < exporter->migrations->len; i++) {
        const SamiMigration *m = g_ptr_array_index(exporter->migrations, i);
        n[m->state] += m->replication == NULL;
    }
    for (guint i = 0; i < SAMI_N_STATES; i++)
        if (!sami_exporter_is_over(i))
            sami_metrics_add(samples, SAMI_METRIC_ACTIVE, n[i],
                             SAMI_LABELS("role", ROLE, "phase", sami_exporter_state_name(i)));
}

/* A peer that nothing goes to now is neither up nor down. */
static void
add_peers(SamiExporter *exporter, JsonArray *samples)
{
    g_autoptr(GHashTable) peers = g_hash_table_new(g_str_hash, g_str_equal);
    JsonArray *replications = sami_replications_describe(exporter);
    GHashTableIter iter;
    gpointer peer, is_up;
    for (guint i = 0; i < exporter->migrations->len; i++) {
        const SamiMigration *m = g_ptr_array_index(exporter->migrations, i);
        gboolean was_up = GPOINTER_TO_INT(g_hash_table_lookup(peers, m->peer->name));
        if (!m->replication && !sami_exporter_is_over(m->state))
            g_hash_table_insert(peers, m->peer->name, GINT_TO_POINTER(was_up || m->is_bound));
    }
    for (guint i = 0; i < json_array_get_length(replications); i++) {
        JsonObject *r = json_array_get_object_element(replications, i);
        const gchar *name = json_object_get_string_member(r, "peer");
        gboolean was_up = GPOINTER_TO_INT(g_hash_table_lookup(peers, name));
        g_hash_table_insert(peers, (gpointer) name, GINT_TO_POINTER(was_up || json_object_get_boolean_member(r, "up")));
        sami_metrics_add(samples, SAMI_METRIC_LAG, json_object_get_double_member(r, "lag_s"), SAMI_LABELS("peer", name));
    }
    g_hash_table_iter_init(&iter, peers);
    while (g_hash_table_iter_next(&iter, &peer, &is_up))
        sami_metrics_add(samples, SAMI_METRIC_PEER_UP, GPOINTER_TO_INT(is_up), SAMI_LABELS("role", ROLE, "peer", peer));
    json_array_unref(replications);
}

static void
add_table(JsonArray *samples)
{
    g_autoptr(SamiFirewall) firewall = sami_firewall_linux_new(NULL);
    guint64 n_entries, max;
    if (!firewall || !sami_firewall_headroom(firewall, &n_entries, &max, NULL))
        return;
    sami_metrics_add(samples, SAMI_METRIC_ENTRIES, n_entries, NULL);
    sami_metrics_add(samples, SAMI_METRIC_ENTRIES_LIMIT, max, NULL);
}

void
sami_exporter_metrics(SamiExporter *exporter, SamiControlClient *client, JsonObject *request)
{
    JsonObject *answer = json_object_new();
    JsonArray *samples = json_array_new();
    sami_metrics_add_build(samples, ROLE);
    sami_metrics_add(samples, SAMI_METRIC_KEY_LOG, exporter->config->key_log != NULL, SAMI_LABELS("role", ROLE));
    sami_metrics_add(samples, SAMI_METRIC_SANDBOX, sami_daemon_is_sandboxed(exporter->config), SAMI_LABELS("role", ROLE));
    sami_metrics_add(samples, SAMI_METRIC_NETWORK_ROOT, sami_daemon_keeps_root(exporter->config), SAMI_LABELS("role", ROLE));
    add_migrations(exporter, samples);
    sami_metrics_add(samples, SAMI_METRIC_RECORDS, exporter->n_sessions,
                     SAMI_LABELS("role", ROLE, "kind", "session", "outcome", "sent"));
    sami_metrics_add(samples, SAMI_METRIC_RECORDS, exporter->n_not_vm_end,
                     SAMI_LABELS("role", ROLE, "kind", "session", "outcome", "not-vm-end"));
    for (guint i = 0; i < sami_n_source_kinds; i++)
        sami_metrics_add(samples, SAMI_METRIC_RECORDS, exporter->n_kind_sent[i],
                         SAMI_LABELS("role", ROLE, "kind", sami_source_kinds[i]->name, "outcome", "sent"));
    for (guint i = 1; i < SAMI_N_RULES; i++)
        if (sami_rule_where(i) & SAMI_RULE_IN_STREAM)
            sami_metrics_add(samples, SAMI_METRIC_MALFORMED, exporter->n_broken_rules[i], SAMI_LABELS("role", ROLE, "rule", sami_rule_id(i)));
    sami_metrics_add_histogram(samples, SAMI_METRIC_FREEZE_READY, &exporter->freeze_ready);
    sami_metrics_add(samples, SAMI_METRIC_OVERRUNS, exporter->n_overruns, NULL);
    add_peers(exporter, samples);
    add_table(samples);
    json_object_set_array_member(answer, "samples", samples);
    sami_control_finish(client, SAMI_EXIT_DONE, answer, NULL);
}
