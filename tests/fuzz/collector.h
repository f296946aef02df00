/* A collector's state process without its other process, its kernel and its disk. */
#pragma once

#include "collector/collector.h"
#include "transport/session.h"

/* Of fw2.example, which lets the signer fw1.example bring 10.0.0.0/24 and 2001:db8:0:a::/64; nobody has to announce anything. */
SamiCollector *sami_fuzz_collector_new(void);
/* The same of another configuration, with the disk that it names, on this fake kernel (transfer full); for tests/unit/collector-lab.h. */
SamiCollector *sami_fuzz_collector_of(const SamiConfig *config, GPtrArray *signers, SamiFirewall *firewall);
void sami_fuzz_collector_free(SamiCollector *collector);
/* Until it has nothing more to do. What it says to `peer` is read and forgotten. */
void sami_fuzz_collector_settle(SamiCollector *collector, SamiSessionSocket *peer);
