#!/usr/bin/env bash
# A collector that stands still for longer than max-delay refuses its own backlog as too late; the exporter brings it again in a new session. And a
# process that dies takes its daemon with it, with an exit status that says so.
set -uo pipefail
LEASE=60s
. "${srcdir:-.}/tests/e2e/faults.sh"
faults_lab max-delay=1s && sami_start || exit 1
COLLECTOR_STATE=$(process 2 state)

stand_still() { # with Messages waiting
    kill -STOP "$COLLECTOR_STATE"
    fill 3000 --from "$1" --kind mixed
    poll 10 sent "$2" || fail "nothing sent"
    local end=$((SECONDS + 3))
    past() { [ $SECONDS -ge $end ]; }
    poll 5 past
    kill -CONT "$COLLECTOR_STATE"
}

begin backlog-in-follow
fill 2000 --kind mixed
follow
stand_still 5000 3000
poll 20 counted 1 sessions_resumed_total 1 || fail "not resumed"
counted 2 refused_too-late_total 1 || fail "nothing was too late: this case proves nothing"
frozen
ended 0
equal
flush 1 2

begin backlog-in-freeze
fill 2000 --kind mixed
follow
kill -STOP "$COLLECTOR_STATE"
ctl 1 freeze "$ID" >"$WORK/freeze" 2>&1 & FREEZE=$!
poll 10 in_phase 1 FREEZE || fail "not in FREEZE"
END=$((SECONDS + 3))
past() { [ $SECONDS -ge $END ]; }
poll 5 past
kill -CONT "$COLLECTOR_STATE"
wait $FREEZE || fail "freeze ended with $?: $(cat "$WORK/freeze")"
counted 2 refused_too-late_total 2 || fail "nothing was too late: this case proves nothing"
ended 0
equal

# Each process of each daemon, the supervisor too.
ended_by() { # FIREWALL PROCESS PROGRAM
    begin "death-of-$3-$2"
    rm -f "$WORK"/run?/*.sock "$WORK/exits"
    { ip netns exec "${LAB}fw$1" "$BUILD/$3" -c "$WORK/fw$1/sami.conf" -f >>"$WORK/${3#sami-}.log" 2>&1; echo $? >"$WORK/exits"; } &
    up() { ctl "$1" stats --json >/dev/null 2>&1; }
    poll 15 up "$1" || fail "does not start"
    kill -9 "$(process "$1" "$2")"
    poll 15 test -s "$WORK/exits" || fail "the daemon goes on"
    [ "$(cat "$WORK/exits")" -ne 0 ] || fail "the daemon ended with 0"
    none() { [ -z "$(process "$1" network)$(process "$1" state)$(process "$1" supervisor)" ]; }
    poll 15 none "$1" || fail "a process is left"
}
kill "${DAEMONS[@]}"
none_left() { [ -z "$(process 1 supervisor)$(process 2 supervisor)" ]; }
poll 15 none_left || fail "the daemons do not stop"
for process in network state supervisor; do
    ended_by 1 $process sami-exporter
    ended_by 2 $process sami-collector
done
