#!/usr/bin/env bash
# What is refused of VLANs comes back under the source's own zones, and stays there when it is cleaned up. Two firewalls with other zones for the same
# VLANs replicate to each other, and samictl diff finds their tables equal.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/pair.sh"
fail() { echo "FAIL $*"; [ ! -e "$WORK/out" ] || tail -n 2 "$WORK/out"; tail -n 12 "$WORK"/*.log; exit 1; }
lab_start && pair_setup || exit 1
for n in 1 2; do lab_untracked fw$n; done
vlans() { # FIREWALL VLANS: its map from now on
    sed -i '/^vlans=/d' "$WORK/fw$1/sami.conf"
    echo "vlans=$2" >>"$WORK/fw$1/sami.conf"
}
allowed() { # FIREWALL VLANS: what it lets the other one bring
    local file="$WORK/fw$1/signers.d/fw$((3 - $1)).example.conf"
    sed -i '/^vlans=/d' "$file"
    echo "vlans=$2" >>"$file"
}
N_RELOADS=0
reload() {
    N_RELOADS=$((N_RELOADS + 1))
    kill -HUP "${PAIR["2 collector"]}"
    reloaded() { [ "$(grep -c 'reloaded: 1 signers' "$WORK/collector2.log")" -eq $N_RELOADS ]; }
    poll 10 reloaded || fail "no reload"
}
entry() { # FIREWALL ZONE PORT EXTRA...
    local n=$1 zone=$2 port=$3
    shift 3
    ns "fw$n" conntrack -I -w "$zone" -p tcp -s $VM4 -d $CLI4 --sport "$port" --dport 443 --state ESTABLISHED -t 5000 -u SEEN_REPLY,ASSURED "$@" \
        >/dev/null 2>"$WORK/insert" || { cat "$WORK/insert"; exit 1; }
}
gone() { ns "fw$1" conntrack -D -w "$2" -p tcp -s $VM4 --sport "$3" >/dev/null 2>&1; }
has() { ns "fw$1" conntrack -L -w "$2" -p tcp -s $VM4 --sport "$3" 2>/dev/null | grep -q src=; }
has_not() { ! has "$@"; }
n_in() { ns "fw$1" conntrack -L -w "$2" 2>/dev/null | grep -c src=; }
move() { # STATUS OPTIONS...: what it says is in OUT
    local want=$1 status
    shift
    ctl 1 migrate --to fw2.example --now --purge --json "$@" >"$WORK/out" 2>&1
    status=$?
    OUT=$(tail -n 1 "$WORK/out")
    [ $status -eq "$want" ] || fail "$*: exit $status, not $want"
}
told() { grep -qF "$1" <<<"$OUT" || fail "no $1"; }

vlans 1 10:1,20:2
vlans 2 10:7
allowed 2 10
mkdir -p "$WORK/fw1/vms.d"
printf '[vm]\naddresses=%s\nvlan=10\n' $VM4 >"$WORK/fw1/vms.d/web.conf"
for n in 1 2; do pair_daemon $n collector && pair_daemon $n exporter || exit 1; done
ctl 2 -q expect --vm 10.0.0.0/24 --from fw1.example || exit 1
for port in 1000 1001 1002; do entry 1 1 $port; done
entry 1 1 1003 --src-nat 203.0.113.9:1003 # not in nat-addresses
for port in 1000 1003; do entry 1 2 $port; done
entry 1 7 1000 # a zone without a VLAN here; at firewall 2 the same number is VLAN 10

echo "--- a VLAN that firewall 2 has no zone for"
move 6 --vm $VM4 --vlan 20
told '"vlan-unknown":'
told "vlan-unknown: tcp $VM4:1000 -> $CLI4:443 vlan 20"
told '"purge":{"removed":0,"kept_local_end":0,"kept_changed":0,"kept_unconfirmed":2}'
echo "--- one that it does not let firewall 1 bring"
vlans 2 10:7,20:1
reload
move 6 --vm $VM4 --vlan 20
told '"vlan-not-allowed":'
told "vlan-not-allowed: tcp $VM4:1000 -> $CLI4:443 vlan 20"
told '"purge":{"removed":0,"kept_local_end":0,"kept_changed":0,"kept_unconfirmed":2}'
echo "--- a zone that has no name at firewall 1, and a VLAN at firewall 2"
move 6 --vm $VM4 --zone 7
told '"zone-of-vlan":'
[ "$("$BUILD/sami-table" -n "${LAB}fw2" count)" -eq 0 ] || fail "entries at firewall 2: $("$BUILD/sami-table" -n "${LAB}fw2" print)"
echo "--- a VM of vms.d with its VLAN: of four one is refused, and only that stays"
move 6 --vm web
told '"vlan":10'
told "nat-address: tcp $VM4:1003 -> $CLI4:443 vlan 10"
told '"purge":{"removed":3,"kept_local_end":0,"kept_changed":0,"kept_unconfirmed":1}'
has 1 1 1003 && [ "$(n_in 1 1)" -eq 1 ] || fail "zone 1 after the clean-up"
[ "$(n_in 1 2)" -eq 2 ] && [ "$(n_in 1 7)" -eq 1 ] || fail "the clean-up removed entries of other zones"
[ "$(n_in 2 7)" -eq 3 ] && [ "$("$BUILD/sami-table" -n "${LAB}fw2" count)" -eq 3 ] || fail "entries at firewall 2"
ctl 2 stats --json | tr -d ' ' | grep -q '"refused_vlan-unknown_total":[1-9]' || fail "not counted"

echo "--- both ways, with other zones for the same VLANs"
for n in 1 2; do "$BUILD/sami-table" -n "${LAB}fw$n" flush; done
for n in 1 2; do allowed $n 10,20; pair_kill $n; done
for n in 1 2; do pair_daemon $n collector && pair_daemon $n exporter || exit 1; done
for port in 2000 2001; do for zone in 1 2 0; do entry 1 $zone $port; done; done
ctl 1 -s "$WORK/run1/exporter.sock" replicate --to fw2.example --wait >"$WORK/out" 2>&1 || fail "replicate to firewall 2"
ctl 2 -s "$WORK/run2/exporter.sock" replicate --to fw1.example --wait >"$WORK/out" 2>&1 || fail "replicate to firewall 1"
entry 2 1 2002 # VLAN 20
entry 1 1 2003 # VLAN 10
gone 1 1 2001
poll 10 has 1 2 2002 || fail "a flow of VLAN 20 has not come from firewall 2"
poll 10 has 2 7 2003 || fail "a flow of VLAN 10 has not come from firewall 1"
poll 10 has_not 2 7 2001 || fail "a flow of VLAN 10 that has ended is still at firewall 2"
has 2 1 2001 && has 2 0 2001 || fail "the same flow of another segment ended with it"
has 2 7 2000 && has 2 1 2000 && has 2 0 2000 || fail "flows at firewall 2"
[ "$(n_in 1 7)" -eq 0 ] && [ "$(n_in 2 2)" -eq 0 ] || fail "zones by the other firewall's number"
for n in 1 2; do ctl $n -s "$WORK/run$n/exporter.sock" diff --save "$WORK/table$n" || fail "diff --save"; done
ctl 1 diff "$WORK/table1" "$WORK/table2" >"$WORK/out" 2>&1 || fail "the tables differ: $(cat "$WORK/out")"
grep -q '^7 equal, 0 only' "$WORK/out" && grep -q "vlan 20" "$WORK/table1" && grep -q "vlan 20" "$WORK/table2" || fail "diff"
