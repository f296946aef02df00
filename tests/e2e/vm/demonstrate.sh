#!/usr/bin/env bash
# demonstrate.sh BUILD: QEMU migrates a guest with live connections from one host to another, each behind a firewall of its own; first without
# SAMI, then with it, triggered and gated by sami-vmstate. The last line is for machines.
set -uo pipefail
export SAMI_BUILD=$1 srcdir
srcdir=$(cd "$(dirname "$0")/../../.." && pwd)
. "$srcdir/tests/e2e/testbed.sh"
# shellcheck disable=SC2034
DEFAULT_POLICY=1
. "$SRC/tests/packaging/bus.sh"
. "$SRC/tests/e2e/vm/lab.sh"
say() { printf '%s\n' "$*"; }
n=$((2 * VM_FLOWS))

tell() { # the round that has been
    say "  QEMU has moved the guest (256 MiB, emulated): $(vm_times)"
    awk '{ n[$1]++; ok[$1] += $4 == "ok" } END { for (k in n) printf "    %-4s %d of %d connections survived\n", k, ok[k], n[k] }' "$WORK/results" | sort
}

say "1. Without SAMI"
vm_round without || exit 1
tell
without=$(survived)
vmlab_stop
mkdir -p "$WORK" && chmod 755 "$WORK"
say "2. With SAMI: sami-vmstate on both hosts, in QEMU's own migration"
vm_round with || { cat "$WORK"/*.log; exit 1; }
tell
sed -n 's/.* \(Save: .*\)/  source:      \1/p' "$WORK/vmstate-h1.log"
sed -n 's/.* \(Load: .*\)/  destination: \1/p' "$WORK/vmstate-h2.log"
invalid=$(lab_invalid)
say "  packets counted INVALID at firewall 2: $invalid"
with=$(survived)
stall=$(awk '$5 > max { max = $5 } END { print max + 0 }' "$WORK/results")
[ "$with" -eq "$n" ] || cat "$WORK/results"
echo "survived=$with/$n without=$without/$n longest_stall_ms=$stall"
[ "$with" -eq "$n" ] && [ "$without" -eq 0 ] && [ "$invalid" -eq 0 ]
