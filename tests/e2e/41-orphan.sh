#!/usr/bin/env bash
# The exporter dies: before READY nothing is left at the end of the lease, behind it everything.
set -uo pipefail
LEASE=5s
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_start && sami_setup && sami_start || exit 1
ns fw1 conntrack -I -p tcp -s $VM4 -d $CLI4 --sport 1001 --dport 443 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED >/dev/null 2>&1
sami_follow || exit 1
there() { ns fw2 conntrack -L 2>/dev/null | grep -q "src=$VM4"; }
gone() { ! there; }
there || { echo "not in the kernel of firewall 2"; exit 1; }
pkill -9 -f "sami-exporter -c $WORK/fw1/sami.conf"
poll 15 gone || { echo "still there"; cat "$WORK/collector.log"; exit 1; }
aborted() { ctl 2 status --json | grep -q '"phase" *: *"ABORTED"'; }
poll 5 aborted || { ctl 2 status --json; exit 1; }

# It dies behind READY: nothing rolls back, and an idle flow keeps the time of its record, not the lease that nobody renews any more.
rm -f "$WORK/run1/exporter.sock"
ip netns exec "${LAB}fw1" "$BUILD/sami-exporter" -c "$WORK/fw1/sami.conf" -f >>"$WORK/exporter.log" 2>&1 &
disown
poll 10 test -S "$WORK/run1/exporter.sock" || { echo "the exporter does not start"; exit 1; }
sami_follow || exit 1
ctl 1 freeze "$ID" --hold-ready 60s >"$WORK/freeze" 2>&1 || { cat "$WORK/freeze"; exit 1; }
pkill -9 -f "sami-exporter -c $WORK/fw1/sami.conf"
in_doubt() { ctl 2 status "$ID" --json | grep -q '"phase" *: *"IN-DOUBT"'; }
poll 15 in_doubt || { echo "not in doubt"; ctl 2 status "$ID" --json; exit 1; }
keeps() { [ "$(ns fw2 conntrack -L -s $VM4 2>/dev/null | awk '{ print $3 }')" -gt 400 ]; }
poll 5 keeps || { echo "in doubt, and it ends with the lease: $(ns fw2 conntrack -L -s $VM4 2>/dev/null)"; exit 1; }
ctl 2 resolve "$ID" --keep >"$WORK/resolve" 2>&1 || { cat "$WORK/resolve"; exit 1; }
keeps || { echo "kept, and it ends with the lease: $(ns fw2 conntrack -L -s $VM4 2>/dev/null)"; exit 1; }
