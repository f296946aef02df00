#!/usr/bin/env bash
# max-migrations, valid-from and valid-until, max-rate of a signer, and a policy that becomes narrower while a migration runs. Nothing of it drops what runs of
# another signer: 62-reload has two.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
DEFAULT_POLICY=1
lab_start && sami_setup || exit 1
lab_untracked fw1 && lab_untracked fw2 || exit 1
fail() { echo "FAIL $*"; tail -n 20 "$WORK"/*.log "$WORK"/out* "$WORK"/migrate* 2>/dev/null; exit 1; }
signer() { sed -i "/^$1 *=/d" "$WORK"/fw2/signers.d/*; [ -z "$2" ] || sed -i "/^\[signer/a $1=$2" "$WORK"/fw2/signers.d/*; }
reload() {
    local n
    n=$(grep -c reloaded "$WORK/collector.log")
    kill -HUP "$COLLECTOR"
    reloaded() { [ "$(grep -c reloaded "$WORK/collector.log")" -gt "$n" ]; }
    poll 10 reloaded || fail "reload"
}
add() { ns fw1 conntrack -I -p "${3:-tcp}" -s "$1" -d $CLI4 --sport "$2" --dport 443 -t 500 -u SEEN_REPLY,ASSURED "${@:4}" >/dev/null 2>&1 || fail "add $*"; }
here() { [ "$(ns fw2 conntrack -L 2>/dev/null | grep -c "src=$1 dst=$CLI4")" -eq "$2" ]; }
counter() { ctl 2 stats --json | sed -n "s/.*\"$1\" *: *\([0-9]*\).*/\1/p" | head -n 1; }
utc() { date -u -d "$1" +%FT%TZ; }
VM2=10.0.0.14
ended() { ! kill -0 "$MIGRATE" 2>/dev/null; }
add $VM4 1001 tcp --state ESTABLISHED; add $VM2 1001 tcp --state ESTABLISHED
signer max-migrations 1; signer max-rate 2000; signer valid-from "$(utc yesterday)"
sed -i '/^#* *max-delay *=/d' "$WORK/fw2/sami.conf"
echo 'max-delay=1s' >>"$WORK/fw2/sami.conf" # what waits because of max-rate is not late
sami_start || exit 1

echo "--- one migration at once"
sami_follow || exit 1
ctl 1 migrate --vm $VM2 --to fw2.example --now >"$WORK/out" 2>&1
[ $? -eq 3 ] && grep -q max-migrations "$WORK/out" || fail "a second migration"
ctl 1 check --vm $VM2 --to fw2.example >"$WORK/out" 2>&1
[ $? -eq 21 ] && grep -q max-migrations "$WORK/out" || fail "a dry run of a second one"
in_use() { ctl 2 show policy --json | tr -d " \n" | grep -o "\"now\":{\"migrations\":1,"; }
[ -n "$(in_use)" ] || fail "not shown: $(ctl 2 show policy --json)"
here $VM4 1 || fail "the first one"

echo "--- a policy that becomes narrower"
signer protocols udp
reload
add $VM4 1002 udp; add $VM4 1003 tcp --state ESTABLISHED; add $VM4 1004 udp
udp_here() { [ "$(ns fw2 conntrack -L -p udp 2>/dev/null | grep -c "src=$VM4")" -eq 2 ]; }
poll 10 udp_here || fail "what is still allowed does not come"
ctl 1 freeze "$ID" >"$WORK/out" 2>&1
wait "$MIGRATE"
[ $? -eq 6 ] && tail -n 1 "$WORK/migrate" | grep -q '"protocol-not-allowed":[12][,}]' || fail "what is not allowed any more was not refused"
ns fw2 conntrack -L -p tcp 2>/dev/null | grep -q sport=1003 && fail "it is there"

echo "--- a time that ends"
signer protocols ""
"$BUILD/sami-table" -n "${LAB}fw2" flush
reload
sami_follow || exit 1
signer valid-until "$(utc '+3 seconds')"
reload
ended && fail "it ended before its time"
poll 10 ended || fail "it goes on after valid-until"
wait "$MIGRATE"
[ $? -eq 3 ] && grep -q 'signer-not-valid' "$WORK/migrate" || fail "it has outlived valid-until"
gone() { [ "$(ns fw2 conntrack -C)" -eq 0 ]; }
poll 10 gone || fail "it has left something"
ctl 1 migrate --vm $VM2 --to fw2.example --now >"$WORK/out" 2>&1
[ $? -eq 3 ] && grep -q 'signer-not-valid.*not valid any more since' "$WORK/out" || fail "after valid-until"
grep -q "NOT VALID NOW" <<<"$(ctl 2 show policy)" || fail "not shown"
not_now() { ctl 2 expect --vm $VM4 --from fw1.example --for 1h >"$WORK/out" 2>&1; [ $? -eq 2 ] && grep -q 'outside the time' "$WORK/out"; }
not_now || fail "one that will come no more is announced"
signer valid-until ""; signer valid-from "$(utc tomorrow)"
reload
not_now || fail "one that comes later is announced for now"
ctl 2 -q expect --vm $VM4 --from fw1.example --for 2d || fail "one that comes in time is not announced"
ctl 2 -q expect --remove --vm $VM4 --from fw1.example
ctl 1 migrate --vm $VM2 --to fw2.example --now >"$WORK/out" 2>&1
[ $? -eq 3 ] && grep -q 'signer-not-valid.*valid from' "$WORK/out" || fail "before valid-from"
signer valid-until 2001-01-01
kill -HUP "$COLLECTOR"
poll 10 grep -q 'never valid' "$WORK/collector.log" || fail "a time that ends before it begins"
signer valid-from ""; signer valid-until "$(utc '+1 day')"
reload

echo "--- a VM that leaves allow-prefixes"
sami_follow || exit 1
cp "$WORK/fw2/signers.d/fw1.example.conf" "$WORK/good"
signer allow-prefixes 10.0.0.14
reload
poll 10 ended || fail "it goes on"
wait "$MIGRATE"
[ $? -eq 3 ] && grep -q 'vm-not-allowed' "$WORK/migrate" || fail "it goes on"
poll 10 gone || fail "it has left something"
cp "$WORK/good" "$WORK/fw2/signers.d/fw1.example.conf"
reload

echo "--- a rate"
"$BUILD/sami-table" -n "${LAB}fw1" flush
"$BUILD/sami-table" -n "${LAB}fw1" fill 8000 --kind tcp >/dev/null || exit 1
waits=$(counter rate_waits_total)
ctl 1 migrate --vm $VM4,$VM6 --to fw2.example --now --deadline 60s --json >"$WORK/migrate" 2>"$WORK/migrate.err" &
MIGRATE=$!
poll 20 ended || fail "it does not come to its end: $(tail -n 3 "$WORK/collector.log")" # what is late is sent again, without end
wait "$MIGRATE" || fail "migrate: $?"
[ "$(ns fw2 conntrack -C)" -ge 8000 ] || fail "$(ns fw2 conntrack -C) entries"
[ "$(counter rate_waits_total)" -gt "$waits" ] || fail "it did not wait"
[ "$(counter refused_too-late_total)" -eq 0 ] || fail "what waited was late"
exit 0
