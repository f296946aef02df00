#!/usr/bin/env bash
# A collector that says nothing, or goes away, at each point of a migration: it ends by itself within max-delay or the lease, as failed before the freeze
# marker and in doubt after it. All of them at the same time, each a destination of its own. With SAMI_LONG also one that reads nothing while more flows
# end than the exporter may keep: it gives the session up, and the next one is honest to the end.
set -uo pipefail
LEASE=5s
. "${srcdir:-.}/tests/e2e/faults.sh"
lab_tcp_only "the hostile collector speaks TLS; what it answers is refused behind it"
CASES=(no-tls no-reply no-snapshot no-final comes-and-goes no-aborted no-aborted-in-freeze closed-in-prepare closed-in-follow closed-in-freeze reset-in-freeze
    closed-after-ready reset-in-settle too-late-and-open plain-answers reads-nothing)
FLOOD=100000 ROUNDS=8
MAX_DELAY=1s
lab_has_sanitizers && MAX_DELAY=5s # all cases at once are slow there
faults_lab max-delay=$MAX_DELAY || exit 1
for n in 1 2; do # what the kernel buffers is not what is looked at
    ns fw$n sysctl -qw 'net.ipv4.tcp_wmem=4096 16384 65536' 'net.ipv4.tcp_rmem=4096 65536 65536'
done
for i in "${!CASES[@]}"; do
    name=h$i.example
    its_ctl() { ns fw2 "$BUILD/samictl" --config-dir "$WORK/h$i" "$@"; }
    { its_ctl setup --name "$name" --address 10.255.0.2:$((4750 + i)) && its_ctl peer add "$WORK/fw1/fw1.example.peer" --receive --yes --allow 10.0.0.0/24 &&
        ctl 1 peer add "$WORK/h$i/$name.peer" --send --yes; } >"$WORK/setup" 2>&1 || { cat "$WORK/setup"; exit 1; }
    [ "${CASES[$i]}" != plain-answers ] || sed -i 's/^#* *receipts *=.*//; /^\[peer\]/a receipts=false' "$WORK/fw1/peers.d/$name.conf"
done
ip netns exec "${LAB}fw1" "$BUILD/sami-exporter" -c "$WORK/fw1/sami.conf" -f >"$WORK/exporter.log" 2>&1 &
disown
poll 10 test -S "$WORK/run1/exporter.sock" || { cat "$WORK/exporter.log"; exit 1; }
STATE=$(process 1 state)
hostile() { # CASE's number, VM
    ns fw2 timeout 90 "$BUILD/hostile-collector" "$WORK/h$1/sami.conf" 10.255.0.2:$((4750 + $1)) "$WORK/fw1" "$WORK/run1/exporter.sock" \
        "/run/netns/${LAB}fw1" "$2" "${@:3}" >"$WORK/case$1" 2>&1
}
RUNNING=()
LAST=$((${#CASES[@]} - 1))
for ((i = 0; i < LAST; i++)); do
    hostile $i 10.0.0.$((100 + i)) "${CASES[$i]}" & # a VM of its own, whose flows have to stay
    RUNNING+=($!)
done
FAILED=0
for i in "${!RUNNING[@]}"; do
    wait "${RUNNING[$i]}" || FAILED=$((FAILED + 1))
    grep -E '^(ok|FAIL|  )' "$WORK/case$i"
done
[ $FAILED -eq 0 ] || { tail -n 30 "$WORK/exporter.log"; exit 1; }
missing() { [ "$(counter 1 answers_missing_total)" -eq 6 ]; }
poll 5 missing || fail "$(counter 1 answers_missing_total) answers were missing, not 6"
counted 1 answers_ignored_total 2 || fail "the plain collector's answers were not counted"

if [ -n "${SAMI_LONG:-}" ]; then
    begin reads-nothing
    hostile $LAST 10.0.0.200 --blind reads-nothing &
    READER=$!
    poll 20 grep -q 'reads nothing' "$WORK/case$LAST" || fail "$(cat "$WORK/case$LAST")"
    given_up() { grep -q "the session with h$LAST.example is lost" "$WORK/exporter.log"; }
    for ((i = 0; i < ROUNDS; i++)); do
        given_up && break
        fill $FLOOD --vm 10.0.0.200 --from 2000 --kind tcp
        flush 1
    done
    poll 20 given_up || fail "the exporter goes on"
    wait $READER || fail "$(cat "$WORK/case$LAST")"
    grep -E '^(ok|FAIL|  )' "$WORK/case$LAST"
    PEAK=$(awk '/^VmHWM:/ { print $2 }' "/proc/$STATE/status")
    echo "the exporter's peak: $PEAK KiB"
    [ "$PEAK" -le 65536 ] || fail "the exporter has grown to $PEAK KiB"
fi
[ "$(process 1 state)" = "$STATE" ] || fail "the exporter is another process"
