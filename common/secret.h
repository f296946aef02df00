/* A file with a secret in it, read so that no copy of it stays in memory: not through a stream, whose buffer is freed as it is. */
#pragma once

#include "common/error.h"

#define SAMI_SECRET_MAX (64 * 1024) /* a PEM file with one key has 3 KiB at most */

typedef struct {
    gchar *text; /* in pages of its own, which no core file gets; not ended by NUL */
    gsize length;
} SamiSecret;

/* An open file, which stays the caller's, from its beginning; `path` is for the message. SAMI_ERROR_CONFIG. */
gboolean sami_secret_read(int fd, const gchar *path, SamiSecret *ret_secret, GError **error);
/* Overwrites it and gives the pages back; harmless twice. */
void sami_secret_clear(SamiSecret *secret);
