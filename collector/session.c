#include <glib-unix.h>
#include <string.h>

#include "collector/collector.h"

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

static void
drop(SamiCollectorSession *session)
{
    if (!session->source)
        return;
    g_source_destroy(session->source);
    g_clear_pointer(&session->source, g_source_unref);
    if (session->migration)
        sami_collector_migration_detach(session->migration);
    session->migration = NULL;
    g_idle_add(free_later, session);
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
                drop(session);
            return;
        }
        g_bytes_unref(g_queue_pop_head(&session->out));
    }
    if (session->is_closing) {
        sami_session_socket_send(session->socket, SAMI_FRAME_CLOSE, NULL, 0, NULL);
        if (session->is_peer_done || session->refusal != SAMI_REASON_NONE)
            drop(session);
    }
}

void
sami_collector_session_update(SamiCollectorSession *session)
{
    if (!session->source)
        return;
    GIOCondition condition = G_IO_HUP;
    if (sami_injector_pending(session->collector->injector) < SAMI_INJECTOR_HIGH)
        condition |= G_IO_IN;
    if (!g_queue_is_empty(&session->out))
        condition |= G_IO_OUT;
    g_source_modify_unix_fd(session->source, session->tag, condition);
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
        drop(session);
        return;
    }
    g_queue_push_tail(&session->out, g_bytes_new(message, length));
    session->is_closing |= is_last;
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
    drop(session);
}

/* One signed refusal, then the end of the session (PROTOCOL §4). */
static void
refuse(SamiCollectorSession *session, SamiReason reason, const gchar *detail)
{
    SamiRecord record = { .kind = SAMI_RECORD_REFUSAL };
    session->refusal = reason;
    session->collector->refused_messages[reason]++;
    g_warning("%s (%s): session refused: %s: %s", *session->open.name ? session->open.name : "?", session->open.address,
              sami_reason_id(reason), detail ? detail : sami_reason_text(reason));
    if (!session->stream) /* not even a signature to answer to: migration id zero */
        session->stream = sami_stream_new(SAMI_ROLE_COLLECTOR, session->collector->key, session->open.ekm, SAMI_MESSAGE_MAX, now_ms(), 0);
    record.refusal.scope = SAMI_SCOPE_MESSAGE;
    record.refusal.reason = (guint16) reason;
    record.refusal.counter = session->counter;
    g_strlcpy(record.refusal.detail, detail ? detail : sami_reason_text(reason), sizeof record.refusal.detail);
    sami_collector_session_add(session, &record);
    sami_collector_session_flush(session, TRUE);
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
    if (hello->opening != 1)
        return stop(session, SAMI_REASON_RESUME_UNAVAILABLE, NULL);
    session->has_hello = TRUE;
    sami_random(session->stream->nonce_c, sizeof session->stream->nonce_c);
    memcpy(session->stream->nonce_e, hello->nonce, sizeof hello->nonce);
    reply.hello_reply.version = 1;
    memcpy(reply.hello_reply.nonce_e, hello->nonce, 32);
    memcpy(reply.hello_reply.nonce_c, session->stream->nonce_c, 32);
    sami_key_public(session->collector->key, reply.hello_reply.public_key);
    reply.hello_reply.next_counter = session->counter + 1;
    reply.hello_reply.lease_s = config->lease_s;
    reply.hello_reply.message_max = session->open.message_max;
    reply.hello_reply.sessions_max = session->signer->config->max_sessions;
    sami_collector_session_add(session, &reply);
    sami_collector_session_flush(session, FALSE);
    sami_stream_bind(session->stream, config->name);
}

