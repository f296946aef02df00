/* TCP (RFC 9293): segments of a connection, put in order.
 *
 * Octets that are missing are waited for until the capture shows that they will not come: the other end has acknowledged them, some packets ago (a
 * capture of several queues may have the answer first), too much waits behind them (SAMI_INPUT_STREAM_PENDING), or the stream ends. Then they
 * are a gap. */
#pragma once

#include "transport/capture-content.h"
#include "transport/capture-packet.h"
#include "transport/capture-segments.h"

/* A sequence number that is behind by no more than this is an old one; else it is ahead, and much is missing. */
#define SAMI_TCP_OLD_MAX (1u << 30)
/* Packets of a connection, or association, for which what was acknowledged is still waited for. */
#define SAMI_TCP_GRACE 16u

typedef struct {
    guint16 source, destination;
    guint32 sequence, acknowledged;
    gboolean is_syn, is_ack, is_fin, is_rst;
    const guint8 *octets;
    gsize length;
    gsize n_cut; /* octets that were sent behind them, but not captured */
} SamiTcpSegment;
/* FALSE: it is none. */
gboolean sami_tcp_parse(const SamiPacket *packet, SamiTcpSegment *ret);

typedef struct SamiTcp SamiTcp;
/* sessions[2]: of the sides 0 and 1; borrowed, as is key_log (nullable). client: the side that opened it, as far as is known. */
SamiTcp *sami_tcp_new(SamiCaptureCommon *common, SamiCaptureSession *sessions, gboolean is_expected, guint client, const SamiKeyLog *key_log);
void sami_tcp_free(SamiTcp *tcp);
/* Is this SYN of another connection than the one before? */
gboolean sami_tcp_is_new(const SamiTcp *tcp, guint side, const SamiTcpSegment *segment);
void sami_tcp_push(SamiTcp *tcp, guint side, const SamiTcpSegment *segment);
/* Nothing more will come: what waits is taken as it is. Sessions stay open. */
void sami_tcp_finish(SamiTcp *tcp);
/* Both directions have ended: what still comes is a repetition. */
gboolean sami_tcp_is_over(const SamiTcp *tcp);
const SamiContent *sami_tcp_content(const SamiTcp *tcp);
