# shellcheck shell=bash
# lab.sh: two hosts, each behind its own firewall, and a real virtual machine that QEMU migrates from one to the other. Sourced after
# testbed.sh and tests/packaging/bus.sh.
#
#   cli --- fw1 --- h1 (bridge, tap, QEMU)     The client's path goes through fw1 or fw2. Both firewalls have the guest's gateway with the
#      \--- fw2 --- h2 (bridge, tap, QEMU)     same address and MAC. h1 and h2 have a link of their own for QEMU's migration, fw1 and fw2
#                                              one for ours.

GUEST_MAC=02:53:41:4d:49:0d GATEWAY_MAC=02:53:41:4d:49:01 GATEWAY=169.254.0.254
VM_IMAGE=$BUILD/vm
VM_FLOWS=${VM_FLOWS:-4} # connections each way

vmlab_need() {
    local reason
    lab_need
    command -v qemu-system-x86_64 >/dev/null || lab_skip "no qemu-system-x86_64 (package qemu-system-x86)"
    qemu-system-x86_64 -object help 2>/dev/null | grep -q dbus-vmstate || lab_skip "this QEMU has no dbus-vmstate object"
    command -v dbus-daemon >/dev/null || lab_skip "no dbus-daemon (package dbus)"
    [ -c /dev/net/tun ] || lab_skip "no /dev/net/tun"
    mkdir -p "$VM_IMAGE"
    reason=$("$SRC/tests/e2e/vm/image.sh" "$VM_IMAGE" 2>&1) || { [ $? -eq 77 ] && lab_skip "${reason#SKIP: }"; echo "$reason"; return 1; }
}

vmlab_path() { printf 'route replace default via %s dev c%s onlink src %s\n' "$HOP4" "$1" "$CLI4" | ip -n "${LAB}cli" -batch -; }

vmlab_host() { # N
    local f=fw$1 h=h$1
    link cli "c$1" "$f" c
    ip link add v netns "$LAB$f" address $GATEWAY_MAC type veth peer name u netns "$LAB$h"
    ip -n "$LAB$h" link add br0 type bridge || lab_skip "this kernel has no bridges"
    ip -n "$LAB$h" tuntap add tap0 mode tap || lab_skip "no tap devices here"
    ip -n "$LAB$h" link set u master br0 up
    ip -n "$LAB$h" link set tap0 master br0 up
    ip -n "$LAB$h" link set br0 up
    ip -n "$LAB$f" link set v up
    ip -n "$LAB$f" addr add $GATEWAY/32 dev v
    ip -n "$LAB$f" neigh replace $VM4 lladdr $GUEST_MAC dev v nud permanent
    ip -n "$LAB$f" route add $VM4/32 dev v
    ip -n "$LAB$f" route add $CLI4/32 via $HOP4 dev c onlink
    ns "$f" sysctl -qw net.ipv4.ip_forward=1 net.netfilter.nf_conntrack_tcp_loose=0 net.netfilter.nf_conntrack_acct=1 \
        net.netfilter.nf_conntrack_timestamp=1 net.netfilter.nf_conntrack_events=1
    lab_ruleset | ns "$f" nft -f -
}

vmlab_pair() { # DEVICE NS NS NETWORK
    ip link add "$1" netns "$LAB$2" type veth peer name "$1" netns "$LAB$3"
    ip -n "$LAB$2" addr add "$4.1/24" dev "$1"
    ip -n "$LAB$3" addr add "$4.2/24" dev "$1"
    ip -n "$LAB$2" link set "$1" up
    ip -n "$LAB$3" link set "$1" up
}

vmlab_start() {
    local n
    vmlab_need || return 1
    trap vmlab_stop EXIT
    trap 'exit 130' INT TERM
    for n in cli fw1 fw2 h1 h2; do
        ip netns add "$LAB$n"
        ns "$n" sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 \
            net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.send_redirects=0
        ip -n "$LAB$n" link set lo up
    done
    vmlab_host 1 && vmlab_host 2 || return 1
    vmlab_pair mgmt0 fw1 fw2 10.255.0
    vmlab_pair mig0 h1 h2 10.254.0
    ip -n "${LAB}cli" addr add $CLI4/32 dev lo
    vmlab_path 1
}

