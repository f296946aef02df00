#include "replay/target.h"

#include <string.h>

#include "common/limits.h"

#define BATCH 2048u /* sessions that are let in at once */

/* One record of a Message, judged. */
typedef struct {
    SamiRecordKind kind;
    guint32 age_s;
    union {
        SamiApplyItem item;
        SamiExpectationItem expectation;
        SamiCumulative cumulative;
        SamiEpoch epoch;
        SamiMarker marker;
    };
} Taken;

const gchar *
replay_trust_name(ReplayTrust trust)
{
    static const gchar *const names[] = { "signer", "own", "forced" };
    return names[trust];
}

/* Every address of both families. */
static const SamiPrefix everything[] = { { .family = 4 }, { .family = 6 } };

static void
fill_policy(ReplayTarget *target)
{
    SamiPolicy *policy = &target->policy;
    if (target->trust == REPLAY_TRUST_SIGNER) {
        const GArray *vm = target->vm ? target->vm : target->signer->allow_prefixes;
        *policy = (SamiPolicy){ .vm = (const SamiPrefix *) (const void *) vm->data, .n_vm = vm->len };
        sami_signer_fill_policy(target->signer, target->sink->host, policy);
        return;
    }
    *policy = (SamiPolicy){ .vm = everything, .n_vm = G_N_ELEMENTS(everything), .nat_addresses = everything,
                            .n_nat_addresses = G_N_ELEMENTS(everything), .may_help = TRUE, .any_segment = TRUE,
                            .any_address = target->trust == REPLAY_TRUST_OWN };
}

static SamiConflict
conflict_of(const gchar *word)
{
    return g_strcmp0(word, "replace") == 0 ? SAMI_CONFLICT_REPLACE : g_strcmp0(word, "keep") == 0 ? SAMI_CONFLICT_KEEP : SAMI_CONFLICT_MERGE;
}

ReplayTarget *
replay_target_new(const ReplaySink *sink, ReplayTrust trust, SamiSigner *signer, const gchar *name, const guint8 id[16], GArray *vm)
{
    ReplayTarget *target = g_new0(ReplayTarget, 1);
    target->sink = sink;
    target->trust = trust;
    target->signer = signer ? sami_signer_ref(signer) : NULL;
    target->name = g_strdup(name);
    target->vm = vm;
    sami_migration_id_text(id, target->id);
    fill_policy(target);
    SamiBudget *unlimited = sami_budget_new();
    target->apply = sami_apply_new(0, trust == REPLAY_TRUST_SIGNER ? sink->budget : unlimited, signer ? signer->budget : unlimited);
    sami_budget_unref(unlimited);
    sami_apply_set_expectation_budget(target->apply, signer ? signer->expectations : NULL);
    target->apply->firewall = sink->firewall;
    target->apply->batch = sink->batch;
    target->apply->on_conflict = conflict_of(sink->on_conflict || !signer ? sink->on_conflict : signer->config->on_conflict);
    sami_apply_set_map(target->apply, signer ? signer->map : NULL);
    sami_apply_set_vm(target->apply, target->policy.vm, target->policy.n_vm);
    target->items = g_array_new(FALSE, FALSE, sizeof(SamiApplyItem));
    target->expectations = g_array_new(FALSE, FALSE, sizeof(SamiExpectationItem));
    target->elements = g_array_new(FALSE, FALSE, sizeof(SamiCumulative));
    target->message = g_array_new(FALSE, FALSE, sizeof(Taken));
    target->siblings = g_ptr_array_new();
    target->context = (SamiKindContext){ .config = sink->config, .max_elements = signer ? signer->config->max_elements : 0, .peer = target->name, .vm = target->policy.vm, .n_vm = target->policy.n_vm,
                                         .siblings = target->siblings };
    return target;
}

void
replay_target_free(ReplayTarget *target)
{
    if (!target)
        return;
    if (target->sets)
        sami_sink_cumulative.close(target->sets);
    g_clear_pointer(&target->cumulative.refusals, g_array_unref);
    sami_apply_free(target->apply);
    g_array_unref(target->items);
    g_array_unref(target->expectations);
    g_array_unref(target->elements);
    g_array_unref(target->message);
    g_ptr_array_unref(target->siblings);
    g_clear_pointer(&target->vm, g_array_unref);
    sami_signer_unref(target->signer);
    g_free(target->name);
    g_free(target->destination);
    g_free(target);
}

