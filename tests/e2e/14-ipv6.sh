#!/usr/bin/env bash
# IPv6 transfers of both directions go on at firewall 2.
. "$(dirname "$0")/lab.sh"

case_test() { lab_case_transfers 6 in6 out6; }

lab_main "$@"
