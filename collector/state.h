/* The collector's state process (DESIGN §4). */
#pragma once

#include "common/config.h"

/* Runs until SIGTERM or until the listener is gone. Returns the exit status. */
int sami_collector_run(const SamiConfig *config, int channel);

/* Whether it would start with these signers and this gate. SAMI_ERROR_CONFIG. */
gboolean sami_collector_check_config(const SamiConfig *config, GError **error);
