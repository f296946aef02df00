/* send --to: a recorded migration goes to a collector as one of ours, with a new id, a new lease, and our signature.
 *
 * The recording is read three times, so that nothing of it has to be kept. Once up to its begin, before anybody is asked. Once for its records, in
 * order, whatever phase they were recorded in: creations, updates and deletions as they are, re-dumps with their epochs; what an audit or a late creation
 * said is an ordinary record here, since it comes before our freeze marker. Then snapshot and freeze marker, and after READY a third time as the audit of
 * SETTLE, which gives every entry its own remaining time: from the recording's own audit on, if it had one. */
#include "replay/send.h"

#include <glib-unix.h>
#include <string.h>

#include "common/loop.h"
#include "replay/recording.h"
#include "replay/selection.h"
#include "replay/send-session.h"

#define TURN_MESSAGES 8u /* read before the collector's answers are looked at */
#define WAIT_MAX_MS 60000

/* What follows at the collector from an end that it did not confirm. */
static const gchar in_doubt[] = "it may be READY there, and stay: 'samictl status' and 'samictl resolve' there";
static const gchar rolls_back[] = "it rolls back by itself there";

typedef enum { OPENING, SENDING, SNAPSHOT, FREEZE, AUDIT, SETTLE, ABORTING, CLOSING, OVER } Phase;

typedef struct {
    Replay *replay;
    const SamiConfig *config;
    const SamiConfigPeer *peer;
    SamiKey *key;
    ReplayKeys *keys;
    ReplaySelection *selection;
    ReplayPace pace;
    ReplaySay say;
    GMainLoop *loop;
    ReplaySession *session;
    ReplayRecording *recording;
    gboolean is_first_reading;
    Phase phase;
    guint turn; /* source: reading goes on */
    SamiInputMessage message;
    gboolean has_message; /* it waits for its time */
    gint64 due_us;
    /* What begin says. */
    GArray *vm; /* of SamiPrefix */
    SamiBegin begin;
    /* Where in the recording. */
    gboolean is_frozen;   /* behind a freeze marker that was not taken back: an epoch is an audit */
    gboolean is_in_epoch; /* that we have begun, too */
    guint64 last_epoch, audit_from; /* positions; 0: there is none */
    /* What was sent. */
    guint32 generation;
    guint64 n_sent, n_expectations, n_cumulative;
    guint64 n_expired, n_elsewhere, n_faults;
    guint64 snapshot_counter, freeze_counter, settle_counter;
    guint64 n_marked;
    gboolean has_ready, is_interrupted;
    /* What became of it. */
    guint64 refused_by[SAMI_N_REASONS], degraded_by[SAMI_N_REASONS];
    guint64 n_kind_refused;
    SamiExit exit;
    gchar *error;
} Sending;

static void
say_error(Sending *m, SamiExit code, gchar *text_take)
{
    if (!m->error) {
        m->error = text_take;
        m->exit = code;
    } else {
        g_free(text_take);
    }
}

static void
finish(Sending *m)
{
    m->phase = OVER;
    g_clear_handle_id(&m->turn, g_source_remove);
    g_main_loop_quit(m->loop);
}

static void
wait_for(Sending *m, const gchar *what)
{
    if (m->peer->receipts)
        replay_session_expect(m->session, m->config->lease_s, what);
}

/* --- the way back --- */

/* Before READY; the first thing that went wrong decides how it ends. */
static void
give_up(Sending *m, guint8 reason, SamiExit code, gchar *text_take)
{
    SamiRecord record = { .kind = SAMI_RECORD_ABORT, .abort = { .reason = reason } };
    say_error(m, code, text_take);
    g_clear_handle_id(&m->turn, g_source_remove);
    if (m->phase == OPENING || !m->peer->receipts) {
        finish(m);
        return;
    }
    m->phase = ABORTING;
    replay_session_add(m->session, &record);
    replay_session_flush(m->session, FALSE);
    wait_for(m, "abort within the lease");
}

