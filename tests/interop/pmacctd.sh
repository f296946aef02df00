#!/usr/bin/env bash
# pmacct's own exporter (pmacctd with nfprobe), which counts as RFC 7011 has it and sends elements of its own: sami-replay shows what it saw, nothing else
# is said, and its elements go by number.
set -uo pipefail
. "${srcdir:?}/tests/interop/foreign.sh"
alone pmacctd
python3 "$srcdir/tests/interop/packets.py" "$WORK/seen.pcap" 100 >"$WORK/conversations" || exit 1
sink udp 4739 "$WORK/flows.ipfix"
cat >"$WORK/pmacctd.conf" <<CONF
daemonize: false
pcap_savefile: $WORK/seen.pcap
plugins: nfprobe[flows]
aggregate[flows]: src_host, dst_host, src_port, dst_port, proto, label
nfprobe_receiver: 127.0.0.1:4739
nfprobe_version: 10
nfprobe_timeouts: general=1:maxlife=1:expint=1
post_tag: 7
set_label: tea
CONF
ip netns exec "${LAB}one" pmacctd -f "$WORK/pmacctd.conf" >"$WORK/pmacctd.log" 2>&1 &
disown # lab_stop kills it: it takes long to end by itself
has_all() { replay dump --json "$WORK/flows.ipfix" >"$WORK/dump" 2>/dev/null && [ "$(grep -c '"kind":"foreign"' "$WORK/dump")" -eq "$(wc -l <"$WORK/conversations")" ]; }
poll 10 has_all || fail "$(grep -c . "$WORK/dump") records: $(replay stats "$WORK/flows.ipfix")"
flows softflowd "$WORK/conversations" "$WORK/dump" || fail "other flows"
replay validate --unsigned "$WORK/flows.ipfix" >"$WORK/validated" || fail "$(cat "$WORK/validated")"
grep -q '"e43874id[0-9]*":"[0-9a-f]*"' "$WORK/dump" || fail "no elements by number: $(head -n 1 "$WORK/dump")"
