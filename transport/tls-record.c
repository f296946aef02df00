#include "transport/tls-record.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <string.h>

#include "transport/tls-certificate.h"

#define TAG 16u /* of all three suites, and their nonce (RFC 8446 §5.3) */
#define NONCE 12u
#define KEY_MAX 32u

struct SamiTlsSuite {
    guint16 id;
    const gchar *cipher, *digest; /* as OpenSSL calls them */
    guint n_key, n_secret;
};

static const SamiTlsSuite suites[] = {
    { 0x1301, "AES-128-GCM", "SHA256", 16, 32 }, /* TLS_AES_128_GCM_SHA256 */
    { 0x1302, "AES-256-GCM", "SHA384", 32, 48 }, /* TLS_AES_256_GCM_SHA384 */
    { 0x1303, "ChaCha20-Poly1305", "SHA256", 32, 32 },
};

struct SamiTlsKeys {
    const SamiTlsSuite *suite;
    EVP_CIPHER_CTX *context; /* has the key */
    guint8 secret[SAMI_TLS_SECRET_MAX];
    guint8 iv[NONCE];
    guint64 n_records; /* with this key: the sequence number */
};

const SamiTlsSuite *
sami_tls_suite_find(guint16 id)
{
    for (guint i = 0; i < G_N_ELEMENTS(suites); i++)
        if (suites[i].id == id)
            return &suites[i];
    return NULL;
}

static gboolean
fail_openssl(const gchar *what, GError **error)
{
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s: %s", what, sami_openssl_take_reason());
    return FALSE;
}

/* HKDF-Expand-Label(secret, label, "", n) of RFC 8446 §7.1. */
static gboolean
expand(const SamiTlsKeys *keys, const gchar *label, guint8 *ret, gsize n, GError **error)
{
    int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
    const OSSL_PARAM params[] = {
        OSSL_PARAM_int(OSSL_KDF_PARAM_MODE, &mode),
        OSSL_PARAM_utf8_string(OSSL_KDF_PARAM_DIGEST, (gchar *) keys->suite->digest, 0),
        OSSL_PARAM_octet_string(OSSL_KDF_PARAM_KEY, (guint8 *) keys->secret, keys->suite->n_secret),
        OSSL_PARAM_octet_string(OSSL_KDF_PARAM_PREFIX, (gchar *) "tls13 ", strlen("tls13 ")),
        OSSL_PARAM_octet_string(OSSL_KDF_PARAM_LABEL, (gchar *) label, strlen(label)),
        OSSL_PARAM_END,
    };
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_TLS1_3_KDF, NULL);
    EVP_KDF_CTX *context = EVP_KDF_CTX_new(kdf);
    gboolean is_done = context && EVP_KDF_derive(context, ret, n, params) == 1;
    EVP_KDF_CTX_free(context);
    EVP_KDF_free(kdf);
    return is_done ? TRUE : fail_openssl(label, error);
}

/* RFC 8446 §7.3 */
static gboolean
take_secret(SamiTlsKeys *keys, GError **error)
{
    guint8 key[KEY_MAX];
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, keys->suite->cipher, NULL);
    keys->n_records = 0;
    gboolean is_done = expand(keys, "key", key, keys->suite->n_key, error) && expand(keys, "iv", keys->iv, sizeof keys->iv, error);
    if (is_done && (!cipher || EVP_DecryptInit_ex2(keys->context, cipher, key, NULL, NULL) != 1))
        is_done = fail_openssl(keys->suite->cipher, error);
    OPENSSL_cleanse(key, sizeof key);
    EVP_CIPHER_free(cipher);
    return is_done;
}

SamiTlsKeys *
sami_tls_keys_new(const SamiTlsSuite *suite, const SamiTlsSecret *secret, GError **error)
{
    g_autoptr(SamiTlsKeys) keys = g_new0(SamiTlsKeys, 1);
    if (secret->length != suite->n_secret) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED, "%s in the key log is of %u octets; those of the connection's cipher suite are of %u",
                    sami_tls_secret_label((SamiTlsSecretKind) secret->kind), secret->length, suite->n_secret);
        return NULL;
    }
    keys->suite = suite;
    keys->context = EVP_CIPHER_CTX_new();
    memcpy(keys->secret, secret->octets, secret->length);
    return keys->context && take_secret(keys, error) ? g_steal_pointer(&keys) : NULL;
}

void
sami_tls_keys_free(SamiTlsKeys *keys)
{
    if (!keys)
        return;
    EVP_CIPHER_CTX_free(keys->context); /* cleanses too */
    OPENSSL_cleanse(keys, sizeof *keys);
    g_free(keys);
}

gboolean
sami_tls_keys_update(SamiTlsKeys *keys, GError **error)
{
    guint8 next[SAMI_TLS_SECRET_MAX];
    gboolean is_done = expand(keys, "traffic upd", next, keys->suite->n_secret, error);
    if (is_done)
        memcpy(keys->secret, next, keys->suite->n_secret);
    OPENSSL_cleanse(next, sizeof next);
    return is_done && take_secret(keys, error);
}

/* In place. */
static gboolean
decrypt(SamiTlsKeys *keys, const guint8 *header, guint8 *record, gsize length)
{
    guint8 nonce[NONCE];
    int n = 0, n_last = 0, n_content = (int) (length - TAG);
    memcpy(nonce, keys->iv, sizeof nonce);
    for (guint i = 0; i < 8; i++)
        nonce[NONCE - 1 - i] ^= (guint8) (keys->n_records >> (8 * i));
    return EVP_DecryptInit_ex2(keys->context, NULL, NULL, nonce, NULL) == 1 &&
           EVP_DecryptUpdate(keys->context, NULL, &n, header, (int) SAMI_TLS_RECORD_HEADER) == 1 &&
           EVP_DecryptUpdate(keys->context, record, &n, record, n_content) == 1 && n == n_content &&
           EVP_CIPHER_CTX_ctrl(keys->context, EVP_CTRL_AEAD_SET_TAG, (int) TAG, record + n_content) == 1 &&
           EVP_DecryptFinal_ex(keys->context, record + n, &n_last) == 1;
}

gboolean
sami_tls_keys_open(SamiTlsKeys *keys, const guint8 header[SAMI_TLS_RECORD_HEADER], guint8 *record, gsize length, gsize *ret_length,
                   guint8 *ret_type, GError **error)
{
    const gchar *wrong = NULL;
    gsize n = length - MIN(length, TAG);
    if (n == 0)
        wrong = "shorter than a type and an authentication tag (RFC 8446 §5.2)";
    else if (!decrypt(keys, header, record, length))
        wrong = "does not decrypt: the key log is not of this connection, or octets were changed (RFC 8446 §5.2)";
    while (!wrong && n > 0 && record[n - 1] == 0)
        n--;
    if (!wrong && n == 0)
        wrong = "nothing but padding in it (RFC 8446 §5.4)";
    else if (!wrong && n - 1 > SAMI_TLS_FRAGMENT_MAX)
        wrong = "more than 2^14 octets in it (RFC 8446 §5.4)";
    if (wrong) {
        sami_openssl_take_reason(); /* empties the queue */
        g_set_error_literal(error, SAMI_ERROR, SAMI_ERROR_MALFORMED, wrong);
        return FALSE;
    }
    keys->n_records++;
    *ret_type = record[n - 1];
    *ret_length = n - 1;
    return TRUE;
}
