#!/usr/bin/env bash
# Freeze, thaw, freeze again: before READY and after it. A receipt counts for its own marker only, and what ended between is not there.
set -uo pipefail
LEASE=60s
. "${srcdir:-.}/tests/e2e/faults.sh"
faults_lab && sami_start || exit 1
COLLECTOR_STATE=$(process 2 state)

freeze_later() { ctl 1 freeze "$ID" >"$WORK/freeze" 2>&1 & FREEZE=$!; poll 10 in_phase 1 FREEZE || fail "not in FREEZE"; }
thaw() {
    ctl 1 thaw "$ID" >"$WORK/thaw" 2>&1 || fail "thaw: $(cat "$WORK/thaw")"
    in_phase 1 FOLLOW || fail "thawed, and $(field 1 phase)"
}
between() { # the VM goes on: one flow ends, one begins, one ends and begins anew in another state
    ns fw1 conntrack -D -p tcp -s $VM4 --sport 1001 >/dev/null 2>&1 || fail "no flow to end"
    ns fw1 conntrack -D -p tcp -s $VM4 --sport 1002 >/dev/null 2>&1 || fail "no flow to end"
    add 1 1002 --mark 7
    add 1 1003
}
prepare() {
    begin "$1"
    fill 10000 --kind mixed
    add 1 1001; add 1 1002
    follow
}
finished() {
    ended 0
    has 2 1001 && fail "a flow that ended between is there"
    has 2 1003 || fail "a flow that began between is missing"
    ns fw2 conntrack -L -p tcp -s $VM4 --sport 1002 2>/dev/null | grep -q mark=7 || fail "the flow that began anew is the old one"
    equal
    flush 1 2
}

prepare thaw-before-ready
kill -STOP "$COLLECTOR_STATE"
freeze_later
thaw
wait $FREEZE && fail "a freeze that was thawed ended with 0"
between
kill -CONT "$COLLECTOR_STATE"
frozen
finished

prepare thaw-after-ready
slow 1mbit # so that the audit is not over first
frozen
in_phase 1 SETTLE || fail "the migration is $(field 1 phase): this case proves nothing"
thaw
fast
between
poll 20 in_phase 2 FOLLOW || fail "the collector is $(field 2 phase)"
frozen
finished

# READY of the first freeze comes after the second one has begun.
prepare receipt-of-an-earlier-freeze
mute
freeze_later
poll 10 in_phase 2 READY || fail "not READY at the collector"
thaw
wait $FREEZE && fail "a freeze that was thawed ended with 0"
between
kill -STOP "$COLLECTOR_STATE"
freeze_later
if [ "$TRANSPORT" = tcp ]; then
    octets() { ns fw1 ss -Htni "dport = 4740" | sed -n 's/.*bytes_received:\([0-9]*\).*/\1/p'; }
else # what is longer than an acknowledgement or a heartbeat
    ns fw1 nft -f - <<<"table inet seen { counter long { }
        chain in { type filter hook input priority 1; iifname \"mgmt0\" $FROM_COLLECTOR udp length > 250 counter name long; }; }"
    octets() { ns fw1 nft list counter inet seen long | sed -n 's/.* bytes \([0-9]*\).*/\1/p'; }
fi
received() { [ "$(octets)" -gt "$OCTETS" ]; }
OCTETS=$(octets)
mend
# The first receipt is on the way again; nothing of the second one can be.
poll 20 received || fail "the first receipt does not come"
in_phase 1 FREEZE || fail "the receipt of the first freeze made it $(field 1 phase)"
kill -0 $FREEZE 2>/dev/null || fail "the second freeze is over"
kill -CONT "$COLLECTOR_STATE"
wait $FREEZE || fail "freeze ended with $?: $(cat "$WORK/freeze")"
finished
