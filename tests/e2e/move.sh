# move.sh: transfers of a kind, or of several, move and survive; sourced by the cases, which say CASE, and may have functions: BEFORE the
# daemons start, BESIDE the transfers, and AFTER the move, when they still run.
# shellcheck shell=bash
: "${srcdir:?}" "${CASE:?}"
set -uo pipefail
. "$srcdir/tests/e2e/testbed.sh"
CLIENTS=() DEFAULT_POLICY=1
lab_start "${EVENTS:-1}" || exit 1
[ -z "${BEFORE:-}" ] || "$BEFORE" || exit 1
if [ "${LISTENER_FIRST:-}" ]; then
    sami_setup && sami_start || exit 1
fi
expected=0
[ -z "${BESIDE:-}" ] || "$BESIDE" || exit 1
for case in $CASE; do
    lab_launch "$case" 3 120
    expected=$((expected + 3))
done
# shellcheck disable=SC2086
lab_under_way $CASE || exit 1
if [ -z "${LISTENER_FIRST:-}" ]; then
    sami_setup && sami_start || exit 1
fi
sami_follow || exit 1
[ ! -s "$WORK/results" ] || { echo "a transfer was over before the move: this case proves nothing"; cat "$WORK/results"; exit 1; }
sami_move || exit 1
wait "$MIGRATE" || { echo "migrate ended with $?"; cat "$WORK/migrate" "$WORK"/*.log; exit 1; }
[ -z "${AFTER:-}" ] || "$AFTER" || exit 1
lab_enough
cat "$WORK/results"
[ "$(survived)" -eq "$expected" ] || { cat "$WORK"/*.log; exit 1; }
[ "$(lab_invalid)" -eq 0 ] || { echo "$(lab_invalid) packets INVALID at firewall 2"; exit 1; }
grep -q "\"freeze\":\"${FREEZE:-events}\"[^}]*\"exit\"" "$WORK/migrate" || { echo "freeze was not ${FREEZE:-events}"; tail -n 1 "$WORK/migrate"; exit 1; }
