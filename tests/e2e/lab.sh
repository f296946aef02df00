# A client, two firewalls and a VM, each in a network namespace of its own; sourced by the cases and by the demo.
#
#       cli ---- out  fw1  in ----+
#        |                         hv (a bridge) ---- vm
#        +------ out  fw2  in ----+
#                 fw1 ---- mgmt ---- fw2
#
# Both firewalls have the same rules, and the same gateway addresses and MAC on the VM's side. The path is one route a family in the
# client and one port of the bridge; moving it takes some milliseconds. Neighbours are static, so nothing but the path decides.
# A case defines case_test and ends with: lab_main "$@". It may set LAB_RULES (nft commands for both firewalls), LAB_CONF (lines for
# sami.conf) and LAB_EVENTS (nf_conntrack_events of firewall 1) before.

LAB_SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SAMI_BUILD=${SAMI_BUILD:-$(cd "$LAB_SOURCE/../.." && pwd)/build}
PATH=$PATH:/usr/sbin:/sbin

VM4=10.0.0.13 VM6=2001:db8:1::13
CLI4=198.51.100.10 CLI6=2001:db8:cc::10
SNAT4=192.0.2.1 DNAT4=192.0.2.2 MASQ4=192.0.2.3
SNAT6=2001:db8:2::1 DNAT6=2001:db8:2::2
GATEWAY_MAC=02:00:00:00:00:01 VM_MAC=02:00:00:00:00:13 CLI_MAC=02:00:00:00:00:0c
LAB_RULES=${LAB_RULES:-} LAB_CONF=${LAB_CONF:-} LAB_EVENTS=${LAB_EVENTS:-1}
LAB_NAMESPACES="cli fw1 fw2 hv vm"

die() {
    echo "FAIL: $*" >&2
    exit 1
}

skip() {
    echo "SKIP: $*"
    exit 77
}

on() { # NAMESPACE COMMAND...
    local ns=$LAB-$1
    shift
    ip netns exec "$ns" "$@"
}

wait_for() { # SECONDS COMMAND...: polls until the command succeeds
    local end=$(($(date +%s%N) + $1 * 1000000000))
    shift
    until "$@"; do
        [ "$(date +%s%N)" -lt "$end" ] || return 1
        sleep 0.02
    done
}

# --- namespaces ---

lab_need() {
    [ "$(id -u)" -eq 0 ] || skip "needs root for network namespaces"
    local tool
    for tool in ip bridge nft conntrack ping timeout; do
        command -v "$tool" >/dev/null || skip "needs $tool"
    done
    [ -x "$SAMI_BUILD/traffic" ] || skip "no $SAMI_BUILD/traffic: make tests-build first"
    local probe=samiprobe$$
    ip netns add "$probe" 2>/dev/null || skip "cannot make network namespaces here"
    if ! { ip netns exec "$probe" nft add table inet probe && ip -n "$probe" link add type bridge; } 2>/dev/null; then
        ip netns del "$probe"
        skip "this kernel has no nftables or no bridge"
    fi
    ip netns del "$probe"
}

lab_namespace() {
    local ns=$LAB-$1
    ip netns add "$ns" || die "cannot make the namespace $ns"
    ip -n "$ns" link set lo up
    on "$1" sh -c 'cd /proc/sys/net && for f in ipv6/conf/all ipv6/conf/default; do
        echo 0 >$f/accept_ra; echo 0 >$f/router_solicitations; echo 0 >$f/accept_dad; echo 1 >$f/addr_gen_mode; done
        echo 0 >ipv4/conf/all/rp_filter; echo 0 >ipv4/conf/default/rp_filter
        echo 0 >ipv4/conf/all/send_redirects; echo 0 >ipv4/conf/default/send_redirects'
}

lab_wire() { # NAMESPACE DEVICE MAC NAMESPACE DEVICE MAC
    ip -n "$LAB-$1" link add "$2" address "$3" type veth peer name "$5" address "$6" netns "$LAB-$4" || die "cannot make $2"
    ip -n "$LAB-$1" link set "$2" up
    ip -n "$LAB-$4" link set "$5" up
}

