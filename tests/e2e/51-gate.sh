#!/usr/bin/env bash
# The nft gate at the destination: packets of the VM wait from the freeze until READY; it opens at READY, at an abort, and by itself
# when the collector is gone.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_start && sami_setup || exit 1
# Before connection tracking: what is held leaves no trace there.
ns fw2 nft -f - <<'NFT' || exit 1
table inet gate {
    counter held { }
    set vm { type ipv4_addr; flags timeout; }
    set vm6 { type ipv6_addr; flags timeout; }
    chain prerouting {
        type filter hook prerouting priority raw;
        ip saddr @vm counter name held drop
        ip daddr @vm counter name held drop
        ip6 saddr @vm6 counter name held drop
        ip6 daddr @vm6 counter name held drop
    }
}
NFT
printf 'gate=nft\ngate-set=inet gate vm\n' >>"$WORK/fw2/sami.conf"
lab_path 2 # the path has moved already: what reaches the VM goes through firewall 2

fail() { echo "$*"; cat "$WORK"/*.log "$WORK"/migrate* "$WORK"/out 2>/dev/null; ns fw2 nft list table inet gate; exit 1; }
reach() { ns cli ping -c 1 -W 1 -q $VM4 >/dev/null 2>&1; }
held() { ns fw2 nft list counter inet gate held | sed -n 's/.*packets \([0-9]*\).*/\1/p'; }
is_held() { # packets are dropped by the gate's own rule, in both directions
    local before
    before=$(held)
    ! reach && ! ns vm ping -c 1 -W 1 -q $CLI4 >/dev/null 2>&1 && [ "$(held)" -ge $((before + 2)) ]
}
collectors() { ip netns pids "${LAB}fw2" | xargs -r ps -o pid=,comm= -p | awk '$2 ~ /^sami-collector/ { print $1 }'; }
stop_collector() { # SIGNAL
    collectors | xargs -r kill "-$1"
    poll 10 sh -c "! ip netns pids ${LAB}fw2 | xargs -r ps -o comm= -p | grep -q ^sami-collector" || fail "the collector does not end"
    rm -f "$WORK/run2/collector.sock"
}
start_collector() {
    ns fw2 "$BUILD/sami-collector" -c "$WORK/fw2/sami.conf" -f >"$WORK/collector.log" 2>&1 &
    poll 10 test -S "$WORK/run2/collector.sock" || fail "the collector does not start"
}
freeze() { ctl 1 freeze "$ID" >"$WORK/out" 2>&1 || fail "freeze ended with $?"; }

sami_start || exit 1
ns fw1 conntrack -I -p tcp -s $VM4 -d $CLI4 --sport 1001 --dport 443 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED >/dev/null 2>&1

# The marker closes, READY opens; nft itself says so, in this order.
ns fw2 nft monitor elements >"$WORK/monitor" 2>&1 &
listens() { # the monitor says what it hears only when it is there: ask until it does
    ns fw2 nft "add element inet gate vm { 192.0.2.99 timeout 1h }; delete element inet gate vm { 192.0.2.99 }"
    grep -q "delete element inet gate vm { 192.0.2.99" "$WORK/monitor"
}
poll 10 listens || fail "nft monitor does not listen"
sami_follow || exit 1
reach || fail "held in FOLLOW"
freeze
poll 10 grep -q "^delete element inet gate vm6" "$WORK/monitor" || fail "no deletion: $(cat "$WORK/monitor")"
grep -v 192.0.2.99 "$WORK/monitor" | grep -o '^\(create\|delete\) element inet gate vm6* { [0-9a-f.:]*\( timeout [0-9]*s\)\?' | tee "$WORK/order"
diff - "$WORK/order" <<ORDER || fail "another order"
create element inet gate vm { $VM4 timeout 2s
create element inet gate vm6 { $VM6 timeout 2s
delete element inet gate vm { $VM4 timeout 2s
delete element inet gate vm6 { $VM6 timeout 2s
ORDER
reach || fail "held after READY"
wait "$MIGRATE" || fail "migrate ended with $?"
ctl 2 gate "$ID" >"$WORK/out" 2>&1 && fail "closed after READY"
ctl 2 stats --json | grep -q '"gates_closed_total" *: *1' || fail "not counted: $(ctl 2 stats --json)"
echo "ok: closed by the marker, opened by READY"

# By hand, before the source says anything; READY opens it.
sami_follow || exit 1
ctl 2 gate "$ID" --timeout 60s >"$WORK/out" 2>&1 || fail "gate ended with $?"
is_held || fail "not held"
ctl 2 gate "$ID" --open >"$WORK/out" 2>&1 && reach || fail "not open"
ctl 2 gate "$ID" --timeout 60s >"$WORK/out" 2>&1 && ! reach || fail "not held again"
ctl 2 wait "$ID" --timeout 100ms >"$WORK/out" 2>&1
[ $? -eq 5 ] || fail "wait before READY is not late"
freeze
reach || fail "held after READY"
ctl 2 wait "$ID" --timeout 20s >"$WORK/out" 2>&1 && ctl 1 wait "$ID" >"$WORK/out" 2>&1 || fail "wait ended with $?"
wait "$MIGRATE"
echo "ok: closed by hand"

# An abort opens it.
sami_follow || exit 1
ctl 2 gate "$ID" --timeout 60s >"$WORK/out" 2>&1 && is_held || fail "not held"
ctl 1 abort "$ID" >"$WORK/out" 2>&1 || fail "abort ended with $?"
reach || fail "held after the abort"
ctl 2 wait "$ID" >"$WORK/out" 2>&1
[ $? -eq 4 ] || fail "wait after the abort is not 4"
wait "$MIGRATE"
echo "ok: opened by an abort"

# The collector is killed: the element's timeout opens it.
sami_follow || exit 1
ctl 2 gate "$ID" --timeout 4s >"$WORK/out" 2>&1 || fail "gate ended with $?"
stop_collector KILL
reach && fail "not held after the collector was killed"
poll 20 reach || fail "still held: does not fail open"
echo "ok: fails open"
ctl 1 abort "$ID" >/dev/null 2>&1
wait "$MIGRATE"

# From the snapshot on: everything before READY is held, at the price of the VM's traffic through here while it still runs there.
printf 'gate-from=snapshot\n' >>"$WORK/fw2/sami.conf"
start_collector
sami_follow || exit 1
is_held || fail "not held from the snapshot"
ns cli ping -6 -c 1 -W 1 -q $VM6 >/dev/null 2>&1 && fail "IPv6 is not held"
freeze
reach || fail "held after READY"
wait "$MIGRATE"
echo "ok: closed from the snapshot"

# A ruleset without the sets: said at once, and nothing else depends on it.
ns fw2 nft delete table inet gate
sami_follow || exit 1
ctl 2 gate "$ID" >"$WORK/out" 2>&1 && fail "closed without a set"
grep -q "nft add set inet gate vm " "$WORK/collector.log" || fail "the log does not say what is missing"
freeze
wait "$MIGRATE" || fail "migrate ended with $?"
ctl 2 stats --json | grep -q '"gate_failures_total" *: *[1-9]' || fail "failures are not counted"
