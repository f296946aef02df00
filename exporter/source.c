/* The kernel's side of a migration: snapshot, events, dirty tuples.
 *
 * Invariant (LIFECYCLE §3): for every tuple, the last record sent was read from the kernel after the last event for it was received, or is
 * a delete and the kernel then had none. Events are hints: what is sent for them is read just before. */
#include "exporter/exporter.h"

#include <string.h>

#define GET_BATCH 64u
#define EVENTS_A_TURN 512u
#define FOLLOW_MS 2u /* DESIGN §8: changes are gathered up to 2 ms or a full Message */

static gboolean
is_in_scope(const SamiMigration *m, const SamiSession *s)
{
    const SamiPrefix *vm = (const SamiPrefix *) (const void *) m->vm->data;
    if (m->has_zone && s->key.zone != m->zone)
        return FALSE;
    return sami_prefixes_contain(vm, m->vm->len, s->key.family, &s->key.orig.src) ||
           ((s->has & SAMI_HAS_REPLY) && sami_prefixes_contain(vm, m->vm->len, s->key.family, &s->reply.src));
}

static gboolean
send_session(SamiMigration *m, const SamiSession *s, SamiAction action)
{
    SamiRecord record = { .kind = SAMI_RECORD_SESSION, .session = *s };
    record.session.action = (guint8) action;
    record.session.has &= ~(guint32) (SAMI_HAS_COUNTERS | SAMI_HAS_ID);
    if (action == SAMI_ACTION_DELETED)
        record.session.has &= SAMI_HAS_ID;
    if (m->state == SAMI_STATE_READY || m->state == SAMI_STATE_FREEZE)
        record.session.flags |= m->marker_counter ? SAMI_SESSION_LATE : 0;
    if (!sami_link_add(m, &record))
        return FALSE;
    m->n_sent++;
    m->exporter->n_sessions++;
    return TRUE;
}

static gboolean
on_flush(gpointer user_data)
{
    SamiMigration *m = user_data;
    g_autoptr(GError) error = NULL;
    m->flush_timer = 0;
    if (sami_link_is_full(m)) { /* dirty tuples wait; sami_source_update() comes back */
        return G_SOURCE_REMOVE;
    }
    if (!sami_source_send_dirty(m, &error))
        sami_migration_fail(m, SAMI_EXIT_FAILED, error->message);
    else
        sami_link_flush(m, FALSE);
    return G_SOURCE_REMOVE;
}

static void
flush_soon(SamiMigration *m)
{
    if (!m->flush_timer)
        m->flush_timer = g_timeout_add(FOLLOW_MS, on_flush, m);
}

static void
mark_dirty(SamiMigration *m, const SamiFlowKey *key)
{
    if (!g_hash_table_contains(m->dirty, key))
        g_hash_table_add(m->dirty, g_memdup2(key, sizeof *key));
    flush_soon(m);
}

static void
on_event(SamiEventKind kind, const SamiSession *s, gpointer user_data)
{
    SamiMigration *m = user_data;
    if (!is_in_scope(m, s) || m->state >= SAMI_STATE_SETTLE)
        return;
    gboolean is_after_marker = m->marker_counter != 0;
    if (kind != SAMI_EVENT_DESTROY) {
        if (!is_after_marker || kind == SAMI_EVENT_NEW) /* LIFECYCLE §3.8: only late creations */
            mark_dirty(m, &s->key);
        return;
    }
    g_hash_table_remove(m->dirty, &s->key);
    if (is_after_marker)
        return;
    if (m->dump && !g_hash_table_contains(m->tombstones, &s->key))
        g_hash_table_add(m->tombstones, g_memdup2(&s->key, sizeof s->key));
    send_session(m, s, SAMI_ACTION_DELETED);
    flush_soon(m);
}

/* TRUE unless the socket failed or overran; the migration knows then. */
static gboolean
drain_events(SamiMigration *m, guint max)
{
    g_autoptr(GError) error = NULL;
    if (sami_firewall_events_read(m->events, max, on_event, m, &error)) {
        if (g_hash_table_size(m->dirty) + g_hash_table_size(m->tombstones) <= SAMI_DIRTY_MAX)
            return TRUE;
        sami_migration_overrun(m);
        return FALSE;
    }
    if (g_error_matches(error, SAMI_ERROR, SAMI_ERROR_OVERRUN))
        sami_migration_overrun(m);
    else
        sami_migration_fail(m, SAMI_EXIT_FAILED, error->message);
    return FALSE;
}

