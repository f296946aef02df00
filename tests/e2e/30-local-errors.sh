#!/usr/bin/env bash
# What goes wrong before anything is sent is said where it was asked for, with a status that is not 0.
. "$(dirname "$0")/lab.sh"

refused() { # STATUS PATTERN COMMAND...
    local want=$1 pattern=$2 status=0
    shift 2
    "$@" >"$LAB_DIR/refused.log" 2>&1 || status=$?
    printf '%s -> %s: %s\n' "$*" "$status" "$(tail -n 2 "$LAB_DIR/refused.log" | tr '\n' ' ')"
    [ "$status" -eq "$want" ] || die "exit status $status, not $want"
    grep -Eqi "$pattern" "$LAB_DIR/refused.log" || die "the message does not say $pattern"
}

case_has_begun() { LAB_ID=$(ctl fw1 status --json | grep -o '"id" *: *"[0-9a-f]*"' | tail -n 1 | grep -o '[0-9a-f]\{8,\}'); }

case_test() {
    lab_setup
    chmod -R a+rX "$LAB_DIR"
    refused 1 'root|CAP_NET_ADMIN|permi' on fw2 setpriv --reuid=65534 --regid=65534 --clear-groups \
        timeout 5 "$SAMI_BUILD/sami-collector" -c "$LAB_DIR/fw2/sami.conf" -f
    refused 9 'exporter' ctl fw1 migrate --vm $VM4 --to fw2.lab
    lab_daemon fw1 exporter
    refused 2 'vm-prefixes' ctl fw1 migrate --vm 172.16.0.1 --to fw2.lab
    refused 2 'peer' ctl fw1 migrate --vm $VM4 --to fw3.lab
    refused 1 'fw2.lab|refused|unreachable|connect' timeout 20 "$BASH" -c 'exec "$@"' - \
        ip netns exec "$LAB-fw1" "$SAMI_BUILD/samictl" --config-dir "$LAB_DIR/fw1" migrate --vm $VM4 --to fw2.lab
    lab_daemon fw2 collector
    # A collector that is halted confirms no snapshot.
    kill -STOP $(ip netns pids "$LAB-fw2")
    ctl fw1 migrate --vm $VM4 --to fw2.lab --json >"$LAB_DIR/migrate.json" 2>&1 &
    wait_for 3 case_has_begun || die "no migration: $(ctl fw1 status --json)"
    refused 1 'snapshot|not-ready|not ready' ctl fw1 freeze "$LAB_ID"
    kill -CONT $(ip netns pids "$LAB-fw2")
    [ "$(lab_table fw2 | wc -l)" -eq 0 ] || die "something was written: $(lab_table fw2)"
}

lab_main "$@"
