#!/usr/bin/env bash
# What cannot be taken is refused by name, and the sessions move all the same: a signer without the kind, a set that is not there, one with
# other keys, one that is full. Then 100 000 elements move whole, and go again with an abort.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
. "$SRC/tests/e2e/cumulative.sh"
fail() { for f in "$WORK"/*.log; do tail -n 30 "$f"; done; tail -n 1 "$WORK/migrate"; echo "FAIL $*"; exit 1; }
PORT=1000
move() { # WANTED-STATUS
    ns fw1 conntrack -I -p tcp -s $VM4 -d $CLI4 --sport $((++PORT)) --dport 443 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED >/dev/null 2>&1
    ctl 1 migrate --vm $VM4,$VM6 --to fw2.example --json --now >"$WORK/migrate" 2>"$WORK/migrate.err"
    local status=$?
    [ $status -eq "$1" ] || { cat "$WORK/migrate.err"; fail "migrate ended with $status, not $1"; }
    [ "$(ns fw2 conntrack -L -p tcp --sport $PORT 2>/dev/null | grep -c "src=$VM4")" -eq 1 ] || fail "the session did not move"
}
refused() { # REASON COUNT
    tail -n 1 "$WORK/migrate" | grep -q "\"refused\":{[^}]*\"$1\":$2[,}]" || fail "not $2 records refused as $1"
}
reload() { # FIREWALL DAEMON-PID
    local before
    before=$(grep -c reloaded "$WORK/collector.log")
    kill -HUP "$2"
    reloaded() { [ "$(grep -c reloaded "$WORK/collector.log")" -gt "$before" ]; }
    poll 10 reloaded || fail "no reload"
}

lab_start && sami_setup && guard_start || exit 1
sed -i '/^kinds=/d' "$WORK"/fw2/signers.d/*.conf
sami_start || exit 1
flood syn $BAD4 $VM4 30 || fail "no flood"
n=$(ns fw1 nft list table inet guard | grep -o 'expires' | wc -l)
[ "$n" -ge 30 ] || fail "nothing was counted: this case proves nothing"

move 6
tail -n 1 "$WORK/migrate" | grep -q '"kind-not-allowed":[1-9]' || fail "a signer without the kind is not refused"
element 2 syn4 $BAD4 && fail "it has brought an element"
grep -q "refusals.*cumulative: the signer's kinds" "$WORK/migrate" || fail "the operator is not told why"

echo 'kinds=session,cumulative' >>"$(ls "$WORK"/fw2/signers.d/*.conf)"
reload 2 "$COLLECTOR"
ns fw2 nft 'flush chain inet guard syn; flush chain inet guard count'
ns fw2 nft 'delete set inet guard second_syn4; delete set inet guard second_dns4'
ns fw2 nft 'add set inet guard second_dns4 { type ipv6_addr; flags dynamic,timeout; }'
flood dns $BAD4 $VM4 3 || fail "no queries"
move 6
refused set-missing 1
refused set-type 1
grep -q "second_syn4" "$WORK/migrate" || fail "the set that is missing is not named"
[ "$(packets 2 pair4 "$BAD4 . $VM4 . 20007")" = 1 ] || fail "the other sets did not move"
element 2 bad4 $BAD4 >/dev/null || fail "the blacklist did not move"

# Full: what fits is taken.
ns fw2 nft 'delete set inet guard second_dns4; add set inet guard second_dns4 { type ipv4_addr; size 10; flags dynamic,timeout; timeout 10m; counter; }'
ns fw2 nft 'add set inet guard second_syn4 { type ipv4_addr; size 200000; flags dynamic,timeout; timeout 10m; counter; }'
many() { # COUNT FIRST-OCTET SET
    python3 - "$@" <<'PY' | ns fw1 nft -f -
import sys
count, first, name = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
for start in range(0, count, 1000):
    print("add element inet guard %s { %s }" % (name, ", ".join(
        "%d.%d.%d.%d counter packets %d bytes %d" % (first, i >> 16, i >> 8 & 255, i & 255, i % 1000 + 1, 60 * (i % 1000 + 1))
        for i in range(start, min(start + 1000, count)))))
PY
}
many 50 100 dns4 || fail "no elements"
move 6
refused set-full 41
[ "$(ns fw2 nft list set inet guard second_dns4 | grep -o 'expires' | wc -l)" -eq 10 ] || fail "the full set is not full"
ns fw2 nft 'delete set inet guard second_dns4; add set inet guard second_dns4 { type ipv4_addr; size 65536; flags dynamic,timeout; timeout 10m; counter; }'

# No more than the signer may make, of all sets together.
signer=$(ls "$WORK"/fw2/signers.d/*.conf)
echo max-elements=20 >>"$signer"
reload 2 "$COLLECTOR"
move 6
tail -n 1 "$WORK/migrate" | grep -q '"refused":{[^}]*"max-elements":[1-9]' || fail "nothing is refused beyond the signer's max-elements"
n=$(ns fw2 nft list set inet guard second_dns4 | grep -o 'expires' | wc -l)
[ "$n" -le 20 ] || fail "$n elements, not at most 20"
sed -i '/^max-elements=/d' "$signer"
reload 2 "$COLLECTOR"

# Large: whole, and equal.
list() { ns "fw$1" nft list set inet guard "$(guard_prefix "$1")syn4" | grep -o '[0-9.]* counter packets [0-9]* bytes [0-9]*' | sort; }
many 100000 101 syn4 || fail "no elements"
start=$(date +%s%N)
move 0
took=$((($(date +%s%N) - start) / 1000000))
list 1 >"$WORK/list1"
list 2 >"$WORK/list2"
[ "$(wc -l <"$WORK/list1")" -eq 100001 ] || fail "$(wc -l <"$WORK/list1") elements at firewall 1: this case proves nothing"
cmp "$WORK/list1" "$WORK/list2" || { diff "$WORK/list1" "$WORK/list2" | head; fail "the sets are not equal"; }
echo "100000 elements: $took ms, $(tail -n 1 "$WORK/migrate" | grep -o '"cumulative":{[^[]*')"
# Once more: nothing new, and an abort of nothing takes nothing.
move 0
list 2 | cmp - "$WORK/list2" || fail "the second move has changed something"
# Beyond max-elements of the source: counted and said.
printf 'max-elements=1000\n' >>"$WORK/fw1/sami.conf" # of the last group
ns fw1 python3 - <<'PY' | ns fw1 nft -f -
for start in range(0, 2000, 500):
    print("add element inet guard bad6 { %s }" % ", ".join("2001:db8:9::%x timeout 20m" % (i + 1) for i in range(start, start + 500)))
PY
# An abort of 100000 new ones.
ns fw2 nft flush set inet guard second_syn4
sami_follow || fail "no snapshot"
[ "$(list 2 | wc -l)" -eq 100001 ] || fail "not there before the abort"
ctl 1 -q abort "$ID" || fail "abort ended with $?"
wait "$MIGRATE"
[ "$(list 2 | wc -l)" -eq 0 ] || fail "$(list 2 | wc -l) elements are left after the abort"
[ ! -e "$WORK/journal2/$ID.cumulative" ] || fail "its log is left"
# The same when the collector is killed and started anew: by the log that it left.
sami_follow || fail "no snapshot before the kill"
[ "$(list 2 | wc -l)" -eq 100001 ] || fail "not there before the kill"
[ -s "$WORK/journal2/$ID.cumulative" ] || fail "no log"
# shellcheck disable=SC2046
kill -9 $(pgrep -P "$COLLECTOR") "$COLLECTOR"
rm -f "$WORK/run2/collector.sock"
ip netns exec "${LAB}fw2" "$BUILD/sami-collector" -c "$WORK/fw2/sami.conf" -f >"$WORK/collector2.log" 2>&1 &
disown
taken_back() { [ "$(list 2 | wc -l)" -eq 0 ]; }
poll 30 taken_back || fail "$(list 2 | wc -l) elements are left after the restart"
log_gone() { [ ! -e "$WORK/journal2/$ID.cumulative" ]; }
poll 10 log_gone || fail "its log is left after the restart"
wait "$MIGRATE"
[ $? -ne 0 ] || fail "migrate has not failed"
kill -HUP "${DAEMONS[1]}"
poll 10 grep -q 'reloaded' "$WORK/exporter.log" || fail "no reload of the exporter"
move 0
tail -n 1 "$WORK/migrate" | grep -q '"beyond_max":1[01][0-9][0-9]' || fail "what is beyond max-elements is not counted"
