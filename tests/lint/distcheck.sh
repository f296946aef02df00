#!/usr/bin/env bash
# make distcheck: the tarball has everything, builds out of a read-only tree, passes its tests, installs and uninstalls.
set -u
[ "${SAMI_LONG:-}" ] || { echo "SKIP: takes minutes; only with ./run check --long"; exit 77; }
# Inside of distcheck itself, whose tests call this script too, there is nothing to begin again.
unset SAMI_LONG
work=$(mktemp -d "${TMPDIR:-/tmp}/sami-distcheck.XXXXXX")
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work" || exit 1
"${srcdir:?}/configure" -q && make -s distcheck >distcheck.log 2>&1 || { tail -n 60 distcheck.log; exit 1; }
tail -n 3 distcheck.log
