#!/usr/bin/env bash
# bench.sh BUILD [--long] [NAME...]: measurements side by side. NAMEs: dump export inject move freeze replicate cumulative replay transport. A table for people, then one JSON line a
# measurement. Repetitions alternate, so that what else the machine does hits all alike; medians are printed.
set -uo pipefail
SAMI_BUILD=$1
shift
srcdir=$(cd "$(dirname "$0")/../.." && pwd)
export SAMI_BUILD srcdir
read -ra sizes <<<"${SAMI_BENCH_SIZES:-100000}"
read -ra changes <<<"${SAMI_BENCH_CHANGED:-0 100 10000}"
names=() REPEAT=${SAMI_BENCH_REPEAT:-5}
for argument in "$@"; do
    case $argument in
    --long) sizes=(100000 1000000) ;;
    dump | export | inject | move | freeze | replicate | cumulative | replay | transport) names+=("$argument") ;;
    *) echo "usage: ./run bench [--long] [dump] [export] [inject] [move] [freeze] [replicate] [cumulative] [replay] [transport]" >&2; exit 2 ;;
    esac
done
[ ${#names[@]} -gt 0 ] || names=(dump export inject move freeze replicate cumulative replay transport)
# Each with a lab of its own.
rest=()
for name in "${names[@]}"; do
    case $name in
    replicate | cumulative | replay | transport) "$srcdir/tests/bench/$name.sh" || exit ;;
    *) rest+=("$name") ;;
    esac
