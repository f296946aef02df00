/* Signed Messages at the exporter: hello-reply, receipts and refusals, in the reverse Observation Domain. */
#include "tests/fuzz/fuzz.h"

#include "templates/validate.h"

/* What the exporter shows to its operator of a refusal. */
static void
on_record(const SamiRecord *record, gpointer user_data)
{
    SamiFlowKey key;
    guint8 packed[40];
    if (record->kind != SAMI_RECORD_REFUSAL)
        return;
    g_autofree gchar *detail = g_strndup(record->refusal.detail, sizeof record->refusal.detail);
    g_autofree gchar *quoted = g_strescape(detail, NULL);
    g_assert(g_str_is_ascii(quoted) && sami_reason_id(record->refusal.reason));
    sami_flow_key_unpack(record->refusal.key, &key);
    sami_flow_key_pack(&key, packed);
    g_assert(memcmp(packed, record->refusal.key, sizeof packed) == 0);
    g_autofree gchar *text = sami_flow_key_to_string(&key);
    g_assert(text && *text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sami_fuzz_stream(SAMI_ROLE_COLLECTOR, data, size, on_record);
    return 0;
}
