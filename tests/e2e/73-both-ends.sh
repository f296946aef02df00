#!/usr/bin/env bash
# Both ends of live flows move at the same time: VM x behind firewall 1 and VM y behind firewall 3, both to firewall 2. Each flow has one
# owner there, ownership passes to the later READY, and the abort of one of the two leaves the flows to the other.
#
#   x --- fw1 --- fw3 --- y        and both have a link to fw2, which both firewalls know the way through
# OVER SCTP, TOO
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
export RATE=100000
Y4=10.0.0.14 Y6=2001:db8:a::14
CLIENTS=()
N=6 # flows: three that x opened, three that y opened
fail() { echo "FAIL $*"; cat "$WORK/results"; tail -n 30 "$WORK"/*.log; exit 1; }
lab_start && sami_setup || exit 1
LAB_MORE=(fw3 y)
for n in fw3 y; do
    ip netns add "$LAB$n"
    ns $n sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.all.send_redirects=0 \
        net.ipv4.conf.default.send_redirects=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
    ip -n "$LAB$n" link set lo up
done
link y y3 fw3 v
link y y2 fw2 w
link fw3 p1 fw1 p3
link fw3 p2 fw2 p3
link fw1 p2 fw2 p1
ip -n "${LAB}y" addr add $Y4/32 dev lo
ip -n "${LAB}y" addr add $Y6/128 dev lo nodad
ns fw3 sysctl -qw net.ipv4.ip_forward=1 net.netfilter.nf_conntrack_tcp_loose=0 net.netfilter.nf_conntrack_acct=1 \
    net.netfilter.nf_conntrack_timestamp=1 net.netfilter.nf_conntrack_events=1
lab_ruleset | ns fw3 nft -f -
for n in 1 2 3; do
    ns fw$n nft add rule inet filter forward 'tcp dport { 9010, 9030 } tcp flags & (fin|syn|rst|ack) == syn ct state new accept'
    ns fw$n sysctl -qw net.ipv4.conf.all.send_redirects=0
done
ip -n "${LAB}fw3" route add $Y4/32 via $HOP4 dev v onlink
ip -n "${LAB}fw3" addr add 10.255.3.3/32 peer 10.255.0.2 dev p2
ip -n "${LAB}fw2" addr add 10.255.0.2/32 peer 10.255.3.3 dev p3
route() { ip -n "$LAB$1" route replace "$2" via $HOP4 dev "$3" onlink ${4:+src "$4"}; } # NS TO DEV [SOURCE]
path() { # FIREWALL-OF-X FIREWALL-OF-Y
    case $2 in 2) route fw1 $Y4/32 p2 ;; 3) route fw1 $Y4/32 p3 ;; esac
    case $1 in 1) route fw3 $VM4/32 p1 ;; 2) route fw3 $VM4/32 p2 ;; esac
    case $1 in 1) route fw2 $VM4/32 p1 ;; 2) route fw2 $VM4/32 v ;; esac
    case $2 in 2) route fw2 $Y4/32 w ;; 3) route fw2 $Y4/32 p3 ;; esac
    route vm default "v$1" $VM4
    route y default "y$2" $Y4
}
path 1 3
ns y python3 "$SRC/tests/e2e/traffic.py" server y >"$WORK/server-y" 2>&1 &
poll 10 grep -qs listening "$WORK/server-y" || fail "no server at y"

ctl 3 setup --name fw3.example --address 10.255.3.3:4740 >"$WORK/setup3" 2>&1 || fail "setup"
sed -i '/^\(run-dir\|journal-dir\|vm-prefixes\|user\|grace\|lease\|control-group\) *=/d' "$WORK/fw3/sami.conf"
sed -n '/^run-dir=/,$p' "$WORK/fw1/sami.conf" | sed "s/run1/run3/; s/journal1/journal3/" >>"$WORK/fw3/sami.conf"
mkdir -p "$WORK/run3"
ctl 3 peer add "$WORK/fw2/fw2.example.peer" --both --yes --allow 10.0.0.0/24 >"$WORK/peer3" 2>&1 &&
    ctl 2 peer add "$WORK/fw3/fw3.example.peer" --both --yes --allow 10.0.0.0/24 >"$WORK/peer3" 2>&1 || { cat "$WORK/peer3"; exit 1; }
sami_start || exit 1
ip netns exec "${LAB}fw3" "$BUILD/sami-exporter" -c "$WORK/fw3/sami.conf" -f >"$WORK/exporter3.log" 2>&1 &
disown
poll 10 test -S "$WORK/run3/exporter.sock" || fail "no exporter at firewall 3"
ctl 2 -q expect --vm 10.0.0.0/24 --from fw3.example || fail "expect"

declare -A MIGRATES IDS
follow() { # x|y
    local n=1 vm=$VM4
    [ "$1" = x ] || n=3 vm=$Y4
    rm -f "$WORK/migrate-$1" # the last one's would do for poll
    ctl $n migrate --vm $vm --to fw2.example --json --deadline 10s >"$WORK/migrate-$1" 2>&1 &
    MIGRATES[$1]=$!
    poll 20 grep -qs '"confirmed_snapshot":true' "$WORK/migrate-$1" || { cat "$WORK/migrate-$1"; fail "no snapshot of $1"; }
    IDS[$1]=$(sed -n 's/.*"id":"\([0-9a-f]*\)".*/\1/p' "$WORK/migrate-$1" | head -n 1)
}
of() { case $1 in x) echo 1 ;; y) echo 3 ;; esac; }
here() { "$BUILD/sami-table" -n "${LAB}fw2" print | grep -c "src $VM4 dst $Y4\|src $Y4 dst $VM4"; }
owns() { ctl 2 status "${IDS[$1]}" --json | tr -d ' \n' | sed -n 's/.*"held":\([0-9]*\).*/\1/p'; }
paused() { # VMs cannot say anything
    for n in vm y; do ns $n nft add table inet pause '{ chain out { type filter hook output priority 0; policy drop; }; }'; done
}
resumed() { for n in vm y; do ns $n nft delete table inet pause; done; }
transfers() {
    : >"$WORK/results"
    CLIENTS=()
    lab_launch x-y 3 200
    lab_launch y-x 3 200
    lab_under_way x-y y-x || exit 1
}
finished() { # WHAT
    lab_enough
    cat "$WORK/results"
    [ "$(survived)" -eq $N ] || fail "$1: not every transfer survived"
    [ "$(lab_invalid)" -eq 0 ] || fail "$1: $(lab_invalid) packets INVALID at firewall 2"
}
running() { [ ! -s "$WORK/results" ] || fail "$1: a transfer was over too early: this case proves nothing"; }

