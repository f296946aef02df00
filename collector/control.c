/* The collector's part of the control protocol: status, stats, abort, expect, gate, resolve. */
#include <string.h>

#include "collector/collector.h"
#include "common/control-json.h"
#include "firewall/origin.h"

/* A gate that somebody forgot opens by itself after this long. */
#define GATE_MAX_MS (3600 * 1000)

static JsonObject *
describe_expectations(const SamiKindCount *n)
{
    JsonObject *object = json_object_new();
    json_object_set_int_member(object, "received", (gint64) n->n_records);
    json_object_set_int_member(object, "created", (gint64) n->n_applied);
    json_object_set_int_member(object, "present", (gint64) n->n_unchanged);
    json_object_set_int_member(object, "refused", (gint64) n->n_refused);
    return object;
}

static JsonObject *
describe(SamiCollectorMigration *m)
{
    const SamiApply *a = m->apply;
    JsonObject *object = json_object_new(), *counts = json_object_new();
    JsonArray *vm = json_array_new();
    guint64 degraded[SAMI_N_REASONS], refused[SAMI_N_REASONS];
    for (guint i = 0; i < m->vm->len; i++) {
        g_autofree gchar *text = sami_prefix_to_string(&g_array_index(m->vm, SamiPrefix, i));
        json_array_add_string_element(vm, text);
    }
    json_object_set_string_member(object, "id", m->hex);
    json_object_set_array_member(object, "vm", vm);
    json_object_set_string_member(object, "peer", m->peer);
    json_object_set_string_member(object, "own_key", m->own_key);
    json_object_set_string_member(object, "peer_key", m->peer_key);
    json_object_set_string_member(object, "role", "collector");
    json_object_set_string_member(object, "phase", sami_collector_phase_name(m->phase));
    json_object_set_int_member(object, "elapsed_ms", (g_get_monotonic_time() - m->started_us) / 1000);
    json_object_set_int_member(counts, "received", (gint64) a->n_records);
    json_object_set_int_member(counts, "accepted", (gint64) a->n_accepted);
    json_object_set_int_member(counts, "exact", (gint64) a->n_exact);
    json_object_set_int_member(counts, "merged", (gint64) a->n_merged);
    json_object_set_int_member(counts, "kept", (gint64) a->n_kept);
    json_object_set_int_member(counts, "replaced", (gint64) a->n_replaced);
    json_object_set_int_member(counts, "unchanged", (gint64) a->n_unchanged);
    json_object_set_int_member(counts, "not_ours", (gint64) a->n_foreign);
    json_object_set_int_member(counts, "repaired", (gint64) a->n_repaired);
    if (m->phase == SAMI_PHASE_ABORTED) {
        JsonObject *removal = json_object_new();
        json_object_set_int_member(removal, "removed", (gint64) m->removal.n_removed);
        json_object_set_int_member(removal, "gone", (gint64) m->removal.n_gone);
        json_object_set_int_member(removal, "not_ours", (gint64) m->removal.n_left);
        json_object_set_int_member(removal, "unproved", (gint64) m->removal.n_unproved);
        json_object_set_int_member(removal, "passed_on", (gint64) m->removal.n_passed);
        json_object_set_int_member(removal, "restored", (gint64) m->removal.n_restored);
        json_object_set_int_member(removal, "expectations", (gint64) m->removal.n_expectations);
        json_object_set_int_member(removal, "expectations_left", (gint64) m->removal.n_expectations_left);
        json_object_set_object_member(counts, "rollback", removal);
    }
    memcpy(degraded, a->degraded, sizeof degraded);
    memcpy(refused, a->refused, sizeof refused);
    sami_collector_kinds_add_reasons(m, SAMI_SCOPE_DEGRADED, degraded);
    sami_collector_kinds_add_reasons(m, SAMI_SCOPE_RECORD, refused);
    sami_control_json_add_counts(counts, "degraded", degraded, SAMI_N_REASONS, sami_reason_id);
    sami_control_json_add_counts(counts, "refused", refused, SAMI_N_REASONS, sami_reason_id);
    sami_collector_kinds_describe(m, counts);
    json_object_set_object_member(counts, "expectations", describe_expectations(&a->expected));
    json_object_set_int_member(counts, "not_sent", (gint64) m->not_sent.n_flows);
    json_object_set_int_member(counts, "held", (gint64) a->n_held);
    json_object_set_object_member(object, "counts", counts);
    json_object_set_string_member(object, "freeze", m->freeze_mode == SAMI_FREEZE_SCAN ? "scan" : "events");
    if (m->ready_us)
        json_object_set_double_member(object, "freeze_ready_ms", (double) (m->ready_us - m->freeze_us) / 1000.0);
    if (m->ready_us)
        json_object_set_double_member(object, "journal_sync_ms", (double) m->sync_us / 1000.0);
    json_object_set_int_member(object, "lease_s", m->lease_s);
    if (m->collector->gate)
        json_object_set_int_member(object, "gate_left_ms", sami_collector_gate_left_ms(m));
    if (m->replication)
        json_object_set_object_member(object, "replication", sami_collector_replication_describe(m));
    return object;
}

