#!/usr/bin/env bash
# Who may do what at the control sockets: the control group everything, the monitor group only read, and nobody else anything, the network process not
# even where its user has the control group for its own. Broken requests of either neither change anything nor end a daemon, and one who asks without
# reading takes no memory.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_start && sami_setup || exit 1
for n in 1 2; do printf 'control-group=daemon\nmonitor-group=mail\n' >>"$WORK/fw$n/sami.conf"; done
sami_start || exit 1
fail() { echo "$*"; cat "$WORK/out" "$WORK"/*.log; exit 1; }
# As somebody with this group: STATUS FW GROUP WORD...
WHO=65533
as() {
    local want=$1 n=$2 group=$3
    shift 3
    ns "fw$n" setpriv --reuid="$WHO" --regid=65533 --groups="$group" "$BUILD/samictl" --config-dir "$WORK/fw$n" "$@" >"$WORK/out" 2>&1
    local status=$?
    [ $status -eq "$want" ] || fail "wanted $want, got $status: $group $*"
}
for n in 1 2; do
    as 0 $n mail status
    as 0 $n mail stats --json
    as 0 $n mail metrics
    as 10 $n games status
done
as 0 2 mail expect --list
as 10 2 mail expect --vm $VM4 --from fw1.example
[ -z "$(ctl 2 expect --list | grep -v ' fw1.example ')" ] || fail "announced by a monitor"
as 10 1 mail migrate --vm $VM4 --to fw2.example --now
as 10 2 mail takeover
as 10 1 mail check --vm $VM4
as 10 1 mail diff --save "$WORK/table"
as 10 1 games migrate --vm $VM4 --to fw2.example --now
grep -q 'control: migrate refused for user 65533' "$WORK/exporter.log" || fail "a refusal is not logged"
as 0 1 daemon migrate --vm $VM4 --to fw2.example --now
grep -q 'control: migrate by user 65533, process' "$WORK/exporter.log" || fail "a request is not logged"
# Which connections were refused the one may see, how many the other.
sed -i '/^\[signer/a zones=5' "$WORK/fw2/signers.d/fw1.example.conf"
kill -HUP "$COLLECTOR"
poll 10 grep -q 'reloaded: 1 signers' "$WORK/collector.log" || fail "not reloaded"
ns fw1 conntrack -I -p tcp -s $VM4 -d $CLI4 --sport 1001 --dport 443 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED >/dev/null 2>&1
as 6 1 daemon migrate --vm $VM4 --to fw2.example --now
as 0 1 daemon status --json
grep -q "zone-not-allowed: tcp $VM4:1001 -> $CLI4:443" "$WORK/out" || fail "an operator does not see what was refused"
as 0 1 mail status --json
grep -q '"refused":{"zone-not-allowed":1}' "$WORK/out" || fail "a monitor does not see how many were refused"
for n in 1 2; do
    for verb in 'status --json' 'stats --json' metrics; do
        # shellcheck disable=SC2086
        as 0 $n mail $verb
        ! grep -q "$CLI4" "$WORK/out" || fail "a monitor sees a connection: $verb"
    done
done

# `useradd sami` makes a user whose group is called like control-group's default.
grep -q '^user=nobody' "$WORK/fw1/sami.conf" || fail "another user of the network process"
for group in daemon mail; do
    WHO=$(id -u nobody) as 10 1 $group status
    WHO=$(id -u nobody) as 10 2 $group expect --vm $VM4 --from any-peer
done
grep -q 'of user 65534 is turned away' "$WORK/collector.log" || fail "it is not said"

# Where a collector hands over a connection is for root alone, and nobody changes anything there (test-control).
[ "$(stat -c '%a %U' "$WORK/run1/exporter.pair")" = "600 root" ] || fail "$(ls -l "$WORK/run1")"

# A monitor that only asks: what it asks waits for it, not what it is answered.
read -ra children <"/proc/${DAEMONS[0]}/task/${DAEMONS[0]}/children" # the network process, the state process
memory() { awk '/^VmRSS/ { print $2 }' "/proc/${children[1]}/status"; }
before=$(memory)
ns fw2 python3 - "$WORK/run2/collector.sock" <<'PYTHON' || fail "the monitor"
import grp, os, select, socket, sys, time
os.setgroups([grp.getgrnam("mail").gr_gid])
os.setresgid(65533, 65533, 65533)
os.setresuid(65533, 65533, 65533)
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.setblocking(False)
text, end, n = b'{"cmd":"metrics"}\n' * 4096, time.monotonic() + 5, 0
while time.monotonic() < end and n < len(text):
    if select.select([], [s], [], 0.2)[1]:
        n += s.send(text[n:n + 65536])
PYTHON
after=$(memory)
echo "a monitor that does not read: $before KiB, $after KiB"
lab_within "$after" $((before + 16384)) || fail "answers that nobody reads: $before KiB, then $after KiB"
as 0 2 mail status

# Every command with members of every type that they may not have, from both classes.
cat >"$WORK/broken.py" <<'PYTHON'
import json, socket, sys
path = sys.argv[1]
def ask(text):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    s.connect(path)
    s.sendall(text)
    line = b""
    while b'"exit":' not in line or not line.endswith(b"\n"):
        part = s.recv(65536)
        if not part:
            break
        line += part
    return json.loads(line.splitlines()[-1])["exit"]
commands = [c.strip() for c in json.loads(
    (lambda s: (s.connect(path), s.sendall(b'{"cmd":"?"}\n'), s.makefile().readline())[2])(socket.socket(socket.AF_UNIX)))["error"]
    .split("knows:")[1].split(",")]
members = "id to vm peer from op keep open timeout_ms deadline_ms hold_ms on_late mark zone vlan now purge stop wait yield table for_s".split()
values = [5, -1, 10**30, 1.5, True, "", "\u0000", "x" * 300, [], ["x"], [5], [[]], {}, None, "all"]
n = 0
for command in commands:
    if command in ("metrics", "stats"):
        continue
    for member in members:
        for value in values:
            request = {"cmd": command, member: value}
            if command in ("replicate", "takeover", "resync", "sync"):
                request.setdefault("to", "nobody.example")
                request.setdefault("peer", "nobody.example")
                request.setdefault("timeout_ms", 1)
            code = ask(json.dumps(request).encode() + b"\n")
            n += 1
for junk in (b"\n", b"{}\n", b"[]\n", b'{"cmd":1}\n', b"{" * 1000 + b"\n", b"\xff\xfe\n", b"x" * 70000):
    ask(junk)
print(n, "requests")
PYTHON
for n in 1 2; do
    for socket in "$WORK/run$n"/*.sock; do
        python3 "$WORK/broken.py" "$socket" >"$WORK/out" 2>&1 || fail "not answered: $socket"
        cat "$WORK/out"
    done
done
ctl 1 status >"$WORK/out" 2>&1 && ctl 2 status >"$WORK/out" 2>&1 || fail "a daemon is gone"
! grep -E 'CRITICAL|critical|assert' "$WORK"/*.log || fail "a daemon complains of itself"
