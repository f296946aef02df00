#!/usr/bin/env bash
# bash completion of samictl: every verb of the table, every option of a verb, and what the host knows: migrations, peers, VMs.
set -uo pipefail
. "${srcdir:-.}/tests/e2e/testbed.sh"
fail() { echo "FAILED: $*"; exit 1; }
mkdir "$WORK/bin"
trap 'rm -rf "$WORK"' EXIT
# The host: peers and migrations are what a directory and a socket of this test say.
cat >"$WORK/bin/samictl" <<SAMICTL
#!/bin/sh
echo "\$*" >>$WORK/calls
case "\$*" in
--help) $BUILD/samictl --help | sed 's,(default: /.*/sami)$,(default: $WORK/a),' ;;
*"status --json"*) echo '{"migrations":[{"id":"0123456789abcdef0123456789abcdef"},{"id":"fedcba9876543210fedcba9876543210"}]}' ;;
*) exec $BUILD/samictl "\$@" ;;
esac
SAMICTL
chmod +x "$WORK/bin/samictl"
PATH=$WORK/bin:$PATH
. "$SRC/packaging/bash-completion/samictl"
complete -p samictl >/dev/null || fail "not registered"

offered() { # WORDS...: of which the last is being written; = is a word, as bash does it
    COMP_WORDS=(samictl "$@")
    COMP_CWORD=$#
    COMPREPLY=()
    _samictl
    printf '%s\n' "${COMPREPLY[@]}" | sort -u
}
is() { # EXPECTED WORDS...
    local want=$1 got
    shift
    got=$(offered "$@" | paste -sd' ')
    [ "$got" = "$want" ] || fail "samictl $*: '$got', not '$want'"
}

verbs=$(sed -n 's/^    {"\([a-z -]*\)", \(ctl\|run\)_.*/\1/p' "$SRC/ctl/verbs.c")
[ "$(wc -l <<<"$verbs")" -ge 20 ] || fail "the table of verbs was not found"
is "$(cut -d' ' -f1 <<<"$verbs" | sort -u | paste -sd' ')" ""
is "$(sed -n 's/^peer //p' <<<"$verbs" | sort | paste -sd' ')" peer ""
is "$(sed -n 's/^key //p' <<<"$verbs" | sort | paste -sd' ')" key ""
is "stats status" stat
is "freeze" -s /x fr
# The options of each verb are those that its row names, and the global ones.
globals=$(sed -n 's/^#define GLOBALS "\(.*\)"/\1/p' "$SRC/ctl/verbs.c")
n=0
while IFS='|' read -r verb list; do
    n=$((n + 1))
    # shellcheck disable=SC2086
    is "$(tr , '\n' <<<"$globals${list:+,$list}" | sed 's/^/--/' | sort | paste -sd' ')" $verb --
done < <(tr -d '\n' <"$SRC/ctl/verbs.c" | grep -oE '\{"[a-z -]+", (ctl|run)_[a-z_]+, "[^"]*", [0-9], [0-9], +"[a-z,-]*"' |
    sed 's/^{"\([a-z -]*\)", [a-z_]*, "[^"]*", [0-9], [0-9], *"\([a-z,-]*\)"/\1|\2/')
[ $n -eq "$(wc -l <<<"$verbs")" ] || fail "$n verbs with options"

is "abort resume wait" migrate --on-late ""
is "abort" migrate --on-late = a
is "0123456789abcdef0123456789abcdef fedcba9876543210fedcba9876543210" freeze ""
is "fedcba9876543210fedcba9876543210" thaw fed
: >"$WORK/calls"
is "" -H fw2 freeze ""
grep -q -- "-H" "$WORK/calls" && fail "ssh for a completion"
"$BUILD/samictl" -q --config-dir "$WORK/a" setup --name a.example && "$BUILD/samictl" -q --config-dir "$WORK/b" setup --name b.example &&
    "$BUILD/samictl" -q --config-dir "$WORK/a" peer add "$WORK/b/b.example.peer" --both --yes --allow 10.0.0.0/8 >"$WORK/out" 2>&1 || fail "no peers: $(cat "$WORK/out")"
mkdir -p "$WORK/a/vms.d"
printf '[vm]\naddresses=10.0.0.13\n' >"$WORK/a/vms.d/web1.conf"
is "b.example" --config-dir "$WORK/a" migrate --to ""
is "b.example" --config-dir = "$WORK/a" migrate --to = b
is "any-peer b.example" --config-dir "$WORK/a" expect --from ""
is "b.example" --config-dir "$WORK/a" peer remove ""
is "web1" --config-dir "$WORK/a" migrate --vm ""
is "web1" migrate --vm ""
is "" --config-dir "$WORK/b" migrate --vm ""
is "" --config-dir "$WORK/b" migrate --to ""
is "" migrate --vm web1 -- vir

# What a file is called is a word, and nothing that a shell runs.
mkdir -p "$WORK/b/vms.d" "$WORK/here" && cd "$WORK/here" || fail "no directory"
touch "$WORK/b/vms.d/web 1.conf" "$WORK/b/vms.d/w\$(touch ran).conf" "$WORK/b/vms.d/w\`touch ran\`.conf" "$WORK/b/vms.d/w;touch ran.conf"
is 'w\$\(touch\ ran\) w\;touch\ ran w\`touch\ ran\` web\ 1' --config-dir "$WORK/b" migrate --vm ""
is 'web\ 1' --config-dir "$WORK/b" migrate --vm 'web\ '
is 'web\ 1' --config-dir "$WORK/b" migrate --vm web
[ -z "$(ls)" ] || fail "the name of a file was run"
exit 0
