#!/usr/bin/env bash
# sanitize.sh [SUITE...]: builds everything with AddressSanitizer and UndefinedBehaviorSanitizer in a build directory of its own and
# runs the unit tests, the fuzz seeds, a move and an abort, or SUITE there. In the check itself only with --long.
set -u
[ "${SAMI_LONG:-}" ] || { echo "SKIP: takes minutes; only with ./run check --long or ./run check --sanitize"; exit 77; }
unset SAMI_LONG
build=${SAMI_BUILD:?}/sanitize
mkdir -p "$build"
if [ ! -e "$build/Makefile" ]; then
    (cd "$build" && "${srcdir:?}/configure" -q --enable-sanitizers) >"$build/configure.log" 2>&1 || { tail -n 40 "$build/configure.log"; exit 1; }
fi
make -C "$build" -s -j"$(nproc)" tests-build >"$build/make.log" 2>&1 || { tail -n 40 "$build/make.log"; exit 1; }
[ $# -gt 0 ] || set -- test- fuzz- 12-snat 40-abort
exec "$srcdir/tests/check.sh" "$build" "$@"
