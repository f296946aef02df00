#!/usr/bin/env bash
# Transfers to the VM through a public address go on at firewall 2.
. "$(dirname "$0")/lab.sh"

case_test() { lab_case_transfers 6 dnat; }

lab_main "$@"
