/* An exporter's state process without its other process and its kernel. */
#pragma once

#include "exporter/exporter.h"

/* Of fw1.example, with one migration of 10.0.0.13 to fw2.example that has no session yet. Its kernel, its own addresses and what is random are wrapped by
 * the linker: the kernel has four entries, there are no addresses, and every nonce is of ones. */
SamiExporter *sami_fuzz_exporter_new(void);
void sami_fuzz_exporter_free(SamiExporter *exporter);
