#!/usr/bin/env bash
# sami-vmstate between real daemons, called as QEMU calls it: READY in time, no migration, late under each policy, daemons dead, tokens
# that are none.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
. "$SRC/tests/packaging/bus.sh"
lab_start && sami_setup || exit 1
trap 'bus_stop; lab_stop' EXIT
fail() { echo "FAILED: $*"; cat "$WORK"/vmstate-*.log "$WORK"/collector.log "$WORK"/exporter.log "$WORK"/out; exit 1; }
bus_start source && bus_start destination && sami_start || exit 1
ns fw1 conntrack -I -p tcp -s $VM4 -d $CLI4 --sport 1001 --dport 443 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED >/dev/null 2>&1
save() { "$BUILD/fake-qemu" "$(bus_address source)" save "$WORK/stream" >"$WORK/out" 2>&1 && cat "$WORK/out"; }
load() { "$BUILD/fake-qemu" "$(bus_address destination)" load "$WORK/stream" >"$WORK/out" 2>&1; local status=$?; cat "$WORK/out"; return $status; }
destination() { # POLICY
    [ -z "${DESTINATION:-}" ] || vmstate_stop "$DESTINATION"
    vmstate_start destination 2 --deadline 1s --on-late "$1" || exit 1
    DESTINATION=$VMSTATE
}
network_of() { # EXPORTER|COLLECTOR: the process without privileges
    ip netns pids "$LAB$1" | xargs -r ps -o pid=,user=,comm= -p | awk -v name="$2" '$2 == "nobody" && $3 == name { print $1 }'
}
state_of() { # the first is the supervisor, the other one of root's the state process
    ip netns pids "$LAB$1" | xargs -r ps -o pid=,user=,comm= -p | awk -v name="$2" '$2 == "root" && $3 == name { print $1 }'
}
all_of() { ip netns pids "$LAB$1" | xargs -r ps -o pid=,stat=,comm= -p | awk -v name="$2" '$3 == name && $2 !~ /^Z/ { print $1 }'; }
kill_all() { # until nobody is left: the list may miss one that is just starting or ending
    nobody() { all_of "$1" "$2" | xargs -r kill -9 2>/dev/null; [ -z "$(all_of "$1" "$2")" ]; }
    poll 10 nobody "$1" "$2" || fail "$2 cannot be killed"
}

vmstate_start source 1 --vm $VM4,$VM6 --deadline 1s || exit 1
SOURCE=$VMSTATE
destination abort

echo "--- READY in time"
sami_follow || exit 1
save || fail "Save"
grep -q "SAMI1 ready $ID " "$WORK/out" || fail "the token is not READY's"
load || fail "Load"
wait "$MIGRATE" || fail "migrate ended with $?"

echo "--- a second helper waits in the queue for the name, and is asked too"
"$BUILD/sami-vmstate" --bus "$(bus_address source)" --id other -c "$WORK/fw1/sami.conf" >"$WORK/vmstate-other.log" 2>&1 &
OTHER=$!
poll 10 grep -q 'in the queue' "$WORK/vmstate-other.log" || fail "not in the queue"
save || fail "Save"
[ "$(grep -c '^saved ' "$WORK/out")" -eq 2 ] && [ "$(wc -l <"$WORK/stream")" -eq 2 ] || fail "not both were asked"
vmstate_stop $OTHER

echo "--- no migration of this VM: a token all the same; Load fails, or lets the VM go on, as on-late says"
save && grep -q 'SAMI1 none - ' "$WORK/out" || fail "no token"
load && fail "Load returned"
destination resume
load || fail "Load failed with on-late resume"
destination wait
load && fail "Load returned with on-late wait"

echo "--- tokens that are none"
for token in "" 00 53414d4931 "$(printf 'SAMI1 ready %032d 5 ' 0 | od -An -tx1 | tr -d ' \n')" "$(head -c 100000 /dev/zero | od -An -v -tx1 | tr -d ' \n')"; do
    for policy in abort resume; do
        [ "$policy" = abort ] || [ -z "$token" ] || continue
        destination $policy
        printf 'sami %s\n' "$token" >"$WORK/stream"
        load && fail "Load returned"
        grep -q 'no token of ours' "$WORK/out" || fail "another error"
    done
