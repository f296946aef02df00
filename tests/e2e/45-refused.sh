#!/usr/bin/env bash
# A sender with real keys misbehaves in one way at a time, inside TLS: each is refused for its reason. The cases are in tests/hostile.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_tcp_only "the hostile sender speaks TLS; what it sends is refused behind it"
. "${srcdir:-.}/tests/e2e/refused.sh"
refused_setup && sami_start || exit 1
ns fw1 timeout 60 "$BUILD/hostile" --all "$WORK/fw1/sami.conf" fw2.example "$WORK/run2/collector.sock" "/run/netns/${LAB}fw2" ||
    { echo "hostile ended with $?"; tail -n 20 "$WORK"/*.log; exit 1; }
# Each of the malformed ones is counted under the rule that it broke.
ctl 2 stats --json | tr -d ' "\n' | sed 's/.*counters:{//; s/}.*//' | tr ',' '\n' >"$WORK/stats"
awk -F: '/^malformed_/ { n += $2; kinds += $2 > 0 } /^refused_malformed_total:/ { all = $2 } END { print all " malformed, of " kinds " rules"; exit !(n == all && kinds > 20) }' "$WORK/stats" ||
    { grep malformed "$WORK/stats"; exit 1; }
honest_migration 1001
