#!/usr/bin/env bash
# Each attribute of a connection tracking entry goes through both daemons, and what arrives is what sami-protocol(7) says of it: its table ATTRIBUTES
# is man/attributes.txt, and its column for SAMI is measured here. After a change: tests/interop/attributes.sh --write.
set -uo pipefail
. "${srcdir:-.}/tests/interop/attributes-lab.sh"
attributes_start && sami_attributes
"$PYTHON" "$SRC/tests/interop/attributes.py" table "" "$WORK/sami.jsonl"
"$PYTHON" "$SRC/tests/interop/attributes.py" compare "$SRC/man/attributes.txt" "$WORK/sami.jsonl" sami >"$WORK/differences" || {
    grep -v '"exact"' "$WORK/sami.jsonl"
    cat "$WORK/differences"
    echo "man/attributes.txt is out of step; if the change is meant: tests/interop/attributes.sh --write"
    exit 1
}
