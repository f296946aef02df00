#!/usr/bin/env bash
# What a signer's file says by protocol, port, helper, mark, time and address: what it lets in is in the kernel, and what not is refused for its reason, or goes
# in with less. A dry run says so before, a replay of the journal afterwards; a replication is measured by it too; show policy shows it.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
DEFAULT_POLICY=1
lab_start && sami_setup || exit 1
lab_untracked fw1 && lab_untracked fw2 || exit 1
fail() { echo "FAIL $*"; tail -n 20 "$WORK"/*.log "$WORK"/answer* "$WORK"/out* "$WORK"/migrate* 2>/dev/null; exit 1; }
signer() { sed -i "/^$1 *=/d; /^\[signer/a $1=$2" "$WORK"/fw2/signers.d/*; }
reload() {
    local n
    n=$(grep -c reloaded "$WORK/collector.log")
    kill -HUP "$COLLECTOR"
    reloaded() { [ "$(grep -c reloaded "$WORK/collector.log")" -gt "$n" ]; }
    poll 10 reloaded || fail "reload"
}
insert() { # SOURCE PORT DESTINATION PORT ARGUMENTS...
    ns fw1 conntrack -I -p tcp -s "$1" --sport "$2" -d "$3" --dport "$4" --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED "${@:5}" >/dev/null 2>"$WORK/insert" ||
        { cat "$WORK/insert"; fail "insert $*"; }
}
has() { ns fw2 conntrack -L -p tcp --sport "$1" 2>/dev/null | grep -E "sport=$1 .*${2:-}" | grep -q src=; }
outcomes() {
    python3 -c 'import json, sys
last = [json.loads(line) for line in open(sys.argv[1])][-1]["counts"]
print(json.dumps({"exact": last["exact"], "merged": last["merged"], "degraded": last["degraded"], "refused": last["refused"]}, sort_keys=True))' "$1"
}
OWN=198.51.100.77

ns fw1 nft 'add ct helper inet filter ftp { type "ftp" protocol tcp; }' && ns fw1 nft 'insert rule inet filter forward tcp dport 9000 ct helper set "ftp"' || exit 1
ns fw2 sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_established=4000
signer kinds session,expectation; signer helpers tftp
signer protocols tcp,udp; signer ports 443,1000-1999,30000-61000; signer remote-ports 53,443,5000,9000
signer mark-mask 0x0f
sami_start || exit 1

echo "--- an address of the firewall itself, which it gets while the collector runs"
ip -n "${LAB}fw2" addr add $OWN/32 dev lo
ip -n "${LAB}fw2" addr add 198.18.0.1/24 dev mgmt0 # and what is for all of that network is for it
own_is() { ctl 2 show policy --json | tr -d ' \n' | grep -o '"own-addresses":\[[^]]*\]' | grep -q "$OWN"; }
poll 10 own_is || fail "its own new address is not known: $(ctl 2 show policy --json)"
ctl 2 show policy fw1.example >"$WORK/out"
for line in 'ports *443, 1000-1999, 30000-61000' 'helpers *tftp' 'mark-mask *0x0000000f' 'long-timeouts *false' 'require-expect *true'; do
    grep -qE "^ *$line\$" "$WORK/out" || fail "show policy does not say: $line"
done
ctl 2 show policy --json >"$WORK/policy"
while read -r key; do
    grep -q "\"$key\" *:" "$WORK/policy" || fail "show policy --json does not say: $key"
    [ "$key" = name ] || grep -q "^ *$key " "$WORK/out" || fail "show policy does not say: $key"
done < <("$BUILD/sami-collector" --help-config | sed -n '/^\[signer\]/,/^$/s/^\([a-z-]*\)\t.*/\1/p')
ctl 2 show policy nobody.example >/dev/null 2>&1
[ $? -eq 2 ] || fail "a signer that there is not"

echo "--- forbidden between honest ones"
lab_traffic out 2 300 || exit 1                       # with the helper ftp, which is not this signer's
insert $VM4 1001 $CLI4 443                            # exact
insert $CLI4 5000 $VM4 1002                           # exact, the VM's port is 1002
insert $VM4 2001 $CLI4 443                            # the VM's port
insert $CLI4 5000 $VM4 22                             # the same of a service
insert $VM4 23 $CLI4 5000                             # that looks as if the VM had opened it
insert $VM4 1003 $CLI4 25                             # the other end's
insert $VM4 1004 $CLI4 443 --mark 0xf5                # goes in with mark 5
insert $VM4 1005 $CLI4 443 -t 5000                    # with 4000 s
insert $VM4 1006 $CLI4 443 --mark 3                   # exact
insert $VM4 1007 $OWN 443
insert $VM4 1008 169.254.9.9 443
insert $VM4 1009 198.18.0.255 443
ns fw1 conntrack -I -p icmp -s $VM4 -d $CLI4 --icmp-type 8 --icmp-code 0 --icmp-id 7 -t 25 >/dev/null 2>&1 || fail "insert icmp"
ctl 1 check --vm $VM4,$VM6 --to fw2.example --json >"$WORK/answer" 2>"$WORK/answer.err"
[ $? -eq 21 ] || fail "check"
[ "$(ns fw2 conntrack -C)" -eq 0 ] || fail "a dry run has written"
ctl 1 migrate --vm $VM4,$VM6 --to fw2.example --now --json >"$WORK/migrate" 2>"$WORK/migrate.err"
[ $? -eq 6 ] || fail "migrate"
predicted=$(outcomes "$WORK/answer") real=$(outcomes "$WORK/migrate")
echo "predicted $predicted"
echo "came to   $real"
[ "$predicted" = "$real" ] || fail "predicted and real outcomes differ"
[ "$real" = '{"degraded": {"mark-cut": 1, "no-helper": 2, "timeout-clamped": 1}, "exact": 3, "merged": 0, "refused": {"address-own": 2, "address-special": 1, "port-not-allowed": 4, "protocol-not-allowed": 1}}' ] ||
    fail "other outcomes"
lab_enough
for port in 2001 23 1003 1007 1008 1009; do has $port && fail "port $port is there"; done
has 5000 "dport=22 " && fail "port 22 of the VM is open"
ns fw2 conntrack -L -p icmp 2>/dev/null | grep -q src= && fail "a protocol that is not allowed"
has 1001 && has 5000 "dport=1002 " && has 1004 "mark=5 " && has 1006 "mark=3 " || fail "an honest one is missing"
left=$(ns fw2 conntrack -L -p tcp --sport 1005 2>/dev/null | awk '{ print $3 }')
[ "${left:-0}" -gt 3000 ] && [ "$left" -le 4000 ] || fail "$left s, which is not the longest time here"

echo "--- a replay of the journal is measured by the same policy"
ns fw2 "$BUILD/sami-replay" inject --dry-run -c "$WORK/fw2/sami.conf" --json "$WORK"/journal2/*.ipfix >"$WORK/out" 2>&1
grep -q '"refused_by_reason":{"address-own":2,"address-special":1,"port-not-allowed":4,"protocol-not-allowed":1}' <(tr -d ' ' <"$WORK/out" | sed -E 's/"address-special":1,"protocol-not-allowed":1,"port-not-allowed":4,"address-own":2/"address-own":2,"address-special":1,"port-not-allowed":4,"protocol-not-allowed":1/') ||
    fail "inject: $(tail -n 1 "$WORK/out")"

echo "--- what has a key of its own, with it"
signer allow-special own,link-local; signer long-timeouts true; signer ports 0-65535; signer remote-ports 0-65535; signer mark-mask 0xffffffff; signer protocols any
signer helpers ftp; signer unscoped true
reload
"$BUILD/sami-table" -n "${LAB}fw2" flush
ctl 1 migrate --vm $VM4,$VM6 --to fw2.example --now --json >"$WORK/migrate" 2>"$WORK/migrate.err" || fail "migrate: $?"
has 1007 && has 1008 && has 1009 && has 2001 && has 1004 "mark=245 " || fail "not allowed with its key"
left=$(ns fw2 conntrack -L -p tcp --sport 1005 2>/dev/null | awk '{ print $3 }')
[ "${left:-0}" -gt 4000 ] || fail "$left s of 5000"

echo "--- a translated one where nothing translates: anybody's packets to the untranslated address would be of it"
ns fw1 conntrack -F >/dev/null 2>&1
insert $VM4 1011 $CLI4 443 --src-nat 192.0.2.1:1012; insert $VM4 1013 $CLI4 443
ns fw2 nft delete table ip nat
moved() { ctl 1 migrate --vm $VM4,$VM6 --to fw2.example --now --json >"$WORK/migrate" 2>"$WORK/migrate.err"; }
moved
[ $? -eq 6 ] && grep -q '"nat-not-applied" *: *1' "$WORK/migrate" && has 1013 || fail "taken without a chain"
has 1011 && fail "translated by nobody, and there"
sed -i '/^\[sami\]/a nat-elsewhere=true' "$WORK/fw2/sami.conf"
reload
moved || fail "refused though nat-elsewhere: $?"
has 1011 || fail "refused though nat-elsewhere"
ns fw1 conntrack -F >/dev/null 2>&1
insert $VM4 1007 $OWN 443
insert $VM4 1008 169.254.9.9 443
insert $VM4 2001 $CLI4 443

echo "--- a replication is measured by it, and by a policy that changes under it"
signer allow-special own; signer protocols tcp
reload
"$BUILD/sami-table" -n "${LAB}fw2" flush
ctl 1 replicate --to fw2.example --wait >"$WORK/out" 2>&1 || fail "replicate"
has 1007 && has 2001 || fail "not replicated"
has 1008 && fail "link-local was replicated"
ns fw2 conntrack -L -p icmp 2>/dev/null | grep -q src= && fail "icmp was replicated"
signer ports 1000-1999
reload
insert $VM4 1009 $CLI4 443; insert $VM4 2009 $CLI4 443; insert $VM4 1010 $CLI4 443
came() { has 1009 && has 1010; }
poll 10 came || fail "not replicated after the reload"
has 2009 && fail "the policy of before the reload"
ctl 2 stats --json | grep -q '"refused_port-not-allowed_total" *: *[1-9]' || fail "not counted"
exit 0
