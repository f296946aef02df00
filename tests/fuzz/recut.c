/* Messages of anybody, divided for UDP: what comes out is whole Messages of whole Sets, and no more of them than the input can be the reason of. */
#include "tests/fuzz/fuzz.h"

#include "common/cursor.h"
#include "replay/recut.h"

static void
check(const guint8 *message, gsize length, gpointer user_data)
{
    SamiReader r;
    g_assert(length >= SAMI_MESSAGE_HEADER && length <= SAMI_MESSAGE_MAX);
    sami_reader_init(&r, message, length);
    guint version = (guint) sami_reader_uint(&r, 2), own_length = (guint) sami_reader_uint(&r, 2);
    g_assert(version == 10 && own_length == length);
    sami_reader_take(&r, SAMI_MESSAGE_HEADER - 4);
    while (sami_reader_left(&r) > 0) {
        sami_reader_uint(&r, 2);
        guint n = (guint) sami_reader_uint(&r, 2);
        g_assert(n >= 4);
        sami_reader_take(&r, n - 4);
        g_assert(!r.is_bad);
    }
    ++*(guint64 *) user_data;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(ReplayRecut) recut = replay_recut_new(REPLAY_RECUT_MTU_MIN, 2, 0);
    guint64 n = 0;
    gsize n_octets = 0;
    for (size_t at = 0; at + 4 <= size;) {
        gsize length = CLAMP((gsize) data[at + 2] << 8 | data[at + 3], 1, size - at);
        replay_recut_message(recut, data + at, length, 0, check, &n, NULL);
        at += length;
        n_octets += length;
    }
    const ReplayRecutCounts *counts = replay_recut_counts(recut);
    g_assert(counts->n_out == n && counts->n_refreshes <= n && counts->n_dropped <= counts->n_long);
    g_assert(n - counts->n_refreshes <= n_octets);
    return 0;
}
