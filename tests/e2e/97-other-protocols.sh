#!/usr/bin/env bash
# SCTP, GRE, UDP-Lite and protocols that are tracked by addresses only: one packet (SCTP: a handshake) opens through firewall 1, then only the
# VM sends. Firewall 2 has no rule that would let it begin: without the session nothing passes.
set -uo pipefail
. "${srcdir:?}/tests/e2e/testbed.sh"
fail() { echo "FAIL: $*"; for f in "$WORK"/*.log "$WORK"/raw-*; do echo "== $f"; cat "$f"; done; exit 1; }
FLOWS="sctp:4 gre:4 udplite:4 udplite:6 89:4 89:6"
lab_start || exit 1
sami_setup && sami_start || exit 1
# The kernel checks UDP-Lite with the pseudo-header of UDP (udplite_error(), 6.18): with nf_conntrack_checksum every datagram is INVALID.
for n in 1 2; do ns fw$n sysctl -qw net.netfilter.nf_conntrack_checksum=0; done
ns fw1 nft add rule inet filter forward iifname c meta l4proto '{ 132, 47, 136, 89 }' ct state new accept || fail "no rule"

number() { cat "$WORK/got-$1" 2>/dev/null || echo 0; }
has_more() { [ "$(number "$1")" -gt "$2" ]; }
for flow in $FLOWS; do
    ns vm python3 "$SRC/tests/e2e/raw.py" server "${flow%:*}" "${flow#*:}" >"$WORK/raw-server-$flow" 2>&1 &
    poll 20 grep -qs listening "$WORK/raw-server-$flow" || fail "$flow: no server"
    ns cli python3 "$SRC/tests/e2e/raw.py" client "${flow%:*}" "${flow#*:}" "$WORK/got-$flow" >"$WORK/raw-client-$flow" 2>&1 &
done
for flow in $FLOWS; do poll 20 has_more "$flow" 3 || fail "$flow does not get through firewall 1"; done

echo "without their sessions nothing passes at firewall 2"
declare -A last
dropped() { ns fw2 nft list chain inet filter forward | sed -n 's/.*counter packets \([0-9]*\).*drop.*/\1/p'; }
ns fw2 nft add rule inet filter forward counter drop
lab_path 2
has_dropped() { [ "$(dropped)" -ge "$1" ]; }
poll 20 has_dropped 100 || fail "firewall 2 has dropped only $(dropped)" # a busy client counts late what came before
for flow in $FLOWS; do last[$flow]=$(number "$flow"); done
poll 20 has_dropped 200 || fail "firewall 2 has dropped only $(dropped)"
for flow in $FLOWS; do [ "$(number "$flow")" -le $((${last[$flow]} + 2)) ] || fail "$flow passes firewall 2 without a session"; done
lab_path 1
for flow in $FLOWS; do poll 20 has_more "$flow" $((${last[$flow]} + 20)) || fail "$flow did not come back"; done

before=$(lab_invalid) # SCTP without a session

echo "with them all go on"
sami_follow || exit 1
sami_move || exit 1
wait "$MIGRATE"
status=$?
[ $status -eq 6 ] || fail "migrate ended with $status: $(tail -n 1 "$WORK/migrate")"
for flow in $FLOWS; do last[$flow]=$(number "$flow"); done
for flow in $FLOWS; do poll 10 has_more "$flow" $((${last[$flow]} + 10)) || fail "$flow has died: ${last[$flow]}, now $(number "$flow")"; done
[ "$(lab_invalid)" -eq "$before" ] || fail "$(($(lab_invalid) - before)) packets INVALID at firewall 2"
tail -n 1 "$WORK/migrate" | grep -q '"exact":5,.*"degraded":{"gre-timeout":1},"refused":{}' || fail "not 5 exact, and GRE degraded: $(tail -n 1 "$WORK/migrate")"

echo "SCTP: state and both tags"
ns fw2 conntrack -L -p sctp 2>/dev/null | tee "$WORK/sctp"
grep -q "ESTABLISHED" "$WORK/sctp" || fail "the state of the SCTP session is another"
