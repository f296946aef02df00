/* TLS 1.3 (RFC 8446) in a capture, read with the secrets that an end wrote to a key log (SSLKEYLOGFILE form, draft-ietf-tls-keylogfile).
 *
 * Only what is needed to read application data: the hellos for random and cipher suite, then records by the traffic secrets, with key
 * updates. The cryptography is OpenSSL's. */
#pragma once

#include "common/error.h"

typedef struct SamiKeyLog SamiKeyLog;
/* Reads CLIENT_TRAFFIC_SECRET_0, SERVER_TRAFFIC_SECRET_0 and the handshake secrets; other lines are skipped. SAMI_ERROR_FAILED, or
 * SAMI_ERROR_MALFORMED naming the line: such a secret that is cut short, or two for the same connection. At most a million lines, 130 octets of
 * memory each. */
SamiKeyLog *sami_key_log_load(const gchar *file, GError **error);
void sami_key_log_free(SamiKeyLog *log);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiKeyLog, sami_key_log_free)

/* One captured TLS connection, both directions. Keeps of each direction at most a record, a hello and what waits, less than
 * 150 KiB, and no plain text. `log` must outlive it. */
typedef struct SamiTlsDecrypt SamiTlsDecrypt;
SamiTlsDecrypt *sami_tls_decrypt_new(const SamiKeyLog *log);
void sami_tls_decrypt_free(SamiTlsDecrypt *tls);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiTlsDecrypt, sami_tls_decrypt_free)
/* The next octets of one direction of the TCP stream, in order and without a gap, cut anywhere. The directions come in any order: what needs the
 * hello of the other waits for it, up to 64 KiB, and is read with the next octets of its own; n may be 0. Application data is appended to
 * `plain`, also what came before a fault. *ret_is_closed: close_notify was read; what follows is passed over (RFC 8446 §6.1).
 * SAMI_ERROR_MALFORMED (not TLS 1.3, no secret for this connection, a record that does not decrypt, a cipher suite that is not read, an alert that
 * ended the session): this direction cannot be read on, and every further call says so again. SAMI_ERROR_FAILED: OpenSSL has no such
 * cipher; the same. */
gboolean sami_tls_decrypt_feed(SamiTlsDecrypt *tls, gboolean is_from_client, const guint8 *octets, gsize n, GByteArray *plain,
                               gboolean *ret_is_closed, GError **error);
