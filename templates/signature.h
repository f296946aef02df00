/* The signature record that ends every Message (PROTOCOL §2): Ed25519 (RFC 8032) over a context string and the Message up to the
 * signature. Keys are PEM: PKCS#8 for the private, SPKI for the public one. The only user of OpenSSL in templates/. */
#pragma once

#include "common/error.h"
#include "common/limits.h"
#include "common/trust.h"

#define SAMI_KEY_ID 8u
#define SAMI_MIGRATION_ID 16u

enum { SAMI_ROLE_EXPORTER = 1, SAMI_ROLE_COLLECTOR = 2, SAMI_ROLE_FILE = 3 };
#define SAMI_SIGNATURE_LAST 0x01u

/* A public key, or a key pair. Immutable but for its scratch buffer and its references: one thread. */
typedef struct SamiKey SamiKey;

/* One identity's keys at a time: an old one and a new one, and room. */
#define SAMI_KEYS_MAX 4u

/* Whether this process can sign with it, and get random numbers: where a provider of openssl.cnf(5) gives either, that may end with the process's
 * privileges or in its sandbox. SAMI_ERROR_CONFIG. */
gboolean sami_key_try(const SamiKey *key, const gchar *place, GError **error);

/* The private key in a PEM file, plain or encrypted with the passphrase in passphrase_file (nullable), or behind a URI; see
 * templates/private-key.h. SAMI_ERROR_CONFIG when it cannot be read, is not of Ed25519, or others may read it. */
SamiKey *sami_key_load_private(const gchar *place, const gchar *passphrase_file, GError **error);
/* All public keys of a PEM file, one to SAMI_KEYS_MAX, read as a file of that trust. (transfer full) of SamiKey. And the first of them, of a file that
 * nobody else may write. */
GPtrArray *sami_keys_load_public(const gchar *file, SamiTrust trust, GError **error);
SamiKey *sami_key_load_public(const gchar *file, GError **error);
/* (nullable) (transfer none) */
SamiKey *sami_keys_find(GPtrArray *keys, const guint8 key_id[SAMI_KEY_ID]);
SamiKey *sami_key_ref(SamiKey *key);
/* In hex, as logs and files show them. Both return ret_text. */
#define SAMI_KEY_ID_TEXT (2u * SAMI_KEY_ID + 1u)
#define SAMI_MIGRATION_ID_TEXT (2u * SAMI_MIGRATION_ID + 1u)
const gchar *sami_key_id_text(const guint8 key_id[SAMI_KEY_ID], gchar ret_text[SAMI_KEY_ID_TEXT]);
const gchar *sami_migration_id_text(const guint8 id[SAMI_MIGRATION_ID], gchar ret_text[SAMI_MIGRATION_ID_TEXT]);
/* From 32 raw octets. (nullable) */
SamiKey *sami_key_from_public(const guint8 octets[32]);
/* A new pair, for tests and throw-away use. */
SamiKey *sami_key_generate(void);
void sami_key_free(SamiKey *key); /* drops a reference; NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiKey, sami_key_free)
const guint8 *sami_key_id(const SamiKey *key);                       /* 8 octets */
void sami_key_public(const SamiKey *key, guint8 ret_octets[32]);     /* raw */

/* The fields of the record, in host form. */
typedef struct {
    guint8 algorithm;
    guint8 role;
    guint8 flags;
    guint8 key_id[SAMI_KEY_ID];
    guint8 migration_id[SAMI_MIGRATION_ID];
    guint8 binding[32];
    guint64 counter;
    guint64 elapsed_ms;
} SamiSignature;

/* The constant Options Template Set of 300, Set header included. */
const guint8 *sami_signature_template(gsize *ret_size);

/* Appends the signature Set to a Message of `length` octets in a buffer with SAMI_SIGNATURE_SET octets of room, sets Length, signs with
 * the private key. algorithm and key_id of `fields` are filled in by it. Returns the new length. */
gsize sami_signature_seal(SamiKey *key, const SamiSignature *fields, guint8 *message, gsize length);

/* PROTOCOL §2 steps (1) and (2): length, version, a Set 300 of 144 octets at the end; then reads the record. No crypto.
 * SAMI_ERROR_MALFORMED (length, version) or SAMI_ERROR_SIGNATURE (no signature Set). */
gboolean sami_signature_read(const guint8 *message, gsize length, SamiSignature *ret, GError **error);
/* Step (4). */
gboolean sami_signature_verify(SamiKey *key, const guint8 *message, gsize length);

/* PROTOCOL §3: B0 and B. */
void sami_binding_opening(const guint8 ekm[32], guint8 ret[32]);
void sami_binding_session(const guint8 migration_id[16], const guint8 nonce_e[32], const guint8 nonce_c[32],
                          const SamiKey *exporter, const SamiKey *collector, const guint8 ekm[32],
                          const gchar *destination, guint8 ret[32]);
void sami_random(guint8 *ret, gsize n);
