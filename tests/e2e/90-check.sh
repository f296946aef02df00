#!/usr/bin/env bash
# samictl check: each finding provoked, with its severity, host and exit status, and gone after its fix. Where the finding names a whole command,
# that very command is the fix. What a check does leaves the destination's table and counters as they were, and nobody gets one who could not migrate.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_start && sami_setup || exit 1
lab_untracked fw1 && lab_untracked fw2 || exit 1
sed -i 's/^vm-prefixes=.*/vm-prefixes=10.0.0.0\/24,10.9.0.0\/24,2001:db8:a::\/64/' "$WORK/fw1/sami.conf"
SEEN= # ids that a row has provoked
N=0 N_FAILED=0
fail() { echo "FAIL $*"; N_FAILED=$((N_FAILED + 1)); }
insert() { # FIREWALL ARGUMENTS...: an open TCP flow
    local n=$1
    shift
    ns "fw$n" conntrack -I -p tcp --dport 443 --state ESTABLISHED -t 5000 -u SEEN_REPLY,ASSURED "$@" >/dev/null 2>"$WORK/insert" ||
        { cat "$WORK/insert"; exit 1; }
}
flow() { insert "$1" -s $VM4 -d $CLI4 --sport "${@:2}"; }
drop() { ns "fw$1" conntrack -D -p tcp --dport 443 --sport "$2" "${@:3}" >/dev/null 2>&1; } # FIREWALL PORT

set_key() { sed -i "/^#* *$2 *=/d; /^\[/a $2=$3" "$1"; } # FILE KEY VALUE
# shellcheck disable=SC2034 # rows use it
SIGNER=$WORK/fw2/signers.d/fw1.example.conf
for n in 1 2; do ip -n "${LAB}fw$n" addr add 192.0.2.50/32 dev lo; done # a translated address that both have
insert 1 -s $VM4 -d $CLI4 --sport 999 # from before the daemons: silent
sami_start || exit 1
EXPORTER=${DAEMONS[1]}
for n in 1 2; do ns fw$n sysctl -qw net.netfilter.nf_conntrack_tcp_be_liberal=0; done
flow 1 1000

check() { ctl 1 check --vm "${VM:-$VM4}" ${TO---to fw2.example} --json >"$WORK/answer" 2>"$WORK/answer.err"; STATUS=$?; }
# All findings, a line each: id severity host count fix
findings() {
    python3 -c 'import json, os, sys
d = json.load(open(sys.argv[1]))
assert d["v"] == 1 and d["verdict"] in ("ok", "warnings", "loss") and isinstance(d["counts"], dict)
for f in d["findings"]:
    if f["id"] == "sandbox-partial" and os.environ.get("SAMI_COVERAGE"): # that build has none
        continue
    assert all(isinstance(f[k], str) for k in ("id", "severity", "host", "role", "subject", "text", "fix")) and f["text"]
    print(f["id"], f["severity"], f["host"], f["count"], f["fix"])' "$WORK/answer"
}
ALSO=none # what may be found besides
others() { grep -v "^$1 \|^$ALSO " "$WORK/findings"; }
samictl() { ctl "$ON" -q "$@"; } # in a fix

