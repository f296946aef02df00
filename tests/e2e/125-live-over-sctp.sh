#!/usr/bin/env bash
# Every kind of live transfer of 10 to 20 at once, TCP, UDP and pings, plain and translated, IPv4 and IPv6, over one migration over DTLS/SCTP.
# shellcheck disable=SC2034 # move.sh reads them
CASE='out in snat dnat masquerade ipv6-out ipv6-in ipv6-snat udp ipv6-udp' LISTENER_FIRST=1 TRANSPORT=sctp BESIDE=pings AFTER=ping_judge
pings() { . "$SRC/tests/e2e/ping.sh" && ping_only_known && ping_start; }
. "${srcdir:-.}/tests/e2e/move.sh"
