#include "transport/capture-segments.h"

#include <string.h>

void
sami_segments_init(SamiSegments *segments, SamiCaptureCommon *common, SamiCaptureSession *session)
{
    *segments = (SamiSegments){ .common = common, .session = session };
}

static SamiSegment *
piece(const SamiSegments *segments, guint i)
{
    return &g_array_index(segments->pieces, SamiSegment, i);
}

static gsize
cost(const SamiSegment *segment)
{
    return SAMI_CAPTURE_PIECE_COST + (segment->octets ? segment->n : 0);
}

static void
hold(SamiSegments *segments, const SamiSegment *segment)
{
    sami_capture_hold(segments->common, segments->session, cost(segment));
    segments->held += cost(segment);
}

const SamiSegment *
sami_segments_first(const SamiSegments *segments)
{
    return segments->pieces && segments->n_used < segments->pieces->len ? piece(segments, segments->n_used) : NULL;
}

void
sami_segments_drop_first(SamiSegments *segments)
{
    SamiSegment *first = piece(segments, segments->n_used);
    sami_capture_release(segments->common, segments->session, cost(first));
    segments->held -= cost(first);
    g_clear_pointer(&first->octets, g_free);
    segments->n_used++;
    if (segments->n_used == segments->pieces->len) {
        g_clear_pointer(&segments->pieces, g_array_unref);
        segments->n_used = 0;
    } else if (segments->n_used >= 64 && segments->n_used > segments->pieces->len / 2) {
        g_array_remove_range(segments->pieces, 0, segments->n_used);
        segments->n_used = 0;
    }
}

void
sami_segments_clear(SamiSegments *segments)
{
    while (sami_segments_first(segments))
        sami_segments_drop_first(segments);
}

/* The first piece that ends behind `at`. */
static guint
find(const SamiSegments *segments, guint64 at)
{
    guint low = segments->n_used, high = segments->pieces->len;
    while (low < high) {
        guint middle = low + (high - low) / 2;
        if (piece(segments, middle)->at + piece(segments, middle)->n > at)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static void
compare(SamiSegments *segments, const SamiSegment *old, guint64 at, const guint8 *octets, gsize n)
{
    if (old->octets && octets && memcmp(old->octets + (at - old->at), octets, n) != 0)
        segments->common->counts.n_differing += n;
}

void
sami_segments_add(SamiSegments *segments, guint64 at, const guint8 *octets, gsize n)
{
    if (!segments->pieces)
        segments->pieces = g_array_new(FALSE, FALSE, sizeof(SamiSegment));
    for (guint i = find(segments, at); n > 0; i++) {
        const SamiSegment *old = i < segments->pieces->len ? piece(segments, i) : NULL;
        gsize before = !old || old->at >= at + n ? n : old->at > at ? (gsize) (old->at - at) : 0;
        if (before > 0) {
            SamiSegment segment = { at, before, octets ? g_memdup2(octets, before) : NULL };
            hold(segments, &segment);
            g_array_insert_val(segments->pieces, i, segment);
        }
        gsize done = before > 0 ? before : MIN(n, (gsize) (old->at + old->n - at));
        if (before == 0)
            compare(segments, old, at, octets, done);
        at += done;
        octets = octets ? octets + done : NULL;
        n -= done;
    }
}
