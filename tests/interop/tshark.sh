#!/usr/bin/env bash
# What sami-replay send puts on a network is IPFIX to tshark, out of a capture by tcpdump: every flow, nothing to complain of.
set -uo pipefail
. "${srcdir:?}/tests/interop/foreign.sh"
alone tshark tcpdump
sink udp 4739 "$WORK/sent.ipfix"
ip netns exec "${LAB}one" tcpdump -i lo -U -w "$WORK/sent.pcap" udp port 4739 >"$WORK/tcpdump.log" 2>&1 &
listening() { grep -qs 'listening on' "$WORK/tcpdump.log"; }
poll 10 listening || fail "tcpdump does not start"
send_journal 4739
n=$(replay stats --json "$JOURNAL" | sed 's/.*"messages":\([0-9]*\).*/\1/')
has_all() { [ "$(tcpdump -r "$WORK/sent.pcap" 2>/dev/null | wc -l)" -ge "$n" ]; }
poll 10 has_all || fail "not $n Messages in the capture"
tshark -r "$WORK/sent.pcap" -V >"$WORK/shown" 2>/dev/null || fail "tshark fails"
if grep -Ei 'malformed|expert.*(warn|error)|no template found|unknown field' "$WORK/shown"; then fail "tshark complains"; fi
ports() { sort -n | paste -sd ' '; }
theirs=$(sed -n 's/^ *SrcPort: \([0-9]*\) .*/\1/p' "$WORK/shown" | ports)
ours=$(replay dump --json "$JOURNAL" | grep -o '"sourceTransportPort":[0-9]*' | cut -d: -f2 | ports)
[ -n "$ours" ] && [ "$theirs" = "$ours" ] || fail "tshark shows the ports $theirs, not $ours"
replay dump --json "$WORK/sent.pcap" | sed 's/.*"template"/"template"/' >"$WORK/of-capture"
replay dump --json "$JOURNAL" | sed 's/.*"template"/"template"/' | cmp - "$WORK/of-capture" || fail "the capture is shown otherwise"
echo "tshark shows the ports $theirs"
