#!/usr/bin/env bash
CASE=ipv6-out
LISTENER_FIRST=1
. "${srcdir:-.}/tests/e2e/move.sh"
