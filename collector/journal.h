/* The journal of one Transport Session and direction: the signed Messages as received, verbatim (PROTOCOL §5, RFC 5655). */
#pragma once

#include "common/error.h"

typedef struct SamiJournal SamiJournal;

/* DIR/<time>-<id>.ipfix, mode 0600, never over an existing file. The directory is made at need. */
SamiJournal *sami_journal_new(const gchar *directory, const gchar *id_hex, GError **error);
gboolean sami_journal_append(SamiJournal *journal, const guint8 *message, gsize length, GError **error);
gboolean sami_journal_sync(SamiJournal *journal, GError **error);
void sami_journal_free(SamiJournal *journal);