static void
on_vm_address(SamiCollectorSession *session, const SamiPrefix *prefix)
{
    gboolean is_allowed = FALSE;
    GArray *allowed = session->signer->allow_prefixes;
    SamiPrefix parsed;
    g_autofree gchar *text = sami_prefix_to_string(prefix);
    if (!session->has_hello || session->migration || session->vm->len >= SAMI_VM_ADDRESSES_MAX)
        return stop(session, SAMI_REASON_PROTOCOL, NULL);
    if (prefix->length > (prefix->family == 4 ? 32 : 128) || !sami_prefix_parse(text, &parsed, NULL))
        return stop(session, SAMI_REASON_MALFORMED, "vm-address with bits beyond its length");
    for (guint i = 0; i < allowed->len; i++)
        is_allowed |= sami_prefix_covers(&g_array_index(allowed, SamiPrefix, i), prefix);
    if (!is_allowed || !sami_address_is_ordinary(prefix->family, &prefix->address))
        return stop(session, SAMI_REASON_VM_NOT_ALLOWED, text);
    g_array_append_val(session->vm, *prefix);
}

static void
on_begin(SamiCollectorSession *session, const SamiBegin *begin)
{
    SamiReason reason = SAMI_REASON_PROTOCOL;
    if (!session->has_hello || session->migration || session->vm->len == 0 || begin->n_addresses != session->vm->len)
        return stop(session, reason, "begin does not fit what came before it");
    session->migration = sami_collector_migration_new(session, begin, &reason);
    if (!session->migration)
        stop(session, reason, NULL);
}

static void
flush_batch(SamiCollectorSession *session)
{
    if (session->batch->len > 0)
        sami_collector_migration_records(session->migration, session->batch, session->counter);
    g_array_set_size(session->batch, 0);
}

static void
on_session_record(SamiCollectorSession *session, const SamiSession *record)
{
    SamiApplyItem item = { .session = *record };
    item.reason = (guint16) sami_validate_session(record, &session->migration->policy);
    if (item.reason != SAMI_REASON_NONE)
        session->collector->refused_records[item.reason]++;
    g_array_append_val(session->batch, item);
}

static void
on_record(const SamiRecord *record, gpointer user_data)
{
    SamiCollectorSession *session = user_data;
    SamiCollectorMigration *migration = session->migration;
    if (session->refusal != SAMI_REASON_NONE || !session->source)
        return;
    switch (record->kind) {
    case SAMI_RECORD_HELLO: on_hello(session, &record->hello); return;
    case SAMI_RECORD_VM_ADDRESS4:
    case SAMI_RECORD_VM_ADDRESS6: on_vm_address(session, &record->vm_address); return;
    case SAMI_RECORD_BEGIN: on_begin(session, &record->begin); return;
    case SAMI_RECORD_TYPE_INFORMATION: return; /* for other collectors; never replaces our table (RFC 5610 §3.9) */
    default: break;
    }
    if (!migration)
        return stop(session, SAMI_REASON_PROTOCOL, "a record before begin");
    if (record->kind == SAMI_RECORD_SESSION)
        return on_session_record(session, &record->session);
    flush_batch(session);
    switch (record->kind) {
    case SAMI_RECORD_EPOCH: sami_collector_migration_epoch(migration, &record->epoch); return;
    case SAMI_RECORD_MARKER: sami_collector_migration_marker(migration, &record->marker, session->counter); return;
    case SAMI_RECORD_END: sami_collector_migration_end(migration); return;
    case SAMI_RECORD_ABORT:
        if (migration->phase >= SAMI_PHASE_READY && record->abort.marker_counter != migration->marker_counter)
            stop(session, SAMI_REASON_ALREADY_READY, NULL);
        else
            sami_collector_migration_abort(migration);
        return;
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
        refuse(session, error->code == SAMI_ERROR_SIGNATURE ? SAMI_REASON_NOT_SIGNED : SAMI_REASON_MALFORMED, error->message);
        return FALSE;
    }
    session->signer = sami_signers_find(session->collector->signers, signature.key_id, &key);
    if (!session->signer || !sami_signer_may_use(session->signer, session->open.name)) {
        refuse(session, session->signer ? SAMI_REASON_TLS_NAME : SAMI_REASON_UNKNOWN_SIGNER, NULL);
        return FALSE;
    }
    session->stream = sami_stream_new(SAMI_ROLE_COLLECTOR, session->collector->key, session->open.ekm, session->open.message_max,
                                      now_ms(), session->collector->config->max_delay_ms);
    session->stream->peer_key = key;
    memcpy(session->stream->migration_id, signature.migration_id, 16);
    if (sami_collector_find(session->collector, signature.migration_id)) {
        refuse(session, SAMI_REASON_REPLAYED, NULL);
        return FALSE;
    }
    return TRUE;
}

