#include "templates/private-key.h"

#define OPENSSL_SUPPRESS_DEPRECATED /* ENGINE: until every system that we run on has a provider for PKCS#11 */
#ifndef OPENSSL_NO_ENGINE
#include <openssl/engine.h>
#endif
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/store.h>
#include <openssl/ui.h>
#include <string.h>
#include <unistd.h>

#include "common/trust.h"

/* A key of any kind in PEM is a few thousand octets. */
#define KEY_MAX (64u * 1024u)
/* OpenSSL's buffer for a passphrase is PEM_BUFSIZE, 1024. */
#define PASSPHRASE_MAX 1023u
/* More than its decoders go down. */
#define STACK_WIPED (128u * 1024u)

typedef struct {
    gchar *text; /* (nullable) */
    gsize length, size;
    gboolean is_asked;
} Passphrase;

static int
give_passphrase(char *buffer, int size, int is_writing, void *user_data)
{
    Passphrase *passphrase = user_data;
    passphrase->is_asked = TRUE;
    if (!passphrase->text || size < 0 || passphrase->length > (gsize) size)
        return -1;
    memcpy(buffer, passphrase->text, passphrase->length);
    return (int) passphrase->length;
}

static gboolean
take_passphrase(Passphrase *passphrase, gchar *text_take, gsize size, const gchar *file, GError **error)
{
    gsize length = strcspn(text_take, "\r\n");
    *passphrase = (Passphrase){ .text = text_take, .length = length, .size = size };
    if (length > 0 && length <= PASSPHRASE_MAX)
        return TRUE;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s: its first line must be the passphrase, 1 to %u octets", file, PASSPHRASE_MAX);
    return FALSE;
}

gchar *
sami_passphrase_read(const gchar *file, gsize *ret_length, GError **error)
{
    Passphrase passphrase = { 0 };
    gsize size = 0;
    gchar *text = sami_trust_read(file, SAMI_TRUST_SECRET, KEY_MAX, &size, error);
    if (text && take_passphrase(&passphrase, text, size, file, error)) {
        text[passphrase.length] = '\0';
        *ret_length = size;
        return text;
    }
    sami_trust_wipe(text, size);
    return NULL;
}

gboolean
sami_private_key_is_uri(const gchar *place)
{
    gsize n = strspn(place, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-");
    return n >= 2 && g_ascii_isalpha(*place) && place[n] == ':';
}

/* As the openssl command has it: "org.openssl.engine:ENGINE:KEY". The library alone has no store for it. */
#define ENGINE_SCHEME "org.openssl.engine:"

static gboolean
is_engine(const gchar *place)
{
    return g_str_has_prefix(place, ENGINE_SCHEME);
}

/* The first entry of the queue, or the last, in OpenSSL's words and those of whoever made it. Empties the queue. (transfer full) */
static gchar *
take_reason(gboolean is_first)
{
    const char *data = NULL;
    int flags = 0;
    unsigned long code = is_first ? ERR_peek_error_all(NULL, NULL, NULL, &data, &flags) : ERR_peek_last_error_all(NULL, NULL, NULL, &data, &flags);
    const gchar *reason = ERR_SYSTEM_ERROR(code) ? g_strerror(ERR_GET_REASON(code)) : ERR_reason_error_string(code);
    gboolean is_unknown = ERR_GET_LIB(code) == ERR_LIB_OSSL_STORE && ERR_GET_REASON(code) == ERR_R_UNSUPPORTED;
    gboolean has_data = data && *data && (flags & ERR_TXT_STRING);
    gchar *text = is_unknown ? g_strdup("no provider that openssl.cnf(5) loads, and that has found its token, knows such a URI")
                             : g_strconcat(reason ? reason : "no reason given", has_data ? ": " : "", has_data ? data : "", NULL);
    ERR_clear_error();
    return text;
}

static void
explain(const gchar *place, const Passphrase *passphrase, const gchar *passphrase_file, GError **error)
{
    gboolean is_uri = sami_private_key_is_uri(place);
    g_autofree gchar *reason = take_reason(is_engine(place));
    if (passphrase->is_asked && !passphrase->text)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s: the private key %s must be in a file of mode 0600 that "
                    "sami.conf names: key-passphrase-file=FILE", place, is_uri ? "has a PIN or a passphrase, which" : "is encrypted; its passphrase");
    else if (passphrase->is_asked)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s: cannot be %s %s%s%s", place, is_uri ? "had with the PIN or passphrase in" : "decrypted with the passphrase in",
                    passphrase_file, is_uri ? ": " : "", is_uri ? reason : "");
    else
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s: no private key%s could be read: %s", place, is_uri ? "" : " in PEM form", reason);
}

