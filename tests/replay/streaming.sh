#!/usr/bin/env bash
# Memory does not grow with the input; a terminal gets a progress bar.
exec python3 "${srcdir:?}/tests/replay/streaming.py" "${SAMI_BUILD:?}/sami-replay" "$srcdir/tests/data/replay/foreign.ipfix"
