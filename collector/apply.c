#include "collector/apply.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#define BATCH 1024u /* operations between two looks at the results; firewall/ cuts netlink batches itself */

SamiApply *
sami_apply_new(guint32 lease_s)
{
    SamiApply *apply = g_new0(SamiApply, 1);
    g_mutex_init(&apply->lock);
    apply->ledger = sami_ledger_new();
    apply->lease_s = lease_s;
    apply->refusals = g_array_new(FALSE, TRUE, sizeof(SamiRefusal));
    return apply;
}

void
sami_apply_free(SamiApply *apply)
{
    if (!apply)
        return;
    sami_ledger_free(apply->ledger);
    g_array_unref(apply->refusals);
    g_mutex_clear(&apply->lock);
    g_free(apply);
}

static void
list(SamiApply *apply, guint8 scope, SamiReason reason, guint64 seen, const SamiFlowKey *key, guint64 counter,
     const gchar *detail)
{
    if (seen > SAMI_REFUSALS_PER_RULE) {
        apply->is_truncated = TRUE;
        return;
    }
    SamiRefusal refusal = { .scope = scope, .reason = (guint16) reason, .counter = counter };
    g_autofree gchar *flow = sami_flow_key_to_string(key);
    sami_flow_key_pack(key, refusal.key);
    g_autofree gchar *text = detail ? g_strdup_printf("%s: %s", flow, detail) : g_strdup(flow);
    g_strlcpy(refusal.detail, text, sizeof refusal.detail);
    g_array_append_val(apply->refusals, refusal);
}

static void
refuse(SamiApply *apply, SamiReason reason, const SamiFlowKey *key, guint64 counter, const gchar *detail)
{
    apply->n_refused++;
    list(apply, SAMI_SCOPE_RECORD, reason, ++apply->refused[reason], key, counter, detail);
}

static void
degrade(SamiApply *apply, SamiReason reason, const SamiFlowKey *key)
{
    apply->n_degraded++;
    list(apply, SAMI_SCOPE_DEGRADED, reason, ++apply->degraded[reason], key, 0, NULL);
}

static void
remember(SamiApply *apply, SamiLedgerEntry *entry, const SamiSession *s)
{
    entry->digest = sami_ledger_digest(s);
    entry->timeout_s = s->timeout_s;
    entry->tcp_state = s->tcp_state;
    entry->generation = apply->generation;
    entry->flags &= (guint16) ~(SAMI_LEDGER_SRC_LENIENT | SAMI_LEDGER_NAT | SAMI_LEDGER_LABELS);
    if (s->key.protocol == IPPROTO_TCP && (s->tcp_flags[0] & s->tcp_flags[1] & SAMI_TCP_FLAG_BE_LIBERAL))
        entry->flags |= SAMI_LEDGER_SRC_LENIENT;
    if (sami_session_has_snat(s) || sami_session_has_dnat(s))
        entry->flags |= SAMI_LEDGER_NAT;
    if (s->has & SAMI_HAS_LABELS)
        entry->flags |= SAMI_LEDGER_LABELS;
}

/* LIFECYCLE §7: the kernel's timeout is the backstop for when this process is dead. */
static guint32
backstop(const SamiApply *apply, const SamiSession *s)
{
    return s->key.protocol == IPPROTO_TCP ? apply->lease_s : MAX(s->timeout_s, apply->lease_s);
}

static SamiReason
reason_of_errno(int result)
{
    switch (result) {
    case ENOMEM: return SAMI_REASON_TABLE_FULL;
    case ENOSPC: return SAMI_REASON_CHAIN_TOO_LONG;
    default: return SAMI_REASON_KERNEL;
    }
}

