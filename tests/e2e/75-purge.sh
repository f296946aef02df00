#!/usr/bin/env bash
# migrate --purge: two VMs behind one firewall, with flows to the client and to each other. Of the one that moves, only what the final receipt
# confirms goes, by generation; never a flow whose other end still lives here (local-prefixes, vms.d), never one that a packet has changed.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
MANY=20000
VM2=10.0.0.14 VM3=10.0.0.15
lab_start && sami_setup || exit 1
lab_untracked fw1 && lab_untracked fw2 || exit 1
N_FAILED=0
fail() { echo "FAIL $*"; N_FAILED=$((N_FAILED + 1)); }
tcp() { # NS SOURCE DESTINATION SPORT EXTRA...
    local n=$1 src=$2 dst=$3 sport=$4
    shift 4
    ns "$n" conntrack -I -p tcp -s "$src" -d "$dst" --sport "$sport" --dport 443 --state ESTABLISHED -t 5000 -u SEEN_REPLY,ASSURED "$@" \
        >/dev/null 2>"$WORK/insert" || { cat "$WORK/insert"; exit 1; }
}
flush() { "$BUILD/sami-table" -n "${LAB}fw1" flush; "$BUILD/sami-table" -n "${LAB}fw2" flush; }
left() { "$BUILD/sami-table" -n "${LAB}fw1" print | sed 's/ timeout .*//' | sort; }
has() { left | grep -q "src $1 dst $2 sport $3 "; }
migrate() { # OPTIONS...
    ctl 1 migrate --vm $VM4 --to fw2.example --json "$@" >"$WORK/migrate" 2>"$WORK/migrate.err"
    STATUS=$?
    LAST=$(tail -n 1 "$WORK/migrate")
}
told() { # CASE REMOVED LOCAL CHANGED UNCONFIRMED
    local want="\"purge\":{\"removed\":$2,\"kept_local_end\":$3,\"kept_changed\":$4,\"kept_unconfirmed\":$5}"
    grep -qF "$want" <<<"$LAST" || fail "$1: not $want: $LAST $(cat "$WORK/migrate.err")"
}
mkdir -p "$WORK/fw1/vms.d"
printf '[vm]\naddresses=%s,2001:db8:a::15\n' $VM3 >"$WORK/fw1/vms.d/other.conf"
printf '[vm]\naddresses=%s,%s\n' $VM4 $VM6 >"$WORK/fw1/vms.d/moving.conf" # itself is nobody's neighbour
echo "local-prefixes=$VM2/32" >>"$WORK/fw1/sami.conf"
sami_start || exit 1
two_vms() {
    flush
    for port in 1001 1002 1003; do tcp fw1 $VM4 $CLI4 $port; done
    tcp fw1 $VM4 $CLI4 1004 --src-nat 192.0.2.1:5004
    tcp fw1 $CLI4 $VM4 1005
    tcp fw1 $VM4 $VM2 2001; tcp fw1 $VM2 $VM4 2002  # the other end is in local-prefixes
    tcp fw1 $VM4 $VM3 2003; tcp fw1 $VM3 $VM4 2004  # the other end is in vms.d
    tcp fw1 $VM2 $CLI4 3001; tcp fw1 $VM3 $CLI4 3002 # not the VM's at all
}

echo "--- without --purge nothing goes"
two_vms
left >"$WORK/before"
migrate --now
[ $STATUS -eq 0 ] || fail "no purge: exit $STATUS"
left | cmp -s - "$WORK/before" || fail "no purge: the source's table is another"
grep -q '"purge"' <<<"$LAST" && fail "no purge: it was counted"

echo "--- two VMs behind one firewall"
two_vms
migrate --now --purge
[ $STATUS -eq 0 ] || fail "two VMs: exit $STATUS"
told "two VMs" 5 4 0 0
for port in 1001 1002 1003 1004; do has $VM4 $CLI4 $port && fail "two VMs: $port is still there"; done
has $CLI4 $VM4 1005 && fail "two VMs: 1005 is still there"
has $VM4 $VM2 2001 && has $VM2 $VM4 2002 || fail "a flow with local-prefixes is gone"
has $VM4 $VM3 2003 && has $VM3 $VM4 2004 || fail "a flow with a VM of vms.d is gone"
has $VM2 $CLI4 3001 && has $VM3 $CLI4 3002 || fail "a flow of another VM is gone"
[ "$(left | wc -l)" -eq 6 ] || fail "two VMs: $(left)"

echo "--- refused and degraded records are not confirmed"
two_vms
ns fw2 conntrack -I -p tcp -s 10.0.0.99 -d $CLI4 --sport 1004 --dport 443 --src-nat 192.0.2.1:5004 --state ESTABLISHED -t 5000 -u SEEN_REPLY,ASSURED >/dev/null 2>&1
tcp fw2 $VM4 $CLI4 1003 --src-nat 192.0.2.7:1003
migrate --now --purge
[ $STATUS -eq 6 ] || fail "refused: exit $STATUS"
told "refused" 3 4 0 2
has $VM4 $CLI4 1003 && has $VM4 $CLI4 1004 || fail "a refused record's entry is gone"

echo "--- a table so large that entries change between the audit and the clean-up"
two_vms
"$BUILD/sami-table" -n "${LAB}fw1" fill $MANY >/dev/null || exit 1
sami_follow --purge --deadline 20s || exit 1
# The audit's Messages cannot leave: what changes meanwhile was named by it already, or is of another generation.
ns fw1 nft add rule inet management out oifname mgmt0 meta length '>' 1000 drop
ctl 1 freeze "$ID" >"$WORK/freeze" 2>&1 || { fail "freeze"; cat "$WORK/freeze"; }
audited() { ctl 1 status "$ID" --json | tr -d ' \n' | grep -q '"phase":"SETTLE"' && ctl 1 status "$ID" --json | tr -d ' \n' | grep -q "\"sent\":$((2 * (MANY + 9)))[,}]"; }
poll 20 audited || fail "changed: the audit was not sent: $(ctl 1 status "$ID" --json | tr -d '\n')"
ns fw1 conntrack -D -p tcp -s $VM4 -d $CLI4 --sport 1001 --dport 443 >/dev/null 2>&1
tcp fw1 $VM4 $CLI4 1001 # another generation
ns fw1 conntrack -U -p tcp -s $VM4 -d $CLI4 --sport 1002 --dport 443 --state CLOSE_WAIT >/dev/null 2>"$WORK/insert" || cat "$WORK/insert"
ns fw1 conntrack -D -p tcp -s $VM4 -d $CLI4 --sport 1003 --dport 443 >/dev/null 2>&1
ns fw1 nft flush chain inet management out
ns fw1 nft add rule inet management out oifname mgmt0 notrack
wait "$MIGRATE"
[ $? -eq 0 ] || fail "changed: migrate"
LAST=$(tail -n 1 "$WORK/migrate")
told "changed" $((MANY + 2)) 4 3 0
has $VM4 $CLI4 1001 || fail "the next generation is gone"
has $VM4 $CLI4 1002 || fail "a changed entry is gone"
[ $N_FAILED -eq 0 ] || { tail -n 30 "$WORK"/*.log; exit 1; }
