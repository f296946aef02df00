#!/usr/bin/env bash
# The connection table of firewall 2 is full: its sessions are refused by their reason, the rest of the migration goes on, nothing comes in.
# nf_conntrack_max is machine-wide, but counted per namespace: the lab's own is filled with real entries.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
. "${srcdir:-.}/tests/e2e/refused.sh"
limit=$(cat /proc/sys/net/netfilter/nf_conntrack_max 2>/dev/null) || lab_skip "no nf_conntrack_max here"
[ "$limit" -le 300000 ] || lab_skip "nf_conntrack_max is $limit: too many entries to fill a table in a test"
refused_setup && sami_start && sami_follow || exit 1
ns fw2 "$BUILD/fill-table" >"$WORK/filled" 2>&1 || { echo "FAIL table-full: cannot fill the table"; cat "$WORK/filled"; exit 1; }
count() { ns fw2 cat /proc/sys/net/netfilter/nf_conntrack_count; }
before=$(count)
counters >"$WORK/counters"
for port in 1001 1002 1003 1004 1005; do
    ns fw1 conntrack -I -p tcp -s $VM4 -d $CLI4 --sport $port --dport 443 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED >/dev/null 2>&1
done
ctl 1 freeze "$ID" >"$WORK/answer" 2>&1
frozen=$?
wait "$MIGRATE"
migrated=$?
tail -n 1 "$WORK/migrate" >>"$WORK/answer"
after=$(count)
[ $frozen -eq 6 ] && [ $migrated -eq 6 ] || { fail "table-full: freeze ended with $frozen, migrate with $migrated, not 6"; exit 1; }
grep -q '"table-full":5' "$WORK/answer" || { fail "table-full: the sender was not told of 5 sessions"; exit 1; }
poll 5 counted refused_table-full_total 5 || { fail "table-full: counter refused_table-full_total is not 5 more, or another one is"; exit 1; }
[ "$before" -eq "$limit" ] && [ "$after" -eq "$limit" ] || { fail "table-full: $before entries before, $after after, $limit allowed"; exit 1; }
if ns fw2 conntrack -L 2>/dev/null | grep -q "src=$VM4.*sport=100[1-5]"; then fail "table-full: a session came in"; exit 1; fi
echo "ok   table-full: 5 of 5 refused, $after of $limit entries, exit $migrated"
ns fw2 conntrack -F >/dev/null 2>&1
ns fw1 conntrack -F >/dev/null 2>&1
honest_migration 1006
