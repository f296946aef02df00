#include <string.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

SamiKey *
sami_fuzz_key(void)
{
    static SamiKey *key;
    if (key)
        return key;
    g_autofree gchar *path = NULL;
    int fd = g_file_open_tmp("sami-fuzz.XXXXXX", &path, NULL);
    g_assert(fd >= 0 && write(fd, SAMI_FUZZ_PRIVATE_PEM, sizeof SAMI_FUZZ_PRIVATE_PEM - 1) == sizeof SAMI_FUZZ_PRIVATE_PEM - 1);
    close(fd);
    key = sami_key_load_private(path, NULL, NULL);
    unlink(path);
    g_assert(key);
    return key;
}

static void
ignore_template(const SamiTemplate *tmpl, gpointer user_data)
{
}

gsize
sami_fuzz_sign(const SamiSignature *fields, SamiShim *shim, guint32 *sequence, guint8 *message, gsize length)
{
    guint n_records = 0;
    guint32 sequence_be = g_htonl(*sequence);
    memcpy(message + 8, &sequence_be, 4);
    gsize n = sami_signature_seal(sami_fuzz_key(), fields, message, length);
    if (sami_shim_check(shim, message, length, TRUE, ignore_template, NULL, &n_records, NULL))
        *sequence += n_records + 1;
    return n;
}

static GLogWriterOutput
write_nothing(GLogLevelFlags level, const GLogField *fields, gsize n_fields, gpointer user_data)
{
    return G_LOG_WRITER_HANDLED;
}

void
sami_fuzz_be_quiet(void)
{
    g_log_set_writer_func(write_nothing, NULL, NULL);
}
