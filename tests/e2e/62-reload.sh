#!/usr/bin/env bash
# SIGHUP: a broken configuration is reported and the old one stays; a new peer and its signer are believed; a signer whose file is gone is
# revoked, whatever is wrong with other files, its running migration ends with a refusal and leaves nothing, and nobody else's notices; nor does it of a
# policy that becomes narrower. The TLS session of a peer whose file is gone is cut.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_start && sami_setup || exit 1
# A second source on firewall 1, another firewall in name, keys and configuration.
ctl3() { ns fw1 "$BUILD/samictl" --config-dir "$WORK/fw3" "$@"; }
fail() { echo "$*"; cat "$WORK"/out* "$WORK"/*.log "$WORK"/migrate* 2>/dev/null; exit 1; }
ctl3 setup --name fw3.example --address 10.255.0.1:4741 >"$WORK/out" 2>&1 && transport_set "$WORK/fw3" || fail "setup"
sed -i '/^\(run-dir\|journal-dir\|vm-prefixes\|user\|control-group\) *=/d' "$WORK/fw3/sami.conf"
printf 'run-dir=%s\njournal-dir=%s\nvm-prefixes=10.0.0.0/24\nuser=nobody\n' "$WORK/run3" "$WORK/journal3" >>"$WORK/fw3/sami.conf"
mkdir -p "$WORK/run3"
sami_start || exit 1
ns fw1 "$BUILD/sami-exporter" -c "$WORK/fw3/sami.conf" -f >"$WORK/exporter3.log" 2>&1 &
poll 10 test -S "$WORK/run3/exporter.sock" || fail "no second exporter"
COLLECTOR=$(pgrep -o -f "sami-collector -c $WORK/fw2")
count() { # N-CTL NAME VALUE
    [ "$("ctl$1" stats --json | sed -n "s/.*\"$2\" *: *\([0-9]*\).*/\1/p" | head -n 1)" = "$3" ]
}
ctl1() { ctl 1 "$@"; }
ctl2() { ctl 2 "$@"; }
add() { ns fw1 conntrack -I -p tcp -s "$1" -d $CLI4 --sport "$2" --dport 443 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED >/dev/null 2>&1; }
here() { [ "$(ns fw2 conntrack -L 2>/dev/null | grep -c "src=$1 dst=$CLI4")" -eq "$2" ]; }
VM3=10.0.0.33
add $VM4 1001; add $VM4 1002; add $VM3 1001; add $VM3 1002

# The exporter learns its destination, the collector its source: samictl peer add has both read their files again.
ctl3 migrate --vm $VM3 --to fw2.example >"$WORK/out" 2>&1
[ $? -eq 2 ] || fail "a peer that is not configured"
ctl3 peer add "$WORK/fw2/fw2.example.peer" --send --yes >"$WORK/out" 2>&1 || fail "peer add"
poll 10 count 3 reloads_total 1 || fail "the exporter did not reload"
ctl3 migrate --vm $VM3 --to fw2.example --now >"$WORK/out" 2>&1
[ $? -eq 1 ] && grep -qi tls "$WORK/out" || fail "a peer that is not believed there"
ctl 2 peer add "$WORK/fw3/fw3.example.peer" --receive --yes --allow 10.0.0.0/24 >"$WORK/out" 2>&1 || fail "peer add there"
poll 10 count 2 reloads_total 1 || fail "the collector did not reload"
ctl 2 -q expect --vm $VM3 --from fw3.example || fail "expect"

# Both hold in FOLLOW.
sami_follow || exit 1
ctl3 migrate --vm $VM3 --to fw2.example --json >"$WORK/migrate3" 2>&1 &
MIGRATE3=$!
poll 20 grep -q '"confirmed_snapshot":true' "$WORK/migrate3" || fail "no snapshot of the new source"
here $VM4 2 && here $VM3 2 || fail "not in the kernel"

# A broken file: nothing changes.
cp "$WORK/fw2/signers.d/fw3.example.conf" "$WORK/good"
echo 'nonsense=1' >>"$WORK/fw2/signers.d/fw3.example.conf"
kill -HUP "$COLLECTOR"
poll 10 count 2 reload_errors_total 1 || fail "a broken file was not reported"
grep -q 'nonsense' "$WORK/collector.log" || fail "not said which key"
count 2 reloads_total 1 || fail "a broken file was loaded"
here $VM3 2 || fail "a broken file took entries away"