static gboolean
on_interrupt(gpointer user_data)
{
    Sending *m = user_data;
    if (m->phase < AUDIT && !m->is_interrupted) {
        give_up(m, SAMI_ABORT_OPERATOR, SAMI_EXIT_ABORTED, g_strdup("interrupted"));
    } else if (!m->is_interrupted && m->phase != ABORTING) {
        replay_say(stderr, m->say.progress, "sami-replay: READY is given, so nothing is taken back: this ends by itself; once more leaves it in doubt\n");
    } else {
        gboolean is_undecided = m->freeze_counter != 0;
        g_clear_pointer(&m->error, g_free);
        say_error(m, is_undecided ? SAMI_EXIT_IN_DOUBT : SAMI_EXIT_FAILED,
                  g_strdup_printf("interrupted before %s answered; %s", m->peer->name, is_undecided ? in_doubt : rolls_back));
        finish(m);
    }
    m->is_interrupted = TRUE;
    return G_SOURCE_CONTINUE;
}

/* --- records out --- */

/* Seconds since the record was said. */
static guint32
age_s(const Sending *m)
{
    gint64 age = g_get_real_time() / G_USEC_PER_SEC - (gint64) replay_recording_message(m->recording)->export_time;
    return m->replay->args.is_keeping_times || age < 0 ? 0 : (guint32) MIN(age, (gint64) G_MAXUINT32);
}

/* FALSE: its time is over by now. */
static gboolean
make_older(const Sending *m, SamiSession *s)
{
    guint32 age = age_s(m);
    if (!(s->has & SAMI_HAS_TIMEOUT) || age == 0)
        return TRUE;
    if (s->timeout_s <= age)
        return FALSE;
    s->timeout_s -= age;
    return TRUE;
}

/* What has ended since may have been sent by an earlier record. */
static void
send_session(Sending *m, const SamiSession *session)
{
    SamiRecord record = { .kind = SAMI_RECORD_SESSION, .session = *session };
    record.session.flags = 0;
    if (record.session.action != SAMI_ACTION_DELETED && !make_older(m, &record.session)) {
        record.session.action = SAMI_ACTION_DELETED;
        m->n_expired++;
    }
    if (record.session.action == SAMI_ACTION_DELETED)
        record.session.has &= SAMI_HAS_VLAN;
    m->n_sent++;
    replay_session_add(m->session, &record);
}

static void
send_expectation(Sending *m, const SamiExpectation *expectation)
{
    SamiRecord record = { .kind = SAMI_RECORD_EXPECTATION, .expectation = *expectation };
    guint32 age = age_s(m);
    if (expectation->action != SAMI_ACTION_DELETED && expectation->timeout_s <= age) {
        m->n_expired++;
        return;
    }
    record.expectation.timeout_s -= MIN(age, expectation->timeout_s);
    m->n_expectations++;
    replay_session_add(m->session, &record);
}

static void
send_cumulative(Sending *m, const SamiCumulative *cumulative)
{
    SamiRecord record = { .kind = SAMI_RECORD_CUMULATIVE, .cumulative = *cumulative };
    guint64 age_ms = (guint64) age_s(m) * 1000;
    if ((cumulative->has & SAMI_CUMULATIVE_TIMEOUT) && cumulative->remaining_ms <= age_ms && age_ms > 0) {
        m->n_expired++;
        return;
    }
    record.cumulative.remaining_ms -= MIN(age_ms, cumulative->remaining_ms);
    m->n_cumulative++;
    replay_session_add(m->session, &record);
}

static void
send_epoch(Sending *m, guint8 phase)
{
    SamiRecord record = { .kind = SAMI_RECORD_EPOCH, .epoch = { phase == 1 ? ++m->generation : m->generation, phase } };
    m->is_in_epoch = phase == 1;
    replay_session_add(m->session, &record);
}

