#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "collector/apply-internal.h"
#include "collector/replica.h"

#define OCTETS_OF_A_NODE 48u /* of a hash table, with what malloc needs for the key */

SamiApply *
sami_apply_new(guint32 lease_s, SamiBudget *all, SamiBudget *signer)
{
    SamiApply *apply = g_new0(SamiApply, 1);
    g_mutex_init(&apply->lock);
    apply->ledger = sami_ledger_new();
    apply->budgets[0] = sami_budget_ref(all);
    apply->budgets[1] = sami_budget_ref(signer);
    apply->lease_s = lease_s;
    apply->refusals = g_array_new(FALSE, TRUE, sizeof(SamiRefusal));
    apply->missing_helpers = g_array_new(FALSE, FALSE, sizeof(SamiMissingHelper));
    apply->refused_keys = g_hash_table_new_full(sami_flow_key_hash, sami_flow_key_equal, g_free, NULL);
    apply->replacements = g_array_new(FALSE, FALSE, sizeof(SamiReplacement));
    apply->vm = g_array_new(FALSE, FALSE, sizeof(SamiPrefix));
    return apply;
}

void
sami_apply_count_held(SamiApply *apply, gint64 n)
{
    apply->n_held += (guint64) n;
    for (guint i = 0; i < G_N_ELEMENTS(apply->budgets); i++)
        if (apply->budgets[i])
            sami_budget_add(apply->budgets[i], n);
}

void
sami_apply_leave_budgets(SamiApply *apply)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&apply->lock);
    apply->has_ended = TRUE;
    sami_apply_count_expected(apply);
    for (guint i = 0; i < G_N_ELEMENTS(apply->budgets); i++) {
        if (apply->budgets[i])
            sami_budget_add(apply->budgets[i], -(gint64) apply->n_held);
        g_clear_pointer(&apply->budgets[i], sami_budget_unref);
    }
}

void
sami_apply_let_go(SamiApply *apply, SamiLedgerEntry *entry)
{
    if (entry->flags & (SAMI_LEDGER_PENDING | SAMI_LEDGER_CREATED))
        sami_apply_count_held(apply, -1);
    entry->flags = SAMI_LEDGER_GONE;
}

void
sami_apply_set_map(SamiApply *apply, SamiMap *map)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&apply->lock);
    SamiMap *old = g_steal_pointer(&apply->map);
    apply->map = sami_map_ref(map);
    sami_map_unref(old);
}

void
sami_apply_set_vm(SamiApply *apply, const SamiPrefix *vm, guint n)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&apply->lock);
    g_array_set_size(apply->vm, 0);
    if (n > 0)
        g_array_append_vals(apply->vm, vm, n);
}

gboolean
sami_apply_is_vm(const SamiApply *apply, guint8 family, const SamiAddress *address)
{
    return sami_prefixes_contain((const SamiPrefix *) (const void *) apply->vm->data, apply->vm->len, family, address);
}

void
sami_apply_set_expectation_budget(SamiApply *apply, SamiBudget *budget)
{
    apply->expectation_budget = sami_budget_ref(budget);
}

void
sami_apply_free(SamiApply *apply)
{
    if (!apply)
        return;
    sami_map_unref(apply->map);
    sami_apply_leave_budgets(apply);
    sami_ledger_free(apply->ledger);
    sami_ledger_file_free(apply->file);
    sami_replica_free(apply->replica);
    g_array_unref(apply->refusals);
    g_array_unref(apply->missing_helpers);
    g_hash_table_unref(apply->refused_keys);
    g_array_unref(apply->replacements);
    g_array_unref(apply->vm);
    sami_children_clear(apply);
    g_clear_pointer(&apply->expectations, g_array_unref);
    sami_budget_unref(apply->expectation_budget);
    g_mutex_clear(&apply->lock);
    g_free(apply);
}

