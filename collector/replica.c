#include "collector/replica.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "collector/apply-internal.h"

#define BATCH SAMI_APPLY_BATCH

/* Records of distinct flows that are worked off together: one look at the kernel, one batch of operations. */
typedef struct SamiReplicaRun Run;
struct SamiReplicaRun {
    guint n;
    const SamiApplyItem *items[BATCH];
    guint at[BATCH];       /* in the ledger */
    guint n_ops;
    SamiOp ops[2 * BATCH]; /* a replacement is two */
    SamiSession sessions[2 * BATCH];
    guint owners[2 * BATCH]; /* which record an operation is of */
    guint positions[2 * BATCH]; /* where in the ledger that is */
    guint n_asked;
    guint asked[BATCH];
    SamiFlowKey keys[BATCH];
    SamiSession found[BATCH];
    gboolean is_found[BATCH];
    gboolean is_added[BATCH]; /* its key was not in the origin's file before */
};

SamiApply *
sami_replica_new(guint32 lease_s, SamiOrigin *origin, SamiBudget *all, SamiBudget *signer)
{
    SamiBudget *unlimited = all ? sami_budget_ref(all) : sami_budget_new();
    SamiApply *apply = sami_apply_new(lease_s, unlimited, signer);
    sami_budget_unref(unlimited);
    apply->replica = g_new0(SamiReplica, 1);
    apply->replica->origin = origin;
    apply->replica->run = g_new0(Run, 1);
    for (guint i = 0; i < 2; i++)
        apply->replica->leaving[i] = g_array_new(FALSE, FALSE, sizeof(SamiFlowKey));
    return apply;
}

void
sami_replica_free(SamiReplica *replica)
{
    if (!replica)
        return;
    for (guint i = 0; i < 2; i++)
        g_array_unref(replica->leaving[i]);
    g_free(replica->run);
    g_free(replica);
}

/* LIFECYCLE §11: a timeout is as old as the last dump, so none is shorter than what lies between two of them. The lease of `begin` is what
 * the peer promises for that. */
static guint32
timeout_of(const SamiApply *apply, const SamiSession *s)
{
    return MAX(s->timeout_s, apply->lease_s);
}

/* The entry is not the peer's, or not there, any more. */
static void
let_go(SamiApply *apply, SamiLedgerEntry *entry)
{
    sami_origin_remove(apply->replica->origin, &entry->key);
    sami_apply_let_go(apply, entry);
}

/* Removed by us. */
static void
leave(SamiApply *apply, SamiLedgerEntry *entry)
{
    g_array_append_val(apply->replica->leaving[1], entry->key);
    sami_apply_let_go(apply, entry);
}

static void
sweep(SamiApply *apply)
{
    SamiReplica *replica = apply->replica;
    GArray *old = replica->leaving[0];
    for (guint i = 0; i < old->len; i++) {
        const SamiFlowKey *key = &g_array_index(old, SamiFlowKey, i);
        if (!sami_ledger_find(apply->ledger, key)) /* or it has come again */
            sami_origin_remove(replica->origin, key);
    }
    g_array_set_size(old, 0);
    replica->leaving[0] = replica->leaving[1];
    replica->leaving[1] = old;
}

static void
pass_on(SamiApply *apply, SamiLedgerEntry *entry)
{
    apply->replica->n_passed++;
    let_go(apply, entry);
}

/* What packets or others made under the same addresses is another entry. Without start times the id has to do, once it is known. */
static gboolean
is_the_entry(const SamiApply *apply, const SamiLedgerEntry *entry, const SamiSession *found)
{
    if (!sami_flow_key_equal(&found->key, &entry->key))
        return FALSE;
    if (found->has & SAMI_HAS_START)
        return sami_ledger_proves(apply->ledger, entry, found->flow_id, found->start_ns);
    return !(entry->flags & SAMI_LEDGER_VERIFIED) || entry->flow_id == found->flow_id;
}

static void
verify(SamiLedgerEntry *entry, const SamiSession *found)
{
    entry->flow_id = found->flow_id;
    entry->start_ns = found->start_ns;
    entry->flags |= SAMI_LEDGER_VERIFIED;
}

