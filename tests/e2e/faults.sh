# faults.sh: a lab whose management link is cut, whose processes are stopped and killed, and whose journal fills up. Sourced by the cases; each of
# them goes by its name: `begin NAME`, and what fails says it.
# shellcheck shell=bash
. "${srcdir:?}/tests/e2e/testbed.sh"
CASE_NAME='(start)'
unset G_DEBUG # what is critical here is what the cases provoke: a dead process, a full disk
MIGRATE='' ID=''

begin() { CASE_NAME=$1; echo "case $1"; }

fail() {
    echo "FAIL $CASE_NAME: $*"
    tail -n 3 "$WORK/migrate" "$WORK/migrate.err" 2>/dev/null
    tail -n 25 "$WORK"/exporter.log "$WORK"/collector.log
    ctl 1 status --json 2>/dev/null | tail -c 700
    ctl 2 status --json 2>/dev/null | tail -c 700
    exit 1
}

table() { "$BUILD/sami-table" "$@"; }
fill() { table -n "${LAB}fw1" fill "$@" >/dev/null || fail "fill $*"; }
flush() { local n; for n in "$@"; do table -n "${LAB}fw$n" flush; done; }
entries() { table -n "${LAB}fw$1" count; }
has_entries() { [ "$(entries "$1")" -eq "$2" ]; }
from_vm() { ns "fw$1" conntrack -L -s "${2:-$VM4}" 2>/dev/null | grep -c "src=" || :; }

# An entry of the VM: add FIREWALL PORT EXTRA...
add() {
    local n=$1 port=$2
    shift 2
    ns "fw$n" conntrack -I -p tcp -s $VM4 -d $CLI4 --sport "$port" --dport 443 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED "$@" >/dev/null 2>&1
}
has() { ns "fw$1" conntrack -L -p tcp -s $VM4 --sport "$2" 2>/dev/null | grep -q src=; }

# faults_lab KEY=VALUE...: a lab with these keys in both configurations
faults_lab() {
    local n key
    lab_start || exit 1
    for n in 1 2; do
        ns fw$n nft add chain inet filter labels || exit 1
        ns fw$n nft add rule inet filter labels ct label 1 accept || exit 1
        lab_untracked fw$n || exit 1
    done
    sami_setup || exit 1
    for n in 1 2; do
        for key in reconnect=200ms deadline=60s "$@"; do
            sed -i "/^${key%%=*} *=/d" "$WORK/fw$n/sami.conf"
            echo "$key" >>"$WORK/fw$n/sami.conf"
        done
    done
}

# process FIREWALL supervisor|network|state: its id
process() {
    local pid parent
    for pid in $(ip netns pids "${LAB}fw$1"); do
        case $(cat "/proc/$pid/comm" 2>/dev/null) in sami-exporter | sami-collector) ;; *) continue ;; esac
        parent=$(awk '/^PPid:/ { print $2 }' "/proc/$pid/status" 2>/dev/null) || continue
        case $(cat "/proc/$parent/comm" 2>/dev/null) in
        sami-exporter | sami-collector) awk -v want="$2" -v pid="$pid" '/^Uid:/ { if (want == ($2 == 0 ? "state" : "network")) print pid }' "/proc/$pid/status" 2>/dev/null ;;
        *) [ "$2" = supervisor ] && echo "$pid" ;;
        esac
    done
}

counter() { ctl "$1" stats --json 2>/dev/null | sed -n "s/.*\"$2\" *: *\([0-9]*\).*/\1/p" | head -n 1; }
counted() { [ "$(counter "$1" "$2")" -ge "$3" ] 2>/dev/null; }

# What a daemon says of the migration: field FIREWALL NAME
field() { ctl "$1" status "$ID" --json 2>/dev/null | grep -o "\"$2\" *: *\"\{0,1\}[A-Za-z0-9-]*" | head -n 1 | sed 's/.*: *"\{0,1\}//'; } # of several, the outermost
in_phase() { # FIREWALL PHASE...
    local phase now
    now=$(field "$1" phase)
    shift
    for phase in "$@"; do [ "$now" = "$phase" ] && return 0; done
    return 1
}
sent() { [ "$(field 1 sent)" -ge "$1" ] 2>/dev/null; }

