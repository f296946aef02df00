#!/usr/bin/env bash
# Encrypted private keys: made by setup --encrypt and keygen --encrypt, used by both daemons with key-passphrase-file, also as a credential of systemd's, and
# refused in words without it. Keys behind URIs of OpenSSL's stores.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
. "${srcdir:-.}/tests/e2e/keys.sh"
lab_start || exit 1
mkdir -m 700 "$WORK/secret"
(umask 077 && echo 'a long passphrase' >"$WORK/secret/passphrase" && echo another >"$WORK/secret/wrong")
for n in 1 2; do
    expect 0 fingerprint ctl $n setup --name fw$n.example --address 10.255.0.$n:4740 --encrypt "$WORK/secret/passphrase"
    grep -q "^key-passphrase-file=$WORK/secret/passphrase" "$WORK/fw$n/sami.conf" || fail "not in sami.conf"
    for key in tls signing; do grep -q 'BEGIN ENCRYPTED PRIVATE KEY' "$WORK/fw$n/$key.key" || fail "$key.key is not encrypted"; done
done
expect 0 unchanged ctl 1 setup
sami_setup || exit 1
plain() { "$BUILD/samictl" --config-dir "$WORK/fw4" "$@"; }
plain -q setup --name fw4.example || fail "setup"
expect 1 'is there and not encrypted' plain setup --name fw4.example --encrypt "$WORK/secret/passphrase"
# What the passphrase's file is called: sami.conf says it so that it is read again, or nothing is made.
odd() { "$BUILD/samictl" --config-dir "$WORK/fw5" "$@"; }
(umask 077 && echo 'a long passphrase' | tee "$WORK/secret/pa\\ss" "$WORK/secret/p"$'\n' "$WORK/secret/blank " "$WORK/secret/"$'\377' >/dev/null)
for name in p$'\n' 'blank ' $'\377'; do
    expect 2 'sami.conf cannot name this file' odd setup --name fw5.example --encrypt "$WORK/secret/$name"
    [ ! -e "$WORK/fw5" ] || fail "something was made"
done
expect 0 fingerprint odd setup --name fw5.example --encrypt "$WORK/secret/pa\\ss"
expect 0 unchanged odd setup --encrypt "$WORK/secret/pa\\ss"
expect 0 'key id' ctl 1 keygen "$WORK/mine.key" --encrypt "$WORK/secret/passphrase"
grep -q 'BEGIN ENCRYPTED' "$WORK/mine.key" && [ "$(stat -c %a "$WORK/mine.key")" = 600 ] || fail "keygen"
expect 1 'never overwritten' ctl 1 keygen "$WORK/mine.key"

echo "--- without the passphrase, or with another"
exporter() { G_DEBUG='' timeout 30 ip netns exec "${LAB}fw1" "$BUILD/sami-exporter" -c "$WORK/fw1/sami.conf" -f; }
cp -p "$WORK/fw1/sami.conf" "$WORK/good"
set_key 1 key-passphrase-file
expect 1 'the private key is encrypted; its passphrase must be in a file of mode 0600' exporter
set_key 1 key-passphrase-file "$WORK/secret/wrong"
expect 1 'cannot be decrypted with the passphrase in' exporter
set_key 1 key-passphrase-file "\$CREDENTIALS_DIRECTORY/passphrase"
expect 1 'CREDENTIALS_DIRECTORY/passphrase: No such file' exporter
cp -p "$WORK/good" "$WORK/fw1/sami.conf"
chmod 640 "$WORK/secret/passphrase"
expect 1 'a secret must not be accessible by others' exporter
chmod 600 "$WORK/secret/passphrase"

echo "--- a move, the exporter's passphrase being a credential, its signing key behind a URI; then a rotation"
set_key 1 key-passphrase-file "\$CREDENTIALS_DIRECTORY/passphrase"
set_key 1 signing-key "file:$WORK/fw1/signing.key"
export CREDENTIALS_DIRECTORY=$WORK/secret
sami_start || exit 1
ns fw1 conntrack -I -p tcp -s $VM4 -d $CLI4 --sport 1001 --dport 443 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED >/dev/null 2>&1
expect 0 DONE ctl 1 migrate --vm $VM4 --to fw2.example --now
expect 1 'this key is not a file' ctl 1 key rotate
expect 0 'signing ' ctl 1 key list
set_key 1 signing-key
expect 0 . ctl 1 key rotate
expect 0 . ctl 1 key rotate --tls
grep -q 'BEGIN ENCRYPTED' "$WORK/fw1/signing-next.key" && grep -q 'BEGIN ENCRYPTED' "$WORK/fw1/tls-next.key" || fail "the new keys are not encrypted"
expect 0 . ctl 2 peer update "$WORK/fw1/fw1.example.peer" --yes
expect 0 . ctl 1 key rotate --activate
expect 0 . ctl 1 key rotate --tls --activate
expect 0 ok: ctl 1 peer test fw2.example
expect 0 DONE ctl 1 migrate --vm $VM4 --to fw2.example --now

echo "--- a URI that names nothing, and a key of a file: that others may read"
set_key 1 signing-key pkcs11:token=nowhere
expect 1 'pkcs11:token=nowhere: no private key could be read' exporter
chmod 644 "$WORK/fw1/signing.key"
set_key 1 signing-key "file://$WORK/fw1/signing.key"
expect 1 'a secret must not be accessible by others' exporter
exit 0
