/* What TLS over TCP is tested for, over DTLS over SCTP. */
#include <signal.h>

#include "tests/unit/harness.h"
#include "tests/unit/transport-pair.h"

static int
set_up(void)
{
    lab_is_sctp = TRUE;
    lab_sctp.udp_port = 9; /* nobody answers there */
    return pair_set_up();
}

int
main(void)
{
    signal(SIGPIPE, SIG_IGN);
    return sami_test_main("transport DTLS", transport_cases, n_transport_cases, set_up, pair_tear_down);
}