static guint64
send_marker(Sending *m, guint8 marker)
{
    SamiRecord record = { .kind = SAMI_RECORD_MARKER, .marker = { marker, m->n_sent, SAMI_FREEZE_SCAN } };
    replay_session_add(m->session, &record);
    return replay_session_flush(m->session, FALSE);
}

static void
on_recorded_epoch(Sending *m, guint8 phase)
{
    if (m->is_frozen)
        m->last_epoch = phase == 1 ? replay_recording_message(m->recording)->number : m->last_epoch;
    else if (phase == 1 || m->is_in_epoch)
        send_epoch(m, phase);
}

static void
on_recorded_marker(Sending *m, guint8 marker)
{
    if (marker == SAMI_MARKER_SETTLE && m->is_frozen)
        m->audit_from = m->last_epoch;
    if (marker != SAMI_MARKER_FREEZE && marker != SAMI_MARKER_THAW)
        return;
    m->is_frozen = marker == SAMI_MARKER_FREEZE;
    m->last_epoch = m->audit_from = 0;
}

static void
on_record(const SamiRecord *record, gpointer user_data)
{
    Sending *m = user_data;
    if (!replay_selection_has_message(m->selection, replay_recording_message(m->recording)))
        return;
    if (!replay_selection_wants(m->selection, record)) {
        m->n_elsewhere++;
        return;
    }
    switch (record->kind) {
    case SAMI_RECORD_SESSION: send_session(m, &record->session); return;
    case SAMI_RECORD_EXPECTATION: send_expectation(m, &record->expectation); return;
    case SAMI_RECORD_CUMULATIVE: send_cumulative(m, &record->cumulative); return;
    case SAMI_RECORD_EPOCH: on_recorded_epoch(m, record->epoch.phase); return;
    case SAMI_RECORD_MARKER: on_recorded_marker(m, record->marker.marker); return;
    case SAMI_RECORD_ABORT: replay_say(stderr, m->say.progress, "sami-replay: what was recorded was aborted then; it is sent all the same\n"); return;
    default: return; /* of the session that it was recorded in */
    }
}

static void
on_audited_record(const SamiRecord *record, gpointer user_data)
{
    Sending *m = user_data;
    const ReplayMessage *message = replay_recording_message(m->recording);
    SamiRecord copy = *record;
    gboolean is_audited = record->kind == SAMI_RECORD_SESSION && record->session.action != SAMI_ACTION_DELETED && message->number >= m->audit_from &&
                          replay_selection_has_message(m->selection, message);
    if (!is_audited || !replay_selection_wants(m->selection, record) || !make_older(m, &copy.session))
        return;
    copy.session.action = SAMI_ACTION_CREATED;
    copy.session.flags = 0;
    m->n_sent++;
    replay_session_add(m->session, &copy);
}

/* --- reading --- */

static void
close_recording(Sending *m)
{
    if (m->recording && m->is_first_reading)
        m->n_faults += replay_recording_n_faults(m->recording);
    m->say.progress = NULL;
    g_clear_pointer(&m->recording, replay_recording_free);
    m->has_message = FALSE;
}

static void
open_recording(Sending *m, gboolean is_first)
{
    close_recording(m);
    m->recording = replay_recording_new(m->replay, m->keys, is_first);
    m->is_first_reading = is_first;
    m->say.progress = replay_recording_progress(m->recording);
}

/* A collector that does not answer has nothing to audit. */
static void
end_plain(Sending *m)
{
    SamiRecord record = { .kind = SAMI_RECORD_END, .end = { m->n_sent } };
    send_marker(m, SAMI_MARKER_FREEZE);
    replay_session_add(m->session, &record);
    say_error(m, SAMI_EXIT_UNCONFIRMED,
              g_strdup_printf("unconfirmed: %s is a plain collector (receipts=false), which never says what became of it", m->peer->name));
    m->phase = CLOSING;
    replay_session_flush(m->session, TRUE);
}

