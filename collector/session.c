#include <glib-unix.h>
#include <string.h>

#include "collector/collector.h"

/* Of all sessions together, and of one at most. */
#define FRAMES_PER_TURN 32u
#define FRAMES_PER_SESSION 8u
/* Log lines; the rest is counted, and summed up. */
#define REFUSALS_LOGGED_PER_MINUTE 60u
#define RATE_LOOK_MS 1000 /* a reload may have given it more */

static guint64
now_ms(void)
{
    return (guint64) (g_get_monotonic_time() / 1000);
}

/* Ends a session from inside one of its own callbacks: the source goes, the memory follows from the idle loop. */
static gboolean
free_later(gpointer user_data)
{
    SamiCollectorSession *session = user_data;
    g_ptr_array_remove_fast(session->collector->sessions, session);
    return G_SOURCE_REMOVE;
}

void
sami_collector_session_drop(SamiCollectorSession *session)
{
    if (!session->source)
        return;
    g_source_destroy(session->source);
    g_clear_pointer(&session->source, g_source_unref);
    g_clear_handle_id(&session->rate_timer, g_source_remove);
    if (session->migration)
        sami_collector_migration_detach(session->migration);
    session->migration = NULL;
    sami_idle_add(free_later, session);
}

/* Whatever is later than this would be refused as too late, here or there, so nobody waits longer for it. */
static gint64
by_max_delay(const SamiCollectorSession *session)
{
    return g_get_monotonic_time() + (gint64) session->collector->config->max_delay_ms * 1000;
}

static void
write_out(SamiCollectorSession *session)
{
    while (!g_queue_is_empty(&session->out)) {
        gsize length;
        const guint8 *data = g_bytes_get_data(g_queue_peek_head(&session->out), &length);
        g_autoptr(GError) error = NULL;
        if (!sami_session_socket_send(session->socket, SAMI_FRAME_MESSAGE, data, length, &error)) {
            if (!g_error_matches(error, SAMI_ERROR, SAMI_ERROR_FULL))
                sami_collector_session_drop(session);
            return;
        }
        session->n_out -= length;
        g_bytes_unref(g_queue_pop_head(&session->out));
        session->take_by_us = g_queue_is_empty(&session->out) ? 0 : by_max_delay(session);
    }
    if (session->is_closing) {
        sami_session_socket_send(session->socket, SAMI_FRAME_CLOSE, NULL, 0, NULL);
        if (session->is_peer_done || session->refusal != SAMI_REASON_NONE)
            sami_collector_session_drop(session);
    }
}

static gboolean
on_rate(gpointer user_data)
{
    SamiCollectorSession *session = user_data;
    gint64 now_us = g_get_monotonic_time();
    session->rate_timer = 0;
    session->collector->n_rate_waits++;
    sami_rate_count_wait(session->signer->rate, now_us - session->held_us);
    sami_stream_unread(session->stream, (guint64) session->held_us / 1000, (guint64) now_us / 1000);
    sami_collector_session_update(session);
    return G_SOURCE_REMOVE;
}

/* What its signer may bring a second has come, in this session or another one. */
static gboolean
is_held_back(SamiCollectorSession *session)
{
    gint64 now_us = g_get_monotonic_time();
    gint64 wait_us = session->signer && session->has_hello ? sami_rate_wait_us(session->signer->rate, now_us) : 0;
    if (session->rate_timer || wait_us == 0)
        return session->rate_timer != 0;
    session->held_us = now_us;
    session->rate_timer = g_timeout_add((guint) MIN(wait_us / 1000 + 1, RATE_LOOK_MS), on_rate, session);
    return TRUE;
}

/* A peer that asks for more than is done, or reads no answers, waits by itself. */
static gboolean
is_behind(const SamiCollectorSession *session)
{
    const SamiCollectorMigration *m = session->migration;
    return session->n_out >= SAMI_ANSWERS_HIGH || (m && (m->n_jobs >= SAMI_JOBS_MAX || m->n_syncs + m->n_freeze_syncs >= SAMI_SYNCS_MAX));
}

static guint
count_jobs(const SamiCollector *collector, const SamiSigner *signer)
{
    guint n = 0;
    for (guint i = 0; i < collector->migrations->len; i++) {
        const SamiCollectorMigration *m = g_ptr_array_index(collector->migrations, i);
        n += m->n_jobs > 0 && g_str_equal(m->signer_name, signer->config->name) ? m->n_jobs : 0;
    }
    return n;
}

