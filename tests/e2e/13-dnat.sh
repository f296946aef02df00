#!/usr/bin/env bash
CASE=dnat
LISTENER_FIRST=1
. "${srcdir:-.}/tests/e2e/move.sh"
