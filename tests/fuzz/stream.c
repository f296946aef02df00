#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "templates/stream.h"

typedef struct {
    SamiRecordFunc func;
    guint32 n_records;
} Counter;

static void
on_record(const SamiRecord *record, gpointer user_data)
{
    Counter *counter = user_data;
    counter->n_records++;
    counter->func(record, NULL);
}

static guint
u16(const guint8 *p)
{
    return (guint)p[0] << 8 | p[1];
}

gsize
sami_fuzz_cut(const uint8_t *data, gsize size, guint8 *message, gsize *ret_length)
{
    gsize taken = MIN(size, MAX(u16(data + 2), SAMI_MESSAGE_HEADER)), length = taken;
    if (length >= SAMI_MESSAGE_HEADER + SAMI_SIGNATURE_SET &&
        u16(data + length - SAMI_SIGNATURE_SET) == SAMI_TEMPLATE_SIGNATURE)
        length -= SAMI_SIGNATURE_SET;
    *ret_length = MIN(length, SAMI_MESSAGE_MAX - SAMI_SIGNATURE_SET);
    memcpy(message, data, *ret_length);
    return taken;
}

void
sami_fuzz_stream(guint8 role, const uint8_t *data, size_t size, SamiRecordFunc func)
{
    static SamiKey *own, *peer;
    const guint8 ekm[32] = {0};
    Counter counter = {func, 0};
    if (!own)
        own = sami_key_generate(), peer = sami_key_generate();
    g_autoptr(SamiStream) stream =
        sami_stream_new(role == SAMI_ROLE_EXPORTER ? SAMI_ROLE_COLLECTOR : SAMI_ROLE_EXPORTER, own, ekm,
                        SAMI_MESSAGE_MAX, 0, 30000);
    stream->peer_key = peer;
    while (size >= SAMI_MESSAGE_HEADER) {
        guint8 buffer[SAMI_MESSAGE_MAX];
        gsize length, taken = sami_fuzz_cut(data, size, buffer, &length);
        g_autofree guint8 *message = g_malloc(length + SAMI_SIGNATURE_SET); /* exact, for AddressSanitizer */
        SamiSignature fields = {.role = role, .counter = stream->counter_in};
        SamiReason reason;
        gboolean is_last;
        memcpy(message, buffer, length);
        if (stream->counter_in > 0) {
            guint32 sequence = g_htonl(counter.n_records + (guint32)stream->counter_in);
            memcpy(message + 8, &sequence, 4);
        }
        memcpy(fields.binding, stream->binding, sizeof fields.binding);
        gsize sealed = sami_signature_seal(peer, &fields, message, length);
        if (!sami_stream_verify(stream, message, sealed, 0, &reason, &is_last, NULL))
            return;
        if (!sami_stream_decode(stream, message, sealed, on_record, &counter, NULL))
            return;
        data += taken, size -= taken;
    }
}
