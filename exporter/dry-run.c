/* The Transport Session of a check: the opening of PROTOCOL §3 with samiOpening 3, then the VM's addresses, begin, its sessions and one
 * marker; what comes back is the collector's answer. Same keys, same verification and same records as of a migration. */
#include "exporter/exporter.h"

#include <string.h>

typedef enum {
    WAITING, /* for OPEN */
    GREETED, /* the hello is out */
    BOUND,
    ASKED,   /* the marker is out */
    OVER,
} State;

struct SamiDryRun {
    SamiExporter *exporter;
    const SamiConfig *config;   /* a reference */
    const SamiConfigPeer *peer; /* in `config` */
    GPtrArray *peer_keys;       /* of SamiKey */
    GArray *vm;                 /* (nullable) */
    SamiDryRunOps ops;
    gpointer user_data;
    guint32 request;
    State state;
    SamiSessionSocket *socket;
    GSource *source;
    gpointer tag;
    SamiFrameOpen open;
    SamiStream *stream;
    GQueue out;                 /* of GBytes: signed Messages */
    gsize n_out;                /* octets of them */
    guint64 n_sent;             /* session records */
    guint64 marker_counter;
    guint n_answers;
    gboolean has_closed;        /* the end of writing is out */
    gint64 hello_s;             /* our wall clock when it was sent */
    guint timer;
    SamiAnswerUnder under;      /* of the Message that is being read */
    gint64 export_s;            /* its Export Time */
};

static guint64
now_ms(void)
{
    return (guint64) (g_get_monotonic_time() / 1000);
}

static gint64
now_s(void)
{
    return g_get_real_time() / G_USEC_PER_SEC;
}

static void
close_socket(SamiDryRun *run)
{
    if (run->source) {
        g_source_destroy(run->source);
        g_clear_pointer(&run->source, g_source_unref);
    }
    g_clear_pointer(&run->socket, sami_session_socket_free);
    g_clear_handle_id(&run->timer, g_source_remove);
}

static void
end(SamiDryRun *run, SamiDryRunEnd how, SamiReason reason, const gchar *text)
{
    if (run->state == OVER)
        return;
    run->state = OVER;
    run->ops.ended(how, reason, text, run->user_data);
}

static void
disbelieve(SamiDryRun *run, SamiReason reason, const gchar *why)
{
    sami_exporter_count_disbelief(run->exporter, reason, why);
    end(run, SAMI_DRY_RUN_DISBELIEVED, reason, why);
}

static gboolean
on_timeout(gpointer user_data)
{
    SamiDryRun *run = user_data;
    const gchar *text = run->state == ASKED  ? "no answer within the lease"
                        : run->state == BOUND ? "it has not taken all sessions within the lease"
                                              : "no answer to the hello within max-delay";
    run->timer = 0;
    run->exporter->n_answers_missing++;
    end(run, SAMI_DRY_RUN_SILENT, SAMI_REASON_NONE, text);
    close_socket(run);
    return G_SOURCE_REMOVE;
}

static void
wait_for(SamiDryRun *run, guint ms)
{
    g_clear_handle_id(&run->timer, g_source_remove);
    run->timer = g_timeout_add(ms, on_timeout, run);
}

/* --- out --- */

static void
write_out(SamiDryRun *run)
{
    gboolean was_full = sami_dry_run_is_full(run);
    while (run->socket && !g_queue_is_empty(&run->out)) {
        gsize length;
        const guint8 *data = g_bytes_get_data(g_queue_peek_head(&run->out), &length);
        if (!sami_session_socket_send(run->socket, SAMI_FRAME_MESSAGE, data, length, NULL)) /* full, or the reader tells */
            break;
        g_bytes_unref(g_queue_pop_head(&run->out));
        run->n_out -= length;
        run->exporter->n_messages++;
        run->exporter->n_octets += length;
    }
    if (run->socket && g_queue_is_empty(&run->out) && run->state == ASKED && !run->has_closed)
        run->has_closed = sami_session_socket_send(run->socket, SAMI_FRAME_CLOSE, NULL, 0, NULL);
    if (run->source)
        g_source_modify_unix_fd(run->source, run->tag, G_IO_IN | (g_queue_is_empty(&run->out) && (run->state != ASKED || run->has_closed) ? 0 : G_IO_OUT));
    if (was_full && !sami_dry_run_is_full(run) && run->state == BOUND)
        run->ops.drained(run->user_data);
}

