/* What one migration does to the kernel: records in, entries out, with every outcome counted (LIFECYCLE §5, §6, §8).
 *
 * Belongs to the injecting thread; the only place of the collector that calls firewall/. Nothing here knows of sessions or
 * Messages. Each call blocks while the kernel works. Errors are those of the netlink socket (SAMI_ERROR_KERNEL) and of the ledger's
 * file (SAMI_ERROR_FAILED); what the kernel says to a record is counted. After an error the migration cannot go on. */
#pragma once

#include "collector/budget.h"
#include "collector/ledger-file.h"
#include "collector/ledger.h"
#include "collector/map.h"
#include "firewall/firewall.h"
#include "templates/records.h"
#include "templates/validate.h"

/* What the injecting thread works in: one for all its migrations. */
typedef struct SamiApplyBatch SamiApplyBatch;
SamiApplyBatch *sami_apply_batch_new(void);
void sami_apply_batch_free(SamiApplyBatch *batch);

/* What becomes of a flow that is there already (on-conflict of the signer). */
typedef enum { SAMI_CONFLICT_MERGE, SAMI_CONFLICT_KEEP, SAMI_CONFLICT_REPLACE } SamiConflict;

/* What a creation of `s` that found something there comes to: NONE, it is merged, kept or replaced, or why it is refused. `found` is the entry that the
 * original tuple of `s` finds; there is none if only its reply tuple is taken. Pure. */
SamiReason sami_conflict_judge(SamiConflict on_conflict, const SamiPrefix *vm, guint n_vm, const SamiSession *s, const SamiSession *found, gboolean is_found,
                               gboolean *ret_is_reversed);
/* Is what is there the VM's flow? One with the same original tuple may be translated to somebody else, where they share an address. */
gboolean sami_conflict_may_replace(const SamiPrefix *vm, guint n_vm, const SamiSession *found);

/* What a removal came to. */
typedef struct {
    guint64 n_removed;
    guint64 n_gone;     /* not there any more */
    guint64 n_left;     /* another entry with these addresses: not ours */
    guint64 n_unproved; /* removed without start times to prove whose it is (nf_conntrack_timestamp = 0) */
    guint64 n_passed;   /* another migration has it too, and has it alone now */
    guint64 n_restored; /* merged entries with their flags back, replaced ones back in the table */
    guint64 n_expectations; /* expectations that were ended */
    guint64 n_expectations_left; /* of those that are there, what may be another one: a helper here may have made it anew */
} SamiRemoval;

typedef struct SamiReplica SamiReplica;
typedef struct SamiApply SamiApply;
/* A helper that this kernel has not. */
typedef struct {
    gchar name[SAMI_HELPER_NAME_MAX];
    guint8 family, protocol;
} SamiMissingHelper;