lab_ip() { # NAMESPACE, commands on standard input
    ip -n "$LAB-$1" -batch - || die "cannot set up addresses and routes of $1"
}

lab_client() {
    lab_ip cli <<COMMANDS
addr add $CLI4/32 dev lo
addr add $CLI6/128 dev lo nodad
neigh add 169.254.0.1 lladdr 02:00:00:00:01:01 dev to1 nud permanent
neigh add fe80::1 lladdr 02:00:00:00:01:01 dev to1 nud permanent
neigh add 169.254.0.1 lladdr 02:00:00:00:02:01 dev to2 nud permanent
neigh add fe80::1 lladdr 02:00:00:00:02:01 dev to2 nud permanent
route add default via 169.254.0.1 dev to1 onlink src $CLI4
route add default via fe80::1 dev to1 src $CLI6
COMMANDS
}

lab_vm() {
    ip -n "$LAB-hv" link add br0 type bridge stp_state 0 mcast_snooping 0
    ip -n "$LAB-hv" link set br0 up
    local port
    for port in fw1 fw2 vm; do ip -n "$LAB-hv" link set "$port" master br0; done
    on hv bridge link set dev fw2 state 0
    on hv bridge link set dev fw1 state 3
    on hv bridge link set dev vm state 3
    on hv bridge fdb replace $GATEWAY_MAC dev fw1 master static
    on hv bridge fdb replace $VM_MAC dev vm master static
    lab_ip vm <<COMMANDS
addr add $VM4/24 dev eth0
addr add $VM6/64 dev eth0 nodad
neigh add 10.0.0.1 lladdr $GATEWAY_MAC dev eth0 nud permanent
neigh add 2001:db8:1::1 lladdr $GATEWAY_MAC dev eth0 nud permanent
route add default via 10.0.0.1
route add default via 2001:db8:1::1
COMMANDS
}

lab_firewall() { # fw1|fw2 NUMBER
    lab_ip "$1" <<COMMANDS
addr add 10.0.0.1/24 dev in
addr add 2001:db8:1::1/64 dev in nodad
addr add 10.255.0.$2/24 dev mgmt
neigh add $VM4 lladdr $VM_MAC dev in nud permanent
neigh add $VM6 lladdr $VM_MAC dev in nud permanent
neigh add 169.254.0.2 lladdr $CLI_MAC dev out nud permanent
neigh add fe80::2 lladdr $CLI_MAC dev out nud permanent
route add default via 169.254.0.2 dev out onlink
route add default via fe80::2 dev out
COMMANDS
    on "$1" nft -f - <<RULES || die "cannot load the rules of $1"
table inet raw {
    chain prerouting { type filter hook prerouting priority -300; iifname "mgmt" notrack; }
    chain output { type filter hook output priority -300; oifname "mgmt" notrack; }
}
table inet filter {
    counter invalid { }
    chain forward {
        type filter hook forward priority 0; policy drop;
        ct state invalid counter name "invalid" drop
        ct state established,related accept
        meta l4proto { icmp, icmpv6 } ct state new accept
        iifname "out" ip daddr $VM4 meta l4proto { tcp, udp } th dport 5001-5009 ct state new accept
        iifname "out" ip6 daddr $VM6 meta l4proto { tcp, udp } th dport 5001-5009 ct state new accept
        iifname "in" meta l4proto { tcp, udp } th dport 5001-5009 ct state new accept
    }
    chain input {
        type filter hook input priority 0; policy drop;
        iifname { "lo", "mgmt" } accept
        ct state invalid counter name "invalid" drop
        ct state established,related accept
        meta l4proto icmpv6 accept
    }
}
table inet nat {
    chain prerouting {
        type nat hook prerouting priority -100;
        ip daddr $DNAT4 dnat ip to $VM4
        ip6 daddr $DNAT6 dnat ip6 to $VM6
    }
    chain postrouting {
        type nat hook postrouting priority 100;
        ip saddr $VM4 oifname "out" th dport 5002 snat ip to $SNAT4
        ip saddr $VM4 oifname "out" th dport 5003 masquerade
        ip6 saddr $VM6 oifname "out" th dport 5002 snat ip6 to $SNAT6
    }
}
$LAB_RULES
RULES
    # After the rules: where connection tracking is a module, they have loaded it.
    on "$1" sh -c "cd /proc/sys/net && echo 1 >ipv4/ip_forward && echo 1 >ipv6/conf/all/forwarding && cd netfilter &&
        echo 0 >nf_conntrack_tcp_loose && echo $LAB_EVENTS >nf_conntrack_events &&
        echo 1 >nf_conntrack_timestamp && echo 1 >nf_conntrack_acct" || die "cannot set up connection tracking of $1"
}