/* What no update can change. The first record of a flow may have been made when only its first packet had passed. */
static gboolean
is_another(const SamiLedgerEntry *entry, const SamiSession *found, const SamiSession *s)
{
    const guint8 fixed = SAMI_TCP_FLAG_WINDOW_SCALE | SAMI_TCP_FLAG_SACK_PERM;
    if (!sami_session_same_fixed(found, s, sami_apply_without(entry)))
        return TRUE;
    return (s->has & SAMI_HAS_TCP) && (((found->tcp_flags[0] ^ s->tcp_flags[0]) | (found->tcp_flags[1] ^ s->tcp_flags[1])) & fixed);
}

static gboolean
has_changed(const SamiLedgerEntry *entry, const SamiSession *found, const SamiApplyItem *item)
{
    const SamiSession *s = &item->session;
    return entry->digest != item->digest || ((s->has & SAMI_HAS_TCP) && found->tcp_state != s->tcp_state) ||
           (s->status & SAMI_APPLY_GROWING & ~found->status);
}

static SamiSession *
push(Run *run, guint i, SamiOpKind kind, const SamiSession *s)
{
    SamiSession *copy = &run->sessions[run->n_ops];
    *copy = *s;
    copy->has &= ~(guint32) SAMI_HAS_ID; /* the source's */
    run->ops[run->n_ops] = (SamiOp){ .kind = kind, .session = copy };
    run->owners[run->n_ops++] = i;
    return copy;
}

static void
push_creation(SamiApply *apply, Run *run, guint i)
{
    const SamiApplyItem *item = run->items[i];
    run->is_added[i] = sami_origin_add(apply->replica->origin, &item->session.key); /* before the kernel has it */
    push(run, i, SAMI_OP_CREATE, &item->session)->timeout_s = timeout_of(apply, &item->session);
}

static void
push_deletion(Run *run, guint i, const SamiSession *found)
{
    SamiSession *copy = push(run, i, SAMI_OP_DELETE, found);
    copy->has = SAMI_HAS_ID;
}

/* A record of an entry that this replication created. */
static void
plan_known(SamiApply *apply, Run *run, guint i, const SamiSession *found, gboolean is_found)
{
    const SamiApplyItem *item = run->items[i];
    const SamiSession *s = &item->session;
    SamiLedgerEntry *entry = sami_ledger_at(apply->ledger, run->at[i]);
    gboolean is_deletion = s->action == SAMI_ACTION_DELETED;
    if (!is_found && is_deletion)
        return let_go(apply, entry);
    if (is_found && (!is_the_entry(apply, entry, found) || sami_apply_is_touched(found))) /* it lives here now */
        return pass_on(apply, entry);
    if (is_deletion)
        return push_deletion(run, i, found);
    if (!is_found) {
        sami_apply_remember(apply, entry, item);
        return push_creation(apply, run, i);
    }
    verify(entry, found);
    if (is_another(entry, found, s)) {
        push_deletion(run, i, found);
        push_creation(apply, run, i);
    } else if (has_changed(entry, found, item)) {
        SamiSession *copy = push(run, i, SAMI_OP_UPDATE_GROWN, s);
        copy->timeout_s = timeout_of(apply, s);
        copy->status |= found->status;
        apply->replica->n_updated++;
    } else {
        push(run, i, SAMI_OP_UPDATE_TIMEOUT, s)->timeout_s = timeout_of(apply, s);
        apply->replica->n_renewed++;
    }
    sami_apply_remember(apply, entry, item);
}

static gboolean
look_up(SamiApply *apply, Run *run, GError **error)
{
    return sami_apply_look_up(apply, run->keys, run->n_asked, run->found, run->is_found, error);
}

static void
ask(Run *run, guint i)
{
    run->keys[run->n_asked] = run->items[i]->session.key;
    run->asked[run->n_asked++] = i;
}

