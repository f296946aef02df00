/* Captures: libpcap's packets become the Messages of Transport Sessions. Only transport/input.c calls this.
 *
 *     capture -> packet -> fragments -> dispatch -> flows   UDP                        Messages, faults, ends
 *                                                           tcp -> segments -> content -> cutter
 *                                                           sctp -> messages
 *
 * Offsets are those of the packet's record; in pcapng, of the first block behind the packet before it, if others stand between them. Checksums
 * are not looked at, nor VLANs told apart. A packet that stands twice in a capture (of interface "any") is twice a Message if it is UDP. At the end of a
 * capture sessions stay open, but what is known to be missing of them is told. */
#pragma once

#include <stdio.h>

#include "transport/input.h"

typedef struct SamiCapture SamiCapture;

/* Is this the beginning (4 octets) of a pcap or pcapng file? */
gboolean sami_capture_is(const guint8 magic[4]);
/* Reads from `file` (transfer full), which need not be seekable, but must answer ftell(). `options` must outlive it. SAMI_ERROR_MALFORMED,
 * SAMI_ERROR_FAILED. */
SamiCapture *sami_capture_open(FILE *file_take, const SamiInputOptions *options, GError **error);
void sami_capture_free(SamiCapture *capture);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiCapture, sami_capture_free)
/* As sami_input_next(). */
SamiInputStatus sami_capture_next(SamiCapture *capture, SamiInputMessage *ret, GError **fault);
void sami_capture_counts(const SamiCapture *capture, SamiInputCounts *ret);
/* "pcap", "pcapng" */
const gchar *sami_capture_form(const SamiCapture *capture);
