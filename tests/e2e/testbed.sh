# The lab: a client, two firewalls and a VM in network namespaces of this process. Sourced by the demo and by every case.
#
#   cli --- fw1 --- vm        The path goes through fw1 or fw2, by the routes of cli and vm; both firewalls know the way to either
#      \--- fw2 ---/          side all the time. fw1 and fw2 talk over a management link of their own.
#
# Next hops are one link-local address with static neighbours, so nothing waits for ARP or neighbour discovery.

# shellcheck shell=bash
LAB=sami$$
LAB_MORE=() # namespaces that a case has made besides
BUILD=${SAMI_BUILD:?}
SRC=${srcdir:?}
WORK=$(mktemp -d "${TMPDIR:-/tmp}/sami-lab.XXXXXX")
chmod 755 "$WORK"
HOP4=169.254.0.1 HOP6=fe80::1
# How the daemons speak: a case may say so itself; ./run check over both does.
TRANSPORT=${TRANSPORT:-${SAMI_TRANSPORT:-tcp}}
VM4=10.0.0.13 VM6=2001:db8:a::13 CLI4=198.51.100.10 CLI6=2001:db8:c::10

ns() { local name=$1; shift; ip netns exec "$LAB$name" "$@"; }

lab_skip() { echo "SKIP: $*"; rm -rf "$WORK"; exit 77; }
# AddressSanitizer keeps what is freed, and wants to be loaded before anything else that is preloaded.
lab_has_sanitizers() { grep -q '^#define SAMI_SANITIZERS' "$BUILD/config.h"; }
lab_within() { [ "$1" -le "$2" ] || lab_has_sanitizers; } # KIB MOST: memory, where a build says something about it
# For a case, or a part of one, that is about TCP: what is there of it over SCTP is another case.
lab_tcp_only() { [ "$TRANSPORT" = tcp ] || lab_skip "is about TCP: $*"; }

lab_need() {
    [ "$(id -u)" -eq 0 ] || lab_skip "needs root for network namespaces"
    ip netns add "${LAB}probe" 2>/dev/null || lab_skip "network namespaces cannot be made here"
    ip netns del "${LAB}probe"
}

# poll SECONDS COMMAND...: until it succeeds. The deadline is for a machine that does nothing else; one that does has three times as long.
poll() {
    local poll_until=$((SECONDS + 3 * $1)) # not a name that what is polled may use
    shift
    until "$@"; do
        [ $SECONDS -lt $poll_until ] || return 1
        sleep 0.05
    done
}

link() { # NS DEV NS DEV: a veth pair, each end with the other's MAC as its next hop
    ip link add "$2" netns "$LAB$1" type veth peer name "$4" netns "$LAB$3"
    local n m
    for n in "$1 $2 $3 $4" "$3 $4 $1 $2"; do
        # shellcheck disable=SC2086
        set -- $n
        ip -n "$LAB$1" link set "$2" up
        m=$(ns "$3" cat "/sys/class/net/$4/address")
        ip -n "$LAB$1" neigh replace "$HOP4" lladdr "$m" dev "$2" nud permanent
        ip -n "$LAB$1" neigh replace "$HOP6" lladdr "$m" dev "$2" nud permanent
    done
}

lab_ruleset() {
    cat <<'NFT'
table inet filter {
    counter invalid { }
    chain forward {
        type filter hook forward priority 0; policy drop;
        ct state invalid counter name invalid drop
        ct state established,related accept
        iifname "v" tcp dport 9000-9003 tcp flags & (fin|syn|rst|ack) == syn ct state new accept
        iifname "c" tcp dport 9010-9011 tcp flags & (fin|syn|rst|ack) == syn ct state new accept
        iifname "c" udp dport 9020 ct state new accept
        iifname "c" icmp type echo-request ct state new accept
        iifname "c" icmpv6 type echo-request ct state new accept
    }
}
table ip nat {
    chain prerouting { type nat hook prerouting priority -100; ip daddr 192.0.2.2 tcp dport 8080 dnat to 10.0.0.13:9010; }
    chain postrouting {
        type nat hook postrouting priority 100;
        oifname "c" ip saddr 10.0.0.13 tcp dport 9001 snat to 192.0.2.1
        oifname "c" ip saddr 10.0.0.13 tcp dport 9002 masquerade
    }
}
table ip6 nat {
    chain postrouting { type nat hook postrouting priority 100; oifname "c" ip6 saddr 2001:db8:a::13 tcp dport 9001 snat to 2001:db8:f::1; }
}
NFT
}

