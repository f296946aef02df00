#!/usr/bin/env bash
# Listener and connector in the wrong hands: they read everything between the two state processes, and send what they like. No entry is made, no
# migration ends well, and both state processes go on. The cases are in tests/hostile/between-cases.c.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_start && sami_setup || exit 1
for n in 1 2; do
    sed -i '/^\(max-delay\|reconnect\|lease\) *=/d' "$WORK/fw$n/sami.conf"
    printf 'max-delay=3s\nreconnect=200ms\nlease=10s\n' >>"$WORK/fw$n/sami.conf"
done
sed -i '/^require-expect *=/d' "$WORK"/fw2/signers.d/*.conf && for f in "$WORK"/fw2/signers.d/*.conf; do echo require-expect=false >>"$f"; done
for vm in {20..60}; do
    "$BUILD/sami-table" -n "${LAB}fw1" --vm 10.0.0.$vm fill 300 >/dev/null || exit 1 # more than one Message
done
timeout 180 "$BUILD/hostile-between" "$WORK/fw1" "/run/netns/${LAB}fw1" "$WORK/fw2" "/run/netns/${LAB}fw2" "$BUILD/samictl" "$@" \
    2>"$WORK/between.log" || { echo "hostile-between ended with $?"; tail -n 40 "$WORK/between.log"; exit 1; }
