#!/usr/bin/env bash
# A move that fails after its freeze, and a second attempt: QEMU's and libvirt's adapters, between real daemons, with live transfers. What ended
# between the attempts is not at the destination, what began is, and nothing waits for a READY of before.
set -uo pipefail
LEASE=120s
. "${srcdir:-.}/tests/e2e/faults.sh"
. "$SRC/tests/packaging/bus.sh"
faults_lab || exit 1
trap 'bus_stop; lab_stop' EXIT
bus_start source && bus_start destination && sami_start || exit 1
CLIENTS=()

flows() { flush 1 2; add 1 1001; add 1 1002; }
between() { # the VM goes on here: one flow ends, one begins, one ends and begins anew
    ns fw1 conntrack -D -p tcp -s $VM4 --sport 1001 >/dev/null 2>&1 && ns fw1 conntrack -D -p tcp -s $VM4 --sport 1002 >/dev/null 2>&1 ||
        fail "no flow to end"
    add 1 1002 --mark 7
    add 1 1003
}
current() {
    has 2 1001 && fail "a flow that ended between the attempts is there"
    has 2 1003 || fail "a flow that began between the attempts is missing"
    ns fw2 conntrack -L -p tcp -s $VM4 --sport 1002 2>/dev/null | grep -q mark=7 || fail "the flow that began anew is the old one"
}
newest() { ID=$(ctl 1 status --json | grep -o '"id" *: *"[0-9a-f]*"' | tail -n 1 | grep -o '[0-9a-f]\{32\}'); }
count() { ctl 1 status --json | grep -o '"phase"' | wc -l; }
pause() { local n; for n in 1 2; do ip -n "${LAB}fw$n" link set v down; done; }
resume() { # FIREWALL: the VM goes on behind it
    lab_raise "$1"
    lab_path "$1"
    lab_raise $((3 - $1))
}

# --- QEMU ---
save() { "$BUILD/fake-qemu" "$(bus_address source)" save "$WORK/stream" >"$WORK/out" 2>&1 && grep -q "SAMI1 ready $ID " "$WORK/out" || fail "Save: $(cat "$WORK/out")"; }
load() { "$BUILD/fake-qemu" "$(bus_address destination)" load "$WORK/stream" >"$WORK/out" 2>&1 || fail "Load: $(cat "$WORK/out")"; }
logged() { grep -q "$1" "$WORK/vmstate-source.log"; }
qemu() { printf '%s\n' "$@" >&9; }
monitored() { # OPTIONS...: the helper with a monitor of its own; MONITOR=paused: of a VM that stands still
    unmonitored
    rm -f "$WORK/monitor" "$WORK/statuses"
    mkfifo "$WORK/statuses"
    python3 "$SRC/tests/packaging/monitor.py" "$WORK/monitor" ${MONITOR:+"$MONITOR"} <"$WORK/statuses" >"$WORK/commands" 2>&1 &
    BUS_PIDS+=($!)
    exec 9>"$WORK/statuses"
    poll 10 test -S "$WORK/monitor" || fail "no monitor"
    { vmstate_start source 1 --vm $VM4,$VM6 --deadline 10s --qmp "$WORK/monitor" --to fw2.example "$@"; } 9>&- || exit 1
    SOURCE=$VMSTATE
}
unmonitored() {
    exec 9>&-
    [ -z "${SOURCE:-}" ] || vmstate_stop "$SOURCE"
    SOURCE=''
}
follows() { newest; [ "$(field 1 confirmed_snapshot)" = true ] && in_phase 1 FOLLOW; }
begun() { # COUNT: QEMU begins, and that many migrations are known then
    qemu setup active
    poll 20 sh -c "[ \"\$(grep -c 'QEMU: migration active' '$WORK/vmstate-source.log')\" -ge $1 ]" || fail "not heard"
}
# Paused and saved; then QEMU gives it up, and the VM goes on here.
failed_attempt() { # STATUS
    poll 20 follows || fail "nothing follows"
    qemu STOP
    pause
    save
    in_phase 1 READY || fail "frozen, and $(field 1 phase)"
    qemu "$1"
    poll 10 logged 'nothing is taken back before it runs here' || fail "$1 is not heard"
    in_phase 1 READY || fail "taken back while the VM stands still: $(field 1 phase)"
    resume 1
}
vmstate_start destination 2 --deadline 10s --on-late abort || exit 1

