#!/usr/bin/env bash
# Who may do what at the control sockets: the control group everything, the monitor group only read, and nobody else anything. Broken requests
# of either neither change anything nor end a daemon.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_start && sami_setup || exit 1
for n in 1 2; do printf 'control-group=daemon\nmonitor-group=mail\n' >>"$WORK/fw$n/sami.conf"; done
sami_start || exit 1
fail() { echo "$*"; cat "$WORK/out" "$WORK"/*.log; exit 1; }
# As nobody with this group: STATUS FW GROUP WORD...
as() {
    local want=$1 n=$2 group=$3
    shift 3
    ns "fw$n" setpriv --reuid=65534 --regid=65534 --groups="$group" "$BUILD/samictl" --config-dir "$WORK/fw$n" "$@" >"$WORK/out" 2>&1
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
grep -q 'control: migrate refused for user 65534' "$WORK/exporter.log" || fail "a refusal is not logged"
as 0 1 daemon migrate --vm $VM4 --to fw2.example --now
grep -q 'control: migrate by user 65534, process' "$WORK/exporter.log" || fail "a request is not logged"

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