/* Appended before injection (PROTOCOL §5); the file is made when the first Message has verified. */
static gboolean
write_journal(SamiCollectorSession *session, const guint8 *message, gsize length)
{
    g_autoptr(GError) error = NULL;
    gchar hex[33];
    if (!session->collector->config->journal)
        return TRUE;
    for (guint i = 0; i < 16; i++)
        g_snprintf(hex + 2 * i, 3, "%02x", session->stream->migration_id[i]);
    if (!session->journal)
        session->journal = sami_journal_new(session->collector->config->journal_dir, hex, &error);
    if (session->journal && sami_journal_append(session->journal, message, length, &error))
        return TRUE;
    refuse(session, SAMI_REASON_JOURNAL, error->message);
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
    if (!sami_stream_verify(session->stream, message, length, now_ms(), &reason, &is_last, &error)) {
        refuse(session, reason, error->message);
        return;
    }
    if (!write_journal(session, message, length))
        return;
    if (!sami_stream_decode(session->stream, message, length, on_record, session, &error)) {
        g_array_set_size(session->batch, 0);
        refuse(session, SAMI_REASON_MALFORMED, error->message);
        return;
    }
    if (!session->source)
        return;
    if (session->refusal != SAMI_REASON_NONE) {
        g_array_set_size(session->batch, 0);
        refuse(session, session->refusal, session->refusal_detail);
        return;
    }
    if (session->migration)
        flush_batch(session);
}

static gboolean
on_frame(SamiCollectorSession *session, SamiFrameType type, guint8 *payload, gsize length)
{
    g_autoptr(GError) error = NULL;
    switch (type) {
    case SAMI_FRAME_OPEN:
        session->is_open = !session->is_open && sami_frame_open_parse(payload, length, &session->open, &error);
        return session->is_open;
    case SAMI_FRAME_MESSAGE:
        if (!session->is_open)
            return FALSE;
        on_message(session, payload, length);
        return TRUE;
    case SAMI_FRAME_CLOSE:
        session->is_peer_done = TRUE;
        return !g_queue_is_empty(&session->out);
    default: {
        g_autofree gchar *text = g_strndup((const gchar *) payload, MIN(length, 512));
        g_autofree gchar *quoted = g_strescape(text, NULL);
        session->collector->n_session_errors++;
        g_message("%s (%s): %s", session->open.name, session->open.address, quoted);
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
    for (guint i = 0; session->source && i < 8; i++) {
        SamiFrameType type;
        guint8 *payload;
        gsize length;
        g_autoptr(GError) error = NULL;
        if (sami_injector_pending(session->collector->injector) >= SAMI_INJECTOR_HIGH)
            break;
        SamiReceive receive = sami_session_socket_receive(session->socket, &type, &payload, &length, &error);
        if (receive == SAMI_RECEIVE_AGAIN)
            break;
        if (receive != SAMI_RECEIVE_FRAME || !on_frame(session, type, payload, length))
            drop(session);
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
    session->vm = g_array_new(FALSE, TRUE, sizeof(SamiPrefix));
    session->batch = g_array_new(FALSE, FALSE, sizeof(SamiApplyItem));
    g_queue_init(&session->out);
    g_ptr_array_add(collector->sessions, session);
    collector->n_sessions++;
    session->source = sami_fd_source_new(fd, G_IO_IN, on_ready, session, &session->tag);
}

void
sami_collector_session_free(SamiCollectorSession *session)
{
    if (session->source) {
        g_source_destroy(session->source);
        g_source_unref(session->source);
    }
    sami_session_socket_free(session->socket);
    sami_stream_free(session->stream);
    sami_journal_free(session->journal);
    g_array_unref(session->vm);
    g_array_unref(session->batch);
    g_queue_clear_full(&session->out, (GDestroyNotify) g_bytes_unref);
    g_free(session->refusal_detail);
    g_free(session);
}
