/* Records into batches of operations, and what came of each into the ledger. */
#include <netinet/in.h>

#include "collector/apply-internal.h"

#define BATCH SAMI_APPLY_BATCH
#define LOOKS 256u /* entries that are read before the records that change them: what traffic does meanwhile is not seen */

struct SamiApplyBatch {
    SamiOp ops[BATCH];
    SamiSession sessions[BATCH]; /* where what is written differs from what was received: timeouts */
    const SamiApplyItem *items[BATCH];
    guint at[BATCH]; /* positions in the ledger */
    guint n;
    /* Of look-ups, and of what the ledger's file is told. */
    SamiFlowKey keys[BATCH];
    SamiSession found[BATCH];
    gboolean is_found[BATCH];
    guint positions[BATCH];
    guint8 outcomes[BATCH];
    /* What the kernel has of the entries that the next records change. */
    SamiSession looks[LOOKS];
    gboolean is_seen[LOOKS];
    guint look_of[LOOKS]; /* record -> look + 1; 0: none */
    struct {
        guint position;
        guint64 start_ns; /* of the ledger's entry then: one that was created since has another */
    } look_at[LOOKS];
    guint look; /* of the record that is being worked off, + 1; 0: none */
};
typedef SamiApplyBatch Batch;

SamiApplyBatch *
sami_apply_batch_new(void)
{
    return g_new0(SamiApplyBatch, 1);
}

void
sami_apply_batch_free(SamiApplyBatch *batch)
{
    g_free(batch);
}

gboolean
sami_apply_look_up(SamiApply *apply, const SamiFlowKey *keys, guint n, SamiSession *ret, gboolean *found, GError **error)
{
    return n == 0 || sami_firewall_get(apply->firewall, keys, n, ret, found, error);
}

/* Tells the ledger's file what is going to be created, and opens its window. */
static gboolean
announce(SamiApply *apply, Batch *batch, guint n, guint64 *ret_window, guint *ret_n_creations, GError **error)
{
    guint64 before_ns = sami_ledger_now();
    guint n_creations = 0;
    for (guint i = 0; i < n; i++)
        if (batch->ops[i].kind == SAMI_OP_CREATE)
            batch->keys[n_creations++] = batch->items[i]->session.key;
    *ret_n_creations = n_creations;
    if (n_creations == 0)
        return TRUE;
    *ret_window = sami_ledger_open_window(apply->ledger, before_ns);
    return !apply->file || sami_ledger_file_intent(apply->file, before_ns, batch->keys, n_creations, error);
}

static gboolean
report(SamiApply *apply, Batch *batch, guint n, guint64 window, guint n_creations, GError **error)
{
    guint64 after_ns = sami_ledger_now();
    guint k = 0;
    if (n_creations == 0)
        return TRUE;
    sami_ledger_close_window(apply->ledger, window, after_ns);
    for (guint i = 0; i < n; i++)
        if (batch->ops[i].kind == SAMI_OP_CREATE)
            batch->outcomes[k++] = batch->ops[i].result == 0 ? SAMI_OUTCOME_CREATED : SAMI_OUTCOME_NOT;
    return !apply->file || sami_ledger_file_result(apply->file, after_ns, batch->outcomes, n_creations, error);
}

/* What one operation came to. FALSE: a creation found something there. */
static gboolean
settle_op(SamiApply *apply, const SamiOp *op, SamiLedgerEntry *entry, const SamiSession *s, guint64 window, guint64 counter)
{
    switch (op->kind) {
    case SAMI_OP_DELETE: sami_apply_let_go(apply, entry); return TRUE;
    case SAMI_OP_CREATE: break;
    default:
        if (op->result == ENOENT)
            sami_apply_let_go(apply, entry);
        return TRUE;
    }
    if (op->result == 0) {
        entry->flags = (entry->flags & ~(SAMI_LEDGER_PENDING | SAMI_LEDGER_VERIFIED)) | SAMI_LEDGER_CREATED;
        entry->start_ns = window;
        if (s->key.protocol == IPPROTO_TCP)
            entry->flags |= SAMI_LEDGER_LENIENT;
        if ((s->flags & SAMI_SESSION_LATE) || (apply->lease_s == 0 && !(entry->flags & SAMI_LEDGER_FIXED)))
            entry->flags |= SAMI_LEDGER_AUDITED;
        apply->n_accepted++;
        return TRUE;
    }
    sami_apply_let_go(apply, entry);
    if (op->result == EEXIST)
        return FALSE;
    sami_apply_refuse(apply, sami_apply_reason_of(op->result), &s->key, counter, g_strerror(op->result));
    return TRUE;
}

