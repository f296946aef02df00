#include <unistd.h>

#include "tests/fuzz/fuzz.h"

SamiKey *
sami_fuzz_exporter_key(void)
{
    static SamiKey *key;
    if (key)
        return key;
    g_autofree gchar *path = NULL;
    int fd = g_file_open_tmp("sami-fuzz.XXXXXX", &path, NULL);
    g_assert(fd >= 0 && write(fd, SAMI_FUZZ_PRIVATE_PEM, sizeof SAMI_FUZZ_PRIVATE_PEM - 1) == sizeof SAMI_FUZZ_PRIVATE_PEM - 1);
    close(fd);
    key = sami_key_load_private(path, NULL);
    unlink(path);
    g_assert(key);
    return key;
}
