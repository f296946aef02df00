#!/usr/bin/env bash
# What each of the six processes of the two daemons has left: user, capabilities, system calls, files, descriptors. And that a move works so, a
# reload too, with certificates that the network process cannot read.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_start && sami_setup || exit 1
fail() { echo "FAIL $*"; tail -n 20 "$WORK"/*.log 2>/dev/null; exit 1; }
# A descriptor that whoever starts a daemon left open gets no further than its start.
exec 9<"$WORK/fw1/signing.key"
sami_start || exit 1
exec 9<&-
children_of() { cat "/proc/$1/task/$1/children"; }
# The supervisor forks the network process first.
split() { # DAEMON-PID NAME
    local pids
    read -ra pids <<<"$(children_of "$1")"
    [ ${#pids[@]} -eq 2 ] || fail "$2: its children are ${pids[*]}"
    PROCESSES+=("supervisor:$2:$1" "network:$2:${pids[0]}" "state:$2:${pids[1]}")
}
PROCESSES=()
split "${DAEMONS[0]}" collector
split "${DAEMONS[1]}" exporter
field() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$2/status" | tr -s '[:space:]' ' ' | sed 's/ $//'; }
NOBODY=$(id -u nobody)
# Capabilities in effect and at most: CAP_KILL, none, CAP_NET_ADMIN
declare -A USER_OF=([supervisor]="0 0 0 0" [network]="$NOBODY $NOBODY $NOBODY $NOBODY" [state]="0 0 0 0")
declare -A CAPS_OF=([supervisor]=0000000000000020 [network]=0000000000000000 [state]=0000000000001000)
grep -q "sandbox: this is a build that measures coverage" "$WORK/collector.log" && lab_skip "a build that measures coverage has no sandbox"
# A process says that it is there before it has given up everything.
settled() { local p; for p in "${PROCESSES[@]}"; do [ "$(field Seccomp "${p##*:}")" = 2 ] || return 1; done; }
sanitized() { grep -qs '^#define SAMI_SANITIZERS' "$BUILD/config.h"; }
sanitized || poll 10 settled || fail "not all are filtered"

echo "--- users, capabilities, filters"
for p in "${PROCESSES[@]}"; do
    IFS=: read -r kind daemon pid <<<"$p"
    sanitized && [ "$kind" = supervisor ] && continue # it looks for leaks at its end
    [ "$(field Uid "$pid")" = "${USER_OF[$kind]}" ] || fail "$daemon $kind: Uid $(field Uid "$pid")"
    for set in CapEff CapPrm CapBnd; do
        [ "$(field $set "$pid")" = "${CAPS_OF[$kind]}" ] || fail "$daemon $kind: $set $(field $set "$pid")"
    done
    for set in CapInh CapAmb; do [ "$(field $set "$pid")" = 0000000000000000 ] || fail "$daemon $kind: $set $(field $set "$pid")"; done
    [ "$(field NoNewPrivs "$pid") $(field Seccomp "$pid")" = "1 2" ] || fail "$daemon $kind: NoNewPrivs Seccomp $(field NoNewPrivs "$pid") $(field Seccomp "$pid")"
    [ "$(awk '/^Max core file size/ { print $5, $6 }' "/proc/$pid/limits")" = "0 0" ] || fail "$daemon $kind: core files"
    for thread in /proc/"$pid"/task/*; do
        [ "$(sed -n 's/^Seccomp:[[:space:]]*//p' "$thread/status")" = 2 ] || fail "$daemon $kind: a thread without a filter"
    done
done

echo "--- descriptors"
# What of them is there, by kind: sockets by family, files by place.
descriptors() { # PID
    local fd to
    for fd in /proc/"$1"/fd/*; do
        [ "${fd##*/}" -gt 2 ] || continue
        to=$(readlink "$fd") || continue
        case $to in
        socket:*)
            to=${to#socket:[}; to=${to%]}
            if grep -q " $to\$\| $to *\$" "/proc/$1/net/netlink"; then echo netlink
            elif awk -v i="$to" '$10 == i { f = 1 } END { exit !f }' "/proc/$1/net/tcp" "/proc/$1/net/tcp6" "/proc/$1/net/udp" "/proc/$1/net/udp6"; then echo inet
            elif awk -v i="$to" '$7 == i { print ($8 ? "control" : "pair"); f = 1 } END { exit !f }' "/proc/$1/net/unix"; then :
            else echo "socket:$to"; fi ;;
        "anon_inode:[eventfd]" | "anon_inode:[signalfd]") echo "${to//[^a-z]/}" ;;
        *) echo "$to" ;;
        esac
    done | sort | uniq -c | awk '{ n = $1; $1 = ""; print substr($0, 2) "*" n }' | tr '\n' ' '
}
look() { # WHEN
    for p in "${PROCESSES[@]}"; do
        IFS=: read -r kind daemon pid <<<"$p"
        list=$(descriptors "$pid")
        echo "$1 $daemon $kind: $list"
        case $kind in
        supervisor) [ -z "$list" ] || fail "$daemon $kind: $list" ;;
        network) [[ "$list" =~ netlink|control|/ ]] && fail "$daemon $kind: $list" ;;
        state) [[ "$list" =~ inet\* || "$list" =~ "$WORK"/fw ]] && fail "$daemon $kind: $list" ;;
        esac
        # The channel: one end of it.
        [ "$1 $kind" = "idle supervisor" ] || [ "$1" != idle ] || [[ " $list" == *" pair*1 "* ]] || fail "$daemon $kind: $list"
        [[ "$list" =~ signing.key|tls.key|socket: ]] && fail "$daemon $kind: $list"
    done
    :
}
look idle

