#!/usr/bin/env bash
# sami-replay send --to that does not end well: refused by the collector or by what the file is, nobody there, interrupted. The reason is told, the exit
# code says it, and nothing stays at the collector.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/send.sh"
send_lab && send_third || exit 1
to3() { replay send --to fw3.example -c "$WORK/fw1/sami.conf" "$@"; }
none() { [ "$(count 3)" -eq 0 ] || { echo "something stays at firewall 3"; ns fw3 conntrack -L; exit 1; }; }

# The collector's policy.
signer=$WORK/fw3/signers.d/fw1.example.conf
reloads() { grep -c reloaded "$WORK/collector3.log"; }
reloaded() { [ "$(reloads)" -gt "$1" ]; }
reload() {
    local before
    before=$(reloads)
    kill -HUP "$THIRD" && poll 10 reloaded "$before" || { cat "$WORK/collector3.log"; exit 1; }
}
cp "$signer" "$WORK/signer"
sed -i 's/^allow-prefixes *=.*/allow-prefixes=10.0.0.0\/24/' "$signer"
reload
fails 3 'fw3.example refused: vm-not-allowed: 2001:db8:a::13' to3 "$JOURNAL"
sed 's/^nat-addresses *=.*//' "$WORK/signer" >"$signer"
reload
fails 6 '^refused +nat-address: tcp .*1005' to3 "$JOURNAL"
grep -q '^DONE' "$WORK/out" || { cat "$WORK/out"; exit 1; }
ns fw3 conntrack -F >/dev/null 2>&1
rm "$signer"
reload
fails 3 'fw3.example refused: unknown-signer' to3 "$JOURNAL"
none
cp "$WORK/signer" "$signer"
reload

# The file: changed, of a signer that nobody knows here, of two migrations, no journal at all.
python3 -c 'import sys
octets = bytearray(open(sys.argv[1], "rb").read())
octets[-700] ^= 1 # behind the first records
open(sys.argv[2], "wb").write(octets)' "$JOURNAL" "$WORK/changed.ipfix"
fails 3 'changed.ipfix: octet [0-9]+: bad-signature: .*' to3 "$WORK/changed.ipfix"
grep -q '^ABORTED ' "$WORK/out" || { echo "not told to the collector"; cat "$WORK/out"; exit 1; }
none
# A recording that ends between two of its Messages.
"$BUILD/sami-table" -n "${LAB}fw1" fill --kind tcp 4000 >/dev/null && ns fw1 "$BUILD/sami-replay" record -q -c "$WORK/fw1/sami.conf" -o "$WORK/many.ipfix" \
    --vm "$VM4" || exit 1
head -c "$(python3 "$SRC/tests/e2e/messages.py" offset "$WORK/many.ipfix" 5)" "$WORK/many.ipfix" >"$WORK/cut.ipfix"
fails 3 'cut.ipfix: the recording does not end here: Messages are missing' to3 "$WORK/cut.ipfix"
grep -q '^ABORTED ' "$WORK/out" || { echo "not told to the collector"; cat "$WORK/out"; exit 1; }
none
cp -r "$WORK/fw1" "$WORK/fw1-other"
cp "$WORK/fw3/signing.key" "$WORK/fw1-other/signing.key"
fails 3 'octet 0: unknown-signer: .*--sign-unsigned' replay send --to fw3.example -c "$WORK/fw1-other/sami.conf" "$JOURNAL"
fails 2 'choose one with --migration' to3 "$JOURNAL" "$(find "$WORK/journal3" -name '*.ipfix' | head -n 1)"
none
fails 1 'it begins neither like' to3 "$WORK/fw1/sami.conf"
fails 2 'is no peer' replay send --to nobody.example -c "$WORK/fw1/sami.conf" "$JOURNAL"
fails 2 'where to' replay send "$JOURNAL"
fails 2 'is no speed' to3 --speed fast "$JOURNAL"
fails 2 'it has to be a file' to3 -

# slowly: in the background, with a process group of its own; PID in $SLOW
slowly() {
    rm -f "$WORK/slow"
    setsid ip netns exec "${LAB}fw1" "$BUILD/sami-replay" send --speed 3 --to fw3.example -c "$WORK/fw1/sami.conf" "$JOURNAL" >"$WORK/slow" 2>&1 &
    SLOW=$!
    poll 20 grep -qs OPENED "$WORK/slow" || { cat "$WORK/slow"; exit 1; }
}
# ended EXIT PATTERN
ended() {
    wait "$SLOW"
    local status=$?
    [ $status -eq "$1" ] && grep -Eq "$2" "$WORK/slow" || { echo "FAIL exit $status, not $1, or not '$2'"; cat "$WORK/slow"; exit 1; }
    echo "ok   $(grep -Em1 "$2" "$WORK/slow")"
}

# Ctrl-C, which reaches the whole process group, while it sends slowly: rolled back there.
slowly
some() { [ "$(count 3)" -ge 2 ]; }
poll 20 some || { cat "$WORK/slow"; exit 1; }
kill -INT -- "-$SLOW"
ended 4 '^ABORTED .*accepted'
grep -q 'sami-replay: interrupted' "$WORK/slow" || { cat "$WORK/slow"; exit 1; }
none

# The collector stops taking anything under it.
"$BUILD/sami-table" -n "${LAB}fw1" fill --kind tcp --from 4000 120000 >/dev/null && ns fw1 "$BUILD/sami-replay" record -q -c "$WORK/fw1/sami.conf" \
    -o "$WORK/more.ipfix" --vm "$VM4" || exit 1
for n in 1 3; do # what the kernel buffers is not what is looked at
    ns fw$n sysctl -qw 'net.ipv4.tcp_wmem=4096 16384 65536' 'net.ipv4.tcp_rmem=4096 65536 65536'
done
echo 'max-rate=2000' >>"$signer"
reload
cp -r "$WORK/fw1" "$WORK/fw1-hasty" && sed -i 's/^lease *=.*//; $a lease=5s' "$WORK/fw1-hasty/sami.conf"
ns fw1 "$BUILD/sami-replay" send --to fw3.example -c "$WORK/fw1-hasty/sami.conf" "$WORK/more.ipfix" >"$WORK/slow" 2>&1 &
SLOW=$!
poll 20 some || { cat "$WORK/slow"; exit 1; }
pkill -STOP -P "$THIRD"
ended 1 'fw3.example: no answer to the Messages within the lease: it takes none'
pkill -CONT -P "$THIRD"
cp "$WORK/signer" "$signer"
reload
gone() { [ "$(count 3)" -eq 0 ]; }
poll 40 gone || none

# The collector dies under it; and is dead.
slowly
pkill -9 -P "$THIRD"
kill -9 "$THIRD"
ended 1 'sami-replay: .*fw3.example.*rolls back by itself there'
# Of SCTP in UDP nobody says that its port is closed.
fails 1 "cannot connect to fw3.example at 10.255.1.3:4740: $([ "$TRANSPORT" = tcp ] && echo 'Connection refused' || echo 'no answer')" to3 "$JOURNAL"
