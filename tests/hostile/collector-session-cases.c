/* Sessions that end, are resumed or begun anew, and that nobody answers in, or that are flooded. */
#include <openssl/ssl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/hostile/collector-cases.h"

static void
run_close(Server *s, const Case *self)
{
    server_close(s, (Close) self->argument);
}

enum { RESUME_BEYOND, RESUME_NO_COUNTER, RESUME_RECEIPT_FIRST, RESUME_REFUSED, RESUME_UNKNOWN, RESUME_ABORTED, RESUME_NONCE };

static void
run_resume(Server *s, const Case *self)
{
    guint64 next = s->stream->counter_in;
    SamiRecord record;
    server_close(s, CLOSE_ORDERLY);
    server_accept(s);
    switch (self->argument) {
    case RESUME_BEYOND: server_resume(s, next + 1000); return;
    case RESUME_NO_COUNTER: server_resume(s, 0); return;
    case RESUME_NONCE:
        record = server_hello_reply(s);
        record.hello_reply.next_counter = next;
        record.hello_reply.nonce_e[31] ^= 1;
        break;
    case RESUME_RECEIPT_FIRST: record = server_receipt(s, SAMI_RECEIPT_READY); break;
    default:
        record = (SamiRecord){ .kind = SAMI_RECORD_REFUSAL, .refusal = { .scope = SAMI_SCOPE_MESSAGE } };
        record.refusal.reason = self->argument == RESUME_REFUSED   ? SAMI_REASON_NOT_OWNER
                                : self->argument == RESUME_UNKNOWN ? SAMI_REASON_RESUME_UNAVAILABLE
                                                                   : SAMI_REASON_ABORTED;
    }
    server_say(s, &record);
}

/* Comes back each time before the lease of a loss is over, and ends the session before the lease of an answer is. argument: how often at most */
static void
run_come_and_go(Server *s, const Case *self)
{
    guint64 next = s->stream->counter_in;
    for (gint i = 0; i < self->argument; i++) {
        server_close(s, CLOSE_ORDERLY);
        server_accept(s);
        server_resume(s, next);
        for (gint64 end = g_get_monotonic_time() + 3 * G_USEC_PER_SEC; g_get_monotonic_time() < end; g_usleep(20000)) {
            g_autofree gchar *phase = lab_phase(s->lab, s->id);
            if (g_str_equal(phase, self->phase))
                return;
        }
    }
    die("it has come and gone %d times, and the exporter waits on", self->argument);
}

/* Refused as too-late, and the session is left open: the exporter ends it, and comes again. */
static void
run_too_late(Server *s, const Case *self)
{
    SamiRecord record = { .kind = SAMI_RECORD_REFUSAL, .refusal = { .scope = SAMI_SCOPE_MESSAGE, .reason = SAMI_REASON_TOO_LATE } };
    guint64 next = s->stream->counter_in;
    server_add(s, &record);
    server_send(s, TRUE);
    SSL *ssl = s->ssl;
    int fd = s->fd; /* stands until the new one does */
    s->ssl = NULL;
    g_clear_pointer(&s->stream, sami_stream_free);
    sami_tls_verdict_clear(&s->verdict);
    s->verdict = (SamiTlsVerdict){ 0 };
    g_byte_array_set_size(s->in, 0);
    server_accept(s);
    server_resume(s, next);
    close(fd);
    SSL_free(ssl);
}

/* The same again and again, where the first one was to be the last word; then it is honest in another session. argument: how many */
static void
run_too_late_often(Server *s, const Case *self)
{
    SamiRecord record = { .kind = SAMI_RECORD_REFUSAL, .refusal = { .scope = SAMI_SCOPE_MESSAGE, .reason = SAMI_REASON_TOO_LATE } };
    guint64 next = s->stream->counter_in;
    for (gint i = 0; i < self->argument; i++)
        server_say(s, &record);
    server_close(s, CLOSE_ORDERLY);
    server_accept(s);
    server_resume(s, next);
}

/* What means nothing, as fast as it is taken, until somebody else is done: the file says so. */
static void
run_flood(Server *s, const Case *self)
{
    g_autofree gchar *stop = g_strdup_printf("%s.stop", s->lab->config->path);
    SamiRecord record = server_receipt(s, SAMI_RECEIPT_ALIVE);
    record.receipt.marker_counter = 1;
    lab_say("floods");
    while (!g_file_test(stop, G_FILE_TEST_EXISTS))
        for (guint i = 0; i < 256; i++)
            server_say(s, &record);
}

/* New keys, and for each of them the exporter is to take some of its own; then it is honest in another session. argument: how often, if it is let */
static void
run_rekeying(Server *s, const Case *self)
{
    guint64 next = s->stream->counter_in;
    for (gint i = 0; i < self->argument && SSL_key_update(s->ssl, SSL_KEY_UPDATE_REQUESTED) == 1 && SSL_do_handshake(s->ssl) == 1; i++)
        ;
    server_close(s, CLOSE_TCP);
    server_accept(s);
    server_resume(s, next);
}

