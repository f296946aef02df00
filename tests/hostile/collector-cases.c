/* What a collector can do wrong, and what has to come of it (LIFECYCLE §1): without a freeze marker on the way the migration has failed and the
 * collector rolls back; with one it is in doubt. What means nothing is counted, and nothing else. */
#include <netinet/in.h>
#include <string.h>

#include "common/control.h"
#include "common/cursor.h"
#include "tests/hostile/collector-cases.h"

/* ---- hello-reply ---- */

void
run_reply(Server *s, const Case *self)
{
    SamiRecord record = server_hello_reply(s);
    SamiHelloReply *reply = &record.hello_reply;
    switch (self->argument) {
    case REPLY_NONCE: reply->nonce_e[0] ^= 1; break;
    case REPLY_KEY: sami_key_public(s->lab->stranger, reply->public_key); break;
    case REPLY_VERSION: reply->version = 2; break;
    case REPLY_NO_COUNTER: reply->next_counter = 0; break;
    case REPLY_COUNTER: reply->next_counter = 2; break;
    case REPLY_HUGE_COUNTER: reply->next_counter = G_MAXUINT64; break;
    case REPLY_NO_LEASE: reply->lease_s = 0; break;
    case REPLY_NO_MESSAGE: reply->message_max = 0; break;
    case REPLY_SHORT_MESSAGE: reply->message_max = 512; break;
    case REPLY_HUGE_LIMITS: reply->lease_s = G_MAXUINT32; reply->sessions_max = G_MAXUINT64; break;
    case REPLY_NO_ROOM: reply->sessions_max = 0; break;
    default: die("no such hello-reply");
    }
    server_say(s, &record);
    if (self->end == END_HONEST) {
        sami_stream_bind(s->stream, s->lab->config->name);
        s->is_bound = TRUE;
    }
}

/* Two Messages in one. argument: a receipt of that phase follows, 0: another hello-reply */
static void
run_reply_and_more(Server *s, const Case *self)
{
    SamiRecord record = server_hello_reply(s);
    server_add(s, &record);
    server_prepare(s, FALSE);
    g_autoptr(GByteArray) both = g_byte_array_new();
    g_byte_array_append(both, s->body->data, s->body->len);
    SamiSignature fields = s->fields;
    if (self->argument)
        record = server_receipt(s, (guint8) self->argument);
    server_add(s, &record);
    server_prepare(s, FALSE);
    g_byte_array_append(both, s->body->data + SAMI_MESSAGE_HEADER, s->body->len - SAMI_MESSAGE_HEADER);
    g_byte_array_set_size(s->body, 0);
    g_byte_array_append(s->body, both->data, both->len);
    s->fields = fields;
    server_seal(s);
    server_transmit(s);
}

static void
run_reply_again(Server *s, const Case *self)
{
    SamiRecord record = server_hello_reply(s);
    if (self->stage == STAGE_HELLO)
        server_say(s, &record);
    server_say(s, &record);
}

/* Of a Message 1 that could not be attributed: nothing but a refusal. argument: SamiRecordKind */
static void
run_no_id(Server *s, const Case *self)
{
    SamiRecord record = self->argument == SAMI_RECORD_HELLO_REPLY ? server_hello_reply(s) : server_receipt(s, SAMI_RECEIPT_ABORTED);
    if (self->argument == SAMI_RECORD_REFUSAL)
        record = (SamiRecord){ .kind = SAMI_RECORD_REFUSAL, .refusal = { .scope = SAMI_SCOPE_MESSAGE, .reason = SAMI_REASON_UNKNOWN_SIGNER } };
    server_add(s, &record);
    server_prepare(s, TRUE);
    memset(s->fields.migration_id, 0, sizeof s->fields.migration_id);
    server_seal(s);
    server_transmit(s);
}

/* ---- signature and framing: an honest answer, changed ---- */

enum { SIGN_NOT, SIGN_STRANGER, SIGN_BIT, SIGN_ROLE_EXPORTER, SIGN_ROLE_FILE, SIGN_ID, SIGN_BINDING, SIGN_TWICE, SIGN_SKIPPED, SIGN_BACK,
       SIGN_LATE, SIGN_HUGE_ELAPSED, SIGN_DOMAIN, SIGN_SEQUENCE, SIGN_REFLECTED, FRAME_VERSION, FRAME_SHORT, FRAME_LONGER, FRAME_SHORTER, FRAME_HUGE };

