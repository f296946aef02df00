/* The collector's part of the control protocol: status, stats, abort. */
#include <string.h>

#include "collector/collector.h"

static void
add_reasons(JsonObject *object, const gchar *name, const guint64 *counts)
{
    JsonObject *reasons = json_object_new();
    for (guint i = 1; i < SAMI_N_REASONS; i++)
        if (counts[i] > 0)
            json_object_set_int_member(reasons, sami_reason_id(i), (gint64) counts[i]);
    json_object_set_object_member(object, name, reasons);
}

static JsonObject *
describe(const SamiCollectorMigration *m)
{
    const SamiApply *a = m->apply;
    JsonObject *object = json_object_new(), *counts = json_object_new();
    JsonArray *vm = json_array_new();
    for (guint i = 0; i < m->vm->len; i++) {
        g_autofree gchar *text = sami_prefix_to_string(&g_array_index(m->vm, SamiPrefix, i));
        json_array_add_string_element(vm, text);
    }
    json_object_set_string_member(object, "id", m->hex);
    json_object_set_array_member(object, "vm", vm);
    json_object_set_string_member(object, "peer", m->peer);
    json_object_set_string_member(object, "role", "collector");
    json_object_set_string_member(object, "phase", sami_collector_phase_name(m->phase));
    json_object_set_int_member(object, "elapsed_ms", (g_get_monotonic_time() - m->started_us) / 1000);
    json_object_set_int_member(counts, "received", (gint64) a->n_records);
    json_object_set_int_member(counts, "accepted", (gint64) a->n_accepted);
    json_object_set_int_member(counts, "exact", (gint64) a->n_exact);
    json_object_set_int_member(counts, "merged", (gint64) a->n_merged);
    add_reasons(counts, "degraded", a->degraded);
    add_reasons(counts, "refused", a->refused);
    json_object_set_object_member(object, "counts", counts);
    json_object_set_string_member(object, "freeze", m->freeze_mode == SAMI_FREEZE_SCAN ? "scan" : "events");
    if (m->ready_us)
        json_object_set_double_member(object, "freeze_ready_ms", (double) (m->ready_us - m->freeze_us) / 1000.0);
    json_object_set_int_member(object, "lease_s", m->lease_s);
    return object;
}

/* A migration by a unique prefix of its id. */
static SamiCollectorMigration *
select_one(SamiCollector *collector, JsonObject *request, SamiControlClient *client)
{
    const gchar *id = json_object_get_string_member_with_default(request, "id", "");
    SamiCollectorMigration *found = NULL;
    for (guint i = 0; i < collector->migrations->len; i++) {
        SamiCollectorMigration *m = g_ptr_array_index(collector->migrations, i);
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
do_status(SamiCollector *collector, SamiControlClient *client, JsonObject *request)
{
    const gchar *id = json_object_get_string_member_with_default(request, "id", "");
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
    sami_control_finish(client, SAMI_EXIT_DONE, answer, NULL);
}

static void
do_stats(SamiCollector *collector, SamiControlClient *client, JsonObject *request)
{
    JsonObject *answer = json_object_new(), *counters = json_object_new();
    const struct {
        const gchar *name;
        guint64 value;
    } plain[] = {
        { "sessions_total", collector->n_sessions },
        { "session_errors_total", collector->n_session_errors },
        { "messages_total", collector->n_messages },
        { "octets_total", collector->n_octets },
        { "migrations_done_total", collector->n_results[SAMI_PHASE_DONE] },
        { "migrations_aborted_total", collector->n_results[SAMI_PHASE_ABORTED] },
        { "migrations_in_doubt_total", collector->n_results[SAMI_PHASE_IN_DOUBT] },
        { "entries_rolled_back_total", collector->n_rolled_back },
    };
    for (gsize i = 0; i < G_N_ELEMENTS(plain); i++)
        json_object_set_int_member(counters, plain[i].name, (gint64) plain[i].value);
    for (guint i = 1; i < SAMI_N_REASONS; i++) {
        guint64 n = collector->refused_messages[i] + collector->refused_records[i];
        for (guint k = 0; k < collector->migrations->len && !collector->refused_records[i]; k++)
            n += ((SamiCollectorMigration *) g_ptr_array_index(collector->migrations, k))->apply->refused[i];
        g_autofree gchar *name = g_strdup_printf("refused_%s_total", sami_reason_id(i));
        if (sami_reason_is_known(i))
            json_object_set_int_member(counters, name, (gint64) n);
    }
    json_object_set_object_member(answer, "counters", counters);
    sami_control_finish(client, SAMI_EXIT_DONE, answer, NULL);
}

static void
do_abort(SamiCollector *collector, SamiControlClient *client, JsonObject *request)
{
    SamiCollectorMigration *m = select_one(collector, request, client);
    if (!m)
        return;
    if (m->phase >= SAMI_PHASE_READY) {
        sami_control_finish(client, SAMI_EXIT_REFUSED, NULL,
                            "already-ready: the VM may be running here; abort it at the source if it is not");
        return;
    }
    sami_collector_migration_abort(m);
    sami_control_finish(client, SAMI_EXIT_DONE, NULL, NULL);
}

void
sami_collector_control(SamiControlClient *client, JsonObject *request, gpointer user_data)
{
    static const struct {
        const gchar *name;
        void (*func)(SamiCollector *, SamiControlClient *, JsonObject *);
    } commands[] = { { "status", do_status }, { "stats", do_stats }, { "abort", do_abort } };
    const gchar *name = json_object_get_string_member_with_default(request, "cmd", "");
    for (gsize i = 0; i < G_N_ELEMENTS(commands); i++)
        if (g_str_equal(commands[i].name, name)) {
            commands[i].func(user_data, client, request);
            return;
        }
    sami_control_finish(client, SAMI_EXIT_USAGE, NULL, "the collector knows: status, stats, abort");
}
