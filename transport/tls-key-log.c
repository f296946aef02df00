#include "transport/tls-key-log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

struct SamiTlsKeyLog {
    gchar *path;
    int fd; /* -1: it has failed */
};

/* What is wrong with the file; NULL if nothing is. */
static const gchar *
judge(int fd)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return g_strerror(errno);
    if (!S_ISREG(info.st_mode))
        return "is no plain file";
    if (info.st_uid != geteuid())
        return "belongs to another user, who could read all TLS sessions";
    return info.st_mode & 077 ? "can be read or written by others than its owner, who could read all TLS sessions; chmod 600 it, or remove it" : NULL;
}

SamiTlsKeyLog *
sami_tls_key_log_open(const gchar *path, GError **error)
{
    /* O_NONBLOCK: a FIFO must not hold the start up. */
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    const gchar *wrong = fd >= 0 ? judge(fd) : errno == ELOOP ? "is a symbolic link" : g_strerror(errno);
    if (wrong) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "key-log %s: %s", path, wrong);
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    SamiTlsKeyLog *log = g_new0(SamiTlsKeyLog, 1);
    log->path = g_strdup(path);
    log->fd = fd;
    return log;
}

void
sami_tls_key_log_free(SamiTlsKeyLog *log)
{
    if (!log)
        return;
    if (log->fd >= 0)
        close(log->fd);
    g_free(log->path);
    g_free(log);
}

void
sami_tls_key_log_write(SamiTlsKeyLog *log, const gchar *line)
{
    const struct iovec parts[] = { { (gchar *) line, strlen(line) }, { (gchar *) "\n", 1 } };
    const gsize n = parts[0].iov_len + 1;
    ssize_t written;
    if (log->fd < 0)
        return;
    do
        written = writev(log->fd, parts, G_N_ELEMENTS(parts));
    while (written < 0 && errno == EINTR);
    if (written == (ssize_t) n)
        return;
    g_warning("key-log %s: %s: nothing more is written to it, sessions from now on are not in it", log->path,
              written < 0 ? g_strerror(errno) : "a line was written in part");
    close(log->fd);
    log->fd = -1;
}
