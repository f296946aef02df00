/* A capture, whole. */
#include "tests/fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sami_fuzz_capture(data, size);
    return 0;
}
