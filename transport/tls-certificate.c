#include "transport/tls-certificate.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

gboolean
sami_certificate_has_name(X509 *certificate, const gchar *name)
{
    const guint flags = X509_CHECK_FLAG_NO_WILDCARDS | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
                        X509_CHECK_FLAG_NEVER_CHECK_SUBJECT;
    return X509_check_host(certificate, name, strlen(name), flags, NULL) == 1;
}

/* OpenSSL 3 has no text for errno values. */
const gchar *
sami_openssl_take_reason(void)
{
    gulong code = ERR_get_error();
    const gchar *reason = NULL;
    if (code && ERR_SYSTEM_ERROR(code))
        reason = g_strerror(ERR_GET_REASON(code));
    else if (code)
        reason = ERR_reason_error_string(code);
    ERR_clear_error();
    return reason ? reason : "unknown error";
}

int
sami_openssl_no_passphrase(char *buffer, int size, int is_writing, void *unused)
{
    return -1;
}
