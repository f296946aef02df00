#!/usr/bin/env bash
# Who has no certificate: connections that say nothing, or an octet now and then, more of them than are held, and handshakes without end. An honest
# peer's migration ends DONE beside each. With SAMI_LONG ten thousand connections, for minutes. What only SCTP has is 166.
# OVER SCTP, TOO
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
. "${srcdir:-.}/tests/e2e/siege.sh"
MANY=400 TIMES=1
[ -z "${SAMI_LONG:-}" ] || MANY=10000 TIMES=100
siege_start
for ((i = 0; i < TIMES; i++)); do
    siege silent $MANY siege_counted refused_handshake_limit_total $((300 + $(siege_counter refused_handshake_limit_total)))
    siege slow $MANY siege_counted refused_handshake_limit_total $((300 + $(siege_counter refused_handshake_limit_total)))
    siege rushed 4 siege_counted refused_handshake_no-certificate_total $((50 + $(siege_counter refused_handshake_no-certificate_total)))
done