static gboolean
plan(SamiApply *apply, Run *run, GError **error)
{
    run->n_ops = run->n_asked = 0;
    for (guint i = 0; i < run->n; i++)
        if (sami_ledger_at(apply->ledger, run->at[i])->flags & SAMI_LEDGER_CREATED)
            ask(run, i);
    if (!look_up(apply, run, error))
        return FALSE;
    for (guint i = 0, k = 0; i < run->n; i++) {
        SamiLedgerEntry *entry = sami_ledger_at(apply->ledger, run->at[i]);
        if (entry->flags & SAMI_LEDGER_MERGED) { /* a migration to here has become its owner */
            entry->flags &= ~SAMI_LEDGER_PENDING;
            pass_on(apply, entry);
        } else if (k < run->n_asked && run->asked[k] == i) {
            plan_known(apply, run, i, &run->found[k], run->is_found[k]);
            k++;
        } else {
            push_creation(apply, run, i);
        }
    }
    return TRUE;
}

static void
created(SamiApply *apply, SamiLedgerEntry *entry, guint64 window)
{
    entry->flags = (entry->flags & ~(SAMI_LEDGER_PENDING | SAMI_LEDGER_VERIFIED)) | SAMI_LEDGER_CREATED;
    if (entry->key.protocol == IPPROTO_TCP)
        entry->flags |= SAMI_LEDGER_LENIENT;
    entry->start_ns = window;
    apply->n_accepted++;
    apply->replica->n_created++;
}

/* Results of the batch. What a creation found there is left in `asked`. */
static void
settle(SamiApply *apply, Run *run, guint64 window, guint64 counter)
{
    run->n_asked = 0;
    for (guint k = 0; k < run->n_ops; k++) {
        const SamiOp *op = &run->ops[k];
        guint i = run->owners[k];
        SamiLedgerEntry *entry = sami_ledger_at(apply->ledger, run->at[i]);
        gboolean is_recreated = k + 1 < run->n_ops && run->owners[k + 1] == i;
        if (op->kind == SAMI_OP_DELETE) {
            if (!is_recreated)
                leave(apply, entry);
            apply->replica->n_deleted += !is_recreated;
        } else if (op->kind != SAMI_OP_CREATE) {
            if (op->result == ENOENT) /* gone since the look: the next dump says whether it should be there */
                let_go(apply, entry);
        } else if (op->result == 0) {
            created(apply, entry, window);
        } else if (op->result == EEXIST) {
            ask(run, i);
        } else {
            let_go(apply, entry);
            sami_apply_refuse(apply, sami_apply_reason_of(op->result), &run->items[i]->session.key, counter, g_strerror(op->result));
        }
    }
}

static gboolean
is_of_another_replica(const SamiApply *apply, const SamiFlowKey *key)
{
    for (guint i = 0; apply->others && i < apply->others->len; i++) {
        SamiApply *other = g_ptr_array_index(apply->others, i);
        const SamiLedgerEntry *entry = other != apply && other->replica ? sami_ledger_find(other->ledger, key) : NULL;
        if (entry && (entry->flags & SAMI_LEDGER_CREATED))
            return TRUE;
    }
    return FALSE;
}

/* By its policy: others replicate to here, too. */
static gboolean
may_have_brought(const SamiApply *apply, const SamiSession *found)
{
    return sami_conflict_may_replace((const SamiPrefix *) (const void *) apply->vm->data, apply->vm->len, found);
}

/* The same flow, seen from either side? */
static gboolean
is_same_flow(const SamiSession *found, const SamiSession *s)
{
    return sami_flow_key_equal(&found->key, &s->key) ||
           (found->key.zone == s->key.zone && memcmp(&found->key.orig, &s->reply, sizeof s->reply) == 0 &&
            memcmp(&found->reply, &s->key.orig, sizeof s->reply) == 0);
}

