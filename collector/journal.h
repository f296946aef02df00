/* The journal of one Transport Session and direction: the signed Messages as received, verbatim (PROTOCOL §5, RFC 5655). */
#pragma once

#include "common/error.h"

typedef struct SamiJournal SamiJournal;

/* DIR/<time>-<id>.ipfix (-2, -3 … before the dot for more of them in a second), mode 0600, never over an existing file. The directory is made at need. */
SamiJournal *sami_journal_new(const gchar *directory, const gchar *id_hex, GError **error);
/* What was answered, in a file beside that: the same name with .answers in the place of .ipfix, and as much an IPFIX file. */
SamiJournal *sami_journal_answers(const SamiJournal *journal, GError **error);
gboolean sami_journal_append(SamiJournal *journal, const guint8 *message, gsize length, GError **error);
/* (transfer none) */
const gchar *sami_journal_path(const SamiJournal *journal);
/* For collector/sync.h. */
int sami_journal_fd(const SamiJournal *journal);
void sami_journal_free(SamiJournal *journal);
/* Frees it and removes its file: what was in it turned out to be nothing that is kept. NULL is fine. */
void sami_journal_discard(SamiJournal *journal_take);

/* Removes *.ipfix, *.answers and *.closed files that were last written more than keep_s ago, then the oldest until at most max_octets are left in at
 * most max_files; nothing
 * that `is_needed` names (by the file's name). Returns the octets of what is left of these kinds. What cannot be removed is left. */
typedef gboolean (*SamiJournalNeedFunc)(const gchar *name, gpointer user_data);
guint64 sami_journal_prune(const gchar *directory, guint keep_s, guint64 max_octets, guint max_files, SamiJournalNeedFunc is_needed,
                           gpointer user_data, guint *ret_n_removed);
/* Octets of all files in the directory, whatever they are: journals, ledgers. */
guint64 sami_journal_size(const gchar *directory);