/* The injecting thread has enough to do. A signer of whom nothing is there gets a Message in all the same: the others would fill what becomes free
 * before his turn comes. */
static gboolean
is_paused(const SamiCollectorSession *session)
{
    return sami_collector_pending(session->collector) >= SAMI_INJECTOR_HIGH && session->signer && count_jobs(session->collector, session->signer) > 0;
}

void
sami_collector_session_update(SamiCollectorSession *session)
{
    GIOCondition condition = 0;
    if (!session->source)
        return;
    gboolean has_to_wait = is_paused(session);
    if (!has_to_wait && !is_behind(session) && !is_held_back(session))
        condition |= G_IO_IN;
    session->collector->is_paused |= has_to_wait;
    if (!g_queue_is_empty(&session->out))
        condition |= G_IO_OUT;
    sami_fd_source_watch(session->source, session->socket_fd, condition, &session->tag);
}

/* For whoever asks later what was refused and why. READY is decided by the ledger (LIFECYCLE §1), so a disk that takes no more of this stops nothing. */
static void
keep_answer(SamiCollectorSession *session, const guint8 *message, gsize length)
{
    g_autoptr(GError) error = NULL;
    gboolean is_endless = session->migration && session->migration->replication; /* an answer every few seconds, for years */
    if (!session->journal || session->has_lost_answers)
        return;
    if (!session->answers && !is_endless)
        session->answers = sami_journal_answers(session->journal, &error);
    if (is_endless && session->answers)
        sami_journal_discard(g_steal_pointer(&session->answers));
    if (is_endless || (session->answers && sami_journal_append(session->answers, message, length, &error)))
        return;
    session->has_lost_answers = TRUE;
    g_warning("%s: its answers are not recorded: %s", session->open.name, error->message);
}

void
sami_collector_session_flush(SamiCollectorSession *session, gboolean is_last)
{
    const guint8 *message;
    gsize length;
    g_autoptr(GError) error = NULL;
    if (!session->stream || !session->source)
        return;
    if (!sami_stream_take(session->stream, now_ms(), (guint32) (g_get_real_time() / G_USEC_PER_SEC), is_last, &message, &length, &error)) {
        g_warning("%s: cannot build an answer: %s", session->open.name, error->message);
        sami_collector_session_drop(session);
        return;
    }
    keep_answer(session, message, length);
    g_queue_push_tail(&session->out, g_bytes_new(message, length));
    session->n_out += length;
    if (!session->take_by_us)
        session->take_by_us = by_max_delay(session);
    session->is_closing |= is_last;
    if (is_last)
        session->say_by_us = by_max_delay(session);
    write_out(session);
    sami_collector_session_update(session);
}

void
sami_collector_session_add(SamiCollectorSession *session, const SamiRecord *record)
{
    g_autoptr(GError) error = NULL;
    if (sami_encoder_add(session->stream->encoder, record, &error))
        return;
    if (g_error_matches(error, SAMI_ERROR, SAMI_ERROR_FULL)) {
        sami_collector_session_flush(session, FALSE);
        g_clear_error(&error);
        if (!session->source || sami_encoder_add(session->stream->encoder, record, &error))
            return;
    }
    g_warning("%s: cannot encode an answer: %s", session->open.name, error->message);
    sami_collector_session_drop(session);
}

/* Whoever has a certificate can be refused, and break his connection, as often as he likes. */
static gboolean
is_logged(SamiCollector *collector)
{
    return sami_log_limit_take(&collector->refusals, REFUSALS_LOGGED_PER_MINUTE, "sessions refused or broken; samictl stats has the reasons");
}

static const gchar *
name_of(const SamiCollectorSession *session)
{
    return *session->open.name ? session->open.name : "?";
}

static void
give_up(SamiCollectorSession *session, const gchar *why)
{
    session->collector->n_session_errors++;
    if (is_logged(session->collector))
        g_message("%s (%s): %s", name_of(session), session->open.address, why);
    sami_collector_session_drop(session);
}

static void
log_refusal(SamiCollectorSession *session, SamiReason reason, const gchar *detail)
{
    if (is_logged(session->collector))
        g_warning("%s (%s): session refused: %s: %s", name_of(session), session->open.address, sami_reason_id(reason),
                  detail ? detail : sami_reason_text(reason));
}

