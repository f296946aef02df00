#!/usr/bin/env bash
# A firewall's table is recorded, lost, and put back from the file: entry by entry what it was, with children, expectations, zones, marks and labels; and
# connections that were open go on. Then the same file again changes nothing.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
. "${srcdir:-.}/tests/e2e/related.sh"
NO_EXPECT=1
lab_start && sami_setup && related_rules 1 && serve cli ftp.py $CLI4 || exit 1
fail() { echo "FAIL $*"; cat "$WORK/out"; exit 1; }
replay() { ns fw1 "$BUILD/sami-replay" "$1" -c "$WORK/fw1/sami.conf" "${@:2}" >"$WORK/out" 2>&1; }
track() { ns fw1 conntrack -I "$@" >/dev/null 2>&1 || { echo "FAIL conntrack -I $*"; exit 1; }; }
same() { "$BUILD/sami-table" compare "$1" "${LAB}fw1" >"$WORK/compared" || { cat "$WORK/compared"; fail "the table is not what it was"; }; }

ns fw1 nft add rule inet filter forward ct label 1 accept
"$BUILD/sami-table" -n "${LAB}fw1" fill --kind mixed 2000 >/dev/null || exit 1
for address in $VM4 $VM6; do ns cli ping -c 1 -W 5 $address >/dev/null || fail "no ping to $address"; done
track -p udp --sport 5353 --dport 53 -s 10.0.0.13 -d 198.51.100.10 --zone 7 -t 200 -m 5
track -p tcp --sport 40000 --dport 22 -s 10.0.0.13 -d 198.51.100.10 --state SYN_SENT -t 50
track -p udp --sport 5353 --dport 5353 -s 127.0.0.1 -d 224.0.0.251 -t 60 # what a host has of itself
for i in 1 2 3; do talk open-$i vm ftp.py $CLI4 && do_one open-$i pasv && do_one open-$i join || exit 1; done
talk announced vm ftp.py $CLI4 && do_one announced port || exit 1
has_expectations 1 1 || fail "not one expectation at firewall 1"
quiet() { ! ns fw1 conntrack -L -p tcp --dport 21 2>/dev/null | awk '$3 <= 300 { found = 1 } END { exit !found }'; } # until its last ACK has come past
poll 10 quiet || fail "the control connections do not come to rest"

"$BUILD/sami-table" -n "${LAB}fw1" save "$WORK/before" >"$WORK/n-before"
replay record -o "$WORK/backup.ipfix" || fail "record ended with $?"
cat "$WORK/out"
[ "$(stat -c %a "$WORK/backup.ipfix")" = 600 ] && [ ! -e "$WORK/backup.ipfix.part" ] || fail "the file's mode, or what is beside it"
ns fw1 conntrack -F >/dev/null 2>&1
[ "$("$BUILD/sami-table" -n "${LAB}fw1" count)" -eq 0 ] || fail "not empty"
replay inject --dry-run "$WORK/backup.ipfix" || fail "the dry run ended with $?"
grep -q 'would be created' "$WORK/out" || fail "the dry run does not say so"
[ "$("$BUILD/sami-table" -n "${LAB}fw1" count)" -eq 0 ] || fail "the dry run wrote something"
replay inject "$WORK/backup.ipfix" || fail "inject ended with $?"
cat "$WORK/out"
same "$WORK/before"
has_expectations 1 1 || fail "what the helper expects is not back"
[ "$(ns fw1 conntrack -L -u EXPECTED 2>/dev/null | wc -l)" -eq 3 ] || fail "not three children"
do_one announced fetch && do_one open-1 noop && do_one open-2 noop || exit 1
echo "ok   lost, put back, and goes on"

# Once more: everything is there.
"$BUILD/sami-table" -n "${LAB}fw1" save "$WORK/before" >"$WORK/n-before"
replay inject --json --on-conflict keep "$WORK/backup.ipfix"
code=$?
grep -q '"created":0,"merged":2[0-9]*,"kept":2' "$WORK/out" || fail "it ended with $code, and something was created, or nothing merged"
echo "ok   again"

# A part of it, through a pipe.
ns fw1 "$BUILD/sami-replay" record -c "$WORK/fw1/sami.conf" -o - --zone 7 2>"$WORK/said" >"$WORK/pipe"
grep -q ' 1 flows, ' "$WORK/said" || { cat "$WORK/said"; fail "zone 7 has not one flow"; }
ns fw1 conntrack -D -w 7 >/dev/null 2>&1
ns fw1 "$BUILD/sami-replay" inject -c "$WORK/fw1/sami.conf" - <"$WORK/pipe" >"$WORK/out" 2>&1 || fail "from a pipe: $?"
ns fw1 conntrack -L -w 7 2>/dev/null | grep -q 'mark=5.*zone=7\|zone=7.*mark=5' || fail "zone 7 is not back"
replay record -o "$WORK/vm.ipfix" --vm $VM6 --json || fail "record --vm ended with $?"
grep -q '"exit":0' "$WORK/out" || fail "no summary"
echo "ok   a part, through a pipe"

# What is there is what was recorded; then what has changed since.
replay record -q -o "$WORK/now.ipfix" || fail "record ended with $?"
ns fw1 "$BUILD/sami-replay" diff "$WORK/now.ipfix" --live -P udp >"$WORK/out" 2>&1 || fail "diff --live ended with $?"
grep -q 'only in the first 0, only in the second 0, changed 0$' "$WORK/out" || fail "it is not the same"
ns fw1 conntrack -D -p udp -w 7 >/dev/null 2>&1
track -p udp --sport 6000 --dport 53 -s 10.0.0.13 -d 198.51.100.10 -t 200
ns fw1 conntrack -U -p udp -s 127.0.0.1 -d 224.0.0.251 -m 9 >/dev/null 2>&1
ns fw1 "$BUILD/sami-replay" diff "$WORK/now.ipfix" --live -P udp >"$WORK/out" 2>&1
[ $? -eq 20 ] || fail "diff --live of another table did not end with 20"
diff - "$WORK/out" <<END || fail "diff --live"
< udp 10.0.0.13:5353 -> 198.51.100.10:53 zone 7
! udp 127.0.0.1:5353 -> 224.0.0.251:5353 zone 0: ctMark none -> 9
> udp 10.0.0.13:6000 -> 198.51.100.10:53 zone 0
$(tail -n 1 "$WORK/out")
END
echo "ok   diff with the table"
