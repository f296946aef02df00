#!/usr/bin/env bash
# A standby's table is kept in step with live transfers of every kind. The primary dies with them under way; the standby notices, takes
# over, and every one goes on to its end.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/pair.sh"
CLIENTS=() KINDS="out in snat dnat ipv6-snat" expected=0
lab_start && pair_start || exit 1
for kind in $KINDS; do
    lab_traffic "$kind" 3 200 || exit 1
    expected=$((expected + 3))
    [ "$kind" != snat ] || { ctl 1 replicate --to fw2.example --wait || { cat "$WORK"/*.log; exit 1; }; } # the rest comes as events
done
# shellcheck disable=SC2086
all_here() { [ "$(flows 2)" -ge $expected ]; }
poll 10 all_here || { echo "$(flows 2) of $expected flows at the standby"; ctl 1 status; ctl 2 status; cat "$WORK"/*.log; exit 1; }
ctl 1 status
ctl 2 status
[ ! -s "$WORK/results" ] || { echo "a transfer was over before the switch: this case proves nothing"; exit 1; }

# The primary is gone: power, links, daemons.
start=$EPOCHREALTIME
pair_kill 1
for link in v c mgmt0; do ip -n "${LAB}fw1" link set $link down; done
poll 10 is_heard 2 peer_up False || { echo "the standby did not notice"; ctl 2 status; exit 1; }
noticed=$EPOCHREALTIME
out=$(ctl 2 takeover) || { echo "$out"; cat "$WORK"/*.log; exit 1; }
taken=$EPOCHREALTIME
lab_path 2
awk -v a="$start" -v b="$noticed" -v c="$taken" 'BEGIN { printf "noticed after %.1f s, takeover took %.1f ms\n", b - a, (c - b) * 1000 }'
echo "$out"
again=$(ctl 2 takeover) || { echo "a second takeover failed: $again"; exit 1; }
grep -q '^0 entries' <<<"$again" || { echo "a second takeover took something: $again"; exit 1; }
lab_enough
cat "$WORK/results"
[ "$(survived)" -eq $expected ] || { echo "$(survived) of $expected survived"; cat "$WORK"/*.log; exit 1; }
[ "$(lab_invalid)" -eq 0 ] || { echo "$(lab_invalid) packets INVALID at firewall 2"; exit 1; }
