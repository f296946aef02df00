#!/usr/bin/env bash
# Every shell script of the tree passes shellcheck, warnings included.
set -u
cd "${srcdir:-$(dirname "$0")/../..}" || exit 1
command -v shellcheck >/dev/null || { echo "SKIP: shellcheck is not installed"; exit 77; }
scripts=(run tests/*.sh tests/*/*.sh)
[ -e .ci/run ] && scripts+=(.ci/run) # not in a release
[ ${#scripts[@]} -ge 20 ] || { echo "only ${#scripts[@]} scripts were found: this test looks in the wrong place"; exit 1; }
shellcheck -x -P SCRIPTDIR -P . -S warning "${scripts[@]}" && echo "${#scripts[@]} scripts"