/* One signed refusal, then the end of the session (PROTOCOL §4). */
void
sami_collector_session_refuse(SamiCollectorSession *session, SamiReason reason, const gchar *detail)
{
    SamiRecord record = { .kind = SAMI_RECORD_REFUSAL };
    session->refusal = reason;
    session->collector->refused_messages[reason]++;
    if (reason == SAMI_REASON_MALFORMED)
        session->collector->broken_rules[sami_rule_find(detail)]++;
    log_refusal(session, reason, detail);
    if (!session->stream) /* not even a signature to answer to: migration id zero */
        session->stream = sami_stream_new(SAMI_ROLE_COLLECTOR, session->collector->key, session->open.ekm, SAMI_MESSAGE_MAX, now_ms(), 0);
    record.refusal.scope = SAMI_SCOPE_MESSAGE;
    record.refusal.reason = (guint16) reason;
    record.refusal.counter = session->counter;
    g_strlcpy(record.refusal.detail, detail ? detail : sami_reason_text(reason), sizeof record.refusal.detail);
    sami_collector_session_add(session, &record);
    sami_collector_session_flush(session, TRUE);
    SamiCollectorMigration *migration = session->migration; /* NULL if the session is over already */
    session->migration = NULL;
    if (migration) /* the peer has not taken it yet; nothing may follow it */
        sami_collector_migration_detach(migration);
}

static void
stop(SamiCollectorSession *session, SamiReason reason, const gchar *detail)
{
    if (session->refusal != SAMI_REASON_NONE)
        return;
    session->refusal = reason;
    g_free(session->refusal_detail);
    session->refusal_detail = g_strdup(detail);
}

void
sami_collector_session_take(SamiCollectorSession *session, SamiCollectorMigration *m)
{
    m->session = session;
    sami_key_id_text(sami_key_id(session->stream->key), m->own_key);
    sami_key_id_text(sami_key_id(session->stream->peer_key), m->peer_key);
}

static void
log_keys(const SamiCollectorSession *session)
{
    gchar id[SAMI_MIGRATION_ID_TEXT], own[SAMI_KEY_ID_TEXT], theirs[SAMI_KEY_ID_TEXT];
    g_message("%.8s: session with %s (%s): our key %s, key %s of signer %s", sami_migration_id_text(session->stream->migration_id, id), session->open.name,
              session->open.address, sami_key_id_text(sami_key_id(session->stream->key), own), sami_key_id_text(sami_key_id(session->stream->peer_key), theirs),
              session->signer->config->name);
}

static void
on_hello(SamiCollectorSession *session, const SamiHello *hello)
{
    const SamiConfig *config = session->collector->config;
    guint8 key[32];
    SamiRecord reply = { .kind = SAMI_RECORD_HELLO_REPLY };
    sami_key_public(session->stream->peer_key, key);
    if (session->has_hello || memcmp(key, hello->public_key, sizeof key) != 0 || hello->version != 1)
        return stop(session, SAMI_REASON_PROTOCOL, NULL);
    if (hello->pen != SAMI_PEN)
        return stop(session, SAMI_REASON_PEN_MISMATCH, NULL);
    if (strncmp(hello->destination, config->name, sizeof hello->destination) != 0)
        return stop(session, SAMI_REASON_DESTINATION_NAME, NULL);
    SamiCollectorMigration *known = sami_collector_find(session->collector, session->stream->migration_id);
    if (hello->opening != SAMI_OPENING_NEW && hello->opening != SAMI_OPENING_RESUME && hello->opening != SAMI_OPENING_CHECK)
        return stop(session, SAMI_REASON_PROTOCOL, NULL);
    gboolean is_resume = hello->opening == SAMI_OPENING_RESUME;
    SamiReason reason = is_resume && known ? sami_collector_migration_may_resume(known, session->signer)
                        : is_resume        ? SAMI_REASON_RESUME_UNAVAILABLE
                        : known            ? SAMI_REASON_REPLAYED
                                           : SAMI_REASON_NONE;
    if (reason != SAMI_REASON_NONE)
        return stop(session, reason, NULL);
    g_autofree gchar *detail = NULL;
    if (known) /* what began by another policy */
        reason = sami_collector_policy_of(known, session->signer, &detail);
    if (reason == SAMI_REASON_NONE)
        reason = sami_collector_policy_of_time(session->signer, &detail);
    if (reason != SAMI_REASON_NONE)
        return stop(session, reason, detail);
    session->has_hello = TRUE;
    session->say_by_us = by_max_delay(session); /* begin */
    if (hello->opening != SAMI_OPENING_CHECK)
        log_keys(session);
    if (hello->opening == SAMI_OPENING_CHECK) {
        session->check = sami_collector_check_new(session);
        sami_journal_discard(g_steal_pointer(&session->journal)); /* it had the hello */
    }
    sami_random(session->stream->nonce_c, sizeof session->stream->nonce_c);
    memcpy(session->stream->nonce_e, hello->nonce, sizeof hello->nonce);
    reply.hello_reply.version = 1;
    memcpy(reply.hello_reply.nonce_e, hello->nonce, 32);
    memcpy(reply.hello_reply.nonce_c, session->stream->nonce_c, 32);
    sami_key_public(session->stream->key, reply.hello_reply.public_key);
    reply.hello_reply.next_counter = is_resume ? known->next_counter : session->counter + 1;
    reply.hello_reply.lease_s = config->lease_s;
    reply.hello_reply.message_max = session->open.message_max;
    reply.hello_reply.sessions_max = sami_collector_room(session->collector, session->signer);
    sami_collector_session_add(session, &reply);
    sami_collector_session_flush(session, FALSE);
    sami_stream_bind(session->stream, config->name);
    if (!is_resume || !session->source)
        return;
    session->stream->counter_in = known->next_counter;
    session->say_by_us = 0;
    session->migration = known;
    sami_collector_migration_attach(known, session);
}