echo "--- the owner is aborted before READY: the flows are the other's; it moves, and then x does"
transfers
follow x
[ "$(owns x)" -eq $N ] || fail "x owns $(owns x), not $N"
follow y
[ "$(owns x)" -eq $N ] && [ "$(owns y)" -eq 0 ] || fail "before READY x owns $(owns x), y $(owns y)"
ctl 1 abort "${IDS[x]}" >"$WORK/abort" 2>&1 || fail "abort of x"
wait "${MIGRATES[x]}"
[ "$(here)" -eq $N ] && [ "$(owns y)" -eq $N ] || fail "after the abort of x there are $(here) flows, y owns $(owns y)"
paused
ctl 3 freeze "${IDS[y]}" >"$WORK/freeze" 2>&1 || fail "freeze of y"
path 1 2
resumed
wait "${MIGRATES[y]}" || fail "migrate of y ended with $?"
follow x
paused
ctl 1 freeze "${IDS[x]}" >"$WORK/freeze" 2>&1 || fail "freeze of x"
path 2 2
resumed
wait "${MIGRATES[x]}" || fail "migrate of x ended with $?"
running "one after the other"
finished "one after the other"

echo "--- one that has only merged is aborted, then both freeze at once; one of them owns all flows"
path 1 3
for n in 1 2 3; do "$BUILD/sami-table" -n "${LAB}fw$n" flush; done
transfers
follow x
follow y
ctl 3 abort "${IDS[y]}" >"$WORK/abort" 2>&1 || fail "abort of y"
wait "${MIGRATES[y]}"
[ "$(here)" -eq $N ] && [ "$(owns x)" -eq $N ] || fail "after the abort of y there are $(here) flows, x owns $(owns x)"
follow y
paused
ctl 1 freeze "${IDS[x]}" >"$WORK/freeze-x" 2>&1 &
FREEZE=$!
ctl 3 freeze "${IDS[y]}" >"$WORK/freeze-y" 2>&1 || fail "freeze of y"
wait $FREEZE || fail "freeze of x"
path 2 2
resumed
wait "${MIGRATES[x]}" || fail "migrate of x ended with $?"
wait "${MIGRATES[y]}" || fail "migrate of y ended with $?"
# Which freeze the injecting thread had last is not in the log, whose lines come when the journals are on the disk.
read -r owner other < <([ "$(owns x)" -eq 0 ] && echo y x || echo x y)
at_later=$(grep -n ' FREEZE -> READY ' "$WORK/collector.log" | tail -n 1 | cut -d: -f1)
if head -n "$at_later" "$WORK/collector.log" | grep -q "\(${IDS[x]:0:8}\|${IDS[y]:0:8}\) SETTLE -> DONE"; then
    echo "the earlier one was done before the later READY: its entries are this firewall's, nothing passes"
elif [ "$(owns "$owner")" -eq $N ] && [ "$(owns "$other")" -eq 0 ]; then
    echo "$owner owns all of them"
else
    fail "x owns $(owns x), y owns $(owns y): not one of them $N"
fi
running "at once"
finished "at once"
