#!/usr/bin/env bash
# coverage.sh BUILD [--all] [SUITE...]: builds in BUILD with gcov, runs unit tests, fuzz seeds, the hostile cases and some moves there (--all: everything;
# or SUITE), and prints what part of lines and branches ran: by room, by file of templates/, collector/ and transport/, and which of their
# lines that refuse something no test reaches. The whole of it is in BUILD/coverage.txt. Counts of earlier runs are forgotten first.
set -u
source=$(cd "$(dirname "$0")/.." && pwd)
build=$1
shift
suites=()
for argument in "$@"; do
    case $argument in
    --all) suites+=(test- fuzz- e2e packaging interop replay) ;;
    -*) echo "usage: ./run coverage [--all] [SUITE...]" >&2; exit 2 ;;
    *) suites+=("$argument") ;;
    esac
done
[ ${#suites[@]} -gt 0 ] || suites=(test- fuzz- 12-snat 15-ipv6-out 31-resume 33-journal 35-thaw 37-rollback 40-abort 42-conflict 43-policy 44-operator 45-refused 46-refused 47-refused 49-plain
    51-gate 52-collector 53-collector 60-limits 61-expect 62-reload 66-metrics 71-conflict 80-replicate 81-pair 88-maps 82-pair 90-check 91-check 92-cumulative 93-cumulative 96-related 106-capture-tls 120-sctp 130-policy 131-policy 132-compromised
    163-siege-silent)
mkdir -p "$build" && cd "$build" || exit 1
if [ ! -e Makefile ]; then
    "$source/configure" -q --enable-coverage >configure.log 2>&1 || { tail -n 40 configure.log; exit 1; }
fi
make -s -j"$(nproc)" tests-build >make.log 2>&1 || { tail -n 40 make.log; exit 1; }
# Each process adds to the counts as the user that it has become: the files are there before, for everybody.
find . -name '*.gcda' -delete
find . -name '*.gcno' | while read -r notes; do : >"${notes%.gcno}.gcda"; done
find . -name '*.gcda' -exec chmod 666 {} +
SAMI_COVERAGE=1 "$source/tests/check.sh" "$build" "${suites[@]}" >check.log 2>&1
grep -E '^(FAIL|SKIP)' check.log
tail -n 1 check.log
find . -name '*.gcda' -size 0 -delete # never ran: gcov takes the notes for it
find . -name '*.gcno' ! -path './tests/*' -exec gcov --json-format --stdout --branch-probabilities {} + 2>gcov.log >gcov.json
python3 "$source/tests/coverage.py" "$source" gcov.json >coverage.txt || { tail gcov.log; exit 1; }
cat coverage.txt