/* What an honest collector would say next; of progress, where nothing is due. */
static SamiRecord
honest_answer(Server *s)
{
    switch (s->stage) {
    case STAGE_HELLO: return server_hello_reply(s);
    case STAGE_SNAPSHOT: return server_receipt(s, SAMI_RECEIPT_SNAPSHOT);
    case STAGE_FREEZE: return server_receipt(s, SAMI_RECEIPT_READY);
    case STAGE_SETTLE: return server_receipt(s, SAMI_RECEIPT_FINAL);
    default: {
        SamiRecord record = server_receipt(s, SAMI_RECEIPT_PROGRESS);
        record.receipt.marker_counter = s->stream->counter_in;
        return record;
    }
    }
}

static void
put_octets(Server *s, guint at, guint64 value, guint n)
{
    SamiWriter w;
    sami_writer_init(&w, s->body->data + at, n);
    sami_writer_uint(&w, value, n);
}

static void
change_body(Server *s, gint how)
{
    if (how == SIGN_DOMAIN)
        put_octets(s, 12, SAMI_DOMAIN_FORWARD, 4);
    else if (how == SIGN_SEQUENCE)
        s->body->data[11] += 1;
}

static void
change_fields(Server *s, gint how)
{
    switch (how) {
    case SIGN_STRANGER: s->key = s->lab->stranger; break;
    case SIGN_ROLE_EXPORTER: s->fields.role = SAMI_ROLE_EXPORTER; break;
    case SIGN_ROLE_FILE: s->fields.role = SAMI_ROLE_FILE; break;
    case SIGN_ID: s->fields.migration_id[0] ^= 1; break;
    case SIGN_BINDING: sami_binding_opening(s->stream->ekm, s->fields.binding); break;
    case SIGN_SKIPPED: s->fields.counter++; break;
    case SIGN_BACK: s->fields.counter--; break;
    case SIGN_LATE: s->fields.elapsed_ms = 60000; break;
    case SIGN_HUGE_ELAPSED: s->fields.elapsed_ms = G_MAXUINT64; break;
    default: break;
    }
}

static void
change_octets(Server *s, gint how)
{
    switch (how) {
    case SIGN_BIT: s->body->data[20] ^= 1; break;
    case FRAME_VERSION: put_octets(s, 0, 9, 2); break;
    case FRAME_SHORT: put_octets(s, 2, 12, 2); break;
    case FRAME_LONGER: put_octets(s, 2, s->body->len + 1, 2); break;
    case FRAME_SHORTER: put_octets(s, 2, s->body->len - SAMI_SIGNATURE_SET, 2); break;
    case FRAME_HUGE: put_octets(s, 2, SAMI_MESSAGE_MAX, 2); break;
    default: break;
    }
}

static void
run_changed(Server *s, const Case *self)
{
    SamiRecord record = honest_answer(s);
    if (self->argument == SIGN_REFLECTED) {
        server_transmit_octets(s, s->heard->data, s->heard->len);
        return;
    }
    server_add(s, &record);
    server_prepare(s, FALSE);
    change_body(s, self->argument);
    change_fields(s, self->argument);
    if (self->argument != SIGN_NOT)
        server_seal(s);
    else
        put_octets(s, 2, s->body->len, 2);
    change_octets(s, self->argument);
    server_transmit(s);
    if (self->argument == SIGN_TWICE)
        server_transmit(s);
    if (self->argument == FRAME_LONGER || self->argument == FRAME_HUGE)
        server_close(s, CLOSE_ORDERLY);
}

/* Signed with a clock that was right at first, and stood still for longer than max-delay since. */
static void
run_held_back(Server *s, const Case *self)
{
    SamiRecord record = honest_answer(s);
    server_add(s, &record);
    server_prepare(s, FALSE);
    g_usleep((gulong) self->argument * 1000);
    server_seal(s);
    server_transmit(s);
}

/* ---- refusals ---- */

/* argument: the reason */
static void
run_refuse(Server *s, const Case *self)
{
    SamiRecord record = { .kind = SAMI_RECORD_REFUSAL, .refusal = { .scope = SAMI_SCOPE_MESSAGE, .reason = (guint16) self->argument, .counter = s->counter,
                                                                    .detail = "because\n\x1b[2J of a case" } };
    server_add(s, &record);
    server_send(s, TRUE);
    if (self->argument == SAMI_REASON_RESUME_UNAVAILABLE)
        server_close(s, CLOSE_ORDERLY);
}

/* argument: the scope */
static void
run_scope(Server *s, const Case *self)
{
    SamiRecord record = { .kind = SAMI_RECORD_REFUSAL, .refusal = { .scope = (guint8) self->argument, .reason = SAMI_REASON_KERNEL } };
    server_say(s, &record);
}

enum { COUNT_SCOPE, COUNT_HUGE, COUNT_REASON };

