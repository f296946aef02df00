#include "templates/signature.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <string.h>

#include "common/cursor.h"
#include "common/trust.h"
#include "templates/elements.h"
#include "templates/private-key.h"
#include "templates/rules.h"

/* 18 octets: the text and its NUL. */
static const guint8 context[18] = "SAMI-IPFIX-SIG-v1";
#define SIGNATURE_OCTETS 64u
/* Some public keys in PEM, and comments. */
#define PUBLIC_FILE_MAX (64u * 1024u)

struct SamiKey {
    EVP_PKEY *pkey;
    guint8 digest[32]; /* SHA-256 of the SPKI; the key id is its beginning */
    guint8 raw[32];
    guint8 scratch[sizeof context + SAMI_MESSAGE_MAX]; /* Ed25519 is one-shot: context and Message in one piece */
};

/* RFC 8410 §4: the SPKI of Ed25519 is 12 constant octets and the key. Taken from there, so that a provider's key does as well. */
#define SPKI_OCTETS 44

static void
key_clear(gpointer data)
{
    SamiKey *key = data;
    EVP_PKEY_free(key->pkey);
}

static SamiKey *
key_take(EVP_PKEY *pkey)
{
    SamiKey *key = g_rc_box_new0(SamiKey);
    guint8 *der = NULL;
    int length = i2d_PUBKEY(pkey, &der);
    key->pkey = pkey;
    if (length != SPKI_OCTETS || !EVP_PKEY_is_a(pkey, "ED25519") || EVP_Digest(der, SPKI_OCTETS, key->digest, NULL, EVP_sha256(), NULL) != 1)
        g_clear_pointer(&key, sami_key_free);
    else
        memcpy(key->raw, der + SPKI_OCTETS - sizeof key->raw, sizeof key->raw);
    OPENSSL_free(der);
    return key;
}

SamiKey *
sami_key_ref(SamiKey *key)
{
    return g_rc_box_acquire(key);
}

void
sami_key_free(SamiKey *key)
{
    if (key)
        g_rc_box_release_full(key, key_clear);
}

SamiKey *
sami_key_load_private(const gchar *place, const gchar *passphrase_file, GError **error)
{
    EVP_PKEY *pkey = sami_private_key_load(place, passphrase_file, error);
    SamiKey *key = pkey ? key_take(pkey) : NULL;
    if (pkey && !key)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s: the private key is not of Ed25519", place);
    return key;
}

gboolean
sami_key_try(const SamiKey *key, const gchar *place, GError **error)
{
    guint8 octets[32];
    if (RAND_bytes(octets, sizeof octets) != 1) {
        const gchar *reason = ERR_reason_error_string(ERR_peek_error());
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "OpenSSL gives no random numbers here: %s", reason ? reason : "no reason given");
        ERR_clear_error();
        return FALSE;
    }
    return sami_private_key_try(key->pkey, place, error);
}

/* OpenSSL's own would ask on the terminal. */
static int
give_no_passphrase(char *buffer, int size, int is_writing, void *unused)
{
    return -1;
}

GPtrArray *
sami_keys_load_public(const gchar *file, SamiTrust trust, GError **error)
{
    g_autoptr(GPtrArray) keys = g_ptr_array_new_with_free_func((GDestroyNotify) sami_key_free);
    gsize length = 0;
    guint n_blocks = 0;
    g_autofree gchar *text = sami_trust_read(file, trust, PUBLIC_FILE_MAX, &length, error);
    if (!text)
        return NULL;
    /* Each block has to be one: a key that could not be read, and of which nothing was said, would be missed when it is needed. */
    for (const gchar *at = text; (at = strstr(at, "-----BEGIN ")); at++)
        n_blocks++;
    BIO *bio = BIO_new_mem_buf(text, (int) length);
    EVP_PKEY *pkey;
    while (bio && keys->len < SAMI_KEYS_MAX && (pkey = PEM_read_bio_PUBKEY(bio, NULL, give_no_passphrase, NULL))) {
        SamiKey *key = key_take(pkey);
        if (!key)
            break;
        g_ptr_array_add(keys, key);
    }
    BIO_free(bio);
    ERR_clear_error();
    if (keys->len > 0 && keys->len == n_blocks)
        return g_steal_pointer(&keys);
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s: no Ed25519 public key in PEM form; allowed are 1 to %u of them, and nothing else", file,
                SAMI_KEYS_MAX);
    return NULL;
}

SamiKey *
sami_key_load_public(const gchar *file, GError **error)
{
    g_autoptr(GPtrArray) keys = sami_keys_load_public(file, SAMI_TRUST_PUBLIC, error);
    return keys ? sami_key_ref(keys->pdata[0]) : NULL;
}

