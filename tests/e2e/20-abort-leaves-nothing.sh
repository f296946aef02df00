#!/usr/bin/env bash
# An abort before READY removes exactly what the migration brought, and the transfers go on at firewall 1.
. "$(dirname "$0")/lab.sh"

case_test() {
    local status=0
    lab_setup
    on fw2 conntrack -I -p tcp -s 10.0.0.77 -d $CLI4 --sport 40077 --dport 80 --state ESTABLISHED -t 600 -u ASSURED,SEEN_REPLY >/dev/null 2>&1 ||
        die "cannot make an entry at firewall 2"
    lab_table fw2 >"$LAB_DIR/before"
    lab_daemons
    lab_plan 9 5 in snat dnat6
    lab_traffic
    lab_migrate
    [ "$(lab_table fw2 | wc -l)" -ge 10 ] || die "the snapshot is not at firewall 2"
    ctl fw1 abort "$LAB_ID" || die "abort: exit $?"
    wait "$LAB_MIGRATE" || status=$?
    [ $status -eq 4 ] || die "migrate ended with exit status $status, not 4"
    wait_for 5 case_is_as_before || diff "$LAB_DIR/before" <(lab_table fw2) || die "the abort left something behind, or took too much"
    wait_for 20 lab_traffic_ended || die "the transfers did not end"
    LAB_BLACKOUT_MS=0
    : >"$LAB_DIR/freeze.log"
    lab_require_survival
}

case_is_as_before() { lab_table fw2 | cmp -s "$LAB_DIR/before" -; }

lab_main "$@"
