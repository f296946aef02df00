#include "collector/set-log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "firewall/sets.h"

#define MAGIC 0x53414d4943554d32ull /* SAMICUM2 */

struct SamiSetLog {
    GStrv names;
    gchar *path;
    int fd;            /* -1: none */
    GArray *added;     /* of SamiAdded */
    GByteArray *keys;
    GByteArray *data;  /* not in the file yet */
    off_t data_at;     /* where it is to begin there */
};

/* A record of the file. */
typedef struct {
    guint64 magic;
    gchar set[SAMI_SET_LOG_NAME + 1];
    guint8 key[SAMI_SET_KEY_MAX];
    SamiAdded added;
} Logged;

gboolean
sami_set_log_find(const SamiSetLog *log, const gchar *name, guint *ret)
{
    for (guint i = 0; log->names[i]; i++)
        if (strncmp(log->names[i], name, SAMI_SET_LOG_NAME) == 0) {
            *ret = i;
            return TRUE;
        }
    return FALSE;
}

static void
remember(SamiSetLog *log, SamiAdded added, const guint8 *key)
{
    added.key_at = log->keys->len;
    g_byte_array_append(log->keys, key, added.key_length);
    g_array_append_val(log->added, added);
}

static void
cut_back(SamiSetLog *log, off_t end)
{
    if (log->fd >= 0 && ftruncate(log->fd, end) != 0)
        g_warning("%s cannot be cut back: %s", log->path, g_strerror(errno));
}

/* A torn end is of a write that never reached the kernel, and would take what comes after it for its other half. */
static void
read_all(SamiSetLog *log)
{
    Logged logged;
    gssize n;
    off_t end = 0;
    for (guint target; (n = read(log->fd, &logged, sizeof logged)) == sizeof logged && logged.magic == MAGIC; end += n)
        if (sami_set_log_find(log, logged.set, &target)) {
            logged.added.target = (guint8) target;
            logged.added.file_at = end;
            remember(log, logged.added, logged.key);
        }
    if (n > 0)
        cut_back(log, end);
}

SamiSetLog *
sami_set_log_new(const gchar *const *names, const gchar *path, GError **error)
{
    int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_APPEND, 0600) : -1;
    if (path && fd < 0) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s: %s", path, g_strerror(errno));
        return NULL;
    }
    SamiSetLog *log = g_new0(SamiSetLog, 1);
    *log = (SamiSetLog){ .names = g_strdupv((GStrv) names), .path = g_strdup(path), .fd = fd, .added = g_array_new(FALSE, FALSE, sizeof(SamiAdded)),
                                .keys = g_byte_array_new(), .data = g_byte_array_new() };
    if (fd >= 0)
        read_all(log);
    return log;
}

void
sami_set_log_free(SamiSetLog *log)
{
    if (!log)
        return;
    if (log->fd >= 0)
        close(log->fd);
    g_array_unref(log->added);
    g_byte_array_unref(log->keys);
    g_byte_array_unref(log->data);
    g_free(log->path);
    g_strfreev(log->names);
    g_free(log);
}

guint
sami_set_log_n(const SamiSetLog *log)
{
    return log->added->len;
}

SamiAdded *
sami_set_log_at(SamiSetLog *log, guint i)
{
    return &g_array_index(log->added, SamiAdded, i);
}

const guint8 *
sami_set_log_key(const SamiSetLog *log, const SamiAdded *added)
{
    return log->keys->data + added->key_at;
}

void
sami_set_log_add(SamiSetLog *log, const SamiAdded *added, const guint8 *key)
{
    Logged logged = { .magic = MAGIC, .added = *added };
    if (log->fd >= 0 && log->data->len == 0)
        log->data_at = lseek(log->fd, 0, SEEK_END);
    logged.added.file_at = log->data_at + log->data->len;
    g_strlcpy(logged.set, log->names[added->target], sizeof logged.set);
    memcpy(logged.key, key, added->key_length);
    remember(log, logged.added, key);
    if (log->fd >= 0)
        g_byte_array_append(log->data, (const guint8 *) &logged, sizeof logged);
}

gboolean
sami_set_log_write(SamiSetLog *log)
{
    for (gsize done = 0; done < log->data->len;) {
        gssize n = write(log->fd, log->data->data + done, log->data->len - done);
        if (n < 0 && errno != EINTR)
            return FALSE;
        done += n > 0 ? (gsize) n : 0;
    }
    g_byte_array_set_size(log->data, 0);
    return TRUE;
}

void
sami_set_log_forget(SamiSetLog *log, guint n)
{
    g_byte_array_set_size(log->data, 0);
    if (n == 0)
        return;
    const SamiAdded *first = sami_set_log_at(log, log->added->len - n);
    cut_back(log, first->file_at);
    g_byte_array_set_size(log->keys, first->key_at);
    g_array_set_size(log->added, log->added->len - n);
}
