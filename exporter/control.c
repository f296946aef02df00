/* The exporter's part of the control protocol. */
#include "exporter/exporter.h"
#include "exporter/kinds.h"

#include "common/control-json.h"

/* Nobody moves a VM for longer than this between READY and the end. */

static JsonObject *
describe_expectations(const SamiMigration *m)
{
    JsonObject *object = json_object_new();
    json_object_set_int_member(object, "sent", (gint64) m->n_expectations);
    json_object_set_int_member(object, "not_sent", (gint64) m->n_expectations_left);
    json_object_set_int_member(object, "created", (gint64) m->expected.n_applied);
    json_object_set_int_member(object, "present", (gint64) m->expected.n_unchanged);
    json_object_set_int_member(object, "refused", (gint64) m->expected.n_refused);
    return object;
}

static JsonObject *
describe(const SamiMigration *m)
{
    JsonObject *object = json_object_new(), *counts = json_object_new();
    JsonArray *vm = json_array_new(), *refusals = json_array_new();
    for (guint i = 0; i < m->vm->len; i++) {
        g_autofree gchar *text = sami_prefix_to_string(&g_array_index(m->vm, SamiPrefix, i));
        json_array_add_string_element(vm, text);
    }
    for (guint i = 0; i < m->refusal_texts->len; i++)
        json_array_add_string_element(refusals, g_ptr_array_index(m->refusal_texts, i));
    json_object_set_string_member(object, "id", m->hex);
    json_object_set_array_member(object, "vm", vm);
    if (m->has_zone && sami_vlans_of_zone(m->vlans, m->zone))
        json_object_set_int_member(object, "vlan", sami_vlans_of_zone(m->vlans, m->zone));
    json_object_set_string_member(object, "peer", m->peer->name);
    json_object_set_string_member(object, "own_key", m->own_key);
    json_object_set_string_member(object, "peer_key", m->peer_key);
    json_object_set_string_member(object, "role", "exporter");
    json_object_set_string_member(object, "phase", sami_exporter_state_name(m->state));
    json_object_set_boolean_member(object, "confirmed_snapshot", m->is_snapshot_confirmed);
    json_object_set_boolean_member(object, "connected", m->is_bound);
    json_object_set_int_member(object, "epoch", m->generation);
    json_object_set_int_member(object, "event_overruns", m->n_overruns);
    json_object_set_int_member(object, "elapsed_ms", (g_get_monotonic_time() - m->started_us) / 1000);
    json_object_set_int_member(object, "total", (gint64) m->n_snapshot);
    json_object_set_int_member(counts, "sent", (gint64) m->n_sent);
    json_object_set_int_member(counts, "dirty", m->source ? (gint64) sami_source_n_dirty(m->source) : 0);
    json_object_set_int_member(counts, "confirmed", (gint64) (m->accepted + m->merged));
    json_object_set_int_member(counts, "present", (gint64) m->present);
    json_object_set_int_member(counts, "exact", (gint64) m->exact);
    json_object_set_int_member(counts, "merged", (gint64) m->merged);
    json_object_set_int_member(counts, "not_vm_end", (gint64) m->n_not_vm_end);
    json_object_set_int_member(counts, "ignored", (gint64) m->n_ignored);
    sami_kinds_describe(m, counts);
    json_object_set_object_member(counts, "expectations", describe_expectations(m));
    if (m->config->asymmetric_switch)
        json_object_set_int_member(counts, "lenient_at_source", sami_lenient_n(m));
    if (m->has_purge) {
        JsonObject *purge = json_object_new();
        json_object_set_int_member(purge, "removed", (gint64) m->n_purged);
        json_object_set_int_member(purge, "kept_local_end", (gint64) m->n_kept_local);
        json_object_set_int_member(purge, "kept_changed", (gint64) m->n_kept_changed);
        json_object_set_int_member(purge, "kept_unconfirmed", (gint64) m->n_kept_unconfirmed);
        json_object_set_object_member(counts, "purge", purge);
    }
    sami_control_json_add_counts(counts, "degraded", m->degraded_by, SAMI_N_REASONS, sami_reason_id);
    sami_control_json_add_counts(counts, "refused", m->refused_by, SAMI_N_REASONS, sami_reason_id);
    json_object_set_object_member(object, "counts", counts);
    json_object_set_array_member(object, "refusals", refusals);
    json_object_set_string_member(object, "freeze", m->freeze_mode == SAMI_FREEZE_SCAN ? "scan" : "events");
    if (m->ready_us)
        json_object_set_double_member(object, "freeze_ready_ms", (double) (m->ready_us - m->freeze_us) / 1000.0);
    else if (m->state == SAMI_STATE_FREEZE)
        json_object_set_double_member(object, "blackout_ms", (double) (g_get_monotonic_time() - m->freeze_us) / 1000.0);
    if (m->is_bound)
        json_object_set_int_member(object, "sessions_max", (gint64) MIN(m->sessions_max, (guint64) G_MAXINT64));
    json_object_set_int_member(object, "lease_s", m->config->lease_s);
    return object;
}