/* `key` as the peer knows the flow. */
static void
list(SamiApply *apply, guint8 scope, SamiReason reason, guint64 seen, const SamiFlowKey *key, guint64 counter,
     const gchar *detail)
{
    if (seen > SAMI_REFUSALS_PER_RULE) {
        apply->is_truncated = TRUE;
        return;
    }
    SamiRefusal refusal = { .scope = scope, .reason = (guint16) reason, .counter = counter };
    g_autofree gchar *flow = sami_flow_key_to_string(key);
    sami_flow_key_pack(key, refusal.key);
    g_autofree gchar *text = detail ? g_strdup_printf("%s: %s", flow, detail) : g_strdup(flow);
    g_strlcpy(refusal.detail, text, sizeof refusal.detail);
    g_array_append_val(apply->refusals, refusal);
}

/* A refused flow comes again in every re-dump, and in the audit: it is one refusal. */
static void
refuse(SamiApply *apply, SamiReason reason, const SamiFlowKey *theirs, guint64 counter, const gchar *detail)
{
    if (g_hash_table_contains(apply->refused_keys, theirs))
        return;
    if (g_hash_table_size(apply->refused_keys) < SAMI_REFUSED_MAX)
        g_hash_table_add(apply->refused_keys, g_memdup2(theirs, sizeof *theirs));
    apply->n_refused++;
    list(apply, SAMI_SCOPE_RECORD, reason, ++apply->refused[reason], theirs, counter, detail);
}

void
sami_apply_refuse(SamiApply *apply, SamiReason reason, const SamiFlowKey *key, guint64 counter, const gchar *detail)
{
    SamiFlowKey theirs = *key;
    sami_map_key_back(apply->map, &theirs);
    refuse(apply, reason, &theirs, counter, detail);
}

void
sami_apply_refuse_record(SamiApply *apply, const SamiApplyItem *item, guint64 counter)
{
    const SamiSession *s = &item->session;
    SamiReason reason = (SamiReason) item->reason;
    SamiFlowKey theirs = sami_map_key_told(apply->map, reason, &s->key, (s->has & SAMI_HAS_VLAN) ? s->vlan : 0);
    refuse(apply, reason, &theirs, counter, NULL);
}

void
sami_apply_refuse_expected(SamiApply *apply, SamiReason reason, const SamiExpectation *e, guint64 counter, const gchar *detail)
{
    SamiFlowKey theirs = sami_map_key_told(apply->map, reason, &e->key, (e->has & SAMI_EXPECT_HAS_VLAN) ? e->vlan : 0);
    g_autofree gchar *text = g_strdup_printf("expected: %s", detail ? detail : sami_reason_text(reason));
    apply->expected.n_refused++;
    list(apply, SAMI_SCOPE_RECORD, reason, ++apply->refused[reason], &theirs, counter, text);
}

void
sami_apply_degrade(SamiApply *apply, SamiReason reason, const SamiFlowKey *key)
{
    SamiFlowKey theirs = *key;
    sami_map_key_back(apply->map, &theirs);
    apply->n_degraded++;
    list(apply, SAMI_SCOPE_DEGRADED, reason, ++apply->degraded[reason], &theirs, 0, NULL);
}

guint32
sami_apply_backstop(const SamiSession *s, guint32 lease_s)
{
    return lease_s > 0 && s->key.protocol == IPPROTO_TCP ? lease_s : MAX(MAX(s->timeout_s, lease_s), 1);
}

/* A late one has its own time from the start: the audit that gives it to the others may have passed it already. */
guint32
sami_apply_creation_timeout(const SamiSession *s, guint32 lease_s)
{
    return (s->flags & SAMI_SESSION_LATE) ? MAX(s->timeout_s, 1) : sami_apply_backstop(s, lease_s);
}

