#include "collector/state.h"
#include "transport/daemon.h"

int
main(int argc, char **argv)
{
    static const SamiDaemon daemon = {
        .name = "sami-collector",
        .summary = "Receives firewall state from other firewalls and writes it into connection tracking.",
        .is_listener = TRUE,
        .run_state = sami_collector_run,
        .check = sami_collector_check_config,
    };
    return sami_daemon_main(&daemon, argc, argv);
}
