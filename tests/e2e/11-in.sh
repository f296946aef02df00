#!/usr/bin/env bash
CASE=in
LISTENER_FIRST=1
. "${srcdir:-.}/tests/e2e/move.sh"
