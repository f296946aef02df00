#!/usr/bin/env bash
# The same flow is merged, seen from either side; another translation and a taken reply tuple are refused by their names.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_start && sami_setup && sami_start || exit 1
tcp() { # NS PORT EXTRA...
    local n=$1 port=$2
    shift 2
    ns "$n" conntrack -I -p tcp -s $VM4 -d $CLI4 --sport "$port" --dport 443 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED "$@" >/dev/null 2>&1
}
tcp fw1 1001; tcp fw2 1001                                     # the same
tcp fw1 1002; tcp fw2 1002 --src-nat 192.0.2.7:1002            # another translation
tcp fw1 1003                                                   # seen from the other side
ns fw2 conntrack -I -p tcp -s $CLI4 -d $VM4 --sport 443 --dport 1003 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED >/dev/null 2>&1
tcp fw1 1004 --src-nat 192.0.2.1:5004                          # reply tuple taken
ns fw2 conntrack -I -p tcp -s 10.0.0.99 -d $CLI4 --sport 1004 --dport 443 --src-nat 192.0.2.1:5004 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED >/dev/null 2>&1
tcp fw1 1005
ctl 1 migrate --vm $VM4 --to fw2.example --now --json >"$WORK/out" 2>"$WORK/err"
status=$?
last=$(tail -n 1 "$WORK/out")
echo "$last"
[ $status -eq 6 ] || { echo "exit $status, not 6"; cat "$WORK/err" "$WORK"/*.log; exit 1; }
for reason in '"nat-mismatch":1' '"nat-clash":1' '"merged":2' '"exact":1'; do
    grep -q "$reason" <<<"$last" || { echo "no $reason"; exit 1; }
done
