#!/usr/bin/env bash
# Flows between the VM and the firewall itself, or an address of ignore-addresses, stay where they are; a VLAN without a map is refused.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_start && sami_setup || exit 1
printf 'ignore-addresses=198.51.100.77\n' >>"$WORK/fw1/sami.conf"
sami_start || exit 1
tcp() { # SOURCE DESTINATION PORT EXTRA...
    local src=$1 dst=$2 port=$3
    shift 3
    ns fw1 conntrack -I -p tcp -s "$src" -d "$dst" --sport "$port" --dport 443 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED "$@" >/dev/null 2>&1
}
tcp $VM4 $CLI4 1001
tcp $VM4 198.51.100.77 1002              # on the list
tcp 198.51.100.77 $VM4 1003              # the same from the other side
tcp $VM4 10.255.0.1 1004                 # firewall 1 itself
tcp $VM4 $CLI4 1005 --src-nat 192.0.2.1:5005 # a translated address is no end
ctl 1 migrate --vm $VM4 --to fw2.example --now --json >"$WORK/out" 2>"$WORK/err" || { cat "$WORK/out" "$WORK/err" "$WORK"/*.log; exit 1; }
last=$(tail -n 1 "$WORK/out")
grep -q '"exact":2' <<<"$last" && grep -q '"ignored":3' <<<"$last" || { echo "$last"; exit 1; }
[ "$(ns fw2 conntrack -L 2>/dev/null | grep -c "$VM4")" -eq 2 ] || { ns fw2 conntrack -L; exit 1; }
ctl 1 migrate --vm $VM4 --vlan 7 --to fw2.example --now >"$WORK/out" 2>&1
[ $? -eq 2 ] && grep -q "VLAN 7 has no zone here" "$WORK/out" || { cat "$WORK/out"; exit 1; }
