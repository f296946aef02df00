/* IPv4 and IPv6 fragments. A datagram whose fragments overlap is refused with all of them (RFC 5722 §4, RFC 8200 §4.5; of IPv4 too), but for an exact
 * copy, which is passed over. */
#pragma once

#include "transport/capture-common.h"
#include "transport/capture-packet.h"

/* Datagrams that are not whole yet; beyond it the one that began first is given up, as it is after a minute (RFC 8200 §4.5). */
#define SAMI_FRAGMENTS_DATAGRAMS_MAX 256u
#define SAMI_FRAGMENTS_AGE_NS (60 * G_GINT64_CONSTANT(1000000000))

typedef struct SamiFragments SamiFragments;
SamiFragments *sami_fragments_new(SamiCaptureCommon *common);
void sami_fragments_free(SamiFragments *fragments);
/* TRUE: the datagram is whole, and `packet` is it; its octets are valid until the next call. Else the fragment is kept, or counted. */
gboolean sami_fragments_add(SamiFragments *fragments, SamiPacket *packet);
/* Gives up the datagram that began first. FALSE: there is none. `why` is for the fault, if its ports are such that it has to be IPFIX. */
gboolean sami_fragments_drop(SamiFragments *fragments, const gchar *why);