done
printf 'sami %s\n' "$(printf 'SAMI1 late %s 900' "0123456789abcdef0123456789abcdef" | od -An -tx1 | tr -d ' \n')" >"$WORK/stream"
load && fail "Load of a migration that nobody knows returned"

echo "--- late: the collector's network stands still between the snapshot and the freeze"
for policy in abort resume wait; do
    destination $policy
    sami_follow || exit 1
    STOPPED=$(network_of fw2 sami-collector)
    [ -n "$STOPPED" ] || fail "no listener process"
    kill -STOP $STOPPED
    save && grep -q "SAMI1 late $ID " "$WORK/out" || { kill -CONT $STOPPED; fail "no late token"; }
    case $policy in
    abort)
        load && { kill -CONT $STOPPED; fail "Load returned before READY"; }
        grep -q 'not READY within the deadline' "$WORK/out" || fail "another error"
        kill -CONT $STOPPED ;;
    resume)
        load || { kill -CONT $STOPPED; fail "Load failed with on-late resume"; }
        grep -q 'goes on with what is there' "$WORK/vmstate-destination.log" || fail "not logged"
        kill -CONT $STOPPED ;;
    wait)
        "$BUILD/fake-qemu" "$(bus_address destination)" load "$WORK/stream" >"$WORK/out" 2>&1 &
        LOAD=$!
        kill -0 $LOAD || fail "Load does not wait"
        # One is under way, whichever of these came first; all others are refused.
        others=()
        for n in 1 2 3 4 5; do
            "$BUILD/fake-qemu" "$(bus_address destination)" load "$WORK/stream" >"$WORK/out.$n" 2>&1 &
            others+=($!)
        done
        refused() { [ "$(cat "$WORK"/out "$WORK"/out.? | grep -c 'a Load is under way')" -eq 5 ]; }
        poll 10 refused || { kill -CONT $STOPPED; fail "Loads without limit: $(cat "$WORK"/out.?)"; }
        [ "$(cat /proc/"$DESTINATION"/task/*/comm | grep -cx load)" -eq 1 ] || { kill -CONT $STOPPED; fail "a thread for each Load"; }
        kill -CONT $STOPPED
        n_returned=0
        for n in $LOAD "${others[@]}"; do ! wait "$n" || n_returned=$((n_returned + 1)); done
        [ $n_returned -eq 1 ] || fail "$n_returned Loads returned though READY came"
        rm "$WORK"/out.?
        cat "$WORK/out"
        grep -q ' is READY' "$WORK/vmstate-destination.log" || fail "not READY" ;;
    esac
    wait "$MIGRATE"
done

echo "--- QEMU's monitor: a move that begins starts ours, one that fails or is cancelled takes it back"
vmstate_stop "$SOURCE"
mkfifo "$WORK/statuses"
python3 "$SRC/tests/packaging/monitor.py" "$WORK/monitor" <"$WORK/statuses" >"$WORK/commands" 2>&1 &
BUS_PIDS+=($!)
exec 9>"$WORK/statuses"
poll 10 test -S "$WORK/monitor" || fail "no monitor"
{ vmstate_start source 1 --vm $VM4,$VM6 --deadline 1s --qmp "$WORK/monitor" --to fw2.example; } 9>&- || exit 1 # it must not hold the pipe open
SOURCE=$VMSTATE
poll 10 grep -q 'migrate-set-capabilities.*"events".*true' "$WORK/commands" || fail "events are not asked for"
newest_is() { ctl "$1" status --json | grep -o '"phase" *: *"[A-Z-]*"' | tail -n 1 | grep -q "\"$2\""; }
count() { ctl 1 status --json | grep -o '"phase"' | wc -l; }
entry() { ns fw2 conntrack -L 2>/dev/null | grep -q "src=$VM4"; }
for end in failed cancelled; do
    ns fw2 conntrack -F >/dev/null 2>&1
    before=$(count)
    printf 'setup\nactive\n' >&9
    poll 20 newest_is 1 FOLLOW && poll 20 entry || fail "setup starts nothing"
    [ "$(count)" -eq $((before + 1)) ] || fail "more than one was started"
    echo "$end" >&9
    poll 20 newest_is 1 ABORTED && newest_is 2 ABORTED || fail "$end takes nothing back"
    entry && fail "left at firewall 2"