static void
answer_alive(Server *s)
{
    SamiRecord record = server_receipt(s, SAMI_RECEIPT_ALIVE);
    guint64 was = s->markers[SAMI_MARKER_ALIVE];
    server_wait(s, &s->markers[SAMI_MARKER_ALIVE], was);
    record.receipt.marker_counter = s->markers[SAMI_MARKER_ALIVE];
    server_say(s, &record);
}

/* A standby asks for everything anew, and anew; each dump of a large table takes the source's kernel a while. argument: how often */
static void
run_resync(Server *s, const Case *self)
{
    SamiRecord record = server_receipt(s, SAMI_RECEIPT_RESYNC);
    guint64 was = s->n_epochs;
    record.receipt.marker_counter = 1;
    for (gint i = 0; i < self->argument; i++)
        server_say(s, &record);
    while (s->n_epochs == was)
        answer_alive(s);
    for (guint i = 0; i < 2; i++)
        answer_alive(s);
    if (s->n_epochs - was > 4)
        die("asked for it %d times, the exporter began %" G_GUINT64_FORMAT " dumps in three seconds", self->argument, s->n_epochs - was);
}

/* The connection is accepted, and nobody answers its TLS. */
static void
run_half_open(Server *s, const Case *self)
{
    struct pollfd ready = { .fd = s->lab->listener, .events = POLLIN };
    if (poll(&ready, 1, 10000) != 1 || (s->fd = accept(s->lab->listener, NULL, NULL)) < 0)
        die("the exporter does not come");
}

/* Not asked for receipts, it gives some. */
static void
run_plain(Server *s, const Case *self)
{
    const gchar *arguments[] = { "freeze", s->id, NULL };
    SamiRecord record = server_hello_reply(s);
    server_say(s, &record);
    record = server_receipt(s, SAMI_RECEIPT_READY);
    server_say(s, &record);
    lab_wait_phase(s->lab, s->id, "FOLLOW");
    s->freeze = lab_run(s->lab, NULL, arguments);
}

/* Reads nothing more, until the exporter has had enough and comes again; what it could not keep is lost. */
static void
run_read_nothing(Server *s, const Case *self)
{
    struct pollfd ready = { .fd = s->lab->listener, .events = POLLIN };
    guint64 next = s->stream->counter_in;
    lab_say("reads nothing");
    if (poll(&ready, 1, 60000) != 1)
        die("the exporter does not give the session up");
    server_close(s, CLOSE_RESET);
    server_accept(s);
    server_resume(s, next);
    s->has_gap = TRUE;
}

/* It has not read begin when the session is lost, so there is nothing that could be resumed; the exporter begins with its first Message. */
static void
run_begun_anew(Server *s, const Case *self)
{
    SamiRecord record = { .kind = SAMI_RECORD_REFUSAL, .refusal = { .scope = SAMI_SCOPE_MESSAGE, .reason = SAMI_REASON_RESUME_UNAVAILABLE } };
    server_close(s, CLOSE_ORDERLY);
    server_accept(s);
    if (s->hello.opening != SAMI_OPENING_RESUME)
        die("the exporter does not resume");
    server_add(s, &record);
    server_send(s, TRUE);
    server_close(s, CLOSE_ORDERLY);
    server_accept(s);
    if (s->hello.opening != SAMI_OPENING_NEW)
        die("the exporter does not begin anew");
    memset(s->markers, 0, sizeof s->markers);
    s->n_records = s->n_begun = s->n_markers = 0;
    g_hash_table_remove_all(s->flows);
    s->stage = STAGE_HELLO;
}

