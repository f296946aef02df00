#!/usr/bin/env bash
CASE=ipv6-in
LISTENER_FIRST=1
. "${srcdir:-.}/tests/e2e/move.sh"
