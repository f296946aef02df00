/* Octets of a TCP stream that came before others which belong in front of them. Positions are 64 bits wide: the low 32 are the sequence number.
 * Pieces never overlap: of octets that come twice the first copy is taken, and a second one that differs is counted. */
#pragma once

#include "transport/capture-common.h"

typedef struct {
    guint64 at;
    gsize n;
    guint8 *octets; /* NULL: the capture has cut them off */
} SamiSegment;

typedef struct {
    SamiCaptureCommon *common;
    SamiCaptureSession *session;
    GArray *pieces; /* of SamiSegment, in order */
    guint n_used;   /* of its beginning */
    gsize held;     /* octets, and SAMI_CAPTURE_PIECE_COST for each piece */
} SamiSegments;

void sami_segments_init(SamiSegments *segments, SamiCaptureCommon *common, SamiCaptureSession *session);
void sami_segments_clear(SamiSegments *segments);
/* octets NULL: not captured. Copied. */
void sami_segments_add(SamiSegments *segments, guint64 at, const guint8 *octets, gsize n);
/* The first piece, or NULL; borrowed until it is dropped or another is added. */
const SamiSegment *sami_segments_first(const SamiSegments *segments);
void sami_segments_drop_first(SamiSegments *segments);
