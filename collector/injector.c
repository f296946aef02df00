#include "collector/injector.h"

struct SamiInjector {
    SamiFirewall *firewall;
    GAsyncQueue *jobs;
    GThread *thread;
    guint n_pending;
};

typedef struct {
    SamiInjector *injector;
    SamiJob *job;
} Done;

static void
run(SamiFirewall *firewall, SamiJob *job)
{
    SamiApply *apply = job->apply;
    guint n_left = 0;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&apply->lock);
    apply->firewall = firewall;
    switch (job->kind) {
    case SAMI_JOB_RECORDS: sami_apply_records(apply, job->items, job->n, job->counter, &job->error); break;
    case SAMI_JOB_EPOCH_BEGIN: sami_apply_epoch_begin(apply, job->generation); break;
    case SAMI_JOB_EPOCH_END: sami_apply_epoch_end(apply, &job->error); break;
    case SAMI_JOB_SNAPSHOT: break;
    case SAMI_JOB_FREEZE: sami_apply_freeze(apply, &job->error); break;
    case SAMI_JOB_RENEW: sami_apply_renew(apply, &job->error); break;
    case SAMI_JOB_READ_BACK: sami_apply_read_back(apply, &job->error); break;
    case SAMI_JOB_STRICT:
        sami_apply_strict(apply, job->is_last, &n_left, &job->error);
        job->n_left = n_left;
        break;
    case SAMI_JOB_ROLLBACK: sami_apply_rollback(apply, &job->n_removed, &job->n_left, &job->error); break;
    }
}

static gboolean
on_done(gpointer user_data)
{
    Done *done = user_data;
    SamiJob *job = done->job;
    done->injector->n_pending -= job->n + 1;
    job->done(job, job->user_data);
    g_clear_error(&job->error);
    g_free(job->items);
    g_free(job);
    g_free(done);
    return G_SOURCE_REMOVE;
}

static gpointer
work(gpointer user_data)
{
    SamiInjector *injector = user_data;
    for (;;) {
        SamiJob *job = g_async_queue_pop(injector->jobs);
        if (!job->apply) { /* the end mark */
            g_free(job);
            return NULL;
        }
        run(injector->firewall, job);
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
    injector->jobs = g_async_queue_new();
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
    sami_firewall_free(injector->firewall);
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