/* EEXIST: which of the four cases of LIFECYCLE §5? */
static void
resolve_conflict(SamiApply *apply, const SamiSession *s, const SamiSession *found, gboolean is_found, guint64 counter)
{
    if (!is_found) {
        refuse(apply, SAMI_REASON_NAT_CLASH, &s->key, counter, "another flow has its reply tuple");
        return;
    }
    if (!sami_flow_key_equal(&found->key, &s->key)) {
        refuse(apply, SAMI_REASON_REVERSED, &s->key, counter, NULL);
        return;
    }
    if (memcmp(&found->reply, &s->reply, sizeof s->reply) != 0) {
        refuse(apply, SAMI_REASON_NAT_MISMATCH, &s->key, counter, NULL);
        return;
    }
    SamiLedgerEntry *entry = sami_ledger_insert(apply->ledger, &s->key);
    remember(apply, entry, s);
    entry->flags |= SAMI_LEDGER_MERGED;
    memcpy(entry->old_tcp_flags, found->tcp_flags, sizeof entry->old_tcp_flags);
    apply->n_merged++;
}

typedef struct {
    SamiOp ops[BATCH];
    SamiSession sessions[BATCH]; /* what is written differs from what was received: timeouts */
    const SamiSession *records[BATCH];
    guint n;
} Batch;

static gboolean
look_up(SamiApply *apply, const SamiFlowKey *keys, guint n, SamiSession *ret, gboolean *found, GError **error)
{
    return n == 0 || sami_firewall_get(apply->firewall, keys, n, ret, found, error);
}

/* Runs the batch and puts every result where it belongs. */
static gboolean
flush(SamiApply *apply, Batch *batch, guint64 counter, GError **error)
{
    g_autofree SamiFlowKey *keys = NULL;
    g_autofree SamiSession *found = NULL;
    g_autofree gboolean *is_found = NULL;
    g_autofree guint *at = NULL;
    guint n_conflicts = 0, n = batch->n;
    batch->n = 0;
    if (n == 0)
        return TRUE;
    if (!sami_firewall_apply(apply->firewall, batch->ops, n, error))
        return FALSE;
    for (guint i = 0; i < n; i++) {
        const SamiOp *op = &batch->ops[i];
        const SamiSession *s = batch->records[i];
        SamiLedgerEntry *entry = sami_ledger_find(apply->ledger, &s->key);
        if (op->kind == SAMI_OP_DELETE) {
            if (entry)
                entry->flags = SAMI_LEDGER_GONE;
        } else if (op->kind == SAMI_OP_UPDATE_FULL || op->kind == SAMI_OP_UPDATE_TIMEOUT) {
            if (op->result == ENOENT && entry)
                entry->flags = SAMI_LEDGER_GONE;
        } else if (op->result == 0) {
            entry->flags = (entry->flags & ~SAMI_LEDGER_PENDING) | SAMI_LEDGER_CREATED;
            if (s->key.protocol == IPPROTO_TCP)
                entry->flags |= SAMI_LEDGER_LENIENT;
            apply->n_accepted++;
        } else {
            entry->flags = SAMI_LEDGER_GONE;
            if (op->result != EEXIST) {
                refuse(apply, reason_of_errno(op->result), &s->key, counter, g_strerror(op->result));
                continue;
            }
            if (!keys) {
                keys = g_new(SamiFlowKey, n);
                found = g_new0(SamiSession, n);
                is_found = g_new0(gboolean, n);
                at = g_new(guint, n);
            }
            keys[n_conflicts] = s->key;
            at[n_conflicts++] = i;
        }
    }
    if (!look_up(apply, keys, n_conflicts, found, is_found, error))
        return FALSE;
    for (guint i = 0; i < n_conflicts; i++)
        resolve_conflict(apply, batch->records[at[i]], &found[i], is_found[i], counter);
    return TRUE;
}

static void
push(Batch *batch, SamiOpKind kind, const SamiSession *record, guint32 timeout_s)
{
    SamiSession *s = &batch->sessions[batch->n];
    *s = *record;
    s->timeout_s = timeout_s;
    batch->records[batch->n] = record;
    batch->ops[batch->n] = (SamiOp){ .kind = kind, .session = s };
    batch->n++;
}

static gboolean
is_touched(const SamiSession *found)
{
    return (found->has & SAMI_HAS_COUNTERS) && (found->packets[0] || found->packets[1]);
}

