#!/usr/bin/env bash
# A capture of a migration over TLS and a key log are as good as the collector's journal: the exporter's Messages come out of it octet for octet, by the log
# of either end, and the receipts too. Another program reads the same capture by the same log. Without the log nothing comes out, and it is said why.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_tcp_only "captures of TLS; 126 has one of DTLS"
command -v tcpdump >/dev/null || lab_skip "tcpdump is not installed"
lab_start && sami_setup || exit 1
fail() { echo "FAIL $*"; tail -n 20 "$WORK"/*.log "$WORK/out" "$WORK/told" 2>/dev/null; exit 1; }
for n in 1 2; do echo "key-log=$WORK/keys$n" >>"$WORK/fw$n/sami.conf"; done
ip netns exec "${LAB}fw2" tcpdump -Z root --immediate-mode -i mgmt0 -U -s 0 -w "$WORK/capture" tcp port 4740 2>"$WORK/tcpdump.log" &
TCPDUMP=$!
poll 10 grep -q 'listening on' "$WORK/tcpdump.log" || fail "no tcpdump"
sami_start || exit 1
python3 - <<'PYTHON' >"$WORK/entries"
for port in range(1000, 3000):
    print(f"-I -p tcp -s 10.0.0.13 -d 198.51.100.10 --sport {port} --dport 443 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED")
PYTHON
ns fw1 conntrack -R "$WORK/entries" >/dev/null 2>"$WORK/out" || fail "no entries"
ctl 1 migrate --vm $VM4 --to fw2.example --now --json >"$WORK/out" 2>&1 || fail "migrate"
kill "${DAEMONS[@]}"
is_whole() { # both ends have said goodbye
    [ "$(tcpdump -r "$WORK/capture" 'tcp[tcpflags] & tcp-fin != 0' 2>/dev/null | sort -u | wc -l)" -ge 2 ]
}
poll 10 is_whole || fail "the session does not end"
kill -INT $TCPDUMP
wait $TCPDUMP
grep -q '^0 packets dropped by kernel' "$WORK/tcpdump.log" || lab_skip "tcpdump lost packets: $(cat "$WORK/tcpdump.log")"

cat "$WORK"/journal2/*.ipfix >"$WORK/journal"
for n in 1 2; do
    "$BUILD/sami-messages" --key-log "$WORK/keys$n" "$WORK/capture" 10.255.0.2:4740 >"$WORK/messages" 2>"$WORK/told" || fail "fw$n: not read"
    cmp "$WORK/journal" "$WORK/messages" || fail "fw$n: not the Messages of the journal"
    "$BUILD/sami-messages" --key-log "$WORK/keys$n" "$WORK/capture" >"$WORK/all" 2>"$WORK/told" || fail "fw$n: not read"
    [ "$(stat -c %s "$WORK/all")" -gt "$(stat -c %s "$WORK/messages")" ] || fail "fw$n: no receipts"
done
"$BUILD/sami-messages" "$WORK/capture" >"$WORK/messages" 2>"$WORK/told"
[ $? -eq 3 ] && [ ! -s "$WORK/messages" ] && grep -q 'key' "$WORK/told" || fail "without the key log"
if command -v tshark >/dev/null; then
    tshark -r "$WORK/capture" -o "tls.keylog_file:$WORK/keys2" -d tcp.port==4740,tls -z 'follow,tls,raw,0' -q >"$WORK/tshark" 2>"$WORK/out" || fail "tshark"
    # What node 1 sends stands behind a tabulator.
    grep -q '^Node 0: 10.255.0.2:4740' "$WORK/tshark" && tab=$'\t' || tab=
    sed -n "s/^$tab\([0-9a-f][0-9a-f]*\)\$/\1/p" "$WORK/tshark" |
        python3 -c 'import sys; sys.stdout.buffer.write(bytes.fromhex("".join(sys.stdin.read().split())))' >"$WORK/messages"
    cmp "$WORK/journal" "$WORK/messages" || fail "tshark reads something else"
else
    echo "without tshark"
fi
echo "$(stat -c %s "$WORK/journal") octets of Messages"
