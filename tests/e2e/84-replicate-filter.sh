#!/usr/bin/env bash
# What is replicated is filtered by protocol, address and TCP state. A flow that leaves the wanted states goes at the standby at once, and
# comes back when it enters them again; a reload changes the filter in a running replication.
set -uo pipefail
LEASE=300s # a dump every 100 s: what is shown here does not come from the next one
. "${srcdir:-.}/tests/e2e/pair.sh"
CLIENTS=()
conf=$WORK/fw1/peers.d/fw2.example.conf
fail() { echo "$*"; ctl 1 status; ctl 2 status; ns fw1 conntrack -L 2>/dev/null; ns fw2 conntrack -L 2>/dev/null; cat "$WORK"/*.log; exit 1; }
# filter KEY=VALUE...: the filter of firewall 1, and only that
filter() { sed -i '/^replicate-/d' "$conf"; printf '%s\n' "$@" >>"$conf"; }
other() { ns fw1 conntrack -I -s "$VM4" -d "$1" -t 500 -u SEEN_REPLY,ASSURED "${@:2}" >/dev/null 2>&1; }
has() { ns "fw$1" conntrack -L -d "$2" "${@:3}" 2>/dev/null | grep -q src=; }
has_none() { ! has "$@"; }
state() { ns fw1 conntrack -U -p tcp -s $VM4 -d $CLI4 --sport "$1" --dport 443 --state "$2" >/dev/null 2>&1 || fail "conntrack -U $*"; }

lab_start && pair_setup || exit 1
lab_untracked fw1 && lab_untracked fw2 || exit 1
echo replicate=true >>"$conf"
filter replicate-protocols=tcp,udp replicate-addresses=198.51.100.0/24,203.0.113.0/24 replicate-ignore=203.0.113.66 replicate-states=established,close-wait

echo "before the first dump"
flow 1 1001
flow 1 1002 SYN_SENT
flow 1 1003 TIME_WAIT
other 203.0.113.1 -p udp --sport 5000 --dport 53
other 203.0.113.66 -p udp --sport 5000 --dport 53
other 203.0.113.1 -p icmp --icmp-type 8 --icmp-code 0 --icmp-id 77
other 192.0.2.200 -p udp --sport 5000 --dport 53
pair_daemon 2 collector && pair_daemon 1 exporter || exit 1
poll 20 is_said 1 in_step True || fail "not in step"
has_flow 2 1001 && has 2 203.0.113.1 -p udp || fail "a flow that the filter wants is missing"
has_no_flow 2 1002 && has_no_flow 2 1003 || fail "a flow in a state that is not wanted came"
has_none 2 203.0.113.66 || fail "a flow of an ignored address came"
has_none 2 203.0.113.1 -p icmp || fail "a protocol that is not wanted came"
has_none 2 192.0.2.200 || fail "a flow of none of the addresses came"
[ "$(pair_says 1 filtered)" -ge 5 ] || fail "$(pair_says 1 filtered) were counted as filtered"
ctl 1 stats | grep -qE 'replication_filtered_total +[1-9]' || fail "no counter"

echo "events"
dumps=$(pair_says 1 dumps)
state 1002 ESTABLISHED
poll 10 has_flow 2 1002 || fail "a flow that became wanted is missing"
state 1001 FIN_WAIT
poll 10 has_no_flow 2 1001 || fail "a flow that left the wanted states is still at the standby"
has_flow 1 1001 || fail "it has gone at the primary, too: this case proves nothing"
state 1001 CLOSE_WAIT
poll 10 has_flow 2 1001 || fail "a flow that became wanted again is missing"
flow 1 1004 SYN_SENT
flow 1 1005
other 203.0.113.66 -p udp --sport 5001 --dport 53
poll 10 has_flow 2 1005 || fail "a new flow is missing"
has_no_flow 2 1004 && has_none 2 203.0.113.66 || fail "a new flow passed the filter"
ns fw1 conntrack -D -p tcp --orig-port-src 1005 >/dev/null 2>&1
poll 10 has_no_flow 2 1005 || fail "a flow that ended is still at the standby"

echo "a real connection closes"
lab_traffic out 1 4 || exit 1
real() { ns "fw$1" conntrack -L -p tcp --dport 9000 2>/dev/null | grep -q src=; }
no_real() { ! real "$1"; }
poll 10 real 2 || fail "the connection is not at the standby"
wait "${CLIENTS[@]}"
poll 10 no_real 2 || fail "the closed connection is still at the standby"
real 1 || fail "it has gone at the primary, too: this case proves nothing"
[ "$(pair_says 1 dumps)" = "$dumps" ] || fail "a dump came between: the events are not proved"

echo "a reload"
filter replicate-protocols=tcp,icmp replicate-states=established,syn-sent
kill -HUP "${PAIR["1 exporter"]}"
poll 20 has_flow 2 1004 || fail "a flow that the new filter wants is missing"
poll 10 has 2 203.0.113.1 -p icmp || fail "a protocol that the new filter wants is missing"
poll 10 has_none 2 203.0.113.1 -p udp && poll 10 has_no_flow 2 1001 || fail "what the new filter does not want is still at the standby"
has_flow 2 1002 || fail "a flow that both filters want is gone"
has_none 2 203.0.113.66 && has_no_flow 2 1003 || fail "what the new filter does not want has come"

echo "a wrong filter"
filter replicate-ignore=10.0.0.1/24
kill -HUP "${PAIR["1 exporter"]}"
said() { grep -q 'old configuration stays in use: .*replicate-ignore.*beyond its length' "$WORK/exporter1.log"; }
poll 10 said || fail "nothing was said of a wrong filter"
filter replicate-states=ESTABLISHED
"$BUILD/sami-exporter" -c "$WORK/fw1/sami.conf" --check-config >"$WORK/out" 2>&1 && fail "a wrong state was accepted"
grep -q 'fw2.example.conf:[0-9]*: replicate-states: .*allowed: none,syn-sent' "$WORK/out" || fail "the error does not say what is allowed: $(cat "$WORK/out")"
