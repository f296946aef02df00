#!/usr/bin/env bash
# UDP exchanges of which only the reply direction still sends, and pings, go on at firewall 2.
. "$(dirname "$0")/lab.sh"

case_test() {
    lab_setup
    lab_daemons
    lab_plan_datagrams 6 in snat dnat in6 snat6
    lab_traffic
    lab_ping 6
    sleep 1
    lab_migrate
    lab_move
    [ -n "$(on fw2 conntrack -L -p icmp 2>/dev/null)" ] || die "no ICMP entry at firewall 2"
    [ -n "$(on fw2 conntrack -L -f ipv6 -p icmpv6 2>/dev/null)" ] || die "no ICMPv6 entry at firewall 2"
    wait_for 15 lab_traffic_ended || die "the exchanges did not end"
    lab_require_survival
    wait_for 5 case_pinged || die "the pings did not end"
    grep -h transmitted "$LAB_DIR"/ping.*
    # What the path itself costs is a second at most.
    local way
    for way in in out in6; do
        awk '/transmitted/ { exit !($1 - $4 <= 10) }' "$LAB_DIR/ping.$way" || die "too many pings were lost: $way"
    done
}

case_pinged() { [ "$(cat "$LAB_DIR"/ping.* | grep -c transmitted)" -eq 3 ]; }

lab_main "$@"