# row ID SEVERITY HOST COUNT EXIT PROVOKE FIX: FIX "-" is what the finding says, run on HOST. While it lasts it is the only finding.
row() {
    local id=$1 severity=$2 host=$3 count=$4 code=$5 provoke=$6 fix=$7 told
    N=$((N + 1))
    SEEN="$SEEN $id"
    ON=${host#fw} ON=${ON%.example}
    eval "$provoke" || { fail "$id: cannot be provoked"; return; }
    check
    findings >"$WORK/findings" || { fail "$id: no answer (exit $STATUS)"; cat "$WORK/answer" "$WORK/answer.err"; return; }
    grep -q "^$id $severity $host $count " "$WORK/findings" || { fail "$id: not $severity at $host of $count sessions:"; cat "$WORK/findings"; }
    [ -z "$(others "$id")" ] || { fail "$id: and others:"; others "$id"; }
    [ $STATUS -eq "$code" ] || fail "$id: exit $STATUS, not $code"
    told=$(sed -n "s/^$id $severity $host $count //p" "$WORK/findings" | head -n 1)
    if [ "$fix" = - ]; then
        case $told in samictl*) eval "$told" ;; *) ns "fw$ON" sh -c "$told" >/dev/null ;; esac || fail "$id: its fix fails: $told"
    else
        eval "$fix" || fail "$id: $fix"
    fi
    check
    findings >"$WORK/findings"
    [ -s "$WORK/findings" ] && { fail "$id: not gone:"; cat "$WORK/findings"; }
    [ $STATUS -eq 0 ] || fail "$id: exit $STATUS after its fix"
    printf '%-28s %-8s %-12s exit %-2s  fixed by: %s\n' "$id" "$severity" "$host" "$code" "$([ "$fix" = - ] && echo "$told" || echo "$fix")"
}
reload() { # FIREWALL: its daemon has read its files again
    local before log pid
    case $1 in 1) log=$WORK/exporter.log pid=$EXPORTER ;; *) log=$WORK/collector.log pid=$COLLECTOR ;; esac
    before=$(grep -c reloaded "$log")
    kill -HUP "$pid"
    more() { [ "$(grep -c reloaded "$log")" -gt "$before" ]; }
    poll 10 more
}
# Real traffic that a rule of firewall 1 gives something to: traffic RULE
traffic() { ns fw1 nft "insert rule inet filter forward tcp dport 9000 $1" && CLIENTS=() && lab_traffic out 1 300; }
still() { lab_enough; "$BUILD/sami-table" -n "${LAB}fw1" flush; flow 1 1000; }
sami_collector() { # WORDS...: started again, under them
    ip netns exec "${LAB}fw2" "$@" "$BUILD/sami-collector" -c "$WORK/fw2/sami.conf" -f >>"$WORK/collector.log" 2>&1 &
    COLLECTOR=$!
    disown
    poll 10 test -S "$WORK/run2/collector.sock"
}
stop_collector() { kill "$COLLECTOR" && poll 10 test ! -S "$WORK/run2/collector.sock"; }

# Of this host.
row silent-entries warning fw1.example 1 20 true 'drop 1 999'
ALSO=silent-entries
row sysctl-events warning fw1.example 0 20 'ns fw1 sysctl -qw net.netfilter.nf_conntrack_events=0' \
    'eval "ns fw1 $told" && drop 1 1000 && ctl 1 check >/dev/null && flow 1 1000' # which sends events again from that check on
ALSO=none
row sysctl-timestamp warning fw1.example 0 20 'ns fw1 sysctl -qw net.netfilter.nf_conntrack_timestamp=0' -
row sysctl-acct note fw1.example 0 0 'ns fw1 sysctl -qw net.netfilter.nf_conntrack_acct=0' -
row vm-prefixes loss fw1.example 0 21 'VM=10.77.0.1' 'VM='
row no-sessions note fw1.example 0 0 'VM=10.0.0.99' 'VM='
row not-vm-end warning fw1.example 1 20 'insert 1 -s 10.0.0.50 -d $CLI4 --sport 1001 --src-nat $VM4' 'drop 1 1001'
row own-end note fw1.example 1 0 'insert 1 -s $VM4 -d 10.255.0.1 --sport 1002' 'drop 1 1002'
row left-behind loss fw1.example 1 21 'TO=; insert 1 -s $VM4 -d 169.254.9.9 --sport 1003' 'unset TO; drop 1 1003'

# Of the destination's host.
row sysctl-events note fw2.example 0 0 'ns fw2 sysctl -qw net.netfilter.nf_conntrack_events=0' -
row sysctl-timestamp warning fw2.example 0 20 'ns fw2 sysctl -qw net.netfilter.nf_conntrack_timestamp=0' -
row sysctl-acct warning fw2.example 0 20 'ns fw2 sysctl -qw net.netfilter.nf_conntrack_acct=0' -
row sysctl-tcp-loose note fw2.example 0 0 'ns fw2 sysctl -qw net.netfilter.nf_conntrack_tcp_loose=1' -
row sysctl-tcp-be-liberal note fw2.example 0 0 'ns fw2 sysctl -qw net.netfilter.nf_conntrack_tcp_be_liberal=1' -
established() { ns fw2 nft -a list chain inet filter forward | sed -n 's/.*ct state established,related accept # handle //p'; }
row established-rule warning fw2.example 1 20 'ns fw2 nft delete rule inet filter forward handle "$(established)"' \
    'ns fw2 nft insert rule inet filter forward ct state established,related accept'
