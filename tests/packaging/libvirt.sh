#!/usr/bin/env bash
# The wrapper for virsh migrate --suspend and the hook, between real daemons, with a virsh that does what libvirt's does.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_start && sami_setup && sami_start || exit 1
wrapper=$SRC/packaging/libvirt/sami-virsh-migrate hook=$SRC/packaging/libvirt/qemu-hook
fail() { echo "FAILED: $*"; cat "$WORK"/out "$FAKE_VIRSH"/* "$WORK"/collector.log "$WORK"/exporter.log 2>/dev/null; exit 1; }
add() { ns "$1" conntrack -I -p tcp -s $VM4 -d $CLI4 --sport "$2" --dport 443 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED >/dev/null 2>&1; }
there() { ns fw2 conntrack -L 2>/dev/null | grep -q "src=$VM4"; }
export FAKE_VIRSH=$WORK/virsh VIRSH="$SRC/tests/packaging/virsh"
export SAMI_CONFIG_DIR=$WORK/fw1 SAMICTL="ip netns exec ${LAB}fw1 $BUILD/samictl"
export FAKE_STATUS="ip netns exec ${LAB}fw2 $BUILD/samictl --config-dir $WORK/fw2 status --json"
mkdir -p "$WORK/fw1/vms.d"
printf '[vm]\naddresses=%s,%s\n' $VM4 $VM6 >"$WORK/fw1/vms.d/web1.conf"

begin() { # MODE
    rm -rf "$FAKE_VIRSH"
    mkdir -p "$FAKE_VIRSH"
    echo "$1" >"$FAKE_VIRSH/mode"
    ns fw2 conntrack -F >/dev/null 2>&1
    add fw1 1001
}
move() { timeout 60 "$wrapper" --to fw2.example "$@" >"$WORK/out" 2>&1; }
resumed_after_ready() {
    grep -qx 'READY\|SETTLE\|DONE' "$FAKE_VIRSH/at-resume" || fail "resumed in $(cat "$FAKE_VIRSH/at-resume")"
    grep -qx -- "-c qemu+ssh://hv2/system resume $1" "$FAKE_VIRSH/calls" || fail "resumed otherwise"
}

echo "--- paused, READY, resumed there"
begin works
move web1 qemu+ssh://hv2/system --live || fail "ended with $?"
grep -qx -- "migrate web1 qemu+ssh://hv2/system --suspend --live" "$FAKE_VIRSH/calls" || fail "another call"
resumed_after_ready web1
there || fail "nothing at firewall 2"

echo "--- a VM by address, with another name there; libvirt tells of no pause"
begin no-events
move --vm $VM4,$VM6 web1 qemu+ssh://hv2/system --live --suspend --dname web9 || fail "ended with $?"
resumed_after_ready web9

echo "--- post-copy is refused before anything happens"
begin works
for option in --postcopy --postcopy-after-precopy; do
    move web1 qemu+ssh://hv2/system --live $option && fail "not refused"
    grep -q 'refused: --postcopy' "$WORK/out" && [ ! -e "$FAKE_VIRSH/calls" ] || fail "not refused by its name"
done

echo "--- libvirt fails before the pause: rolled back, not resumed"
begin fails-early
move web1 qemu+ssh://hv2/system --live
[ $? -eq 4 ] || fail "not 4"
there && fail "left at firewall 2"
grep -q resume "$FAKE_VIRSH/calls" && fail "resumed"

echo "--- libvirt fails after the pause: an abort is asked for, not resumed"
begin fails-late
move web1 qemu+ssh://hv2/system --live &
mover=$!
poll 20 sh -c "$FAKE_STATUS | grep -q '\"phase\" *: *\"\\(READY\\|SETTLE\\|DONE\\)\"'" || fail "no freeze at the pause"
touch "$FAKE_VIRSH/fail-now"
wait $mover && fail "ended with 0"
grep -q 'virsh migrate failed' "$WORK/out" || fail "not said"
grep -q 'where the VM runs decides' "$WORK/out" && fail "it was rolled back, and the last word is that nobody knows"
grep -q resume "$FAKE_VIRSH/calls" && fail "resumed"

echo "--- not READY in time: waits, or resumes at once; never left paused"
stop_listener() {
    STOPPED=$(ip netns pids "${LAB}fw2" | xargs -r ps -o pid=,user=,comm= -p | awk '$2 == "nobody" && $3 == "sami-collector" { print $1 }')
    kill -STOP "$STOPPED"
}
begin no-events
VIRSH="$WORK/slow-virsh"
cat >"$VIRSH" <<SLOW
#!/usr/bin/env bash
# In the middle of virsh migrate the collector's network process stops.
case " \$* " in *" migrate "*) touch "$WORK/migrating"; while [ ! -e "$WORK/go-on" ]; do sleep 0.02; done ;; esac
exec "$SRC/tests/packaging/virsh" "\$@"
SLOW
chmod +x "$VIRSH"
for policy in wait resume; do
    begin no-events
    rm -f "$WORK/migrating" "$WORK/go-on"
    timeout 60 "$wrapper" --to fw2.example --deadline 300ms --on-late $policy web1 qemu+ssh://hv2/system --live >"$WORK/out" 2>&1 &
    mover=$!
    poll 20 test -e "$WORK/migrating" || fail "no migration"
    stop_listener
    touch "$WORK/go-on"
    if [ $policy = wait ]; then
        poll 20 grep -q 'not READY yet, waiting' "$WORK/out" || { kill -CONT "$STOPPED"; fail "does not wait"; }
        [ ! -e "$FAKE_VIRSH/at-resume" ] || { kill -CONT "$STOPPED"; fail "resumed before READY"; }
        kill -CONT "$STOPPED"
        wait $mover || fail "ended with $?"
        resumed_after_ready web1
    else
        poll 20 test -e "$FAKE_VIRSH/at-resume" || { kill -CONT "$STOPPED"; fail "left paused"; }
        kill -CONT "$STOPPED"
        wait $mover && fail "late, and ended with 0"
        grep -q 'READY has not come' "$WORK/out" || fail "not said"
    fi
done
export VIRSH="$SRC/tests/packaging/virsh"

echo "--- the announcement at the destination"
cat >"$WORK/there" <<'THERE'
#!/bin/sh
echo "$*" >>"$FAKE_VIRSH/announced"
case "$*" in "help expect") exit "$KNOWS" ;; esac
exit "$TAKES"
THERE
chmod +x "$WORK/there"
export KNOWS=0 TAKES=0
begin works
move --at-destination "$WORK/there" web1 qemu+ssh://hv2/system --live || fail "ended with $?"
grep -qx "expect --vm web1 --from fw1.example --for 1h" "$FAKE_VIRSH/announced" || fail "announced otherwise"
KNOWS=2
begin works
move --at-destination "$WORK/there" web1 qemu+ssh://hv2/system --live || fail "ended with $?"
grep -q 'going on without' "$WORK/out" || fail "not said"
KNOWS=0 TAKES=3
begin works
move --at-destination "$WORK/there" web1 qemu+ssh://hv2/system --live && fail "started without an announcement"
[ ! -e "$FAKE_VIRSH/calls" ] || fail "virsh was called"
TAKES=0
begin works
for name in "web1;touch $WORK/ran;:" "web1 \$(touch $WORK/ran)" $'web1\ntouch' "web1&" "web'1"; do
    move --at-destination "$WORK/there" "$name" qemu+ssh://hv2/system --live
    [ $? -eq 2 ] || fail "not refused: $name"
    move --at-destination "$WORK/there" --from "fw1;$name" web1 qemu+ssh://hv2/system --live
    [ $? -eq 2 ] || fail "not refused as --from: $name"
done
[ ! -e "$FAKE_VIRSH/calls" ] || fail "virsh was called"
grep -q '^expect' "$FAKE_VIRSH/announced" 2>/dev/null && fail "announced: $(cat "$FAKE_VIRSH/announced")"
move --at-destination "$WORK/there" --vm $VM4,$VM6 "web1; the name is nobody's" qemu+ssh://hv2/system --live || fail "a name that goes nowhere: $?"

# --- the hook ---
cat >"$WORK/samictl" <<'CTL'
#!/bin/sh
echo "$*" >>"$FAKE_VIRSH/asked"
case "$*" in *expect*) exit "$TAKES" ;; esac
exec $REAL_SAMICTL "$@"
CTL
chmod +x "$WORK/samictl"
export REAL_SAMICTL="ip netns exec ${LAB}fw2 $BUILD/samictl --config-dir $WORK/fw2" TAKES=0
domain() { # ELEMENT
    cat <<XML
<domain type='qemu' id='3'>
  <name>web1</name>
  <!-- <metadata><sami:vm xmlns:sami="urn:sami:vm:1" addresses="10.0.0.99"/></metadata> -->
  <metadata>
    <app:info xmlns:app="http://example.org/app">addresses="10.0.0.98"</app:info>
    $1
  </metadata>
  <description>addresses="10.0.0.97"</description>
</domain>
XML
}
element="<sami:vm xmlns:sami=\"urn:sami:vm:1\" addresses=\"$VM4,$VM6\" from='fw1.example'/>"
run_hook() { SAMICTL=$WORK/samictl "$hook" web1 "$@" >"$WORK/out" 2>"$WORK/err"; }

echo "--- the hook announces at migrate begin, and nowhere else"
begin works
domain "$element" | run_hook migrate begin - || fail "the hook failed"
grep -qx -- "-q expect --vm $VM4,$VM6 --from fw1.example --for 1h" "$FAKE_VIRSH/asked" || fail "asked otherwise"
[ ! -s "$WORK/out" ] || fail "it prints on standard output: libvirt would take that for the domain"
begin works
domain "" | run_hook migrate begin - || fail "without metadata"
for operation in "prepare begin" "start begin" "started begin" "stopped end" "reconnect begin" "migrate end"; do
    # shellcheck disable=SC2086
    domain "$element" | run_hook $operation - || fail "$operation"
done
# shellcheck disable=SC2016
domain '<sami:vm xmlns:sami="urn:sami:vm:1" addresses="10.0.0.13; touch $(id)"/>' | run_hook migrate begin - || fail "odd addresses"
domain "${element/fw1.example/fw1;touch \$(id)}" | run_hook migrate begin - || fail "odd from"
[ ! -e "$FAKE_VIRSH/asked" ] || fail "asked: $(cat "$FAKE_VIRSH/asked")"
domain "${element/fw1.example/fw1;id}" | sed 's/;id./& require="true"/' | run_hook migrate begin - && fail "odd from, and required"
domain '<sami:vm xmlns:sami="urn:sami:vm:1" addresses="10.0.0.13"/>' | run_hook migrate begin - || fail "without from"
grep -qx -- "-q expect --vm 10.0.0.13 --from any-peer --for 1h" "$FAKE_VIRSH/asked" || fail "asked otherwise"

echo "--- it refuses only where require says so"
TAKES=3
domain "$element" | run_hook migrate begin - || fail "failed without require"
domain "${element%/>} require=\"true\"/>" | run_hook migrate begin - && fail "not refused"

echo "--- release aborts what has not become READY, and that only"
begin works
sami_follow || exit 1
domain "$element" | run_hook release end - || fail "release"
wait "$MIGRATE"
[ $? -eq 4 ] || fail "not aborted: $(cat "$WORK/migrate")"
there && fail "left at firewall 2"
add fw1 1001
sami_follow || exit 1
domain "${element/$VM4,$VM6/10.0.0.77}" | run_hook release end - || fail "release of another VM"
ctl 1 freeze "$ID" >"$WORK/out" 2>&1 || fail "another VM's migration was aborted"
wait "$MIGRATE" || fail "migrate ended with $?"
domain "$element" | run_hook release end - || fail "release"
there || fail "a migration after READY was aborted"

echo "--- an address is the same however the metadata writes it"
cat >"$WORK/samictl" <<'CTL'
#!/bin/sh
case "$*" in
status) echo "0badcafe collector FOLLOW fw1.example $SHOWN" ;;
*) echo "$*" >>"$FAKE_VIRSH/asked" ;;
esac
CTL
is_aborted() { # STATUS-SHOWS METADATA
    rm -f "$FAKE_VIRSH/asked"
    domain "<sami:vm xmlns:sami=\"urn:sami:vm:1\" addresses=\"$2\"/>" | SHOWN=$1 run_hook release end - || fail "release"
    grep -qsx -- '-q abort 0badcafe' "$FAKE_VIRSH/asked"
}
while read -r shown written; do is_aborted "$shown" "$written" || fail "$written is not $shown"; done <<'SAME'
10.0.0.13,2001:db8::13 2001:DB8::13
2001:db8::13 10.0.0.99,2001:0db8:0000:0:0:0:0:0013
2001:db8:0:1::/64 2001:db8:0:1:0::/64
10.0.0.13 10.0.0.13/32
2001:db8::13/128 2001:db8:0::13
:: 0:0:0:0:0:0:0:0
::1 0::1
1:: 1:0:0:0:0:0:0:0
::ffff:a00:d ::ffff:10.0.0.13
SAME
while read -r shown written; do is_aborted "$shown" "$written" && fail "$written is taken for $shown"; done <<'OTHER'
10.0.0.13 10.0.0.1
10.0.0.13 10.0.0.130
10.0.0.0/24 10.0.0.0
2001:db8::13 2001:db8::1300
2001:db8::13 2001:db8:13::
2001:db8::/64 2001:db8::/65
OTHER
exit 0
