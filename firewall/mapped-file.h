/* A file in memory that one daemon writes and the other one of the host reads: origin.* and shares.* are hash tables in one. Internal to
 * firewall/. Nothing here logs. */
#pragma once

#include "common/error.h"

/* Maps the file at `path`, to be unmapped with munmap(). FALSE with errno: it is not there, or shorter than `min` octets. */
gboolean sami_mapped_file_open(const gchar *path, gboolean is_writer, gsize min, gpointer *ret_memory, gsize *ret_size);
/* Makes a file of `size` zeros, mode 0600, under another name first, so that a reader never sees half of it, and maps it for writing.
 * SAMI_ERROR_FAILED names the path and the cause. */
gboolean sami_mapped_file_make(const gchar *path, gsize size, gpointer *ret_memory, GError **error);
/* What was made takes the place of what was there. */
gboolean sami_mapped_file_publish(const gchar *path, GError **error);
/* The kernel's id of this boot, filled up with zeros: what a file says of the connection table is not true of the next one. */
#define SAMI_BOOT_ID 40u
void sami_mapped_file_boot(gchar ret[SAMI_BOOT_ID]);