/* A creation found something there. */
static gboolean
resolve(SamiApply *apply, Run *run, guint i, const SamiSession *found, gboolean is_found, guint64 counter, GError **error)
{
    SamiReplica *replica = apply->replica;
    const SamiApplyItem *item = run->items[i];
    SamiLedgerEntry *entry = sami_ledger_at(apply->ledger, run->at[i]);
    guint64 yielded_ns = sami_origin_yielded_ns(replica->origin);
    if (!is_found || !is_same_flow(found, &item->session)) {
        if (run->is_added[i])
            sami_origin_remove(replica->origin, &item->session.key);
        sami_apply_let_go(apply, entry);
        sami_apply_refuse(apply, SAMI_REASON_NAT_CLASH, &item->session.key, counter, "another flow has its reply tuple");
        return TRUE;
    }
    gboolean is_ours = run->is_added[i] || sami_apply_is_touched(found);
    gboolean is_theirs = may_have_brought(apply, found);
    if (!is_ours && is_theirs && !is_of_another_replica(apply, &item->session.key) && sami_flow_key_equal(&found->key, &entry->key)) {
        created(apply, entry, 0); /* brought here before this daemon was started */
        verify(entry, found);
        return TRUE;
    }
    if (yielded_ns && is_theirs && (found->has & SAMI_HAS_START) && found->start_ns < yielded_ns) {
        SamiSession old = *found, new = item->session;
        SamiOp ops[2] = { { .kind = SAMI_OP_DELETE, .session = &old }, { .kind = SAMI_OP_CREATE, .session = &new } };
        old.has = SAMI_HAS_ID;
        new.timeout_s = timeout_of(apply, &new);
        sami_origin_add(replica->origin, &new.key);
        guint64 window = sami_ledger_open_window(apply->ledger, sami_ledger_now());
        if (!sami_firewall_apply(apply->firewall, ops, 2, error))
            return FALSE;
        sami_ledger_close_window(apply->ledger, window, sami_ledger_now());
        if (ops[1].result == 0) {
            created(apply, entry, window);
            replica->n_replaced++;
            return TRUE;
        }
    }
    replica->n_kept++;
    if (is_ours)
        sami_origin_remove(replica->origin, &item->session.key);
    sami_apply_let_go(apply, entry);
    return TRUE;
}

static gboolean
flush(SamiApply *apply, Run *run, guint64 counter, GError **error)
{
    if (run->n == 0)
        return TRUE;
    if (!plan(apply, run, error))
        return FALSE;
    guint64 window = sami_ledger_open_window(apply->ledger, sami_ledger_now());
    for (guint k = 0; k < run->n_ops; k++)
        run->positions[k] = run->at[run->owners[k]];
    if (!sami_apply_send(apply, run->ops, run->positions, run->n_ops, error))
        return FALSE;
    sami_ledger_close_window(apply->ledger, window, sami_ledger_now());
    settle(apply, run, window, counter);
    if (!look_up(apply, run, error))
        return FALSE;
    for (guint k = 0; k < run->n_asked; k++)
        if (!resolve(apply, run, run->asked[k], &run->found[k], run->is_found[k], counter, error))
            return FALSE;
    for (guint i = 0; i < run->n; i++)
        sami_ledger_at(apply->ledger, run->at[i])->flags &= ~SAMI_LEDGER_PENDING;
    run->n = 0;
    return TRUE;
}

/* A flow that the peer may not bring is no master of one that it brings: then the child comes alone. One that is not there is none, as the kernel will say. */
static gboolean
check_master(SamiApply *apply, const SamiApplyItem **item, GError **error)
{
    const SamiSession *s = &(*item)->session;
    SamiSession master;
    gboolean is_found = FALSE;
    if (s->action == SAMI_ACTION_DELETED || !(s->has & SAMI_HAS_MASTER) || sami_apply_is_master(apply, &s->master))
        return TRUE;
    if (!sami_firewall_get(apply->firewall, &s->master, 1, &master, &is_found, error))
        return FALSE;
    if (is_found && !sami_apply_is_vm(apply, master.key.family, &master.key.orig.src) &&
        !sami_apply_is_vm(apply, master.key.family, &master.reply.src))
        *item = sami_children_orphan(apply, *item);
    return TRUE;
}

