/* What a collector may say, and when. Its key makes an answer the collector's; whether it can be true is looked at here, against what was sent.
 * Pure but for the counters: nothing is done with an answer before it has passed. */
#include <string.h>

#include "exporter/exporter.h"
#include "exporter/kinds.h"

typedef enum { ANSWER_COUNTS, ANSWER_IGNORED, ANSWER_WRONG } Answer;

/* Says why into *ret_why (transfer full). */
static Answer G_GNUC_PRINTF(2, 3)
wrong(gchar **ret_why, const gchar *format, ...)
{
    va_list args;
    va_start(args, format);
    *ret_why = g_strdup_vprintf(format, args);
    va_end(args);
    return ANSWER_WRONG;
}

static gboolean
can_advance(const SamiMigration *m, SamiExporterEvent event)
{
    SamiExporterState state;
    return sami_exporter_next(m->state, event, &state);
}

static Answer
check_hello_reply(const SamiMigration *m, const SamiHelloReply *reply, gchar **ret_why)
{
    gboolean is_new = !m->is_known || m->is_unknown_there;
    if (m->is_bound)
        return wrong(ret_why, "a second hello-reply");
    *ret_why = sami_answer_doubt_hello_reply(m->stream, reply, m->message_max);
    if (*ret_why)
        return ANSWER_WRONG;
    /* A new migration begins with Message 1; of one that is resumed, nothing can have arrived that no session was given. */
    if (reply->next_counter == 0 || reply->next_counter > sami_link_given(m) || (is_new && reply->next_counter != 1))
        return wrong(ret_why, "the hello-reply asks for Message %" G_GUINT64_FORMAT, reply->next_counter);
    return ANSWER_COUNTS;
}

/* Every count is of records, so none is larger than what was sent. That also holds when Messages were lost. */
static Answer
check_counts(const SamiMigration *m, const SamiReceipt *r, gchar **ret_why)
{
    const struct {
        const gchar *name;
        guint64 n;
    } counts[] = {
        { "seen", r->n_records },   { "accepted", r->n_accepted }, { "present", r->n_present },  { "merged", r->n_merged },
        { "exact", r->n_exact },    { "degraded", r->n_degraded }, { "refused", r->n_refused },
    };
    for (guint i = 0; i < G_N_ELEMENTS(counts); i++)
        if (counts[i].n > m->n_sent)
            return wrong(ret_why, "%" G_GUINT64_FORMAT " records are %s, of %" G_GUINT64_FORMAT " that were sent", counts[i].n, counts[i].name,
                         m->n_sent);
    if (r->n_refused > m->n_sent - r->n_accepted)
        return wrong(ret_why, "%" G_GUINT64_FORMAT " accepted and %" G_GUINT64_FORMAT " refused are more than the %" G_GUINT64_FORMAT " that were sent",
                     r->n_accepted, r->n_refused, m->n_sent);
    return ANSWER_COUNTS;
}

static Answer
check_ready(const SamiMigration *m, const SamiReceipt *r, gchar **ret_why)
{
    if (m->marker_counter == 0 || r->marker_counter != m->marker_counter || !can_advance(m, SAMI_EVENT_READY_RECEIPT))
        return ANSWER_IGNORED; /* of an earlier freeze, or said again */
    if (!m->has_gap && r->n_records != m->n_marked)
        return wrong(ret_why, "READY counts %" G_GUINT64_FORMAT " records up to the marker, %" G_GUINT64_FORMAT " were sent", r->n_records,
                     m->n_marked);
    return check_counts(m, r, ret_why);
}

static Answer
check_final(const SamiMigration *m, const SamiReceipt *r, gchar **ret_why)
{
    /* A collector that was started anew after the end remembers that it was the end, and neither the marker nor the list. */
    gboolean is_recalled = r->marker_counter == 0 && m->has_resumed && (r->flags & SAMI_RECEIPT_TRUNCATED);
    gboolean is_answer = m->settle_counter != 0 && r->marker_counter == m->settle_counter;
    if (m->state != SAMI_STATE_SETTLE || (!is_answer && !is_recalled))
        return ANSWER_IGNORED;
    if (!m->has_resumed && r->n_records < m->n_settled)
        return wrong(ret_why, "FINAL counts %" G_GUINT64_FORMAT " records, %" G_GUINT64_FORMAT " were sent up to its marker", r->n_records,
                     m->n_settled);
    if (r->n_exact > m->n_sent - MIN(r->n_degraded, m->n_sent))
        return wrong(ret_why, "FINAL calls %" G_GUINT64_FORMAT " exact and %" G_GUINT64_FORMAT " degraded, of %" G_GUINT64_FORMAT " that were sent",
                     r->n_exact, r->n_degraded, m->n_sent);
    return check_counts(m, r, ret_why);
}

