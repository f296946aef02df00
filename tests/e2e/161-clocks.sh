#!/usr/bin/env bash
# The wall clocks of the two firewalls are five hours apart, either way: a move is what it is otherwise, timeouts included, and a clean-up of the source too.
# And a stream whose Export Time is years off: wall clocks are never compared.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_has_sanitizers && lab_skip "AddressSanitizer wants to be loaded before the other clock"
lab_start && sami_setup || exit 1
for n in 1 2; do lab_untracked fw$n || exit 1; done
die() { echo "FAIL $*"; tail -n 3 "$WORK/migrate" "$WORK/answer" 2>/dev/null; tail -n 10 "$WORK"/*.log; exit 1; }
sami_start || exit 1
for hours in 5 -5; do
    kill "${DAEMONS[1]}"
    gone() { ! kill -0 "${DAEMONS[1]}" 2>/dev/null; }
    poll 10 gone || die "the exporter does not end"
    rm -f "$WORK/run1/exporter.sock"
    CLOCK_SHIFT=$((hours * 3600)) LD_PRELOAD="$BUILD/clock-shift.so" ip netns exec "${LAB}fw1" "$BUILD/sami-exporter" -c "$WORK/fw1/sami.conf" -f >"$WORK/exporter.log" 2>&1 &
    DAEMONS[1]=$!
    disown
    poll 10 test -S "$WORK/run1/exporter.sock" || die "no exporter whose clock is $hours hours off"
    "$BUILD/sami-table" -n "${LAB}fw1" fill 300 --kind mixed >/dev/null || die "fill"
    "$BUILD/sami-table" -n "${LAB}fw1" save "$WORK/before" >/dev/null
    ctl 1 migrate --vm $VM4,$VM6 --to fw2.example --now --purge --json >"$WORK/migrate" 2>&1 || die "$hours hours: migrate ended with $?"
    tail -n 1 "$WORK/migrate" | grep -q '"removed" *: *300' || die "$hours hours: not 300 entries were removed at the source"
    "$BUILD/sami-table" compare "$WORK/before" "${LAB}fw2" --tolerance 3 >"$WORK/answer" || die "$hours hours: the tables differ"
    "$BUILD/sami-table" -n "${LAB}fw2" flush
    echo "ok   $hours hours: $(grep '^entries' "$WORK/answer")"
done
# What our own clock says is in what we send: the answers to it were dated with another.
for pair in 5:1 -5:2; do
    journal=$(find "$WORK/journal2" -name '*.ipfix' -printf '%T@ %p\n' | sort -n | cut -d ' ' -f 2- | sed -n "${pair#*:}p") # by name two of one second are in any order
    said=$(od -An -tu4 --endian=big -j4 -N4 "$journal" | tr -d ' ')
    apart=$(((said - $(stat -c %Y "$journal")) / 60))
    [ $((apart - ${pair%:*} * 60)) -ge -5 ] && [ $((apart - ${pair%:*} * 60)) -le 5 ] || die "Export Time is $apart minutes off: the clock was not shifted"
done
if [ "$TRANSPORT" = tcp ]; then
    for years in 20 -20; do
        ns fw1 timeout 20 "$BUILD/hostile" "$WORK/fw1/sami.conf" fw2.example "export-time:$((years * 31536000))" >"$WORK/answer" 2>&1 || die "Export Time $years years off"
        echo "ok   Export Time $years years off: $(cat "$WORK/answer")"
    done
fi
