#!/usr/bin/env bash
# campaign.sh BUILD [--hours H] [--total] [--record] [--keep] [TARGET...]: fuzzes all targets of fuzz.mk, or those named, in BUILD with clang's
# libFuzzer, AddressSanitizer and UndefinedBehaviorSanitizer, until each has had H hours of CPU time (default 1; --total: with those that CAMPAIGNS
# has of it): one at a time, at the lowest priority, in turns of some minutes, the most exposed target first. What a target finds new stays in
# BUILD/corpus/TARGET, and the next campaign goes on with it. A crash ends the turns of its target, and is in BUILD/crashes/TARGET. In the end
# each corpus is minimised into BUILD/minimised/TARGET. --keep puts that into the tree's seeds, up to KEEP_FILES and KEEP_OCTETS; --record writes
# a line a target into tests/fuzz/CAMPAIGNS. Status 1: something crashed.
set -u
TURN=240                          # seconds
KEEP_FILES=160 KEEP_OCTETS=200000 # a target: the check replays all of them
source=$(cd "$(dirname "$0")/../.." && pwd)
build=$1
shift
hours=1 total='' record='' keep=''
targets=()
usage() { echo "usage: ./run fuzz [--hours H] [--total] [--record] [--keep] [TARGET...]" >&2; exit 2; }
while [ $# -gt 0 ]; do
    case $1 in
    --hours) [[ ${2:-} =~ ^[0-9]*\.?[0-9]+$ ]] || usage; hours=$2; shift ;;
    --total) total=1 ;;
    --record) record=1 ;;
    --keep) keep=1 ;;
    -*) usage ;;
    *) targets+=("${1#fuzz-}") ;;
    esac
    shift
done

# Where longer inputs only make each run slower, or shorter ones cannot be a whole stream of Messages.
declare -A max_len=([collector]=16384 [control]=65536 [decode]=16384 [inject]=16384 [receipt]=16384 [session]=1032 [signature]=2048 [capture]=8192 [netlink]=2048)

# What a target's own messages are sent to: libFuzzer closes standard error for the program (2).
declare -A close_fd_mask=([answer]=2)

mkdir -p "$build" && cd "$build" || exit 1
exec 9>"lock"
flock -n 9 || { echo "another campaign runs in $build" >&2; exit 1; }
if [ ! -e Makefile ]; then
    CC=clang "$source/configure" -q --enable-fuzzing --enable-sanitizers >configure.log 2>&1 || { tail -n 40 configure.log; exit 1; }
fi
make -s Makefile >make.log 2>&1 || { tail -n 40 make.log; exit 1; }
read -r -a all <<<"$(make -s print-fuzz-targets)"
[ ${#targets[@]} -gt 0 ] || targets=("${all[@]#fuzz-}")
for target in "${targets[@]}"; do
    case " ${all[*]} " in *" fuzz-$target "*) ;; *) echo "no target $target; there are: ${all[*]#fuzz-}" >&2; exit 2 ;; esac
done
nice -n 19 make -s -j"$(nproc)" "${targets[@]/#/fuzz-}" >make.log 2>&1 || { tail -n 40 make.log; exit 1; }

# GLib's own allocator would hide from AddressSanitizer what is wrong with small pieces of memory.
export G_SLICE=always-malloc G_DEBUG=fatal-criticals ASAN_OPTIONS=quarantine_size_mb=32:malloc_context_size=8 UBSAN_OPTIONS=print_stacktrace=1
declare -A budget cpu runs edges crashes
for target in "${targets[@]}"; do
    budget[$target]=$(awk -v h="$hours" -v target="${total:+$target}" '$1 == target { had += $4 } END { print int(h * 3600 - had) }' "$source/tests/fuzz/CAMPAIGNS")
done

