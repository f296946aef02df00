#include "transport/capture-cutter.h"

#include <string.h>

#define ROOM_KEPT 4096u /* a buffer that was larger is given back when it holds less */

void
sami_cutter_init(SamiCutter *cutter, SamiCaptureCommon *common, SamiCaptureSession *session, gboolean is_inside)
{
    *cutter = (SamiCutter){ .common = common, .session = session, .is_searching = is_inside, .is_inside = is_inside };
    cutter->buffer = g_byte_array_new();
    cutter->trouble_at = common->offset;
}

void
sami_cutter_clear(SamiCutter *cutter)
{
    if (!cutter->buffer)
        return;
    sami_capture_release(cutter->common, cutter->session, cutter->buffer->len);
    g_byte_array_unref(cutter->buffer);
    cutter->buffer = NULL;
}

/* Only the n last octets are still needed. */
static void
keep_last(SamiCutter *cutter, gsize n)
{
    GByteArray *old = cutter->buffer;
    sami_capture_release(cutter->common, cutter->session, old->len - n);
    if (old->len > ROOM_KEPT && n <= ROOM_KEPT) {
        cutter->buffer = g_byte_array_new();
        g_byte_array_append(cutter->buffer, old->data + old->len - n, (guint) n);
        g_byte_array_unref(old);
    } else if (n < old->len) {
        g_byte_array_remove_range(old, 0, old->len - (guint) n);
    }
}

static void
note_trouble(SamiCutter *cutter, guint64 n_lost, guint64 n_passed)
{
    if (cutter->n_lost == 0 && cutter->n_passed == 0)
        cutter->trouble_at = cutter->common->offset;
    cutter->n_lost += n_lost;
    cutter->n_passed += n_passed;
}

static void
report_trouble(SamiCutter *cutter)
{
    SamiCaptureCommon *common = cutter->common;
    guint64 lost = cutter->n_lost, passed = cutter->n_passed;
    if (lost > 0)
        sami_capture_fault_at(common, cutter->session, cutter->trouble_at,
                              "%" G_GUINT64_FORMAT " octets of the stream are not in the capture; with them %" G_GUINT64_FORMAT
                              " others of Messages (RFC 7011 §3.1) are passed over", lost, passed);
    else if (passed > 0 && cutter->is_inside)
        sami_capture_fault_at(common, cutter->session, cutter->trouble_at,
                              "the capture begins inside the stream: %" G_GUINT64_FORMAT " octets are passed over up to a Message header (RFC 7011 §3.1)",
                              passed);
    else if (passed > 0)
        sami_capture_fault_at(common, cutter->session, cutter->trouble_at,
                              "%" G_GUINT64_FORMAT " octets are no Message (version 10 and a Length of at least 16, RFC 7011 §3.1): passed over", passed);
    cutter->n_lost = cutter->n_passed = 0;
    cutter->is_inside = FALSE;
}

static gsize
message_length(const guint8 *octets)
{
    return (gsize) octets[2] << 8 | octets[3];
}

/* 1: a Message begins at the n octets, and they hold it; 0: none; -1: more octets will tell. */
static gint
try_at(const guint8 *octets, gsize n)
{
    SamiCaptureLooks looks = sami_capture_looks(octets, n);
    if (looks != SAMI_LOOKS_LIKE)
        return looks == SAMI_LOOKS_SHORT ? -1 : 0;
    gsize length = message_length(octets);
    if (n == length)
        return 1;
    if (n < length + 4)
        return -1;
    return sami_capture_is_header(octets + length);
}

/* Passes over what no Message begins with. Returns where to go on. */
static gsize
search(SamiCutter *cutter, gsize at)
{
    const guint8 *octets = cutter->buffer->data;
    gsize n = cutter->buffer->len, start = at;
    gint found = 0;
    while (at < n && (found = try_at(octets + at, n - at)) == 0) {
        const guint8 *next = memchr(octets + at + 1, 0, n - at - 1); /* the first octet of version 10 */
        at = next ? (gsize) (next - octets) : n;
    }
    if (at > start)
        note_trouble(cutter, 0, at - start);
    if (found > 0) {
        cutter->is_searching = FALSE;
        report_trouble(cutter);
    }
    return at;
}

/* One Message at `at`, if it is there. Returns where to go on; `at`: wait for more. */
static gsize
cut(SamiCutter *cutter, gsize at)
{
    const guint8 *octets = cutter->buffer->data + at;
    gsize n = cutter->buffer->len - at;
    if (n < 4)
        return at;
    if (!sami_capture_is_header(octets)) {
        cutter->is_searching = TRUE;
        note_trouble(cutter, 0, 1); /* not here, so from the next octet on */
        return at + 1;
    }
    gsize length = message_length(octets);
    if (n < length)
        return at;
    report_trouble(cutter);
    sami_capture_message(cutter->common, cutter->session, octets, length, 0);
    return at + length;
}

void
sami_cutter_push(SamiCutter *cutter, const guint8 *octets, gsize n)
{
    gsize skipped = MIN(cutter->skip, n), at = 0;
    if (skipped > 0)
        note_trouble(cutter, 0, skipped);
    cutter->skip -= skipped;
    if (skipped == n)
        return;
    sami_capture_hold(cutter->common, cutter->session, n - skipped);
    g_byte_array_append(cutter->buffer, octets + skipped, (guint) (n - skipped));
    for (;;) {
        gboolean was_searching = cutter->is_searching;
        gsize last = at;
        at = was_searching ? search(cutter, at) : cut(cutter, at);
        if (at == last && was_searching == cutter->is_searching)
            break;
    }
    keep_last(cutter, cutter->buffer->len - at);
}

void
sami_cutter_gap(SamiCutter *cutter, guint64 n)
{
    gsize left = cutter->buffer->len;
    note_trouble(cutter, n, left);
    cutter->common->counts.n_lost_octets += n;
    if (cutter->skip > 0 && n <= cutter->skip) {
        cutter->skip -= (gsize) n;
        return;
    }
    gboolean has_length = !cutter->is_searching && cutter->skip == 0 && left >= 4;
    gsize missing = has_length ? message_length(cutter->buffer->data) - left : 0;
    keep_last(cutter, 0);
    cutter->skip = has_length && n <= missing ? missing - (gsize) n : 0;
    cutter->is_searching = !has_length || n > missing;
}

void
sami_cutter_end(SamiCutter *cutter)
{
    gsize left = cutter->buffer->len;
    gboolean is_in_trouble = cutter->n_lost + cutter->n_passed > 0;
    if (cutter->is_inside && cutter->n_lost == 0 && (is_in_trouble || left > 0)) {
        sami_capture_fault_at(cutter->common, cutter->session, cutter->trouble_at,
                              "the capture begins inside the stream, and in the %" G_GUINT64_FORMAT
                              " octets that it has no Message begins (RFC 7011 §3.1); of a TLS connection it has to have the beginning", cutter->n_passed + left);
        cutter->n_passed = 0;
    } else if (left > 0 && (cutter->is_searching || is_in_trouble)) {
        note_trouble(cutter, 0, left);
    } else if (left >= 4) {
        sami_capture_fault(cutter->common, cutter->session, "the stream ends after %zu octets of a Message of %zu (RFC 7011 §3.1)", left,
                           message_length(cutter->buffer->data));
    } else if (left > 0) {
        sami_capture_fault(cutter->common, cutter->session, "the stream ends after %zu octets of a Message header (RFC 7011 §3.1)", left);
    }
    report_trouble(cutter);
    keep_last(cutter, 0);
}
