#!/usr/bin/env bash
# A peer with a certificate and keys that takes what it can get and says nothing: more sessions than it may have, sessions that stop behind TLS or the
# hello, a Message that never ends, migrations that are begun. An honest peer's migration ends DONE beside each, and what the attacker has is cut.
# OVER SCTP, TOO
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
. "${srcdir:-.}/tests/e2e/siege.sh"
SESSIONS=12 MANY_MIGRATIONS=4 TIMES=1
[ -z "${SAMI_LONG:-}" ] || TIMES=20
siege_start peer-sessions=$SESSIONS max-delay=2s
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
