# keys.sh: for the cases about where private keys are. Sourced behind testbed.sh.
# shellcheck shell=bash
fail() { echo "FAILED: $*"; cat "$WORK/out" "$WORK"/*.log 2>/dev/null; exit 1; }
expect() { # STATUS WORD COMMAND...
    local want=$1 word=$2
    shift 2
    "$@" >"$WORK/out" 2>&1 </dev/null
    local status=$?
    [ $status -eq "$want" ] && grep -q -- "$word" "$WORK/out" || fail "$*: $status, wanted $want and '$word'"
}
set_key() { # FIREWALL KEY [VALUE]: without one the key is not there
    sed -i "/^$2=/d" "$WORK/fw$1/sami.conf" && { [ $# -lt 3 ] || echo "$2=$3" >>"$WORK/fw$1/sami.conf"; }
}
