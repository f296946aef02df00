#!/usr/bin/env bash
# The journal that a collector kept of a real migration, with flows that came and ended while it was followed, and a session that was lost and resumed,
# gives a third firewall the table that the collector's firewall got. Cut off it is still taken; without its first file it is not.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
. "${srcdir:-.}/tests/e2e/related.sh"
DEFAULT_POLICY= # entries are put in by hand
lab_start && sami_setup && related_rules 1 && related_rules 2 && serve cli ftp.py $CLI4 || exit 1
sed -i "/^kinds *=/d; /^\[signer/a kinds=session,expectation" "$WORK"/fw2/signers.d/*
sed -i "s/^reconnect *=.*/reconnect=200ms/" "$WORK/fw1/sami.conf"
sami_start || exit 1
fail() { echo "FAIL $*"; cat "$WORK/out"; exit 1; }
third() { ip netns exec "${LAB}third" "$@"; }
replay() { third "$BUILD/sami-replay" "$1" -c "$WORK/fw2/sami.conf" "${@:2}" >"$WORK/out" 2>&1; }
add() { ns fw1 conntrack -I -p udp -s $VM4 -d $CLI4 --sport "$1" --dport 53 -t 500 -u SEEN_REPLY,ASSURED >/dev/null 2>&1 || { echo "FAIL add $1"; exit 1; }; }
has() { third conntrack -L -p udp --sport "$1" 2>/dev/null | grep -q "sport=$1 "; }
ip netns add "${LAB}third" && LAB_MORE+=(third)
third sysctl -qw net.netfilter.nf_conntrack_acct=1 net.netfilter.nf_conntrack_timestamp=1 net.netfilter.nf_conntrack_events=1
lab_ruleset | third nft -f - || exit 1
for n in 1 2; do ns fw$n nft add rule inet filter forward ct label 1 accept; done
third nft add rule inet filter forward ct label 1 accept

talk announced vm ftp.py $CLI4 && talk open vm ftp.py $CLI4 && do_one open pasv && do_one open join || exit 1
"$BUILD/sami-table" -n "${LAB}fw1" fill --kind mixed 1000 >/dev/null || exit 1
add 5001; add 5002
sami_follow || exit 1
add 5003 # while it is followed
ns fw1 conntrack -D -p udp --sport 5002 >/dev/null 2>&1
gone() { ! ns fw2 conntrack -L -p udp --sport 5002 2>/dev/null | grep -q 'sport=5002 '; }
poll 10 gone || fail "the end of a flow does not follow"
# The session is lost, and resumed: a second file.
counts() { ctl 1 stats --json | tr -d ' ' | grep -q "\"$1\":1[,}]"; }
CUT='tcp dport 4740 reject with tcp reset' OWN='tcp --dport 4740'
[ "$TRANSPORT" = tcp ] || CUT='udp dport 9899 drop' OWN='udp --dport 9899'
ns fw2 nft "add table inet cut; add chain inet cut in { type filter hook input priority 0; }; add rule inet cut in iifname mgmt0 $CUT"
add 5004 # something to send
poll 40 counts sessions_lost_total || { cat "$WORK"/*.log; fail "the exporter does not notice"; }
ns fw2 nft delete table inet cut
poll 40 counts sessions_resumed_total || { cat "$WORK"/*.log; fail "not resumed"; }
do_one announced port || exit 1
sami_move || exit 1
wait "$MIGRATE" || { echo "migrate ended with $?"; cat "$WORK/migrate" "$WORK"/*.log; exit 1; }
expectations 2 >"$WORK/expected" # before it is used

journals=("$WORK"/journal2/*.ipfix)
[ ${#journals[@]} -eq 2 ] || { echo "not two journals: ${journals[*]}"; exit 1; }
mv "${journals[0]}" "$WORK/a.ipfix" && mv "${journals[1]}" "$WORK/b.ipfix"
# By their counters, whatever their names are: the session's first file is the one that begins.
[ "$(python3 "$SRC/tests/e2e/messages.py" counter "$WORK/a.ipfix" 1)" -eq 1 ] && journals=("$WORK/a.ipfix" "$WORK/b.ipfix") ||
    journals=("$WORK/b.ipfix" "$WORK/a.ipfix")
replay inject --dry-run "${journals[1]}" "${journals[0]}" || fail "in the other order: $?"
replay inject "${journals[@]}" || fail "inject ended with $?"
cat "$WORK/out"
grep -q 'Messages, and [0-9]* of collectors' "$WORK/out" && fail "a journal has no answers"
has 5001 && has 5003 && has 5004 || fail "a flow is missing"
has 5002 && fail "a flow that had ended is there"
# Packets have moved some timeouts on at firewall 2 since.
# shellcheck disable=SC2086
ns fw2 conntrack -D -p $OWN >/dev/null 2>&1 # the daemons' own
"$BUILD/sami-table" -t 1000000 compare "${LAB}fw2" "${LAB}third" >"$WORK/compared" || { cat "$WORK/compared"; fail "the tables differ"; }
[ "$(third conntrack -L expect 2>/dev/null | wc -l)" -eq "$(wc -l <"$WORK/expected")" ] || fail "not what the helper expects"
echo "ok   the table of the journal"

# A second firewall that the signer is unknown to, and one without the file's beginning.
third conntrack -F >/dev/null 2>&1
"$BUILD/samictl" --config-dir "$WORK/fw3" setup --name fw3.example --address 10.255.0.3:4740 >"$WORK/out" 2>&1 || fail "setup"
third "$BUILD/sami-replay" inject -c "$WORK/fw3/sami.conf" "${journals[0]}" >"$WORK/out" 2>&1
code=$?
[ $code -eq 3 ] && grep -q 'unknown-signer' "$WORK/out" && grep -q 'were not read' "$WORK/out" || fail "an unknown signer: $code"
replay inject "${journals[1]}"
code=$?
[ $code -eq 3 ] && grep -q 'protocol: .*before begin' "$WORK/out" && [ "$(third conntrack -C)" -eq 0 ] || fail "without its beginning: $code"
n=$(python3 "$SRC/tests/e2e/messages.py" count "${journals[0]}")
n=$(python3 "$SRC/tests/e2e/messages.py" offset "${journals[0]}" $((n / 2)))
head -c "$n" "${journals[0]}" >"$WORK/head.ipfix"
replay inject "$WORK/head.ipfix" || fail "cut off: $?"
[ "$(third conntrack -C)" -gt 0 ] || fail "cut off, and nothing of it is there"
echo "ok   unknown, without beginning, cut off"
