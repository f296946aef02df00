#!/usr/bin/env bash
# Transfers of the VM behind a translated source address go on at firewall 2.
. "$(dirname "$0")/lab.sh"

case_test() { lab_case_transfers 6 snat; }

lab_main "$@"
