# shellcheck shell=bash
# firewall.sh: firewall 2 of the lab is a guest of QEMU with Linux of its own; firewall 1 is a namespace, as elsewhere. Sourced after testbed.sh.
#
#   fw1 (namespace), mgmt0: a tap, 10.255.0.1 --- eth0, 10.255.0.2: fw2 (guest)
#
# The guest has no files but those that it booted with; they have the paths that they have here, so that a command is the same at either firewall.

GUEST_LIMIT=60 # seconds a command
VM_IMAGE=$BUILD/vm

guest() { # SHELL-COMMAND: its output, both kinds, as it comes, and its status
    local line status=124
    while IFS= read -r line; do
        case $line in @[0-9]*) status=${line#@} ;; *) printf '%s\n' "$line" ;; esac
    done < <(# shellcheck disable=SC2016
        ns fw1 timeout "$GUEST_LIMIT" bash -c \
            'exec 3<>/dev/tcp/10.255.0.2/9 && printf "exec 2>&1\n%s\necho \"@\$?\"\nexit\n" "$1" >&3 && cat <&3 2>/dev/null' guest "$*" 2>&1)
    return "$status"
}

guest_need() {
    lab_need
    command -v qemu-system-x86_64 >/dev/null || lab_skip "no qemu-system-x86_64 (package qemu-system-x86)"
    [ -c /dev/net/tun ] || lab_skip "no /dev/net/tun"
}

guest_lab() {
    guest_need
    trap lab_stop EXIT
    trap 'exit 130' INT TERM
    ip netns add "${LAB}fw1"
    ip netns add "${LAB}fw2" # samictl makes firewall 2's files in it, before the guest boots
    ip -n "${LAB}fw1" link set lo up
    ip -n "${LAB}fw1" tuntap add mgmt0 mode tap || lab_skip "no tap devices here"
    ip -n "${LAB}fw1" addr add 10.255.0.1/24 dev mgmt0
    ip -n "${LAB}fw1" link set mgmt0 up
    ns fw1 sysctl -qw net.netfilter.nf_conntrack_events=1 net.netfilter.nf_conntrack_acct=1 net.netfilter.nf_conntrack_timestamp=1
}

# guest_boot FILE... -- PROGRAM...: what the guest has, see firewall-image.sh
guest_boot() {
    local reason
    mkdir -p "$VM_IMAGE"
    reason=$("$SRC/tests/e2e/vm/firewall-image.sh" "$VM_IMAGE" "$@" 2>&1) ||
        { [ $? -eq 77 ] && lab_skip "${reason#SKIP: }"; echo "$reason"; return 1; }
    ns fw1 qemu-system-x86_64 -accel tcg -machine pc -cpu max -smp 1 -m 512 -nodefaults -no-user-config -display none -rtc base=utc \
        -kernel "$VM_IMAGE/vmlinuz" -initrd "$VM_IMAGE/initrd-firewall" \
        -append "console=ttyS0 quiet panic=-1 sami.address=10.255.0.2/24" \
        -netdev tap,id=n0,ifname=mgmt0,script=no,downscript=no -device virtio-net-pci,netdev=n0,romfile= \
        -serial "file:$WORK/console" >"$WORK/qemu.log" 2>&1 &
    poll 60 grep -qs 'guest: ready' "$WORK/console" && poll 10 guest true || { cat "$WORK/console" "$WORK/qemu.log"; return 1; }
    grep 'guest: ' "$WORK/console"
}
