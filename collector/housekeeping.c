/* What there is room for in the table; and what journal-keep and journal-max let go: journals of migrations that are over, and the memory of closed
 * ids. */
#include <string.h>

#include "collector/collector.h"

#define EVERY_S 3600u
#define FINISHED_MAX 1000u /* closed ids remembered for status (PROTOCOL §2) */

void
sami_collector_migration_trim(SamiCollector *collector)
{
    for (guint i = 0; i < collector->migrations->len && collector->migrations->len > FINISHED_MAX; i++) {
        SamiCollectorMigration *m = g_ptr_array_index(collector->migrations, i);
        if (m->is_forgotten && m->n_jobs == 0)
            g_ptr_array_remove_index(collector->migrations, i--);
    }
}

/* max-sessions, or half of the free room (OPERATIONS §2). What running migrations hold was free room when they began, and is counted
 * against the limit as well. Half by half, one migration after the other, a signer could fill the table: the reserve is left. */
guint64
sami_collector_room(SamiCollector *collector, const SamiSigner *signer)
{
    guint64 n_entries = 0, max = 0, n_used = sami_budget_used(collector->budget);
    g_autoptr(GError) error = NULL;
    if (!sami_firewall_headroom(collector->firewall, &n_entries, &max, &error)) {
        g_warning("the room in the connection table is unknown, so there is none: %s", error->message);
        n_entries = max = 0;
    }
    guint64 usable = max - max * collector->config->table_reserve / 100;
    guint64 n_free = usable > n_entries ? usable - n_entries : 0;
    guint64 limit = collector->config->max_sessions ? MIN(collector->config->max_sessions, n_free + n_used) : (n_free + n_used) / 2;
    sami_budget_set_limit(collector->budget, limit);
    return MIN(n_free, MIN(sami_budget_room(collector->budget), sami_budget_room(signer->budget)));
}

/* The id in TIME-ID[-N].ipfix, TIME-ID[-N].answers or ID.closed; FALSE: no such name. */
static gboolean
read_id(const gchar *name, guint8 ret_id[16])
{
    const gchar *dash = strchr(name, '-');
    const gchar *hex = g_str_has_suffix(name, ".closed") ? name : dash ? dash + 1 : name;
    for (guint i = 0; i < 16; i++) {
        gint high = g_ascii_xdigit_value(hex[2 * i]), low = high < 0 ? -1 : g_ascii_xdigit_value(hex[2 * i + 1]);
        if (low < 0)
            return FALSE;
        ret_id[i] = (guint8) (high << 4 | low);
    }
    return TRUE;
}

static gboolean
is_needed(const gchar *name, gpointer user_data)
{
    SamiCollector *collector = user_data;
    guint8 id[16];
    if (!read_id(name, id))
        return TRUE; /* not ours to remove */
    for (guint i = 0; i < collector->sessions->len; i++) {
        const SamiCollectorSession *session = g_ptr_array_index(collector->sessions, i);
        if (session->stream && memcmp(session->stream->migration_id, id, 16) == 0)
            return TRUE;
    }
    const SamiCollectorMigration *m = sami_collector_find(collector, id);
    return m && !m->is_forgotten;
}

static void
tidy(SamiCollector *collector)
{
    const SamiConfig *config = collector->config;
    guint n_removed = 0;
    if (!config->journal)
        return;
    collector->tidied_us = g_get_monotonic_time();
    collector->journal_octets = sami_journal_prune(config->journal_dir, config->journal_keep_s, config->journal_max, SAMI_JOURNAL_FILES_MAX,
                                                   is_needed, collector, &n_removed);
    collector->n_journals_removed += n_removed;
    if (n_removed > 0)
        g_message("journal-keep, journal-max: %u files removed, %" G_GUINT64_FORMAT " octets left", n_removed, collector->journal_octets);
}

void
sami_collector_tidy_soon(SamiCollector *collector)
{
    if (g_get_monotonic_time() - collector->tidied_us >= G_USEC_PER_SEC)
        tidy(collector);
}

static gboolean
on_hour(gpointer user_data)
{
    tidy(user_data);
    return G_SOURCE_CONTINUE;
}

void
sami_collector_start_tidying(SamiCollector *collector)
{
    tidy(collector);
    g_timeout_add_seconds(EVERY_S, on_hour, collector);
}
