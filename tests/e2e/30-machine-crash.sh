#!/usr/bin/env bash
# Of firewall 2's ledger a crash of the machine leaves only what was synced: up to the freeze marker. Whether READY was sent cannot be known
# then. A crash of the process alone loses nothing, so the same end says that it was not.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_start && sami_setup && sami_start || exit 1
ns fw1 conntrack -I -p tcp -s $VM4 -d $CLI4 --sport 1001 --dport 443 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED >/dev/null 2>&1
sami_follow || exit 1
ctl 1 freeze "$ID" >"$WORK/freeze" 2>&1 || { cat "$WORK/freeze" "$WORK"/*.log; exit 1; }
wait "$MIGRATE" || { cat "$WORK/migrate" "$WORK/migrate.err"; exit 1; }
dead() { [ -z "$(ip netns pids "${LAB}fw2")" ]; }
ip netns pids "${LAB}fw2" | xargs -r kill -9 2>/dev/null
poll 10 dead || { echo "the collector does not die"; exit 1; }
cp "$WORK/journal2/$ID.ledger" "$WORK/whole" || exit 1

# crashed MACHINE|PROCESS PHASE: what the collector says after a start with that end of its ledger
crashed() {
    python3 - "$WORK/whole" "$WORK/journal2/$ID.ledger" "$1" <<'PY' || { echo "no FREEZE in the ledger"; exit 1; }
import sys
data, at = bytearray(open(sys.argv[1], "rb").read()), 0
while at < len(data):
    kind, length = data[at], int.from_bytes(data[at + 1:at + 5], "big")
    at += 5 + length
    if kind == 7:
        if sys.argv[3] == "MACHINE":
            data[at - length] ^= 0xff  # the boot id
        open(sys.argv[2], "wb").write(data[:at])
        sys.exit(0)
sys.exit(1)
PY
    rm -f "$WORK/run2/collector.sock" "$WORK/journal2/$ID.closed"
    ip netns exec "${LAB}fw2" "$BUILD/sami-collector" -c "$WORK/fw2/sami.conf" -f >"$WORK/collector.log" 2>&1 &
    local pid=$!
    disown
    poll 10 says "$2" || { echo "$1: not $2"; ctl 2 status --json; cat "$WORK/collector.log"; exit 1; }
    kill "$pid"
    poll 10 test ! -e "$WORK/run2/collector.sock" || { echo "the collector does not end"; exit 1; }
}
says() { ctl 2 status "$ID" --json 2>/dev/null | grep -q "\"phase\":\"$1\""; }
crashed MACHINE IN-DOUBT
crashed PROCESS ABORTED