for status in failed cancelled; do
    begin "vmstate-thaw-$status"
    flows
    resume 1
    CLIENTS=()
    rm -f "$WORK/results"
    lab_launch out 2 12 && lab_launch in 2 12 && lab_under_way out in || fail "no transfers"
    monitored --on-failure thaw
    before=$(count)
    begun 1
    failed_attempt "$status"
    first=$ID
    qemu RESUME
    poll 10 in_phase 1 FOLLOW && poll 10 in_phase 2 FOLLOW || fail "not thawed: $(field 1 phase), $(field 2 phase)"
    between
    begun 2
    qemu STOP
    pause
    save
    load
    resume 2
    qemu completed
    [ "$ID" = "$first" ] && [ "$(count)" -eq $((before + 1)) ] || fail "another migration was started"
    current
    wait "${CLIENTS[@]}"
    [ "$(survived)" -eq 4 ] || fail "transfers: $(cat "$WORK/results")"
    [ "$(lab_invalid)" -eq 0 ] || fail "invalid packets"
    poll 20 in_phase 1 DONE || fail "QEMU's end is not ours: $(field 1 phase)"
done

begin vmstate-abort
flows
resume 1
monitored
before=$(count)
begun 1
failed_attempt failed
first=$ID
qemu RESUME setup active # at once: the second attempt has a migration of its own, after the end of the first
poll 20 follows || fail "nothing follows"
[ "$ID" != "$first" ] && [ "$(count)" -eq $((before + 2)) ] || fail "the second attempt has no migration of its own"
ctl 1 status "$first" --json | grep -q '"phase" *: *"ABORTED"' || fail "the first one was not aborted"
between
qemu STOP
pause
save
load
resume 2
current
qemu completed
poll 20 in_phase 1 DONE || fail "the migration is $(field 1 phase)"

begin vmstate-fails-before-its-save
flows
resume 1
monitored --on-failure thaw
begun 1
poll 20 follows || fail "nothing follows"
qemu cancelled
poll 10 logged 'is not frozen: it follows' || fail "not heard"
in_phase 1 FOLLOW || fail "thawed, and $(field 1 phase)"
between
begun 2
qemu STOP
save
load
current
ctl 1 abort "$ID" >/dev/null 2>&1

begin vmstate-comes-while-the-vm-stands-still
flows
MONITOR=paused
monitored
MONITOR=''
poll 10 logged 'the VM is stopped' || fail "not asked"
begun 1
poll 20 follows || fail "nothing follows"
qemu failed
poll 10 logged 'nothing is taken back before it runs here' || fail "not heard"
in_phase 1 FOLLOW || fail "taken back while the VM stands still: $(field 1 phase)"
qemu RESUME
poll 20 in_phase 1 ABORTED || fail "not taken back when it runs: $(field 1 phase)"

begin vmstate-nobody-tries-again
flows
monitored --on-failure thaw --retry-within 500ms
begun 1
failed_attempt failed
qemu RESUME
poll 20 in_phase 1 ABORTED && poll 20 in_phase 2 ABORTED || fail "kept for nobody: $(field 1 phase)"
logged 'is thawed' && logged 'no other attempt' || fail "not thawed first"
has 2 1002 && fail "left at firewall 2"

begin vmstate-without-a-monitor
unmonitored
vmstate_start source 1 --vm $VM4,$VM6 --deadline 10s || exit 1
SOURCE=$VMSTATE
flows
fill 10000 --kind mixed
follow
slow 1mbit # so that the audit is not over first
save
in_phase 1 SETTLE || fail "the migration is $(field 1 phase): this case proves nothing"
between # nobody tells the helper, but QEMU saves again
save &
SAVE=$!
poll 10 logged 'is thawed' || fail "the READY of the first attempt was taken for the second's"
fast
wait $SAVE || exit 1
load
current
ended 0
# What has had its end is another move's, whether its clean-up still runs or not: only a new migration would count.
save_none() {
    "$BUILD/fake-qemu" "$(bus_address source)" save "$WORK/stream" >"$WORK/out" 2>&1
    grep -q "SAMI1 none - " "$WORK/out" || fail "$1: $(cat "$WORK/out")"
}
save_none "Save after the end"
vmstate_stop "$SOURCE"
vmstate_start source 1 --vm $VM4,$VM6 --deadline 3s || exit 1
SOURCE=$VMSTATE

begin vmstate-cannot-thaw
flows
fill 20000 --kind mixed
follow --purge
BEFORE=$(entries 1)
save
cleaning() { [ "$(entries 1)" -lt "$BEFORE" ]; }
poll 30 cleaning || fail "no clean-up"
save_none "Save while the freeze of the last move cannot be taken back"
logged 'is thawed' && fail "thawed in its clean-up"
logged 'is not thawed' || echo "(the clean-up was over first)"
ended 0 6
vmstate_stop "$SOURCE"

