/* What the writes of one migration added to elements of sets, for an undo: in memory, and in a file before the kernel has it, so that a process that is
 * started anew can take it back (LIFECYCLE §10). Not thread-safe. */
#pragma once

#include <sys/types.h>

#include "common/config.h"
#include "firewall/shares.h"

/* One write of one record. */
typedef struct {
    off_t file_at;     /* where its record begins in the file */
    guint32 key_at;    /* of the log's keys */
    guint8 key_length, target; /* target: the set's place in the configuration */
    guint8 is_made;    /* there was none before */
    guint8 origin[SAMI_SHARE_ORIGIN];
    guint64 packets, octets, quota;
    gint64 old_end_ms, new_end_ms; /* of its time, by the monotonic clock; 0: none, or not changed */
} SamiAdded;

typedef struct SamiCumulativeLog SamiCumulativeLog;

/* Reads what `path` (NULL: in memory only) has of the sets of `config`, which it borrows. SAMI_ERROR_FAILED. */
SamiCumulativeLog *sami_cumulative_log_new(const SamiConfig *config, const gchar *path, GError **error);
void sami_cumulative_log_free(SamiCumulativeLog *log);

guint sami_cumulative_log_n(const SamiCumulativeLog *log);
/* (transfer none) until the log changes */
SamiAdded *sami_cumulative_log_at(SamiCumulativeLog *log, guint i);
const guint8 *sami_cumulative_log_key(const SamiCumulativeLog *log, const SamiAdded *added);

/* At the end; file_at and key_at are set here. It is in the file after sami_cumulative_log_write(). */
void sami_cumulative_log_add(SamiCumulativeLog *log, const SamiAdded *added, const guint8 *key);
/* FALSE: the disk does not take all of what was added since the last time, which is to be forgotten. */
gboolean sami_cumulative_log_write(SamiCumulativeLog *log);
/* The last n: what was not written to the kernel after all, or is taken back. */
void sami_cumulative_log_forget(SamiCumulativeLog *log, guint n);

/* The place of the set with this name in the configuration, as a record has it: cut off, or ended by a zero. */
gboolean sami_cumulative_find(const SamiConfig *config, const gchar *name, guint *ret);
