#!/usr/bin/env bash
# sanitize.sh [SUITE...]: builds everything with AddressSanitizer and UndefinedBehaviorSanitizer in a build directory of its own and
# runs all tests there but those of `excepted`, or SUITE. In the check itself only with --long, and once with each compiler: SANITIZE_CC, gcc or clang.
set -u
compiler=${SANITIZE_CC:-gcc}
[ "${SAMI_LONG:-}" ] || { echo "SKIP: takes minutes; only with ./run check --long or ./run check --sanitize"; exit 77; }
unset SAMI_LONG
command -v "$compiler" >/dev/null || { echo "SKIP: no $compiler here"; exit 77; }
build=${SAMI_BUILD:?}/sanitize-$compiler
mkdir -p "$build"
if [ ! -e "$build/Makefile" ]; then
    (cd "$build" && "${srcdir:?}/configure" -q --enable-sanitizers CC="$compiler") >"$build/configure.log" 2>&1 || { tail -n 40 "$build/configure.log"; exit 1; }
fi
make -C "$build" -s -j"$(nproc)" tests-build >"$build/make.log" 2>&1 || { tail -n 40 "$build/make.log"; exit 1; }
# What says nothing of such a build: of the sources, of one with other options, and this one itself.
excepted=(tests/lint/ tests/sanitize.sh tests/sanitize-clang.sh)
# What AddressSanitizer keeps is in the memory that it measures.
excepted+=(tests/replay/streaming.sh)
[ $# -gt 0 ] || set -- "${excepted[@]/#/--except=}"
export G_SLICE=always-malloc # GLib's own allocator would hide what is wrong with small pieces of memory
exec "$srcdir/tests/check.sh" "$build" "$@"