static void
end_pass(Sending *m)
{
    gboolean is_audit = m->phase == AUDIT;
    close_recording(m);
    if (is_audit)
        send_epoch(m, 2);
    m->phase = is_audit ? SETTLE : SNAPSHOT;
    guint64 counter = send_marker(m, is_audit ? SAMI_MARKER_SETTLE : SAMI_MARKER_SNAPSHOT);
    *(is_audit ? &m->settle_counter : &m->snapshot_counter) = counter;
    if (m->peer->receipts)
        wait_for(m, is_audit ? "settle marker within the lease" : "snapshot marker within the lease");
    else
        end_plain(m);
}

typedef enum { STEP_ON, STEP_FULL, STEP_EARLY, STEP_END, STEP_FAILED } Step;

static Step
take_step(Sending *m, GError **error)
{
    if (replay_session_is_full(m->session))
        return STEP_FULL;
    if (!m->has_message) {
        ReplayRecordingStatus status = replay_recording_next(m->recording, &m->message, error);
        if (status != REPLAY_RECORDING_MESSAGE)
            return status == REPLAY_RECORDING_END ? STEP_END : STEP_FAILED;
        m->has_message = TRUE;
        m->due_us = m->phase == AUDIT ? 0 : replay_pace_due(&m->pace, &m->message, g_get_monotonic_time());
    }
    if (m->due_us > g_get_monotonic_time())
        return STEP_EARLY;
    m->has_message = FALSE;
    return replay_recording_decode(m->recording, m->phase == AUDIT ? on_audited_record : on_record, m, error) ? STEP_ON : STEP_FAILED;
}

static gboolean on_turn(gpointer user_data);

static void
go_on(Sending *m)
{
    if (!m->turn && m->recording && (m->phase == SENDING || m->phase == AUDIT))
        m->turn = sami_idle_add(on_turn, m);
}

static gboolean
on_turn(gpointer user_data)
{
    Sending *m = user_data;
    Step step = STEP_ON;
    g_autoptr(GError) error = NULL;
    m->turn = 0;
    for (guint i = 0; i < TURN_MESSAGES && step == STEP_ON; i++)
        step = take_step(m, &error);
    switch (step) {
    case STEP_ON: go_on(m); break;
    case STEP_FULL: replay_session_expect(m->session, m->config->lease_s, "Messages within the lease: it takes none"); break; /* on_drained() */
    case STEP_EARLY:
        replay_session_flush(m->session, FALSE);
        m->turn = g_timeout_add((guint) CLAMP((m->due_us - g_get_monotonic_time()) / 1000 + 1, 1, WAIT_MAX_MS), on_turn, m);
        break;
    case STEP_END: end_pass(m); break;
    case STEP_FAILED:
        if (m->phase == AUDIT) { /* it was whole when it was read before: somebody writes to it */
            say_error(m, SAMI_EXIT_DEGRADED, g_strdup(error->message));
            end_pass(m);
        } else {
            give_up(m, SAMI_ABORT_FAILURE, sami_exit_of_error(error), g_strdup(error->message));
        }
        break;
    }
    return G_SOURCE_REMOVE;
}

/* --- answers --- */

static void
on_bound(const SamiHelloReply *reply, gpointer user_data)
{
    Sending *m = user_data;
    SamiRecord record = { .kind = SAMI_RECORD_TYPE_INFORMATION };
    replay_say_opened(&m->say, replay_session_id(m->session), reply ? reply->lease_s : 0);
    m->phase = SENDING;
    for (guint i = 0; i < SAMI_N_ELEMENTS; i++)
        if (sami_type_information(i, &record.type_information))
            replay_session_add(m->session, &record);
    for (guint i = 0; i < m->vm->len; i++) {
        record = (SamiRecord){ .vm_address = g_array_index(m->vm, SamiPrefix, i) };
        record.kind = record.vm_address.family == 4 ? SAMI_RECORD_VM_ADDRESS4 : SAMI_RECORD_VM_ADDRESS6;
        replay_session_add(m->session, &record);
    }
    record = (SamiRecord){ .kind = SAMI_RECORD_BEGIN, .begin = m->begin };
    replay_session_add(m->session, &record);
    replay_session_flush(m->session, FALSE);
    open_recording(m, TRUE);
    go_on(m);
}

