#!/usr/bin/env bash
# check.sh BUILD [--long] [--except=SUITE...] [SUITE...]: runs the tests that BUILD lists, a line each; the last line counts them. As many run at once as there
# are cores (SAMI_JOBS), for most wait most of the time; a script that says "# ALONE: why" runs by itself. A script that fails beside others is run once
# more when nothing else runs, since labs full of processes with leases and deadlines share these cores: that it passes then is said, and
# listed at the end. End to end the daemons speak TLS over TCP, with SAMI_TRANSPORT=sctp DTLS over SCTP; with --long, and where a script
# says "# OVER SCTP, TOO", first one and then the other. What a sanitizer has to say, in a BUILD that has them, fails the test that it
# happened in, whichever process it was.
set -u
build=$1
shift
SAMI_LONG='' limit=300 # seconds a test
suites=() excepted=()
for argument in "$@"; do
    case $argument in
    --long) SAMI_LONG=1 limit=5400 ;;
    --except=*) excepted+=("${argument#--except=}") ;; # what contains this; for tests/sanitize.sh
    -*) echo "usage: ./run check [--long] [SUITE...]" >&2; exit 2 ;;
    *) suites+=("$argument") ;;
    esac
done
export SAMI_LONG SAMI_BUILD=$build G_DEBUG=fatal-criticals
export srcdir
srcdir=$(cd "$(dirname "$0")/.." && pwd)
jobs=${SAMI_JOBS:-$(nproc)}
mkdir -p "$build/logs"
work=$(mktemp -d "${TMPDIR:-/tmp}/sami-check.XXXXXX")
chmod 755 "$work"
: >"$work/results"
: >"$work/again"
trap 'rm -rf "$work"' EXIT
# The tests take their namespaces down when they are told to end.
trap 'trap - INT TERM; pkill -TERM -P "$(jobs -p | paste -sd,)" 2>/dev/null; wait; exit 130' INT TERM

wanted() {
    local suite
    for suite in "${excepted[@]}"; do case $1 in *"$suite"*) return 1 ;; esac; done
    [ ${#suites[@]} -eq 0 ] && return 0
    for suite in "${suites[@]}"; do case $1 in *"$suite"*) return 0 ;; esac; done
    return 1
}

# What a sanitizer says, or a unit test, is no matter of time; nor is it when many fail.
may_be_run_again() { # TEST STATUS
    [ "$2" -ne 99 ] && [ "$(wc -l <"$work/again")" -lt 6 ] || return 1
    case $1 in tests/e2e/* | tests/interop/* | tests/packaging/*) return 0 ;; *) return 1 ;; esac
}

# run_one TEST PROGRAM TRANSPORT [again]: one line, and on failure the end of the log, in one piece; a word for the count
run_one() {
    local test=$1 program=$2 log reports status start took word text seconds=$limit
    case $test in tests/lint/*) seconds=$((5 * limit)) ;; esac # these only compute, for as long as others leave them of the machine
    log=$build/logs/$(basename "$test")
    case $3 in sctp) test+=" over SCTP" log+=.sctp ;; esac
    log+=.log
    export SAMI_TRANSPORT=$3
    reports=$(mktemp -d "$work/reports.XXXXXX")
    chmod 1777 "$reports" # the network process is another user
    export ASAN_OPTIONS="log_path=$reports/report${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
    export UBSAN_OPTIONS="print_stacktrace=1:log_path=$reports/report${UBSAN_OPTIONS:+:$UBSAN_OPTIONS}"
    start=$SECONDS
    # The shell lets what runs in the background ignore Ctrl-C, and some tests type it.
    (cd "$build" && env --default-signal=INT,QUIT timeout -k 5 "$seconds" "$program") >"$log" 2>&1 </dev/null
    status=$?
    if [ -n "$(ls -A "$reports")" ]; then
        cat "$reports"/* >>"$log"
        status=99
    fi
    took="$((SECONDS - start)) s"
    case $status in
    0) word=passed text="PASS  $test  ($took)" ;;
    77) word=skipped text="SKIP  $test: $(tail -n 1 "$log")" ;;
    *)
        word=failed text="FAIL  $test  ($took, status $status, $log)"$'\n'$(grep -a -m 5 '^FAIL' "$log"; tail -n 25 "$log")
        if [ "${4:-}" != again ] && may_be_run_again "$test" "$status"; then
            word=again
            cp "$log" "${log%.log}.first.log"
            printf '%s %s %s\n' "$1" "$program" "$3" >>"$work/again"
        fi
        ;;
    esac
    printf '%s\n' "$text"
    echo "$word" >>"$work/results"
}

# What a test runs over: TCP where nothing is said. A case that names its transport runs once.
transports() { # TEST PROGRAM
    local default=${SAMI_TRANSPORT:-tcp}
    case $1 in tests/e2e/*) ;; *) echo tcp; return ;; esac
    if grep -q 'TRANSPORT=[st]c[tp]' "$2"; then
        echo tcp
    else
        if [ "$SAMI_LONG" ] || { [ "$default" = tcp ] && head -n 8 "$2" | grep -q '^# OVER SCTP, TOO'; }; then default='tcp sctp'; fi
        echo "$default"
    fi
}

running() { jobs -rp | wc -l; }
start() { # TEST PROGRAM TRANSPORT
    if head -n 5 "$2" | grep -aq '^# ALONE: '; then
        wait
        run_one "$@"
    else
        while [ "$(running)" -ge "$jobs" ]; do wait -n; done
        run_one "$@" &
    fi
}
for test in $(make -s -C "$build" print-tests); do
    wanted "$test" || continue
    program=$build/$test
    [ -x "$program" ] || program=$srcdir/$test
    for transport in $(transports "$test" "$program"); do start "$test" "$program" "$transport"; done
done
wait
while read -r test program transport; do
    echo "AGAIN $test, by itself"
    run_one "$test" "$program" "$transport" again
    tail -n 1 "$work/results" | grep -q '^failed$' || echo "$test" >>"$work/shaky"
done < "$work/again"
[ ! -s "$work/shaky" ] || echo "passed only by itself: $(paste -sd' ' "$work/shaky")"
count() { grep -c "^$1\$" "$work/results"; }
echo "$(count passed) passed, $(count failed) failed, $(count skipped) skipped"
[ "$(count failed)" -eq 0 ] && [ "$(count passed)" -gt 0 ]