echo "--- a reload, and a move"
chmod 700 "$WORK/fw1" "$WORK/fw2" # nobody else could read a certificate there
for n in 1 2; do sed -i '/^grace *=/d' "$WORK/fw$n/sami.conf" && echo grace=500ms >>"$WORK/fw$n/sami.conf"; done # another file, not the same
kill -HUP "${DAEMONS[@]}"
for d in exporter collector; do poll 10 grep -q "reloaded: " "$WORK/$d.log" || fail "$d: no reload"; done
lab_traffic out 3 60
sami_follow || exit 1
look moving
sami_move && lab_enough || fail "the move"
wait "$MIGRATE" || fail "migrate ended with $?"
[ "$(survived)" -eq 3 ] || fail "$(survived) of 3 transfers survived"
grep -q "the old peers and certificates stay in use" "$WORK"/*.log && fail "the network process kept its old peers"

echo "--- a directory that nobody named at the start"
if ! sanitized; then # which read every file for their reports
mkdir "$WORK/elsewhere" && cp "$WORK"/fw1/peers.d/*.crt "$WORK/elsewhere/"
sed -i "s,^certificate *=.*,certificate=$(ls "$WORK"/elsewhere/*.crt)," "$WORK"/fw1/peers.d/*.conf
grep -q elsewhere "$WORK"/fw1/peers.d/*.conf || fail "no certificate in peers.d"
kill -HUP "${DAEMONS[1]}"
poll 10 grep -q "elsewhere/.*Permission denied; the sandbox keeps a daemon to the directories that its configuration named at the start: restart it" \
    "$WORK/exporter.log" || fail "not said why"
fi

echo "--- off"
kill "${DAEMONS[@]}"
poll 10 test ! -S "$WORK/run1/exporter.sock" && poll 10 test ! -S "$WORK/run2/collector.sock" || fail "a daemon does not stop"
[ "$(ctl 1 check >"$WORK/answer" 2>&1; grep -c sandbox-off "$WORK/answer")" -eq 0 ] || fail "off before it is"
for n in 1 2; do echo sandbox=off >>"$WORK/fw$n/sami.conf"; done
sami_start || exit 1
for d in exporter collector; do poll 10 grep -q "sandbox = off: " "$WORK/$d.log" || fail "$d: no warning"; done
PROCESSES=()
split "${DAEMONS[0]}" collector
split "${DAEMONS[1]}" exporter
for p in "${PROCESSES[@]}"; do [ "$(field Seccomp "${p##*:}")" = 0 ] || fail "$p: filtered"; done
ctl 1 check >"$WORK/answer" 2>&1
grep -q "^WARN .*sandbox = off" "$WORK/answer" || { cat "$WORK/answer"; fail "check does not say it"; }
[ "$(ctl 1 metrics | grep -c '^sami_sandbox_enabled{role="exporter"} 0')" -eq 1 ] || fail "metrics"
[ "$(ctl 1 metrics | grep -c '^sami_network_root{role="exporter"} 0')" -eq 1 ] || fail "metrics: user"
grep -q "user is empty" "$WORK/answer" && fail "root before it is"

echo "--- root's network process"
kill "${DAEMONS[@]}"
poll 10 test ! -S "$WORK/run1/exporter.sock" && poll 10 test ! -S "$WORK/run2/collector.sock" || fail "a daemon does not stop"
grep -q "user is empty: " "$WORK"/exporter.log "$WORK"/collector.log && fail "said before it is so"
for n in 1 2; do sed -i '/^sandbox=/d; s/^user=.*/user=/' "$WORK/fw$n/sami.conf"; done
sami_start || exit 1
for d in exporter collector; do poll 10 grep -q "user is empty: " "$WORK/$d.log" || fail "$d: no warning"; done
PROCESSES=()
split "${DAEMONS[0]}" collector
split "${DAEMONS[1]}" exporter
sanitized || poll 10 settled || fail "not all are filtered"
for p in "${PROCESSES[@]}"; do
    IFS=: read -r kind daemon pid <<<"$p"
    [ "$kind" = network ] || continue
    [ "$(field Uid "$pid")" = "0 0 0 0" ] && [ "$(field CapPrm "$pid")" = 0000000000000000 ] || fail "$daemon $kind: $(field Uid "$pid") $(field CapPrm "$pid")"
