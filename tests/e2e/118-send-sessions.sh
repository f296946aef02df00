#!/usr/bin/env bash
# sami-replay send --to: a migration whose session broke has a journal for each session, and goes from all of them; a replication's journal goes one VM
# at a time; what nobody signed goes only under our own word, and older by as long as it lay there.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/faults.sh"
. "$srcdir/tests/e2e/send.sh"
faults_lab && sami_start && send_third || exit 1
ns fw3 nft add chain inet filter labels && ns fw3 nft add rule inet filter labels ct label 1 accept || exit 1
to3() { replay send --to fw3.example -c "$WORK/fw1/sami.conf" "$@"; }
flush3() { table -n "${LAB}fw3" flush; }
like() { # FIREWALL N: what firewall 3 has, too
    table compare "${LAB}fw$1" "${LAB}fw3" --tolerance 5 >"$WORK/compare" && grep -q "^entries $2 $2 equal $2 " "$WORK/compare" || { cat "$WORK/compare" "$WORK/out"; exit 1; }
}

begin resumed
fill 3000 --kind mixed
follow
cut reset
lost() { [ "$(sed -n 's/.*"sessions_lost_total": *\([0-9]*\).*/\1/p' <(ctl 1 stats --json))" = 1 ]; }
for port in 5001 5002 5003; do add 1 $port; done # what is sent finds the link gone
poll 20 lost || fail "not lost"
mend
resumed() { ctl 2 stats --json | grep -q '"sessions_resumed_total": *1'; }
poll 20 resumed || fail "not resumed"
frozen
ended 0
mapfile -t journals < <(find "$WORK/journal2" -name '*.ipfix' -printf '%T@ %p\n' | sort -n | sed 's/^[^ ]* //')
[ ${#journals[@]} -eq 2 ] || fail "not two journals: ${journals[*]}"
n=$(table -n "${LAB}fw2" count)
fails 0 "^DONE" to3 "${journals[1]}" "${journals[0]}" # named as a glob may name them
like 2 "$n"
flush3
fails 2 'the file of the session before it goes first' to3 "${journals[1]}"
cut_tail() { # FILE N: without its last N Messages
    python3 -c 'import sys
octets, ends, at = open(sys.argv[1], "rb").read(), [], 0
while at < len(octets): at += int.from_bytes(octets[at + 2 : at + 4], "big"); ends.append(at)
sys.stdout.buffer.write(octets[: ends[-1 - int(sys.argv[2])]])' "$1" "$2"
}
cut_tail "${journals[0]}" 2 >"$WORK/gap.ipfix"
fails 3 'Messages [0-9]+ to [0-9]+ of the migration are missing before it' to3 "$WORK/gap.ipfix" "${journals[1]}"
grep -q '^ABORTED' "$WORK/out" && [ "$(count 3)" -eq 0 ] || { cat "$WORK/out"; fail "not rolled back"; }

begin replication
flush 1 2 3
rm "$WORK"/journal2/*.ipfix
# Of a replication there is nothing to announce but everything.
sed -i '/^\(unscoped\|require-expect\)/d' "$WORK/fw2/signers.d/fw1.example.conf"
printf 'unscoped=true\nrequire-expect=false\n' >>"$WORK/fw2/signers.d/fw1.example.conf"
kill -HUP "$COLLECTOR"
poll 10 grep -q reloaded "$WORK/collector.log" || fail "not reloaded"
for port in 6001 6002; do add 1 $port; done
ns fw1 conntrack -I -p tcp -s 10.0.0.14 -d $CLI4 --sport 6003 --dport 443 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED >/dev/null 2>&1
ctl 1 replicate --to fw2.example --wait >"$WORK/replicate" 2>&1 || { cat "$WORK/replicate"; fail "no replication"; }
[ "$(count 2)" -eq 3 ] || { ns fw2 conntrack -L; fail "the standby has not three"; }
# One file a generation; the last one may be empty of state.
mapfile -t journals < <(find "$WORK/journal2" -name '*.ipfix' -printf '%T@ %p\n' | sort -n | sed 's/^[^ ]* //')
journal=$(find "$WORK/journal2" -name '*.ipfix' -printf '%s %p\n' | sort -n | sed -n '$s/^[^ ]* //p')
fails 2 'a stream of all VMs .*: say with --vm whose flows go' to3 "${journals[@]}"
fails 0 '^DONE' to3 --vm $VM4 "${journals[@]}"
[ "$(count 3)" -eq 2 ] && [ "$(from_vm 3 10.0.0.14)" -eq 0 ] || { ns fw3 conntrack -L; fail "not the two flows of $VM4"; }

begin backup
flush3
replay record -c "$WORK/fw1/sami.conf" --output "$WORK/backup.ipfix" >"$WORK/record" 2>&1 || { cat "$WORK/record"; fail "not recorded"; }
fails 2 'say with --vm whose flows go' to3 "$WORK/backup.ipfix"
fails 0 '^DONE' to3 --vm $VM4 "$WORK/backup.ipfix"
[ "$(count 3)" -eq 2 ] && [ "$(from_vm 3)" -eq 2 ] || { ns fw3 conntrack -L; fail "not the two flows of $VM4 that were recorded"; }

begin unsigned
flush3
# The same journal without its signatures, a hundred seconds older.
cat >"$WORK/strip.py" <<'PY'
import sys
octets, at, n, out = open(sys.argv[1], "rb").read(), 0, 0, b""
while at < len(octets):
    length = int.from_bytes(octets[at + 2 : at + 4], "big")
    time, sequence = (int.from_bytes(octets[at + k : at + k + 4], "big") for k in (4, 8))
    body = octets[at + 12 : at + length - 144]
    out += (10).to_bytes(2, "big") + (length - 144).to_bytes(2, "big") + (time - 100).to_bytes(4, "big") + (sequence - n).to_bytes(4, "big") + body
    at, n = at + length, n + 1
open(sys.argv[2], "wb").write(out)
PY
python3 "$WORK/strip.py" "$journal" "$WORK/unsigned.ipfix"
fails 3 'octet 0: not-signed: .*--sign-unsigned' to3 --vm $VM4 "$WORK/unsigned.ipfix"
fails 0 '^DONE' to3 --vm $VM4 --sign-unsigned "$WORK/unsigned.ipfix"
times() { ns fw3 conntrack -L 2>/dev/null | awk -v low="$1" -v high="$2" '$3 < low || $3 > high { print; bad = 1 } END { exit bad || NR != 2 }'; }
times 340 400 || fail "not a hundred seconds older"
flush3
fails 0 '^DONE' to3 --vm $VM4 --sign-unsigned --no-aging "$WORK/unsigned.ipfix"
times 440 500 || fail "older, in spite of --no-aging"
flush3
sed -i 's/time - 100/time - 600/' "$WORK/strip.py"
python3 "$WORK/strip.py" "$journal" "$WORK/unsigned.ipfix"
fails 0 '^DONE .* 2 expired' to3 --vm $VM4 --sign-unsigned "$WORK/unsigned.ipfix"
[ "$(count 3)" -eq 0 ] || fail "what has expired is there"
