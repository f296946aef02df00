#!/usr/bin/env bash
# Masqueraded transfers go on at firewall 2, although firewall 1 forgets them when the address leaves it.
. "$(dirname "$0")/lab.sh"

case_test() { lab_case_transfers 6 masquerade; }

lab_main "$@"