static void
on_vm_address(SamiCollectorSession *session, const SamiPrefix *sent)
{
    SamiPolicy policy = { 0 };
    SamiPrefix prefix = *sent;
    g_autofree gchar *text = sami_prefix_to_string(sent);
    if (!session->has_hello || session->migration || sami_collector_check_has_begun(session->check))
        return stop(session, SAMI_REASON_PROTOCOL, NULL);
    if (session->vm->len >= SAMI_VM_ADDRESSES_MAX)
        return stop(session, SAMI_REASON_LIMIT, "too many vm-address records");
    if (sami_map_prefix(session->signer->map, &prefix) != SAMI_REASON_NONE) /* from here on it is an address of ours */
        return stop(session, SAMI_REASON_MAP_CLASH, text);
    sami_signer_fill_policy(session->signer, &session->collector->host, &policy);
    SamiReason reason = sami_policy_takes_address(&policy, prefix.family, &prefix.address);
    if (reason == SAMI_REASON_ADDRESS_OWN && prefix.length == (prefix.family == 4 ? 32 : 128)) /* of a network it may be the first one */
        return stop(session, reason, text);
    if (reason == SAMI_REASON_ADDRESS_SPECIAL || !sami_signer_allows(session->signer, &prefix, 1)) {
        g_autofree gchar *ours = sami_prefix_to_string(&prefix);
        g_autofree gchar *both = g_strdup_printf("%s, which is %s there", text, ours);
        return stop(session, SAMI_REASON_VM_NOT_ALLOWED, g_str_equal(text, ours) ? text : both);
    }
    g_array_append_val(session->vm, prefix);
}

/* The operator at the source reads this: the command to run here comes whole, or not at all. */
static gchar *
print_missing(const SamiCollectorSession *session, gint64 now_s)
{
    const gchar *signer = session->signer->config->name;
    g_autoptr(GString) missing = g_string_new(NULL);
    guint n = 0;
    for (guint i = 0; i < session->vm->len; i++) {
        const SamiPrefix *vm = &g_array_index(session->vm, SamiPrefix, i);
        g_autofree gchar *text = sami_prefix_to_string(vm);
        if (!sami_expect_covers(session->collector->expect, vm, signer, now_s))
            g_string_append_printf(missing, "%s%s", n++ ? "," : "", text);
    }
    if (n == 0)
        return NULL;
    gchar *text = g_strdup_printf("run there: samictl expect --vm %s --from %s", missing->str, signer);
    if (strlen(text) >= sizeof(((SamiRefusal *) NULL)->detail)) {
        g_free(text);
        text = g_strdup_printf("%u addresses; run there: samictl expect --vm ADDRESSES --from %s", n, signer);
    }
    return text;
}

