/* A master has to be in the kernel before its children, and a dump does not give them in that order. */
#include "collector/apply-internal.h"
#include "common/limits.h"

gboolean
sami_apply_is_master(const SamiApply *apply, const SamiFlowKey *key)
{
    const SamiLedgerEntry *entry = sami_ledger_find(apply->ledger, key);
    gboolean is_planned = entry && (entry->flags & SAMI_LEDGER_REPLACE) && !(entry->flags & SAMI_LEDGER_CREATED);
    return entry && (entry->flags & (SAMI_LEDGER_CREATED | SAMI_LEDGER_MERGED)) && !is_planned;
}

static void
hold(SamiApply *apply, const SamiApplyItem *item, guint64 counter)
{
    SamiChild *child = g_new(SamiChild, 1);
    *child = (SamiChild){ *item, counter, apply->generation };
    child->item.message = NULL; /* its memory goes with its job */
    if (!apply->children)
        apply->children = g_hash_table_new_full(sami_flow_key_hash, sami_flow_key_equal, NULL, g_free);
    g_hash_table_replace(apply->children, &child->item.session.key, child);
}

/* The kernel would take any flow with these addresses for its master. The digest stays: it is of what the record says. */
const SamiApplyItem *
sami_children_orphan(SamiApply *apply, const SamiApplyItem *item)
{
    SamiApplyItem *alone = g_memdup2(item, sizeof *item);
    alone->session.has &= ~(guint32) SAMI_HAS_MASTER;
    alone->flags |= SAMI_LEDGER_NO_MASTER;
    alone->message = NULL;
    if (!apply->orphans)
        apply->orphans = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(apply->orphans, alone);
    return alone;
}

const SamiApplyItem *
sami_children_admit(SamiApply *apply, const SamiApplyItem *item, guint64 counter)
{
    const SamiSession *s = &item->session;
    gboolean is_creation = s->action != SAMI_ACTION_DELETED, is_waiting = apply->children && g_hash_table_contains(apply->children, &s->key);
    if (is_creation && (s->has & SAMI_HAS_MASTER) && !sami_apply_is_master(apply, &s->master)) {
        gboolean has_room = is_waiting || !apply->children || g_hash_table_size(apply->children) < SAMI_CHILDREN_MAX;
        if (apply->is_ready || !has_room || sami_ledger_find(apply->ledger, &s->key))
            return sami_children_orphan(apply, item);
        hold(apply, item, counter);
        return NULL;
    }
    if (is_waiting) /* this is newer */
        g_hash_table_remove(apply->children, &s->key);
    return item;
}

GPtrArray *
sami_children_take(SamiApply *apply, gboolean is_last)
{
    GPtrArray *due = NULL;
    GHashTableIter iter;
    gpointer value;
    if (!apply->children)
        return NULL;
    g_hash_table_iter_init(&iter, apply->children);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        SamiChild *child = value;
        if (!is_last && !sami_apply_is_master(apply, &child->item.session.master))
            continue;
        if (!due)
            due = g_ptr_array_new_with_free_func(g_free);
        g_hash_table_iter_steal(&iter);
        g_ptr_array_add(due, child);
    }
    return due;
}

static gboolean
is_stale(gpointer key, gpointer value, gpointer user_data)
{
    return ((SamiChild *) value)->generation != ((SamiApply *) user_data)->generation;
}

void
sami_children_drop_stale(SamiApply *apply)
{
    if (apply->children)
        g_hash_table_foreach_remove(apply->children, is_stale, apply);
}

void
sami_children_sweep(SamiApply *apply)
{
    g_clear_pointer(&apply->orphans, g_ptr_array_unref);
}

void
sami_children_clear(SamiApply *apply)
{
    g_clear_pointer(&apply->children, g_hash_table_unref);
    sami_children_sweep(apply);
}
