/* A dry run (opening 3, PROTOCOL §3): what would become of the sessions of a VM that are sent here, and what of this host would be in their
 * way. The same session, the same policy and the same records as of a migration, up to the point where one would be written: nothing is injected,
 * registered or kept. It tells no more than the migration would, to nobody who could not make it. */
#include <string.h>

#include "collector/collector.h"
#include "firewall/host.h"
#include "templates/finding.h"
#include "transport/daemon.h"

#define EXAMPLES 5u /* refusal records a reason: an operator reads them */
#define LOOKS 256u

struct SamiCollectorCheck {
    SamiCollectorSession *session;
    gboolean has_begun;
    SamiPolicy policy;
    SamiConflict on_conflict;
    SamiHostFacts *facts;
    SamiHostNeeds needs;
    GArray *batch;             /* of SamiApplyItem: of the Message that is being read */
    guint64 marker_counter;    /* of the marker that it ends with; 0: none yet */
    guint64 n_marked;
    gboolean is_answered;
    guint timer;
    guint64 n_records, n_new, n_merged, n_replaced, n_refused, n_degraded, n_exact;
    guint64 refused[SAMI_N_REASONS], degraded[SAMI_N_REASONS];
    GArray *refusals;          /* of SamiRefusal */
};

static SamiHostFacts *
read_facts(const SamiCollector *collector)
{
    const SamiConfig *config = collector->config;
    const SamiHostDaemon about = { config->key_log != NULL, !sami_daemon_is_sandboxed(config), sami_daemon_keeps_root(config), collector->is_sandbox_partial };
    SamiHostFacts *facts = sami_host_read(collector->firewall, &about);
    if (facts->ruleset && config->nat_elsewhere)
        facts->ruleset->is_ipv4_nat = facts->ruleset->is_ipv6_nat = TRUE;
    return facts;
}

static gboolean
on_timeout(gpointer user_data)
{
    SamiCollectorCheck *check = user_data;
    check->timer = 0;
    if (check->session->refusal == SAMI_REASON_NONE)
        sami_collector_session_refuse(check->session, SAMI_REASON_TOO_LATE, "a check has no longer than the lease");
    return G_SOURCE_REMOVE;
}

SamiCollectorCheck *
sami_collector_check_new(SamiCollectorSession *session)
{
    SamiCollectorCheck *check = g_new0(SamiCollectorCheck, 1);
    check->session = session;
    check->batch = g_array_new(FALSE, FALSE, sizeof(SamiApplyItem));
    check->refusals = g_array_new(FALSE, FALSE, sizeof(SamiRefusal));
    sami_host_needs_init(&check->needs);
    check->timer = g_timeout_add_seconds(session->collector->config->lease_s, on_timeout, check);
    session->collector->n_checks++;
    return check;
}

void
sami_collector_check_free(SamiCollectorCheck *check)
{
    if (!check)
        return;
    g_clear_handle_id(&check->timer, g_source_remove);
    sami_host_facts_free(check->facts);
    sami_host_needs_clear(&check->needs);
    g_array_unref(check->batch);
    g_array_unref(check->refusals);
    g_free(check);
}

gboolean
sami_collector_check_has_begun(const SamiCollectorCheck *check)
{
    return check && check->has_begun;
}

SamiReason
sami_collector_check_begin(SamiCollectorCheck *check, const SamiBegin *begin)
{
    SamiCollectorSession *session = check->session;
    const SamiSigner *signer = session->signer;
    SamiReason reason = sami_collector_migration_may_begin(session, begin);
    if (check->has_begun || session->vm->len == 0 || (begin->kinds & SAMI_KIND_REPLICATION))
        return SAMI_REASON_PROTOCOL;
    if (reason != SAMI_REASON_NONE)
        return reason;
    check->has_begun = TRUE;
    check->policy = (SamiPolicy){ .vm = (const SamiPrefix *) (const void *) session->vm->data, .n_vm = session->vm->len };
    sami_collector_host_refresh(session->collector);
    sami_signer_fill_policy(signer, &session->collector->host, &check->policy);
    check->on_conflict = sami_collector_conflict_of(signer);
    check->facts = read_facts(session->collector);
    check->needs.is_probing = TRUE;
    check->needs.room = sami_collector_room(session->collector, signer);
    return SAMI_REASON_NONE;
}

