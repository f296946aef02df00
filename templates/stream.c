#include "templates/stream.h"

#include <string.h>

SamiStream *
sami_stream_new(guint8 role, SamiKey *key, const guint8 ekm[32], gsize message_max, guint64 now_ms, guint64 max_delay_ms)
{
    gboolean is_exporter = role == SAMI_ROLE_EXPORTER;
    SamiStream *stream = g_new0(SamiStream, 1);
    stream->role = role;
    stream->key = sami_key_ref(key);
    memcpy(stream->ekm, ekm, 32);
    sami_binding_opening(ekm, stream->binding);
    stream->start_ms = stream->opened_ms = now_ms;
    stream->max_delay_ms = max_delay_ms;
    stream->encoder = sami_encoder_new(is_exporter ? SAMI_DOMAIN_FORWARD : SAMI_DOMAIN_REVERSE, message_max);
    stream->decoder = sami_decoder_new(is_exporter ? SAMI_DOMAIN_REVERSE : SAMI_DOMAIN_FORWARD);
    return stream;
}

void
sami_stream_free(SamiStream *stream)
{
    if (!stream)
        return;
    sami_encoder_free(stream->encoder);
    sami_decoder_free(stream->decoder);
    g_clear_pointer(&stream->unread, g_array_unref);
    sami_key_free(stream->key);
    g_free(stream);
}

void
sami_stream_bind(SamiStream *stream, const gchar *destination)
{
    gboolean is_exporter = stream->role == SAMI_ROLE_EXPORTER;
    sami_binding_session(stream->migration_id, stream->nonce_e, stream->nonce_c,
                         is_exporter ? stream->key : stream->peer_key, is_exporter ? stream->peer_key : stream->key,
                         stream->ekm, destination, stream->binding);
}

void
sami_stream_reopen(SamiStream *stream, SamiKey *key, const guint8 ekm[32], guint64 now_ms)
{
    gboolean is_exporter = stream->role == SAMI_ROLE_EXPORTER;
    SamiKey *before = stream->key;
    stream->key = sami_key_ref(key);
    sami_key_free(before);
    memcpy(stream->ekm, ekm, 32);
    sami_binding_opening(ekm, stream->binding);
    stream->start_ms = stream->opened_ms = now_ms;
    stream->is_anchored = FALSE;
    stream->counter_in = 0;
    g_clear_pointer(&stream->unread, g_array_unref);
    sami_encoder_restart(stream->encoder);
    sami_decoder_free(stream->decoder);
    stream->decoder = sami_decoder_new(is_exporter ? SAMI_DOMAIN_REVERSE : SAMI_DOMAIN_FORWARD);
}

gboolean
sami_stream_end(SamiStream *stream, guint32 export_time, guint8 **ret_message, gsize *ret_length, guint64 *ret_counter, GError **error)
{
    if (!sami_encoder_take(stream->encoder, export_time, ret_message, ret_length, error))
        return FALSE;
    *ret_counter = stream->counter_out++;
    return TRUE;
}

gsize
sami_stream_seal(SamiStream *stream, guint8 *message, gsize length, guint64 counter, guint64 now_ms, gboolean is_last)
{
    SamiSignature fields = { .role = stream->role, .flags = is_last ? SAMI_SIGNATURE_LAST : 0, .counter = counter,
                             .elapsed_ms = now_ms - stream->start_ms };
    if (counter == 0)
        stream->challenge_ms = now_ms;
    memcpy(fields.migration_id, stream->migration_id, sizeof fields.migration_id);
    memcpy(fields.binding, stream->binding, sizeof fields.binding);
    length = sami_signature_seal(stream->key, &fields, message, length);
    stream->n_messages_out++;
    stream->n_octets_out += length;
    return length;
}

gboolean
sami_stream_take(SamiStream *stream, guint64 now_ms, guint32 export_time, gboolean is_last, const guint8 **ret_message,
                 gsize *ret_length, GError **error)
{
    guint8 *message;
    gsize length;
    guint64 counter;
    if (!sami_stream_end(stream, export_time, &message, &length, &counter, error))
        return FALSE;
    *ret_length = sami_stream_seal(stream, message, length, counter, now_ms, is_last);
    *ret_message = message;
    return TRUE;
}

static gboolean
refuse(SamiReason reason, SamiReason *ret_reason, GError **error)
{
    *ret_reason = reason;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_SIGNATURE, "%s: %s", sami_reason_id(reason), sami_reason_text(reason));
    return FALSE;
}

/* Step (3): fixed octets against what this session expects. */
static SamiReason
compare(const SamiStream *stream, const SamiSignature *s)
{
    guint8 role = stream->role == SAMI_ROLE_EXPORTER ? SAMI_ROLE_COLLECTOR : SAMI_ROLE_EXPORTER;
    if (s->algorithm != 1)
        return SAMI_REASON_BAD_SIGNATURE;
    if (s->role != role)
        return SAMI_REASON_WRONG_ROLE;
    if (!stream->peer_key || memcmp(s->key_id, sami_key_id(stream->peer_key), SAMI_KEY_ID) != 0)
        return SAMI_REASON_UNKNOWN_SIGNER;
    if (memcmp(s->migration_id, stream->migration_id, sizeof s->migration_id) != 0 ||
        memcmp(s->binding, stream->binding, sizeof s->binding) != 0)
        return SAMI_REASON_WRONG_SESSION;
    return s->counter == stream->counter_in ? SAMI_REASON_NONE : SAMI_REASON_WRONG_COUNTER;
}

