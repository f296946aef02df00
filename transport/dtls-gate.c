#include "transport/dtls-gate.h"

#include "common/cursor.h"
#include "common/limits.h"

typedef struct {
    guint64 number;
    guint8 type;
    GBytes *octets;
} Record;

struct SamiDtlsGate {
    GQueue first;      /* of GBytes: epoch 0, in the order of their one stream */
    GSequence *second; /* of Record: epoch 1 that waits, by number */
    guint64 missing;   /* the lowest number of epoch 1 that did not come */
    GHashTable *ahead; /* numbers above it that came */
    gsize n_octets;    /* that wait, and what each takes beside them */
    guint n_most;
};

static void
record_free(gpointer data)
{
    Record *record = data;
    g_bytes_unref(record->octets);
    g_free(record);
}

SamiDtlsGate *
sami_dtls_gate_new(void)
{
    SamiDtlsGate *gate = g_new0(SamiDtlsGate, 1);
    gate->second = g_sequence_new(record_free);
    gate->ahead = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    return gate;
}

void
sami_dtls_gate_free(SamiDtlsGate *gate)
{
    if (!gate)
        return;
    g_queue_clear_full(&gate->first, (GDestroyNotify) g_bytes_unref);
    g_sequence_free(gate->second);
    g_hash_table_unref(gate->ahead);
    g_free(gate);
}

static gint
compare(gconstpointer a, gconstpointer b, gpointer unused)
{
    guint64 one = ((const Record *) a)->number, other = ((const Record *) b)->number;
    return one < other ? -1 : one > other;
}

/* FALSE if it came before. */
static gboolean
note_number(SamiDtlsGate *gate, guint64 number)
{
    if (number < gate->missing || g_hash_table_contains(gate->ahead, &number))
        return FALSE;
    if (number > gate->missing) {
        g_hash_table_add(gate->ahead, g_memdup2(&number, sizeof(number)));
        return TRUE;
    }
    do
        gate->missing++;
    while (g_hash_table_remove(gate->ahead, &gate->missing));
    return TRUE;
}

static const gchar *
find_fault(guint8 type, guint version, guint epoch, gsize length, gsize n)
{
    if (n > SAMI_DTLS_RECORD_MAX)
        return "is longer than any record of 16384 octets can be";
    if (type < SAMI_DTLS_CCS || type > SAMI_DTLS_DATA || version >> 8 != 0xfe)
        return "is not a record of DTLS (RFC 6347 §4.1)";
    if (length != n - SAMI_DTLS_HEADER)
        return "is not exactly one DTLS record (RFC 6083 §4.1)";
    return epoch > 1 ? "is of a further epoch: there is no renegotiation" : NULL;
}

gboolean
sami_dtls_gate_put(SamiDtlsGate *gate, const guint8 *message, gsize n, GError **error)
{
    SamiReader r;
    sami_reader_init(&r, message, n);
    guint8 type = (guint8) sami_reader_uint(&r, 1);
    guint version = (guint) sami_reader_uint(&r, 2), epoch = (guint) sami_reader_uint(&r, 2);
    guint64 number = sami_reader_uint(&r, 6);
    gsize length = sami_reader_uint(&r, 2);
    const gchar *fault = n < SAMI_DTLS_HEADER ? "is shorter than a record's header (RFC 6347 §4.1)"
                                              : find_fault(type, version, epoch, length, n);
    if (!fault && gate->n_octets + n + SAMI_DTLS_RECORD_COST > SAMI_DTLS_GATE_MAX)
        fault = "is one too many that waits for an earlier one";
    if (!fault && epoch == 1 && !note_number(gate, number))
        fault = "has a record number that was there before";
    if (fault) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED, "a user message of %" G_GSIZE_FORMAT " octets %s", n, fault);
        return FALSE;
    }
    gate->n_octets += n + SAMI_DTLS_RECORD_COST;
    if (epoch == 0) {
        g_queue_push_tail(&gate->first, g_bytes_new(message, n));
        return TRUE;
    }
    Record *record = g_new(Record, 1);
    *record = (Record){ number, type, g_bytes_new(message, n) };
    g_sequence_insert_sorted(gate->second, record, compare, NULL);
    gate->n_most = MAX(gate->n_most, (guint) g_sequence_get_length(gate->second));
    return TRUE;
}

GBytes *
sami_dtls_gate_take(SamiDtlsGate *gate)
{
    GBytes *octets = g_queue_pop_head(&gate->first);
    if (!octets) {
        GSequenceIter *at = g_sequence_get_begin_iter(gate->second);
        if (g_sequence_iter_is_end(at))
            return NULL;
        const Record *record = g_sequence_get(at);
        guint64 end = record->type == SAMI_DTLS_ALERT ? gate->missing : gate->missing + SAMI_DTLS_WINDOW;
        if (record->number >= end)
            return NULL;
        octets = g_bytes_ref(record->octets);
        g_sequence_remove(at);
    }
    gate->n_octets -= g_bytes_get_size(octets) + SAMI_DTLS_RECORD_COST;
    return octets;
}

guint
sami_dtls_gate_most(const SamiDtlsGate *gate)
{
    return gate->n_most;
}
