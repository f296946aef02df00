#!/usr/bin/env bash
# A VM outside the signer's allow-prefixes is refused as a whole; a translated address that is not listed refuses its record.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_start && sami_setup || exit 1
sed -i 's/^nat-addresses=.*/nat-addresses=203.0.113.0\/24/' "$WORK"/fw2/signers.d/*.conf
sami_start || exit 1
ns fw1 conntrack -I -p tcp -s $VM4 -d $CLI4 --sport 1001 --dport 443 --src-nat 192.0.2.1:5001 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED >/dev/null 2>&1
ctl 1 migrate --vm $VM4 --to fw2.example --now --json >"$WORK/out" 2>&1
[ $? -eq 6 ] && grep -q '"nat-address":1' "$WORK/out" || { echo "nat-address not refused"; cat "$WORK/out"; exit 1; }
kill "$COLLECTOR"
gone() { ! kill -0 "$COLLECTOR" 2>/dev/null; }
poll 10 gone || { echo "the collector does not end"; exit 1; } # only then its address is free
sed -i 's/^allow-prefixes=.*/allow-prefixes=10.9.0.0\/24/' "$WORK"/fw2/signers.d/*.conf
ns fw2 "$BUILD/sami-collector" -c "$WORK/fw2/sami.conf" -f >"$WORK/collector2.log" 2>&1 &
poll 10 grep -q 'ready, listening' "$WORK/collector2.log" || { cat "$WORK/collector2.log"; exit 1; }
ctl 1 migrate --vm $VM4 --to fw2.example --now --json >"$WORK/out" 2>&1
status=$?
[ $status -eq 3 ] && grep -q vm-not-allowed "$WORK/out" || { echo "exit $status"; cat "$WORK/out"; exit 1; }
ctl 2 stats --json | grep -q 'refused_vm-not-allowed_total" *: *1' || { ctl 2 stats --json; exit 1; }
! ns fw2 conntrack -L 2>/dev/null | grep -q "src=$VM4"
