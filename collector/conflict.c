/* Flows that were here before the migration brought them (LIFECYCLE §5): merged, kept or refused at once; replaced at the freeze marker. */
#include <netinet/in.h>
#include <string.h>

#include "collector/apply-internal.h"

#define REPLACEMENTS_MAX 65536u /* each keeps two whole sessions until the end; a flow beyond it is refused */

static void
merge(SamiApply *apply, const SamiApplyItem *item, const SamiSession *found, guint32 flags)
{
    SamiLedgerEntry *entry = sami_ledger_insert(apply->ledger, &item->session.key);
    gboolean is_reversed = (flags & SAMI_LEDGER_REVERSED) != 0;
    sami_apply_remember(apply, entry, item);
    entry->flags |= SAMI_LEDGER_MERGED | flags;
    if (found->has & SAMI_HAS_START) { /* for the rollback, which gives its flags back to no other one */
        entry->flow_id = found->flow_id;
        entry->start_ns = found->start_ns;
        entry->flags |= SAMI_LEDGER_VERIFIED;
    }
    for (guint d = 0; d < 2; d++)
        entry->old_tcp_flags[d] = found->tcp_flags[is_reversed ? 1 - d : d];
    apply->n_merged++;
    apply->n_kept += (flags & SAMI_LEDGER_KEPT) != 0;
}

static SamiLedgerEntry *
add_replacement(SamiApply *apply, const SamiReplacement *replacement)
{
    SamiLedgerEntry *entry = sami_ledger_insert(apply->ledger, &replacement->new.key);
    guint16 at = (guint16) apply->replacements->len;
    entry->flags = SAMI_LEDGER_REPLACE;
    memcpy(entry->old_tcp_flags, &at, sizeof at);
    g_array_append_val(apply->replacements, *replacement);
    return entry;
}

static void
plan_replacement(SamiApply *apply, const SamiApplyItem *item, const SamiSession *found, guint64 counter)
{
    SamiReplacement replacement = { .new = item->session, .old = *found, .seen_ns = sami_ledger_now(), .counter = counter };
    if (apply->replacements->len >= REPLACEMENTS_MAX)
        sami_apply_refuse(apply, SAMI_REASON_NAT_MISMATCH, &item->session.key, counter, "too many flows to replace");
    else
        sami_apply_remember(apply, add_replacement(apply, &replacement), item);
}

/* Is it the same flow, seen from the other side? The kernel finds an entry by either tuple. With a translation there is no telling: the two
 * firewalls then see different addresses. */
static gboolean
is_reversed(const SamiSession *s, const SamiSession *found)
{
    SamiTuple mirror;
    return sami_flow_key_mirror(&s->key, &mirror) && memcmp(&mirror, &s->reply, sizeof mirror) == 0 &&
           memcmp(&found->key.orig, &s->reply, sizeof mirror) == 0 && memcmp(&found->reply, &s->key.orig, sizeof mirror) == 0;
}

gboolean
sami_conflict_may_replace(const SamiPrefix *vm, guint n_vm, const SamiSession *found)
{
    return sami_prefixes_contain(vm, n_vm, found->key.family, &found->key.orig.src) ||
           sami_prefixes_contain(vm, n_vm, found->key.family, &found->reply.src);
}

SamiReason
sami_conflict_judge(SamiConflict on_conflict, const SamiPrefix *vm, guint n_vm, const SamiSession *s, const SamiSession *found, gboolean is_found,
                    gboolean *ret_is_reversed)
{
    gboolean is_same_way = is_found && sami_flow_key_equal(&found->key, &s->key);
    gboolean is_same = is_same_way && memcmp(&found->reply, &s->reply, sizeof s->reply) == 0;
    *ret_is_reversed = is_found && !is_same_way && is_reversed(s, found);
    if (!is_found)
        return SAMI_REASON_NAT_CLASH;
    if (is_same || *ret_is_reversed || (is_same_way && on_conflict == SAMI_CONFLICT_REPLACE && sami_conflict_may_replace(vm, n_vm, found)))
        return SAMI_REASON_NONE;
    return is_same_way ? SAMI_REASON_NAT_MISMATCH : SAMI_REASON_REVERSED;
}