# migrate ARGUMENT...: in the background; ID once it is known
migrate() {
    : >"$WORK/migrate"
    ctl 1 migrate --vm $VM4,$VM6 --to fw2.example --json "$@" >"$WORK/migrate" 2>"$WORK/migrate.err" &
    MIGRATE=$!
    poll 20 grep -q '"id"' "$WORK/migrate" || fail "no migration"
    ID=$(sed -n 's/.*"id":"\([0-9a-f]*\)".*/\1/p' "$WORK/migrate" | head -n 1)
}
confirmed() { grep -q '"confirmed_snapshot":true' "$WORK/migrate"; }
follow() { migrate "$@"; poll 30 confirmed || fail "no snapshot"; }

# ended STATUS...: samictl migrate ended with one of these
ended() {
    local status
    wait "$MIGRATE"
    status=$?
    case " $* " in *" $status "*) ;; *) fail "migrate ended with $status, not $*" ;; esac
}
frozen() { ctl 1 freeze "$ID" >"$WORK/freeze" 2>&1 || fail "freeze: $(cat "$WORK/freeze")"; }

equal() { # both tables, after the end
    table compare "${LAB}fw1" "${LAB}fw2" --tolerance 3 >"$WORK/compare" || { cat "$WORK/compare"; fail "the tables differ"; }
}

# The management link: cut reset|drop, slow RATE, mend. SCTP in UDP cannot be reset from outside: its packets are dropped, and heartbeats notice it.
if [ "${TRANSPORT:-tcp}" = sctp ]; then
    TO_COLLECTOR='udp dport 9899' FROM_COLLECTOR='udp sport 9899' RESET=drop
else
    TO_COLLECTOR='tcp dport 4740' FROM_COLLECTOR='tcp sport 4740 tcp flags & rst == 0' RESET='reject with tcp reset'
fi
cut() {
    local verdict=drop
    [ "$1" = reset ] && verdict=$RESET
    ns fw2 nft -f - <<NFT
table inet cut { chain in { type filter hook input priority 0; iifname "mgmt0" $TO_COLLECTOR $verdict; }; }
NFT
    ns fw1 nft -f - <<NFT
table inet cut { chain in { type filter hook input priority 0; iifname "mgmt0" $FROM_COLLECTOR $verdict; }; }
NFT
}
# Only what the collector says is held back.
mute() { ns fw1 nft -f - <<<"table inet cut { chain in { type filter hook input priority 0; iifname \"mgmt0\" $FROM_COLLECTOR drop; }; }"; }
mend() { ns fw1 nft delete table inet cut 2>/dev/null; ns fw2 nft delete table inet cut 2>/dev/null; }
slow() { ns fw1 tc qdisc replace dev mgmt0 root tbf rate "$1" burst 64k latency 100ms; }
fast() { ns fw1 tc qdisc del dev mgmt0 root 2>/dev/null; }

# What restarts daemons as systemd does (Restart=on-failure): supervised FIREWALL PROGRAM
supervised() {
    while :; do
        ip netns exec "${LAB}fw$1" "$BUILD/$2" -c "$WORK/fw$1/sami.conf" -f >>"$WORK/${2#sami-}.log" 2>&1
        echo "$2 $?" >>"$WORK/exits"
    done
}

# Creations and deletions at firewall 1 until the file is gone; what lives at the end is there.
churn() {
    local i=0 block
    while [ -e "$WORK/churn" ]; do
        block=$((200000 + i % 50 * 40))
        table -n "${LAB}fw1" fill 40 --from $block --kind tcp >/dev/null 2>&1
        ns fw1 conntrack -D -s $VM4 -p tcp --dport 443 -d "198.18.$(((block + 20) % 131071 / 256 % 256)).$(((block + 20) % 131071 % 256))" >/dev/null 2>&1
        i=$((i + 1))
    done
}
churn_start() { touch "$WORK/churn"; churn & CHURNER=$!; }
churn_stop() { rm -f "$WORK/churn"; wait "$CHURNER"; }
