#!/usr/bin/env bash
# What the operator did wrong is said at once, with its exit status.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_start && sami_setup || exit 1
expect() { # STATUS WORD COMMAND...
    local want=$1 word=$2
    shift 2
    "$@" >"$WORK/out" 2>&1
    local status=$?
    [ $status -eq "$want" ] && grep -q "$word" "$WORK/out" && return
    echo "wanted $want and '$word', got $status: $*"; cat "$WORK/out"; exit 1
}
expect 9 . ctl 1 migrate --vm $VM4 --to fw2.example --now
expect 1 root setpriv --reuid=65534 --clear-groups "$BUILD/sami-collector" -c "$WORK/fw2/sami.conf"
echo 'nonsense=1' >>"$WORK/fw1/sami.conf"
expect 1 nonsense "$BUILD/sami-exporter" -c "$WORK/fw1/sami.conf" --check-config
sed -i '$d' "$WORK/fw1/sami.conf"
# What --check-config calls correct starts: each of these stops a daemon, or has everybody refuse it.
check() { # WORD DAEMON,DAEMON FILE KEY=VALUE...
    local file=$WORK/fw1/$3 line daemon
    cp "$file" "$WORK/aside"
    for line in "${@:4}"; do sed -i "/^${line%%=*} *=/d" "$file" && echo "$line" >>"$file"; done
    for daemon in ${2/,/ }; do expect 1 "$1" "$BUILD/sami-$daemon" -c "$WORK/fw1/sami.conf" --check-config; done
    cp "$WORK/aside" "$file"
}
both=collector,exporter
for daemon in collector exporter; do expect 0 'is correct' "$BUILD/sami-$daemon" -c "$WORK/fw1/sami.conf" --check-config; done
check 'no such user' $both sami.conf user=nobody-of-here
check 'is root' $both sami.conf user=root
check 'No such file' $both sami.conf key=missing.key
check 'is not the key of' $both sami.conf key=signing.key
check 'not of Ed25519' $both sami.conf signing-key=tls.key
check 'no certificate' $both sami.conf certificate=signing.pub
check "no subjectAltName DNS name 'fw9.example'" $both sami.conf name=fw9.example
check 'No such file' $both sami.conf tls-ca=missing.crt
check 'others may write into it' $both sami.conf run-dir=/tmp
check 'a secret must not be accessible' $both sami.conf key-log=tls.crt
check 'No such file' $both sami.conf key-log=missing/log
openssl req -new -key "$WORK/fw1/tls.key" -subj /CN=fw1.example 2>/dev/null |
    openssl x509 -req -signkey "$WORK/fw1/tls.key" -days -1 -extfile <(echo subjectAltName=DNS:fw1.example) >"$WORK/fw1/expired.crt" 2>/dev/null || exit 1
check 'has expired' $both sami.conf certificate=expired.crt
check 'no certificate' $both peers.d/fw2.example.conf certificate=fw2.example.pub
check 'no Ed25519' $both peers.d/fw2.example.conf signing-key=fw2.example.crt
check 'names no set' collector sami.conf gate=nft gate-set=x
check 'No such file' collector signers.d/fw2.example.conf keys=missing.pub
check 'same key' collector signers.d/fw2.example.conf keys=fw2.example.pub,fw2.example.pub
expect 0 '^\[signer\]' "$BUILD/sami-collector" --help-config
expect 2 'beyond its length' ctl 1 peer add "$WORK/fw2/fw2.example.peer" --both --yes --allow 10.0.0.13/24
expect 2 'needs --allow' ctl 1 peer add "$WORK/fw2/fw2.example.peer" --both --yes --allow ''
truncate -s 1T "$WORK/sparse" && expect 1 'sparse: File too large' ctl 1 peer add "$WORK/sparse" --both --yes --allow 10.0.0.0/24
rm "$WORK/sparse"
expect 1 'Is a directory' ctl 1 peer add "$WORK" --both --yes --allow 10.0.0.0/24
expect 1 'first: samictl setup' "$BUILD/samictl" --config-dir "$WORK/fw9" peer add "$WORK/fw2/fw2.example.peer" --both --yes --allow 10.0.0.0/24
[ ! -e "$WORK/fw9" ] || { echo "a directory was made where a wrong one was named"; exit 1; }
cp -a "$WORK/fw1" "$WORK/fw8" && mv "$WORK/fw8/signers.d/fw2.example.conf" "$WORK/fw8/signers.d/other.conf"
cp "$WORK/fw8/signers.d/fw2.example.pub" "$WORK/fw8/signers.d/other.pub" && sed -i 's/^keys=.*/keys=other.pub/' "$WORK/fw8/signers.d/other.conf"
expect 1 'signers.d: another file' "$BUILD/samictl" --config-dir "$WORK/fw8" peer remove fw2.example
expect 1 'signers.d: another file' "$BUILD/samictl" --config-dir "$WORK/fw8" peer remove fw2.example
expect 10 denied setpriv --reuid=65534 --clear-groups "$BUILD/samictl" --config-dir "$WORK/fw1" key rotate
sami_start || exit 1
expect 2 vm-prefixes ctl 1 migrate --vm 10.77.0.1 --to fw2.example --now
expect 2 peer ctl 1 migrate --vm $VM4 --to nobody.example --now
pkill -f "sami-collector -c $WORK"
poll 10 test ! -S "$WORK/run2/collector.sock"
expect 9 'start sami-collector' ctl 1 show peers # though the exporter runs
# Of SCTP in UDP nobody says that its port is closed.
expect 1 "$([ "$TRANSPORT" = tcp ] && echo refused || echo 'no answer')" ctl 1 migrate --vm $VM4 --to fw2.example --now
