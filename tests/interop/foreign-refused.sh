#!/usr/bin/env bash
# Streams of exporters that know nothing of SAMI, at the real collector, outside of TLS and inside, with a peer's own certificate: nothing of them is believed,
# the reason is counted and said, the session ends, the kernel's table stays, and a migration goes on as before.
set -uo pipefail
. "${srcdir:?}/tests/interop/foreign.sh"
. "$srcdir/tests/e2e/refused.sh"
trap lab_stop EXIT
for program in openssl softflowd; do command -v $program >/dev/null || lab_skip "$program is not installed"; done
python_ipfix_needed
refused_setup && sami_start || exit 1
python3 "$srcdir/tests/interop/packets.py" "$WORK/seen.pcap" 100 >"$WORK/conversations" || exit 1
LAB_MORE=(one)
ip netns add "${LAB}one" && ip -n "${LAB}one" link set lo up || exit 1
sink tcp 4739 "$WORK/softflowd.ipfix"
softflowd_sees "$WORK/seen.pcap" -v 10 -P tcp -n 127.0.0.1:4739
poll 10 has_come "$WORK/softflowd.ipfix" || fail softflowd "no flows"
kill "$SINK"
python_ipfix write "$WORK/python.ipfix" >"$WORK/wrote" || exit 1

# A signal may end it when the connection is gone.
live() { ns fw1 timeout 20 softflowd -d -6 -r "$WORK/seen.pcap" -p "$WORK/softflowd.pid" -c none -v 10 -P tcp -n 10.255.0.2:4740; echo "ended with $?"; }
plain() { ns fw1 timeout 20 python3 "$srcdir/tests/interop/sender.py" 10.255.0.2 4740 "$WORK/$1.ipfix"; }
# As fw1.example. What the collector says before it ends the session is what sami-replay shows.
inside_tls() {
    ns fw1 timeout 20 python3 "$srcdir/tests/interop/sender.py" 10.255.0.2 4740 "$1" "$WORK/fw1/tls.crt" "$WORK/fw1/tls.key" "$WORK/said.ipfix" || return
    "$BUILD/sami-replay" dump -c "$WORK/fw1/sami.conf" "$WORK/said.ipfix"
}
refused softflowd-live refused_handshake_other_total 1 'ended with' live
for exporter in softflowd python; do
    refused $exporter-plain refused_handshake_other_total 1 'closed' plain $exporter
    refused $exporter-inside-tls refused_not-signed_total 1 'not-signed' inside_tls "$WORK/$exporter.ipfix"
done
# A journal of ours, of another session, as somebody would replay it.
refused journal-inside-tls refused_unknown-signer_total 1 'unknown-signer' inside_tls "$JOURNAL"
honest_migration 1001 || exit 1
refused_end