# Of a broken certificate of a peer, too, and what else is new does not count either: the signer may still bring that VM.
cp "$WORK/fw2/peers.d/fw3.example.crt" "$WORK/good.crt"
cp "$WORK/fw2/signers.d/fw3.example.pub" "$WORK/fw2/peers.d/fw3.example.crt"
sed 's|^allow-prefixes.*|allow-prefixes = 192.0.2.0/24|' "$WORK/good" >"$WORK/fw2/signers.d/fw3.example.conf"
kill -HUP "$COLLECTOR"
poll 10 count 2 reload_errors_total 2 || fail "a broken certificate was not reported"
grep -q 'peer fw3.example.*no certificate in PEM' "$WORK/collector.log" && count 2 reloads_total 1 || fail "a broken certificate was loaded"
here $VM3 2 || fail "half of a broken configuration was taken"
cp "$WORK/good.crt" "$WORK/fw2/peers.d/fw3.example.crt"
# Our own, which nobody else depends on: the rest is taken.
chmod g+w "$WORK/fw2/tls.crt"
cp "$WORK/good" "$WORK/fw2/signers.d/fw3.example.conf"
kill -HUP "$COLLECTOR"
poll 10 count 2 reload_errors_total 3 || fail "our own certificate was not reported"
grep -q 'our old certificate stays in use: .*tls.crt: others may write it' "$WORK/collector.log" || fail "our own certificate: not said why"
poll 10 count 2 reloads_total 2 || fail "the rest was not loaded"
chmod g-w "$WORK/fw2/tls.crt"
cp "$WORK/fw2/tls.crt" "$WORK/own.crt"
cp "$WORK/fw1/tls.crt" "$WORK/fw2/tls.crt"
kill -HUP "$COLLECTOR"
poll 10 count 2 reload_errors_total 4 || fail "another's certificate with our key was not reported"
grep -q 'our old certificate stays in use: .*tls.key: is not the key of .*tls.crt' "$WORK/collector.log" || fail "another's certificate: not said why"
poll 10 count 2 reloads_total 3 || fail "the rest was not loaded"
cp "$WORK/own.crt" "$WORK/fw2/tls.crt"
# Another directory in the place of ours is out of the sandbox's reach, which says what to do. With sanitizers it reaches all.
if ! lab_has_sanitizers; then
    mv "$WORK/fw2" "$WORK/fw2.before" && cp -a "$WORK/fw2.before" "$WORK/fw2"
    kill -HUP "$COLLECTOR"
    poll 10 count 2 reload_errors_total 5 || fail "another directory"
    grep -q 'sami.conf: Permission denied.*restart it' "$WORK/collector.log" || fail "another directory: not said what to do"
    rm -r "$WORK/fw2" && mv "$WORK/fw2.before" "$WORK/fw2"
fi

# A reload that changes nothing for them.
cp "$WORK/good" "$WORK/fw2/signers.d/fw3.example.conf"
kill -HUP "$COLLECTOR"
poll 10 count 2 reloads_total 4 || fail "not reloaded"
here $VM3 2 && here $VM4 2 || fail "a reload took entries away"

# Narrower: nothing more of that kind comes from it, and all of the other one's.
echo 'ports=1001-1002' >>"$WORK/fw2/signers.d/fw3.example.conf"
kill -HUP "$COLLECTOR"
poll 10 count 2 reloads_total 5 || fail "not reloaded"
add $VM3 1003; add $VM4 1003
poll 10 here $VM4 3 || fail "the other one's new flow is missing"
is_refused() { ! count 2 refused_port-not-allowed_total 0; }
poll 10 is_refused || fail "not refused by the new policy"
here $VM3 2 || fail "not what the new policy allows"

# Revoked, while something else is wrong, and what is new is not taken.
echo 'nonsense=1' >"$WORK/fw2/vms.d/broken.conf"
cp "$WORK/fw2/signers.d/fw3.example.conf" "$WORK/narrow"
rm "$WORK/fw2/signers.d/fw3.example.conf"
cp "$WORK/fw2/signers.d/fw1.example.conf" "$WORK/good"
sed -i 's|^allow-prefixes.*|allow-prefixes = 192.0.2.0/24|' "$WORK/fw2/signers.d/fw1.example.conf"
errors=$(ctl 2 stats --json | sed -n 's/.*"reload_errors_total" *: *\([0-9]*\).*/\1/p' | head -n 1)
kill -HUP "$COLLECTOR"
wait "$MIGRATE3"
[ $? -eq 3 ] && grep -q 'revoked' "$WORK/migrate3" || fail "the revoked one did not end with a refusal"
poll 10 here $VM3 0 || fail "the revoked one left entries"
here $VM4 3 || fail "the other one lost entries"
ctl3 migrate --vm $VM3 --to fw2.example --now >"$WORK/out" 2>&1
[ $? -eq 3 ] && grep -q 'unknown-signer' "$WORK/out" || fail "still believed"
count 2 reload_errors_total $((errors + 1)) && count 2 reloads_total 5 || fail "what is wrong was not reported"
grep -q 'but without fw3.example, whose files were removed' "$WORK/collector.log" || fail "not said who was removed"
# Its TLS identity goes the same way, at either end.
rm "$WORK/fw2/peers.d/fw3.example.conf"
kill -HUP "$COLLECTOR"
poll 10 count 2 reload_errors_total $((errors + 2)) || fail "not reported again"
ctl3 peer test fw2.example >"$WORK/out" 2>&1
[ $? -eq 1 ] && grep -q 'unknown_ca' "$WORK/out" || fail "its certificate is still believed"
echo 'nonsense=1' >"$WORK/fw3/vms.d/broken.conf"
mv "$WORK/fw3/peers.d/fw2.example.conf" "$WORK/fw2.conf"
kill -HUP "$(pgrep -o -f "sami-exporter -c $WORK/fw3")"
poll 10 count 3 reload_errors_total 1 || fail "not reported by the exporter"
mv "$WORK/fw2.conf" "$WORK/fw3/peers.d/fw2.example.conf" && rm "$WORK/fw3/vms.d/broken.conf"
ctl3 peer test fw2.example >"$WORK/out" 2>&1
[ $? -eq 2 ] || fail "the exporter still has the peer"
cp "$WORK/good" "$WORK/fw2/signers.d/fw1.example.conf" && rm "$WORK/fw2/vms.d/broken.conf"
ctl 1 freeze "$ID" >"$WORK/out" 2>&1 || fail "the other one does not go on"
wait "$MIGRATE" || fail "the other one ended with $?"

