#!/usr/bin/env bash
# A TLS key that is in a TPM (swtpm), by a provider that openssl.cnf loads: a move from there, the exporter's user and sandbox as ever. What is refused at the
# start, in words: a wrong password, which a TPM compares only when it signs; a TPM that is not there, or that the sandbox keeps from a listener, as it is reached
# by TCP; random numbers from it, where the state process has no way to it.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
. "${srcdir:-.}/tests/e2e/keys.sh"
for program in swtpm tpm2_createprimary ss; do command -v $program >/dev/null || lab_skip "no $program here"; done
[ -e "$(openssl version -m | sed 's/.*"\(.*\)"/\1/')/tpm2.so" ] || lab_skip "no provider for a TPM here"
[ -n "$(find /usr/lib /usr/lib64 -name 'libtss2-tcti-swtpm.so*' 2>/dev/null)" ] || lab_skip "no libtss2-tcti-swtpm here"
lab_has_sanitizers && lab_skip "the provider is not built with the sanitizers"
lab_start || exit 1
export TPM2TOOLS_TCTI=swtpm:host=127.0.0.1,port=2321 TPM2OPENSSL_TCTI=swtpm:host=127.0.0.1,port=2321
serves() { [ -n "$(ns fw$1 ss -Hltn 'sport = 2321')" ]; }
serve() { # FIREWALL
    mkdir -p "$WORK/tpm$1"
    ip netns exec "${LAB}fw$1" swtpm socket --tpm2 --tpmstate "dir=$WORK/tpm$1" --server type=tcp,port=2321,bindaddr=127.0.0.1,disconnect \
        --ctrl type=tcp,port=2322,bindaddr=127.0.0.1 --flags not-need-init,startup-clear >>"$WORK/swtpm.log" 2>&1 &
    TPM=$!
    disown
    poll 10 serves $1 || fail "swtpm does not serve"
}
# One after the other leaves its objects in the TPM: nobody manages its room here.
tpm() { ns fw$1 "${@:2}" >>"$WORK/swtpm.log" 2>&1 && ns fw$1 tpm2_flushcontext -t; }
# PROPERTIES: without any the default provider would sign, with what the TPM lets it see of a key, which is not the key.
use_provider() {
    printf '%s\n' 'openssl_conf = init' '[init]' 'providers = providers' 'alg_section = algorithms' '[algorithms]' "default_properties = $1" \
        '[providers]' 'default = always' 'tpm2 = always' '[always]' 'activate = 1' >"$WORK/openssl.cnf"
}
use_provider '?tpm2.signature=yes'
cd "$WORK" || exit 1 # where a file with the name of a URI would be
mkdir -m 700 "$WORK/secret"
(umask 077 && echo sesame >"$WORK/secret/password" && echo parsley >"$WORK/secret/wrong")
for n in 1 2; do
    serve $n
    (cd "$WORK/tpm$n" && tpm $n tpm2_createprimary -Q -C o -G ecc -c primary &&
        tpm $n tpm2_create -Q -C primary -G ecc256:ecdsa -p sesame -a 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign|noda' -u public -r private &&
        tpm $n tpm2_load -Q -C primary -u public -r private -c key && tpm $n tpm2_evictcontrol -C o -c key 0x81000010) || fail "no key in the TPM"
    expect 0 fingerprint ctl $n setup --name fw$n.example --address 10.255.0.$n:4740
    rm "$WORK/fw$n/tls.key" "$WORK/fw$n/tls.crt"
    set_key $n key 'handle:0x81000010?pass'
    expect 1 'no provider that openssl.cnf(5) loads' ctl $n setup
done
export OPENSSL_CONF=$WORK/openssl.cnf
for n in 1 2; do
    expect 1 'the private key has a PIN or a passphrase, which must be in a file' ctl $n setup
    set_key $n key-passphrase-file "$WORK/secret/wrong"
    expect 1 'does not sign: cannot sign: .*authorization' ctl $n setup
    set_key $n key-passphrase-file "$WORK/secret/password"
    expect 0 "made $WORK/fw$n/tls.crt" ctl $n setup
done
sami_setup || exit 1
[ -z "$(find "$WORK" -name '*tls*.key' -o -name '*handle:*')" ] || fail "a key was written"

echo "--- a listener may not connect by TCP to its TPM, in its sandbox"
collector() { G_DEBUG='' timeout 60 ip netns exec "${LAB}fw2" "$BUILD/sami-collector" -c "$WORK/fw2/sami.conf" -f; }
exporter() { G_DEBUG='' timeout 60 ip netns exec "${LAB}fw1" "$BUILD/sami-exporter" -c "$WORK/fw1/sami.conf" -f; }
[ -n "${SAMI_COVERAGE:-}" ] || expect 1 'the listener cannot start: the network process cannot use its key as user= and in its sandbox.*does not sign' collector
set_key 2 sandbox off

echo "--- a move, both ends by TPM"
sami_start || exit 1
ns fw1 conntrack -I -p tcp -s $VM4 -d $CLI4 --sport 1001 --dport 443 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED >/dev/null 2>&1
expect 0 ok: ctl 1 peer test fw2.example
expect 0 DONE ctl 1 migrate --vm $VM4 --to fw2.example --now
expect 0 'sport=1001 dport=443' ns fw2 conntrack -L -s $VM4
kill "${DAEMONS[@]}"
poll 15 eval "! kill -0 ${DAEMONS[0]} 2>/dev/null && ! kill -0 ${DAEMONS[1]} 2>/dev/null" || fail "they do not end"

echo "--- what refuses to start"
set_key 1 key-passphrase-file "$WORK/secret/wrong"
expect 1 'the connector cannot start: .*does not sign: cannot sign: .*authorization' exporter
set_key 1 key-passphrase-file "$WORK/secret/password"
use_provider '?provider=tpm2' # for everything that it has
[ -n "${SAMI_COVERAGE:-}" ] || expect 1 'OpenSSL gives no random numbers here' exporter
use_provider '?tpm2.signature=yes'
tpm 2 tpm2_shutdown
kill $TPM
poll 10 eval "! serves 2" || fail "swtpm does not end"
expect 1 'the listener cannot start: handle:0x81000010?pass: no private key could be read: no provider' collector
exit 0
