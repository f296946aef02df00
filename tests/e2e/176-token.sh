#!/usr/bin/env bash
# TLS keys that were made in PKCS#11 tokens and never leave them: SoftHSM behind p11-kit server(8), reached by OpenSSL's engine, at both ends, as user and in
# the sandbox as ever. What setup makes of such a key; a PIN that is wrong, a key and a token that are not there, a module that the sandbox keeps from its
# files, and a token that goes away, each in words.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
. "${srcdir:-.}/tests/e2e/keys.sh"
for program in softhsm2-util pkcs11-tool p11-kit; do command -v $program >/dev/null || lab_skip "no $program here"; done
engine=$(openssl version -e | sed 's/.*"\(.*\)"/\1/')/pkcs11.so
[ -e "$engine" ] || lab_skip "no engine for PKCS#11 here"
find_module() { find /usr/lib /usr/lib64 -name "$1" 2>/dev/null | head -n 1; }
SOFTHSM=$(find_module libsofthsm2.so) CLIENT=$(find_module p11-kit-client.so)
[ -n "$SOFTHSM" ] && [ -n "$CLIENT" ] || lab_skip "no SoftHSM or no p11-kit-client.so here"
lab_has_sanitizers && lab_skip "engine and modules are not built with the sanitizers"
SERVERS=()
lab_start || exit 1
URI="org.openssl.engine:pkcs11:pkcs11:token=sami;type=private;object"
load_module() { # what the engine is told
    printf '%s\n' 'openssl_conf = init' '[init]' 'engines = engines' '[engines]' 'pkcs11 = pkcs11' '[pkcs11]' 'engine_id = pkcs11' \
        "dynamic_path = $engine" "MODULE_PATH = $1" >"$WORK/openssl.cnf"
}
# What follows has the token of this firewall. Each has its own: several processes at once are too many for SoftHSM's files.
at() { export SOFTHSM2_CONF=$WORK/softhsm$1.conf P11_KIT_SERVER_ADDRESS=unix:path=$WORK/p11-$1.sock; }
serve() {
    local n
    for n in 1 2; do
        at $n
        # It makes a process for each client, and is ended as a group.
        setsid p11-kit server -f -n "$WORK/p11-$n.sock" --provider "$SOFTHSM" pkcs11:token=sami >"$WORK/p11-$n.log" 2>&1 &
        SERVERS+=($!)
        disown
        poll 10 test -S "$WORK/p11-$n.sock" || fail "p11-kit does not serve"
    done
}
stop_serving() {
    local server
    for server in "${SERVERS[@]}"; do kill -KILL -- "-$server" 2>/dev/null; done
    SERVERS=()
    rm -f "$WORK"/p11-[12].sock
}
trap 'stop_serving; lab_stop' EXIT
collector() { at 2; G_DEBUG='' timeout 60 ip netns exec "${LAB}fw2" "$BUILD/sami-collector" -c "$WORK/fw2/sami.conf" -f; }
exporter() { at 1; G_DEBUG='' timeout 60 ip netns exec "${LAB}fw1" "$BUILD/sami-exporter" -c "$WORK/fw1/sami.conf" -f; }
start() {
    rm -f "$WORK"/run[12]/*.sock
    (at 2; exec ip netns exec "${LAB}fw2" "$BUILD/sami-collector" -c "$WORK/fw2/sami.conf" -f) >"$WORK/collector.log" 2>&1 &
    DAEMONS=($!)
    disown
    (at 1; exec ip netns exec "${LAB}fw1" "$BUILD/sami-exporter" -c "$WORK/fw1/sami.conf" -f) >"$WORK/exporter.log" 2>&1 &
    DAEMONS+=($!)
    disown
    poll 10 test -S "$WORK/run1/exporter.sock" && poll 10 test -S "$WORK/run2/collector.sock" || fail "a daemon does not start"
    poll 10 peers_speak || fail "no session"
}
peers_speak() { ctl 1 peer test fw2.example >"$WORK/out" 2>&1; }
stop() {
    kill "${DAEMONS[@]}"
    poll 15 eval "! kill -0 ${DAEMONS[0]} 2>/dev/null && ! kill -0 ${DAEMONS[1]} 2>/dev/null" || fail "they do not end"
}

sami_setup || exit 1
cd "$WORK" || exit 1 # where a file with the name of a URI would be
for n in 1 2; do
    at $n
    mkdir -m 700 "$WORK/tokens$n"
    printf '%s\n' "directories.tokendir = $WORK/tokens$n" 'objectstore.backend = file' >"$WORK/softhsm$n.conf"
    softhsm2-util --init-token --free --label sami --pin 4711 --so-pin 0815 >"$WORK/out" 2>&1 || fail "no token"
    pkcs11-tool --module "$SOFTHSM" --login --pin 4711 --token-label sami --keypairgen --key-type EC:prime256v1 --label tls --id 01 >"$WORK/out" 2>&1 || fail "no key"
done
export OPENSSL_CONF=$WORK/openssl.cnf
load_module "$CLIENT"
serve
mkdir -m 700 "$WORK/secret"
(umask 077 && echo 4711 >"$WORK/secret/pin" && echo 1147 >"$WORK/secret/wrong")

echo "--- setup makes a certificate of a key that is there, and no key"
for n in 1 2; do
    at $n
    rm "$WORK/fw$n/tls.key" "$WORK/fw$n/tls.crt"
    set_key $n key "$URI=tls"
    expect 1 'has a PIN or a passphrase, which must be in a file of mode 0600' ctl $n setup
    set_key $n key-passphrase-file "$WORK/secret/wrong"
    expect 1 "wrong: PIN incorrect" ctl $n setup
    set_key $n key-passphrase-file "$WORK/secret/pin"
    expect 0 "made $WORK/fw$n/tls.crt" ctl $n setup
    expect 0 unchanged ctl $n setup
    expect 0 updated ctl $((3 - n)) peer update "$WORK/fw$n/fw$n.example.peer" --yes
done
[ -z "$(find "$WORK" -name '*tls*.key' -o -name '*pkcs11:*')" ] || fail "a key was written"
! grep -rlE 'BEGIN.* (EC |ENCRYPTED )?PRIVATE KEY' "$WORK" | grep -v '/signing\.key$' || fail "a private key is in a file"

echo "--- a move, both ends by token, as another user and in the sandbox"
start
expect 0 . ctl 2 expect --vm 10.0.0.0/24 --from fw1.example
ns fw1 conntrack -I -p tcp -s $VM4 -d $CLI4 --sport 1001 --dport 443 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED >/dev/null 2>&1
expect 0 DONE ctl 1 migrate --vm $VM4 --to fw2.example --now
expect 0 'sport=1001 dport=443' ns fw2 conntrack -L -s $VM4

echo "--- the tokens go away: sessions fail in words, and the daemons stay; with them they come back at a start"
stop_serving
expect 1 'the peer had an internal error' ctl 1 peer test fw2.example
grep -q 'refused a connection from .*: the engine or provider of our own key failed: Device error' "$WORK/collector.log" || fail "the collector does not say why"
expect 0 . ctl 1 status
expect 0 . ctl 2 status
serve
stop
start
stop

echo "--- what refuses to start"
set_key 1 key-passphrase-file "$WORK/secret/wrong"
expect 1 "the connector cannot start: $URI=tls: .*PIN incorrect" exporter
set_key 1 key-passphrase-file "$WORK/secret/pin"
set_key 1 key "$URI=nowhere"
expect 1 'object=nowhere: .*: object not found' exporter
set_key 1 key "$URI=tls"
cp "$WORK/fw1/tls.crt" "$WORK/kept" && cp "$WORK/fw2/tls.crt" "$WORK/fw1/tls.crt"
expect 1 'key values mismatch' exporter
cp "$WORK/kept" "$WORK/fw1/tls.crt"
stop_serving
expect 1 "the connector cannot start: $URI=tls: " exporter
expect 1 "the listener cannot start: $URI=tls: " collector

echo "--- SoftHSM itself opens its files whenever it signs: as root without the sandbox, and in no other way"
load_module "$SOFTHSM"
expect 1 'network process cannot use its key as user= and in its sandbox.*the private key does not sign' exporter
expect 1 'network process cannot use its key as user= and in its sandbox.*the private key does not sign' collector
set_key 1 sandbox off
expect 1 'network process cannot use its key as user=; .*the private key does not sign' exporter
set_key 1 sandbox enforce
for n in 1 2; do set_key $n user ''; done
[ -n "${SAMI_COVERAGE:-}" ] || expect 1 'in its sandbox.*the private key does not sign' exporter
for n in 1 2; do set_key $n sandbox off; done
start
exit 0
