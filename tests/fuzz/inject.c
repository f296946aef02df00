/* What sami-replay inject makes of a stream: records in any order, into the engine and the fake kernel. */
#include "tests/fuzz/fuzz.h"

#include "replay/target.h"

static ReplayTarget *target;

static void
on_listed(const SamiRefusal *refusal, gboolean is_expired, gpointer user_data)
{
    g_assert(is_expired || sami_reason_is_known(refusal->reason));
}

static void
on_record(const SamiRecord *record, gpointer user_data)
{
    g_autoptr(GError) error = NULL;
    switch (record->kind) {
    case SAMI_RECORD_SESSION:
    case SAMI_RECORD_EXPECTATION:
    case SAMI_RECORD_CUMULATIVE:
    case SAMI_RECORD_EPOCH:
    case SAMI_RECORD_MARKER:
    case SAMI_RECORD_ABORT: break;
    default: return;
    }
    replay_target_add(target, record, record->kind == SAMI_RECORD_SESSION ? record->session.mark % 64 : 5);
    gboolean is_taken = replay_target_commit(target, &error);
    g_assert(is_taken);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const guint8 id[16];
    ReplaySink sink = { .firewall = sami_firewall_fake_new(0), .batch = sami_apply_batch_new(), .budget = sami_budget_new(), .is_dry = TRUE,
                        .list = on_listed };
    target = replay_target_new(&sink, size % 2 ? REPLAY_TRUST_OWN : REPLAY_TRUST_FORCED, NULL, "fuzz", id, NULL);
    sami_fuzz_stream(SAMI_ROLE_EXPORTER, data, size, on_record);
    gboolean is_finished = replay_target_finish(target, NULL);
    g_assert(is_finished);
    replay_target_free(target);
    sami_budget_unref(sink.budget);
    sami_apply_batch_free(sink.batch);
    sami_firewall_free(sink.firewall);
    return 0;
}
