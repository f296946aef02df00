#!/usr/bin/env bash
# A kind of state beside sessions is one file for its source, one for its sink, rows in the tables and a template rule (templates/README):
# which files of the programs know of each kind that is there, and no others do.
set -u
cd "${srcdir:-$(dirname "$0")/../..}" || exit 1
failed=0
complain() { echo "$*"; failed=1; }

# What the steps name: the two files of the kind, the rows of both tables, the contract, the configuration, and what makes its records of the
# kernel's, for the exporter and for sami-replay.
allowed() { # KIND
    printf '%s\n' "exporter/$1.c" "collector/$1.c" exporter/kinds.c exporter/kinds.h collector/kinds.c collector/kinds.h exporter/room.mk collector/room.mk \
        templates/records.h templates/elements.h templates/template.c templates/template.h templates/validate.h templates/rules.h \
        firewall/shares.c firewall/shares.h \
        common/config-keys.c common/config.c common/config.h common/limits.h | sort
}

mapfile -t kinds < <(sed -n 's/^extern const SamiSinkKind sami_sink_\([a-z_]*\);.*/\1/p' collector/kinds.h)
[ ${#kinds[@]} -ge 1 ] || complain "collector/kinds.h: no kind was found: has it another form?"
for kind in "${kinds[@]}"; do
    grep -q "sami_source_$kind\b" exporter/kinds.c || complain "$kind has a sink and no source"
    [ -e "exporter/$kind.c" ] && [ -e "collector/$kind.c" ] || complain "$kind has no file of its own in exporter/ and in collector/"
    mapfile -t files < <(grep -rliE "\b$kind|_$kind|${kind}s?\b" common templates transport firewall exporter collector ctl --include='*.[ch]' --include='*.mk' | sort)
    others=$(comm -13 <(allowed "$kind") <(printf '%s\n' "${files[@]}"))
    [ -z "$others" ] || complain "$kind is known to files that no step names:" $others
    echo "$kind: ${#files[@]} files, $(wc -l < <(cat "exporter/$kind.c" "collector/$kind.c")) lines in its own two"
done
exit $failed
