/* What is left to do for a migration that has been decided: its entries get strict window tracking once a packet has touched them, or after some tries
 * (LIFECYCLE §6), and then ledger and lists go. */
#include "collector/collector.h"

#define AGAIN_MS 60000u /* entries that no packet has touched are looked at again */
#define TRIES 5u        /* then they are made strict anyway: five minutes */

static gboolean on_time(gpointer user_data);

static void
submit(SamiCollectorMigration *m, SamiJob *job)
{
    sami_injector_submit(m->collector->injector, job);
}

static void
forgotten(SamiJob *job, gpointer user_data)
{
    SamiCollectorMigration *m = user_data;
    g_autoptr(GError) error = NULL;
    sami_collector_migration_job_done(job, m);
    m->is_forgotten = TRUE;
    sami_collector_kinds_forget(m);
    if (m->apply->file && !sami_ledger_file_finish(m->apply->file, (guint8) m->phase, m->marker_counter, m->n_ready, sami_ledger_now(), &error))
        g_warning("%.8s: %s", m->hex, error->message);
    g_clear_pointer(&m->apply->file, sami_ledger_file_free);
}

void
sami_collector_migration_forget(SamiCollectorMigration *m)
{
    submit(m, sami_collector_migration_prepare(m, SAMI_JOB_FORGET, forgotten));
}

static void
strict_done(SamiJob *job, gpointer user_data)
{
    SamiCollectorMigration *m = user_data;
    sami_collector_migration_job_done(job, m);
    if ((job->error || job->n_left > 0) && m->n_strict_tries < TRIES)
        m->strict_timer = g_timeout_add(AGAIN_MS, on_time, m);
    else if (m->phase == SAMI_PHASE_DONE)
        sami_collector_migration_forget(m);
}

static gboolean
on_time(gpointer user_data)
{
    SamiCollectorMigration *m = user_data;
    m->strict_timer = 0;
    if (m->phase != SAMI_PHASE_DONE && m->phase != SAMI_PHASE_IN_DOUBT)
        return G_SOURCE_REMOVE;
    SamiJob *job = sami_collector_migration_prepare(m, SAMI_JOB_STRICT, strict_done);
    job->is_last = ++m->n_strict_tries >= TRIES;
    submit(m, job);
    return G_SOURCE_REMOVE;
}

void
sami_collector_migration_look_after(SamiCollectorMigration *m)
{
    if (!m->strict_timer)
        m->strict_timer = g_timeout_add(m->collector->config->grace_ms, on_time, m);
}

void
sami_collector_hurry_oldest(const SamiCollector *collector, const gchar *signer)
{
    SamiCollectorMigration *oldest = NULL;
    guint n = 0;
    for (guint i = 0; i < collector->migrations->len; i++) {
        SamiCollectorMigration *m = g_ptr_array_index(collector->migrations, i);
        if (m->phase != SAMI_PHASE_DONE || m->is_forgotten || m->replication || !g_str_equal(m->signer_name, signer))
            continue;
        n++;
        if (!oldest && m->strict_timer) /* it waits for the next look at its entries; the others are being looked at */
            oldest = m;
    }
    if (n < SAMI_LOOKED_AFTER_MAX || !oldest)
        return;
    g_clear_handle_id(&oldest->strict_timer, g_source_remove);
    oldest->n_strict_tries = TRIES - 1;
    on_time(oldest);
}
