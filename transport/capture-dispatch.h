/* One IP packet to the flow that it belongs to. */
#pragma once

#include "transport/capture-flows.h"

typedef struct {
    SamiCaptureCommon *common;
    SamiFlows *flows;
    const SamiKeyLog *key_log; /* (nullable) */
} SamiDispatch;

/* Not a fragment. What is none of ours is counted. */
void sami_dispatch_packet(SamiDispatch *dispatch, const SamiPacket *packet);
