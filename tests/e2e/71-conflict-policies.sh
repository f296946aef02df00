#!/usr/bin/env bash
# Flows that are at the destination already, under each on-conflict of the signer: the same, the same from the other side, another reply
# tuple, its reply tuple taken. When what is written, the counts, and that an abort after READY leaves exactly what was there.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
MANY=100000 # more than fits between the daemons: the audit pass cannot end while their link stands still
lab_start && sami_setup || exit 1
lab_untracked fw1 && lab_untracked fw2 || exit 1
N_FAILED=0
fail() { echo "FAIL $*"; N_FAILED=$((N_FAILED + 1)); }
tcp() { # NS SOURCE DESTINATION SPORT DPORT EXTRA...
    local n=$1 src=$2 dst=$3 sport=$4 dport=$5
    shift 5
    ns "$n" conntrack -I -p tcp -s "$src" -d "$dst" --sport "$sport" --dport "$dport" --state ESTABLISHED -t 5000 -u SEEN_REPLY,ASSURED "$@" \
        >/dev/null 2>"$WORK/insert" || { cat "$WORK/insert"; exit 1; }
}
# Of the flows with the client, without what runs.
entries() { "$BUILD/sami-table" -n "${LAB}fw2" print | grep -F " $CLI4 " | sed 's/ timeout .*//' | sort; }
one() { grep "$1" "$WORK/now"; }
fill() {
    "$BUILD/sami-table" -n "${LAB}fw1" flush
    "$BUILD/sami-table" -n "${LAB}fw2" flush
    tcp fw1 $VM4 $CLI4 1001 443; tcp fw2 $VM4 $CLI4 1001 443 -m 7                             # (i) the same
    tcp fw1 $VM4 $CLI4 1002 443; tcp fw2 $CLI4 $VM4 443 1002                                  # (ii) from the other side
    tcp fw1 $VM4 $CLI4 1003 443; tcp fw2 $VM4 $CLI4 1003 443 --src-nat 192.0.2.7:1003         # (iii) another reply tuple
    tcp fw1 $VM4 $CLI4 1004 443 --src-nat 192.0.2.1:5004                                      # (iv) reply tuple taken
    tcp fw2 10.0.0.99 $CLI4 1004 443 --src-nat 192.0.2.1:5004
    tcp fw1 $VM4 $CLI4 1005 443                                                               # nothing there
    "$BUILD/sami-table" -n "${LAB}fw2" strict >/dev/null || exit 1 # conntrack(8) makes lenient ones
    entries >"$WORK/before"
}
same() { # WHAT: the table of firewall 2 is what it was
    entries >"$WORK/now"
    cmp -s "$WORK/before" "$WORK/now" && return
    fail "$1: the table of firewall 2 is another:"
    diff "$WORK/before" "$WORK/now"
}
reloaded() { ctl 2 stats --json | grep -q "\"reloads_total\" *: *$RELOADS"; }
policy() { # merge|keep|replace
    sed -i '/^on-conflict=/d' "$WORK/fw2/signers.d/fw1.example.conf"
    echo "on-conflict=$1" >>"$WORK/fw2/signers.d/fw1.example.conf"
    kill -HUP "$COLLECTOR"
    RELOADS=$((RELOADS + 1))
    poll 10 reloaded || { echo "not reloaded"; cat "$WORK"/*.log; exit 1; }
}
told() { # POLICY NAME:VALUE... in the last line of samictl migrate
    local p=$1 pair last
    shift
    last=$(tail -n 1 "$WORK/migrate")
    for pair in "$@"; do grep -q "\"${pair%:*}\":${pair#*:}[,}]" <<<"$last" || fail "$p: not \"${pair%:*}\":${pair#*:} in $last"; done
}
there() { # POLICY NAME:VALUE in the collector's status
    ctl 2 status "$ID" --json | tr -d ' \n' | grep -q "\"${2%:*}\":${2#*:}[,}]" || fail "$1: the collector does not count $2"
}
lenient() { grep -q ' flags .[89a-f]/.[89a-f] ' <<<"$1"; }
# What READY leaves of each case; the four cases are told apart by their ports.
written() { # POLICY
    local i ii iii iv
    entries >"$WORK/now"
    i=$(one 'sport 1001 '); ii=$(one "src $CLI4 dst $VM4 sport 443 dport 1002 zone"); iii=$(one 'sport 1003 dport 443 zone'); iv=$(one 'sport 1004 ')
    one 'sport 1005 ' | grep -q . || fail "$1: the flow without a conflict is not there"
    grep -q "src 10.0.0.99" <<<"$iv" && [ "$(wc -l <<<"$iv")" -eq 1 ] || fail "$1 (iv): $iv"
    case $1 in
    merge)
        lenient "$i" && grep -q 'mark 7 ' <<<"$i" || fail "merge (i): $i"
        lenient "$ii" || fail "merge (ii): $ii"
        grep -q 'dst 192.0.2.7' <<<"$iii" && ! lenient "$iii" || fail "merge (iii): $iii" ;;
    keep)
        grep -q 'mark 7 ' <<<"$i" && ! lenient "$i" || fail "keep (i): $i"
        [ -n "$ii" ] && ! lenient "$ii" || fail "keep (ii): $ii"
        grep -q 'dst 192.0.2.7' <<<"$iii" && ! lenient "$iii" || fail "keep (iii): $iii" ;;
    replace)
        lenient "$i" && grep -q 'mark 0 ' <<<"$i" || fail "replace (i): $i"
        [ -z "$ii" ] && one "src $VM4 dst $CLI4 sport 1002" | grep -q . || fail "replace (ii): $ii"
        lenient "$iii" && ! grep -q 'dst 192.0.2.7' <<<"$iii" || fail "replace (iii): $iii" ;;
    esac
}
restart_collector() {
    pkill -KILL -P "$COLLECTOR"
    kill -KILL "$COLLECTOR"
    rm -f "$WORK/run2/collector.sock"
    ip netns exec "${LAB}fw2" "$BUILD/sami-collector" -c "$WORK/fw2/sami.conf" -f >"$WORK/collector.log" 2>&1 &
    COLLECTOR=$!
    disown
    RELOADS=0
    poll 10 test -S "$WORK/run2/collector.sock" || { cat "$WORK/collector.log"; exit 1; }
}
removed() { ctl 2 status "$ID" --json | grep -q '"phase" *: *"ABORTED"'; }
link_stands() { ns fw1 nft add rule inet management out oifname mgmt0 meta length '>' 1000 drop; } # the marker is shorter
link_runs() { ns fw1 nft flush chain inet management out && ns fw1 nft add rule inet management out oifname mgmt0 notrack; }

RELOADS=0
sami_start || exit 1
for p in merge keep replace; do
    echo "--- $p"
    policy $p
    fill
    sami_follow --deadline 20s || exit 1
    entries | grep -v 'sport 1005 ' >"$WORK/now"
    cmp -s "$WORK/before" "$WORK/now" || { fail "$p: written before the freeze marker:"; diff "$WORK/before" "$WORK/now"; }
    ctl 1 abort "$ID" >"$WORK/abort" 2>&1 || { fail "$p: abort"; cat "$WORK/abort"; }
    wait "$MIGRATE"
    same "$p, abort before the freeze"

    fill
    "$BUILD/sami-table" -n "${LAB}fw1" fill $MANY >/dev/null || exit 1
    sami_follow --deadline 20s || exit 1
    link_stands
    ctl 1 freeze "$ID" >"$WORK/freeze" 2>&1
    [ $? -eq 6 ] || { fail "$p: freeze"; cat "$WORK/freeze"; }
    written $p
    ctl 1 abort "$ID" >"$WORK/abort" 2>&1 &
    ABORT=$!
    undone() { ctl 1 status --json | grep -q '"phase" *: *"UNDO"'; }
    poll 10 undone || fail "$p: no UNDO"
    link_runs
    wait $ABORT || { fail "$p: abort after READY"; cat "$WORK/abort"; }
    wait "$MIGRATE"
    [ $? -eq 4 ] || fail "$p: migrate is not aborted"
    same "$p, abort after READY"
    [ "$("$BUILD/sami-table" -n "${LAB}fw2" count)" -eq "$(wc -l <"$WORK/before")" ] || fail "$p: entries are left"

    # The collector's process dies after READY; what another one finds in the ledger is enough.
    fill
    "$BUILD/sami-table" -n "${LAB}fw1" fill $MANY >/dev/null || exit 1
    sami_follow --deadline 20s || exit 1
    link_stands
    ctl 1 freeze "$ID" >"$WORK/freeze" 2>&1
    written $p
    restart_collector
    ctl 2 resolve "$ID" --remove >"$WORK/resolve" 2>&1 || { fail "$p: resolve"; cat "$WORK/resolve"; }
    poll 10 removed || fail "$p: not removed: $(ctl 2 status "$ID")"
    same "$p, removed after a crash"
    link_runs
    ctl 1 abort "$ID" >"$WORK/abort" 2>&1
    wait "$MIGRATE"

    fill
    ctl 1 migrate --vm $VM4 --to fw2.example --now --json >"$WORK/migrate" 2>"$WORK/migrate.err"
    [ $? -eq 6 ] || fail "$p: migrate"
    ID=$(sed -n 's/.*"id":"\([0-9a-f]*\)".*/\1/p' "$WORK/migrate" | head -n 1)
    case $p in
    merge) told merge merged:2 exact:1 nat-mismatch:1 nat-clash:1 ;;
    keep) told keep merged:2 exact:1 nat-mismatch:1 nat-clash:1; there keep kept:2 ;;
    replace) told replace merged:0 exact:4 nat-clash:1; there replace replaced:3 ;;
    esac
done
[ $N_FAILED -eq 0 ] || { cat "$WORK"/*.log; exit 1; }
