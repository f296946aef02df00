/* What the fuzz targets share. Each target is one libFuzzer entry point at one trust boundary; replay.c calls it without libFuzzer. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "templates/codec.h"
#include "templates/signature.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input is Messages of one direction, one behind the other, with or without signature Sets. Each is signed anew as `role`, so
 * that mutation gets past the signature, and goes the way of a session's state process: verify, shim, decode. The Sequence Numbers
 * after the first Message are corrected too. Stops where a session would end. */
void sami_fuzz_stream(guint8 role, const uint8_t *data, size_t size, SamiRecordFunc func);
