#!/usr/bin/env bash
# Who may include whom, and which files may know a third-party library. Reads every #include line of the tree.
set -u
cd "${srcdir:-$(dirname "$0")/../..}" || exit 1

mapfile -t files < <(find . -name '*.[ch]' -not -path './build*' -not -path './.*' -not -path './sami-*' | sort)
awk '
BEGIN {
    # Room -> rooms that it may include. tests may include everything; nothing includes tests, ctl, exporter, collector or replay.
    may["common"] = "common"
    may["templates"] = "common templates"
    may["transport"] = "common templates transport"
    may["firewall"] = "common templates firewall"
    may["exporter"] = "common templates transport firewall exporter"
    may["collector"] = "common templates transport firewall collector"
    may["replay"] = "common templates transport firewall replay"
    may["ctl"] = "common ctl"
    may["packaging"] = "common packaging"
    may["man"] = "common templates transport firewall man"
    may["tests"] = "common templates transport firewall exporter collector replay ctl packaging tests"
    # File that includes -> header of another room, where the room as a whole may not.
    also["man", "exporter/machine.h"] = also["man", "collector/machine.h"] = 1
    # What a signer may bring, and what its records do to the kernel, is the same for a file as for a stream.
    also["replay", "collector/signers.h"] = also["replay", "collector/map.h"] = also["replay", "collector/apply.h"] = 1
    also["replay", "collector/kinds.h"] = 1
    also["ctl", "transport/pki.h"] = also["ctl", "templates/signature.h"] = also["ctl", "templates/private-key.h"] = 1
    # Third party -> files that may know it. Tests check those files and may look past them.
    only["fixbuf"] = "^(templates/(codec|registry)\\.c|tests/)"
    only["openssl"] = "^(templates/(signature|private-key)\\.c|transport/(tls|dtls|pki)[a-z-]*\\.[ch]|tests/)"
    only["pcap"] = "^(transport/capture[a-z-]*\\.[ch]|tests/)"
    only["seccomp.h"] = "^(transport/sandbox-calls\\.c|tests/)"
    only["usrsctp.h"] = "^transport/sctp[a-z-]*\\.c"
    only["libmnl"] = only["libnetfilter_conntrack"] = only["libnftnl"] = "^(firewall/|tests/)"
}
function complain(text) {
    print FILENAME ":" FNR ": " text
    n_bad++
}
/^[ \t]*#[ \t]*include[ \t]+["<]/ {
    n++
    match($0, /["<][^">]+[">]/)
    name = substr($0, RSTART + 1, RLENGTH - 2)
    is_own = substr($0, RSTART, 1) == "\""
    file = FILENAME
    sub(/^\.\//, "", file)
    split(file, parts, "/")
    room = parts[1]
    if (is_own && name != "config.h") {
        if (index(name, "/") == 0 || name ~ /\.\./) {
            complain("\"" name "\" is not rooted at the top")
        } else {
            split(name, parts, "/")
            if (!(room in may))
                complain("the room " room " is not in the table of this test")
            else if (index(" " may[room] " ", " " parts[1] " ") == 0 && !((room, name) in also))
                complain(room " may not include " name)
        }
    } else if (!is_own) {
        split(name, parts, "/")
        if (parts[1] in only && file !~ only[parts[1]])
            complain("<" name "> is quarantined in " only[parts[1]])
    }
}
END {
    if (n < 100)
        print "only " n + 0 " #include lines were found: this test looks in the wrong place"
    else
        print n " #include lines, " n_bad + 0 " wrong"
    exit n_bad > 0 || n < 100
}' "${files[@]}"
