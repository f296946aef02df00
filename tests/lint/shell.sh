#!/usr/bin/env bash
# Every shell script of the tree passes shellcheck, warnings included. Each is looked at by itself: with -x, or in one command with it, the lab would be analysed
# again with every case that sources it, which takes four times as long and finds the same. What only -x knows is that a script reads what another sets: that
# is looked up here.
set -u
cd "${srcdir:-$(dirname "$0")/../..}" || exit 1
command -v shellcheck >/dev/null || { echo "SKIP: shellcheck is not installed"; exit 77; }
mapfile -t scripts < <(grep -rlEm 1 '^#!/.*\b(ba)?sh\b|^# shellcheck shell=' run packaging tests --exclude-dir=seeds --exclude-dir=data --exclude='*.c' | LC_ALL=C sort)
[ -e .ci/run ] && scripts+=(.ci/run) # not in a release
[ ${#scripts[@]} -ge 150 ] || { echo "only ${#scripts[@]} scripts were found: this test looks in the wrong place"; exit 1; }

# sourced FILE: the files of the tree that it sources, and those that they do
sourced() {
    local file
    for file in $(sed -nE 's,^(.* )?\. "[^/"]+/([a-z0-9/-]+(\.sh)?)"$,\2,p' "$1"); do
        echo "$file"
        sourced "$file"
    done
}

# Silent is a run that found nothing; what is no finding, an unknown option or a file that cannot be read, is printed too.
failed=0
while IFS= read -r line; do
    name=$(sed -nE 's/.* warning: ([A-Za-z_0-9]+) appears unused\. .*\[SC2034\]$/\1/p' <<<"$line")
    if [ "$name" ]; then
        mapfile -t readers < <(sourced "${line%%:*}")
        [ ${#readers[@]} -gt 0 ] && grep -qE '[$]([{][#!]?)?'"$name"'\b|\(\(.*\b'"$name"'\b' "${readers[@]}" && continue
    fi
    printf '%s\n' "$line"
    failed=1
done < <(printf '%s\n' "${scripts[@]}" | xargs -n 1 -P "$(nproc)" shellcheck -S warning -f gcc 2>&1)
[ $failed -ne 0 ] || echo "${#scripts[@]} scripts"
exit $failed