static gboolean
on_events(GIOCondition condition, gpointer user_data)
{
    SamiMigration *m = user_data;
    drain_events(m, EVENTS_A_TURN);
    return m->events_source ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

static void
on_dumped(const SamiSession *s, gpointer user_data)
{
    SamiMigration *m = user_data;
    if (!m->is_settle_dump) {
        /* A part of a dump can be older than events already held. */
        if (g_hash_table_contains(m->dirty, &s->key))
            return;
        if (g_hash_table_contains(m->tombstones, &s->key)) {
            mark_dirty(m, &s->key);
            return;
        }
        if (!(s->has & SAMI_HAS_START) || s->start_ns < m->exporter->events_since_ns)
            m->n_silent++;
    }
    send_session(m, s, SAMI_ACTION_CREATED);
}

static void
close_dump(SamiMigration *m)
{
    if (m->dump_source) {
        g_source_destroy(m->dump_source);
        g_clear_pointer(&m->dump_source, g_source_unref);
    }
    if (m->dump)
        m->n_not_vm_end = sami_firewall_dump_not_vm_end(m->dump);
    g_clear_pointer(&m->dump, sami_firewall_dump_free);
}

static gboolean
on_dump(GIOCondition condition, gpointer user_data)
{
    SamiMigration *m = user_data;
    g_autoptr(GError) error = NULL;
    if (!m->is_settle_dump && !drain_events(m, G_MAXUINT)) /* before each part (LIFECYCLE §3.3) */
        return G_SOURCE_REMOVE;
    if (!m->dump)
        return G_SOURCE_REMOVE;
    int fd = sami_firewall_dump_fd(m->dump);
    SamiDumpStatus status = sami_firewall_dump_next(m->dump, on_dumped, m, &error);
    if (!m->dump) /* the migration failed meanwhile */
        return G_SOURCE_REMOVE;
    if (status == SAMI_DUMP_BAD) {
        sami_migration_fail(m, SAMI_EXIT_FAILED, error->message);
        return G_SOURCE_REMOVE;
    }
    if (status == SAMI_DUMP_END) {
        close_dump(m);
        g_hash_table_remove_all(m->tombstones);
        sami_migration_dumped(m);
        return G_SOURCE_REMOVE;
    }
    if (sami_link_is_full(m) || fd != sami_firewall_dump_fd(m->dump)) {
        g_source_destroy(m->dump_source);
        g_clear_pointer(&m->dump_source, g_source_unref);
        sami_source_update(m);
    }
    return G_SOURCE_CONTINUE;
}

void
sami_source_update(SamiMigration *m)
{
    if (m->dump && !m->dump_source && !sami_link_is_full(m))
        m->dump_source = sami_fd_source_new(sami_firewall_dump_fd(m->dump), G_IO_IN, on_dump, m, NULL);
    if (m->dirty && g_hash_table_size(m->dirty) > 0 && !sami_link_is_full(m))
        flush_soon(m);
}

gboolean
sami_source_open(SamiMigration *m, GError **error)
{
    gboolean is_overrun;
    m->dirty = g_hash_table_new_full(sami_flow_key_hash, sami_flow_key_equal, g_free, NULL);
    m->tombstones = g_hash_table_new_full(sami_flow_key_hash, sami_flow_key_equal, g_free, NULL);
    m->filter = (SamiDumpFilter){ .prefixes = (SamiPrefix *) (void *) m->vm->data, .n_prefixes = m->vm->len,
                                  .has_zone = m->has_zone, .zone = m->zone, .has_mark = m->has_mark, .mark = m->mark,
                                  .mark_mask = G_MAXUINT32, .is_counting_not_vm_end = TRUE };
    if (!(m->firewall = sami_firewall_linux_new(error)) || !(m->events = sami_firewall_events_new(m->firewall, error)) ||
        !sami_source_barrier(m, &is_overrun, error))
        return FALSE;
    m->events_source = sami_fd_source_new(sami_firewall_events_fd(m->events), G_IO_IN, on_events, m, NULL);
    return sami_source_dump(m, error);
}

void
sami_source_close(SamiMigration *m)
{
    close_dump(m);
    if (m->events_source) {
        g_source_destroy(m->events_source);
        g_clear_pointer(&m->events_source, g_source_unref);
    }
    if (m->flush_timer)
        g_source_remove(m->flush_timer);
    m->flush_timer = 0;
    g_clear_pointer(&m->events, sami_firewall_events_free);
    g_clear_pointer(&m->firewall, sami_firewall_free);
    g_clear_pointer(&m->dirty, g_hash_table_unref);
    g_clear_pointer(&m->tombstones, g_hash_table_unref);
}

gboolean
sami_source_dump(SamiMigration *m, GError **error)
{
    close_dump(m);
    m->n_silent = 0;
    m->dump = sami_firewall_dump_new(m->firewall, &m->filter, error);
    sami_source_update(m);
    return m->dump != NULL;
}

gboolean
sami_source_barrier(SamiMigration *m, gboolean *ret_is_overrun, GError **error)
{
    g_autoptr(GError) local = NULL;
    *ret_is_overrun = FALSE;
    if (sami_firewall_events_barrier(m->events, on_event, m, &local))
        return TRUE;
    *ret_is_overrun = g_error_matches(local, SAMI_ERROR, SAMI_ERROR_OVERRUN);
    if (*ret_is_overrun)
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&local));
    return FALSE;
}

gboolean
sami_source_send_dirty(SamiMigration *m, GError **error)
{
    SamiFlowKey keys[GET_BATCH];
    SamiSession found[GET_BATCH];
    gboolean is_found[GET_BATCH];
    while (m->dirty && g_hash_table_size(m->dirty) > 0) {
        GHashTableIter iter;
        gpointer key;
        guint n = 0;
        g_hash_table_iter_init(&iter, m->dirty);
        while (n < GET_BATCH && g_hash_table_iter_next(&iter, &key, NULL)) {
            keys[n++] = *(SamiFlowKey *) key;
            g_hash_table_iter_remove(&iter);
        }
        if (!sami_firewall_get(m->firewall, keys, n, found, is_found, error))
            return FALSE;
        for (guint i = 0; i < n; i++) /* not found: its destroy event is on the way, or has been */
            if (is_found[i] && sami_flow_key_equal(&found[i].key, &keys[i]) && !send_session(m, &found[i], SAMI_ACTION_UPDATE))
                return TRUE;
    }
    return TRUE;
}
