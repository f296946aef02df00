#!/usr/bin/env bash
# A move between clusters: the VM's addresses, the bits of the marks and the labels are others at firewall 2 (map-addresses, map-marks, map-labels,
# mark-mask, labels). Live transfers behind SNAT and DNAT go on, since what the client sees stays. Refusals come back under the source's addresses, so
# that the clean-up there removes what is confirmed and nothing else. Policy, announcements and status at firewall 2 are about its own addresses.
#
#   The VM keeps 10.0.0.13; in the second cluster its link translates that, packet by packet, to 10.1.0.13.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
export RATE=200000
THERE=10.1.0.13
CLIENTS=()
fail() { echo "FAIL $*"; cat "$WORK/results" "$WORK/migrate.err" 2>/dev/null; tail -n 1 "$WORK/migrate" 2>/dev/null; tail -n 15 "$WORK"/exporter.log "$WORK"/collector.log; exit 1; }
lab_start || exit 1
for n in 1 2; do
    lab_untracked fw$n
    ns fw$n nft -f - <<'NFT' || exit 1
table inet marks {
    chain forward {
        type filter hook forward priority 10;
        tcp dport 9001 ct mark 0 ct mark set 0xf701
        tcp dport 9001 ct state new ct label set 3
        tcp dport 9001 ct state new ct label set 5
        ct label 7 accept
    }
}
NFT
done
ns fw2 nft delete chain inet marks forward # there the marks come from firewall 1 or not at all
ns fw2 nft add chain inet marks labels
ns fw2 nft add rule inet marks labels ct label 7 accept || exit 1
ip -n "${LAB}fw2" route add $THERE/32 via $HOP4 dev v onlink
ns vm nft -f - <<NFT || exit 1
table ip cluster {
    chain in { type filter hook prerouting priority raw; iifname "v2" ip daddr $THERE ip daddr set $VM4; }
    chain out { type filter hook postrouting priority 300; oifname "v2" ip saddr $VM4 ip saddr set $THERE; }
}
NFT
sami_setup || exit 1
echo 'mark-mask=0x0fff' >>"$WORK/fw1/sami.conf"
sed -i 's/^allow-prefixes=.*/allow-prefixes=10.0.0.0\/24/' "$WORK/fw2/signers.d/fw1.example.conf"
cat >>"$WORK/fw2/signers.d/fw1.example.conf" <<'CONF'
map-addresses=10.0.0.0/24:10.1.0.0/24,2001:db8:a::/64:2001:db8:b::/64
map-marks=0x1/0xff:0x10/0xff
map-labels=3:7
labels=6-8
CONF
lab_traffic snat 3 200 && lab_traffic dnat 3 200 || exit 1
NO_EXPECT=1
sami_start || exit 1
ip netns exec "${LAB}fw2" "$BUILD/sami-exporter" -c "$WORK/fw2/sami.conf" -f >"$WORK/exporter2.log" 2>&1 &
disown
poll 10 test -S "$WORK/run2/exporter.sock" || fail "no exporter at firewall 2"
add() { # FIREWALL SOURCE DESTINATION PORT EXTRA...
    local n=$1 src=$2 dst=$3 port=$4
    shift 4
    ns "fw$n" conntrack -I -p tcp -s "$src" -d "$dst" --sport "$port" --dport 443 --state ESTABLISHED -t 5000 -u SEEN_REPLY,ASSURED "$@" \
        >/dev/null 2>"$WORK/insert" || { cat "$WORK/insert"; exit 1; }
}
has() { ns "fw$1" conntrack -L -p tcp -s "$2" --sport "$3" 2>/dev/null | grep -q src=; }
once() { # --now: STATUS and OUT
    ctl 1 migrate --vm $VM4 --to fw2.example --now --json >"$WORK/migrate" 2>"$WORK/migrate.err"
    STATUS=$?
    OUT=$(tail -n 1 "$WORK/migrate"; cat "$WORK/migrate.err")
}

echo "--- policy and announcement are about the addresses at firewall 2"
once
[ $STATUS -eq 3 ] && grep -q "vm-not-allowed: $VM4, which is $THERE there" <<<"$OUT" || fail "allow-prefixes with the source's addresses: $STATUS $OUT"
sed -i 's/^allow-prefixes=.*/allow-prefixes=10.1.0.0\/24/' "$WORK/fw2/signers.d/fw1.example.conf"
kill -HUP "$COLLECTOR"
reloaded() { grep -q 'reloaded: 1 signers' "$WORK/collector.log"; }
poll 10 reloaded || fail "no reload"
once
[ $STATUS -eq 3 ] && grep -q "samictl expect --vm $THERE --from fw1.example" <<<"$OUT" || fail "not announced: $STATUS $OUT"
ctl 2 -q expect --vm 10.1.0.0/24 --from fw1.example || fail "expect"

