# shellcheck shell=bash
# bus.sh: a D-Bus daemon of the test's own, and sami-vmstate on it. Sourced after testbed.sh, which says WORK and BUILD.

BUS_PIDS=()

# bus_start NAME: sets nothing; the address is $(bus_address NAME)
bus_address() { echo "unix:path=$WORK/bus-$1"; }
bus_start() {
    command -v dbus-daemon >/dev/null || lab_skip "no dbus-daemon (package dbus)"
    cat >"$WORK/bus-$1.conf" <<CONF
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>$(bus_address "$1")</listen>
  <auth>EXTERNAL</auth>
  <policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy>
</busconfig>
CONF
    dbus-daemon --config-file="$WORK/bus-$1.conf" --nofork --nopidfile >"$WORK/bus-$1.log" 2>&1 &
    BUS_PIDS+=($!)
    poll 10 test -S "$WORK/bus-$1" || { cat "$WORK/bus-$1.log"; return 1; }
}

# vmstate_start BUS N OPTIONS...: the helper of host N on the bus; sets VMSTATE to its process
vmstate_start() {
    local bus=$1 n=$2
    shift 2
    rm -f "$WORK/vmstate-$bus.log"
    "$BUILD/sami-vmstate" --bus "$(bus_address "$bus")" -c "$WORK/fw$n/sami.conf" "$@" >"$WORK/vmstate-$bus.log" 2>&1 &
    VMSTATE=$!
    BUS_PIDS+=("$VMSTATE")
    poll 10 grep -qs 'is ours\|in the queue' "$WORK/vmstate-$bus.log" || { cat "$WORK/vmstate-$bus.log"; return 1; }
}

vmstate_stop() { kill "$1" 2>/dev/null; wait "$1" 2>/dev/null; }
bus_stop() { kill "${BUS_PIDS[@]}" 2>/dev/null; }
