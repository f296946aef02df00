#!/usr/bin/env bash
# One datagram opens, then only replies: firewall 2 has no rule for a datagram of the VM that belongs to no session.
CASE="udp ipv6-udp"
LISTENER_FIRST=1
. "${srcdir:-.}/tests/e2e/move.sh"
