#!/usr/bin/env bash
# sami-replay send --to: expectations and cumulative data of a recording go too, where the signer may bring them; the time of both has run on.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/send.sh"
. "$srcdir/tests/e2e/related.sh"
fail() { cat "$WORK/out"; tail -n 5 "$WORK"/*.log; echo "FAIL $*"; exit 1; }
sets() { # FIREWALL
    ns "fw$1" nft -f - <<'NFT' || return 1
table inet guard {
    set hits { type ipv4_addr; size 65536; flags dynamic,timeout; timeout 10m; counter; }
    set bad { type ipv4_addr; size 65536; flags dynamic,timeout; timeout 20m; }
}
NFT
    printf '%s\n' '[cumulative hits]' 'table=inet guard' 'set=hits' 'select=all' '[cumulative bad]' 'table=inet guard' 'set=bad' 'kind=blacklist' \
        'select=all' >>"$WORK/fw$1/sami.conf"
}
lab_start && sami_setup || exit 1
for n in 1 2; do related_rules $n && sets $n || exit 1; done
sed -i '/^kinds *=/d; /^\[signer/a kinds=session,expectation,cumulative' "$WORK"/fw2/signers.d/*
sami_start && serve cli tftp.py $CLI4 && talk tftp vm tftp.py $CLI4 "$WORK/go" || exit 1
ns fw1 nft add element inet guard hits "{ 198.51.100.66 counter packets 60 bytes 2400, 198.51.100.67 counter packets 3 bytes 120 }"
ns fw1 nft add element inet guard bad "{ 198.51.100.66 expires 15m }"
sami_follow || exit 1
do_one tftp request || exit 1
poll 5 has_expectations 1 1 || { expectations 1; echo "nothing is expected: this case proves nothing"; exit 1; }
ctl 1 freeze "$ID" >"$WORK/freeze" 2>&1 && wait "$MIGRATE" || { cat "$WORK/freeze" "$WORK/migrate" "$WORK"/*.log; exit 1; }
JOURNAL=$(ls "$WORK"/journal2/*.ipfix)
: >"$WORK/go"

send_third || exit 1
related_rules 3 && sets 3 || exit 1
sed -i '/^kinds *=/d; /^\[signer/a kinds=session,expectation,cumulative' "$WORK"/fw3/signers.d/*
kill -HUP "$THIRD"
poll 10 grep -q reloaded "$WORK/collector3.log" || fail "not reloaded"
to3() { replay send --to fw3.example -c "$WORK/fw1/sami.conf" "$@" "$JOURNAL"; }
fails 0 '^DONE .* 1 expectations, .* cumulative' to3
grep -q 'expectation: 1 records: 1 applied' "$WORK/out" || fail "not said of the expectation"
has_expectations 3 1 || fail "no expectation: $(expectations 3)"
[ "$(expectations 3 | awk '{ print $1 }')" -lt 300 ] || fail "its time began anew"
ns fw3 nft list set inet guard hits | tr ',{}' '\n\n\n' >"$WORK/hits"
grep -q '198.51.100.66 .*packets 60 bytes 2400' "$WORK/hits" && grep -q '198.51.100.67 .*packets 3 bytes 120' "$WORK/hits" || fail "$(cat "$WORK/hits")"
ns fw3 nft list set inet guard bad >"$WORK/bad"
grep -q '198.51.100.66 .*expires 14m' "$WORK/bad" || fail "$(cat "$WORK/bad")"
# Once more adds nothing.
fails 0 '^DONE' to3
ns fw3 nft list set inet guard hits >"$WORK/hits"
grep -q '198.51.100.66 .*packets 60 bytes 2400' "$WORK/hits" || fail "counted twice: $(cat "$WORK/hits")"
# Only sessions: the rest is refused, and that is not done.
sed -i 's/^kinds=.*/kinds=session/' "$WORK"/fw3/signers.d/*
kill -HUP "$THIRD"
twice() { [ "$(grep -c reloaded "$WORK/collector3.log")" -eq 2 ]; }
poll 10 twice || fail "not reloaded"
ns fw3 conntrack -F >/dev/null 2>&1
fails 6 'kind-not-allowed' to3
