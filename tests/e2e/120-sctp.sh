#!/usr/bin/env bash
# A migration over DTLS/SCTP: transfers survive as over TLS/TCP, and no DATA chunk on the link was without authentication.
# shellcheck disable=SC2034 # move.sh reads them
CASE='out in udp' LISTENER_FIRST=1 TRANSPORT=sctp BEFORE=watch
watch() {
    ns fw2 python3 "$SRC/tests/e2e/sctp-audit.py" mgmt0 9899 "$WORK/watching" >"$WORK/audit" 2>&1 &
    poll 10 test -e "$WORK/watching" || { cat "$WORK/audit"; return 1; }
    AUDIT=$(ip netns pids "${LAB}fw2" | head -n 1)
}
. "${srcdir:-.}/tests/e2e/move.sh"
grep -q 'SCTP in UDP port 9899 (RFC 6951) by the [a-z]* backend' "$WORK/collector.log" ||
    { echo "the log does not say which SCTP this is"; cat "$WORK/collector.log"; exit 1; }
kill "$AUDIT"
poll 10 grep -q 'packets:' "$WORK/audit"
cat "$WORK/audit"
! grep -q FAULT "$WORK/audit" && grep -q 'application records' "$WORK/audit"
