#!/usr/bin/env bash
# Files that decide whom a firewall believes, and those that prove who it is, are refused when others could write, or read, them: at the start of either daemon
# with its exit status and the command that mends it, and at a reload, where the old ones stay in use.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
lab_start && sami_setup && sami_start || exit 1
fail() { echo "FAILED: $*"; cat "$WORK/out" "$WORK"/*.log 2>/dev/null; exit 1; }
D=$WORK/fw2
errors() { ns fw2 "$BUILD/samictl" -s "$WORK/run2/collector.sock" stats --json | sed -n 's/.*"reload_errors_total" *: *\([0-9]*\).*/\1/p' | head -n 1; }
COLLECTOR=$(pgrep -o -f "sami-collector -c $WORK/fw2")
n=0
# refused MODE|OWNER FILE WORD collector|exporter reload|no: that daemon does not start, one that runs keeps what it has, and as it was before all is well
refused() {
    local mode owner
    mode=$(stat -c %a "$D/$2") owner=$(stat -c %u "$D/$2")
    case $1 in [go]+*) chmod "$1" "$D/$2" ;; *) chown "$1" "$D/$2" ;; esac
    G_DEBUG='' timeout 30 ip netns exec "${LAB}fw1" "$BUILD/sami-$4" -c "$D/sami.conf" -f >"$WORK/out" 2>&1 </dev/null
    [ $? -eq 1 ] && grep -q "$3" "$WORK/out" && grep -q "$2" "$WORK/out" || fail "$1 $2: not refused with '$3'"
    if [ "$5" = reload ]; then
        kill -HUP "$COLLECTOR"
        n=$((n + 1))
        poll 10 eval '[ "$(errors)" = "$n" ]' || fail "$1 $2: not refused at a reload"
    fi
    chmod "$mode" "$D/$2" && chown "$owner" "$D/$2"
}
for place in sami.conf peers.d/fw1.example.conf signers.d/fw1.example.conf signers.d/fw1.example.pub signers.d peers.d vms.d .; do
    refused g+w $place 'others may write' collector reload
done
refused o+w signers.d/fw1.example.conf 'others may write' collector reload
refused nobody signers.d/fw1.example.pub 'belongs to user' collector reload
refused nobody signers.d 'belongs to user' collector reload
refused g+w peers.d/fw1.example.crt 'others may write' exporter no
refused g+w tls.crt 'others may write' collector no
refused g+r signing.key 'a secret must not be accessible' collector reload
refused o+r tls.key 'a secret must not be accessible' exporter no
refused nobody tls.key 'belongs to user' exporter no
# What is no file does not hold a daemon up.
mv "$D/peers.d/fw1.example.crt" "$WORK/aside" && mkfifo "$D/peers.d/fw1.example.crt"
kill -HUP "$COLLECTOR"
n=$((n + 1))
reload_refused() { [ "$(errors)" = $n ]; }
poll 10 reload_refused || fail "a FIFO in a certificate's place"
grep -q 'fw1.example.crt: is no regular file' "$WORK/collector.log" || fail "a FIFO: not said"
rm "$D/peers.d/fw1.example.crt" && mv "$WORK/aside" "$D/peers.d/fw1.example.crt"
# What the daemons write into, which the sticky bit does not protect: another's file would be there already.
cp -a "$D" "$WORK/fw3"
sed -i '/^\(listen\|run-dir\|journal-dir\) *=/d' "$WORK/fw3/sami.conf"
printf '%s\n' listen=127.0.0.1:4799 "run-dir=$WORK/run3" "journal-dir=$WORK/journal3" >>"$WORK/fw3/sami.conf"
for place in run3 journal3; do
    for wrong in 0775 1777 nobody; do
        mkdir -p "$WORK/run3" "$WORK/journal3" && chmod 755 "$WORK/run3" "$WORK/journal3"
        case $wrong in nobody) chown nobody "$WORK/$place" ;; *) chmod $wrong "$WORK/$place" ;; esac
        G_DEBUG='' timeout 30 ip netns exec "${LAB}fw1" "$BUILD/sami-collector" -c "$WORK/fw3/sami.conf" -f >"$WORK/out" 2>&1 </dev/null
        [ $? -eq 1 ] && grep -q "$place: \(others may write into it\|belongs to user\)" "$WORK/out" || fail "$place $wrong is not refused"
        rm -r "$WORK/run3" "$WORK/journal3"
    done
done
# What they protect: an unchanged reload is taken, and the firewalls still know each other.
kill -HUP "$COLLECTOR"
poll 10 grep -q 'reloaded: 1 signers' "$WORK/collector.log" || fail "not reloaded"
[ "$(errors)" = $n ] || fail "an error where there is none"
ctl 1 peer test fw2.example >"$WORK/out" 2>&1 || fail "they do not know each other any more"
# The same for samictl and sami-replay; a directory with the sticky bit is as good as the files in it.
chmod g+w "$D/signers.d"
ctl 2 peer list >"$WORK/out" 2>&1 && fail "samictl reads it"
"$BUILD/sami-replay" dump --config "$D/sami.conf" "$SRC/tests/data/replay/session.ipfix" >"$WORK/out" 2>&1 && fail "sami-replay reads it"
chmod g-w "$D/signers.d" && chmod 1777 "$D"
ctl 2 peer list >"$WORK/out" 2>&1 || fail "a sticky directory"
rm -r "$D/vms.d" && setpriv --reuid=65534 --clear-groups mkdir "$D/vms.d"
ctl 2 peer list >"$WORK/out" 2>&1 && fail "another's directory in it"
exit 0