/* The kernel or the ledger's file failed in the middle of a batch: what it was to create may be there, and the window tells whether it is
 * ours. So the rollback that follows looks for all of it. Nothing waits for this batch any more. */
static void
leave_open(SamiApply *apply, const Batch *batch, guint n, guint64 window)
{
    for (guint i = 0; i < n; i++) {
        SamiLedgerEntry *entry = sami_ledger_at(apply->ledger, batch->at[i]);
        entry->flags &= ~SAMI_LEDGER_PENDING;
        if (batch->ops[i].kind != SAMI_OP_CREATE)
            continue;
        entry->flags = (entry->flags & ~SAMI_LEDGER_VERIFIED) | SAMI_LEDGER_CREATED;
        entry->start_ns = window;
    }
}

/* The end of a job that fails: what has not been sent is of records that go with it, and the batch is that of other jobs, too. */
static gboolean
abandon(SamiApply *apply, Batch *batch)
{
    if (batch->n > 0)
        leave_open(apply, batch, batch->n, sami_ledger_open_window(apply->ledger, sami_ledger_now()));
    batch->n = 0;
    return FALSE;
}

/* Runs the batch and puts every result where it belongs. */
static gboolean
flush(SamiApply *apply, Batch *batch, guint64 counter, GError **error)
{
    guint n_conflicts = 0, n = batch->n, n_creations;
    guint64 window = 0;
    batch->n = 0;
    if (n == 0)
        return TRUE;
    if (!announce(apply, batch, n, &window, &n_creations, error) || !sami_apply_send(apply, batch->ops, batch->at, n, error) ||
        !report(apply, batch, n, window, n_creations, error)) {
        leave_open(apply, batch, n, window);
        return FALSE;
    }
    for (guint i = 0; i < n; i++) {
        const SamiSession *s = &batch->items[i]->session;
        SamiLedgerEntry *entry = sami_ledger_at(apply->ledger, batch->at[i]);
        if (!settle_op(apply, &batch->ops[i], entry, s, window, counter)) {
            batch->keys[n_conflicts] = s->key;
            batch->positions[n_conflicts++] = i;
        }
    }
    if (!sami_apply_look_up(apply, batch->keys, n_conflicts, batch->found, batch->is_found, error))
        return FALSE;
    for (guint i = 0; i < n_conflicts; i++)
        sami_apply_resolve_conflict(apply, batch->items[batch->positions[i]], &batch->found[i], batch->is_found[i], counter);
    return TRUE;
}

static SamiOp *
push(SamiApply *apply, Batch *batch, SamiOpKind kind, const SamiApplyItem *item, const SamiLedgerEntry *entry)
{
    SamiOp *op = &batch->ops[batch->n];
    batch->items[batch->n] = item;
    batch->at[batch->n++] = sami_ledger_position(apply->ledger, entry);
    *op = (SamiOp){ .kind = kind, .session = &item->session, .message = kind == SAMI_OP_CREATE ? item->message : NULL };
    if (kind == SAMI_OP_CREATE && !item->message) { /* the kernel would get the record's own timeout */
        SamiSession *copy = &batch->sessions[batch->n - 1];
        *copy = item->session;
        copy->timeout_s = sami_apply_creation_timeout(&item->session, apply->lease_s);
        op->session = copy;
    }
    return op;
}

/* For all but creations, whose message is built already. */
static SamiSession *
push_copy(SamiApply *apply, Batch *batch, SamiOpKind kind, const SamiApplyItem *item, const SamiLedgerEntry *entry,
          guint32 timeout_s)
{
    SamiSession *copy = &batch->sessions[batch->n];
    *copy = item->session;
    copy->timeout_s = timeout_s;
    push(apply, batch, kind, item, entry)->session = copy;
    return copy;
}

gboolean
sami_apply_is_touched(const SamiSession *found)
{
    return (found->has & SAMI_HAS_COUNTERS) && (found->packets[0] || found->packets[1]);
}

