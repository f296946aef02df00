# shellcheck shell=bash
# The machine's connection table made large enough for a test, and put back. Sourced. nf_conntrack_max and the buckets are one for the
# machine and writable only in its first namespace (reference: net/netfilter/nf_conntrack_standalone.c of Linux 6.18).

MACHINE_MAX=/proc/sys/net/netfilter/nf_conntrack_max
MACHINE_BUCKETS=/sys/module/nf_conntrack/parameters/hashsize

# machine_table_hold N: room for N entries. Does nothing where there is room; ends the test as skipped where it cannot be made.
# N counts all namespaces of the test, since each may hold nf_conntrack_max, while the buckets are shared.
machine_table_hold() {
    local max buckets
    [ -e "$MACHINE_MAX" ] || { echo "SKIP: no $MACHINE_MAX here"; exit 77; }
    max=$(cat $MACHINE_MAX)
    [ "$1" -gt "$max" ] || return 0
    [ -w "$MACHINE_BUCKETS" ] && echo "$max" 2>/dev/null >$MACHINE_MAX ||
        { echo "SKIP: nf_conntrack_max is $max, $1 are needed, and it cannot be written here"; exit 77; }
    exec {MACHINE_LOCK}>/run/lock/sami-global || { echo "SKIP: /run/lock/sami-global cannot be made"; exit 77; }
    flock "$MACHINE_LOCK"
    buckets=$(cat $MACHINE_BUCKETS)
    MACHINE_SAVED="$(cat $MACHINE_MAX) $buckets"
    # Buckets first: writing them sets nf_conntrack_max as well.
    [ "$buckets" -ge "${2:-0}" ] || echo "$2" >$MACHINE_BUCKETS
    echo "$1" >$MACHINE_MAX
    [ "$(cat $MACHINE_MAX)" -ge "$1" ] || { machine_table_restore; echo "SKIP: nf_conntrack_max cannot be raised to $1"; exit 77; }
}

machine_table_restore() {
    [ -n "${MACHINE_SAVED:-}" ] || return 0
    local max=${MACHINE_SAVED% *} buckets=${MACHINE_SAVED#* }
    [ "$(cat $MACHINE_BUCKETS)" = "$buckets" ] || echo "$buckets" >$MACHINE_BUCKETS
    echo "$max" >$MACHINE_MAX
    MACHINE_SAVED=
    exec {MACHINE_LOCK}>&-
}
