/* A destination that is a pair (DESIGN §2): what moves here has to be at our own standby as well before READY is said (pair=sync). The exporter of
 * this host replicates to it; it is asked by a thread, since such a call blocks, and over a connection that is handed to it, since this process may
 * connect to nobody. A standby that is not there holds nobody up: then READY comes without it, and is counted. */
#include <string.h>

#include "collector/collector.h"
#include "common/control-json.h"

typedef struct {
    SamiCollector *collector;
    guint8 id[16];
    guint64 counter;
    gchar *path;
    guint timeout_ms;
    gint64 asked_us;
    gchar *failure; /* (nullable) */
} Waiting;

static void
waiting_free(gpointer data)
{
    Waiting *waiting = data;
    g_free(waiting->path);
    g_free(waiting->failure);
    g_free(waiting);
}

static gboolean
on_answer(gpointer user_data)
{
    Waiting *waiting = user_data;
    SamiCollector *collector = waiting->collector;
    SamiCollectorMigration *m = sami_collector_find(collector, waiting->id);
    double ms = (double) (g_get_monotonic_time() - waiting->asked_us) / 1000;
    if (!m || m->phase != SAMI_PHASE_FREEZE || m->freeze_counter != waiting->counter) /* thawed or aborted meanwhile */
        return G_SOURCE_REMOVE;
    if (waiting->failure)
        g_warning("%.8s: READY without the standby: %s", m->hex, waiting->failure);
    else
        g_message("%.8s: the standby has it too, after %.1f ms", m->hex, ms);
    ++*(waiting->failure ? &collector->n_pair_unsynced : &collector->n_pair_synced);
    sami_collector_migration_pair_done(m, waiting->counter);
    return G_SOURCE_REMOVE;
}

static gpointer
ask(gpointer user_data)
{
    Waiting *waiting = user_data;
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) request = json_object_new();
    json_object_set_string_member(request, "cmd", "sync");
    json_object_set_int_member(request, "timeout_ms", waiting->timeout_ms);
    g_autoptr(JsonObject) answer = sami_control_call_handed(waiting->path, request, &error);
    if (!answer)
        waiting->failure = g_strdup_printf("the exporter of this host: %s", error->message);
    else if (json_object_get_int_member_with_default(answer, "exit", SAMI_EXIT_FAILED) != SAMI_EXIT_DONE)
        waiting->failure = g_strdup(sami_control_json_text(answer, "error", "no reason"));
    g_idle_add_full(G_PRIORITY_DEFAULT, on_answer, waiting, waiting_free);
    return NULL;
}

gboolean
sami_collector_pair_wait(SamiCollectorMigration *m, guint64 counter)
{
    SamiCollector *collector = m->collector;
    g_autoptr(GError) error = NULL;
    if (g_strcmp0(collector->config->pair, "sync") != 0)
        return FALSE;
    Waiting *waiting = g_new0(Waiting, 1);
    waiting->collector = collector;
    memcpy(waiting->id, m->id, sizeof m->id);
    waiting->counter = counter;
    waiting->path = g_build_filename(collector->config->run_dir, SAMI_PAIR_SOCKET, NULL);
    waiting->timeout_ms = collector->config->deadline_ms;
    waiting->asked_us = g_get_monotonic_time();
    GThread *thread = g_thread_try_new("pair", ask, waiting, &error);
    if (thread) {
        g_thread_unref(thread);
        return TRUE;
    }
    g_warning("%.8s: READY without the standby: %s", m->hex, error->message);
    collector->n_pair_unsynced++;
    waiting_free(waiting);
    return FALSE;
}
