#!/usr/bin/env bash
# Replication at a steady rate of new flows, beside conntrackd (FTFW, which writes into the standby's kernel as SAMI does): the CPU that the
# daemons of both sides take, and how long a flow takes from one kernel's event to the other's. A table, then JSON lines: `seconds` is the CPU
# time of all daemons, `ratio` the other's CPU time divided by ours.
set -uo pipefail
: "${SAMI_BUILD:?}" "${srcdir:?}"
. "$srcdir/tests/e2e/pair.sh"
. "$srcdir/tests/bench/common.sh"
RATES=${SAMI_BENCH_RATES:-500 2000} SECONDS_EACH=${SAMI_BENCH_SECONDS:-10} REPEAT=${SAMI_BENCH_REPEAT:-3}
LEASE=300s
declare -A CPU=() P50=() P99=() GONE=()
LINES=()

# CPU seconds so far of the daemons NAME in both firewalls' namespaces
cpu() {
    local pid n
    for n in 1 2; do
        for pid in $(ip netns pids "${LAB}fw$n"); do
            case $(cat "/proc/$pid/comm" 2>/dev/null) in "$1"*) cat "/proc/$pid/stat" 2>/dev/null ;; esac
        done
    done | awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); sum += $12 + $13 } END { print sum / hz }'
}

# measure NAME COMM RATE
measure() {
    local before after out created arrived p50 p99
    before=$(cpu "$2")
    out=$("$BUILD/bench-rate" "${LAB}fw1" "${LAB}fw2" "$3" "$SECONDS_EACH") || die "bench-rate"
    after=$(cpu "$2")
    read -r created arrived _ p50 p99 _ <<<"$out"
    CPU["$1 $3"]+=" $(awk -v a="$before" -v b="$after" 'BEGIN { print b - a }')"
    P50["$1 $3"]+=" $p50"
    P99["$1 $3"]+=" $p99"
    GONE["$1 $3"]=$((${GONE["$1 $3"]:-0} + created - arrived))
}

flush_both() { table -n "${LAB}fw1" flush; table -n "${LAB}fw2" flush; }

run_sami() {
    local n
    for n in 1 2; do pair_daemon $n collector && pair_daemon $n exporter || die "the daemons do not start"; done
    in_step() { is_said 1 in_step True && is_said 2 in_step True; }
    poll 20 in_step || die "not in step"
    measure sami sami- "$1"
    for n in 1 2; do kill "${PAIR["$n exporter"]}" "${PAIR["$n collector"]}"; done
    gone() { [ -z "$(for n in 1 2; do ip netns pids "${LAB}fw$n"; done)" ]; }
    poll 20 gone || die "the daemons do not end"
    rm -f "$WORK"/run?/origin
    flush_both
}

run_conntrackd() {
    local n
    for n in 1 2; do conntrackd_start $n On; done
    sleep 1 # it has no way to ask whether the other one is there
    measure conntrackd conntrackd "$1"
    conntrackd_stop
    flush_both
}

# A takeover of as many: up to the answer that the table is this firewall's own.
run_takeover() { # N
    local n
    for n in 1 2; do pair_daemon $n collector && pair_daemon $n exporter || die "the daemons do not start"; done
    poll 20 in_step || die "not in step"
    table -n "${LAB}fw1" fill "$1" --kind mixed >/dev/null || die "fill"
    all_there() { [ "$(table -n "${LAB}fw2" count)" -ge "$1" ]; }
    poll 60 all_there "$1" || die "not all came"
    TAKEOVER+=" $(ctl 2 takeover | sed -n 's/.*(\([0-9.]*\) ms).*/\1/p')"
    for n in 1 2; do kill "${PAIR["$n exporter"]}" "${PAIR["$n collector"]}"; done
    poll 20 gone || die "the daemons do not end"
    rm -f "$WORK"/run?/origin
    flush_both
}

line() { # NAME OTHER RATE
    local mine other=null ratio=null against=null p50 p99
    [ -n "${CPU["$1 $3"]:-}" ] || return 0
    # shellcheck disable=SC2086
    mine=$(median ${CPU["$1 $3"]}) p50=$(median ${P50["$1 $3"]}) p99=$(median ${P99["$1 $3"]})
    if [ -n "${CPU["$2 $3"]:-}" ]; then
        # shellcheck disable=SC2086
        other=$(median ${CPU["$2 $3"]}) against="\"$2\""
        ratio=$(awk -v a="$mine" -v b="$other" 'BEGIN { if (a > 0) printf "%.3f", b / a; else print "null" }')
    fi
    printf '%-12s %6d new flows/s for %d s: %7.3f s of CPU (%5.1f %%), delay p50 %8.3f ms, p99 %8.3f ms, %d missing\n' "$1" "$3" "$SECONDS_EACH" \
        "$mine" "$(awk -v a="$mine" -v s="$SECONDS_EACH" 'BEGIN { print 100 * a / s }')" "$p50" "$p99" "${GONE["$1 $3"]}"
    LINES+=("{\"bench\":\"replicate-$1\",\"n\":$(($3 * SECONDS_EACH)),\"seconds\":$mine,\"per_second\":$3,\"against\":$against,\"ratio\":$ratio,\"delay_p50_ms\":$p50,\"delay_p99_ms\":$p99,\"missing\":${GONE["$1 $3"]},\"repeat\":$REPEAT,\"load\":$(cut -d' ' -f1 /proc/loadavg),\"kernel\":\"$(uname -r)\",\"cores\":$(nproc)}")
}

# The servers of the lab are not needed, and the firewalls' own link is not in the tables.
lab_start && pair_setup replicate=true || exit 1
lab_untracked fw1 && lab_untracked fw2 || exit 1
for rate in $RATES; do
    for ((r = 0; r < REPEAT; r++)); do
        run_sami "$rate"
        if command -v conntrackd >/dev/null; then run_conntrackd "$rate"; fi
    done
    line sami conntrackd "$rate"
    line conntrackd sami "$rate"
done
N=${SAMI_BENCH_TAKEOVER:-100000} TAKEOVER=''
for ((r = 0; r < REPEAT; r++)); do run_takeover "$N"; done
# shellcheck disable=SC2086
took=$(median $TAKEOVER)
printf '%-12s %6d entries: %s ms\n' takeover "$N" "$took"
LINES+=("{\"bench\":\"takeover\",\"n\":$N,\"seconds\":$(awk -v ms="$took" 'BEGIN { print ms / 1000 }'),\"per_second\":null,\"against\":null,\"ratio\":null,\"repeat\":$REPEAT,\"load\":$(cut -d' ' -f1 /proc/loadavg),\"kernel\":\"$(uname -r)\",\"cores\":$(nproc)}")
printf '%s\n' "${LINES[@]}"