vmlab_stop() {
    local n
    bus_stop
    for n in h1 h2; do
        ip netns pids "$LAB$n" 2>/dev/null | xargs -r kill -9 2>/dev/null
        ip netns del "$LAB$n" 2>/dev/null
    done
    lab_stop
}

# vm_start N OPTIONS...: QEMU of host N, with the dbus-vmstate object if the host's bus is there
vm_start() {
    local n=$1 options=()
    shift
    [ -S "$WORK/bus-h$n" ] && options+=(-object "dbus-vmstate,id=sami0,addr=$(bus_address "h$n"),id-list=sami")
    ns "h$n" qemu-system-x86_64 -accel tcg -machine pc -cpu qemu64 -smp 1 -m 256 -nodefaults -no-user-config -display none \
        -kernel "$VM_IMAGE/vmlinuz" -initrd "$VM_IMAGE/initrd" \
        -append "console=ttyS0 quiet panic=-1 sami.address=$VM4 sami.gateway=$GATEWAY sami.peer=$CLI4 sami.count=$VM_FLOWS" \
        -netdev tap,id=n0,ifname=tap0,script=no,downscript=no -device "virtio-net-pci,netdev=n0,mac=$GUEST_MAC,romfile=" \
        -serial "file:$WORK/console$n" -qmp "unix:$WORK/h$n.qmp,server=on,wait=off" -qmp "unix:$WORK/h$n.sami,server=on,wait=off" \
        "${options[@]}" "$@" >"$WORK/qemu$n.log" 2>&1 &
    poll 20 test -S "$WORK/h$n.sami" || { cat "$WORK/qemu$n.log"; return 1; }
}

qmp() { python3 "$SRC/tests/e2e/vm/qmp.py" "$WORK/h$1.qmp" "${@:2}"; }

# Boots the guest on host 1 with its connections; host 2 waits for it.
vm_boot() {
    vm_start 2 -incoming tcp:10.254.0.2:4444 || return 1
    vm_start 1 || return 1
    # Not by ns: its process is a shell's, and this one gets a signal.
    ip netns exec "${LAB}cli" python3 "$SRC/tests/e2e/vm/traffic.py" $CLI4 $VM4 "$VM_FLOWS" "$WORK/results" >"$WORK/traffic" 2>&1 &
    TRAFFIC=$!
    poll 90 grep -q 'started\|failed' "$WORK/traffic" && grep -q started "$WORK/traffic" ||
        { cat "$WORK/traffic" "$WORK/console1" "$WORK/qemu1.log"; return 1; }
}

# QEMU migrates; the path follows in the pause. Returns when the VM has moved and each connection's fate is known.
vm_move() {
    qmp 1 migrate tcp:10.254.0.2:4444 >"$WORK/migration" 2>&1 &
    local migration=$!
    poll 60 grep -q '^stop\|^failed' "$WORK/migration" || { cat "$WORK/migration"; return 1; }
    vmlab_path 2
    wait $migration || { cat "$WORK/migration" "$WORK"/qemu*.log; return 1; }
    qmp 2 wait running || { cat "$WORK"/qemu*.log; return 1; }
    kill -USR1 $TRAFFIC
}

vm_judge() { wait "$TRAFFIC" || { cat "$WORK/traffic"; return 1; }; }

# The adapters of both hosts, as an operator runs them.
vm_adapters() { # OPTIONS...
    vmstate_start h2 2 --on-late abort "$@" || return 1
    vmstate_start h1 1 --vm $VM4 --to fw2.example --qmp "$WORK/h1.sami" "$@" || return 1
}

# vm_round with|without: from nothing to the fate of each connection, in $WORK/results
vm_round() {
    vmlab_start || return 1
    if [ "$1" = with ]; then sami_setup && sami_start && bus_start h1 && bus_start h2 || return 1; fi
    vm_boot || return 1
    if [ "$1" = with ]; then vm_adapters --deadline 5s || return 1; fi
    vm_move && vm_judge
}

# QEMU's word: downtime and total time in ms
vm_times() { awk '/^completed/ { print "downtime " $2 " ms, total " $3 " ms" }' "$WORK/migration"; }