void
sami_apply_judge(const SamiMap *map, const SamiPolicy *policy, const SamiSession *record, guint64 *n_cut, SamiApplyItem *ret)
{
    *ret = (SamiApplyItem){ .session = *record };
    ret->reason = (guint16) sami_map_session(map, &ret->session, n_cut);
    if (ret->reason == SAMI_REASON_NONE)
        ret->reason = (guint16) sami_validate_session(&ret->session, policy);
    ret->stripped = sami_policy_strip(policy, &ret->session);
}

static guint32
flags_of(const SamiApplyItem *item)
{
    const SamiSession *s = &item->session;
    guint32 flags = 0;
    if (s->key.protocol == IPPROTO_TCP && (s->tcp_flags[0] & s->tcp_flags[1] & SAMI_TCP_FLAG_BE_LIBERAL))
        flags |= SAMI_LEDGER_SRC_LENIENT;
    if (sami_session_has_snat(s) || sami_session_has_dnat(s))
        flags |= SAMI_LEDGER_NAT;
    if (s->has & SAMI_HAS_LABELS)
        flags |= SAMI_LEDGER_LABELS;
    if (s->status & SAMI_IPS_SEEN_REPLY)
        flags |= SAMI_LEDGER_SEEN_REPLY;
    if (s->status & SAMI_IPS_ASSURED)
        flags |= SAMI_LEDGER_ASSURED;
    if (s->status & SAMI_IPS_FIXED_TIMEOUT)
        flags |= SAMI_LEDGER_FIXED;
    if (s->has & (SAMI_HAS_SEQADJ | SAMI_HAS_SCTP))
        flags |= SAMI_LEDGER_MOVING;
    if (s->status & SAMI_IPS_OFFLOAD)
        flags |= SAMI_LEDGER_OFFLOADED;
    if (s->key.protocol == IPPROTO_GRE)
        flags |= SAMI_LEDGER_GRE | (s->key.orig.src_port ? SAMI_LEDGER_GRE_KEYMAP : 0); /* a map that only its helper fills (gre_pkt_to_tuple) */
    if (item->stripped & SAMI_HAS_HELPER)
        flags |= SAMI_LEDGER_NO_HELPER;
    if (s->has & SAMI_HAS_MASTER)
        flags |= SAMI_LEDGER_CHILD;
    if (item->stripped & SAMI_HAS_MARK)
        flags |= SAMI_LEDGER_MARK_CUT;
    if (item->stripped & SAMI_HAS_TIMEOUT)
        flags |= SAMI_LEDGER_TIME_CUT;
    if (item->stripped & SAMI_HAS_LABELS)
        flags |= SAMI_LEDGER_LABELS_CUT;
    return flags;
}

guint8 *
sami_apply_build(SamiApplyItem *items, guint n, guint32 lease_s, gboolean has_entries)
{
    gboolean is_building = n > 0 && !has_entries;
    guint8 *messages = is_building ? g_malloc(n * SAMI_FIREWALL_MESSAGE_MAX) : NULL;
    g_autofree gsize *lengths = is_building ? g_new0(gsize, n) : NULL; /* 0: has none */
    gsize used = 0;
    for (guint i = 0; i < n; i++) {
        SamiApplyItem *item = &items[i];
        item->message = NULL;
        if (item->reason != SAMI_REASON_NONE || item->session.action == SAMI_ACTION_DELETED)
            continue;
        item->digest = sami_ledger_digest(&item->session);
        item->flags = flags_of(item);
        if (!lengths)
            continue;
        lengths[i] = sami_firewall_build(&item->session, SAMI_OP_CREATE, sami_apply_creation_timeout(&item->session, lease_s), messages + used);
        used += lengths[i];
    }
    if (used == 0) {
        g_free(messages);
        return NULL;
    }
    messages = g_realloc(messages, used); /* they wait in a queue: without the room that was not used. It may be elsewhere now. */
    guint8 *at = messages;
    for (guint i = 0; i < n; i++) {
        items[i].message = lengths[i] > 0 ? at : NULL;
        at += lengths[i];
    }
    return messages;
}

