/* Private keys, of TLS and of signatures alike: PEM files, plain or encrypted (PKCS#8, RFC 5958), and whatever a URI names to OpenSSL's stores
 * ("pkcs11:…" of a provider, "file:…"), or to an engine. Keys are only ever used through EVP, so that one whose octets never leave a token does as well.
 *
 * The file, and the file with its passphrase, must be secrets in the sense of common/trust.h. Passphrase and PEM text are cleansed. */
#pragma once

#include "common/error.h"

struct evp_pkey_st; /* OpenSSL's EVP_PKEY */

/* A value that is a URI and not a file name: a scheme of two letters or more. */
gboolean sami_private_key_is_uri(const gchar *place);
/* SAMI_ERROR_CONFIG. passphrase_file NULL: an encrypted key is refused, with what is missing. (transfer full) */
struct evp_pkey_st *sami_private_key_load(const gchar *place, const gchar *passphrase_file, GError **error);
/* The same from descriptors that sami_trust_open() gave to another process; the names are for messages. passphrase_fd -1: none. */
struct evp_pkey_st *sami_private_key_load_fd(int fd, const gchar *place, int passphrase_fd, const gchar *passphrase_file, GError **error);

/* Whether a file has its key encrypted. SAMI_ERROR_CONFIG. */
gboolean sami_private_key_is_encrypted(const gchar *file, gboolean *ret_is_encrypted, GError **error);

/* Signs something: a token may say only then that its PIN is wrong, or that what it needs is out of reach of this process. SAMI_ERROR_CONFIG.
 * Blocks as long as the token does. */
gboolean sami_private_key_try(struct evp_pkey_st *key, const gchar *place, GError **error);

/* A passphrase: the first line of the file. At most 1023 octets, and not empty; *ret_length is what sami_trust_wipe() needs. (transfer full) */
gchar *sami_passphrase_read(const gchar *file, gsize *ret_length, GError **error);
