#!/usr/bin/env bash
# TCP transfers that the client opened and that the VM opened, pushing, pulling and both, go on at firewall 2.
. "$(dirname "$0")/lab.sh"

case_test() { lab_case_transfers 12 in out; }

lab_main "$@"
