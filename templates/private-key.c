#include "templates/private-key.h"

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

static void
explain(const gchar *place, const Passphrase *passphrase, const gchar *passphrase_file, GError **error)
{
    const gchar *reason = ERR_reason_error_string(ERR_peek_last_error());
    if (passphrase->is_asked && !passphrase->text)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s: the private key is encrypted; its passphrase must be in a file of mode 0600 that "
                    "sami.conf names: key-passphrase-file=FILE", place);
    else if (passphrase->is_asked)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s: cannot be decrypted with the passphrase in %s", place, passphrase_file);
    else
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s: no private key%s could be read%s%s", place,
                    sami_private_key_is_uri(place) ? "" : " in PEM form", reason ? ": " : "", reason ? reason : "");
    ERR_clear_error();
}

static EVP_PKEY *
parse(const gchar *pem, gsize length, Passphrase *passphrase)
{
    BIO *bio = BIO_new_mem_buf(pem, (int) length);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, give_passphrase, passphrase) : NULL;
    BIO_free(bio);
    return key;
}

/* The first private key in the store. A key that a provider holds has its octets there. */
static EVP_PKEY *
load_uri(const gchar *uri, Passphrase *passphrase)
{
    UI_METHOD *ui = UI_UTIL_wrap_read_pem_callback(give_passphrase, 0);
    OSSL_STORE_CTX *store = ui ? OSSL_STORE_open(uri, ui, passphrase, NULL, NULL) : NULL;
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
    UI_destroy_method(ui);
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

static EVP_PKEY *
finish(EVP_PKEY *key, const gchar *place, Passphrase *passphrase, const gchar *passphrase_file, GError **error)
{
    if (!key)
        explain(place, passphrase, passphrase_file, error);
    ERR_clear_error();
    sami_trust_wipe(passphrase->text, passphrase->size);
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

static EVP_PKEY *
load_store(const gchar *uri, const gchar *passphrase_file, GError **error)
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
    return finish(load_uri(uri, &passphrase), uri, &passphrase, passphrase_file, error);
}

EVP_PKEY *
sami_private_key_load(const gchar *place, const gchar *passphrase_file, GError **error)
{
    if (sami_private_key_is_uri(place))
        return load_store(place, passphrase_file, error);
    int fd = sami_trust_open(place, SAMI_TRUST_SECRET, error), passphrase_fd = -1;
    gboolean is_open = fd >= 0 && (!passphrase_file || (passphrase_fd = sami_trust_open(passphrase_file, SAMI_TRUST_SECRET, error)) >= 0);
    EVP_PKEY *key = is_open ? sami_private_key_load_fd(fd, place, passphrase_fd, passphrase_file, error) : NULL;
    if (fd >= 0)
        close(fd);
    if (passphrase_fd >= 0)
        close(passphrase_fd);
    return key;
}
