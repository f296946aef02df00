#!/usr/bin/env bash
# A plain collector (receipts=false): any TLS server takes the stream as IPFIX, nothing is confirmed, and no gate is opened.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_tcp_only "a collector that is a TLS server of OpenSSL"
command -v openssl >/dev/null && command -v ipfixDump >/dev/null || lab_skip "openssl or ipfixDump is not installed"
lab_start && sami_setup || exit 1
sed -i 's/^#* *receipts *=.*//; /^\[peer\]/a receipts=false' "$WORK/fw1/peers.d/fw2.example.conf"
ns fw1 "$BUILD/sami-exporter" -c "$WORK/fw1/sami.conf" -f >"$WORK/exporter.log" 2>&1 &
# The input stays open: at its end s_server leaves.
mkfifo "$WORK/input"
exec 8<>"$WORK/input"
ns fw2 openssl s_server -accept 10.255.0.2:4740 -cert "$WORK/fw2/tls.crt" -key "$WORK/fw2/tls.key" -tls1_3 -Verify 1 -verify_quiet \
    -quiet -naccept 2 <"$WORK/input" >"$WORK/plain.ipfix" 2>"$WORK/server" &
poll 10 test -S "$WORK/run1/exporter.sock" || { cat "$WORK/exporter.log"; exit 1; }
listens() { ns fw2 ss -Htln 'sport = :4740' | grep -q LISTEN; }
poll 10 listens || { cat "$WORK/server"; exit 1; }
for port in 1001 1002 1003; do
    ns fw1 conntrack -I -p tcp -s $VM4 -d $CLI4 --sport $port --dport 443 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED >/dev/null 2>&1
done
ctl 1 migrate --vm $VM4 --to fw2.example --now --json >"$WORK/out" 2>"$WORK/err"
status=$?
[ $status -eq 8 ] && grep -q unconfirmed "$WORK/out" "$WORK/err" || { echo "exit $status, not 8"; cat "$WORK/out" "$WORK/err" "$WORK"/*.log "$WORK/server"; exit 1; }
"$BUILD/protocol-tables" --xml >"$WORK/sami.xml"
complete() { ipfixDump --in="$WORK/plain.ipfix" -e "$WORK/sami.xml" 2>"$WORK/dump.err" >"$WORK/dump" && grep -q samiRecordsSoFar "$WORK/dump"; }
poll 10 complete || { cat "$WORK/dump.err"; exit 1; }
[ "$(grep -c 'ctTcpState' "$WORK/dump")" -ge 3 ] || { grep -c . "$WORK/dump"; exit 1; }
# Held, then given up: nobody to tell, nothing to take back.
ctl 1 migrate --vm $VM4 --to fw2.example --json >"$WORK/held" 2>&1 &
held=$!
poll 10 grep -q '"phase":"FOLLOW"' "$WORK/held" || { cat "$WORK/held"; exit 1; }
id=$(sed -n 's/.*"id":"\([0-9a-f]*\)".*/\1/p' "$WORK/held" | head -n 1)
ctl 1 abort "$id" || exit 1
wait $held
[ $? -eq 4 ] || { tail -n 2 "$WORK/held"; exit 1; }