SamiKey *
sami_keys_find(GPtrArray *keys, const guint8 key_id[SAMI_KEY_ID])
{
    for (guint i = 0; keys && i < keys->len; i++)
        if (memcmp(sami_key_id(keys->pdata[i]), key_id, SAMI_KEY_ID) == 0)
            return keys->pdata[i];
    return NULL;
}

static const gchar *
to_hex(const guint8 *octets, guint n, gchar *ret_text)
{
    for (guint i = 0; i < n; i++)
        g_snprintf(ret_text + 2 * i, 3, "%02x", octets[i]);
    return ret_text;
}

const gchar *
sami_key_id_text(const guint8 key_id[SAMI_KEY_ID], gchar ret_text[SAMI_KEY_ID_TEXT])
{
    return to_hex(key_id, SAMI_KEY_ID, ret_text);
}

const gchar *
sami_migration_id_text(const guint8 id[SAMI_MIGRATION_ID], gchar ret_text[SAMI_MIGRATION_ID_TEXT])
{
    return to_hex(id, SAMI_MIGRATION_ID, ret_text);
}

SamiKey *
sami_key_from_public(const guint8 octets[32])
{
    EVP_PKEY *pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, octets, 32);
    return pkey ? key_take(pkey) : NULL;
}

SamiKey *
sami_key_generate(void)
{
    EVP_PKEY *pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    return pkey ? key_take(pkey) : NULL;
}

const guint8 *
sami_key_id(const SamiKey *key)
{
    return key->digest;
}

void
sami_key_public(const SamiKey *key, guint8 ret_octets[32])
{
    memcpy(ret_octets, key->raw, 32);
}

/* The record's elements, in order. The table gives numbers and lengths. */
static const SamiElementId signature_elements[] = {
    SAMI_E_MESSAGE_SCOPE, SAMI_E_SIG_ALGORITHM, SAMI_E_SIG_ROLE, SAMI_E_SIG_FLAGS, SAMI_E_SIG_KEY_ID,
    SAMI_E_MIGRATION_ID,  SAMI_E_BINDING,       SAMI_E_COUNTER,  SAMI_E_ELAPSED,   SAMI_E_SIGNATURE,
};
#define TEMPLATE_SIZE (4u + 6u + 4u + 8u * (G_N_ELEMENTS(signature_elements) - 1u))

const guint8 *
sami_signature_template(gsize *ret_size)
{
    static guint8 set[TEMPLATE_SIZE];
    static gsize once = 0;
    if (g_once_init_enter(&once)) {
        SamiWriter w;
        sami_writer_init(&w, set, sizeof set);
        sami_writer_uint(&w, 3, 2);
        sami_writer_uint(&w, sizeof set, 2);
        sami_writer_uint(&w, SAMI_TEMPLATE_SIGNATURE, 2);
        sami_writer_uint(&w, G_N_ELEMENTS(signature_elements), 2);
        sami_writer_uint(&w, 1, 2);
        for (gsize i = 0; i < G_N_ELEMENTS(signature_elements); i++) {
            const SamiElement *e = &sami_elements[signature_elements[i]];
            sami_writer_uint(&w, e->pen ? e->number | 0x8000u : e->number, 2);
            sami_writer_uint(&w, e->length, 2);
            if (e->pen)
                sami_writer_uint(&w, e->pen, 4);
        }
        g_assert(!w.is_bad && sami_writer_length(&w) == sizeof set);
        g_once_init_leave(&once, 1);
    }
    *ret_size = sizeof set;
    return set;
}

static gsize
covered(SamiKey *key, const guint8 *message, gsize length)
{
    gsize n = length - SIGNATURE_OCTETS;
    memcpy(key->scratch, context, sizeof context);
    memcpy(key->scratch + sizeof context, message, n);
    return sizeof context + n;
}

gsize
sami_signature_seal(SamiKey *key, const SamiSignature *fields, guint8 *message, gsize length)
{
    SamiWriter w;
    gsize total = length + SAMI_SIGNATURE_SET;
    sami_writer_init(&w, message + length, SAMI_SIGNATURE_SET);
    sami_writer_uint(&w, SAMI_TEMPLATE_SIGNATURE, 2);
    sami_writer_uint(&w, SAMI_SIGNATURE_SET, 2);
    sami_writer_uint(&w, 0, 1);
    sami_writer_uint(&w, 1, 1);
    sami_writer_uint(&w, fields->role, 1);
    sami_writer_uint(&w, fields->flags, 1);
    sami_writer_octets(&w, sami_key_id(key), SAMI_KEY_ID);
    sami_writer_octets(&w, fields->migration_id, 16);
    sami_writer_octets(&w, fields->binding, 32);
    sami_writer_uint(&w, fields->counter, 8);
    sami_writer_uint(&w, fields->elapsed_ms, 8);
    message[2] = (guint8) (total >> 8);
    message[3] = (guint8) total;

    gsize n = covered(key, message, total), size = SIGNATURE_OCTETS;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    gboolean is_signed = EVP_DigestSignInit(ctx, NULL, NULL, NULL, key->pkey) == 1 &&
                         EVP_DigestSign(ctx, w.at, &size, key->scratch, n) == 1;
    EVP_MD_CTX_free(ctx);
    g_assert(is_signed && size == SIGNATURE_OCTETS);
    return total;
}

