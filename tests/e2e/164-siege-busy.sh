#!/usr/bin/env bash
# A peer with a certificate and keys that keeps the collector busy, and makes it remember: questions whose answers it does not read, freezes that it takes
# back, records without end that are refused, flows that come and go, migrations in doubt, sessions by the hundred. An honest peer's migration ends DONE
# beside each, and what the attacker takes up is bounded, and shown.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_tcp_only "the attacker speaks TLS"
. "${srcdir:-.}/tests/e2e/siege.sh"
OCTETS=$((48 * 1024 * 1024)) TIMES=1
[ -z "${SAMI_LONG:-}" ] || TIMES=20 SIEGE_S=100
siege_start max-delay=5s
bounded() { [ "$(siege_peer octets)" -le $OCTETS ] || siege_fail "the state process says that it holds $(siege_peer octets) octets for the attacker"; }
for ((i = 0; i < TIMES; i++)); do
    siege unread 2 siege_peer_has migrations 2
    bounded
    siege undecided 2 siege_peer_has migrations 2
    bounded
    siege forbidden 2 siege_counted refused_address-not-allowed_total "$(more refused_address-not-allowed_total 60000)"
    bounded
    siege fleeting 2 siege_peer_has migrations 2
    bounded
    siege hasty 2 siege_counted sessions_total "$(more sessions_total 100)"
done
if [ -n "${SAMI_LONG:-}" ]; then # more than are looked after, each with a flow that no packet touches
    siege prolific 4 siege_counted migrations_done_total "$(more migrations_done_total 500)"
    bounded
fi
siege doubtful 4 siege_peer_has in_doubt 64
[ "$(siege_peer in_doubt)" -le $((64 + 32)) ] || siege_fail "$(siege_peer in_doubt) migrations are in doubt"
bounded
