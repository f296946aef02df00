#include "exporter/state.h"
#include "transport/daemon.h"

int
main(int argc, char **argv)
{
    static const SamiDaemon daemon = {
        .name = "sami-exporter",
        .summary = "Sends a virtual machine's firewall state to the firewall that it moves to.",
        .is_listener = FALSE,
        .run_state = sami_exporter_run,
        .check = sami_exporter_check_config,
    };
    return sami_daemon_main(&daemon, argc, argv);
}
