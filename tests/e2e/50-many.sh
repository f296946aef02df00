#!/usr/bin/env bash
# Very many sessions of every kind move through the real daemons: all there, equal in every restored field, memory flat apart from the
# ledger. 100 000 of them; with SAMI_LONG (./run check --long) 1 000 000, for which the machine's table is made larger and put back.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
. "${srcdir:-.}/tests/tools/machine-table.sh"
LEASE=300s # the backstop must not end entries while a loaded machine settles
SMALL=10000 MANY=100000
[ -z "${SAMI_LONG:-}" ] || MANY=1000000
LEDGER=96                 # octets a session, index included (DESIGN §8)
BOUNDED=$((8 * 1024))     # KiB: queues between threads and processes, all bounded, and what malloc keeps of them
FLAT=$((4 * 1024))        # KiB: noise between two runs of a process whose memory does not depend on the table
RING=$((8 * 1024))        # KiB: SAMI_RING_MAX

lab_start || exit 1
trap 'machine_table_restore; lab_stop' EXIT
machine_table_hold $((MANY + 50000)) $((MANY > 262144 ? 1048576 : 0)) || exit
for n in 1 2; do # labels are dropped where no rule uses one
    ns fw$n nft add chain inet filter labels || exit 1
    ns fw$n nft add rule inet filter labels ct label 1 accept || exit 1
    lab_untracked fw$n || exit 1
done
sami_setup || exit 1
echo max-sessions=4000000 >>"$WORK/fw2/sami.conf" # half of the free room is the default, and less than this

table() { "$BUILD/sami-table" "$@"; }

# Peak of a process in KiB: which 1|2 (firewall), network|state
peak() {
    local pid parent
    for pid in $(ip netns pids "${LAB}fw$1"); do
        case $(cat "/proc/$pid/comm" 2>/dev/null) in sami-exporter | sami-collector) ;; *) continue ;; esac
        parent=$(awk '/^PPid:/ { print $2 }' "/proc/$pid/status")
        case $(cat "/proc/$parent/comm") in sami-exporter | sami-collector) ;; *) continue ;; esac
        awk -v want="$2" '/^Uid:/ { is = $2 == 0 ? "state" : "network" } /^VmHWM:/ { peak = $2 }
            END { if (is == want) print peak }' "/proc/$pid/status"
    done
}

peaks() { echo "$(peak 1 network) $(peak 1 state) $(peak 2 network) $(peak 2 state)"; }

# run N: PEAKS of connector, exporter, listener, collector; IDLE of the collector's state process
run() {
    local status seconds
    sami_start || exit 1
    IDLE=$(peak 2 state)
    table -n "${LAB}fw1" fill "$1" --kind mixed >/dev/null || exit 1
    seconds=$(date +%s%N)
    ctl 1 migrate --vm $VM4,$VM6 --to fw2.example --now --json >"$WORK/migrate" 2>"$WORK/migrate.err"
    status=$?
    seconds=$((($(date +%s%N) - seconds) / 1000000))
    tail -n 1 "$WORK/migrate"
    [ $status -eq 0 ] || { echo "migrate ended with $status"; cat "$WORK/migrate.err" "$WORK"/*.log; exit 1; }
    PEAKS=$(peaks)
    echo "$1 sessions: $seconds ms to DONE; peaks in KiB: connector, exporter, listener, collector: $PEAKS (collector idle: $IDLE)"
    table compare "${LAB}fw1" "${LAB}fw2" --tolerance 2 >"$WORK/compare" || { cat "$WORK/compare" "$WORK"/*.log; exit 1; }
    cat "$WORK/compare"
    grep -q "^entries $1 $1 equal $1 " "$WORK/compare" || { echo "not $1 entries"; exit 1; }
    kill "${DAEMONS[@]}"
    wait "${DAEMONS[@]}" 2>/dev/null
    rm -f "$WORK"/run?/*.sock
    table -n "${LAB}fw1" flush
    table -n "${LAB}fw2" flush
}

run $SMALL
read -r connector_small exporter_small listener_small collector_small <<<"$PEAKS"
run $MANY
read -r connector exporter listener collector <<<"$PEAKS"

lab_has_sanitizers && exit 0 # what follows is about memory
fail=0
flat() { # NAME SMALL MANY [KiB]
    [ $(($3 - $2)) -le "${4:-$FLAT}" ] || { echo "$1: $2 KiB with $SMALL sessions, $3 KiB with $MANY: not flat"; fail=1; }
}
flat connector "$connector_small" "$connector"
flat exporter "$exporter_small" "$exporter" $((FLAT + RING)) # what is not acknowledged is kept, whatever the number of sessions
flat listener "$listener_small" "$listener"
allowed=$((LEDGER * MANY / 1024 + BOUNDED))
echo "collector: grew by $((collector - IDLE)) KiB, allowed are $LEDGER octets a session and $BOUNDED KiB: $allowed KiB ($SMALL sessions: $collector_small KiB)"
[ $((collector - IDLE)) -le $allowed ] || { echo "the collector's memory is not flat apart from its ledger"; fail=1; }
exit $fail