static void
on_drained(gpointer user_data)
{
    Sending *m = user_data;
    if (m->phase == SENDING || m->phase == AUDIT)
        replay_session_expect(m->session, 0, NULL);
    go_on(m);
}

static void
on_ready(Sending *m, const SamiReceipt *r)
{
    m->has_ready = TRUE;
    if (m->phase != FREEZE) /* crossed our abort, which will be refused */
        return;
    replay_say_receipt(&m->say, r);
    replay_session_expect(m->session, 0, NULL);
    open_recording(m, FALSE);
    m->phase = AUDIT;
    send_epoch(m, 1);
    go_on(m);
}

static void
on_final(Sending *m, const SamiReceipt *r)
{
    SamiRecord record = { .kind = SAMI_RECORD_END, .end = { m->n_sent } };
    gboolean is_lesser = r->n_refused > 0 || r->n_degraded > 0 || m->n_kind_refused > 0;
    replay_say_receipt(&m->say, r);
    if (m->n_faults > 0)
        say_error(m, SAMI_EXIT_DEGRADED, g_strdup("what was no whole Message in the recording is not there"));
    if (!m->error)
        m->exit = is_lesser ? SAMI_EXIT_DEGRADED : SAMI_EXIT_DONE;
    replay_session_expect(m->session, 0, NULL);
    replay_session_add(m->session, &record);
    m->phase = CLOSING;
    replay_session_flush(m->session, TRUE);
}

/* Every count is of records that were sent; READY and FINAL are of all of them. */
static gboolean
is_possible(const Sending *m, const SamiReceipt *r)
{
    const guint64 counts[] = { r->n_records, r->n_accepted, r->n_present, r->n_merged, r->n_exact, r->n_degraded, r->n_refused };
    for (guint i = 0; i < G_N_ELEMENTS(counts); i++)
        if (counts[i] > m->n_sent)
            return FALSE;
    switch (r->phase) {
    case SAMI_RECEIPT_SNAPSHOT: return m->snapshot_counter && r->marker_counter == m->snapshot_counter;
    case SAMI_RECEIPT_READY: return m->freeze_counter && r->marker_counter == m->freeze_counter && r->n_records == m->n_marked;
    case SAMI_RECEIPT_FINAL: return m->settle_counter && r->marker_counter == m->settle_counter && r->n_records == m->n_sent;
    case SAMI_RECEIPT_ABORTED: return TRUE;
    default: return FALSE;
    }
}

static gboolean
on_receipt(Sending *m, const SamiReceipt *r)
{
    if (r->phase == SAMI_RECEIPT_PROGRESS) { /* it is at work */
        if (m->phase == SNAPSHOT || m->phase == FREEZE || m->phase == SETTLE)
            wait_for(m, "marker within the lease");
        return TRUE;
    }
    if (!is_possible(m, r))
        return FALSE;
    if (r->phase == SAMI_RECEIPT_SNAPSHOT && m->phase == SNAPSHOT) {
        replay_say_receipt(&m->say, r);
        m->n_marked = m->n_sent;
        m->phase = FREEZE;
        m->freeze_counter = send_marker(m, SAMI_MARKER_FREEZE);
        wait_for(m, "freeze marker within the lease");
    } else if (r->phase == SAMI_RECEIPT_READY) {
        on_ready(m, r);
    } else if (r->phase == SAMI_RECEIPT_FINAL && m->phase == SETTLE) {
        on_final(m, r);
    } else if (r->phase == SAMI_RECEIPT_ABORTED) {
        g_clear_handle_id(&m->turn, g_source_remove);
        say_error(m, SAMI_EXIT_ABORTED, g_strdup_printf("%s has rolled it back", m->peer->name));
        replay_say_receipt(&m->say, r);
        m->phase = CLOSING;
        replay_session_flush(m->session, TRUE);
    }
    return TRUE;
}