static SamiCollectorMigration *
select_one(SamiCollector *collector, JsonObject *request, SamiControlClient *client)
{
    return sami_control_select(client, request, collector->migrations, G_STRUCT_OFFSET(SamiCollectorMigration, hex));
}

static void
do_status(SamiCollector *collector, SamiControlClient *client, JsonObject *request)
{
    const gchar *id = sami_control_json_text(request, "id", "");
    JsonObject *answer = json_object_new();
    JsonArray *list = json_array_new();
    for (guint i = 0; i < collector->migrations->len; i++) {
        SamiCollectorMigration *m = g_ptr_array_index(collector->migrations, i);
        if (g_str_has_prefix(m->hex, id))
            json_array_add_object_element(list, describe(m));
    }
    json_object_set_int_member(answer, "v", 1);
    json_object_set_string_member(answer, "host", collector->config->name);
    json_object_set_string_member(answer, "role", "collector");
    json_object_set_array_member(answer, "migrations", list);
    json_object_set_array_member(answer, "peers", sami_collector_shares_describe(collector));
    sami_control_finish(client, SAMI_EXIT_DONE, answer, NULL);
}

static void
do_stats(SamiCollector *collector, SamiControlClient *client, JsonObject *request)
{
    JsonObject *answer = json_object_new(), *counters = json_object_new();
    SamiTotals totals;
    sami_collector_totals(collector, &totals);
    const struct {
        const gchar *name;
        guint64 value;
    } plain[] = {
        { "expectations_created_total", totals.expected.n_applied },
        { "expectations_present_total", totals.expected.n_unchanged },
        { "expectations_refused_total", totals.expected.n_refused },
        { "sessions_total", collector->n_sessions },
        { "session_errors_total", collector->n_session_errors },
        { "session_overflows_total", collector->n_session_overflows },
        { "messages_total", collector->n_messages },
        { "octets_total", collector->n_octets },
        { "migrations_done_total", collector->n_results[SAMI_PHASE_DONE] },
        { "migrations_aborted_total", collector->n_results[SAMI_PHASE_ABORTED] },
        { "migrations_in_doubt_total", collector->n_results[SAMI_PHASE_IN_DOUBT] },
        { "entries_rolled_back_total", collector->n_rolled_back },
        { "journal_octets", collector->journal_octets },
        { "journals_removed_total", collector->n_journals_removed },
        { "sessions_resumed_total", collector->n_resumed },
        { "migrations_recovered_total", collector->n_recovered },
        { "checks_total", collector->n_checks },
        { "gates_closed_total", collector->n_gates_closed },
        { "gate_failures_total", collector->n_gate_failures },
        { "marks_masked_total", collector->n_marks_masked },
        { "entries_held", sami_budget_used(collector->budget) },
        { "pair_synced_total", collector->n_pair_synced },
        { "pair_unsynced_total", collector->n_pair_unsynced },
        { "takeovers_total", collector->n_takeovers },
        { "replicated_entries", sami_origin_n(collector->origin) },
        { "rate_waits_total", collector->n_rate_waits },
        { "announcements", sami_expect_list(collector->expect)->len },
        { "reloads_total", collector->n_reloads },
        { "reload_errors_total", collector->n_reload_errors },
        { "channel_errors_total", collector->n_channel_errors },
    };
    for (gsize i = 0; i < G_N_ELEMENTS(plain); i++)
        json_object_set_int_member(counters, plain[i].name, (gint64) plain[i].value);
    for (guint i = 0; i < SAMI_N_HANDSHAKE_CAUSES; i++) {
        g_autofree gchar *name = g_strdup_printf("refused_handshake_%s_total", sami_handshake_cause_id(i));
        json_object_set_int_member(counters, name, (gint64) collector->refused_handshakes[i]);
    }
    for (guint i = 1; i < SAMI_N_REASONS; i++) {
        guint64 n = collector->refused_messages[i] + totals.refused[i];
        g_autofree gchar *name = g_strdup_printf("refused_%s_total", sami_reason_id(i));
        if (sami_reason_is_known(i))
            json_object_set_int_member(counters, name, (gint64) n);
    }
    for (guint i = 1; i < SAMI_N_RULES; i++) {
        g_autofree gchar *name = g_strdup_printf("malformed_%s_total", sami_rule_id(i));
        if (sami_rule_where(i) & SAMI_RULE_IN_STREAM)
            json_object_set_int_member(counters, name, (gint64) collector->broken_rules[i]);
    }
    for (guint i = 0; i < sami_n_sink_kinds; i++) {
        const struct {
            const gchar *outcome;
            guint64 n;
        } outcomes[] = { { "applied", totals.kinds[i].n_applied }, { "unchanged", totals.kinds[i].n_unchanged },
                         { "refused", totals.kinds[i].n_refused }, { "undone", totals.kinds[i].n_undone },
                         { "lost", totals.kinds[i].n_lost } };
        for (gsize k = 0; k < G_N_ELEMENTS(outcomes); k++) {
            g_autofree gchar *name = g_strdup_printf("%s_%s_total", sami_sink_kinds[i]->name, outcomes[k].outcome);
            json_object_set_int_member(counters, name, (gint64) outcomes[k].n);
        }
    }
    sami_collector_replications_count(collector, counters);
    json_object_set_object_member(answer, "counters", counters);
    sami_control_finish(client, SAMI_EXIT_DONE, answer, NULL);
}