void
sami_exporter_tell(SamiMigration *m, const gchar *event)
{
    for (guint i = 0; i < m->watchers->len; i++) {
        JsonObject *object = describe(m);
        json_object_set_string_member(object, "event", event);
        sami_control_event(g_ptr_array_index(m->watchers, i), object);
    }
}

void
sami_exporter_finish(GPtrArray *clients, SamiMigration *m, SamiExit code)
{
    for (guint i = 0; i < clients->len; i++)
        sami_control_finish(g_ptr_array_index(clients, i), code, describe(m), m->error);
    g_ptr_array_set_size(clients, 0);
}

/* The VM's addresses: named, valid, and inside vm-prefixes. */
GArray *
sami_exporter_read_vm(SamiExporter *exporter, JsonObject *request, GError **error)
{
    g_autoptr(GArray) vm = g_array_new(FALSE, TRUE, sizeof(SamiPrefix));
    JsonArray *list = sami_control_json_array(request, "vm");
    guint n = list ? json_array_get_length(list) : 0;
    if (n == 0 || n > SAMI_VM_ADDRESSES_MAX) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "name the VM by 1 to %u addresses or prefixes", SAMI_VM_ADDRESSES_MAX);
        return NULL;
    }
    for (guint i = 0; i < n; i++) {
        SamiPrefix prefix;
        const gchar *text = json_array_get_string_element(list, i);
        if (!sami_prefix_parse(text ? text : "", &prefix, error))
            return NULL;
        if (!sami_prefixes_cover(exporter->vm_prefixes, &prefix)) {
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE,
                        "%s is not inside vm-prefixes of %s: this firewall may not send its state", text, exporter->config->path);
            return NULL;
        }
        g_array_append_val(vm, prefix);
    }
    return g_steal_pointer(&vm);
}

const SamiConfigPeer *
sami_exporter_find_peer(SamiExporter *exporter, const gchar *name, GError **error)
{
    const SamiConfigPeer *peer = sami_config_peer(exporter->config, name);
    if (peer && peer->addresses && (!peer->receipts || peer->signing_key_file))
        return peer;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE,
                "\"%s\" is no peer that we may send to; see 'samictl peer list', add it with 'samictl peer add FILE --send'", name);
    return NULL;
}

static SamiMigration *
start(SamiExporter *exporter, JsonObject *request, GError **error)
{
    const gchar *to = sami_control_json_text(request, "to", "");
    guint n_active = 0;
    for (guint i = 0; i < exporter->migrations->len; i++)
        n_active += !sami_exporter_is_over(((SamiMigration *) g_ptr_array_index(exporter->migrations, i))->state);
    const SamiConfigPeer *peer = sami_exporter_find_peer(exporter, to, error);
    if (!peer)
        return NULL;
    if (n_active >= exporter->config->max_migrations) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%u migrations run already (max-migrations)", n_active);
        return NULL;
    }
    gboolean has_zone;
    guint16 zone;
    GArray *vm = sami_vlan_select(exporter, request, &has_zone, &zone, error) ? sami_exporter_read_vm(exporter, request, error) : NULL;
    SamiMigration *m = vm ? sami_migration_new(exporter, peer, vm, error) : NULL;
    if (m) {
        m->has_zone = has_zone;
        m->zone = zone;
    }
    return m;
}

static void
do_migrate(SamiExporter *exporter, SamiControlClient *client, JsonObject *request)
{
    g_autoptr(GError) error = NULL;
    SamiMigration *m = start(exporter, request, &error);
    if (!m) {
        sami_control_finish(client, sami_exit_of_error(error), NULL, error->message);
        return;
    }
    m->is_now = json_object_get_boolean_member_with_default(request, "now", FALSE);
    m->has_purge = json_object_get_boolean_member_with_default(request, "purge", FALSE);
    if (m->has_purge)
        m->purge = sami_purge_new(exporter->config, m->vm, m->vlans);
    m->deadline_ms = (guint) json_object_get_int_member_with_default(request, "deadline_ms", m->deadline_ms);
    m->on_late = g_strdup(sami_control_json_text(request, "on_late", "wait"));
    m->has_mark = json_object_has_member(request, "mark");
    m->mark = (guint32) json_object_get_int_member_with_default(request, "mark", 0);
    g_ptr_array_add(m->watchers, sami_control_client_ref(client));
    sami_exporter_tell(m, "phase");
}

