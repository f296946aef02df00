#!/usr/bin/env bash
# A whole move over DTLS/SCTP beside one over TLS/TCP: sessions a second up to READY, and the CPU that the state and network processes of both daemons
# take up to DONE. A table, then JSON lines: `seconds` is up to READY, `ratio` the other's time divided by ours, `cpu_ratio` likewise; CPU times come
# in ticks of the kernel (/proc/PID/stat).
set -uo pipefail
: "${SAMI_BUILD:?}" "${srcdir:?}"
. "$srcdir/tests/e2e/testbed.sh"
. "$srcdir/tests/tools/machine-table.sh"
. "$srcdir/tests/bench/common.sh"
read -ra sizes <<<"${SAMI_BENCH_SIZES:-10000 100000}"
REPEAT=${SAMI_BENCH_REPEAT:-5} LEASE=300s
LINES=()
declare -A TIMES=() # "TRANSPORT WHAT" -> numbers, one a repetition
lab_skip() { echo "bench: $*" >&2; exit 77; }

# Seconds so far of the four processes: NETWORK STATE; the supervisors do nothing meanwhile.
cpu() {
    local n pid parent
    for n in 1 2; do
        for pid in $(ip netns pids "${LAB}fw$n"); do
            parent=$(awk '/^PPid:/ { print $2 }' "/proc/$pid/status")
            case $(cat "/proc/$pid/comm" "/proc/$parent/comm" | paste -sd' ') in
            'sami-exporter sami-exporter' | 'sami-collector sami-collector') echo "$(stat -c %u "/proc/$pid") $(cat "/proc/$pid/stat")" ;;
            esac
        done
    done | awk -v hz="$(getconf CLK_TCK)" '{ is_state = $1 == 0; sub(/.*\) /, ""); sum[is_state] += ($12 + $13) / hz; n[is_state]++ }
        END { print sum[0], sum[1]; exit n[0] != 2 || n[1] != 2 }'
}

note() { TIMES["$1"]+=" $2"; }
of() { # WHAT
    # shellcheck disable=SC2086
    median ${TIMES["$TRANSPORT $1"]}
}

move() {
    local n before after ready
    for n in 1 2; do transport_set "$WORK/fw$n"; done
    rm -rf "$WORK"/run?/*.sock "$WORK"/journal?
    sami_start || die "the daemons do not start"
    before=$(cpu) || die "not four processes"
    ctl 1 migrate --vm $VM4,$VM6 --to fw2.example --now --deadline 120s --json >"$WORK/migrate" 2>"$WORK/migrate.err" ||
        die "$TRANSPORT: migrate: $(cat "$WORK/migrate.err" "$WORK/migrate")"
    after=$(cpu) || die "not four processes"
    ready=$(sed -n '/"phase":"READY"/s/.*"elapsed_ms":\([0-9]*\).*/\1/p' "$WORK/migrate" | head -n 1)
    note "$TRANSPORT ready" "$(awk -v ms="$ready" 'BEGIN { print ms / 1000 }')"
    note "$TRANSPORT settled" "$(tail -n 1 "$WORK/migrate" | sed -n 's/.*"elapsed_ms":\([0-9]*\).*/\1/p' | awk '{ print $1 / 1000 }')"
    note "$TRANSPORT network" "$(awk -v a="$before" -v b="$after" 'BEGIN { split(a, x); split(b, y); print y[1] - x[1] }')"
    note "$TRANSPORT state" "$(awk -v a="$before" -v b="$after" 'BEGIN { split(a, x); split(b, y); print y[2] - x[2] }')"
    note "$TRANSPORT cpu" "$(awk -v a="$before" -v b="$after" 'BEGIN { split(a, x); split(b, y); print y[1] + y[2] - x[1] - x[2] }')"
    [ "$(table -n "${LAB}fw2" count)" -ge "$N" ] || die "not all came"
    backend=$(sed -n 's/.* by the \([a-z]*\) backend.*/\1/p' "$WORK/collector.log")
    kill "${DAEMONS[@]}"
    poll 20 test ! -S "$WORK/run1/exporter.sock" && poll 20 test ! -S "$WORK/run2/collector.sock" || die "the daemons do not end"
    table -n "${LAB}fw2" flush
}

line() { # OTHER
    local ready cpu ratio=null cpu_ratio=null against=null name=transport-$TRANSPORT
    ready=$(of ready) cpu=$(of cpu)
    if [ -n "$1" ]; then
        against="\"transport-$1\""
        ratio=$(TRANSPORT=$1 of ready | awk -v a="$ready" '{ printf "%.3f", $1 / a }')
        cpu_ratio=$(TRANSPORT=$1 of cpu | awk -v a="$cpu" '{ if (a > 0) printf "%.3f", $1 / a; else print "null" }')
    fi
    printf '%-28s %7d sessions %8.3f s to READY %9.0f/s   CPU %6.2f s: network %6.2f s, state %6.2f s' "$2" "$N" "$ready" \
        "$(awk -v n="$N" -v s="$ready" 'BEGIN { print n / s }')" "$cpu" "$(of network)" "$(of state)"
    [ -z "$1" ] || printf '   %s x the rate, %s x the CPU of %s' "$ratio" "$(awk -v r="$cpu_ratio" 'BEGIN { if (r > 0) printf "%.2f", 1 / r; else print "?" }')" "$1"
    echo
    LINES+=("{\"bench\":\"$name\",\"n\":$N,\"seconds\":$ready,\"per_second\":$(awk -v n="$N" -v s="$ready" 'BEGIN { printf "%.0f", n / s }'),\"done_seconds\":$(of settled),\"cpu_seconds\":$cpu,\"network_cpu_seconds\":$(of network),\"state_cpu_seconds\":$(of state),\"against\":$against,\"ratio\":$ratio,\"cpu_ratio\":$cpu_ratio,\"repeat\":$REPEAT,\"load\":$(cut -d' ' -f1 /proc/loadavg),\"kernel\":\"$(uname -r)\",\"cores\":$(nproc)}")
}

lab_start >"$WORK/start.log" 2>&1 || die "no lab"
trap 'machine_table_restore; lab_stop' EXIT
for n in 1 2; do
    ns fw$n nft add chain inet filter labels # labels are dropped where no rule uses one
    ns fw$n nft add rule inet filter labels ct label 1 accept
    lab_untracked fw$n || die "no rules"
done
sami_setup || die "no setup"
echo max-sessions=4000000 >>"$WORK/fw2/sami.conf" # half of the free room is the default, and less than this
for N in "${sizes[@]}"; do
    TIMES=()
    machine_table_hold $((N + 50000)) $((N > 262144 ? 1048576 : 0)) || exit 1
    table -n "${LAB}fw1" flush
    table -n "${LAB}fw1" fill "$N" --kind mixed >/dev/null || die "fill"
    for ((r = 0; r < REPEAT; r++)); do
        for TRANSPORT in tcp sctp; do move; done
    done
    TRANSPORT=tcp line '' 'TLS 1.3 over TCP'
    TRANSPORT=sctp line tcp "DTLS over SCTP ($backend)"
done
printf '%s\n' "${LINES[@]}"
