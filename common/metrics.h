/* Metrics in Prometheus's text format (version 0.0.4): one table of what there is, samples as the daemons send them, the text.
 *
 * A sample is a JSON object {"metric", "suffix", "labels", "value"}. Labels never hold a VM, an address or the id of a migration: each
 * set of labels is a time series of its own, and there must be few. Units are base units; counters only grow until the daemon is
 * started anew. */
#pragma once

#include <json-glib/json-glib.h>

#include "common/error.h"

#define SAMI_METRICS(X) \
    X(MIGRATIONS, "sami_migrations_total", "counter", "Migrations and streams of replications that have ended, by role and result.") \
    X(ACTIVE, "sami_migrations_active", "gauge", "Migrations now, by role and phase.") \
    X(RECORDS, "sami_records_total", "counter", "Records sent or received, by role, kind and outcome.") \
    X(REFUSALS, "sami_refusals_total", "counter", "What the collector has refused, by reason.") \
    X(MALFORMED, "sami_malformed_total", "counter", "Messages of a peer that break a rule of IPFIX or of the protocol, by role and rule.") \
    X(FREEZE_READY, "sami_freeze_ready_seconds", "histogram", "From the freeze to READY, as the exporter sees it.") \
    X(OVERRUNS, "sami_event_overruns_total", "counter", "Times that events of connection tracking were lost.") \
    X(PEER_UP, "sami_peer_up", "gauge", "Whether the session with a peer stands, by role; of peers that something runs with now.") \
    X(PEER_SESSIONS, "sami_peer_sessions", "gauge", "Sessions of a peer that stand, by role.") \
    X(PEER_MEMORY, "sami_peer_memory_bytes", "gauge", "Memory that a peer's sessions and migrations take at most, in both processes of the daemon.") \
    X(LAG, "sami_replication_lag_seconds", "gauge", "From a change here to its place in the kernel of the standby.") \
    X(ENTRIES, "sami_conntrack_entries", "gauge", "Entries of the connection tracking table.") \
    X(ENTRIES_LIMIT, "sami_conntrack_entries_limit", "gauge", "Most entries that the table takes (nf_conntrack_max).") \
    X(JOURNAL, "sami_journal_bytes", "gauge", "Size of the files in journal-dir.") \
    X(CERTIFICATE, "sami_certificate_expiry_timestamp_seconds", "gauge", "When a peer's pinned certificate, or our own, expires.") \
    X(KEY_LOG, "sami_key_log_enabled", "gauge", "1 where the secrets of TLS sessions are written to a file (key-log), by role.") \
    X(SANDBOX, "sami_sandbox_enabled", "gauge", "0 where seccomp and Landlock are turned off (sandbox), by role.") \
    X(NETWORK_ROOT, "sami_network_root", "gauge", "1 where the network process stays root (user is empty), by role.") \
    X(BUILD, "sami_build_info", "gauge", "1, with the version of the daemon that runs in a role.")

typedef enum {
#define X(id, name, type, help) SAMI_METRIC_##id,
    SAMI_METRICS(X)
#undef X
    SAMI_N_METRICS
} SamiMetric;

/* Names and values of labels in turn, for sami_metrics_add(). */
#define SAMI_LABELS(...) ((const gchar *const[]){__VA_ARGS__, NULL})
/* Adds one sample; `labels` NULL: none. */
void sami_metrics_add(JsonArray *samples, SamiMetric metric, gdouble value, const gchar *const *labels);
void sami_metrics_add_build(JsonArray *samples, const gchar *role);

/* Upper bounds in seconds; what is above the last counts as +Inf. */
#define SAMI_HISTOGRAM_BOUNDS 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10
#define SAMI_HISTOGRAM_N (sizeof((gdouble[]){SAMI_HISTOGRAM_BOUNDS}) / sizeof(gdouble))
typedef struct {
    guint64 n[SAMI_HISTOGRAM_N + 1];
    gdouble sum;
} SamiHistogram;
void sami_histogram_observe(SamiHistogram *histogram, gdouble seconds);
void sami_metrics_add_histogram(JsonArray *samples, SamiMetric metric, const SamiHistogram *histogram);

/* The text: metrics in the order of the table, each with its HELP and TYPE, those without a sample left out. A series that is there twice,
 * because both daemons see the same table, is printed once. SAMI_ERROR_MALFORMED for a sample that is none. (transfer full) */
gchar *sami_metrics_print(JsonArray *samples, GError **error);