gboolean
sami_signature_read(const guint8 *message, gsize length, SamiSignature *ret, GError **error)
{
    SamiReader r;
    sami_reader_init(&r, message, length);
    guint version = (guint) sami_reader_uint(&r, 2), says = (guint) sami_reader_uint(&r, 2);
    if (length < SAMI_MESSAGE_HEADER || length > SAMI_MESSAGE_MAX)
        return sami_rule_error(error, SAMI_RULE_MESSAGE_LENGTH, "%zu octets are no IPFIX Message", length);
    if (version != 10)
        return sami_rule_error(error, SAMI_RULE_MESSAGE_VERSION, "not an IPFIX Message: version %u", version);
    if (says != length)
        return sami_rule_error(error, SAMI_RULE_MESSAGE_LENGTH, "Length %u in a Message of %zu octets", says, length);
    gboolean has_room = length >= SAMI_MESSAGE_HEADER + SAMI_SIGNATURE_SET;
    if (has_room)
        sami_reader_init(&r, message + length - SAMI_SIGNATURE_SET, SAMI_SIGNATURE_SET);
    if (!has_room || sami_reader_uint(&r, 2) != SAMI_TEMPLATE_SIGNATURE ||
        sami_reader_uint(&r, 2) != SAMI_SIGNATURE_SET) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_SIGNATURE, "the Message is not signed");
        return FALSE;
    }
    sami_reader_take(&r, 1);
    ret->algorithm = (guint8) sami_reader_uint(&r, 1);
    ret->role = (guint8) sami_reader_uint(&r, 1);
    ret->flags = (guint8) sami_reader_uint(&r, 1);
    memcpy(ret->key_id, sami_reader_take(&r, SAMI_KEY_ID), SAMI_KEY_ID);
    memcpy(ret->migration_id, sami_reader_take(&r, 16), 16);
    memcpy(ret->binding, sami_reader_take(&r, 32), 32);
    ret->counter = sami_reader_uint(&r, 8);
    ret->elapsed_ms = sami_reader_uint(&r, 8);
    return TRUE;
}

gboolean
sami_signature_verify(SamiKey *key, const guint8 *message, gsize length)
{
    if (length < SAMI_MESSAGE_HEADER + SAMI_SIGNATURE_SET || length > SAMI_MESSAGE_MAX)
        return FALSE;
    gsize n = covered(key, message, length);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    gboolean is_valid = EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key->pkey) == 1 &&
                        EVP_DigestVerify(ctx, message + length - SIGNATURE_OCTETS, SIGNATURE_OCTETS,
                                         key->scratch, n) == 1;
    EVP_MD_CTX_free(ctx);
    return is_valid;
}

static void
sha256(const guint8 *octets, gsize n, guint8 ret[32])
{
    gboolean is_done = EVP_Digest(octets, n, ret, NULL, EVP_sha256(), NULL) == 1;
    g_assert(is_done);
}

void
sami_binding_opening(const guint8 ekm[32], guint8 ret[32])
{
    guint8 input[8 + 32] = "SAMI-B0"; /* with its NUL */
    memcpy(input + 8, ekm, 32);
    sha256(input, sizeof input, ret);
}

void
sami_binding_session(const guint8 migration_id[16], const guint8 nonce_e[32], const guint8 nonce_c[32],
                     const SamiKey *exporter, const SamiKey *collector, const guint8 ekm[32],
                     const gchar *destination, guint8 ret[32])
{
    static const guint8 label[19] = "SAMI-IPFIX-BIND-v1";
    guint8 input[512];
    gsize n_name = strlen(destination);
    SamiWriter w;
    sami_writer_init(&w, input, sizeof input);
    sami_writer_octets(&w, label, sizeof label);
    sami_writer_octets(&w, migration_id, 16);
    sami_writer_octets(&w, nonce_e, 32);
    sami_writer_octets(&w, nonce_c, 32);
    sami_writer_octets(&w, exporter->digest, 32);
    sami_writer_octets(&w, collector->digest, 32);
    sami_writer_octets(&w, ekm, 32);
    sami_writer_uint(&w, n_name, 1);
    sami_writer_octets(&w, destination, n_name);
    g_assert(!w.is_bad);
    sha256(input, sami_writer_length(&w), ret);
}

void
sami_random(guint8 *ret, gsize n)
{
    int is_done = RAND_bytes(ret, (int) n);
    g_assert(is_done == 1);
}
