#!/usr/bin/env bash
# sami-replay on the journal of one migration, beside ipfixDump and tshark on the same file, and its injection beside the collector's. A table, then JSON lines.
set -uo pipefail
: "${SAMI_BUILD:?}" "${srcdir:?}"
. "$srcdir/tests/e2e/testbed.sh"
. "$srcdir/tests/bench/common.sh"
read -ra sizes <<<"${SAMI_BENCH_SIZES:-100000}"
REPEAT=${SAMI_BENCH_REPEAT:-3} LEASE=300s
LINES=()
declare -A TIMES=()
lab_skip() { echo "bench: $*" >&2; exit 77; }
measure() { # NAME COMMAND...: its standard output goes nowhere
    local name=$1 start
    shift
    start=$(date +%s.%N)
    "$@" >/dev/null 2>"$WORK/errors" || die "$name: $(tail -n 1 "$WORK/errors")"
    TIMES[$name]+=" $(awk -v a="$start" -v b="$(date +%s.%N)" 'BEGIN { printf "%.3f", b - a }')"
}
row() { # NAME TITLE AGAINST
    local mine ratio=null against=null
    [ -n "${TIMES[$1]:-}" ] || return 0
    # shellcheck disable=SC2086
    mine=$(median ${TIMES[$1]})
    if [ -n "$3" ] && [ -n "${TIMES[$3]:-}" ]; then
        against="\"$3\""
        # shellcheck disable=SC2086
        ratio=$(awk -v a="$mine" -v b="$(median ${TIMES[$3]})" 'BEGIN { printf "%.3f", b / a }')
    fi
    printf '%-30s %9d records %9.3f s %10.0f/s%s\n' "$2" "$N" "$mine" "$(awk -v n="$N" -v s="$mine" 'BEGIN { print n / s }')" \
        "$([ "$ratio" = null ] || printf '   %8s x %s' "$ratio" "$3")"
    LINES+=("{\"bench\":\"replay-$1\",\"n\":$N,\"seconds\":$mine,\"per_second\":$(awk -v n="$N" -v s="$mine" 'BEGIN { printf "%.0f", n / s }'),\"against\":$against,\"ratio\":$ratio,\"repeat\":$REPEAT,\"load\":$(cut -d' ' -f1 /proc/loadavg),\"kernel\":\"$(uname -r)\",\"cores\":$(nproc)}")
}
replay() { "$BUILD/sami-replay" "$1" -q -c "$WORK/fw2/sami.conf" "${@:2}"; }

{ lab_start && sami_setup && sami_start; } >"$WORK/start.log" 2>&1 || die "no lab"
"$BUILD/protocol-tables" --xml >"$WORK/sami.xml"
for N in "${sizes[@]}"; do
    TIMES=()
    "$BUILD/sami-table" -n "${LAB}fw1" flush
    "$BUILD/sami-table" -n "${LAB}fw2" flush
    rm -f "$WORK"/journal2/*.ipfix "$WORK"/journal2/*.answers
    "$BUILD/sami-table" -n "${LAB}fw1" fill "$N" --vm $VM4 >/dev/null || die "no flows"
    ctl 1 migrate --vm $VM4 --to fw2.example --now --json >"$WORK/migrate" 2>&1 || die "migrate: $(tail -n 1 "$WORK/migrate")"
    journal=$(ls "$WORK"/journal2/*.ipfix)
    records=$(replay stats --json -K session "$journal" | sed 's/.*"records":\([0-9]*\).*/\1/')
    sessions=$N N=$records
    for ((i = 0; i < REPEAT; i++)); do
        measure stats replay stats "$journal"
        measure dump replay dump "$journal"
        measure json replay dump --json "$journal"
        measure validate replay validate "$journal"
        measure ipfixDump ipfixDump --in="$journal" -e "$WORK/sami.xml"
        measure tshark tshark -r "$journal" -V -o cflow.max_template_fields:0
        "$BUILD/sami-table" -n "${LAB}fw2" flush
        measure inject ns fw2 "$BUILD/sami-replay" inject -q -c "$WORK/fw2/sami.conf" "$journal"
    done
    row stats "stats" ipfixDump
    row dump "dump" ipfixDump
    row json "dump --json" ipfixDump
    row validate "validate" ipfixDump
    row ipfixDump "ipfixDump" ""
    row tshark "tshark -V" ""
    row inject "inject ($sessions flows)" ""
    row dump "dump" tshark
done
printf '%s\n' "${LINES[@]}"
