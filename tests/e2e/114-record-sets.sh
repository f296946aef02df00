#!/usr/bin/env bash
# Counters and blacklists that packets fill come back with a recorded table, with what is left of their time; and the same file again adds nothing.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_need
trap lab_stop EXIT
ip netns add "${LAB}fw1"
"$BUILD/samictl" --config-dir "$WORK/fw1" setup --name fw1.example --address 10.255.0.1:4740 >"$WORK/out" 2>&1 || { cat "$WORK/out"; exit 1; }
sed -i '/^\(run-dir\|control-group\) *=/d' "$WORK/fw1/sami.conf"
cat >>"$WORK/fw1/sami.conf" <<CONF
run-dir=$WORK/run1
[cumulative syn]
table=inet guard
set=syn4
select=all
[cumulative bad]
table=inet guard
set=bad4
kind=blacklist
select=vm
CONF
mkdir -p "$WORK/run1"
ruleset() {
    ns fw1 nft -f - <<'NFT'
table inet guard {
    set syn4 { type ipv4_addr . inet_service; flags dynamic,timeout; timeout 10m; }
    set bad4 { type ipv4_addr; flags dynamic,timeout; timeout 20m; }
}
NFT
}
fail() { echo "FAIL $*"; cat "$WORK/out"; ns fw1 nft list table inet guard; exit 1; }
replay() { ns fw1 "$BUILD/sami-replay" "$1" -c "$WORK/fw1/sami.conf" "${@:2}" >"$WORK/out" 2>&1; }
elements() { ns fw1 nft list set inet guard "$1" | tr '\n' ' ' | tr -s ' \t' ' ' | grep -o '[0-9.]* \(\. [0-9]* \)\?\(counter\|quota\|timeout\|expires\)[^,}]*' | sed 's/ *expires.*//' | sort; }
left() { ns fw1 nft list set inet guard bad4 | tr '\n' ' ' | grep -o "$1 [^,}]*" | sed 's/.*expires \(\([0-9]*\)m\)\?\(\([0-9]*\)s\)\?.*/\2 \4/' | awk '{ print $1 * 60 + $2 }'; }
ruleset || exit 1
ns fw1 nft -f - <<'NFT'
add element inet guard syn4 { 198.51.100.66 . 443 counter packets 60 bytes 3600 timeout 10m expires 9m, 198.51.100.10 . 80 counter packets 3 bytes 180 }
add element inet guard syn4 { 198.51.100.11 . 80 counter packets 7 bytes 420 timeout 1h expires 50m }
add element inet guard bad4 { 198.51.100.66 timeout 30m expires 25m }
NFT
elements syn4 >"$WORK/syn"; elements bad4 >"$WORK/bad"
[ "$(wc -l <"$WORK/syn")" -eq 3 ] && [ "$(wc -l <"$WORK/bad")" -eq 1 ] || { cat "$WORK/syn" "$WORK/bad"; fail "not the elements that were made"; }
replay record -o "$WORK/b.ipfix" || fail "record ended with $?"
grep -q ', 4 set elements' "$WORK/out" || fail "not four elements"
ns fw1 nft delete table inet guard
replay inject "$WORK/b.ipfix"
[ $? -eq 6 ] && grep -q '^refused set-missing' "$WORK/out" || fail "without the sets"
ruleset
replay inject "$WORK/b.ipfix" || fail "inject ended with $?"
cat "$WORK/out"
elements syn4 | diff "$WORK/syn" - && elements bad4 | diff "$WORK/bad" - || fail "the elements are not what they were"
[ "$(left 198.51.100.66)" -gt 1400 ] && [ "$(left 198.51.100.66)" -le 1500 ] || fail "$(left 198.51.100.66) s of the blacklist are left, of 1500"
replay inject "$WORK/b.ipfix" || fail "again: $?"
grep -q '4 set elements as they were' "$WORK/out" || fail "again, and something was written"
elements syn4 | diff "$WORK/syn" - || fail "again, and something was added"
replay record -o "$WORK/vm.ipfix" --vm 198.51.100.10
grep -q ', 3 set elements' "$WORK/out" || fail "of the VM: all of select=all, nothing of the blacklist of others"
ns fw1 nft delete set inet guard bad4
replay record -o "$WORK/c.ipfix"
[ $? -eq 6 ] && grep -q 'cumulative bad. is not in the file' "$WORK/out" && [ -e "$WORK/c.ipfix" ] || fail "a set that is not there"
echo "ok   sets"
