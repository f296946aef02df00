#include "replay/strict.h"

#include <string.h>

#include "common/cursor.h"

struct ReplayStrict {
    const ReplayKeys *keys;
    const ReplayKey *key;
    SamiDecoder *decoder;  /* NULL before the first Message */
    SamiSignature first;   /* what every later one has to repeat */
    SamiSignature last;    /* of the Message taken last */
    guint8 binding[32];    /* of the second Message and all that follow (PROTOCOL §3) */
    guint n_messages;
    gboolean is_signed;
    gboolean is_resumed; /* says its hello */
    gboolean is_broken;
};

ReplayStrict *
replay_strict_new(const ReplayKeys *keys)
{
    ReplayStrict *strict = g_new0(ReplayStrict, 1);
    strict->keys = keys;
    return strict;
}

void
replay_strict_free(ReplayStrict *strict)
{
    if (!strict)
        return;
    sami_decoder_free(strict->decoder);
    g_free(strict);
}

static gboolean G_GNUC_PRINTF(4, 5)
refuse(SamiReason *ret_reason, SamiReason reason, GError **error, const gchar *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree gchar *text = g_strdup_vprintf(format, args);
    va_end(args);
    *ret_reason = reason;
    g_set_error_literal(error, SAMI_ERROR, SAMI_ERROR_SIGNATURE, text);
    return FALSE;
}

/* What PROTOCOL §2 step (3) asks of the second Message and all that follow. The binding may change once, after the first Message: that is a
 * hello, under B0. */
static gboolean
check_session(ReplayStrict *strict, const SamiSignature *now, SamiReason *ret_reason, GError **error)
{
    const SamiSignature *first = &strict->first;
    if (now->role != first->role)
        return refuse(ret_reason, SAMI_REASON_WRONG_ROLE, error, "signature of role %u after role %u", now->role, first->role);
    if (memcmp(now->migration_id, first->migration_id, sizeof now->migration_id) != 0)
        return refuse(ret_reason, SAMI_REASON_WRONG_SESSION, error, "signature of another migration");
    if (memcmp(now->key_id, first->key_id, sizeof now->key_id) != 0)
        return refuse(ret_reason, SAMI_REASON_WRONG_SESSION, error, "signature with another key: a session uses one");
    /* A resumed session goes on, behind its hello, where the one before it ended (PROTOCOL §3). Its Sequence Number begins anew, so nothing is lost there
     * unseen. */
    gboolean may_jump = strict->n_messages == 1 && strict->is_resumed && first->counter == 0;
    if (may_jump ? now->counter <= strict->last.counter : now->counter != strict->last.counter + 1)
        return refuse(ret_reason, SAMI_REASON_WRONG_COUNTER, error, "counter %" G_GUINT64_FORMAT " after %" G_GUINT64_FORMAT "",
                      now->counter, strict->last.counter);
    if (strict->n_messages > 1 && memcmp(now->binding, strict->binding, sizeof now->binding) != 0)
        return refuse(ret_reason, SAMI_REASON_WRONG_SESSION, error, "signature bound to another session");
    if (strict->last.flags & SAMI_SIGNATURE_LAST)
        return refuse(ret_reason, SAMI_REASON_PROTOCOL, error, "a Message after the last one");
    return TRUE;
}

static gboolean
check_first(const SamiSignature *now, SamiReason *ret_reason, GError **error)
{
    static const guint8 none[32];
    if (now->role < SAMI_ROLE_EXPORTER || now->role > SAMI_ROLE_FILE)
        return refuse(ret_reason, SAMI_REASON_WRONG_ROLE, error, "signature of role %u", now->role);
    if (now->role == SAMI_ROLE_FILE && (now->counter != 0 || memcmp(now->binding, none, sizeof none) != 0))
        return refuse(ret_reason, now->counter ? SAMI_REASON_WRONG_COUNTER : SAMI_REASON_WRONG_SESSION, error,
                      "a recorded file begins with counter 0 and no binding");
    return TRUE;
}

