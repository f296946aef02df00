#!/usr/bin/env bash
# What sami-replay says of the files in tests/data/replay, word for word: one golden file a command, with its exit status. golden.sh --write writes
# them anew, when a change is meant. The inputs come from replay-samples.
set -uo pipefail
here=$(cd "${srcdir:-$(dirname "$0")/../..}/tests" && pwd)
replay=${SAMI_BUILD:?}/sami-replay
keys="-k fw1.pub -k fw2.pub"
# In a directory of our own: a configuration that belongs to somebody else, or that a group may write, is refused, as a checkout's may.
data=$(mktemp -d) && cp -r "$here/data/replay" "$here/data/rules" "$data" && chmod -R u+w,go-w "$data" && cd "$data/replay" || exit 1
n=0 wrong=0
golden() { # NAME COMMAND...: standard output, standard error, status
    local name=$1 file=$here/replay/golden/$1.txt
    shift
    out=$(TZ=UTC "$replay" "$@" 2>"$errors"; echo "status $?")
    out=$(printf '%s\n' "$out" "$(sed 's/^/stderr: /' "$errors")" | sed 's#(default: /.*/sami.conf)#(default: SYSCONFDIR/sami.conf)#')
    n=$((n + 1))
    if [ "${write:-}" ]; then
        printf '%s\n' "$out" >"$file"
    elif ! diff -u "$file" <(printf '%s\n' "$out"); then
        echo "FAIL $name: sami-replay $*"
        wrong=$((wrong + 1))
    fi
}
[ "${1:-}" != --write ] || write=1
errors=$(mktemp)
trap 'rm -rf "$errors" "$data"' EXIT
# shellcheck disable=SC2046,SC2086
{
    golden dump-journal dump $keys journal.ipfix
    golden dump-answers dump $keys answers.ipfix
    golden dump-wide dump --wide $keys journal.ipfix
    golden dump-json dump --json $keys journal.ipfix answers.ipfix
    golden dump-unknown-key dump -n 3 journal.ipfix
    golden dump-foreign dump --wide foreign.ipfix
    golden dump-foreign-json dump --json foreign.ipfix
    golden filter-address dump -a 192.0.2.0/24 journal.ipfix
    golden filter-port dump -p 53 -p 40104 journal.ipfix
    golden filter-protocol dump -P sctp -P icmp journal.ipfix
    golden filter-vlan dump --vlan 10 journal.ipfix
    golden filter-kind dump -K marker -K refusal journal.ipfix answers.ipfix
    golden filter-foreign-options dump -K foreign-options foreign.ipfix
    golden filter-migration dump -m 5e5f60 -K end journal.ipfix
    golden filter-migration-other dump -m 5e5f61 journal.ipfix
    golden filter-time dump --since 2026-11-29T16:33:26 --until 1795970007 -K session journal.ipfix
    golden filter-refusal dump -a 198.51.100.10 -p 8080 -K refusal answers.ipfix
    golden validate-journal validate $keys journal.ipfix answers.ipfix
    golden validate-json validate --json $keys journal.ipfix
    golden validate-unknown-key validate -q journal.ipfix
    golden validate-foreign validate foreign.ipfix
    golden validate-foreign-unsigned validate --unsigned foreign.ipfix
    golden stats stats $keys journal.ipfix
    golden stats-json stats --json -K session journal.ipfix
    golden inject-dry-run inject --dry-run --no-aging -c config/sami.conf journal.ipfix
    golden inject-dry-run-json inject --dry-run --no-aging --json -c config/sami.conf journal.ipfix
    golden inject-dry-run-expired inject --dry-run -c config/sami.conf journal.ipfix
    golden inject-dry-run-filter inject --dry-run --no-aging -c config/sami.conf -P sctp journal.ipfix
    golden inject-dry-run-damaged inject --dry-run --no-aging -c config/sami.conf damaged-bit.ipfix
    golden inject-unknown inject --dry-run journal.ipfix
    golden diff-same diff journal.ipfix journal.ipfix
    golden diff diff journal.ipfix earlier.ipfix
    golden diff-foreign diff foreign.ipfix journal.ipfix
    golden diff-json diff --json earlier.ipfix journal.ipfix
    for file in broken-*.ipfix; do golden "${file%.ipfix}" validate --unsigned "$file"; done
    for file in damaged-*.ipfix; do golden "${file%.ipfix}" validate -q $keys "$file"; done
    cd ../rules || exit 1
    golden rules validate -q -k ../replay/fw1.pub -k ../replay/fw2.pub $(find . -name '*.ipfix' -printf '%P\n' | LC_ALL=C sort)
    cd ../replay || exit 1
    golden usage
    golden usage-verb dumb journal.ipfix
    golden usage-option dump --nothing journal.ipfix
    golden usage-kind dump -K nothing journal.ipfix
    golden usage-time dump --since yesterday journal.ipfix
    golden usage-diff diff journal.ipfix
    golden stdin dump -n 2 - <journal.ipfix
    golden missing dump missing.ipfix
    golden not-ipfix dump fw1.pub
    golden help help
    golden help-dump dump --help
}
[ $n -gt 40 ] && [ $wrong -eq 0 ] || { echo "$wrong of $n differ"; exit 1; }
echo "$n commands say what they should"
