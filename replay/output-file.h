/* A file of our own, signed Messages of role 3 (PROTOCOL §2, §5): it appears when it is whole, or not at all.
 *
 * Written beside its place as PATH.part, mode 0600, locked; synced and renamed at the end. Path "-" is standard output, where nothing can be taken
 * back. */
#pragma once

#include "templates/codec.h"
#include "templates/signature.h"

typedef struct ReplayOutput ReplayOutput;

/* key (transfer none). SAMI_ERROR_FAILED names path and cause: also if another process writes the same file now, or standard output is a terminal. */
ReplayOutput *replay_output_new(const gchar *path, SamiKey *key, GError **error);
/* Adds a record, and writes the Messages that get full. SAMI_ERROR_FAILED, after which only replay_output_free() may follow. */
gboolean replay_output_add(ReplayOutput *output, const SamiRecord *record, GError **error);
/* The last Message, flagged as such, and the file in its place. */
gboolean replay_output_finish(ReplayOutput *output, GError **error);
/* Removes what has not been finished. NULL is fine. */
void replay_output_free(ReplayOutput *output);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ReplayOutput, replay_output_free)

typedef struct {
    gchar id[SAMI_MIGRATION_ID_TEXT]; /* the file's migration id in hex */
    guint64 n_messages, n_octets;
} ReplayOutputInfo;
void replay_output_info(const ReplayOutput *output, ReplayOutputInfo *ret);
