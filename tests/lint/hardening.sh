#!/usr/bin/env bash
# The programs are what configure promised: position independent, with read-only relocations that are bound at start, without an executable stack, with stack
# canaries and fortified calls.
set -u
cd "${SAMI_BUILD:?}" || exit 1
command -v readelf >/dev/null || { echo "SKIP: readelf is not installed"; exit 77; }
grep -q '^SAMI_CFLAGS = .*-fstack-protector-strong' Makefile || { echo "SKIP: this build is not hardened (sanitizers, coverage, or --disable-hardening)"; exit 77; }
status=0
bad() { echo "FAIL $program: $*"; status=1; }
for program in sami-exporter sami-collector sami-replay samictl; do
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
done
exit $status
