#!/usr/bin/env bash
# The draft's own case: a client floods SYNs, is counted and blacklisted at firewall 1; the VM moves; at firewall 2 it is still blacklisted for
# its remaining time and its counter goes on from where it was, a second client is not touched. The same for DNS queries, both families, keys of
# several parts. Then back and forth: nothing is added twice. Then an abort: what it brought goes, and nothing else.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
. "$SRC/tests/e2e/cumulative.sh"
fail() { for n in 1 2; do ns fw$n nft list table inet guard | grep -v " . "; done; for f in "$WORK"/*.log; do tail -n 20 "$f"; done; tail -n 1 "$WORK/migrate"; echo "FAIL $*"; exit 1; }
is() { # WHAT WANTED GOT
    [ "$2" = "$3" ] || fail "$1: $3, not $2"
}
move() {
    FROM=$1
    sami_follow || fail "$FROM: no snapshot"
    sami_move || fail "$FROM: the move"
    wait "$MIGRATE" || { tail -n 1 "$WORK/migrate"; fail "$FROM: migrate ended with $?"; }
    tail -n 1 "$WORK/migrate" | grep -o '"cumulative":{[^[]*'
}

lab_start && sami_setup && guard_start && sami_start && guard_both_ways || exit 1
flood syn $BAD4 $VM4 60 && flood syn $BAD6 $VM6 50 && flood syn $GOOD4 $VM4 3 && flood syn $GOOD6 $VM6 2 || fail "no flood"
flood dns $BAD4 $VM4 40 && flood dns $BAD6 $VM6 30 && flood dns $GOOD4 $VM4 1 || fail "no queries"
is "SYNs counted at firewall 1" 60 "$(packets 1 syn4 $BAD4)"
is "the same of IPv6" 50 "$(packets 1 syn6 $BAD6)"
is "queries" 40 "$(packets 1 dns4 $BAD4)"
element 1 bad4 $BAD4 >/dev/null && element 1 bad6 $BAD6 >/dev/null || fail "the flood was not blacklisted: this case proves nothing"
element 1 bad4 $GOOD4 && fail "the second client was blacklisted: this case proves nothing"
# What is there before is added to, and a blacklist entry that lasts longer stays.
ns fw2 nft add element inet guard second_syn4 "{ $BAD4 counter packets 1000 bytes 60000 timeout 10m expires 1m }"
before=$(remaining 1 bad4 $BAD4)

move 1
echo "at firewall 2: $(element 2 syn4 $BAD4)"
is "SYNs of the flood at firewall 2" 1060 "$(packets 2 syn4 $BAD4)"
is "SYNs of IPv6" 50 "$(packets 2 syn6 $BAD6)"
is "SYNs of the second client" 3 "$(packets 2 syn4 $GOOD4)"
is "queries" 40 "$(packets 2 dns4 $BAD4)"
is "queries of IPv6" 30 "$(packets 2 dns6 $BAD6)"
is "a key of three parts" 1 "$(packets 2 pair4 "$BAD4 . $VM4 . 20007")"
is "the same of IPv6" 1 "$(packets 2 pair6 "$BAD6 . $VM6 . 20007")"
element 2 pair4 "$BAD4 . $VM4 . 20007" | grep -q quota || fail "its quota is lost"
after=$(remaining 2 bad4 $BAD4)
[ "$after" -le "$before" ] && [ "$after" -ge $((before - 15)) ] || fail "blacklisted for $after s, of $before s"
[ "$(remaining 2 syn4 $BAD4)" -ge 500 ] || fail "the longer remaining time did not win: $(element 2 syn4 $BAD4)"
element 2 bad4 $GOOD4 && fail "the second client has become blacklisted"
is "blocked at firewall 2 so far" 0 "$(blocked 2)"
flood syn $BAD4 $VM4 5 && flood syn $BAD6 $VM6 4 && flood syn $GOOD4 $VM4 2 && flood dns $BAD4 $VM4 2 || fail "no flood"
is "blocked at firewall 2" 11 "$(blocked 2)"
is "SYNs of the flood go on" 1065 "$(packets 2 syn4 $BAD4)"
is "SYNs of the second client go on" 5 "$(packets 2 syn4 $GOOD4)"
is "queries go on" 42 "$(packets 2 dns4 $BAD4)"

# Back: firewall 1 still has its elements; it gets what the other one counted, the 1000 that were there before included.
move 2
is "SYNs of the flood back at firewall 1" 1065 "$(packets 1 syn4 $BAD4)"
is "of IPv6" 54 "$(packets 1 syn6 $BAD6)"
is "of the second client" 5 "$(packets 1 syn4 $GOOD4)"
is "queries" 42 "$(packets 1 dns4 $BAD4)"
flood syn $BAD4 $VM4 7 || fail "no flood"
# There and back once more, without and with something new in between.
move 1
is "SYNs of the flood at firewall 2 again" 1072 "$(packets 2 syn4 $BAD4)"
is "of IPv6" 54 "$(packets 2 syn6 $BAD6)"
move 2
is "SYNs of the flood at firewall 1 again" 1072 "$(packets 1 syn4 $BAD4)"
is "queries" 42 "$(packets 1 dns4 $BAD4)"
# Firewall 1 has lost its element: the whole comes back, its own part too.
ns fw1 nft delete element inet guard syn6 "{ $BAD6 }"
move 1
ns fw1 nft flush set inet guard dns4
move 2
is "queries, after the set was flushed" 42 "$(packets 1 dns4 $BAD4)"
is "SYNs of IPv6, after the element was deleted" 54 "$(packets 1 syn6 $BAD6)"

# An abort, of what the migration added, made and prolonged.
flood syn $BAD4 $VM4 11 && flood syn $GOOD4 $VM4 1 || fail "no flood"
ns fw1 nft add element inet guard bad4 "{ 192.0.2.200 timeout 20m, 192.0.2.201 timeout 20m }"
ns fw2 nft add element inet guard second_bad4 "{ 192.0.2.201 timeout 5m }"
FROM=1
sami_follow || fail "no snapshot before the abort"
is "before the abort" 1083 "$(packets 2 syn4 $BAD4)"
element 2 bad4 192.0.2.200 >/dev/null || fail "no new blacklist entry before the abort"
[ "$(remaining 2 bad4 192.0.2.201)" -gt 400 ] || fail "not prolonged before the abort"
ctl 1 -q abort "$ID" || fail "abort ended with $?"
wait "$MIGRATE"
is "after the abort" 1072 "$(packets 2 syn4 $BAD4)"
is "the second client after the abort" 5 "$(packets 2 syn4 $GOOD4)"
element 2 bad4 192.0.2.200 && fail "a blacklist entry of an aborted move is still there"
left=$(remaining 2 bad4 192.0.2.201)
[ "$left" -le 300 ] && [ "$left" -ge 280 ] || fail "after the abort it has $left s, of 300"
element 2 bad4 $BAD4 >/dev/null || fail "the abort removed an entry of an earlier move"
# And the same once more, for good.
move 1
is "after all" 1083 "$(packets 2 syn4 $BAD4)"

# Who is blacklisted between snapshot and freeze is so at READY, not only when all is settled.
FROM=1
sami_follow || fail "no snapshot before the hold"
ns fw1 nft add element inet guard bad4 "{ 192.0.2.210 timeout 20m }"
ctl 1 freeze "$ID" --hold-ready 60s >"$WORK/freeze" 2>&1 || fail "freeze: $(cat "$WORK/freeze")"
element 2 bad4 192.0.2.210 >/dev/null || fail "at READY the latest blacklist entry is missing"
ctl 1 settle "$ID" >"$WORK/settle" 2>&1 || fail "settle: $(cat "$WORK/settle")"
wait "$MIGRATE" || fail "migrate ended with $?"
ctl 2 stats --json >"$WORK/stats" && grep -q '"cumulative_applied_total":[1-9]' "$WORK/stats" || fail "stats do not count"
ctl 2 metrics >"$WORK/metrics" && grep -q '^sami_records_total{.*kind="cumulative".*} [1-9]' "$WORK/metrics" || fail "metrics do not count"
