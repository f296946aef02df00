/* What one migration does to the kernel: records in, entries out, with every outcome counted (LIFECYCLE §5, §6, §8).
 *
 * Belongs to the injecting thread; the only place of the collector that calls firewall/. Nothing here knows of sessions or
 * Messages. Each call blocks while the kernel works. */
#pragma once

#include "collector/ledger.h"
#include "firewall/firewall.h"
#include "templates/records.h"
#include "templates/validate.h"

typedef struct {
    GMutex lock;            /* held by the injecting thread during a job, by the main loop while it reads `refusals` */
    SamiFirewall *firewall; /* (transfer none), set by the injecting thread */
    SamiLedger *ledger;
    guint32 lease_s;
    guint32 generation;     /* of the running or last re-dump */
    gboolean is_ready;      /* after the freeze marker: nothing but late creations and timeouts */
    guint64 n_records;      /* session records seen, refused ones included */
    guint64 n_accepted;
    guint64 n_merged;
    guint64 n_exact;
    guint64 n_degraded;
    guint64 n_refused;
    guint64 n_unchanged;    /* updates that said nothing new */
    guint64 n_foreign;      /* deletions and updates of entries that are not ours: left alone */
    guint64 refused[SAMI_N_REASONS];
    guint64 degraded[SAMI_N_REASONS];
    GArray *refusals;       /* of SamiRefusal not yet sent; at most SAMI_REFUSALS_PER_RULE a rule */
    gboolean is_truncated;
} SamiApply;

/* A record as the verifying thread hands it over. */
typedef struct {
    SamiSession session;
    guint16 reason;  /* SamiReason of the record rules; not NONE: refused, only counted */
} SamiApplyItem;

SamiApply *sami_apply_new(guint32 lease_s);
void sami_apply_free(SamiApply *apply);

/* Errors are those of the netlink socket only; what the kernel says to a record is counted. `counter` is the messageCounter for refusals. */
gboolean sami_apply_records(SamiApply *apply, const SamiApplyItem *items, guint n, guint64 counter, GError **error);
void sami_apply_epoch_begin(SamiApply *apply, guint32 generation);
/* Removes what this migration created and the epoch did not name. */
gboolean sami_apply_epoch_end(SamiApply *apply, GError **error);
/* The freeze marker: merged TCP entries become lenient; from now on nothing but late creations. */
gboolean sami_apply_freeze(SamiApply *apply, GError **error);
/* Keeps entries of an unfinished migration alive for another lease. */
gboolean sami_apply_renew(SamiApply *apply, GError **error);
/* Before read-back: entries that the audit did not name get the timeout of their last record. */
gboolean sami_apply_read_back(SamiApply *apply, GError **error);
/* Strict window tracking again, where that is safe: after packets both ways of which one way is bare acknowledgements, and with `is_last`
 * also where no packet came. *ret_n_left: entries that stay lenient; needs nf_conntrack_acct = 1, without it all do. */
gboolean sami_apply_strict(SamiApply *apply, gboolean is_last, guint *ret_n_left, GError **error);
/* LIFECYCLE §8: exactly what this migration created. *ret_n_removed, *ret_n_left (not ours any more). */
gboolean sami_apply_rollback(SamiApply *apply, guint64 *ret_n_removed, guint64 *ret_n_left, GError **error);
/* Entries of this migration in the kernel, as far as the ledger knows. */
guint64 sami_apply_present(const SamiApply *apply);