done
before=$(count)
printf 'setup\n' >&9
# Save may come before the snapshot is confirmed, or even before the migration is known: it waits for what is on its way.
poll 20 sh -c "grep -c 'migration setup' $WORK/vmstate-source.log | grep -qx 3" || fail "not heard"
save && grep -q 'SAMI1 ready ' "$WORK/out" || fail "Save"
printf 'completed\n' >&9
poll 20 newest_is 1 DONE || fail "not DONE"
[ "$(count)" -eq $((before + 1)) ] || fail "more than one was started"
save && grep -q 'SAMI1 none - ' "$WORK/out" || fail "the READY of one move was taken for another's"
printf 'setup\n' >&9
poll 20 newest_is 1 FOLLOW || fail "setup starts nothing"
newest_freezes() { ctl 1 freeze "$(ctl 1 status --json | grep -o '"id" *: *"[0-9a-f]*"' | tail -n 1 | grep -o '[0-9a-f]\{32\}')" >"$WORK/out" 2>&1; }
poll 20 newest_freezes || fail "not frozen"
poll 20 newest_is 1 DONE || fail "not DONE"
save && grep -q 'SAMI1 ready ' "$WORK/out" || fail "Save of a move that our own has preceded"
exec 9>&-
poll 10 grep -q 'monitor has ended' "$WORK/vmstate-source.log" || fail "the monitor's end is not logged"
vmstate_stop "$SOURCE"

echo "--- a monitor that sends a line without end is not kept in memory"
python3 "$SRC/tests/packaging/monitor.py" "$WORK/endless" <<<ENDLESS >"$WORK/commands" 2>&1 &
BUS_PIDS+=($!)
poll 10 test -S "$WORK/endless" || fail "no monitor"
vmstate_start source 1 --vm $VM4,$VM6 --qmp "$WORK/endless" || exit 1
poll 20 grep -q 'a line of more than' "$WORK/vmstate-source.log" || fail "it listens on"
poll 20 grep -q 'ENDLESS cut' "$WORK/commands" || fail "the monitor was read to its end"
[ "$(awk '$1 == "VmHWM:" { print $2 }' "/proc/$VMSTATE/status")" -lt 40000 ] || fail "the line was kept: $(grep VmHWM "/proc/$VMSTATE/status")"
vmstate_stop "$VMSTATE"

vmstate_start source 1 --vm $VM4,$VM6 --deadline 1s || exit 1
SOURCE=$VMSTATE
save && grep -q 'SAMI1 none - ' "$WORK/out" || fail "the last move's migration is taken for this one's"

echo "--- the exporter hangs: Save answers by itself"
sami_follow || exit 1
STOPPED=$(state_of fw1 sami-exporter)
kill -STOP $STOPPED
save || { kill -CONT $STOPPED; fail "Save"; }
# The thread that asked hangs still: the next Save waits for it, and is answered in time all the same.
save || { kill -CONT $STOPPED; fail "another Save"; }
[ "$(cat /proc/"$SOURCE"/task/*/comm | grep -cx save)" -eq 1 ] || { kill -CONT $STOPPED; fail "a thread for each Save"; }
kill -CONT $STOPPED
ctl 1 abort "$ID" >/dev/null 2>&1
wait "$MIGRATE"

echo "--- the exporter is dead"
sami_follow || exit 1
kill_all fw1 sami-exporter
save && grep -q 'SAMI1 none - ' "$WORK/out" || fail "no token"
wait "$MIGRATE"

echo "--- the collector is dead"
destination abort
kill_all fw2 sami-collector
printf 'sami %s\n' "$(printf 'SAMI1 ready %s 900' "$ID" | od -An -tx1 | tr -d ' \n')" >"$WORK/stream"
load && fail "Load returned without a collector"
destination resume
load || fail "Load failed with on-late resume"

vmstate_stop "$SOURCE"
grep -q 'fatal\|CRITICAL' "$WORK"/vmstate-*.log && fail "complaints"
exit 0