done
[ ${#rest[@]} -gt 0 ] || exit 0
names=("${rest[@]}")
. "$srcdir/tests/e2e/testbed.sh"
. "$srcdir/tests/tools/machine-table.sh"
. "$srcdir/tests/bench/common.sh"
PATHS=$BUILD/bench-paths LEASE=300s
declare -A TIMES=() # "NAME N" -> seconds, one a repetition
LINES=()

wants() { local n; for n in "${names[@]}"; do [ "$n" != "$1" ] || return 0; done; return 1; }

lab_skip() { echo "bench: $*" >&2; exit 77; }

# note NAME SECONDS
note() { TIMES["$1 $N"]+=" $2"; }

of() { # NAME: its median
    # shellcheck disable=SC2086
    median ${TIMES["$1 $N"]}
}

# line NAME TITLE AGAINST: prints a row; ratio is our rate divided by the other's
line() {
    local mine other=null ratio=null against=null rate
    [ -n "${TIMES["$1 $N"]:-}" ] || return 0
    mine=$(of "$1")
    rate=$(awk -v n="$N" -v s="$mine" 'BEGIN { printf "%.0f", n / s }')
    if [ -n "$3" ] && [ -n "${TIMES["$3 $N"]:-}" ]; then
        other=$(of "$3")
        against="\"$3\""
        ratio=$(awk -v a="$mine" -v b="$other" 'BEGIN { printf "%.3f", b / a }')
    fi
    printf '%-34s %9d %9.3f s %10d/s' "$2" "$N" "$mine" "$rate"
    [ "$ratio" = null ] || printf '   %6s x %s' "$ratio" "$3"
    echo
    LINES+=("{\"bench\":\"$1\",\"n\":$N,\"seconds\":$mine,\"per_second\":$rate,\"against\":$against,\"ratio\":$ratio,\"repeat\":$(wc -w <<<"${TIMES["$1 $N"]}"),\"load\":$(cut -d' ' -f1 /proc/loadavg),\"kernel\":\"$(uname -r)\",\"cores\":$(nproc)}")
}

start_daemons() {
    rm -rf "$WORK"/run?/*.sock "$WORK"/journal? # what is over would be made strict again
    sami_start || die "the daemons do not start"
}

stop_daemons() {
    kill "${DAEMONS[@]}" 2>/dev/null
    wait "${DAEMONS[@]}" 2>/dev/null
}

path_export() {
    local out
    out=$("$PATHS" export "$WORK/fw1" "${LAB}fw1" "$N" "$BUILD/samictl" "$WORK/fw2") || die "export path"
    note export "${out% *}"
}

path_dump() {
    local out
    out=$("$PATHS" dump "${LAB}fw1") || die "dump"
    note dump "${out% *}"
}

prebuilt() {
    table -n "${LAB}fw2" flush
    note prebuilt "$(table -n "${LAB}fw2" fill "$N" --kind mixed)"
    table -n "${LAB}fw2" flush
}

path_inject() {
    local out
    out=$("$PATHS" inject "$WORK/fw2" "${LAB}fw2" "${LAB}fw1" "$WORK/fw1") || die "inject path"
    note inject "${out% *}"
    table -n "${LAB}fw2" flush
}

# Up to READY, as the exporter measures it from the request on; SETTLE apart.
move_sami() {
    local ready settled
    start_daemons
    ctl 1 migrate --vm $VM4,$VM6 --to fw2.example --now --deadline 120s --json >"$WORK/migrate" 2>"$WORK/migrate.err" ||
        die "migrate: $(cat "$WORK/migrate.err" "$WORK/migrate")"
    ready=$(sed -n '/"phase":"READY"/s/.*"elapsed_ms":\([0-9]*\).*/\1/p' "$WORK/migrate" | head -n 1)
    settled=$(tail -n 1 "$WORK/migrate" | sed -n 's/.*"elapsed_ms":\([0-9]*\).*/\1/p')
    note move "$(awk -v ms="$ready" 'BEGIN { print ms / 1000 }')"
    note settle "$(awk -v a="$ready" -v b="$settled" 'BEGIN { print (b - a) / 1000 }')"
    [ "$(table -n "${LAB}fw2" count)" -ge "$N" ] || die "not all came"
    stop_daemons
    table -n "${LAB}fw2" flush
}

move_conntrack() {
    local start
    start=$EPOCHREALTIME
    ns fw1 conntrack -L -o save 2>/dev/null >"$WORK/saved" && ns fw2 conntrack --load-file "$WORK/saved" >/dev/null 2>&1
    note conntrack "$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }')"
    rm -f "$WORK/saved"
    table -n "${LAB}fw2" flush
}

cached() { # 1|2 WHICH(1 internal, 2 external): entries
    ns "fw$1" conntrackd -C "$WORK/conntrackd$1.conf" -s 2>/dev/null |
        awk -v which="$2" '/current active connections/ { if (++i == which) print $NF }'
}

holds() { [ "$(cached "$1" "$2" | grep . || echo 0)" -ge "$N" ]; }

# From its start at the source, cache, transfer and commit.
move_conntrackd() {
    local start
    conntrackd_start 2 Off
    start=$EPOCHREALTIME
    conntrackd_start 1 Off
    poll 120 holds 1 1 || die "conntrackd does not fill its cache"
    ns fw2 conntrackd -C "$WORK/conntrackd2.conf" -n || die "conntrackd -n"
    poll 120 holds 2 2 || die "conntrackd does not transfer"
    ns fw2 conntrackd -C "$WORK/conntrackd2.conf" -c || die "conntrackd -c"
    poll 120 committed
    note conntrackd "$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }')"
    conntrackd_stop
    table -n "${LAB}fw2" flush
}

committed() { [ "$(table -n "${LAB}fw2" count)" -ge "$N" ]; }

# ---- freeze: sessions that change between snapshot and freeze ----

MARK=100000 FREEZE_KIND="" FREEZE_HOW=events FREEZE_TABLE=0

# Every measurement is a migration of its own, from PREPARE to DONE, with the same daemons.
freeze_once() { # CHANGED [SAMICTL]: one freeze; asked for by SAMICTL instead of over a connection that stands already
    local changed=$1 vm=$VM4,$VM6 out ready waited how code
    shift
    MARK=$((MARK + 20000))
    ctl 1 migrate --vm "$vm" --to fw2.example --deadline 120s --json >"$WORK/migrate" 2>"$WORK/migrate.err" &
    local migrate=$!
    poll 120 grep -q '"confirmed_snapshot":true' "$WORK/migrate" || die "no snapshot"
    ID=$(sed -n 's/.*"id":"\([0-9a-f]*\)".*/\1/p' "$WORK/migrate" | head -n 1)
    out=$("$BUILD/bench-freeze" "${LAB}fw1" "$WORK/run1/exporter.sock" "$ID" "$N" "$changed" "$MARK" ${1:+"$1" "$WORK/fw1"}) || die "freeze"
    read -r ready waited how code <<<"$out"
    [ "$code" = 0 ] || die "freeze ended with $code"
    [ "$how" = "$FREEZE_HOW" ] || die "frozen by $how"
    if [ $# -gt 0 ]; then
        note "samictl$FREEZE_KIND$changed" "$waited"
    else
        note "freeze$FREEZE_KIND$changed" "$ready"
        note "sync$FREEZE_KIND$changed" "$(ctl 2 status "$ID" --json | sed -n 's/.*"journal_sync_ms":\([0-9.e-]*\).*/\1/p' | awk '{ print $1 / 1000 }')"
    fi
    wait "$migrate" || die "migrate: $(tail -n 1 "$WORK/migrate")"
    table -n "${LAB}fw2" flush
}

freeze_line() { # CHANGED TITLE
    local ready samictl=null sync n
    ready=$(of "freeze$FREEZE_KIND$1") sync=$(of "sync$FREEZE_KIND$1") n=$N
    [ -z "${TIMES["samictl$FREEZE_KIND$1 $N"]:-}" ] || samictl=$(of "samictl$FREEZE_KIND$1")
    printf '%-34s %9d %9d changed %9.1f ms   disk %5.1f ms' "$2" "$n" "$1" "$(awk -v s="$ready" 'BEGIN { print s * 1000 }')" \
        "$(awk -v s="$sync" 'BEGIN { print s * 1000 }')"
    [ "$samictl" = null ] || printf '   samictl freeze %9.1f ms' "$(awk -v s="$samictl" 'BEGIN { print s * 1000 }')"
    echo
    LINES+=("{\"bench\":\"freeze\",\"n\":$n,\"changed\":$1,\"freeze\":\"$FREEZE_HOW\",\"table\":$FREEZE_TABLE,\"seconds\":$ready,\"journal_sync_seconds\":$sync,\"samictl_seconds\":$samictl,\"per_second\":null,\"against\":null,\"ratio\":null,\"repeat\":$(wc -w <<<"${TIMES["freeze$FREEZE_KIND$1 $N"]}"),\"load\":$(cut -d' ' -f1 /proc/loadavg),\"kernel\":\"$(uname -r)\",\"cores\":$(nproc)}")
}

bench_freeze() { # CHANGED...
    local r changed title="freeze to READY"
    [ -z "$FREEZE_KIND" ] || title="freeze to READY, by a scan"
    FREEZE_TABLE=$(table -n "${LAB}fw1" count)
    start_daemons
    for ((r = 0; r < REPEAT; r++)); do
        for changed in "$@"; do
            freeze_once "$changed"
            freeze_once "$changed" "$BUILD/samictl"
        done
    done
    stop_daemons
    for changed in "$@"; do freeze_line "$changed" "$title"; done
}

lab_start || exit 1
trap 'machine_table_restore; lab_stop' EXIT
for n in 1 2; do
    ns fw$n nft add chain inet filter labels
    ns fw$n nft add rule inet filter labels ct label 1 accept
    lab_untracked fw$n
done
sami_setup || exit 1
echo max-sessions=4000000 >>"$WORK/fw2/sami.conf" # half of the free room is the default, and less than this
start_daemons # writes since when events are on: what is filled below is not silent
stop_daemons

if wants freeze; then
    for N in ${SAMI_BENCH_SIZES:-1000 "${sizes[@]}"}; do
        machine_table_hold $((N + 50000)) $((N > 262144 ? 1048576 : 0))
        table -n "${LAB}fw1" flush
        table -n "${LAB}fw1" fill "$N" --kind mixed >/dev/null || exit 1
        bench_freeze "${changes[@]}"
        [ "$N" -le 100000 ] || continue
        # The same without start times: then any entry may be silent, and a dump that begins after the pause is what shows the last state.
        ns fw1 sysctl -qw net.netfilter.nf_conntrack_timestamp=0
        table -n "${LAB}fw1" flush
        table -n "${LAB}fw1" fill "$N" --kind mixed >/dev/null || exit 1
        FREEZE_KIND=scan FREEZE_HOW=scan
        if [ "$N" -le 1000 ]; then # in a table that is nearly all somebody else's
            table -n "${LAB}fw1" fill 99000 --kind tcp --vm 10.0.0.14 >/dev/null || exit 1
        fi
        bench_freeze 0
        FREEZE_KIND='' FREEZE_HOW=events
        ns fw1 sysctl -qw net.netfilter.nf_conntrack_timestamp=1
    done
fi
for N in "${sizes[@]}"; do
    [ "${names[*]}" != freeze ] || break
    machine_table_hold $((N + 50000)) $((N > 262144 ? 1048576 : 0))
    table -n "${LAB}fw1" flush
    table -n "${LAB}fw1" fill "$N" --kind mixed >/dev/null || exit 1
    for ((r = 0; r < REPEAT; r++)); do
        if wants dump || wants export; then path_dump; fi
        if wants export; then path_export; fi
        if wants inject || wants move; then prebuilt; fi
        if wants inject; then path_inject; fi
        if wants move; then
            move_sami
            move_conntrack
            if command -v conntrackd >/dev/null; then move_conntrackd; fi
        fi
    done
    line dump "bare netlink dump" ""
    line export "export path" dump
    line prebuilt "pre-built injection" ""
    line inject "inject path" prebuilt
    line move "whole move up to READY" prebuilt
    line move "whole move up to READY" conntrackd
    line move "whole move up to READY" conntrack
    line settle "  SETTLE after it" ""
    line conntrackd "conntrackd, start to committed" prebuilt
    line conntrack "conntrack -L -o save | --load-file" prebuilt
done
printf '%s\n' "${LINES[@]}"