static void
flush(SamiDryRun *run, gboolean is_last)
{
    const guint8 *message;
    gsize length;
    g_autoptr(GError) error = NULL;
    if (!sami_stream_take(run->stream, now_ms(), (guint32) now_s(), is_last, &message, &length, &error)) {
        end(run, SAMI_DRY_RUN_NO_SESSION, SAMI_REASON_NONE, error->message);
        return;
    }
    g_queue_push_tail(&run->out, g_bytes_new(message, length));
    run->n_out += length;
}

static void
add(SamiDryRun *run, const SamiRecord *record)
{
    g_autoptr(GError) error = NULL;
    if (run->state == OVER || sami_encoder_add(run->stream->encoder, record, &error))
        return;
    if (g_error_matches(error, SAMI_ERROR, SAMI_ERROR_FULL)) {
        flush(run, FALSE);
        write_out(run);
        g_clear_error(&error);
        if (sami_encoder_add(run->stream->encoder, record, &error))
            return;
    }
    end(run, SAMI_DRY_RUN_NO_SESSION, SAMI_REASON_NONE, error->message);
}

static void
say_hello(SamiDryRun *run)
{
    SamiRecord record = { .kind = SAMI_RECORD_HELLO };
    run->stream = sami_stream_new(SAMI_ROLE_EXPORTER, run->exporter->key, run->open.ekm, run->open.message_max, now_ms(), run->config->max_delay_ms);
    run->stream->peer_keys = run->peer_keys;
    sami_random(run->stream->migration_id, 16);
    sami_random(run->stream->nonce_e, 32);
    record.hello = (SamiHello){ .version = 1, .pen = SAMI_PEN, .opening = SAMI_OPENING_CHECK };
    memcpy(record.hello.nonce, run->stream->nonce_e, 32);
    sami_key_public(run->stream->key, record.hello.public_key);
    g_strlcpy(record.hello.destination, run->peer->name, sizeof record.hello.destination);
    run->state = GREETED;
    run->hello_s = now_s();
    add(run, &record);
    flush(run, FALSE);
    write_out(run);
    wait_for(run, run->config->max_delay_ms + 1);
}

static void
say_begin(SamiDryRun *run)
{
    SamiRecord begin = { .kind = SAMI_RECORD_BEGIN, .begin = { .n_addresses = (guint16) run->vm->len, .kinds = SAMI_KIND_SESSION } };
    for (guint i = 0; i < run->vm->len; i++) {
        SamiRecord record = { .vm_address = g_array_index(run->vm, SamiPrefix, i) };
        record.kind = record.vm_address.family == 4 ? SAMI_RECORD_VM_ADDRESS4 : SAMI_RECORD_VM_ADDRESS6;
        add(run, &record);
    }
    begin.begin.lease_s = run->config->lease_s;
    g_strlcpy(begin.begin.destination, run->peer->name, sizeof begin.begin.destination);
    add(run, &begin);
    flush(run, FALSE);
    write_out(run);
}

void
sami_dry_run_add(SamiDryRun *run, const SamiSession *session)
{
    SamiRecord record = { .kind = SAMI_RECORD_SESSION, .session = *session };
    if (run->state != BOUND)
        return;
    run->n_sent++;
    add(run, &record);
}

gboolean
sami_dry_run_is_full(const SamiDryRun *run)
{
    return run->n_out >= SAMI_UNSENT_MAX;
}

void
sami_dry_run_finish(SamiDryRun *run)
{
    SamiRecord record = { .kind = SAMI_RECORD_MARKER, .marker = { SAMI_MARKER_SNAPSHOT, run->n_sent, SAMI_FREEZE_EVENTS } };
    if (run->state != BOUND)
        return;
    add(run, &record);
    run->marker_counter = run->stream->counter_out;
    flush(run, TRUE);
    if (run->state == OVER)
        return;
    run->state = ASKED;
    write_out(run);
    wait_for(run, run->config->lease_s * 1000);
}

/* --- in --- */

gint64
sami_dry_run_skew(gint64 sent_s, gint64 received_s, gint64 export_s)
{
    return export_s > received_s ? export_s - received_s : export_s < sent_s ? export_s - sent_s : 0;
}

