#!/usr/bin/env bash
# Refused before a session stands, by TLS; too late; and what an operator's own side refuses, with its exit status.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_tcp_only "the hostile sender speaks TLS; what it sends is refused behind it"
. "${srcdir:-.}/tests/e2e/refused.sh"
command -v openssl >/dev/null || lab_skip "openssl is not installed"
refused_setup || exit 1

# Two authorities; the collector believes the first, for peers without a certificate of their own.
authority() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -days 2 -keyout "$WORK/$1.key" -out "$WORK/$1.pem"; }
certificate() { # AUTHORITY NAME DAYS
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$2" -keyout "$WORK/$1-$2.key" -out "$WORK/$1-$2.csr" &&
        printf 'subjectAltName=DNS:%s\n' "$2" >"$WORK/$1-$2.ext" &&
        openssl x509 -req -in "$WORK/$1-$2.csr" -CA "$WORK/$1.pem" -CAkey "$WORK/$1.key" -CAcreateserial -days "$3" \
            -extfile "$WORK/$1-$2.ext" -out "$WORK/$1-$2.pem"
}
{ authority ours && authority theirs && certificate ours fw3.example 1 && certificate ours fw9.example 1 && certificate theirs fw3.example 1 &&
    certificate ours fw4.example -1; } >"$WORK/openssl" 2>&1 || { cat "$WORK/openssl"; exit 1; }
cat >>"$WORK/fw2/sami.conf" <<CONF
tls-ca=$WORK/ours.pem
max-delay=1s
CONF
printf '[peer]\nname=fw3.example\n' >"$WORK/fw2/peers.d/fw3.example.conf"
printf '[peer]\nname=fw4.example\n' >"$WORK/fw2/peers.d/fw4.example.conf"
# The right certificate under a name that it does not carry, and an address where nobody can be.
sed 's/^name=.*/name=fw8.example/; /^name=/!b' "$WORK/fw1/peers.d/fw2.example.conf" >"$WORK/fw1/peers.d/fw8.example.conf"
sed 's/^name=.*/name=fw7.example/; s/^address=.*/address=192.0.2.77:4740/' "$WORK/fw1/peers.d/fw2.example.conf" >"$WORK/fw1/peers.d/fw7.example.conf"
grep -q '^name=fw8' "$WORK/fw1/peers.d/fw8.example.conf" || sed -i '/^\[peer\]/a name=fw8.example' "$WORK/fw1/peers.d/fw8.example.conf"
grep -q '^name=fw7' "$WORK/fw1/peers.d/fw7.example.conf" || sed -i '/^\[peer\]/a name=fw7.example' "$WORK/fw1/peers.d/fw7.example.conf"
ip -n "${LAB}fw1" route add unreachable 192.0.2.77/32
sami_start || exit 1

tls() { refused "$1" "refused_handshake_$2_total" 1 "$3" hostile honest "${@:4}"; }
tls no-certificate no-certificate 'alert .*certificate_required' none
tls certificate-of-another-ca unknown-ca 'alert .*unknown_ca' "$WORK/theirs-fw3.example.pem" "$WORK/theirs-fw3.example.key"
tls self-signed-certificate unknown-ca 'alert .*unknown_ca' "$WORK/theirs.pem" "$WORK/theirs.key"
tls name-that-is-no-peer wrong-name 'alert .*bad_certificate' "$WORK/ours-fw9.example.pem" "$WORK/ours-fw9.example.key"
tls certificate-expired not-valid-now 'alert .*certificate_expired' "$WORK/ours-fw4.example.pem" "$WORK/ours-fw4.example.key"
# TLS believes this one, but the signer's policy does not name it.
refused signer-under-another-tls-name refused_tls-name_total 1 'refused tls-name: .' \
    hostile honest "$WORK/ours-fw3.example.pem" "$WORK/ours-fw3.example.key"
for held in held-back held-back-from-the-hello held-back-record; do
    refused $held refused_too-late_total 1 'refused too-late: .' hostile $held
done

migrate() { ctl 1 migrate --vm "${2:-$VM4}" --to "$1" --now; }
STATUS=1 refused collector-of-another-name refused_handshake_by-peer_total 1 "pinned for fw8.example names 'fw2.example'" migrate fw8.example
STATUS=1 refused destination-unreachable none 0 'cannot connect to fw7.example at 192.0.2.77:4740: ' migrate fw7.example
STATUS=2 refused vm-outside-own-prefixes none 0 '10.77.0.1 is not inside vm-prefixes' migrate fw2.example 10.77.0.1
STATUS=1 refused collector-not-root none 0 'must be started as root' \
    setpriv --reuid=65534 --regid=65534 --clear-groups "$BUILD/sami-collector" -c "$WORK/fw2/sami.conf"

# The state process of the collector stands still, so no receipt can come: freeze has to say so.
state=
for pid in $(ip netns pids "${LAB}fw2"); do
    parent=$(awk '$1 == "PPid:" { print $2 }' "/proc/$pid/status")
    [ "$(cat "/proc/$pid/comm")" = sami-collector ] && [ "$(cat "/proc/$parent/comm")" = sami-collector ] &&
        [ "$(stat -c %u "/proc/$pid")" -eq 0 ] && state=$pid
done
[ -n "$state" ] || { echo "FAIL the collector's state process was not found"; exit 1; }
counters >"$WORK/counters"
kill -STOP "$state"
ctl 1 migrate --vm $VM4 --to fw2.example --json >"$WORK/migrate" 2>&1 &
MIGRATE=$!
poll 10 grep -q '"id"' "$WORK/migrate"
ID=$(sed -n 's/.*"id" *: *"\([0-9a-f]*\)".*/\1/p' "$WORK/migrate" | head -n 1)
ctl 1 freeze "$ID" >"$WORK/freeze" 2>&1
frozen=$?
kill -CONT "$state"
STATUS=1 refused freeze-before-the-snapshot-is-confirmed none 0 'not-ready: the snapshot of .* is not confirmed' sh -c "cat '$WORK/freeze'; exit $frozen"
poll 10 grep -q '"confirmed_snapshot":true' "$WORK/migrate" || { echo "FAIL the snapshot was not confirmed afterwards"; cat "$WORK/migrate"; exit 1; }
ctl 1 freeze "$ID" >"$WORK/freeze" 2>&1 && wait "$MIGRATE" || { echo "FAIL freeze after the snapshot"; cat "$WORK/freeze" "$WORK/migrate"; exit 1; }
honest_migration 1001 && refused_end