/* An update of an entry that the ledger has. LIFECYCLE §6: a state from a record never goes over one that traffic made. */
static gboolean
update(SamiApply *apply, Batch *batch, SamiLedgerEntry *entry, const SamiSession *s, GError **error)
{
    gboolean is_same = entry->digest == sami_ledger_digest(s) && entry->tcp_state == s->tcp_state;
    if (!(entry->flags & SAMI_LEDGER_CREATED)) {
        entry->generation = apply->generation;
        apply->n_foreign++;
        return TRUE;
    }
    if (is_same) {
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
    if (!sami_firewall_get(apply->firewall, &s->key, 1, &found, &is_found, error))
        return FALSE;
    if (is_found && is_touched(&found)) {
        apply->n_unchanged++;
        return TRUE;
    }
    remember(apply, entry, s);
    push(batch, is_found ? SAMI_OP_UPDATE_FULL : SAMI_OP_CREATE, s, backstop(apply, s));
    if (!is_found)
        entry->flags = (entry->flags & ~SAMI_LEDGER_CREATED) | SAMI_LEDGER_PENDING;
    return TRUE;
}

static gboolean
apply_one(SamiApply *apply, Batch *batch, const SamiApplyItem *item, guint64 counter, GError **error)
{
    const SamiSession *s = &item->session;
    apply->n_records++;
    if (item->reason != SAMI_REASON_NONE) {
        refuse(apply, item->reason, &s->key, counter, NULL);
        return TRUE;
    }
    SamiLedgerEntry *entry = sami_ledger_find(apply->ledger, &s->key);
    if (entry && (entry->flags & SAMI_LEDGER_PENDING)) { /* the same flow twice in one batch: order matters */
        if (!flush(apply, batch, counter, error))
            return FALSE;
        entry = sami_ledger_find(apply->ledger, &s->key);
    }
    if (s->action == SAMI_ACTION_DELETED) {
        if (entry && (entry->flags & SAMI_LEDGER_CREATED) && !apply->is_ready) {
            push(batch, SAMI_OP_DELETE, s, 0);
            batch->sessions[batch->n - 1].has &= ~(guint32) SAMI_HAS_ID; /* the source's id, not ours */
            return flush(apply, batch, counter, error);
        }
        apply->n_foreign++;
        return TRUE;
    }
    if (entry)
        return update(apply, batch, entry, s, error);
    if (apply->is_ready && !(s->flags & SAMI_SESSION_LATE)) {
        apply->n_foreign++; /* the audit names what was refused, or expired here since */
        return TRUE;
    }
    entry = sami_ledger_insert(apply->ledger, &s->key);
    remember(apply, entry, s);
    entry->flags |= SAMI_LEDGER_PENDING;
    push(batch, SAMI_OP_CREATE, s, backstop(apply, s));
    return TRUE;
}

/* The settling audit names every entry once: read BATCH of them in one pipelined GET instead of one by one. */
static gboolean
audit(SamiApply *apply, Batch *batch, const SamiApplyItem *items, guint n, guint64 counter, GError **error)
{
    g_autofree SamiFlowKey *keys = g_new(SamiFlowKey, n);
    g_autofree SamiSession *found = g_new0(SamiSession, n);
    g_autofree gboolean *is_found = g_new0(gboolean, n);
    for (guint i = 0; i < n; i++)
        keys[i] = items[i].session.key;
    if (!look_up(apply, keys, n, found, is_found, error))
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
        gboolean is_moved_on = !is_found[i] || is_touched(&found[i]) ||
                               (s->key.protocol == IPPROTO_TCP && found[i].tcp_state != s->tcp_state);
        if (!(entry->flags & SAMI_LEDGER_CREATED) || is_moved_on)
            continue;
        entry->timeout_s = s->timeout_s;
        push(batch, SAMI_OP_UPDATE_TIMEOUT, s, s->timeout_s);
    }
    return flush(apply, batch, counter, error);
}

