#!/usr/bin/env bash
# An exporter that is killed before READY: after the lease firewall 2 is as it was.
LAB_CONF='lease=5s'
. "$(dirname "$0")/lab.sh"

case_test() {
    lab_setup
    lab_daemons
    lab_plan 6 5 in snat
    lab_traffic
    lab_migrate
    [ "$(lab_table fw2 | wc -l)" -ge 6 ] || die "the snapshot is not at firewall 2"
    kill -9 "$LAB_PID_exporter"
    wait_for 15 case_is_empty || die "after the lease: $(lab_table fw2)"
    ctl fw2 status | grep -q ABORT || die "status at firewall 2: $(ctl fw2 status)"
}

case_is_empty() { [ -z "$(lab_table fw2)" ]; }

lab_main "$@"
