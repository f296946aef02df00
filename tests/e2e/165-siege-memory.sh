#!/usr/bin/env bash
# A peer with a certificate and keys that makes the collector remember: flows that come and go, sessions by the hundred, migrations in doubt; with SAMI_LONG
# also many that are done. An honest peer's migration ends DONE beside each, and what the attacker takes up is bounded, and shown.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
. "${srcdir:-.}/tests/e2e/siege.sh"
[ -z "${SAMI_LONG:-}" ] || SIEGE_S=100
siege_start max-delay=5s
siege fleeting 2 siege_peer_has migrations 2
siege_bounded
siege hasty 2 siege_counted sessions_total "$(more sessions_total 100)"
if [ -n "${SAMI_LONG:-}" ]; then # more than are looked after, each with a flow that no packet touches
    siege prolific 4 siege_counted migrations_done_total "$(more migrations_done_total 500)"
    siege_bounded
fi
siege doubtful 4 siege_peer_has in_doubt 64
[ "$(siege_peer in_doubt)" -le $((64 + 32)) ] || siege_fail "$(siege_peer in_doubt) migrations are in doubt" # those that ran when it was full
siege_bounded
