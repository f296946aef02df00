#!/usr/bin/env bash
# Over DTLS/SCTP: a path that is dead is noticed by heartbeats within seconds, and the migration goes on in a new association; a moment's
# silence loses nothing. The other cases of 31-resume run over SCTP too: TRANSPORT=sctp.
set -uo pipefail
# shellcheck disable=SC2034 # testbed.sh and faults.sh read them
TRANSPORT=sctp LEASE=60s
. "${srcdir:-.}/tests/e2e/faults.sh"
faults_lab && sami_start || exit 1

begin dead-path
fill 20000 --kind mixed
follow
cut drop
poll 20 counted 1 sessions_lost_total 1 || fail "the exporter does not notice"
poll 20 grep -q 'the peer answers no more' "$WORK/collector.log" || fail "the collector does not notice"
add 1 1001 # meanwhile
mend
poll 20 counted 1 sessions_resumed_total 1 || fail "not resumed"
frozen
ended 0
has 2 1001 || fail "a flow of the time without a session is missing"
equal
flush 1 2

begin short-silence
fill 2000 --kind mixed
follow
cut drop
ctl 1 freeze "$ID" >"$WORK/freeze" 2>&1 &
FREEZE=$!
poll 20 in_phase 1 FREEZE || fail "not in FREEZE"
mend
wait $FREEZE || fail "freeze ended with $?"
ended 0
equal
[ "$(counter 1 sessions_lost_total)" -eq 1 ] || fail "a session was lost"