static Answer
check_receipt(const SamiMigration *m, const SamiReceipt *r, gchar **ret_why)
{
    guint64 end = sami_link_end(m);
    if (r->phase == SAMI_RECEIPT_PROGRESS) {
        if (r->marker_counter > end)
            return wrong(ret_why, "it acknowledges Messages before %" G_GUINT64_FORMAT ", and %" G_GUINT64_FORMAT " is the next one",
                         r->marker_counter, end);
        return sami_link_is_acknowledged(m, r->marker_counter) ? ANSWER_IGNORED : ANSWER_COUNTS;
    }
    if (r->marker_counter >= end)
        return wrong(ret_why, "a receipt for Message %" G_GUINT64_FORMAT ", which was not sent", r->marker_counter);
    switch (r->phase) {
    case SAMI_RECEIPT_SNAPSHOT:
        if (m->is_snapshot_confirmed || m->snapshot_counter == 0 || r->marker_counter != m->snapshot_counter)
            return ANSWER_IGNORED;
        return m->replication ? ANSWER_COUNTS : check_counts(m, r, ret_why);
    case SAMI_RECEIPT_READY: return m->replication ? ANSWER_IGNORED : check_ready(m, r, ret_why);
    case SAMI_RECEIPT_FINAL: return m->replication ? ANSWER_IGNORED : check_final(m, r, ret_why);
    case SAMI_RECEIPT_ABORTED:
        if (!can_advance(m, SAMI_EVENT_ABORTED_RECEIPT))
            return ANSWER_IGNORED;
        return m->replication ? ANSWER_COUNTS : check_counts(m, r, ret_why);
    case SAMI_RECEIPT_ALIVE:
    case SAMI_RECEIPT_RESYNC: return m->replication ? ANSWER_COUNTS : ANSWER_IGNORED;
    default: return wrong(ret_why, "a receipt of phase %u", r->phase);
    }
}

static Answer
check_scope(guint8 scope, gchar **ret_why)
{
    return scope == SAMI_SCOPE_RECORD || scope == SAMI_SCOPE_DEGRADED ? ANSWER_COUNTS : wrong(ret_why, "a refusal of scope %u", scope);
}

static Answer
check(const SamiMigration *m, const SamiRecord *record, SamiAnswerUnder under, gchar **ret_why)
{
    gboolean is_last_word = record->kind == SAMI_RECORD_REFUSAL && record->refusal.scope == SAMI_SCOPE_MESSAGE;
    if (m->has_final)
        return ANSWER_IGNORED;
    if (is_last_word)
        return ANSWER_COUNTS;
    if (under == SAMI_UNDER_NO_ID)
        return wrong(ret_why, "more than a refusal under migration id zero");
    if (under == SAMI_UNDER_OPENING)
        return record->kind == SAMI_RECORD_HELLO_REPLY ? check_hello_reply(m, &record->hello_reply, ret_why)
                                                       : wrong(ret_why, "more than a hello-reply or a refusal before the session is bound");
    switch (record->kind) {
    case SAMI_RECORD_HELLO_REPLY: return wrong(ret_why, "a second hello-reply");
    case SAMI_RECORD_RECEIPT: return check_receipt(m, &record->receipt, ret_why);
    case SAMI_RECORD_REFUSAL: return check_scope(record->refusal.scope, ret_why);
    case SAMI_RECORD_REASON_COUNT:
        if (!m->replication && record->reason_count.count > m->n_sent + m->n_expectations + sami_kinds_n_sent(m))
            return wrong(ret_why, "%" G_GUINT64_FORMAT " records have one reason, of %" G_GUINT64_FORMAT " that were sent",
                         record->reason_count.count, m->n_sent + m->n_expectations + sami_kinds_n_sent(m));
        return check_scope(record->reason_count.scope, ret_why);
    case SAMI_RECORD_KIND_COUNT:
        return sami_kinds_believes(m, &record->kind_count) ? ANSWER_COUNTS : wrong(ret_why, "it counts more records of kind %u than were sent",
                                                                                   record->kind_count.kind);
    default: return wrong(ret_why, "a record of the other direction");
    }
}

gboolean
sami_answer_counts(SamiMigration *m, const SamiRecord *record, SamiAnswerUnder under)
{
    g_autofree gchar *why = NULL;
    switch (check(m, record, under, &why)) {
    case ANSWER_COUNTS: return TRUE;
    case ANSWER_IGNORED: m->exporter->n_answers_ignored++; return FALSE;
    default: sami_answer_refuse(m, SAMI_REASON_PROTOCOL, why); return FALSE;
    }
}

void
sami_exporter_count_disbelief(SamiExporter *exporter, SamiReason reason, const gchar *why)
{
    exporter->n_answers_refused[reason]++;
    if (reason == SAMI_REASON_MALFORMED)
        exporter->n_broken_rules[sami_rule_find(why)]++;
}

void
sami_answer_refuse(SamiMigration *m, SamiReason reason, const gchar *why)
{
    g_autofree gchar *named = g_str_has_prefix(why, sami_reason_id(reason)) ? g_strdup(why) : g_strdup_printf("%s: %s", sami_reason_id(reason), why);
    g_autofree gchar *text = g_strdup_printf("an answer of %s is not believed: %s", m->peer->name, named);
    sami_exporter_count_disbelief(m->exporter, reason, why);
    sami_migration_fail(m, SAMI_EXIT_REFUSED, text);
}
