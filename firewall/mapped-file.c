#include "firewall/mapped-file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static gboolean
fail(const gchar *path, GError **error)
{
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s: %s", path, g_strerror(errno));
    return FALSE;
}

static gboolean
map(int fd, gsize size, gboolean is_writer, gpointer *ret_memory)
{
    void *memory = mmap(NULL, size, is_writer ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return FALSE;
    *ret_memory = memory;
    return TRUE;
}

gboolean
sami_mapped_file_open(const gchar *path, gboolean is_writer, gsize min, gpointer *ret_memory, gsize *ret_size)
{
    struct stat status;
    int fd = open(path, (is_writer ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return FALSE;
    gboolean is_mapped = fstat(fd, &status) == 0 && (gsize) status.st_size >= min && map(fd, (gsize) status.st_size, is_writer, ret_memory);
    close(fd);
    if (is_mapped)
        *ret_size = (gsize) status.st_size;
    return is_mapped;
}

gboolean
sami_mapped_file_make(const gchar *path, gsize size, gpointer *ret_memory, GError **error)
{
    g_autofree gchar *fresh = g_strconcat(path, ".new", NULL);
    unlink(fresh);
    int fd = open(fresh, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fail(fresh, error);
    errno = posix_fallocate(fd, 0, (off_t) size);
    gboolean is_made = errno == 0 && map(fd, size, TRUE, ret_memory);
    int failure = errno;
    close(fd);
    errno = failure;
    return is_made || fail(fresh, error);
}

gboolean
sami_mapped_file_publish(const gchar *path, GError **error)
{
    g_autofree gchar *fresh = g_strconcat(path, ".new", NULL);
    return rename(fresh, path) == 0 || fail(path, error);
}

void
sami_mapped_file_boot(gchar ret[SAMI_BOOT_ID])
{
    g_autofree gchar *text = NULL;
    memset(ret, 0, SAMI_BOOT_ID);
    if (g_file_get_contents("/proc/sys/kernel/random/boot_id", &text, NULL, NULL))
        g_strlcpy(ret, g_strstrip(text), SAMI_BOOT_ID);
}
