#include "tests/unit/capture-check.h"

#include <string.h>

void
reading_clear(Reading *reading)
{
    if (!reading->events)
        return;
    g_string_free(reading->events, TRUE);
    g_string_free(reading->faults, TRUE);
    g_string_free(reading->ends, TRUE);
    *reading = (Reading){ 0 };
}

static void
note(Reading *reading, SamiInputStatus status, const SamiInputMessage *message)
{
    if (reading->events->len > 0)
        g_string_append_c(reading->events, ' ');
    if (message->session != G_MAXUINT32)
        g_string_append_printf(reading->events, "%u", message->session);
    if (status == SAMI_INPUT_MESSAGE && frames_is_message(message->octets, message->length))
        g_string_append_printf(reading->events, ":%u", (guint) message->octets[8] << 24 | (guint) message->octets[9] << 16 |
                                                           (guint) message->octets[10] << 8 | message->octets[11]);
    else
        g_string_append(reading->events, status == SAMI_INPUT_MESSAGE ? ":?" : status == SAMI_INPUT_FAULT ? "!" : "x");
    reading->offset = message->offset;
    reading->time_ns = message->time_ns;
    reading->carrier = message->carrier;
    reading->sctp_stream = message->sctp_stream;
    g_string_assign(reading->ends, message->ends);
}

gboolean
read_capture(const guint8 *octets, gsize n, const SamiInputOptions *options, Reading *ret)
{
    static const SamiInputOptions none = { 0 };
    g_autoptr(GError) error = NULL;
    FILE *file = fmemopen((void *) octets, n, "r");
    g_assert(file);
    *ret = (Reading){ .events = g_string_new(NULL), .faults = g_string_new(NULL), .ends = g_string_new(NULL) };
    g_autoptr(SamiCapture) capture = sami_capture_open(file, options ? options : &none, &error);
    if (!capture) {
        g_string_assign(ret->faults, error->message);
        return FALSE;
    }
    for (;;) {
        g_autoptr(GError) fault = NULL;
        SamiInputMessage message;
        SamiInputStatus status = sami_capture_next(capture, &message, &fault);
        g_assert((status == SAMI_INPUT_FAULT) == (fault != NULL));
        if (status == SAMI_INPUT_END)
            break;
        note(ret, status, &message);
        if (fault)
            g_string_append_printf(ret->faults, "%s\n", fault->message);
    }
    sami_capture_counts(capture, &ret->counts);
    return TRUE;
}

static gboolean
has_words(const gchar *faults, const gchar *words)
{
    g_auto(GStrv) lines = g_strsplit(faults, "\n", -1), wanted = g_strsplit(words ? words : "", "|", -1);
    guint n = g_strv_length(lines) - (*faults != '\0');
    if (!words)
        return *faults == '\0';
    for (guint i = 0; i < n && wanted[i]; i++)
        if (!strstr(lines[i], wanted[i]))
            return FALSE;
    return n == g_strv_length(wanted);
}

void
expect_at(const gchar *file, gint line, const Frames *frames, const SamiInputOptions *options, const gchar *events, const gchar *faults,
          Reading *ret)
{
    g_auto(Reading) reading = { 0 };
    gboolean is_open = read_capture(frames->file->data, frames->file->len, options, &reading);
    gboolean is_right = is_open && g_str_equal(reading.events->str, events) && has_words(reading.faults->str, faults);
    if (!is_right)
        g_printerr("%s:%d: not '%s', '%s' but '%s',\n%s", file, line, events, faults ? faults : "", reading.events->str, reading.faults->str);
    CU_ASSERT(is_right);
    if (!ret)
        return;
    *ret = reading;
    reading = (Reading){ 0 };
}
