/* Where a private key is in memory: while it is in use once, in OpenSSL's own object; not the text of its file, and nothing once it is freed. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/pem.h>

#include "config.h"
#include "templates/signature.h"
#include "tests/unit/harness.h"
#include "transport/pki.h"
#include "transport/tls-context.h"
#include "transport/tls-memory.h"

#define NEEDLE 32u
#define P256_SCALAR 36u
/* What is looked for is kept disguised, or it would find itself. */
#define MASK 0xa5

typedef struct {
    guint8 octets[NEEDLE];
} Needle;

static gchar *directory, *path, *public_path, *crt, *tls_key;

static void
disguise(Needle *needle, const void *octets)
{
    for (guint i = 0; i < NEEDLE; i++)
        needle->octets[i] = ((const guint8 *) octets)[i] ^ MASK;
}

static guint
count_in(const guint8 *memory, gsize n, const Needle *needle)
{
    guint n_found = 0;
    for (gsize i = 0; i + NEEDLE <= n; i++) {
        guint k = 0;
        while (k < NEEDLE && (memory[i + k] ^ MASK) == needle->octets[k])
            k++;
        n_found += k == NEEDLE;
    }
    return n_found;
}

/* In all that this process may write, but for the buffer that it is read into. */
static guint
count(const Needle *needle)
{
    static guint8 *buffer;
    static const gsize size = 1024 * 1024;
    guint n_found = 0;
    gchar line[512];
    int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    FILE *maps = fopen("/proc/self/maps", "re");
    if (!buffer)
        buffer = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    while (maps && fgets(line, sizeof line, maps)) {
        guint64 from, to;
        gchar rights[8];
        if (sscanf(line, "%" G_GINT64_MODIFIER "x-%" G_GINT64_MODIFIER "x %7s", &from, &to, rights) != 3 || rights[1] != 'w')
            continue;
        for (guint64 at = from; at < to; at += size - NEEDLE) {
            if (at < (guint64) (gsize) buffer + size && to > (guint64) (gsize) buffer && at + size > (guint64) (gsize) buffer)
                continue; /* its neighbourhood too: it is one mapping with what lies beside it */
            ssize_t n = pread(memory, buffer, MIN(size, to - at), (off_t) at);
            if (n > 0)
                n_found += count_in(buffer, (gsize) n, needle);
            explicit_bzero(buffer, size);
        }
    }
    if (maps)
        fclose(maps);
    close(memory);
    return n_found;
}

/* The seed or scalar of the key, and the middle of its text, in another process: nothing of them stays here. */
static gboolean
read_needles(const gchar *file, Needle needles[2], gboolean is_raw)
{
    int fds[2];
    if (pipe(fds) != 0)
        return FALSE;
    pid_t pid = fork();
    if (pid == 0) {
        g_autofree gchar *text = NULL;
        guint8 raw[128] = { 0 };
        gsize n = sizeof raw;
        FILE *stream = fopen(file, "re");
        EVP_PKEY *key = PEM_read_PrivateKey(stream, NULL, NULL, NULL);
        if (is_raw && EVP_PKEY_get_raw_private_key(key, raw, &n) != 1)
            _exit(1);
        g_file_get_contents(file, &text, NULL, NULL);
        if (!is_raw) { /* the DER of PKCS #8 of a P-256 key */
            gchar *body = strchr(text, '\n') + 1;
            *strstr(body, "-----END") = '\0';
            g_autofree guint8 *der = g_base64_decode(body, &n);
            memcpy(raw, der + P256_SCALAR, NEEDLE);
            g_free(g_steal_pointer(&text));
            g_file_get_contents(file, &text, NULL, NULL);
        }
        disguise(&needles[0], raw);
        disguise(&needles[1], strchr(text, '\n') + 1 + 24);
        _exit(write(fds[1], needles, 2 * sizeof(Needle)) == 2 * sizeof(Needle) ? 0 : 1);
    }
    close(fds[1]);
    gboolean is_read = read(fds[0], needles, 2 * sizeof(Needle)) == 2 * sizeof(Needle);
    close(fds[0]);
    return is_read;
}

static void
test_finds(void)
{
    Needle needles[2];
    CU_ASSERT_TRUE_FATAL(read_needles(path, needles, TRUE));
    CU_ASSERT_EQUAL(count(&needles[1]), 0);
    g_autofree gchar *text = NULL;
    CU_ASSERT_TRUE(g_file_get_contents(path, &text, NULL, NULL));
    CU_ASSERT(count(&needles[1]) >= 1);
    explicit_bzero(text, strlen(text));
}

static void
test_signing_key(void)
{
    Needle needles[2];
    g_autoptr(GError) error = NULL;
    CU_ASSERT_TRUE_FATAL(read_needles(path, needles, TRUE));
    SamiKey *key = sami_key_load_private(path, NULL, &error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(key);
    CU_ASSERT_EQUAL(count(&needles[0]), 1);
    CU_ASSERT_EQUAL(count(&needles[1]), 0);
    sami_key_free(key);
    CU_ASSERT_EQUAL(count(&needles[0]), 0);
    CU_ASSERT_EQUAL(count(&needles[1]), 0);
}

static void
test_tls_key(void)
{
    Needle needles[2];
    g_autoptr(GError) error = NULL;
    CU_ASSERT_TRUE_FATAL(read_needles(tls_key, needles, FALSE));
    SamiNetworkConfig config = { .certificate_file = crt, .key_file = tls_key };
    SamiTls *tls = sami_tls_new(&config, TRUE, &error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(tls);
    CU_ASSERT_EQUAL(count(&needles[0]), 0); /* in OpenSSL's object its words are the other way round */
    CU_ASSERT_EQUAL(count(&needles[1]), 0);
    sami_tls_free(tls);
    CU_ASSERT_EQUAL(count(&needles[0]), 0);
    CU_ASSERT_EQUAL(count(&needles[1]), 0);
}

static int
set_up(void)
{
    directory = g_dir_make_tmp("sami-key-XXXXXX", NULL);
    path = g_build_filename(directory, "signing.key", NULL);
    public_path = g_build_filename(directory, "signing.pub", NULL);
    crt = g_build_filename(directory, "tls.crt", NULL);
    tls_key = g_build_filename(directory, "tls.key", NULL);
    /* Made by another process, as it would be. */
    pid_t pid = fork();
    if (pid == 0)
        _exit(sami_pki_make_signing_key(path, public_path, NULL, NULL) && sami_pki_make_identity("fw1.example", crt, tls_key, NULL, NULL) ? 0 : 1);
    int status = 1;
    return waitpid(pid, &status, 0) != pid || status != 0;
}

static int
tear_down(void)
{
    gchar *const made[] = { path, public_path, crt, tls_key, directory };
    for (guint i = 0; i < G_N_ELEMENTS(made); i++) {
        remove(made[i]);
        g_free(made[i]);
    }
    return 0;
}

int
main(void)
{
    static const SamiTest tests[] = {
        { "the search finds", test_finds },
        { "the signing key", test_signing_key },
        { "the TLS key", test_tls_key },
    };
#ifdef SAMI_SANITIZERS
    g_print("SKIP: AddressSanitizer keeps what is freed\n");
    return 77;
#endif
    sami_tls_wipe_freed();
    return sami_test_main("key-memory", tests, G_N_ELEMENTS(tests), set_up, tear_down);
}
