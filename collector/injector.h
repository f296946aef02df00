/* The injecting thread (DESIGN §4): the kernel lets only one thread inject, so everything else runs beside it. Jobs are worked off in
 * order; each one's `done` is called in the main loop. */
#pragma once

#include "collector/apply.h"

typedef enum {
    SAMI_JOB_RECORDS,     /* items */
    SAMI_JOB_EPOCH_BEGIN, /* generation */
    SAMI_JOB_EPOCH_END,
    SAMI_JOB_SNAPSHOT,    /* nothing: everything before it is in the kernel */
    SAMI_JOB_FREEZE,
    SAMI_JOB_RENEW,
    SAMI_JOB_READ_BACK,
    SAMI_JOB_STRICT,      /* is_last; n_left */
    SAMI_JOB_ROLLBACK,    /* n_removed, n_left */
} SamiJobKind;

typedef struct SamiJob SamiJob;
struct SamiJob {
    SamiJobKind kind;
    SamiApply *apply;     /* must outlive the job */
    SamiApplyItem *items; /* (transfer full) */
    guint n;
    guint64 counter;
    guint32 generation;
    gboolean is_last;
    guint64 n_removed;
    guint64 n_left;
    GError *error;        /* out: the netlink socket failed */
    void (*done)(SamiJob *job, gpointer user_data); /* in the main loop; the job is freed afterwards */
    gpointer user_data;
};

typedef struct SamiInjector SamiInjector;

/* Takes the firewall handle. */
SamiInjector *sami_injector_new(SamiFirewall *firewall_take);
void sami_injector_free(SamiInjector *injector); /* waits for what is queued */
void sami_injector_submit(SamiInjector *injector, SamiJob *job_take);
/* Records in jobs that are not done. The caller stops reading above SAMI_INJECTOR_HIGH. Main loop only. */
guint sami_injector_pending(const SamiInjector *injector);
#define SAMI_INJECTOR_HIGH 8192u