static void
on_begin(SamiCollectorSession *session, const SamiBegin *begin)
{
    SamiReason reason = SAMI_REASON_PROTOCOL;
    gboolean is_replication = (begin->kinds & SAMI_KIND_REPLICATION) != 0; /* without addresses: unscoped */
    if (!session->has_hello || session->migration || (session->vm->len == 0 && !is_replication) || begin->n_addresses != session->vm->len)
        return stop(session, reason, "begin does not fit what came before it");
    if (!sami_signer_allows(session->signer, (const SamiPrefix *) (const void *) session->vm->data, session->vm->len)) /* it did when they came */
        return stop(session, SAMI_REASON_VM_NOT_ALLOWED, NULL);
    g_autofree gchar *missing = session->signer->config->require_expect ? print_missing(session, g_get_real_time() / G_USEC_PER_SEC) : NULL;
    if (missing)
        return stop(session, SAMI_REASON_NOT_EXPECTED, missing);
    session->say_by_us = 0;
    if (session->check) {
        reason = sami_collector_check_begin(session->check, begin);
        if (reason != SAMI_REASON_NONE)
            stop(session, reason, NULL);
        return;
    }
    session->migration = is_replication ? sami_collector_replication_begin(session, begin, &reason)
                                        : sami_collector_migration_new(session, begin, &reason);
    if (!session->migration)
        stop(session, reason, NULL);
    else
        session->migration->announced = begin->kinds;
}

static void
carry_out(SamiCollectorSession *session, const SamiCollectorControl *control)
{
    SamiCollectorMigration *migration = session->migration;
    switch (control->kind) {
    case SAMI_RECORD_EPOCH: sami_collector_migration_epoch(migration, &control->epoch); return;
    case SAMI_RECORD_MARKER: sami_collector_migration_marker(migration, &control->marker, session->counter); return;
    case SAMI_RECORD_END: return; /* the states have said it already */
    default: sami_collector_migration_undo(migration, migration->marker_counter ? SAMI_ON_ABORT_DECIDED : SAMI_ON_ABORT); return;
    }
}

static void
clear_batch(SamiCollectorSession *session)
{
    g_array_set_size(session->batch, 0);
    g_array_set_size(session->expectations, 0);
    g_array_set_size(session->controls, 0);
    if (session->migration)
        sami_collector_kinds_drop(session->migration);
}

/* They wait for the freeze marker in any case, so whatever else is in the Message may be before or behind them. */
static void
hand_over_expectations(SamiCollectorSession *session)
{
    SamiJob *job = sami_collector_migration_prepare(session->migration, SAMI_JOB_EXPECTATIONS, NULL);
    job->n = session->expectations->len;
    job->expectations = g_memdup2(session->expectations->data, job->n * sizeof(SamiExpectationItem));
    job->counter = session->counter;
    job->signed_ms = now_ms() - session->stream->age_ms;
    sami_injector_submit(session->collector->injector, job);
}

/* The whole Message was decoded: in the order of its records, those of other kinds first, so that a marker stands behind them. */
static void
flush_batch(SamiCollectorSession *session)
{
    sami_collector_kinds_flush(session->migration, session->counter);
    if (session->expectations->len > 0)
        hand_over_expectations(session);
    for (guint i = 0, done = 0; session->migration && i < session->controls->len; i++) {
        SamiCollectorControl control = g_array_index(session->controls, SamiCollectorControl, i);
        guint n = control.at - done;
        g_autoptr(GArray) items = g_array_sized_new(FALSE, FALSE, sizeof(SamiApplyItem), n);
        done = control.at;
        g_array_append_vals(items, session->batch->data, n);
        g_array_remove_range(session->batch, 0, n);
        if (n > 0)
            sami_collector_migration_records(session->migration, items, session->counter);
        carry_out(session, &control);
    }
    if (session->migration && session->batch->len > 0)
        sami_collector_migration_records(session->migration, session->batch, session->counter);
    clear_batch(session);
}

static void
add_control(SamiCollectorSession *session, const SamiRecord *record)
{
    SamiCollectorControl control = { .kind = record->kind, .at = session->batch->len };
    if (record->kind == SAMI_RECORD_EPOCH)
        control.epoch = record->epoch;
    else if (record->kind == SAMI_RECORD_MARKER)
        control.marker = record->marker;
    else if (record->kind == SAMI_RECORD_ABORT)
        control.abort = record->abort;
    if (session->controls->len >= SAMI_CONTROLS_MAX)
        return stop(session, SAMI_REASON_LIMIT, "too many markers and epochs in one Message");
    g_array_append_val(session->controls, control);
}

void
sami_collector_session_judge(SamiCollector *collector, const SamiSigner *signer, const SamiPolicy *policy, const SamiSession *record,
                             SamiApplyItem *ret)
{
    sami_apply_judge(signer ? signer->map : NULL, policy, record, &collector->n_marks_masked, ret);
}

