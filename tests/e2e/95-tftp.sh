#!/usr/bin/env bash
# TFTP through NAT: the request goes out before the move, the server answers from a port of its own after it. Nothing but the expectation lets
# that answer in.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
. "${srcdir:-.}/tests/e2e/related.sh"
related_lab session,expectation && serve cli tftp.py $CLI4 && talk tftp vm tftp.py $CLI4 "$WORK/go" || exit 1
do_one tftp whole || exit 1
sami_follow || exit 1
do_one tftp request || exit 1
poll 5 has_expectations 1 1 || { echo "nothing is expected at firewall 1: this case proves nothing"; expectations 1; exit 1; }
sami_move || exit 1
has_expectations 2 1 || { echo "not one expectation at firewall 2"; expectations 2; cat "$WORK"/*.log; exit 1; }
# It runs on: the helper would have given a new one 300 s.
left=$(expectations 2 | awk '{ print $1 }')
[ "$left" -lt 300 ] || { echo "its time began anew: $left s"; exit 1; }
: >"$WORK/go"
do_one tftp data || { cat "$WORK"/*.log; exit 1; }
poll 5 has_expectations 2 0 || { echo "it was used, and is still there"; exit 1; }
wait "$MIGRATE" || { echo "migrate ended with $?"; cat "$WORK/migrate" "$WORK"/*.log; exit 1; }
[ "$(moved_field 1 created)" = 1 ] || { echo "not counted as 1"; ctl 1 status "$ID" --json; exit 1; }
[ "$(lab_invalid)" -eq 0 ] || { echo "$(lab_invalid) packets INVALID at firewall 2"; exit 1; }
