#!/usr/bin/env bash
# sami-replay send --to: the journal of a migration, sent to a third firewall, makes the same table there; every receipt is told.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/send.sh"
send_lab && send_third || exit 1
same() { # the tables of firewall 2 and 3; timeouts run on
    "$BUILD/sami-table" compare "${LAB}fw2" "${LAB}fw3" --tolerance 3 >"$WORK/compare" && grep -q "^entries $1 $1 equal $1 " "$WORK/compare" ||
        { cat "$WORK/compare" "$WORK/out" "$WORK/collector3.log"; exit 1; }
}
again() { ns fw3 conntrack -F >/dev/null 2>&1; }

fails 0 '^DONE' replay send --to fw3.example -c "$WORK/fw1/sami.conf" "$JOURNAL"
for word in OPENED SNAPSHOT READY FINAL; do grep -q "^$word " "$WORK/out" || { echo "no $word"; cat "$WORK/out"; exit 1; }; done
grep -Eq '^FINAL .* 8 exact, 0 degraded, 0 refused' "$WORK/out" || { cat "$WORK/out"; exit 1; }
same 8
# As JSON lines; a file whose last Message is cut off loses that only, and says so.
again
head -c -100 "$JOURNAL" >"$WORK/cut.ipfix"
fails 6 '"event":"end".*"exit":6' replay send --json --to fw3.example -c "$WORK/fw1/sami.conf" "$WORK/cut.ipfix"
python3 - "$WORK/out" <<'PY' || { cat "$WORK/out"; exit 1; }
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1]) if line.startswith("{")]
assert [l["phase"] for l in lines if l["event"] == "receipt"] == ["SNAPSHOT", "READY", "FINAL"], lines
assert lines[-1]["counts"]["faults"] == 1, lines[-1]
PY
same 8
# One address of the VM.
again
fails 0 '^DONE' replay send --to fw3.example -c "$WORK/fw1/sami.conf" --vm $VM6 "$JOURNAL"
[ "$(count 3)" -eq 2 ] || { echo "not the two flows of $VM6"; ns fw3 conntrack -L; exit 1; }
again
fails 0 '^DONE' replay send --to fw3.example -c "$WORK/fw1/sami.conf" --vm $VM4 "$JOURNAL"
[ "$(count 3)" -eq 6 ] || { echo "not the six flows of $VM4"; ns fw3 conntrack -L; exit 1; }
# Four Messages a second.
again
n=$(python3 -c 'import sys
octets, at, n = open(sys.argv[1], "rb").read(), 0, 0
while at < len(octets): at, n = at + int.from_bytes(octets[at + 2 : at + 4], "big"), n + 1
print(n)' "$JOURNAL")
started=$(date +%s%N)
fails 0 '^DONE' replay send --speed 4 --to fw3.example -c "$WORK/fw1/sami.conf" "$JOURNAL"
took=$((($(date +%s%N) - started) / 1000000))
[ $took -ge $(((n - 1) * 250)) ] || { echo "$n Messages in $took ms"; exit 1; }
same 8
# Filters choose records; of a time that was before it, there is none.
again
fails 0 '^DONE' replay send --to fw3.example -c "$WORK/fw1/sami.conf" --protocol udp --address 10.0.0.0/8 "$JOURNAL"
[ "$(count 3)" -eq 1 ] || { echo "not the one UDP flow of $VM4"; ns fw3 conntrack -L; exit 1; }
again
fails 0 '^DONE +0 sent' replay send --to fw3.example -c "$WORK/fw1/sami.conf" --until 1000000000 "$JOURNAL"
[ "$(count 3)" -eq 0 ] || { ns fw3 conntrack -L; exit 1; }
