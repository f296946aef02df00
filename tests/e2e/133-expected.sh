#!/usr/bin/env bash
# A compromised source that may bring expectations: of an honest flow of its VM, with its helper, it says that somebody else will come, to somebody else, to the
# firewall, to another port of the VM, or to the VM in place of somebody else. None of it may be expected by the kernel but what a helper would make.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_tcp_only "the hostile sender speaks TLS; what it sends is refused behind it"
. "${srcdir:-.}/tests/e2e/refused.sh"
refused_setup || exit 1
sed -i '/^max-expectations=/d' "$WORK"/fw2/signers.d/*
echo 'table inet helpers { ct helper ftp { type "ftp" protocol tcp; }; }' | ns fw2 nft -f - ||
    { echo "SKIP this kernel has no ftp helper"; exit 77; }
sami_start || exit 1
die() { echo "FAIL $*"; cat "$WORK/answer"; ns fw2 conntrack -L expect; tail -n 5 "$WORK"/*.log; exit 1; }
ns fw1 timeout 60 "$BUILD/hostile" "$WORK/fw1/sami.conf" fw2.example aimed >"$WORK/answer" 2>&1 || die "hostile ended with $?"
grep '^record' "$WORK/answer"
ns fw2 conntrack -L expect 2>/dev/null >"$WORK/expected"
[ "$(wc -l <"$WORK/expected")" -eq 1 ] && grep -q 'dst=192.0.2.9 .*dport=5008 ' "$WORK/expected" || die "it expects something else than the honest one"
honest_migration 1001
