#!/usr/bin/env bash
# The units: systemd understands every line, what it reckons they expose is little, and they allow what a process needs to enter its sandbox. They
# are read, not run.
set -uo pipefail
build=${SAMI_BUILD:?}
command -v systemd-analyze >/dev/null || { echo "SKIP: no systemd-analyze here"; exit 77; }
work=$(mktemp -d "${TMPDIR:-/tmp}/sami-units.XXXXXX")
trap 'rm -rf "$work"' EXIT
fail() { echo "FAIL $*"; exit 1; }
for unit in sami-collector sami-exporter; do
    # A binary and a page that are there: neither is installed.
    sed -e 's,^ExecStart=[^ ]*,ExecStart=/bin/true,' -e '/^Documentation=/d' "$build/packaging/systemd/$unit.service" >"$work/$unit.service"
    systemd-analyze verify "$work/$unit.service" >"$work/out" 2>&1 || { cat "$work/out"; fail "$unit: verify"; }
    grep -q "$unit" "$work/out" && { cat "$work/out"; fail "$unit: verify"; }
    systemd-analyze security --offline=true --threshold=35 "$work/$unit.service" >"$work/out" 2>&1
    status=$?
    grep -q 'offline' "$work/out" && { echo "SKIP: this systemd-analyze reads no files"; exit 77; }
    [ $status -eq 0 ] || { cat "$work/out"; fail "$unit: security"; }
    tail -n 1 "$work/out"
    filter=$(sed -n 's/^SystemCallFilter=\([^~]\)/\1/p' "$work/$unit.service")
    for call in seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self; do
        [[ " $filter " == *" $call "* ]] || fail "$unit: no $call"
    done
    for capability in CAP_NET_ADMIN CAP_KILL CAP_SETPCAP CAP_SETUID CAP_SETGID; do
        grep -q "^CapabilityBoundingSet=.*\b$capability\b" "$work/$unit.service" || fail "$unit: no $capability"
    done
done