one_turn() { # TARGET SECONDS
    local target=$1 log=logs/fuzz-$1.log took found
    mkdir -p "corpus/$target" "crashes/$target" logs "$source/tests/fuzz/seeds/$target"
    TIMEFORMAT='%U %S'
    # The time is on standard error of the shell, the program's in its log.
    took=$({ time nice -n 19 "./fuzz-$target" -max_total_time="$2" -max_len="${max_len[$target]:-4096}" -timeout=25 -rss_limit_mb=2048 -reload=0 -close_fd_mask="${close_fd_mask[$target]:-0}" \
        -print_final_stats=1 -artifact_prefix="crashes/$target/" "corpus/$target" "$source/tests/fuzz/seeds/$target" >"$log" 2>&1 9>&-; } 2>&1)
    cpu[$target]=$(awk -v had="${cpu[$target]:-0}" '{ print had + $1 + $2 }' <<<"$took")
    found=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -n 1)
    runs[$target]=$((${runs[$target]:-0} + ${found:-0}))
    edges[$target]=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    found=$(grep -c 'Test unit written to' "$log")
    crashes[$target]=$((${crashes[$target]:-0} + found))
    [ "$found" -eq 0 ] || grep -E 'ERROR|runtime error|SUMMARY|Test unit written' "$log" | sed "s/^/$target: /"
    [ "$found" -eq 0 ] && [ "${edges[$target]:-0}" -gt 0 ]
}

# The seeds that have names stay; of the others, and of what was found, as few and as small ones as reach the same.
minimise() { # TARGET
    local target=$1 out=minimised/$1 n=0 octets=0 size file
    rm -rf "$out"
    mkdir -p "$out" "corpus/$target"
    find "$source/tests/fuzz/seeds/$target" -type f ! -regex '.*/[0-9a-f]+' -exec cp -t "$out" {} +
    nice -n 19 "./fuzz-$target" -merge=1 -set_cover_merge=1 -max_len="${max_len[$target]:-4096}" -timeout=25 "$out" "$source/tests/fuzz/seeds/$target" \
        "corpus/$target" >"logs/merge-$target.log" 2>&1 || { echo "$target: could not be minimised: $build/logs/merge-$target.log"; return 1; }
    [ "$keep" ] || return 0
    find "$source/tests/fuzz/seeds/$target" -type f -regex '.*/[0-9a-f]+' -delete
    while read -r size file; do
        n=$((n + 1)) octets=$((octets + size))
        [ "$n" -gt "$KEEP_FILES" ] || [ "$octets" -gt "$KEEP_OCTETS" ] || cp "$out/$file" "$source/tests/fuzz/seeds/$target/"
    done < <(find "$out" -type f -regex '.*/[0-9a-f]+' -printf '%s %f\n' | sort -n)
}

trap 'stopped=1' INT TERM
stopped='' waiting=("${targets[@]}")
while [ ${#waiting[@]} -gt 0 ] && [ ! "$stopped" ]; do
    left=()
    for target in "${waiting[@]}"; do
        [ ! "$stopped" ] || break
        turn=$(awk -v b="${budget[$target]}" -v had="${cpu[$target]:-0}" -v t="$TURN" 'BEGIN { n = int(b - had + 0.999); print n < t ? n : t }')
        [ "$turn" -gt 0 ] || continue
        one_turn "$target" "$turn" && awk -v b="${budget[$target]}" -v had="${cpu[$target]}" 'BEGIN { exit had >= b }' && left+=("$target")
    done
    waiting=("${left[@]}")
done

commit=$(git -C "$source" rev-parse --short HEAD 2>/dev/null || echo -) status=0
printf '%-14s %12s %12s %8s %8s %8s\n' target runs 'CPU s' edges crashes inputs
for target in "${targets[@]}"; do
    [ "${cpu[$target]:-}" ] || continue
    [ "${crashes[$target]}" -eq 0 ] || status=1
    minimise "$target" || status=1
    printf '%-14s %12s %12.0f %8s %8s %8s\n' "$target" "${runs[$target]}" "${cpu[$target]}" "${edges[$target]:-0}" "${crashes[$target]}" \
        "$(find "minimised/$target" -type f | wc -l)"
    [ "$record" ] && printf '%-14s %s %s %9.0f %12s %7s %6s\n' "$target" "$(date +%F)" "$commit" "${cpu[$target]}" "${runs[$target]}" "${edges[$target]:-0}" \
        "${crashes[$target]}" >>"$source/tests/fuzz/CAMPAIGNS"
done
exit $status
