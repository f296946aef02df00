#!/usr/bin/env bash
# IPv6 transfers behind a translated source, and to a translated destination, go on at firewall 2.
. "$(dirname "$0")/lab.sh"

case_test() { lab_case_transfers 6 snat6 dnat6; }

lab_main "$@"
