#!/usr/bin/env bash
# The exporter loses events (ENOBUFS): a new epoch, counted and shown, and no flow is lost or left over. Forced by more events than its socket
# holds (64 MiB) while it is stopped; before the freeze, inside it, and during the audit.
set -uo pipefail
LEASE=60s
. "${srcdir:-.}/tests/e2e/faults.sh"
faults_lab && sami_start || exit 1
EXPORTER=$(process 1 state)
OVERRUNS=0

storm() { # more creations and deletions than fit
    local i
    for i in 1 2 3; do
        fill 60000 --from 300000 --kind tcp
        ns fw1 conntrack -D -s $VM4 -p tcp --dport 444 >/dev/null 2>&1
        table -n "${LAB}fw1" flush
    done
    fill 5000 --from 1000 --kind mixed
}
overrun() {
    poll 20 counted 1 event_overruns_total $((OVERRUNS + 1)) || fail "no overrun: this case proves nothing"
    OVERRUNS=$(counter 1 event_overruns_total)
    [ "$(field 1 event_overruns)" -ge 1 ] || fail "not shown in status"
    [ "$(field 1 epoch)" -ge 1 ] || fail "no new epoch"
}
finished() {
    ended 0
    equal
    flush 1 2
}

begin follow
fill 5000 --kind mixed
follow
kill -STOP "$EXPORTER"
storm
kill -CONT "$EXPORTER"
overrun
frozen
finished

begin freeze
fill 5000 --kind mixed
follow
kill -STOP "$EXPORTER"
storm
ctl 1 freeze "$ID" >"$WORK/freeze" 2>&1 & FREEZE=$!
kill -CONT "$EXPORTER"
wait $FREEZE || fail "freeze ended with $?: $(cat "$WORK/freeze")"
overrun
finished

# Nothing that was before the marker is lost, and the audit begins again.
begin settle
fill 20000 --kind mixed
follow
COLLECTOR_STATE=$(process 2 state)
kill -STOP "$COLLECTOR_STATE"
ctl 1 freeze "$ID" >"$WORK/freeze" 2>&1 & FREEZE=$!
poll 20 in_phase 1 FREEZE || fail "not in FREEZE"
kill -STOP "$EXPORTER"
kill -CONT "$COLLECTOR_STATE"
poll 20 in_phase 2 READY || fail "not READY at the collector" # and the exporter reads it, begins its audit and then finds the overrun
for _ in 1 2 3; do
    fill 60000 --from 300000 --kind tcp
    for net in 198.19.0.0/16 198.18.128.0/17; do ns fw1 conntrack -D -s $VM4 -d $net -p tcp >/dev/null 2>&1; done
done
add 1 1003 # its event is lost; the audit names it
kill -CONT "$EXPORTER"
wait $FREEZE || fail "freeze ended with $?: $(cat "$WORK/freeze")"
ended 0
has 2 1003 || fail "a flow that began behind the marker, and whose event was lost, is missing"
[ "$(field 1 epoch)" -ge 2 ] || fail "the audit did not begin again"
poll 1 counted 1 event_overruns_total $((OVERRUNS + 1)) || fail "no overrun: this case proves nothing"
echo "$(counter 1 event_overruns_total) overruns"
