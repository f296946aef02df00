#!/usr/bin/env bash
# max-sessions of a signer and of the collector: what is beyond is refused, counted and listed; what goes gives its place back; all
# migrations that run draw on one budget.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_start && sami_setup || exit 1
echo 'max-sessions=3' >>"$WORK/fw2/signers.d/fw1.example.conf"
sami_start || exit 1
add() { ns fw1 conntrack -I -p tcp -s "$1" -d $CLI4 --sport "$2" --dport 443 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED >/dev/null 2>&1; }
here() { ns fw2 conntrack -L 2>/dev/null | grep -c "src=$1 dst=$CLI4"; }
fail() { echo "$*"; cat "$WORK"/out* "$WORK/migrate" "$WORK"/*.log 2>/dev/null; exit 1; }

for port in 1001 1002 1003 1004 1005; do add $VM4 $port; done
ctl 1 migrate --vm $VM4 --to fw2.example --now --json >"$WORK/out" 2>&1
[ $? -eq 6 ] || fail "beyond the limit, and not exit 6"
tail -n 1 "$WORK/out" | grep -q '"max-sessions":2' || fail "not two refused"
tail -n 1 "$WORK/out" | grep -q '"sessions_max":3' || fail "hello-reply did not say 3"
[ "$(tail -n 1 "$WORK/out" | grep -o '"max-sessions: tcp [^"]*"' | wc -l)" -eq 2 ] || fail "the two are not listed"
[ "$(here $VM4)" -eq 3 ] || fail "$(here $VM4) entries, not 3"
ctl 2 stats --json | grep -q '"refused_max-sessions_total" *: *2' || fail "not counted"

# The first migration is done: its entries are the firewall's now. One that is held, and whose flows change.
VM2=10.0.0.14
for port in 2001 2002 2003; do add $VM2 $port; done
ctl 1 migrate --vm $VM2 --to fw2.example --json >"$WORK/migrate" 2>"$WORK/migrate.err" &
MIGRATE=$!
poll 20 grep -q '"confirmed_snapshot":true' "$WORK/migrate" || fail "no snapshot"
ID=$(sed -n 's/.*"id":"\([0-9a-f]*\)".*/\1/p' "$WORK/migrate" | head -n 1)
[ "$(here $VM2)" -eq 3 ] || fail "$(here $VM2) entries of the second, not 3"
ns fw1 conntrack -D -p tcp -s $VM2 --sport 2001 >/dev/null 2>&1
gone() { [ "$(here $VM2)" -eq 2 ]; }
poll 10 gone || fail "a deletion did not follow"
add $VM2 2004
back() { ns fw2 conntrack -L 2>/dev/null | grep -q "src=$VM2 .*sport=2004"; }
poll 10 back || fail "the place of what was deleted is not free again"

# While it runs nothing is left for a third one of the same signer.
add 10.0.0.15 3001
ctl 1 migrate --vm 10.0.0.15 --to fw2.example --now --json >"$WORK/out3" 2>&1
tail -n 1 "$WORK/out3" | grep -q '"sessions_max":0' && tail -n 1 "$WORK/out3" | grep -q '"max-sessions":1' || fail "the budget is not shared"
[ "$(here 10.0.0.15)" -eq 0 ] || fail "created beyond the budget"
ctl 1 abort "$ID" >/dev/null || fail "abort"
wait "$MIGRATE"
ctl 1 migrate --vm 10.0.0.15 --to fw2.example --now --json >"$WORK/out4" 2>&1 || fail "the abort did not give its places back"

# The collector's own limit: by default half of the free room of the table, which ends before its last tenth.
free=$(($(ns fw2 sysctl -n net.netfilter.nf_conntrack_max) * 9 / 10 - $(ns fw2 sysctl -n net.netfilter.nf_conntrack_count)))
sed -i '/max-sessions/d' "$WORK/fw2/signers.d/fw1.example.conf"
pkill -HUP -f -o "sami-collector -c $WORK/fw2" || fail "no collector"
reloaded() { ctl 2 stats --json | grep -q '"reloads_total" *: *1'; }
poll 10 reloaded || fail "not reloaded"
add 10.0.0.16 4001
ctl 1 migrate --vm 10.0.0.16 --to fw2.example --now --json >"$WORK/out5" 2>&1 || fail "without a limit"
told=$(tail -n 1 "$WORK/out5" | grep -o '"sessions_max":[0-9]*' | cut -d: -f2)
echo "free $free, told $told"
[ $((told * 2)) -le $((free + 8)) ] && [ $((told * 2)) -ge $((free - 64)) ] || fail "not half of the free room"

# All of the table in reserve: nothing comes in, by whatever limit.
printf 'table-reserve=100\nmax-sessions=1000\n' >>"$WORK/fw2/sami.conf"
pkill -HUP -f -o "sami-collector -c $WORK/fw2" || fail "no collector"
again() { ctl 2 stats --json | grep -q '"reloads_total" *: *2'; }
poll 10 again || fail "not reloaded"
add 10.0.0.17 5001
ctl 1 migrate --vm 10.0.0.17 --to fw2.example --now --json >"$WORK/out6" 2>&1
[ $? -eq 6 ] || fail "into the reserve, and not exit 6"
tail -n 1 "$WORK/out6" | grep -q '"sessions_max":0' && tail -n 1 "$WORK/out6" | grep -q '"max-sessions":1' || fail "the reserve is not kept"
[ "$(here 10.0.0.17)" -eq 0 ] || fail "created in the reserve"
