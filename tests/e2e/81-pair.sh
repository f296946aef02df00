#!/usr/bin/env bash
# Both firewalls replicate to each other, started by the configuration: nothing goes back to where it came from; a dead daemon is seen,
# and what happened meanwhile is made good; lost events too; a primary that returns neither deletes nor overwrites what the
# standby has taken over, and one that yields gets the other's state for its own.
set -uo pipefail
LEASE=9s # a dump every three seconds
. "${srcdir:-.}/tests/e2e/pair.sh"
fail() { echo "$*"; ctl 1 status; ctl 2 status; cat "$WORK"/*.log; exit 1; }
in_step() { is_said 1 in_step True && is_said 2 in_step True; }
lab_start && pair_start replicate=true || exit 1
lab_untracked fw1 && lab_untracked fw2 || exit 1
poll 20 in_step || fail "not in step"

echo "both ways"
flow 1 1001; flow 2 2001; flow 1 1002
poll 10 has_flow 2 1001 && poll 10 has_flow 1 2001 && poll 10 has_flow 2 1002 || fail "a flow is missing at the other"
dumps=$(pair_says 2 dumps)
dumped() { [ "$(pair_says 2 dumps)" -ge $((dumps + 2)) ]; }
poll 20 dumped || fail "no dump every third of the lease"
[ "$(pair_heard 1 kept)" = 0 ] && [ "$(pair_heard 2 kept)" = 0 ] || fail "a flow was sent back to its owner"
is_heard 1 entries 1 && is_heard 2 entries 2 || fail "not one owner a flow"
ns fw1 conntrack -D -p tcp --orig-port-src 1001 >/dev/null 2>&1
ns fw2 conntrack -D -p tcp --orig-port-src 2001 >/dev/null 2>&1
poll 10 has_no_flow 2 1001 && poll 10 has_no_flow 1 2001 || fail "a flow that ended is still at the other"

echo "a file of the journal for each generation, and only the last ones"
journals() { find "$WORK/journal2" -name '*.ipfix' | wc -l; }
[ "$(journals)" -ge 2 ] && [ "$(journals)" -le 4 ] || fail "$(journals) files: $(ls -l "$WORK/journal2")"
mkdir "$WORK/finished" # links: the next generation may take the oldest away while it is read
find "$WORK/journal2" -name '*.ipfix' | sort | head -n -1 | while read -r file; do
    ln "$file" "$WORK/finished/" 2>/dev/null
done
[ -n "$(ls "$WORK/finished")" ] || fail "no finished file: $(ls -l "$WORK/journal2")"
for file in "$WORK"/finished/*; do # each readable alone, and signed; the first may be older than all flows
    ipfixDump --in "$file" >"$WORK/dump" 2>&1 || fail "ipfixDump: $(tail -n 3 "$WORK/dump")"
    "$BUILD/sami-replay" validate -q -c "$WORK/fw2/sami.conf" "$file" >"$WORK/valid" 2>&1 || fail "$file: $(cat "$WORK/valid")"
    grep -q 'sourceTransportPort' "$WORK/dump" && touch "$WORK/has-sessions"
done
[ -e "$WORK/has-sessions" ] || fail "no session in any of them"

echo "a dead collector"
pair_kill 2 collector
poll 15 is_said 1 up False || fail "the dead collector was not noticed"
has_flow 2 1002 || fail "its entries went with it"
flow 1 1003
ns fw1 conntrack -D -p tcp --orig-port-src 1002 >/dev/null 2>&1
pair_daemon 2 collector || exit 1
poll 30 in_step || fail "not in step again"
poll 10 has_flow 2 1003 && poll 15 has_no_flow 2 1002 || fail "what happened meanwhile was not made good"

echo "a dead exporter"
flow 1 1004
poll 10 has_flow 2 1004 || fail "a flow is missing at the other"
pair_kill 1 exporter
poll 15 is_heard 2 peer_up False || fail "the dead exporter was not noticed"
ns fw1 conntrack -D -p tcp --orig-port-src 1004 >/dev/null 2>&1
has_flow 2 1004 || fail "the replica was not kept"
pair_daemon 1 exporter || exit 1
poll 30 in_step && poll 15 has_no_flow 2 1004 && has_flow 2 1003 || fail "what happened meanwhile was not made good"

echo "a cut link: nothing tells of it but silence"
ip -n "${LAB}fw1" link set mgmt0 down
poll 15 is_heard 2 peer_up False && poll 15 is_said 1 up False || fail "the silence was not noticed"
flow 1 1005
ip -n "${LAB}fw1" link set mgmt0 up
poll 30 has_flow 2 1005 && poll 30 in_step || fail "what happened meanwhile was not made good"
ns fw1 conntrack -D -p tcp --orig-port-src 1005 >/dev/null 2>&1
poll 10 has_no_flow 2 1005 || fail "its end did not come"

echo "lost events"
for pid in $(pgrep -P "${PAIR["1 exporter"]}"); do kill -STOP "$pid"; done
for _ in 1 2; do # more than the event socket holds
    "$BUILD/sami-table" -n "${LAB}fw1" flush
    "$BUILD/sami-table" -n "${LAB}fw1" fill 80000 --kind mixed >/dev/null
done
for pid in $(pgrep -P "${PAIR["1 exporter"]}"); do kill -CONT "$pid"; done
count() { "$BUILD/sami-table" -n "$LAB$1" count; }
all_there() { [ "$(count fw2)" -ge "$(count fw1)" ]; }
poll 60 all_there || fail "$(count fw1) at the source, $(count fw2) at the standby"
[ "$(pair_says 1 overruns)" -ge 1 ] || fail "no overrun: this case proves nothing"
"$BUILD/sami-table" -n "${LAB}fw1" flush
nearly_empty() { [ "$(count fw2)" -le 2 ]; }
poll 60 nearly_empty || fail "$(count fw2) left at the standby"
poll 30 in_step || fail "not in step"

echo "the primary goes, the standby takes over, the primary comes back empty"
flow 1 3001; flow 1 3002; flow 1 3003
poll 10 has_flow 2 3003 || fail "a flow is missing at the standby"
pair_kill 1
ns fw1 conntrack -F >/dev/null 2>&1
rm -f "$WORK/run1/origin" # a boot
ctl 2 takeover || exit 1
ns fw2 conntrack -D -p tcp --orig-port-src 3002 >/dev/null 2>&1 # ends while the primary is away
pair_daemon 1 collector && pair_daemon 1 exporter || exit 1
poll 30 in_step || fail "not in step"
poll 15 has_flow 1 3001 || fail "the primary did not get what the standby has"
dumps=$(pair_says 1 dumps)
dumped_again() { [ "$(pair_says 1 dumps)" -ge $((dumps + 2)) ]; }
poll 20 dumped_again || fail "no dump"
has_flow 2 3001 && has_flow 2 3003 && has_no_flow 2 3002 && has_no_flow 1 3002 || fail "the returning primary changed the standby's table"
is_heard 2 entries 0 || fail "the returning primary says what it does not own"

echo "back again: the primary takes over, and the standby yields"
anew() { ns "fw$1" conntrack -D -p tcp --orig-port-src 3001 >/dev/null 2>&1; flow "$1" 3001 ESTABLISHED 500 --mark "$2"; }
anew 2 7
marked() { ns "fw$1" conntrack -L -p tcp --mark "$2" 2>/dev/null | grep -q ' sport=3001 '; }
poll 10 marked 1 7 || fail "an update did not come"
ctl 1 takeover || exit 1
anew 1 8
poll 20 dumped_again
marked 2 7 || fail "what the standby owns was overwritten"
ctl 2 resync --yield || exit 1
poll 15 marked 2 8 || fail "the one that yielded did not take the other's state"
poll 15 is_heard 2 entries 2 || fail "not the primary's"
ns fw1 conntrack -D -p tcp --orig-port-src 3001 >/dev/null 2>&1
poll 10 has_no_flow 2 3001 || fail "its end did not come"

echo "the end"
ctl 1 replicate --to fw2.example --stop || exit 1
none() { [ -z "$(pair_says 1 peer)" ]; }
poll 10 none || fail "it goes on"
has_flow 2 3003 || fail "the replica was not kept"