# --- libvirt ---
wrapper=$SRC/packaging/libvirt/sami-virsh-migrate
export FAKE_VIRSH=$WORK/virsh VIRSH="$SRC/tests/packaging/virsh"
export SAMI_CONFIG_DIR=$WORK/fw1 SAMICTL="ip netns exec ${LAB}fw1 $BUILD/samictl"
export FAKE_STATUS="ip netns exec ${LAB}fw2 $BUILD/samictl --config-dir $WORK/fw2 status --json"
fake() { # MODE
    rm -rf "$FAKE_VIRSH"
    mkdir -p "$FAKE_VIRSH"
    echo "$1" >"$FAKE_VIRSH/mode"
}
move() { timeout 120 "$wrapper" --to fw2.example --vm $VM4,$VM6 "$@" web1 qemu+ssh://hv2/system --live >"$WORK/out" 2>&1 & MOVER=$!; }
ready_there() { newest; in_phase 1 READY && [ "$ID" != "$LAST" ]; }
calls() { grep -c "^$1 " "$FAKE_VIRSH/calls" 2>/dev/null; }
tell() { fail "$* $(cat "$WORK/out" "$FAKE_VIRSH"/calls)"; }

begin virsh-thaw
flows
fake fails-once
LAST=$ID
move --on-failure thaw --retry-after 0
poll 20 ready_there || tell "no freeze at the pause"
first=$ID
touch "$FAKE_VIRSH/hold"
touch "$FAKE_VIRSH/fail-now"
poll 20 in_phase 1 FOLLOW || tell "not thawed"
between
rm "$FAKE_VIRSH/hold"
poll 20 test -e "$FAKE_VIRSH/at-resume" || tell "not resumed there"
grep -qx READY "$FAKE_VIRSH/at-resume" || tell "resumed in $(cat "$FAKE_VIRSH/at-resume")"
newest
[ "$(calls migrate)" -eq 2 ] && [ "$ID" = "$first" ] || tell "not the same migration twice"
current
wait "$MOVER" || tell "ended with $?"
in_phase 1 DONE || tell "the migration is $(field 1 phase)"

# A freeze that is refused has frozen nothing: there is nothing to thaw, and the migration is as warm as before.
begin virsh-freeze-refused
flows
fake fails-once
cat >"$WORK/refusing" <<REFUSING
#!/usr/bin/env bash
case " \$* " in *" freeze "*) if mkdir "$FAKE_VIRSH/refused" 2>/dev/null; then echo "samictl: not-ready: a re-dump runs" >&2; exit 1; fi ;; esac
exec $SAMICTL "\$@"
REFUSING
chmod +x "$WORK/refusing"
LAST=$ID
SAMICTL=$WORK/refusing move --on-failure thaw --retry-after 0
poll 20 test -e "$FAKE_VIRSH/refused" || tell "no freeze at the pause"
touch "$FAKE_VIRSH/fail-now"
wait "$MOVER" || tell "ended with $?"
newest
[ "$(calls migrate)" -eq 2 ] && [ "$ID" != "$LAST" ] && in_phase 1 DONE || tell "the migration is $(field 1 phase)"
grep -qx READY "$FAKE_VIRSH/at-resume" || tell "resumed in $(cat "$FAKE_VIRSH/at-resume")"
grep -q 'nothing to thaw' "$WORK/out" && tell "thawed what was not frozen"

begin virsh-gives-up
flows
fake fails-late
touch "$FAKE_VIRSH/fail-now"
LAST=$ID
move --on-failure thaw --attempts 2 --retry-after 0
wait "$MOVER" && tell "ended with 0"
[ "$(calls migrate)" -eq 2 ] && [ "$(calls domstate)" -eq 2 ] || tell "not two attempts"
[ "$(calls -c)" -eq 0 ] || tell "resumed"
newest
in_phase 1 ABORTED && in_phase 2 ABORTED || tell "the migration is $(field 1 phase)"
has 2 1002 && tell "left at firewall 2"

begin virsh-knows-not-where
flows
fake fails-late
echo "paused (migrating)" >"$FAKE_VIRSH/domstate"
LAST=$ID
move --on-failure thaw
poll 20 ready_there || tell "no freeze at the pause"
touch "$FAKE_VIRSH/fail-now"
poll 30 grep -q 'the VM does not run here' "$WORK/out" || tell "not said"
[ "$(calls migrate)" -eq 1 ] && in_phase 1 READY || tell "taken back, and $(field 1 phase)"
has 2 1002 || tell "removed at firewall 2"
ctl 1 abort "$ID" >"$WORK/abort" 2>&1 || tell "the operator's abort: $(cat "$WORK/abort")"
wait "$MOVER"
[ $? -eq 4 ] || tell "aborted, and ended otherwise"

for words in "--on-failure retry" "--on-failure thaw --attempts 0" "--on-failure thaw --retry-after x"; do
    begin "virsh $words"
    fake works
    # shellcheck disable=SC2086
    move $words
    wait "$MOVER"
    [ $? -eq 2 ] && [ ! -e "$FAKE_VIRSH/calls" ] || tell "not refused"
done
"$BUILD/sami-vmstate" --bus unix:path=/nowhere --on-failure retry 2>"$WORK/out"
[ $? -eq 2 ] && grep -q "allowed: abort, thaw" "$WORK/out" || fail "another word is not refused"
exit 0