gboolean
sami_apply_is_ours(const SamiApply *apply, const SamiLedgerEntry *entry, const SamiSession *found)
{
    SamiFlowKey key = sami_apply_kernel_key(entry);
    return sami_flow_key_equal(&found->key, &key) &&
           (!(found->has & SAMI_HAS_START) || sami_ledger_proves(apply->ledger, entry, found->flow_id, found->start_ns));
}

/* After the deletion: a crash between the two leaves an entry that is looked for and not found, never one that nobody looks for. */
static gboolean
tell_gone(SamiApply *apply, const SamiFlowKey *key, GError **error)
{
    return !apply->file || sami_ledger_file_gone(apply->file, key, 1, error);
}

/* By the id that it has here, not the source's. */
static void
push_deletion(SamiApply *apply, Batch *batch, const SamiApplyItem *item, const SamiLedgerEntry *entry, const SamiSession *found)
{
    SamiSession *copy = push_copy(apply, batch, SAMI_OP_DELETE, item, entry, 0);
    copy->has = (copy->has & ~(guint32) SAMI_HAS_ID) | (found->has & SAMI_HAS_ID);
    copy->flow_id = found->flow_id;
}

static gboolean
recreate(SamiApply *apply, Batch *batch, SamiLedgerEntry *entry, const SamiApplyItem *item, const SamiSession *found, guint64 counter, GError **error)
{
    guint position = sami_ledger_position(apply->ledger, entry);
    guint32 replaces = entry->flags & SAMI_LEDGER_REPLACE;
    push_deletion(apply, batch, item, entry, found);
    if (!flush(apply, batch, counter, error) || !tell_gone(apply, &item->session.key, error))
        return FALSE;
    entry = sami_ledger_at(apply->ledger, position);
    *entry = (SamiLedgerEntry){ .key = item->session.key, .flags = replaces,
                                .old_tcp_flags = { entry->old_tcp_flags[0], entry->old_tcp_flags[1] } };
    if (!sami_apply_tell_replaced(apply, entry, error)) /* for whoever reads that it is gone */
        return FALSE;
    sami_apply_remember(apply, entry, item);
    entry->flags |= SAMI_LEDGER_PENDING;
    sami_apply_count_held(apply, 1);
    push(apply, batch, SAMI_OP_CREATE, item, entry);
    return TRUE;
}

static gboolean
is_unchanged(const SamiLedgerEntry *entry, const SamiApplyItem *item)
{
    return entry->digest == item->digest && entry->tcp_state == item->session.tcp_state &&
           !(item->session.status & SAMI_APPLY_GROWING & ~sami_apply_grown(entry));
}

/* One by one a look-up costs as much as three in a row. A snapshot has none to make. */
static gboolean
look_ahead(SamiApply *apply, Batch *batch, const SamiApplyItem *items, guint n, GError **error)
{
    guint n_looks = 0;
    for (guint i = 0; i < n; i++) {
        const SamiSession *s = &items[i].session;
        gboolean is_deletion = s->action == SAMI_ACTION_DELETED;
        gboolean is_wanted = items[i].reason == SAMI_REASON_NONE && (apply->generation > 0 || is_deletion || s->action == SAMI_ACTION_UPDATE);
        const SamiLedgerEntry *entry = is_wanted ? sami_ledger_find(apply->ledger, &s->key) : NULL;
        batch->look_of[i] = 0;
        if (!entry || !(entry->flags & SAMI_LEDGER_CREATED) || (!is_deletion && is_unchanged(entry, &items[i])))
            continue;
        batch->keys[n_looks] = s->key;
        batch->look_at[n_looks].position = sami_ledger_position(apply->ledger, entry);
        batch->look_at[n_looks].start_ns = entry->start_ns;
        batch->look_of[i] = ++n_looks;
    }
    return sami_apply_look_up(apply, batch->keys, n_looks, batch->looks, batch->is_seen, error);
}

static gboolean
look_at(SamiApply *apply, const Batch *batch, const SamiLedgerEntry *entry, SamiSession *ret, gboolean *is_found, GError **error)
{
    guint k = batch->look - 1;
    if (batch->look == 0 || batch->look_at[k].position != sami_ledger_position(apply->ledger, entry) ||
        batch->look_at[k].start_ns != entry->start_ns)
        return sami_firewall_get(apply->firewall, &entry->key, 1, ret, is_found, error);
    *ret = batch->looks[k];
    *is_found = batch->is_seen[k];
    return TRUE;
}