static void
run_reason_count(Server *s, const Case *self)
{
    SamiRecord record = { .kind = SAMI_RECORD_REASON_COUNT, .reason_count = { SAMI_SCOPE_RECORD, SAMI_REASON_KERNEL, 1 } };
    if (self->argument == COUNT_SCOPE)
        record.reason_count.scope = 9;
    else if (self->argument == COUNT_HUGE)
        record.reason_count.count = G_MAXUINT64;
    else
        record.reason_count.reason = G_MAXUINT16;
    server_say(s, &record);
}

static void
run_expectation_count(Server *s, const Case *self)
{
    SamiRecord record = { .kind = SAMI_RECORD_KIND_COUNT, .kind_count = { .kind = SAMI_RECORD_EXPECTATION, .n_applied = 1 } };
    server_say(s, &record);
}

/* Unknown reasons, unknown flows, far more than may be listed: of no effect but on what is shown. */
static void
run_many_refusals(Server *s, const Case *self)
{
    SamiRecord record = { .kind = SAMI_RECORD_REFUSAL, .refusal = { .scope = SAMI_SCOPE_RECORD, .reason = G_MAXUINT16, .detail = "x" } };
    for (guint i = 0; i < (guint) self->argument; i++) {
        memcpy(record.refusal.key, &i, sizeof i);
        server_add(s, &record);
    }
    server_send(s, FALSE);
}

/* ---- records and receipts ---- */

/* argument: SamiRecordKind of the other direction */
static void
run_reverse(Server *s, const Case *self)
{
    SamiRecord record = { .kind = (SamiRecordKind) self->argument };
    if (record.kind == SAMI_RECORD_SESSION)
        record.session = (SamiSession){ .key = { .family = 4, .protocol = IPPROTO_UDP }, .action = SAMI_ACTION_DELETED };
    server_say(s, &record);
}

/* argument: the phase, for the marker that came last */
static void
run_receipt(Server *s, const Case *self)
{
    SamiRecord record = server_receipt(s, (guint8) self->argument);
    for (guint i = 0; i < G_N_ELEMENTS(s->markers); i++)
        record.receipt.marker_counter = MAX(record.receipt.marker_counter, s->markers[i]);
    for (guint i = 0; i < (self->n ? self->n : 1); i++)
        server_say(s, &record);
}

/* argument: the phase, for a Message that is still to come */
static void
run_receipt_ahead(Server *s, const Case *self)
{
    SamiRecord record = server_receipt(s, (guint8) self->argument);
    record.receipt.marker_counter = s->stream->counter_in + 1000;
    record.receipt.n_records = s->n_records;
    server_say(s, &record);
}

/* argument: the phase */
static void
send_receipt_of(Server *s, const Case *self, guint64 counter)
{
    SamiRecord record = server_receipt(s, (guint8) self->argument);
    record.receipt.marker_counter = counter;
    record.receipt.n_records = s->n_records;
    server_say(s, &record);
}

/* for a Message that had no marker */
static void
run_receipt_beside(Server *s, const Case *self)
{
    send_receipt_of(s, self, 1);
}

/* argument: the phase, for the snapshot marker */
static void
run_receipt_of_snapshot(Server *s, const Case *self)
{
    send_receipt_of(s, self, s->markers[SAMI_MARKER_SNAPSHOT]);
}

static void
run_receipt_of_freeze(Server *s, const Case *self)
{
    SamiRecord record = server_receipt(s, (guint8) self->argument);
    record.receipt.marker_counter = s->markers[SAMI_MARKER_FREEZE];
    server_say(s, &record);
}

static void
run_progress_back(Server *s, const Case *self)
{
    SamiRecord record = server_receipt(s, SAMI_RECEIPT_PROGRESS);
    record.receipt.marker_counter = s->stream->counter_in;
    server_say(s, &record);
    record.receipt.marker_counter = 1;
    server_say(s, &record);
    record.receipt.marker_counter = 0;
    server_say(s, &record);
}

enum { WRONG_FEWER, WRONG_MORE, WRONG_HUGE, WRONG_ACCEPTED, WRONG_PRESENT, WRONG_MERGED, WRONG_EXACT, WRONG_DEGRADED, WRONG_REFUSED, WRONG_SUM };

