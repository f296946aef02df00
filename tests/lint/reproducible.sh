#!/usr/bin/env bash
# Two builds are the same to the octet, whatever their directories are named and whenever they were made: the source is copied to two places, built in and out of
# its tree, and what both install is compared.
set -u
[ "${SAMI_LONG:-}" ] || { echo "SKIP: takes minutes; only with ./run check --long"; exit 77; }
work=$(mktemp -d "${TMPDIR:-/tmp}/sami-reproducible.XXXXXX")
trap 'rm -rf "$work"' EXIT
source=${srcdir:?}
# What git knows, or, in a tarball, what is there.
files() {
    if [ -e "$source/.git" ]; then git -C "$source" ls-files -z --cached --others --exclude-standard; else (cd "$source" && find . -type f -not -path './build/*' -print0); fi
}
one() { # SOURCE BUILD OUT
    mkdir -p "$1" "$2"
    files | (cd "$source" && xargs -0 cp --parents -t "$1") && (cd "$1" && autoreconf -fi) && cd "$2" &&
        "$1/configure" -q --prefix=/usr --sysconfdir=/etc --localstatedir=/var && make -s -j"$(nproc)" all && make -s install DESTDIR="$3"
}
one "$work/first" "$work/first/build" "$work/1" >"$work/log.1" 2>&1 || { tail -n 30 "$work/log.1"; exit 1; }
one "$work/and/a/second" "$work/elsewhere" "$work/2" >"$work/log.2" 2>&1 || { tail -n 30 "$work/log.2"; exit 1; }
sums() { cd "$1" && find . -type f -printf '%m %p\n' | sort && find . -type f -exec sha256sum {} + | sort -k 2; }
sums "$work/1" >"$work/sums.1"
sums "$work/2" >"$work/sums.2"
n=$(find "$work/1" -type f | wc -l)
[ "$n" -gt 10 ] || { echo "FAIL only $n files were installed"; exit 1; }
diff "$work/sums.1" "$work/sums.2" || { echo "FAIL two builds differ"; exit 1; }
echo "$n files are the same"
