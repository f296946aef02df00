#include "transport/capture-common.h"

#include <string.h>

#define IPFIX_PORT 4739u
#define IPFIX_TLS_PORT 4740u
#define SET_HEADER 4u
#define SET_ID_TEMPLATE 2u
#define SET_ID_OPTIONS 3u
#define SET_ID_DATA 256u
#define ROOM_KEPT (1024u * 1024u) /* of the octets of events, between packets */

typedef struct {
    SamiInputStatus status;
    gsize at; /* in the octets */
    SamiInputMessage message;
    GRefString *ends; /* (nullable) */
    gchar *text;      /* of a fault */
} Event;

static void
clear_event(gpointer data)
{
    Event *event = data;
    g_clear_pointer(&event->ends, g_ref_string_release);
    g_free(event->text);
}

void
sami_capture_common_init(SamiCaptureCommon *common, const SamiInputOptions *options)
{
    *common = (SamiCaptureCommon){ .options = options };
    common->events = g_array_new(FALSE, FALSE, sizeof(Event));
    g_array_set_clear_func(common->events, clear_event);
    common->octets = g_byte_array_new();
}

void
sami_capture_common_clear(SamiCaptureCommon *common)
{
    g_array_unref(common->events);
    g_byte_array_unref(common->octets);
}

void
sami_capture_session_clear(SamiCaptureCommon *common, SamiCaptureSession *session)
{
    sami_capture_release(common, session, session->pending);
    g_clear_pointer(&session->ends, g_ref_string_release);
}

void
sami_capture_hold(SamiCaptureCommon *common, SamiCaptureSession *session, gsize n)
{
    common->pending += n;
    session->pending += n;
}

void
sami_capture_release(SamiCaptureCommon *common, SamiCaptureSession *session, gsize n)
{
    common->pending -= n;
    session->pending -= n;
}

static Event *
add_event(SamiCaptureCommon *common, SamiCaptureSession *session, SamiInputStatus status, guint64 offset)
{
    Event event = { .status = status, .message = { .offset = offset, .time_ns = common->time_ns, .session = G_MAXUINT32 } };
    if (session) {
        if (!session->is_seen) {
            session->is_seen = TRUE;
            session->number = (guint32) common->counts.n_sessions++;
        }
        event.message.session = session->number;
        event.message.carrier = session->carrier;
        event.ends = g_ref_string_acquire(session->ends);
    }
    g_array_append_val(common->events, event);
    return &g_array_index(common->events, Event, common->events->len - 1);
}

void
sami_capture_message(SamiCaptureCommon *common, SamiCaptureSession *session, const guint8 *octets, gsize length, guint16 sctp_stream)
{
    Event *event = add_event(common, session, SAMI_INPUT_MESSAGE, common->offset);
    event->at = common->octets->len;
    event->message.length = length;
    event->message.sctp_stream = sctp_stream;
    g_byte_array_append(common->octets, octets, (guint) length);
}

void
sami_capture_fault_at(SamiCaptureCommon *common, SamiCaptureSession *session, guint64 offset, const gchar *format, ...)
{
    va_list args;
    va_start(args, format);
    add_event(common, session, SAMI_INPUT_FAULT, offset)->text = g_strdup_vprintf(format, args);
    va_end(args);
}

void
sami_capture_fault(SamiCaptureCommon *common, SamiCaptureSession *session, const gchar *format, ...)
{
    va_list args;
    va_start(args, format);
    add_event(common, session, SAMI_INPUT_FAULT, common->offset)->text = g_strdup_vprintf(format, args);
    va_end(args);
}

void
sami_capture_close(SamiCaptureCommon *common, SamiCaptureSession *session)
{
    if (session->is_seen && !session->is_closed)
        add_event(common, session, SAMI_INPUT_CLOSED, common->offset);
    session->is_closed = TRUE;
}

gboolean
sami_capture_take(SamiCaptureCommon *common, SamiInputStatus *ret_status, SamiInputMessage *ret, GError **fault)
{
    if (common->n_taken == common->events->len) {
        common->n_taken = 0;
        g_array_set_size(common->events, 0);
        if (common->octets->len > ROOM_KEPT) {
            g_byte_array_unref(common->octets);
            common->octets = g_byte_array_new();
        }
        g_byte_array_set_size(common->octets, 0);
        return FALSE;
    }
    const Event *event = &g_array_index(common->events, Event, common->n_taken++);
    *ret_status = event->status;
    *ret = event->message;
    ret->octets = event->status == SAMI_INPUT_MESSAGE ? common->octets->data + event->at : NULL;
    ret->ends = event->ends ? event->ends : "";
    if (event->text)
        g_set_error_literal(fault, SAMI_ERROR, SAMI_ERROR_MALFORMED, event->text);
    return TRUE;
}

gboolean
sami_capture_is_expected(const SamiCaptureCommon *common, guint16 port, guint16 other)
{
    static const guint16 ours[] = { IPFIX_PORT, IPFIX_TLS_PORT };
    const guint16 *ports = common->options->n_ports > 0 ? common->options->ports : ours;
    guint n = common->options->n_ports > 0 ? common->options->n_ports : G_N_ELEMENTS(ours);
    for (guint i = 0; i < n; i++)
        if (ports[i] == port || ports[i] == other)
            return TRUE;
    return FALSE;
}

gboolean
sami_capture_is_wanted(const SamiCaptureCommon *common, guint16 port, guint16 other)
{
    return common->options->n_ports == 0 || sami_capture_is_expected(common, port, other);
}

static guint
u16(const guint8 *p)
{
    return (guint) p[0] << 8 | p[1];
}

gboolean
sami_capture_is_header(const guint8 *octets)
{
    return u16(octets) == 10 && u16(octets + 2) >= SAMI_MESSAGE_HEADER;
}

SamiCaptureLooks
sami_capture_looks(const guint8 *octets, gsize n)
{
    static const guint8 version[2] = { 0, 10 };
    if (n < 4)
        return memcmp(octets, version, MIN(n, sizeof version)) == 0 ? SAMI_LOOKS_SHORT : SAMI_LOOKS_NOT;
    guint length = u16(octets + 2);
    if (!sami_capture_is_header(octets))
        return SAMI_LOOKS_NOT;
    if (length == SAMI_MESSAGE_HEADER) /* no Set at all: allowed, and nothing more to see */
        return n < SAMI_MESSAGE_HEADER ? SAMI_LOOKS_SHORT : SAMI_LOOKS_LIKE;
    if (length < SAMI_MESSAGE_HEADER + SET_HEADER)
        return SAMI_LOOKS_NOT;
    if (n < SAMI_MESSAGE_HEADER + SET_HEADER)
        return SAMI_LOOKS_SHORT;
    guint id = u16(octets + SAMI_MESSAGE_HEADER), set = u16(octets + SAMI_MESSAGE_HEADER + 2);
    gboolean has_id = id == SET_ID_TEMPLATE || id == SET_ID_OPTIONS || id >= SET_ID_DATA;
    return has_id && set >= SET_HEADER && set <= length - SAMI_MESSAGE_HEADER ? SAMI_LOOKS_LIKE : SAMI_LOOKS_NOT;
}

guint
sami_capture_hash(gconstpointer octets, gsize n)
{
    guint hash = 5381;
    for (gsize i = 0; i < n; i++)
        hash = hash * 33 + ((const guint8 *) octets)[i];
    return hash;
}
