#!/usr/bin/env bash
# Related flows where not everything goes well: children come before their masters; the move is thawed, and rolled back; and a signer that may
# not bring what opens ports for others: the very connections that 94 and 95 carry over fail there.
set -uo pipefail
LEASE=60s
. "${srcdir:-.}/tests/e2e/testbed.sh"
. "${srcdir:-.}/tests/e2e/related.sh"
related_lab session,expectation && serve cli ftp.py $CLI4 && serve cli tftp.py $CLI4 || exit 1
fail() { echo "FAIL $*"; cat "$WORK"/*.log; exit 1; }
children() { ns "fw$1" conntrack -L -u EXPECTED 2>/dev/null | wc -l; }
has_children() { [ "$(children "$1")" -eq "$2" ]; }
reloaded() { ns fw2 "$BUILD/samictl" --config-dir "$WORK/fw2" stats --json | grep -q '"reloads_total":1'; }
rolled_back() { ctl 2 status "$ID" --json | sed -n "s/.*\"rollback\":{[^}]*\"$1\":\([0-9]*\).*/\1/p"; }

# Data connections that are open: a dump gives them in any order, before their masters or behind.
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do talk open-$i vm ftp.py $CLI4 && do_one open-$i pasv && do_one open-$i join || exit 1; done
talk announced vm ftp.py $CLI4 || exit 1
has_children 1 12 || fail "$(children 1) children at firewall 1, not 12"
sami_follow || exit 1
do_one announced port || exit 1

# The freeze is taken back: what was expected there is not any more, and here it still is.
ctl 1 freeze "$ID" --hold-ready 60s >"$WORK/freeze" 2>&1 || fail "freeze: $(cat "$WORK/freeze")"
has_expectations 2 1 || fail "not one expectation at firewall 2"
has_children 2 12 || fail "$(children 2) children at firewall 2, not 12"
ctl 1 thaw "$ID" >"$WORK/thaw" 2>&1 || fail "thaw: $(cat "$WORK/thaw")"
poll 10 has_expectations 2 0 || fail "still expected at firewall 2"
has_children 2 12 || fail "thawed, and children are gone"
do_one announced fetch || exit 1

# Rolled back: expectations, children, masters.
do_one announced port || exit 1
ctl 1 freeze "$ID" --hold-ready 60s >"$WORK/freeze" 2>&1 || fail "freeze: $(cat "$WORK/freeze")"
has_expectations 2 1 || fail "not one expectation at firewall 2"
ctl 1 abort "$ID" >"$WORK/abort" 2>&1 || fail "abort: $(cat "$WORK/abort")"
poll 10 has_expectations 2 0 || fail "rolled back, and still expected"
poll 10 has_children 2 0 || fail "rolled back, and children are there"
[ "$(rolled_back expectations)" = 1 ] && [ "$(rolled_back expectations_left)" = 0 ] || fail "not said: $(ctl 2 status "$ID" --json)"
[ "$(ns fw2 conntrack -L -p tcp --dport 21 2>/dev/null | wc -l)" -eq 0 ] || fail "masters are left"
do_one announced fetch || exit 1
wait "$MIGRATE"
echo "ok   thawed and rolled back"

# Without: the flows go, and nothing that helpers are for.
sed -i 's/^kinds=.*/kinds=session/' "$WORK"/fw2/signers.d/*
kill -HUP "$COLLECTOR"
poll 10 reloaded || fail "the collector did not reload"
talk tftp vm tftp.py $CLI4 "$WORK/go" || exit 1
talk control vm ftp.py $CLI4 && do_one control active || exit 1
sami_follow || exit 1
do_one announced port && do_one tftp request || exit 1
FREEZE_EXIT=6 sami_move || exit 1
expectations 2
has_expectations 2 0 || fail "expected without leave"
do_one announced noop && do_one control noop || exit 1
: >"$WORK/go"
do_one announced fetch failed && do_one control active failed && do_one tftp data failed || fail "it works without: 94 and 95 prove nothing"
wait "$MIGRATE"
code=$?
[ $code -eq 6 ] || fail "migrate ended with $code, not degraded"
[ "$(moved_field 2 refused)" = 2 ] && [ "$(moved_field 2 created)" = 0 ] || fail "not counted: $(ctl 2 status "$ID" --json)"
ctl 2 status "$ID" --json | grep -q '"expectation-not-allowed":2' || fail "not said why: $(ctl 2 status "$ID" --json)"
ctl 2 status "$ID" --json | grep -q '"no-helper":' || fail "the flows are not degraded: $(ctl 2 status "$ID" --json)"
