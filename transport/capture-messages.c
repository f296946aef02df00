#include "transport/capture-messages.h"

#include <string.h>

/* Messages that wait for an SSN, all streams together: a sender that numbers them in the order in which it sends them never makes one wait. */
#define HELD_MAX 1024u

typedef struct {
    guint16 ssn;
    gsize n;
    guint8 octets[];
} Held;

typedef struct {
    gboolean is_known; /* the next SSN */
    guint16 next;
    GPtrArray *held;   /* of Held, in the order of their SSNs */
} Stream;

static void
free_stream(gpointer data)
{
    Stream *stream = data;
    g_ptr_array_unref(stream->held);
    g_free(stream);
}

void
sami_capture_sctp_messages_init(SamiCaptureSctpMessages *messages, SamiCaptureCommon *common, SamiCaptureSession *session, gboolean is_expected)
{
    *messages = (SamiCaptureSctpMessages){ .common = common, .session = session, .is_expected = is_expected, .is_taken = is_expected };
    session->carrier = SAMI_CARRIER_SCTP;
}

static void
drop_message(SamiCaptureSctpMessages *messages)
{
    if (messages->message)
        sami_capture_release(messages->common, messages->session, messages->message->len);
    g_clear_pointer(&messages->message, g_byte_array_unref);
}

static void
release_held(SamiCaptureSctpMessages *messages, const Held *held)
{
    sami_capture_release(messages->common, messages->session, held->n + SAMI_CAPTURE_PIECE_COST);
    messages->n_held--;
}

void
sami_capture_sctp_messages_clear(SamiCaptureSctpMessages *messages)
{
    GHashTableIter i;
    gpointer value;
    drop_message(messages);
    if (!messages->streams)
        return;
    g_hash_table_iter_init(&i, messages->streams);
    while (g_hash_table_iter_next(&i, NULL, &value)) {
        const Stream *stream = value;
        for (guint n = 0; n < stream->held->len; n++)
            release_held(messages, stream->held->pdata[n]);
    }
    g_clear_pointer(&messages->streams, g_hash_table_unref);
}

static gboolean
is_dtls(const guint8 *octets, gsize n)
{
    return n >= 3 && octets[0] >= 20 && octets[0] <= 25 && octets[1] == 0xfe && octets[2] >= 0xfc;
}

/* A whole user message. */
static void
take_message(SamiCaptureSctpMessages *messages, const guint8 *octets, gsize n, guint16 stream)
{
    gboolean is_message = n >= SAMI_MESSAGE_HEADER && sami_capture_is_header(octets) && ((gsize) octets[2] << 8 | octets[3]) == n;
    if (messages->is_other)
        return;
    if (is_message && (messages->is_taken || sami_capture_looks(octets, n) == SAMI_LOOKS_LIKE)) {
        messages->is_taken = TRUE;
        sami_capture_message(messages->common, messages->session, octets, n, stream);
    } else if (messages->is_expected && is_dtls(octets, n)) {
        messages->is_other = messages->is_dtls = TRUE;
        sami_capture_fault(messages->common, messages->session,
                           "this association is DTLS (RFC 6083), which is not read: the collector's journal (journal-dir) has the same Messages");
    } else if (messages->is_taken) {
        sami_capture_fault(messages->common, messages->session, n < SAMI_MESSAGE_HEADER ? "a user message of %zu octets is no Message (RFC 7011 §10.2)"
                           : "a user message of %zu octets is not one Message: version %u, Length %u (RFC 7011 §3.1, §10.2)", n,
                           n < 2 ? 0 : octets[0] << 8 | octets[1], n < 4 ? 0 : octets[2] << 8 | octets[3]);
    } else {
        messages->is_other = TRUE;
    }
}

static void
hand_out_held(SamiCaptureSctpMessages *messages, Stream *stream, guint16 number, gboolean is_all)
{
    guint n = 0;
    for (; n < stream->held->len; n++) {
        const Held *held = stream->held->pdata[n];
        if (!is_all && held->ssn != stream->next)
            break;
        release_held(messages, held);
        take_message(messages, held->octets, held->n, number);
        stream->next = held->ssn + 1;
    }
    if (n > 0)
        g_ptr_array_remove_range(stream->held, 0, n);
}

static void
hand_out_all(SamiCaptureSctpMessages *messages)
{
    GHashTableIter i;
    gpointer key, value;
    if (!messages->streams)
        return;
    g_hash_table_iter_init(&i, messages->streams);
    while (g_hash_table_iter_next(&i, &key, &value)) {
        Stream *stream = value;
        hand_out_held(messages, stream, (guint16) GPOINTER_TO_UINT(key), TRUE);
        stream->is_known = FALSE;
    }
}

