#!/usr/bin/env bash
# Entries from before any listener, with the kernel's default nf_conntrack_events = 2, send no events: the freeze reads them again.
LAB_EVENTS=2
. "$(dirname "$0")/lab.sh"

case_test() {
    lab_setup
    lab_plan 9 6 in out snat
    lab_traffic
    lab_daemons
    lab_migrate
    lab_move
    wait_for 25 lab_traffic_ended || die "the transfers did not end"
    lab_require_survival
    [ "$(lab_json freeze)" = scan ] || die "freeze = $(lab_json freeze), not scan"
}

lab_main "$@"
