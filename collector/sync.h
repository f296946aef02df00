/* Files to the disk, in threads of their own: fdatasync() takes from half a millisecond to as long as the disk is behind, and the main loop
 * has other migrations. */
#pragma once

#include "common/error.h"

typedef struct SamiSync SamiSync;

SamiSync *sami_sync_new(void);
void sami_sync_free(SamiSync *sync); /* waits for what runs; its `done` are not called any more */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiSync, sami_sync_free)

/* `error` is NULL when all that had been written before the submission is on the disk. */
typedef void (*SamiSyncFunc)(guint64 counter, const GError *error, gpointer user_data);

/* `fd` may be closed as soon as this returns. `done` is called in the main loop, with `counter`, also if there was no descriptor left to do it
 * with (SAMI_ERROR_FAILED with `what` and the cause). Several run at once, so that the file system can write them in one go. */
void sami_sync_submit(SamiSync *sync, int fd, const gchar *what, guint64 counter, SamiSyncFunc done, gpointer user_data);
