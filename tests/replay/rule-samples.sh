#!/usr/bin/env bash
# The files in tests/data/rules are what rule-samples writes, octet for octet, and nothing else is there.
set -uo pipefail
top=$(cd "${srcdir:-$(dirname "$0")/../..}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/keys" "$work/rules"
cp "$top"/tests/data/replay/fw[12].key "$top/tests/data/rules/config/fw3.key" "$work/keys" && chmod 600 "$work"/keys/* || exit 1
"${SAMI_BUILD:?}/rule-samples" "$work/keys" "$work/rules" || exit 1
diff -r --exclude=config "$work/rules" "$top/tests/data/rules" || { echo "written anew by: rule-samples KEYS tests/data/rules"; exit 1; }
n=$(find "$work/rules" -name '*.ipfix' | wc -l)
[ "$n" -eq "$(wc -l <"$work/rules/INDEX")" ] && [ "$n" -gt 60 ] || { echo "$n files"; exit 1; }
echo "$n files are in step"
