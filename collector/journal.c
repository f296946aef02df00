#include "collector/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <unistd.h>

struct SamiJournal {
    gchar *path;
    int fd;
};

static gboolean
fail(const gchar *path, GError **error)
{
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "journal %s: %s", path, g_strerror(errno));
    return FALSE;
}

SamiJournal *
sami_journal_new(const gchar *directory, const gchar *id_hex, GError **error)
{
    g_autofree gchar *path = g_strdup_printf("%s/%" G_GINT64_FORMAT "-%s.ipfix", directory,
                                             g_get_real_time() / G_USEC_PER_SEC, id_hex);
    if (g_mkdir_with_parents(directory, 0700) != 0)
        return fail(directory, error), NULL;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fail(path, error), NULL;
    SamiJournal *journal = g_new0(SamiJournal, 1);
    journal->path = g_steal_pointer(&path);
    journal->fd = fd;
    return journal;
}

gboolean
sami_journal_append(SamiJournal *journal, const guint8 *message, gsize length, GError **error)
{
    while (length > 0) {
        ssize_t n = write(journal->fd, message, length);
        if (n < 0 && errno != EINTR)
            return fail(journal->path, error);
        if (n > 0) {
            message += n;
            length -= (gsize) n;
        }
    }
    return TRUE;
}

gboolean
sami_journal_sync(SamiJournal *journal, GError **error)
{
    return fdatasync(journal->fd) == 0 || fail(journal->path, error);
}

void
sami_journal_free(SamiJournal *journal)
{
    if (!journal)
        return;
    close(journal->fd);
    g_free(journal->path);
    g_free(journal);
}
