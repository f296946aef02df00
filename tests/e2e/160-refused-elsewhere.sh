#!/usr/bin/env bash
# What was signed honestly, for another session: the stream of one collector at another, a journal, its answers and a recorded file on the socket of a
# collector; and what another signer with a TLS name of its own does with a migration that is not his, while its owner is there and while it is not.
set -uo pipefail
LEASE=5s
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_tcp_only "the hostile sender speaks TLS; what it sends is refused behind it"
. "${srcdir:-.}/tests/e2e/refused.sh"
refused_setup || exit 1
die() { echo "FAIL $*"; cat "$WORK/answer" 2>/dev/null; tail -n 5 "$WORK"/*.log; exit 1; }

# Another collector at firewall 2, which knows the signer too; and another signer, who is a peer of firewall 2.
ctl4() { ns fw2 "$BUILD/samictl" --config-dir "$WORK/fw4" "$@"; }
ctl3() { ns fw1 "$BUILD/samictl" --config-dir "$WORK/fw3" "$@"; }
{ ctl4 setup --name fw4.example --address 10.255.0.2:4741 && ctl4 peer add "$WORK/fw1/fw1.example.peer" --receive --yes --allow 10.0.0.0/24,2001:db8:a::/64 &&
    ctl 1 peer add "$WORK/fw4/fw4.example.peer" --send --yes && ctl3 setup --name fw3.example --address 10.255.0.1:4742 &&
    ctl3 peer add "$WORK/fw2/fw2.example.peer" --send --yes &&
    ctl 2 peer add "$WORK/fw3/fw3.example.peer" --receive --yes --allow 10.0.0.0/24; } >"$WORK/answer" 2>&1 || die "setup"
sed -i '/^\(listen\|run-dir\|journal-dir\|user\|control-group\) *=/d' "$WORK/fw4/sami.conf"
printf '%s\n' 'listen=10.255.0.2:4741' "run-dir=$WORK/run4" "journal-dir=$WORK/journal4" user=nobody >>"$WORK/fw4/sami.conf"
echo require-expect=false >>"$WORK/fw4/signers.d/fw1.example.conf"
mkdir -p "$WORK/run4"
ip netns exec "${LAB}fw2" "$BUILD/sami-collector" -c "$WORK/fw4/sami.conf" -f >"$WORK/collector4.log" 2>&1 &
disown
sami_start && poll 10 test -S "$WORK/run4/collector.sock" || die "no second collector"

refused stream-of-one-collector-at-another none 0 'refused wrong-session: .' hostile elsewhere:fw4.example
ctl4 stats --json | grep -q '"refused_wrong-session_total" *: *1' || die "the other collector did not count it"

# The answers are signed, too, by a key that signs for nobody here.
honest_migration 1001 || exit 1
rm -f "$WORK/table"
JOURNAL=$(grep -l . "$WORK"/journal2/*.ipfix | tail -n 1)
refused journal-on-a-socket refused_wrong-session_total 1 'refused wrong-session: .' hostile "octets:wrong-session:$JOURNAL"
refused answers-on-a-socket refused_unknown-signer_total 1 'refused unknown-signer: .' hostile "octets:unknown-signer:${JOURNAL%.ipfix}.answers"
ns fw1 "$BUILD/sami-replay" record -c "$WORK/fw1/sami.conf" -o "$WORK/recorded.ipfix" >"$WORK/answer" 2>&1 || die "record"
refused recorded-file-on-a-socket refused_wrong-role_total 1 'refused wrong-role: .' hostile "octets:wrong-role:$WORK/recorded.ipfix"

# He knows the id, has a certificate, a key and a policy. Nothing of it is his.
stranger() { ns fw1 timeout 20 "$BUILD/hostile" "$WORK/fw3/sami.conf" fw2.example "$1$ID"; }
sami_follow || exit 1
ns fw2 conntrack -L 2>/dev/null | grep -q 'sport=1001' || die "the migration brought nothing"
lab_table >"$WORK/table"
refused resume-by-another-signer refused_not-owner_total 1 'refused not-owner: .' stranger resume:
refused begin-by-another-signer refused_replayed-migration_total 1 'refused replayed-migration: .' stranger claim:
kill -9 "${DAEMONS[1]}"
lost() { ctl 2 stats --json | grep -q '"session_errors_total" *: *[1-9]'; }
poll 10 lost || die "the loss was not noticed"
counters >"$WORK/counters"
refused resume-while-the-owner-is-lost refused_not-owner_total 1 'refused not-owner: .' stranger resume:
refused begin-while-the-owner-is-lost refused_replayed-migration_total 1 'refused replayed-migration: .' stranger claim:
aborted() { ctl 2 status "$ID" --json | grep -q '"phase" *: *"ABORTED"'; }
poll 15 aborted || die "not rolled back at the end of the lease"
refused_end