void
replay_target_add(ReplayTarget *target, const SamiRecord *record, guint32 age_s)
{
    const SamiMap *map = target->signer ? target->signer->map : NULL;
    Taken taken = { .kind = record->kind, .age_s = age_s };
    switch (record->kind) {
    case SAMI_RECORD_SESSION: sami_apply_judge(map, &target->policy, &record->session, &target->n_marks_cut, &taken.item); break;
    case SAMI_RECORD_EXPECTATION: sami_apply_judge_expectation(map, &target->policy, &record->expectation, &taken.expectation); break;
    case SAMI_RECORD_CUMULATIVE: taken.cumulative = record->cumulative; break;
    case SAMI_RECORD_EPOCH: taken.epoch = record->epoch; break;
    case SAMI_RECORD_MARKER: taken.marker = record->marker; break;
    default: break;
    }
    g_array_append_val(target->message, taken);
}

void
replay_target_drop(ReplayTarget *target)
{
    g_array_set_size(target->message, 0);
}

/* What the engine has put on its lists since. */
static void
hand_on(ReplayTarget *target)
{
    GArray *lists[] = { target->apply->refusals, target->cumulative.refusals };
    for (guint k = 0; k < G_N_ELEMENTS(lists); k++) {
        for (guint i = 0; lists[k] && i < lists[k]->len; i++)
            target->sink->list(&g_array_index(lists[k], SamiRefusal, i), FALSE, target->sink->user_data);
        if (lists[k])
            g_array_set_size(lists[k], 0);
    }
}

static gboolean
let_in_sessions(ReplayTarget *target, GError **error)
{
    SamiApplyItem *items = (SamiApplyItem *) (void *) target->items->data;
    guint n = target->items->len;
    if (n == 0)
        return TRUE;
    g_autofree guint8 *messages = sami_apply_build(items, n, 0, target->is_redumping);
    gboolean is_done = sami_apply_records(target->apply, items, n, 0, 0, error);
    g_array_set_size(target->items, 0);
    hand_on(target);
    return is_done;
}

static void
let_in_expectations(ReplayTarget *target)
{
    const SamiExpectationItem *items = (const SamiExpectationItem *) (const void *) target->expectations->data;
    if (target->expectations->len > 0)
        sami_apply_expect(target->apply, items, target->expectations->len, 0, (guint64) g_get_monotonic_time() / 1000);
    g_array_set_size(target->expectations, 0);
    hand_on(target);
}

static gboolean
may_have_sets(const ReplayTarget *target)
{
    return !target->signer || g_strv_contains((const gchar *const *) target->signer->config->kinds, sami_sink_cumulative.name);
}

static void
refuse_elements(ReplayTarget *target, SamiReason reason, const gchar *why)
{
    target->cumulative.n_records += target->elements->len;
    for (guint i = 0; i < target->elements->len; i++)
        sami_kind_refuse(&target->cumulative, reason, 0, target->cumulative.refused[reason] == 0 ? why : NULL);
}

static void
let_in_elements(ReplayTarget *target)
{
    g_autoptr(GError) error = NULL;
    if (target->elements->len == 0)
        return;
    if (!may_have_sets(target))
        refuse_elements(target, SAMI_REASON_KIND_NOT_ALLOWED, "cumulative");
    else if (!target->sink->config)
        refuse_elements(target, SAMI_REASON_SET_MISSING, "there is no configuration, so no group [cumulative NAME]");
    else if (target->sink->is_dry)
        target->cumulative.n_records += target->elements->len;
    else if (!target->sets && !(target->sets = sami_sink_cumulative.open(&target->context, &error)))
        refuse_elements(target, SAMI_REASON_KERNEL, error->message);
    else
        sami_sink_cumulative.apply(target->sets, target->elements->data, target->elements->len, target->elements_age_ms, 0, &target->cumulative);
    if (target->sets && target->siblings->len == 0)
        g_ptr_array_add(target->siblings, target->sets);
    g_array_set_size(target->elements, 0);
    hand_on(target);
}

static gboolean
let_in(ReplayTarget *target, GError **error)
{
    if (!let_in_sessions(target, error))
        return FALSE;
    let_in_expectations(target);
    let_in_elements(target);
    return TRUE;
}

static void
list_expired(ReplayTarget *target, const SamiFlowKey *key, const gchar *what)
{
    SamiRefusal refusal = { .scope = SAMI_SCOPE_RECORD };
    SamiFlowKey theirs = *key;
    sami_map_key_back(target->signer ? target->signer->map : NULL, &theirs);
    g_autofree gchar *flow = sami_flow_key_to_string(&theirs);
    g_autofree gchar *text = g_strconcat(what, flow, NULL);
    sami_flow_key_pack(&theirs, refusal.key);
    g_strlcpy(refusal.detail, text, sizeof refusal.detail);
    target->sink->list(&refusal, TRUE, target->sink->user_data);
}

