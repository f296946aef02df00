#!/usr/bin/env bash
# abort before READY removes what the migration created, and nothing else.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_start && sami_setup && sami_start || exit 1
add() { ns "$1" conntrack -I -p tcp -s $VM4 -d $CLI4 --sport "$2" --dport 443 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED >/dev/null 2>&1; }
for port in 1001 1002 1003 1004; do add fw1 $port; done
add fw2 1004 # there before: stays
sami_follow || exit 1
[ "$(ns fw2 conntrack -L 2>/dev/null | grep -c "src=$VM4")" -eq 4 ] || { echo "not in the kernel of firewall 2"; exit 1; }
ctl 1 abort "$ID" || { echo "abort ended with $?"; exit 1; }
wait "$MIGRATE"; status=$?
[ $status -eq 4 ] || { echo "migrate ended with $status, not 4"; cat "$WORK/migrate"; exit 1; }
left=$(ns fw2 conntrack -L 2>/dev/null | grep "src=$VM4")
echo "left: $left"
[ "$(echo "$left" | wc -l)" -eq 1 ] && echo "$left" | grep -q sport=1004