void
sami_apply_resolve_conflict(SamiApply *apply, const SamiApplyItem *item, const SamiSession *found, gboolean is_found, guint64 counter)
{
    const SamiSession *s = &item->session;
    gboolean is_other_way;
    SamiReason reason = sami_conflict_judge(apply->on_conflict, (const SamiPrefix *) (const void *) apply->vm->data, apply->vm->len, s, found, is_found, &is_other_way);
    guint32 flags = (is_other_way ? SAMI_LEDGER_REVERSED : 0) | (apply->on_conflict == SAMI_CONFLICT_KEEP ? SAMI_LEDGER_KEPT : 0);
    if (reason != SAMI_REASON_NONE)
        sami_apply_refuse(apply, reason, &s->key, counter, is_found ? NULL : "another flow has its reply tuple");
    else if (apply->on_conflict == SAMI_CONFLICT_REPLACE)
        plan_replacement(apply, item, found, counter);
    else
        merge(apply, item, found, flags);
}

/* Of an entry with SAMI_LEDGER_REPLACE: its place is where a merged one keeps its flags. */
static SamiReplacement *
replacement_of(SamiApply *apply, const SamiLedgerEntry *entry)
{
    guint16 at;
    G_STATIC_ASSERT(sizeof entry->old_tcp_flags == sizeof at && REPLACEMENTS_MAX <= G_MAXUINT16 + 1u);
    memcpy(&at, entry->old_tcp_flags, sizeof at);
    return &g_array_index(apply->replacements, SamiReplacement, at);
}

static gboolean
is_merged(const SamiApply *apply, const SamiLedgerEntry *entry)
{
    return (entry->flags & (SAMI_LEDGER_MERGED | SAMI_LEDGER_GIVEN)) == SAMI_LEDGER_MERGED;
}

void
sami_apply_give_up_plan(SamiApply *apply, SamiLedgerEntry *entry)
{
    if (is_merged(apply, entry)) {
        apply->n_merged--;
        apply->n_kept -= (entry->flags & SAMI_LEDGER_KEPT) != 0;
    }
    sami_apply_let_go(apply, entry);
}

void
sami_apply_update_plan(SamiApply *apply, SamiLedgerEntry *entry, const SamiApplyItem *item)
{
    replacement_of(apply, entry)->new = item->session;
    sami_apply_remember(apply, entry, item);
}

/* The old entry as it was: its time has run on, and its window tracking is what it was, not as lenient as a creation makes it. Nothing is
 * known of its windows any more, so its next packets are taken as they come. */
static gboolean
bring_back(SamiApply *apply, const SamiReplacement *replacement, gboolean *ret_is_back, GError **error)
{
    SamiSession old = replacement->old, flags = { .key = old.key };
    SamiOp create = { .kind = SAMI_OP_CREATE, .session = &old }, update = { .session = &flags };
    guint64 now_ns = sami_ledger_now(), age_s = now_ns > replacement->seen_ns ? (now_ns - replacement->seen_ns) / 1000000000u : 0;
    old.timeout_s = old.timeout_s > age_s ? (guint32) (old.timeout_s - age_s) : 1;
    if (!sami_firewall_apply(apply->firewall, &create, 1, error))
        return FALSE;
    *ret_is_back = create.result == 0;
    if (!*ret_is_back || old.key.protocol != IPPROTO_TCP || !(old.has & SAMI_HAS_TCP))
        return TRUE;
    sami_apply_set_lenient(&update, &flags, old.tcp_flags[0], old.tcp_flags[1]);
    return sami_firewall_apply(apply->firewall, &update, 1, error);
}

gboolean
sami_apply_tell_replaced(SamiApply *apply, const SamiLedgerEntry *entry, GError **error)
{
    const SamiReplacement *replacement = entry->flags & SAMI_LEDGER_REPLACE ? replacement_of(apply, entry) : NULL;
    return !apply->file || !replacement ||
           sami_ledger_file_replaced(apply->file, replacement->seen_ns, &entry->key, &replacement->old, error);
}