static gboolean
on_answered(const SamiRecord *record, gpointer user_data)
{
    Sending *m = user_data;
    if (m->phase >= CLOSING)
        return TRUE;
    switch (record->kind) {
    case SAMI_RECORD_RECEIPT: return on_receipt(m, &record->receipt);
    case SAMI_RECORD_REFUSAL:
        replay_say_refusal(&m->say, &record->refusal);
        return record->refusal.scope == SAMI_SCOPE_RECORD || record->refusal.scope == SAMI_SCOPE_DEGRADED;
    case SAMI_RECORD_REASON_COUNT:
        if (record->reason_count.reason < SAMI_N_REASONS)
            (record->reason_count.scope == SAMI_SCOPE_DEGRADED ? m->degraded_by : m->refused_by)[record->reason_count.reason] = record->reason_count.count;
        return record->reason_count.count <= m->n_sent + m->n_expectations + m->n_cumulative;
    case SAMI_RECORD_KIND_COUNT:
        replay_say_kind_count(&m->say, &record->kind_count);
        m->n_kind_refused = MAX(m->n_kind_refused, record->kind_count.n_refused);
        return record->kind_count.n_records <= m->n_expectations + m->n_cumulative;
    default: return FALSE;
    }
}

static void
on_ended(ReplaySessionEnd how, SamiReason reason, const gchar *text, gpointer user_data)
{
    Sending *m = user_data;
    const gchar *peer = m->peer->name;
    gboolean is_undecided = m->has_ready || (m->freeze_counter != 0 && reason != SAMI_REASON_JOURNAL && reason != SAMI_REASON_KERNEL);
    const gchar *consequence = m->phase == OPENING || !m->peer->receipts ? NULL
                               : is_undecided                            ? in_doubt
                               : how == REPLAY_SESSION_REFUSED           ? "nothing of it stays there"
                                                                         : rolls_back;
    gboolean is_refused = how == REPLAY_SESSION_REFUSED || how == REPLAY_SESSION_DISBELIEVED;
    SamiExit code = is_undecided ? SAMI_EXIT_IN_DOUBT : is_refused ? SAMI_EXIT_REFUSED : SAMI_EXIT_FAILED;
    if (m->phase == CLOSING && (m->peer->receipts || how == REPLAY_SESSION_CLOSED)) { /* everything was said, and answered */
        finish(m);
        return;
    }
    g_autofree gchar *tail = consequence ? g_strconcat("; ", consequence, NULL) : g_strdup("");
    if (is_undecided || m->phase == ABORTING || m->phase == CLOSING) /* worse than what led to the abort, or no end */
        g_clear_pointer(&m->error, g_free);
    if (how == REPLAY_SESSION_REFUSED) {
        g_autofree gchar *quoted = g_strescape(text, NULL);
        say_error(m, code, g_strdup_printf("%s refused: %s: %s%s", peer, sami_reason_id(reason), quoted, tail));
    } else if (how == REPLAY_SESSION_DISBELIEVED) {
        say_error(m, code, g_strdup_printf("an answer of %s is not believed: %s%s", peer, text, tail));
    } else {
        gboolean is_named = how == REPLAY_SESSION_UNREACHABLE || g_str_has_prefix(text, "TLS: "); /* by the connector */
        say_error(m, code, g_strdup_printf("%s%s%s%s", is_named ? "" : peer, is_named ? "" : ": ", text, tail));
    }
    finish(m);
}

/* --- the whole --- */

