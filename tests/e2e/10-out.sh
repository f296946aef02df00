#!/usr/bin/env bash
CASE=out
LISTENER_FIRST=1
. "${srcdir:-.}/tests/e2e/move.sh"