void
sami_apply_remember(SamiApply *apply, SamiLedgerEntry *entry, const SamiApplyItem *item)
{
    const guint32 derived = SAMI_LEDGER_SRC_LENIENT | SAMI_LEDGER_NAT | SAMI_LEDGER_LABELS | SAMI_LEDGER_SEEN_REPLY | SAMI_LEDGER_ASSURED |
                            SAMI_LEDGER_FIXED | SAMI_LEDGER_MOVING | SAMI_LEDGER_OFFLOADED | SAMI_LEDGER_GRE_KEYMAP | SAMI_LEDGER_GRE |
                            SAMI_LEDGER_CHILD | SAMI_LEDGER_MARK_CUT | SAMI_LEDGER_TIME_CUT | SAMI_LEDGER_LABELS_CUT;
    entry->digest = item->digest;
    entry->timeout_s = item->session.timeout_s;
    entry->tcp_state = item->session.tcp_state;
    entry->generation = apply->generation;
    entry->flags = (entry->flags & ~derived) | item->flags;
    apply->has_children |= (item->flags & SAMI_LEDGER_CHILD) != 0;
}

SamiReason
sami_apply_reason_of(int result)
{
    switch (result) {
    case ENOMEM: return SAMI_REASON_TABLE_FULL;
    case ENOSPC: return SAMI_REASON_CHAIN_TOO_LONG;
    default: return SAMI_REASON_KERNEL;
    }
}

void
sami_apply_recall_created(SamiApply *apply, const SamiFlowKey *key, const guint64 window[2])
{
    gboolean is_new;
    SamiLedgerEntry *entry = sami_ledger_obtain(apply->ledger, key, &is_new);
    if (!(entry->flags & SAMI_LEDGER_CREATED))
        sami_apply_count_held(apply, 1);
    entry->start_ns = sami_ledger_open_window(apply->ledger, window[0]);
    sami_ledger_close_window(apply->ledger, entry->start_ns, window[1]);
    entry->flags = SAMI_LEDGER_CREATED | (entry->flags & SAMI_LEDGER_REPLACE);
    if (key->protocol == IPPROTO_TCP)
        entry->flags |= SAMI_LEDGER_LENIENT;
}

void
sami_apply_recall_gone(SamiApply *apply, const SamiFlowKey *key)
{
    SamiLedgerEntry *entry = sami_ledger_find(apply->ledger, key);
    if (entry)
        sami_apply_let_go(apply, entry);
}

void
sami_apply_compact(SamiApply *apply)
{
    if (sami_ledger_size(apply->ledger) < MAX(apply->compact_at, SAMI_LEDGER_COMPACT))
        return;
    sami_ledger_compact(apply->ledger);
    apply->compact_at = 2 * sami_ledger_size(apply->ledger);
}

gsize
sami_apply_octets(SamiApply *apply)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&apply->lock);
    gsize n_children = apply->children ? g_hash_table_size(apply->children) : 0;
    gsize n_expected = apply->expectations ? apply->expectations->len * g_array_get_element_size(apply->expectations) : 0;
    return sizeof *apply + sami_ledger_octets(apply->ledger) + apply->refusals->len * sizeof(SamiRefusal) +
           g_hash_table_size(apply->refused_keys) * (sizeof(SamiFlowKey) + OCTETS_OF_A_NODE) + apply->replacements->len * sizeof(SamiReplacement) +
           n_children * (sizeof(SamiChild) + OCTETS_OF_A_NODE) + n_expected;
}

void
sami_apply_forget(SamiApply *apply)
{
    apply->is_forgotten = TRUE;
    sami_ledger_free(apply->ledger);
    apply->ledger = sami_ledger_new();
    g_array_set_size(apply->replacements, 0);
    g_hash_table_remove_all(apply->refused_keys);
    sami_children_clear(apply);
    g_clear_pointer(&apply->expectations, g_array_unref);
    sami_apply_count_expected(apply);
}

guint64
sami_apply_present(const SamiApply *apply)
{
    return apply->n_held;
}