static void
do_abort(SamiCollector *collector, SamiControlClient *client, JsonObject *request)
{
    SamiCollectorMigration *m = select_one(collector, request, client);
    if (!m)
        return;
    if (!sami_collector_migration_undo(m, SAMI_ON_ABORT)) {
        sami_control_finish(client, SAMI_EXIT_REFUSED, NULL,
                            "already-ready: the VM may be running here; abort it at the source if it is not");
        return;
    }
    sami_control_finish(client, SAMI_EXIT_DONE, NULL, NULL);
}

/* {"id", "keep"}: what becomes of a migration in doubt. */
static void
do_resolve(SamiCollector *collector, SamiControlClient *client, JsonObject *request)
{
    SamiCollectorMigration *m = select_one(collector, request, client);
    JsonNode *keep = json_object_get_member(request, "keep");
    if (!m)
        return;
    if (!keep)
        sami_control_finish(client, SAMI_EXIT_USAGE, NULL, "resolve: keep is true or false");
    else if (sami_collector_migration_resolve(m, json_node_get_boolean(keep)))
        sami_control_finish(client, SAMI_EXIT_DONE, describe(m), NULL);
    else
        sami_control_finish(client, SAMI_EXIT_FAILED, describe(m), "that migration is not in doubt; behind READY it is when its connection is lost and its lease has ended");
}

/* {"id", "timeout_ms", "open"}: whoever knows of the pause here before the source says so. */
static void
do_gate(SamiCollector *collector, SamiControlClient *client, JsonObject *request)
{
    g_autoptr(GError) error = NULL;
    SamiCollectorMigration *m = select_one(collector, request, client);
    gint64 timeout_ms = json_object_get_int_member_with_default(request, "timeout_ms", collector->config->deadline_ms);
    if (!m)
        return;
    if (json_object_get_boolean_member_with_default(request, "open", FALSE)) {
        sami_collector_gate_open(m);
        sami_control_finish(client, SAMI_EXIT_DONE, describe(m), NULL);
    } else if (m->phase != SAMI_PHASE_FOLLOW && m->phase != SAMI_PHASE_FREEZE) {
        sami_control_finish(client, SAMI_EXIT_REFUSED, NULL, "already-ready: the VM may be running here, nothing is held back any more");
    } else if (timeout_ms < 1 || timeout_ms > GATE_MAX_MS) {
        sami_control_finish(client, SAMI_EXIT_USAGE, NULL, "a gate is closed for 1 ms to 1 h");
    } else if (sami_collector_gate_close(m, (guint) timeout_ms, &error)) {
        sami_control_finish(client, SAMI_EXIT_DONE, describe(m), NULL);
    } else {
        sami_control_finish(client, sami_exit_of_error(error), NULL, error->message);
    }
}

/* {"peer"}: what a replication brought is ours (LIFECYCLE §11). */
static void
do_takeover(SamiCollector *collector, SamiControlClient *client, JsonObject *request)
{
    const gchar *peer = sami_control_json_text(request, "peer", "");
    sami_collector_takeover(collector, *peer ? peer : NULL, client);
}

