/* Messages between a migration and its connector. */
#include "exporter/exporter.h"

#include <string.h>

static guint64
now_ms(void)
{
    return (guint64) (g_get_monotonic_time() / 1000);
}

gboolean
sami_link_is_full(const SamiMigration *m)
{
    return m->n_out >= SAMI_UNSENT_MAX;
}

static void
update(SamiMigration *m)
{
    if (m->socket_source)
        g_source_modify_unix_fd(m->socket_source, m->socket_tag, G_IO_IN | (g_queue_is_empty(&m->out) ? 0 : G_IO_OUT));
}

static void
write_out(SamiMigration *m)
{
    gboolean was_full = sami_link_is_full(m);
    while (m->socket && !g_queue_is_empty(&m->out)) {
        gsize length;
        const guint8 *data = g_bytes_get_data(g_queue_peek_head(&m->out), &length);
        g_autoptr(GError) error = NULL;
        /* An empty entry is the end of writing. */
        SamiFrameType type = length ? SAMI_FRAME_MESSAGE : SAMI_FRAME_CLOSE;
        if (!sami_session_socket_send(m->socket, type, data, length, &error)) {
            if (!g_error_matches(error, SAMI_ERROR, SAMI_ERROR_FULL))
                sami_migration_fail(m, SAMI_EXIT_FAILED, "the connector process is gone");
            break;
        }
        m->n_out -= length;
        g_bytes_unref(g_queue_pop_head(&m->out));
    }
    update(m);
    if (was_full && !sami_link_is_full(m))
        sami_source_update(m);
}

void
sami_link_flush(SamiMigration *m, gboolean is_last)
{
    const guint8 *message;
    gsize length;
    g_autoptr(GError) error = NULL;
    if (!m->socket || !m->stream)
        return;
    if (is_last || sami_encoder_pending(m->stream->encoder) > 0) {
        if (!sami_stream_take(m->stream, now_ms(), (guint32) (g_get_real_time() / G_USEC_PER_SEC), is_last, &message, &length, &error)) {
            sami_migration_fail(m, SAMI_EXIT_FAILED, error->message);
            return;
        }
        m->exporter->n_messages++;
        m->exporter->n_octets += length;
        m->n_out += length;
        g_queue_push_tail(&m->out, g_bytes_new(message, length));
    }
    if (is_last)
        g_queue_push_tail(&m->out, g_bytes_new_static("", 0));
    write_out(m);
}

gboolean
sami_link_add(SamiMigration *m, const SamiRecord *record)
{
    g_autoptr(GError) error = NULL;
    if (!m->stream || m->state >= SAMI_STATE_FAILED)
        return FALSE;
    if (sami_encoder_add(m->stream->encoder, record, &error))
        return TRUE;
    if (g_error_matches(error, SAMI_ERROR, SAMI_ERROR_FULL)) {
        sami_link_flush(m, FALSE);
        g_clear_error(&error);
        if (!m->stream)
            return FALSE;
        if (sami_encoder_add(m->stream->encoder, record, &error))
            return TRUE;
    }
    sami_migration_fail(m, SAMI_EXIT_FAILED, error->message);
    return FALSE;
}

static void
on_record(const SamiRecord *record, gpointer user_data)
{
    sami_migration_received(user_data, record);
}

static void
on_message(SamiMigration *m, guint8 *message, gsize length)
{
    SamiReason reason;
    SamiSignature signature;
    gboolean is_last;
    g_autoptr(GError) error = NULL;
    /* The refusal of a Message 1 that could not be verified carries migration id zero (PROTOCOL §3). */
    static const guint8 zero[16] = { 0 };
    guint8 id[16];
    memcpy(id, m->stream->migration_id, 16);
    if (!m->is_bound && sami_signature_read(message, length, &signature, NULL) && memcmp(signature.migration_id, zero, 16) == 0)
        memcpy(m->stream->migration_id, zero, 16);
    gboolean is_valid = sami_stream_verify(m->stream, message, length, now_ms(), &reason, &is_last, &error) &&
                        sami_stream_decode(m->stream, message, length, on_record, m, &error);
    if (m->stream)
        memcpy(m->stream->migration_id, id, 16);
    if (!is_valid && m->state < SAMI_STATE_DONE) {
        g_autofree gchar *text = g_strdup_printf("an answer of %s is not believed: %s", m->peer->name, error->message);
        sami_migration_fail(m, m->state >= SAMI_STATE_READY ? SAMI_EXIT_IN_DOUBT : SAMI_EXIT_REFUSED, text);
    }
}

static void
lost(SamiMigration *m, const gchar *why)
{
    g_autofree gchar *text = NULL;
    if (m->state == SAMI_STATE_DONE || m->state >= SAMI_STATE_ABORTED) {
        sami_link_stop(m);
        return;
    }
    if (m->state == SAMI_STATE_PREPARE && !m->is_bound)
        text = g_strdup(why);
    else if (m->state >= SAMI_STATE_READY && m->state < SAMI_STATE_DONE)
        text = g_strdup_printf("%s; the VM may run behind %s already, nothing is removed", why, m->peer->name);
    else
        text = g_strdup_printf("%s; %s rolls back when its lease ends", why, m->peer->name);
    sami_migration_fail(m, m->state >= SAMI_STATE_READY && m->state < SAMI_STATE_DONE ? SAMI_EXIT_IN_DOUBT : SAMI_EXIT_FAILED, text);
}

static void
on_frame(SamiMigration *m, SamiFrameType type, guint8 *payload, gsize length)
{
    SamiFrameOpen open;
    g_autoptr(GError) error = NULL;
    switch (type) {
    case SAMI_FRAME_OPEN:
        if (m->stream || !sami_frame_open_parse(payload, length, &open, &error))
            sami_migration_fail(m, SAMI_EXIT_FAILED, error ? error->message : "two OPEN frames");
        else
            sami_migration_hello(m, &open);
        return;
    case SAMI_FRAME_MESSAGE:
        if (m->stream)
            on_message(m, payload, length);
        return;
    case SAMI_FRAME_CLOSE: lost(m, "the collector closed the session"); return;
    default: {
        g_autofree gchar *text = g_strndup((const gchar *) payload, MIN(length, 1024));
        lost(m, text);
    }
    }
}

static gboolean
on_ready(GIOCondition condition, gpointer user_data)
{
    SamiMigration *m = user_data;
    if (condition & G_IO_OUT)
        write_out(m);
    for (guint i = 0; m->socket && i < 16; i++) {
        SamiFrameType type;
        guint8 *payload;
        gsize length;
        g_autoptr(GError) error = NULL;
        SamiReceive receive = sami_session_socket_receive(m->socket, &type, &payload, &length, &error);
        if (receive == SAMI_RECEIVE_AGAIN)
            break;
        if (receive == SAMI_RECEIVE_FRAME)
            on_frame(m, type, payload, length);
        else
            lost(m, error ? error->message : "the connector closed the session");
        if (receive != SAMI_RECEIVE_FRAME)
            break;
    }
    return m->socket ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

void
sami_link_start(SamiMigration *m, int fd)
{
    m->socket = sami_session_socket_new(fd);
    m->socket_source = sami_fd_source_new(fd, G_IO_IN, on_ready, m, &m->socket_tag);
}

void
sami_link_stop(SamiMigration *m)
{
    if (m->socket_source) {
        g_source_destroy(m->socket_source);
        g_clear_pointer(&m->socket_source, g_source_unref);
    }
    g_clear_pointer(&m->socket, sami_session_socket_free);
    g_queue_clear_full(&m->out, (GDestroyNotify) g_bytes_unref);
    m->n_out = 0;
}