/* Pauses one after the other, as one: how long all of it was, and how much of that we did not read. */
typedef struct {
    guint64 from_ms, to_ms, paused_ms;
} Unread;
#define UNREAD_MS 4000u /* longer ones are joined no more: what is not known exactly counts as read */
#define UNREAD_MAX 512u

void
sami_stream_unread(SamiStream *stream, guint64 from_ms, guint64 to_ms)
{
    Unread pause = { from_ms, to_ms, to_ms - from_ms };
    if (!stream->unread)
        stream->unread = g_array_new(FALSE, FALSE, sizeof(Unread));
    Unread *last = stream->unread->len > 0 ? &g_array_index(stream->unread, Unread, stream->unread->len - 1) : NULL;
    if (last && last->to_ms - last->from_ms < UNREAD_MS) {
        last->to_ms = to_ms;
        last->paused_ms += pause.paused_ms;
        return;
    }
    if (stream->unread->len == UNREAD_MAX)
        g_array_remove_index(stream->unread, 0);
    g_array_append_val(stream->unread, pause);
}

/* How long we did not read since then, at least. */
static guint64
unread_since(const SamiStream *stream, guint64 since_ms)
{
    guint64 sum_ms = 0;
    for (guint i = 0; stream->unread && i < stream->unread->len; i++) {
        const Unread *pause = &g_array_index(stream->unread, Unread, i);
        guint64 before_ms = since_ms > pause->from_ms ? since_ms - pause->from_ms : 0;
        sum_ms += pause->paused_ms > before_ms ? pause->paused_ms - before_ms : 0;
    }
    return sum_ms;
}

/* Step (5); the header says what it proves. */
static gboolean
is_fresh(SamiStream *stream, guint64 elapsed_ms, guint64 now_ms)
{
    /* Ours is subtracted from it below: a peer may write anything. */
    if (elapsed_ms > G_MAXINT64 / 2)
        return FALSE;
    gint64 now = (gint64) now_ms, elapsed = (gint64) elapsed_ms, max_delay = (gint64) stream->max_delay_ms;
    if (stream->counter_out == 0) { /* the hello: no nonce of ours is in it */
        stream->age_ms = now_ms - MIN(stream->opened_ms, now_ms);
        return stream->age_ms <= stream->max_delay_ms;
    }
    if (!stream->is_anchored) {
        stream->is_anchored = TRUE;
        stream->peer_start_ms = (gint64) stream->challenge_ms - elapsed;
        if (elapsed > max_delay)
            return FALSE;
    }
    stream->peer_start_ms = MIN(stream->peer_start_ms, now - elapsed);
    stream->age_ms = (guint64) (now - elapsed - stream->peer_start_ms);
    return stream->age_ms <= stream->max_delay_ms || stream->age_ms <= stream->max_delay_ms + unread_since(stream, now_ms - stream->age_ms);
}

gboolean
sami_stream_verify(SamiStream *stream, const guint8 *message, gsize length, guint64 now_ms, SamiReason *ret_reason,
                   gboolean *ret_is_last, GError **error)
{
    SamiSignature signature;
    g_autoptr(GError) local = NULL;
    if (!sami_signature_read(message, length, &signature, &local)) {
        *ret_reason = g_error_matches(local, SAMI_ERROR, SAMI_ERROR_SIGNATURE) ? SAMI_REASON_NOT_SIGNED : SAMI_REASON_MALFORMED;
        g_propagate_error(error, g_steal_pointer(&local));
        return FALSE;
    }
    if (stream->peer_keys && stream->counter_in == 0)
        stream->peer_key = sami_keys_find(stream->peer_keys, signature.key_id);
    SamiReason reason = compare(stream, &signature);
    if (reason != SAMI_REASON_NONE)
        return refuse(reason, ret_reason, error);
    if (!sami_signature_verify(stream->peer_key, message, length))
        return refuse(SAMI_REASON_BAD_SIGNATURE, ret_reason, error);
    if (!is_fresh(stream, signature.elapsed_ms, now_ms))
        return refuse(SAMI_REASON_TOO_LATE, ret_reason, error);
    stream->counter_in++;
    stream->n_messages_in++;
    stream->n_octets_in += length;
    *ret_is_last = (signature.flags & SAMI_SIGNATURE_LAST) != 0;
    return TRUE;
}

gboolean
sami_stream_decode(SamiStream *stream, guint8 *message, gsize length, SamiRecordFunc func, gpointer user_data, GError **error)
{
    return sami_decoder_read(stream->decoder, message, length, func, user_data, error);
}
