#!/usr/bin/env bash
# nftables sets: a whole move of elements with counters and timeouts, from `samictl migrate` to its end, beside `nft list set` piped into `nft -f`,
# which overwrites what is there and is neither signed nor checked. Then what the method loses: an element is read and written while packets count in it.
# A table, then JSON lines.
set -uo pipefail
: "${SAMI_BUILD:?}" "${srcdir:?}"
. "$srcdir/tests/e2e/testbed.sh"
. "$srcdir/tests/e2e/cumulative.sh"
. "$srcdir/tests/bench/common.sh"
read -ra sizes <<<"${SAMI_BENCH_SIZES:-10000 100000}"
REPEAT=${SAMI_BENCH_REPEAT:-3} LEASE=300s MOVES=${SAMI_BENCH_MOVES:-20}
LINES=()
lab_skip() { echo "bench: $*" >&2; exit 77; }

fill() { # COUNT
    python3 - "$1" <<'PY' | ns fw1 nft -f - || die "no elements"
import sys
count = int(sys.argv[1])
for start in range(0, count, 1000):
    print("add element inet guard syn4 { %s }" % ", ".join(
        "101.%d.%d.%d counter packets %d bytes %d" % (i >> 16, i >> 8 & 255, i & 255, i % 1000 + 1, 60 * (i % 1000 + 1))
        for i in range(start, min(start + 1000, count))))
PY
}
elements() { ns "fw$1" nft list set inet guard "$(guard_prefix "$1")syn4" | grep -o expires | wc -l; }
now() { date +%s.%N; }
took() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.3f", b - a }'; }
row() { # NAME TITLE N SECONDS AGAINST RATIO
    printf '%-34s %9d %9.3f s %10.0f/s   %s\n' "$2" "$3" "$4" "$(awk -v n="$3" -v s="$4" 'BEGIN { print n / s }')" "${6:+$6 x $5}"
    LINES+=("{\"bench\":\"$1\",\"n\":$3,\"seconds\":$4,\"per_second\":$(awk -v n="$3" -v s="$4" 'BEGIN { printf "%.0f", n / s }'),\"against\":${5:+\"}${5:-null}${5:+\"},\"ratio\":${6:-null},\"repeat\":$REPEAT,\"load\":$(cut -d' ' -f1 /proc/loadavg),\"kernel\":\"$(uname -r)\",\"cores\":$(nproc)}")
}

{ lab_start && sami_setup && guard_start && sami_start; } >"$WORK/start.log" 2>&1 || die "no lab"
for N in "${sizes[@]}"; do
    ours=() theirs=()
    ns fw1 nft flush set inet guard syn4
    fill "$N"
    for ((i = 0; i < REPEAT; i++)); do
        ns fw2 nft flush set inet guard second_syn4
        start=$(now)
        ns fw1 nft list set inet guard syn4 | sed 's/set syn4/set second_syn4/' | ns fw2 nft -f - || die "nft"
        theirs+=("$(took "$start")")
        [ "$(elements 2)" -eq "$N" ] || die "nft has restored $(elements 2) of $N"
        ns fw2 nft flush set inet guard second_syn4
        start=$(now)
        ctl 1 migrate --vm $VM4 --to fw2.example --now --json >"$WORK/migrate" 2>&1 || die "migrate ended with $?: $(tail -n 1 "$WORK/migrate")"
        ours+=("$(took "$start")")
        [ "$(elements 2)" -eq "$N" ] || die "$(elements 2) of $N have moved"
    done
    mine=$(median "${ours[@]}") other=$(median "${theirs[@]}")
    row cumulative "whole move, DONE" "$N" "$mine" nft "$(awk -v a="$mine" -v b="$other" 'BEGIN { printf "%.3f", b / a }')"
    row cumulative-nft "nft list | nft -f" "$N" "$other" "" ""
done

# Lost while an element is written: firewall 1 tells of one more query each time, firewall 2 counts a flood, in the set and beside it.
queries() { ns fw2 nft list counter inet guard queries | sed -n 's/.*packets \([0-9]*\).*/\1/p'; }
ns fw1 nft flush set inet guard syn4
ns fw2 nft flush set inet guard second_dns4
ns fw2 nft 'add counter inet guard queries; add rule inet guard count udp dport 53 counter name queries'
lab_path 2
timeout 120 ip netns exec "${LAB}cli" python3 "$SRC/tests/e2e/flood.py" dns $BAD4 $VM4 10000000 &
FLOOD=$!
growing() { [ "$(queries)" -gt 1000 ]; }
poll 20 growing || die "no flood"
start=$(now) before=$(queries)
for ((i = 1; i <= MOVES; i++)); do
    [ "$i" -eq 1 ] || ns fw1 nft delete element inet guard dns4 "{ $BAD4 }"
    ns fw1 nft add element inet guard dns4 "{ $BAD4 counter packets $i bytes $((i * 53)) }"
    ctl 1 migrate --vm $VM4 --to fw2.example --now --json >"$WORK/migrate" 2>&1 || die "migrate ended with $?: $(tail -n 1 "$WORK/migrate")"
done
seconds=$(took "$start") after=$(queries)
kill "$FLOOD" 2>/dev/null
wait "$FLOOD" 2>/dev/null
quiet() { local n; n=$(queries); sleep 0.2; [ "$n" = "$(queries)" ]; }
poll 10 quiet || die "the flood does not end"
rate=$(awk -v n=$((after - before)) -v s="$seconds" 'BEGIN { printf "%.0f", n / s }')
lost=$(($(queries) + MOVES - $(packets 2 dns4 $BAD4)))
printf '%-34s %9d of %d, in %d writes at %d packets/s: %s us a write\n' "packets not counted" "$lost" "$(queries)" "$MOVES" "$rate" \
    "$(awk -v l="$lost" -v m="$MOVES" -v r="$rate" 'BEGIN { printf "%.0f", l / m / r * 1e6 }')"
LINES+=("{\"bench\":\"cumulative-lost\",\"n\":$lost,\"seconds\":$seconds,\"per_second\":$rate,\"against\":null,\"ratio\":null,\"repeat\":$MOVES,\"load\":$(cut -d' ' -f1 /proc/loadavg),\"kernel\":\"$(uname -r)\",\"cores\":$(nproc)}")
printf '%s\n' "${LINES[@]}"
