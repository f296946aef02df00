#!/usr/bin/env bash
# samictl check --to, a dry run against the real collector: what it predicts of every session is what the migration then does, nothing is
# changed by it, and it is quick with very many sessions.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
MANY=100000
lab_start && sami_setup || exit 1
lab_untracked fw1 && lab_untracked fw2 || exit 1
fail() { echo "FAIL $*"; tail -n 20 "$WORK"/*.log "$WORK"/answer* "$WORK"/migrate* 2>/dev/null; exit 1; }
insert() { # FIREWALL SOURCE DESTINATION PORT ARGUMENTS...
    local n=$1 src=$2 dst=$3 port=$4
    shift 4
    ns "fw$n" conntrack -I -p tcp -s "$src" -d "$dst" --sport "$port" --dport 443 --state ESTABLISHED -t 5000 -u SEEN_REPLY,ASSURED "$@" \
        >/dev/null 2>"$WORK/insert" || { cat "$WORK/insert"; exit 1; }
}
udp() { ns fw1 conntrack -I -p udp -s "$1" -d "$2" --sport "$3" --dport 53 -t 5000 -u SEEN_REPLY,ASSURED >/dev/null 2>&1; }
flush() { local n; for n in 1 2; do "$BUILD/sami-table" -n "${LAB}fw$n" flush; done; }
check() { ctl 1 check --vm $VM4,$VM6 --to fw2.example "$@" >"$WORK/answer" 2>"$WORK/answer.err"; STATUS=$?; }
# Outcomes of an answer of check, or of the events of migrate, as one line.
outcomes() {
    python3 -c 'import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
last = lines[-1]["counts"]
print(json.dumps({"exact": last["exact"], "merged": last["merged"], "degraded": last["degraded"], "refused": last["refused"]}, sort_keys=True))' "$1"
}
# Everything that a dry run could leave behind
state() {
    ns fw2 conntrack -L -o id 2>/dev/null | sed -E 's/^([a-z0-9]+ +[0-9]+) +[0-9]+/\1/; s/ delta-time=[0-9]+//' | sort
    ns fw2 conntrack -S
    ns fw2 nft list ruleset
    ls -R "$WORK/journal2" 2>/dev/null
}
unchanged() { state | diff "$WORK/before" - >"$WORK/diff" || { cat "$WORK/diff"; fail "$1: a dry run has changed the destination"; }; }

# Labels are kept at the source only; the helper is not this signer's to bring.
ns fw1 nft 'add ct helper inet filter ftp { type "ftp" protocol tcp; }' || exit 1
ns fw1 nft 'insert rule inet filter forward tcp dport 9000 ct label set 5' || exit 1
ns fw1 nft 'insert rule inet filter forward tcp dport 9001 ct helper set "ftp"' || exit 1
# What a migration of before does later must not be taken for what a check did.
sed -i 's/^grace=.*/grace=600s/' "$WORK/fw2/sami.conf"
sami_start || exit 1

echo "--- everything that can go wrong at once"
lab_traffic out 3 300; lab_traffic snat 2 300 # 3 with labels, 2 with a helper and a translation
for port in 1001 1002 1003; do insert 1 $VM4 $CLI4 $port; done
insert 1 $VM4 $CLI4 1004 --src-nat 192.0.2.1:5004
insert 1 $CLI4 $VM4 1005
insert 1 $VM6 $CLI6 1006
udp $VM4 $CLI4 1007; udp $VM6 $CLI6 1008
insert 1 $VM4 $CLI4 1011 -w 5                         # refused: zone
insert 1 $VM4 $CLI4 1012 --src-nat 203.0.113.1:5012   # refused: an address that the signer may not bring
insert 1 $VM4 $CLI4 1013 --src-nat 203.0.113.1:5013
insert 1 $VM4 169.254.9.9 1014                        # refused: an address that nobody may have
insert 1 $VM4 $CLI4 1015; insert 2 $VM4 $CLI4 1015    # merged
insert 1 $VM4 $CLI4 1016; insert 2 $CLI4 $VM4 443 --dport 1016 # merged, opened from the other side
insert 1 $VM4 $CLI4 1017; insert 2 $VM4 $CLI4 1017 --src-nat 192.0.2.7:1017 # another translation
insert 1 $VM4 $CLI4 1018 --src-nat 192.0.2.1:5018; insert 2 10.0.0.99 $CLI4 1019 --src-nat 192.0.2.1:5018 # the port is taken
state >"$WORK/before"
check --json
[ $STATUS -eq 21 ] || fail "exit $STATUS"
predicted=$(outcomes "$WORK/answer")
for _ in 1 2; do check; done
unchanged "all at once"
cat "$WORK/answer"
ctl 1 migrate --vm $VM4,$VM6 --to fw2.example --now --json >"$WORK/migrate" 2>"$WORK/migrate.err"
[ $? -eq 6 ] || fail "migrate"
lab_enough
real=$(outcomes "$WORK/migrate")
echo "predicted $predicted"
echo "came to   $real"
[ "$predicted" = "$real" ] || fail "predicted and real outcomes differ"
for part in '"labels-lost": 3' '"no-helper": 2' '"address-special": 1' '"nat-address": 2' '"nat-clash": 1' '"nat-mismatch": 1' '"zone-not-allowed": 1' '"merged": 2'; do
    grep -qF "$part" <<<"$predicted" || fail "not among them: $part"
done

echo "--- by another policy of conflicts"
for policy in replace keep; do
    flush
    sed -i '/^on-conflict *=/d; /^\[/a on-conflict='$policy "$WORK/fw2/signers.d/fw1.example.conf"
    n=$(grep -c reloaded "$WORK/collector.log")
    kill -HUP "$COLLECTOR"
    reloaded() { [ "$(grep -c reloaded "$WORK/collector.log")" -gt "$n" ]; }
    poll 10 reloaded || fail "reload"
    insert 1 $VM4 $CLI4 1001
    insert 1 $VM4 $CLI4 1015; insert 2 $VM4 $CLI4 1015
    insert 1 $VM4 $CLI4 1017; insert 2 $VM4 $CLI4 1017 --src-nat 192.0.2.7:1017
    state >"$WORK/before"
    check --json
    unchanged $policy
    predicted=$(outcomes "$WORK/answer")
    ctl 1 migrate --vm $VM4,$VM6 --to fw2.example --now --json >"$WORK/migrate" 2>"$WORK/migrate.err"
    real=$(outcomes "$WORK/migrate")
    echo "$policy: $predicted"
    [ "$predicted" = "$real" ] || fail "$policy: came to $real"
done

echo "--- nothing wrong, very many"
flush
"$BUILD/sami-table" -n "${LAB}fw1" fill $MANY --kind tcp >/dev/null || exit 1
state >"$WORK/before"
start=$(date +%s%N)
check --json
echo "{\"what\":\"check of $MANY sessions\",\"seconds\":$(bc <<<"scale=2; ($(date +%s%N) - $start) / 1000000000")}"
unchanged many
[ $STATUS -eq 0 ] || fail "exit $STATUS"
predicted=$(outcomes "$WORK/answer")
[ "$predicted" = "{\"degraded\": {}, \"exact\": $MANY, \"merged\": 0, \"refused\": {}}" ] || fail "predicted $predicted"
ctl 1 migrate --vm $VM4,$VM6 --to fw2.example --now --deadline 60s --json >"$WORK/migrate" 2>"$WORK/migrate.err" || fail "migrate"
[ "$predicted" = "$(outcomes "$WORK/migrate")" ] || fail "came to $(outcomes "$WORK/migrate")"
check --json # and now they are all there
[ $STATUS -eq 0 ] && grep -q "\"merged\":$MANY," "$WORK/answer" || fail "afterwards: $(cut -c 1-400 "$WORK/answer")"

echo "--- a collector that says nothing"
stop() { kill "$COLLECTOR"; poll 10 test ! -S "$WORK/run2/collector.sock"; }
stop || fail "the collector does not end"
if [ "$TRANSPORT" = tcp ] && command -v openssl >/dev/null; then # which speaks TLS
    sed -i '/^#* *max-delay *=/d' "$WORK/fw1/sami.conf"
    echo max-delay=1s >>"$WORK/fw1/sami.conf"
    kill -HUP "${DAEMONS[1]}"
    poll 10 grep -q reloaded "$WORK/exporter.log"
    mkfifo "$WORK/input"
    exec 8<>"$WORK/input"
    ns fw2 openssl s_server -accept 10.255.0.2:4740 -cert "$WORK/fw2/tls.crt" -key "$WORK/fw2/tls.key" -tls1_3 -Verify 1 -verify_quiet -quiet \
        <"$WORK/input" >/dev/null 2>"$WORK/server" &
    listens() { ns fw2 ss -Htln 'sport = :4740' | grep -q LISTEN; }
    poll 10 listens || fail "openssl s_server"
    check
    [ $STATUS -eq 21 ] && grep -q 'fw2.example: no answer to the hello' "$WORK/answer" || fail "silent: exit $STATUS"
fi
exit 0
