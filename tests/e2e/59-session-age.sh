#!/usr/bin/env bash
# No session gets older than session-age: the exporter begins it anew by itself, without a loss, and the collector ends one whose exporter does not. A
# migration that follows goes on through either, and in the end both tables are equal.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/faults.sh"
N=2000 AGE=5s
faults_lab || exit 1

# young FIREWALL: its sessions are short; the other's are not
young() {
    for n in 1 2; do sed -i '/^session-age *=/d' "$WORK/fw$n/sami.conf"; done
    echo "session-age=$AGE" >>"$WORK/fw$1/sami.conf"
    sami_start || exit 1
    fill $N --kind mixed
    follow
    churn_start
    poll 20 counted 1 sessions_resumed_total 1 || fail "$(counter 1 sessions_resumed_total) sessions resumed, not 1"
    churn_stop
}
over() {
    frozen
    ended 0
    counted 2 sessions_resumed_total 1 || fail "the collector counts $(counter 2 sessions_resumed_total) resumed sessions, not 1"
    equal
    flush 1 2
}

begin exporter
young 1
over
[ "$(counter 1 sessions_lost_total)" -eq 0 ] || fail "$(counter 1 sessions_lost_total) sessions lost, though nothing happened to them"
grep -q "session-age=${AGE} lets it be: begun anew" "$WORK/exporter.log" || fail "the log does not say why"
grep -q 'older than session-age' "$WORK/collector.log" && fail "the collector was first"
[ "$(counter 2 session_errors_total)" -eq 0 ] || fail "the collector counts $(counter 2 session_errors_total) errors"
kill "${DAEMONS[@]}"
gone() { [ ! -S "$WORK/run1/exporter.sock" ] && [ ! -S "$WORK/run2/collector.sock" ]; }
poll 10 gone || fail "the daemons do not stop"

begin collector
young 2
over
counted 1 sessions_lost_total 1 || fail "$(counter 1 sessions_lost_total) sessions lost, not 1"
grep -q 'its session is older than session-age' "$WORK/collector.log" || fail "the collector's log does not say why"
exit 0
