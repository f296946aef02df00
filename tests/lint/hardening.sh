#!/usr/bin/env bash
# The programs that are installed are what configure promised: position independent, with read-only relocations that are bound at start, without an executable
# stack, with stack canaries and fortified calls, and where the compiler can on this machine, with targets for indirect calls and probed stack frames.
set -u
cd "${SAMI_BUILD:?}" || exit 1
command -v readelf >/dev/null || { echo "SKIP: readelf is not installed"; exit 77; }
grep -q '^SAMI_CFLAGS = .*-fstack-protector-strong' Makefile || { echo "SKIP: this build is not hardened (sanitizers, coverage, or --disable-hardening)"; exit 77; }
status=0
bad() { echo "FAIL $program: $*"; status=1; }
read -ra programs <<<"$(awk '/^s?bin_PROGRAMS =/ { on = 1; sub(/.*=/, "") } on { on = sub(/\\$/, ""); gsub(/\$\(EXEEXT\)/, ""); printf "%s ", $0 }' Makefile)"
[ ${#programs[@]} -gt 0 ] || { echo "FAIL no programs in the Makefile"; exit 1; }
promised() { [ "$(uname -m)" = x86_64 ] && command -v objdump >/dev/null && grep -q "^SAMI_CFLAGS = .*$1" Makefile; }
for program in "${programs[@]}"; do
    [ -e "$program" ] || { bad "not built"; continue; }
    readelf -hW "$program" | grep -q 'Type: *DYN' || bad "not position independent"
    headers=$(readelf -lW "$program")
    grep -q GNU_RELRO <<<"$headers" || bad "no read-only relocations"
    grep -q 'GNU_STACK.* RW ' <<<"$headers" || bad "the stack is executable"
    readelf -dW "$program" | grep -qE 'BIND_NOW|FLAGS_1.*NOW' || bad "relocations are bound late"
    readelf -dW "$program" | grep -qE 'RPATH|RUNPATH' && bad "looks for libraries in a directory of its own"
    symbols=$(readelf -sW "$program")
    grep -q ' __stack_chk_fail' <<<"$symbols" || bad "no stack canaries"
    grep -q '_chk@' <<<"$symbols" || bad "no fortified calls"
    if promised -fcf-protection; then
        objdump -d --no-show-raw-insn --disassemble=main "$program" | grep -A 1 '<main>:' | grep -q endbr64 || bad "no targets for indirect calls"
    fi
    if promised -fstack-clash-protection; then # a frame of more than a page is made page by page
        while read -r size; do
            [ $((size)) -le 4096 ] || bad "a frame of $((size)) octets that is not probed"
        done < <(objdump -d --no-show-raw-insn "$program" | sed -n 's/.*[[:space:]]sub  *\$\(0x[0-9a-f]*\),%rsp$/\1/p')
    fi
done
echo "${programs[*]}"
exit $status
