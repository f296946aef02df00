#!/usr/bin/env bash
# Flows opened while nobody listened, with nf_conntrack_events=2: they send no events for life, and the freeze has to scan.
CASE=snat EVENTS=2 FREEZE=scan
. "${srcdir:-.}/tests/e2e/move.sh"