static gboolean
find_peer(Sending *m, GError **error)
{
    const gchar *to = m->replay->args.to;
    if (!replay_load_config(m->replay, error))
        return FALSE;
    m->config = m->replay->config;
    m->peer = m->config ? sami_config_peer(m->config, to) : NULL;
    if (!m->peer || !m->peer->addresses || (m->peer->receipts && !m->peer->signing_key_file)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "--to: \"%s\" is no peer that we may send to (peers.d beside %s); see 'samictl peer list'", to,
                    m->config ? m->config->path : SAMI_SYSCONFDIR "/sami.conf");
        return FALSE;
    }
    m->say.peer = m->peer->name;
    return TRUE;
}

static gboolean
prepare(Sending *m, GError **error)
{
    static const ReplaySessionOps ops = { on_bound, on_drained, on_answered, on_ended };
    for (guint i = 0; m->replay->args.operands[i]; i++)
        if (!strcmp(m->replay->args.operands[i], "-")) {
            g_set_error_literal(error, SAMI_ERROR, SAMI_ERROR_USAGE, "-: what is sent to a collector is read more than once; it has to be a file");
            return FALSE;
        }
    if (!(m->selection = replay_selection_new(&m->replay->args, error)) || !find_peer(m, error) || !(m->session = replay_session_new(m->config, error)) ||
        !(m->key = sami_key_load_private(m->config->signing_key, m->config->key_passphrase_file, error)) || !(m->keys = replay_keys_load(m->replay, error)) ||
        !replay_find_begin(m->replay, m->keys, &m->vm, &m->begin, error))
        return FALSE;
    if (m->replay->args.vms)
        replay_selection_set_vm(m->selection, m->vm);
    m->begin.lease_s = m->config->lease_s;
    g_strlcpy(m->begin.destination, m->peer->name, sizeof m->begin.destination);
    return replay_session_open(m->session, m->peer, m->key, &ops, m, error);
}

static void
run(Sending *m)
{
    guint signals[] = { g_unix_signal_add(SIGINT, on_interrupt, m), g_unix_signal_add(SIGTERM, on_interrupt, m) };
    g_main_loop_run(m->loop);
    for (guint i = 0; i < G_N_ELEMENTS(signals); i++)
        g_source_remove(signals[i]);
}

static void
tell(Sending *m)
{
    const ReplayNumber numbers[] = {
        { "sent", m->n_sent },           { "expectations", m->n_expectations }, { "cumulative", m->n_cumulative }, { "expired", m->n_expired },
        { "not_selected", m->n_elsewhere }, { "faults", m->n_faults },             { "messages", replay_session_n_messages(m->session) },
    };
    const gchar *result = m->exit == SAMI_EXIT_DONE || m->exit == SAMI_EXIT_DEGRADED ? "DONE"
                          : m->exit == SAMI_EXIT_ABORTED                             ? "ABORTED"
                          : m->exit == SAMI_EXIT_IN_DOUBT                            ? "IN-DOUBT"
                          : m->exit == SAMI_EXIT_UNCONFIRMED                         ? "SENT"
                                                                                     : "FAILED";
    close_recording(m);
    replay_say_end(&m->say, m->exit, result, m->error, numbers, G_N_ELEMENTS(numbers), m->refused_by, m->degraded_by);
}

SamiExit
replay_send_migration(Replay *replay, const ReplayPace *pace, GError **error)
{
    Sending m = { .replay = replay, .pace = *pace, .say = { .is_json = replay->args.is_json, .is_quiet = replay->args.is_quiet } };
    if (prepare(&m, error)) {
        m.loop = g_main_loop_new(NULL, FALSE);
        run(&m);
        tell(&m);
        g_main_loop_unref(m.loop);
    } else {
        m.exit = sami_exit_of_error(*error);
    }
    replay_session_free(m.session);
    replay_keys_free(m.keys);
    replay_selection_free(m.selection);
    sami_key_free(m.key);
    g_clear_pointer(&m.vm, g_array_unref);
    g_free(m.error);
    return m.exit;
}
