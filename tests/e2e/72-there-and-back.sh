#!/usr/bin/env bash
# A -> B -> A: a VM with live transfers of every kind moves to firewall 2 and back, while what it left at firewall 1 is still there. Both
# moves are survived, and go on to be survived when window tracking is strict again.
# OVER SCTP, TOO
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
export RATE=100000
GRACE=3
CASES=(out in snat dnat masquerade ipv6-out ipv6-in ipv6-snat)
CLIENTS=()
fail() { echo "FAIL $*"; cat "$WORK/results" "$WORK/udp"; tail -n 40 "$WORK"/*.log; exit 1; }
lab_start && sami_setup || exit 1
for f in "$WORK"/fw1/signers.d/*.conf; do
    sed -i '/^nat-addresses=/d' "$f"
    echo 'nat-addresses=192.0.2.0/24,2001:db8:f::/64' >>"$f"
done
sed -i "s/^grace=.*/grace=${GRACE}s/" "$WORK"/fw?/sami.conf
sami_start || exit 1
ip netns exec "${LAB}fw1" "$BUILD/sami-collector" -c "$WORK/fw1/sami.conf" -f >"$WORK/collector1.log" 2>&1 &
disown
ip netns exec "${LAB}fw2" "$BUILD/sami-exporter" -c "$WORK/fw2/sami.conf" -f >"$WORK/exporter2.log" 2>&1 &
disown
poll 10 test -S "$WORK/run1/collector.sock" && poll 10 test -S "$WORK/run2/exporter.sock" || fail "no daemons for the way back"
ctl 1 -q expect --vm 10.0.0.0/24,2001:db8:a::/64 --from fw2.example || fail "expect"
# Acknowledgements without options are short: the rule that tightens would take what is left of the first move for one-way flows.
ns cli sysctl -qw net.ipv4.tcp_timestamps=0
ns vm sysctl -qw net.ipv4.tcp_timestamps=0
for case in "${CASES[@]}"; do lab_launch "$case" 3 200; done
lab_launch udp 2 200 "$WORK/udp"
lab_launch ipv6-udp 2 200 "$WORK/udp"
# Say nothing from before the first move until long after the second.
lab_launch in 4 200 "$WORK/idle" idle
lab_under_way "${CASES[@]}" udp ipv6-udp && poll 30 grep -qs started "$WORK/idle-in" || exit 1

move() { # FROM
    FROM=$1
    sami_follow || fail "$FROM: no snapshot"
    [ ! -s "$WORK/results" ] || fail "$FROM: a transfer was over before the move: this case proves nothing"
    sami_move || fail "$FROM: the move"
    wait "$MIGRATE" || { tail -n 1 "$WORK/migrate"; fail "$FROM: migrate ended with $?"; }
    tail -n 1 "$WORK/migrate"
}
total() { "$BUILD/sami-table" -n "${LAB}$1" print | grep -c "$VM4\|$VM6"; }
lenient() { # FIREWALL
    "$BUILD/sami-table" -n "${LAB}fw$1" print | grep "$VM4\|$VM6" | grep ' state 3 ' | grep -c ' flags .[89a-f]/.[89a-f] '
}
at() { [ "$(lenient "$1")" -lt "$2" ]; }

move 1
echo "left at firewall 1: $(total fw1), at firewall 2: $(total fw2)"
[ "$(total fw1)" -ge 20 ] || fail "nothing is left at firewall 1: this case proves nothing"
all=$(lenient 2)
poll 15 at 2 "$all" || fail "nothing of $all is strict again at firewall 2"
echo "lenient at firewall 2: $all, after the grace: $(lenient 2)"
# From here on firewall 1 is the destination. Before, it saw one direction for a moment while the path moved.
at2=$(lab_invalid 2) at1=$(lab_invalid 1)
move 2
grep -q '"merged":0' <(tail -n 1 "$WORK/migrate") && fail "nothing was merged: this case proves nothing"
all=$(lenient 1)
end=$((SECONDS + GRACE + 3))
over() { [ $SECONDS -ge $end ]; }
poll $((GRACE + 10)) over
echo "lenient at firewall 1: $all, after the grace: $(lenient 1)"
[ ! -s "$WORK/idle" ] && [ ! -s "$WORK/results" ] || fail "a transfer was over before the grace was: this case proves nothing"
lab_enough
cat "$WORK/results" "$WORK/udp" "$WORK/idle"
[ "$(survived)" -eq $((3 * ${#CASES[@]})) ] || fail "not every transfer survived"
[ "$(grep -c ' ok ' "$WORK/udp")" -eq 4 ] || fail "not every UDP exchange survived"
[ "$(grep -c ' ok ' "$WORK/idle")" -eq 4 ] || fail "not every idle connection survived"
[ "$at2" -eq 0 ] || fail "$at2 packets INVALID at firewall 2 before the way back"
[ "$(lab_invalid 1)" -eq "$at1" ] || fail "$(($(lab_invalid 1) - at1)) packets INVALID at firewall 1 after the way back"
