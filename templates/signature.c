#include "templates/signature.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cursor.h"
#include "common/secret.h"
#include "templates/elements.h"
#include "templates/rules.h"

/* 18 octets: the text and its NUL. */
static const guint8 context[18] = "SAMI-IPFIX-SIG-v1";
#define SIGNATURE_OCTETS 64u

struct SamiKey {
    EVP_PKEY *pkey;
    guint8 digest[32]; /* SHA-256 of the SPKI; the key id is its beginning */
    guint8 raw[32];
    guint8 scratch[sizeof context + SAMI_MESSAGE_MAX]; /* Ed25519 is one-shot: context and Message in one piece */
};

static SamiKey *
key_take(EVP_PKEY *pkey)
{
    SamiKey *key = g_new0(SamiKey, 1);
    gsize raw_length = sizeof key->raw;
    guint8 *der = NULL;
    int length = i2d_PUBKEY(pkey, &der);
    key->pkey = pkey;
    if (length <= 0 || EVP_PKEY_get_id(pkey) != EVP_PKEY_ED25519 ||
        EVP_PKEY_get_raw_public_key(pkey, key->raw, &raw_length) != 1 ||
        EVP_Digest(der, (gsize) length, key->digest, NULL, EVP_sha256(), NULL) != 1)
        g_clear_pointer(&key, sami_key_free);
    OPENSSL_free(der);
    return key;
}

void
sami_key_free(SamiKey *key)
{
    if (!key)
        return;
    EVP_PKEY_free(key->pkey);
    g_free(key);
}

static EVP_PKEY *
parse(const SamiSecret *secret, gboolean is_private)
{
    BIO *bio = BIO_new_mem_buf(secret->text, (int) secret->length);
    EVP_PKEY *pkey = is_private ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    BIO_free(bio);
    return pkey;
}

static SamiKey *
load(const gchar *file, gboolean is_private, GError **error)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    struct stat status;
    SamiSecret secret = { NULL, 0 };
    if (fd < 0 || fstat(fd, &status) != 0) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s: %s", file, g_strerror(errno));
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    gboolean is_too_open = is_private && (status.st_mode & 077);
    if (is_too_open)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG,
                    "%s: a signing key must not be accessible by others (mode %04o, allowed 0600)", file,
                    status.st_mode & 07777u);
    gboolean is_read = !is_too_open && sami_secret_read(fd, file, &secret, error);
    close(fd);
    if (!is_read)
        return NULL;
    EVP_PKEY *pkey = parse(&secret, is_private);
    sami_secret_clear(&secret);
    SamiKey *key = pkey ? key_take(pkey) : NULL;
    if (!key)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s: no Ed25519 %s key in PEM form", file,
                    is_private ? "private" : "public");
    return key;
}

SamiKey *
sami_key_load_private(const gchar *file, GError **error)
{
    return load(file, TRUE, error);
}

SamiKey *
sami_key_load_public(const gchar *file, GError **error)
{
    return load(file, FALSE, error);
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

void
sami_key_spki_digest(const SamiKey *key, guint8 ret_digest[32])
{
    memcpy(ret_digest, key->digest, 32);
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
