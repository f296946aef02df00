# related.sh: helpers on both firewalls, and clients that do one thing a line; sourced after testbed.sh by the cases about related flows.
# shellcheck shell=bash
#
# Firewall 2 lets nothing NEW of these protocols pass: what goes on there belongs to a flow that moved.

SNAT=192.0.2.101 DNAT=192.0.2.102 # not as long as 10.0.0.13: what the helper writes into the stream changes its length
# shellcheck disable=SC2034
TALKERS=() DEFAULT_POLICY=1

related_rules() { # FIREWALL
    ns "fw$1" nft -f - <<NFT || return 1
table inet helpers {
    ct helper ftp { type "ftp" protocol tcp; }
    ct helper tftp { type "tftp" protocol udp; }
    chain assign {
        type filter hook prerouting priority -10;
        tcp dport 21 ct helper set "ftp"
        udp dport 69 ct helper set "tftp"
    }
}
add rule ip nat postrouting oifname "c" ip saddr $VM4 tcp dport 21 snat to $SNAT
add rule ip nat postrouting oifname "c" ip saddr $VM4 udp dport 69 snat to $SNAT
add rule ip nat prerouting ip daddr $DNAT tcp dport 21 dnat to $VM4
NFT
    [ "$1" = 2 ] || ns fw1 nft -f - <<NFT
add rule inet filter forward iifname { "v", "c" } tcp dport 21 ct state new accept
add rule inet filter forward iifname { "v", "c" } udp dport 69 ct state new accept
NFT
}

related_lab() { # KINDS: of the signer at firewall 2
    local n
    lab_start && sami_setup || return 1
    for n in 1 2; do related_rules $n || return 1; done
    sed -i "/^kinds *=/d; /^\[signer/a kinds=$1" "$WORK"/fw2/signers.d/*
    sami_start
}

# serve SIDE PROGRAM ADDRESS
serve() {
    ns "$1" python3 "$SRC/tests/e2e/$2" server "$3" >"$WORK/serve-$2-$1" 2>&1 &
    poll 10 grep -qs listening "$WORK/serve-$2-$1" || { cat "$WORK/serve-$2-$1"; return 1; }
}

# talk NAME SIDE PROGRAM ADDRESS...: a client that do_one gives lines
talk() {
    local fd
    mkfifo "$WORK/in-$1"
    ns "$2" python3 "$SRC/tests/e2e/$3" client "${@:4}" <"$WORK/in-$1" >"$WORK/out-$1" 2>&1 &
    exec {fd}>"$WORK/in-$1"
    eval "FD_${1//-/_}=$fd"
    TALKERS+=("$1")
    poll 10 grep -qs connected "$WORK/out-$1" || { echo "$1 does not connect"; cat "$WORK/out-$1"; return 1; }
}

# do_one NAME WORD [failed]: the answer has to be ok, or failed
do_one() {
    local n fd=FD_${1//-/_} expected=${3:-ok}
    n=$(($(wc -l <"$WORK/out-$1") + 1))
    echo "$2" >&"${!fd}"
    poll 40 enough_lines "$1" "$n" || { echo "$1: no answer to $2"; return 1; }
    sed -n "${n}p" "$WORK/out-$1" | grep -q "^$2 $expected" && { echo "ok   $1: $2 $expected"; return; }
    echo "FAIL $1: $(sed -n "${n}p" "$WORK/out-$1"), not $expected"
    return 1
}
enough_lines() { [ "$(wc -l <"$WORK/out-$1")" -ge "$2" ]; }

expectations() { ns "fw$1" conntrack -L expect 2>/dev/null; }
has_expectations() { [ "$(expectations "$1" | wc -l)" -eq "$2" ]; }
# moved_field SIDE NAME: a number of counts.expectations of the migration
moved_field() { ctl "$1" status "$ID" --json | sed -n "s/.*\"expectations\":{[^}]*\"$2\":\([0-9]*\).*/\1/p"; }