static void
on_hello_reply(SamiDryRun *run, const SamiHelloReply *reply)
{
    g_autofree gchar *doubt = sami_answer_doubt_hello_reply(run->stream, reply, run->open.message_max);
    if (doubt || reply->next_counter != 1) {
        disbelieve(run, SAMI_REASON_PROTOCOL, doubt ? doubt : "the hello-reply asks for another Message than the next one");
        return;
    }
    memcpy(run->stream->nonce_c, reply->nonce_c, 32);
    sami_stream_bind(run->stream, run->peer->name);
    g_clear_handle_id(&run->timer, g_source_remove);
    run->state = BOUND;
    if (!run->vm) {
        run->ops.bound(sami_dry_run_skew(run->hello_s, now_s(), run->export_s), run->user_data);
        run->state = OVER;
        sami_session_socket_send(run->socket, SAMI_FRAME_CLOSE, NULL, 0, NULL);
        return;
    }
    wait_for(run, run->config->lease_s * 1000); /* as long as an honest one waits for them (PROTOCOL §3) */
    say_begin(run);
    if (run->state == BOUND)
        run->ops.bound(sami_dry_run_skew(run->hello_s, now_s(), run->export_s), run->user_data);
}

/* Every count is of records that were sent, and the receipt is of all of them. */
static gboolean
is_possible(const SamiDryRun *run, const SamiRecord *record)
{
    const SamiReceipt *r = &record->receipt;
    switch (record->kind) {
    case SAMI_RECORD_FINDING: return record->finding.severity >= SAMI_SEVERITY_NOTE && record->finding.severity <= SAMI_SEVERITY_LOSS;
    case SAMI_RECORD_REFUSAL: return record->refusal.scope == SAMI_SCOPE_RECORD || record->refusal.scope == SAMI_SCOPE_DEGRADED;
    case SAMI_RECORD_REASON_COUNT:
        return (record->reason_count.scope == SAMI_SCOPE_RECORD || record->reason_count.scope == SAMI_SCOPE_DEGRADED) &&
               record->reason_count.count <= run->n_sent;
    case SAMI_RECORD_RECEIPT:
        return r->phase == SAMI_RECEIPT_CHECKED && r->marker_counter == run->marker_counter && r->n_records == run->n_sent &&
               r->n_refused <= run->n_sent && r->n_merged <= run->n_sent - r->n_refused &&
               r->n_accepted == run->n_sent - r->n_refused - r->n_merged && r->n_exact <= r->n_accepted &&
               r->n_degraded == r->n_accepted - r->n_exact;
    default: return FALSE;
    }
}

static void
on_record(const SamiRecord *record, gpointer user_data)
{
    SamiDryRun *run = user_data;
    if (run->state == OVER)
        return;
    if (record->kind == SAMI_RECORD_REFUSAL && record->refusal.scope == SAMI_SCOPE_MESSAGE) {
        g_autofree gchar *detail = g_strndup(record->refusal.detail, sizeof record->refusal.detail);
        SamiReason reason = record->refusal.reason < SAMI_N_REASONS ? (SamiReason) record->refusal.reason : SAMI_REASON_NONE;
        run->exporter->n_refused_by_peer[reason]++;
        end(run, SAMI_DRY_RUN_REFUSED, reason, detail);
    } else if (run->state == GREETED && run->under == SAMI_UNDER_OPENING && record->kind == SAMI_RECORD_HELLO_REPLY) {
        on_hello_reply(run, &record->hello_reply);
    } else if (run->state != ASKED || !is_possible(run, record)) {
        disbelieve(run, SAMI_REASON_PROTOCOL, "an answer that cannot be");
    } else if (++run->n_answers > SAMI_FINDINGS_MAX) {
        disbelieve(run, SAMI_REASON_LIMIT, "more findings than anybody has");
    } else {
        if (record->kind == SAMI_RECORD_RECEIPT)
            run->state = OVER;
        run->ops.answered(record, run->user_data);
    }
}