/* A flow whose time was over before now is not there any more, whatever an earlier record said. */
static void
take_session(ReplayTarget *target, SamiApplyItem *item, guint32 age_s)
{
    SamiSession *s = &item->session;
    gboolean is_ending = s->action == SAMI_ACTION_DELETED;
    if (item->reason == SAMI_REASON_NONE && is_ending)
        target->n_deleted++;
    if (item->reason == SAMI_REASON_NONE && !is_ending && age_s >= s->timeout_s) {
        target->n_expired++;
        list_expired(target, &s->key, "");
        s->action = SAMI_ACTION_DELETED;
        s->has = 0;
    } else if (item->reason == SAMI_REASON_NONE && !is_ending) {
        s->timeout_s -= age_s;
    }
    g_array_append_val(target->items, *item);
}

static void
take_expectation(ReplayTarget *target, SamiExpectationItem *item, guint32 age_s)
{
    SamiExpectation *e = &item->expectation;
    gboolean is_timed = item->reason == SAMI_REASON_NONE && e->action != SAMI_ACTION_DELETED;
    if (is_timed && age_s >= e->timeout_s) {
        target->n_expectations_expired++;
        list_expired(target, &e->key, "expected: ");
        return;
    }
    if (is_timed)
        e->timeout_s -= age_s;
    g_array_append_val(target->expectations, *item);
}

static void
take_element(ReplayTarget *target, const Taken *taken)
{
    guint64 age_ms = (guint64) taken->age_s * 1000;
    if (target->elements_age_ms != age_ms) /* one age a call */
        let_in_elements(target);
    target->elements_age_ms = age_ms;
    g_array_append_val(target->elements, taken->cumulative);
}

static gboolean
take_back(ReplayTarget *target, GError **error)
{
    target->is_aborted = TRUE;
    for (guint at = 0, first = 1; first || at < sami_ledger_size(target->apply->ledger); first = 0)
        if (!sami_apply_rollback(target->apply, &at, &target->removal, error))
            return FALSE;
    if (target->sets)
        sami_sink_cumulative.undo(target->sets, &target->cumulative);
    return TRUE;
}

/* What a record of the stream about itself means: everything before it is in the kernel. Markers but THAW mean nothing here: there is one freeze, at
 * the end. */
static gboolean
carry_out(ReplayTarget *target, const Taken *taken, GError **error)
{
    gboolean is_thaw = taken->kind == SAMI_RECORD_MARKER && taken->marker.marker == SAMI_MARKER_THAW;
    if (taken->kind == SAMI_RECORD_MARKER && !is_thaw)
        return TRUE;
    if (!let_in(target, error))
        return FALSE;
    if (is_thaw) /* the source will name its expectations anew */
        return sami_apply_thaw(target->apply, error);
    if (taken->kind == SAMI_RECORD_ABORT)
        return take_back(target, error);
    target->is_redumping = taken->epoch.phase == 1;
    if (!target->is_redumping)
        return sami_apply_epoch_end(target->apply, error);
    sami_apply_epoch_begin(target->apply, taken->epoch.generation);
    return TRUE;
}

gboolean
replay_target_commit(ReplayTarget *target, GError **error)
{
    gboolean is_done = TRUE;
    for (guint i = 0; is_done && !target->is_aborted && i < target->message->len; i++) {
        Taken *taken = &g_array_index(target->message, Taken, i);
        switch (taken->kind) {
        case SAMI_RECORD_SESSION: take_session(target, &taken->item, taken->age_s); break;
        case SAMI_RECORD_EXPECTATION: take_expectation(target, &taken->expectation, taken->age_s); break;
        case SAMI_RECORD_CUMULATIVE: take_element(target, taken); break;
        default: is_done = carry_out(target, taken, error); break;
        }
    }
    replay_target_drop(target);
    if (is_done && (target->items->len >= BATCH || target->expectations->len >= BATCH || target->elements->len >= BATCH))
        is_done = let_in(target, error);
    return is_done;
}

gboolean
replay_target_finish(ReplayTarget *target, GError **error)
{
    SamiReadBack reading = { 0 };
    gboolean is_done = target->is_aborted || (let_in(target, error) && sami_apply_freeze(target->apply, error));
    for (guint at = 0; is_done && !target->is_aborted && at < sami_ledger_size(target->apply->ledger);)
        is_done = sami_apply_read_back(target->apply, &at, &reading, error);
    sami_read_back_clear(&reading);
    hand_on(target);
    return is_done;
}
