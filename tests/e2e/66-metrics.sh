#!/usr/bin/env bash
# samictl metrics: every metric of the list, with its type and its labels, in a text that a strict reader of Prometheus's format takes; values that
# follow what happens; nothing in it that names a VM or a migration.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/pair.sh"
lab_start && pair_start || exit 1
fail() { echo "FAILED: $*"; cat "$WORK/metrics" "$WORK"/*.log 2>/dev/null; exit 1; }
metrics() { ctl "$1" metrics >"$WORK/metrics" 2>"$WORK/err" || fail "metrics: $(cat "$WORK/err")"; }
value() { sed -n "s/^$1 \(.*\)/\1/p" "$WORK/metrics"; } # SERIES, as a regular expression
is() { [ "$(value "$1")" = "$2" ] || fail "$1 is '$(value "$1")', not '$2'"; }
now_is() { metrics "$1"; [ "$(value "$2")" = "$3" ]; }

# The format as its definition has it: HELP, TYPE, then the series of that metric and of no other, each once; prints METRIC TYPE LABELS.
cat >"$WORK/read.py" <<'PY'
import re, sys
label = r'[a-z_]+="(?:[^"\\\n]|\\\\|\\"|\\n)*"'
sample = re.compile(r'(sami_[a-z_]+)(?:\{(%s(?:,%s)*)\})? (-?[0-9.e+-]+|\+Inf)\Z' % (label, label))
metric, kind, seen, found, buckets = None, None, set(), {}, []
text = sys.stdin.read()
assert text.endswith("\n")
for line in text[:-1].split("\n"):
    if line.startswith("# HELP "):
        metric = line.split(" ")[2]
        assert metric not in found and len(line.split(" ")) > 4, line
        found[metric] = set()
        continue
    if line.startswith("# TYPE "):
        assert line.split(" ")[2] == metric, line
        kind = line.split(" ")[3]
        assert kind in ("counter", "gauge", "histogram") and (kind == "counter") == metric.endswith("_total"), line
        continue
    match = sample.match(line)
    assert match, line
    name, labels, number = match.groups()
    base = re.sub(r"_(bucket|sum|count)\Z", "", name) if kind == "histogram" else name
    assert base == metric and (name, labels) not in seen, line
    assert kind != "counter" or float(number) >= 0, line
    seen.add((name, labels))
    if name.endswith("_bucket"):
        buckets.append(float(number))
    found[metric].add((kind, ",".join(re.findall(r'([a-z_]+)=', labels or "")) if not name.endswith("_bucket") else "le"))
assert buckets == sorted(buckets) and f'sami_freeze_ready_seconds_count {int(buckets[-1])}\n' in text
for metric, forms in found.items():
    for kind, labels in sorted(forms):
        print(metric, kind, labels or "-")
PY

echo "--- before anything has happened, nothing is missing but what belongs to a peer"
metrics 1
python3 "$WORK/read.py" <"$WORK/metrics" >"$WORK/forms" || fail "not the format"
is 'sami_migrations_total{role="exporter",result="done"}' 0
is 'sami_migrations_active{role="collector",phase="FOLLOW"}' 0
is sami_freeze_ready_seconds_count 0

echo "--- a migration that is refused"
ctl 1 migrate --vm $VM4 --to fw2.example --now >"$WORK/out" 2>&1 && fail "not refused"
metrics 1
is 'sami_migrations_total{role="exporter",result="failed"}' 1
metrics 2
is 'sami_refusals_total{reason="not-expected"}' 1
ctl 2 -q expect --vm $VM4,$VM6 --from fw1.example || fail "not announced"

echo "--- a migration follows, is ready, is done"
ns fw1 conntrack -I -p tcp -s $VM4 -d $CLI4 --sport 1001 --dport 443 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED >/dev/null 2>&1
ns fw1 conntrack -I -p tcp -s $VM4 -d $CLI4 --sport 1002 --dport 443 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED >/dev/null 2>&1
# The same flow another way: the destination refuses it.
ns fw2 conntrack -I -p tcp -s $VM4 -d $CLI4 --sport 1002 --dport 443 --reply-src $CLI4 --reply-dst 192.0.2.1 --reply-port-src 443 --reply-port-dst 5555 \
    --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED >/dev/null 2>&1 || fail "no entry that is in the way"
sami_follow || exit 1
metrics 1
is 'sami_migrations_active{role="exporter",phase="FOLLOW"}' 1
is 'sami_peer_up{role="exporter",peer="fw2.example"}' 1
is 'sami_conntrack_entries' "$(ns fw1 sysctl -n net.netfilter.nf_conntrack_count)"
is 'sami_conntrack_entries_limit' "$(ns fw1 sysctl -n net.netfilter.nf_conntrack_max)"
now_is 2 'sami_peer_up{role="collector",peer="fw1.example"}' 1 || fail "the collector's peer"
now_is 2 'sami_peer_sessions{role="collector",peer="fw1.example"}' 1 || fail "its session"
[ -n "$(value 'sami_peer_memory_bytes{role="collector",peer="fw1.example"}')" ] || fail "its memory"
is 'sami_migrations_active{role="collector",phase="FOLLOW"}' 1
ctl 1 freeze "$ID" >"$WORK/freeze" 2>&1
[ $? -eq 6 ] || fail "freeze: $(cat "$WORK/freeze")"
wait "$MIGRATE"
metrics 1
is 'sami_migrations_total{role="exporter",result="done"}' 1
is 'sami_migrations_active{role="exporter",phase="FOLLOW"}' 0
is sami_freeze_ready_seconds_count 1
is 'sami_freeze_ready_seconds_bucket{le="+Inf"}' 1
[ "$(value 'sami_records_total{role="exporter",kind="session",outcome="sent"}')" -ge 2 ] || fail "records sent"
metrics 2
is 'sami_migrations_total{role="collector",result="done"}' 1
is 'sami_records_total{role="collector",kind="session",outcome="accepted"}' 1
refused=$(value 'sami_records_total{role="collector",kind="session",outcome="refused"}')
{ [ "$refused" -ge 1 ] && [ "$(value 'sami_refusals_total{reason="nat-mismatch"}')" = "$refused" ]; } || fail "refusals"
ctl 2 stats --json | grep -q "\"refused_nat-mismatch_total\" *: *${refused}[,}]" || fail "stats has another count"
[ "$(value sami_journal_bytes)" -ge "$(find "$WORK/journal2" -name '*.ipfix' -printf '%s\n' | head -n 1)" ] || fail "the journal"

echo "--- a replication"
ctl 1 replicate --to fw2.example --wait >"$WORK/replicate" 2>&1 || fail "replicate: $(cat "$WORK/replicate")"
metrics 1
is 'sami_peer_up{role="exporter",peer="fw2.example"}' 1
[ -n "$(value 'sami_replication_lag_seconds{peer="fw2.example"}')" ] || fail "no lag"

echo "--- the list, each with its type and its labels"
sort -u - <<LIST >"$WORK/want"
sami_build_info gauge role,version
sami_certificate_expiry_timestamp_seconds gauge peer
sami_conntrack_entries gauge -
sami_conntrack_entries_limit gauge -
sami_event_overruns_total counter -
sami_freeze_ready_seconds histogram -
sami_freeze_ready_seconds histogram le
sami_journal_bytes gauge -
sami_key_log_enabled gauge role
sami_malformed_total counter role,rule
sami_migrations_active gauge role,phase
sami_migrations_total counter role,result
sami_network_root gauge role
sami_peer_up gauge role,peer
sami_records_total counter role,kind,outcome
sami_refusals_total counter reason
sami_replication_lag_seconds gauge peer
sami_sandbox_enabled gauge role
LIST
python3 "$WORK/read.py" <"$WORK/metrics" | sort -u >"$WORK/forms" || fail "not the format"
diff "$WORK/want" "$WORK/forms" >"$WORK/diff" || fail "$(cat "$WORK/diff")"
for role in exporter collector; do [ "$(grep -c "^sami_build_info{role=\"$role\",version=\"[^\"]*\"} 1$" "$WORK/metrics")" -eq 1 ] || fail "no $role"; done
for name in fw1 fw2; do
    end=$(date -d "$(openssl x509 -noout -enddate -in "$WORK/$name/tls.crt" | cut -d= -f2)" +%s)
    is "sami_certificate_expiry_timestamp_seconds{peer=\"$name.example\"}" "$end"
done
grep -q "$VM4\|$VM6\|$CLI4\|${ID:0:8}" "$WORK/metrics" && fail "it names a VM, an address or a migration"

echo "--- one daemon, a file, no daemon"
ctl 1 -s "$WORK/run1/collector.sock" metrics >"$WORK/one" || fail "one daemon"
grep -q 'role="collector"' "$WORK/one" && ! grep -q 'role="exporter"' "$WORK/one" || fail "not one daemon's"
ctl 1 metrics --save "$WORK/sami.prom" >"$WORK/out" || fail "--save"
[ ! -s "$WORK/out" ] && python3 "$WORK/read.py" <"$WORK/sami.prom" >"$WORK/forms" || fail "the file"
ctl 1 metrics --save "$WORK/nowhere/sami.prom" >"$WORK/out" 2>&1
[ $? -eq 1 ] || fail "a file that cannot be written"
ctl 1 -s "$WORK/nowhere.sock" metrics >"$WORK/out" 2>&1
[ $? -eq 9 ] || fail "no daemon, and another exit status"
exit 0