struct SamiApply {
    GMutex lock;            /* held by the injecting thread during a job, by the main loop while it reads `refusals` */
    SamiFirewall *firewall; /* (transfer none), set by the injecting thread */
    SamiApplyBatch *batch;  /* (transfer none), set by the injecting thread */
    GPtrArray *others;      /* (transfer none) of SamiApply, this one too; set by the injecting thread */
    SamiLedger *ledger;
    SamiLedgerFile *file;   /* (nullable) its twin on disk */
    SamiReplica *replica;   /* (nullable) of a replication, see replica.h: then its rules hold instead of a migration's */
    SamiBudget *budgets[2]; /* the collector's and the signer's; NULL when the migration has ended: nothing is created any more */
    guint64 n_held;         /* entries of ours in the kernel; counted in both budgets while there are any */
    guint32 lease_s;
    guint32 generation;     /* of the running or last re-dump */
    SamiConflict on_conflict;
    gboolean is_ready;      /* after the freeze marker: nothing but late creations and timeouts */
    gboolean has_given;     /* entries of ours have become another migration's, and may come back at our READY */
    gboolean is_forgotten;  /* its ledger is gone */
    gboolean has_children;  /* entries of the ledger that have or had a master */
    gboolean has_ended;     /* its entries are this firewall's like any other: none is taken over or passed on to it */
    GHashTable *children;   /* (nullable) of SamiChild: sessions that wait for their master, see children.c */
    GPtrArray *orphans;     /* (nullable) of SamiApplyItem: the same without it, while they are worked off */
    GArray *expectations;   /* (nullable) of what the freeze marker creates or has created, see expectation.c */
    SamiKindCount expected;
    SamiBudget *expectation_budget; /* (nullable) the signer's */
    guint n_expected;       /* of them counted in it */
    GArray *missing_helpers; /* of SamiMissingHelper, at most SAMI_MISSING_HELPERS_MAX, since the last re-dump began */
    GArray *replacements;   /* of SamiReplacement: what waits for the freeze marker, see conflict.c */
    guint64 n_records;      /* session records seen, refused ones included */
    guint64 n_accepted;
    guint64 n_merged;
    guint64 n_kept;         /* of them left exactly as they were */
    guint64 n_replaced;
    guint64 n_exact;
    guint64 n_degraded;
    guint64 n_refused;
    guint64 n_unchanged;    /* updates that said nothing new, or nothing that may be written any more */
    guint64 n_foreign;      /* deletions and updates of entries that are not ours: left alone */
    guint64 n_repaired;     /* closing flows that had got a long timeout */
    guint64 refused[SAMI_N_REASONS];
    guint64 degraded[SAMI_N_REASONS];
    GArray *vm;             /* of SamiPrefix: whose flows these are; none: nobody's */
    SamiMap *map;           /* (nullable) a reference: of the records, back to what refusals name */
    guint compact_at;       /* entries of the ledger, gone ones included, at which it is looked at whether most are gone; 0: SAMI_LEDGER_COMPACT */
    GHashTable *refused_keys; /* of SamiFlowKey: counted and listed already */
    GArray *refusals;       /* of SamiRefusal not yet sent; at most SAMI_REFUSALS_PER_RULE a rule */
    gboolean is_truncated;
};

/* A record as the verifying thread hands it over. */
typedef struct {
    SamiSession session;
    guint32 stripped; /* SamiHas: what sami_policy_strip() took */
    guint16 reason;   /* SamiReason of the record rules; not NONE: refused, only counted */
    /* The rest is filled by sami_apply_build(). */
    guint32 flags;    /* SAMI_LEDGER_* that follow from the record */
    guint32 digest;
    guint8 *message;  /* (nullable) that creates it, in the memory that sami_apply_build() returned */
} SamiApplyItem;

/* What a record means here, and whether it may be: mapped, by the rules and the policy, and without what the policy does not let in. *n_cut (nullable): see
 * sami_map_session(). */
void sami_apply_judge(const SamiMap *map, const SamiPolicy *policy, const SamiSession *record, guint64 *n_cut, SamiApplyItem *ret);

/* Takes a reference to each budget. lease_s 0: there is no lease, and no audit to come. Entries get the time of their record at once, and the last
 * one's at the read-back. */
SamiApply *sami_apply_new(guint32 lease_s, SamiBudget *all, SamiBudget *signer);
void sami_apply_free(SamiApply *apply);
/* The migration has ended: its entries count in no budget any more, and further creations are refused. From the main loop; waits for a
 * running job. */
void sami_apply_leave_budgets(SamiApply *apply);
/* Of one that has just been made. Takes a reference; NULL is fine: no limit but that of a migration. */
void sami_apply_set_expectation_budget(SamiApply *apply, SamiBudget *budget);
/* Takes a reference; NULL is fine. From the main loop; waits for a running job. */
void sami_apply_set_map(SamiApply *apply, SamiMap *map);
/* A copy; likewise. */
void sami_apply_set_vm(SamiApply *apply, const SamiPrefix *vm, guint n);
/* From the ledger's file, after a restart: an entry that this migration had created, or merged. */
void sami_apply_recall_created(SamiApply *apply, const SamiFlowKey *key, const guint64 window[2]);
void sami_apply_recall_gone(SamiApply *apply, const SamiFlowKey *key);
/* Before the creation that replaced it is recalled. */
void sami_apply_recall_replaced(SamiApply *apply, const SamiFlowKey *key, const SamiSession *old, guint64 seen_ns);
void sami_apply_recall_merged(SamiApply *apply, const SamiFlowKey *key, const guint8 old_tcp_flags[2]);

