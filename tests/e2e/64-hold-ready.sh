#!/usr/bin/env bash
# freeze --hold-ready: READY stays until settle, thaw, abort or the time; over a lost connection too.
set -uo pipefail
LEASE=60s
. "${srcdir:-.}/tests/e2e/faults.sh"
faults_lab && sami_start || exit 1

prepare() {
    begin "$1"
    flush 1 2
    fill 1000 --kind mixed
    add 1 1001
    follow "${@:3}"
    ctl 1 freeze "$ID" --hold-ready "$2" >"$WORK/freeze" 2>&1 || fail "freeze: $(cat "$WORK/freeze")"
}
held() { in_phase 1 READY && in_phase 2 READY || fail "$1, and $(field 1 phase), $(field 2 phase)"; }

prepare settle 60s
held frozen
add 1 1003 # too late for the freeze, and there all the same
poll 10 has 2 1003 || fail "a late flow is missing"
held "a late flow"
ctl 1 settle "$ID" >"$WORK/settle" 2>&1 || fail "settle: $(cat "$WORK/settle")"
ended 0
ctl 1 settle "$ID" >/dev/null 2>&1 || fail "settle is not idempotent"
equal

# Nobody has said that the VM runs there, so it may stand still here: nothing is purged.
prepare the-time-is-over 300ms --purge
ended 0
equal
grep -q '"kept_unconfirmed":1001' "$WORK/migrate" || fail "purged, or not said: $(tail -n 1 "$WORK/migrate")"

prepare thaw 60s
held frozen
ctl 1 freeze "$ID" >"$WORK/freeze" 2>&1 && fail "a second freeze has the answer of the first"
grep -q 'already-frozen' "$WORK/freeze" || fail "another reason: $(cat "$WORK/freeze")"
held "a second freeze"
ctl 1 thaw "$ID" >/dev/null 2>&1 || fail "not thawed"
ctl 1 settle "$ID" >"$WORK/settle" 2>&1 && fail "settled what was thawed"
grep -q 'no READY to settle' "$WORK/settle" || fail "another reason: $(cat "$WORK/settle")"
poll 10 in_phase 2 FOLLOW || fail "the collector is $(field 2 phase)"
frozen # without a hold it goes on to its end
ended 0
equal

prepare abort 60s
held frozen
ctl 1 abort "$ID" >/dev/null 2>&1 || fail "not aborted"
ended 4
has_entries 2 0 || fail "left at firewall 2"

# What was in the queue is sent again, and READY stays.
prepare lost-connection 60s
held frozen
cut reset
add 1 1004
poll 20 sh -c "ip netns exec ${LAB}fw1 $BUILD/samictl --config-dir $WORK/fw1 status $ID --json | grep -q '\"connected\" *: *false'" || fail "the session was not lost"
mend
poll 20 has 2 1004 || fail "a late flow is missing"
in_phase 1 READY SETTLE DONE && in_phase 2 READY SETTLE DONE || fail "a lost session took READY back: $(field 1 phase), $(field 2 phase)"
ctl 1 settle "$ID" >"$WORK/settle" 2>&1 || fail "settle: $(cat "$WORK/settle")"
ended 0
equal
exit 0
