/* Reads a capture of tests/unit/capture-frames.h and says what came out, so that a case is one line. */
#pragma once

#include "tests/unit/capture-frames.h"
#include "tests/unit/harness.h"
#include "transport/capture.h"

/* What a capture gave, one word an event: "0:7" Message 7, as frames_message() makes it, of Transport Session 0; "0:?" one that it does not make;
 * "0!" a fault; "!" one of no session; "0x" closed. Texts of faults, one a line, and where the last event was. */
typedef struct {
    GString *events, *faults, *ends;
    guint64 offset;
    gint64 time_ns;
    SamiCarrier carrier;
    guint16 sctp_stream;
    SamiInputCounts counts;
} Reading;
void reading_clear(Reading *reading);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Reading, reading_clear)

/* FALSE: it cannot be opened; faults says why. */
gboolean read_capture(const guint8 *octets, gsize n, const SamiInputOptions *options, Reading *ret);
/* Checks what comes out of the frames: the events, and `faults` (nullable), words that the faults have, with | between them; each fault has one. */
#define expect(frames, events, faults) expect_at(__FILE__, __LINE__, frames, NULL, events, faults, NULL)
#define expect_reading(frames, options, events, faults, reading) expect_at(__FILE__, __LINE__, frames, options, events, faults, reading)
void expect_at(const gchar *file, gint line, const Frames *frames, const SamiInputOptions *options, const gchar *events, const gchar *faults,
               Reading *ret);