lab_start() {
    local name
    mkdir -p "$LAB_DIR"
    chmod 755 "$LAB_DIR" # the network processes of the daemons run as nobody
    for name in $LAB_NAMESPACES; do lab_namespace "$name"; done
    lab_wire cli to1 $CLI_MAC fw1 out 02:00:00:00:01:01
    lab_wire cli to2 $CLI_MAC fw2 out 02:00:00:00:02:01
    lab_wire hv fw1 02:00:00:00:0a:01 fw1 in $GATEWAY_MAC
    lab_wire hv fw2 02:00:00:00:0a:02 fw2 in $GATEWAY_MAC
    lab_wire hv vm 02:00:00:00:0a:03 vm eth0 $VM_MAC
    lab_wire fw1 mgmt 02:00:00:00:0b:01 fw2 mgmt 02:00:00:00:0b:02
    lab_client
    lab_vm
    lab_firewall fw1 1
    lab_firewall fw2 2
    ip -n "$LAB-fw1" addr add $MASQ4/32 dev out
}

# Ends what runs in our namespaces, and only that.
lab_stop() {
    local name pids
    for name in $LAB_NAMESPACES; do
        pids=$(ip netns pids "$LAB-$name" 2>/dev/null) && [ -n "$pids" ] && kill $pids 2>/dev/null
    done
    for name in $LAB_NAMESPACES; do
        [ -e "/run/netns/$LAB-$name" ] || continue
        wait_for 2 lab_is_empty "$name" || kill -9 $(ip netns pids "$LAB-$name") 2>/dev/null
        ip netns del "$LAB-$name" 2>/dev/null
    done
    return 0
}

lab_is_empty() {
    [ -z "$(ip netns pids "$LAB-$1" 2>/dev/null)" ]
}

# --- the path ---

lab_link() { # up|down: the VM's link, from the side of its host
    ip -n "$LAB-hv" link set vm "$1"
    # A port that comes up starts in the state that the bridge chooses.
    [ "$1" = down ] || on hv bridge link set dev vm state 3
}

lab_switch() { # [fw2|fw1]
    local to=${1:-fw2} from=fw1
    [ "$to" = fw2 ] || from=fw2
    ip -n "$LAB-$from" addr del $MASQ4/32 dev out
    ip -n "$LAB-$to" addr add $MASQ4/32 dev out
    on hv sh -c "bridge link set dev $from state 0; bridge fdb replace $GATEWAY_MAC dev $to master static; bridge link set dev $to state 3"
    lab_ip cli <<COMMANDS
route replace default via 169.254.0.1 dev to${to#fw} onlink src $CLI4
route replace default via fe80::1 dev to${to#fw} src $CLI6
COMMANDS
}

# --- traffic ---

# KIND -> who opens it, to which address and port.
lab_kind() {
    case $1 in
    in) echo "cli $VM4 5001" ;;
    out) echo "vm $CLI4 5001" ;;
    snat) echo "vm $CLI4 5002" ;;
    dnat) echo "cli $DNAT4 5001" ;;
    masquerade) echo "vm $CLI4 5003" ;;
    in6) echo "cli $VM6 5001" ;;
    out6) echo "vm $CLI6 5001" ;;
    snat6) echo "vm $CLI6 5002" ;;
    dnat6) echo "cli $DNAT6 5001" ;;
    zone) echo "cli $VM4 5004" ;;
    *) die "no kind of transfer is called $1" ;;
    esac
}
LAB_KINDS="in out snat dnat masquerade in6 out6 snat6 dnat6"