/* The receipt that is due, with counts that cannot be. argument: which */
static void
run_counts(Server *s, const Case *self)
{
    SamiRecord record = honest_answer(s);
    SamiReceipt *r = &record.receipt;
    switch (self->argument) {
    case WRONG_FEWER: r->n_records--; break;
    case WRONG_MORE: r->n_records++; break;
    case WRONG_HUGE: r->n_records = G_MAXUINT64; break;
    case WRONG_ACCEPTED: r->n_accepted = s->n_records + 1; break;
    case WRONG_PRESENT: r->n_present = G_MAXUINT64; break;
    case WRONG_MERGED: r->n_merged = G_MAXUINT64; break;
    case WRONG_EXACT: r->n_exact = s->n_records + 1; break;
    case WRONG_DEGRADED: r->n_exact = s->n_records; r->n_degraded = s->n_records; break;
    case WRONG_REFUSED: r->n_refused = G_MAXUINT64; break;
    case WRONG_SUM: r->n_accepted = r->n_refused = s->n_records; break;
    default: die("no such count");
    }
    server_say(s, &record);
}

static void
run_aborted_counts(Server *s, const Case *self)
{
    SamiRecord record = server_receipt(s, SAMI_RECEIPT_ABORTED);
    record.receipt.n_present = G_MAXUINT64;
    server_say(s, &record);
}

/* Thawed and frozen again: the first marker is answered, and then, by who goes on, the second. */
static void
run_earlier_freeze(Server *s, const Case *self)
{
    const gchar *arguments[] = { "thaw", s->id, NULL };
    SamiRecord record = server_receipt(s, SAMI_RECEIPT_READY);
    guint64 was = s->n_markers;
    gint status = lab_finish("thaw", lab_run(s->lab, NULL, arguments));
    if (status != SAMI_EXIT_DONE || (status = lab_finish("freeze", s->freeze)) != SAMI_EXIT_ABORTED)
        die("thaw, or the freeze that it ends, ended with %d", status);
    server_wait(s, &s->n_markers, was);
    s->stage = STAGE_FOLLOW;
    server_reach(s, STAGE_FREEZE);
    server_say(s, &record);
}

/* ---- the clean-up ---- */

enum { PURGE_TRUNCATED, PURGE_NOT_LISTED, PURGE_NOT_EXACT, PURGE_OTHER_FLOW, PURGE_OVERFULL };

static void
run_purge(Server *s, const Case *self)
{
    SamiRecord refusal = { .kind = SAMI_RECORD_REFUSAL, .refusal = { .scope = SAMI_SCOPE_DEGRADED, .reason = SAMI_REASON_DIFFERS } };
    SamiRecord record = server_receipt(s, SAMI_RECEIPT_FINAL);
    SamiReceipt *r = &record.receipt;
    switch (self->argument) {
    case PURGE_TRUNCATED: r->flags = SAMI_RECEIPT_TRUNCATED; break;
    case PURGE_NOT_LISTED: r->n_degraded = 1; r->n_exact--; break;
    case PURGE_NOT_EXACT: r->n_exact--; break;
    case PURGE_OTHER_FLOW: /* names a flow that was never sent in place of the one that it has not */
        r->n_degraded = 1;
        r->n_exact--;
        refusal.refusal.key[0] = 203;
        server_add(s, &refusal);
        break;
    default:
        for (guint i = 0; i <= SAMI_REFUSALS_PER_RULE; i++) {
            memcpy(refusal.refusal.key, &i, sizeof i);
            server_add(s, &refusal);
        }
    }
    server_add(s, &record);
    server_send(s, TRUE);
}

/* FINAL for the freeze marker confirms nothing; an honest one follows, whose list is cut. */
static void
run_purge_of_freeze(Server *s, const Case *self)
{
    static const Case truncated = { .argument = PURGE_TRUNCATED };
    run_receipt_of_freeze(s, &(Case){ .argument = SAMI_RECEIPT_FINAL });
    run_purge(s, &truncated);
}

/* After the last word: again, and then what nobody can believe. */
static void
run_after_final(Server *s, const Case *self)
{
    SamiRecord record = server_receipt(s, SAMI_RECEIPT_FINAL);
    server_add(s, &record);
    server_send(s, self->argument);
    server_send(s, FALSE);
    server_prepare(s, FALSE);
    server_seal(s);
    s->body->data[s->body->len - 1] ^= 1;
    server_transmit(s);
}

#define WRONG(name, stage, run, argument, reason) \
    ENDS(name, stage, run, argument, 3, "FAILED", "refused_answer_" reason "_total", "is not believed: " reason)
#define DOUBT(name, stage, run, argument, reason) \
    ENDS(name, stage, run, argument, 7, "IN-DOUBT", "refused_answer_" reason "_total", "is not believed: " reason)
