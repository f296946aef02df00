/* TLS over TCP. */
#include <signal.h>

#include "tests/unit/harness.h"
#include "tests/unit/transport-pair.h"

int
main(void)
{
    signal(SIGPIPE, SIG_IGN);
    return sami_test_main("transport TLS", transport_cases, n_transport_cases, pair_set_up, pair_tear_down);
}
