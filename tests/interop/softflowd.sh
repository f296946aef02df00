#!/usr/bin/env bash
# softflowd is an exporter that knows nothing of SAMI: what it saw is what sami-replay shows, of its Messages over UDP and TCP, and of a capture of them.
set -uo pipefail
. "${srcdir:?}/tests/interop/foreign.sh"
alone softflowd tcpdump
python3 "$srcdir/tests/interop/packets.py" "$WORK/seen.pcap" 100 >"$WORK/conversations" || exit 1
same_flows() { # FILE
    replay dump --json "$1" >"$WORK/dump" || fail "$1: $(grep fault "$WORK/dump")"
    flows softflowd "$WORK/conversations" "$WORK/dump" || fail "$1: other flows"
}

for transport in udp tcp; do
    sink $transport 4739 "$WORK/$transport.ipfix"
    if [ $transport = udp ]; then
        ip netns exec "${LAB}one" tcpdump -i lo -U -w "$WORK/udp.pcap" udp port 4739 >"$WORK/tcpdump.log" 2>&1 &
        capture=$!
        listening() { grep -qs 'listening on' "$WORK/tcpdump.log"; }
        poll 10 listening || fail "tcpdump does not start"
    fi
    softflowd_sees "$WORK/seen.pcap" -v 10 -P $transport -n 127.0.0.1:4739
    poll 10 has_come "$WORK/$transport.ipfix" || fail "no flows over $transport"
    kill "$SINK"
    same_flows "$WORK/$transport.ipfix"
done
# It numbers a Message with the records up to its end, Options records not counted (RFC 7011 §3.1 has it otherwise): said, and no fault.
replay dump "$WORK/udp.ipfix" >"$WORK/table" 2>"$WORK/said" || fail "faults"
grep -q 'or the exporter counts those of the Message itself, too' "$WORK/said" || fail "no word of its Sequence Numbers: $(cat "$WORK/said")"
grep -q ' foreign-options .* samplingPacketInterval=1 .* interfaceName=' "$WORK/table" || fail "no options: $(head -n 5 "$WORK/table")"
replay validate --unsigned "$WORK/udp.ipfix" >"$WORK/validated"
[ $? -eq 3 ] && ! grep -v 'Sequence Number\|: ok, ' "$WORK/validated" | grep 'Message ' || fail "$(cat "$WORK/validated")"

# The same out of a capture.
frames() { tcpdump -r "$WORK/udp.pcap" 2>/dev/null | wc -l; }
captured() { [ "$(frames)" -eq "$(grep -c . "$WORK/table.messages")" ]; }
grep '^Message ' "$WORK/table" >"$WORK/table.messages"
poll 10 captured || fail "the capture has $(frames) datagrams"
kill $capture
same_flows "$WORK/udp.pcap"
replay dump "$WORK/udp.pcap" 2>/dev/null | grep -v '^Message ' >"$WORK/of-capture"
grep -v '^Message ' "$WORK/table" | cmp - "$WORK/of-capture" || fail "the capture is shown otherwise"
grep -q '"carrier":"udp",.*"ends":"127.0.0.1:[0-9]* > 127.0.0.1:4739"' "$WORK/dump" || fail "$(head -n 1 "$WORK/dump")"

# Other shapes of its records: both directions in one (RFC 5103), times of other kinds, addresses of Ethernet.
for options in "-b" "-A sec" "-A milli" "-A micro" "-A nano -T ether"; do
    sink udp 4739 "$WORK/other.ipfix"
    # shellcheck disable=SC2086
    softflowd_sees "$WORK/seen.pcap" -v 10 -n 127.0.0.1:4739 $options
    poll 10 has_come "$WORK/other.ipfix" || fail "no flows with $options"
    kill "$SINK"
    replay dump --json "$WORK/other.ipfix" >"$WORK/dump" || fail "$options: $(grep fault "$WORK/dump")"
    case $options in
    -b) grep -q '"packetDeltaCount":4,.*"sourceTransportPort":40001,.*"reversePacketDeltaCount":3' "$WORK/dump" ;;
    *sec*) grep -q '"flowStartSeconds":"2026-11-29T16:33:20Z"' "$WORK/dump" ;;
    *milli*) grep -q '"flowStartMilliseconds":"2026-11-29T16:33:20.000Z","flowEndMilliseconds":"2026-11-29T16:33:20.060Z"' "$WORK/dump" ;;
    *micro*) grep -q '"flowStartMicroseconds":"2026-11-29T16:33:20.000000Z","flowEndMicroseconds":"2026-11-29T16:33:20.060000Z"' "$WORK/dump" ;;
    *nano*) grep -q '"flowStartNanoseconds":"2026-11-29T16:33:20.[0-9]*Z",.*"sourceMacAddress":"08:09:0a:0b:0c:0d"' "$WORK/dump" ;;
    esac || fail "$options: $(head -n 3 "$WORK/dump")"
done

# The capture that it read has no IPFIX in it, which is no good news.
replay validate --unsigned "$WORK/seen.pcap" >"$WORK/said"
[ $? -eq 3 ] && grep -q 'no IPFIX Message in 221 packets' "$WORK/said" || fail "$(cat "$WORK/said")"
# NetFlow is no IPFIX: said, and refused.
sink udp 4739 "$WORK/v9"
softflowd_sees "$WORK/seen.pcap" -v 9 -n 127.0.0.1:4739
poll 10 has_come "$WORK/v9" || fail "no NetFlow"
kill "$SINK"
replay dump "$WORK/v9" >"$WORK/said" 2>&1
[ $? -eq 1 ] && grep -q 'NetFlow' "$WORK/said" || fail "$(cat "$WORK/said")"