# The TLS session of one who may not connect any more, though it may still sign, ends; as it may again, the migration goes on.
ctl 2 -q expect --vm $VM4,$VM6 --from fw1.example
sami_follow || exit 1
mv "$WORK/fw2/peers.d/fw1.example.conf" "$WORK/fw1.conf"
kill -HUP "$COLLECTOR"
poll 10 grep -q 'session with fw2.example is lost' "$WORK/exporter.log" || fail "a session with a peer that was removed goes on"
poll 10 grep -q 'TLS: fw1.example at .*not believed any more since a reload' "$WORK/collector.log" || fail "not said why it was cut"
mv "$WORK/fw1.conf" "$WORK/fw2/peers.d/fw1.example.conf"
kill -HUP "$COLLECTOR"
poll 10 grep -q 'resumed' "$WORK/exporter.log" || fail "it does not come back"
ctl 1 freeze "$ID" >"$WORK/out" 2>&1 && wait "$MIGRATE" || fail "it does not end well"

# samictl peer remove has the daemons do the same.
ctl 2 -q peer remove fw1.example || fail "peer remove"
ctl 1 peer test fw2.example >"$WORK/out" 2>&1
[ $? -eq 1 ] && grep -qi tls "$WORK/out" || fail "still believed after peer remove"
# What cannot be removed, here since something is mounted on it, does not keep the rest; and what is gone is not believed any more.
ctl 2 -q peer add "$WORK/fw1/fw1.example.peer" --receive --yes --allow 10.0.0.0/24 >"$WORK/out" 2>&1 || fail "peer add again"
ns fw2 sh -c 'mount --bind "$1" "$1" && shift && exec "$@"' sh "$WORK/fw2/signers.d/fw1.example.conf" \
    "$BUILD/samictl" --config-dir "$WORK/fw2" peer remove fw1.example >"$WORK/out" 2>&1
[ $? -eq 1 ] && grep -q 'cannot remove .*signers.d/fw1.example.conf' "$WORK/out" && grep -q 'have read their files again' "$WORK/out" || fail "not said what is left"
[ -z "$(ls "$WORK"/fw2/peers.d/fw1.example.* 2>/dev/null)" ] && [ -e "$WORK/fw2/signers.d/fw1.example.pub" ] || fail "something else is left"
ctl 1 peer test fw2.example >"$WORK/out" 2>&1
[ $? -eq 1 ] && grep -qi tls "$WORK/out" || fail "still believed after a peer remove that could not remove all"
ctl 2 -q peer remove fw1.example || fail "what is left can be removed"
# Of what another file says it promises nothing: that one goes by the certificate which it has, though the file of that is gone.
ctl 2 -q peer add "$WORK/fw1/fw1.example.peer" --receive --yes --allow 10.0.0.0/24 >"$WORK/out" 2>&1 || fail "peer add again"
mv "$WORK/fw2/peers.d/fw1.example.conf" "$WORK/fw2/peers.d/other.conf"
hup() { # until it has been read
    local n
    n=$(ctl 2 stats --json | sed -n 's/.*"reloads_total" *: *\([0-9]*\).*/\1/p' | head -n 1)
    kill -HUP "$COLLECTOR" && poll 10 count 2 reloads_total $((n + 1))
}
hup || fail "another name of a file"
ctl 2 peer remove fw1.example >"$WORK/out" 2>&1
[ $? -eq 1 ] && grep -q 'goes by fw1.example.conf any more; but: the collector could not' "$WORK/out" || fail "not said what is wrong"
ctl 1 peer test fw2.example >"$WORK/out" 2>&1
[ $? -eq 3 ] && grep -q 'unknown-signer' "$WORK/out" || fail "the signer is still believed, or the peer is not any more"
rm "$WORK/fw2/peers.d/other.conf"
hup || fail "nothing is wrong any more"
ctl 1 peer test fw2.example >"$WORK/out" 2>&1
[ $? -eq 1 ] && grep -qi tls "$WORK/out" || fail "still believed without any file"
