#!/usr/bin/env bash
# Flows opened while nobody listened, with nf_conntrack_events=2: they send no events for life, and the freeze has to scan.
# ALONE: a listener in any namespace of the machine gives every new entry its events.
CASE=snat EVENTS=2 FREEZE=scan
. "${srcdir:-.}/tests/e2e/move.sh"
