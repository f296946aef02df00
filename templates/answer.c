#include "templates/answer.h"

#include <string.h>

gboolean
sami_answer_verify(SamiStream *stream, gboolean is_bound, guint8 *message, gsize length, guint64 now_ms, SamiAnswerUnder *ret_under,
                   SamiReason *ret_reason, gboolean *ret_is_last, GError **error)
{
    static const guint8 zero[16] = { 0 };
    SamiSignature signature;
    guint8 id[16];
    *ret_under = is_bound ? SAMI_UNDER_SESSION : SAMI_UNDER_OPENING;
    memcpy(id, stream->migration_id, 16);
    if (!is_bound && sami_signature_read(message, length, &signature, NULL) && memcmp(signature.migration_id, zero, 16) == 0) {
        memcpy(stream->migration_id, zero, 16);
        *ret_under = SAMI_UNDER_NO_ID;
    }
    gboolean is_valid = sami_stream_verify(stream, message, length, now_ms, ret_reason, ret_is_last, error);
    memcpy(stream->migration_id, id, 16);
    return is_valid;
}

gchar *
sami_answer_doubt_hello_reply(const SamiStream *stream, const SamiHelloReply *reply, guint16 message_max)
{
    guint8 key[32];
    sami_key_public(stream->peer_key, key);
    if (reply->version != 1)
        return g_strdup_printf("the hello-reply is of protocol version %u", reply->version);
    if (memcmp(reply->nonce_e, stream->nonce_e, 32) != 0)
        return g_strdup("the hello-reply answers another hello");
    if (memcmp(reply->public_key, key, 32) != 0)
        return g_strdup("the hello-reply names another key than the one that signed it");
    if (reply->lease_s == 0)
        return g_strdup("the hello-reply grants no lease");
    if (reply->message_max < message_max)
        return g_strdup_printf("the hello-reply takes Messages of %u octets only, this transport has %u", reply->message_max, message_max);
    return NULL;
}