# The daemons' own connection is not in the tables that are compared and measured.
lab_untracked() {
    ns "$1" nft -f - <<'NFT'
table inet management {
    chain in { type filter hook prerouting priority -300; iifname "mgmt0" notrack; }
    chain out { type filter hook output priority -300; oifname "mgmt0" notrack; }
}
NFT
}

# The masqueraded address belongs to the firewall that has the path.
lab_path() { # 1|2
    ip -n "${LAB}fw$((3 - $1))" addr del 192.0.2.9/32 dev c 2>/dev/null
    ip -n "${LAB}fw$1" addr replace 192.0.2.9/32 dev c
    printf 'route replace default via %s dev c%s onlink src %s\n' "$HOP4" "$1" "$CLI4" | ip -n "${LAB}cli" -batch -
    printf 'route replace default via %s dev c%s onlink src %s\n' "$HOP6" "$1" "$CLI6" | ip -n "${LAB}cli" -6 -batch -
    printf 'route replace default via %s dev v%s onlink src %s\n' "$HOP4" "$1" "$VM4" | ip -n "${LAB}vm" -batch -
    printf 'route replace default via %s dev v%s onlink src %s\n' "$HOP6" "$1" "$VM6" | ip -n "${LAB}vm" -6 -batch -
}

# lab_start [EVENTS]: nf_conntrack_events of both firewalls, 1 unless given
lab_start() {
    local n f
    lab_need
    trap lab_stop EXIT
    trap 'exit 130' INT TERM
    for n in cli fw1 fw2 vm; do
        ip netns add "$LAB$n"
        ns "$n" sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 \
            net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.send_redirects=0 \
            net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
        ip -n "$LAB$n" link set lo up
    done
    for n in 1 2; do
        link cli "c$n" "fw$n" c
        link vm "v$n" "fw$n" v
        f=fw$n
        # An interface that loses its last IPv4 address loses its routes and neighbours; masquerading does not choose this one.
        ip -n "$LAB$f" addr add 169.254.0.2/32 dev c scope link
        ns $f sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \
            net.netfilter.nf_conntrack_tcp_loose=0 net.netfilter.nf_conntrack_acct=1 \
            net.netfilter.nf_conntrack_timestamp=1 "net.netfilter.nf_conntrack_events=${1:-1}"
        ip -n "$LAB$f" route add $VM4/32 via $HOP4 dev v onlink
        ip -n "$LAB$f" route add $CLI4/32 via $HOP4 dev c onlink
        ip -n "$LAB$f" -6 route add $VM6/128 via $HOP6 dev v onlink
        ip -n "$LAB$f" -6 route add $CLI6/128 via $HOP6 dev c onlink
        lab_ruleset | ns $f nft -f -
    done
    ip -n "${LAB}cli" addr add $CLI4/32 dev lo
    ip -n "${LAB}cli" addr add $CLI6/128 dev lo nodad
    ip -n "${LAB}vm" addr add $VM4/32 dev lo
    ip -n "${LAB}vm" addr add $VM6/128 dev lo nodad
    ip link add mgmt0 netns "${LAB}fw1" type veth peer name mgmt0 netns "${LAB}fw2"
    for n in 1 2; do
        ip -n "${LAB}fw$n" addr add 10.255.0.$n/24 dev mgmt0
        ip -n "${LAB}fw$n" link set mgmt0 up
    done
    lab_path 1
    for n in cli vm; do
        ns $n python3 "$SRC/tests/e2e/traffic.py" server $n >"$WORK/server-$n" 2>&1 &
        poll 10 grep -qs listening "$WORK/server-$n" || { echo "no traffic server at $n"; cat "$WORK/server-$n"; return 1; }
    done
}

# What a process has counted is written when it ends in order (./run coverage).
lab_end_in_order() {
    pkill -TERM -f "sami-(collector|exporter) .*$WORK"
    pkill -CONT -f "sami-(collector|exporter) .*$WORK"
    poll 10 eval "! pgrep -f 'sami-(collector|exporter) .*$WORK' >/dev/null"
}

lab_stop() {
    local n
    trap - EXIT INT TERM
    [ -z "${SAMI_COVERAGE:-}" ] || lab_end_in_order
    for n in cli fw1 fw2 vm "${LAB_MORE[@]}"; do
        ip netns pids "$LAB$n" 2>/dev/null | xargs -r kill -9 2>/dev/null
        ip netns del "$LAB$n" 2>/dev/null
    done
    [ -n "${KEEP:-}" ] || rm -rf "$WORK"
    wait 2>/dev/null
}

