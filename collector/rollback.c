/* What a migration takes out of the kernel again: exactly what it created (LIFECYCLE §8). An entry is ours if its start time, and its id once
 * that is known, are those of the ledger; anything else with the same addresses was made by traffic or by somebody else, and stays. */
#include <string.h>

#include "collector/apply-internal.h"

/* Another migration that has this flow too, in either direction, with this flag in its ledger. A merged flow is a claim to the entry until
 * READY; then it has been taken over, or was there before either migration. */
static SamiLedgerEntry *
find_other(SamiApply *apply, const SamiFlowKey *key, guint32 flag, SamiApply **ret_other)
{
    SamiFlowKey mirrored = *key;
    gboolean has_mirror = sami_flow_key_mirror(key, &mirrored.orig);
    for (guint i = 0; apply->others && i < apply->others->len; i++) {
        SamiApply *other = g_ptr_array_index(apply->others, i);
        if (other == apply || other->has_ended || (flag == SAMI_LEDGER_MERGED && other->is_ready))
            continue;
        SamiLedgerEntry *entry = sami_ledger_find(other->ledger, key);
        if (!entry && has_mirror)
            entry = sami_ledger_find(other->ledger, &mirrored);
        if (entry && (entry->flags & flag)) {
            *ret_other = other;
            return entry;
        }
    }
    return NULL;
}

/* `entry` of `apply` is in the kernel because of `from`, whose window proves it. */
static void
inherit(SamiApply *apply, SamiLedgerEntry *entry, const SamiApply *from, const SamiLedgerEntry *giver)
{
    guint64 window[2];
    sami_ledger_window(from->ledger, giver, window);
    entry->start_ns = sami_ledger_open_window(apply->ledger, window[0]);
    sami_ledger_close_window(apply->ledger, entry->start_ns, window[1]);
    entry->flags = (entry->flags & ~(SAMI_LEDGER_MERGED | SAMI_LEDGER_VERIFIED)) | SAMI_LEDGER_CREATED | SAMI_LEDGER_LENIENT;
    sami_apply_count_held(apply, 1);
    if (apply->file) { /* best effort: what a restart does not know of, it leaves alone */
        guint8 created = SAMI_OUTCOME_CREATED;
        if (sami_ledger_file_intent(apply->file, window[0], &entry->key, 1, NULL))
            sami_ledger_file_result(apply->file, window[1], &created, 1, NULL);
    }
}

void
sami_apply_take_over(SamiApply *apply)
{
    for (guint i = 0; (apply->n_merged > 0 || apply->has_given) && i < sami_ledger_size(apply->ledger); i++) {
        SamiLedgerEntry *entry = sami_ledger_at(apply->ledger, i), *owned;
        SamiApply *owner;
        if (!(entry->flags & SAMI_LEDGER_MERGED) || !(owned = find_other(apply, &entry->key, SAMI_LEDGER_CREATED, &owner)))
            continue;
        inherit(apply, entry, owner, owned);
        g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&owner->lock); /* the main loop may take it out of its budgets just now */
        owned->flags = SAMI_LEDGER_MERGED;
        owner->has_given = TRUE;
        sami_apply_count_held(owner, -1);
        if (owner->file)
            sami_ledger_file_gone(owner->file, &owned->key, 1, NULL);
    }
}

/* What to do about one entry: an operation, or nothing (FALSE). */
static gboolean
decide(SamiApply *apply, SamiRemoval *removal, SamiLedgerEntry *entry, const SamiSession *found, gboolean is_found, SamiOp *op,
       SamiSession *session)
{
    SamiApply *other;
    SamiFlowKey key = sami_apply_kernel_key(entry);
    gboolean is_same_way = is_found && sami_flow_key_equal(&found->key, &key);
    if (!(entry->flags & SAMI_LEDGER_CREATED)) { /* merged, and lenient because of us */
        if (!is_found)
            return FALSE;
        if ((entry->flags & SAMI_LEDGER_VERIFIED) && (found->has & SAMI_HAS_START) &&
            !sami_ledger_proves(apply->ledger, entry, found->flow_id, found->start_ns)) {
            removal->n_left++;
            return FALSE;
        }
        gboolean is_reversed = (entry->flags & SAMI_LEDGER_REVERSED) != 0;
        *session = (SamiSession){ .key = found->key };
        sami_apply_set_lenient(op, session, entry->old_tcp_flags[is_reversed], entry->old_tcp_flags[!is_reversed]);
        removal->n_restored++;
        return TRUE;
    }
    if (!is_found) {
        removal->n_gone++;
        return FALSE;
    }
    gboolean has_start = (found->has & SAMI_HAS_START) != 0;
    gboolean is_proved = is_same_way && sami_ledger_proves(apply->ledger, entry, found->flow_id, found->start_ns);
    if (!is_same_way || (has_start && !is_proved)) {
        removal->n_left++;
        return FALSE;
    }
    SamiLedgerEntry *heir = find_other(apply, &entry->key, SAMI_LEDGER_MERGED, &other);
    if (heir) {
        g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&other->lock);
        inherit(other, heir, apply, entry);
        removal->n_passed++;
        return FALSE;
    }
    *session = (SamiSession){ .key = found->key, .has = SAMI_HAS_ID, .flow_id = found->flow_id };
    *op = (SamiOp){ .kind = SAMI_OP_DELETE, .session = session };
    removal->n_unproved += !has_start;
    return TRUE;
}

