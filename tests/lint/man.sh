#!/usr/bin/env bash
# The manual pages render without warnings, and what the code's tables have is in them: each configuration key in sami.conf(5), each
# verb and option in samictl(8) and sami-replay(1), each reason in sami-protocol(7).
set -u
cd "${srcdir:-$(dirname "$0")/../..}" || exit 1
protocol=${SAMI_BUILD:?}/man/sami-protocol.7
collector=$SAMI_BUILD/man/sami-collector.8
failed=0
complain() { echo "$*"; failed=1; }

# names FILE SED-EXPRESSION LEAST: what a table in the code has; too few mean that this test no longer finds the table
names() {
    local found
    found=$(sed -n "$2" "$1" | sort -u)
    [ "$(wc -l <<<"$found")" -ge "$3" ] || complain "$1: fewer than $3 rows were found: has its table another form?" >&2
    echo "$found"
}

while read -r group key; do
    # A group's section ends where the next begins.
    awk -v group="[$group]" -v key="$key" '/^\.Sh/ { inside = 0 } index($0, group) { inside = 1 }
        inside && $1 == ".It" && $2 == "Cm" && $3 == key { found = 1 } END { exit !found }' man/sami.conf.5 ||
        complain "sami.conf(5) has no $key in [$group]"
done < <(names common/config-keys.c 's/^    {"\([a-z]*\)", "\([a-z-]*\)", SAMI_KEY_.*/\1 \2/p' 30)

while read -r verb; do
    grep -qx "\.Cm $verb" man/samictl.8 || complain "samictl(8) has no synopsis of $verb"
    grep -qE "^\.It Cm $verb( |$)" man/samictl.8 || complain "samictl(8) does not describe $verb"
done < <(names ctl/verbs.c 's/^    {"\([a-z -]*\)", \(ctl\|run\)_.*/\1/p' 9)

while read -r option; do
    grep -qE "(Fl |, |\\| )-$option( |,|$)" man/samictl.8 || complain "samictl(8) has no --$option"
done < <(names ctl/verbs.c "s/^    {\"\([a-z-]*\)\", [^,]*, G_OPTION_ARG.*/\1/p" 15)

while read -r verb; do
    grep -qx "\.Cm $verb" man/sami-replay.1 || complain "sami-replay(1) has no synopsis of $verb"
    grep -qE "^\.It Cm $verb( |$)" man/sami-replay.1 || complain "sami-replay(1) does not describe $verb"
done < <(names replay/cli.c 's/^    { "\([a-z]*\)", replay_.*/\1/p' 4)

while read -r option; do
    grep -qE "(Fl |, |\| )-$option( |,|$)" man/sami-replay.1 || complain "sami-replay(1) has no --$option"
done < <(names replay/cli.c 's/^    { "\([a-z-]*\)", [^,]*, G_OPTION_ARG.*/\1/p' 15)

while read -r finding; do
    grep -qE "^\.It Li (.* , )?$finding( |$)" man/samictl.8 || complain "samictl(8) has no finding $finding"
done < <(names firewall/host.c 's/^    {"\([a-z-]*\)", {[A-Z0, ]*}, look_.*/\1/p' 10; names exporter/check.c 's/^    \[[A-Z_]*\] = { "\([a-z-]*\)", SAMI_SEV.*/\1/p' 12)

while read -r number reason; do
    [ "$number" -ne 0 ] || continue # no reason is none
    grep -qE "^ *$number +$reason " "$protocol" || complain "sami-protocol(7) has no reason $number $reason"
    grep -qx "\.BR $reason \" ($number)\"" "$collector" || complain "sami-collector(8) has no reason $number $reason"
done < <(names templates/validate.h 's/^    X([A-Z_]*, \([0-9]*\), "\([a-z-]*\)".*/\1 \2/p' 30)

while read -r rule; do
    grep -qx "\.B $rule" "$collector" || complain "sami-collector(8) has no rule $rule"
done < <(names templates/rules.h 's/^    X([A-Z_]*, [A-Z]*, "\([a-z-]*\)".*/\1/p' 30)

# The rows of the table of attributes are those that are measured: tests/interop/attributes.sh --write.
while read -r row; do
    grep -qE "^$row  +[a-z]" "$protocol" || complain "sami-protocol(7) has no attribute: $row"
done < <(names tests/interop/attributes.py 's/^    "[a-z0-9-]*": [A-Za-z]*("\([^"]*\)".*/\1/p' 40 | sed 's/[][().*]/./g')
[ "$(sed -n '/^attribute /,/^\.fi/p' "$protocol" | grep -c '  ')" -eq "$(sed 1d man/attributes.txt | wc -l)" ] ||
    complain "the table of attributes in sami-protocol(7) is not man/attributes.txt"

if command -v mandoc >/dev/null; then
    mandoc -T lint -W warning man/*.[1578] "$protocol" "$collector" "${SAMI_BUILD:?}/man/sami-conntrackd.7" || failed=1
elif [ $failed -eq 0 ]; then
    echo "SKIP: tables are in the pages, but mandoc is not installed to render them"
    exit 77
fi
exit $failed
