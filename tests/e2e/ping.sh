# ping.sh: pings of the client to the VM, IPv4 and IPv6, whose identifiers have to outlive the move; sourced by the cases, after testbed.sh. Firewall 2
# lets no new echo request through.
# shellcheck shell=bash

ping_only_known() {
    local type handle
    for type in icmp icmpv6; do
        handle=$(ns fw2 nft -a list chain inet filter forward | sed -n "s/.* $type type echo-request .* # handle \([0-9]*\)/\1/p")
        ns fw2 nft delete rule inet filter forward handle "${handle:?no rule of $type}" || return 1
    done
}

ping_start() {
    local address
    PINGS=()
    for address in $VM4 $VM6; do
        ip netns exec "${LAB}cli" ping -i 0.1 "$address" >"$WORK/ping-$address" 2>&1 &
        PINGS+=($!)
        poll 10 grep -qs icmp_seq=2 "$WORK/ping-$address" || { cat "$WORK/ping-$address"; return 1; }
    done
}

ping_answers() { sed -n 's/^[0-9]* bytes from .*icmp_seq=\([0-9]*\) .*/\1/p' "$WORK/ping-$1"; }
ping_has() { [ "$(ping_answers "$1" | wc -l)" -ge "$2" ]; }

# After the move: from the second answer on that came behind it, at least fifteen, none is missing.
ping_judge() {
    local address status=0
    for address in $VM4 $VM6; do
        poll 10 ping_has "$address" $(($(ping_answers "$address" | wc -l) + 2)) || { cat "$WORK/ping-$address"; return 1; }
        ping_answers "$address" | tail -n 1 >"$WORK/from-$address"
    done
    for address in $VM4 $VM6; do
        poll 20 ping_has "$address" $(($(ping_answers "$address" | wc -l) + 15)) || { cat "$WORK/ping-$address"; return 1; }
    done
    kill -INT "${PINGS[@]}"
    wait "${PINGS[@]}"
    for address in $VM4 $VM6; do
        tail -n 2 "$WORK/ping-$address"
        ping_answers "$address" | awk -v from="$(cat "$WORK/from-$address")" '$1 > from && $1 != last + 1 { holes++ } { last = $1 }
            END { print "moved before answer " from ", last answer " last ", holes " holes + 0; exit last - from < 15 || holes > 0 }' ||
            { cat "$WORK/ping-$address" "$WORK"/*.log; status=1; }
        if ns cli ping -c 1 -W 1 "$address" >"$WORK/new" 2>&1; then
            echo "firewall 2 lets a new ping to $address through: this case proves nothing"
            status=1
        fi
    done
    return $status
}