done
ctl 1 check --json >"$WORK/answer" 2>&1
grep -q '"network-root"' "$WORK/answer" || { cat "$WORK/answer"; fail "check does not say it"; }
[ "$(ctl 1 metrics | grep -c '^sami_network_root{role="exporter"} 1')" -eq 1 ] && [ "$(ctl 2 metrics | grep -c '^sami_network_root{role="collector"} 1')" -eq 1 ] ||
    fail "metrics: user"

echo "--- with the capabilities that the units give"
kill "${DAEMONS[@]}"
poll 10 test ! -S "$WORK/run1/exporter.sock" && poll 10 test ! -S "$WORK/run2/collector.sock" || fail "a daemon does not stop"
for n in 1 2; do sed -i 's/^user=.*/user=nobody/' "$WORK/fw$n/sami.conf"; done
PROCESSES=()
for d in collector:2 exporter:1; do
    n=${d#*:} d=${d%:*}
    given=$(sed -n 's/^CapabilityBoundingSet=//p' "$BUILD/packaging/systemd/sami-$d.service" | sed 's/CAP_/+/g; s/ /,/g' | tr '[:upper:]' '[:lower:]')
    ip netns exec "${LAB}fw$n" setpriv --bounding-set "-all,$given" --no-new-privs "$BUILD/sami-$d" -c "$WORK/fw$n/sami.conf" -f >"$WORK/$d.log" 2>&1 &
    DAEMONS[2 - n]=$!
    disown
    poll 10 test -S "$WORK/run$n/$d.sock" || fail "$d does not start"
    split "${DAEMONS[2 - n]}" $d
done
sanitized || poll 10 settled || fail "not all are filtered"
ctl 2 -q expect --vm $VM4 --from fw1.example || fail "expect"
ns fw2 conntrack -F 2>/dev/null
ctl 1 migrate --vm $VM4 --to fw2.example --now >"$WORK/answer" 2>&1 || { cat "$WORK/answer"; fail "a migration with the capabilities of the units"; }
kill "${DAEMONS[1]}"
poll 10 test ! -e "/proc/${DAEMONS[1]}" || fail "the exporter does not stop"
grep -q " ended " "$WORK/exporter.log" && fail "a child was not ended in order"
echo "six processes, each with its own rights and no more"
