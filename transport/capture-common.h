/* What the parts of a capture share: the packet in hand, what was found in it, counts and limits.
 *
 * A part never fails: it adds events, which sami_capture_next() hands out one by one before it reads the next packet. So there are never more than
 * one packet, or the end of one stream, makes. */
#pragma once

#include "transport/input.h"

/* Octets of a stream at a port that nobody named, in which a capture that began inside it looks for a Message: the longest Message and one more. */
#define SAMI_CAPTURE_SEARCH_MAX (2u * SAMI_MESSAGE_MAX)
/* What a piece that waits costs beside its octets; counted, so that pieces of one octet are bounded too. */
#define SAMI_CAPTURE_PIECE_COST 64u

/* One Transport Session: one direction between two ends. It gets its number with its first event. */
typedef struct {
    guint32 number;
    gboolean is_seen;   /* has a number */
    gboolean is_closed;
    SamiCarrier carrier;
    GRefString *ends;
    gsize pending;      /* octets that are kept for it */
} SamiCaptureSession;

typedef struct {
    const SamiInputOptions *options;
    SamiInputCounts counts;
    guint64 offset;  /* of the packet in hand */
    gint64 time_ns;
    gsize pending;   /* octets kept, of all sessions and of fragments */
    GArray *events;
    guint n_taken;   /* of the events */
    GByteArray *octets; /* of the Messages among them */
} SamiCaptureCommon;

void sami_capture_common_init(SamiCaptureCommon *common, const SamiInputOptions *options);
void sami_capture_common_clear(SamiCaptureCommon *common);

void sami_capture_session_clear(SamiCaptureCommon *common, SamiCaptureSession *session);
/* Counts what is kept for a session. */
void sami_capture_hold(SamiCaptureCommon *common, SamiCaptureSession *session, gsize n);
void sami_capture_release(SamiCaptureCommon *common, SamiCaptureSession *session, gsize n);

/* The octets are copied. */
void sami_capture_message(SamiCaptureCommon *common, SamiCaptureSession *session, const guint8 *octets, gsize length, guint16 sctp_stream);
/* session (nullable): of none. At the packet in hand, or at `offset`. */
void sami_capture_fault(SamiCaptureCommon *common, SamiCaptureSession *session, const gchar *format, ...) G_GNUC_PRINTF(3, 4);
void sami_capture_fault_at(SamiCaptureCommon *common, SamiCaptureSession *session, guint64 offset, const gchar *format, ...) G_GNUC_PRINTF(4, 5);
/* Of a session that was seen; once. */
void sami_capture_close(SamiCaptureCommon *common, SamiCaptureSession *session);
/* The next event; FALSE: there is none. What ret points to is valid until the next call. */
gboolean sami_capture_take(SamiCaptureCommon *common, SamiInputStatus *ret_status, SamiInputMessage *ret, GError **fault);

/* Ports that were named, or, if none were, those of IPFIX (4739, RFC 7011 §10.1) and IPFIX over TLS (4740): what comes there has to be IPFIX. */
gboolean sami_capture_is_expected(const SamiCaptureCommon *common, guint16 port, guint16 other);
/* May IPFIX be at these ports at all? */
gboolean sami_capture_is_wanted(const SamiCaptureCommon *common, guint16 port, guint16 other);

/* Version 10 and a Length that holds a header (RFC 7011 §3.1); 4 octets. */
gboolean sami_capture_is_header(const guint8 *octets);
/* Do the octets begin like a Message whose first Set has an id and a length that it can have (RFC 7011 §3.3.2)? Where nobody said that there is
 * IPFIX, two octets "10" would be too little to go by. */
typedef enum { SAMI_LOOKS_NOT, SAMI_LOOKS_SHORT /* so far, yes */, SAMI_LOOKS_LIKE } SamiCaptureLooks;
SamiCaptureLooks sami_capture_looks(const guint8 *octets, gsize n);
/* Of a key that is compared as memory. */
guint sami_capture_hash(gconstpointer octets, gsize n);