# transport_set CONFIG-DIR: after samictl setup; TRANSPORT=sctp: DTLS over SCTP
transport_set() { sed -i '/^transport *=/d' "$1/sami.conf" && echo "transport=$TRANSPORT" >>"$1/sami.conf"; }

ctl() {
    local n=$1
    shift
    ns "fw$n" "$BUILD/samictl" --config-dir "$WORK/fw$n" "$@" || return
    [ "${1:-}" != setup ] || transport_set "$WORK/fw$n"
}

# Both daemons, as an operator sets them up: samictl setup, exchange of the peer files.
sami_setup() {
    local n
    for n in 1 2; do
        ctl $n setup --name "fw$n.example" --address "10.255.0.$n:4740" >"$WORK/setup$n" 2>&1 || { cat "$WORK/setup$n"; return 1; }
        sed -i '/^\(run-dir\|journal-dir\|vm-prefixes\|user\|grace\|lease\|control-group\) *=/d' "$WORK/fw$n/sami.conf"
        cat >>"$WORK/fw$n/sami.conf" <<CONF
run-dir=$WORK/run$n
journal-dir=$WORK/journal$n
vm-prefixes=10.0.0.0/24,2001:db8:a::/64
user=nobody
grace=1s
lease=${LEASE:-30s}
CONF
        mkdir -p "$WORK/run$n"
    done
    ctl 1 peer add "$WORK/fw2/fw2.example.peer" --both --yes --allow 10.0.0.0/24,2001:db8:a::/64 >"$WORK/peer1" 2>&1 || { cat "$WORK/peer1"; return 1; }
    ctl 2 peer add "$WORK/fw1/fw1.example.peer" --both --yes --allow 10.0.0.0/24,2001:db8:a::/64 \
        --nat-addresses 192.0.2.0/24,2001:db8:f::/64 >"$WORK/peer2" 2>&1 || { cat "$WORK/peer2"; return 1; }
    # Most cases put entries in by hand, with more time than packets would give them. Those that do not say DEFAULT_POLICY=1.
    [ -n "${DEFAULT_POLICY:-}" ] || sed -i '/^\[signer/a long-timeouts=true' "$WORK"/fw[12]/signers.d/*.conf
}

# The part of an orchestrator: what may come is announced where it will arrive (NO_EXPECT: it is not).
sami_start() {
    # The processes themselves, not those of a function, for a case that ends one.
    ip netns exec "${LAB}fw2" "$BUILD/sami-collector" -c "$WORK/fw2/sami.conf" -f >"$WORK/collector.log" 2>&1 &
    # shellcheck disable=SC2034
    COLLECTOR=$! DAEMONS=($!)
    disown # its end is no news
    ip netns exec "${LAB}fw1" "$BUILD/sami-exporter" -c "$WORK/fw1/sami.conf" -f >"$WORK/exporter.log" 2>&1 &
    DAEMONS+=($!)
    disown
    poll 10 test -S "$WORK/run1/exporter.sock" && poll 10 test -S "$WORK/run2/collector.sock" ||
        { echo "a daemon does not start"; cat "$WORK"/*.log; return 1; }
    [ -n "${NO_EXPECT:-}" ] || ctl 2 -q expect --vm 10.0.0.0/24,2001:db8:a::/64 --from fw1.example ||
        { cat "$WORK"/*.log; return 1; }
}

# lab_launch CASE COUNT SECONDS [RESULTS [client|idle]]: starts transfers, which run until lab_enough, at most for SECONDS; lab_under_way CASE...
# returns when all are under way
lab_launch() {
    local side=vm
    rm -f "$WORK/enough" "$WORK/${5:-client}-$1" # the last one's would do for lab_under_way
    case $1 in in | dnat | ipv6-in | udp | ipv6-udp) side=cli ;; y-x) side=y ;; esac
    ns $side python3 "$SRC/tests/e2e/traffic.py" "${5:-client}" "$1" "$2" "$3" "${4:-$WORK/results}" >"$WORK/${5:-client}-$1" 2>&1 &
    CLIENTS+=($!)
}
lab_under_way() {
    local case
    for case in "$@"; do poll 60 grep -qs started "$WORK/client-$case" || { cat "$WORK/client-$case"; return 1; }; done
}
lab_enough() { : >"$WORK/enough"; wait "${CLIENTS[@]}"; }
lab_traffic() { lab_launch "$@" && lab_under_way "$1"; }

# churn_start RATE SECONDS: connections come and go, opened by either side; churn_judge: after sami_move, waits for their end
churn_start() {
    local side
    for side in cli vm; do
        ns $side python3 "$SRC/tests/e2e/churn.py" server $side >"$WORK/churn-server-$side" 2>&1 &
        poll 20 grep -qs listening "$WORK/churn-server-$side" || { cat "$WORK/churn-server-$side"; return 1; }
    done
    CHURN=()
    for side in cli vm; do
        ns $side python3 "$SRC/tests/e2e/churn.py" client $side "$1" "$2" "$WORK/churn-$side.log" >"$WORK/churn-$side" 2>&1 &
        CHURN+=($!)
    done
    for side in cli vm; do poll 30 grep -qs started "$WORK/churn-$side" || { cat "$WORK/churn-$side"; return 1; }; done
}
churn_judge() {
    local side status=0
    "$BUILD/sami-table" -n "${LAB}fw2" print >"$WORK/churn-table"
    wait "${CHURN[@]}"
    "$BUILD/sami-table" -n "${LAB}fw2" print >"$WORK/churn-last"
    for side in cli vm; do
        printf '%s ' "opened by $side:"
        python3 "$SRC/tests/e2e/churn.py" judge $side "$WORK/churn-$side.log" "$WORK/churn-table" "$WORK/churn-last" "$FREEZE_AT" "$RESUME_AT" || status=1
    done
    return $status
}

# Which firewall the VM leaves; the other one is where it goes.
FROM=1

# Holds in FOLLOW; sets ID when the snapshot is confirmed.
sami_follow() {
    rm -f "$WORK/migrate" # the last one's would do for poll
    ctl $FROM migrate --vm $VM4,$VM6 --to "fw$((3 - FROM)).example" --json "$@" >"$WORK/migrate" 2>"$WORK/migrate.err" &
    # shellcheck disable=SC2034 # the caller waits for it
    MIGRATE=$!
    poll 20 grep -qs '"confirmed_snapshot":true' "$WORK/migrate" || { cat "$WORK/migrate" "$WORK/migrate.err" "$WORK"/*.log; return 1; }
    ID=$(sed -n 's/.*"id":"\([0-9a-f]*\)".*/\1/p' "$WORK/migrate" | head -n 1)
}