const Case session_cases[] = {
    ENDS("closed-before-reply", HELLO, run_close, CLOSE_ORDERLY, 1, "FAILED", NULL, "closed the session"),
    ENDS("reset-before-reply", HELLO, run_close, CLOSE_RESET, 1, "FAILED", NULL, NULL),
    ENDS("resumed-beyond", FOLLOW, run_resume, RESUME_BEYOND, 3, "FAILED", "refused_answer_protocol_total", "is not believed: protocol"),
    ENDS("resumed-at-0", FOLLOW, run_resume, RESUME_NO_COUNTER, 3, "FAILED", "refused_answer_protocol_total", "is not believed: protocol"),
    ENDS("resumed-for-another-hello", FOLLOW, run_resume, RESUME_NONCE, 3, "FAILED", "refused_answer_protocol_total", "is not believed: protocol"),
    ENDS("resume-refused", FOLLOW, run_resume, RESUME_REFUSED, 3, "FAILED", "refused_by_peer_not-owner_total", "refused: not-owner"),
    ENDS("resume-unknown", FOLLOW, run_resume, RESUME_UNKNOWN, 3, "FAILED", "refused_by_peer_resume-unavailable_total", "refused: resume-unavailable"),
    { "begin-was-lost", STAGE_SNAPSHOT, run_begun_anew, 0, END_HONEST, 0, "DONE", "refused_by_peer_resume-unavailable_total", NULL, 0, FALSE, FALSE },
    ENDS("resume-rolled-back", FOLLOW, run_resume, RESUME_ABORTED, 4, "ABORTED", "refused_by_peer_aborted_total", "refused: aborted"),
    ENDS("resumed-beyond-in-freeze", FREEZE, run_resume, RESUME_BEYOND, 7, "IN-DOUBT", "refused_answer_protocol_total", "is not believed: protocol"),
    ENDS("ready-before-resumed", FREEZE, run_resume, RESUME_RECEIPT_FIRST, 7, "IN-DOUBT", "refused_answer_protocol_total", "is not believed: protocol"),
    ENDS("resume-refused-in-freeze", FREEZE, run_resume, RESUME_REFUSED, 7, "IN-DOUBT", "refused_by_peer_not-owner_total", "refused: not-owner"),
    ENDS("resume-rolled-back-after-ready", SETTLE, run_resume, RESUME_ABORTED, 7, "IN-DOUBT", "refused_by_peer_aborted_total", "refused: aborted"),
    { NULL, 0, NULL, 0, 0, 0, NULL, NULL, NULL, 0, FALSE, FALSE },
};

/* They wait for the end of max-delay, a lease or a connection; with those of the configuration that the test writes. */
const Case slow_cases[] = {
    ENDS("no-tls", ASKED, run_half_open, 0, 1, "FAILED", NULL, "the handshake took too long"),
    ENDS("no-reply", HELLO, NULL, 0, 1, "FAILED", NULL, "has not answered the hello"),
    ENDS("no-snapshot", SNAPSHOT, NULL, 0, 1, "FAILED", NULL, "has not answered the snapshot marker"),
    ENDS("no-final", SETTLE, NULL, 0, 7, "IN-DOUBT", NULL, "has not answered the settle marker"),
    ENDS("comes-and-goes", SETTLE, run_come_and_go, 6, 7, "IN-DOUBT", NULL, "has not answered the settle marker"),
    { "no-aborted", STAGE_FOLLOW, NULL, 0, END_HELD, 1, "FAILED", NULL, "has not answered the abort", 0, FALSE, FALSE },
    { "no-aborted-in-freeze", STAGE_FREEZE, NULL, 0, END_HELD, 7, "IN-DOUBT", NULL, "has not answered the abort", 0, FALSE, FALSE },
    ENDS("closed-in-prepare", BOUND, run_close, CLOSE_ORDERLY, 1, "FAILED", NULL, "did not come back"),
    ENDS("closed-in-follow", FOLLOW, run_close, CLOSE_TCP, 1, "FAILED", NULL, "rolls back by itself (TLS: "),
    ENDS("closed-in-freeze", FREEZE, run_close, CLOSE_ORDERLY, 7, "IN-DOUBT", NULL, "did not come back"),
    ENDS("reset-in-freeze", FREEZE, run_close, CLOSE_RESET, 7, "IN-DOUBT", NULL, "did not come back"),
    ENDS("closed-after-ready", READY, run_close, CLOSE_TCP, 7, "IN-DOUBT", NULL, "did not come back"),
    ENDS("reset-in-settle", SETTLE, run_close, CLOSE_RESET, 7, "IN-DOUBT", NULL, "did not come back"),
    { "too-late-and-open", STAGE_FOLLOW, run_too_late, 0, END_HONEST, 0, "DONE", NULL, NULL, 0, FALSE, FALSE },
    HONEST("too-late-often", FOLLOW, run_too_late_often, 5000),
    HONEST("rekeying", FOLLOW, run_rekeying, 200000),
    { "floods", STAGE_FOLLOW, run_flood, 0, END_ABORT, 4, "ABORTED", NULL, NULL, 0, FALSE, FALSE, NULL },
    { "resync-often", STAGE_FOLLOW, run_resync, 5000, END_ITSELF, 0, "FOLLOW", NULL, NULL, 0, FALSE, FALSE, "replicate" },
    { "check-reads-nothing", STAGE_HELLO, run_reply, REPLY_HUGE_LIMITS, END_ITSELF, 21, "none", NULL, "it has not taken all sessions within the lease", 0, FALSE,
      FALSE, "check" },
    ENDS("plain-answers", HELLO, run_plain, 0, 8, "DONE", NULL, "unconfirmed"),
    { "reads-nothing", STAGE_FOLLOW, run_read_nothing, 0, END_HONEST, 0, "DONE", NULL, NULL, 0, FALSE, FALSE },
    { NULL, 0, NULL, 0, 0, 0, NULL, NULL, NULL, 0, FALSE, FALSE },
};