/* The kernel's socket failed behind the old entry's end: the rollback finds out what there is, and brings the old one back. */
static gboolean
leave_open(SamiApply *apply, SamiLedgerEntry *entry)
{
    entry->flags |= SAMI_LEDGER_CREATED;
    sami_apply_count_held(apply, 1);
    return FALSE;
}

/* Is what the kernel has there by now the entry that was to be replaced, and the VM's? A deletion goes by the id, which the
 * next entry with these addresses has, too. */
static gboolean
is_the_old(const SamiApply *apply, const SamiSession *old, const SamiSession *found)
{
    return sami_flow_key_equal(&found->key, &old->key) && memcmp(&found->reply, &old->reply, sizeof old->reply) == 0 &&
           found->flow_id == old->flow_id && ((found->has ^ old->has) & SAMI_HAS_START) == 0 && found->start_ns == old->start_ns &&
           sami_conflict_may_replace((const SamiPrefix *) (const void *) apply->vm->data, apply->vm->len, found);
}

/* The old entry goes, if it is there, and the new one comes; if it cannot, the old one comes back. */
static gboolean
swap(SamiApply *apply, SamiLedgerEntry *entry, const SamiReplacement *replacement, gboolean has_old, GError **error)
{
    SamiSession new = replacement->new, old = replacement->old;
    SamiOp ops[2] = { { .kind = SAMI_OP_DELETE, .session = &old }, { .kind = SAMI_OP_CREATE, .session = &new } };
    guint64 before_ns = sami_ledger_now();
    guint8 outcome = SAMI_OUTCOME_CREATED;
    gboolean is_back;
    if (!has_old)
        entry->flags &= ~SAMI_LEDGER_REPLACE;
    new.timeout_s = sami_apply_backstop(&new, apply->lease_s);
    entry->start_ns = sami_ledger_open_window(apply->ledger, before_ns);
    if (!sami_apply_tell_replaced(apply, entry, error) ||
        (apply->file && !sami_ledger_file_intent(apply->file, before_ns, &new.key, 1, error)))
        return FALSE;
    if (!sami_firewall_apply(apply->firewall, has_old ? ops : ops + 1, has_old ? 2 : 1, error))
        return leave_open(apply, entry);
    if (ops[1].result != 0) {
        outcome = SAMI_OUTCOME_NOT;
        if (has_old && !bring_back(apply, replacement, &is_back, error))
            return leave_open(apply, entry);
        sami_apply_let_go(apply, entry);
        sami_apply_refuse(apply, sami_apply_reason_of(ops[1].result), &new.key, replacement->counter, g_strerror(ops[1].result));
    } else {
        entry->flags |= SAMI_LEDGER_CREATED | (new.key.protocol == IPPROTO_TCP ? SAMI_LEDGER_LENIENT : 0);
        sami_apply_count_held(apply, 1);
        apply->n_accepted++;
        apply->n_replaced += has_old;
        sami_ledger_close_window(apply->ledger, entry->start_ns, sami_ledger_now());
    }
    return !apply->file || sami_ledger_file_result(apply->file, sami_ledger_now(), &outcome, 1, error);
}

/* One replacement. The conflict may be long ago. */
static gboolean
replace(SamiApply *apply, guint at, GError **error)
{
    const SamiReplacement *replacement = &g_array_index(apply->replacements, SamiReplacement, at);
    const SamiFlowKey *key = &replacement->new.key;
    SamiLedgerEntry *entry = sami_ledger_find(apply->ledger, key);
    SamiSession found;
    gboolean is_found = FALSE;
    if (!entry || !(entry->flags & SAMI_LEDGER_REPLACE) || (entry->flags & SAMI_LEDGER_CREATED) || replacement_of(apply, entry) != replacement)
        return TRUE;
    if (entry->generation != apply->generation) { /* it ended, and no event said so */
        sami_apply_let_go(apply, entry);
        return TRUE;
    }
    if (!sami_firewall_get(apply->firewall, &replacement->old.key, 1, &found, &is_found, error))
        return FALSE;
    if (is_found && !is_the_old(apply, &replacement->old, &found)) {
        sami_apply_let_go(apply, entry);
        sami_apply_refuse(apply, SAMI_REASON_NAT_MISMATCH, key, replacement->counter, "another flow has come there since");
        return TRUE;
    }
    return swap(apply, entry, replacement, is_found, error);
}

