#!/usr/bin/env bash
# A peer with a certificate and keys that keeps the collector busy: questions whose answers it does not read, freezes that it takes back, records without
# end that are refused. An honest peer's migration ends DONE beside each, and what the attacker takes up is bounded, and shown.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
. "${srcdir:-.}/tests/e2e/siege.sh"
TIMES=1
[ -z "${SAMI_LONG:-}" ] || TIMES=20
siege_start max-delay=5s
for ((i = 0; i < TIMES; i++)); do
    for way in unread undecided; do
        siege $way 2 siege_peer_has migrations 2
        siege_bounded
    done
    siege forbidden 2 siege_counted refused_address-not-allowed_total "$(more refused_address-not-allowed_total 30000)"
    siege_bounded
done
