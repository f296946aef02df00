#!/usr/bin/env bash
# cppcheck over the tree: no finding but those of cppcheck.suppressions, which says why.
set -u
cd "${srcdir:-$(dirname "$0")/../..}" || exit 1
command -v cppcheck >/dev/null || { echo "SKIP: cppcheck is not installed"; exit 77; }
# GLib's macros as cppcheck can read them.
macros=('-DG_DEFINE_AUTOPTR_CLEANUP_FUNC(a,b)=' '-Dg_autoptr(a)=a*' '-Dg_autofree=' '-Dg_assert_cmpint(a,b,c)=g_assert(a b c)'
    '-DG_GNUC_PRINTF(a,b)=' '-DSAMI_PEN=1u')
cppcheck --quiet --enable=warning,portability,performance --std=c11 -j2 --error-exitcode=1 --library=gtk,posix,gnu \
    --suppress=missingIncludeSystem --suppressions-list=tests/lint/cppcheck.suppressions \
    --template='{file}:{line}: {severity}: {id}: {message}' "${macros[@]}" -I . \
    common templates transport firewall exporter collector replay ctl man tests/unit tests/fuzz
