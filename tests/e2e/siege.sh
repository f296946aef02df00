# siege.sh: a collector with an honest peer (firewall 1) and one that attacks it (firewall 3), side by side; sourced by the cases.
# shellcheck shell=bash
#
# Per attack: it runs, a migration of the honest peer ends DONE beside it, and the memory of both processes of the collector stays under a bound.
. "${srcdir:?}/tests/e2e/many.sh"
FLOWS=500
MEMORY_STATE=${MEMORY_STATE:-$((96 * 1024))} MEMORY_LISTENER=${MEMORY_LISTENER:-$((96 * 1024))} # KiB; see siege_memory
VM=0
unset G_DEBUG

siege_fail() {
    echo "FAIL $ATTACK: $*"
    tail -n 3 "$WORK/honest" "$WORK/siege" 2>/dev/null
    tail -n 12 "$WORK"/*.log
    ctl 2 show peers
    exit 1
}

siege_start() { # KEY=VALUE... of the collector
    local key
    MANY_MIGRATIONS=${MANY_MIGRATIONS:-32} many_start 3 && many_pair 1 2 && many_pair 3 2 || exit 1
    for key in max-delay=3s lease=5s "$@"; do
        sed -i "/^${key%%=*} *=/d" "$WORK/fw2/sami.conf"
        echo "$key" >>"$WORK/fw2/sami.conf"
    done
    sed -i 's/^allow-prefixes=.*/&,2001:db8:a::\/64/' "$WORK/fw2/signers.d/fw3.example.conf"
    many_daemon collector 2 && many_daemon exporter 1 || exit 1
    LISTENER=$(many_network_of 2 sami-collector)
    STATE=$(siege_state)
    ATTACK=before
    siege_honest
    STATE_BEFORE=$(siege_kib "$STATE")
    echo "before: listener $(siege_kib "$LISTENER") KiB, state process $(siege_kib "$STATE") KiB"
}

siege_state() {
    local pid parent
    for pid in $(ip netns pids "${LAB}fw2"); do
        [ "$(cat "/proc/$pid/comm")" = sami-collector ] && [ "$(stat -c %u "/proc/$pid")" -eq 0 ] || continue
        parent=$(awk '/^PPid:/ { print $2 }' "/proc/$pid/status")
        [ "$(cat "/proc/$parent/comm")" = sami-collector ] && echo "$pid"
    done
}
siege_kib() { awk '/^VmHWM:/ { print $2 }' "/proc/$1/status"; }

siege_honest() {
    local start
    VM=$((VM + 1))
    many_fill 1 "$(many_vm 1 $VM)" $FLOWS $((VM * FLOWS)) || siege_fail "fill"
    start=$(date +%s%N)
    ctl 1 migrate --vm "$(many_vm 1 $VM)" --to fw2.example --now --json >"$WORK/honest" 2>&1 || siege_fail "the honest peer's migration ended with $?"
    HONEST_MS=$((($(date +%s%N) - start) / 1000000))
    [ "$(ns fw2 conntrack -L -s "$(many_vm 1 $VM)" 2>/dev/null | grep -c src=)" -eq $FLOWS ] || siege_fail "not $FLOWS entries of the honest peer"
}

siege_counter() { ctl 2 stats --json | sed -n "s/.*\"$1\" *: *\([0-9]*\).*/\1/p" | head -n 1; }
more() { echo $(($2 + $(siege_counter "$1"))); } # COUNTER N: what it will be
siege_counted() { [ "$(siege_counter "$1")" -ge "$2" ] 2>/dev/null; }
# What the collector says of the attacker: siege_peer sessions|migrations|in_doubt|octets|listener_octets
siege_peer() {
    local n
    n=$(ctl 2 show peers --json | grep -o '"peer":"fw3.example"[^}]*' | grep -o "\"$1\":[0-9]*")
    echo "${n##*:}"
}
siege_peer_has() { [ "$(siege_peer "$1")" -ge "$2" ] 2>/dev/null; }
siege_peer_gone() { [ "$(siege_peer sessions)" = 0 ] || [ -z "$(siege_peer sessions)" ]; }

# siege WAY N CONDITION...: until CONDITION (of what the collector counts) is there, then beside it an honest migration
siege() {
    ATTACK="$1 ($2)"
    touch "$WORK/flag"
    ns fw3 "$BUILD/siege" "$WORK/fw3/sami.conf" fw2.example "$1" "$2" "$WORK/flag" >"$WORK/siege" 2>"$WORK/siege.err" &
    SIEGE=$!
    poll "${SIEGE_S:-20}" "${@:3}" || siege_fail "it does not come to: ${*:3}"
    siege_honest
    siege_shown
    [ -z "${COVERED:-}" ] || siege_covered
    rm "$WORK/flag"
    wait $SIEGE || siege_fail "$(cat "$WORK/siege.err")"
    echo "ok   $ATTACK: $(cat "$WORK/siege"); honest peer DONE in $HONEST_MS ms; attacker: $SHOWN; peaks in KiB: listener $(siege_kib "$LISTENER"), state process $(siege_kib "$STATE")"
    siege_memory
    poll 20 siege_peer_gone || siege_fail "its sessions do not go"
}

siege_shown() {
    SHOWN="$(siege_peer sessions) sessions, $(siege_peer migrations) migrations, $(siege_peer octets) + $(siege_peer listener_octets) octets"
}

# What is shown is not less than what is taken: the state process has not grown by more than it says of all peers (and what malloc keeps).
siege_covered() {
    lab_has_sanitizers && return
    local all
    all=$(ctl 2 show peers --json | grep -o '"octets":[0-9]*' | awk -F: '{ n += $2 } END { print int(n / 1024) }')
    [ $(($(siege_kib "$STATE") - STATE_BEFORE)) -le $((all + 6144)) ] ||
        siege_fail "the state process has grown from $STATE_BEFORE to $(siege_kib "$STATE") KiB, and says $all KiB of its peers"
}

siege_bounded() {
    local octets
    octets=$(siege_peer octets)
    [ "${octets:-0}" -le $((48 * 1024 * 1024)) ] || siege_fail "the state process says that it holds $octets octets for the attacker"
}

siege_memory() {
    lab_has_sanitizers && return
    [ "$(siege_kib "$LISTENER")" -le "$MEMORY_LISTENER" ] || siege_fail "the listener has grown to $(siege_kib "$LISTENER") KiB"
    [ "$(siege_kib "$STATE")" -le "$MEMORY_STATE" ] || siege_fail "the state process has grown to $(siege_kib "$STATE") KiB"
    [ "$(many_network_of 2 sami-collector)" = "$LISTENER" ] && [ "$(siege_state)" = "$STATE" ] || siege_fail "the collector is another process"
}
