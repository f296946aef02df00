#!/usr/bin/env bash
# The destination is a pair: with pair=sync READY comes when the standby has the sessions too, and without it when there is no standby.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/pair.sh"
fail() { echo "$*"; for n in 1 2 3; do ctl $n status; done; cat "$WORK"/*.log "$WORK/migrate"; exit 1; }
stop() {
    ip netns pids "${LAB}fw3" 2>/dev/null | xargs -r kill -9 2>/dev/null
    ip netns del "${LAB}fw3" 2>/dev/null
    lab_stop
}
lab_start || exit 1
trap stop EXIT
ip netns add "${LAB}fw3" || exit 1
ns fw3 sysctl -qw net.netfilter.nf_conntrack_acct=1 net.netfilter.nf_conntrack_timestamp=1 net.netfilter.nf_conntrack_events=1
ip link add mgmt3 netns "${LAB}fw2" type veth peer name mgmt0 netns "${LAB}fw3"
ip -n "${LAB}fw2" addr add 10.254.0.2/24 dev mgmt3
ip -n "${LAB}fw3" addr add 10.254.0.3/24 dev mgmt0
ip -n "${LAB}fw2" link set mgmt3 up
ip -n "${LAB}fw3" link set mgmt0 up
ip -n "${LAB}fw3" link set lo up
# Without a rule no connection is tracked in a namespace.
ns fw3 nft -f - <<'NFT'
table inet filter { chain in { type filter hook input priority 0; ct state invalid drop; }; }
NFT

pair_setup || exit 1
ctl 3 setup --name fw3.example --address 10.254.0.3:4740 >"$WORK/setup3" 2>&1 || { cat "$WORK/setup3"; exit 1; }
sed -i '/^\(run-dir\|journal-dir\|user\|lease\|control-group\) *=/d' "$WORK/fw3/sami.conf"
printf 'run-dir=%s\njournal-dir=%s\nuser=nobody\nlease=30s\n' "$WORK/run3" "$WORK/journal3" >>"$WORK/fw3/sami.conf"
mkdir -p "$WORK/run3"
ctl 2 peer add "$WORK/fw3/fw3.example.peer" --send --yes >"$WORK/peer3" 2>&1 &&
    ctl 3 peer add "$WORK/fw2/fw2.example.peer" --receive --yes --allow 10.0.0.0/24,2001:db8:a::/64 >>"$WORK/peer3" 2>&1 || { cat "$WORK/peer3"; exit 1; }
echo 'unscoped=true' >>"$WORK/fw3/signers.d/fw2.example.conf"
echo 'replicate=true' >>"$WORK/fw2/peers.d/fw3.example.conf"
sed -i '/^\(pair\|deadline\) *=/d' "$WORK/fw2/sami.conf"
printf 'pair=sync\ndeadline=60s\n' >>"$WORK/fw2/sami.conf"
# Announcements are another case's (61-expect).
echo 'require-expect=false' >>"$WORK/fw2/signers.d/fw1.example.conf"
pair_daemon 3 collector && pair_daemon 2 collector && pair_daemon 2 exporter && pair_daemon 1 exporter || exit 1
poll 20 is_said 2 in_step True || fail "the pair is not in step"

freeze() { # what the source has comes with the freeze, and the standby stands still
    : >"$WORK/migrate" # not what the last one said
    ctl 1 migrate --vm $VM4 --to fw2.example --deadline 60s --json >"$WORK/migrate" 2>&1 &
    MIGRATE=$!
    poll 20 grep -q '"confirmed_snapshot":true' "$WORK/migrate" || fail "no snapshot"
    ID=$(sed -n 's/.*"id":"\([0-9a-f]*\)".*/\1/p' "$WORK/migrate" | head -n 1)
}
counter() { ctl 2 stats --json -s "$WORK/run2/collector.sock" | sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p"; }
phase() { ctl 2 status "$ID" --json -s "$WORK/run2/collector.sock" | grep -q "\"phase\":\"$1\""; }

echo "READY waits for the standby"
for port in 1001 1002 1003; do flow 1 $port; done
freeze
standby=$(pgrep -P "${PAIR["3 collector"]}")
# shellcheck disable=SC2086
kill -STOP $standby
for port in 1004 1005 1006; do flow 1 $port; done
ctl 1 freeze "$ID" >"$WORK/freeze" 2>&1 &
FREEZE=$!
poll 20 has_flow 2 1006 && poll 20 phase FREEZE || fail "not at the active one"
has_flow 3 1006 && fail "the standby has it already: this case proves nothing"
kill -0 $FREEZE 2>/dev/null || fail "READY did not wait: $(cat "$WORK/freeze")"
# shellcheck disable=SC2086
kill -CONT $standby
wait $FREEZE || fail "freeze ended with $?: $(cat "$WORK/freeze")"
for port in 1001 1002 1003 1004 1005 1006; do has_flow 3 $port || fail "READY, and $port is not at the standby"; done
wait $MIGRATE || fail "migrate ended with $?"
[ "$(counter pair_synced_total)" = 1 ] && [ "$(counter pair_unsynced_total)" = 0 ] || fail "counted otherwise"

echo "a standby that is gone holds nobody up"
pair_kill 3 collector
poll 20 is_said 2 up False || fail "the dead standby was not noticed"
flow 1 1007
freeze
ctl 1 freeze "$ID" >"$WORK/freeze" 2>&1 || fail "freeze ended with $?: $(cat "$WORK/freeze")"
wait $MIGRATE || fail "migrate ended with $?"
has_flow 2 1007 || fail "not at the active one"
[ "$(counter pair_unsynced_total)" = 1 ] || fail "not counted"