static SamiMigration *
select_one(SamiExporter *exporter, SamiControlClient *client, JsonObject *request)
{
    return sami_control_select(client, request, exporter->migrations, G_STRUCT_OFFSET(SamiMigration, hex));
}

static void
do_freeze(SamiExporter *exporter, SamiControlClient *client, JsonObject *request)
{
    g_autoptr(GError) error = NULL;
    SamiMigration *m = select_one(exporter, client, request);
    if (!m)
        return;
    guint deadline_ms = (guint) json_object_get_int_member_with_default(request, "deadline_ms", m->deadline_ms);
    guint hold_ms = (guint) json_object_get_int_member_with_default(request, "hold_ms", 0);
    g_ptr_array_add(m->freezers, sami_control_client_ref(client)); /* READY may come before freeze() returns */
    if (!sami_migration_freeze(m, deadline_ms, hold_ms, &error)) {
        g_ptr_array_remove(m->freezers, client);
        sami_control_finish(client, SAMI_EXIT_FAILED, NULL, error->message);
    }
}

/* What is done or refused at once. */
static void
do_at_once(SamiExporter *exporter, SamiControlClient *client, JsonObject *request, gboolean (*act)(SamiMigration *, GError **))
{
    g_autoptr(GError) error = NULL;
    SamiMigration *m = select_one(exporter, client, request);
    if (!m)
        return;
    if (act(m, &error))
        sami_control_finish(client, SAMI_EXIT_DONE, describe(m), NULL);
    else
        sami_control_finish(client, SAMI_EXIT_FAILED, NULL, error->message);
}

static void
do_settle(SamiExporter *exporter, SamiControlClient *client, JsonObject *request)
{
    do_at_once(exporter, client, request, sami_migration_settle);
}

static void
do_thaw(SamiExporter *exporter, SamiControlClient *client, JsonObject *request)
{
    do_at_once(exporter, client, request, sami_migration_thaw);
}

static void
do_abort(SamiExporter *exporter, SamiControlClient *client, JsonObject *request)
{
    g_autoptr(GError) error = NULL;
    SamiMigration *m = select_one(exporter, client, request);
    if (!m)
        return;
    g_ptr_array_add(m->aborters, sami_control_client_ref(client));
    if (!sami_migration_abort(m, SAMI_ABORT_OPERATOR, &error)) {
        g_ptr_array_remove(m->aborters, client);
        sami_control_finish(client, SAMI_EXIT_FAILED, NULL, error->message);
    }
}

static void
do_status(SamiExporter *exporter, SamiControlClient *client, JsonObject *request)
{
    const gchar *id = sami_control_json_text(request, "id", "");
    JsonObject *answer = json_object_new();
    JsonArray *list = json_array_new();
    for (guint i = 0; i < exporter->migrations->len; i++) {
        SamiMigration *m = g_ptr_array_index(exporter->migrations, i);
        if (!g_str_has_prefix(m->hex, id))
            continue;
        JsonObject *object = describe(m);
        if (!sami_control_client_may_change(client)) /* each is a connection; how many there are is in the counts */
            json_object_set_array_member(object, "refusals", json_array_new());
        json_array_add_object_element(list, object);
    }
    json_object_set_int_member(answer, "v", 1);
    json_object_set_string_member(answer, "host", exporter->config->name);
    json_object_set_string_member(answer, "role", "exporter");
    json_object_set_array_member(answer, "migrations", list);
    json_object_set_array_member(answer, "replications", sami_replications_describe(exporter));
    sami_control_finish(client, SAMI_EXIT_DONE, answer, NULL);
}

/* Of the rules that a Message or a session can break, whether one did or not; 0 is a number without a row. */
static void
add_reason_counters(JsonObject *counters, const gchar *name, const guint64 *counts)
{
    for (guint i = 0; i < SAMI_N_REASONS; i++) {
        g_autofree gchar *full = g_strdup_printf("%s_%s_total", name, i == 0 ? "unknown" : sami_reason_id(i));
        if (counts[i] > 0 || (i > 0 && i < SAMI_REASON_ADDRESS_NOT_ALLOWED && sami_reason_is_known(i)))
            json_object_set_int_member(counters, full, (gint64) counts[i]);
    }
}

