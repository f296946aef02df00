#!/usr/bin/env bash
# The exporter dies before READY: at the end of the lease nothing is left.
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
