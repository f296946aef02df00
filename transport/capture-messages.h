/* User messages of one direction of an SCTP association: fragments put together (RFC 9260 §6.9), ordered ones handed out by their SSN (§6.6),
 * each of them one IPFIX Message. */
#pragma once

#include "transport/capture-sctp.h"

typedef struct {
    guint64 tsn;
    guint16 stream, ssn;
    gboolean is_unordered, is_first, is_last;
    gsize n;
    guint8 *octets; /* NULL: the capture has cut them off */
} SamiCaptureSctpChunk;

typedef struct {
    SamiCaptureCommon *common;
    SamiCaptureSession *session;
    gboolean is_expected;
    gboolean is_taken;    /* a Message was seen, or has to be there */
    gboolean is_other;    /* no IPFIX; nothing is looked at any more */
    gboolean is_dtls;     /* which was told; it is of the other direction, too */
    GByteArray *message;  /* (nullable) of which the end is not there yet */
    gboolean is_passing;  /* up to where the next message begins: the reason was told, or there is none to tell */
    gboolean has_begun;   /* SSNs begin with 0: the capture has the association's beginning */
    GHashTable *streams;  /* (nullable) stream -> Stream */
    guint n_held;         /* messages that wait for an SSN */
} SamiCaptureSctpMessages;

void sami_capture_sctp_messages_init(SamiCaptureSctpMessages *messages, SamiCaptureCommon *common, SamiCaptureSession *session, gboolean is_expected);
void sami_capture_sctp_messages_clear(SamiCaptureSctpMessages *messages);
/* The next chunk in the order of TSNs. */
void sami_capture_sctp_messages_push(SamiCaptureSctpMessages *messages, const SamiCaptureSctpChunk *chunk);
/* Chunks are missing here: what they belonged to is lost, and SSNs go on with any number. */
void sami_capture_sctp_messages_gap(SamiCaptureSctpMessages *messages);
/* Nothing more comes: what waits is handed out. */
void sami_capture_sctp_messages_end(SamiCaptureSctpMessages *messages);
