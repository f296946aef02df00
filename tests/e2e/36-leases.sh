#!/usr/bin/env bash
# Leases: what would end at once lives as long as the migration needs, gets its own time at the end, and an orphaned migration leaves nothing, also
# when packets came; what traffic made anew is not ours and stays.
set -uo pipefail
LEASE=6s
. "${srcdir:-.}/tests/e2e/faults.sh"
faults_lab || exit 1
udp() { ns fw1 conntrack -I -p udp -s $VM4 -d $CLI4 --sport "$1" --dport 53 -t "$2" -u SEEN_REPLY,ASSURED >/dev/null 2>&1; }
left() { ns "fw$1" conntrack -L -p "$2" -s $VM4 --sport "$3" 2>/dev/null | awk -v tcp="$2" '{ print $3 }'; }
passes() { local past_s=$((SECONDS + $1)); past() { [ $SECONDS -ge $past_s ]; }; poll $(($1 + 5)) past; }
sami_start || exit 1

begin short-entries
udp 2001 9
udp 2002 400
udp 2003 20
add 1 1001
follow
for _ in 1 2 3; do # 24 s: longer than 20, and longer than the lease; its own firewall keeps one alive, without an event of use
    passes 8
    ns fw1 conntrack -U -p udp -s $VM4 --sport 2003 -t 20 >/dev/null 2>&1 || fail "the source's own ended"
done
[ -n "$(left 2 udp 2002)" ] || fail "the long one is gone"
[ -n "$(left 2 udp 2003)" ] || fail "it ended before READY"
[ -n "$(left 2 tcp 1001)" ] || fail "TCP ended before READY"
frozen
ended 0
for entry in "udp 2002" "udp 2003" "tcp 1001"; do
    # shellcheck disable=SC2086
    a=$(left 1 $entry) b=$(left 2 $entry)
    echo "  $entry: $a s at the source, $b s at the destination"
    [ -n "$a" ] && [ -n "$b" ] && [ $((a - b)) -le 2 ] && [ $((b - a)) -le 2 ] || fail "$entry: $a s at the source, $b s at the destination"
done
[ -z "$(left 2 udp 2001)" ] || fail "one that ended at the source lives"
flush 1 2

# Packets reach the entry at firewall 2 before READY, and the exporter dies.
begin orphan
lab_traffic out 1 60
lab_traffic udp 1 60
follow
[ "$(from_vm 2)" -ge 1 ] || fail "nothing came"
udp 2004 20
seen() { [ -n "$(left 2 udp 2004)" ]; }
poll 5 seen || fail "a new one does not follow"
ip -n "${LAB}cli" route add $VM4/32 via $HOP4 dev c2 onlink # its answer comes by the other firewall
ns cli python3 -c "import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('$CLI4', 53))
s.sendto(b'x', ('$VM4', 2004))" || fail "no packet sent"
ip -n "${LAB}cli" route del $VM4/32
touched() { ns fw2 conntrack -L -p udp -s $VM4 --sport 2004 2>/dev/null | grep -q 'packets=1'; }
poll 5 touched || fail "the packet did not come through: $(ns fw2 conntrack -L -p udp 2>/dev/null)"
# One ends there and is made anew by somebody else.
add 1 1005
poll 5 has 2 1005 || fail "a new one does not follow"
ns fw2 conntrack -D -p tcp -s $VM4 --sport 1005 >/dev/null 2>&1 || fail "not there"
add 2 1005
kill -9 "$(process 1 state)"
only_that() { [ "$(from_vm 2)" -eq 1 ] && has 2 1005; }
poll 20 only_that || fail "left: $(ns fw2 conntrack -L -s $VM4 2>/dev/null)"
in_phase 2 ABORTED || fail "the collector is $(field 2 phase)"
