#!/usr/bin/env bash
# A collector with real keys misbehaves in one way at a time, inside TLS, to the real exporter: it never gets a success told, a gate opened or an
# entry removed, and each time the exporter says why. The cases are in tests/hostile.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/faults.sh"
lab_tcp_only "the hostile collector speaks TLS; what it answers is refused behind it"
faults_lab max-delay=1s || exit 1
ip netns exec "${LAB}fw1" "$BUILD/sami-exporter" -c "$WORK/fw1/sami.conf" -f >"$WORK/exporter.log" 2>&1 &
disown
poll 10 test -S "$WORK/run1/exporter.sock" || { cat "$WORK/exporter.log"; exit 1; }
STATE=$(process 1 state)
ns fw2 timeout 120 "$BUILD/hostile-collector" "$WORK/fw2/sami.conf" 10.255.0.2:4740 "$WORK/fw1" "$WORK/run1/exporter.sock" "/run/netns/${LAB}fw1" $VM4 ||
    { echo "hostile-collector ended with $?"; tail -n 20 "$WORK/exporter.log"; exit 1; }
[ "$(process 1 state)" = "$STATE" ] || { echo "FAIL the exporter is another process"; tail -n 20 "$WORK/exporter.log"; exit 1; }