static void
hold_message(SamiCaptureSctpMessages *messages, Stream *stream, guint16 ssn, const guint8 *octets, gsize n)
{
    Held *held = g_malloc(sizeof *held + n); /* n is at most SAMI_MESSAGE_MAX */
    guint at = stream->held->len;
    held->ssn = ssn;
    held->n = n;
    memcpy(held->octets, octets, n);
    while (at > 0 && (gint16) (((const Held *) stream->held->pdata[at - 1])->ssn - ssn) > 0)
        at--;
    g_ptr_array_insert(stream->held, (gint) at, held);
    sami_capture_hold(messages->common, messages->session, n + SAMI_CAPTURE_PIECE_COST);
    messages->n_held++;
}

static Stream *
find_stream(SamiCaptureSctpMessages *messages, guint16 number)
{
    if (!messages->streams)
        messages->streams = g_hash_table_new_full(NULL, NULL, NULL, free_stream);
    Stream *stream = g_hash_table_lookup(messages->streams, GUINT_TO_POINTER(number));
    if (stream || g_hash_table_size(messages->streams) >= SAMI_SCTP_STREAMS_MAX)
        return stream;
    stream = g_new0(Stream, 1);
    stream->is_known = messages->has_begun;
    stream->held = g_ptr_array_new_with_free_func(g_free);
    g_hash_table_insert(messages->streams, GUINT_TO_POINTER(number), stream);
    return stream;
}

static void
take_ordered(SamiCaptureSctpMessages *messages, const guint8 *octets, gsize n, guint16 number, guint16 ssn)
{
    Stream *stream = find_stream(messages, number);
    if (stream && stream->is_known && (gint16) (ssn - stream->next) > 0) {
        hold_message(messages, stream, ssn, octets, n);
        if (messages->n_held > HELD_MAX || messages->session->pending > SAMI_INPUT_STREAM_PENDING)
            hand_out_all(messages);
        return;
    }
    take_message(messages, octets, n, number);
    if (!stream)
        return;
    stream->is_known = TRUE;
    stream->next = ssn + 1;
    hand_out_held(messages, stream, number, FALSE);
}

static void
finish_message(SamiCaptureSctpMessages *messages, const SamiCaptureSctpChunk *last)
{
    g_autoptr(GByteArray) message = g_byte_array_ref(messages->message);
    drop_message(messages);
    if (last->is_unordered)
        take_message(messages, message->data, message->len, last->stream);
    else
        take_ordered(messages, message->data, message->len, last->stream, last->ssn);
}

/* What was begun, or begins here, is lost up to the next message that begins. */
static void
pass_over(SamiCaptureSctpMessages *messages, const gchar *why)
{
    drop_message(messages);
    if (!messages->is_passing && messages->is_taken)
        sami_capture_fault(messages->common, messages->session, "a user message is passed over: %s", why);
    messages->is_passing = TRUE;
}

void
sami_capture_sctp_messages_push(SamiCaptureSctpMessages *messages, const SamiCaptureSctpChunk *chunk)
{
    if (messages->is_other)
        return;
    if (chunk->is_first && messages->message)
        pass_over(messages, "it has no end (RFC 9260 §6.9)");
    if (chunk->is_first) {
        messages->message = g_byte_array_new();
        messages->is_passing = FALSE;
    }
    if (!messages->message) {
        pass_over(messages, "the capture does not have its beginning (RFC 9260 §6.9)");
        return;
    }
    if (!chunk->octets) {
        pass_over(messages, "the capture has a packet in part only (snaplen)");
        return;
    }
    if (messages->message->len + chunk->n > SAMI_MESSAGE_MAX) {
        pass_over(messages, "it is longer than any Message (RFC 7011 §3.1)");
        return;
    }
    g_byte_array_append(messages->message, chunk->octets, (guint) chunk->n);
    sami_capture_hold(messages->common, messages->session, chunk->n);
    if (chunk->is_last)
        finish_message(messages, chunk);
}

void
sami_capture_sctp_messages_gap(SamiCaptureSctpMessages *messages)
{
    drop_message(messages);
    messages->is_passing = TRUE;
    messages->has_begun = FALSE;
    hand_out_all(messages);
}

void
sami_capture_sctp_messages_end(SamiCaptureSctpMessages *messages)
{
    if (messages->message)
        pass_over(messages, "the capture does not have its end");
    hand_out_all(messages);
}
