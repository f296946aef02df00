#!/usr/bin/env bash
# dump --follow goes on at the end of a journal that grows, Message by Message, and ends when the file is gone.
set -uo pipefail
data=$(cd "${srcdir:-$(dirname "$0")/../..}/tests/data/replay" && pwd)
work=$(mktemp -d)
trap 'kill $FOLLOWER 2>/dev/null; rm -rf "$work"' EXIT
until_true() { # SECONDS COMMAND...
    local end=$((SECONDS + $1))
    shift
    until "$@"; do [ $SECONDS -lt $end ] || return 1; sleep 0.05; done
}
has() { [ "$(grep -c "^Message" "$work/out")" -eq "$1" ]; }
: >"$work/journal"
"${SAMI_BUILD:?}/sami-replay" dump --follow "$work/journal" >"$work/out" 2>"$work/errors" &
FOLLOWER=$!
octets() { tail -c +$(($1 + 1)) "$data/journal.ipfix" | head -c $(($2 - $1)); }
octets 0 700 >>"$work/journal" # one Message, and a part of the next
until_true 20 has 1 || { echo "FAIL the first Message is not shown"; cat "$work/out" "$work/errors"; exit 1; }
octets 700 844 >>"$work/journal"
until_true 20 has 2 || { echo "FAIL the Message that came in two parts is not shown"; exit 1; }
octets 844 1000000 >>"$work/journal"
until_true 20 has 16 || { echo "FAIL $(grep -c ^Message "$work/out") of 16 Messages"; exit 1; }
kill -0 $FOLLOWER || { echo "FAIL it has ended"; exit 1; }
rm "$work/journal"
gone() { ! kill -0 $FOLLOWER 2>/dev/null; }
until_true 20 gone || { echo "FAIL it follows a file that is gone"; exit 1; }
wait $FOLLOWER
status=$?
[ $status -eq 0 ] && [ ! -s "$work/errors" ] || { echo "FAIL status $status"; cat "$work/errors"; exit 1; }
diff <("$SAMI_BUILD/sami-replay" dump "$data/journal.ipfix") "$work/out"
