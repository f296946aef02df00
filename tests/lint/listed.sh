#!/usr/bin/env bash
# Every file of the tree is named in Makefile.am or a *.mk, itself or with its directory: what is not would be missing from a release, and a test that is not would
# never run.
set -u
cd "${srcdir:-$(dirname "$0")/../..}" || exit 1
[ -e .git ] && git ls-files >/dev/null 2>&1 || { echo "SKIP: no work tree of git; a release has what is listed, and what was built in it"; exit 77; }
mapfile -t files < <(git ls-files --cached --others --exclude-standard)
[ ${#files[@]} -ge 500 ] || { echo "only ${#files[@]} files were found: this test looks in the wrong place"; exit 1; }
mapfile -t lists < <(printf '%s\n' "${files[@]}" | grep '\.mk$')
# What configure and make read themselves is in every release.
printf '%s\n' "${files[@]}" | awk '
FILENAME != "-" { sub(/#.*/, ""); for (i = 1; i <= NF; i++) named[$i] = 1; next }
/^(configure\.ac|Makefile\.(am|in)|configure|aclocal\.m4|config\.h\.in|\.gitignore|\.ci\/.*|build-aux\/.*)$|\.mk$/ { next }
{
    n++
    path = $0
    while (!(path in named) && path ~ /\/.*\//) # a whole room goes by no name
        sub(/\/[^\/]*$/, "", path)
    if (!(path in named)) {
        print $0 " is in no list"
        n_bad++
    }
}
END {
    if (n_bad == 0)
        print n " files are listed"
    exit n_bad > 0
}' Makefile.am "${lists[@]}" -
