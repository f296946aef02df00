/* What one migration, or one backup, of an input does to this kernel: its records by the rules and a policy, through the engine of the collector
 * (collector/apply.h), without a collector's lease and audit. The entries that are left at the end are those that the last records of their flows say.
 *
 * Records are taken a Message at a time: replay_target_add() gathers them, replay_target_commit() lets them in once the whole Message was read, in
 * batches across Messages. Memory is that of the ledger. One thread. */
#pragma once

#include "collector/apply.h"
#include "collector/kinds.h"
#include "collector/signers.h"

/* What all targets of a run have in common. */
typedef struct {
    SamiFirewall *firewall;  /* (transfer none) */
    SamiApplyBatch *batch;   /* (transfer none) */
    SamiBudget *budget;      /* (transfer none) of all signers together */
    const SamiSignerHost *host; /* (nullable) (transfer none) what signers' policies have of it */
    const SamiConfig *config; /* (nullable) (transfer none) for [cumulative NAME] */
    const gchar *on_conflict; /* (nullable) instead of the signer's */
    gboolean is_dry;         /* `firewall` is a fake: sets are not touched either */
    /* One refused or degraded record, or one whose time is over (`is_expired`; the refusal has key and detail only). */
    void (*list)(const SamiRefusal *refusal, gboolean is_expired, gpointer user_data);
    gpointer user_data;
} ReplaySink;

typedef enum {
    REPLAY_TRUST_SIGNER, /* what its signer's policy allows */
    REPLAY_TRUST_OWN,    /* our own table: everything that the kernel takes */
    REPLAY_TRUST_FORCED, /* nobody's word: the rules of records only */
} ReplayTrust;
const gchar *replay_trust_name(ReplayTrust trust);

typedef struct {
    ReplayTrust trust;
    gchar *name;           /* of the signer */
    gchar id[SAMI_MIGRATION_ID_TEXT];
    gchar *destination;    /* (nullable) of begin: whom it was meant for, which is no rule here */
    SamiApply *apply;
    SamiKindCounts cumulative;
    guint64 n_expired, n_expectations_expired, n_deleted, n_marks_cut;
    gboolean is_aborted;   /* its source took it back, and so did we: */
    SamiRemoval removal;
    /* The rest is the target's own. */
    const ReplaySink *sink;
    SamiSigner *signer;    /* (nullable) a reference */
    GArray *vm;            /* of SamiPrefix */
    SamiPolicy policy;
    GArray *items;         /* of SamiApplyItem: whole Messages that wait for more */
    GArray *expectations;  /* of SamiExpectationItem */
    GArray *message;       /* of what replay_target_add() has judged of the Message that is being read */
    GPtrArray *siblings;
    SamiKindContext context;
    gpointer sets;         /* (nullable) of sami_sink_cumulative */
    GArray *elements;      /* of SamiCumulative */
    guint64 elements_age_ms;
    gboolean is_redumping;
} ReplayTarget;

/* `signer` (nullable but with TRUST_SIGNER). `vm` (transfer full) (nullable): what the records may be about; NULL is unscoped. */
ReplayTarget *replay_target_new(const ReplaySink *sink, ReplayTrust trust, SamiSigner *signer, const gchar *name, const guint8 id[16], GArray *vm);
void replay_target_free(ReplayTarget *target);
/* A record of the Message that is being read: session, expectation, cumulative, epoch, marker or abort; its timeouts have run for age_s since. */
void replay_target_add(ReplayTarget *target, const SamiRecord *record, guint32 age_s);
/* The Message was read to its end; or it was not, and nothing of it is taken. SAMI_ERROR_KERNEL. */
gboolean replay_target_commit(ReplayTarget *target, GError **error);
void replay_target_drop(ReplayTarget *target);
/* Nothing more comes: what waits goes in, flows without their masters, merged ones become lenient, expectations; then everything is read back. */
gboolean replay_target_finish(ReplayTarget *target, GError **error);
