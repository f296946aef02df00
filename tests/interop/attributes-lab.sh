# attributes-lab.sh: the cases of attributes.py go from firewall 1 to firewall 2 in several ways. Sourced by tests/e2e/98-attributes.sh, which runs
# the way of SAMI, and by attributes.sh, which runs all. Each way writes a file $WORK/WAY.jsonl of verdicts.
# shellcheck shell=bash
: "${srcdir:?}"
. "$srcdir/tests/e2e/testbed.sh"
fail() { echo "$*"; cat "$WORK"/*.log 2>/dev/null; exit 1; }
PYTHON=$(python3 -c 'import sys; print(sys.executable)') || lab_skip "python3 is not installed" # itself, where python3 is a slow wrapper
attributes() { local where=$1; shift; ns "$where" "$PYTHON" "$SRC/tests/interop/attributes.py" "$@"; }

labels() { # 1|2 add|delete: a rule that uses labels
    local rule="table inet labels { chain forward { type filter hook forward priority 10; ct label 1 counter; }; }"
    [ "$2" = add ] || rule="delete table inet labels"
    ns "fw$1" nft "$rule" || fail "nft: $rule"
}

# One exchange on the connection `live`, by the firewall that has the path: data from the VM, a bare acknowledgement from the client.
exchange() { # NUMBER
    attributes vm packet vm $((1000 + 100 * $1)) 5000 100 && attributes cli packet cli 5000 $((1100 + 100 * $1)) 0 || fail "no packets"
}
exchanged() { # 1|2: has it been seen both ways?
    ns "fw$1" conntrack -L -p tcp -s $VM4 --sport 1443 2>/dev/null | grep -q 'packets=[1-9].*packets=[1-9]'
}

attributes_start() {
    command -v conntrack >/dev/null || lab_skip "conntrack is not installed"
    lab_start && sami_setup || exit 1
    lab_untracked fw1 && lab_untracked fw2 || exit 1
    for side in vm cli; do # whose stacks do not know the connection, and would reset it
        ns $side nft 'table inet quiet { chain in { type filter hook input priority 0; tcp dport { 443, 1443 } drop; }; }' || fail "nft"
    done
    labels 1 add
}

attributes_make() { # anew for each way: they grow older
    local phase
    for phase in fw1 fw2; do
        ns $phase conntrack -F >/dev/null 2>&1
        ns $phase conntrack -F expect >/dev/null 2>&1
    done
    for phase in 1 2; do attributes fw1 create $phase || fail "create"; done
    exchange 0
    poll 10 exchanged 1 || fail "firewall 1 does not count packets of the live flow"
}

# way NAME: transfer_NAME PHASE moves the entries to firewall 2; later_NAME, where there is one, waits for what comes when packets
# have gone through it
way() {
    local name=$1 phase more=()
    : >"$WORK/$name.jsonl"
    attributes_make
    for phase in 1 2; do
        [ $phase -eq 1 ] || labels 2 add
        attributes fw1 read >"$WORK/source" || fail "read"
        "transfer_$name" $phase || fail "transfer by $name"
        attributes fw2 read >"$WORK/there" || fail "read"
        if [ $phase -eq 1 ]; then
            lab_path 2
            exchange 1
            poll 10 exchanged 2 || echo "no packets of the live flow pass firewall 2"
            ! declare -F "later_$name" >/dev/null || "later_$name"
            lab_path 1
        fi
        attributes fw2 read >"$WORK/after" || fail "read"
        [ "$name" != sami ] || more=(--results "$WORK/results" --journals "$WORK/journal2" --registry "$WORK/registry")
        attributes fw2 judge --phase $phase --column "$name" --source "$WORK/source" --there "$WORK/there" --after "$WORK/after" "${more[@]}" \
            >>"$WORK/$name.jsonl" || fail "judge"
    done
    labels 2 delete
}

# ---- SAMI: a migration for each case, for their reasons ----

sami_attributes() {
    local n policy=$WORK/fw2/signers.d/fw1.example.conf
    for n in 1 2; do echo max-migrations=256 >>"$WORK/fw$n/sami.conf"; done
    sed -i '/^\(zones\|kinds\) *=/d' "$policy"
    printf 'zones=0,7,8\nkinds=session,expectation\n' >>"$policy"
    mkdir -p "$WORK/results"
    "$BUILD/protocol-tables" --xml >"$WORK/registry" || fail "no registry"
    sami_start || exit 1
    way sami
    kill "${DAEMONS[@]}"
}

sami_migrate() { # CASE VM OPTION...
    ctl 1 migrate --vm "$2" --to fw2.example --deadline 30s --json "${@:3}" >"$WORK/results/$1" 2>"$WORK/results/$1.err" &
    jobs+=($!)
}

transfer_sami() { # PHASE
    local case vm n=0 jobs=() waits=()
    while read -r case vm; do
        if [ "$case" = live ]; then
            waits=("$vm")
            continue
        fi
        sami_migrate "$case" "$vm" --now
        [ $((++n % 8)) -ne 0 ] || { wait "${jobs[@]}"; jobs=(); }
    done < <(attributes fw1 names "$1")
    [ ${#jobs[@]} -eq 0 ] || wait "${jobs[@]}" # without a name it would wait for the daemons too
    [ "$n" -gt 0 ] || return 1
    [ ${#waits[@]} -eq 1 ] || return 0
    # Its packets come between READY and SETTLE, as in a real move; later_sami goes on.
    sami_migrate live "${waits[0]}"
    LIVE=${jobs[-1]}
    poll 20 grep -qs '"confirmed_snapshot":true' "$WORK/results/live" || return 1
    ID=$(sed -n 's/.*"id":"\([0-9a-f]*\)".*/\1/p' "$WORK/results/live" | head -n 1)
    ctl 1 freeze "$ID" --hold-ready 60s >"$WORK/freeze" 2>&1 || { cat "$WORK/freeze"; return 1; }
}

