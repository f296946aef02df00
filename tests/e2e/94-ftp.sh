#!/usr/bin/env bash
# FTP through NAT: control connections move, and the next data connection is opened after the move: announced after it, or just before it,
# so that the expectation itself had to move. Active and passive, the VM as client and as server. What the helper wrote into the stream has
# changed its length, before the move and after it.
# OVER SCTP, TOO
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
. "${srcdir:-.}/tests/e2e/related.sh"
related_lab session,expectation && serve cli ftp.py $CLI4 && serve vm ftp.py $VM4 || exit 1
for name in vm-passive vm-active vm-announced-passive vm-announced-active; do talk $name vm ftp.py $CLI4 || exit 1; done
for name in cli-passive cli-active cli-announced-passive cli-announced-active; do talk $name cli ftp.py $DNAT || exit 1; done
for name in "${TALKERS[@]}"; do do_one "$name" "${name##*-}" || exit 1; done
sami_follow || exit 1
for side in vm cli; do
    do_one $side-announced-passive pasv && do_one $side-announced-active port || exit 1
done
has_expectations 1 4 || { echo "not 4 expectations at firewall 1: this case proves nothing"; expectations 1; exit 1; }
sami_move || exit 1
expectations 2
has_expectations 2 4 || { echo "not 4 expectations at firewall 2"; expectations 1; cat "$WORK"/*.log; exit 1; }
status=0
for name in vm-announced-passive vm-announced-active cli-announced-passive cli-announced-active; do do_one $name fetch || status=1; done
for name in vm-passive vm-active cli-passive cli-active; do do_one $name ${name##*-} || status=1; done
# and once more on each of them: the sequence adjustment goes on
for name in "${TALKERS[@]}"; do do_one "$name" "${name##*-}" && do_one "$name" noop || status=1; done
wait "$MIGRATE"
code=$?
[ $code -eq 0 ] || { echo "migrate ended with $code"; cat "$WORK/migrate" "$WORK"/*.log; exit 1; }
[ "$(moved_field 1 sent)" = 4 ] && [ "$(moved_field 1 created)" = 4 ] && [ "$(moved_field 2 created)" = 4 ] && [ "$(moved_field 2 refused)" = 0 ] ||
    { echo "not counted as 4"; ctl 1 status "$ID" --json; ctl 2 status "$ID" --json; status=1; }
[ "$(lab_invalid)" -eq 0 ] || { echo "$(lab_invalid) packets INVALID at firewall 2"; status=1; }
[ $status -eq 0 ] || { ns fw2 conntrack -L 2>/dev/null | head -n 30; cat "$WORK"/*.log; }
exit $status
