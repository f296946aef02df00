#include "collector/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Sessions of one migration that begin within one second: resumed ones, or somebody's who tries. */
#define SAME_SECOND_MAX 64u
#define SUFFIX ".ipfix"
#define ANSWERS ".answers"

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
    gint64 now_s = g_get_real_time() / G_USEC_PER_SEC;
    g_autofree gchar *path = g_strdup_printf("%s/%" G_GINT64_FORMAT "-%s" SUFFIX, directory, now_s, id_hex);
    if (g_mkdir_with_parents(directory, 0700) != 0)
        return fail(directory, error), NULL;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    for (guint i = 2; fd < 0 && errno == EEXIST && i < SAME_SECOND_MAX; i++) {
        g_free(path);
        path = g_strdup_printf("%s/%" G_GINT64_FORMAT "-%s-%u" SUFFIX, directory, now_s, id_hex, i);
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    }
    if (fd < 0)
        return fail(path, error), NULL;
    SamiJournal *journal = g_new0(SamiJournal, 1);
    journal->path = g_steal_pointer(&path);
    journal->fd = fd;
    return journal;
}

SamiJournal *
sami_journal_answers(const SamiJournal *journal, GError **error)
{
    g_autofree gchar *stem = g_strndup(journal->path, strlen(journal->path) - strlen(SUFFIX));
    g_autofree gchar *path = g_strconcat(stem, ANSWERS, NULL);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fail(path, error), NULL;
    SamiJournal *answers = g_new0(SamiJournal, 1);
    answers->path = g_steal_pointer(&path);
    answers->fd = fd;
    return answers;
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

const gchar *
sami_journal_path(const SamiJournal *journal)
{
    return journal->path;
}

int
sami_journal_fd(const SamiJournal *journal)
{
    return journal->fd;
}

void
sami_journal_discard(SamiJournal *journal)
{
    if (journal && g_unlink(journal->path) != 0) /* it is let go with the others, later */
        g_debug("%s: %s", journal->path, g_strerror(errno));
    sami_journal_free(journal);
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

typedef struct {
    gchar *path;
    gboolean is_needed;
    gint64 written_s;
    guint64 octets;
} Old;

static void
old_clear(gpointer data)
{
    g_free(((Old *) data)->path);
}

static gint
older_first(gconstpointer a, gconstpointer b)
{
    gint64 first = ((const Old *) a)->written_s, second = ((const Old *) b)->written_s;
    return (first > second) - (first < second);
}

static GArray *
list_old(const gchar *directory, SamiJournalNeedFunc is_needed, gpointer user_data, guint64 *ret_octets)
{
    GArray *list = g_array_new(FALSE, FALSE, sizeof(Old));
    g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
    const gchar *name;
    g_array_set_clear_func(list, old_clear);
    while (dir && (name = g_dir_read_name(dir))) {
        GStatBuf status;
        g_autofree gchar *path = g_build_filename(directory, name, NULL);
        gboolean is_ours = g_str_has_suffix(name, SUFFIX) || g_str_has_suffix(name, ANSWERS) || g_str_has_suffix(name, ".closed");
        if (!is_ours || g_lstat(path, &status) != 0 || !S_ISREG(status.st_mode))
            continue;
        Old old = { g_steal_pointer(&path), is_needed(name, user_data), status.st_mtime, (guint64) status.st_size };
        *ret_octets += old.octets;
        g_array_append_val(list, old);
    }
    g_array_sort(list, older_first);
    return list;
}

guint64
sami_journal_prune(const gchar *directory, guint keep_s, guint64 max_octets, guint max_files, SamiJournalNeedFunc is_needed, gpointer user_data,
                   guint *ret_n_removed)
{
    guint64 octets = 0;
    gint64 limit_s = g_get_real_time() / G_USEC_PER_SEC - keep_s;
    g_autoptr(GArray) list = list_old(directory, is_needed, user_data, &octets);
    *ret_n_removed = 0;
    for (guint i = 0; i < list->len; i++) {
        const Old *old = &g_array_index(list, Old, i);
        gboolean is_too_many = octets > max_octets || list->len - *ret_n_removed > max_files;
        if (old->is_needed || (old->written_s >= limit_s && !is_too_many) || unlink(old->path) != 0)
            continue;
        octets -= old->octets;
        ++*ret_n_removed;
    }
    return octets;
}

guint64
sami_journal_size(const gchar *directory)
{
    guint64 octets = 0;
    g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
    const gchar *name;
    while (dir && (name = g_dir_read_name(dir))) {
        GStatBuf status;
        g_autofree gchar *path = g_build_filename(directory, name, NULL);
        if (g_lstat(path, &status) == 0 && S_ISREG(status.st_mode))
            octets += (guint64) status.st_size;
    }
    return octets;
}
