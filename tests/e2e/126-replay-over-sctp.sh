#!/usr/bin/env bash
# sami-replay send --to goes over DTLS/SCTP where the configuration says so: with all receipts, the same table at the third firewall, and an end in words where
# there is no collector. Of a capture of it sami-replay says once that it is DTLS, and gives nothing out; beside it, what can be read is.
set -uo pipefail
# shellcheck disable=SC2034 # testbed.sh reads it
TRANSPORT=sctp
. "${srcdir:-.}/tests/e2e/send.sh"
command -v tcpdump >/dev/null || lab_skip "tcpdump is not installed"
send_lab && send_third || exit 1
grep -q 'SCTP in UDP port 9899' "$WORK/collector3.log" || { echo "not SCTP"; cat "$WORK/collector3.log"; exit 1; }
to3() { replay send --to fw3.example -c "$WORK/fw1/sami.conf" "$@"; }

ip netns exec "${LAB}fw1" tcpdump -Z root --immediate-mode -i mgmt1 -U -w "$WORK/capture" udp port 9899 2>"$WORK/tcpdump.log" &
TCPDUMP=$!
poll 10 grep -qs 'listening on' "$WORK/tcpdump.log" || { cat "$WORK/tcpdump.log"; exit 1; }
fails 0 '^DONE' to3 "$JOURNAL"
for word in OPENED SNAPSHOT READY FINAL; do grep -q "^$word " "$WORK/out" || { echo "no $word"; cat "$WORK/out"; exit 1; }; done
grep -Eq '^FINAL .* 8 exact, 0 degraded, 0 refused' "$WORK/out" || { cat "$WORK/out"; exit 1; }
! grep -q 'SCTP' "$WORK/out" || { echo "it says which SCTP this is: that is for the logs of daemons"; cat "$WORK/out"; exit 1; }
"$BUILD/sami-table" compare "${LAB}fw2" "${LAB}fw3" --tolerance 3 >"$WORK/compare" && grep -q '^entries 8 8 equal 8 ' "$WORK/compare" ||
    { cat "$WORK/compare" "$WORK/out" "$WORK/collector3.log"; exit 1; }
is_over() { tshark -r "$WORK/capture" -Y 'sctp.chunk_type == 14' 2>/dev/null | grep -q .; } # SHUTDOWN COMPLETE
if command -v tshark >/dev/null; then poll 10 is_over || { echo "the association does not end"; exit 1; }; fi
kill -INT $TCPDUMP
wait $TCPDUMP

told() { [ "$(grep -c 'this association is DTLS (RFC 6083), which is not read: the collector.s journal' "$WORK/out")" -eq 1 ] || { cat "$WORK/out"; exit 1; }; }
# A packet of SCTP is a packet of IP.
[ "$(tcpdump -n -r "$WORK/capture" 'ip[6:2] & 0x3fff != 0' 2>/dev/null | wc -l)" -eq 0 ] || { echo "fragments of IP"; tcpdump -n -r "$WORK/capture"; exit 1; }
fails 3 '^ *1 broken rules' replay stats "$WORK/capture"
for verb in dump validate; do
    fails 3 'this association is DTLS' replay $verb "$WORK/capture"
    told
    ! grep -Eq 'ctTcpState|10[.]0[.]0[.]13' "$WORK/out" || { cat "$WORK/out"; exit 1; }
done
# The journal has it.
fails 0 ' Messages' replay stats "$JOURNAL"

kill "$THIRD"
gone() { [ -z "$(ip netns pids "${LAB}fw3")" ]; }
poll 10 gone || { echo "the collector does not end"; exit 1; }
fails 1 'cannot connect to fw3.example at 10.255.1.3:4740: ' to3 "$JOURNAL"
