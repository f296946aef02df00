#!/usr/bin/env bash
# demonstrate-cumulative.sh BUILD: a client floods SYNs, is counted and blacklisted by the rules of firewall 1; the VM moves. First without SAMI,
# then with it. The last line is for machines.
set -uo pipefail
export SAMI_BUILD=$1 srcdir
srcdir=$(cd "$(dirname "$0")/../.." && pwd)
. "$srcdir/tests/e2e/testbed.sh"
# shellcheck disable=SC2034
DEFAULT_POLICY=1
. "$srcdir/tests/e2e/cumulative.sh"
say() { printf '%s\n' "$*"; }
die() { say "demo: $*"; tail -n 20 "$WORK"/*.log; exit 1; }

round() { # with|without
    { lab_start && sami_setup && guard_start && sami_start; } || die "no lab"
    { flood syn $BAD4 $VM4 60 && flood syn $GOOD4 $VM4 3; } || die "no flood"
    say "  firewall 1 has counted of the flooder:       $(element 1 syn4 $BAD4)"
    say "  and blacklisted it:                          $(element 1 bad4 $BAD4)"
    if [ "$1" = with ]; then sami_follow || die "no snapshot"; fi
    sami_move "$([ "$1" = with ] || echo without)" || die "the move"
    if [ "$1" = with ]; then wait "$MIGRATE" || die "migrate ended with $?"; fi
    say "  the VM has moved behind firewall 2"
    { flood syn $BAD4 $VM4 5 && flood syn $GOOD4 $VM4 1; } || die "no flood"
    say "  firewall 2, five SYNs later:                 $(element 2 syn4 $BAD4)"
    say "  blacklisted there:                           $(element 2 bad4 $BAD4 || echo no)"
    say "  of the five SYNs it has blocked:             $(blocked 2)"
    say "  the second client, which has done nothing:   $(element 2 syn4 $GOOD4), $(element 2 bad4 $GOOD4 || echo not blacklisted)"
}

say "1. Without SAMI: a clean slate"
round without
without=$(packets 2 syn4 $BAD4)/$(blocked 2)
lab_stop
mkdir -p "$WORK" && chmod 755 "$WORK"
say "2. With SAMI"
round with
counted=$(packets 2 syn4 $BAD4) blocked=$(blocked 2) good=$(packets 2 syn4 $GOOD4)
echo "counted=$counted/65 blocked=$blocked/5 without=$without second_client=$good/4"
[ "$counted" = 65 ] && [ "$blocked" = 5 ] && [ "$without" = 5/0 ] && [ "$good" = 4 ] && ! element 2 bad4 $GOOD4
