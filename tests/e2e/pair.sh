# pair.sh: two firewalls that replicate to each other; sourced by the cases.
# shellcheck shell=bash
: "${srcdir:?}"
. "$srcdir/tests/e2e/testbed.sh"

declare -A PAIR=() # "1 exporter" -> process

# pair_daemon 1|2 exporter|collector
pair_daemon() {
    rm -f "$WORK/run$1/$2.sock"
    ip netns exec "${LAB}fw$1" "$BUILD/sami-$2" -c "$WORK/fw$1/sami.conf" -f >>"$WORK/$2$1.log" 2>&1 &
    PAIR["$1 $2"]=$!
    disown
    poll 10 test -S "$WORK/run$1/$2.sock" || { cat "$WORK"/*.log; return 1; }
}

# pair_kill 1|2 [DAEMON...]: as a crash does it. A supervisor takes its children along.
pair_kill() {
    local n=$1 d
    shift
    [ $# -gt 0 ] || set -- exporter collector
    for d; do
        pkill -9 -P "${PAIR["$n $d"]}" 2>/dev/null
        kill -9 "${PAIR["$n $d"]}" 2>/dev/null
    done
}

pair_setup() { # [KEY=VALUE... for peers.d]
    local n key
    sami_setup || return 1
    for n in 1 2; do
        sed -i '/^reconnect *=/d' "$WORK/fw$n/sami.conf"
        printf 'reconnect=%s\n' "${RECONNECT:-500ms}" >>"$WORK/fw$n/sami.conf"
        sed -i '/^\(unscoped\|require-expect\|nat-addresses\)/d' "$WORK/fw$n/signers.d/fw$((3 - n)).example.conf"
        printf 'unscoped=true\nnat-addresses=192.0.2.0/24,2001:db8:f::/64\n' >>"$WORK/fw$n/signers.d/fw$((3 - n)).example.conf"
        for key; do echo "$key" >>"$WORK/fw$n/peers.d/fw$((3 - n)).example.conf"; done
    done
}

pair_start() {
    local n
    pair_setup "$@" || return 1
    for n in 1 2; do
        pair_daemon $n collector && pair_daemon $n exporter || return 1
    done
}

# What the exporter of a firewall says of its replication: pair_says 1|2 MEMBER
pair_says() {
    ctl "$1" status --json -s "$WORK/run$1/exporter.sock" 2>/dev/null |
        python3 -c 'import json, sys
for r in json.load(sys.stdin)["replications"]: print(r.get(sys.argv[1]))' "$2"
}
# What its collector says: pair_heard 1|2 MEMBER
pair_heard() {
    ctl "$1" status --json -s "$WORK/run$1/collector.sock" 2>/dev/null |
        python3 -c 'import json, sys
for m in json.load(sys.stdin)["migrations"]:
    if "replication" in m: print(m["replication"].get(sys.argv[1]))' "$2"
}
is_said() { [ "$(pair_says "$1" "$2")" = "$3" ]; }
is_heard() { [ "$(pair_heard "$1" "$2")" = "$3" ]; }

# flows 1|2 [CONNTRACK OPTIONS]: how many entries of the VM there are
flows() { local n=$1; shift; { ns "fw$n" conntrack -L "$@"; ns "fw$n" conntrack -L -f ipv6 "$@"; } 2>/dev/null | grep -cE "$VM4|$VM6|192\.0\.2\."; }
has_flows() { [ "$(flows "$1")" -eq "$2" ]; }

# One entry made by hand: flow 1|2 PORT [STATE [TIMEOUT [OPTIONS]]]
flow() {
    ns "fw$1" conntrack -I -p tcp -s $VM4 -d $CLI4 --sport "$2" --dport 443 --state "${3:-ESTABLISHED}" -t "${4:-500}" -u SEEN_REPLY,ASSURED "${@:5}" >/dev/null 2>&1
}
has_flow() { ns "fw$1" conntrack -L -p tcp 2>/dev/null | grep -q " sport=$2 dport=443 "; }
has_no_flow() { ! has_flow "$@"; }
