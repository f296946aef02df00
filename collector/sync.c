#include "collector/sync.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define THREADS 4 /* journal and ledger of two migrations */

struct SamiSync {
    GThreadPool *pool;
};

typedef struct {
    int fd;
    int failure;
    const gchar *what;
    guint64 counter;
    SamiSyncFunc done;
    gpointer user_data;
} Work;

static gboolean
on_done(gpointer user_data)
{
    g_autofree Work *work = user_data;
    g_autoptr(GError) error = NULL;
    if (work->failure)
        g_set_error(&error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s: %s", work->what, g_strerror(work->failure));
    work->done(work->counter, error, work->user_data);
    return G_SOURCE_REMOVE;
}

static void
run(gpointer data, gpointer user_data)
{
    Work *work = data;
    if (work->failure == 0 && fdatasync(work->fd) != 0)
        work->failure = errno;
    if (work->fd >= 0)
        close(work->fd);
    g_idle_add_full(G_PRIORITY_DEFAULT, on_done, work, NULL);
}

SamiSync *
sami_sync_new(void)
{
    SamiSync *sync = g_new0(SamiSync, 1);
    sync->pool = g_thread_pool_new(run, NULL, THREADS, FALSE, NULL);
    return sync;
}

void
sami_sync_free(SamiSync *sync)
{
    if (!sync)
        return;
    g_thread_pool_free(sync->pool, FALSE, TRUE);
    g_free(sync);
}

void
sami_sync_submit(SamiSync *sync, int fd, const gchar *what, guint64 counter, SamiSyncFunc done, gpointer user_data)
{
    Work *work = g_new0(Work, 1);
    *work = (Work){ fcntl(fd, F_DUPFD_CLOEXEC, 0), 0, what, counter, done, user_data };
    if (work->fd < 0)
        work->failure = errno;
    g_thread_pool_push(sync->pool, work, NULL); /* an error of it is that no thread could be made now: a running one does it */
}
