#!/usr/bin/env bash
# A rollback removes exactly what the migration created: not what was there, not what traffic has made anew with the same addresses, not what
# somebody else's migration counts on; without start times it says what it could not prove.
set -uo pipefail
LEASE=60s
. "${srcdir:-.}/tests/e2e/faults.sh"
faults_lab && sami_start || exit 1
rollback() { field 2 "$1"; }
gone() { ns fw2 conntrack -D -p tcp -s $VM4 --sport "$1" >/dev/null 2>&1 || fail "$1 is not there"; }
undone() {
    ctl 1 abort "$ID" >"$WORK/abort" 2>&1 || fail "abort: $(cat "$WORK/abort")"
    ended 4
    poll 10 in_phase 2 ABORTED || fail "the collector is $(field 2 phase)"
}
says() { # NAME VALUE of the removal
    local now
    now=$(ctl 2 status "$ID" --json | sed -n "s/.*\"rollback\":{[^}]*\"$1\":\([0-9]*\).*/\1/p")
    [ "$now" = "$2" ] || fail "the collector says $1 $now, not $2"
}

begin created-anew
add 2 1001 --mark 9 # the same flow, there before
fill 3000 --kind mixed
for port in 1001 1002 1003 1004; do add 1 $port; done
follow
gone 1002; add 2 1002 --mark 5 # made anew
gone 1003                      # ended
[ "$(from_vm 2)" -ge 1002 ] || fail "nothing came"
undone
for port in 1001 1002; do has 2 $port || fail "$port is not ours and gone"; done
has_entries 2 2 || fail "$(entries 2) entries left, not 2: $(ns fw2 conntrack -L 2>/dev/null | head -n 5)"
ns fw2 conntrack -L -p tcp -s $VM4 --sport 1001 2>/dev/null | grep -q mark=9 || fail "what was there has changed"
says removed 3001
says not_ours 1
says gone 1
says unproved 0
flush 1 2

# After READY, by the explicit command, with real traffic on one of them.
begin undone-after-ready
fill 20000 --kind mixed
add 1 1002; add 1 1003
follow
slow 2mbit
frozen
in_phase 1 SETTLE || fail "the migration is $(field 1 phase): this case proves nothing"
gone 1002; add 2 1002
undone
fast
has 2 1002 || fail "not ours and gone"
has_entries 2 1 || fail "$(entries 2) entries left, not 1"
flush 1 2

begin without-start-times
ns fw2 sysctl -qw net.netfilter.nf_conntrack_timestamp=0
add 2 1001
for port in 1001 1002 1003; do add 1 $port; done
follow
undone
has 2 1001 || fail "what was there is gone"
has_entries 2 1 || fail "$(entries 2) entries left, not 1"
says unproved 2
grep -q 'no start time to prove' "$WORK/collector.log" || fail "not said"
