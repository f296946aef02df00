#!/usr/bin/env bash
# A compromised source: with the valid certificate and the valid signing key it sends everything that the hostile record cases try, one after the other in one
# migration, between honest records. Only what the policy allows is in the kernel in the end, and all of that is.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_tcp_only "the hostile sender speaks TLS; what it sends is refused behind it"
. "${srcdir:-.}/tests/e2e/refused.sh"
refused_setup && sami_start || exit 1
lab_table >"$WORK/before"
die() { echo "FAIL $*"; cat "$WORK/answer"; tail -n 5 "$WORK"/*.log; exit 1; }
ns fw1 timeout 60 "$BUILD/hostile" "$WORK/fw1/sami.conf" fw2.example stream >"$WORK/answer" 2>&1 || die "hostile ended with $?"
honest=$(sed -n 's/^sent \([0-9]*\) honest ones.*/\1/p' "$WORK/answer")
[ "${honest:-0}" -gt 50 ] || die "only ${honest:-0} honest ones: this case proves nothing"
ns fw2 conntrack -L 2>/dev/null | grep "src=$VM4 dst=$CLI4 sport=2[0-9]* dport=443 " | grep -v 'sport=2[0-9]* dport=443 .*\[UNREPLIED\]' >"$WORK/honest"
[ "$(wc -l <"$WORK/honest")" -eq "$honest" ] || die "$(wc -l <"$WORK/honest") of $honest honest ones are there"
# What is there besides is what was there before.
lab_table | grep -v "src=$VM4 dst=$CLI4 sport=2[0-9]* dport=443 " | diff "$WORK/before" - || die "something else is there"
[ -z "$(ns fw2 conntrack -L expect 2>/dev/null)" ] || die "it expects something"
# The last one had wanted every mark and years.
greedy=$(grep "sport=$((2000 + honest - 1)) " "$WORK/honest")
grep -q 'mark=255 ' <<<"$greedy" || die "its mark: $greedy"
[ "$(awk '{ print $3 }' <<<"$greedy")" -le "$(ns fw2 sysctl -n net.netfilter.nf_conntrack_tcp_timeout_established)" ] || die "its time: $greedy"
for count in 'degraded mark-cut: 1' 'refused protocol-not-allowed: [1-9]' 'refused port-not-allowed: [1-9]' 'refused address-own: [1-9]' 'refused address-special: [1-9]' \
    'refused nat-address: [1-9]' 'refused address-not-allowed: [1-9]' 'refused helper-not-allowed: [1-9]' 'refused expectation-wide: [1-9]' 'refused state-range: [1-9]'; do
    grep -q "^count $count" "$WORK/answer" || die "not counted: $count"
done
grep '^count' "$WORK/answer"
# The journal has all of it as it came; who reads it sees no octet that his terminal would obey.
for options in "" --wide "--json"; do
    # shellcheck disable=SC2086
    "$BUILD/sami-replay" dump $options "$WORK"/journal2/*.ipfix >"$WORK/dump" 2>&1 || die "dump $options ended with $?"
    grep -q '\\[0-9a-z]*\[2J' "$WORK/dump" || die "dump $options does not show the helper with an escape"
    ! LC_ALL=C grep -q $'[\001-\010\013-\037]\|\302[\200-\237]' "$WORK/dump" || die "dump $options prints control characters"
done
# What comes behind an abort is of no migration any more: a rollback leaves nothing.
ns fw1 timeout 60 "$BUILD/hostile" "$WORK/fw1/sami.conf" fw2.example behind-an-abort >"$WORK/answer" 2>&1 || die "hostile ended with $?"
grep -q '^receipt 4' "$WORK/answer" || die "the abort is not answered"
[ -z "$(ns fw2 conntrack -L -p tcp 2>/dev/null | grep "src=$VM4 dst=$CLI4 sport=60[0-9][0-9] ")" ] || die "sessions behind an abort are there"
reloaded() { ctl 2 stats --json | tr -d ' "\n' | grep -q "reloads_total:$1[,}]"; }
reload() { kill -HUP "$COLLECTOR" && poll 10 reloaded "$1" || die "no reload"; }
# A session that was open when its signer lost a VM cannot begin with it any more.
ns fw1 timeout 60 "$BUILD/hostile" "$WORK/fw1/sami.conf" fw2.example "begin-after:$WORK/go" >"$WORK/answer" 2>&1 &
hostile=$!
poll 10 grep -q waits "$WORK/answer" || die "hostile does not wait"
cp "$WORK/fw2/signers.d/fw1.example.conf" "$WORK/signer"
sed -i 's/^allow-prefixes *=.*/allow-prefixes=10.0.1.0\/24/' "$WORK/fw2/signers.d/fw1.example.conf"
reload 1
touch "$WORK/go"
wait $hostile || die "a VM that is not allowed any more has begun"
cp "$WORK/signer" "$WORK/fw2/signers.d/fw1.example.conf"
reload 2
honest_migration 1001
