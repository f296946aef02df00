/* What anybody can send before a signature has been checked: the signature finder and the order of verification. */
#include "tests/fuzz/fuzz.h"

#include "templates/stream.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static SamiKey *own, *peer;
    const guint8 ekm[32] = {0};
    SamiSignature found;
    SamiReason reason = SAMI_REASON_NONE;
    gboolean is_last;
    g_autoptr(GError) error = NULL;
    if (!own)
        own = sami_key_generate(), peer = sami_key_generate();
    if (!sami_signature_read(data, size, &found, &error)) {
        g_assert(error);
        return 0;
    }
    g_assert(size >= SAMI_MESSAGE_HEADER + SAMI_SIGNATURE_SET && size <= SAMI_MESSAGE_MAX);
    g_autoptr(SamiStream) stream = sami_stream_new(SAMI_ROLE_COLLECTOR, own, ekm, SAMI_MESSAGE_MAX, 0, 30000);
    stream->peer_key = peer;
    /* As a session takes them from its first Message, so that the comparison of fixed octets can be passed; key id and role too. */
    memcpy(stream->migration_id, found.migration_id, sizeof found.migration_id);
    memcpy(stream->binding, found.binding, sizeof found.binding);
    stream->counter_in = found.counter;
    g_assert(!sami_stream_verify(stream, data, size, 0, &reason, &is_last, &error));
    g_assert(error && reason != SAMI_REASON_NONE && sami_reason_is_known(reason));
    g_assert(!sami_signature_verify(peer, data, size));
    return 0;
}