is_strict() { ! attributes fw2 lenient; }
later_sami() {
    ctl 1 settle "$ID" >"$WORK/settle" 2>&1 || fail "settle: $(cat "$WORK/settle")"
    wait "$LIVE"
    poll 10 is_strict || echo "the live flow stays lenient"
}

# ---- conntrackd, with expectations. TCPWindowTracking stays off, as it is by default: with it 1.4.7 brings neither window scale nor flags, and no
# lenient tracking either. ----

conntrackd_run() { # 1|2
    cat >"$WORK/conntrackd$1.conf" <<CONF
Sync {
    Mode ${MODE:-FTFW} { DisableExternalCache Off }
    UDP {
        IPv4_address 10.255.0.$1
        IPv4_Destination_Address 10.255.0.$((3 - $1))
        Port 3780
        Interface mgmt0
        Checksum on
    }
    Options {
        ExpectationSync On
    }
}
General {
    HashSize 32768
    LogFile $WORK/conntrackd$1.log
    Syslog off
    LockFile $WORK/conntrackd$1.lock
    UNIX { Path $WORK/conntrackd$1.sock }
}
CONF
    ns "fw$1" conntrackd -C "$WORK/conntrackd$1.conf" >"$WORK/conntrackd$1.out" 2>&1 &
    poll 20 test -S "$WORK/conntrackd$1.sock" || { cat "$WORK/conntrackd$1.out"; fail "conntrackd does not start"; }
}
conntrackd_ask() { local n=$1; shift; ns "fw$n" conntrackd -C "$WORK/conntrackd$n.conf" "$@"; }

# settles COMMAND...: what it prints has not changed for 2 s; how much will come is not known, since some of it may be refused
settles() {
    local end=$((SECONDS + 30)) since=$SECONDS last=none now
    while [ $SECONDS -lt $end ]; do
        now=$("$@")
        [ "$now" = "$last" ] || since=$SECONDS
        last=$now
        [ $((SECONDS - since)) -lt 2 ] || return 0
        sleep 0.1
    done
    return 1
}
cached() { { conntrackd_ask 2 -e; conntrackd_ask 2 -e expect; } 2>/dev/null | grep -c src=; }
in_kernel() { { ns fw2 conntrack -L; ns fw2 conntrack -L -f ipv6; ns fw2 conntrack -L expect; } 2>/dev/null | grep -c .; }

transfer_conntrackd() {
    [ -S "$WORK/conntrackd2.sock" ] || { conntrackd_run 2; conntrackd_run 1; }
    # Twice, since what the rules there do with it differs.
    ns fw2 conntrack -F >/dev/null 2>&1
    conntrackd_ask 2 -f external >/dev/null 2>&1
    conntrackd_ask 2 -n && settles cached || return 1
    conntrackd_ask 2 -c >/dev/null 2>&1
    conntrackd_ask 2 -c expect >/dev/null 2>&1
    settles in_kernel
}
stopped() { [ ! -e "$WORK/conntrackd1.sock" ] && [ ! -e "$WORK/conntrackd2.sock" ]; }

conntrackd_attributes() {
    way conntrackd
    conntrackd_ask 1 -k >/dev/null 2>&1
    conntrackd_ask 2 -k >/dev/null 2>&1
    poll 20 stopped || fail "conntrackd does not end"
}

# ---- conntrack's own file ----

transfer_load-file() {
    ns fw2 conntrack -F >/dev/null 2>&1
    { ns fw1 conntrack -L -o save; ns fw1 conntrack -L -f ipv6 -o save; ns fw1 conntrack -L expect -o save; ns fw1 conntrack -L expect -f ipv6 -o save; } \
        2>/dev/null | sort -u >"$WORK/saved"
    [ "$(wc -l <"$WORK/saved")" -ge 50 ] || return 1
    # A line that it does not take ends it, so each goes on its own: what it can do at its best.
    rm -f "$WORK"/line.*
    split -l 1 -d -a 4 "$WORK/saved" "$WORK/line."
    # shellcheck disable=SC2016
    ns fw2 sh -c 'for line; do conntrack --load-file "$line"; done' sh "$WORK"/line.* >"$WORK/load-file.out" 2>&1
    return 0
}
