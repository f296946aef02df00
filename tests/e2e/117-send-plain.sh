#!/usr/bin/env bash
# sami-replay send --tcp and --udp: any collector gets the Messages, octet for octet or, where a datagram is too short, divided between records with
# templates again and again; the records are the same.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/send.sh"
send_lab || exit 1
sink() { # NAME tcp|udp HOST PORT
    rm -f "$WORK/$1" "$WORK/sink"
    ns fw1 python3 "$SRC/tests/e2e/sink.py" "$2" "$3" "$4" "$WORK/$1" >"$WORK/sink" 2>&1 &
    poll 10 grep -qs listening "$WORK/sink" || { cat "$WORK/sink"; exit 1; }
}
came() { [ "$(grep -c "^$1" "$WORK/sink")" -ge "$2" ]; }
number() { sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p" "$WORK/out"; }
cat >"$WORK/compare.py" <<'PY'
import sys
sys.path.insert(0, sys.argv[1])
from journal import records
signature = {(32473, 148)}
def read(path):
    octets = open(path, "rb").read()
    found = [r for r in records(octets) if not any(element == 148 and pen for pen, element in r)]
    n, at, lengths, sequences, sets = 0, 0, [], [], 0
    while at < len(octets):
        length = int.from_bytes(octets[at + 2 : at + 4], "big")
        lengths.append(length)
        sequences.append(int.from_bytes(octets[at + 8 : at + 12], "big"))
        at += length
    return found, lengths, sequences
a, b = read(sys.argv[2]), read(sys.argv[3])
assert len(a[0]) > 50 and a[0] == b[0], (len(a[0]), len(b[0]))
assert max(b[1]) <= int(sys.argv[4]), max(b[1])
assert b[2] == sorted(b[2]) and (len(sys.argv) < 6 or b[2][-1] <= len(a[0])), b[2]
print(len(a[0]), "records in", len(b[1]), "Messages of at most", max(b[1]), "octets")
PY
compare() { python3 "$WORK/compare.py" "$SRC/tests/interop" "$JOURNAL" "$WORK/$1" "$2" ${3:+"$3"} || { cat "$WORK/out" "$WORK/sink"; exit 1; }; }

sink tcp tcp 127.0.0.1 4739
fails 8 '^SENT ' replay send --tcp 127.0.0.1:4739 "$JOURNAL" "$JOURNAL"
grep -q 'neither encrypted nor authenticated' "$WORK/out" || { cat "$WORK/out"; exit 1; }
poll 10 came connection 2 || { cat "$WORK/sink"; exit 1; }
cmp "$JOURNAL" "$WORK/tcp" && cmp "$JOURNAL" "$WORK/tcp.1" || exit 1
# From a pipe.
fails 8 '"exit":8' bash -c 'ip netns exec "$1" "$2" send -q --json --tcp 127.0.0.1:4739 - <"$3"' - "${LAB}fw1" "$BUILD/sami-replay" "$JOURNAL"
poll 10 came connection 3 && cmp "$JOURNAL" "$WORK/tcp.2" || exit 1

# Every Message fits: as they are, signed, with templates between.
sink udp udp ::1 4739
fails 8 '"divided":0.*"exit":8' replay send --json --mtu 65000 --template-refresh 3 --udp '[::1]:4739' "$JOURNAL"
[ "$(number template_messages)" -gt 0 ] || { cat "$WORK/out"; exit 1; }
poll 10 came datagram "$(number messages)" || { cat "$WORK/sink"; exit 1; }
compare udp 65000
# Divided; a short pipe on the way shows that no datagram is a fragment.
sink divided udp 127.0.0.1 4740
fails 8 '"exit":8' replay send --json --mtu 600 --udp 127.0.0.1:4740 "$JOURNAL"
grep -q 'not signed any more' "$WORK/out" && [ "$(number divided)" -gt 0 ] && [ "$(number too_long)" -eq 0 ] || { cat "$WORK/out"; exit 1; }
poll 10 came datagram "$(number messages)" || { cat "$WORK/sink"; exit 1; }
compare divided 600 corrected

# At its time: twenty a second.
started=$(date +%s%N)
fails 8 '"exit":8' replay send --json --speed 20 --mtu 65000 --udp 127.0.0.1:4740 "$JOURNAL"
took=$((($(date +%s%N) - started) / 1000000))
[ $took -ge $((($(number messages) - 1) * 50)) ] || { echo "$took ms"; cat "$WORK/out"; exit 1; }

# What was captured of it goes on as well as the journal.
if command -v tcpdump >/dev/null; then
    ns fw1 tcpdump -i lo -U -w "$WORK/capture.pcap" port 4739 >"$WORK/tcpdump" 2>&1 &
    tcpdump=$!
    poll 10 grep -qs listening "$WORK/tcpdump" || { cat "$WORK/tcpdump"; exit 1; }
    fails 8 '^SENT ' replay send --tcp 127.0.0.1:4739 "$JOURNAL"
    captured() { "$BUILD/sami-replay" stats "$WORK/capture.pcap" 2>&1 | grep -c " $(stat -c %s "$JOURNAL") octets of them" >"$WORK/captured"; }
    poll 10 captured || { "$BUILD/sami-replay" stats "$WORK/capture.pcap"; exit 1; }
    kill "$tcpdump"
    sink again tcp 127.0.0.1 4741
    fails 8 '^SENT ' replay send --speed recorded --tcp 127.0.0.1:4741 "$WORK/capture.pcap"
    poll 10 came connection 1 && cmp "$JOURNAL" "$WORK/again" || exit 1
fi

# Nobody there; a file that is cut; Ctrl-C.
fails 1 '127.0.0.1:4799: Connection refused' replay send --tcp 127.0.0.1:4799 "$JOURNAL"
fails 1 '127.0.0.1:4799: nobody listens there' replay send --speed 20 --udp 127.0.0.1:4799 "$JOURNAL"
head -c -10 "$JOURNAL" >"$WORK/cut.ipfix"
fails 3 'cut.ipfix: octet [0-9]+: message-cut: the file ends after' replay send --tcp 127.0.0.1:4739 "$WORK/cut.ipfix"
fails 2 'goes with --udp only' replay send --mtu 500 --tcp 127.0.0.1:4739 "$JOURNAL"
rm -f "$WORK/out"
env --default-signal=INT ip netns exec "${LAB}fw1" "$BUILD/sami-replay" send --speed 1 --tcp 127.0.0.1:4739 "$JOURNAL" >"$WORK/out" 2>&1 &
slow=$!
poll 10 grep -qs neither "$WORK/out"
kill -INT $slow
wait $slow
[ $? -eq 4 ] && grep -q '^ABORTED' "$WORK/out" || { cat "$WORK/out"; exit 1; }

# A collector of somebody else over TLS (receipts=false): signed, and unconfirmed.
command -v openssl >/dev/null || lab_skip "openssl is not installed: all but TLS was shown"
lab_tcp_only "a collector that is a TLS server of OpenSSL: all but that was shown"
sed -i 's/^#* *receipts *=.*//; s/:4740/:4750/; /^\[peer\]/a receipts=false' "$WORK/fw1/peers.d/fw2.example.conf"
mkfifo "$WORK/input" # at the end of its input s_server leaves
exec 8<>"$WORK/input"
ns fw2 openssl s_server -accept 10.255.0.2:4750 -cert "$WORK/fw2/tls.crt" -key "$WORK/fw2/tls.key" -tls1_3 -Verify 1 -verify_quiet \
    -quiet -naccept 1 <"$WORK/input" >"$WORK/plain.ipfix" 2>"$WORK/server" &
listens() { ns fw2 ss -Htln 'sport = :4750' | grep -q LISTEN; }
poll 10 listens || { cat "$WORK/server"; exit 1; }
fails 8 'unconfirmed: fw2.example is a plain collector' replay send --to fw2.example -c "$WORK/fw1/sami.conf" "$JOURNAL"
validates() { "$BUILD/sami-replay" stats "$WORK/plain.ipfix" >"$WORK/out" 2>&1; }
poll 10 validates || { cat "$WORK/out" "$WORK/server"; exit 1; }
