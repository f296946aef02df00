/* TLS 1.3 (RFC 8446) in a capture, read with the secrets that an end wrote to a key log (SSLKEYLOGFILE form, draft-ietf-tls-keylogfile).
 *
 * Only what is needed to read application data: the hellos for random and cipher suite, then records by the traffic secrets, with key
 * updates. The cryptography is OpenSSL's. */
#pragma once

#include "common/error.h"

typedef struct SamiKeyLog SamiKeyLog;
/* Reads CLIENT_TRAFFIC_SECRET_0, SERVER_TRAFFIC_SECRET_0 and the handshake secrets; other lines are skipped. SAMI_ERROR_FAILED, or
 * SAMI_ERROR_MALFORMED naming the line. At most a million lines. */
SamiKeyLog *sami_key_log_load(const gchar *file, GError **error);
void sami_key_log_free(SamiKeyLog *log);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiKeyLog, sami_key_log_free)

/* One captured TLS connection, both directions. */
typedef struct SamiTlsDecrypt SamiTlsDecrypt;
SamiTlsDecrypt *sami_tls_decrypt_new(const SamiKeyLog *log);
void sami_tls_decrypt_free(SamiTlsDecrypt *tls);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiTlsDecrypt, sami_tls_decrypt_free)
/* The next octets of one direction of the TCP stream, in order and without a gap, cut anywhere. Application data is appended to `plain`.
 * *ret_is_closed: close_notify was read. SAMI_ERROR_MALFORMED (not TLS 1.3, no secret for this connection, a record that does not
 * decrypt, a cipher suite that is not known): this direction of the connection cannot be read on. */
gboolean sami_tls_decrypt_feed(SamiTlsDecrypt *tls, gboolean is_from_client, const guint8 *octets, gsize n, GByteArray *plain,
                               gboolean *ret_is_closed, GError **error);