SamiReason
sami_collector_check_record(SamiCollectorCheck *check, const SamiRecord *record)
{
    if (!check->has_begun || check->marker_counter || check->is_answered)
        return SAMI_REASON_PROTOCOL;
    if (record->kind == SAMI_RECORD_SESSION) {
        SamiApplyItem item;
        sami_collector_session_judge(check->session->collector, check->session->signer, &check->policy, &record->session, &item);
        if (item.reason == SAMI_REASON_NONE && record->session.action != SAMI_ACTION_CREATED)
            item.reason = SAMI_REASON_STATE_RANGE;
        g_array_append_val(check->batch, item);
        return SAMI_REASON_NONE;
    }
    if (record->kind == SAMI_RECORD_STATISTICS)
        return SAMI_REASON_NONE;
    if (record->kind != SAMI_RECORD_MARKER || record->marker.marker != SAMI_MARKER_SNAPSHOT)
        return SAMI_REASON_PROTOCOL;
    check->marker_counter = check->session->counter;
    check->n_marked = record->marker.n_records;
    return SAMI_REASON_NONE;
}

static void
refuse(SamiCollectorCheck *check, SamiReason reason, const SamiSession *s)
{
    SamiRefusal refusal = { .scope = SAMI_SCOPE_RECORD, .reason = (guint16) reason, .counter = check->session->counter };
    SamiFlowKey theirs = sami_map_key_told(check->session->signer->map, reason, &s->key, (s->has & SAMI_HAS_VLAN) ? s->vlan : 0);
    g_autofree gchar *flow = sami_flow_key_to_string(&theirs);
    check->n_refused++;
    if (++check->refused[reason] > EXAMPLES)
        return;
    sami_flow_key_pack(&theirs, refusal.key);
    g_strlcpy(refusal.detail, flow, sizeof refusal.detail);
    g_array_append_val(check->refusals, refusal);
}

/* In the kernel, by a creation. */
static void
count_new(SamiCollectorCheck *check, const SamiApplyItem *item)
{
    const SamiSession *s = &item->session;
    check->needs.n_new++;
    if (check->n_new >= check->needs.room) {
        refuse(check, SAMI_REASON_MAX_SESSIONS, s);
        return;
    }
    check->n_new++;
    sami_host_needs_add(&check->needs, s);
    SamiReason reason = sami_host_degrades(check->facts, &check->needs, s, item->stripped);
    if (reason != SAMI_REASON_NONE) {
        check->n_degraded++;
        check->degraded[reason]++;
    } else {
        check->n_exact++;
    }
}

/* What a creation would find: the kernel refuses it where either tuple is an entry's (ctnetlink_create_conntrack(), Linux 6.18). */
static void
count_one(SamiCollectorCheck *check, const SamiApplyItem *item, const SamiSession *found, gboolean is_found, gboolean is_reply_taken)
{
    const SamiSession *s = &item->session;
    gboolean is_reversed = FALSE;
    SamiReason reason;
    if (!is_found && !is_reply_taken) {
        count_new(check, item);
        return;
    }
    reason = sami_conflict_judge(check->on_conflict, check->policy.vm, check->policy.n_vm, s, found, is_found, &is_reversed);
    if (reason != SAMI_REASON_NONE) {
        refuse(check, reason, s);
    } else if (check->on_conflict == SAMI_CONFLICT_REPLACE) {
        check->n_replaced++;
        count_new(check, item);
    } else {
        check->n_merged++;
        sami_host_needs_add(&check->needs, s);
    }
}

static gboolean
look_up(SamiCollectorCheck *check, const SamiApplyItem *const *items, guint n, GError **error)
{
    SamiFirewall *firewall = check->session->collector->firewall;
    SamiFlowKey keys[2 * LOOKS];
    g_autofree SamiSession *found = g_new0(SamiSession, 2 * LOOKS);
    gboolean is_found[2 * LOOKS];
    for (guint i = 0; i < n; i++) {
        keys[2 * i] = keys[2 * i + 1] = items[i]->session.key;
        keys[2 * i + 1].orig = items[i]->session.reply;
    }
    if (n > 0 && !sami_firewall_get(firewall, keys, 2 * n, found, is_found, error))
        return FALSE;
    for (guint i = 0; i < n; i++)
        count_one(check, items[i], &found[2 * i], is_found[2 * i], is_found[2 * i + 1]);
    return TRUE;
}

