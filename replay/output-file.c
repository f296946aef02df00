#include "replay/output-file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Files that others finish in the moment between our open() and our lock. */
#define OPENS_MAX 100u

struct ReplayOutput {
    gchar *path, *part; /* part NULL: standard output */
    int fd;
    gboolean is_ours; /* `part` is there because of us */
    SamiKey *key;
    SamiEncoder *encoder;
    SamiSignature signature;
    ReplayOutputInfo info;
};

static gboolean
fail(const ReplayOutput *output, const gchar *what, GError **error)
{
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s: %s%s%s", output->part ? output->part : "standard output", what, *what ? ": " : "",
                g_strerror(errno));
    return FALSE;
}

/* Another process may have put the file that we opened in its place before we had the lock: then it is finished, and `part` is none or another one.
 * FALSE: an error. */
static gboolean
open_locked(ReplayOutput *output, GError **error)
{
    struct stat mine, there;
    if (output->fd >= 0)
        close(output->fd);
    output->fd = open(output->part, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
    if (output->fd < 0)
        return fail(output, "", error);
    if (flock(output->fd, LOCK_EX | LOCK_NB) != 0)
        return fail(output, "another process writes it", error);
    output->is_ours = fstat(output->fd, &mine) == 0 && lstat(output->part, &there) == 0 && mine.st_dev == there.st_dev && mine.st_ino == there.st_ino;
    return TRUE;
}

/* What a killed process has left is taken over; what a running one writes is not. */
static gboolean
open_part(ReplayOutput *output, GError **error)
{
    struct stat there;
    output->part = g_strconcat(output->path, ".part", NULL);
    output->fd = -1;
    if (lstat(output->path, &there) == 0 && !S_ISREG(there.st_mode)) { /* the new file would take its place: a device, a directory, a link */
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s is there, and no regular file; - is standard output", output->path);
        return FALSE;
    }
    for (guint i = 0; i < OPENS_MAX && !output->is_ours; i++)
        if (!open_locked(output, error))
            return FALSE;
    if (!output->is_ours) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s: other processes write it, one after the other", output->part);
        return FALSE;
    }
    if (fstat(output->fd, &there) != 0 || !S_ISREG(there.st_mode)) {
        output->is_ours = FALSE;
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s is there, and no regular file", output->part);
        return FALSE;
    }
    if (there.st_uid != geteuid() || there.st_nlink > 1) { /* its owner would read the whole table; or it is a file that has a use */
        output->is_ours = FALSE;
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, there.st_nlink > 1 ? "%s is there, under another name too" : "%s is there, and belongs to somebody else",
                    output->part);
        return FALSE;
    }
    if (fchmod(output->fd, 0600) != 0 || ftruncate(output->fd, 0) != 0)
        return fail(output, "", error);
    return TRUE;
}

ReplayOutput *
replay_output_new(const gchar *path, SamiKey *key, GError **error)
{
    g_autoptr(ReplayOutput) output = g_new0(ReplayOutput, 1);
    output->path = g_strdup(path);
    output->key = key;
    output->fd = STDOUT_FILENO;
    output->encoder = sami_encoder_new(SAMI_DOMAIN_FORWARD, SAMI_MESSAGE_MAX);
    output->signature.role = SAMI_ROLE_FILE;
    sami_random(output->signature.migration_id, sizeof output->signature.migration_id);
    sami_migration_id_text(output->signature.migration_id, output->info.id);
    if (g_str_equal(path, "-") && isatty(STDOUT_FILENO)) {
        g_set_error_literal(error, SAMI_ERROR, SAMI_ERROR_FAILED, "standard output is a terminal, and Messages are binary: name a file, or a pipe");
        return NULL;
    }
    if (!g_str_equal(path, "-") && !open_part(output, error))
        return NULL;
    return g_steal_pointer(&output);
}

static gboolean
write_all(ReplayOutput *output, const guint8 *octets, gsize n, GError **error)
{
    for (gsize done = 0; done < n;) {
        ssize_t written = write(output->fd, octets + done, n - done);
        if (written < 0 && errno != EINTR)
            return fail(output, "", error);
        done += written > 0 ? (gsize) written : 0;
    }
    output->info.n_messages++;
    output->info.n_octets += n;
    return TRUE;
}

static gboolean
write_message(ReplayOutput *output, GError **error)
{
    guint8 *message;
    gsize length;
    if (!sami_encoder_take(output->encoder, (guint32) (g_get_real_time() / G_USEC_PER_SEC), &message, &length, error))
        return FALSE;
    length = sami_signature_seal(output->key, &output->signature, message, length);
    output->signature.counter++;
    return write_all(output, message, length, error);
}

gboolean
replay_output_add(ReplayOutput *output, const SamiRecord *record, GError **error)
{
    g_autoptr(GError) local = NULL;
    if (sami_encoder_add(output->encoder, record, &local))
        return TRUE;
    if (g_error_matches(local, SAMI_ERROR, SAMI_ERROR_FULL))
        return write_message(output, error) && sami_encoder_add(output->encoder, record, error);
    g_propagate_error(error, g_steal_pointer(&local));
    return FALSE;
}

/* The directory entry as well: a backup that is reported is one. */
static gboolean
put_in_place(ReplayOutput *output, GError **error)
{
    g_autofree gchar *directory = g_path_get_dirname(output->path);
    if (fsync(output->fd) != 0 || rename(output->part, output->path) != 0)
        return fail(output, "", error);
    output->is_ours = FALSE;
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    return TRUE;
}

gboolean
replay_output_finish(ReplayOutput *output, GError **error)
{
    output->signature.flags |= SAMI_SIGNATURE_LAST;
    return write_message(output, error) && (!output->part || put_in_place(output, error));
}

void
replay_output_free(ReplayOutput *output)
{
    if (!output)
        return;
    if (output->is_ours)
        unlink(output->part);
    if (output->part && output->fd >= 0)
        close(output->fd);
    sami_encoder_free(output->encoder);
    g_free(output->part);
    g_free(output->path);
    g_free(output);
}

void
replay_output_info(const ReplayOutput *output, ReplayOutputInfo *ret)
{
    *ret = output->info;
}
