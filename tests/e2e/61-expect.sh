#!/usr/bin/env bash
# require-expect, the default: a VM that was not announced at the destination is refused, with the command to run there; an announcement
# is for its peer and its time, outlives a restart of the daemon, and is not used up.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
export NO_EXPECT=1
lab_start && sami_setup && sami_start || exit 1
ns fw1 conntrack -I -p tcp -s $VM4 -d $CLI4 --sport 1001 --dport 443 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED >/dev/null 2>&1
fail() { echo "$*"; cat "$WORK/out" "$WORK"/*.log; exit 1; }
move() { ctl 1 migrate --vm "$1" --to fw2.example --now >"$WORK/out" 2>&1; }
refused() { # COUNT
    [ $? -eq 3 ] && grep -q 'not-expected' "$WORK/out" || fail "not refused as not-expected"
    ctl 2 stats --json | grep -q "\"refused_not-expected_total\" *: *$1" || fail "not counted"
    [ -z "$(ns fw2 conntrack -L 2>/dev/null | grep "src=$VM4")" ] || fail "something was written"
}
usage() { "$@" >"$WORK/out" 2>&1; [ $? -eq 2 ] || fail "not exit 2: $*"; }

move $VM4,$VM6
refused 1
grep -q "samictl expect --vm $VM4,$VM6 --from fw1.example" "$WORK/out" || fail "it does not say what to run"
ctl 2 expect --vm $VM4 --from fw1.example >"$WORK/out" 2>&1 || fail "expect"
move $VM4,$VM6 # one of two is not enough
refused 2
grep -q "samictl expect --vm $VM6 --from" "$WORK/out" || fail "it does not name what is missing"
usage ctl 2 expect --vm $VM6 --from nobody.example
usage ctl 2 expect --vm 10.77.0.1 --from any-peer
usage ctl 2 expect --vm $VM6
ctl 2 expect --vm $VM6 --from any-peer --for 1h >"$WORK/out" 2>&1 || fail "expect from any peer"
grep -q "control: expect add by user 0, process [0-9]*: vm=$VM6 from=any-peer\$" "$WORK/collector.log" || fail "not logged who announced what"
ctl 2 expect --list >"$WORK/out" || fail "list"
grep -q "$VM4.*fw1.example" "$WORK/out" && grep -q "$VM6.*any-peer" "$WORK/out" || fail "not listed"

# Over a restart.
[ "$(stat -c %a "$WORK/run2/expected")" = 600 ] || fail "mode of the file"
pkill -f "sami-collector -c $WORK"
poll 10 test ! -S "$WORK/run2/collector.sock"
ns fw2 "$BUILD/sami-collector" -c "$WORK/fw2/sami.conf" -f >"$WORK/collector2.log" 2>&1 &
poll 10 test -S "$WORK/run2/collector.sock" || fail "no restart"
move $VM4,$VM6 || fail "announced, and refused"
ns fw2 conntrack -F >/dev/null 2>&1
move $VM4,$VM6 || fail "an announcement is not used up"

# Taken back, and run out.
ctl 2 expect --vm 10.0.0.0/24 --from fw1.example >"$WORK/out" 2>&1 && ctl 2 expect --remove --vm $VM4 >"$WORK/out" 2>&1 || fail "one of many"
grep -q 'still expected' "$WORK/out" && grep -q '^10.0.0.0/24 .*fw1.example' "$WORK/out" || fail "not said that a prefix still announces it"
ctl 2 expect --remove --vm 10.0.0.0/24 >"$WORK/out" 2>&1 && grep -q 'not expected any more' "$WORK/out" || fail "remove a prefix"
ctl 2 expect --vm $VM4 --from fw1.example >"$WORK/out" 2>&1 || fail "expect again"
ns fw2 conntrack -F >/dev/null 2>&1
ctl 2 expect --remove --vm $VM4 >"$WORK/out" 2>&1 || fail "remove"
ctl 2 expect --remove --vm $VM4 >"$WORK/out" 2>&1
[ $? -eq 1 ] || fail "removed twice"
move $VM4
refused 1
ctl 2 expect --vm $VM4 --from fw1.example --for 1s >"$WORK/out" 2>&1 || fail "expect for a second"
over() { ! ctl 2 expect --list | grep -q "^$VM4 "; }
poll 10 over || fail "it did not end"
move $VM4
refused 2

# The other way: a site that trusts its peers' own announcements.
echo 'require-expect=false' >>"$WORK/fw2/signers.d/fw1.example.conf"
pkill -HUP -f -o "sami-collector -c $WORK/fw2"
reloaded() { ctl 2 stats --json | grep -q '"reloads_total" *: *1'; }
poll 10 reloaded || fail "not reloaded"
move $VM4 || fail "require-expect=false, and refused"
