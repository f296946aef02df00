# cumulative.sh: both firewalls count SYNs and DNS queries by source and blacklist who floods, by rules like those that people have; sourced
# by the cases, after testbed.sh.
# shellcheck shell=bash
# shellcheck disable=SC2034
BAD4=198.51.100.66 BAD6=2001:db8:c::66 GOOD4=198.51.100.10 GOOD6=2001:db8:c::10

guard_ruleset() { # PREFIX-OF-SETS
    local v type
    echo "table inet guard {"
    echo "    counter blocked { }"
    for v in 4 6; do
        type=ipv${v}_addr
        echo "    set ${1}syn$v { type $type; size 200000; flags dynamic,timeout; timeout 10m; counter; }"
        echo "    set ${1}dns$v { type $type; size 65536; flags dynamic,timeout; timeout 10m; counter; }"
        echo "    set ${1}pair$v { type $type . $type . inet_service; size 65536; flags dynamic,timeout; timeout 10m; }"
        echo "    set ${1}bad$v { type $type; size 65536; flags dynamic,timeout; timeout 20m; }"
        echo "    set rate$v { type $type; size 65536; flags dynamic,timeout; timeout 1m; }"
    done
    cat <<NFT
    chain count {
        type filter hook forward priority -10;
        iifname != "c" accept
        tcp flags & (fin|syn|rst|ack) == syn jump syn
        udp dport 53 update @${1}dns4 { ip saddr }
        udp dport 53 update @${1}dns6 { ip6 saddr }
        ip saddr @${1}bad4 counter name blocked drop
        ip6 saddr @${1}bad6 counter name blocked drop
    }
    chain syn {
        update @${1}syn4 { ip saddr }
        update @${1}syn6 { ip6 saddr }
        update @${1}pair4 { ip saddr . ip daddr . tcp dport counter quota 100 mbytes }
        update @${1}pair6 { ip6 saddr . ip6 daddr . tcp dport counter }
        update @rate4 { ip saddr limit rate over 1/second burst 20 packets } add @${1}bad4 { ip saddr }
        update @rate6 { ip6 saddr limit rate over 1/second burst 20 packets } add @${1}bad6 { ip6 saddr }
    }
}
NFT
}

# Set names differ between the firewalls; the names of the groups do not.
guard_start() {
    local n v
    ip -n "${LAB}cli" addr add $BAD4/32 dev lo
    ip -n "${LAB}cli" addr add $BAD6/128 dev lo nodad
    for n in 1 2; do
        guard_ruleset "$(guard_prefix $n)" | ns fw$n nft -f - || return 1
        ip -n "${LAB}fw$n" route replace $BAD4/32 via $HOP4 dev c onlink
        ip -n "${LAB}fw$n" -6 route replace $BAD6/128 via $HOP6 dev c onlink
        for v in 4 6; do
            cat <<CONF
[cumulative syn$v]
table=inet guard
set=$(guard_prefix $n)syn$v
select=all
[cumulative dns$v]
table=inet guard
set=$(guard_prefix $n)dns$v
select=all
[cumulative pair$v]
table=inet guard
set=$(guard_prefix $n)pair$v
[cumulative bad$v]
table=inet guard
set=$(guard_prefix $n)bad$v
kind=blacklist
select=all
CONF
        done >>"$WORK/fw$n/sami.conf"
        echo 'kinds=session,cumulative' >>"$(ls "$WORK/fw$n"/signers.d/*.conf)"
    done
}
guard_prefix() { [ "$1" = 1 ] || echo second_; }

# The daemons of the way back.
guard_both_ways() {
    ip netns exec "${LAB}fw1" "$BUILD/sami-collector" -c "$WORK/fw1/sami.conf" -f >"$WORK/collector1.log" 2>&1 &
    disown
    ip netns exec "${LAB}fw2" "$BUILD/sami-exporter" -c "$WORK/fw2/sami.conf" -f >"$WORK/exporter2.log" 2>&1 &
    disown
    poll 10 test -S "$WORK/run1/collector.sock" && poll 10 test -S "$WORK/run2/exporter.sock" &&
        ctl 1 -q expect --vm 10.0.0.0/24,2001:db8:a::/64 --from fw2.example
}

flood() { ns cli python3 "$SRC/tests/e2e/flood.py" "$@"; } # syn|dns SOURCE DESTINATION COUNT [FIRST-PORT]

# element FIREWALL SET KEY: its line, without its neighbours
element() { ns "fw$1" nft list set inet guard "$(guard_prefix "$1")$2" | tr ',{}' '\n\n\n' | sed 's/^[ \t]*//; s/^elements = *//' | grep "^${3//./\\.} "; }
packets() { element "$@" | sed -n 's/.*counter packets \([0-9]*\).*/\1/p'; }
# Seconds until it expires.
remaining() {
    element "$@" | sed -n 's/.*expires \([0-9a-z]*\).*/\1/p' | sed 's/ms$//; s/\([0-9]*\)d/\1*86400+/; s/\([0-9]*\)h/\1*3600+/; s/\([0-9]*\)m\([^s]\)/\1*60+\2/; s/\([0-9]*\)m$/\1*60/; s/s.*//; s/+$//' |
        { read -r terms && echo $((terms)); }
}
blocked() { ns "fw$1" nft list counter inet guard blocked | sed -n 's/.*packets \([0-9]*\).*/\1/p'; }
