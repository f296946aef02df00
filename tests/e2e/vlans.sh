# vlans.sh: the lab twice, as VLAN 10 and as VLAN 20, with the same addresses in both and the same two firewalls. Sourced by the cases.
#
# VLAN 10 is the testbed's own client and VM; VLAN 20 has cli20 and vm20, behind c20 and v20 of the firewalls. Packets get their zone by the
# interface that they come in on, and their route by it too. A kernel with 802.1Q would have subinterfaces there; to conntrack they are the same.
# shellcheck shell=bash
. "${srcdir:?}/tests/e2e/testbed.sh"
declare -A ZONE10=([1]=1 [2]=7) ZONE20=([1]=2 [2]=1)

path20() { # 1|2
    local n
    for n in "cli20 c $CLI4 $CLI6" "vm20 v $VM4 $VM6"; do
        # shellcheck disable=SC2086
        set -- "$1" $n
        ip -n "$LAB$2" route replace default via $HOP4 dev "$3$1" onlink src "$4"
        ip -n "$LAB$2" -6 route replace default via $HOP6 dev "$3$1" onlink src "$5"
    done
}

zones() { # FIREWALL
    ns "fw$1" nft -f - <<NFT
table inet zones {
    chain in {
        type filter hook prerouting priority raw;
        iifname { "v", "c" } ct zone set ${ZONE10[$1]}
        iifname { "v20", "c20" } ct zone set ${ZONE20[$1]}
    }
}
table inet filter {
    chain forward {
        iifname "v20" tcp dport 9000 tcp flags & (fin|syn|rst|ack) == syn ct state new accept
        iifname "c20" tcp dport 9010 tcp flags & (fin|syn|rst|ack) == syn ct state new accept
    }
}
NFT
}

vlans_start() {
    local n f i
    lab_start || return 1
    LAB_MORE=(cli20 vm20)
    for n in "${LAB_MORE[@]}"; do
        ip netns add "$LAB$n"
        ns "$n" sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.all.send_redirects=0 \
            net.ipv4.conf.default.send_redirects=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
        ip -n "$LAB$n" link set lo up
    done
    ip -n "${LAB}cli20" addr add $CLI4/32 dev lo
    ip -n "${LAB}cli20" addr add $CLI6/128 dev lo nodad
    ip -n "${LAB}vm20" addr add $VM4/32 dev lo
    ip -n "${LAB}vm20" addr add $VM6/128 dev lo nodad
    for n in 1 2; do
        f=fw$n
        link cli20 "c$n" $f c20
        link vm20 "v$n" $f v20
        for i in v20 c20; do
            ip -n "$LAB$f" rule add iif $i lookup 20 || return 1
            ip -n "$LAB$f" -6 rule add iif $i lookup 20 || return 1
        done
        ip -n "$LAB$f" route add $VM4/32 via $HOP4 dev v20 onlink table 20
        ip -n "$LAB$f" route add $CLI4/32 via $HOP4 dev c20 onlink table 20
        ip -n "$LAB$f" -6 route add $VM6/128 via $HOP6 dev v20 onlink table 20
        ip -n "$LAB$f" -6 route add $CLI6/128 via $HOP6 dev c20 onlink table 20
        zones $n || return 1
        lab_untracked $f
    done
    path20 1
    for n in cli vm; do
        ns ${n}20 python3 "$SRC/tests/e2e/traffic.py" server $n >"$WORK/server-${n}20" 2>&1 &
        poll 10 grep -qs listening "$WORK/server-${n}20" || { cat "$WORK/server-${n}20"; return 1; }
    done
    mkdir -p "$WORK/20"
}

# Each firewall's own map, and what firewall 2 lets firewall 1 bring
vlans_setup() {
    local n
    sami_setup || return 1
    for n in 1 2; do echo "vlans=10:${ZONE10[$n]},20:${ZONE20[$n]}" >>"$WORK/fw$n/sami.conf"; done
    echo 'vlans=10,20' >>"$WORK/fw2/signers.d/fw1.example.conf"
}

# Entries of a zone, without what changes by itself
in_zone() { ns "fw$1" conntrack -L -w "$2" 2>/dev/null | grep 'src=' | sed 's/ *[0-9]* \([A-Z_]*\) src/ \1 src/; s/packets=[0-9]* bytes=[0-9]* //g; s/ use=[0-9]*//; s/ id=[0-9]*//; s/ delta-time=[0-9]*//' | sort; }
count_zone() { in_zone "$1" "$2" | wc -l; }
