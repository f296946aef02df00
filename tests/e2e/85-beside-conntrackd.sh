#!/usr/bin/env bash
# A replication beside conntrackd, the real one, is refused with the way out, whether a command or the configuration starts it; a conntrackd in
# another namespace is in nobody's way; the configuration can say that it is there for other flows.
set -uo pipefail
LEASE=9s # a dump every three seconds: each looks for conntrackd
. "${srcdir:-.}/tests/e2e/pair.sh"
command -v conntrackd >/dev/null || lab_skip "conntrackd is not installed"
fail() { echo "$*"; ctl 1 status; cat "$WORK"/*.log; exit 1; }

conntrackd_start() { # 1|2
    cat >"$WORK/conntrackd$1.conf" <<CONF
Sync {
    Mode FTFW { DisableExternalCache On }
    UDP {
        IPv4_address 10.255.0.$1
        IPv4_Destination_Address 10.255.0.$((3 - $1))
        Port 3780
        Interface mgmt0
        Checksum on
    }
}
General {
    LogFile off
    Syslog off
    LockFile $WORK/conntrackd$1.lock
    UNIX { Path $WORK/conntrackd$1.sock }
}
CONF
    ns "fw$1" conntrackd -C "$WORK/conntrackd$1.conf" >"$WORK/conntrackd$1.out" 2>&1 &
    poll 20 test -S "$WORK/conntrackd$1.sock" || { cat "$WORK/conntrackd$1.out"; lab_skip "conntrackd does not start here"; }
}
ended() { [ ! -e "$WORK/conntrackd$1.sock" ]; }
conntrackd_stop() { ns "fw$1" conntrackd -C "$WORK/conntrackd$1.conf" -k >/dev/null 2>&1; poll 20 ended "$1" || fail "conntrackd does not end"; }
says_why() { pair_says 1 why | grep -q '^conntrackd (process [0-9]*) runs here'; }

lab_start && pair_start || exit 1
lab_untracked fw1 && lab_untracked fw2 || exit 1

echo "refused"
conntrackd_start 1
ctl 1 replicate --to fw2.example >"$WORK/out" 2>&1
[ $? -eq 1 ] || fail "not refused: $(cat "$WORK/out")"
grep -q 'conntrackd (process [0-9]*) runs here.*conntrackd -k.*beside-conntrackd=true' "$WORK/out" || fail "the refusal has no way out: $(cat "$WORK/out")"
[ -z "$(pair_says 1 peer)" ] || fail "it was begun nevertheless"
ctl 2 replicate --to fw1.example --wait >"$WORK/out" 2>&1 || fail "a conntrackd in another namespace was in the way: $(cat "$WORK/out")"
ctl 2 replicate --to fw1.example --stop >/dev/null || fail "stop"

echo "from the configuration: begun when conntrackd has ended"
echo replicate=true >>"$WORK/fw1/peers.d/fw2.example.conf"
kill -HUP "${PAIR["1 exporter"]}"
poll 10 says_why || fail "the configuration started it"
is_said 1 up False || fail "up beside conntrackd"
ctl 1 replicate --to fw2.example >"$WORK/out" 2>&1 && fail "a command says that it begins"
grep -q 'runs here' "$WORK/out" || fail "the command does not say what it waits for: $(cat "$WORK/out")"
ns fw1 conntrackd -C "$WORK/conntrackd1.conf" -s >/dev/null 2>&1 || fail "conntrackd -s"
conntrackd_stop 1
poll 20 is_said 1 in_step True || fail "not in step after conntrackd has ended"

echo "started beside one that runs: it goes on, and says so"
conntrackd_start 1
warned() { grep -q 'goes on, but conntrackd' "$WORK/exporter1.log"; }
poll 20 warned || fail "no warning"
flow 1 1001
poll 10 has_flow 2 1001 || fail "the replication has ended"

echo "allowed by the configuration"
pair_kill 1 exporter
pair_daemon 1 exporter || exit 1
poll 10 says_why || fail "a restart began it beside conntrackd"
echo beside-conntrackd=true >>"$WORK/fw1/sami.conf"
kill -HUP "${PAIR["1 exporter"]}"
poll 20 is_said 1 in_step True || fail "not in step although it is allowed"
conntrackd_stop 1
