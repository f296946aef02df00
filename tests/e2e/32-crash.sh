#!/usr/bin/env bash
# kill -9 of each process at random points of a migration, before the freeze, in it and behind READY; daemons started again as systemd does:
# afterwards the migration has completed, is rolled back or is reported in doubt; nothing in between, and no live flow is touched. 12 kills; with
# SAMI_LONG 400.
set -uo pipefail
LEASE=5s
. "${srcdir:-.}/tests/e2e/faults.sh"
N=3000 OTHERS=50 VM2=10.0.0.77 KILLS=12
[ -z "${SAMI_LONG:-}" ] || KILLS=${SAMI_KILLS:-400}
faults_lab || exit 1
LOOPS=()
stop_all() { kill "${LOOPS[@]}" 2>/dev/null; lab_stop; }
trap stop_all EXIT

# Two live flows: the VM's own through firewall 1, and another machine's through firewall 2.
for n in 1 2; do ns fw$n nft insert rule inet filter forward iifname v tcp dport 9100 ct state new accept; done
ip -n "${LAB}vm" addr add $VM2/32 dev lo
ip -n "${LAB}vm" rule add from $VM2 lookup 77
ip -n "${LAB}vm" route add default via $HOP4 dev v2 onlink table 77
ip -n "${LAB}cli" route add $VM2/32 via $HOP4 dev c2 onlink
ip -n "${LAB}fw2" route add $VM2/32 via $HOP4 dev v onlink
ns cli python3 "$SRC/tests/e2e/live.py" server $CLI4 9100 >"$WORK/live" 2>&1 &
poll 10 grep -qs listening "$WORK/live" || fail "no server"
ns vm python3 "$SRC/tests/e2e/live.py" client $VM4 $CLI4 9100 "$WORK/live1" &
ns vm python3 "$SRC/tests/e2e/live.py" client $VM2 $CLI4 9100 "$WORK/live2" &
alive() { # FIREWALL: it goes on
    local n more why
    read -r n why <"$WORK/live$1" || return 1
    [ -z "$why" ] || return 1
    further() { read -r more why <"$WORK/live$1" && [ -z "$why" ] && [ "$more" -gt "$n" ]; }
    poll 5 further "$1"
}
poll 10 test -s "$WORK/live1" && poll 10 test -s "$WORK/live2" || fail "no live flows"

supervised 1 sami-exporter & LOOPS+=($!)
supervised 2 sami-collector & LOOPS+=($!)
is_up() { ctl "$1" stats --json >/dev/null 2>&1; }
both_up() { is_up 1 && is_up 2; }
poll 15 both_up || fail "the daemons do not start"
ctl 2 -q expect --vm 10.0.0.0/24,2001:db8:a::/64 --from fw1.example || fail "expect"
fill $N
table -n "${LAB}fw2" fill $OTHERS --vm 10.0.0.88 >/dev/null || fail "fill"
BEFORE=$((2 * OTHERS + 1)) # at firewall 2: flows of the VM that are there, another VM's, the live one

collector_phase() {
    is_up 2 || return 1
    PHASE=$(field 2 phase)
    PHASE=${PHASE:-none}
}
# Over at the collector: in doubt counts when nobody can come back to heal it.
is_settled() {
    collector_phase || return 1
    case $PHASE in
    DONE | ABORTED | none) return 0 ;;
    IN-DOUBT) is_up 1 || return 1; case $(field 1 phase) in '' | IN-DOUBT | FAILED | ABORTED) return 0 ;; esac ;;
    esac
    return 1
}
rolled_back() { [ "$(entries 2)" -eq $BEFORE ]; }
unchanged() {
    poll 5 rolled_back || fail "$1: $(entries 2) entries at firewall 2, not $BEFORE"
    table compare "$WORK/before" "${LAB}fw2" --tolerance 500000 >"$WORK/compare" || { cat "$WORK/compare"; fail "$1: what was there is not as it was"; }
}
complete() {
    local a b equal
    table compare "${LAB}fw1" "${LAB}fw2" --tolerance "$2" >"$WORK/compare"
    read -r _ a b _ equal _ < <(tail -n 1 "$WORK/compare")
    [ "$b" -eq $((a + OTHERS + 1)) ] && [ "$equal" -ge $((a - OTHERS - 1)) ] || { grep -v "timeout:" "$WORK/compare"; fail "$1: not all there"; }
}