static void
do_stats(SamiExporter *exporter, SamiControlClient *client, JsonObject *request)
{
    JsonObject *answer = json_object_new(), *counters = json_object_new();
    const struct {
        const gchar *name;
        guint64 value;
    } rows[] = {
        { "messages_total", exporter->n_messages },
        { "octets_total", exporter->n_octets },
        { "records_total", exporter->n_sessions },
        { "expectations_total", exporter->n_expectations },
        { "expectations_not_sent_total", exporter->n_expectations_left },
        { "not_vm_end_total", exporter->n_not_vm_end },
        { "marks_masked_total", exporter->n_marks_masked },
        { "event_overruns_total", exporter->n_overruns },
        { "sessions_lost_total", exporter->n_lost },
        { "sessions_resumed_total", exporter->n_resumed },
        { "answers_ignored_total", exporter->n_answers_ignored },
        { "answers_missing_total", exporter->n_answers_missing },
        { "checks_total", exporter->n_checks },
        { "reloads_total", exporter->n_reloads },
        { "reload_errors_total", exporter->n_reload_errors },
        { "channel_errors_total", exporter->n_channel_errors },
        { "migrations_done_total", exporter->n_results[SAMI_STATE_DONE] },
        { "migrations_aborted_total", exporter->n_results[SAMI_STATE_ABORTED] },
        { "migrations_failed_total", exporter->n_results[SAMI_STATE_FAILED] },
        { "migrations_in_doubt_total", exporter->n_results[SAMI_STATE_IN_DOUBT] },
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++)
        json_object_set_int_member(counters, rows[i].name, (gint64) rows[i].value);
    add_reason_counters(counters, "refused_answer", exporter->n_answers_refused);
    add_reason_counters(counters, "refused_by_peer", exporter->n_refused_by_peer);
    for (guint i = 1; i < SAMI_N_RULES; i++) {
        g_autofree gchar *name = g_strdup_printf("malformed_answer_%s_total", sami_rule_id(i));
        if (sami_rule_where(i) & SAMI_RULE_IN_STREAM)
            json_object_set_int_member(counters, name, (gint64) exporter->n_broken_rules[i]);
    }
    sami_replications_count(exporter, counters);
    json_object_set_object_member(answer, "counters", counters);
    sami_control_finish(client, SAMI_EXIT_DONE, answer, NULL);
}

/* What SIGHUP does, for who wants to know whether it went well. */
static void
do_reload(SamiExporter *exporter, SamiControlClient *client, JsonObject *request)
{
    guint64 before = exporter->n_reload_errors;
    sami_exporter_reload(exporter);
    if (exporter->n_reload_errors == before)
        sami_control_finish(client, SAMI_EXIT_DONE, NULL, NULL);
    else
        sami_control_finish(client, SAMI_EXIT_FAILED, NULL, "the exporter could not read all of its configuration again; its log says why, and so does "
                            "sami-exporter --check-config");
}

void
sami_exporter_control(SamiControlClient *client, JsonObject *request, gpointer user_data)
{
    static const struct {
        SamiControlCommand command;
        void (*func)(SamiExporter *, SamiControlClient *, JsonObject *);
    } commands[] = {
        { { "migrate", SAMI_CONTROL_CHANGES, NULL }, do_migrate },
        { { "freeze", SAMI_CONTROL_CHANGES, NULL }, do_freeze },
        { { "settle", SAMI_CONTROL_CHANGES, NULL }, do_settle },
        { { "thaw", SAMI_CONTROL_CHANGES, NULL }, do_thaw },
        { { "abort", SAMI_CONTROL_CHANGES, NULL }, do_abort },
        { { "status", SAMI_CONTROL_READS, NULL }, do_status },
        { { "stats", SAMI_CONTROL_READS, NULL }, do_stats },
        { { "replicate", SAMI_CONTROL_CHANGES, NULL }, sami_replication_control },
        { { "resync", SAMI_CONTROL_CHANGES, NULL }, sami_replication_resync },
        { { "table", SAMI_CONTROL_INSPECTS, NULL }, sami_table_control },
        { { "sync", SAMI_CONTROL_INSPECTS, NULL }, sami_replication_sync },
        { { "metrics", SAMI_CONTROL_READS, NULL }, sami_exporter_metrics },
        { { "reload", SAMI_CONTROL_CHANGES, NULL }, do_reload },
        { { "check", SAMI_CONTROL_INSPECTS, NULL }, sami_check_control },
        { { "probe", SAMI_CONTROL_INSPECTS, NULL }, sami_probe_control },
    };
    gssize i = sami_control_command(client, request, "the exporter", commands, G_N_ELEMENTS(commands), sizeof commands[0]);
    if (i >= 0)
        commands[i].func(user_data, client, request);
}
