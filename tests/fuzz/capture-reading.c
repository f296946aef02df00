#include "tests/fuzz/fuzz.h"

#include <stdio.h>

#include "transport/capture.h"

/* Sessions that are CLOSED say nothing more. */
static void
check_session(GHashTable *closed, SamiInputStatus status, const SamiInputMessage *message)
{
    gpointer session = GUINT_TO_POINTER(message->session);
    if (message->session == G_MAXUINT32) {
        g_assert(status == SAMI_INPUT_FAULT);
        return;
    }
    g_assert(!g_hash_table_contains(closed, session));
    if (status == SAMI_INPUT_CLOSED)
        g_hash_table_add(closed, session);
}

void
sami_fuzz_capture(const uint8_t *data, size_t size)
{
    static const SamiInputOptions options = {0};
    g_autoptr(GHashTable) closed = g_hash_table_new(NULL, NULL);
    SamiInputMessage message;
    SamiInputCounts counts;
    FILE *file = size > 0 ? fmemopen((void *)data, size, "r") : NULL;
    g_autoptr(SamiCapture) capture = file ? sami_capture_open(file, &options, NULL) : NULL;
    if (!capture)
        return;
    for (;;) {
        g_autoptr(GError) fault = NULL;
        SamiInputStatus status = sami_capture_next(capture, &message, &fault);
        g_assert((status == SAMI_INPUT_FAULT) == (fault != NULL));
        if (status == SAMI_INPUT_END)
            break;
        g_assert(message.offset <= size && message.ends);
        check_session(closed, status, &message);
        if (status == SAMI_INPUT_MESSAGE)
            g_assert(message.octets[1] == 10 && message.length >= SAMI_MESSAGE_HEADER &&
                     message.length == ((gsize)message.octets[2] << 8 | message.octets[3]));
    }
    sami_capture_counts(capture, &counts);
    g_assert(counts.n_other <= counts.n_packets);
}
