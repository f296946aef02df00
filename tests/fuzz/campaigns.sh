#!/usr/bin/env bash
# campaigns.sh: what every fuzz target has had, of tests/fuzz/CAMPAIGNS, and how much of one CPU hour that is.
cd "$(dirname "$0")" || exit 1
awk '!/^#/ { cpu[$1] += $4; runs[$1] += $5; edges[$1] = $6; found[$1] += $7; last[$1] = $2; if (!($1 in at)) order[at[$1] = ++n] = $1 }
    END { printf "%-14s %9s %14s %7s %7s %9s  %s\n", "target", "CPU s", "runs", "edges", "found", "of 1 h", "last"
        for (i = 1; i <= n; i++) { t = order[i]
            printf "%-14s %9d %14d %7d %7d %8.0f%%  %s\n", t, cpu[t], runs[t], edges[t], found[t], cpu[t] / 36, last[t] } }' CAMPAIGNS