static gboolean
work_off(SamiCollectorCheck *check, GError **error)
{
    const SamiApplyItem *items[LOOKS];
    guint n = 0;
    for (guint i = 0; i < check->batch->len; i++) {
        const SamiApplyItem *item = &g_array_index(check->batch, SamiApplyItem, i);
        check->n_records++;
        if (item->reason != SAMI_REASON_NONE) {
            refuse(check, (SamiReason) item->reason, &item->session);
            if (item->reason == SAMI_REASON_NO_NAT_HOOK) /* a finding says how it is mended */
                sami_host_needs_add(&check->needs, &item->session);
            continue;
        }
        items[n++] = item;
        if (n == LOOKS && !look_up(check, items, n, error))
            return FALSE;
        n = n == LOOKS ? 0 : n;
    }
    gboolean is_done = look_up(check, items, n, error);
    g_array_set_size(check->batch, 0);
    return is_done;
}

static void
on_finding(const SamiFinding *finding, gpointer user_data)
{
    SamiRecord record = { .kind = SAMI_RECORD_FINDING, .finding = *finding };
    sami_collector_session_add(user_data, &record);
}

static void
add_reasons(SamiCollectorSession *session, const guint64 *counts, guint8 scope)
{
    for (guint i = 1; i < SAMI_N_REASONS; i++) {
        SamiRecord record = { .kind = SAMI_RECORD_REASON_COUNT, .reason_count = { scope, (guint16) i, counts[i] } };
        if (counts[i] > 0)
            sami_collector_session_add(session, &record);
    }
}

static void
answer(SamiCollectorCheck *check)
{
    SamiCollectorSession *session = check->session;
    SamiRecord record = { .kind = SAMI_RECORD_RECEIPT };
    check->is_answered = TRUE;
    g_clear_handle_id(&check->timer, g_source_remove);
    sami_host_judge(check->facts, &check->needs, SAMI_HOST_DESTINATION, on_finding, session);
    for (guint i = 0; i < check->refusals->len; i++) {
        SamiRecord refusal = { .kind = SAMI_RECORD_REFUSAL, .refusal = g_array_index(check->refusals, SamiRefusal, i) };
        sami_collector_session_add(session, &refusal);
    }
    add_reasons(session, check->refused, SAMI_SCOPE_RECORD);
    add_reasons(session, check->degraded, SAMI_SCOPE_DEGRADED);
    record.receipt = (SamiReceipt){ .phase = SAMI_RECEIPT_CHECKED, .marker_counter = check->marker_counter, .n_records = check->n_records,
                                    .freeze_mode = SAMI_FREEZE_EVENTS, .n_accepted = check->n_new, .n_merged = check->n_merged,
                                    .n_exact = check->n_exact, .n_degraded = check->n_degraded, .n_refused = check->n_refused };
    sami_collector_session_add(session, &record);
    sami_collector_session_flush(session, TRUE);
}

void
sami_collector_check_message(SamiCollectorCheck *check)
{
    SamiCollectorSession *session = check->session;
    g_autoptr(GError) error = NULL;
    if (!work_off(check, &error)) {
        sami_collector_session_refuse(session, SAMI_REASON_KERNEL, error->message);
        return;
    }
    if (!check->marker_counter || check->is_answered)
        return;
    if (check->n_marked != check->n_records)
        sami_collector_session_refuse(session, SAMI_REASON_PROTOCOL, "the marker counts other records than came");
    else
        answer(check);
}

typedef struct {
    JsonArray *findings;
    const gchar *host;
    guint8 worst;
} Sink;

static void
on_own_finding(const SamiFinding *finding, gpointer user_data)
{
    Sink *sink = user_data;
    json_array_add_object_element(sink->findings, sami_finding_to_json(finding, sink->host, "destination"));
    sink->worst = MAX(sink->worst, finding->severity);
}

/* {}: as far as the host can say it without sessions: one of either family stands for all. */
void
sami_collector_check_control(SamiCollector *collector, SamiControlClient *client, JsonObject *request)
{
    g_autoptr(SamiHostFacts) facts = read_facts(collector);
    JsonObject *answer = json_object_new();
    Sink sink = { .findings = json_array_new(), .host = collector->config->name };
    SamiHostNeeds needs;
    sami_host_needs_init(&needs);
    needs.n[0] = needs.n[1] = 1;
    needs.room = 1;
    sami_host_judge(facts, &needs, SAMI_HOST_DESTINATION, on_own_finding, &sink);
    sami_host_needs_clear(&needs);
    json_object_set_int_member(answer, "v", 1);
    json_object_set_string_member(answer, "host", collector->config->name);
    json_object_set_string_member(answer, "role", "collector");
    json_object_set_array_member(answer, "findings", sink.findings);
    sami_control_finish(client, sami_exit_of_severity(sink.worst), answer, NULL);
}
