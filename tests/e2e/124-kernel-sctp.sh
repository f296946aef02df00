#!/usr/bin/env bash
# DTLS over SCTP with the Linux kernel's SCTP, in a guest of QEMU. First its sockets against our userland SCTP outside, in UDP, in both
# directions: migrations to DONE, a cut in the middle of them, certificates that are not the peer's, and a look at every packet. Then the
# transport's own cases over its sockets. Then the kernel at both ends, in two namespaces of the guest, over IP and with two addresses each.
set -uo pipefail
# shellcheck disable=SC2034 # testbed.sh reads them
TRANSPORT=sctp LEASE=120s
. "${srcdir:-.}/tests/e2e/testbed.sh"
. "$SRC/tests/e2e/vm/firewall.sh"
[ -n "${SAMI_LONG:-}" ] || lab_skip "boots a virtual machine under emulation: ./run check --long kernel-sctp"
FLOWS=5000
CASE_NAME='(start)'
begin() { CASE_NAME=$1; echo "case $1 (${SECONDS} s)"; }
fail() {
    echo "FAIL $CASE_NAME: $*"
    tail -n 1 "$WORK/migrate" | cut -c 1-600
    tail -n 20 "$WORK"/*.log "$WORK/console"
    guest "for f in /tmp/*.log; do echo \"== \$f\"; tail -n 20 \$f; done"
    exit 1
}

# ---- either firewall, wherever it is ----

# At the end firewall 1 is in the guest too, each in a namespace there.
IS_INSIDE=''
at() { # FIREWALL PROGRAM ARGUMENT...
    local n=$1
    shift
    if [ $IS_INSIDE ]; then guest "/bin/ip netns exec fw$n $*"; elif [ "$n" = 2 ]; then guest "$*"; else ns fw1 "$@"; fi
}
ctl_at() { local n=$1; shift; at "$n" "$BUILD/samictl" --config-dir "$WORK/fw$n" "$@"; }
daemon() { # FIREWALL PROGRAM [CONFIGURATION]
    local log=${2#sami-}$1.log command="$BUILD/$2 -c ${3:-$WORK/fw$1}/sami.conf -f"
    if [ $IS_INSIDE ]; then
        guest "/bin/ip netns exec fw$1 $command >>/tmp/$log 2>&1 </dev/null &"
    elif [ "$1" = 2 ]; then
        guest "$command >>/tmp/$log 2>&1 </dev/null &"
    else
        # shellcheck disable=SC2086
        ip netns exec "${LAB}fw1" $command >>"$WORK/$log" 2>&1 &
        disown
    fi
}
said() { # FIREWALL PROGRAM TEXT
    if [ $IS_INSIDE ] || [ "$1" = 2 ]; then guest "grep -q '$3' /tmp/$2$1.log"; else grep -q "$3" "$WORK/$2$1.log"; fi
}
end_outside() {
    local pid
    for pid in $(ip netns pids "${LAB}fw1"); do
        case $(cat "/proc/$pid/comm" 2>/dev/null) in sami-exporter | sami-collector) kill "$pid" ;; esac
    done
    poll 20 ended_outside
}
ended_outside() { ! ip netns pids "${LAB}fw1" | xargs -I{} cat /proc/{}/comm 2>/dev/null | grep -q '^sami-'; }
started() { at "$1" test -S "$WORK/run$1/$2.sock"; }
start() { # FIREWALL...: both daemons
    local n
    for n in "$@"; do
        daemon "$n" sami-collector
        daemon "$n" sami-exporter
    done
    for n in "$@"; do
        poll 30 started "$n" collector && poll 30 started "$n" exporter || fail "no daemons at firewall $n"
        ctl_at "$n" -q expect --vm 10.0.0.0/24,2001:db8:a::/64 --from "fw$((3 - n)).example" || fail "expect"
    done
}
counter() { ctl_at "$1" stats --json | grep -o "\"$2\" *: *[0-9]*" | head -n 1 | sed 's/.*: *//'; } # the exporter's, which comes first
counted() { [ "$(counter "$1" "$2")" -ge "$3" ] 2>/dev/null; }
table() { # FIREWALL ARGUMENT...
    local n=$1
    shift
    at "$n" "$BUILD/sami-table" "$@"
}
# Both tables. What is left of a timeout may differ by seconds, for the clocks do, and by the time that it took to read both; flags by what the move
# lets pass for a while.
equal() {
    local n begun=$SECONDS
    for n in 1 2; do table $n print >"$WORK/table$n" || return 1; done
    awk -v flows=$FLOWS -v later=$((SECONDS - begun + 1)) '{ left = $NF; sub(/ timeout [0-9]+$/, ""); sub(/ flags [0-9a-f\/]+/, "") }
        NR == FNR { one[$0] = left; n++; next }
        !($0 in one) || one[$0] - left > 10 + later || left - one[$0] > 10 { print "differs:", $0, left, one[$0]; bad++ }
        { m++ }
        END { print n, "and", m, "entries,", bad + 0, "differ, read in", later, "s"; exit bad || n != flows || m != flows }' "$WORK/table1" "$WORK/table2" >"$WORK/compare"
}

# ---- one migration ----

follow() { # FROM
    table "$1" fill $FLOWS --kind mixed >/dev/null || fail "fill"
    rm -f "$WORK/migrate"
    GUEST_LIMIT=200 ctl_at "$1" migrate --vm $VM4,$VM6 --to "fw$((3 - $1)).example" --json --deadline 120s >"$WORK/migrate" 2>&1 &
    MIGRATE=$!
    poll 30 grep -qs '"confirmed_snapshot":true' "$WORK/migrate" || fail "no snapshot"
    ID=$(sed -n 's/.*"id":"\([0-9a-f]*\)".*/\1/p' "$WORK/migrate" | head -n 1)
}
finish() { # FROM
    ctl_at "$1" freeze "$ID" >"$WORK/freeze" 2>&1 || { cat "$WORK/freeze"; fail "freeze"; }
    wait $MIGRATE || fail "migrate ended with $?"
    equal || { tail -n 5 "$WORK/compare"; fail "the tables differ"; }
    table 1 flush && table 2 flush
}

# Firewall 1's side of the path, for it is a namespace with nft in either case.
block() {
    ns fw1 nft -f - <<'NFT'
table inet cut {
    chain in { type filter hook input priority 0; iifname "mgmt0" udp sport 9899 drop; iifname "mgmt0" udp dport 9899 drop; }
    chain out { type filter hook output priority 0; oifname "mgmt0" udp sport 9899 drop; oifname "mgmt0" udp dport 9899 drop; }
}
NFT
}
mend() { ns fw1 nft delete table inet cut; }

moves() { # FROM
    begin "fw$1 to fw$((3 - $1)): a migration"
    follow "$1"
    finish "$1"
    begin "fw$1 to fw$((3 - $1)): a cut, and the migration goes on"
    lost=$(counter "$1" sessions_lost_total)
    resumed=$(counter "$1" sessions_resumed_total)
    follow "$1"
    block
    poll 30 counted "$1" sessions_lost_total $((lost + 1)) || fail "the exporter does not notice"
    poll 30 said $((3 - $1)) collector 'the peer answers no more' || fail "the collector does not notice"
    mend
    poll 30 counted "$1" sessions_resumed_total $((resumed + 1)) || fail "not resumed"
    finish "$1"
}

guest_lab
sami_setup || exit 1
for n in 1 2; do
    sed -i '/^\(sctp-backend\|reconnect\|grace\) *=/d' "$WORK/fw$n/sami.conf"
    sed -i '/^nat-addresses=/d; /^\[signer/a nat-addresses=192.0.2.0/24,2001:db8:f::/64' "$WORK/fw$n"/signers.d/*.conf
    printf 'reconnect=200ms\ngrace=1s\nsctp-backend=%s\n' "$([ $n = 1 ] && echo userland || echo kernel)" >>"$WORK/fw$n/sami.conf"
done
guest_boot "$WORK"/{fw1,fw2,run1,run2} -- \
    "$BUILD"/{sami-{collector,exporter,table},samictl,test-transport-kernel} /bin/ip /usr/sbin/nft || exit 1
skew=$(($(guest date +%s) - $(date +%s)))
[ ${skew#-} -le 3 ] || fail "the guest's clock is $skew s wrong"

ip netns exec "${LAB}fw1" python3 "$SRC/tests/e2e/sctp-audit.py" mgmt0 9899 "$WORK/watching" >"$WORK/audit" 2>&1 &
AUDIT=$!
poll 10 test -e "$WORK/watching" || { cat "$WORK/audit"; exit 1; }
start 1 2
said 2 collector 'by the kernel backend' || fail "the guest does not use its kernel"
moves 1
moves 2
begin "no DATA without AUTH"
kill $AUDIT
wait $AUDIT || { cat "$WORK/audit"; fail "the audit"; }
cat "$WORK/audit"
grep -q 'application records' "$WORK/audit" || fail "nothing was seen"

# Firewall 1 with other keys: the guest believes it in neither role.
begin "a certificate that is not the peer's"
end_outside
ns fw1 "$BUILD/samictl" --config-dir "$WORK/other" setup --name fw1.example --address 10.255.0.1:4740 >"$WORK/setup3" 2>&1 &&
    ns fw1 "$BUILD/samictl" --config-dir "$WORK/other" peer add "$WORK/fw2/fw2.example.peer" --both --yes --allow 10.0.0.0/24 >>"$WORK/setup3" 2>&1 ||
    { cat "$WORK/setup3"; fail "setup"; }
cp "$WORK/fw1/sami.conf" "$WORK/other/sami.conf"
sed -i "s,$WORK/fw1/,$WORK/other/,g" "$WORK/other/sami.conf"
daemon 1 sami-collector "$WORK/other"
daemon 1 sami-exporter "$WORK/other"
poll 30 started 1 collector && poll 30 started 1 exporter || fail "no daemons"
refused() { # FIREWALL TEXT
    ctl_at "$1" migrate --vm $VM4 --to "fw$((3 - $1)).example" --now --deadline 10s >"$WORK/refused" 2>&1 && fail "firewall $1 migrates"
    grep -q "$2" "$WORK/refused" || { cat "$WORK/refused"; fail "firewall $1 does not say why"; }
}
refused 1 'the peer refused our certificate'
refused 2 'that is pinned for no such peer'
said 2 collector 'refused a connection from 10.255.0.1:.*that is pinned for no such peer' || fail "the guest's log does not say it"

begin "the transport's own cases, over the kernel's sockets"
GUEST_LIMIT=400 guest "G_DEBUG=fatal-criticals $BUILD/test-transport-kernel" >"$WORK/unit" ||
    { grep -v passed "$WORK/unit"; fail "test-transport-kernel"; }
grep -A 3 'Run Summary' "$WORK/unit"

# ---- the kernel at both ends, over IP ----

inside() { guest "$*" || fail "in the guest: $*"; }
#   fw1 (namespace in the guest), m0 and w0 --- m0 and w0, fw2 (namespace in the guest)
begin "kernel to kernel, over IP"
inside 'killall sami-exporter sami-collector; while killall -0 sami-exporter sami-collector 2>/dev/null; do sleep 0.1; done; rm -f /tmp/*.log'
inside 'set -e; ip=/bin/ip; $ip netns add fw1; $ip netns add fw2
for d in m0 w0; do $ip link add $d netns fw1 type veth peer name $d netns fw2; done
for n in 1 2; do $ip -n fw$n addr add 10.255.0.$n/24 dev m0; $ip -n fw$n addr add 10.254.0.$n/24 dev w0
for d in lo m0 w0; do $ip -n fw$n link set $d up; done
$ip netns exec fw$n sysctl -qw net.netfilter.nf_conntrack_events=1; done'
inside "sed -i '/^sctp-/d' $WORK/fw?/sami.conf; for n in 1 2; do printf 'sctp-udp-port=0\nsctp-backend=auto\n' >>$WORK/fw\$n/sami.conf; done"
IS_INSIDE=yes
start 1 2
said 2 collector 'SCTP over IP by the kernel backend' && said 1 exporter 'SCTP over IP by the kernel backend' ||
    fail "not the kernel, or not over IP"
follow 1
finish 1
# The state of a path (net/sctp/proc.c): 2 is active, 0 is not.
path() { at 1 cat /proc/net/sctp/remaddr | awk -v state="$2" -v address="$1" '$1 == address { n += $8 == state } END { exit !n }'; }
begin "kernel to kernel: the address in use is cut off, and the association goes on by the other one"
follow 1
# The second one counts only once a heartbeat has confirmed it (RFC 9260 §5.4).
poll 20 path 10.255.0.2 2 && poll 20 path 10.254.0.2 2 || fail "not two paths: $(at 1 cat /proc/net/sctp/remaddr)"
inside '/bin/ip netns exec fw1 /usr/sbin/nft add table inet cut &&
    /bin/ip netns exec fw1 /usr/sbin/nft "add chain inet cut in { type filter hook input priority 0; iifname m0 drop; }"'
poll 20 path 10.255.0.2 0 || fail "nobody notices: $(at 1 cat /proc/net/sctp/remaddr)"
path 10.254.0.2 2 || fail "the other path is not active"
finish 1
[ "$(counter 1 sessions_lost_total)" -eq 0 ] || fail "the session was lost"
echo "all of it in $SECONDS s"