# N TCP transfers, as many of each kind and of push, pull and both as there is room for.
lab_plan() { # N SECONDS KIND...
    local n=$1 seconds=$2 i kind who address port mode rate
    shift 2
    local kinds=("$@") modes=(push pull both)
    rate=$((50000000 / n))
    [ $rate -le 2500000 ] || rate=2500000
    for ((i = 0; i < n; i++)); do
        kind=${kinds[i % ${#kinds[@]}]}
        mode=${modes[(i / ${#kinds[@]}) % 3]}
        read -r who address port < <(lab_kind "$kind")
        echo "$kind-$((i / ${#kinds[@]} + 1)),$mode,$address,$port,$rate,$((rate * seconds))" >>"$LAB_DIR/plan.$who"
    done
}

lab_plan_datagrams() { # SECONDS KIND...
    local seconds=$1 kind who address port
    shift
    for kind in "$@"; do
        read -r who address port < <(lab_kind "$kind")
        echo "udp-$kind,datagrams,$address,$port,50,$((50 * seconds))" >>"$LAB_DIR/plan.$who"
    done
}

lab_ping() { # SECONDS: both families from the client, one from the VM
    on cli ping -q -n -i 0.1 -c $(($1 * 10)) $VM4 >"$LAB_DIR/ping.in" 2>&1 &
    on cli ping -q -n -i 0.1 -c $(($1 * 10)) $VM6 >"$LAB_DIR/ping.in6" 2>&1 &
    on vm ping -q -n -i 0.1 -c $(($1 * 10)) $CLI4 >"$LAB_DIR/ping.out" 2>&1 &
}

# Starts everything that was planned and returns when every transfer moves octets.
lab_traffic() {
    local who
    for who in cli vm; do
        on $who "$SAMI_BUILD/traffic" server --ready "$LAB_DIR/serving.$who" 5001 5002 5003 5004 2>>"$LAB_DIR/traffic.log" &
    done
    wait_for 5 test -s "$LAB_DIR/serving.cli" -a -s "$LAB_DIR/serving.vm" || die "the servers did not start"
    for who in cli vm; do
        [ -s "$LAB_DIR/plan.$who" ] || continue
        on $who "$SAMI_BUILD/traffic" client --ready "$LAB_DIR/open.$who" --result "$LAB_DIR/result.$who" \
            $(cat "$LAB_DIR/plan.$who") 2>>"$LAB_DIR/traffic.log" &
    done
    for who in cli vm; do
        [ -s "$LAB_DIR/plan.$who" ] || continue
        wait_for 10 test -s "$LAB_DIR/open.$who" || die "not every transfer could be opened"
        grep -q '^open \([0-9]*\) of \1$' "$LAB_DIR/open.$who" || die "$who: $(cat "$LAB_DIR/open.$who")"
    done
}

lab_traffic_ended() {
    local who
    for who in cli vm; do
        [ ! -s "$LAB_DIR/plan.$who" ] || [ -s "$LAB_DIR/result.$who" ] || return 1
    done
}

lab_results() { # lines of all transfers
    cat "$LAB_DIR"/result.* 2>/dev/null
}

lab_count() { # tcp|udp survived|died|all
    lab_results | awk -v kind="$1" -v want="$2" '
        ($2 == "datagrams") != (kind == "udp") { next }
        { ok = $3 == "finished" && (kind == "udp" || /checksum=ok/) }
        want == "all" || (want == "survived") == ok { n++ }
        END { print n + 0 }'
}

lab_stall() { # the longest receive gap of any TCP transfer, ms
    lab_results | awk '$2 != "datagrams" { split($7, gap, "="); if (gap[2] > max) max = gap[2] } END { print max + 0 }'
}

lab_invalid() { # fw1|fw2: packets that connection tracking called INVALID, by rule and by the kernel's own count
    local by_rule by_kernel
    by_rule=$(on "$1" nft list counter inet filter invalid | awk '$1 == "packets" { print $2 }')
    by_kernel=$(on "$1" conntrack -S 2>/dev/null | grep -o ' invalid=[0-9]*' | awk -F= '{ n += $2 } END { print n + 0 }')
    [ "$by_rule" -ge "$by_kernel" ] && echo "$by_rule" || echo "$by_kernel"
}

# --- SAMI ---

ctl() { # fw1|fw2 ARGUMENTS...
    local name=$1
    shift
    on "$name" "$SAMI_BUILD/samictl" --config-dir "$LAB_DIR/$name" "$@"
}

lab_setup() {
    local name number=1 other
    for name in fw1 fw2; do
        mkdir -p "$LAB_DIR/$name"
        ctl $name setup --name $name.lab --address 10.255.0.$number:4740 >"$LAB_DIR/$name/setup.log" 2>&1 ||
            die "setup of $name: $(cat "$LAB_DIR/$name/setup.log")"
        cat >>"$LAB_DIR/$name/sami.conf" <<CONF
run-dir=$LAB_DIR/$name/run
journal-dir=$LAB_DIR/$name/journal
user=nobody
listen=10.255.0.$number:4740
vm-prefixes=10.0.0.0/24,2001:db8:1::/64
grace=1s
$LAB_CONF
CONF
        number=2
    done
    for name in fw1 fw2; do
        other=fw2
        [ $name = fw1 ] || other=fw1
        ctl $name peer add "$LAB_DIR/$other/$other.lab.peer" --both --yes --allow 10.0.0.0/24,2001:db8:1::/64 \
            --nat-addresses $SNAT4,$DNAT4,$MASQ4,$SNAT6,$DNAT6 >>"$LAB_DIR/$name/setup.log" 2>&1 ||
            die "peer add at $name: $(cat "$LAB_DIR/$name/setup.log")"
    done
}

lab_daemon() { # fw1|fw2 exporter|collector
    on "$1" "$SAMI_BUILD/sami-$2" -c "$LAB_DIR/$1/sami.conf" -f >>"$LAB_DIR/$1/$2.log" 2>&1 &
    eval "LAB_PID_$2=$!"
    wait_for 5 test -S "$LAB_DIR/$1/run/$2.sock" || die "sami-$2 did not start: $(tail -n 5 "$LAB_DIR/$1/$2.log")"
}

lab_daemons() {
    lab_daemon fw2 collector
    lab_daemon fw1 exporter
}

# A migration that holds in FOLLOW; sets LAB_ID when its snapshot is confirmed.
lab_migrate() { # OPTIONS...
    ctl fw1 migrate --vm $VM4,$VM6 --to fw2.lab --json "$@" >"$LAB_DIR/migrate.json" 2>"$LAB_DIR/migrate.log" &
    LAB_MIGRATE=$!
    wait_for 10 lab_is_confirmed || die "the snapshot was not confirmed: $(tail -n 3 "$LAB_DIR/migrate.log" "$LAB_DIR/migrate.json")"
    LAB_ID=$(lab_json id)
}

lab_is_confirmed() {
    grep -q '"confirmed_snapshot" *: *true' "$LAB_DIR/migrate.json" && grep -q '"phase" *: *"FOLLOW"' "$LAB_DIR/migrate.json" && return
    ! kill -0 "$LAB_MIGRATE" 2>/dev/null && die "the migration ended: $(tail -n 3 "$LAB_DIR/migrate.log" "$LAB_DIR/migrate.json")"
    return 1
}

lab_json() { # MEMBER: its last value in the migration's events
    grep -o "\"$1\" *: *[^,}]*" "$LAB_DIR/migrate.json" | tail -n 1 | sed 's/^[^:]*: *//; s/"//g'
}

lab_freeze() { # returns at READY; sets LAB_FREEZE_EXIT
    LAB_FREEZE_EXIT=0
    ctl fw1 freeze "$LAB_ID" >"$LAB_DIR/freeze.log" 2>&1 || LAB_FREEZE_EXIT=$?
    [ $LAB_FREEZE_EXIT -eq 0 ] || [ $LAB_FREEZE_EXIT -eq 6 ]
}

lab_move() { # the VM's link goes down, freeze, the path moves, link up; sets LAB_BLACKOUT_MS
    local begin
    begin=$(date +%s%N)
    lab_link down
    [ "${1:-}" = without ] || lab_freeze || die "freeze: exit $LAB_FREEZE_EXIT: $(cat "$LAB_DIR/freeze.log")"
    lab_switch fw2
    lab_link up
    LAB_BLACKOUT_MS=$((($(date +%s%N) - begin) / 1000000))
}

# --- what a case calls ---

# Moves the VM in the middle of N transfers of the given kinds and requires that all of them go on to their end.
lab_case_transfers() { # N KIND...
    local n=$1 survived
    shift
    lab_setup
    lab_daemons
    lab_plan "$n" 6 "$@"
    lab_traffic
    sleep 1
    lab_migrate
    lab_move
    wait_for 25 lab_traffic_ended || die "the transfers did not end"
    lab_require_survival
}

lab_require_survival() {
    local invalid
    lab_results
    cat "$LAB_DIR/freeze.log"
    echo "blackout $LAB_BLACKOUT_MS ms, longest stall $(lab_stall) ms"
    [ "$(lab_count tcp died)" -eq 0 ] || die "$(lab_count tcp died) of $(lab_count tcp all) TCP transfers died"
    [ "$(lab_count udp died)" -eq 0 ] || die "$(lab_count udp died) of $(lab_count udp all) UDP exchanges died"
    [ "$(lab_count tcp all)" -gt 0 ] || [ "$(lab_count udp all)" -gt 0 ] || die "no transfer ran"
    invalid=$(lab_invalid fw2)
    [ "$invalid" -eq 0 ] || die "$invalid packets INVALID at firewall 2"
}

lab_table() { # fw1|fw2 [OPTIONS]: the table without what differs by time, sorted
    local name=$1
    shift
    on "$name" conntrack -L -o extended,labels "$@" 2>/dev/null | sed -E 's/^(ipv[46] +[0-9]+ +[a-z0-9]+ +[0-9]+) [0-9]+ /\1 /;
        s/ (packets|bytes|use|delta-time)=[0-9]+//g; s/ +/ /g; s/ $//' | sort
}

lab_clean_up() {
    local status=$?
    trap - EXIT INT TERM
    if [ $status -ne 0 ] && [ $status -ne 77 ]; then
        for log in "$LAB_DIR"/fw?/*.log "$LAB_DIR"/*.log; do
            [ -s "$log" ] && [ "${log##*/}" != setup.log ] && printf -- '--- %s\n' "${log#"$LAB_DIR"/}" && tail -n 15 "$log"
        done >&2
    fi
    lab_stop
    rm -rf "$LAB_DIR"
    exit $status
}

lab_fresh() { # names of this run's own; everything goes away at exit and at an interrupt
    LAB=sami$$
    LAB_DIR=$(mktemp -d "${TMPDIR:-/tmp}/sami-lab.XXXXXX")
    trap lab_clean_up EXIT
    trap 'exit 130' INT TERM HUP
}

lab_main() {
    case ${1:-test} in
    test)
        lab_need
        lab_fresh
        lab_start
        case_test
        ;;
    start)
        lab_need
        LAB=samilab LAB_DIR=/tmp/samilab
        lab_start
        echo "namespaces: $(for n in $LAB_NAMESPACES; do printf '%s ' "$LAB-$n"; done)  files: $LAB_DIR"
        ;;
    stop)
        LAB=samilab LAB_DIR=/tmp/samilab
        lab_stop
        rm -rf "$LAB_DIR"
        ;;
    shell) LAB=samilab && on "${2:-vm}" "${SHELL:-/bin/sh}" ;;
    *)
        echo "usage: $(basename "$0") [test|start|stop|shell [cli|fw1|fw2|hv|vm]]" >&2
        exit 2
        ;;
    esac
}

# Run by itself it is a laboratory to play in.
if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    case_test() { echo "the namespaces can be made"; }
    lab_main "$@"
fi
