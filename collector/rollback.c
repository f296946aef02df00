/* What a migration takes out of the kernel again: exactly what it created (LIFECYCLE §8). An entry is ours if its start time, and its id once
 * that is known, are those of the ledger; anything else with the same addresses was made by traffic or by somebody else, and stays. */
#include <string.h>

#include "collector/apply-internal.h"

/* Does `entry` of `apply` stand for what the kernel has, and not for an earlier or later one with these addresses? Without start times there is
 * no telling. */
static gboolean
stands_for(const SamiApply *apply, const SamiLedgerEntry *entry, const SamiSession *found)
{
    SamiFlowKey key = sami_apply_kernel_key(entry);
    if (!sami_flow_key_equal(&key, &found->key))
        return FALSE;
    if (!(found->has & SAMI_HAS_START))
        return TRUE;
    return (entry->flags & (SAMI_LEDGER_CREATED | SAMI_LEDGER_VERIFIED)) &&
           sami_ledger_proves(apply->ledger, entry, found->flow_id, found->start_ns);
}

/* Another migration that has this entry of the kernel too, known from either side, with this flag in its ledger. A merged flow is a claim to the
 * entry until READY; then it has been taken over, or was there before either migration. Without start times nothing is taken over. */
static SamiLedgerEntry *
find_other(SamiApply *apply, const SamiSession *found, guint32 flag, SamiApply **ret_other)
{
    SamiFlowKey keys[2] = { found->key, found->key };
    guint n_keys = sami_flow_key_mirror(&found->key, &keys[1].orig) ? 2 : 1;
    gboolean has_start = (found->has & SAMI_HAS_START) != 0;
    for (guint i = 0; apply->others && i < apply->others->len; i++) {
        SamiApply *other = g_ptr_array_index(apply->others, i);
        if (other == apply || other->has_ended || (flag == SAMI_LEDGER_MERGED && other->is_ready && has_start))
            continue;
        for (guint k = 0; k < n_keys; k++) {
            SamiLedgerEntry *entry = sami_ledger_find(other->ledger, &keys[k]);
            if (!entry || !(entry->flags & flag) || !stands_for(other, entry, found))
                continue;
            *ret_other = other;
            return entry;
        }
    }
    return NULL;
}

/* `entry`, which is merged with a known id and start time, is in the kernel because of another migration. It is ours by exactly these from now on,
 * not by the other's window: what traffic or somebody else makes under the same addresses is not. */
static void
inherit(SamiApply *apply, SamiLedgerEntry *entry)
{
    entry->flags = (entry->flags & ~(SAMI_LEDGER_MERGED | SAMI_LEDGER_GIVEN)) | SAMI_LEDGER_CREATED | SAMI_LEDGER_LENIENT;
    sami_apply_count_held(apply, 1);
    if (apply->file) { /* best effort: what a restart does not know of, it leaves alone */
        guint8 created = SAMI_OUTCOME_CREATED;
        if (sami_ledger_file_intent(apply->file, entry->start_ns, &entry->key, 1, NULL))
            sami_ledger_file_result(apply->file, entry->start_ns, &created, 1, NULL);
    }
}

void
sami_apply_take_over(SamiApply *apply)
{
    for (guint i = 0; (apply->n_merged > 0 || apply->has_given) && i < sami_ledger_size(apply->ledger); i++) {
        SamiLedgerEntry *entry = sami_ledger_at(apply->ledger, i), *owned;
        SamiApply *owner;
        if (!(entry->flags & SAMI_LEDGER_MERGED) || !(entry->flags & SAMI_LEDGER_VERIFIED))
            continue;
        const SamiSession merged = { .key = sami_apply_kernel_key(entry), .has = SAMI_HAS_START, .flow_id = entry->flow_id,
                                     .start_ns = entry->start_ns };
        if (!(owned = find_other(apply, &merged, SAMI_LEDGER_CREATED, &owner)))
            continue;
        inherit(apply, entry);
        g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&owner->lock); /* the main loop may take it out of its budgets just now */
        owned->flags = SAMI_LEDGER_MERGED | SAMI_LEDGER_VERIFIED | SAMI_LEDGER_GIVEN | (owned->flags & SAMI_LEDGER_REVERSED);
        owned->flow_id = entry->flow_id;
        owned->start_ns = entry->start_ns;
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
    SamiLedgerEntry *heir = find_other(apply, found, SAMI_LEDGER_MERGED, &other);
    if (heir) {
        g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&other->lock);
        if (has_start) /* without, it stays a merged one there, which nobody deletes */
            inherit(other, heir);
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
