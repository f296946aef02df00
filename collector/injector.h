/* The injecting thread (DESIGN §4): the kernel lets only one thread inject, so everything else runs beside it. Jobs are worked off in
 * order; each one's `done` is called in the main loop. */
#pragma once

#include "collector/apply.h"

typedef enum {
    SAMI_JOB_RECORDS,     /* items */
    SAMI_JOB_EXPECTATIONS, /* expectations */
    SAMI_JOB_EPOCH_BEGIN, /* generation */
    SAMI_JOB_EPOCH_END,
    SAMI_JOB_SNAPSHOT,    /* nothing: everything before it is in the kernel */
    SAMI_JOB_FREEZE,
    SAMI_JOB_THAW,
    SAMI_JOB_CALL,        /* call, with data: of kinds beside sessions, in a thread of their own */
    SAMI_JOB_TAKEOVER,    /* of a replication: what it brought is ours */
    SAMI_JOB_RENEW,       /* from here on passes over the ledger, in slices: other jobs come between them, and first */
    SAMI_JOB_READ_BACK,
    SAMI_JOB_STRICT,      /* is_last; n_left */
    SAMI_JOB_ROLLBACK,    /* removal */
    SAMI_JOB_FORGET,      /* the last one of a migration */
} SamiJobKind;

typedef struct SamiJob SamiJob;
struct SamiJob {
    SamiJobKind kind;
    SamiApply *apply;     /* must outlive the job */
    SamiApplyItem *items; /* (transfer full) */
    guint8 *messages;     /* (transfer full) of the items, from sami_apply_build() */
    SamiExpectationItem *expectations; /* (transfer full) */
    guint n;              /* items or expectations */
    guint64 counter;
    guint64 n_records;    /* FREEZE: out: session records before it */
    guint64 signed_ms;    /* monotonic clock: when the items were signed at the source */
    guint32 generation;
    guint at;             /* of a pass: how far it is */
    gboolean is_last;
    guint64 n_left;
    SamiRemoval removal;
    SamiReadBack reading;
    void (*call)(SamiJob *job);
    gpointer data;        /* (transfer none) */
    GError *error;        /* out: see collector/apply.h */
    void (*done)(SamiJob *job, gpointer user_data); /* in the main loop; the job is freed afterwards */
    gpointer user_data;
};

typedef struct SamiInjector SamiInjector;

/* Takes the firewall handle; NULL for a thread that works off nothing but SAMI_JOB_CALL. */
SamiInjector *sami_injector_new(SamiFirewall *firewall_take);
void sami_injector_free(SamiInjector *injector); /* waits for what is queued, but for the end of passes */
void sami_injector_submit(SamiInjector *injector, SamiJob *job_take);
/* Records in jobs that are not done. The caller stops reading above SAMI_INJECTOR_HIGH. Main loop only. */
guint sami_injector_pending(const SamiInjector *injector);
#define SAMI_INJECTOR_HIGH 4096u
