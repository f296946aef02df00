#!/usr/bin/env bash
# nfcapd, a collector that knows nothing of SAMI, takes a journal from sami-replay send --udp; nfdump shows its flows, with counters and translation.
set -uo pipefail
. "${srcdir:?}/tests/interop/foreign.sh"
alone nfcapd nfdump
mkdir "$WORK/flows"
ip netns exec "${LAB}one" nfcapd -w "$WORK/flows" -b 127.0.0.1 -p 9995 >"$WORK/nfcapd.log" 2>&1 &
collector=$!
poll 10 listens 9995 || fail "nfcapd does not listen"
send_journal 9995
poll 10 has_read 9995 || fail "nfcapd does not read"
kill $collector # it writes its file at its end
wait $collector
nfdump -R "$WORK/flows" -o json >"$WORK/json" 2>"$WORK/nfdump.log" || fail "nfdump does not read what nfcapd wrote"
replay dump --json "$JOURNAL" >"$WORK/dump" || fail "no dump"
flows nfdump "$WORK/json" "$WORK/dump" || fail "nfdump shows other flows"
grep -q 'Bad Packets: 0' "$WORK/nfcapd.log" || fail "bad packets"