declare -A OUTCOMES
kill_one() { # WHO FIREWALL PROCESS
    local who=$1 point=$(((RUN / 4 + RANDOM % 2) % 4)) pid delay status freeze=none freezing='' exits
    begin "kill-$who-$RUN"
    poll 15 both_up || fail "the daemons are not up"
    ns fw2 conntrack -D -s $VM4 >/dev/null 2>&1
    table -n "${LAB}fw2" fill $OTHERS >/dev/null || fail "fill"
    has_entries 2 $BEFORE || fail "$(entries 2) entries at the start, not $BEFORE"
    table -n "${LAB}fw2" save "$WORK/before" >/dev/null
    exits=$(cat "$WORK/exits" 2>/dev/null | wc -l)
    pid=$(process "$2" "$3")
    [ -n "$pid" ] || fail "no process"
    migrate
    churn_start
    if [ $point -eq 0 ]; then
        delay=$((RANDOM % 400))
        sleep "$(printf '0.%03d' $delay)"
        kill -9 "$pid"
    fi
    poll 5 confirmed
    churn_stop
    [ $point -lt 3 ] || slow 20mbit # the audit takes a while
    ctl 1 freeze "$ID" >"$WORK/freeze" 2>&1 & freezing=$!
    if [ $point -eq 3 ]; then # READY has been told
        wait "$freezing"
        freeze=$?
        delay=$((RANDOM % 60))
        sleep "$(printf '0.%03d' $delay)"
        kill -9 "$pid"
        fast
    elif [ $point -gt 0 ]; then
        delay=$((RANDOM % (point == 1 ? 30 : 200)))
        sleep "$(printf '0.%03d' $delay)"
        kill -9 "$pid"
    fi
    [ $point -eq 3 ] || { wait "$freezing"; freeze=$?; }
    wait "$MIGRATE"
    status=$?
    poll 60 is_settled || fail "not settled: collector $PHASE, exporter $(field 1 phase)"
    is_over() { [ "$(wc -l <"$WORK/exits")" -gt "$exits" ]; }
    poll 15 is_over || fail "the daemon did not end"
    [ "$(tail -n 1 "$WORK/exits")" != "${4} 0" ] || fail "the daemon ended with 0"
    echo "  point $point after $delay ms: collector $PHASE, freeze $freeze, migrate $status"
    OUTCOMES[$who $PHASE]=$((${OUTCOMES[$who $PHASE]:-0} + 1))
    case $PHASE in
    DONE)
        [ $status -ne 4 ] || fail "done there, and rolled back here"
        complete "done" 4
        ;;
    ABORTED | none)
        [ $status -ne 0 ] && [ $status -ne 6 ] && [ $freeze -ne 0 ] && [ $freeze -ne 6 ] || fail "rolled back after success was told"
        unchanged "rolled back"
        ;;
    IN-DOUBT)
        [ $status -ne 0 ] && [ $status -ne 6 ] && [ $status -ne 4 ] || fail "in doubt there, $status here"
        complete "in doubt" 500000
        if [ $((RUN % 2)) -eq 0 ]; then
            ctl 2 resolve "$ID" --keep >"$WORK/resolve" 2>&1 || fail "resolve --keep: $(cat "$WORK/resolve")"
            collector_phase; [ "$PHASE" = DONE ] || fail "kept, and $PHASE"
            complete kept 500000
        else
            ctl 2 resolve "$ID" --remove >"$WORK/resolve" 2>&1 || fail "resolve --remove: $(cat "$WORK/resolve")"
            is_aborted() { collector_phase; [ "$PHASE" = ABORTED ]; }
            poll 10 is_aborted || fail "removed, and $PHASE"
            unchanged removed
        fi
        ;;
    esac
    alive 1 && alive 2 || fail "a live flow was touched: $(cat "$WORK/live1" "$WORK/live2")"
}

for ((RUN = 0; RUN < KILLS; RUN++)); do
    case $((RUN % 4)) in
    0) kill_one connector 1 network sami-exporter ;;
    1) kill_one exporter 1 state sami-exporter ;;
    2) kill_one listener 2 network sami-collector ;;
    3) kill_one collector 2 state sami-collector ;;
    esac
done
echo "$KILLS kills"
for key in "${!OUTCOMES[@]}"; do echo "$key: ${OUTCOMES[$key]}"; done | sort
