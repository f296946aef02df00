#!/usr/bin/env bash
# A collector with real keys says the same again and again: what is to be its last word, that it wants everything anew, what means nothing, new keys for its
# session. The exporter says each once, dumps once, and another one's migration goes on to its end meanwhile, clean-up included. One that takes nothing of a check holds it up for
# the lease.
set -uo pipefail
LEASE=10s
. "${srcdir:-.}/tests/e2e/faults.sh"
lab_tcp_only "the hostile collector speaks TLS"
CASES=(too-late-often resync-often floods purge check-reads-nothing rekeying)
faults_lab max-delay=30s || exit 1
for i in "${!CASES[@]}"; do
    name=h$i.example
    its_ctl() { ns fw2 "$BUILD/samictl" --config-dir "$WORK/h$i" "$@"; }
    { its_ctl setup --name "$name" --address 10.255.0.2:$((4750 + i)) && its_ctl peer add "$WORK/fw1/fw1.example.peer" --receive --yes --allow 10.0.0.0/24 &&
        ctl 1 peer add "$WORK/h$i/$name.peer" --send --yes; } >"$WORK/setup" 2>&1 || { cat "$WORK/setup"; exit 1; }
done
ip netns exec "${LAB}fw1" "$BUILD/sami-exporter" -c "$WORK/fw1/sami.conf" -f >"$WORK/exporter.log" 2>&1 &
disown
poll 10 test -S "$WORK/run1/exporter.sock" || { cat "$WORK/exporter.log"; exit 1; }
hostile() { # CASE's number
    ns fw2 timeout 120 "$BUILD/hostile-collector" "$WORK/h$1/sami.conf" 10.255.0.2:$((4750 + $1)) "$WORK/fw1" "$WORK/run1/exporter.sock" \
        "/run/netns/${LAB}fw1" 10.0.0.$((100 + $1)) "${CASES[$1]}" >"$WORK/case$1" 2>&1
}
done_with() { # CASE's number, its status
    grep -E '^(ok|FAIL|  )' "$WORK/case$1"
    [ "$2" -eq 0 ] || fail "it ended with $2"
}
once() { # TEXT
    local n
    n=$(grep -c "$1" "$WORK/exporter.log")
    [ "$n" -eq 1 ] || fail "the log has '$1' $n times"
}

begin too-late-often
hostile 0
done_with 0 $?
once 'refused: too-late'

begin resync-often
hostile 1
done_with 1 $?
[ "$(grep -c 'asks for everything anew' "$WORK/exporter.log")" -le 4 ] || fail "$(grep -c 'asks for everything anew' "$WORK/exporter.log") lines of the log"
ctl 1 replicate --to h1.example --stop >/dev/null || fail "the replication is not stopped"

begin floods # what is due from the main loop's idle time, as a clean-up is, must not wait for the end of it
hostile 2 &
FLOOD=$!
poll 20 grep -q floods "$WORK/case2" || fail "$(cat "$WORK/case2")"
hostile 3
done_with 3 $?
touch "$WORK/h2/sami.conf.stop"
wait $FLOOD
done_with 2 $?

begin rekeying # that is over as soon as it is too much
hostile 5
done_with 5 $?
once 'TLS: h5.example at .*: more than 32 times it has sent what is no Message'

begin check-reads-nothing
for n in 1 2; do # what the kernel buffers is not what is looked at
    ns fw$n sysctl -qw 'net.ipv4.tcp_wmem=4096 16384 65536' 'net.ipv4.tcp_rmem=4096 65536 65536'
done
fill 150000 --vm 10.0.0.104 --from 2000 --kind tcp
hostile 4
done_with 4 $?
