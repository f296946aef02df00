/* What the writes of one migration added to elements of sets, for an undo: in memory, and in a file before the kernel has it, so that a process that is
 * started anew can take it back (LIFECYCLE §10). Not thread-safe. */
#pragma once

#include <sys/types.h>

#include "common/error.h"
#include "firewall/shares.h"

/* One write of one record. */
typedef struct {
    off_t file_at;     /* where its record begins in the file */
    guint32 key_at;    /* of the log's keys */
    guint8 key_length, target; /* target: the set's place among the names */
    guint8 is_made;    /* there was none before */
    guint8 origin[SAMI_SHARE_ORIGIN];
    guint64 packets, octets, quota;
    gint64 old_end_ms, new_end_ms; /* of its time, by the monotonic clock; 0: none, or not changed */
} SamiAdded;

typedef struct SamiSetLog SamiSetLog;

/* Names are of SAMI_SET_LOG_NAME octets at most. Reads what `path` (NULL: in memory only) has of these sets. SAMI_ERROR_FAILED. */
#define SAMI_SET_LOG_NAME 32u
SamiSetLog *sami_set_log_new(const gchar *const *names, const gchar *path, GError **error);
void sami_set_log_free(SamiSetLog *log);

guint sami_set_log_n(const SamiSetLog *log);
/* (transfer none) until the log changes */
SamiAdded *sami_set_log_at(SamiSetLog *log, guint i);
const guint8 *sami_set_log_key(const SamiSetLog *log, const SamiAdded *added);

/* At the end; file_at and key_at are set here. It is in the file after sami_set_log_write(). */
void sami_set_log_add(SamiSetLog *log, const SamiAdded *added, const guint8 *key);
/* FALSE: the disk does not take all of what was added since the last time, which is to be forgotten. */
gboolean sami_set_log_write(SamiSetLog *log);
/* The last n: what was not written to the kernel after all, or is taken back. */
void sami_set_log_forget(SamiSetLog *log, guint n);

/* The place of a name, which is of SAMI_SET_LOG_NAME octets or ended by a zero. */
gboolean sami_set_log_find(const SamiSetLog *log, const gchar *name, guint *ret);