static EVP_PKEY *
parse(const gchar *pem, gsize length, Passphrase *passphrase)
{
    BIO *bio = BIO_new_mem_buf(pem, (int) length);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, give_passphrase, passphrase) : NULL;
    BIO_free(bio);
    return key;
}

static EVP_PKEY *
load_engine(const gchar *uri, UI_METHOD *ui, Passphrase *passphrase)
{
    EVP_PKEY *key = NULL;
#ifndef OPENSSL_NO_ENGINE
    const gchar *id = uri + strlen(ENGINE_SCHEME), *colon = strchr(id, ':');
    g_autofree gchar *name = g_strndup(id, colon ? (gsize) (colon - id) : strlen(id));
    ENGINE *engine = ENGINE_by_id(name);
    if (engine && ENGINE_init(engine)) {
        key = ENGINE_load_private_key(engine, colon ? colon + 1 : "", ui, passphrase); /* with a reference to the engine */
        ENGINE_finish(engine);
    }
    ENGINE_free(engine);
#endif
    return key;
}

/* The first private key in the store. A key that a provider holds has its octets there. */
static EVP_PKEY *
load_store(const gchar *uri, UI_METHOD *ui, Passphrase *passphrase)
{
    OSSL_STORE_CTX *store = OSSL_STORE_open(uri, ui, passphrase, NULL, NULL);
    EVP_PKEY *key = NULL;
    if (store)
        OSSL_STORE_expect(store, OSSL_STORE_INFO_PKEY);
    while (store && !key && !OSSL_STORE_eof(store) && !OSSL_STORE_error(store)) {
        OSSL_STORE_INFO *info = OSSL_STORE_load(store);
        if (info && OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY)
            key = OSSL_STORE_INFO_get1_PKEY(info);
        OSSL_STORE_INFO_free(info);
    }
    OSSL_STORE_close(store);
    return key;
}

