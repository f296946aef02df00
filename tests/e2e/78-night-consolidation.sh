#!/usr/bin/env bash
# night-consolidation, the draft's distributed firewalls at night: the VMs of eight small firewalls go to one, all at the same time; in the
# morning that one gives them back to all eight at the same time. All are done, none starves, the memory of each daemon is bounded, and a
# collector that stands still makes no exporter grow.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
. "${srcdir:-.}/tests/e2e/many.sh"
VMS=5 FLOWS=250 # of each of eight firewalls
[ -z "${SAMI_LONG:-}" ] || VMS=25
ALL=$((8 * VMS)) ENTRIES=$((8 * VMS * FLOWS))
HUB=9
MOVES=()
fail() { echo "FAIL $*"; tail -n 5 "$WORK"/*.log; exit 1; }
many_start 9 || exit 1
for ((i = 1; i <= 8; i++)); do many_pair $i $HUB || exit 1; done
for ((i = 1; i <= 8; i++)); do many_daemon exporter $i && many_daemon collector $i || exit 1; done
many_daemon collector $HUB && many_daemon exporter $HUB || exit 1
count() { "$BUILD/sami-table" -n "${LAB}fw$1" count; }
for ((i = 1; i <= 8; i++)); do
    for ((k = 1; k <= VMS; k++)); do many_fill $i "$(many_vm $i $k)" $FLOWS $((k * FLOWS)) || exit 1; done
    "$BUILD/sami-table" -n "${LAB}fw$i" save "$WORK/table-$i" >/dev/null
done
idle_hub=$(many_peak $HUB sami-collector state)
idle_exporter=$(many_peak 1 sami-exporter state)

echo "--- evening: $ALL VMs with $FLOWS sessions each, from eight exporters to one collector"
: >"$WORK/moves"
for ((k = 1; k <= VMS; k++)); do for ((i = 1; i <= 8; i++)); do many_move $i "$(many_vm $i $k)" $HUB; done; done
wait "${MOVES[@]}"
many_report $ALL || fail "not all $ALL moved: $(cat "$WORK"/move-* | grep -v '"event"' | tail -n 3)"
[ "$(count $HUB)" -eq $ENTRIES ] || fail "$(count $HUB) entries at the destination, not $ENTRIES"
# Each exporter's migrations are done at about the same pace: none waits for all others.
awk '{ last[$3] = $2 > last[$3] ? $2 : last[$3] } END { for (f in last) print "  firewall " f ": last of its VMs after " last[f] " ms" }' "$WORK/moves" | sort
hub=$(many_peak $HUB sami-collector state)
exporter=0
for ((i = 1; i <= 8; i++)); do p=$(many_peak $i sami-exporter state); [ "$p" -le $exporter ] || exporter=$p; done
echo "peaks: collector $hub KiB (idle $idle_hub), largest exporter $exporter KiB (idle $idle_exporter)"
# A ledger entry is 96 octets; a migration has its encoder, decoder and batches, and on a fast machine all of them run at once.
lab_within $((hub - idle_hub)) $((ENTRIES * 96 / 1024 + ALL * 1024 + 8192)) || fail "the collector grew by $((hub - idle_hub)) KiB"
lab_within $((exporter - idle_exporter)) $((VMS * 2048 + 8192)) || fail "an exporter grew by $((exporter - idle_exporter)) KiB"

echo "--- morning: back, from one exporter to eight collectors"
for ((i = 1; i <= 8; i++)); do "$BUILD/sami-table" -n "${LAB}fw$i" flush; done
: >"$WORK/moves"
MOVES=()
for ((k = 1; k <= VMS; k++)); do for ((i = 1; i <= 8; i++)); do many_move $HUB "$(many_vm $i $k)" $i; done; done
wait "${MOVES[@]}"
many_report $ALL || fail "not all $ALL moved back: $(cat "$WORK"/move-* | grep -v '"event"' | tail -n 3)"
for ((i = 1; i <= 8; i++)); do
    "$BUILD/sami-table" compare "$WORK/table-$i" "${LAB}fw$i" --tolerance 15 >"$WORK/compare" || { cat "$WORK/compare"; fail "firewall $i has not got back what it gave"; }
done
echo "each firewall has what it had: $(tail -n 1 "$WORK/compare")"
hub=$(many_peak $HUB sami-exporter state)
echo "peak of the one exporter with $ALL migrations: $hub KiB"
lab_within $((hub - idle_exporter)) $((ALL * 2048 + 8192)) || fail "the exporter grew by $((hub - idle_exporter)) KiB"