/* {"peer", "yield"} */
static void
do_resync(SamiCollector *collector, SamiControlClient *client, JsonObject *request)
{
    const gchar *peer = sami_control_json_text(request, "peer", "");
    gboolean is_yielding = json_object_get_boolean_member_with_default(request, "yield", FALSE);
    JsonObject *object = json_object_new();
    json_object_set_int_member(object, "asked", sami_collector_resync(collector, *peer ? peer : NULL, is_yielding));
    sami_control_finish(client, SAMI_EXIT_DONE, object, NULL);
}

static gint64
now_s(void)
{
    return g_get_real_time() / G_USEC_PER_SEC;
}

/* May this VM be announced? An announcement that cannot help is refused when it is made, not when the VM moves. */
static gboolean
check_allowed(SamiCollector *collector, const SamiPrefix *vm, const gchar *text, const gchar *from, gint64 until_s, GError **error)
{
    gboolean is_allowed = FALSE;
    for (guint i = 0; i < collector->signers->len; i++) {
        const SamiSigner *signer = g_ptr_array_index(collector->signers, i);
        if ((from && !g_str_equal(signer->config->name, from)) || !sami_signer_allows(signer, vm, 1))
            continue;
        is_allowed = TRUE;
        if (sami_signer_is_valid_within(signer, now_s(), until_s))
            return TRUE;
    }
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "%s is outside %s of %s in signers.d: it would be refused all the same", text,
                is_allowed ? "the time (valid-from, valid-until)" : "allow-prefixes", from ? from : "every signer");
    return FALSE;
}

static gboolean
announce(SamiCollector *collector, JsonArray *vm, const gchar *from, gint64 until_s, GError **error)
{
    g_autoptr(GArray) prefixes = g_array_new(FALSE, TRUE, sizeof(SamiPrefix));
    for (guint i = 0; i < json_array_get_length(vm); i++) {
        SamiPrefix prefix;
        const gchar *text = json_array_get_string_element(vm, i);
        if (!sami_prefix_parse(text ? text : "", &prefix, error) || !check_allowed(collector, &prefix, text, from, until_s, error))
            return FALSE;
        g_array_append_val(prefixes, prefix);
    }
    for (guint i = 0; i < prefixes->len; i++) /* all are checked before the first is added */
        if (!sami_expect_add(collector->expect, &g_array_index(prefixes, SamiPrefix, i), from, until_s, now_s(), error))
            return FALSE;
    return TRUE;
}

static gboolean
withdraw(SamiCollector *collector, JsonArray *vm, const gchar *from, gboolean is_any, GError **error)
{
    guint n = 0;
    for (guint i = 0; i < json_array_get_length(vm); i++) {
        SamiPrefix prefix;
        const gchar *text = json_array_get_string_element(vm, i);
        if (!sami_prefix_parse(text ? text : "", &prefix, error))
            return FALSE;
        n += sami_expect_remove(collector->expect, &prefix, from, is_any);
    }
    if (n > 0)
        return TRUE;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "no such announcement; see 'samictl expect --list'");
    return FALSE;
}

/* Has it anything in common with these addresses? `vm` NULL: of course. */
static gboolean
concerns(const SamiAnnouncement *a, JsonArray *vm)
{
    gboolean is_common = !vm;
    for (guint i = 0; !is_common && i < json_array_get_length(vm); i++) {
        SamiPrefix prefix;
        is_common = sami_prefix_parse(json_array_get_string_element(vm, i), &prefix, NULL) &&
                    (sami_prefix_covers(&a->prefix, &prefix) || sami_prefix_covers(&prefix, &a->prefix));
    }
    return is_common;
}

/* Those that stand, or of these the ones that concern `vm`. */
static JsonObject *
list_announcements(SamiCollector *collector, JsonArray *vm)
{
    JsonObject *answer = json_object_new();
    JsonArray *list = json_array_new();
    const GArray *all = sami_expect_list(collector->expect);
    for (guint i = 0; i < all->len; i++) {
        const SamiAnnouncement *a = &g_array_index(all, SamiAnnouncement, i);
        g_autofree gchar *prefix = sami_prefix_to_string(&a->prefix);
        if (a->until_s <= now_s() || !concerns(a, vm))
            continue;
        JsonObject *object = json_object_new();
        json_object_set_string_member(object, "vm", prefix);
        json_object_set_string_member(object, "from", a->from ? a->from : "any-peer");
        json_object_set_int_member(object, "until", a->until_s);
        json_array_add_object_element(list, object);
    }
    json_object_set_int_member(answer, "v", 1);
    json_object_set_string_member(answer, "host", collector->config->name);
    json_object_set_array_member(answer, "announcements", list);
    return answer;
}