/* TRUE: it may be decoded; *ret_is_signed: it ends in a signature's Set. */
static gboolean
check_signature(ReplayStrict *strict, const SamiInputMessage *message, gboolean force_unsigned, SamiSignature *now, gboolean *ret_is_signed,
                SamiReason *ret_reason, GError **error)
{
    g_autoptr(GError) local = NULL;
    *ret_is_signed = sami_signature_read(message->octets, message->length, now, &local);
    if (!*ret_is_signed && (strict->is_signed || !force_unsigned || !g_error_matches(local, SAMI_ERROR, SAMI_ERROR_SIGNATURE)))
        return refuse(ret_reason, SAMI_REASON_NOT_SIGNED, error, "%s", local->message);
    if (!*ret_is_signed)
        return TRUE;
    if (strict->n_messages > 0 && !strict->is_signed)
        return refuse(ret_reason, SAMI_REASON_PROTOCOL, error, "a signed Message after unsigned ones");
    if (now->algorithm != 1)
        return refuse(ret_reason, SAMI_REASON_BAD_SIGNATURE, error, "signature algorithm %u; known is 1, Ed25519", now->algorithm);
    if (!(strict->n_messages == 0 ? check_first(now, ret_reason, error) : check_session(strict, now, ret_reason, error)))
        return FALSE;
    const ReplayKey *key = replay_keys_find(strict->keys, now->key_id);
    if (!key && !force_unsigned)
        return refuse(ret_reason, SAMI_REASON_UNKNOWN_SIGNER, error, "no key %02x%02x%02x%02x… is known (signers.d, --key)", now->key_id[0],
                      now->key_id[1], now->key_id[2], now->key_id[3]);
    if (key && !sami_signature_verify(key->key, message->octets, message->length))
        return refuse(ret_reason, SAMI_REASON_BAD_SIGNATURE, error, "the signature of %s does not verify (RFC 8032)", key->name);
    strict->key = key;
    return TRUE;
}

typedef struct {
    ReplayStrict *strict;
    SamiRecordFunc func;
    gpointer user_data;
} Relay;

static void
on_record(const SamiRecord *record, gpointer user_data)
{
    const Relay *relay = user_data;
    if (record->kind == SAMI_RECORD_HELLO)
        relay->strict->is_resumed = record->hello.opening == SAMI_OPENING_RESUME;
    relay->func(record, relay->user_data);
}

gboolean
replay_strict_message(ReplayStrict *strict, const SamiInputMessage *message, gboolean force_unsigned, SamiRecordFunc func, gpointer user_data,
                      SamiReason *ret_reason, GError **error)
{
    SamiSignature now = { 0 };
    gboolean is_signed = FALSE;
    SamiReader r;
    if (strict->is_broken)
        return refuse(ret_reason, SAMI_REASON_PROTOCOL, error, "not read: a Message before it was refused");
    strict->is_broken = TRUE; /* unless it turns out well */
    if (!check_signature(strict, message, force_unsigned, &now, &is_signed, ret_reason, error))
        return FALSE;
    sami_reader_init(&r, message->octets + 8, SAMI_MESSAGE_HEADER - 8);
    guint32 sequence = (guint32) sami_reader_uint(&r, 4);
    if (strict->n_messages == 0) {
        strict->decoder = sami_decoder_new(is_signed && now.role == SAMI_ROLE_COLLECTOR ? SAMI_DOMAIN_REVERSE : SAMI_DOMAIN_FORWARD);
        strict->first = now;
        strict->is_signed = is_signed;
        /* The file of a replication begins with its generation, and a foreign one where its writer began. */
        sami_decoder_start_at(strict->decoder, sequence);
    } else if (strict->n_messages == 1) {
        memcpy(strict->binding, now.binding, sizeof strict->binding);
    }
    Relay relay = { strict, func, user_data };
    g_autoptr(GError) trouble = NULL;
    gboolean is_read = is_signed ? sami_decoder_read(strict->decoder, (guint8 *) message->octets, message->length, on_record, &relay, &trouble)
                                 : sami_decoder_read_unsigned(strict->decoder, (guint8 *) message->octets, message->length, on_record, &relay, &trouble);
    if (!is_read) {
        *ret_reason = g_error_matches(trouble, SAMI_ERROR, SAMI_ERROR_PEN) ? SAMI_REASON_PEN_MISMATCH : SAMI_REASON_MALFORMED;
        g_propagate_error(error, g_steal_pointer(&trouble));
        return FALSE;
    }
    strict->last = now;
    strict->n_messages++;
    strict->is_broken = FALSE;
    return TRUE;
}

const ReplayKey *
replay_strict_key(const ReplayStrict *strict)
{
    return strict->key;
}

gboolean
replay_strict_is_cut(const ReplayStrict *strict)
{
    return strict->n_messages > 0 && !strict->is_broken && strict->is_signed && strict->last.role == SAMI_ROLE_FILE &&
           !(strict->last.flags & SAMI_SIGNATURE_LAST);
}
