#!/usr/bin/env bash
# A site with a CA: samictl setup --csr, a certificate that openssl's CA makes of the request, peer files without certificates, tls-ca. A move works; a
# certificate that has expired, is for another name, or comes from another CA is refused, here when it is installed and there when it is presented.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
command -v openssl >/dev/null || lab_skip "needs openssl(1)"
lab_start || exit 1
fail() { echo "FAILED: $*"; cat "$WORK/out" "$WORK"/*.log 2>/dev/null; exit 1; }
run() { # STATUS WORD FIREWALL ARGUMENTS...
    local want=$1 word=$2 n=$3 got
    shift 3
    ctl "$n" "$@" >"$WORK/out" 2>&1 </dev/null
    got=$?
    [ $got -eq "$want" ] && grep -q -- "$word" "$WORK/out" || fail "samictl $*: $got, wanted $want and '$word'"
}
for name in ca rogue; do
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$WORK/$name.key" -out "$WORK/$name.crt" -subj "/CN=$name" -days 10 \
        -addext 'basicConstraints=critical,CA:TRUE' -addext 'keyUsage=critical,keyCertSign,cRLSign' 2>"$WORK/out" || fail "no CA"
done
# sign CA REQUEST CERTIFICATE [OPTIONS...]: as a CA does that copies what the request asks for
sign() {
    local ca=$1 request=$2 certificate=$3
    shift 3
    openssl x509 -req -in "$request" -CA "$WORK/$ca.crt" -CAkey "$WORK/$ca.key" -CAcreateserial -copy_extensions copyall -out "$certificate" "$@" 2>"$WORK/out" ||
        fail "the CA does not sign"
}
echo "--- requests, certificates, peer files"
for n in 1 2; do
    run 0 'have the CA sign' $n setup --name fw$n.example --address 10.255.0.$n:4740 --csr
    openssl req -in "$WORK/fw$n/tls.csr" -noout -verify -text >"$WORK/out" 2>&1 && grep -q "DNS:fw$n.example" "$WORK/out" &&
        grep -q 'TLS Web Server Authentication, TLS Web Client' "$WORK/out" || fail "the request says something else"
    [ "$(stat -c %a "$WORK/fw$n/tls.key")" = 600 ] && [ ! -e "$WORK/fw$n/tls.crt" ] || fail "not only a request"
    run 0 unchanged $n setup --csr
    sign ca "$WORK/fw$n/tls.csr" "$WORK/fw$n.crt" -days 5
    cat >>"$WORK/fw$n/sami.conf" <<CONF
run-dir=$WORK/run$n
journal-dir=$WORK/journal$n
vm-prefixes=10.0.0.0/24
user=nobody
control-group=
CONF
    mkdir -p "$WORK/run$n"
done
sign ca "$WORK/fw1/tls.csr" "$WORK/expired.crt" -days -1
sign rogue "$WORK/fw1/tls.csr" "$WORK/rogue.crt.1" -days 5
ns fw1 "$BUILD/samictl" --config-dir "$WORK/other" setup --name other.example --csr >"$WORK/out" 2>&1 || fail "setup of another"
sign ca "$WORK/other/tls.csr" "$WORK/other.crt" -days 5
run 1 'does not belong to' 1 setup --certificate "$WORK/fw2.crt"
run 1 'has expired' 1 setup --certificate "$WORK/expired.crt"
[ ! -e "$WORK/fw1/tls.crt" ] || fail "something was installed"
for n in 1 2; do
    run 0 tls-ca $n setup --certificate "$WORK/fw$n.crt"
    grep -q '^certificate=' "$WORK/fw$n/fw$n.example.peer" && fail "a certificate in the peer file"
done
run 1 'first: tls-ca' 1 peer add "$WORK/fw2/fw2.example.peer" --both --yes --allow 10.0.0.0/24
for n in 1 2; do echo "tls-ca=$WORK/ca.crt" >>"$WORK/fw$n/sami.conf"; done
run 2 'no terminal' 1 peer add "$WORK/fw2/fw2.example.peer" --both --allow 10.0.0.0/24
for n in 1 2; do run 0 'by tls-ca' $n peer add "$WORK/fw$((3 - n))/fw$((3 - n)).example.peer" --both --yes --allow 10.0.0.0/24; done
[ ! -e "$WORK/fw1/peers.d/fw2.example.crt" ] || fail "pinned all the same"
run 1 'a CA vouches' 1 key rotate --tls

echo "--- a move"
NO_EXPECT=1 sami_start || exit 1
ctl 2 -q expect --vm $VM4 --from fw1.example || fail expect
ns fw1 conntrack -I -p tcp -s $VM4 -d $CLI4 --sport 1001 --dport 443 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED >/dev/null 2>&1
run 0 DONE 1 migrate --vm $VM4 --to fw2.example --now

echo "--- what is presented and must be refused; each by a reload, for the next session"
present() { # CERTIFICATE KEY WORD
    cp "$1" "$WORK/fw1/tls.crt" && [ "$2" = - ] || cp "$2" "$WORK/fw1/tls.key"
    ctl 1 peer update "$WORK/fw2/fw2.example.peer" >"$WORK/out" 2>&1 || fail "no reload" # unchanged, but the daemons read all again
    run 1 "$3" 1 peer test fw2.example
}
cp "$WORK/fw1/tls.key" "$WORK/fw1.key"
present "$WORK/expired.crt" - 'expired'
present "$WORK/rogue.crt.1" - 'unknown_ca'
present "$WORK/other.crt" "$WORK/other/tls.key" 'does not carry the name'
issue() { # NAME OPTION OF openssl req... -- OPTION OF openssl x509...: another certificate of firewall 1
    local name=$1 options=()
    shift
    while [ "$1" != -- ]; do options+=("$1") && shift; done
    shift
    openssl req -new -newkey "${options[@]}" -nodes -keyout "$WORK/$name.key" -out "$WORK/$name.csr" -subj /CN=fw1.example \
        -addext subjectAltName=DNS:fw1.example 2>"$WORK/out" || fail "no request"
    sign ca "$WORK/$name.csr" "$WORK/$name.crt" -days 5 "$@"
    chmod 600 "$WORK/$name.key"
}
P256=(ec -pkeyopt ec_paramgen_curve:P-256)
issue purpose "${P256[@]}" -addext extendedKeyUsage=serverAuth --
present "$WORK/purpose.crt" "$WORK/purpose.key" 'not made for this purpose'
cp "$WORK/fw1.crt" "$WORK/fw1/tls.crt" && cp "$WORK/fw1.key" "$WORK/fw1/tls.key"
ctl 1 peer update "$WORK/fw2/fw2.example.peer" >"$WORK/out" 2>&1 || fail "no reload"
run 0 'ok:' 1 peer test fw2.example
# What is weak is refused even where the system's openssl.cnf takes it: the collector is started anew with one that does.
issue good "${P256[@]}" -- && issue short rsa:1024 -- && issue sha1 "${P256[@]}" -- -sha1
cat >"$WORK/weak.cnf" <<CONF
openssl_conf=start
[start]
ssl_conf=all
[all]
system_default=weak
[weak]
CipherString=DEFAULT@SECLEVEL=0
CONF
weak() { # NAME
    sleep 1 | ns fw1 openssl s_client -connect 10.255.0.2:4740 -tls1_3 -cert "$WORK/$1.crt" -key "$WORK/$1.key" -cipher DEFAULT@SECLEVEL=0 >"$WORK/out" 2>&1
}
anew() { # ASSIGNMENT...
    kill "${DAEMONS[0]}"
    poll 10 test ! -S "$WORK/run2/collector.sock" || fail "the collector does not stop"
    ip netns exec "${LAB}fw2" env "$@" "$BUILD/sami-collector" -c "$WORK/fw2/sami.conf" -f >>"$WORK/collector.log" 2>&1 &
    DAEMONS[0]=$!
    disown
    poll 10 test -S "$WORK/run2/collector.sock" || fail "the collector does not start"
}
anew OPENSSL_CONF="$WORK/weak.cnf"
weak short
poll 10 grep -q 'by tls-ca: EE certificate key too weak' "$WORK/collector.log" || fail "RSA with 1024 bits"
weak sha1
poll 10 grep -q 'by tls-ca: CA signature digest algorithm too weak' "$WORK/collector.log" || fail "SHA-1"
refusals() { grep -c 'refused a connection' "$WORK/collector.log"; }
before=$(refusals)
weak good
[ "$(refusals)" -eq "$before" ] || fail "a good one is refused"

# A list of what the CA has revoked, in tls-ca, is looked at: as long as it is valid.
cat >"$WORK/ca.conf" <<CONF
[ca]
default_ca=ca_here
[ca_here]
database=$WORK/ca.index
crlnumber=$WORK/ca.number
default_md=sha256
CONF
: >"$WORK/ca.index" && echo 01 >"$WORK/ca.number"
authority() { openssl ca -config "$WORK/ca.conf" -cert "$WORK/ca.crt" -keyfile "$WORK/ca.key" "$@" 2>"$WORK/out" || fail "openssl ca $*"; }
listed() { # OPTIONS OF THE LIST...
    authority -gencrl -out "$WORK/ca.crl" "$@"
    cat "$WORK/ca.crt" "$WORK/ca.crl" >"$WORK/listed.crt"
    ctl 2 peer update "$WORK/fw1/fw1.example.peer" >"$WORK/out" 2>&1 || fail "no reload"
}
sed -i "s,^tls-ca=.*,tls-ca=$WORK/listed.crt," "$WORK/fw2/sami.conf"
cp "$WORK/ca.crt" "$WORK/listed.crt"
anew
run 0 'ok:' 1 peer test fw2.example
listed -crldays 5
run 0 'ok:' 1 peer test fw2.example
listed -crl_lastupdate 20200101000000Z -crl_nextupdate 20200102000000Z
run 1 'refused our certificate' 1 peer test fw2.example
# A session that stands when its certificate is revoked is cut.
listed -crldays 5
ctl 1 migrate --vm $VM4 --to fw2.example --json >"$WORK/migrate" 2>&1 &
poll 20 grep -q '"confirmed_snapshot":true' "$WORK/migrate" || fail "no session"
listed -crldays 5
grep -q 'session with fw2.example is lost' "$WORK/exporter.log" && fail "a list that says nothing of it cuts the session"
authority -revoke "$WORK/fw1.crt"
listed -crldays 5
poll 10 grep -q 'session with fw2.example is lost' "$WORK/exporter.log" || fail "a session with a revoked certificate goes on"
grep -q 'TLS: fw1.example at .*not believed any more since a reload' "$WORK/collector.log" || fail "not said why it was cut"
run 1 'it is revoked' 1 peer test fw2.example
grep -q 'by tls-ca: certificate revoked' "$WORK/collector.log" || fail "not said why"
# A renewed one takes effect without a restart.
sign ca "$WORK/fw1/tls.csr" "$WORK/renewed.crt" -days 6
run 0 "$WORK/fw1/tls.crt" 1 setup --certificate <(cat "$WORK/renewed.crt") # what is read once is what is looked at, and installed
cmp -s "$WORK/renewed.crt" "$WORK/fw1/tls.crt" || fail "another one was installed"
exit 0
