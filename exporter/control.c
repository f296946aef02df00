/* The exporter's part of the control protocol. */
#include "exporter/exporter.h"

static void
add_reasons(JsonObject *object, const gchar *name, const guint64 *counts)
{
    JsonObject *reasons = json_object_new();
    for (guint i = 1; i < SAMI_N_REASONS; i++)
        if (counts[i] > 0)
            json_object_set_int_member(reasons, sami_reason_id(i), (gint64) counts[i]);
    json_object_set_object_member(object, name, reasons);
}

JsonObject *
sami_exporter_describe(const SamiMigration *m)
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
    json_object_set_string_member(object, "peer", m->peer->name);
    json_object_set_string_member(object, "role", "exporter");
    json_object_set_string_member(object, "phase", sami_exporter_state_name(m->state));
    json_object_set_boolean_member(object, "confirmed_snapshot", m->is_snapshot_confirmed);
    json_object_set_int_member(object, "elapsed_ms", (g_get_monotonic_time() - m->started_us) / 1000);
    json_object_set_int_member(object, "total", (gint64) m->n_snapshot);
    json_object_set_int_member(counts, "sent", (gint64) m->n_sent);
    json_object_set_int_member(counts, "dirty", m->dirty ? (gint64) g_hash_table_size(m->dirty) : 0);
    json_object_set_int_member(counts, "confirmed", (gint64) (m->accepted + m->merged));
    json_object_set_int_member(counts, "present", (gint64) m->present);
    json_object_set_int_member(counts, "exact", (gint64) m->exact);
    json_object_set_int_member(counts, "merged", (gint64) m->merged);
    json_object_set_int_member(counts, "not_vm_end", (gint64) m->n_not_vm_end);
    add_reasons(counts, "degraded", m->degraded_by);
    add_reasons(counts, "refused", m->refused_by);
    json_object_set_object_member(object, "counts", counts);
    json_object_set_array_member(object, "refusals", refusals);
    json_object_set_string_member(object, "freeze", m->freeze_mode == SAMI_FREEZE_SCAN ? "scan" : "events");
    if (m->ready_us)
        json_object_set_double_member(object, "freeze_ready_ms", (double) (m->ready_us - m->freeze_us) / 1000.0);
    json_object_set_int_member(object, "lease_s", m->exporter->config->lease_s);
    return object;
}

void
sami_exporter_tell(SamiMigration *m, const gchar *event)
{
    for (guint i = 0; i < m->watchers->len; i++) {
        JsonObject *object = sami_exporter_describe(m);
        json_object_set_string_member(object, "event", event);
        sami_control_event(g_ptr_array_index(m->watchers, i), object);
    }
}

void
sami_exporter_finish(GPtrArray *clients, SamiMigration *m, SamiExit code)
{
    for (guint i = 0; i < clients->len; i++)
        sami_control_finish(g_ptr_array_index(clients, i), code, sami_exporter_describe(m), m->error);
    g_ptr_array_set_size(clients, 0);
}

/* The VM's addresses: named, valid, and inside vm-prefixes. */
static GArray *
read_vm(SamiExporter *exporter, JsonObject *request, GError **error)
{
    g_autoptr(GArray) vm = g_array_new(FALSE, TRUE, sizeof(SamiPrefix));
    JsonArray *list = json_object_has_member(request, "vm") ? json_object_get_array_member(request, "vm") : NULL;
    guint n = list ? json_array_get_length(list) : 0;
    if (n == 0 || n > SAMI_VM_ADDRESSES_MAX) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "name the VM by 1 to %u addresses or prefixes", SAMI_VM_ADDRESSES_MAX);
        return NULL;
    }
    for (guint i = 0; i < n; i++) {
        SamiPrefix prefix;
        gboolean is_own = FALSE;
        const gchar *text = json_array_get_string_element(list, i);
        if (!sami_prefix_parse(text ? text : "", &prefix, error))
            return NULL;
        for (guint k = 0; k < exporter->vm_prefixes->len; k++)
            is_own |= sami_prefix_covers(&g_array_index(exporter->vm_prefixes, SamiPrefix, k), &prefix);
        if (!is_own) {
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE,
                        "%s is not inside vm-prefixes of %s: this firewall may not send its state", text, exporter->config->path);
            return NULL;
        }
        g_array_append_val(vm, prefix);
    }
    return g_steal_pointer(&vm);
}

