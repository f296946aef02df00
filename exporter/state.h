/* The exporter's state process (DESIGN §4). */
#pragma once

#include "common/config.h"

/* Runs until SIGTERM or until the connector is gone. Returns the exit status. */
int sami_exporter_run(const SamiConfig *config, int channel);

/* Whether it would start with these prefixes and VLANs. SAMI_ERROR_CONFIG. */
gboolean sami_exporter_check_config(const SamiConfig *config, GError **error);
