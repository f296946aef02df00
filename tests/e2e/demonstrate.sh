#!/usr/bin/env bash
# demonstrate.sh BUILD [--transport tcp|sctp] [--flows N] [--churn | --vm | --cumulative]: a VM moves behind another firewall in the middle of live
# transfers, first without SAMI, then with it. The last line is for machines.
set -uo pipefail
export SAMI_BUILD=$1 srcdir
srcdir=$(cd "$(dirname "$0")/../.." && pwd)
shift
flows=24 churn=0 cumulative='' vm=''
while [ $# -gt 0 ]; do
    case $1 in
    --vm) vm=1; shift ;;
    --cumulative) cumulative=1; shift ;;
    --churn) churn=100; shift ;;
    --flows) flows=${2:?--flows needs a number}; shift 2 ;;
    --transport)
        case ${2:-} in tcp | sctp) export TRANSPORT=$2 ;; *) echo "demo: --transport tcp or sctp" >&2; exit 2 ;; esac
        shift 2 ;;
    *) echo "usage: ./run demo [--transport tcp|sctp] [--flows N] [--churn | --vm | --cumulative]" >&2; exit 2 ;;
    esac
done
[ -z "$vm" ] || exec "$srcdir/tests/e2e/vm/demonstrate.sh" "$SAMI_BUILD"
[ -z "$cumulative" ] || exec "$srcdir/tests/e2e/demonstrate-cumulative.sh" "$SAMI_BUILD"
case $flows in '' | *[!0-9]*) echo "demo: --flows needs a number" >&2; exit 2 ;; esac
[ "$flows" -ge 24 ] || { echo "demo: at least 24 flows, three of each kind" >&2; exit 2; }
. "$srcdir/tests/e2e/testbed.sh"
# shellcheck disable=SC2034
DEFAULT_POLICY=1
cases=(out in snat masquerade dnat ipv6-out ipv6-in ipv6-snat)

say() { printf '%s\n' "$*"; }

round() { # with|without
    local i count case n=${#cases[@]}
    CLIENTS=()
    : >"$WORK/results"
    lab_start 2 || return 1
    for ((i = 0; i < n; i++)); do
        case=${cases[i]}
        count=$((flows / n + (i < flows % n)))
        lab_traffic "$case" "$count" 200 || return 1
    done
    if [ "$1" = with ] && [ $churn -gt 0 ]; then
        churn_start $churn 16 || return 1
        say "  and besides them $((2 * churn)) connections a second are opened and closed, from both sides"
    fi
    lab_traffic udp 1 200 "$WORK/udp" || return 1
    # The process itself, not a wrapper: it gets the signal below, on which ping prints its summary.
    ip netns exec "${LAB}cli" ping -i 0.2 -c 60 -q $VM4 >"$WORK/ping" 2>&1 &
    ping=$!
    say "  $flows TCP transfers run through firewall 1"
    if [ "$1" = with ]; then
        sami_setup && sami_start && sami_follow || return 1
        say "  migration ${ID:0:8}: the snapshot is in the kernel of firewall 2, the VM still runs"
    fi
    sami_move "$([ "$1" = with ] || echo without)" || return 1
    say "  VM paused, $([ "$1" = with ] && echo 'freeze confirmed READY, ')path moved to firewall 2, VM resumed"
    if [ "$1" = with ] && [ $churn -gt 0 ]; then
        churn_judge >"$WORK/churned" && churn_good=1 # not in a subshell: it waits for children
        churned=$(cat "$WORK/churned")
    fi
    [ "$1" = without ] || wait "$MIGRATE"
    migrated=$?
    lab_enough
    awk '{ k = $1; n[k]++; ok[k] += $4 == "ok" } END { for (k in n) printf "    %-12s %d of %d survived\n", k, ok[k], n[k] }' \
        "$WORK/results" | sort
    kill -INT "$ping" 2>/dev/null
    wait "$ping"
    say "  UDP, opened by one datagram, then only replies (reported, not judged): $(awk '{ print $4 == "ok" ? "survived" : "died", "after", $6, "octets" }' "$WORK/udp")"
    say "  ping (reported, not judged): $(grep -o '[0-9]* received' "$WORK/ping" || echo 'no answer')"
    if [ "$1" = with ]; then
        invalid=$(lab_invalid)
        say "  packets counted INVALID at firewall 2: $invalid"
        say "  samictl migrate ended with $migrated: $(ctl 1 status --json | grep -o '"phase" *: *"[A-Z]*"' | head -n 1)"
    fi
}

invalid=0 churned='' churn_good=0
say "1. Without SAMI"
round without || exit 1
without=$(survived)
lab_stop
mkdir -p "$WORK" && chmod 755 "$WORK"
say "2. With SAMI"
round with || exit 1
with=$(survived)
stall=$(awk '$5 > max { max = $5 } END { print max + 0 }' "$WORK/results")
[ "$with" -eq "$flows" ] || cat "$WORK/results"
[ $churn -eq 0 ] || printf '%s\n' "$churned"
echo "survived=$with/$flows without=$without/$flows longest_stall_ms=$stall"
[ "$with" -eq "$flows" ] && [ "$without" -eq 0 ] && [ "$invalid" -eq 0 ] && [ $churn_good -eq $((churn > 0)) ]