/* "file:" is a file all the same, and its mode matters as much. */
static gboolean
check_uri(const gchar *uri, GError **error)
{
    if (g_ascii_strncasecmp(uri, "file:", strlen("file:")) != 0)
        return TRUE;
    const gchar *path = uri + strlen("file:");
    path += g_str_has_prefix(path, "//") ? strlen("//") : 0;
    int fd = sami_trust_open(path, SAMI_TRUST_SECRET, error);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* OpenSSL 3.0 leaves the passphrase in a buffer on the stack (decode_epki2pki.c). What has been below this call is overwritten. */
__attribute__((noinline)) static void
wipe_stack(void)
{
    guint8 below[STACK_WIPED];
    explicit_bzero(below, sizeof below);
}

static EVP_PKEY *
finish(EVP_PKEY *key, const gchar *place, Passphrase *passphrase, const gchar *passphrase_file, GError **error)
{
    if (!key)
        explain(place, passphrase, passphrase_file, error);
    ERR_clear_error();
    sami_trust_wipe(passphrase->text, passphrase->size);
    wipe_stack();
    return key;
}

EVP_PKEY *
sami_private_key_load_fd(int fd, const gchar *place, int passphrase_fd, const gchar *passphrase_file, GError **error)
{
    Passphrase passphrase = { 0 };
    gsize length = 0, size = 0;
    gchar *text = passphrase_fd >= 0 ? sami_trust_read_fd(passphrase_fd, passphrase_file, KEY_MAX, &size, error) : NULL;
    if (passphrase_fd >= 0 && (!text || !take_passphrase(&passphrase, text, size, passphrase_file, error))) {
        sami_trust_wipe(text, size);
        return NULL;
    }
    ERR_clear_error();
    gchar *pem = sami_trust_read_fd(fd, place, KEY_MAX, &length, error);
    if (!pem) {
        sami_trust_wipe(passphrase.text, passphrase.size);
        return NULL;
    }
    EVP_PKEY *key = finish(parse(pem, length, &passphrase), place, &passphrase, passphrase_file, error);
    sami_trust_wipe(pem, length);
    return key;
}

gboolean
sami_private_key_is_encrypted(const gchar *file, gboolean *ret_is_encrypted, GError **error)
{
    gsize length = 0;
    gchar *pem = sami_trust_read(file, SAMI_TRUST_SECRET, KEY_MAX, &length, error);
    if (!pem)
        return FALSE;
    *ret_is_encrypted = strstr(pem, "ENCRYPTED") != NULL; /* PKCS#8's label, or the header of the older form */
    sami_trust_wipe(pem, length);
    return TRUE;
}

static EVP_PKEY *
load_uri(const gchar *uri, const gchar *passphrase_file, GError **error)
{
    Passphrase passphrase = { 0 };
    gsize size = 0;
    if (!check_uri(uri, error))
        return NULL;
    gchar *text = passphrase_file ? sami_trust_read(passphrase_file, SAMI_TRUST_SECRET, KEY_MAX, &size, error) : NULL;
    if (passphrase_file && (!text || !take_passphrase(&passphrase, text, size, passphrase_file, error))) {
        sami_trust_wipe(text, size);
        return NULL;
    }
    ERR_clear_error();
    UI_METHOD *ui = UI_UTIL_wrap_read_pem_callback(give_passphrase, 0);
    EVP_PKEY *key = !ui ? NULL : is_engine(uri) ? load_engine(uri, ui, &passphrase) : load_store(uri, ui, &passphrase);
    UI_destroy_method(ui);
    return finish(key, uri, &passphrase, passphrase_file, error);
}

EVP_PKEY *
sami_private_key_load(const gchar *place, const gchar *passphrase_file, GError **error)
{
    if (sami_private_key_is_uri(place))
        return load_uri(place, passphrase_file, error);
    int fd = sami_trust_open(place, SAMI_TRUST_SECRET, error), passphrase_fd = -1;
    gboolean is_open = fd >= 0 && (!passphrase_file || (passphrase_fd = sami_trust_open(passphrase_file, SAMI_TRUST_SECRET, error)) >= 0);
    EVP_PKEY *key = is_open ? sami_private_key_load_fd(fd, place, passphrase_fd, passphrase_file, error) : NULL;
    if (fd >= 0)
        close(fd);
    if (passphrase_fd >= 0)
        close(passphrase_fd);
    return key;
}

gboolean
sami_private_key_try(EVP_PKEY *key, const gchar *place, GError **error)
{
    static const guint8 text[] = "SAMI";
    const EVP_MD *digest = EVP_PKEY_is_a(key, "ED25519") ? NULL : EVP_sha256();
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    gsize size = 0;
    ERR_clear_error();
    gboolean is_begun = context && EVP_DigestSignInit(context, NULL, digest, NULL, key) == 1 && EVP_DigestSign(context, NULL, &size, text, sizeof text) == 1;
    g_autofree guint8 *signature = is_begun ? g_malloc0(size) : NULL;
    gboolean is_signed = is_begun && EVP_DigestSign(context, signature, &size, text, sizeof text) == 1;
    EVP_MD_CTX_free(context);
    if (is_signed)
        return TRUE;
    g_autofree gchar *reason = take_reason(TRUE);
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s: the private key does not sign: %s", place, reason);
    return FALSE;
}