static SamiMigration *
start(SamiExporter *exporter, JsonObject *request, GError **error)
{
    const gchar *to = json_object_get_string_member_with_default(request, "to", "");
    const SamiConfigPeer *peer = sami_config_peer(exporter->config, to);
    guint n_active = 0;
    for (guint i = 0; i < exporter->migrations->len; i++)
        n_active += ((SamiMigration *) g_ptr_array_index(exporter->migrations, i))->state < SAMI_STATE_DONE;
    if (!peer || !peer->address || !peer->signing_key_file) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE,
                    "\"%s\" is no peer that we may send to; see 'samictl peer list', add it with 'samictl peer add FILE --send'", to);
        return NULL;
    }
    if (n_active >= exporter->config->max_migrations) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%u migrations run already (max-migrations)", n_active);
        return NULL;
    }
    GArray *vm = read_vm(exporter, request, error);
    return vm ? sami_migration_new(exporter, peer, vm, error) : NULL;
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
    m->deadline_ms = (guint) json_object_get_int_member_with_default(request, "deadline_ms", m->deadline_ms);
    m->on_late = g_strdup(json_object_get_string_member_with_default(request, "on_late", "wait"));
    m->has_zone = json_object_has_member(request, "zone");
    m->zone = (guint16) json_object_get_int_member_with_default(request, "zone", 0);
    m->has_mark = json_object_has_member(request, "mark");
    m->mark = (guint32) json_object_get_int_member_with_default(request, "mark", 0);
    g_ptr_array_add(m->watchers, sami_control_client_ref(client));
    sami_migration_set_state(m, SAMI_STATE_PREPARE);
}

static SamiMigration *
select_one(SamiExporter *exporter, SamiControlClient *client, JsonObject *request)
{
    const gchar *id = json_object_get_string_member_with_default(request, "id", "");
    SamiMigration *found = NULL;
    for (guint i = 0; i < exporter->migrations->len; i++) {
        SamiMigration *m = g_ptr_array_index(exporter->migrations, i);
        if (!*id || !g_str_has_prefix(m->hex, id))
            continue;
        if (found) {
            sami_control_finish(client, SAMI_EXIT_USAGE, NULL, "more than one migration begins with that id");
            return NULL;
        }
        found = m;
    }
    if (!found)
        sami_control_finish(client, SAMI_EXIT_USAGE, NULL, "no migration with that id; see 'samictl status'");
    return found;
}

static void
do_freeze(SamiExporter *exporter, SamiControlClient *client, JsonObject *request)
{
    g_autoptr(GError) error = NULL;
    SamiMigration *m = select_one(exporter, client, request);
    if (!m)
        return;
    gboolean is_waiting = m->state == SAMI_STATE_FREEZE;
    if (!is_waiting && m->state == SAMI_STATE_FOLLOW)
        m->deadline_ms = (guint) json_object_get_int_member_with_default(request, "deadline_ms", m->deadline_ms);
    g_ptr_array_add(m->freezers, sami_control_client_ref(client)); /* READY may come before freeze() returns */
    if (!is_waiting && !sami_migration_freeze(m, &error)) {
        g_ptr_array_remove(m->freezers, client);
        sami_control_finish(client, SAMI_EXIT_FAILED, NULL, error->message);
    }
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
    const gchar *id = json_object_get_string_member_with_default(request, "id", "");
    JsonObject *answer = json_object_new();
    JsonArray *list = json_array_new();
    for (guint i = 0; i < exporter->migrations->len; i++) {
        SamiMigration *m = g_ptr_array_index(exporter->migrations, i);
        if (g_str_has_prefix(m->hex, id))
            json_array_add_object_element(list, sami_exporter_describe(m));
    }
    json_object_set_int_member(answer, "v", 1);
    json_object_set_string_member(answer, "host", exporter->config->name);
    json_object_set_string_member(answer, "role", "exporter");
    json_object_set_array_member(answer, "migrations", list);
    sami_control_finish(client, SAMI_EXIT_DONE, answer, NULL);
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
        { "not_vm_end_total", exporter->n_not_vm_end },
        { "event_overruns_total", exporter->n_overruns },
        { "migrations_done_total", exporter->n_results[SAMI_STATE_DONE] },
        { "migrations_aborted_total", exporter->n_results[SAMI_STATE_ABORTED] },
        { "migrations_failed_total", exporter->n_results[SAMI_STATE_FAILED] },
        { "migrations_in_doubt_total", exporter->n_results[SAMI_STATE_IN_DOUBT] },
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++)
        json_object_set_int_member(counters, rows[i].name, (gint64) rows[i].value);
    json_object_set_object_member(answer, "counters", counters);
    sami_control_finish(client, SAMI_EXIT_DONE, answer, NULL);
}

void
sami_exporter_control(SamiControlClient *client, JsonObject *request, gpointer user_data)
{
    static const struct {
        const gchar *name;
        void (*func)(SamiExporter *, SamiControlClient *, JsonObject *);
    } commands[] = {
        { "migrate", do_migrate }, { "freeze", do_freeze }, { "abort", do_abort },
        { "status", do_status },   { "stats", do_stats },
    };
    const gchar *name = json_object_get_string_member_with_default(request, "cmd", "");
    for (gsize i = 0; i < G_N_ELEMENTS(commands); i++)
        if (g_str_equal(commands[i].name, name)) {
            commands[i].func(user_data, client, request);
            return;
        }
    sami_control_finish(client, SAMI_EXIT_USAGE, NULL, "the exporter knows: migrate, freeze, abort, status, stats");
}
