/* Protected records of TLS 1.3 (RFC 8446 §5.2): the keys of one direction, and what is inside a record. Private to transport/.
 *
 * Pure: octets in, octets out. */
#pragma once

#include "transport/tls-secrets.h"

#define SAMI_TLS_RECORD_HEADER 5u
#define SAMI_TLS_FRAGMENT_MAX 16384u                       /* RFC 8446 §5.1: of content */
#define SAMI_TLS_RECORD_MAX (SAMI_TLS_FRAGMENT_MAX + 256u) /* §5.2: of a protected record, behind its header */

/* ContentType (RFC 8446 §5.1) */
enum { SAMI_TLS_CHANGE_CIPHER_SPEC = 20, SAMI_TLS_ALERT = 21, SAMI_TLS_HANDSHAKE = 22, SAMI_TLS_APPLICATION_DATA = 23 };

typedef struct SamiTlsSuite SamiTlsSuite;
/* NULL for a suite that is not read: only those of RFC 8446 §9.1 are. */
const SamiTlsSuite *sami_tls_suite_find(guint16 id);

/* A direction's traffic secret and what follows from it. */
typedef struct SamiTlsKeys SamiTlsKeys;
/* SAMI_ERROR_MALFORMED: the secret is not of the length of the suite's hash. SAMI_ERROR_FAILED: OpenSSL says no (a FIPS provider has no
 * ChaCha20). */
SamiTlsKeys *sami_tls_keys_new(const SamiTlsSuite *suite, const SamiTlsSecret *secret, GError **error);
void sami_tls_keys_free(SamiTlsKeys *keys); /* cleanses */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiTlsKeys, sami_tls_keys_free)
/* RFC 8446 §7.2: the next generation; records are counted from 0 again. SAMI_ERROR_FAILED. */
gboolean sami_tls_keys_update(SamiTlsKeys *keys, GError **error);

/* The next record: header and the `length` octets behind it, 1 to SAMI_TLS_RECORD_MAX, which become its content: *ret_length octets, the padding is
 * off. SAMI_ERROR_MALFORMED: it does not decrypt, or what is inside breaks RFC 8446 §5.4; the octets are then of no use. */
gboolean sami_tls_keys_open(SamiTlsKeys *keys, const guint8 header[SAMI_TLS_RECORD_HEADER], guint8 *record, gsize length, gsize *ret_length,
                            guint8 *ret_type, GError **error);
