/* TLS 1.3 and DTLS 1.2 settings, our certificate, and the rule by which a peer's certificate is believed
 * (PROTOCOL §1). Private to transport/.
 *
 * A certificate is accepted if it equals, octet by octet, one of those that are pinned for a peer (its
 * own self-signature is then not asked for more, only its validity in time), or if a CA of
 * ca_file vouches for it and no certificate is pinned for that peer. In both cases a
 * subjectAltName dNSName must be the peer's configured name. A server takes any configured peer,
 * a client only the one that it was asked to reach. */
#pragma once

#include "transport/network.h"
#include "transport/session.h"

typedef struct SamiTls SamiTls;
typedef struct ssl_st SSL; /* OpenSSL's; its headers stay in tls-*.c and pki.c */

/* One handshake's verdict; lives as long as its SSL object. */
typedef struct {
    SamiTls *tls;  /* (transfer none) */
    gchar *wanted; /* client: the peer it wants; NULL: any configured peer */
    gchar *name;   /* set when accepted: the verified name */
    gchar *reason; /* set when refused: why, for the operator */
    SamiHandshakeCause cause; /* set with it */
    gboolean is_excessive;    /* refused for how much it says: OpenSSL's own errors mean nothing any more */
    gboolean is_session;      /* the handshake is over; since then: */
    guint n_records;          /* that came and gave no Message */
    guint n_messages;         /* of a handshake */
} SamiTlsVerdict;

/* Reads certificate, key, CA and pinned certificates, opens the key log. SAMI_ERROR_CONFIG. */
SamiTls *sami_tls_new(const SamiNetworkConfig *config, gboolean is_server, GError **error);
void sami_tls_free(SamiTls *tls);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiTls, sami_tls_free)
/* Whether this process can use them, as it is confined now. SAMI_ERROR_CONFIG. */
gboolean sami_tls_try(SamiTls *tls, const SamiNetworkConfig *config, GError **error);
/* Our certificate and key anew, for sessions that begin from now on; on failure the old ones stay. The key is read from descriptors, which this process
 * could not open any more; passphrase_fd -1: none. */
gboolean sami_tls_reload_identity(SamiTls *tls, const SamiNetworkConfig *config, int key_fd, int passphrase_fd, GError **error);
/* Whether certificate and key, from their files, are there and belong together. SAMI_ERROR_CONFIG. */
gboolean sami_tls_check_identity(const SamiNetworkConfig *config, GError **error);
/* Whether sami_tls_reload() would take CA and pinned certificates. SAMI_ERROR_CONFIG. */
gboolean sami_tls_check(const SamiNetworkConfig *config, GError **error);
/* Reads CA and pinned certificates again; on failure the old ones stay. Standing sessions are
 * not touched. */
gboolean sami_tls_reload(SamiTls *tls, const SamiNetworkConfig *config, GError **error);

/* Whether the peer of a finished handshake would be accepted by what is loaded now, as who it is. */
gboolean sami_tls_still_believes(const SSL *ssl);

/* An SSL object over fd (not taken; -1: the caller sets its BIO) that reports into verdict. (transfer full) */
SSL *sami_tls_open(SamiTls *tls, SamiTlsVerdict *verdict, int fd, GError **error);
void sami_tls_verdict_clear(SamiTlsVerdict *verdict);
/* What a peer says that is no Message is counted from sami_tls_open() on (transport/tls-excess.c). Beyond SAMI_TLS_HANDSHAKE_RECORDS_MAX, and of a session
 * SAMI_TLS_EXTRA_MAX, the call of OpenSSL that reads returns, no other one reads any more, and the verdict has the reason. */
void sami_tls_count(SSL *ssl);
/* The handshake is over; without this call nothing is counted from there on. */
void sami_tls_count_session(SamiTlsVerdict *verdict);
/* SSL_read_ex() has given what was in one record. The buffer has to have room for any, or a record is counted more than once as one that gave something. */
void sami_tls_count_read(SamiTlsVerdict *verdict);
/* PROTOCOL §3: the exporter value of a finished handshake. */
gboolean sami_tls_export(SSL *ssl, guint8 ret_ekm[32]);
/* Empties OpenSSL's error queue and says what its first entry means to an operator; alerts of
 * the peer are explained. `saved_errno` is what a failed system call left. (transfer full) */
gchar *sami_tls_explain(int ssl_error, int saved_errno);
/* To be asked before: what the first entry of the queue, or none, says about a handshake. */
SamiHandshakeCause sami_tls_cause(void);