static void
on_session_record(SamiCollectorSession *session, const SamiSession *record)
{
    SamiApplyItem item;
    sami_collector_session_judge(session->collector, session->migration->signer, &session->migration->policy, record, &item);
    g_array_append_val(session->batch, item);
}

static void
on_expectation(SamiCollectorSession *session, const SamiExpectation *expectation)
{
    const SamiCollectorMigration *migration = session->migration;
    SamiExpectationItem item;
    sami_apply_judge_expectation(migration->signer ? migration->signer->map : NULL, &migration->policy, expectation, &item);
    if (!(migration->announced & SAMI_KIND_EXPECTATION) || migration->replication)
        return stop(session, SAMI_REASON_PROTOCOL, "an expectation, which begin did not announce");
    g_array_append_val(session->expectations, item);
}

static void
on_record(const SamiRecord *record, gpointer user_data)
{
    SamiCollectorSession *session = user_data;
    SamiCollectorMigration *migration = session->migration;
    if (session->refusal != SAMI_REASON_NONE || !session->source)
        return;
    session->n_taken++;
    if (session->counter == 0 && (record->kind != SAMI_RECORD_HELLO || session->n_taken > 1)) /* no nonce of ours is in this Message's binding */
        return stop(session, SAMI_REASON_PROTOCOL, "the first Message has one hello, and nothing else");
    switch (record->kind) {
    case SAMI_RECORD_HELLO: on_hello(session, &record->hello); return;
    case SAMI_RECORD_VM_ADDRESS4:
    case SAMI_RECORD_VM_ADDRESS6: on_vm_address(session, &record->vm_address); return;
    case SAMI_RECORD_BEGIN: on_begin(session, &record->begin); return;
    case SAMI_RECORD_TYPE_INFORMATION: return; /* for other collectors; never replaces our table (RFC 5610 §3.9) */
    default: break;
    }
    if (session->check) {
        SamiReason reason = sami_collector_check_record(session->check, record);
        if (reason != SAMI_REASON_NONE)
            stop(session, reason, "a record that a check does not have here");
        return;
    }
    if (!migration)
        return stop(session, SAMI_REASON_PROTOCOL, "a record before begin");
    if (record->kind == SAMI_RECORD_SESSION)
        return on_session_record(session, &record->session);
    if (record->kind == SAMI_RECORD_EXPECTATION)
        return on_expectation(session, &record->expectation);
    if (sami_collector_kinds_take(migration, record))
        return;
    switch (record->kind) {
    case SAMI_RECORD_STATISTICS: migration->not_sent = record->statistics; return;
    case SAMI_RECORD_ABORT:
        if (!sami_collector_migration_may_abort(migration, record->abort.marker_counter))
            return stop(session, SAMI_REASON_ALREADY_READY, NULL);
        add_control(session, record);
        return;
    case SAMI_RECORD_EPOCH:
    case SAMI_RECORD_MARKER:
    case SAMI_RECORD_END: add_control(session, record); return;
    default: stop(session, SAMI_REASON_PROTOCOL, "a record of the other direction"); return;
    }
}

/* The first Message names its key; the key names the signer. */
static gboolean
first_message(SamiCollectorSession *session, const guint8 *message, gsize length)
{
    SamiSignature signature;
    SamiKey *key = NULL;
    g_autoptr(GError) error = NULL;
    if (!sami_signature_read(message, length, &signature, &error)) {
        sami_collector_session_refuse(session, error->code == SAMI_ERROR_SIGNATURE ? SAMI_REASON_NOT_SIGNED : SAMI_REASON_MALFORMED, error->message);
        return FALSE;
    }
    SamiSigner *signer = sami_signers_find(session->collector->signers, signature.key_id, &key);
    if (!signer || !sami_signer_may_use(signer, session->open.name)) {
        sami_collector_session_refuse(session, signer ? SAMI_REASON_TLS_NAME : SAMI_REASON_UNKNOWN_SIGNER, NULL);
        return FALSE;
    }
    session->signer = sami_signer_ref(signer);
    session->stream = sami_stream_new(SAMI_ROLE_COLLECTOR, session->collector->key, session->open.ekm, session->open.message_max,
                                      now_ms(), session->collector->config->max_delay_ms);
    session->stream->opened_ms = session->opened_ms;
    session->stream->peer_key = key;
    memcpy(session->stream->migration_id, signature.migration_id, 16);
    return TRUE;
}

