#!/usr/bin/env bash
# Who has no certificate, below DTLS: records that come before their key, chunks that wait for one that never comes, datagrams in the name of anybody:
# INITs, and what is no SCTP or of no association. An honest peer's migration ends DONE beside each; the listener takes no descriptor for any of them, a
# bounded amount of memory, and says what it has thrown away. What SCTP and TCP have in common is 162.
set -uo pipefail
TRANSPORT=sctp MEMORY_LISTENER=$((48 * 1024)) TIMES=1
. "${srcdir:-.}/tests/e2e/testbed.sh"
. "${srcdir:-.}/tests/e2e/siege.sh"
[ -z "${SAMI_LONG:-}" ] || TIMES=20
descriptors() { find "/proc/$LISTENER/fd" -type l | wc -l; }
siege_start
descriptors=$(descriptors)
for ((i = 0; i < TIMES; i++)); do
    siege early 60 siege_counted refused_handshake_other_total "$(more refused_handshake_other_total 120)"
    siege gaps 66 siege_counted refused_handshake_limit_total "$(more refused_handshake_limit_total 30)" # two more than there may be
    siege datagrams 10 siege_counted refused_handshake_datagram_total "$(more refused_handshake_datagram_total 2000)"
done
[ "$(descriptors)" -le $((descriptors + 1)) ] || siege_fail "$(descriptors) descriptors, where there were $descriptors"
for text in 'records came under the key of a handshake that is not done' 'a handshake is longer than any can be' \
    'UDP datagrams of no association: [0-9]*; that came faster than they were read: [0-9]'; do
    grep -q "$text" "$WORK/collector2.log" || siege_fail "the log does not say: $text"
done
[ -n "${SAMI_LONG:-}" ] || [ "$(grep -c 'refused a connection' "$WORK/collector2.log")" -le 20 ] || siege_fail "the log has a line for each"
