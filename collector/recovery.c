/* After a restart of the state process: what the ledgers in journal-dir say goes on before anything new is accepted. */
#include <string.h>

#include "collector/collector.h"

typedef struct {
    SamiCollector *collector;
    SamiCollectorMigration *migration;
    guint8 boot_id[16];       /* of the running kernel */
    guint64 unknown_counter;  /* of a freeze marker of which the machine's crash leaves open whether READY was sent */
} Recovery;

static void
on_open(const SamiLedgerOpen *open, gpointer user_data)
{
    Recovery *recovery = user_data;
    if (!sami_collector_find(recovery->collector, open->id))
        recovery->migration = sami_collector_migration_recall(recovery->collector, open);
}

static void
on_created(const SamiFlowKey *key, const guint64 window[2], gpointer user_data)
{
    Recovery *recovery = user_data;
    if (recovery->migration)
        sami_apply_recall_created(recovery->migration->apply, key, window);
}

static void
on_gone(const SamiFlowKey *key, gpointer user_data)
{
    Recovery *recovery = user_data;
    if (recovery->migration)
        sami_apply_recall_gone(recovery->migration->apply, key);
}

static void
on_replaced(const SamiFlowKey *key, const SamiSession *old, guint64 time_ns, gpointer user_data)
{
    Recovery *recovery = user_data;
    if (recovery->migration)
        sami_apply_recall_replaced(recovery->migration->apply, key, old, time_ns);
}

static void
on_merged(const SamiFlowKey *key, const guint8 old_tcp_flags[2], gpointer user_data)
{
    Recovery *recovery = user_data;
    if (recovery->migration)
        sami_apply_recall_merged(recovery->migration->apply, key, old_tcp_flags);
}

static void
on_phase(guint8 phase, guint64 counter, guint64 n_records, guint64 time_ns, gpointer user_data)
{
    Recovery *recovery = user_data;
    SamiCollectorMigration *m = recovery->migration;
    if (!m || phase >= SAMI_N_PHASES)
        return;
    recovery->unknown_counter = 0;
    m->phase = (SamiCollectorPhase) phase;
    m->marker_counter = counter;
    m->n_ready = n_records;
    m->apply->is_ready = counter != 0;
}

/* The phase behind it was written, if at all, without being synced. */
static void
on_freeze(const guint8 boot_id[16], guint64 counter, gpointer user_data)
{
    Recovery *recovery = user_data;
    if (memcmp(boot_id, recovery->boot_id, sizeof recovery->boot_id) != 0)
        recovery->unknown_counter = counter;
}

/* One file. What cannot be read is said, and stays for a person to look at. */
static void
recover_file(SamiCollector *collector, const gchar *path, gboolean is_closed)
{
    static const SamiLedgerFileReader reader = { on_open, on_created, on_gone, on_merged, on_phase, on_freeze, on_replaced };
    Recovery recovery = { .collector = collector };
    g_autoptr(GError) error = NULL;
    sami_ledger_file_boot_id(recovery.boot_id);
    if (!sami_ledger_file_read(path, &reader, &recovery, &error))
        g_critical("%s; entries that it created may be in the table", error->message);
    SamiCollectorMigration *m = recovery.migration;
    if (!m)
        return;
    m->is_recovered = TRUE;
    if (recovery.unknown_counter)
        on_phase(SAMI_PHASE_READY, recovery.unknown_counter, 0, 0, &recovery);
    if (is_closed) {
        m->is_forgotten = TRUE;
        sami_apply_leave_budgets(m->apply);
        return;
    }
    g_clear_error(&error);
    m->apply->file = sami_ledger_file_reopen(path, &error);
    if (error)
        g_warning("%s", error->message);
    g_warning("%.8s: from before the restart, was %s: %" G_GUINT64_FORMAT " entries", m->hex, sami_collector_phase_name(m->phase),
              sami_apply_present(m->apply));
    sami_collector_migration_restart(m);
}

/* Finished ones first: a ledger that could not be removed at its end is not taken for an unfinished migration. */
void
sami_collector_recover(SamiCollector *collector)
{
    static const gchar *const suffixes[] = { ".closed", ".ledger" };
    const gchar *directory = collector->config->journal_dir, *name;
    for (guint i = 0; collector->config->journal && i < G_N_ELEMENTS(suffixes); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GDir) dir = g_dir_open(directory, 0, &error);
        if (!dir)
            g_critical("%s; entries that migrations before this start created may be in the table", error->message);
        while (dir && (name = g_dir_read_name(dir))) {
            g_autofree gchar *path = g_build_filename(directory, name, NULL);
            if (g_str_has_suffix(name, suffixes[i]))
                recover_file(collector, path, i == 0);
        }
    }
}
