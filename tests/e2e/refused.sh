# shellcheck shell=bash
# refused.sh: a lab whose firewall 2 is watched, for the refusal cases. Sourced after testbed.sh.
# shellcheck shell=bash
#
# Per case: the sender gets the expected answer, the counter of that reason at the collector goes up by what is expected and no other one
# does, and the table of firewall 2 is what it was.

# shellcheck disable=SC2034
FAILED=0 DEFAULT_POLICY=1
N_CASES=0

# What the honest cases need, and nothing else.
refused_policy() { # FILE...
    sed -i '/^\(kinds\|protocols\|ports\|helpers\|mark-mask\|max-expectations\) *=/d' "$@"
    sed -i '/^\[signer/a kinds=session,expectation\nprotocols=tcp,udp,sctp,icmp,icmpv6,gre\nports=1-59999\nhelpers=ftp\nmark-mask=0xff\nmax-expectations=1' "$@"
}

# The firewalls' own connection is not tracked, so that what is in the table of firewall 2 is what SAMI wrote there.
refused_setup() {
    lab_start && sami_setup || return 1
    sed -i 's/^#* *max-migrations *=.*/max-migrations=1000/' "$WORK/fw2/sami.conf"
    refused_policy "$WORK"/fw2/signers.d/*
    ip -n "${LAB}fw2" addr add 10.0.0.254/32 dev lo # an address of the firewall inside allow-prefixes
    ns fw2 nft -f - <<'NFT' || return 1
table inet management {
    chain in { type filter hook prerouting priority -300; iifname "mgmt0" notrack; }
    chain out { type filter hook output priority -300; oifname "mgmt0" notrack; }
}
NFT
    # Not ours, and to stay as they are.
    ns fw2 conntrack -I -p tcp -s $VM4 -d $CLI4 --sport 4001 --dport 443 --state ESTABLISHED -t 100000 -u SEEN_REPLY,ASSURED >/dev/null 2>&1
    ns fw2 conntrack -I -p udp -s $VM6 -d $CLI6 --sport 4002 --dport 53 -t 100000 -u SEEN_REPLY,ASSURED >/dev/null 2>&1
    [ "$(lab_table | wc -l)" -eq 2 ] || { echo "the lab's own entries are not there"; lab_table; return 1; }
}

# Everything but what runs by itself: timeouts and ages.
lab_table() {
    ns fw2 conntrack -L 2>/dev/null | sed -E 's/^([a-z0-9]+ +[0-9]+) +[0-9]+/\1/; s/ delta-time=[0-9]+//' | sort
}

counters() {
    "$BUILD/samictl" --config-dir "$WORK/fw2" stats --json | tr -d ' "\n' | sed 's/.*counters:{//; s/}.*//' | tr ',' '\n' | grep -E '^(refused|session_errors)' | sort
}

# counted NAME COUNT: NAME is COUNT more than in $WORK/counters, all others are as there
counted() { # NAME "none" is no counter
    [ "$1" = none ] || grep -q "^$1:" "$WORK/counters" || { cp "$WORK/counters" "$WORK/counters.now"; return 1; }
    counters >"$WORK/counters.now"
    awk -F: -v name="$1" -v n="$2" '{ $2 += $1 == name ? n : 0; print $1 ":" $2 }' "$WORK/counters" | cmp -s - "$WORK/counters.now"
}

fail() { # CASE TEXT...
    FAILED=$((FAILED + 1))
    [ $FAILED -lt 10 ] || { echo "too many failures: the rest is not run"; exit 1; }
    echo "FAIL $*"
    cat "$WORK/answer"
    diff "$WORK/counters" "$WORK/counters.now"
    tail -n 5 "$WORK"/collector*.log
}

# refused CASE COUNTER COUNT EXPECTED COMMAND...: COMMAND's output has to match EXPECTED; its status is $STATUS, 0 unless given
refused() {
    local name=$1 counter=$2 count=$3 expected=$4 status
    shift 4
    N_CASES=$((N_CASES + 1))
    [ -e "$WORK/counters" ] || counters >"$WORK/counters"
    [ -e "$WORK/table" ] || lab_table >"$WORK/table"
    "$@" >"$WORK/answer" 2>&1
    status=$?
    poll 5 counted "$counter" "$count" || { fail "$name: counter $counter is not $count more, or another one is"; cp "$WORK/counters.now" "$WORK/counters"; return; }
    cp "$WORK/counters.now" "$WORK/counters"
    lab_table >"$WORK/table.now"
    if [ $status -ne "${STATUS:-0}" ]; then
        fail "$name: ended with $status, not ${STATUS:-0}"
    elif ! grep -Eq -- "$expected" "$WORK/answer"; then
        fail "$name: the sender was not told: $expected"
    elif ! cmp -s "$WORK/table" "$WORK/table.now"; then
        fail "$name: the table of firewall 2 is another:"
        diff "$WORK/table" "$WORK/table.now"
        cp "$WORK/table.now" "$WORK/table"
    else
        echo "ok   $name: $(grep -Em1 -- "$expected" "$WORK/answer" | cut -c 1-150)"
    fi
}

hostile() { ns fw1 timeout 20 "$BUILD/hostile" "$WORK/fw1/sami.conf" fw2.example "$@"; }

# The collector still does its work: an honest migration of one session.
honest_migration() {
    ns fw1 conntrack -I -p tcp -s $VM4 -d $CLI4 --sport "$1" --dport 443 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED >/dev/null 2>&1
    ctl 1 migrate --vm $VM4 --to fw2.example --now --json >"$WORK/honest" 2>&1 &&
        ns fw2 conntrack -L -p tcp --sport "$1" 2>/dev/null | grep -q "sport=$1" && return
    echo "FAIL honest-migration-afterwards"
    cat "$WORK/honest" "$WORK"/*.log
    return 1
}

refused_end() {
    echo "$N_CASES cases, $FAILED failed"
    [ $FAILED -eq 0 ] && [ $N_CASES -gt 0 ]
}
