/* Where a private key is in memory: while it is in use once, in OpenSSL's own object; neither the text of its file nor its passphrase, and nothing once it
 * is freed. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/pem.h>

#include "common/trust.h"
#include "config.h"
#include "templates/private-key.h"
#include "templates/signature.h"
#include "tests/unit/harness.h"
#include "transport/pki.h"
#include "transport/tls-context.h"
#include "transport/tls-memory.h"

#define NEEDLE 32u
/* What is looked for is kept disguised, or it would find itself. */
#define MASK 0xa5

typedef struct {
    guint8 octets[NEEDLE];
} Needle;

enum { SECRET, TEXT, PASSPHRASE, N_NEEDLES };

typedef struct {
    const gchar *key, *public, *passphrase; /* the last: NULL */
} Place;

static gchar *directory, *passphrase_path;
static Place signing, tls, locked_signing, locked_tls; /* the last two encrypted */

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

static EVP_PKEY *
open_key(const Place *place)
{
    gchar passphrase[128] = "";
    FILE *stream = fopen(place->key, "re"), *words = place->passphrase ? fopen(place->passphrase, "re") : NULL;
    if (words && fgets(passphrase, sizeof passphrase, words))
        passphrase[strcspn(passphrase, "\n")] = '\0';
    return stream ? PEM_read_PrivateKey(stream, NULL, NULL, passphrase) : NULL;
}

static gboolean
write_needles(const Place *place, int fd)
{
    Needle needles[N_NEEDLES] = { 0 };
    g_autofree gchar *text = NULL, *passphrase = NULL;
    guint8 secret[NEEDLE];
    gsize n = sizeof secret;
    BIGNUM *scalar = NULL;
    EVP_PKEY *key = open_key(place);
    gboolean is_had = key && (EVP_PKEY_is_a(key, "ED25519") ? EVP_PKEY_get_raw_private_key(key, secret, &n) == 1
                                                            : EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_PRIV_KEY, &scalar) == 1 &&
                                                                  BN_bn2binpad(scalar, secret, NEEDLE) == (int) NEEDLE);
    if (!is_had || !g_file_get_contents(place->key, &text, NULL, NULL) ||
        (place->passphrase && !g_file_get_contents(place->passphrase, &passphrase, NULL, NULL)))
        return FALSE;
    disguise(&needles[SECRET], secret);
    /* Not their beginnings, in which free() leaves words of its own. */
    disguise(&needles[TEXT], strchr(text, '\n') + 1 + 24);
    if (passphrase)
        disguise(&needles[PASSPHRASE], passphrase + 24);
    return write(fd, needles, sizeof needles) == sizeof needles;
}

/* The seed or scalar of the key, the middle of its text, and its passphrase, in another process: nothing of them stays here. */
static gboolean
read_needles(const Place *place, Needle needles[N_NEEDLES])
{
    int fds[2];
    if (pipe(fds) != 0)
        return FALSE;
    pid_t pid = fork();
    if (pid == 0)
        _exit(write_needles(place, fds[1]) ? 0 : 1);
    close(fds[1]);
    gboolean is_read = read(fds[0], needles, N_NEEDLES * sizeof(Needle)) == (ssize_t) (N_NEEDLES * sizeof(Needle));
    close(fds[0]);
    waitpid(pid, NULL, 0);
    return is_read;
}

/* All of them but the secret itself are nowhere at any time. */
static void
expect(const Place *place, const Needle needles[N_NEEDLES], guint n_secrets)
{
    CU_ASSERT_EQUAL(count(&needles[SECRET]), n_secrets);
    CU_ASSERT_EQUAL(count(&needles[TEXT]), 0);
    if (place->passphrase)
        CU_ASSERT_EQUAL(count(&needles[PASSPHRASE]), 0);
}

static void
find(const gchar *file, const Needle *needle)
{
    g_autofree gchar *text = NULL;
    CU_ASSERT_EQUAL(count(needle), 0);
    CU_ASSERT_TRUE(g_file_get_contents(file, &text, NULL, NULL));
    CU_ASSERT(count(needle) >= 1);
    explicit_bzero(text, strlen(text));
}

static void
test_finds(void)
{
    Needle needles[N_NEEDLES];
    CU_ASSERT_TRUE_FATAL(read_needles(&locked_signing, needles));
    find(locked_signing.key, &needles[TEXT]);
    find(locked_signing.passphrase, &needles[PASSPHRASE]);
}

static void
test_signing_key(void)
{
    const Place *const places[] = { &signing, &locked_signing };
    for (guint i = 0; i < G_N_ELEMENTS(places); i++) {
        Needle needles[N_NEEDLES];
        g_autoptr(GError) error = NULL;
        CU_ASSERT_TRUE_FATAL(read_needles(places[i], needles));
        SamiKey *key = sami_key_load_private(places[i]->key, places[i]->passphrase, &error);
        CU_ASSERT_PTR_NOT_NULL_FATAL(key);
        expect(places[i], needles, 1);
        sami_key_free(key);
        expect(places[i], needles, 0);
    }
}

