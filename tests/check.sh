#!/usr/bin/env bash
# check.sh BUILD [--long] [SUITE...]: runs the tests that BUILD lists, a line each; the last line counts them.
set -u
build=$1
shift
SAMI_LONG=
suites=()
for argument in "$@"; do
    case $argument in
    --long) SAMI_LONG=1 ;;
    -*) echo "usage: ./run check [--long] [SUITE...]" >&2; exit 2 ;;
    *) suites+=("$argument") ;;
    esac
done
export SAMI_LONG SAMI_BUILD=$build G_DEBUG=fatal-criticals
export srcdir
srcdir=$(cd "$(dirname "$0")/.." && pwd)
passed=0 failed=0 skipped=0
mkdir -p "$build/logs"

wanted() {
    local suite
    [ ${#suites[@]} -eq 0 ] && return 0
    for suite in "${suites[@]}"; do case $1 in *"$suite"*) return 0 ;; esac; done
    return 1
}

for test in $(make -s -C "$build" print-tests); do
    wanted "$test" || continue
    program=$build/$test
    [ -x "$program" ] || program=$srcdir/$test
    log=$build/logs/$(basename "$test").log
    start=$(date +%s)
    (cd "$build" && timeout -k 5 300 "$program") >"$log" 2>&1 </dev/null
    status=$?
    took="$(($(date +%s) - start)) s"
    case $status in
    0) passed=$((passed + 1)); echo "PASS  $test  ($took)" ;;
    77) skipped=$((skipped + 1)); echo "SKIP  $test: $(tail -n 1 "$log")" ;;
    *) failed=$((failed + 1)); echo "FAIL  $test  ($took, status $status, $log)"; tail -n 25 "$log" ;;
    esac
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