/* PENDING marks the flows of the running batch: another record of one of them begins a new batch. */
static gboolean
take(SamiApply *apply, Run *run, const SamiApplyItem *item, guint64 counter, GError **error)
{
    const SamiFlowKey *key = &item->session.key;
    gboolean is_deletion = item->session.action == SAMI_ACTION_DELETED, is_new = FALSE;
    apply->n_records++;
    if (item->reason != SAMI_REASON_NONE) {
        sami_apply_refuse_record(apply, item, counter);
        return TRUE;
    }
    if (!check_master(apply, &item, error))
        return FALSE;
    SamiLedgerEntry *entry = sami_ledger_find(apply->ledger, key);
    if ((run->n == BATCH || (entry && (entry->flags & SAMI_LEDGER_PENDING))) && !flush(apply, run, counter, error))
        return FALSE;
    entry = is_deletion ? sami_ledger_find(apply->ledger, key) : sami_ledger_obtain(apply->ledger, key, &is_new);
    if (!entry) { /* of a flow that is ours, or never came */
        apply->n_foreign++;
        return TRUE;
    }
    if (is_new && (sami_budget_room(apply->budgets[0]) == 0 || sami_budget_room(apply->budgets[1]) == 0)) {
        entry->flags = SAMI_LEDGER_GONE;
        sami_apply_refuse(apply, SAMI_REASON_MAX_SESSIONS, key, counter, NULL);
        return TRUE;
    }
    if (is_new) {
        sami_apply_remember(apply, entry, item);
        sami_apply_count_held(apply, 1);
    }
    entry->flags |= SAMI_LEDGER_PENDING;
    run->items[run->n] = item;
    run->at[run->n++] = sami_ledger_position(apply->ledger, entry);
    return TRUE;
}

static gboolean
take_all(SamiApply *apply, const SamiApplyItem *items, guint n, guint64 counter, GError **error)
{
    Run *run = apply->replica->run;
    run->n = 0;
    for (guint i = 0; i < n; i++)
        if (!take(apply, run, &items[i], counter, error))
            return FALSE;
    gboolean is_done = flush(apply, run, counter, error);
    sami_children_sweep(apply);
    return is_done;
}

/* The end of an epoch. What it did not name is over, unless it has become ours; the rest is known by its id and start time from now on, so
 * that the ledger needs no more than the entries that there are. */
static gboolean
wants_end(const SamiApply *apply, const SamiLedgerEntry *entry)
{
    return entry->generation != apply->generation || !(entry->flags & SAMI_LEDGER_VERIFIED) || !(entry->flags & SAMI_LEDGER_CREATED);
}

static gboolean
look_at_end(SamiApply *apply, guint n, const guint *positions, const SamiSession *found, const gboolean *is_found, gpointer user_data,
            GError **error)
{
    SamiReplica *replica = apply->replica;
    Run *run = replica->run;
    run->n_ops = 0;
    for (guint i = 0; i < n; i++) {
        SamiLedgerEntry *entry = sami_ledger_at(apply->ledger, positions[i]);
        if (!is_found[i])
            let_go(apply, entry);
        else if (!(entry->flags & SAMI_LEDGER_CREATED) || !is_the_entry(apply, entry, &found[i]) || sami_apply_is_touched(&found[i]))
            pass_on(apply, entry);
        else if (entry->generation != apply->generation)
            push_deletion(run, positions[i], &found[i]);
        else
            verify(entry, &found[i]);
    }
    if (run->n_ops > 0 && !sami_firewall_apply(apply->firewall, run->ops, run->n_ops, error))
        return FALSE;
    for (guint k = 0; k < run->n_ops; k++)
        leave(apply, sami_ledger_at(apply->ledger, run->owners[k]));
    replica->n_expired += run->n_ops;
    return TRUE;
}

/* What the file of origins has and no ledger knows was brought here before this daemon was started, or was taken for something else
 * since. When every peer has named all that it has, the rest is over. */

typedef struct {
    SamiApply *apply;
    GArray *left; /* of SamiSession */
} Inheritance;

static gboolean
has_everyone_spoken(const SamiApply *apply)
{
    guint n = 0;
    for (guint i = 0; i < apply->others->len; i++) {
        const SamiApply *other = g_ptr_array_index(apply->others, i);
        n += other->replica && other->replica->is_peer && !other->replica->is_over && other->replica->n_epochs > 0;
    }
    return n >= apply->replica->n_peers;
}

static void
inherit(const SamiSession *found, gpointer user_data)
{
    Inheritance *inheritance = user_data;
    SamiApply *apply = inheritance->apply;
    const SamiLedgerEntry *entry = sami_ledger_find(apply->ledger, &found->key);
    if (!sami_origin_contains(apply->replica->origin, &found->key) || (entry && (entry->flags & SAMI_LEDGER_CREATED)) ||
        is_of_another_replica(apply, &found->key) || !may_have_brought(apply, found))
        return;
    if (sami_apply_is_touched(found))
        sami_origin_remove(apply->replica->origin, &found->key);
    else
        g_array_append_val(inheritance->left, *found);
}

