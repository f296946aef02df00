#!/usr/bin/env bash
# What firewall 2 has already is never overwritten: the same entry is merged, other translations are refused with their reason.
. "$(dirname "$0")/lab.sh"

entry() { # fw1|fw2 SOURCE PORT DPORT [--src-nat ADDRESS:PORT]
    local name=$1 source=$2 port=$3 dport=$4
    shift 4
    on "$name" conntrack -I -p tcp -s "$source" -d $CLI4 --sport "$port" --dport "$dport" --state ESTABLISHED -t 600 -u ASSURED,SEEN_REPLY "$@" \
        >"$LAB_DIR/conntrack.log" 2>&1 || die "cannot make an entry at $name: $(cat "$LAB_DIR/conntrack.log")"
}

case_test() {
    local status=0
    lab_setup
    entry fw1 $VM4 40001 80
    entry fw1 $VM4 40002 80
    entry fw1 $VM4 40003 5002 --src-nat $SNAT4:40003
    entry fw1 $VM4 40004 5002 --src-nat $SNAT4:40004
    entry fw2 $VM4 40002 80
    entry fw2 $VM4 40003 5002 --src-nat $SNAT4:41003
    entry fw2 10.0.0.77 40004 5002 --src-nat $SNAT4:40004
    lab_table fw2 >"$LAB_DIR/before"
    lab_daemons
    ctl fw1 migrate --vm $VM4,$VM6 --to fw2.lab --now --json >"$LAB_DIR/migrate.json" 2>"$LAB_DIR/migrate.log" || status=$?
    tail -n 1 "$LAB_DIR/migrate.json"
    [ $status -eq 6 ] || die "migrate ended with exit status $status, not 6: $(cat "$LAB_DIR/migrate.log")"
    [ "$(lab_json merged)" = 1 ] || die "merged = $(lab_json merged), not 1"
    [ "$(lab_json nat-mismatch)" = 1 ] || die "nat-mismatch = $(lab_json nat-mismatch), not 1"
    [ "$(lab_json nat-clash)" = 1 ] || die "nat-clash = $(lab_json nat-clash), not 1"
    # Nothing of firewall 2's own has changed, and one entry has come.
    lab_table fw2 >"$LAB_DIR/after"
    diff <(comm -13 "$LAB_DIR/before" "$LAB_DIR/after" | grep -c 'sport=40001') <(echo 1) || die "the entry without a conflict is not there"
    [ -z "$(comm -23 "$LAB_DIR/before" "$LAB_DIR/after")" ] || die "changed: $(diff "$LAB_DIR/before" "$LAB_DIR/after")"
    [ "$(wc -l <"$LAB_DIR/after")" -eq 4 ] || die "too much at firewall 2: $(cat "$LAB_DIR/after")"
    ctl fw2 stats | grep -E 'refused_nat_(mismatch|clash)|refused_nat-(mismatch|clash)' | awk '$NF != 1 { bad = 1 } END { exit bad || NR != 2 }' ||
        die "counters: $(ctl fw2 stats)"
}

lab_main "$@"
