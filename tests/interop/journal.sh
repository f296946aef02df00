#!/usr/bin/env bash
# A journal is an IPFIX file that programs of others read: tshark and ipfixDump decode it without a complaint, Python's ipfix module has the values
# that sami-replay shows, and what the stream says of its elements (RFC 5610) is what the registry for other programs says.
set -uo pipefail
. "${srcdir:?}/tests/interop/foreign.sh"
command -v tshark >/dev/null && command -v ipfixDump >/dev/null || lab_skip "tshark or ipfixDump is not installed"
lab_start && sami_setup && sami_start || exit 1
for port in 1001 1002 1003; do
    ns fw1 conntrack -I -p tcp -s $VM4 -d $CLI4 --sport $port --dport 443 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED >/dev/null 2>&1
done
# A flow that names the VM, but another one is its end: not sent, and reported as RFC 7011 §4.3 has it.
ns fw1 conntrack -I -p tcp -s $CLI4 -d $VM4 --sport 1004 --dport 80 --dst-nat 10.0.0.99:80 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED >/dev/null 2>&1
ctl 1 migrate --vm $VM4 --to fw2.example --now --json >"$WORK/out" 2>&1 || { cat "$WORK/out"; exit 1; }
journal=$(ls "$WORK"/journal2/*.ipfix)
tshark -r "$journal" -V >"$WORK/tshark" 2>"$WORK/tshark.err" || { cat "$WORK/tshark.err"; exit 1; }
if grep -Ei 'malformed|expert.*(warn|error)|no template found|unknown field' "$WORK/tshark"; then exit 1; fi
for port in 1001 1002 1003; do
    grep -q "SrcPort: $port" "$WORK/tshark" || { echo "tshark does not show port $port"; grep -m 40 -n . "$WORK/tshark"; exit 1; }
done
"$BUILD/protocol-tables" --xml >"$WORK/sami.xml"
ipfixDump --in="$journal" -e "$WORK/sami.xml" >"$WORK/dump" 2>"$WORK/dump.err" || { cat "$WORK/dump.err"; exit 1; }
[ "$(grep -c 'Not Sent Flows: 1$' "$WORK/tshark")" -eq 1 ] && [ "$(grep -c 'Observation Time Milliseconds: ' "$WORK/tshark")" -eq 2 ] ||
    { echo "tshark does not show the statistics"; grep -n -i 'not sent' "$WORK/tshark"; exit 1; }
grep -q ctTcpState "$WORK/dump" && grep -q messageSignature "$WORK/dump" || { head -50 "$WORK/dump"; exit 1; }
grep -A1 -i 'notSentFlowTotalCount *: *1$' "$WORK/dump" | grep -q notSentPacketTotalCount ||
    { echo "ipfixDump does not show the statistics"; grep -n -i -A6 notSentFlow "$WORK/dump"; exit 1; }
if grep -v '^$' "$WORK/dump.err"; then exit 1; fi
if has_python_ipfix; then
    replay dump --json "$journal" >"$WORK/dump.json" && python_ipfix read "$journal" "$WORK/sami.xml" "$WORK/dump.json" || exit 1
else
    echo "python3-ipfix is not installed: not read by it"
fi