static void
do_expect(SamiCollector *collector, SamiControlClient *client, JsonObject *request)
{
    const gchar *op = sami_control_json_text(request, "op", "");
    const gchar *from = sami_control_json_text(request, "from", "");
    JsonArray *vm = sami_control_json_array(request, "vm");
    gint64 for_s = json_object_get_int_member_with_default(request, "for_s", 3600);
    gboolean is_any = g_str_equal(from, "any-peer"), is_done;
    const gchar *signer = is_any || !*from ? NULL : from;
    g_autoptr(GError) error = NULL;
    if (g_str_equal(op, "list")) {
        sami_control_finish(client, SAMI_EXIT_DONE, list_announcements(collector, NULL), NULL);
        return;
    }
    gboolean is_add = g_str_equal(op, "add");
    guint n = vm ? json_array_get_length(vm) : 0;
    if ((!is_add && !g_str_equal(op, "remove")) || n == 0 || n > SAMI_VM_ADDRESSES_MAX) {
        sami_control_finish(client, SAMI_EXIT_USAGE, NULL, "expect: op is add, remove or list; vm has 1 to 64 addresses");
        return;
    }
    if (is_add && !is_any && !sami_signers_by_name(collector->signers, from)) {
        g_autofree gchar *quoted = g_strescape(from, NULL);
        g_autofree gchar *text = g_strdup_printf("\"%s\" is no signer here; see 'samictl peer list', or say any-peer", quoted);
        sami_control_finish(client, SAMI_EXIT_USAGE, NULL, text);
        return;
    }
    is_done = is_add ? announce(collector, vm, signer, now_s() + for_s, &error) : withdraw(collector, vm, signer, is_any, &error);
    /* What was changed before an error stays changed, so it is written as well. */
    gboolean is_saved = sami_expect_save(collector->expect, now_s(), is_done ? &error : NULL);
    if (is_done && is_saved)
        sami_control_finish(client, SAMI_EXIT_DONE, is_add ? NULL : list_announcements(collector, vm), NULL);
    else {
        if (is_done) /* and holds: what cannot be written is lost, or comes back, with the next start only */
            g_prefix_error(&error, is_add ? "expected, but only until the daemon ends: " : "not expected any more, but again when the daemon was started anew: ");
        sami_control_finish(client, sami_exit_of_error(error), NULL, error->message);
    }
}

/* What SIGHUP does, for who wants to know whether it went well. */
static void
do_reload(SamiCollector *collector, SamiControlClient *client, JsonObject *request)
{
    guint64 before = collector->n_reload_errors;
    sami_collector_reload(collector);
    if (collector->n_reload_errors == before)
        sami_control_finish(client, SAMI_EXIT_DONE, NULL, NULL);
    else
        sami_control_finish(client, SAMI_EXIT_FAILED, NULL, "the collector could not read all of its configuration again; its log says why, and so does "
                            "sami-collector --check-config");
}

void
sami_collector_control(SamiControlClient *client, JsonObject *request, gpointer user_data)
{
    static const struct {
        SamiControlCommand command;
        void (*func)(SamiCollector *, SamiControlClient *, JsonObject *);
    } commands[] = {
        { { "status", SAMI_CONTROL_READS, NULL }, do_status },
        { { "stats", SAMI_CONTROL_READS, NULL }, do_stats },
        { { "abort", SAMI_CONTROL_CHANGES, NULL }, do_abort },
        { { "expect", SAMI_CONTROL_CHANGES, "list" }, do_expect },
        { { "gate", SAMI_CONTROL_CHANGES, NULL }, do_gate },
        { { "resolve", SAMI_CONTROL_CHANGES, NULL }, do_resolve },
        { { "takeover", SAMI_CONTROL_CHANGES, NULL }, do_takeover },
        { { "resync", SAMI_CONTROL_CHANGES, NULL }, do_resync },
        { { "metrics", SAMI_CONTROL_READS, NULL }, sami_collector_metrics },
        { { "reload", SAMI_CONTROL_CHANGES, NULL }, do_reload },
        { { "check", SAMI_CONTROL_INSPECTS, NULL }, sami_collector_check_control },
        { { "policy", SAMI_CONTROL_READS, NULL }, sami_collector_policy_control },
    };
    gssize i = sami_control_command(client, request, "the collector", commands, G_N_ELEMENTS(commands), sizeof commands[0]);
    if (i >= 0)
        commands[i].func(user_data, client, request);
}
