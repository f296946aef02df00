#!/usr/bin/env bash
# A daemon that is told to end does so with 0, without an error in its log and without a socket left, whenever in its life that is: both of its
# processes get the signal, and either may be the first to go. A process that dies on the way is an error of the daemon.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_start && sami_setup || exit 1
fail() { echo "$*"; cat "$WORK/daemon.log"; exit 1; }
start() { # exporter|collector FIREWALL
    ip netns exec "${LAB}fw$2" "$BUILD/sami-$1" -c "$WORK/fw$2/sami.conf" -f >"$WORK/daemon.log" 2>&1 &
    DAEMON=$!
    local end=$((SECONDS + 10))
    until [ -S "$WORK/run$2/$1.sock" ]; do [ $SECONDS -lt $end ] || fail "$1: does not start"; done
}
running() { [ "$(pgrep -c -P "$DAEMON")" -eq 2 ]; }
for round in 1 2 3 4 5 6 7 8 9 10; do
    for daemon in "exporter 1" "collector 2"; do
        # shellcheck disable=SC2086
        start $daemon
        [ $((round % 2)) -eq 0 ] || poll 10 running
        kill "$DAEMON"
        ! pkill -P "$DAEMON" || : # as systemd does
        wait "$DAEMON" || fail "$daemon: round $round ended with $?"
        ! grep -q ' err: ' "$WORK/daemon.log" || fail "$daemon: round $round: an error at the end"
        [ ! -e "$WORK/run${daemon#* }/${daemon% *}.sock" ] || fail "$daemon: its socket is left"
    done
done
for which in -o -n; do
    for daemon in "exporter 1" "collector 2"; do
        # shellcheck disable=SC2086
        start $daemon
        poll 10 running || fail "$daemon: not two processes"
        pkill -KILL $which -P "$DAEMON"
        wait "$DAEMON" && fail "$daemon: ended with 0 although a process was killed"
        grep -q ' err: .* process ended by signal 9' "$WORK/daemon.log" || fail "$daemon: does not say what ended it"
    done
done
