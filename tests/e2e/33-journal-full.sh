#!/usr/bin/env bash
# The disk of the journal is full: at begin the migration is refused, in the middle and at the freeze it is aborted, each time with that reason and
# with nothing left behind; after READY it is in doubt and kept.
set -uo pipefail
LEASE=8s
. "${srcdir:-.}/tests/e2e/faults.sh"
faults_lab || exit 1
DISK=$WORK/journal2
mkdir -p "$DISK"
mount -t tmpfs -o size=12m,mode=700 tmpfs "$DISK" || lab_skip "no tmpfs can be mounted here"
leave() {
    [ -z "${SAMI_COVERAGE:-}" ] || lab_end_in_order
    ip netns pids "${LAB}fw2" | xargs -r kill -9
    poll 5 umount "$DISK" 2>/dev/null
    lab_stop
}
trap leave EXIT
sami_start || exit 1

full() { dd if=/dev/zero of="$DISK/ballast" bs=1k 2>/dev/null; [ "$(df --output=avail -k "$DISK" | tail -n 1)" -eq 0 ] || fail "the disk is not full"; }
left() { full; truncate -s "-$1" "$DISK/ballast"; }
roomy() { rm -f "$DISK/ballast"; }
add 2 7001; add 2 7002 # there before
untouched() { # nothing but what was there, within the lease
    only_two() { [ "$(entries 2)" -eq 2 ]; }
    poll 5 only_two || fail "$(entries 2) entries at firewall 2, not 2"
    has 2 7001 && has 2 7002 || fail "what was there is gone"
}
refused() { # says why at the source
    ended 3
    grep -q 'refused: journal' "$WORK/migrate" || fail "the source does not say why"
    [ "$(field 1 phase)" = FAILED ] || fail "the source is $(field 1 phase)"
}
works() {
    roomy
    migrate --now
    ended 0
    flush 1
    ns fw2 conntrack -D -s $VM4 -p tcp --dport 443 -d 198.18.0.0/15 >/dev/null 2>&1
    table -n "${LAB}fw2" flush
    add 2 7001; add 2 7002
}

begin at-begin
full
fill 100
migrate --now
refused
untouched
counted 2 refused_journal_total 1 || fail "not counted"
works

begin in-the-middle
left 700k
fill 20000 --kind tcp
migrate --now
refused
untouched
poll 5 in_phase 2 ABORTED || fail "the collector is $(field 2 phase)"
works

begin at-the-freeze
fill 2000
follow
COLLECTOR_STATE=$(process 2 state)
kill -STOP "$COLLECTOR_STATE"
fill 400 --from 3000 # more than the last page of the files has room for
ctl 1 freeze "$ID" >"$WORK/freeze" 2>&1 & FREEZE=$!
poll 10 in_phase 1 FREEZE || fail "not in FREEZE"
full
kill -CONT "$COLLECTOR_STATE"
wait $FREEZE
[ $? -eq 3 ] || fail "freeze did not end with 3: $(cat "$WORK/freeze")"
grep -q 'FREEZE -> FAILED' "$WORK/exporter.log" || fail "it was not in FREEZE: this case proves nothing"
refused
untouched
poll 5 in_phase 2 ABORTED || fail "the collector is $(field 2 phase)"
works

begin after-ready
fill 20000 --kind tcp
follow
slow 4mbit
frozen
full
ended 7
in_phase 1 IN-DOUBT || fail "the source is $(field 1 phase)"
poll 20 in_phase 2 IN-DOUBT || fail "the collector is $(field 2 phase)"
has_entries 2 20002 || fail "$(entries 2) entries, not 20002"
roomy
ctl 2 resolve "$ID" --keep >/dev/null || fail "resolve"
in_phase 2 DONE || fail "kept, and $(field 2 phase)"
has_entries 2 20002 || fail "kept, and $(entries 2) entries"
fast

# And where it cannot even be made: a collector that does not start.
sed 's,^\(run-dir\|journal-dir\|listen\) *=.*,,' "$WORK/fw2/sami.conf" >"$WORK/fw2/none.conf"
printf 'listen=127.0.0.1:4799\nrun-dir=%s\njournal-dir=/proc/none\n' "$WORK/run4" >>"$WORK/fw2/none.conf"
chmod 600 "$WORK/fw2/none.conf"
ns fw2 timeout 10 "$BUILD/sami-collector" -c "$WORK/fw2/none.conf" -f >"$WORK/none.log" 2>&1
status=$?
[ $status -ne 0 ] && [ $status -ne 124 ] && grep -q 'journal-dir /proc/none: ' "$WORK/none.log" || fail "started without a journal ($status): $(cat "$WORK/none.log")"
