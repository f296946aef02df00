#!/usr/bin/env bash
# demo.sh BUILD [--transport tcp|sctp] [--flows N]: live transfers while their VM moves to another firewall, without SAMI and with it.
set -u
SAMI_BUILD=$1
shift
. "$(dirname "$0")/lab.sh"
flows=27 transport=tcp seconds=12

usage() {
    echo "usage: ./run demo [--transport tcp|sctp] [--flows N]    N is at least 20" >&2
    exit 2
}

while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || usage
    case $1 in
    --flows) flows=$2 ;;
    --transport) transport=$2 ;;
    *) usage ;;
    esac
    shift 2
done
[[ $flows =~ ^[0-9]{1,4}$ ]] && [ "$flows" -ge 20 ] || usage
case $transport in
tcp) ;;
sctp)
    echo "demo: --transport sctp: not available yet in this version" >&2
    exit 1
    ;;
*) usage ;;
esac

if [ -t 1 ]; then bold=$'\e[1m' red=$'\e[31m' green=$'\e[32m' dim=$'\e[2m' plain=$'\e[0m'; else bold='' red='' green='' dim='' plain=''; fi
began=$(date +%s%N)

title() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
step() { printf '%s%6.2f s%s  %s\n' "$dim" "$((($(date +%s%N) - began) / 10000000))e-2" "$plain" "$*"; }

show_kinds() { # a line for each kind of transfer
    lab_results | sort | awk -v red="$red" -v green="$green" -v plain="$plain" '
        { kind = $1; sub(/-[0-9]+$/, "", kind); split($7, gap, "="); split($8, lost, "=") }
        $2 == "datagrams" { udp[kind] = ($3 == "finished" ? green "goes on" plain : red "died" plain) ", " lost[2] " datagrams lost"; next }
        { n[kind]++; if ($3 == "finished" && /checksum=ok/) ok[kind]++; if (gap[2] > max[kind]) max[kind] = gap[2] }
        END {
            m = split("in out snat dnat masquerade in6 out6 snat6 dnat6", order, " ")
            text["in"] = "client -> VM"; text["out"] = "VM -> client"; text["snat"] = "VM -> client, SNAT"
            text["dnat"] = "client -> VM, DNAT"; text["masquerade"] = "VM -> client, masquerade"
            text["in6"] = "client -> VM, IPv6"; text["out6"] = "VM -> client, IPv6"
            text["snat6"] = "VM -> client, IPv6 SNAT"; text["dnat6"] = "client -> VM, IPv6 DNAT"
            for (i = 1; i <= m; i++) if (n[order[i]])
                printf "          TCP  %-26s %s%d of %d survived%s, longest gap %d ms\n", text[order[i]],
                    (ok[order[i]] == n[order[i]] ? green : red), ok[order[i]], n[order[i]], plain, max[order[i]]
            for (i = 1; i <= m; i++) if (("udp-" order[i]) in udp)
                printf "          UDP  %-26s %s\n", text[order[i]], udp["udp-" order[i]]
        }'
    local way
    for way in in out in6; do
        awk -v way=$way '/packets transmitted/ { printf "          ping %-26s %d of %d answered\n",
            way == "out" ? "VM -> client" : way == "in6" ? "client -> VM, IPv6" : "client -> VM", $4, $1 }' "$LAB_DIR/ping.$way"
    done
}

begin() {
    lab_fresh
    lab_start
    step "namespaces: client, firewall 1, firewall 2, VM ($LAB-*); both firewalls drop by default, INVALID is dropped and counted, tcp_loose = 0"
}

open_transfers() {
    lab_plan "$flows" $seconds $LAB_KINDS
    lab_plan_datagrams $seconds in snat
    lab_traffic
    lab_ping $seconds
    step "$flows TCP transfers, 2 UDP exchanges and 3 pings run through firewall 1"
    sleep 2
}

end() {
    wait_for 40 lab_traffic_ended || die "the transfers did not end"
    wait_for 5 grep -qs transmitted "$LAB_DIR"/ping.in || :
    show_kinds
}

# In a shell of its own each, so that its namespaces are gone when it ends; the figures come back through a file.
without_sami() {
    title "1. Without SAMI"
    begin
    open_transfers
    lab_move without
    step "VM's link down, path moved to firewall 2, link up: $LAB_BLACKOUT_MS ms"
    step "firewall 2 does not know these connections; a transfer without an octet for 10 s counts as dead"
    end
    step "firewall 2 dropped $(lab_invalid fw2) packets as INVALID"
    echo "without=$(lab_count tcp survived) all=$(lab_count tcp all)" >"$figures"
}

with_sami() {
    title "2. With SAMI"
    begin
    lab_setup
    step "samictl setup on both firewalls, peer files exchanged"
    lab_daemons
    step "sami-collector runs on firewall 2, sami-exporter on firewall 1; nobody listens to connection tracking yet"
    open_transfers
    lab_migrate
    step "samictl migrate --vm $VM4,$VM6 --to fw2.lab: migration ${LAB_ID:0:4} follows, snapshot confirmed"
    lab_move
    step "VM's link down, samictl freeze, READY, path moved to firewall 2, link up: $LAB_BLACKOUT_MS ms"
    sed 's/^/          /' "$LAB_DIR/freeze.log"
    end
    local invalid
    invalid=$(lab_invalid fw2)
    step "firewall 2 dropped $invalid packets as INVALID, from the injection to the end"
    echo "survived=$(lab_count tcp survived) all=$(lab_count tcp all) stall=$(lab_stall) invalid=$invalid" >"$figures"
}

lab_is_possible=0
(lab_need) || lab_is_possible=$?
[ $lab_is_possible -eq 0 ] || exit 1
figures=$(mktemp)
trap 'rm -f "$figures"' EXIT
trap 'exit 130' INT TERM HUP

(without_sami) || exit $?
. "$figures" # without, all
lost=$without total=$all
(with_sami) || exit $?
. "$figures" # survived, all, stall, invalid
title "Result"
[ "$invalid" -eq 0 ] || echo "${red}$invalid packets were INVALID at firewall 2${plain}"
echo "survived=$survived/$all without=$lost/$total longest_stall_ms=$stall"
[ "$survived" -eq "$all" ] && [ "$all" -eq "$flows" ] && [ "$total" -eq "$flows" ] && [ "$lost" -eq 0 ] && [ "$invalid" -eq 0 ]
