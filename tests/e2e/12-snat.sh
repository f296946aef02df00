#!/usr/bin/env bash
CASE=snat
LISTENER_FIRST=1
. "${srcdir:-.}/tests/e2e/move.sh"
