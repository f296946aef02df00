# move.sh: one kind of transfer moves and survives; sourced by the cases, which say CASE.
set -uo pipefail
. "$srcdir/tests/e2e/testbed.sh"
CLIENTS=()
lab_start "${EVENTS:-1}" || exit 1
if [ "${LISTENER_FIRST:-}" ]; then
    sami_setup && sami_start || exit 1
fi
lab_traffic "$CASE" 3 5 || exit 1
if [ -z "${LISTENER_FIRST:-}" ]; then
    sami_setup && sami_start || exit 1
fi
sami_follow || exit 1
sleep 1
sami_move || exit 1
wait "${CLIENTS[@]}"
wait "$MIGRATE" || { echo "migrate ended with $?"; cat "$WORK/migrate" "$WORK"/*.log; exit 1; }
cat "$WORK/results"
[ "$(survived)" -eq 3 ] || { cat "$WORK"/*.log; exit 1; }
[ "$(lab_invalid)" -eq 0 ] || { echo "$(lab_invalid) packets INVALID at firewall 2"; exit 1; }
grep -q "\"freeze\":\"${FREEZE:-events}\"[^}]*\"exit\"" "$WORK/migrate" || { echo "freeze was not ${FREEZE:-events}"; tail -n 1 "$WORK/migrate"; exit 1; }
