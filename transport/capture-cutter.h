/* Messages out of a stream of octets (TCP, and what TLS carried), and the way back to them when octets are missing or are no Message.
 *
 * A Message begins behind the last one and has version 10 and a Length of at least 16 (RFC 7011 §3.1, §10.4). After a gap inside a Message its
 * Length tells where the next one begins. Else the next one is looked for octet by octet: it must look like one (sami_capture_looks()), and another
 * header must follow it, or the segment must end with it. What was missing or passed over is one fault, told before the Message that follows. */
#pragma once

#include "transport/capture-common.h"

typedef struct {
    SamiCaptureCommon *common;
    SamiCaptureSession *session;
    GByteArray *buffer;    /* from a Message's first octet, or what is still searched */
    gboolean is_searching;
    gboolean is_inside;    /* the capture begins inside the stream, and no Message has been found yet */
    gsize skip;            /* octets up to where the next Message begins */
    guint64 n_lost;        /* octets that the capture does not have, since the last Message */
    guint64 n_passed;      /* octets that were passed over since then */
    guint64 trouble_at;    /* packet of the first of them */
} SamiCutter;

/* Both are borrowed. */
void sami_cutter_init(SamiCutter *cutter, SamiCaptureCommon *common, SamiCaptureSession *session, gboolean is_inside);
void sami_cutter_clear(SamiCutter *cutter);
void sami_cutter_push(SamiCutter *cutter, const guint8 *octets, gsize n);
/* n octets of the stream are not in the capture. */
void sami_cutter_gap(SamiCutter *cutter, guint64 n);
/* The stream ends here: what is left is a Message, or a fault. */
void sami_cutter_end(SamiCutter *cutter);
