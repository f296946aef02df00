#!/usr/bin/env bash
# dc-consolidation, the draft's move between data centres: a pair of firewalls on each side, and the VMs of both of one side go to both of the
# other, crosswise and all at the same time. All are done, every entry is there and equal, and each side's table is as it was given.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
. "${srcdir:-.}/tests/e2e/many.sh"
VMS=5 FLOWS=250 # for each way: 1 -> 3, 1 -> 4, 2 -> 3, 2 -> 4
[ -z "${SAMI_LONG:-}" ] || VMS=50
ALL=$((4 * VMS))
MOVES=()
fail() { echo "FAIL $*"; tail -n 5 "$WORK"/*.log; exit 1; }
many_start 4 || exit 1
for from in 1 2; do for to in 3 4; do many_pair $from $to || exit 1; done; done
for i in 1 2; do many_daemon exporter $i || exit 1; done
for i in 3 4; do many_daemon collector $i || exit 1; done
for i in 1 2; do
    for ((k = 1; k <= 2 * VMS; k++)); do many_fill $i "$(many_vm $i $k)" $FLOWS $((((i - 1) * 2 * VMS + k) * FLOWS)) || exit 1; done
done
: >"$WORK/moves"
for ((k = 1; k <= VMS; k++)); do
    for i in 1 2; do
        many_move $i "$(many_vm $i $k)" 3
        many_move $i "$(many_vm $i $((VMS + k)))" 4
    done
done
wait "${MOVES[@]}"
many_report $ALL || fail "not all $ALL moved: $(cat "$WORK"/move-* | grep -v '"event"' | tail -n 3)"
lines() { for i in "$@"; do "$BUILD/sami-table" -n "${LAB}fw$i" print; done | sed 's/ flags .*//' | sort; }
lines 1 2 >"$WORK/left-side"
lines 3 4 >"$WORK/right-side"
cmp -s "$WORK/left-side" "$WORK/right-side" || { diff "$WORK/left-side" "$WORK/right-side" | head; fail "what arrived is not what left"; }
[ "$(wc -l <"$WORK/right-side")" -eq $((ALL * FLOWS)) ] || fail "$(wc -l <"$WORK/right-side") entries, not $((ALL * FLOWS))"
for i in 3 4; do
    n=$("$BUILD/sami-table" -n "${LAB}fw$i" count)
    [ "$n" -eq $((2 * VMS * FLOWS)) ] || fail "$n entries at firewall $i"
done
for i in 1 2; do echo "peak of exporter $i: $(many_peak $i sami-exporter state) KiB"; done
for i in 3 4; do echo "peak of collector $i: $(many_peak $i sami-collector state) KiB"; done
echo "$((ALL * FLOWS)) sessions of $ALL VMs are on the other side"