echo "--- live transfers, and the source's own entries come back by their own keys"
add 1 $VM4 $CLI4 4000 -m 0x2f02               # no pair for its mark; bits beyond the mask go
add 1 $VM4 $CLI4 4001 --src-nat 203.0.113.9:4001 # not in nat-addresses
add 1 $VM4 10.1.0.9 4002                       # the place of 10.0.0.9 there
add 1 $VM4 $CLI4 4003 --src-nat 192.0.2.1:4003
add 2 $THERE $CLI4 4003 --src-nat 192.0.2.7:4003 # is there already, with another translation
add 1 10.0.0.14 $CLI4 4004                     # another VM's
ctl 1 migrate --vm $VM4 --to fw2.example --json --purge >"$WORK/migrate" 2>"$WORK/migrate.err" &
MIGRATE=$!
poll 20 grep -qs '"confirmed_snapshot":true' "$WORK/migrate" || fail "no snapshot"
ID=$(sed -n 's/.*"id":"\([0-9a-f]*\)".*/\1/p' "$WORK/migrate" | head -n 1)
for n in vm cli; do ns $n nft add table inet pause '{ chain out { type filter hook output priority 0; policy drop; }; }'; done
[ ! -s "$WORK/results" ] || fail "a transfer was over before the move: this case proves nothing"
ctl 2 status "$ID" --json | tr -d ' \n' | grep -q "\"vm\":\[\"$THERE\"\]" || fail "status at firewall 2 is about other addresses"
ctl 1 freeze "$ID" >"$WORK/freeze" 2>&1
[ $? -eq 6 ] || { cat "$WORK/freeze"; fail "freeze"; }
lab_path 2
wait "$MIGRATE"
status=$?
for n in vm cli; do ns $n nft delete table inet pause; done
[ $status -eq 6 ] || fail "migrate ended with $status"
last=$(tail -n 1 "$WORK/migrate")
for want in '"labels-cut":3' '"nat-address":' '"map-clash":' '"nat-mismatch":' '"purge":{"removed":4,"kept_local_end":0,"kept_changed":0,"kept_unconfirmed":6}' \
    "nat-address: tcp $VM4:4001 -> $CLI4:443 zone 0" "map-clash: tcp $VM4:4002 -> 10.1.0.9:443 zone 0" "nat-mismatch: tcp $VM4:4003 -> $CLI4:443 zone 0"; do
    grep -qF "$want" <<<"$last" || fail "no $want"
done
grep -qF "$THERE" <<<"$last" && fail "the source was told of addresses that it does not know"
for port in 4001 4002 4003; do has 1 $VM4 $port || fail "$port was refused, and is gone at the source"; done
has 1 $VM4 4000 && fail "4000 is confirmed, and still at the source"
has 1 10.0.0.14 4004 || fail "the clean-up removed another VM's"
has 2 $THERE 4000 || fail "4000 is not at firewall 2"
[ "$(ns fw2 conntrack -L 2>/dev/null | grep -c "$VM4")" -eq 0 ] || fail "addresses of the source are in the table of firewall 2"

ctl 2 diff --save "$WORK/table" >/dev/null || fail "diff --save"
mark_of() { sed -n "s/.*$1.*\tmark=\([0-9]*\)\t.*/\1/p" "$WORK/table" | sort -u; }
[ "$(mark_of ':9001 ')" = $((0x710)) ] || fail "marks of the transfers: $(mark_of ':9001 ')"
[ "$(mark_of "$THERE:4000 ")" = $((0xf02)) ] || fail "mark of 4000: $(mark_of "$THERE:4000 ")"
[ "$(grep ':9001 ' "$WORK/table" | grep -c $'\tlabels=80000000000000000000000000000000\t')" -eq 3 ] || { cat "$WORK/table"; fail "labels"; }
masked=$(ctl 1 stats --json | sed -n 's/.*"marks_masked_total" *: *\([0-9]*\).*/\1/p' | head -n 1)
[ "$masked" -gt 0 ] || fail "lost bits of marks are not counted"
lab_enough
cat "$WORK/results"
[ "$(survived)" -eq 6 ] || fail "not every transfer survived"
[ "$(lab_invalid)" -eq 0 ] || fail "$(lab_invalid) packets INVALID at firewall 2"
# The address of a VM, too, is one that only one of theirs may be mapped to.
sed -i 's,^vm-prefixes=.*,&\,10.1.0.0/24,' "$WORK/fw1/sami.conf"
pkill -HUP -f -o "sami-exporter -c $WORK/fw1" || fail "no exporter"
poll 10 grep -q reloaded "$WORK/exporter.log" || fail "not reloaded"
ctl 1 migrate --vm 10.1.0.9 --to fw2.example --now --json >"$WORK/migrate" 2>"$WORK/migrate.err" && fail "10.1.0.9 moved, which is 10.0.0.9's there"
grep -qF 'map-clash: 10.1.0.9' "$WORK/migrate" "$WORK/migrate.err" "$WORK/collector.log" || fail "refused for another reason"
