/* What the files of apply.h share: apply.c (its life and its counts), apply-records.c (records), conflict.c (what was there before), settle.c
 * (passes over the ledger), rollback.c (what goes again). */
#pragma once

#include "collector/apply.h"

#define SAMI_APPLY_BATCH 1024u /* operations between two looks at the results; firewall/ cuts netlink batches itself */
/* Entries that a pass over the ledger works off before it lets other jobs in: a freeze may be among them, so 2 ms. */
#define SAMI_APPLY_SLICE 512u

/* One record or entry with its reason, counted and listed (up to SAMI_REFUSALS_PER_RULE a reason). */
void sami_apply_refuse(SamiApply *apply, SamiReason reason, const SamiFlowKey *key, guint64 counter, const gchar *detail);
/* What the rules said, before anything was done: a record that the map refused is still as it came. */
void sami_apply_refuse_record(SamiApply *apply, const SamiApplyItem *item, guint64 counter);
void sami_apply_degrade(SamiApply *apply, SamiReason reason, const SamiFlowKey *key);
/* An entry of ours comes (1) or goes (-1), in both budgets. */
void sami_apply_count_held(SamiApply *apply, gint64 n);
/* The entry is not, or no longer, ours in the kernel. */
void sami_apply_let_go(SamiApply *apply, SamiLedgerEntry *entry);
/* Is it the VM's? */
gboolean sami_apply_is_vm(const SamiApply *apply, guint8 family, const SamiAddress *address);
/* The entry is what this record says: digest, timeout, state, generation, and the flags that come from the record. */
void sami_apply_remember(SamiApply *apply, SamiLedgerEntry *entry, const SamiApplyItem *item);
/* LIFECYCLE §7: the kernel's timeout in seconds is the backstop for when this process is dead. */
guint32 sami_apply_backstop(const SamiSession *session, guint32 lease_s);
/* What a creation gets: the backstop, or a late one its own. */
guint32 sami_apply_creation_timeout(const SamiSession *session, guint32 lease_s);
/* lesser.c: sami_firewall_apply(), and creations that the kernel cannot take whole once more with less: the entry at at[i] of the ledger says
 * so. Rare, hence one by one. The operations' sessions and messages are of no use afterwards. */
gboolean sami_apply_send(SamiApply *apply, SamiOp *ops, const guint *at, guint n, GError **error);
/* Groups (SamiHas) that the kernel's entry was made without. */
guint32 sami_apply_without(const SamiLedgerEntry *entry);
/* Of the kernel's errno for an operation. */
SamiReason sami_apply_reason_of(int result);
/* Look-up of up to SAMI_APPLY_BATCH keys into the batch's own memory. */
gboolean sami_apply_look_up(SamiApply *apply, const SamiFlowKey *keys, guint n, SamiSession *ret, gboolean *found, GError **error);
gboolean sami_apply_is_touched(const SamiSession *found);
/* Is what the kernel has under the entry's addresses the entry that this migration created? By its start time, and its id if that is known (LIFECYCLE §8);
 * without start times it is taken for it. */
gboolean sami_apply_is_ours(const SamiApply *apply, const SamiLedgerEntry *entry, const SamiSession *found);
/* The status bits that a flow gains in its life, as the record or the ledger has them: without SEEN_REPLY the next packet of the original
 * direction is NEW, and a strict ruleset drops it. */
#define SAMI_APPLY_GROWING (SAMI_IPS_SEEN_REPLY | SAMI_IPS_ASSURED)
guint32 sami_apply_grown(const SamiLedgerEntry *entry);
/* The key under which the kernel has the entry: a reversed one is the other way round. */
SamiFlowKey sami_apply_kernel_key(const SamiLedgerEntry *entry);
/* Only the flags 0x08 under mask 0x08: window scale stays (LIFECYCLE §6). */
void sami_apply_set_lenient(SamiOp *op, SamiSession *session, guint8 original, guint8 reply);

/* A pass: up to SAMI_APPLY_SLICE entries from *at on. `pick` makes an operation of an entry, or says no. *at is moved on; sami_ledger_size() is the end. */
typedef gboolean (*SamiPickFunc)(SamiApply *apply, SamiLedgerEntry *entry, SamiOp *op, SamiSession *session, gpointer user_data);
gboolean sami_apply_for_each(SamiApply *apply, guint *at, SamiPickFunc pick, gpointer user_data, GError **error);