static void
on_message(SamiDryRun *run, guint8 *message, gsize length)
{
    SamiReason reason = SAMI_REASON_MALFORMED;
    gboolean is_last, is_bound = run->state == BOUND || run->state == ASKED;
    g_autoptr(GError) error = NULL;
    if (run->state == WAITING || run->state == OVER)
        return;
    gboolean is_valid = sami_answer_verify(run->stream, is_bound, message, length, now_ms(), &run->under, &reason, &is_last, &error);
    if (is_valid) {
        run->export_s = (gint64) ((guint32) message[4] << 24 | (guint32) message[5] << 16 | (guint32) message[6] << 8 | message[7]);
        is_valid = sami_stream_decode(run->stream, message, length, on_record, run, &error);
        reason = g_error_matches(error, SAMI_ERROR, SAMI_ERROR_PEN) ? SAMI_REASON_PEN_MISMATCH : SAMI_REASON_MALFORMED;
    }
    if (!is_valid)
        disbelieve(run, reason, error->message);
}

static void
on_frame(SamiDryRun *run, SamiFrameType type, guint8 *payload, gsize length)
{
    g_autoptr(GError) error = NULL;
    g_autofree gchar *text = NULL;
    switch (type) {
    case SAMI_FRAME_OPEN:
        if (run->state != WAITING || !sami_frame_open_parse(payload, length, &run->open, &error))
            end(run, SAMI_DRY_RUN_NO_SESSION, SAMI_REASON_NONE, error ? error->message : "two OPEN frames");
        else
            say_hello(run);
        return;
    case SAMI_FRAME_MESSAGE: on_message(run, payload, length); return;
    case SAMI_FRAME_CLOSE: end(run, SAMI_DRY_RUN_SILENT, SAMI_REASON_NONE, "it closed the session without an answer"); return;
    default:
        text = g_strndup((const gchar *) payload, MIN(length, 1024));
        end(run, SAMI_DRY_RUN_NO_SESSION, SAMI_REASON_NONE, text);
    }
}

static gboolean
on_ready(GIOCondition condition, gpointer user_data)
{
    SamiDryRun *run = user_data;
    if (condition & G_IO_OUT)
        write_out(run);
    for (guint i = 0; run->state != OVER && run->socket && i < 16; i++) {
        SamiFrameType type;
        guint8 *payload;
        gsize length;
        g_autoptr(GError) error = NULL;
        SamiReceive receive = sami_session_socket_receive(run->socket, &type, &payload, &length, &error);
        if (receive == SAMI_RECEIVE_AGAIN)
            break;
        if (receive == SAMI_RECEIVE_FRAME)
            on_frame(run, type, payload, length);
        else
            end(run, SAMI_DRY_RUN_NO_SESSION, SAMI_REASON_NONE, error ? error->message : "the connector closed the session");
    }
    if (run->state == OVER)
        close_socket(run);
    return run->source != NULL;
}

const SamiStream *
sami_dry_run_stream(const SamiDryRun *run)
{
    return run->stream;
}

gboolean
sami_dry_run_attach(SamiDryRun *run, guint32 request, int fd)
{
    if (run->request != request || run->socket || run->state != WAITING)
        return FALSE;
    run->socket = sami_session_socket_new(fd);
    run->source = sami_fd_source_new(fd, G_IO_IN, on_ready, run, &run->tag);
    return TRUE;
}

SamiDryRun *
sami_dry_run_new(SamiExporter *exporter, const SamiConfigPeer *peer, const GArray *vm, const SamiDryRunOps *ops, gpointer user_data, GError **error)
{
    GPtrArray *peer_keys = sami_keys_load_public(peer->signing_key_file, SAMI_TRUST_PUBLIC, error);
    if (!peer_keys)
        return NULL;
    SamiDryRun *run = g_new0(SamiDryRun, 1);
    run->exporter = exporter;
    run->config = sami_config_ref(exporter->config);
    run->peer = peer;
    run->peer_keys = peer_keys;
    run->vm = vm ? g_array_copy((GArray *) vm) : NULL;
    run->ops = *ops;
    run->user_data = user_data;
    run->request = ++exporter->last_request;
    g_queue_init(&run->out);
    if (sami_channel_send(exporter->channel, SAMI_CHANNEL_CONNECT, run->request, peer->name, -1, error))
        return run;
    sami_dry_run_free(run);
    return NULL;
}

void
sami_dry_run_free(SamiDryRun *run)
{
    if (!run)
        return;
    run->state = OVER;
    close_socket(run);
    sami_stream_free(run->stream);
    g_ptr_array_unref(run->peer_keys);
    g_clear_pointer(&run->vm, g_array_unref);
    g_queue_clear_full(&run->out, (GDestroyNotify) g_bytes_unref);
    sami_config_unref(run->config);
    g_free(run);
}
