#!/usr/bin/env bash
# Mark, labels and zone arrive: after READY both tables are equal, and a transfer in a zone goes on.
LAB_RULES='
table inet marking {
    chain zones { type filter hook prerouting priority -300; meta l4proto tcp th dport 5004 ct zone set 7; meta l4proto tcp th sport 5004 ct zone set 7; }
    chain marks { type filter hook forward priority 10; ct state new ct mark set 0x2a; ct state new ct label set 5; }
}'
. "$(dirname "$0")/lab.sh"

case_test() {
    lab_setup
    sed -i 's/^\(allow-prefixes=.*\)/\1\nzones=0,7/' "$LAB_DIR/fw2/signers.d/fw1.lab.conf"
    lab_daemons
    lab_plan 9 6 zone snat in6
    lab_traffic
    sleep 1
    lab_migrate
    lab_link down
    lab_freeze || die "freeze: exit $LAB_FREEZE_EXIT: $(cat "$LAB_DIR/freeze.log")"
    lab_table fw1 >"$LAB_DIR/table.fw1"
    lab_table fw2 >"$LAB_DIR/table.fw2"
    cat "$LAB_DIR/table.fw1"
    [ "$(grep -c 'mark=42 .*labels=' "$LAB_DIR/table.fw1")" -eq 9 ] || die "firewall 1 did not mark and label"
    [ "$(grep -c 'zone=7' "$LAB_DIR/table.fw1")" -eq 3 ] || die "firewall 1 used no zone"
    diff "$LAB_DIR/table.fw1" "$LAB_DIR/table.fw2" || die "the tables differ"
    lab_switch fw2
    lab_link up
    LAB_BLACKOUT_MS=0
    wait_for 25 lab_traffic_ended || die "the transfers did not end"
    lab_require_survival
}

lab_main "$@"
