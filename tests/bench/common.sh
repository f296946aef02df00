# common.sh: what the measurements share; sourced by them, after the testbed.
# shellcheck shell=bash

die() { echo "bench: $*" >&2; cat "$WORK"/*.log >&2 2>/dev/null; exit 1; }

table() { "$BUILD/sami-table" "$@"; }

median() { # NUMBER...
    printf '%s\n' "$@" | sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

# conntrackd_start 1|2 On|Off: the firewall's conntrackd, FTFW, with DisableExternalCache as said
conntrackd_start() {
    local conf=$WORK/conntrackd$1.conf
    cat >"$conf" <<CONF
Sync {
    Mode FTFW { ResendQueueSize 131072  ACKWindowSize 300  DisableExternalCache $2 }
    UDP {
        IPv4_address 10.255.0.$1
        IPv4_Destination_Address 10.255.0.$((3 - $1))
        Port 3780
        Interface mgmt0
        SndSocketBuffer 67108864
        RcvSocketBuffer 67108864
        Checksum on
    }
}
General {
    HashSize 262144
    HashLimit 4194304
    LogFile off
    Syslog off
    LockFile $WORK/conntrackd$1.lock
    UNIX { Path $WORK/conntrackd$1.sock }
    NetlinkBufferSize 67108864
    NetlinkBufferSizeMaxGrowth 134217728
}
CONF
    ns "fw$1" conntrackd -C "$conf" >"${conf%.conf}.log" 2>&1 &
    poll 20 test -S "${conf%.conf}.sock" || die "conntrackd does not start"
}

conntrackd_gone() { [ ! -e "$WORK/conntrackd1.sock" ] && [ ! -e "$WORK/conntrackd2.sock" ]; }

conntrackd_stop() { # both
    local n
    for n in 1 2; do ns fw$n conntrackd -C "$WORK/conntrackd$n.conf" -k; done
    poll 20 conntrackd_gone
}
