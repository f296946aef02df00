#!/usr/bin/env bash
# Each room has a README of at most 25 lines; each header is self-contained in form (#pragma once); no file has grown past 800 lines.
set -u
cd "${srcdir:-$(dirname "$0")/../..}" || exit 1
bad=0

complain() {
    echo "$*"
    bad=1
}

for room in common templates transport firewall exporter collector ctl tests; do
    if [ ! -f $room/README ]; then
        complain "$room has no README"
    elif [ "$(wc -l <$room/README)" -gt 25 ]; then
        complain "$room/README has $(wc -l <$room/README) lines; a room says in 25 what it is for"
    fi
    while read -r file; do
        case $file in
        *.h) grep -q '^#pragma once$' "$file" || complain "$file has no #pragma once" ;;
        *.c) [ "$(wc -l <"$file")" -le 800 ] || complain "$file has $(wc -l <"$file") lines; over 800 is two modules" ;;
        esac
    done < <(find $room -name '*.[ch]')
done
exit $bad