static gboolean
end_inheritance(SamiApply *apply, GError **error)
{
    SamiReplica *replica = apply->replica;
    const SamiDumpFilter everything = { 0 };
    g_autoptr(GArray) left = g_array_new(FALSE, FALSE, sizeof(SamiSession));
    Inheritance inheritance = { apply, left };
    g_autoptr(SamiFirewallDump) dump = sami_firewall_dump_new(apply->firewall, &everything, error);
    SamiDumpStatus status = dump ? SAMI_DUMP_MORE : SAMI_DUMP_BAD;
    while (status == SAMI_DUMP_MORE) {
        GPollFD readable = { sami_firewall_dump_fd(dump), G_IO_IN, 0 };
        g_poll(&readable, 1, -1);
        status = sami_firewall_dump_next(dump, inherit, &inheritance, error);
    }
    for (guint i = 0; status == SAMI_DUMP_END && i < left->len; i++) {
        SamiSession *s = &g_array_index(left, SamiSession, i);
        SamiOp op = { .kind = SAMI_OP_DELETE, .session = s };
        s->has = SAMI_HAS_ID;
        if (!sami_firewall_apply(apply->firewall, &op, 1, error))
            return FALSE;
        sami_origin_remove(replica->origin, &s->key);
        replica->n_inherited++;
    }
    return status == SAMI_DUMP_END;
}

static gboolean
end_epoch(SamiApply *apply, GError **error)
{
    SamiReplica *replica = apply->replica;
    for (guint at = 0; at < sami_ledger_size(apply->ledger);)
        if (!sami_apply_look_at_each(apply, &at, wants_end, look_at_end, NULL, error))
            return FALSE;
    sami_ledger_compact(apply->ledger);
    replica->n_epochs++;
    guint64 n_known = apply->n_held + replica->leaving[0]->len + replica->leaving[1]->len;
    return sami_origin_n(replica->origin) <= n_known || !has_everyone_spoken(apply) || end_inheritance(apply, error);
}

/* Nothing is written: the table is what it has to be. With one replication alone the file is emptied at once. */
static void
take_over(SamiApply *apply)
{
    SamiReplica *replica = apply->replica;
    guint n_others = 0;
    for (guint i = 0; i < apply->others->len; i++) {
        const SamiApply *other = g_ptr_array_index(apply->others, i);
        n_others += other != apply && other->replica && !other->replica->is_over && other->n_held > 0;
    }
    for (guint i = 0; n_others > 0 && i < sami_ledger_size(apply->ledger); i++)
        sami_origin_remove(replica->origin, &sami_ledger_at(apply->ledger, i)->key);
    for (guint i = 0; i < 2; i++)
        sweep(apply);
    if (n_others == 0)
        sami_origin_clear(replica->origin);
    else
        sami_origin_yield(replica->origin, 0);
    replica->n_passed += apply->n_held;
    replica->is_over = TRUE;
    apply->has_ended = TRUE;
}

gboolean
sami_replica_run(SamiApply *apply, SamiJob *job)
{
    if (apply->replica->is_over) /* what is left is to make it strict, and to forget it */
        return job->kind == SAMI_JOB_RECORDS || job->kind == SAMI_JOB_EPOCH_BEGIN || job->kind == SAMI_JOB_EPOCH_END;
    switch (job->kind) {
    case SAMI_JOB_RECORDS: take_all(apply, job->items, job->n, job->counter, &job->error); return TRUE;
    case SAMI_JOB_EPOCH_BEGIN: sami_apply_epoch_begin(apply, apply->generation + 1); return TRUE; /* the peer's numbers begin anew when it does */
    case SAMI_JOB_EPOCH_END: end_epoch(apply, &job->error); return TRUE;
    case SAMI_JOB_TAKEOVER: take_over(apply); return TRUE;
    case SAMI_JOB_SNAPSHOT: sweep(apply); return TRUE;
    default: return FALSE;
    }
}
