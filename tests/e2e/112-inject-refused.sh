#!/usr/bin/env bash
# What inject does not take, each with its reason and exit status: Messages that nobody known has signed or that were changed, VMs and records outside the
# signer's policy, flows whose time is over. And --force-unsigned, which is for a namespace.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_need
trap lab_stop EXIT
for n in fw1 fw2; do
    ip netns add "$LAB$n"
    ns $n sysctl -qw net.netfilter.nf_conntrack_acct=1 net.netfilter.nf_conntrack_timestamp=1 net.netfilter.nf_conntrack_events=1
    lab_ruleset | ns $n nft -f - || exit 1
done
sami_setup || exit 1 # firewall 2 takes from firewall 1: 10.0.0.0/24, translated to 192.0.2.0/24, zone 0
signer() { sed -i "/^$1 *=/d; /^\[signer/a $1=$2" "$WORK"/fw2/signers.d/*; }
signer kinds session
fail() { echo "FAIL $*"; cat "$WORK/out"; exit 1; }
add() { ns fw1 conntrack -I -p udp -s "$1" -d $CLI4 --sport "$2" --dport 53 -t 500 -u SEEN_REPLY,ASSURED "${@:3}" >/dev/null 2>&1 || fail "add $*"; }
record() { ns fw1 "$BUILD/sami-replay" record -q -c "$WORK/fw1/sami.conf" -o "$WORK/$1" "${@:2}" >"$WORK/out" 2>&1 || fail "record $*"; }
messages() { python3 "$SRC/tests/e2e/messages.py" "$@"; }
n_there() { ns fw2 conntrack -C; }
inject() { # STATUS ARGUMENT...
    local want=$1 code
    ns fw2 "$BUILD/sami-replay" inject -c "$WORK/fw2/sami.conf" "${@:2}" >"$WORK/out" 2>&1
    code=$?
    [ $code -eq "$want" ] || fail "inject ${*:2} ended with $code, not $want"
}
says() { grep -q -e "$1" "$WORK/out" || fail "it does not say '$1'"; }
empty() { ns fw2 conntrack -F >/dev/null 2>&1; }

# Whose table, and which records of it.
add $VM4 1001
add $VM4 1002 --src-nat 192.0.2.1:5002
add $VM4 1003 --src-nat 203.0.113.1:5003
add $VM4 1004 --zone 7
record vm.ipfix --vm $VM4
record other.ipfix --vm 172.16.0.0/16
record all.ipfix
inject 3 "$WORK/other.ipfix"; says 'vm-not-allowed: .*172.16.0.0/16'
inject 3 "$WORK/all.ipfix"; says 'vm-not-allowed: .*unscoped'
[ "$(n_there)" -eq 0 ] || fail "something of a refused file is there"
inject 6 "$WORK/vm.ipfix"
says "^refused nat-address: udp $VM4:1003"; says "^refused zone-not-allowed: udp $VM4:1004"; says ' 2 created, 2 refused'
[ "$(n_there)" -eq 2 ] || fail "$(n_there) flows, not 2"
says 'it was meant for fw1.example, not for fw2.example'
inject 6 --json "$WORK/vm.ipfix"
says '"event":"refused","reason":"nat-address","flow":"udp 10.0.0.13:1003'; says '"refused_by_reason":{"nat-address":1,"zone-not-allowed":1}'; says '"exit":6'
inject 6 --quiet --dry-run "$WORK/vm.ipfix"
empty
signer unscoped true; signer zones 0,7; signer nat-addresses 192.0.2.0/24,203.0.113.0/24
inject 0 "$WORK/all.ipfix"
[ "$(n_there)" -eq 4 ] || fail "$(n_there) flows, not 4"
signer max-sessions 2
empty
inject 6 "$WORK/all.ipfix"; says 'max-sessions'
[ "$(n_there)" -eq 2 ] || fail "$(n_there) flows, not 2: max-sessions"
signer max-sessions 0
empty
signer valid-until 2026-01-01
inject 3 "$WORK/all.ipfix"; says 'signer-not-valid: .*fw1.example'
[ "$(n_there)" -eq 0 ] || fail "something of a signer that is not valid any more is there"
signer valid-until 2099-01-01
inject 3 "$WORK/all.ipfix" "$WORK/all.ipfix"; says 'replayed-migration' # the same file twice in one run
empty
echo "ok   the signer's policy"

# A bit in the fourth of many Messages: what was before it is in, the rest is named.
"$BUILD/sami-table" -n "${LAB}fw1" fill --kind tcp 4000 >/dev/null || exit 1
record many.ipfix
n=$(messages count "$WORK/many.ipfix")
[ "$n" -ge 6 ] || fail "only $n Messages"
messages flip "$WORK/many.ipfix" "$WORK/flipped.ipfix" 3
inject 3 "$WORK/flipped.ipfix"
says "offset $(messages offset "$WORK/many.ipfix" 3): bad-signature"; says "$((n - 4)) Messages of the session behind the refused one were not read"
[ "$(n_there)" -gt 0 ] && [ "$(n_there)" -lt 4000 ] || fail "$(n_there) flows"
empty
head -c 100000 "$WORK/many.ipfix" >"$WORK/cut.ipfix"
inject 3 "$WORK/cut.ipfix"
[ "$(n_there)" -gt 0 ] || fail "a file that was cut off, and nothing is there"
empty
# Between two Messages, where nothing is malformed and every signature is right; and a Message that says that it is none to be taken.
head -c "$(messages offset "$WORK/many.ipfix" $((n - 1)))" "$WORK/many.ipfix" >"$WORK/cut.ipfix"
inject 3 "$WORK/cut.ipfix"; says 'Messages are missing behind its last one'
ns fw2 "$BUILD/sami-replay" validate -q -c "$WORK/fw2/sami.conf" "$WORK/cut.ipfix" >"$WORK/out" 2>&1
[ $? -eq 3 ] || fail "validate does not mind that the file was cut"
says 'Messages are missing behind its last one'
empty
inject 0 --count 10 "$WORK/cut.ipfix"
empty
for i in 0 3; do
    messages answer "$WORK/many.ipfix" "$WORK/answer.ipfix" $i
    inject 3 "$WORK/answer.ipfix"; says "offset $(messages offset "$WORK/many.ipfix" $i): \(bad-signature\|wrong-role\)"
    empty
done
echo "ok   changed and cut off"

# Nobody's word.
messages unsign "$WORK/many.ipfix" "$WORK/unsigned.ipfix"
inject 3 "$WORK/unsigned.ipfix"; says 'not-signed'
rm "$WORK"/fw2/signers.d/*
inject 3 "$WORK/many.ipfix"; says 'unknown-signer'
[ "$(n_there)" -eq 0 ] || fail "nobody's word was taken"
# Process 1 is one of ours in a process namespace of its own, and in another network namespace.
alone() { unshare --pid --fork --mount-proc "$BUILD/sami-replay" inject -c "$WORK/fw2/sami.conf" "$@" >"$WORK/out" 2>&1; }
alone --force-unsigned --dry-run "$WORK/unsigned.ipfix"
[ $? -eq 10 ] || fail "it is the namespace of process 1, and it did not end with 10"
says 'initial network namespace'
if unshare --pid --fork --mount-proc true 2>/dev/null; then
    for file in unsigned many; do
        unshare --pid --fork --mount-proc bash -c 'ip netns exec "$0" "${@}"; exit $?' "${LAB}fw2" "$BUILD/sami-replay" inject -c "$WORK/fw2/sami.conf" \
            --force-unsigned "$WORK/$file.ipfix" >"$WORK/out" 2>&1 || fail "by force: $?"
        says 'by force'
        [ "$(n_there)" -eq 4004 ] || fail "$(n_there) flows by force, not 4004"
        empty
    done
    echo "ok   by force"
fi

# A backup of its own, and time that passes.
ns fw1 conntrack -F >/dev/null 2>&1
ns fw1 conntrack -I -p udp -s $VM4 -d $CLI4 --sport 2001 --dport 53 -t 1 >/dev/null 2>&1
add $VM4 2002
record old.ipfix
now=$(date +%s)
later() { [ "$(date +%s)" -ge $((now + 4)) ]; }
poll 10 later
ns fw1 conntrack -F >/dev/null 2>&1
own() { ns fw1 "$BUILD/sami-replay" inject -c "$WORK/fw1/sami.conf" "$@" >"$WORK/out" 2>&1 || fail "$* ended with $?"; }
own "$WORK/old.ipfix"
says "^expired: udp $VM4:2001"; says '1 created, 1 expired since'
left=$(ns fw1 conntrack -L -p udp --sport 2002 2>/dev/null | awk '{ print $3 }')
[ "$left" -le 498 ] && [ "$left" -gt 400 ] || fail "$left seconds are left, not some 496"
ns fw1 conntrack -F >/dev/null 2>&1
own --no-aging "$WORK/old.ipfix"; says '2 created'
echo "ok   time that has passed"

# Only what a filter lets through; what is said of the whole file still counts.
ns fw1 conntrack -F >/dev/null 2>&1
own --no-aging -p 2002 "$WORK/old.ipfix"; says '1 created'
[ "$(ns fw1 conntrack -L -p udp --sport 2002 2>/dev/null | wc -l)" -eq 1 ] || fail "the flow of the filter is not there"
own --no-aging --until 1000000000 "$WORK/old.ipfix"; says '0 session records'
echo "ok   filters"