vm_link() { ip -n "${LAB}vm" link set v1 "$1"; ip -n "${LAB}vm" link set v2 "$1"; }

# The VM pauses, the state follows, the path moves, the VM resumes.
sami_move() {
    local n
    FREEZE_AT=$(date +%s.%N)
    for n in 1 2; do ip -n "${LAB}fw$n" link set v down; done
    if [ "${1:-}" != without ]; then
        ctl $FROM freeze "$ID" >"$WORK/freeze" 2>&1
        [ $? -eq "${FREEZE_EXIT:-0}" ] || { cat "$WORK/freeze" "$WORK"/*.log; return 1; }
    fi
    lab_raise $((3 - FROM))
    lab_path $((3 - FROM))
    RESUME_AT=$(date +%s.%N)
    lab_raise $FROM # only now: nobody reaches a paused VM the old way
}

lab_raise() { # FIREWALL: its link to the VM, with what the link has lost
    ip -n "${LAB}fw$1" link set v up
    lab_neigh "fw$1" v vm "v$1"
    ip -n "${LAB}fw$1" route replace $VM4/32 via $HOP4 dev v onlink
    ip -n "${LAB}fw$1" -6 route replace $VM6/128 via $HOP6 dev v onlink
}

# A link that was down has lost its static neighbours.
lab_neigh() { # NS DEV PEER-NS PEER-DEV
    local m
    m=$(ns "$3" cat "/sys/class/net/$4/address")
    ip -n "$LAB$1" neigh replace "$HOP4" lladdr "$m" dev "$2" nud permanent
    ip -n "$LAB$1" neigh replace "$HOP6" lladdr "$m" dev "$2" nud permanent
    m=$(ns "$1" cat "/sys/class/net/$2/address")
    ip -n "$LAB$3" neigh replace "$HOP4" lladdr "$m" dev "$4" nud permanent
    ip -n "$LAB$3" neigh replace "$HOP6" lladdr "$m" dev "$4" nud permanent
}

lab_invalid() { ns "fw${1:-2}" nft list counter inet filter invalid | sed -n 's/.*packets \([0-9]*\).*/\1/p'; }

survived() { grep -c ' ok ' "$WORK/results" 2>/dev/null || true; }
