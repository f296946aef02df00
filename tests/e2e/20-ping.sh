#!/usr/bin/env bash
# A running ping keeps its identifier through the move, IPv4 and IPv6. Firewall 2 lets no new echo request through.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
DEFAULT_POLICY=1
. "$SRC/tests/e2e/ping.sh"
lab_start && sami_setup && sami_start && ping_only_known && ping_start || exit 1
sami_follow || exit 1
sami_move || exit 1
ping_judge || exit 1
wait "$MIGRATE" || { echo "migrate ended with $?"; cat "$WORK/migrate" "$WORK"/*.log; exit 1; }
[ "$(lab_invalid)" -eq 0 ] || { echo "$(lab_invalid) packets INVALID at firewall 2"; exit 1; }
