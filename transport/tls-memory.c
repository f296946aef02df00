#include "transport/tls-memory.h"

#include <malloc.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

static void *
allocate(size_t n, const char *file, int line)
{
    return malloc(n);
}

static void
wipe_and_free(void *memory, const char *file, int line)
{
    if (!memory)
        return;
    explicit_bzero(memory, malloc_usable_size(memory));
    free(memory);
}

/* realloc() may leave the old octets behind. */
static void *
reallocate(void *memory, size_t n, const char *file, int line)
{
    size_t old = memory ? malloc_usable_size(memory) : 0;
    if (n == 0) {
        wipe_and_free(memory, file, line);
        return NULL;
    }
    if (memory && n <= old && n > old / 2)
        return memory;
    void *fresh = malloc(n);
    if (fresh && memory) {
        memcpy(fresh, memory, n < old ? n : old);
        wipe_and_free(memory, file, line);
    }
    return fresh;
}

void
sami_tls_wipe_freed(void)
{
    CRYPTO_set_mem_functions(allocate, reallocate, wipe_and_free);
}
