/* Files that decide whom we believe, or that prove who we are.
 *
 * Whoever may write a configuration, a peer's key or a directory of them decides whom we believe; whoever may read a private key or a passphrase
 * can be us. So neither is read unless root or our own user owns it and no other may write it, nor, of a secret, read it. What is checked is
 * the open file, not its name. Directories above are the operator's. */
#pragma once

#include "common/error.h"

typedef enum {
    SAMI_TRUST_ANY,    /* whoever asks has named it and answers for it: only that it is a regular file */
    SAMI_TRUST_PUBLIC, /* others may read, none but the owner writes */
    SAMI_TRUST_SECRET, /* nobody but the owner reads or writes */
} SamiTrust;

/* A descriptor of a regular file that may be trusted as that; -1 and SAMI_ERROR_CONFIG with what to run if it may not. Never blocks. */
int sami_trust_open(const gchar *path, SamiTrust trust, GError **error);
/* All of an open file, from its beginning, at most `max` octets and a NUL behind; the buffer of a secret is the caller's to cleanse and was never
 * copied. `path` is for messages. (transfer full) */
gchar *sami_trust_read_fd(int fd, const gchar *path, gsize max, gsize *ret_length, GError **error);
/* Both. (transfer full) */
gchar *sami_trust_read(const gchar *path, SamiTrust trust, gsize max, gsize *ret_length, GError **error);
/* A directory whose files are read because they are in it. One that others may write is refused, but for one with the sticky bit where the owner of each
 * file is checked with it. */
gboolean sami_trust_directory(const gchar *path, gboolean is_each_checked, GError **error);
/* free() for secrets: overwrites what was there. NULL is fine. */
void sami_trust_wipe(gchar *secret, gsize length);