/* A look at what the kernel has for each entry that `wants` names; otherwise as above. */
typedef gboolean (*SamiWantFunc)(const SamiApply *apply, const SamiLedgerEntry *entry);
typedef gboolean (*SamiLookFunc)(SamiApply *apply, guint n, const guint *positions, const SamiSession *found, const gboolean *is_found,
                                 gpointer user_data, GError **error);
gboolean sami_apply_look_at_each(SamiApply *apply, guint *at, SamiWantFunc wants, SamiLookFunc look, gpointer user_data, GError **error);

/* A flow that replaces the one that was here (on-conflict=replace), at the freeze marker. */
typedef struct {
    SamiSession new, old;
    guint64 seen_ns; /* when `old` was read, sami_ledger_now() */
    guint64 counter;
} SamiReplacement;

/* conflict.c. EEXIST: which of the four cases of LIFECYCLE §5? `found` is what has the record's tuple. */
void sami_apply_resolve_conflict(SamiApply *apply, const SamiApplyItem *item, const SamiSession *found, gboolean is_found, guint64 counter);
/* A newer record of a flow that is planned to replace another; and the end of what was only planned: nothing has been written yet. */
void sami_apply_update_plan(SamiApply *apply, SamiLedgerEntry *entry, const SamiApplyItem *item);
void sami_apply_give_up_plan(SamiApply *apply, SamiLedgerEntry *entry);
/* Tells the ledger's file what an entry with SAMI_LEDGER_REPLACE takes the place of; before its intent. */
gboolean sami_apply_tell_replaced(SamiApply *apply, const SamiLedgerEntry *entry, GError **error);
/* At the freeze marker: merged flows become lenient, the others are replaced. */
gboolean sami_apply_carry_out(SamiApply *apply, GError **error);
/* rollback.c: deletes the entries that `wants` names as far as they are provably ours (LIFECYCLE §8), passes on those that another migration
 * counts on, brings back what was replaced, and gives merged ones their flags back. */
gboolean sami_apply_remove(SamiApply *apply, guint *at, SamiWantFunc wants, SamiRemoval *removal, GError **error);
/* The entry that one of on-conflict=replace, which is deleted, stood for: back in the table with its flags and the rest of its time. */
gboolean sami_apply_bring_back(SamiApply *apply, const SamiLedgerEntry *entry, gboolean *ret_is_back, GError **error);
/* rollback.c: at READY (LIFECYCLE §5): what another migration created and this one merged is this one's from now on. */
void sami_apply_take_over(SamiApply *apply);

/* An expectation with its reason, counted and listed under the flow that is expected. */
void sami_apply_refuse_expected(SamiApply *apply, SamiReason reason, const SamiExpectation *expectation, guint64 counter, const gchar *detail);
/* Is this key's flow one that this migration has in the kernel, created or merged? */
gboolean sami_apply_is_master(const SamiApply *apply, const SamiFlowKey *key);

/* children.c: a session whose master has not come waits for it, until the freeze marker at the latest. */
typedef struct {
    SamiApplyItem item;
    guint64 counter;
    guint32 generation;
} SamiChild;
/* The item to go on with: this one, or one without its master, which is not of this migration (valid until sami_children_sweep()). NULL: it
 * waits. */
const SamiApplyItem *sami_children_admit(SamiApply *apply, const SamiApplyItem *item, guint64 counter);
/* One without its master, whether that is here or not; as above. */
const SamiApplyItem *sami_children_orphan(SamiApply *apply, const SamiApplyItem *item);
/* (nullable) (transfer full) of SamiChild: those that wait no longer; all of them at the end. */
GPtrArray *sami_children_take(SamiApply *apply, gboolean is_last);
/* Those that a re-dump did not name. */
void sami_children_drop_stale(SamiApply *apply);
void sami_children_sweep(SamiApply *apply);
/* None waits any more. */
void sami_children_clear(SamiApply *apply);

/* expectation.c: after every change of the list, and at the end of the migration */
void sami_apply_count_expected(SamiApply *apply);
/* expectation.c: at the freeze marker, when all sessions are there. */
gboolean sami_apply_expectations_create(SamiApply *apply, GError **error);
/* Ends those that are provably ours (LIFECYCLE §8); before anything else goes. */
gboolean sami_apply_expectations_remove(SamiApply *apply, SamiRemoval *removal, GError **error);
