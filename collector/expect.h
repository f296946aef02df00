/* Announcements: which VM is expected from whom, until when (OPERATIONS §2, `samictl expect`). A signer with require-expect may begin only
 * migrations whose addresses are all announced for it. An announcement is not used up: a migration that is tried again needs it too.
 *
 * Kept in a file (0600), one line each: seconds since 1970 when it ends, signer or *, address or prefix. Time is a parameter; it is wall
 * clock, because it has to outlive the process. Main loop only. */
#pragma once

#include "common/error.h"
#include "templates/session.h"

typedef struct {
    SamiPrefix prefix;
    gchar *from;      /* name of the signer; NULL: any */
    gint64 until_s;   /* since 1970 */
} SamiAnnouncement;

typedef struct SamiExpect SamiExpect;

/* Reads `path`; no such file is an empty list. What cannot be read as a line is SAMI_ERROR_MALFORMED: nobody else writes the file. */
SamiExpect *sami_expect_new(const gchar *path, GError **error);
void sami_expect_free(SamiExpect *expect);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiExpect, sami_expect_free)

/* Adds one, or moves the end of the same one. SAMI_ERROR_FULL above SAMI_EXPECT_MAX. Nothing is written before sami_expect_save(). */
gboolean sami_expect_add(SamiExpect *expect, const SamiPrefix *prefix, const gchar *from, gint64 until_s, gint64 now_s, GError **error);
/* Those of exactly this address or prefix; `from` NULL: from whomever; `is_any`: only those for any peer. Returns how many. */
guint sami_expect_remove(SamiExpect *expect, const SamiPrefix *prefix, const gchar *from, gboolean is_any);
/* Is every address of `vm` announced for this signer now? */
gboolean sami_expect_covers(const SamiExpect *expect, const SamiPrefix *vm, const gchar *signer, gint64 now_s);
/* Drops what has ended, and writes the rest as a whole or not at all. */
gboolean sami_expect_save(SamiExpect *expect, gint64 now_s, GError **error);
/* Of SamiAnnouncement, ended ones included; (transfer none), until the next change. */
const GArray *sami_expect_list(const SamiExpect *expect);
