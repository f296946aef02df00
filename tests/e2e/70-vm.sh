#!/usr/bin/env bash
# A real virtual machine, really migrated: QEMU moves a guest with live TCP connections from one host to another, each behind a firewall of
# its own. sami-vmstate triggers and gates. With it every connection goes on; without it every one dies.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
. "$SRC/tests/packaging/bus.sh"
. "$SRC/tests/e2e/vm/lab.sh"
[ -n "${SAMI_LONG:-}" ] || lab_skip "boots virtual machines under emulation: ./run check --long vm"
fail() { echo "FAILED: $*"; cat "$WORK"/*.log "$WORK"/migration "$WORK"/traffic "$WORK"/results "$WORK"/console* 2>/dev/null; exit 1; }
n=$((2 * VM_FLOWS))

echo "--- without SAMI"
vm_round without || fail "the move"
vm_times
cat "$WORK/results"
[ "$(grep -c ' died ' "$WORK/results")" -eq $n ] || fail "not every connection died without SAMI"
vmlab_stop

echo "--- with SAMI"
mkdir -p "$WORK" && chmod 755 "$WORK"
vm_round with || fail "the move"
vm_times
cat "$WORK/results"
grep ' Save: \| Load: ' "$WORK"/vmstate-*.log
[ "$(survived)" -eq $n ] || fail "not every connection survived"
[ "$(lab_invalid)" -eq 0 ] || fail "$(lab_invalid) packets INVALID at firewall 2"
grep -q 'Save: SAMI1 ready ' "$WORK/vmstate-h1.log" && grep -q 'is READY, the VM goes on' "$WORK/vmstate-h2.log" || fail "not gated by READY"
done_there() { ctl 1 status --json | grep -q '"phase" *: *"DONE"'; }
poll 20 done_there || fail "not DONE: $(ctl 1 status --json)"
