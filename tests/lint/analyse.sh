#!/usr/bin/env bash
# What compilers find: everything, the tests too, built by gcc and by clang without a warning; gcc's -fanalyzer, and clang-tidy with .clang-tidy, over all
# programs. No finding but those of analyse.suppressions, which says why.
set -u
[ "${SAMI_LONG:-}" ] || { echo "SKIP: takes minutes; only with ./run check --long"; exit 77; }
for tool in gcc clang clang-tidy; do
    command -v "$tool" >/dev/null || { echo "SKIP: $tool is not installed"; exit 77; }
done
source=${srcdir:?}
work=${SAMI_BUILD:?}/analyse
mkdir -p "$work/gcc" "$work/analyzer" "$work/clang"
found=$work/found
: >"$found"

# make_all NAME TARGET CONFIGURE-ARGUMENT...: what the compiler says, "FILE:LINE: warning: TEXT [-WCHECK]"
make_all() {
    local name=$1 target=$2
    shift 2
    cd "$work/$name" || exit 1
    "$source/configure" -q "$@" >configure.log 2>&1 || { tail -n 40 configure.log; exit 1; }
    make -s clean >/dev/null 2>&1
    make -s -k -j"$(nproc)" "$target" >make.log 2>&1 || { tail -n 40 make.log; exit 1; }
    grep 'warning: ' make.log >>"$found"
}
make_all gcc tests-build CC=gcc
make_all analyzer all --disable-hardening CC=gcc CFLAGS='-O1 -g -fanalyzer'
make_all clang tests-build CC=clang

cd "$source" || exit 1
flags=(-std=gnu11 -D_GNU_SOURCE -DHAVE_CONFIG_H "-I$work/clang" -I. '-DG_LOG_DOMAIN="sami"' '-DSAMI_SYSCONFDIR="/etc/sami"'
    '-DSAMI_STATEDIR="/var/lib/sami"' '-DSAMI_RUNDIR="/run/sami"')
read -r -a libraries <<<"$(pkg-config --cflags glib-2.0 gio-unix-2.0 json-glib-1.0 libfixbuf libmnl libnftnl libcrypto libssl usrsctp libpcap)"
tidy() { # FILE
    clang-tidy --quiet "$1" -- "${flags[@]}" "${libraries[@]}" >"$work/tidy/${1//\//-}" 2>&1 || echo "$1:1: error: clang-tidy ended with $? [exit]"
}
rm -rf "$work/tidy"
mkdir "$work/tidy"
for file in common/*.c templates/*.c transport/*.c firewall/*.c exporter/*.c collector/*.c replay/*.c ctl/*.c packaging/qemu/*.c man/*.c; do
    while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n; done
    tidy "$file" >>"$found" &
done
wait
grep -hE '(warning|error): .*\[' "$work/tidy"/* >>"$found"

# CHECK FILE: is in the suppressions, or is printed
unexplained=0
while read -r line; do
    check=${line##*\[}
    check=${check%\]}
    check=${check#-W}
    file=${line%%:*}
    explained=''
    while read -r known where; do
        [ "$known" = "$check" ] && [[ $file == *"$where" ]] && explained=1
    done < <(grep -v '^#' "$source/tests/lint/analyse.suppressions")
    [ "$explained" ] && continue
    unexplained=$((unexplained + 1))
    echo "FAIL $line"
done < <(sort -u "$found")
echo "$(sort -u "$found" | wc -l) findings, $unexplained without an explanation"
[ "$unexplained" -eq 0 ]
