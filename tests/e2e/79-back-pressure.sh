#!/usr/bin/env bash
# A collector that stands still, in the middle of a large table: its exporter holds what it may hold and no more, other migrations of that
# exporter go on to another destination, and when it goes on, all of it arrives.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
. "${srcdir:-.}/tests/e2e/many.sh"
FLOWS=220000
MOVES=()
fail() { echo "FAIL $*"; tail -n 5 "$WORK"/*.log; exit 1; }
many_start 3 && many_pair 1 2 && many_pair 1 3 || exit 1
echo "max-sessions=$((FLOWS + 10000))" >>"$WORK/fw2/sami.conf"
for n in 1 2; do # what the kernel buffers is not what is looked at
    ns fw$n sysctl -qw 'net.ipv4.tcp_wmem=4096 16384 65536' 'net.ipv4.tcp_rmem=4096 65536 65536'
done
many_daemon exporter 1 && many_daemon collector 2 && many_daemon collector 3 || exit 1
many_fill 1 10.1.0.1 $FLOWS && many_fill 1 10.1.0.2 1000 $FLOWS || exit 1
sent() { ctl 1 status "$ID" --json | tr -d ' \n' | sed 's/.*"sent":\([0-9]*\).*/\1/'; }
for process in network state; do
    idle=$(many_peak 1 sami-exporter state)
    STOPPED=$(many_network_of 2 sami-collector)
    if [ $process = state ]; then
        for pid in $(ip netns pids "${LAB}fw2"); do
            parent=$(awk '/^PPid:/ { print $2 }' "/proc/$pid/status")
            [ "$(stat -c %u "/proc/$pid")" -eq 0 ] && [ "$(cat "/proc/$parent/comm")" = sami-collector ] && STOPPED=$pid
        done
    fi
    : >"$WORK/moves"
    # Full segments do not pass, so that nothing is taken before the process stands still.
    ns fw1 nft add rule inet management out oifname mgmt0 meta length '>' 1400 drop
    rm -f "$WORK/move-1-10.1.0.1"
    many_move 1 10.1.0.1 2
    first=${MOVES[-1]}
    poll 10 grep -qs '"id"' "$WORK/move-1-10.1.0.1"
    ID=$(sed -n 's/.*"id":"\([0-9a-f]*\)".*/\1/p' "$WORK/move-1-10.1.0.1" | head -n 1)
    started() { ctl 1 status "$ID" --json | tr -d ' \n' | grep -q '"connected":true'; }
    poll 10 started || fail "it does not start"
    kill -STOP "$STOPPED"
    ns fw1 nft flush chain inet management out
    ns fw1 nft add rule inet management out oifname mgmt0 notrack
    was=-1 now=-2
    still() { was=$now; now=$(sent); sleep 0.5; [ "$was" = "$now" ]; }
    poll 20 still || { kill -CONT "$STOPPED"; fail "the exporter goes on without a collector: $now records"; }
    [ "$now" -lt $FLOWS ] || { kill -CONT "$STOPPED"; fail "$process: $now of $FLOWS fitted between the daemons (listener: $(many_peak 2 sami-collector network) KiB, connector: $(many_peak 1 sami-exporter network) KiB): this case proves nothing"; }
    many_move 1 10.1.0.2 3
    wait "${MOVES[-1]}"
    grep -q '^0 .* 10.1.0.2$' "$WORK/moves" || { kill -CONT "$STOPPED"; fail "another migration of the exporter waits for it"; }
    peak=$(many_peak 1 sami-exporter state) network=$(many_peak 1 sami-exporter network)
    echo "collector's $process process stands still after $now of $FLOWS records: exporter $peak KiB (idle $idle), its connector $network KiB; another VM moved meanwhile"
    kill -CONT "$STOPPED"
    wait "$first"
    many_report 2 || fail "not both moved: $(tail -n 2 "$WORK/move-1-10.1.0.1")"
    [ "$("$BUILD/sami-table" -n "${LAB}fw2" count)" -eq $FLOWS ] || fail "not all arrived"
    # The ring of Messages, what is unsigned, and the dump's thread; not the table.
    lab_within $((peak - idle)) $((8192 + 1024 + 8192)) || fail "the exporter grew by $((peak - idle)) KiB"
    "$BUILD/sami-table" -n "${LAB}fw2" flush
    "$BUILD/sami-table" -n "${LAB}fw3" flush
done

echo "--- what has ended is not kept: twenty-five migrations one after the other"
resident() { # FIREWALL COMMAND, of its state process
    local pid
    for pid in $(ip netns pids "${LAB}fw$1"); do
        [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ] && [ "$(stat -c %u "/proc/$pid")" -eq 0 ] &&
            [ "$(cat "/proc/$(awk '/^PPid:/ { print $2 }' "/proc/$pid/status")/comm")" = "$2" ] && awk '/^VmRSS:/ { print $2 }' "/proc/$pid/status"
    done
}
one() { ctl 1 migrate --vm 10.1.0.2 --to fw3.example --now >"$WORK/one" 2>&1 || { cat "$WORK/one"; fail "one of twenty-five"; }; }
for ((i = 0; i < 5; i++)); do one; done
exporter=$(resident 1 sami-exporter) collector=$(resident 3 sami-collector)
for ((i = 0; i < 20; i++)); do one; done
echo "twenty migrations of 1000 sessions: exporter grew by $(($(resident 1 sami-exporter) - exporter)) KiB, collector by $(($(resident 3 sami-collector) - collector)) KiB"
lab_within $(($(resident 1 sami-exporter) - exporter)) 6144 || fail "the exporter keeps what has ended"
lab_within $(($(resident 3 sami-collector) - collector)) $((6144 + 20 * 1000 * 96 / 1024)) || fail "the collector keeps what has ended"