/* Appended before injection (PROTOCOL §5); the file is made when the first Message has verified. */
static gboolean
write_journal(SamiCollectorSession *session, const guint8 *message, gsize length)
{
    g_autoptr(GError) error = NULL;
    gchar hex[SAMI_MIGRATION_ID_TEXT];
    if (!session->collector->config->journal || session->check)
        return TRUE;
    if (!session->journal) {
        sami_collector_tidy_soon(session->collector); /* room first */
        session->journal = sami_journal_new(session->collector->config->journal_dir, sami_migration_id_text(session->stream->migration_id, hex), &error);
    }
    if (session->journal && sami_journal_append(session->journal, message, length, &error))
        return TRUE;
    SamiCollectorMigration *migration = session->migration; /* the refusal may end the session at once */
    sami_collector_session_refuse(session, SAMI_REASON_JOURNAL, error->message);
    if (migration)
        sami_collector_migration_undo(migration, SAMI_ON_FAILURE);
    return FALSE;
}

static void
on_message(SamiCollectorSession *session, guint8 *message, gsize length)
{
    SamiReason reason = SAMI_REASON_NONE;
    gboolean is_last = FALSE;
    g_autoptr(GError) error = NULL;
    session->collector->n_messages++;
    session->collector->n_octets += length;
    if (session->refusal != SAMI_REASON_NONE)
        return;
    if (!session->stream && !first_message(session, message, length))
        return;
    session->counter = session->stream->counter_in;
    session->n_taken = 0;
    if (!sami_stream_verify(session->stream, message, length, now_ms(), &reason, &is_last, &error)) {
        sami_collector_session_refuse(session, reason, error->message);
        return;
    }
    if (!write_journal(session, message, length))
        return;
    if (!sami_stream_decode(session->stream, message, length, on_record, session, &error)) {
        clear_batch(session);
        sami_collector_session_refuse(session, g_error_matches(error, SAMI_ERROR, SAMI_ERROR_PEN) ? SAMI_REASON_PEN_MISMATCH : SAMI_REASON_MALFORMED,
                                      error->message);
        return;
    }
    if (!session->source)
        return;
    sami_rate_take(session->signer->rate, session->n_taken, g_get_monotonic_time());
    if (session->refusal != SAMI_REASON_NONE) {
        clear_batch(session);
        sami_collector_session_refuse(session, session->refusal, session->refusal_detail);
        return;
    }
    if (session->check)
        sami_collector_check_message(session->check);
    if (session->migration)
        flush_batch(session);
    if (session->migration)
        sami_collector_migration_taken(session->migration, session->stream->counter_in, length);
}

/* What one peer holds is not there for others. */
static void
review_share(SamiCollectorSession *session)
{
    const SamiCollector *collector = session->collector;
    guint n = 0, max = collector->config->peer_sessions;
    for (guint i = 0; i < collector->sessions->len; i++) {
        const SamiCollectorSession *other = g_ptr_array_index(collector->sessions, i);
        n += other->source && other->is_open && other->refusal == SAMI_REASON_NONE && g_str_equal(other->open.name, session->open.name);
    }
    if (n <= max)
        return;
    g_autofree gchar *text = g_strdup_printf("%u sessions at once of one peer are enough (peer-sessions)", max);
    sami_collector_session_refuse(session, SAMI_REASON_LIMIT, text);
}

static gboolean
on_frame(SamiCollectorSession *session, SamiFrameType type, guint8 *payload, gsize length)
{
    g_autoptr(GError) error = NULL;
    switch (type) {
    case SAMI_FRAME_OPEN:
        if (session->is_open || !sami_frame_open_parse(payload, length, &session->open, &error)) {
            give_up(session, error ? error->message : "two OPEN frames");
            return FALSE;
        }
        session->opened_ms = now_ms();
        session->is_open = TRUE;
        review_share(session);
        return TRUE;
    case SAMI_FRAME_MESSAGE:
        if (!session->is_open) {
            give_up(session, "a Message before OPEN");
            return FALSE;
        }
        on_message(session, payload, length);
        return TRUE;
    case SAMI_FRAME_CLOSE:
        session->is_peer_done = TRUE;
        return !g_queue_is_empty(&session->out);
    case SAMI_FRAME_MALFORMED: {
        g_autofree gchar *text = g_strndup((const gchar *) payload, MIN(length, 512));
        g_autofree gchar *quoted = g_strescape(text, NULL);
        session->is_peer_done = TRUE;
        if (session->is_open && session->refusal == SAMI_REASON_NONE)
            sami_collector_session_refuse(session, SAMI_REASON_MALFORMED, quoted);
        return !g_queue_is_empty(&session->out);
    }
    default: {
        g_autofree gchar *text = g_strndup((const gchar *) payload, MIN(length, 512));
        g_autofree gchar *quoted = g_strescape(text, NULL);
        give_up(session, quoted);
        return FALSE;
    }
    }
}

