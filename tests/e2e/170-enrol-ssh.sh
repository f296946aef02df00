#!/usr/bin/env bash
# samictl peer add ssh://: one command makes two firewalls know each other, ends with a test, and can be run again. ssh's host key decides, and nobody is
# trusted on first use, by ssh or by file; what the far end says is not believed beyond that.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
. "$SRC/tests/e2e/sshd.sh"
lab_start || exit 1
fail() { echo "FAILED: $*"; cat "$WORK/out" "$WORK/err" "$WORK"/*.log 2>/dev/null; exit 1; }
for n in 1 2; do
    ctl $n setup --name fw$n.example --address 10.255.0.$n:4740 >"$WORK/out" 2>&1 || fail "setup $n"
    cat >>"$WORK/fw$n/sami.conf" <<CONF
run-dir=$WORK/run$n
journal-dir=$WORK/journal$n
vm-prefixes=10.0.0.0/24
user=nobody
control-group=
CONF
    sed -i '/^#/d' "$WORK/fw$n/sami.conf"
    mkdir -p "$WORK/run$n"
done
mkdir "$WORK/there"
printf '#!/bin/sh\nexec %s --config-dir %s "$@"\n' "$BUILD/samictl" "$WORK/fw2" >"$WORK/there/samictl"
# What a hostile one says: SAY is run there.
printf '#!/bin/sh\ncat >/dev/null\neval "$SAY"\n' >"$WORK/hostile"
chmod +x "$WORK/there/samictl" "$WORK/hostile"
run() { # STATUS WORD ARGUMENTS...
    local want=$1 word=$2 got
    shift 2
    ctl 1 "$@" >"$WORK/out" 2>"$WORK/err" </dev/null
    got=$?
    [ $got -eq "$want" ] && grep -q -- "$word" "$WORK/out" "$WORK/err" || fail "samictl $*: $got, wanted $want and '$word'"
}
nothing() { [ -z "$(find "$WORK"/fw[12]/peers.d "$WORK"/fw[12]/signers.d -type f)" ] || fail "something was written: $1"; }

echo "--- files: nobody is trusted unless his fingerprint was compared"
run 2 'no terminal to confirm' peer add "$WORK/fw2/fw2.example.peer" --both --allow 10.0.0.0/24
print=$(sed -n 's/.*--fingerprint //p' "$WORK/err")
run 3 'nothing was written' peer add "$WORK/fw2/fw2.example.peer" --both --allow 10.0.0.0/24 --fingerprint "${print%?}x"
run 3 'not of fw3.example' peer add "$WORK/fw2/fw2.example.peer" --both --allow 10.0.0.0/24 --fingerprint "$print" --name fw3.example
nothing "by file"
# What it says is shown without what a terminal obeys: the escape sequence that begins with U+009B, too.
printf '[sami-peer]\nversion=1\n\302\2332J\0331m\n' >"$WORK/escape.peer"
run 1 'which is not a key-value pair' peer add "$WORK/escape.peer" --send
LC_ALL=C grep -q "$(printf '\302\233\|\033')" "$WORK/out" "$WORK/err" && fail "escape sequences"
# A name that a file of another name has: two files for it are a configuration that no daemon reads.
printf '[peer]\nname=fw2.example\ncertificate=../tls.crt\n' >"$WORK/fw1/peers.d/other.conf"
run 1 'peers.d: another file there than' peer add "$WORK/fw2/fw2.example.peer" --send --yes
rm "$WORK/fw1/peers.d/other.conf"
printf '[signer]\nname=fw2.example\nkeys=../signing.pub\n' >"$WORK/fw1/signers.d/other.conf"
run 1 'signers.d: another file there than' peer add "$WORK/fw2/fw2.example.peer" --both --yes --allow 10.0.0.0/24
rm "$WORK/fw1/signers.d/other.conf"
nothing "beside another file"
# Another firewall's key under a name of one's own: no collector starts with two signers of one key.
ns fw1 "$BUILD/samictl" --config-dir "$WORK/fw9" setup --name fw9.example >"$WORK/out" 2>&1 || fail "setup of another"
cp "$WORK/fw2/signing.pub" "$WORK/fw9/signing.pub"
ns fw1 "$BUILD/samictl" --config-dir "$WORK/fw9" peer export >"$WORK/fw9/fw9.example.peer" 2>"$WORK/err" || fail "its peer file"
ctl 1 -q peer add "$WORK/fw9/fw9.example.peer" --both --yes --allow 10.0.0.0/24 || fail "the one who has it first"
run 3 'is that of fw9.example here' peer add "$WORK/fw2/fw2.example.peer" --receive --yes --allow 10.0.0.0/24
ctl 1 -q peer remove fw9.example || fail "peer remove"
nothing "with another's key"
# On a terminal he is asked.
terminal() { # ANSWER: the exit status
    ns fw1 python3 - "$BUILD/samictl" "$WORK" "$1" <<'PY'
import os, pty, sys
samictl, work, answer = sys.argv[1:]
pid, fd = pty.fork()
if pid == 0:
    os.execv(samictl, [samictl, "--config-dir", work + "/fw1", "peer", "add", work + "/fw2/fw2.example.peer", "--both", "--allow", "10.0.0.0/24"])
said, is_answered = b"", False
while True:
    try:
        data = os.read(fd, 4096)
    except OSError:
        break
    if not data:
        break
    said += data
    if b"(yes/no)" in said and not is_answered:
        os.write(fd, answer.encode() + b"\n")
        is_answered = True
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if is_answered else 99)
PY
}
for answer in no y ''; do
    terminal "$answer"
    [ $? -eq 3 ] || fail "'$answer' on a terminal"
    nothing "after '$answer'"
done
terminal yes && [ -e "$WORK/fw1/peers.d/fw2.example.conf" ] || fail "yes on a terminal"
ctl 1 -q peer remove fw2.example || fail "peer remove"

echo "--- what the far end says"
export SAMI_SSH=$WORK/hostile
hostile() { # STATUS WORD SAY
    export SAY=$3
    run "$1" "$2" peer add ssh://fw2.example --both --allow 10.0.0.0/24
    nothing "$3"
    grep -q "$(printf '\033')" "$WORK/out" "$WORK/err" && fail "an escape sequence came through"
}
hostile 1 'says more than' 'yes x | head -c 10000000'
hostile 1 'peer file' 'printf "[sami-peer]\nversion=1\n\033[2Jx=1\n"'
hostile 1 'gives no peer file' 'printf "\033[2J" >&2; exit 9'
hostile 1 'ssh to fw2.example failed' 'exit 255'
hostile 2 "this firewall's own name" "cat $WORK/fw1/fw1.example.peer"
hostile 1 'must never leave' "sed 's/BEGIN PUBLIC KEY/BEGIN PRIVATE KEY/' $WORK/fw2/fw2.example.peer"
# A host that is known, and says that it is another firewall.
ns fw2 "$BUILD/samictl" --config-dir "$WORK/fw3" setup --name fw3.example >"$WORK/out" 2>&1 || fail "setup 3"
hostile 2 'says that it is the firewall fw3.example' "cat $WORK/fw3/fw3.example.peer"
unset SAY
run 2 'no ssh://' peer add ssh://root@ --both --allow 10.0.0.0/24
run 2 'no ssh://' peer add ssh://fw2.example:99999 --both --allow 10.0.0.0/24
run 2 'is no' peer add ssh://-oProxyCommand=x --both --allow 10.0.0.0/24
run 2 'allow-there' peer add ssh://fw2.example --send
nothing "by usage"

echo "--- a real sshd"
unset SAMI_SSH
sshd_start
case $? in
0) ;;
77) lab_skip "all but the real sshd has passed (packages openssh-server, openssh-client)" ;;
*) fail "no sshd" ;;
esac
export SAMI_SSH=$SSHD_SSH
# ssh's own configuration would take an unknown key; we do not.
mv "$WORK/known" "$WORK/known.good"
for lax in no accept-new; do
    sshd_client_conf "$WORK/user_key" $lax >"$WORK/ssh.conf"
    run 3 'nobody is trusted on first use' peer add ssh://fw2.example --both --allow 10.0.0.0/24
done
[ ! -e "$WORK/known" ] || fail "a host key was taken"
printf '[127.0.0.1]:2222 %s\n' "$(cut -d' ' -f1,2 "$WORK/other_key.pub")" >"$WORK/known"
run 3 'or it has changed' peer add ssh://fw2.example --both --allow 10.0.0.0/24
nothing "with a host key that is not known"
mv "$WORK/known.good" "$WORK/known"

ip netns exec "${LAB}fw2" "$BUILD/sami-collector" -c "$WORK/fw2/sami.conf" -f >"$WORK/collector.log" 2>&1 &
ip netns exec "${LAB}fw1" "$BUILD/sami-exporter" -c "$WORK/fw1/sami.conf" -f >"$WORK/exporter.log" 2>&1 &
poll 10 test -S "$WORK/run1/exporter.sock" && poll 10 test -S "$WORK/run2/collector.sock" || fail "no daemons"
run 2 'add: --name fw2.example' peer add ssh://alias --both --allow 10.0.0.0/24
nothing "with another name"
run 0 'ok: fw2.example answers' peer add ssh://root@fw2.example --both --allow 10.0.0.0/24 --nat-addresses 192.0.2.0/24
grep -q "$print" "$WORK/out" || fail "another fingerprint than by file"
for n in 1 2; do
    grep -q 'allow-prefixes=10.0.0.0/24' "$WORK/fw$n/signers.d/fw$((3 - n)).example.conf" && grep -q address= "$WORK/fw$n/peers.d/fw$((3 - n)).example.conf" ||
        fail "not both ways at $n"
    cmp -s "$WORK/fw$n/signing.pub" "$WORK/fw$((3 - n))/signers.d/fw$n.example.pub" || fail "another key"
done
run 0 'unchanged: fw2.example' peer add ssh://alias --name fw2.example --both --allow 10.0.0.0/24 --nat-addresses 192.0.2.0/24
[ "$(grep -c 'unchanged:' "$WORK/out")" -eq 2 ] || fail "not idempotent there"
# What is expected of a peer that is there already is compared, too.
file=$WORK/fw2/fw2.example.peer allow=(--both --allow 10.0.0.0/24 --nat-addresses 192.0.2.0/24)
for verb in add update; do
    [ $verb = add ] || allow=()
    run 0 'unchanged: fw2.example' peer $verb "$file" "${allow[@]}" --fingerprint "$print"
    run 3 'the fingerprint of fw2.example is' peer $verb "$file" "${allow[@]}" --fingerprint "${print%?}x"
    run 3 'not of fw3.example' peer $verb "$file" "${allow[@]}" --name fw3.example
done
run 2 'no peer' peer test fw9.example
ns fw1 conntrack -I -p tcp -s $VM4 -d $CLI4 --sport 1001 --dport 443 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED >/dev/null 2>&1
ctl 2 -q expect --vm $VM4 --from fw1.example || fail expect
run 0 'DONE' migrate --vm $VM4 --to fw2.example --now

echo "--- the test says what is wrong"
run 0 round_trip_ms peer test fw2.example --json
ctl 2 -q peer remove fw1.example && ctl 2 -q peer add "$WORK/fw1/fw1.example.peer" --send --yes || fail "peer remove"
run 3 'unknown-signer' peer test fw2.example
exit 0
