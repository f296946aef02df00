# foreign.sh: what the tests with IPFIX programs of others share: a namespace of their own, and a journal with flows of many kinds. Sourced.
# shellcheck shell=bash
: "${srcdir:?}"
. "$srcdir/tests/e2e/testbed.sh"
JOURNAL=$srcdir/tests/data/replay/journal.ipfix
fail() { echo "$*"; head -n 40 "$WORK"/*.log "$WORK/sent" 2>/dev/null; exit 1; }
replay() { "$BUILD/sami-replay" "$@"; }
flows() { python3 "$srcdir/tests/interop/foreign-flows.py" "$@"; }

# alone PROGRAM...: those are needed; the namespace is `one`, with nothing but a loopback interface
alone() {
    local program
    trap lab_stop EXIT
    for program in "$@"; do command -v "$program" >/dev/null || lab_skip "$program is not installed"; done
    lab_need
    trap 'exit 130' INT TERM
    LAB_MORE=(one)
    ip netns add "${LAB}one" && ip -n "${LAB}one" link set lo up || exit 1
}

# From the start of a receiver until it has read what was sent to it.
listens() { ns one ss -Hunl "sport = :$1" | grep -q .; }
has_read() { [ "$(ns one ss -Hunl "sport = :$1" | awk '{ print $2 }')" = 0 ]; }
send_journal() { # PORT
    ns one "$BUILD/sami-replay" send --udp "127.0.0.1:$1" "$JOURNAL" >"$WORK/sent" 2>&1
    [ $? -eq 8 ] || fail "not sent" # nobody confirms anything
}

# The interpreter that has Debian's modules need not be the first one in PATH.
has_python_ipfix() {
    for PYTHON_IPFIX in python3 /usr/bin/python3; do
        ! "$PYTHON_IPFIX" -W ignore -c 'import ipfix' 2>/dev/null || return 0
    done
    return 1
}
python_ipfix_needed() {
    trap lab_stop EXIT
    has_python_ipfix || lab_skip "python3-ipfix is not installed"
}
python_ipfix() { "$PYTHON_IPFIX" -W ignore "$srcdir/tests/interop/python-ipfix.py" "$@"; }

# What comes to a port of `one` goes to a file; its process is in $SINK.
sink() { # tcp|udp PORT FILE
    rm -f "$3" "$WORK/sink.log"
    ip netns exec "${LAB}one" python3 "$srcdir/tests/e2e/sink.py" "$1" 127.0.0.1 "$2" "$3" >"$WORK/sink.log" 2>&1 &
    # shellcheck disable=SC2034
    SINK=$!
    disown
    poll 10 grep -qs listening "$WORK/sink.log" || fail "no sink"
}
# All that softflowd has sent: it says how many packets those were.
has_come() { # FILE
    case $(head -n 1 "$WORK/sink.log")$(grep -c '^datagram' "$WORK/sink.log") in
    listening"$(sed -n 's/.* records) in \([0-9]*\) packets.*/\1/p' "$WORK/softflowd.log")") return 0 ;;
    *) grep -q '^connection' "$WORK/sink.log" && [ -s "$1" ] ;;
    esac
}
# Without a control socket: with one, 1.1.0 now and then waits for ever for somebody to connect, when it reads a file.
softflowd_sees() { # CAPTURE OPTION...
    local capture=$1
    shift
    ns one timeout 20 softflowd -d -6 -r "$capture" -p "$WORK/softflowd.pid" -c none "$@" >"$WORK/softflowd.log" 2>&1 ||
        fail "softflowd: $(cat "$WORK/softflowd.log")"
}
