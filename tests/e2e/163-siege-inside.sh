#!/usr/bin/env bash
# A peer with a certificate and keys: sessions that say nothing, or stop at each point; a Message that never ends; questions whose answers it does not read;
# freezes that it takes back; records without end that are refused, and flows that come and go. An honest peer's migration ends DONE beside each, and
# what the attacker takes up is bounded, and shown. With SAMI_LONG each for minutes.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_tcp_only "the attacker speaks TLS"
. "${srcdir:-.}/tests/e2e/siege.sh"
SESSIONS=12 OCTETS=$((64 * 1024 * 1024))
siege_start peer-sessions=$SESSIONS
echo max-sessions=20000 >>"$WORK/fw2/signers.d/fw3.example.conf"
kill -HUP "$(ip netns pids "${LAB}fw2" | head -n 1)"
poll 10 siege_counted reloads_total 1 || siege_fail "not reloaded"

bounded() {
    [ "$(siege_peer octets)" -le $OCTETS ] || siege_fail "the state process says that it holds $(siege_peer octets) octets for the attacker"
}
more() { echo $(($2 + $(siege_counter "$1"))); }

# More than it may have: the rest is refused with a reason, and what it has is cut when it says nothing.
siege idle $((SESSIONS + 20)) siege_counted refused_limit_total "$(more refused_limit_total 5)"
siege_counted refused_too-late_total 1 || siege_fail "silence is not refused"
siege greeted $SESSIONS siege_counted refused_too-late_total "$(more refused_too-late_total $SESSIONS)"
siege endless 4 siege_counted refused_malformed_total "$(more refused_malformed_total 2)"
siege begun $SESSIONS siege_peer_has migrations $((SESSIONS - 2))
siege unread 4 siege_peer_has migrations 4
bounded
siege undecided 4 siege_peer_has migrations 4
bounded
siege forbidden 4 siege_counted refused_address-not-allowed_total "$(more refused_address-not-allowed_total 100000)"
bounded
siege fleeting 2 siege_peer_has migrations 2
bounded
siege hasty 2 siege_counted sessions_total "$(more sessions_total 100)"
