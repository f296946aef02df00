#!/usr/bin/env bash
# What the operator did wrong is said at once, with its exit status.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_start && sami_setup || exit 1
expect() { # STATUS WORD COMMAND...
    local want=$1 word=$2
    shift 2
    "$@" >"$WORK/out" 2>&1
    local status=$?
    [ $status -eq "$want" ] && grep -q "$word" "$WORK/out" && return
    echo "wanted $want and '$word', got $status: $*"; cat "$WORK/out"; exit 1
}
expect 9 . ctl 1 migrate --vm $VM4 --to fw2.example --now
expect 1 root setpriv --reuid=65534 --clear-groups "$BUILD/sami-collector" -c "$WORK/fw2/sami.conf"
echo 'nonsense=1' >>"$WORK/fw1/sami.conf"
expect 1 nonsense "$BUILD/sami-exporter" -c "$WORK/fw1/sami.conf" --check-config
sed -i '$d' "$WORK/fw1/sami.conf"
sami_start || exit 1
expect 2 vm-prefixes ctl 1 migrate --vm 10.77.0.1 --to fw2.example --now
expect 2 peer ctl 1 migrate --vm $VM4 --to nobody.example --now
pkill -f "sami-collector -c $WORK"
poll 10 test ! -S "$WORK/run2/collector.sock"
# Of SCTP in UDP nobody says that its port is closed.
expect 1 "$([ "$TRANSPORT" = tcp ] && echo refused || echo 'no answer')" ctl 1 migrate --vm $VM4 --to fw2.example --now
