#!/usr/bin/env bash
# The two directions of the path switch half a second apart, either one first. With asymmetric-switch = true the transfers survive and no
# packet is INVALID at either firewall; tracking is strict again where that is safe. An abort makes the source strict again.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
export RATE=100000
CASES=(out in snat dnat ipv6-out ipv6-in ipv6-snat)
fail() { echo "FAIL $*"; cat "$WORK/results"; tail -n 20 "$WORK"/*.log; exit 1; }
lenient() { # FIREWALL: established flows of the VM that are lenient both ways
    "$BUILD/sami-table" -n "${LAB}fw$1" print | grep "$VM4\|$VM6" | grep ' state 3 ' | grep -c ' flags .[89a-f]/.[89a-f] '
}
established() { "$BUILD/sami-table" -n "${LAB}fw$1" print | grep "$VM4\|$VM6" | grep -c ' state 3 '; }
is_lenient() { [ "$(lenient 1)" -eq "$1" ]; }
direction() { # cli|vm: sends through firewall 2
    local end=$1 dev=c src4=$CLI4 src6=$CLI6
    [ "$end" = cli ] || { dev=v src4=$VM4 src6=$VM6; }
    ip -n "$LAB$end" route replace default via $HOP4 dev ${dev}2 onlink src $src4
    ip -n "$LAB$end" -6 route replace default via $HOP6 dev ${dev}2 onlink src $src6
}
half_a_second() { # measured, not assumed: the gap is at least that long
    local until=$(($(date +%s%N) + 500000000))
    while [ "$(date +%s%N)" -lt $until ]; do sleep 0.05; done
}

round() { # FIRST-DIRECTION
    local n=$((3 * ${#CASES[@]})) case at1
    CLIENTS=()
    : >"$WORK/results"
    lab_path 1
    for case in "${CASES[@]}"; do lab_launch "$case" 3 200; done
    lab_under_way "${CASES[@]}" || exit 1
    at1=$(lab_invalid 1)
    [ "$(lenient 1)" -eq 0 ] || fail "$1: $(lenient 1) flows are lenient before anything"
    # An abort undoes it.
    sami_follow || exit 1
    poll 10 is_lenient "$n" || fail "$1: $(lenient 1) of $n flows are lenient at the source"
    ctl 1 abort "$ID" >"$WORK/abort" 2>&1 || fail "$1: abort"
    wait "$MIGRATE"
    poll 10 is_lenient 0 || fail "$1: $(lenient 1) flows are lenient at the source after an abort"
    # The VM is not paused: what changes is only where packets go.
    sami_follow || exit 1
    poll 10 is_lenient "$n" || fail "$1: $(lenient 1) of $n flows are lenient at the source"
    ctl 1 freeze "$ID" >"$WORK/freeze" 2>&1 || { cat "$WORK/freeze"; fail "$1: freeze"; }
    direction "$1"
    half_a_second
    direction "$([ "$1" = cli ] && echo vm || echo cli)"
    wait "$MIGRATE" || fail "$1: migrate ended with $?"
    [ ! -s "$WORK/results" ] || fail "$1: a transfer was over before the switch: this case proves nothing"
    tail -n 1 "$WORK/migrate" | grep -q "\"lenient_at_source\":${n}[,}]" || fail "$1: lenient_at_source is not $n: $(tail -n 1 "$WORK/migrate")"
    tightened() { [ "$(lenient 2)" -lt "$(established 2)" ]; }
    poll 10 tightened || fail "$1: nothing is strict again at firewall 2"
    echo "$1 first: $n lenient at the source; at firewall 2 $(lenient 2) of $(established 2) still lenient after the grace"
    lab_enough
    cat "$WORK/results"
    [ "$(survived)" -eq "$n" ] || fail "$1: not every transfer survived"
    [ "$(lab_invalid 1)" -eq "$at1" ] && [ "$(lab_invalid 2)" -eq 0 ] || fail "$1: INVALID: $(($(lab_invalid 1) - at1)) at firewall 1, $(lab_invalid 2) at firewall 2"
    for case in 1 2; do "$BUILD/sami-table" -n "${LAB}fw$case" flush; done
}
lab_start && sami_setup || exit 1
lab_untracked fw1 && lab_untracked fw2 || exit 1
echo 'asymmetric-switch=true' >>"$WORK/fw1/sami.conf"
sed -i 's/^grace=.*/grace=3s/' "$WORK/fw2/sami.conf"
sami_start || exit 1
round cli
round vm
