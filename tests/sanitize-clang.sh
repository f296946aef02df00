#!/usr/bin/env bash
# The same as sanitize.sh, by clang: its sanitizers and its code are others.
SANITIZE_CC=clang exec "$(dirname "$0")/sanitize.sh"
