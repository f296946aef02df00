#!/usr/bin/env bash
# pmacct's nfacctd takes a journal from sami-replay send --udp; told the numbers of our elements, it shows the values that sami-replay shows.
set -uo pipefail
. "${srcdir:?}/tests/interop/foreign.sh"
alone nfacctd
replay dump --json "$JOURNAL" >"$WORK/dump" && "$BUILD/protocol-tables" --xml >"$WORK/registry" || fail "no dump"
flows primitives "$WORK/registry" "$WORK/dump" >"$WORK/primitives" || fail "no primitives"
cat >"$WORK/nfacctd.conf" <<CONF
daemonize: false
nfacctd_ip: 127.0.0.1
nfacctd_port: 9996
plugins: print[flows]
aggregate[flows]: src_host, dst_host, src_port, dst_port, proto, $(sed 's/name=\([^ ]*\) .*/\1/' "$WORK/primitives" | paste -sd,)
aggregate_primitives: $WORK/primitives
print_output[flows]: json
print_output_file[flows]: $WORK/json
print_output_file_append[flows]: true
print_refresh_time[flows]: 1
CONF
ip netns exec "${LAB}one" nfacctd -f "$WORK/nfacctd.conf" >"$WORK/nfacctd.log" 2>&1 &
disown # lab_stop kills it: it takes long to end by itself
poll 10 listens 9996 || fail "nfacctd does not listen"
ready() { grep -q 'setting object handlers' "$WORK/nfacctd.log"; }
poll 10 ready || fail "nfacctd's plugin does not start"
send_journal 9996
has_written() { [ "$(grep -c '}$' "$WORK/json" 2>/dev/null)" = "$(grep -Ec '"kind":"(session|expectation)"' "$WORK/dump")" ]; }
poll 10 has_written || fail "nfacctd shows other flows: $(cat "$WORK/json")"
flows nfacctd "$WORK/json" "$WORK/registry" "$WORK/dump" || fail "nfacctd shows other values"