gboolean
sami_apply_records(SamiApply *apply, const SamiApplyItem *items, guint n, guint64 counter, GError **error)
{
    g_autofree Batch *batch = g_new(Batch, 1);
    batch->n = 0;
    for (guint i = 0; apply->is_ready && i < n; i += BATCH)
        if (!audit(apply, batch, items + i, MIN(BATCH, n - i), counter, error))
            return FALSE;
    for (guint i = 0; !apply->is_ready && i < n; i++) {
        if (batch->n == BATCH && !flush(apply, batch, counter, error))
            return FALSE;
        if (!apply_one(apply, batch, &items[i], counter, error))
            return FALSE;
    }
    return flush(apply, batch, counter, error);
}

void
sami_apply_epoch_begin(SamiApply *apply, guint32 generation)
{
    apply->generation = generation;
}

/* Walks the ledger in batches and runs one operation on every entry that `pick` wants. */
typedef gboolean (*PickFunc)(SamiApply *apply, SamiLedgerEntry *entry, SamiOp *op, SamiSession *session, gpointer user_data);
typedef void (*ResultFunc)(SamiApply *apply, SamiLedgerEntry *entry, const SamiOp *op, gpointer user_data);

static gboolean
for_each(SamiApply *apply, PickFunc pick, ResultFunc result, gpointer user_data, GError **error)
{
    g_autofree Batch *batch = g_new(Batch, 1);
    g_autofree guint *at = g_new(guint, BATCH);
    guint size = sami_ledger_size(apply->ledger);
    for (guint i = 0; i < size;) {
        guint n = 0;
        for (; i < size && n < BATCH; i++) {
            SamiLedgerEntry *entry = sami_ledger_at(apply->ledger, i);
            batch->sessions[n] = (SamiSession){ .key = entry->key };
            batch->ops[n] = (SamiOp){ .session = &batch->sessions[n] };
            if (!(entry->flags & SAMI_LEDGER_GONE) && pick(apply, entry, &batch->ops[n], &batch->sessions[n], user_data))
                at[n++] = i;
        }
        if (n > 0 && !sami_firewall_apply(apply->firewall, batch->ops, n, error))
            return FALSE;
        for (guint k = 0; result && k < n; k++)
            result(apply, sami_ledger_at(apply->ledger, at[k]), &batch->ops[k], user_data);
    }
    return TRUE;
}

static gboolean
pick_stale(SamiApply *apply, SamiLedgerEntry *entry, SamiOp *op, SamiSession *session, gpointer user_data)
{
    op->kind = SAMI_OP_DELETE;
    return (entry->flags & SAMI_LEDGER_CREATED) && entry->generation != apply->generation;
}

static void
mark_gone(SamiApply *apply, SamiLedgerEntry *entry, const SamiOp *op, gpointer user_data)
{
    entry->flags = SAMI_LEDGER_GONE;
}

gboolean
sami_apply_epoch_end(SamiApply *apply, GError **error)
{
    return for_each(apply, pick_stale, mark_gone, NULL, error);
}

/* Only the flags 0x08 under mask 0x08: window scale stays (LIFECYCLE §6). */
static void
set_lenient(SamiOp *op, SamiSession *session, gboolean is_lenient)
{
    op->kind = SAMI_OP_UPDATE_FLAGS;
    session->has = SAMI_HAS_TCP;
    session->tcp_flags[0] = session->tcp_flags[1] = is_lenient ? SAMI_TCP_FLAG_BE_LIBERAL : 0;
}

static gboolean
pick_merged(SamiApply *apply, SamiLedgerEntry *entry, SamiOp *op, SamiSession *session, gpointer user_data)
{
    set_lenient(op, session, TRUE);
    if (!(entry->flags & SAMI_LEDGER_MERGED) || entry->key.protocol != IPPROTO_TCP)
        return FALSE;
    entry->flags |= SAMI_LEDGER_LENIENT;
    return TRUE;
}

gboolean
sami_apply_freeze(SamiApply *apply, GError **error)
{
    if (apply->n_merged > 0 && !for_each(apply, pick_merged, NULL, NULL, error))
        return FALSE;
    apply->is_ready = TRUE;
    return TRUE;
}