ALSO=refused-nat-not-applied # what is refused for it
row nat-chain loss fw2.example 1 21 'ns fw2 nft delete table ip nat; flow 1 1004 --src-nat 192.0.2.50:5004' -
ALSO=none
drop 1 1004
row nat-address warning fw2.example 1 20 'ip -n ${LAB}fw2 addr del 192.0.2.50/32 dev lo; flow 1 1005 --src-nat 192.0.2.50:5005' \
    'ip -n ${LAB}fw2 addr add 192.0.2.50/32 dev lo'
drop 1 1005
row nat-address note fw2.example 1 0 'flow 1 1006 --src-nat 192.0.2.77:5006' 'drop 1 1006'
row label-rule warning fw2.example 1 20 'traffic "ct label set 5"' -
still
row table-room loss fw2.example 2 21 'set_key "$WORK/fw2/sami.conf" max-sessions 1; reload 2; flow 1 1008; flow 1 1009' \
    'set_key "$WORK/fw2/sami.conf" max-sessions 100; reload 2'
drop 1 1008; drop 1 1009

# Of the destination's policy.
row refused-not-expected loss fw2.example 0 21 'ctl 2 -q expect --remove --vm 10.0.0.0/24,2001:db8:a::/64' -
row refused-vm-not-allowed loss fw2.example 0 21 'VM=10.9.0.1; flow 1 1010 -s $VM' 'VM='
row refused-zone-not-allowed loss fw2.example 1 21 'flow 1 1011 -w 5' 'set_key "$SIGNER" zones 0,5; reload 2'
drop 1 1011 -w 5
row refused-nat-address loss fw2.example 1 21 'flow 1 1012 --src-nat 203.0.113.1:5012; ip -n ${LAB}fw2 addr add 203.0.113.1/32 dev lo' \
    'set_key "$SIGNER" nat-addresses 203.0.113.0/24; reload 2'
drop 1 1012
row refused-address-special loss fw2.example 1 21 'insert 1 -s $VM4 -d 169.254.9.9 --sport 1013' 'drop 1 1013'
row degraded-no-helper warning fw2.example 1 20 \
    'ns fw1 nft "add ct helper inet filter ftp { type \"ftp\" protocol tcp; }" && traffic "ct helper set \"ftp\""' \
    'set_key "$SIGNER" kinds session,expectation; reload 2'
still

# Flows that are there already.
row present-there note fw2.example 1 0 'flow 2 1000' 'drop 2 1000'
row refused-nat-mismatch loss fw2.example 1 21 'flow 2 1000 --src-nat 203.0.113.1:1000' 'drop 2 1000'
row refused-nat-clash loss fw2.example 1 21 'flow 1 1014 --src-nat 203.0.113.1:5014; insert 2 -s 10.0.0.70 -d $CLI4 --sport 1015 --src-nat 203.0.113.1:5014' \
    'drop 2 1015; ctl 1 check --vm $VM4 --to fw2.example >/dev/null'
drop 1 1014

# Of the way there.
row peer-unreachable loss fw2.example 0 21 'stop_collector' 'sami_collector'
row plain-collector warning fw2.example 0 20 'cp "$WORK/fw1/peers.d/fw2.example.conf" "$WORK/kept"; set_key "$WORK/fw1/peers.d/fw2.example.conf" receipts false; reload 1' \
    'cp "$WORK/kept" "$WORK/fw1/peers.d/fw2.example.conf"; reload 1'
skewed() { stop_collector && sami_collector env CLOCK_SHIFT=90 "LD_PRELOAD=$BUILD/clock-shift.so"; }
lab_has_sanitizers || row clock-skew warning fw2.example 0 20 skewed 'stop_collector; sami_collector'

