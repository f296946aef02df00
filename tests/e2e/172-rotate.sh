#!/usr/bin/env bash
# Keys are replaced without a gap: at each step of a rotation, of the signing key and of the TLS key, at either end, a move works, a session that runs goes on
# with the key that it began with, and the key ids are in the logs, the status and the journal.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_start && sami_setup && sami_start || exit 1
fail() { echo "FAILED: $*"; cat "$WORK/out" "$WORK"/*.log "$WORK"/migrate* 2>/dev/null; exit 1; }
run() { # STATUS WORD FIREWALL ARGUMENTS...
    local want=$1 word=$2 n=$3 got
    shift 3
    ctl "$n" "$@" >"$WORK/out" 2>&1 </dev/null
    got=$?
    [ $got -eq "$want" ] && grep -q -- "$word" "$WORK/out" || fail "samictl $*: $got, wanted $want and '$word'"
}
reload() { run 0 . "$1" peer update "$WORK/fw$((3 - $1))/fw$((3 - $1)).example.peer" --yes; }
id() { # FIREWALL KIND STATE
    ctl "$1" key list --json | python3 -c "import json,sys; print([k.get('id', k['fingerprint']) for k in json.load(sys.stdin)['keys'] if (k['kind'], k['state']) == ('$2', '$3')][0])"
}
test_ok() { run 0 'ok:' 1 peer test fw2.example; }
ns fw1 conntrack -I -p tcp -s $VM4 -d $CLI4 --sport 1001 --dport 443 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED >/dev/null 2>&1

echo "--- the signing key of the exporter, while a migration holds"
old=$(id 1 signing active)
sami_follow || exit 1
run 0 'there is a new key' 1 key rotate
run 0 unchanged 1 key rotate
run 1 'is not in use yet' 1 key rotate --finish
new=$(id 1 signing next)
[ -n "$new" ] && [ "$new" != "$old" ] || fail "no new key"
test_ok
run 2 'no terminal' 2 peer update "$WORK/fw1/fw1.example.peer"
reload 2
[ "$(grep -c BEGIN "$WORK/fw2/signers.d/fw1.example.pub")" -eq 2 ] || fail "not both keys there"
test_ok
run 0 'in use from now on' 1 key rotate --activate
[ "$(id 1 signing active)" = "$new" ] && [ "$(id 1 signing old)" = "$old" ] || fail "not exchanged"
test_ok
grep -q "our key $new" "$WORK/out" || fail "the old key still signs"
ctl 1 freeze "$ID" >"$WORK/out" 2>&1 || fail "the migration does not go on"
wait "$MIGRATE" || fail "the migration ended with $?"
for log in exporter collector; do grep -q "${ID:0:8}: session with .*key $old" "$WORK/$log.log" || fail "its key is not in the log of the $log"; done
ctl 1 status --json >"$WORK/out" && grep -q "\"own_key\" *: *\"$old\"" "$WORK/out" || fail "its key is not in the status"
"$BUILD/sami-replay" dump --json --config "$WORK/fw2/sami.conf" "$WORK"/journal2/*.ipfix >"$WORK/out" 2>&1 && grep -q "$old" "$WORK/out" || fail "its key is not in the journal"
run 1 'the last rotation is not over' 1 key rotate
run 0 'the old key is gone' 1 key rotate --finish
reload 2
[ ! -e "$WORK/fw1/signing-old.key" ] && [ -e "$WORK/fw1/signing-$old.pub" ] || fail "the old key is not gone, or not kept for journals"
test_ok
run 0 DONE 1 migrate --vm $VM4 --to fw2.example --now

echo "--- the signing key of the collector"
old=$(id 2 signing active)
run 0 'there is a new key' 2 key rotate
reload 1
test_ok
run 0 'in use from now on' 2 key rotate --activate
test_ok
grep -q "its key $(id 2 signing active)" "$WORK/out" || fail "the old key still answers"
run 0 'the old key is gone' 2 key rotate --finish
reload 1
test_ok

echo "--- the TLS keys of both; a peer that was not told refuses"
for n in 1 2; do
    old=$(id $n tls active)
    run 0 'there is a new key' $n key rotate --tls
    reload $((3 - n))
    test_ok
    run 0 'in use from now on' $n key rotate --tls --activate
    [ "$(id $n tls active)" != "$old" ] || fail "the same certificate"
    test_ok
    run 0 'the old key is gone' $n key rotate --tls --finish
    reload $((3 - n))
    test_ok
    [ "$(grep -c BEGIN "$WORK/fw$((3 - n))/peers.d/fw$n.example.crt")" -eq 1 ] || fail "the old one is still pinned"
done
run 0 . 1 key rotate
run 0 . 1 key rotate --activate
run 3 unknown-signer 1 peer test fw2.example
run 0 . 1 key rotate --tls
run 0 . 1 key rotate --tls --activate
run 1 unknown_ca 1 peer test fw2.example
reload 2
test_ok

echo "--- a run that was killed, or cannot go on, at each place: no good key is lost"
unchanged() { cmp "$key.key" "$WORK/is.key" && cmp "$key.$public" "$WORK/is.$public" && [ ! -e "$key-old.key" ] || fail "$kind: the key in use is another one"; }
for kind in signing tls; do
    if [ $kind = tls ]; then option=(--tls) public=crt; else option=() public=pub; fi
    key=$WORK/fw1/$kind
    run 0 'the old key is gone' 1 key rotate "${option[@]}" --finish
    cp "$key.key" "$WORK/is.key"
    cp "$key.$public" "$WORK/is.$public"
    run 0 'there is a new key' 1 key rotate "${option[@]}"
    rm "$key-next.$public"
    run 1 'half of a key' 1 key rotate "${option[@]}" --activate
    unchanged
    run 0 'there is a new key' 1 key rotate "${option[@]}"
    cp "$key-next.$public" "$WORK/right"
    cp "$key.$public" "$key-next.$public"
    run 1 'does not belong' 1 key rotate "${option[@]}" --activate
    unchanged
    run 1 'for another one' 1 key rotate "${option[@]}"
    cp "$WORK/right" "$key-next.$public"
    ln -s nowhere "$key-old.$public"
    run 1 'cannot keep the old key' 1 key rotate "${option[@]}" --activate
    unchanged
    rm "$key-old.$public"
    # between the two halves
    ln "$key.key" "$key-old.key"
    ln "$key.$public" "$key-old.$public"
    mv "$key-next.key" "$key.key"
    run 1 'is not in use yet' 1 key rotate "${option[@]}" --finish
    run 1 'first: .*--activate' 1 key rotate "${option[@]}"
    run 0 'in use from now on' 1 key rotate "${option[@]}" --activate
    cp "$key.$public" "$WORK/right"
    cp "$key-old.$public" "$key.$public"
    run 1 'the old key stays' 1 key rotate "${option[@]}" --finish
    [ -e "$key-old.key" ] || fail "$kind: the old key is gone, and the new one is not whole"
    run 1 'does not belong' 1 setup
    cp "$WORK/right" "$key.$public"
    run 0 'the old key is gone' 1 key rotate "${option[@]}" --finish
done
reload 2
test_ok
exit 0