/* The verifying thread's part of the work, so that the injecting one only looks up and sends. Returns the memory of the messages, to be
 * freed after sami_apply_records(). `has_entries`: these are records of a re-dump, most of what they name is there already, and messages that create it
 * would be made for nothing. (transfer full) (nullable) */
guint8 *sami_apply_build(SamiApplyItem *items, guint n, guint32 lease_s, gboolean has_entries);

/* `counter` is the messageCounter for refusals, `age_s` the time since the records were read at the source: their timeouts have run on. */
gboolean sami_apply_records(SamiApply *apply, const SamiApplyItem *items, guint n, guint64 counter, guint32 age_s, GError **error);
void sami_apply_epoch_begin(SamiApply *apply, guint32 generation);
/* Removes what this migration created and the epoch did not name. */
gboolean sami_apply_epoch_end(SamiApply *apply, GError **error);
/* The freeze marker: merged TCP entries become lenient, others are replaced; from now on nothing but late creations. */
gboolean sami_apply_freeze(SamiApply *apply, GError **error);
/* Back to following; expectations are ended, the source will name its own again. */
gboolean sami_apply_thaw(SamiApply *apply, GError **error);

/* Expectations wait for the freeze marker: they are few, and their masters have to be there. `signed_ms` as in SamiJob. */
typedef struct {
    SamiExpectation expectation;
    guint16 reason; /* SamiReason of the record rules */
    guint8 facts;   /* sami_expectation_facts() */
} SamiExpectationItem;
void sami_apply_judge_expectation(const SamiMap *map, const SamiPolicy *policy, const SamiExpectation *record, SamiExpectationItem *ret);
void sami_apply_expect(SamiApply *apply, const SamiExpectationItem *items, guint n, guint64 counter, guint64 signed_ms);

/* Passes: each call works off a slice of the ledger from *at on; not at its end until *at is sami_ledger_size(). */

/* Keeps entries of an unfinished migration alive for another lease. After READY only those that no packet has touched and the audit has
 * not named. */
gboolean sami_apply_renew(SamiApply *apply, guint *at, GError **error);
/* Entries that the audit did not name get the timeout of their last record; then what the kernel has is compared with what was written. Most of a
 * large ledger is seen in a dump first, which costs a third of a look-up an entry; *at stays 0 while it runs. */
typedef struct {
    SamiFirewallDump *dump;
    gboolean has_dumped;
} SamiReadBack; /* zeros to begin with */
void sami_read_back_clear(SamiReadBack *reading);
gboolean sami_apply_read_back(SamiApply *apply, guint *at, SamiReadBack *reading, GError **error);
/* Strict window tracking again, where that is safe: after packets both ways of which one way is bare acknowledgements, and with `is_last`
 * also where no packet came. *n_left counts entries that stay lenient; needs nf_conntrack_acct = 1, without it all do. */
gboolean sami_apply_strict(SamiApply *apply, guint *at, gboolean is_last, guint64 *n_left, GError **error);
/* LIFECYCLE §8: exactly what this migration created, added up in *removal. */
gboolean sami_apply_rollback(SamiApply *apply, guint *at, SamiRemoval *removal, GError **error);
/* Flows that come and go leave something in the ledger: gives that back, if there is much of it. Not while a pass runs; positions are others afterwards. */
void sami_apply_compact(SamiApply *apply);
/* What the migration takes of memory, as far as its peer says how much: ledger, refusals, what waits. From the main loop; waits for a running job. */
gsize sami_apply_octets(SamiApply *apply);
/* Nothing will touch the ledger again: what stays are counts. */
void sami_apply_forget(SamiApply *apply);
/* Entries of this migration in the kernel, as far as the ledger knows. */
guint64 sami_apply_present(const SamiApply *apply);
