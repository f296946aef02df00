#!/usr/bin/env bash
# A peer with a certificate and keys that takes what it can get and says nothing: more sessions than it may have, sessions that stop behind TLS or the
# hello, a Message that never ends, migrations that are begun, new keys for its session without end. An honest peer's migration ends DONE beside each, and what the attacker has is cut.
# OVER SCTP, TOO
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
. "${srcdir:-.}/tests/e2e/siege.sh"
SESSIONS=12 MANY_MIGRATIONS=4 TIMES=1
[ -z "${SAMI_LONG:-}" ] || TIMES=20
siege_start peer-sessions=$SESSIONS max-delay=2s
if [ "$TRANSPORT" = tcp ]; then # DTLS 1.2 has no KeyUpdates; first, for the log has room for so many a minute
    siege rekeying 4 siege_counted session_errors_total "$(more session_errors_total 12)"
    grep -q 'fw3.example (.*: TLS: .*: more than 32 times it has sent what is no Message' "$WORK/collector2.log" || siege_fail "the log does not say why"
fi
both() { siege_counted refused_limit_total "$1" && siege_counted refused_too-late_total "$2"; } # too many, and what there was has said nothing
for ((i = 0; i < TIMES; i++)); do
    siege idle $((SESSIONS + 12)) both "$(more refused_limit_total 5)" "$(more refused_too-late_total 5)"
    COVERED=1
    siege greeted $SESSIONS siege_counted refused_too-late_total "$(more refused_too-late_total $SESSIONS)"
    unset COVERED
    ctl 2 show peers | grep -q '^fw1.example  *[0-9]' || siege_fail "show peers does not name a peer"
    siege endless 2 siege_counted refused_malformed_total "$(more refused_malformed_total 1)"
    siege begun $((MANY_MIGRATIONS + 2)) siege_counted refused_limit_total "$(more refused_limit_total 4)"
    [ "$(siege_peer migrations)" -le $MANY_MIGRATIONS ] || siege_fail "$(siege_peer migrations) migrations run"
done

[ "$TRANSPORT" = tcp ] || exit 0 # what follows breaks TCP connections
# One that breaks its connection again and again is counted, and logged no more often than what is refused: a log has room for others.
ATTACK=broken
logged() { grep -c 'fw3.example (.*: TLS: ' "$WORK/collector2.log"; }
before=$(logged) wanted=$(more session_errors_total 200)
ns fw3 python3 - "$WORK/fw3" <<'PYTHON' &
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.load_cert_chain(sys.argv[1] + "/tls.crt", sys.argv[1] + "/tls.key")
while True:
    try:
        connection = context.wrap_socket(socket.create_connection(("10.255.0.2", 4740)))
        connection.shutdown(socket.SHUT_WR)  # without close_notify
        connection.close()
    except OSError:
        pass
PYTHON
BREAKER=$!
poll 60 siege_counted session_errors_total "$wanted" || siege_fail "it is not counted"
siege_honest
kill $BREAKER
wait $BREAKER 2>/dev/null
echo "broken: $(($(siege_counter session_errors_total) - wanted + 200)) sessions, $(($(logged) - before)) lines"
[ $(($(logged) - before)) -le 130 ] || siege_fail "$(($(logged) - before)) lines" # two minutes' worth at most
