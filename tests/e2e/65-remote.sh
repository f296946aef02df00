#!/usr/bin/env bash
# samictl -H: the words arrive as they were given, the exit status comes back, ssh's own failures are told from it, and no host is an option.
# With an ssh that runs the command here and says what it got, then with a real sshd.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
. "$SRC/tests/e2e/sshd.sh"
lab_start && sami_setup && sami_start || exit 1
fail() { echo "FAILED: $*"; cat "$WORK/argv" "$WORK/out" "$WORK/err" "$WORK/sshd.log" 2>/dev/null; exit 1; }
samictl=$BUILD/samictl
mkdir "$WORK/bin" "$WORK/there"
cat >"$WORK/there/samictl" <<THERE
#!/bin/sh
exec $BUILD/samictl --config-dir $WORK/fw2 "\$@"
THERE
cat >"$WORK/bin/ssh" <<'SSH'
#!/bin/bash
printf '%s\n' "$@" >"$ARGV"
[ -z "${OWN:-}" ] || exit "$OWN"
PATH=$THERE:$PATH exec sh -c "${!#}"
SSH
chmod +x "$WORK/bin/ssh" "$WORK/there/samictl"
export ARGV=$WORK/argv THERE=$WORK/there
unset SAMI_SSH

remote() { # EXIT-STATUS ARGUMENTS...
    local want=$1 got
    shift
    rm -f "$WORK/argv"
    PATH=$WORK/bin:$PATH "$samictl" "$@" >"$WORK/out" 2>"$WORK/err" </dev/null
    got=$?
    [ "$got" -eq "$want" ] || fail "samictl $*: $got, not $want"
}
names=("with  spaces" "quote'and\"quote" '$(touch pwned);`touch pwned`' 'a\b&|<>*?[x]~#!' $'line\nend' '-k')
same() { # HOST: what it says is what it says there
    ctl 2 status --json >"$WORK/want"
    remote 0 -H "$1" status --json
    cmp -s "$WORK/want" "$WORK/out" || fail "another answer"
    remote 0 -H "$1" stats
    grep -q '^collector .*refused_' "$WORK/out" || fail "no counters"
    remote 2 -H "$1" resolve 0123abcd --keep
    remote 0 -H "$1" -s "$WORK/run2/collector.sock" status --json
    remote 9 -H "$1" -s "$WORK/nowhere.sock" status
    grep -q 'no daemon listens on' "$WORK/err" || fail "its words do not come back"
    (cd "$WORK" && for name in "${names[@]}"; do remote 0 -H "$1" keygen "$WORK/key$name" && [ -e "$WORK/key$name.pub" ] || fail "not '$name'"; done)
    [ -z "$(find . "$WORK" "$HOME" -maxdepth 1 -name pwned)" ] || fail "a word was run"
    rm -f "$WORK"/key*
}

echo "--- an ssh that runs it here"
same root@fw2.example
remote 0 -H root@fw2.example -q status --json
[ "$(cat "$WORK/argv")" = "$(printf '%s\n' root@fw2.example "samictl 'status' '--quiet' '--json'")" ] || fail "other words"
remote 0 statu --host=fw2 --json
[ "$(head -n 1 "$WORK/argv")" = fw2 ] || fail "another host"
remote 9 -H fw2 migrate --vm 10.0.0.13 --vm 10.0.0.14 --to fw1.example --json -- sh -c "exit 3" 'a  b'
grep -qxF "samictl 'migrate' '--json' '--vm=10.0.0.13' '--vm=10.0.0.14' '--to=fw1.example' '--' 'sh' '-c' 'exit 3' 'a  b'" "$WORK/argv" || fail "other words"

echo "--- what ssh itself says"
OWN=255 remote 1 -H fw2 status
grep -q 'ssh to fw2 failed' "$WORK/err" || fail "not said"
OWN=127 remote 1 -H fw2 status
grep -q 'fw2 cannot run samictl' "$WORK/err" || fail "not said"

echo "--- a table of the far end, which is not believed: no end of it, no word with the terminal"
cat >"$WORK/bin/far" <<'FAR'
#!/bin/bash
printf '\033[2J\302\2332Jthere\n' >&2
printf '# samictl table 1\ntcp 10.0.0.1:1 -> 10.0.0.2:2 zone 0\tstatus=\033[2Jassured\n'
[ -z "${LINES_THERE:-}" ] || seq "$LINES_THERE" | sed 's/$/\t/'
[ -z "${LINE:-}" ] || printf "$LINE\n"
[ -z "${ENDLESS:-}" ] || exec yes "udp 10.0.0.1:1 -> 10.0.0.2:2 zone 0"
exit "${OWN:-0}"
FAR
chmod +x "$WORK/bin/far"
SAMI_SSH=$WORK/bin/far remote 20 -s "$WORK/run1/exporter.sock" diff --with fw2
grep -q 'there$' "$WORK/err" && ! grep -q $'\033\|\302\233' "$WORK/err" "$WORK/out" || fail "a word with the terminal"
OWN=3 SAMI_SSH=$WORK/bin/far remote 1 -s "$WORK/run1/exporter.sock" diff --with fw2
grep -q 'ended with exit status 3' "$WORK/err" || fail "another reason"
ENDLESS=1 SAMI_SSH=$WORK/bin/far remote 1 -s "$WORK/run1/exporter.sock" diff --with fw2
grep -q 'fw2: it says more than samictl ever does' "$WORK/err" || fail "another reason"
max=$(cat /proc/sys/net/netfilter/nf_conntrack_max)
LINES_THERE=$(((max > 65536 ? max : 65536) * 4)) SAMI_SSH=$WORK/bin/far remote 1 -s "$WORK/run1/exporter.sock" diff --with fw2
grep -q 'fw2: the table has more lines than' "$WORK/err" || fail "a table of short lines"
for line in 'tcp 10.0.0.1:1 -> 10.0.0.2:2 zone 0' '\tstatus=assured' ' ' '\n'; do
    LINE=$line SAMI_SSH=$WORK/bin/far remote 1 -s "$WORK/run1/exporter.sock" diff --with fw2
    grep -q 'fw2: a line of the table is no flow' "$WORK/err" || fail "a line that is none: $line"
done

echo "--- no host, and wrong usage: ssh is not run"
for host in -oProxyCommand=false -l root@-oProxyCommand=false '' @fw2 root@ 'a b' 'a;b' '$(id)' $'a\nb'; do
    remote 2 -H "$host" status
    [ ! -e "$WORK/argv" ] || fail "'$host' was called"
done
remote 2 -H fw2 status --to x
[ ! -e "$WORK/argv" ] || fail "wrong usage was sent"
remote 0 -H fw2 status --help
[ ! -e "$WORK/argv" ] || fail "help was asked for there"

echo "--- a real sshd"
sshd_start
case $? in
0) ;;
77) lab_skip "all but the real sshd has passed (packages openssh-server, openssh-client)" ;;
*) fail "no sshd" ;;
esac
sshd_client_conf "$WORK/other_key" >"$WORK/other.conf"
export SAMI_SSH=$SSHD_SSH # the real one, not that of remote()
same fw2.example
export SAMI_SSH="ip netns exec ${LAB}fw2 $SSH -F $WORK/other.conf"
remote 1 -H fw2.example status
grep -q 'Permission denied' "$WORK/err" && grep -q 'ssh to fw2.example failed' "$WORK/err" || fail "not said"
exit 0
