#include <openssl/err.h>
#include <openssl/ssl.h>

#include "transport/tls-context.h"

typedef struct {
    int reason;
    const gchar *text;
} Explanation;

/* RFC 8446 §6.2 from where the operator stands. An alert is the other side's verdict: the cure
 * is usually over there. */
static const Explanation explanations[] = {
    { SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, "the peer refused our certificate: it does not carry the "
                                         "name that is configured there (bad_certificate)" },
    { SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE, "the peer refused our certificate: it is not made "
                                                 "for this purpose (unsupported_certificate)" },
    { SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED,
      "the peer refused our certificate: it is revoked (certificate_revoked)" },
    { SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED, "the peer refused our certificate: it has expired, or "
                                             "the peer's clock is wrong (certificate_expired)" },
    { SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN,
      "the peer refused our certificate (certificate_unknown)" },
    { SSL_R_TLSV1_ALERT_UNKNOWN_CA, "the peer refused our certificate: it is neither pinned there "
                                    "nor issued by a CA of its tls-ca (unknown_ca)" },
    { SSL_R_TLSV1_ALERT_ACCESS_DENIED,
      "the peer refused our certificate: access denied (access_denied)" },
    { SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED,
      "the peer demands a certificate (certificate_required)" },
    { SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, "the peer does not speak TLS 1.3 (protocol_version)" },
    { SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE, "the peer refused the handshake (handshake_failure)" },
    { SSL_R_TLSV1_ALERT_INTERNAL_ERROR, "the peer had an internal error (internal_error)" },
    { SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, "presented no certificate" },
    { SSL_R_WRONG_VERSION_NUMBER, "what the peer sent is not TLS" },
    { SSL_R_UNSUPPORTED_PROTOCOL, "the peer does not speak TLS 1.3" },
    { SSL_R_HTTP_REQUEST, "what the peer sent is HTTP, not TLS" },
    { SSL_R_HTTPS_PROXY_REQUEST, "what the peer sent is HTTP, not TLS" },
    { SSL_R_UNEXPECTED_EOF_WHILE_READING,
      "truncated: the peer's octets ended without close_notify (RFC 8446 §6.1)" },
};

SamiHandshakeCause
sami_tls_cause(void)
{
    gulong code = ERR_peek_error();
    if (!code || ERR_GET_LIB(code) != ERR_LIB_SSL)
        return SAMI_HANDSHAKE_OTHER;
    if (ERR_GET_REASON(code) == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
        return SAMI_HANDSHAKE_NO_CERTIFICATE;
    return ERR_GET_REASON(code) >= SSL_AD_REASON_OFFSET ? SAMI_HANDSHAKE_BY_PEER
                                                        : SAMI_HANDSHAKE_OTHER;
}

gchar *
sami_tls_explain(int ssl_error, int saved_errno)
{
    gulong code = ERR_get_error();
    int reason = ERR_GET_REASON(code);
    const gchar *text = code ? ERR_reason_error_string(code) : NULL;
    ERR_clear_error();
    if (code && ERR_GET_LIB(code) == ERR_LIB_SSL)
        for (guint i = 0; i < G_N_ELEMENTS(explanations); i++)
            if (explanations[i].reason == reason)
                return g_strdup(explanations[i].text);
    if (ssl_error == SSL_ERROR_SYSCALL && saved_errno)
        return g_strdup_printf("the connection broke: %s", g_strerror(saved_errno));
    if (ssl_error == SSL_ERROR_SYSCALL || !text)
        return g_strdup("truncated: the connection ended");
    if (ERR_GET_LIB(code) >= ERR_LIB_USER) /* none of OpenSSL's own */
        return g_strdup_printf("the engine or provider of our own key failed: %s", text);
    return g_strdup(text);
}
