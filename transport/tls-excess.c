/* What a peer may say that is no Message.
 *
 * OpenSSL handles such records inside the call that is to read a Message, as many as there are (SSL_MODE_AUTO_RETRY; without it, still all that is in its
 * read buffer), so the limit has to take effect within the call. The message callback is told of each record before it is decrypted, and of each message of a
 * handshake; what makes OpenSSL stop there is that the peer is said to have shut down (SSL_set_shutdown(3)). Then its calls return, with an error that
 * means nothing: the reason is in the verdict. */
#include <openssl/ssl.h>

#include "common/limits.h"
#include "transport/tls-context.h"

static gchar *
find_excess(const SamiTlsVerdict *verdict)
{
    if (!verdict->is_session)
        return verdict->n_records > SAMI_TLS_HANDSHAKE_RECORDS_MAX ? g_strdup("a handshake has more records than any needs") : NULL;
    /* The last record may be one that is about to give a Message. */
    if (verdict->n_records <= SAMI_TLS_EXTRA_MAX + 1 && verdict->n_messages <= SAMI_TLS_EXTRA_MAX)
        return NULL;
    return g_strdup_printf("more than %u times it has sent what is no Message: KeyUpdates, session tickets, or records that nobody can decrypt",
                           SAMI_TLS_EXTRA_MAX);
}

static void
on_message(int is_sent, int version, int type, const void *octets, size_t n, SSL *ssl, void *unused)
{
    SamiTlsVerdict *verdict = SSL_get_app_data(ssl);
    if (is_sent || (!verdict->is_session && SSL_is_init_finished(ssl)))
        return;
    verdict->n_records += type == SSL3_RT_HEADER;
    verdict->n_messages += type == SSL3_RT_HANDSHAKE;
    if (!verdict->reason && (verdict->reason = find_excess(verdict))) {
        verdict->cause = SAMI_HANDSHAKE_OTHER;
        verdict->is_excessive = TRUE;
    }
    if (verdict->is_excessive)
        SSL_set_shutdown(ssl, SSL_get_shutdown(ssl) | SSL_RECEIVED_SHUTDOWN);
}

void
sami_tls_count(SSL *ssl)
{
    SSL_set_msg_callback(ssl, on_message);
}

void
sami_tls_count_session(SamiTlsVerdict *verdict)
{
    verdict->is_session = TRUE;
    verdict->n_records = verdict->n_messages = 0;
}

void
sami_tls_count_read(SamiTlsVerdict *verdict)
{
    verdict->n_records -= verdict->n_records > 0;
}