guint32
sami_apply_grown(const SamiLedgerEntry *entry)
{
    return ((entry->flags & SAMI_LEDGER_SEEN_REPLY) ? SAMI_IPS_SEEN_REPLY : 0) | ((entry->flags & SAMI_LEDGER_ASSURED) ? SAMI_IPS_ASSURED : 0);
}

/* An update of an entry that the ledger has. LIFECYCLE §6: a state from a record never goes over one that traffic made. */
static gboolean
update(SamiApply *apply, Batch *batch, SamiLedgerEntry *entry, const SamiApplyItem *item, guint64 counter, GError **error)
{
    const SamiSession *s = &item->session;
    if (!(entry->flags & SAMI_LEDGER_CREATED)) {
        entry->generation = apply->generation;
        if ((entry->flags & SAMI_LEDGER_REPLACE) && !apply->is_ready)
            sami_apply_update_plan(apply, entry, item);
        apply->n_foreign++;
        return TRUE;
    }
    if (is_unchanged(entry, item)) {
        if (apply->lease_s == 0 && entry->timeout_s != s->timeout_s) /* nothing else will say so to the kernel */
            entry->flags &= ~SAMI_LEDGER_AUDITED;
        entry->timeout_s = s->timeout_s;
        entry->generation = apply->generation;
        apply->n_unchanged++;
        return TRUE;
    }
    if (apply->is_ready) { /* a late record of a flow that is here: the audit looks after it */
        apply->n_unchanged++;
        return TRUE;
    }
    SamiSession found;
    gboolean is_found = FALSE;
    if (!look_at(apply, batch, entry, &found, &is_found, error))
        return FALSE;
    if (is_found && (sami_apply_is_touched(&found) || !sami_apply_is_ours(apply, entry, &found))) {
        entry->generation = apply->generation;
        apply->n_unchanged++;
        return TRUE;
    }
    sami_apply_remember(apply, entry, item);
    /* A flow without events may have ended and begun anew between two dumps, with the same addresses. */
    if (is_found && !sami_session_same_fixed(&found, s, sami_apply_without(entry)))
        return recreate(apply, batch, entry, item, &found, counter, error);
    if (is_found) {
        push_copy(apply, batch, SAMI_OP_UPDATE_GROWN, item, entry, sami_apply_backstop(s, apply->lease_s))->status |= found.status;
        return TRUE;
    }
    push(apply, batch, SAMI_OP_CREATE, item, entry);
    entry->flags = (entry->flags & ~(SAMI_LEDGER_CREATED | SAMI_LEDGER_VERIFIED)) | SAMI_LEDGER_PENDING;
    return TRUE;
}

/* What has these addresses in the meantime, of traffic or of somebody else, is another entry and stays. */
static gboolean
end_one(SamiApply *apply, Batch *batch, SamiLedgerEntry *entry, const SamiApplyItem *item, guint64 counter, GError **error)
{
    SamiSession found;
    gboolean is_found = FALSE;
    if (!look_at(apply, batch, entry, &found, &is_found, error))
        return FALSE;
    if (!is_found || !sami_apply_is_ours(apply, entry, &found)) {
        apply->n_foreign += is_found ? 1 : 0;
        sami_apply_let_go(apply, entry);
        return tell_gone(apply, &item->session.key, error);
    }
    push_deletion(apply, batch, item, entry, &found);
    if (apply->file)
        return flush(apply, batch, counter, error) && tell_gone(apply, &item->session.key, error);
    entry->flags |= SAMI_LEDGER_PENDING;
    return TRUE;
}

static gboolean
has_room(const SamiApply *apply)
{
    for (guint i = 0; i < G_N_ELEMENTS(apply->budgets); i++)
        if (!apply->budgets[i] || sami_budget_room(apply->budgets[i]) == 0)
            return FALSE;
    return TRUE;
}

