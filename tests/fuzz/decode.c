/* Signed Messages at the collector: signature, shim, libfixbuf, record rules. */
#include "tests/fuzz/fuzz.h"

#include "templates/validate.h"

static void
on_record(const SamiRecord *record, gpointer user_data)
{
    static const guint16 zone = 0;
    SamiPrefix all[] = {{.family = 4}, {.family = 6}};
    SamiPolicy policy = {all, 2, all, 2, &zone, 1, &zone, 1, TRUE};
    g_assert(record->kind < SAMI_N_RECORD_KINDS);
    if (record->kind == SAMI_RECORD_SESSION)
        g_assert(sami_reason_is_known(sami_validate_session(&record->session, &policy)));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sami_fuzz_stream(SAMI_ROLE_EXPORTER, data, size, on_record);
    return 0;
}
