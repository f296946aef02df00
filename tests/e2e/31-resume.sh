#!/usr/bin/env bash
# The session of a migration is cut at every point of its life; it goes on in a new one, and in the end both tables are equal.
set -uo pipefail
LEASE=60s
. "${srcdir:-.}/tests/e2e/faults.sh"
N=20000
faults_lab && sami_start || exit 1
RESUMED=0

# cut_once reset|drop [SECONDS]: the exporter has noticed, and that much later the link is back
lost() { counted 1 sessions_lost_total "$1"; }
cut_once() {
    local before
    before=$(counter 1 sessions_lost_total)
    cut "$1"
    poll 40 lost $((before + 1)) || fail "the exporter does not notice"
    sleep "${2:-0}"
    mend
}
# One more session on both sides, and the migration is done with equal tables.
resumed() {
    RESUMED=$((RESUMED + ${1:-1}))
    ended 0
    counted 1 sessions_resumed_total $RESUMED || fail "the exporter counts $(counter 1 sessions_resumed_total) resumed sessions, not $RESUMED"
    counted 2 sessions_resumed_total $RESUMED || fail "the collector counts $(counter 2 sessions_resumed_total) resumed sessions, not $RESUMED"
    equal
    flush 1 2
}

at_prepare() { # reset|drop
    begin "prepare-$1"
    fill $N --kind mixed
    slow 4mbit
    migrate --now
    poll 20 sent 2000 || fail "nothing sent"
    confirmed && fail "the snapshot is confirmed already: this case proves nothing"
    cut_once "$1"
    fast
    resumed
}

at_prepare_twice() {
    begin prepare-twice
    fill $N --kind mixed
    slow 4mbit
    migrate --now
    poll 20 sent 2000 || fail "nothing sent"
    cut_once reset
    poll 20 counted 1 sessions_resumed_total $((RESUMED + 1)) || fail "not resumed"
    cut_once reset
    fast
    resumed 2
}

at_follow() { # reset|drop
    begin "follow-$1"
    fill $N --kind mixed
    follow
    churn_start
    cut_once "$1"
    poll 20 counted 1 sessions_resumed_total $((RESUMED + 1)) || fail "not resumed"
    churn_stop
    frozen
    resumed
}

# The marker is lost with the session: it comes in the next one.
at_freeze() { # reset|drop
    begin "freeze-$1"
    fill $N --kind mixed
    follow
    cut "$1"
    ctl 1 freeze "$ID" >"$WORK/freeze" 2>&1 &
    local freeze=$! before=$RESUMED
    poll 20 in_phase 1 FREEZE || fail "not in FREEZE"
    poll 40 lost $((before + 1)) || fail "the exporter does not notice"
    mend
    wait $freeze || fail "freeze ended with $?: $(cat "$WORK/freeze")"
    resumed
}

# The marker arrived and READY was decided, but the receipt is lost: it is said again.
at_ready() {
    begin ready-receipt-lost
    fill 500 --kind mixed
    follow
    mute
    ctl 1 freeze "$ID" >"$WORK/freeze" 2>&1 &
    local freeze=$! before=$RESUMED
    poll 20 in_phase 2 READY || fail "not READY at the collector"
    in_phase 1 FREEZE || fail "the receipt got through: this case proves nothing"
    cut reset
    add 1 1001 # late
    poll 40 lost $((before + 1)) || fail "the exporter does not notice"
    mend
    wait $freeze || fail "freeze ended with $?: $(cat "$WORK/freeze")"
    resumed
}

at_settle() { # reset|drop
    begin "settle-$1"
    fill $N --kind mixed
    follow
    slow 4mbit
    frozen
    poll 20 in_phase 1 SETTLE || fail "not in SETTLE"
    cut_once "$1" 5 # so old are the timeouts that wait for the next session
    fast
    resumed
}

# More ends of flows than the ring holds: what is missing is dumped again in a new epoch. A flow that ended meanwhile is gone there, too.
gap() { # follow|freeze
    begin "gap-$1"
    fill $N --kind mixed
    follow
    cut reset
    add 1 1002
    poll 40 lost $((RESUMED + 1)) || fail "the exporter does not notice"
    for _ in 1 2 3 4 5 6; do # a deletion has less than 20 octets, the ring 8 MiB
        fill 120000 --from 30000 --kind tcp
        ns fw1 conntrack -D -s $VM4 -p tcp --dport 443 >/dev/null 2>&1
    done
    add 1 1003
    if [ "$1" = freeze ]; then
        ctl 1 freeze "$ID" >"$WORK/freeze" 2>&1 &
        FREEZE=$!
        poll 60 in_phase 1 FREEZE || fail "not in FREEZE"
    fi
    mend
    poll 40 counted 1 sessions_resumed_total $((RESUMED + 1)) || fail "not resumed"
    grep -q 'resumed with .* with a new dump' "$WORK/exporter.log" || fail "the ring held everything: this case proves nothing"
    [ "$(field 1 epoch)" -ge 1 ] || fail "no new epoch"
    if [ "$1" = freeze ]; then
        wait $FREEZE || fail "freeze ended with $?: $(cat "$WORK/freeze")"
    else
        frozen
    fi
    has 2 1003 || fail "a flow of the time without a session is missing"
    resumed
    : >"$WORK/exporter.log"
}

at_prepare reset
at_prepare_twice
at_follow reset
at_freeze reset
at_ready
at_settle reset
if [ -n "${SAMI_LONG:-}" ]; then
    gap follow
    gap freeze
    at_prepare drop
    at_follow drop
    at_freeze drop
    at_settle drop
fi

# Somebody else who is a signer here, too, and knows the id; who speaks TLS.
if [ "$TRANSPORT" = tcp ]; then
    begin not-owner
    ctl3() { ns fw1 "$BUILD/samictl" --config-dir "$WORK/fw3" "$@"; }
    ctl3 setup --name fw3.example --address 10.255.0.1:4741 >"$WORK/out" 2>&1 && ctl3 peer add "$WORK/fw2/fw2.example.peer" --send --yes >"$WORK/out" 2>&1 &&
        ctl 2 peer add "$WORK/fw3/fw3.example.peer" --receive --yes --allow 10.0.0.0/24 >"$WORK/out" 2>&1 || fail "$(cat "$WORK/out")"
    kill -HUP "$COLLECTOR"
    poll 10 counted 2 reloads_total 1 || fail "not reloaded"
    fill 500 --kind mixed
    follow
    ns fw1 "$BUILD/hostile" "$WORK/fw3/sami.conf" fw2.example "resume:$(sed -n 's/.*"id":"\([0-9a-f]*\)".*/\1/p' "$WORK/migrate" | head -n 1)" >"$WORK/out" 2>&1 ||
        fail "the stranger was answered: $(cat "$WORK/out")"
    frozen
    resumed 0
fi

# A link that is dead for a moment only loses no session.
begin short-drop
fill 2000 --kind mixed
follow
cut drop
ctl 1 freeze "$ID" >"$WORK/freeze" 2>&1 &
FREEZE=$!
poll 20 in_phase 1 FREEZE || fail "not in FREEZE"
mend
wait $FREEZE || fail "freeze ended with $?"
resumed 0
[ "$(counter 1 sessions_lost_total)" -eq $RESUMED ] || fail "a session was lost"
echo "$RESUMED sessions resumed"