static gboolean
apply_one(SamiApply *apply, Batch *batch, const SamiApplyItem *item, guint64 counter, GError **error)
{
    const SamiSession *s = &item->session;
    if (item->reason != SAMI_REASON_NONE) {
        apply->n_records++;
        sami_apply_refuse_record(apply, item, counter);
        return TRUE;
    }
    if (!(item = sami_children_admit(apply, item, counter))) {
        apply->n_records++;
        return TRUE;
    }
    s = &item->session;
    gboolean is_creation = s->action != SAMI_ACTION_DELETED && (!apply->is_ready || (s->flags & SAMI_SESSION_LATE));
    gboolean is_new = FALSE;
    SamiLedgerEntry *entry = is_creation ? sami_ledger_obtain(apply->ledger, &s->key, &is_new)
                                         : sami_ledger_find(apply->ledger, &s->key);
    if (entry && (entry->flags & SAMI_LEDGER_PENDING)) { /* the same flow twice in one batch: order matters */
        if (!flush(apply, batch, counter, error))
            return FALSE;
        return apply_one(apply, batch, item, counter, error);
    }
    apply->n_records++;
    if (s->action == SAMI_ACTION_DELETED) {
        if (entry && (entry->flags & SAMI_LEDGER_CREATED) && !apply->is_ready)
            return end_one(apply, batch, entry, item, counter, error);
        if (entry && !(entry->flags & SAMI_LEDGER_LENIENT) && !apply->is_ready)
            sami_apply_give_up_plan(apply, entry);
        apply->n_foreign++;
        return TRUE;
    }
    if (is_new && !has_room(apply)) {
        entry->flags = SAMI_LEDGER_GONE;
        sami_apply_refuse(apply, SAMI_REASON_MAX_SESSIONS, &s->key, counter, NULL);
        return TRUE;
    }
    if (is_new) {
        sami_apply_remember(apply, entry, item);
        entry->flags |= SAMI_LEDGER_PENDING;
        sami_apply_count_held(apply, 1);
        push(apply, batch, SAMI_OP_CREATE, item, entry);
        return TRUE;
    }
    if (entry)
        return update(apply, batch, entry, item, counter, error);
    apply->n_foreign++; /* the audit names what was refused, or expired here since */
    return TRUE;
}

/* Children whose masters have come; at the end all of them. They have been counted. */
static gboolean
release_children(SamiApply *apply, Batch *batch, gboolean is_last, GError **error)
{
    g_autoptr(GPtrArray) due = sami_children_take(apply, is_last);
    batch->look = 0;
    for (guint i = 0; due && i < due->len; i++) {
        const SamiChild *child = g_ptr_array_index(due, i);
        const SamiApplyItem *item = is_last && !sami_apply_is_master(apply, &child->item.session.master)
                                        ? sami_children_orphan(apply, &child->item) : &child->item;
        if (batch->n == BATCH && !flush(apply, batch, child->counter, error))
            return FALSE;
        apply->n_records--;
        if (!apply_one(apply, batch, item, child->counter, error))
            return FALSE;
    }
    gboolean is_flushed = flush(apply, batch, 0, error);
    sami_children_sweep(apply);
    return is_flushed;
}

