#include "collector/injector.h"

#include "collector/replica.h"
#define JOBS_A_SLICE 16u

struct SamiInjector {
    SamiFirewall *firewall;
    SamiApplyBatch *batch;
    GPtrArray *applies; /* of SamiApply, of every migration that has a ledger; the injecting thread's */
    GAsyncQueue *jobs;
    GQueue passes; /* of SamiJob, begun and not at their end; the injecting thread's */
    GThread *thread;
    guint n_pending;
};

typedef struct {
    SamiInjector *injector;
    SamiJob *job;
} Done;

/* A Message may have waited in many queues; what it says of timeouts was true when its records were read, which is a little before it was
 * signed: up to a MiB waits unsigned at the source. Otherwise in whole seconds, as the kernel cut them off at the source, so that both errors
 * even out. */
#define UNSIGNED_MS 100u

static guint32
age_s(const SamiJob *job)
{
    guint64 now_ms = (guint64) g_get_monotonic_time() / 1000;
    return now_ms > job->signed_ms ? (guint32) ((now_ms - job->signed_ms + UNSIGNED_MS) / 1000) : 0;
}

/* Passes hold positions in the ledger. */
static gboolean
has_pass(const SamiInjector *injector, const SamiApply *apply)
{
    for (GList *link = injector->passes.head; link; link = link->next)
        if (((const SamiJob *) link->data)->apply == apply)
            return TRUE;
    return FALSE;
}

/* FALSE: a slice of a pass is done, and there is more. */
static gboolean
run(SamiInjector *injector, SamiJob *job)
{
    SamiApply *apply = job->apply;
    gboolean is_good = TRUE;
    if (job->kind == SAMI_JOB_CALL) {
        job->call(job);
        return TRUE;
    }
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&apply->lock);
    if (apply->is_forgotten) /* a pass that was behind the end: its ledger is gone */
        return TRUE;
    apply->firewall = injector->firewall;
    apply->batch = injector->batch;
    if (!apply->others) {
        apply->others = injector->applies;
        g_ptr_array_add(injector->applies, apply);
    }
    if (apply->replica && sami_replica_run(apply, job))
        return TRUE;
    if (job->kind == SAMI_JOB_RECORDS && !apply->is_ready && !has_pass(injector, apply))
        sami_apply_compact(apply);
    switch (job->kind) {
    case SAMI_JOB_RECORDS: sami_apply_records(apply, job->items, job->n, job->counter, age_s(job), &job->error); return TRUE;
    case SAMI_JOB_EXPECTATIONS: sami_apply_expect(apply, job->expectations, job->n, job->counter, job->signed_ms); return TRUE;
    case SAMI_JOB_EPOCH_BEGIN: sami_apply_epoch_begin(apply, job->generation); return TRUE;
    case SAMI_JOB_EPOCH_END: sami_apply_epoch_end(apply, &job->error); return TRUE;
    case SAMI_JOB_SNAPSHOT:
    case SAMI_JOB_CALL:
    case SAMI_JOB_TAKEOVER: return TRUE;
    case SAMI_JOB_FREEZE:
        job->n_records = apply->n_records;
        sami_apply_freeze(apply, &job->error);
        return TRUE;
    case SAMI_JOB_THAW: sami_apply_thaw(apply, &job->error); return TRUE;
    case SAMI_JOB_FORGET:
        sami_apply_forget(apply);
        g_ptr_array_remove_fast(injector->applies, apply);
        apply->others = NULL;
        return TRUE;
    case SAMI_JOB_RENEW: is_good = sami_apply_renew(apply, &job->at, &job->error); break;
    case SAMI_JOB_READ_BACK: is_good = sami_apply_read_back(apply, &job->at, &job->reading, &job->error); break;
    case SAMI_JOB_STRICT: is_good = sami_apply_strict(apply, &job->at, job->is_last, &job->n_left, &job->error); break;
    case SAMI_JOB_ROLLBACK: is_good = sami_apply_rollback(apply, &job->at, &job->removal, &job->error); break;
    }
    return !is_good || job->at >= sami_ledger_size(apply->ledger);
}

static void
free_job(SamiJob *job)
{
    sami_read_back_clear(&job->reading);
    g_clear_error(&job->error);
    g_free(job->items);
    g_free(job->messages);
    g_free(job->expectations);
    g_free(job);
}

static gboolean
on_done(gpointer user_data)
{
    Done *done = user_data;
    SamiJob *job = done->job;
    done->injector->n_pending -= job->n + 1;
    job->done(job, job->user_data);
    free_job(job);
    g_free(done);
    return G_SOURCE_REMOVE;
}

/* A pass begins in its turn, so that everything submitted before it is done; its further slices give way to whatever else there is. A freeze
 * waits for one of them at most; and so that a pass ends at all, one comes after so many other jobs. */
static SamiJob *
next_job(SamiInjector *injector, guint *n_since_slice)
{
    SamiJob *job = NULL;
    if (g_queue_is_empty(&injector->passes))
        return g_async_queue_pop(injector->jobs);
    if (*n_since_slice < JOBS_A_SLICE)
        job = g_async_queue_try_pop(injector->jobs);
    ++*n_since_slice;
    if (job)
        return job;
    *n_since_slice = 0;
    return g_queue_pop_head(&injector->passes);
}

static gpointer
work(gpointer user_data)
{
    SamiInjector *injector = user_data;
    guint n_since_slice = 0;
    for (;;) {
        SamiJob *job = next_job(injector, &n_since_slice);
        if (!job->apply) { /* the end mark */
            g_free(job);
            return NULL;
        }
        if (!run(injector, job)) {
            g_queue_push_tail(&injector->passes, job);
            continue;
        }
        Done *done = g_new(Done, 1);
        *done = (Done){ injector, job };
        g_idle_add_full(G_PRIORITY_DEFAULT, on_done, done, NULL);
    }
}

SamiInjector *
sami_injector_new(SamiFirewall *firewall)
{
    SamiInjector *injector = g_new0(SamiInjector, 1);
    injector->firewall = firewall;
    injector->batch = sami_apply_batch_new();
    injector->applies = g_ptr_array_new();
    injector->jobs = g_async_queue_new();
    g_queue_init(&injector->passes);
    injector->thread = g_thread_new("inject", work, injector);
    return injector;
}

void
sami_injector_free(SamiInjector *injector)
{
    if (!injector)
        return;
    g_async_queue_push(injector->jobs, g_new0(SamiJob, 1));
    g_thread_join(injector->thread);
    g_async_queue_unref(injector->jobs);
    g_queue_clear_full(&injector->passes, (GDestroyNotify) free_job); /* a restart goes on with what the ledger says */
    sami_firewall_free(injector->firewall);
    sami_apply_batch_free(injector->batch);
    g_ptr_array_unref(injector->applies);
    g_free(injector);
}

void
sami_injector_submit(SamiInjector *injector, SamiJob *job)
{
    injector->n_pending += job->n + 1;
    g_async_queue_push(injector->jobs, job);
}

guint
sami_injector_pending(const SamiInjector *injector)
{
    return injector->n_pending;
}