/* As a reload passes it from process to process. */
static void
test_descriptors(void)
{
    const Place *const places[] = { &signing, &locked_signing };
    for (guint i = 0; i < G_N_ELEMENTS(places); i++) {
        Needle needles[N_NEEDLES];
        g_autoptr(GError) error = NULL;
        CU_ASSERT_TRUE_FATAL(read_needles(places[i], needles));
        int fd = sami_trust_open(places[i]->key, SAMI_TRUST_SECRET, &error);
        int words = places[i]->passphrase ? sami_trust_open(places[i]->passphrase, SAMI_TRUST_SECRET, &error) : -1;
        EVP_PKEY *key = sami_private_key_load_fd(fd, places[i]->key, words, places[i]->passphrase, &error);
        CU_ASSERT_PTR_NOT_NULL_FATAL(key);
        expect(places[i], needles, 1);
        EVP_PKEY_free(key);
        expect(places[i], needles, 0);
        close(fd);
        if (words >= 0)
            close(words);
    }
}

/* What is no passphrase, and a key for once. */
static void
test_wrong_passphrase(void)
{
    Needle needles[N_NEEDLES], of_wrong[N_NEEDLES];
    g_autoptr(GError) error = NULL;
    CU_ASSERT_TRUE_FATAL(read_needles(&locked_signing, needles) && read_needles(&signing, of_wrong));
    CU_ASSERT_PTR_NULL(sami_private_key_load(locked_signing.key, signing.key, &error));
    CU_ASSERT_PTR_NOT_NULL(error ? strstr(error->message, "cannot be decrypted") : NULL);
    expect(&locked_signing, needles, 0);
    expect(&signing, of_wrong, 0);
}

static void
test_tls_key(void)
{
    const Place *const places[] = { &tls, &locked_tls };
    for (guint i = 0; i < G_N_ELEMENTS(places); i++) {
        Needle needles[N_NEEDLES];
        g_autoptr(GError) error = NULL;
        CU_ASSERT_TRUE_FATAL(read_needles(places[i], needles));
        SamiNetworkConfig config = { .certificate_file = (gchar *) places[i]->public, .key_file = (gchar *) places[i]->key,
                                     .passphrase_file = (gchar *) places[i]->passphrase };
        SamiTls *of_file = sami_tls_new(&config, TRUE, &error);
        CU_ASSERT_PTR_NOT_NULL_FATAL(of_file);
        expect(places[i], needles, 0); /* in OpenSSL's object its words are the other way round */
        int fd = sami_trust_open(places[i]->key, SAMI_TRUST_SECRET, &error);
        int words = places[i]->passphrase ? sami_trust_open(places[i]->passphrase, SAMI_TRUST_SECRET, &error) : -1;
        CU_ASSERT_TRUE(sami_tls_reload_identity(of_file, &config, fd, words, &error));
        expect(places[i], needles, 0);
        close(fd);
        if (words >= 0)
            close(words);
        sami_tls_free(of_file);
        expect(places[i], needles, 0);
    }
}

static gboolean
make_passphrase(void)
{
    guint32 words[8];
    if (getentropy(words, sizeof words) != 0)
        return FALSE;
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; i < G_N_ELEMENTS(words); i++)
        g_string_append_printf(text, "%08x", words[i]);
    g_string_append_c(text, '\n');
    return g_file_set_contents_full(passphrase_path, text->str, -1, G_FILE_SET_CONTENTS_NONE, 0600, NULL);
}

static gboolean
make_keys(void)
{
    return make_passphrase() && sami_pki_make_signing_key(signing.key, signing.public, NULL, NULL) &&
           sami_pki_make_identity("fw1.example", tls.public, tls.key, NULL, NULL) &&
           sami_pki_make_signing_key(locked_signing.key, locked_signing.public, passphrase_path, NULL) &&
           sami_pki_make_identity("fw1.example", locked_tls.public, locked_tls.key, passphrase_path, NULL);
}

static int
set_up(void)
{
    directory = g_dir_make_tmp("sami-key-XXXXXX", NULL);
    passphrase_path = g_build_filename(directory, "passphrase", NULL);
    Place *const places[] = { &signing, &tls, &locked_signing, &locked_tls };
    for (guint i = 0; i < G_N_ELEMENTS(places); i++) {
        g_autofree gchar *key = g_strdup_printf("%u.key", i), *public = g_strdup_printf("%u.public", i);
        *places[i] = (Place){ g_build_filename(directory, key, NULL), g_build_filename(directory, public, NULL), i < 2 ? NULL : passphrase_path };
    }
    /* Made by another process, as it would be. */
    pid_t pid = fork();
    if (pid == 0)
        _exit(make_keys() ? 0 : 1);
    int status = 1;
    return waitpid(pid, &status, 0) != pid || status != 0;
}

static int
tear_down(void)
{
    const Place *const places[] = { &signing, &tls, &locked_signing, &locked_tls };
    for (guint i = 0; i < G_N_ELEMENTS(places); i++) {
        remove(places[i]->key);
        remove(places[i]->public);
        g_free((gchar *) places[i]->key);
        g_free((gchar *) places[i]->public);
    }
    remove(passphrase_path);
    g_free(passphrase_path);
    gboolean is_gone = remove(directory) == 0;
    g_free(directory);
    return !is_gone;
}

int
main(void)
{
    static const SamiTest tests[] = {
        { "the search finds", test_finds },
        { "the signing key", test_signing_key },
        { "descriptors of it", test_descriptors },
        { "a wrong passphrase", test_wrong_passphrase },
        { "the TLS key", test_tls_key },
    };
#ifdef SAMI_SANITIZERS
    g_print("SKIP: AddressSanitizer keeps what is freed\n");
    return 77;
#endif
    sami_tls_wipe_freed();
    return sami_test_main("key-memory", tests, G_N_ELEMENTS(tests), set_up, tear_down);
}
