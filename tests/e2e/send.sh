# send.sh: a third firewall, reached from firewall 1 only, and a journal of a migration from 1 to 2 with changes while it followed; sourced by the
# cases of sami-replay send.
# shellcheck shell=bash
: "${srcdir:?}"
[ -n "${LAB:-}" ] || . "$srcdir/tests/e2e/testbed.sh"
LAB_MORE=(fw3)

send_lab() { lab_start && lab_untracked fw2 && sami_setup && sami_start && send_record; }
replay() { ns fw1 "$BUILD/sami-replay" "$@"; }
entry() { ns fw1 conntrack "$@" >/dev/null 2>&1; }

# Firewall 3 and its collector.
send_third() {
    ip netns add "${LAB}fw3" && ip -n "${LAB}fw3" link set lo up
    ip link add mgmt1 netns "${LAB}fw1" type veth peer name mgmt0 netns "${LAB}fw3"
    ip -n "${LAB}fw1" addr add 10.255.1.1/24 dev mgmt1 && ip -n "${LAB}fw1" link set mgmt1 up
    ip -n "${LAB}fw3" addr add 10.255.1.3/24 dev mgmt0 && ip -n "${LAB}fw3" link set mgmt0 up
    ns fw3 sysctl -qw net.netfilter.nf_conntrack_acct=1 net.netfilter.nf_conntrack_timestamp=1 net.netfilter.nf_conntrack_events=1
    lab_ruleset | ns fw3 nft -f - && lab_untracked fw3 || return 1
    ctl 3 setup --name fw3.example --address 10.255.1.3:4740 >"$WORK/setup3" 2>&1 || { cat "$WORK/setup3"; return 1; }
    sed -i '/^\(run-dir\|journal-dir\|user\|grace\|lease\|control-group\) *=/d' "$WORK/fw3/sami.conf"
    printf '%s\n' "run-dir=$WORK/run3" "journal-dir=$WORK/journal3" user=nobody grace=1s lease=30s >>"$WORK/fw3/sami.conf"
    mkdir -p "$WORK/run3"
    ctl 1 peer add "$WORK/fw3/fw3.example.peer" --both --yes --allow 10.0.0.0/24 >"$WORK/peer1" 2>&1 || { cat "$WORK/peer1"; return 1; }
    ctl 3 peer add "$WORK/fw1/fw1.example.peer" --both --yes --allow 10.0.0.0/24,2001:db8:a::/64 \
        --nat-addresses 192.0.2.0/24,2001:db8:f::/64 >"$WORK/peer3" 2>&1 || { cat "$WORK/peer3"; return 1; }
    # What is sent is recorded, and nobody announces it: announcements are another case's (61-expect).
    sed -i '/^require-expect/d' "$WORK/fw3/signers.d/fw1.example.conf"
    printf 'require-expect=false\nlong-timeouts=true\n' >>"$WORK/fw3/signers.d/fw1.example.conf"
    ip netns exec "${LAB}fw3" "$BUILD/sami-collector" -c "$WORK/fw3/sami.conf" -f >>"$WORK/collector3.log" 2>&1 &
    # shellcheck disable=SC2034
    THIRD=$!
    disown
    poll 10 grep -qs ': ready' "$WORK/collector3.log" || # from here on it takes a SIGHUP
        { cat "$WORK/collector3.log"; return 1; }
}

# Entries of several kinds; some change, end and begin while the migration follows. Sets JOURNAL.
send_record() {
    local port
    for port in 1001 1002 1003 1004; do
        entry -I -p tcp -s $VM4 -d $CLI4 --sport $port --dport 443 --state ESTABLISHED -t 40000 -u SEEN_REPLY,ASSURED
    done
    entry -I -p tcp -s $VM4 -d $CLI4 --sport 1005 --dport 443 --src-nat 192.0.2.1:7005 --state ESTABLISHED -t 40000 -u SEEN_REPLY,ASSURED -m 7
    entry -I -p tcp -s $CLI4 -d 192.0.2.2 --sport 1006 --dport 8080 --dst-nat $VM4:9010 --state ESTABLISHED -t 40000 -u SEEN_REPLY,ASSURED
    entry -I -p tcp -s $CLI4 -d 192.0.2.2 --sport 1010 --dport 8080 --dst-nat $VM4:9010 --state ESTABLISHED -t 40000 -u SEEN_REPLY,ASSURED
    entry -I -p udp -s $VM6 -d $CLI6 --sport 1007 --dport 53 -t 3000 -u SEEN_REPLY,ASSURED
    entry -I -p tcp -s $VM6 -d $CLI6 --sport 1008 --dport 443 --state ESTABLISHED -t 40000 -u SEEN_REPLY,ASSURED
    sami_follow || return 1
    entry -D -p tcp -s $VM4 -d $CLI4 --sport 1002 --dport 443
    entry -D -p tcp -s $CLI4 -d 192.0.2.2 --sport 1010 --dport 8080 # whose end does not name the VM
    entry -U -p tcp -s $VM4 -d $CLI4 --sport 1003 --dport 443 --state FIN_WAIT -t 200
    entry -I -p udp -s $VM4 -d $CLI4 --sport 1009 --dport 53 -t 3000 -u SEEN_REPLY,ASSURED
    ctl 1 freeze "$ID" >"$WORK/freeze" 2>&1 && wait "$MIGRATE" || { cat "$WORK/freeze" "$WORK/migrate" "$WORK"/*.log; return 1; }
    # shellcheck disable=SC2034
    JOURNAL=$(ls "$WORK"/journal2/*.ipfix)
    [ "$(ns fw2 conntrack -C 2>/dev/null)" -eq 8 ] || { echo "not 8 entries at firewall 2"; ns fw2 conntrack -L; return 1; }
}

# fails EXIT PATTERN COMMAND...: COMMAND ends so, and says so
fails() {
    local exit=$1 pattern=$2 status
    shift 2
    "$@" >"$WORK/out" 2>&1
    status=$?
    if [ $status -ne "$exit" ] || ! grep -Eq -- "$pattern" "$WORK/out"; then
        echo "FAIL exit $status, not $exit, or not '$pattern': $*"
        cat "$WORK/out"
        tail -n 5 "$WORK"/*.log
        exit 1
    fi
    echo "ok   $(grep -Em1 -- "$pattern" "$WORK/out" | head -c 160)"
}
count() { ns "fw$1" conntrack -C 2>/dev/null; }
