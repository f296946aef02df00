#!/usr/bin/env bash
# A backup that cannot be made says why, leaves no file, and the one that was there as it was.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_need
DISK=$WORK/disk
mkdir -p "$DISK"
leave() { umount "$DISK" 2>/dev/null; lab_stop; }
trap leave EXIT
ip netns add "${LAB}fw1" && mount -t tmpfs -o size=256k,mode=777 tmpfs "$DISK" || lab_skip "no tmpfs can be mounted here"
"$BUILD/samictl" --config-dir "$WORK/fw1" setup --name fw1.example --address 10.255.0.1:4740 >"$WORK/out" 2>&1 || { cat "$WORK/out"; exit 1; }
fail() { echo "FAIL $*"; cat "$WORK/out"; ls -la "$DISK"; exit 1; }
fill() { "$BUILD/sami-table" -n "${LAB}fw1" fill --kind tcp "$@" >/dev/null || fail "fill $*"; }
record() { ns fw1 "$BUILD/sami-replay" record -c "$WORK/fw1/sami.conf" "$@" >"$WORK/out" 2>&1; }
refused() { # STATUS TEXT ARGUMENT...
    record "${@:3}"
    local code=$?
    [ $code -eq "$1" ] && grep -q -e "$2" "$WORK/out" || fail "record ${*:3} ended with $code, not $1, or does not say '$2'"
    [ ! -e "$DISK/b.ipfix.part" ] || fail "a part is left"
}
whole() { ns fw1 "$BUILD/sami-replay" inject --dry-run -c "$WORK/fw1/sami.conf" "$1" >"$WORK/out" 2>&1 || fail "$1 is not whole"; }

fill 100
record -o "$DISK/b.ipfix" || fail "the first backup"
sum=$(sha256sum <"$DISK/b.ipfix")
same() { [ "$(sha256sum <"$DISK/b.ipfix")" = "$sum" ] || fail "the backup of before is another one"; }

fill 20000 --from 1000
refused 1 'b.ipfix.part: No space left on device' -o "$DISK/b.ipfix"; same
refused 1 'No such file' -o "$DISK/nowhere/b.ipfix"
refused 2 'output FILE is missing'
refused 2 'zone' -o "$DISK/b.ipfix" --zone many
refused 2 'vm' -o "$DISK/b.ipfix" --vm 10.0.0.1/8
refused 1 'no regular file' -o "$DISK"
ln -s b.ipfix "$DISK/link"
refused 1 'no regular file' -o "$DISK/link"
mv "$WORK/fw1/signing.key" "$WORK/fw1/gone.key"
refused 1 'signing.key' -o "$DISK/b.ipfix"
mv "$WORK/fw1/gone.key" "$WORK/fw1/signing.key"
chmod 644 "$WORK/fw1/signing.key"
refused 1 'signing.key' -o "$DISK/b.ipfix"
chmod 600 "$WORK/fw1/signing.key"
same
echo "ok   full, nowhere, no key"

# Without CAP_NET_ADMIN, though with the key.
ns fw1 setpriv --inh-caps=-net_admin --bounding-set=-net_admin "$BUILD/sami-replay" record -c "$WORK/fw1/sami.conf" -o "$DISK/b.ipfix" >"$WORK/out" 2>&1
code=$?
[ $code -eq 10 ] && [ ! -e "$DISK/b.ipfix.part" ] || fail "without CAP_NET_ADMIN it ended with $code"
same

# Another one writes it.
flock "$DISK/b.ipfix.part" sleep 1000 &
holder=$!
held() { [ -e "$DISK/b.ipfix.part" ] && ! flock -n "$DISK/b.ipfix.part" true; }
poll 10 held || fail "not held"
record -o "$DISK/b.ipfix"
[ $? -eq 1 ] && grep -q 'another process writes it' "$WORK/out" || fail "two at once"
[ -e "$DISK/b.ipfix.part" ] || fail "the other one's part is gone"
pkill -P $holder; kill $holder 2>/dev/null
wait $holder 2>/dev/null
"$BUILD/sami-table" -n "${LAB}fw1" flush
record -o "$DISK/b.ipfix" || fail "what a dead process left is in the way" # and is taken over
[ ! -e "$DISK/b.ipfix.part" ] || fail "its part is left"
whole "$DISK/b.ipfix"
echo "ok   not permitted, another one"

# Where others may write, one has been there first: he would own the backup, or it would take the place of a file that has a use.
for name in b a; do
    case $name in
    b) setpriv --reuid 65534 --regid 65534 --clear-groups touch "$DISK/b.ipfix.part" && text='belongs to somebody else' ;;
    a) echo precious >"$DISK/precious" && ln "$DISK/precious" "$DISK/a.ipfix.part" && text='under another name too' ;;
    esac
    record -o "$DISK/$name.ipfix"
    [ $? -eq 1 ] && grep -q "$name.ipfix.part is there, .*$text" "$WORK/out" && [ -e "$DISK/$name.ipfix.part" ] || fail "what is somebody else's was taken over"
    rm "$DISK/$name.ipfix.part"
done
[ "$(cat "$DISK/precious")" = precious ] && [ ! -e "$DISK/a.ipfix" ] || fail "another file was overwritten"
whole "$DISK/b.ipfix"
echo "ok   somebody was there first"

# Interrupted wherever it is: none, or a whole one. The limit on file sizes is no death by signal either.
fill 100000 --from 1000
for _ in 1 2 3 4 5 6; do
    rm -f "$WORK/c.ipfix"
    ip netns exec "${LAB}fw1" "$BUILD/sami-replay" record -c "$WORK/fw1/sami.conf" -o "$WORK/c.ipfix" >"$WORK/out" 2>&1 &
    begun() { [ -e "$WORK/c.ipfix.part" ] || [ -e "$WORK/c.ipfix" ]; }
    poll 10 begun || fail "it does not begin"
    kill -TERM $!
    wait $!
    code=$?
    [ ! -e "$WORK/c.ipfix.part" ] || fail "interrupted ($code), and a part is left"
    [ $code -ne 0 ] || [ -e "$WORK/c.ipfix" ] || fail "it ended with 0, without a file"
    [ ! -e "$WORK/c.ipfix" ] || whole "$WORK/c.ipfix"
    [ $code -ne 1 ] || break
done
if [ $code -eq 1 ]; then grep -q interrupted "$WORK/out" || fail "it does not say why"; fi
(ulimit -f 100; record -o "$WORK/d.ipfix")
[ $? -eq 1 ] && grep -q 'File too large' "$WORK/out" && [ ! -e "$WORK/d.ipfix" ] && [ ! -e "$WORK/d.ipfix.part" ] || fail "the limit on files"
echo "ok   interrupted"