# The table and every counter of the destination are what they were; so are those of nobody who may not migrate.
for port in 2001 2002 2003; do flow 1 $port --src-nat "203.0.113.1:$port"; done
flow 2 2001; flow 2 2002 --src-nat 203.0.113.1:2002
state() { ns fw2 conntrack -L -o id 2>/dev/null | sed -E 's/^([a-z0-9]+ +[0-9]+) +[0-9]+/\1/; s/ delta-time=[0-9]+//' | sort; ns fw2 conntrack -S; }
state >"$WORK/before"
ns fw2 timeout 60 conntrack -E >"$WORK/events" 2>/dev/null &
listener=$!
listens() { ns fw2 awk '$2 == 12 && $4 != "00000000" { found = 1 } END { exit !found }' /proc/net/netlink; }
poll 10 listens || fail "no listener for events"
for _ in 1 2 3; do check; done
ctl 2 -q expect --remove --vm $VM4
check
[ $STATUS -eq 21 ] || fail "not expected: exit $STATUS"
ctl 2 -q expect --vm $VM4 --from fw1.example
state | diff "$WORK/before" - || fail "the destination's table or its counters are others"
ns fw2 conntrack -I -p udp -s $VM4 -d $CLI4 --sport 9 --dport 9 -t 30 >/dev/null 2>&1 # the listener works
poll 10 grep -q "sport=9 " "$WORK/events" || fail "the listener hears nothing"
[ "$(wc -l <"$WORK/events")" -eq 1 ] || { fail "events at the destination:"; cat "$WORK/events"; }
kill $listener
[ -z "$(find "$WORK/journal2" -type f)" ] || { fail "a check left a journal"; ls "$WORK/journal2"; }

# Words, and quiet ones.
ctl 1 check --vm $VM4 --to fw2.example >"$WORK/text"
grep -q '^FAIL ' "$WORK/text" && grep -q '^      fix: ' "$WORK/text" && grep -q 'sessions would survive' "$WORK/text" || { fail "text:"; cat "$WORK/text"; }
# What the other firewall wants to be run is in its words, and says so.
for n in 1 2; do ns fw$n sysctl -qw net.netfilter.nf_conntrack_timestamp=0; done
ctl 1 check --vm $VM4 --to fw2.example >"$WORK/text"
[ "$(grep -A 1 '^WARN  fw1.example' "$WORK/text" | grep -c '^      fix: sysctl')" -eq 1 ] &&
    [ "$(grep -A 1 '^WARN  fw2.example' "$WORK/text" | grep -c '^      fix (says fw2.example): sysctl')" -eq 1 ] || { fail "whose words a fix is:"; cat "$WORK/text"; }
ctl 2 -q expect --remove --vm 10.0.0.0/24,2001:db8:a::/64
ctl 2 -q expect --remove --vm $VM4
ctl 1 check --vm $VM4 --to fw2.example >"$WORK/text"
grep -q '^      fix (says fw2.example): samictl expect ' "$WORK/text" || { fail "whose words the fix of a refusal is:"; cat "$WORK/text"; }
ctl 2 -q expect --vm 10.0.0.0/24,2001:db8:a::/64 --from fw1.example
for n in 1 2; do ns fw$n sysctl -qw net.netfilter.nf_conntrack_timestamp=1; done
ctl 1 -q check --vm $VM4 --to fw2.example | grep -qv '^FAIL\|^      fix' && fail "-q says more than failures"
ctl 1 check --to fw2.example >"$WORK/text" 2>&1; [ $? -eq 2 ] || fail "no --vm: not a usage error"
ctl 1 check --vm $VM4 --to nobody.example >"$WORK/text" 2>&1; [ $? -eq 2 ] || fail "no such peer: not a usage error"
ctl 2 check >"$WORK/text"; [ $? -eq 0 ] && grep -q "${SAMI_COVERAGE:+cannot do all of the sandbox\\|}nothing was found" "$WORK/text" || { fail "a firewall by itself:"; cat "$WORK/text"; }

# Each of them is in the manual page.
for id in $SEEN; do
    case $id in refused-* | degraded-*) id=${id%%-*}-REASON ;; esac
    grep -qE "^\.It Li (.* , )?$id( |$)" "$SRC/man/samictl.8" || fail "$id is not in samictl(8)"
done
echo "$N findings, $N_FAILED failed"
[ $N_FAILED -eq 0 ] || { tail -n 20 "$WORK"/*.log; exit 1; }