static gboolean
look(SamiApply *apply, guint n, const guint *positions, const SamiSession *found, const gboolean *is_found, gpointer user_data,
     GError **error)
{
    SamiRemoval *removal = user_data;
    g_autofree SamiOp *ops = g_new0(SamiOp, n);
    g_autofree SamiSession *sessions = g_new0(SamiSession, n);
    g_autofree SamiFlowKey *keys = g_new(SamiFlowKey, n);
    guint n_ops = 0, n_keys = 0;
    for (guint i = 0; i < n; i++) {
        SamiLedgerEntry *entry = sami_ledger_at(apply->ledger, positions[i]);
        ops[n_ops].session = &sessions[n_ops];
        n_ops += decide(apply, removal, entry, &found[i], is_found[i], &ops[n_ops], &sessions[n_ops]) ? 1 : 0;
        if (entry->flags & SAMI_LEDGER_CREATED)
            keys[n_keys++] = entry->key;
    }
    if (n_ops > 0 && !sami_firewall_apply(apply->firewall, ops, n_ops, error))
        return FALSE;
    for (guint i = 0; i < n_ops; i++)
        if (ops[i].kind == SAMI_OP_DELETE)
            ++*(ops[i].result == 0 ? &removal->n_removed : &removal->n_gone);
    for (guint i = 0; i < n; i++) {
        SamiLedgerEntry *entry = sami_ledger_at(apply->ledger, positions[i]);
        gboolean is_replaced = (entry->flags & SAMI_LEDGER_REPLACE) && (entry->flags & SAMI_LEDGER_CREATED);
        gboolean is_back = FALSE;
        if (is_replaced && !sami_apply_bring_back(apply, entry, &is_back, error)) /* it stays in the ledger for the next try */
            return FALSE;
        sami_apply_let_go(apply, entry);
        removal->n_restored += is_back;
    }
    /* Last, so that a restart brings back what is not back yet; best effort, for a full disk must not keep anything in the kernel, and what a
     * restart looks for and does not find is gone. */
    if (n_keys > 0 && apply->file)
        sami_ledger_file_gone(apply->file, keys, n_keys, NULL);
    return TRUE;
}

gboolean
sami_apply_remove(SamiApply *apply, guint *at, SamiWantFunc wants, SamiRemoval *removal, GError **error)
{
    return sami_apply_look_at_each(apply, at, wants, look, removal, error);
}

static gboolean
is_ours(const SamiApply *apply, const SamiLedgerEntry *entry)
{
    gboolean is_merged = (entry->flags & SAMI_LEDGER_MERGED) && (entry->flags & SAMI_LEDGER_LENIENT);
    return (entry->flags & SAMI_LEDGER_CREATED) || is_merged;
}

static gboolean
is_our_child(const SamiApply *apply, const SamiLedgerEntry *entry)
{
    return (entry->flags & SAMI_LEDGER_CHILD) && is_ours(apply, entry);
}

/* Expectations and children before masters (LIFECYCLE §8): nothing is left that could still become a child of what goes. */
static gboolean
remove_dependants(SamiApply *apply, SamiRemoval *removal, GError **error)
{
    sami_children_clear(apply);
    if (!sami_apply_expectations_remove(apply, removal, error))
        return FALSE;
    for (guint at = 0; apply->has_children && at < sami_ledger_size(apply->ledger);)
        if (!sami_apply_remove(apply, &at, is_our_child, removal, error))
            return FALSE;
    return TRUE;
}

gboolean
sami_apply_rollback(SamiApply *apply, guint *at, SamiRemoval *removal, GError **error)
{
    if (*at == 0 && !remove_dependants(apply, removal, error))
        return FALSE;
    return sami_apply_remove(apply, at, is_ours, removal, error);
}
