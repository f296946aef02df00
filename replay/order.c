#include "replay/order.h"

#include <string.h>
#include <sys/stat.h>

#include "templates/signature.h"

typedef struct {
    const gchar *path;
    guint group;       /* position of the first file of the same migration */
    gboolean is_known; /* the rest is set */
    guint8 migration_id[16];
    guint64 counter;   /* behind the hello, with which each session begins anew */
} File;

/* Its first two Messages; FALSE if it is no regular file of signed ones. */
static gboolean
peek(const Replay *replay, File *file)
{
    struct stat there;
    SamiInputMessage message;
    SamiSignature signature;
    gboolean is_signed = FALSE;
    if (g_str_equal(file->path, "-") || stat(file->path, &there) != 0 || !S_ISREG(there.st_mode))
        return FALSE;
    g_autoptr(SamiInput) input = replay_open(replay, file->path, NULL);
    if (!input || !g_str_equal(sami_input_form(input), "IPFIX file"))
        return FALSE;
    for (guint i = 0; i < 2 && sami_input_next(input, &message, NULL) == SAMI_INPUT_MESSAGE; i++) {
        if (!sami_signature_read(message.octets, message.length, &signature, NULL))
            return is_signed;
        if (i == 1 && memcmp(signature.migration_id, file->migration_id, sizeof file->migration_id) != 0)
            return TRUE;
        memcpy(file->migration_id, signature.migration_id, sizeof file->migration_id);
        file->counter = signature.counter;
        is_signed = TRUE;
    }
    return is_signed;
}

static gint
compare(gconstpointer a, gconstpointer b)
{
    const File *one = a, *other = b;
    if (one->group != other->group)
        return one->group < other->group ? -1 : 1;
    return one->counter < other->counter ? -1 : one->counter > other->counter;
}

GPtrArray *
replay_order(const Replay *replay, GStrv paths)
{
    g_autoptr(GArray) files = g_array_new(FALSE, TRUE, sizeof(File));
    GPtrArray *ordered = g_ptr_array_new();
    for (guint i = 0; paths[i]; i++) {
        File file = { .path = paths[i], .group = i };
        file.is_known = peek(replay, &file);
        for (guint k = 0; file.is_known && file.group == i && k < i; k++) {
            const File *before = &g_array_index(files, File, k);
            if (before->is_known && memcmp(before->migration_id, file.migration_id, sizeof file.migration_id) == 0)
                file.group = before->group;
        }
        g_array_append_val(files, file);
    }
    g_array_sort(files, compare); /* stable, as GLib says */
    for (guint i = 0; i < files->len; i++)
        g_ptr_array_add(ordered, (gpointer) g_array_index(files, File, i).path);
    return ordered;
}
