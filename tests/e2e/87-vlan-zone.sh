#!/usr/bin/env bash
# Two VLANs with the same VM and client addresses behind the same two firewalls, which have other zones for them: VLAN 10 is zone 1 at firewall 1 and
# zone 7 at firewall 2, VLAN 20 is zone 2 and zone 1. The VM of one VLAN moves and its live transfers survive; flows of the other, of the very same
# addresses and ports too, are neither sent nor touched. Then the other VLAN's moves.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/vlans.sh"
export RATE=200000
CLIENTS=()
fail() { echo "FAIL $*"; cat "$WORK/results" "$WORK/20/results" "$WORK/migrate.err" 2>/dev/null; tail -n 1 "$WORK/migrate"; tail -n 25 "$WORK"/exporter.log "$WORK"/collector.log; exit 1; }
vlans_start || exit 1

# The same five-tuple in both, and in no zone: nobody but a key with the segment tells them apart.
twin() { # FIREWALL ZONE PORT
    ns "fw$1" conntrack -I -w "$2" -p tcp -s $VM4 -d $CLI4 --sport "$3" --dport 443 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED >/dev/null 2>"$WORK/insert" ||
        { cat "$WORK/insert"; exit 1; }
}
has_twin() { in_zone "$1" "$2" | grep -q "src=$VM4 dst=$CLI4 sport=$3 "; }
for zone in 1 2 0; do twin 1 $zone 4000; done
twin 1 1 4001
twin 1 2 4001

launch20() { # CASE COUNT
    local side=vm20
    [ "$1" = in ] && side=cli20
    ns $side python3 "$SRC/tests/e2e/traffic.py" client "$1" "$2" 200 "$WORK/20/results" >"$WORK/client20-$1" 2>&1 &
    CLIENTS20+=($!)
}
CLIENTS20=()
for case in out in snat ipv6-out; do lab_launch $case 3 200; done
for case in out in; do launch20 $case 3; done
lab_under_way out in snat ipv6-out || exit 1
for case in out in; do poll 60 grep -qs started "$WORK/client20-$case" || { cat "$WORK/client20-$case"; exit 1; }; done
[ "$(count_zone 1 1)" -ge 14 ] && [ "$(count_zone 1 2)" -eq 8 ] || fail "zones at firewall 1: $(count_zone 1 1) and $(count_zone 1 2)"

vlans_setup && sami_start || exit 1

echo "--- without its VLAN nothing is moved"
ctl 1 migrate --vm $VM4 --to fw2.example --now >"$WORK/out" 2>&1
[ $? -eq 2 ] && grep -q -- '--vlan' "$WORK/out" || { cat "$WORK/out"; fail "an unnamed VLAN"; }
ctl 1 migrate --vm $VM4 --to fw2.example --now --vlan 30 >"$WORK/out" 2>&1
[ $? -eq 2 ] && grep -q 'VLAN 30 has no zone here.*10, 20' "$WORK/out" || { cat "$WORK/out"; fail "a VLAN without a zone"; }
ctl 1 migrate --vm $VM4 --to fw2.example --now --vlan 10 --zone 2 >"$WORK/out" 2>&1
[ $? -eq 2 ] && grep -q 'VLAN 10 is zone 1 here' "$WORK/out" || { cat "$WORK/out"; fail "a VLAN and another's zone"; }

echo "--- the check of a VLAN asks for its own sessions, under its name"
ctl 1 check --vm $VM4,$VM6 --vlan 10 --to fw2.example --json >"$WORK/out" 2>&1
grep -q "\"sessions\":$(count_zone 1 1)[,}]" "$WORK/out" && ! grep -q 'refused-\|vlan' "$WORK/out" ||
    { cat "$WORK/out"; fail "the check of VLAN 10, which has $(count_zone 1 1) sessions"; }
ctl 1 check --vm $VM4 --to fw2.example >"$WORK/out" 2>&1
[ $? -eq 2 ] && grep -q -- '--vlan' "$WORK/out" || { cat "$WORK/out"; fail "a check of an unnamed VLAN"; }