#define IGNORED(name, stage, run, argument, n) \
    { name, STAGE_##stage, run, argument, END_HONEST, 0, "DONE", "answers_ignored_total", NULL, n, FALSE, FALSE }
#define LATE(name, stage, run, argument, n) \
    { name, STAGE_##stage, run, argument, END_ABORT, 4, "ABORTED", "answers_ignored_total", NULL, n, FALSE, FALSE }
#define QUICK_REFUSAL(reason, id) \
    ENDS("refused-" id, HELLO, run_refuse, SAMI_REASON_##reason, 3, "FAILED", "refused_by_peer_" id "_total", \
         "refused: " id ": because\\\\n\\\\033[2J")
#define PURGE(name, run, argument, exit) \
    { name, STAGE_SETTLE, run, argument, END_ITSELF, exit, "DONE", NULL, "\"removed\":0,", 0, TRUE, FALSE }

const Case quick_cases[] = {
    HONEST("honest", ASKED, NULL, 0),

    WRONG("reply-nonce", HELLO, run_reply, REPLY_NONCE, "protocol"),
    WRONG("reply-key", HELLO, run_reply, REPLY_KEY, "protocol"),
    WRONG("reply-version", HELLO, run_reply, REPLY_VERSION, "protocol"),
    WRONG("reply-counter-0", HELLO, run_reply, REPLY_NO_COUNTER, "protocol"),
    WRONG("reply-counter-2", HELLO, run_reply, REPLY_COUNTER, "protocol"),
    WRONG("reply-counter-huge", HELLO, run_reply, REPLY_HUGE_COUNTER, "protocol"),
    WRONG("reply-lease-0", HELLO, run_reply, REPLY_NO_LEASE, "protocol"),
    WRONG("reply-message-0", HELLO, run_reply, REPLY_NO_MESSAGE, "protocol"),
    WRONG("reply-message-short", HELLO, run_reply, REPLY_SHORT_MESSAGE, "protocol"),
    HONEST("reply-limits-huge", HELLO, run_reply, REPLY_HUGE_LIMITS),
    HONEST("reply-no-room", HELLO, run_reply, REPLY_NO_ROOM),
    WRONG("reply-twice-in-one", HELLO, run_reply_and_more, 0, "protocol"),
    WRONG("reply-and-receipt", HELLO, run_reply_and_more, SAMI_RECEIPT_SNAPSHOT, "protocol"),
    WRONG("reply-under-opening-again", HELLO, run_reply_again, 0, "wrong-session"),
    WRONG("reply-again", BOUND, run_reply_again, 0, "protocol"),
    WRONG("reply-without-id", HELLO, run_no_id, SAMI_RECORD_HELLO_REPLY, "protocol"),
    WRONG("receipt-without-id", HELLO, run_no_id, SAMI_RECORD_RECEIPT, "protocol"),
    ENDS("refusal-without-id", HELLO, run_no_id, SAMI_RECORD_REFUSAL, 3, "FAILED", "refused_by_peer_unknown-signer_total", "refused: unknown-signer"),
    WRONG("receipt-before-reply", HELLO, run_receipt, SAMI_RECEIPT_ABORTED, "protocol"),
    WRONG("refused-record-before-reply", HELLO, run_scope, SAMI_SCOPE_RECORD, "protocol"),

    QUICK_REFUSAL(NOT_SIGNED, "not-signed"),
    QUICK_REFUSAL(UNKNOWN_SIGNER, "unknown-signer"),
    QUICK_REFUSAL(WRONG_ROLE, "wrong-role"),
    QUICK_REFUSAL(WRONG_SESSION, "wrong-session"),
    QUICK_REFUSAL(WRONG_COUNTER, "wrong-counter"),
    QUICK_REFUSAL(BAD_SIGNATURE, "bad-signature"),
    QUICK_REFUSAL(TOO_LATE, "too-late"),
    QUICK_REFUSAL(MALFORMED, "malformed"),
    QUICK_REFUSAL(PEN_MISMATCH, "pen-mismatch"),
    QUICK_REFUSAL(DESTINATION_NAME, "destination-name"),
    QUICK_REFUSAL(TLS_NAME, "tls-name"),
    QUICK_REFUSAL(NOT_OWNER, "not-owner"),
    QUICK_REFUSAL(PROTOCOL, "protocol"),
    QUICK_REFUSAL(LIMIT, "limit"),
    QUICK_REFUSAL(ALREADY_READY, "already-ready"),
    QUICK_REFUSAL(JOURNAL, "journal"),
    QUICK_REFUSAL(VM_NOT_ALLOWED, "vm-not-allowed"),
    QUICK_REFUSAL(RESUME_UNAVAILABLE, "resume-unavailable"),
    QUICK_REFUSAL(REPLAYED, "replayed-migration"),
    QUICK_REFUSAL(NOT_EXPECTED, "not-expected"),
    ENDS("refused-aborted", HELLO, run_refuse, SAMI_REASON_ABORTED, 4, "ABORTED", "refused_by_peer_aborted_total", NULL),
    ENDS("refused-unknown", HELLO, run_refuse, 999, 3, "FAILED", "refused_by_peer_unknown_total", "refused: unknown: because"),
    ENDS("refused-in-follow", FOLLOW, run_refuse, SAMI_REASON_PROTOCOL, 3, "FAILED", "refused_by_peer_protocol_total", "refused: protocol"),
    ENDS("refused-in-freeze", FREEZE, run_refuse, SAMI_REASON_PROTOCOL, 7, "IN-DOUBT", "refused_by_peer_protocol_total", "refused: protocol"),
    ENDS("journal-in-freeze", FREEZE, run_refuse, SAMI_REASON_JOURNAL, 3, "FAILED", "refused_by_peer_journal_total", "refused: journal"),
    ENDS("refused-after-ready", READY, run_refuse, SAMI_REASON_KERNEL, 7, "IN-DOUBT", "refused_by_peer_kernel_total", "refused: kernel"),

    WRONG("unsigned-reply", HELLO, run_changed, SIGN_NOT, "not-signed"),
    WRONG("unsigned-receipt", SNAPSHOT, run_changed, SIGN_NOT, "not-signed"),
    WRONG("stranger-reply", HELLO, run_changed, SIGN_STRANGER, "unknown-signer"),
    WRONG("stranger-receipt", SNAPSHOT, run_changed, SIGN_STRANGER, "unknown-signer"),
    WRONG("bit-in-reply", HELLO, run_changed, SIGN_BIT, "bad-signature"),
    WRONG("bit-in-receipt", SNAPSHOT, run_changed, SIGN_BIT, "bad-signature"),
    WRONG("role-exporter", HELLO, run_changed, SIGN_ROLE_EXPORTER, "wrong-role"),
    WRONG("role-file", SNAPSHOT, run_changed, SIGN_ROLE_FILE, "wrong-role"),
    WRONG("reflected-hello", HELLO, run_changed, SIGN_REFLECTED, "wrong-role"),
    WRONG("reflected", FOLLOW, run_changed, SIGN_REFLECTED, "wrong-role"),
    WRONG("other-id", HELLO, run_changed, SIGN_ID, "wrong-session"),
    WRONG("other-id-in-follow", FOLLOW, run_changed, SIGN_ID, "wrong-session"),
    WRONG("opening-binding", SNAPSHOT, run_changed, SIGN_BINDING, "wrong-session"),
    WRONG("said-twice", FOLLOW, run_changed, SIGN_TWICE, "wrong-counter"),
    WRONG("counter-skipped", SNAPSHOT, run_changed, SIGN_SKIPPED, "wrong-counter"),
    WRONG("counter-skipped-in-reply", HELLO, run_changed, SIGN_SKIPPED, "wrong-counter"),
    WRONG("counter-back", SNAPSHOT, run_changed, SIGN_BACK, "wrong-counter"),
    WRONG("clock-of-a-late-reply", HELLO, run_changed, SIGN_LATE, "too-late"),
    WRONG("clock-beyond-reason", HELLO, run_changed, SIGN_HUGE_ELAPSED, "too-late"),
    WRONG("held-back", SNAPSHOT, run_held_back, 1200, "too-late"),
    WRONG("domain-forward", HELLO, run_changed, SIGN_DOMAIN, "malformed"),
    WRONG("domain-forward-in-follow", FOLLOW, run_changed, SIGN_DOMAIN, "malformed"),
    WRONG("sequence-number", FOLLOW, run_changed, SIGN_SEQUENCE, "malformed"),
    ENDS("version-9", HELLO, run_changed, FRAME_VERSION, 1, "FAILED", NULL, "not an IPFIX Message: version 9"),
    ENDS("length-below-header", HELLO, run_changed, FRAME_SHORT, 1, "FAILED", NULL, "length 12"),
    ENDS("length-beyond-content", HELLO, run_changed, FRAME_LONGER, 1, "FAILED", NULL, "truncated"),
    ENDS("length-of-65535", HELLO, run_changed, FRAME_HUGE, 1, "FAILED", NULL, "truncated"),
    WRONG("length-within-content", SNAPSHOT, run_changed, FRAME_SHORTER, "not-signed"),
    DOUBT("bit-in-ready", FREEZE, run_changed, SIGN_BIT, "bad-signature"),
    DOUBT("unsigned-ready", FREEZE, run_changed, SIGN_NOT, "not-signed"),
    DOUBT("opening-binding-of-ready", FREEZE, run_changed, SIGN_BINDING, "wrong-session"),
    DOUBT("bit-in-final", SETTLE, run_changed, SIGN_BIT, "bad-signature"),

    WRONG("session-from-collector", FOLLOW, run_reverse, SAMI_RECORD_SESSION, "protocol"),
    WRONG("hello-from-collector", FOLLOW, run_reverse, SAMI_RECORD_HELLO, "protocol"),
    WRONG("begin-from-collector", FOLLOW, run_reverse, SAMI_RECORD_BEGIN, "protocol"),
    WRONG("marker-from-collector", FOLLOW, run_reverse, SAMI_RECORD_MARKER, "protocol"),
    WRONG("end-from-collector", FOLLOW, run_reverse, SAMI_RECORD_END, "protocol"),
    WRONG("abort-from-collector", FOLLOW, run_reverse, SAMI_RECORD_ABORT, "protocol"),
    WRONG("refusal-scope-0", FOLLOW, run_scope, 0, "protocol"),
    WRONG("refusal-scope-9", FOLLOW, run_scope, 9, "protocol"),
    WRONG("reason-count-scope", FOLLOW, run_reason_count, COUNT_SCOPE, "protocol"),
    WRONG("reason-count-huge", FOLLOW, run_reason_count, COUNT_HUGE, "protocol"),
    WRONG("expectations-never-sent", FOLLOW, run_expectation_count, 0, "protocol"),
    HONEST("reason-count-reason", FOLLOW, run_reason_count, COUNT_REASON),
    HONEST("refusals-of-other-flows", FOLLOW, run_many_refusals, 5000),

    WRONG("receipt-phase-0", FOLLOW, run_receipt, 0, "protocol"),
    WRONG("receipt-phase-8", FOLLOW, run_receipt, 8, "protocol"),
    WRONG("receipt-phase-255", FOLLOW, run_receipt, 255, "protocol"),
    WRONG("snapshot-of-no-message", SNAPSHOT, run_receipt_ahead, SAMI_RECEIPT_SNAPSHOT, "protocol"),
    IGNORED("snapshot-of-another-message", SNAPSHOT, run_receipt_beside, SAMI_RECEIPT_SNAPSHOT, 1),
    IGNORED("snapshot-too-early", BOUND, run_receipt_beside, SAMI_RECEIPT_SNAPSHOT, 1),
    WRONG("snapshot-counts-huge", SNAPSHOT, run_counts, WRONG_HUGE, "protocol"),
    WRONG("snapshot-accepts-more", SNAPSHOT, run_counts, WRONG_ACCEPTED, "protocol"),
    IGNORED("snapshot-again", FOLLOW, run_receipt, SAMI_RECEIPT_SNAPSHOT, 3),
    WRONG("progress-beyond", FOLLOW, run_receipt_ahead, SAMI_RECEIPT_PROGRESS, "protocol"),
    IGNORED("progress-back", FOLLOW, run_progress_back, 0, 2),
    IGNORED("alive-in-follow", FOLLOW, run_receipt, SAMI_RECEIPT_ALIVE, 100),
    IGNORED("resync-in-follow", FOLLOW, run_receipt, SAMI_RECEIPT_RESYNC, 100),
    WRONG("alive-of-no-message", FOLLOW, run_receipt_ahead, SAMI_RECEIPT_ALIVE, "protocol"),
    WRONG("aborted-counts-huge", FOLLOW, run_aborted_counts, 0, "protocol"),
    ENDS("aborted-in-follow", FOLLOW, run_receipt, SAMI_RECEIPT_ABORTED, 4, "ABORTED", NULL, NULL),

    IGNORED("ready-before-freeze", FOLLOW, run_receipt, SAMI_RECEIPT_READY, 1),
    IGNORED("ready-before-snapshot", BOUND, run_receipt_beside, SAMI_RECEIPT_READY, 1),
    WRONG("ready-of-a-freeze-to-come", FOLLOW, run_receipt_ahead, SAMI_RECEIPT_READY, "protocol"),
    IGNORED("final-before-freeze", FOLLOW, run_receipt, SAMI_RECEIPT_FINAL, 1),
    WRONG("final-of-no-message", FOLLOW, run_receipt_ahead, SAMI_RECEIPT_FINAL, "protocol"),

    LATE("no-ready", FREEZE, run_progress_back, 0, 2),
    LATE("ready-of-the-snapshot", FREEZE, run_receipt_of_snapshot, SAMI_RECEIPT_READY, 1),
    LATE("ready-of-another-message", FREEZE, run_receipt_beside, SAMI_RECEIPT_READY, 1),
    LATE("final-in-place-of-ready", FREEZE, run_receipt, SAMI_RECEIPT_FINAL, 1),
    LATE("snapshot-in-place-of-ready", FREEZE, run_receipt, SAMI_RECEIPT_SNAPSHOT, 1),
    LATE("alive-in-place-of-ready", FREEZE, run_receipt, SAMI_RECEIPT_ALIVE, 1000),
    DOUBT("ready-of-no-message", FREEZE, run_receipt_ahead, SAMI_RECEIPT_READY, "protocol"),
    DOUBT("ready-one-record-less", FREEZE, run_counts, WRONG_FEWER, "protocol"),
    DOUBT("ready-one-record-more", FREEZE, run_counts, WRONG_MORE, "protocol"),
    DOUBT("ready-records-huge", FREEZE, run_counts, WRONG_HUGE, "protocol"),
    DOUBT("ready-accepts-more", FREEZE, run_counts, WRONG_ACCEPTED, "protocol"),
    DOUBT("ready-present-huge", FREEZE, run_counts, WRONG_PRESENT, "protocol"),
    DOUBT("ready-merges-more", FREEZE, run_counts, WRONG_MERGED, "protocol"),
    DOUBT("ready-refuses-more", FREEZE, run_counts, WRONG_REFUSED, "protocol"),
    DOUBT("ready-does-not-add-up", FREEZE, run_counts, WRONG_SUM, "protocol"),
    IGNORED("ready-of-an-earlier-freeze", FREEZE, run_earlier_freeze, 0, 1),
    ENDS("aborted-in-freeze", FREEZE, run_receipt, SAMI_RECEIPT_ABORTED, 4, "ABORTED", NULL, NULL),

    IGNORED("ready-again", READY, run_receipt_of_freeze, SAMI_RECEIPT_READY, 1),
    IGNORED("ready-again-for-another", READY, run_receipt_of_snapshot, SAMI_RECEIPT_READY, 1),
    IGNORED("aborted-after-ready", READY, run_receipt_of_freeze, SAMI_RECEIPT_ABORTED, 1),
    IGNORED("snapshot-after-ready", READY, run_receipt_of_snapshot, SAMI_RECEIPT_SNAPSHOT, 1),
    IGNORED("final-before-settle", READY, run_receipt_of_freeze, SAMI_RECEIPT_FINAL, 1),
    IGNORED("final-of-the-freeze", SETTLE, run_receipt_of_freeze, SAMI_RECEIPT_FINAL, 1),
    IGNORED("final-of-another-message", SETTLE, run_receipt_beside, SAMI_RECEIPT_FINAL, 1),
    DOUBT("final-of-a-marker-to-come", SETTLE, run_receipt_ahead, SAMI_RECEIPT_FINAL, "protocol"),
    DOUBT("final-one-record-less", SETTLE, run_counts, WRONG_FEWER, "protocol"),
    DOUBT("final-one-record-more", SETTLE, run_counts, WRONG_MORE, "protocol"),
    DOUBT("final-more-exact", SETTLE, run_counts, WRONG_EXACT, "protocol"),
    DOUBT("final-exact-and-degraded", SETTLE, run_counts, WRONG_DEGRADED, "protocol"),
    DOUBT("final-refuses-more", SETTLE, run_counts, WRONG_REFUSED, "protocol"),

    PURGE("purge-by-a-list-that-is-cut", run_purge, PURGE_TRUNCATED, 0),
    PURGE("purge-what-is-counted-and-not-listed", run_purge, PURGE_NOT_LISTED, 6),
    PURGE("purge-what-nothing-confirms", run_purge, PURGE_NOT_EXACT, 0),
    PURGE("purge-in-place-of-another-flow", run_purge, PURGE_OTHER_FLOW, 6),
    PURGE("purge-by-a-list-too-long", run_purge, PURGE_OVERFULL, 0),
    { "purge-of-the-freeze", STAGE_SETTLE, run_purge_of_freeze, 0, END_ITSELF, 0, "DONE", "answers_ignored_total", "\"removed\":0,", 0, TRUE, FALSE },
    { "purge", STAGE_SETTLE, NULL, 0, END_HONEST, 0, "DONE", NULL, NULL, 0, TRUE, TRUE },
    { "purge-and-more-answers", STAGE_SETTLE, run_after_final, FALSE, END_ITSELF, 0, "DONE", "answers_ignored_total", NULL, 2, TRUE, TRUE },
    { "purge-and-more-after-the-last", STAGE_SETTLE, run_after_final, TRUE, END_ITSELF, 0, "DONE", "answers_ignored_total", NULL, 2, TRUE, TRUE },
    { NULL, 0, NULL, 0, 0, 0, NULL, NULL, NULL, 0, FALSE, FALSE },
};
