/* SCTP (RFC 9260): user messages out of DATA chunks. One is one IPFIX Message (RFC 7011 §10.2).
 *
 * Chunks are taken in the order of their TSN, as the sender made them, whether they are ordered or not: a receiver may see unordered ones, and
 * different streams, in any order, and this is the one in which a template is before what it describes. Within a stream ordered messages have the
 * order of their SSN. Chunks that are missing are waited for as octets of TCP are. What FORWARD-TSN (RFC 3758) abandons is not waited for. */
#pragma once

#include "transport/capture-common.h"

/* Streams of a direction whose SSNs are followed; messages of others are handed out as their TSNs come. */
#define SAMI_SCTP_STREAMS_MAX 1024u
/* UDP encapsulation (RFC 6951). Another port is taken for it if the packet's CRC32c is right: that does not happen by chance. */
#define SAMI_SCTP_UDP_PORT 9899u

typedef struct {
    guint16 source, destination;
    guint32 tag;
    const guint8 *chunks;
    gsize length;
    gsize n_cut; /* octets behind them that were not captured */
} SamiCaptureSctpPacket;
/* FALSE: it is none. n_sent: octets that were sent, of which n were captured. */
gboolean sami_capture_sctp_parse(const guint8 *octets, gsize n, gsize n_sent, SamiCaptureSctpPacket *ret);
/* RFC 9260 Appendix A */
gboolean sami_capture_sctp_is_checksum_right(const guint8 *octets, gsize n);

typedef struct SamiCaptureSctp SamiCaptureSctp;
/* sessions[2]: of the sides 0 and 1; borrowed. */
SamiCaptureSctp *sami_capture_sctp_new(SamiCaptureCommon *common, SamiCaptureSession *sessions, gboolean is_expected);
void sami_capture_sctp_free(SamiCaptureSctp *sctp);
/* Is it of another association between the same ends than the one before? */
gboolean sami_capture_sctp_is_new(const SamiCaptureSctp *sctp, guint side, const SamiCaptureSctpPacket *packet);
/* FALSE: it is none of this association. */
gboolean sami_capture_sctp_push(SamiCaptureSctp *sctp, guint side, const SamiCaptureSctpPacket *packet);
/* Nothing more will come: what waits is taken as it is. Sessions stay open. */
void sami_capture_sctp_finish(SamiCaptureSctp *sctp);
gboolean sami_capture_sctp_is_over(const SamiCaptureSctp *sctp);
gboolean sami_capture_sctp_is_ours(const SamiCaptureSctp *sctp);
gboolean sami_capture_sctp_is_other(const SamiCaptureSctp *sctp);
