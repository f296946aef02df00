#!/usr/bin/env bash
# samictl migrate -- CMD on a terminal and for a machine: the order of phases and command, how each failure ends, Ctrl-C, the deadline.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_start && sami_setup && sami_start || exit 1
CTL="$BUILD/samictl --config-dir $WORK/fw1"
for port in $(seq 1001 1020); do
    ns fw1 conntrack -I -p tcp -s $VM4 -d $CLI4 --sport "$port" --dport 443 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED >/dev/null 2>&1
done
fail() { echo "FAILED: $*"; cat -v "$WORK/out"; cat "$WORK"/*.log; exit 1; }
left() { ns fw2 conntrack -L 2>/dev/null | grep -c "src=$VM4"; }
on_terminal() { # STATUS OPTIONS-OF-terminal.py... : samictl migrate on a terminal; WORK/out is what it shows
    local want=$1 keys=()
    shift
    [ "$1" = --key-after ] && { keys=("$1" "$2"); shift 2; }
    # shellcheck disable=SC2086
    ns fw1 python3 "$SRC/tests/e2e/terminal.py" "$WORK/out" "${keys[@]}" $CTL migrate --vm $VM4 --to fw2.example "$@" </dev/null
    local status=$?
    [ $status -eq "$want" ] || fail "ended with $status, not $want: $*"
}
shows() { tr '\r' '\n' <"$WORK/out" | sed 's/\x1b\[K//g' | grep -q "$1" || fail "does not show: $1"; }
shows_in_order() { # the first word of each line that is a phase or comes from the command
    tr '\r' '\n' <"$WORK/out" | sed 's/\x1b\[K//g' | awk '/^[0-9a-f]+  [A-Z]+ / && !/\[[#-]+\]/ && $2 != last { print last = $2 } /^cmd:/ { print $2 }' | tr '\n' ' ' >"$WORK/order"
    [ "$(cat "$WORK/order")" = "$1 " ] || fail "another order: $(cat "$WORK/order")"
}

echo "--- the command runs between FOLLOW and FREEZE"
on_terminal 0 -- sh -c 'echo "cmd: begins"; sleep 0.5; echo "cmd: ends"'
shows_in_order "PREPARE FOLLOW begins ends FREEZE READY SETTLE DONE"
shows 'READY  *20/20 in kernel; the VM may be resumed at fw2.example *freeze to ready [0-9.]* ms$'
shows 'DONE  *20 exact, 0 merged'
[ "$(left)" -eq 20 ] || fail "$(left) entries at firewall 2"

echo "--- held without a command: the bar shows that nothing moves"
on_terminal 4 --key-after '20/20' --hold
shows 'FOLLOW  *\[#*\] 20/20  0 dirty'
ns fw2 conntrack -F >/dev/null 2>&1

echo "--- a command that fails before READY, or cannot be run: rolled back"
on_terminal 4 -- sh -c 'exit 7'
shows 'exited with code 7) before READY: aborting'
on_terminal 4 -- "$WORK/no-such-command"
shows 'cannot run the command'
[ "$(left)" -eq 0 ] || fail "left at firewall 2"

echo "--- Ctrl-C"
on_terminal 4 --key-after 'cmd: begins' -- sh -c 'echo "cmd: begins"; sleep 60'
shows 'interrupted: aborting'
[ "$(left)" -eq 0 ] || fail "left at firewall 2"

echo "--- a command that freezes by itself; its failure after READY is no success, and aborts nothing"
on_terminal 0 -- sh -c "$CTL -s \$SAMI_SOCKET -q freeze \$SAMI_ID && echo 'cmd: frozen'"
shows 'cmd: frozen'
on_terminal 1 -- sh -c "$CTL -s \$SAMI_SOCKET -q freeze \$SAMI_ID; exit 3"
shows 'exited with code 3) after .*; where the VM runs decides'
shows 'DONE  '
[ "$(left)" -eq 20 ] || fail "$(left) entries at firewall 2"

echo "--- for a machine: JSON lines only, the command's words go elsewhere"
ctl 1 migrate --vm $VM4 --to fw2.example --json -- echo not-json >"$WORK/out" 2>"$WORK/err" || fail "ended with $?"
python3 - "$WORK/out" <<'CHECK' || fail "not what a machine reads"
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
phases = [l["phase"] for l in lines if l.get("event") == "phase"]
assert [p for i, p in enumerate(phases) if phases[i - 1:i] != [p]] == ["PREPARE", "FOLLOW", "FREEZE", "READY", "SETTLE", "DONE"], phases
assert lines[-1]["exit"] == 0 and "event" not in lines[-1]
assert all("exit" not in l for l in lines[:-1])
CHECK
grep -q not-json "$WORK/err" || fail "the command's words are lost"
ctl 1 -q migrate --vm $VM4 --to fw2.example -- true >"$WORK/out" 2>&1 && [ ! -s "$WORK/out" ] || fail "-q prints"
ctl 1 migrate --vm $VM4 --to fw2.example -- true >"$WORK/out" 2>&1 || fail "ended with $?"
grep -q $'\r' "$WORK/out" && fail "a bar in a file"

echo "--- the deadline passes"
late() { # POLICY STATUS...: one of them
    local policy=$1
    shift
    ctl 1 migrate --vm $VM4 --to fw2.example --deadline 200ms --on-late "$policy" -- \
        sh -c "touch $WORK/running; while [ ! -e $WORK/go-on ]; do sleep 0.02; done" >"$WORK/out" 2>&1 &
    local migrate=$! stopped
    poll 20 test -e "$WORK/running" || fail "the command does not run"
    stopped=$(ip netns pids "${LAB}fw2" | xargs -r ps -o pid=,user=,comm= -p | awk '$2 == "nobody" && $3 == "sami-collector" { print $1 }')
    kill -STOP "$stopped"
    touch "$WORK/go-on"
    poll 20 grep -q 'not READY within the deadline' "$WORK/out" || { kill -CONT "$stopped"; fail "late is not said"; }
    kill -CONT "$stopped"
    wait $migrate
    local status=$?
    case " $* " in *" $status "*) ;; *) fail "--on-late $policy ended with $status, not $*" ;; esac
    LATE=$status
    rm -f "$WORK/running" "$WORK/go-on"
}
late wait 0
late resume 5
ns fw2 conntrack -F >/dev/null 2>&1
# What stood still was the way to the collector, so the marker arrives before the abort: READY may have crossed it, and then nothing is
# rolled back and that is said (LIFECYCLE §1).
late abort 4 3 7
if [ "$LATE" -eq 4 ]; then
    grep -q 'rolled back, but the command succeeded' "$WORK/out" || fail "that the VM may have moved is not said"
    [ "$(left)" -eq 0 ] || fail "left at firewall 2"
else
    grep -q 'already-ready\|in doubt' "$WORK/out" || fail "that nothing was rolled back is not said"
    [ "$(left)" -eq 20 ] || fail "$(left) entries at firewall 2"
fi

echo "--- nobody there"
ctl 1 wait 0123 >"$WORK/out" 2>&1
[ $? -eq 2 ] || fail "wait for an unknown migration"
ctl 1 -s "$WORK/nowhere.sock" wait 0123 >"$WORK/out" 2>&1
[ $? -eq 9 ] || fail "wait without a daemon"
exit 0
