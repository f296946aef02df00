/* User messages of an authenticated SCTP peer before OpenSSL sees them: what goes on is one whole record each, within the replay window, and no more of
 * them than came. */
#include "tests/fuzz/fuzz.h"

#include "common/limits.h"
#include "transport/dtls-gate.h"

static guint64
number_of(const guint8 *record)
{
    guint64 number = 0;
    for (guint i = 5; i < 11; i++)
        number = number << 8 | record[i];
    return number;
}

static guint
take_all(SamiDtlsGate *gate, guint64 *highest)
{
    GBytes *record;
    guint n = 0;
    for (; (record = sami_dtls_gate_take(gate)); n++) {
        gsize length;
        const guint8 *octets = g_bytes_get_data(record, &length);
        g_assert(length >= SAMI_DTLS_HEADER && length <= SAMI_DTLS_RECORD_MAX);
        if (octets[4] == 1) {
            g_assert(number_of(octets) + SAMI_DTLS_WINDOW > *highest);
            *highest = MAX(*highest, number_of(octets));
        }
        g_bytes_unref(record);
    }
    return n;
}

/* The input is messages, each after its length in two octets. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(SamiDtlsGate) gate = sami_dtls_gate_new();
    guint64 highest = 0;
    guint n_put = 0, n_taken = 0;
    while (size >= 2) {
        g_autoptr(GError) error = NULL;
        gsize n = MIN((gsize) data[0] << 8 | data[1], size - 2);
        if (sami_dtls_gate_put(gate, data + 2, n, &error))
            n_put++;
        else
            g_assert(error);
        n_taken += take_all(gate, &highest);
        data += 2 + n;
        size -= 2 + n;
    }
    g_assert(n_taken <= n_put);
    return 0;
}