static gboolean
pick_renewal(SamiApply *apply, SamiLedgerEntry *entry, SamiOp *op, SamiSession *session, gpointer user_data)
{
    op->kind = SAMI_OP_UPDATE_TIMEOUT;
    session->has = SAMI_HAS_TIMEOUT;
    session->timeout_s = entry->key.protocol == IPPROTO_TCP ? apply->lease_s : MAX(entry->timeout_s, apply->lease_s);
    return (entry->flags & SAMI_LEDGER_CREATED) != 0;
}

gboolean
sami_apply_renew(SamiApply *apply, GError **error)
{
    return for_each(apply, pick_renewal, NULL, NULL, error);
}

/* What the kernel has now against what was written. */
static void
verify(SamiApply *apply, SamiLedgerEntry *entry, const SamiSession *found, gboolean is_found)
{
    if (!is_found) {
        degrade(apply, SAMI_REASON_UNVERIFIED, &entry->key);
        entry->flags = SAMI_LEDGER_GONE;
        return;
    }
    entry->flow_id = found->flow_id;
    entry->start_ns = found->start_ns;
    gboolean has_labels = (found->has & SAMI_HAS_LABELS) != 0;
    gboolean is_touched_now = is_touched(found) || !(found->has & SAMI_HAS_COUNTERS);
    if ((entry->flags & SAMI_LEDGER_LABELS) && !has_labels)
        degrade(apply, SAMI_REASON_LABELS_LOST, &entry->key);
    else if ((entry->flags & SAMI_LEDGER_NAT) && !(found->status & (SAMI_IPS_SRC_NAT | SAMI_IPS_DST_NAT)))
        degrade(apply, SAMI_REASON_NO_NAT_HOOK, &entry->key);
    else if (sami_ledger_digest(found) != entry->digest || (!is_touched_now && found->tcp_state != entry->tcp_state))
        degrade(apply, SAMI_REASON_DIFFERS, &entry->key);
    else
        apply->n_exact++;
}

static gboolean
pick_unaudited(SamiApply *apply, SamiLedgerEntry *entry, SamiOp *op, SamiSession *session, gpointer user_data)
{
    op->kind = SAMI_OP_UPDATE_TIMEOUT;
    session->has = SAMI_HAS_TIMEOUT;
    session->timeout_s = entry->timeout_s;
    return (entry->flags & SAMI_LEDGER_CREATED) && entry->generation != apply->generation &&
           entry->key.protocol == IPPROTO_TCP;
}

gboolean
sami_apply_read_back(SamiApply *apply, GError **error)
{
    if (!for_each(apply, pick_unaudited, NULL, NULL, error))
        return FALSE;
    g_autofree SamiFlowKey *keys = g_new(SamiFlowKey, BATCH);
    g_autofree SamiSession *found = g_new(SamiSession, BATCH);
    g_autofree gboolean *is_found = g_new(gboolean, BATCH);
    g_autofree guint *at = g_new(guint, BATCH);
    guint size = sami_ledger_size(apply->ledger);
    for (guint i = 0; i < size;) {
        guint n = 0;
        for (; i < size && n < BATCH; i++)
            if (sami_ledger_at(apply->ledger, i)->flags & SAMI_LEDGER_CREATED) {
                keys[n] = sami_ledger_at(apply->ledger, i)->key;
                at[n++] = i;
            }
        if (!look_up(apply, keys, n, found, is_found, error))
            return FALSE;
        for (guint k = 0; k < n; k++)
            verify(apply, sami_ledger_at(apply->ledger, at[k]), &found[k], is_found[k]);
    }
    return TRUE;
}

/* A lenient entry learns no windows from packets that are out of them (nf_conntrack_proto_tcp.c, tcp_in_window). If both ends retransmit
 * after the switch, each direction acknowledges data that this firewall has not seen, for ever: made strict, the flow dies. Seen in 1 of
 * 3 transfers with data both ways. It cannot happen when one direction carries bare acknowledgements only, or before the first packet. */
