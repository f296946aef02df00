#!/usr/bin/env bash
# A pair with conntrackd becomes a pair with SAMI: its file is read, the keys are written, the replication waits until conntrackd has ended,
# and then the same filters hold. Every option that conntrackd.conf(5) names is in the table of sami-conntrackd(7).
set -uo pipefail
. "${srcdir:-.}/tests/e2e/pair.sh"
fail() { echo "$*"; ctl 1 status; cat "$WORK"/*.log "$WORK/out"; exit 1; }
import() { ctl 1 import-conntrackd "$@" >"$WORK/out" 2>"$WORK/err"; }
others() { ns fw1 conntrack -I -s "$VM4" -d "$1" -t 500 -u SEEN_REPLY,ASSURED "${@:2}" >/dev/null 2>&1; }
has() { ns fw2 conntrack -L "$@" 2>/dev/null | grep -q src=; }

echo "the table has every option"
page=/usr/share/man/man5/conntrackd.conf.5.gz
if [ -e $page ]; then
    n=0
    # One name has a misprint there.
    for option in $(zcat $page | sed -n 's/^\.BI "\([A-Za-z0-9_]*\) <.*/\1/p' | sed 's/Destionation/Destination/' | sort -u); do
        grep -qx "\.B $option" "$BUILD/man/sami-conntrackd.7" || fail "sami-conntrackd(7) has no $option"
        n=$((n + 1))
    done
    [ $n -ge 30 ] || fail "only $n options were found in $page"
else
    echo "(conntrackd.conf(5) is not installed)"
fi

lab_start && pair_setup || exit 1
lab_untracked fw1 && lab_untracked fw2 || exit 1
cat >"$WORK/conntrackd.conf" <<CONF
Sync {
    Mode FTFW { DisableExternalCache On }
    UDP {
        IPv4_address 10.255.0.1
        IPv4_Destination_Address 10.255.0.2
        Port 3780
        Interface mgmt0
        Checksum on
    }
}
General {
    HashSize 32768
    LogFile off
    Syslog off
    LockFile $WORK/conntrackd.lock
    UNIX { Path $WORK/conntrackd.sock }
    Filter From Userspace {
        Protocol Accept { TCP UDP }
        Address Ignore { IPv4_address 203.0.113.0/24 IPv4_address 192.0.2.1 }
        State Accept { ESTABLISHED CLOSE_WAIT for TCP }
    }
}
CONF
conf=$WORK/fw1/peers.d/fw2.example.conf

echo "errors"
import "$WORK/nowhere"
[ $? -eq 1 ] && grep -q nowhere "$WORK/err" || fail "a missing file: $(cat "$WORK/err")"
import "$WORK/conntrackd.conf" --write
[ $? -eq 2 ] && grep -q -- '--to PEER' "$WORK/err" || fail "--write without --to: $(cat "$WORK/err")"
import "$WORK/conntrackd.conf" --write --to fw3.example
[ $? -eq 2 ] && grep -q "peer add" "$WORK/err" || fail "an unknown peer: $(cat "$WORK/err")"
sed 's/HashSize/HashSizes/' "$WORK/conntrackd.conf" >"$WORK/bad.conf"
import "$WORK/bad.conf"
[ $? -eq 1 ] && grep -q "bad.conf:12: unknown option 'HashSizes' in General" "$WORK/err" || fail "an unknown option: $(cat "$WORK/err")"
sed 's/ TCP UDP / TCP SCTP /' "$WORK/conntrackd.conf" >"$WORK/lossy.conf"
import "$WORK/lossy.conf"
[ $? -eq 6 ] && grep -q '^# line 18: Protocol SCTP: NOT CARRIED OVER' "$WORK/out" && grep -q '1 options are not' "$WORK/err" || fail "what is lost: $(cat "$WORK/err")"
cp "$conf" "$conf.old"
echo replicate-protocols=icmp >>"$conf"
import "$WORK/conntrackd.conf" --write --to fw2.example
[ $? -eq 1 ] && grep -q 'has replicate-protocols=icmp already' "$WORK/err" || fail "a key with another value: $(cat "$WORK/err")"
mv "$conf.old" "$conf"

echo "the way over"
# With the real one, if it is there.
if command -v conntrackd >/dev/null; then
    ns fw1 conntrackd -C "$WORK/conntrackd.conf" >"$WORK/conntrackd.out" 2>&1 &
    poll 20 test -S "$WORK/conntrackd.sock" || fail "conntrackd does not take the file: $(cat "$WORK/conntrackd.out")"
fi
pair_daemon 2 collector && pair_daemon 1 exporter || exit 1
import "$WORK/conntrackd.conf" --write --to fw2.example || fail "import: $(cat "$WORK/err")"
for line in replicate=true replicate-protocols=tcp,udp replicate-ignore=203.0.113.0/24,192.0.2.1 replicate-states=established,close-wait; do
    grep -qx "$line" "$conf" || fail "$conf has no $line"
done
cp "$conf" "$WORK/before"
import "$WORK/conntrackd.conf" --write --to fw2.example && cmp -s "$conf" "$WORK/before" && grep -q '^unchanged' "$WORK/out" || fail "not idempotent"
kill -HUP "${PAIR["1 exporter"]}"
if command -v conntrackd >/dev/null; then
    waits() { pair_says 1 why | grep -q '^conntrackd'; }
    poll 10 waits || fail "it does not wait for the end of conntrackd"
    ns fw1 conntrackd -C "$WORK/conntrackd.conf" -k >/dev/null 2>&1
fi
poll 20 is_said 1 in_step True || fail "not in step"
flow 1 1001
flow 1 1002 SYN_SENT
others 203.0.113.7 -p udp --sport 5000 --dport 53
others 198.51.100.20 -p udp --sport 5000 --dport 53
# Masqueraded behind an address that is ignored: that address is no end of the flow.
others 198.51.100.21 -p tcp --sport 1003 --dport 443 --state ESTABLISHED -r 198.51.100.21 -q 192.0.2.1 --reply-port-src 443 --reply-port-dst 1003 \
    --src-nat 192.0.2.1
poll 10 has_flow 2 1001 && poll 10 has -d 198.51.100.20 && poll 10 has -d 198.51.100.21 || fail "a flow that conntrackd replicated is missing"
has_no_flow 2 1002 && ! has -d 203.0.113.7 || fail "a flow that conntrackd ignored has come"
