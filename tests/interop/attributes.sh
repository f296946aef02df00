#!/usr/bin/env bash
# The same entries go through SAMI, through conntrackd and through conntrack's own file; what arrives, attribute by attribute, is the table ATTRIBUTES of
# sami-protocol(7). Prints it, then a JSON line for each case and attribute. Fails when SAMI does other things than man/attributes.txt has; what the other
# programs do differently is said, with their versions. --write writes that file.
#
# usage: SAMI_BUILD=build tests/interop/attributes.sh [--write]
set -uo pipefail
: "${srcdir:=$(cd "$(dirname "$0")/../.." && pwd)}" "${SAMI_BUILD:=$srcdir/build}"
export srcdir SAMI_BUILD
. "$srcdir/tests/interop/attributes-lab.sh"
[ "${SAMI_LONG-1}" = 1 ] || lab_skip "takes minutes: --long; 98-attributes has the column of SAMI"
command -v conntrackd >/dev/null || lab_skip "conntrackd is not installed"
table=$SRC/man/attributes.txt
python() { "$PYTHON" "$SRC/tests/interop/attributes.py" "$@"; }

attributes_start
sami_attributes
conntrackd_attributes
way load-file
version() { "$1" "$2" 2>&1 | grep -o '[0-9]*[.][0-9]*[.][0-9]*' | head -n 1; }
python table "conntrackd $(version conntrackd -v), conntrack $(version conntrack -V)" "$WORK/sami.jsonl" "$WORK/conntrackd.jsonl" "$WORK/load-file.jsonl" \
    >"$WORK/table" || fail "no table"
cat "$WORK/table" "$WORK"/{sami,conntrackd,load-file}.jsonl
if [ "${1:-}" = --write ]; then
    cp "$WORK/table" "$table"
    exit
fi
for column in conntrackd load-file; do
    python compare "$table" "$WORK/$column.jsonl" $column || echo "(not our doing; the table is of: $(head -n 1 "$table"); here: $(head -n 1 "$WORK/table"))"
done
python compare "$table" "$WORK/sami.jsonl" sami || fail "man/attributes.txt is out of step: tests/interop/attributes.sh --write, if the change is meant"
