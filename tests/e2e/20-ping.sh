#!/usr/bin/env bash
# A running ping keeps its identifier through the move, IPv4 and IPv6. Firewall 2 lets no new echo request through.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_start && sami_setup && sami_start || exit 1
for type in icmp icmpv6; do
    handle=$(ns fw2 nft -a list chain inet filter forward | sed -n "s/.* $type type echo-request .* # handle \([0-9]*\)/\1/p")
    ns fw2 nft delete rule inet filter forward handle "${handle:?no rule of $type}" || exit 1
done
pings=()
for address in $VM4 $VM6; do
    ip netns exec "${LAB}cli" ping -i 0.2 -c 50 "$address" >"$WORK/ping-$address" 2>&1 &
    pings+=($!)
    poll 10 grep -q icmp_seq=2 "$WORK/ping-$address" || { cat "$WORK/ping-$address"; exit 1; }
done
sami_follow || exit 1
sami_move || exit 1
answers() { sed -n 's/^[0-9]* bytes from .*icmp_seq=\([0-9]*\) .*/\1/p' "$WORK/ping-$1"; }
has_answers() { [ "$(answers "$1" | wc -l)" -ge "$2" ]; }
for address in $VM4 $VM6; do # from the second answer on that came behind the move
    poll 10 has_answers "$address" $(($(answers "$address" | wc -l) + 2)) || { cat "$WORK/ping-$address"; exit 1; }
    answers "$address" | tail -n 1 >"$WORK/from-$address"
done
wait "${pings[@]}"
wait "$MIGRATE" || { echo "migrate ended with $?"; cat "$WORK/migrate" "$WORK"/*.log; exit 1; }
[ "$(lab_invalid)" -eq 0 ] || { echo "$(lab_invalid) packets INVALID at firewall 2"; exit 1; }
for address in $VM4 $VM6; do
    tail -n 2 "$WORK/ping-$address"
    answers "$address" | awk -v from="$(cat "$WORK/from-$address")" '$1 > from && $1 != last + 1 { holes++ } { last = $1 }
        END { print "moved before answer " from ", last answer " last ", holes " holes + 0; exit last != 50 || from >= 50 || holes > 0 }' ||
        { cat "$WORK/ping-$address" "$WORK"/*.log; exit 1; }
    if ns cli ping -c 1 -W 1 "$address" >"$WORK/new" 2>&1; then
        echo "firewall 2 lets a new ping to $address through: this case proves nothing"
        exit 1
    fi
done
