#!/usr/bin/env bash
CASE=masquerade
LISTENER_FIRST=1
. "${srcdir:-.}/tests/e2e/move.sh"
