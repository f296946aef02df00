#include "common/secret.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

gboolean
sami_secret_read(int fd, const gchar *path, SamiSecret *ret_secret, GError **error)
{
    SamiSecret secret = { mmap(NULL, SAMI_SECRET_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 0 };
    ssize_t n = -1;
    if (secret.text == MAP_FAILED) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s: %s", path, g_strerror(errno));
        return FALSE;
    }
    madvise(secret.text, SAMI_SECRET_MAX, MADV_DONTDUMP);
    while (secret.length < SAMI_SECRET_MAX) {
        n = pread(fd, secret.text + secret.length, SAMI_SECRET_MAX - secret.length, (off_t) secret.length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        secret.length += (gsize) n;
    }
    if (n == 0) {
        *ret_secret = secret;
        return TRUE;
    }
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s: %s", path, n < 0 ? g_strerror(errno) : "is longer than any key");
    sami_secret_clear(&secret);
    return FALSE;
}

void
sami_secret_clear(SamiSecret *secret)
{
    if (!secret->text)
        return;
    explicit_bzero(secret->text, SAMI_SECRET_MAX);
    munmap(secret->text, SAMI_SECRET_MAX);
    *secret = (SamiSecret){ NULL, 0 };
}
