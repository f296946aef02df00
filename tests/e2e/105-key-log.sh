#!/usr/bin/env bash
# key-log: by default no secret of a TLS session leaves a process. Where it is set, the file is made for its owner alone and has what both ends know,
# and the daemons say so in their logs, to samictl check and to metrics; a file that others could read is refused.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_start && sami_setup || exit 1
# What TLS 1.3 has to be opened with, and TLS 1.2, as DTLS over SCTP is
case $TRANSPORT in
tcp) SECRETS=5 LINES='(EXPORTER_SECRET|(CLIENT|SERVER)_(HANDSHAKE_TRAFFIC_SECRET|TRAFFIC_SECRET_0)) [0-9a-f]{64} ([0-9a-f]{64}|[0-9a-f]{96})' ;;
sctp) SECRETS=1 LINES='CLIENT_RANDOM [0-9a-f]{64} [0-9a-f]{96}' ;;
esac
fail() { echo "FAIL $*"; tail -n 20 "$WORK"/*.log "$WORK/answer" 2>/dev/null; exit 1; }
KEYS=$WORK/keys
mkdir "$KEYS"
stop() {
    kill "${DAEMONS[@]}"
    poll 10 test ! -S "$WORK/run1/exporter.sock" && poll 10 test ! -S "$WORK/run2/collector.sock" || fail "a daemon does not stop"
}
# A TLS session, with its findings.
check() {
    ctl 1 check --vm $VM4 --to fw2.example --json >"$WORK/answer" 2>&1
    grep -q '"answered" *: *true' "$WORK/answer" || fail "no session"
}
found() { grep -o '"id" *: *"key-log-on"' "$WORK/answer" | wc -l; }
enabled() { ctl "$1" metrics | sed -n "s/^sami_key_log_enabled{role=\"$2\"} //p"; }

# By default.
sami_start || exit 1
check
[ "$(found)" -eq 0 ] || fail "a finding by default"
[ "$(enabled 1 exporter) $(enabled 2 collector)" = "0 0" ] || fail "metrics by default"
grep -q "key-log" "$WORK"/*.log && fail "a warning by default"
[ -z "$(grep -rlE '_TRAFFIC_SECRET|CLIENT_RANDOM' "$WORK")" ] || fail "secrets by default: $(grep -rlE '_TRAFFIC_SECRET|CLIENT_RANDOM' "$WORK")"

# A reload does not turn it on, and says so.
for n in 1 2; do echo "key-log=$KEYS/fw$n" >>"$WORK/fw$n/sami.conf"; done
kill -HUP "${DAEMONS[@]}"
for log in exporter collector; do
    poll 10 grep -q "take effect at the next start: key-log" "$WORK/$log.log" || fail "$log: nothing about the reload"
done
check
[ "$(found)" -eq 0 ] && [ -z "$(ls "$KEYS")" ] || fail "on by a reload"
stop

# The next start does.
umask 0 # the mode is not the umask's merit
sami_start || exit 1
umask 022
for log in exporter collector; do
    poll 10 grep -q "key-log is set: .* are written to $KEYS/fw.; whoever has that file can read all" "$WORK/$log.log" || fail "$log: no warning"
done
check
[ "$(found)" -eq 2 ] || fail "$(found) findings, not one of each host"
ctl 1 check >"$WORK/answer"
[ $? -eq 20 ] || fail "a firewall by itself: not exit 20"
grep -q "^WARN .*key-log is set" "$WORK/answer" || fail "not in the words of a check"
[ "$(enabled 1 exporter) $(enabled 2 collector)" = "1 1" ] || fail "metrics"
for n in 1 2; do
    [ "$(stat -c '%a %U %F' "$KEYS/fw$n")" = "600 root regular file" ] || fail "fw$n: $(stat -c '%a %U %F' "$KEYS/fw$n")"
    grep -vqE "^$LINES\$" "$KEYS/fw$n" &&
        fail "fw$n: other lines"
    sort "$KEYS/fw$n" >"$WORK/sorted$n"
done
[ "$(cut -d' ' -f1 "$WORK/sorted1" | uniq -c | awk '{ print $1 }' | sort -u)" = 1 ] || fail "not one session: $(cut -d' ' -f1 "$WORK/sorted1")"
[ "$(wc -l <"$WORK/sorted1")" -eq $SECRETS ] || fail "$(wc -l <"$WORK/sorted1") secrets of a session, not $SECRETS"
diff "$WORK/sorted1" "$WORK/sorted2" || fail "the ends have not the same secrets"

# Another start appends.
stop
sami_start || exit 1
check
[ "$(wc -l <"$KEYS/fw1")" -eq $((2 * SECRETS)) ] && head -n $SECRETS "$KEYS/fw1" | sort | diff "$WORK/sorted1" - || fail "not appended"
stop

# What others could read is refused, and says what to do.
refused() { # WHY
    local n name status
    for n in 1 2; do
        name=$([ $n -eq 1 ] && echo exporter || echo collector)
        G_DEBUG='' ns fw$n timeout 30 "$BUILD/sami-$name" -c "$WORK/fw$n/sami.conf" -f >"$WORK/$name.log" 2>&1 # its end is a critical message
        status=$?
        [ $status -eq 1 ] || fail "$name: $1: exit $status"
        grep -q "key-log $KEYS/fw$n: $1" "$WORK/$name.log" || fail "$name: not said: $1"
    done
}
for n in 1 2; do chmod 640 "$KEYS/fw$n"; done
refused "can be read or written by others than its owner"
for n in 1 2; do chmod 600 "$KEYS/fw$n" && chown nobody "$KEYS/fw$n"; done
refused "belongs to another user"
for n in 1 2; do mv "$KEYS/fw$n" "$KEYS/kept$n" && ln -s "$KEYS/kept$n" "$KEYS/fw$n"; done
refused "is a symbolic link"
for n in 1 2; do rm "$KEYS/fw$n" && mkdir "$KEYS/fw$n"; done
refused "Is a directory"
echo "by default none, two files with the same $SECRETS secrets a session, 4 kinds of files refused"
