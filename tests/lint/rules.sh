#!/usr/bin/env bash
# Both tables of rules, templates/validate.h (reasons) and templates/rules.h (Message rules): each row has a source that can be looked up, and code that
# gives it; and nothing in templates/ is malformed without naming its rule.
set -u
cd "${srcdir:-$(dirname "$0")/../..}" || exit 1
failed=0
complain() { echo "$*"; failed=1; }

# Is it the heading of a section, or the key of a table, or a function of the kernel? What is behind a colon is what that does.
check_source() { # NAME SOURCE
    local section
    case $2 in
    "RFC "*) grep -qxE 'RFC [0-9]{4} section [0-9]+(\.[0-9]+)*' <<<"$2" ;;
    "sami-protocol(7), "* | "sami-collector(8), "*)
        section=${2#*), }
        grep -qE "^\.S[HS] $section\$" "${SAMI_BUILD:?}/man/sami-$(sed 's/^sami-\([a-z]*\)(\([78]\)).*/\1.\2/' <<<"$2")" ;;
    "sami.conf(5), "*) grep -q "^    {\"[a-z]*\", \"${2#*), }\", SAMI_KEY_" common/config-keys.c ;;
    *) grep -qxE 'nf_[a-z_]+\.c (__)?[a-z_0-9]+\(\): .{4,}' <<<"$2" || grep -qxE 'nf_[a-z_]+\.c (__)?[a-z_0-9]+\(\): E[A-Z]+' <<<"$2" ;;
    esac || complain "$1 has a source that there is not: '$2'"
}

n=0
while IFS='|' read -r prefix symbol id source; do
    n=$((n + 1))
    [ "$id" = none ] && continue
    check_source "$id" "$source"
    grep -qrE "\b$prefix$symbol\b" common templates transport firewall exporter collector replay ctl --include='*.c' || complain "$id is given by no code ($prefix$symbol)"
done < <(sed -n 's/^    X(\([A-Z_]*\), [0-9]*, "\([a-z-]*\)", "\([^"]*\)", ".*/SAMI_REASON_|\1|\2|\3/p' templates/validate.h
    sed -n 's/^    X(\([A-Z_]*\), [A-Z]*, "\([a-z-]*\)", "\([^"]*\)", ".*/SAMI_RULE_|\1|\2|\3/p' templates/rules.h)
# A row of another form would not be looked at.
rows=$(sed -n '/^#define SAMI_RE\?[A-Z]*S(X)/,/[^\\]$/p' templates/validate.h templates/rules.h | grep -c '^    X(')
[ $n -eq "$rows" ] && [ $n -ge 90 ] || complain "$n rows were found, of $rows: has a table another form?"

others=$(grep -ln SAMI_ERROR_MALFORMED templates/*.c | grep -vx templates/rules.c)
[ -z "$others" ] || complain "malformed without a rule: $others"
[ $failed -ne 0 ] || echo "$n rows have a source and code"
exit $failed