static gboolean
on_ready(GIOCondition condition, gpointer user_data)
{
    SamiCollectorSession *session = user_data;
    if (condition & G_IO_OUT)
        write_out(session);
    /* Bounded work a turn: other sessions and the control socket wait. */
    guint n_frames = CLAMP(FRAMES_PER_TURN / session->collector->sessions->len, 1, FRAMES_PER_SESSION);
    for (guint i = 0; session->source && i < n_frames; i++) {
        SamiFrameType type;
        guint8 *payload;
        gsize length;
        g_autoptr(GError) error = NULL;
        if (is_paused(session) || is_behind(session) || is_held_back(session))
            break;
        SamiReceive receive = sami_session_socket_receive(session->socket, &type, &payload, &length, &error);
        if (receive == SAMI_RECEIVE_AGAIN)
            break;
        if (receive == SAMI_RECEIVE_BAD)
            give_up(session, error->message);
        else if (receive == SAMI_RECEIVE_END || !on_frame(session, type, payload, length))
            sami_collector_session_drop(session);
    }
    sami_collector_session_update(session);
    return G_SOURCE_CONTINUE;
}

void
sami_collector_session_new(SamiCollector *collector, int fd)
{
    SamiCollectorSession *session = g_new0(SamiCollectorSession, 1);
    session->collector = collector;
    session->socket = sami_session_socket_new(fd);
    session->socket_fd = fd;
    session->vm = g_array_new(FALSE, TRUE, sizeof(SamiPrefix));
    session->batch = g_array_new(FALSE, FALSE, sizeof(SamiApplyItem));
    session->expectations = g_array_new(FALSE, FALSE, sizeof(SamiExpectationItem));
    session->controls = g_array_new(FALSE, FALSE, sizeof(SamiCollectorControl));
    g_queue_init(&session->out);
    session->say_by_us = by_max_delay(session);
    session->end_by_us = g_get_monotonic_time() + (gint64) collector->config->session_age_s * G_USEC_PER_SEC;
    g_ptr_array_add(collector->sessions, session);
    collector->n_sessions++;
    session->source = sami_fd_source_new(fd, G_IO_IN, on_ready, session, &session->tag);
}

/* Nobody is waited for longer than what comes would be taken. */
static void
review_time(SamiCollectorSession *session, gint64 now_us)
{
    if (!session->source)
        return;
    if (session->take_by_us && now_us >= session->take_by_us)
        give_up(session, "it has not taken its answers within max-delay");
    else if (now_us >= session->end_by_us) /* PROTOCOL §1; the exporter resumes in another one */
        give_up(session, "its session is older than session-age");
    else if (session->say_by_us && now_us >= session->say_by_us && session->is_closing)
        give_up(session, "it has not closed its session within max-delay");
    else if (session->say_by_us && now_us >= session->say_by_us)
        sami_collector_session_refuse(session, SAMI_REASON_TOO_LATE, session->has_hello ? "no begin within max-delay" : "no hello within max-delay");
}

gboolean
sami_collector_sessions_watch(gpointer user_data)
{
    SamiCollector *collector = user_data;
    gint64 now_us = g_get_monotonic_time();
    for (guint i = 0; i < collector->sessions->len; i++)
        review_time(g_ptr_array_index(collector->sessions, i), now_us);
    sami_log_limit_sum_up(&collector->refusals, FALSE);
    return G_SOURCE_CONTINUE;
}

void
sami_collector_session_free(SamiCollectorSession *session)
{
    g_clear_handle_id(&session->rate_timer, g_source_remove);
    if (session->source) {
        g_source_destroy(session->source);
        g_source_unref(session->source);
    }
    sami_session_socket_free(session->socket);
    sami_stream_free(session->stream);
    sami_signer_unref(session->signer); /* has the key that the stream borrows */
    sami_journal_free(session->journal);
    sami_journal_free(session->answers);
    sami_collector_check_free(session->check);
    g_array_unref(session->vm);
    g_array_unref(session->batch);
    g_array_unref(session->expectations);
    g_array_unref(session->controls);
    g_queue_clear_full(&session->out, (GDestroyNotify) g_bytes_unref);
    g_free(session->refusal_detail);
    g_free(session);
}
