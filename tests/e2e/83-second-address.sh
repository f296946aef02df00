#!/usr/bin/env bash
# A peer with two addresses on networks of their own. The first path dies, at our end or at the peer's: a replication goes on over the
# second within seconds, and a migration too. Nothing is flushed; what happened meanwhile is made good.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/pair.sh"
fail() { echo "$*"; ctl 1 status; ctl 2 status; cat "$WORK"/*.log; exit 1; }
in_step() { is_said 1 in_step True && is_said 2 in_step True; }
at() { is_said 1 address "10.25$1.0.2:4740" && is_said 1 in_step True; } # 5: the first network, 4: the second
links() { ip -n "${LAB}fw$1" link set "mgmt$2" "$3"; }                   # FIREWALL 0|1 up|down

lab_start || exit 1
ip link add mgmt1 netns "${LAB}fw1" type veth peer name mgmt1 netns "${LAB}fw2"
for n in 1 2; do
    ip -n "${LAB}fw$n" addr add 10.254.0.$n/24 dev mgmt1
    ip -n "${LAB}fw$n" link set mgmt1 up
done
pair_setup || exit 1

# The peer file carries both, as an operator gives them.
for n in 1 2; do
    ctl $n setup --address "10.255.0.$n:4740,10.254.0.$n:4740" >"$WORK/out" 2>&1 || fail "setup: $(cat "$WORK/out")"
    grep -qF "address=10.255.0.$n:4740,10.254.0.$n:4740" "$WORK/fw$n/fw$n.example.peer" || fail "the peer file does not have both addresses"
done
for n in 1 2; do
    conf=$WORK/fw$n/peers.d/fw$((3 - n)).example.conf
    mv "$conf" "$conf.old"
    ctl $n peer add "$WORK/fw$((3 - n))/fw$((3 - n)).example.peer" --send --yes >"$WORK/out" 2>&1 || fail "peer add: $(cat "$WORK/out")"
    ctl $n peer list | grep -qF "10.255.0.$((3 - n)):4740,10.254.0.$((3 - n)):4740" || fail "peer list: $(ctl $n peer list)"
    echo replicate=true >>"$conf"
done
ctl 1 setup --address 10.255.0.1:4740,nonsense >"$WORK/out" 2>&1
[ $? -eq 2 ] && grep -q nonsense "$WORK/out" || fail "a wrong second address: $(cat "$WORK/out")"
for n in 1 2; do pair_daemon $n collector && pair_daemon $n exporter || exit 1; done
poll 20 in_step || fail "not in step"
at 5 || fail "not at the first address"

flow 1 1001
flow 1 1002
poll 10 has_flow 2 1001 && poll 10 has_flow 2 1002 || fail "a flow is missing at the standby"
ids() { ns fw2 conntrack -L -p tcp -o id 2>/dev/null | sed -n 's/.* sport=1001 .* id=\([0-9]*\).*/\1/p'; }
before=$(ids)

# lose FIREWALL: its end of the first network is down, until it is up again
lose() {
    local start=$EPOCHREALTIME
    echo "the first path dies at firewall $1"
    links "$1" 0 down
    flow 1 "$2"
    ns fw1 conntrack -D -p tcp --orig-port-src "$3" >/dev/null 2>&1
    poll 30 at 4 || fail "not in step over the second path"
    awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "in step over the second path after %.1f s\n", b - a }'
    poll 10 has_flow 2 "$2" && poll 10 has_no_flow 2 "$3" || fail "what happened meanwhile was not made good"
    has_flow 2 1001 && [ "$(ids)" = "$before" ] || fail "the replica was flushed"
}
lose 1 1003 1002
links 1 0 up # the second path stays in use as long as it stands
flow 1 1004
poll 10 has_flow 2 1004 && at 4 || fail "the second path did not stay"

echo "the second path dies: back to the first"
links 1 1 down
poll 30 at 5 || fail "not in step over the first path"
links 1 1 up
lose 2 1005 1003
links 2 0 up

echo "a migration"
ctl 1 replicate --to fw2.example --stop >/dev/null || fail "stop"
ctl 2 -q expect --vm $VM4,$VM6 --from fw1.example || fail "expect"
sami_follow || exit 1
links 2 0 down
flow 1 1006
lost() { ctl 1 stats --json | grep -q '"sessions_resumed_total" *: *[1-9]'; }
ctl 1 freeze "$ID" >"$WORK/freeze" 2>&1
code=$?
[ $code -eq 0 ] || [ $code -eq 5 ] || [ $code -eq 6 ] || fail "freeze ended with $code: $(cat "$WORK/freeze")"
ctl 1 wait "$ID" --timeout 40s >"$WORK/wait" 2>&1
code=$?
[ $code -eq 0 ] || [ $code -eq 6 ] || fail "not READY over the second path ($code): $(cat "$WORK/wait")"
lost || fail "no session was resumed: this case proves nothing"
has_flow 2 1006 || fail "the last flow is missing"
