#!/usr/bin/env bash
# Python's module `ipfix`, written from the RFCs by others: it reads our Messages, our elements by number and by name, with the values that
# sami-replay shows; and sami-replay shows what it writes, of every type, with elements that nobody knows and such as the stream describes.
set -uo pipefail
. "${srcdir:?}/tests/interop/foreign.sh"
python_ipfix_needed
"$BUILD/protocol-tables" --xml >"$WORK/registry" || exit 1
for file in journal answers; do
    replay dump --json "$srcdir/tests/data/replay/$file.ipfix" >"$WORK/dump" || exit 1
    python_ipfix read "$srcdir/tests/data/replay/$file.ipfix" "$WORK/registry" "$WORK/dump" || exit 1
done
python_ipfix write "$WORK/theirs.ipfix" >"$WORK/wrote" || exit 1
replay dump --json "$WORK/theirs.ipfix" >"$WORK/dump" || { grep fault "$WORK/dump"; exit 1; }
python_ipfix compare "$WORK/wrote" "$WORK/dump" || exit 1
replay dump "$WORK/theirs.ipfix" >"$WORK/table" || exit 1
grep -q 'foreign  *brewTemperature=-40 .*nameOfTea="Darjeeling ☕"' "$WORK/table" && grep -q ' ipHeaderPacketSection=0001[0-9a-f]*1f… (512 octets) ' "$WORK/table" ||
    { head -n 20 "$WORK/table"; exit 1; }
replay validate --unsigned "$WORK/theirs.ipfix" >"$WORK/validated" && grep -q ' 408 records; .*; 0 with findings' "$WORK/validated" || { cat "$WORK/validated"; exit 1; }
# Cut between flushes, the module leaves Sets without a record (RFC 7011 §3.3.2): said, and nothing else is lost.
python_ipfix write "$WORK/theirs.ipfix" flush >"$WORK/wrote" || exit 1
replay dump --json "$WORK/theirs.ipfix" >"$WORK/dump"
[ $? -eq 3 ] && [ "$(grep -c '"fault":"data-set-empty: Data Set 256 of 4 octets holds no record' "$WORK/dump")" -eq 1 ] || { grep fault "$WORK/dump"; exit 1; }
grep -v '"fault":' "$WORK/dump" >"$WORK/records"
python_ipfix compare "$WORK/wrote" "$WORK/records"