/* The settling audit names every entry once: read BATCH of them in one pipelined GET instead of one by one. */
static gboolean
audit(SamiApply *apply, Batch *batch, const SamiApplyItem *items, guint n, guint64 counter, guint32 age_s, GError **error)
{
    g_autofree SamiFlowKey *keys = g_new(SamiFlowKey, n);
    g_autofree SamiSession *found = g_new0(SamiSession, n);
    g_autofree gboolean *is_found = g_new0(gboolean, n);
    for (guint i = 0; i < n; i++)
        keys[i] = items[i].session.key;
    if (!sami_apply_look_up(apply, keys, n, found, is_found, error))
        return FALSE;
    for (guint i = 0; i < n; i++) {
        const SamiSession *s = &items[i].session;
        SamiLedgerEntry *entry = sami_ledger_find(apply->ledger, &s->key);
        if ((s->flags & SAMI_SESSION_LATE) || !entry || items[i].reason != SAMI_REASON_NONE ||
            s->action == SAMI_ACTION_DELETED) {
            if (!apply_one(apply, batch, &items[i], counter, error))
                return FALSE;
            continue;
        }
        apply->n_records++;
        entry->generation = apply->generation;
        gboolean is_moved_on = !is_found[i] || sami_apply_is_touched(&found[i]) || !sami_apply_is_ours(apply, entry, &found[i]) ||
                               (s->key.protocol == IPPROTO_TCP && found[i].tcp_state != s->tcp_state);
        entry->flags |= SAMI_LEDGER_AUDITED;
        if (!entry->digest) /* from before a restart: this is what is known of it */
            sami_apply_remember(apply, entry, &items[i]);
        if (!(entry->flags & SAMI_LEDGER_CREATED) || is_moved_on)
            continue;
        entry->timeout_s = s->timeout_s > age_s ? s->timeout_s - age_s : 1; /* 0 would end it at once */
        gboolean has_grown = (s->status & SAMI_APPLY_GROWING & ~found[i].status) != 0;
        SamiOpKind kind = (s->status & SAMI_IPS_FIXED_TIMEOUT) ? SAMI_OP_UPDATE_FIXED : has_grown ? SAMI_OP_UPDATE_GROWN : SAMI_OP_UPDATE_TIMEOUT;
        push_copy(apply, batch, kind, &items[i], entry, entry->timeout_s)->status |= found[i].status;
        entry->flags &= ~SAMI_LEDGER_TIME_CUT; /* this is the time that it has now */
        entry->flags |= items[i].flags & (SAMI_LEDGER_SEEN_REPLY | SAMI_LEDGER_ASSURED | SAMI_LEDGER_TIME_CUT);
    }
    return flush(apply, batch, counter, error);
}

static gboolean
work_off(SamiApply *apply, Batch *batch, const SamiApplyItem *items, guint n, guint64 counter, guint32 age_s, GError **error)
{
    batch->n = batch->look = 0;
    for (guint i = 0; apply->is_ready && i < n; i += BATCH)
        if (!audit(apply, batch, items + i, MIN(BATCH, n - i), counter, age_s, error))
            return FALSE;
    for (guint i = 0; !apply->is_ready && i < n; i++) {
        if (batch->n == BATCH && !flush(apply, batch, counter, error))
            return FALSE;
        if (i % LOOKS == 0 && !look_ahead(apply, batch, &items[i], MIN(LOOKS, n - i), error))
            return FALSE;
        batch->look = batch->look_of[i % LOOKS];
        if (!apply_one(apply, batch, &items[i], counter, error))
            return FALSE;
    }
    return flush(apply, batch, counter, error) && release_children(apply, batch, FALSE, error);
}

gboolean
sami_apply_records(SamiApply *apply, const SamiApplyItem *items, guint n, guint64 counter, guint32 age_s, GError **error)
{
    return work_off(apply, apply->batch, items, n, counter, age_s, error) || abandon(apply, apply->batch);
}

void
sami_apply_epoch_begin(SamiApply *apply, guint32 generation)
{
    apply->generation = generation;
    g_array_set_size(apply->missing_helpers, 0); /* they may have been loaded */
}

static gboolean
is_stale(const SamiApply *apply, const SamiLedgerEntry *entry)
{
    return (entry->flags & SAMI_LEDGER_CREATED) && entry->generation != apply->generation;
}

gboolean
sami_apply_epoch_end(SamiApply *apply, GError **error)
{
    SamiRemoval removal = { 0 };
    sami_children_drop_stale(apply);
    for (guint at = 0; at < sami_ledger_size(apply->ledger);)
        if (!sami_apply_remove(apply, &at, is_stale, &removal, error))
            return FALSE;
    return TRUE;
}

gboolean
sami_apply_freeze(SamiApply *apply, GError **error)
{
    if (!sami_apply_carry_out(apply, error) || !release_children(apply, apply->batch, TRUE, error))
        return abandon(apply, apply->batch);
    sami_apply_take_over(apply);
    if (!sami_apply_expectations_create(apply, error))
        return FALSE;
    apply->is_ready = TRUE;
    return TRUE;
}

gboolean
sami_apply_thaw(SamiApply *apply, GError **error)
{
    SamiRemoval removal = { 0 };
    for (guint i = 0; i < sami_ledger_size(apply->ledger); i++)
        sami_ledger_at(apply->ledger, i)->flags &= ~SAMI_LEDGER_AUDITED;
    apply->is_ready = FALSE;
    return sami_apply_expectations_remove(apply, &removal, error);
}
