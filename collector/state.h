/* The collector's state process (DESIGN §4). */
#pragma once

#include "common/config.h"

/* Runs until SIGTERM or until the listener is gone. Returns the exit status. */
int sami_collector_run(const SamiConfig *config, int channel);
