# many.sh: firewalls in namespaces of their own on one management network, each with both daemons if it needs them; sourced after testbed.sh.
# shellcheck shell=bash
#
# many_start N: fw1 … fwN; many_pair A B: each may send to the other. A VM of firewall A is 10.A.0.K.
many_vm() { echo "10.$1.0.$2"; }

many_start() {
    local i
    lab_need
    trap lab_stop EXIT
    trap 'exit 130' INT TERM
    ip netns add "${LAB}net"
    LAB_MORE=(net)
    ip -n "${LAB}net" link add mgmt type bridge
    ip -n "${LAB}net" link set mgmt up
    for ((i = 1; i <= $1; i++)); do
        ip netns add "${LAB}fw$i"
        LAB_MORE+=("fw$i")
        ip link add mgmt0 netns "${LAB}fw$i" type veth peer name "f$i" netns "${LAB}net"
        ip -n "${LAB}net" link set "f$i" master mgmt
        ip -n "${LAB}net" link set "f$i" up
        ip -n "${LAB}fw$i" addr add "10.255.0.$i/24" dev mgmt0
        ip -n "${LAB}fw$i" link set mgmt0 up
        ip -n "${LAB}fw$i" link set lo up
        ns "fw$i" sysctl -qw net.netfilter.nf_conntrack_acct=1 net.netfilter.nf_conntrack_timestamp=1 net.netfilter.nf_conntrack_events=1
        lab_untracked "fw$i" || return 1
        ctl "$i" setup --name "fw$i.example" --address "10.255.0.$i:4740" >"$WORK/setup$i" 2>&1 || { cat "$WORK/setup$i"; return 1; }
        sed -i '/^\(run-dir\|journal-dir\|vm-prefixes\|user\|grace\|lease\|control-group\|max-migrations\|deadline\) *=/d' "$WORK/fw$i/sami.conf"
        cat >>"$WORK/fw$i/sami.conf" <<CONF
run-dir=$WORK/run$i
journal-dir=$WORK/journal$i
vm-prefixes=10.0.0.0/8
user=nobody
grace=1s
lease=60s
deadline=60s
max-migrations=${MANY_MIGRATIONS:-256}
CONF
        mkdir -p "$WORK/run$i"
    done
}

many_pair() { # A B: each may send to the other
    local one
    for one in "$1 $2" "$2 $1"; do
        # shellcheck disable=SC2086
        set -- $one
        ctl "$1" peer add "$WORK/fw$2/fw$2.example.peer" --both --yes --allow 10.0.0.0/8 --nat-addresses 192.0.2.0/24,198.51.100.0/24 \
            >"$WORK/pair" 2>&1 || { cat "$WORK/pair"; return 1; }
        # Announcements are another case's (61-expect): here many move at once.
        sed -i '/^require-expect=/d' "$WORK/fw$1/signers.d/fw$2.example.conf"
        echo 'require-expect=false' >>"$WORK/fw$1/signers.d/fw$2.example.conf"
    done
}

many_daemon() { # exporter|collector FIREWALL
    ip netns exec "${LAB}fw$2" "$BUILD/sami-$1" -c "$WORK/fw$2/sami.conf" -f >"$WORK/$1$2.log" 2>&1 &
    disown
    poll 20 test -S "$WORK/run$2/$1.sock" || { cat "$WORK/$1$2.log"; return 1; }
}

many_fill() { # FIREWALL VM N: flows of its own
    "$BUILD/sami-table" -n "${LAB}fw$1" fill "$3" --vm "$2" --from "${4:-0}" >/dev/null
}

# One line a migration: EXIT MILLISECONDS FROM VM
many_move() { # FROM VM TO
    (
        start=$(date +%s%N)
        ctl "$1" migrate --vm "$2" --to "fw$3.example" --now --json >"$WORK/move-$1-$2" 2>&1
        status=$?
        echo "$status $((($(date +%s%N) - start) / 1000000)) $1 $2" >>"$WORK/moves"
    ) &
    MOVES+=($!)
}

# Spread of the durations, and every exit status; 1 if one is not 0 or one is missing.
many_report() { # EXPECTED
    sort -n -k2 "$WORK/moves" | awk -v expected="$1" '
        { n++; bad += $1 != 0; ms[n] = $2 }
        $1 != 0 { print "exit " $1 " from firewall " $3 ", VM " $4 }
        END {
            printf "%d migrations, %d failed; to DONE: shortest %d ms, median %d ms, longest %d ms\n", n, bad, ms[1], ms[int((n + 1) / 2)], ms[n]
            exit n != expected || bad > 0
        }'
}

# Peak in KiB of a daemon's process: peak FIREWALL sami-exporter|sami-collector network|state
many_peak() {
    local pid parent
    for pid in $(ip netns pids "${LAB}fw$1"); do
        [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ] || continue
        parent=$(awk '/^PPid:/ { print $2 }' "/proc/$pid/status")
        [ "$(cat "/proc/$parent/comm")" = "$2" ] || continue
        awk -v want="$3" '/^Uid:/ { is = $2 == 0 ? "state" : "network" } /^VmHWM:/ { peak = $2 } END { if (is == want) print peak }' "/proc/$pid/status"
    done
}
many_network_of() { # FIREWALL COMMAND: the process without privileges
    local pid
    for pid in $(ip netns pids "${LAB}fw$1"); do
        [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ] && [ "$(stat -c %u "/proc/$pid")" -ne 0 ] && echo "$pid"
    done
}