gboolean
sami_apply_bring_back(SamiApply *apply, const SamiLedgerEntry *entry, gboolean *ret_is_back, GError **error)
{
    return bring_back(apply, replacement_of(apply, entry), ret_is_back, error);
}

/* What was merged is over, and what has its addresses now, if anything, is another: nothing here is this record's flow. */
static void
drop(SamiApply *apply, SamiLedgerEntry *entry)
{
    SamiFlowKey key = entry->key;
    gboolean has_ended = entry->generation != apply->generation; /* at the source, and no event said so */
    if (apply->file && (entry->flags & SAMI_LEDGER_LENIENT)) /* since an earlier marker. Best effort, as in a rollback */
        sami_ledger_file_gone(apply->file, &key, 1, NULL);
    sami_apply_give_up_plan(apply, entry);
    if (!has_ended)
        sami_apply_refuse(apply, SAMI_REASON_UNVERIFIED, &key, 0, NULL);
}

static gboolean
soften(SamiApply *apply, guint n, const guint *positions, const SamiSession *found, const gboolean *is_found, gpointer user_data, GError **error)
{
    g_autofree SamiOp *ops = g_new(SamiOp, n);
    g_autofree SamiSession *sessions = g_new(SamiSession, n);
    guint n_ops = 0;
    for (guint i = 0; i < n; i++) {
        SamiLedgerEntry *entry = sami_ledger_at(apply->ledger, positions[i]);
        gboolean is_another = (entry->flags & SAMI_LEDGER_VERIFIED) && is_found[i] &&
                              !sami_ledger_proves(apply->ledger, entry, found[i].flow_id, found[i].start_ns);
        if (!is_found[i] || is_another) {
            drop(apply, entry);
            continue;
        }
        if ((entry->flags & SAMI_LEDGER_KEPT) || entry->key.protocol != IPPROTO_TCP)
            continue;
        if (apply->file && !sami_ledger_file_merged(apply->file, &entry->key, entry->old_tcp_flags, error))
            return FALSE;
        sessions[n_ops] = (SamiSession){ .key = sami_apply_kernel_key(entry) };
        ops[n_ops] = (SamiOp){ .session = &sessions[n_ops] };
        sami_apply_set_lenient(&ops[n_ops], &sessions[n_ops], SAMI_TCP_FLAG_BE_LIBERAL, SAMI_TCP_FLAG_BE_LIBERAL);
        entry->flags |= SAMI_LEDGER_LENIENT;
        n_ops++;
    }
    return n_ops == 0 || sami_firewall_apply(apply->firewall, ops, n_ops, error);
}

gboolean
sami_apply_carry_out(SamiApply *apply, GError **error)
{
    for (guint at = 0; apply->n_merged > 0 && at < sami_ledger_size(apply->ledger);)
        if (!sami_apply_look_at_each(apply, &at, is_merged, soften, NULL, error))
            return FALSE;
    for (guint i = 0; i < apply->replacements->len; i++)
        if (!replace(apply, i, error))
            return FALSE;
    return TRUE;
}

void
sami_apply_recall_replaced(SamiApply *apply, const SamiFlowKey *key, const SamiSession *old, guint64 seen_ns)
{
    SamiReplacement replacement = { .new = { .key = *key }, .old = *old, .seen_ns = seen_ns };
    if (!sami_ledger_find(apply->ledger, key) && apply->replacements->len < REPLACEMENTS_MAX)
        add_replacement(apply, &replacement);
}

void
sami_apply_recall_merged(SamiApply *apply, const SamiFlowKey *key, const guint8 old_tcp_flags[2])
{
    SamiLedgerEntry *entry = sami_ledger_find(apply->ledger, key);
    if (entry)
        return;
    entry = sami_ledger_insert(apply->ledger, key);
    entry->flags = SAMI_LEDGER_MERGED | SAMI_LEDGER_LENIENT;
    memcpy(entry->old_tcp_flags, old_tcp_flags, sizeof entry->old_tcp_flags);
    apply->n_merged++;
}