echo "--- VLAN 10 moves"
in_zone 1 2 >"$WORK/before20"
sami_follow --vlan 10 || exit 1
grep -q '"vlan":10' "$WORK/migrate" || fail "the migration does not say its VLAN"
[ "$(count_zone 2 7)" -eq "$(count_zone 1 1)" ] || fail "VLAN 10: $(count_zone 1 1) here, $(count_zone 2 7) there"
[ "$(count_zone 2 1)" -eq 0 ] || fail "flows of VLAN 20, or of zone 1 as it is called here, were sent"
[ "$(count_zone 2 0)" -eq 0 ] || fail "flows of zone 0 were sent"
# What ends and begins meanwhile: of VLAN 10 it arrives, of VLAN 20 it does not.
twin 1 2 4002
twin 1 1 4003
ns fw1 conntrack -D -w 1 -p tcp -s $VM4 --sport 4001 >/dev/null 2>&1
ended() { ! has_twin 2 7 4001; }
poll 10 has_twin 2 7 4003 || fail "a flow that began in VLAN 10 has not arrived"
poll 10 ended || fail "a flow that ended in VLAN 10 is still at firewall 2"
has_twin 1 2 4001 || fail "the one of VLAN 20 is gone"
sami_move || exit 1
wait "$MIGRATE" || fail "migrate ended with $?"
[ "$(count_zone 2 1)" -eq 0 ] || fail "the move of VLAN 10 made entries of VLAN 20"
has_twin 2 7 4000 && has_twin 2 7 4003 || fail "entries of VLAN 10 are missing at firewall 2"
ns fw1 conntrack -D -w 2 -p tcp -s $VM4 --sport 4002 >/dev/null 2>&1
in_zone 1 2 | cmp -s - "$WORK/before20" || { in_zone 1 2 | diff "$WORK/before20" -; fail "the flows of VLAN 20 are others than before"; }
[ ! -s "$WORK/results" ] && [ ! -s "$WORK/20/results" ] || fail "a transfer was over before the moves were"
lab_enough
cat "$WORK/results"
[ "$(survived)" -eq 12 ] || fail "VLAN 10: not every transfer survived"

echo "--- VLAN 20 moves"
[ ! -s "$WORK/20/results" ] || fail "a transfer of VLAN 20 has ended"
in_zone 2 7 >"$WORK/before10"
ctl 1 migrate --vm $VM4,$VM6 --vlan 20 --to fw2.example --json --purge >"$WORK/migrate" 2>"$WORK/migrate.err" &
MIGRATE=$!
poll 20 grep -qs '"confirmed_snapshot":true' "$WORK/migrate" || fail "no snapshot of VLAN 20"
ID=$(sed -n 's/.*"id":"\([0-9a-f]*\)".*/\1/p' "$WORK/migrate" | head -n 1)
# The client as well: an entry that its packets change behind the audit would rightly be kept.
for n in vm20 cli20; do ns $n nft add table inet pause '{ chain out { type filter hook output priority 0; policy drop; }; }'; done
ctl 1 freeze "$ID" >"$WORK/freeze" 2>&1 || { cat "$WORK/freeze"; fail "freeze of VLAN 20"; }
path20 2
for n in vm20 cli20; do ns $n nft delete table inet pause; done
wait "$MIGRATE" || fail "migrate of VLAN 20 ended with $?"
for port in 4000 4001; do has_twin 2 1 $port || fail "$port of VLAN 20 is missing in zone 1"; done
[ "$(in_zone 2 1 | grep -c "dport=90")" -eq 6 ] || fail "transfers of VLAN 20: $(in_zone 2 1)"
in_zone 2 7 | grep 'sport=40' >"$WORK/after10"
grep 'sport=40' "$WORK/before10" | cmp -s - "$WORK/after10" || fail "the entries of VLAN 10 are others than before"
[ "$(count_zone 1 2)" -eq 0 ] || fail "the clean-up left $(in_zone 1 2)"
has_twin 1 1 4000 && has_twin 1 0 4000 || fail "the clean-up of VLAN 20 removed a flow of another segment"
: >"$WORK/20/enough"
wait "${CLIENTS20[@]}"
cat "$WORK/20/results"
[ "$(grep -c ' ok ' "$WORK/20/results")" -eq 6 ] || fail "VLAN 20: not every transfer survived"
[ "$(lab_invalid)" -eq 0 ] || fail "$(lab_invalid) packets INVALID at firewall 2"
