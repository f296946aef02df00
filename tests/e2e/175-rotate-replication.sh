#!/usr/bin/env bash
# A replication outlives a rotation of its signing key: its session keeps the old key; when that is revoked at the standby, it goes on with the new one by
# itself, and the standby's table is current again. So it is with the standby's key, and when the standby was removed and is back.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_start && sami_setup || exit 1
fail() { echo "FAILED: $*"; cat "$WORK/out" "$WORK"/*.log 2>/dev/null; exit 1; }
echo unscoped=true >>"$WORK/fw2/signers.d/fw1.example.conf"
sed -i '/^reconnect/d' "$WORK/fw1/sami.conf" && echo reconnect=200ms >>"$WORK/fw1/sami.conf"
sami_start || exit 1
run() { ctl "$@" >"$WORK/out" 2>&1 </dev/null || fail "samictl $*"; }
add() { ns fw1 conntrack -I -p tcp -s $VM4 -d $CLI4 --sport "$1" --dport 443 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED >/dev/null 2>&1; }
here() { ns fw2 conntrack -L 2>/dev/null >"$WORK/table"; grep -q "sport=$1 " "$WORK/table"; }
signs() { ctl 1 status --json >"$WORK/status" && grep -q "\"own_key\" *: *\"$1\"" "$WORK/status"; }
id() { basename "$(ls "$WORK"/fw1/signing-?*.pub)" .pub | sed 's/signing-//'; }
add 1001
run 1 replicate --to fw2.example --wait
here 1001 || fail "not replicated"
run 1 key rotate
run 2 peer update "$WORK/fw1/fw1.example.peer" --yes
run 1 key rotate --activate
add 1002
poll 10 here 1002 || fail "not replicated with the old key, which the session keeps"
run 1 key rotate --finish
old=$(id)
signs "$old" || fail "the session did not keep its key"
run 2 peer update "$WORK/fw1/fw1.example.peer" --yes
add 1003
poll 30 here 1003 || fail "the replication did not go on"
signs "$(ctl 1 key list --json | sed -n 's/.*"id" *: *"\([0-9a-f]*\)".*/\1/p' | head -n 1)" || fail "not with the new key"
here 1001 && here 1002 || fail "entries were lost"

# The standby's key: what it signs with the old one counts until that is revoked here, and no longer.
answers() { ctl 1 status --json >"$WORK/status" && grep -q "\"peer_key\" *: *\"$1\"" "$WORK/status"; }
key() { ctl 2 key list --json | sed -n 's/.*"id" *: *"\([0-9a-f]*\)".*/\1/p' | head -n 1; }
old=$(key)
answers "$old" || fail "the standby's key is not shown"
run 2 key rotate
run 1 peer update "$WORK/fw2/fw2.example.peer" --yes
run 2 key rotate --activate
run 2 key rotate --finish
answers "$old" || fail "the session did not keep the standby's key"
run 1 peer update "$WORK/fw2/fw2.example.peer" --yes
grep -q 'the key that it signs with here was revoked by a reload' "$WORK/exporter.log" || fail "a revoked key of the standby is believed"
goes_on() { answers "$(key)"; }
poll 30 goes_on || fail "not with the standby's new key"
add 1004
poll 30 here 1004 || fail "the replication did not go on with the standby's new key"

# The standby is removed, and back before any lease is over.
reload() { kill -HUP "$(pgrep -o -f "sami-exporter -c $WORK/fw1")"; }
replications() { ctl 1 status --json >"$WORK/status" && [ "$(grep -c '"in_step"' "$WORK/status")" -eq "$1" ]; }
echo replicate=true >>"$WORK/fw1/peers.d/fw2.example.conf"
mv "$WORK/fw1/peers.d/fw2.example.conf" "$WORK/fw2.conf"
reload
poll 10 replications 0 || fail "a replication to who was removed goes on"
mv "$WORK/fw2.conf" "$WORK/fw1/peers.d/fw2.example.conf"
reload
poll 10 replications 1 || fail "no replication to who is back"
add 1005
poll 30 here 1005 || fail "who is back gets nothing"
exit 0
