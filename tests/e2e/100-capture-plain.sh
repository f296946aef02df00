#!/usr/bin/env bash
# Captures of tcpdump hold the Messages that were sent, octet for octet. The daemons speak TLS only, so what goes in plain TCP is what came out of it: the
# stream that a plain collector (receipts=false) takes off its TLS, passed on as it comes, and the journal of a real move, passed on over a link that
# loses packets before and behind the capture, over two connections at once.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_tcp_only "captures of TCP; 126 has one of DTLS"
command -v tcpdump >/dev/null || lab_skip "tcpdump is not installed"
command -v openssl >/dev/null || lab_skip "openssl is not installed"
lab_start && sami_setup || exit 1
fail() { echo "FAIL $*"; tail -n 20 "$WORK"/*.log "$WORK"/out* "$WORK"/told 2>/dev/null; exit 1; }
plain() { python3 "$SRC/tests/e2e/plain.py" "$@"; }

sink_start() { # NS PORT FILE
    ns "$1" python3 "$SRC/tests/e2e/plain.py" sink "$2" "$3" >"$3.sink" 2>&1 &
    poll 10 grep -qs listening "$3.sink" || fail "no sink"
}
capture_start() { # NS DEVICE FILE FILTER
    ip netns exec "$LAB$1" tcpdump -Z root -i "$2" -n -U -B 8192 -w "$3" "$4" 2>"$3.log" &
    TCPDUMP=$!
    poll 10 grep -qs 'listening on' "$3.log" || fail "no tcpdump"
}
# FILE N: ends when both ends of all its N connections have said goodbye.
capture_stop() {
    is_whole() { [ "$(tcpdump -n -r "$1" 'tcp[tcpflags] & tcp-fin != 0' 2>/dev/null | sed 's/.* IP \(.*\): .*/\1/' | sort -u | wc -l)" -ge $((2 * $2)) ]; }
    poll 10 is_whole "$1" "$2" || fail "a connection does not end in $1"
    kill -INT "$TCPDUMP"
    wait "$TCPDUMP"
    grep -q '^0 packets dropped by kernel' "$1.log" || lab_skip "tcpdump lost packets: $(cat "$1.log")"
}
messages() { "$BUILD/sami-messages" "$@" >"$WORK/messages" 2>"$WORK/told"; }

for port in $(seq 1000 2000); do
    echo "-I -p tcp -s $VM4 -d $CLI4 --sport $port --dport 443 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED"
done >"$WORK/entries"
ns fw1 conntrack -R "$WORK/entries" >/dev/null 2>"$WORK/out" || fail "no entries"

# A real move; its journal.
sami_start || exit 1
ctl 1 migrate --vm $VM4 --to fw2.example --now --json >"$WORK/out" 2>&1 || fail "migrate"
kill "${DAEMONS[@]}"
poll 10 test ! -S "$WORK/run2/collector.sock" || fail "the collector does not end"
poll 10 test ! -S "$WORK/run1/exporter.sock" || fail "the exporter does not end"
cat "$WORK"/journal2/*.ipfix >"$WORK/journal"

# The journal in plain TCP from the VM to the client. Some packets are lost before the capture, and come out of their order when they are sent again; some
# behind it, and come twice.
lose() { # NS HOOK
    ns "$1" nft -f - 2>"$WORK/out" <<NFT || fail "nft"
table inet lose {
    chain lose {
        type filter hook $2 priority -10
        tcp dport { 4739, 5000 } tcp flags & (syn|fin) == 0x0 numgen random mod 100 < 3 counter drop
    }
}
NFT
}
ns fw1 nft insert rule inet filter forward tcp dport '{ 4739, 5000 }' accept || fail "nft"
lose fw1 forward
lose cli prerouting
ns vm ip link set v1 mtu 600 gso_max_segs 1 || fail "link" # many packets, as on a wire
capture_start cli c1 "$WORK/lossy.pcap" 'tcp and (port 4739 or port 5000)'
sink_start cli 4739 "$WORK/sink1"
sink_start cli 5000 "$WORK/sink2"
ns vm python3 "$SRC/tests/e2e/plain.py" send $CLI4 4739 <"$WORK/journal" &
first=$!
ns vm python3 "$SRC/tests/e2e/plain.py" send $CLI4 5000 <"$WORK/journal" || fail "not sent"
wait $first || fail "not sent"
capture_stop "$WORK/lossy.pcap" 2
for n in cli fw1; do
    ns $n nft list chain inet lose lose | grep 'packets [1-9]' >/dev/null || fail "$n lost nothing"
done
for port in 4739 5000; do
    messages "$WORK/lossy.pcap" "$CLI4:$port" || fail "port $port: not read"
    cmp "$WORK/journal" "$WORK/messages" || fail "port $port: not the Messages of the journal"
done
# From a pipe, too.
tcpdump -n -r "$WORK/lossy.pcap" -w - 2>/dev/null | messages - $CLI4:4739 || fail "a pipe is not read"
cmp "$WORK/journal" "$WORK/messages" || fail "the pipe: not the Messages of the journal"
echo "journal of $(stat -c %s "$WORK/journal") octets in $(tcpdump -n -r "$WORK/lossy.pcap" 2>/dev/null | wc -l) packets"

# The exporter to a plain collector, which passes on what it gets over the management link.
sed -i 's/^#* *receipts *=.*//; /^\[peer\]/a receipts=false' "$WORK/fw1/peers.d/fw2.example.conf"
capture_start fw1 mgmt0 "$WORK/plain.pcap" 'tcp and (port 4739 or port 4740)'
sink_start fw1 4739 "$WORK/sink3"
mkfifo "$WORK/input"
exec 8<>"$WORK/input" # at its end s_server leaves
ns fw2 openssl s_server -accept 10.255.0.2:4740 -cert "$WORK/fw2/tls.crt" -key "$WORK/fw2/tls.key" -tls1_3 -Verify 1 -verify_quiet \
    -quiet -naccept 1 <"$WORK/input" 2>"$WORK/server.log" | ns fw2 python3 "$SRC/tests/e2e/plain.py" send 10.255.0.1 4739 &
listens() { ns fw2 ss -Htln 'sport = :4740' | grep -q LISTEN; }
poll 10 listens || fail "no TLS server"
ns fw1 "$BUILD/sami-exporter" -c "$WORK/fw1/sami.conf" -f >"$WORK/exporter.log" 2>&1 &
poll 10 test -S "$WORK/run1/exporter.sock" || fail "no exporter"
ctl 1 migrate --vm $VM4 --to fw2.example --now --json >"$WORK/out" 2>&1
[ $? -eq 8 ] || fail "not unconfirmed"
poll 10 grep -q ended "$WORK/sink3.sink" || fail "the stream does not end"
capture_stop "$WORK/plain.pcap" 2
messages "$WORK/plain.pcap" 10.255.0.1:4739
[ $? -eq 3 ] && grep -q 'this connection is TLS' "$WORK/told" && [ "$(wc -l <"$WORK/told")" -eq 1 ] || fail "what it says of TLS"
[ -s "$WORK/sink3" ] && cmp "$WORK/sink3" "$WORK/messages" || fail "not the Messages of the exporter"
echo "stream of $(stat -c %s "$WORK/sink3") octets"
