#!/usr/bin/env bash
# Flows that close at the destination while the source's audit still names them as open: none ends ESTABLISHED, none closing one gets the timeout
# of an open one.
set -uo pipefail
LEASE=60s
. "${srcdir:-.}/tests/e2e/faults.sh"
faults_lab && sami_start || exit 1
FLOWS=200
for n in 1 2; do ns fw$n nft insert rule inet filter forward iifname v tcp dport 9100 ct state new accept; done
cat >"$WORK/closing.py" <<'PY'
"""Opens flows, says so, and closes them one after another when the file is there."""
import os, socket, sys, time
address, port, n, go = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
flows = [socket.create_connection((address, port), timeout=20) for _ in range(n)]
for flow in flows:
    flow.sendall(b"x")
    flow.recv(1)
print("open", flush=True)
while not os.path.exists(go):
    time.sleep(0.01)
for flow in flows:
    flow.sendall(b"y")
    flow.recv(1)
    flow.close()
    time.sleep(0.005)
print("closed", flush=True)
PY
ns cli python3 "$SRC/tests/e2e/live.py" server $CLI4 9100 >"$WORK/live" 2>&1 &
poll 10 grep -qs listening "$WORK/live" || fail "no server"

begin close-during-the-audit
fill 20000 --kind mixed
ns vm python3 "$WORK/closing.py" $CLI4 9100 $FLOWS "$WORK/go" >"$WORK/closing" 2>&1 &
poll 20 grep -qs open "$WORK/closing" || fail "no flows: $(cat "$WORK/closing")"
follow
slow 1mbit
sami_move || fail "no move"
in_phase 1 SETTLE || fail "the migration is $(field 1 phase): this case proves nothing"
touch "$WORK/go"
poll 60 grep -qs closed "$WORK/closing" || fail "the flows do not go on: $(cat "$WORK/closing")"
in_phase 1 SETTLE || echo "the audit was over before the last flow closed"
fast
ended 0 6
ns fw2 conntrack -L -p tcp -s $VM4 --dport 9100 2>/dev/null >"$WORK/ends"
awk '{ n[$4]++; if ($3 > 300 || $4 == "ESTABLISHED") bad++ } END { for (s in n) print s, n[s]; exit bad > 0 }' "$WORK/ends" ||
    { grep -E "ESTABLISHED| [0-9]{4,} [A-Z]" "$WORK/ends" | head -n 5; fail "a closed flow is open, or stays for long"; }
[ "$(lab_invalid)" -eq 0 ] || fail "$(lab_invalid) packets INVALID"
[ "$(wc -l <"$WORK/ends")" -eq $FLOWS ] || echo "$(wc -l <"$WORK/ends") of $FLOWS still there"
