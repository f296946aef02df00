#include "common/trust.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static gboolean
fail(const gchar *path, int code, GError **error)
{
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s: %s", path, g_strerror(code));
    return FALSE;
}

static gboolean
check_owner(const gchar *path, const struct stat *status, GError **error)
{
    if (status->st_uid == 0 || status->st_uid == geteuid())
        return TRUE;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s: belongs to user %u, who could change it; allowed: root, or the user that reads it; "
                "next: chown root %s", path, (guint) status->st_uid, path);
    return FALSE;
}

static gboolean
check_file(const gchar *path, const struct stat *status, SamiTrust trust, GError **error)
{
    guint mode = status->st_mode & 07777u;
    if (!S_ISREG(status->st_mode)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s: is no regular file", path);
        return FALSE;
    }
    if (trust == SAMI_TRUST_ANY)
        return TRUE;
    if (!check_owner(path, status, error))
        return FALSE;
    if (trust == SAMI_TRUST_SECRET && (mode & 077)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s: a secret must not be accessible by others (mode %04o, allowed 0600); next: chmod 600 %s",
                    path, mode, path);
        return FALSE;
    }
    if (mode & 022) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s: others may write it, and so decide whom we believe (mode %04o, allowed 0644); "
                    "next: chmod go-w %s", path, mode, path);
        return FALSE;
    }
    return TRUE;
}

int
sami_trust_open(const gchar *path, SamiTrust trust, GError **error)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); /* not blocked by a FIFO, which is then refused */
    if (fd < 0 || fstat(fd, &status) != 0) {
        fail(path, errno, error);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    if (check_file(path, &status, trust, error))
        return fd;
    close(fd);
    return -1;
}

gchar *
sami_trust_read_fd(int fd, const gchar *path, gsize max, gsize *ret_length, GError **error)
{
    struct stat status;
    if (fstat(fd, &status) != 0 || lseek(fd, 0, SEEK_SET) != 0) {
        fail(path, errno, error);
        return NULL;
    }
    /* One octet more, which shows that the file grew: a buffer that grew with it would leave copies of a secret. */
    gsize size = (gsize) MIN((guint64) status.st_size, max) + 1, length = 0;
    gchar *text = g_malloc0(size + 1);
    ssize_t n = 1;
    while (length < size && n != 0) {
        n = read(fd, text + length, size - length);
        if (n < 0 && errno != EINTR)
            break;
        length += n > 0 ? (gsize) n : 0;
    }
    if (n == 0 && length < size) {
        *ret_length = length;
        return text;
    }
    if (n < 0)
        fail(path, errno, error);
    else
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s: %s", path, length > max ? "is too long" : "changed while it was read");
    sami_trust_wipe(text, size);
    return NULL;
}

gchar *
sami_trust_read(const gchar *path, SamiTrust trust, gsize max, gsize *ret_length, GError **error)
{
    int fd = sami_trust_open(path, trust, error);
    if (fd < 0)
        return NULL;
    gchar *text = sami_trust_read_fd(fd, path, max, ret_length, error);
    close(fd);
    return text;
}

gboolean
sami_trust_directory(const gchar *path, gboolean is_each_checked, GError **error)
{
    struct stat status;
    if (stat(path, &status) != 0)
        return fail(path, errno, error);
    if (!check_owner(path, &status, error))
        return FALSE;
    if (!(status.st_mode & 022) || (is_each_checked && (status.st_mode & S_ISVTX)))
        return TRUE;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s: others may write into it, and so decide whom we believe (mode %04o, allowed 0755); "
                "next: chmod go-w %s", path, status.st_mode & 07777u, path);
    return FALSE;
}

void
sami_trust_wipe(gchar *secret, gsize length)
{
    if (secret)
        explicit_bzero(secret, length);
    g_free(secret);
}