static gboolean
is_safe_to_tighten(const SamiSession *found, gboolean is_last)
{
    guint64 bare = found->key.family == 4 ? 52 : 72; /* headers with the timestamp option */
    if (!(found->has & SAMI_HAS_COUNTERS))
        return FALSE;
    if (!is_touched(found))
        return is_last;
    for (guint d = 0; d < 2; d++)
        if (found->packets[0] && found->packets[1] && found->octets[d] <= found->packets[d] * bare)
            return TRUE;
    return FALSE;
}

gboolean
sami_apply_strict(SamiApply *apply, gboolean is_last, guint *ret_n_left, GError **error)
{
    g_autofree SamiFlowKey *keys = g_new(SamiFlowKey, BATCH);
    g_autofree SamiSession *found = g_new(SamiSession, BATCH);
    g_autofree gboolean *is_found = g_new(gboolean, BATCH);
    g_autofree Batch *batch = g_new(Batch, 1);
    guint size = sami_ledger_size(apply->ledger), n_left = 0;
    for (guint i = 0; i < size;) {
        guint n = 0, n_ops = 0;
        for (; i < size && n < BATCH; i++) {
            const SamiLedgerEntry *entry = sami_ledger_at(apply->ledger, i);
            if ((entry->flags & SAMI_LEDGER_LENIENT) && !(entry->flags & (SAMI_LEDGER_GONE | SAMI_LEDGER_SRC_LENIENT)))
                keys[n++] = entry->key;
        }
        if (!look_up(apply, keys, n, found, is_found, error))
            return FALSE;
        for (guint k = 0; k < n; k++) {
            SamiLedgerEntry *entry = sami_ledger_find(apply->ledger, &keys[k]);
            if (is_found[k] && !is_safe_to_tighten(&found[k], is_last)) {
                n_left++;
                continue;
            }
            entry->flags &= (guint16) ~SAMI_LEDGER_LENIENT;
            if (!is_found[k])
                continue;
            batch->sessions[n_ops] = (SamiSession){ .key = keys[k] };
            batch->ops[n_ops] = (SamiOp){ .session = &batch->sessions[n_ops] };
            set_lenient(&batch->ops[n_ops], &batch->sessions[n_ops], FALSE);
            n_ops++;
        }
        if (n_ops > 0 && !sami_firewall_apply(apply->firewall, batch->ops, n_ops, error))
            return FALSE;
    }
    *ret_n_left = n_left;
    return TRUE;
}

typedef struct {
    guint64 n_removed, n_left;
} Rollback;

static gboolean
pick_rollback(SamiApply *apply, SamiLedgerEntry *entry, SamiOp *op, SamiSession *session, gpointer user_data)
{
    if (entry->flags & SAMI_LEDGER_CREATED) {
        op->kind = SAMI_OP_DELETE;
        if (entry->start_ns) {
            session->has = SAMI_HAS_ID;
            session->flow_id = entry->flow_id;
        }
        return TRUE;
    }
    if (!(entry->flags & SAMI_LEDGER_LENIENT))
        return FALSE;
    set_lenient(op, session, FALSE);
    memcpy(session->tcp_flags, entry->old_tcp_flags, sizeof session->tcp_flags);
    return TRUE;
}

static void
count_rollback(SamiApply *apply, SamiLedgerEntry *entry, const SamiOp *op, gpointer user_data)
{
    Rollback *rollback = user_data;
    if (op->kind != SAMI_OP_DELETE)
        return;
    if (op->result == 0)
        rollback->n_removed++;
    else
        rollback->n_left++;
    entry->flags = SAMI_LEDGER_GONE;
}

gboolean
sami_apply_rollback(SamiApply *apply, guint64 *ret_n_removed, guint64 *ret_n_left, GError **error)
{
    Rollback rollback = { 0 };
    if (!for_each(apply, pick_rollback, count_rollback, &rollback, error))
        return FALSE;
    *ret_n_removed = rollback.n_removed;
    *ret_n_left = rollback.n_left;
    return TRUE;
}

guint64
sami_apply_present(const SamiApply *apply)
{
    guint64 n = 0;
    for (guint i = 0; i < sami_ledger_size(apply->ledger); i++)
        n += (sami_ledger_at(apply->ledger, i)->flags & SAMI_LEDGER_CREATED) != 0;
    return n;
}
