#!/usr/bin/env bash
# keepalived's notify script: what it calls in which state, that it never fails for keepalived, and the same between real daemons.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/pair.sh"
notify=$SRC/packaging/keepalived/sami-notify
fail() { echo "FAILED: $*"; cat "$WORK"/*.log "$WORK/calls" 2>/dev/null; exit 1; }

echo "--- what it calls"
cat >"$WORK/samictl" <<'CALL'
#!/bin/sh
echo "$@" >>"$CALLS"
exit "${CODE:-0}"
CALL
chmod +x "$WORK/samictl"
export CALLS=$WORK/calls SAMICTL=$WORK/samictl
called() { # STATE CALL
    : >"$CALLS"
    "$notify" INSTANCE vm "$1" 100 2>/dev/null || fail "$1 ended with $?"
    [ "$(cat "$CALLS")" = "$2" ] || fail "$1 called '$(cat "$CALLS")', not '$2'"
}
called MASTER "takeover"
called BACKUP "resync --yield"
called FAULT ""
called STOP ""
SAMI_PEER=fw2.example called MASTER "takeover --from fw2.example"
CODE=9 called MASTER "takeover"
CODE=9 "$notify" INSTANCE vm MASTER 100 2>&1 | grep -q 'takeover' || fail "a failure is not said"
"$notify" 2>/dev/null && fail "without keepalived's words it did not fail"

echo "--- between two firewalls"
lab_start && pair_start replicate=true || exit 1
in_step() { is_said 1 in_step True && is_said 2 in_step True; }
poll 20 in_step || fail "not in step"
flow 1 1001
poll 10 has_flow 2 1001 || fail "not at the standby"
as() { SAMICTL="ip netns exec ${LAB}fw$1 $BUILD/samictl" SAMI_CONFIG_DIR=$WORK/fw$1 "$notify" INSTANCE vm "$2" 100; }
as 2 MASTER 2>"$WORK/notify"; as 1 BACKUP 2>>"$WORK/notify"
[ ! -s "$WORK/notify" ] || fail "$(cat "$WORK/notify")"
is_heard 2 entries 0 || fail "not taken over"
poll 15 is_heard 1 entries 1 || fail "the backup did not give it up"
export SAMI_SSH="$WORK/ssh"
printf '#!/bin/sh\nshift; shift\nexec ip netns exec %sfw2 %s/samictl --config-dir %s/fw2 "$@"\n' "$LAB" "$BUILD" "$WORK" >"$WORK/ssh"
chmod +x "$WORK/ssh"
same() { ctl 1 diff --with fw2.example >"$WORK/diff" 2>&1; }
poll 10 same || fail "the tables differ: $(cat "$WORK/diff")"
ctl 1 diff --save "$WORK/table1" && ns fw1 conntrack -I -p tcp -s $VM4 -d $CLI4 --sport 1009 --dport 443 --state ESTABLISHED -t 500 >/dev/null 2>&1
ctl 1 diff --save "$WORK/table2" || fail "diff --save"
ctl 1 diff "$WORK/table1" "$WORK/table2" >"$WORK/diff"
{ [ $? -eq 20 ] && grep -q '^+ .*:1009 ' "$WORK/diff"; } || fail "two saved tables: $(cat "$WORK/diff")"
