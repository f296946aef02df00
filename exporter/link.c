/* Messages between a migration and its connector, over one Transport Session after another (PROTOCOL §3, resume).
 *
 * Every Message is kept unsigned in a ring until the collector has acknowledged it, and signed when the socket takes it: so a slow
 * peer never sees a stale signature, and a new session gets the same Messages under its own binding. */
#include "exporter/exporter.h"
#include "exporter/kinds.h"

#include <string.h>

#include "common/value.h"

/* Of session-age: the last part, in which a freeze may end before the collector ends the session. */
#define AGE_MARGIN 16

typedef struct {
    GBytes *body; /* a whole Message but for its signature Set */
    guint n_records;
    gboolean is_last;
} Sent;

struct SamiLink {
    GQueue ring;          /* of Sent, in order of counters */
    GQueue templates;     /* of Sent: of a session that is being resumed, go before what the collector has not received */
    guint64 first;        /* counter of the ring's head */
    guint n_sent;         /* of them were given to this session */
    guint64 n_given;      /* counter of the first Message that no session was given */
    gsize n_octets;       /* of all of them */
    gsize n_unsent;       /* octets of those that were not */
    guint32 sequence;     /* RFC 7011 §3.1: Data Records sent in this Transport Session */
    SamiAnswerUnder under; /* of the Message that is being read */
    gboolean has_last;    /* the collector's last Message of this session has come */
    gboolean has_opening; /* the hello waits to be sent, before anything in the ring */
    gboolean is_deaf;      /* the connector closed the socket; why is in the ERROR frame that waits to be read, and the reader tells */
    gboolean is_close_due; /* the last Message was given to the connector, the end of writing not yet */
    guint8 *scratch;      /* the Message that is being signed */
    gsize n_scratch;      /* of the opening */
};

static guint64
now_ms(void)
{
    return (guint64) (g_get_monotonic_time() / 1000);
}

static guint32
export_time(void)
{
    return (guint32) (g_get_real_time() / G_USEC_PER_SEC);
}

static void
sent_free(Sent *sent)
{
    g_bytes_unref(sent->body);
    g_free(sent);
}

void
sami_link_init(SamiMigration *m)
{
    m->link = g_new0(SamiLink, 1);
    m->link->first = m->link->n_given = 1; /* 0 is the hello of the first session */
    m->link->scratch = g_malloc(SAMI_MESSAGE_MAX + SAMI_SIGNATURE_SET);
    g_queue_init(&m->link->ring);
    g_queue_init(&m->link->templates);
}

void
sami_link_free(SamiMigration *m)
{
    if (!m->link)
        return;
    sami_link_stop(m);
    g_queue_clear_full(&m->link->ring, (GDestroyNotify) sent_free);
    g_queue_clear_full(&m->link->templates, (GDestroyNotify) sent_free);
    g_free(m->link->scratch);
    g_clear_pointer(&m->link, g_free);
}

/* Nothing more is taken while no session is bound: the kernel waits. */
gboolean
sami_link_is_full(const SamiMigration *m)
{
    return !m->is_bound || m->link->n_unsent >= SAMI_UNSENT_MAX;
}

static gboolean
has_work(const SamiMigration *m)
{
    const SamiLink *link = m->link;
    if (link->is_deaf)
        return FALSE;
    return link->has_opening || (m->is_bound && (link->is_close_due || link->n_sent < link->ring.length));
}

static void
update(SamiMigration *m)
{
    if (m->socket_source)
        g_source_modify_unix_fd(m->socket_source, m->socket_tag, G_IO_IN | (has_work(m) ? G_IO_OUT : 0));
}

/* FALSE when the socket is full or gone. */
static gboolean
send_frame(SamiMigration *m, SamiFrameType type, const guint8 *data, gsize length)
{
    g_autoptr(GError) error = NULL;
    if (sami_session_socket_send(m->socket, type, data, length, &error))
        return TRUE;
    m->link->is_deaf |= !g_error_matches(error, SAMI_ERROR, SAMI_ERROR_FULL);
    return FALSE;
}

static void
put_sequence(guint8 *message, guint32 sequence)
{
    for (guint i = 0; i < 4; i++)
        message[8 + i] = (guint8) (sequence >> (24 - 8 * i));
}

static gboolean
send_next(SamiMigration *m)
{
    SamiLink *link = m->link;
    Sent *sent = g_queue_peek_nth(&link->ring, link->n_sent);
    gsize length, n_body;
    const guint8 *body = g_bytes_get_data(sent->body, &n_body);
    memcpy(link->scratch, body, n_body);
    put_sequence(link->scratch, link->sequence);
    length = sami_stream_seal(m->stream, link->scratch, n_body, link->first + link->n_sent, now_ms(), sent->is_last);
    if (!send_frame(m, SAMI_FRAME_MESSAGE, link->scratch, length))
        return FALSE;
    link->n_sent++;
    link->n_given = MAX(link->n_given, link->first + link->n_sent);
    link->n_unsent -= n_body;
    link->sequence += sent->n_records;
    m->exporter->n_messages++;
    m->exporter->n_octets += length;
    link->is_close_due = sent->is_last;
    return TRUE;
}

static gboolean
send_close(SamiMigration *m)
{
    if (!send_frame(m, SAMI_FRAME_CLOSE, NULL, 0))
        return FALSE;
    m->link->is_close_due = FALSE;
    return TRUE;
}

static gboolean
send_opening(SamiMigration *m)
{
    SamiLink *link = m->link;
    gsize length = sami_stream_seal(m->stream, link->scratch, link->n_scratch, 0, now_ms(), FALSE);
    if (!send_frame(m, SAMI_FRAME_MESSAGE, link->scratch, length))
        return FALSE;
    link->has_opening = FALSE;
    return TRUE;
}

static void
write_out(SamiMigration *m)
{
    gboolean was_full = sami_link_is_full(m);
    while (m->socket && has_work(m))
        if (!(m->link->has_opening ? send_opening(m) : m->link->is_close_due ? send_close(m) : send_next(m)))
            break;
    update(m);
    if (was_full && !sami_link_is_full(m) && m->source) {
        sami_source_update(m->source);
        sami_kinds_update(m);
    }
}

static void
drop_head(SamiLink *link)
{
    Sent *sent = g_queue_pop_head(&link->ring);
    gsize n = g_bytes_get_size(sent->body);
    link->n_octets -= n;
    link->first++;
    if (link->n_sent > 0)
        link->n_sent--;
    else
        link->n_unsent -= n;
    sent_free(sent);
}

/* Ends of flows are noted while no session is bound, too: what the ring cannot hold then has to be dumped again. */
static gboolean
is_droppable(const SamiMigration *m)
{
    return m->link->ring.length > 0 && (m->link->n_sent > 0 || (m->is_known && !m->is_bound));
}

static Sent *
sent_new(const guint8 *message, gsize length, guint n_records, gboolean is_last)
{
    Sent *sent = g_new(Sent, 1);
    *sent = (Sent){ g_bytes_new(message, length), n_records, is_last };
    return sent;
}

void
sami_link_flush(SamiMigration *m, gboolean is_last)
{
    SamiLink *link = m->link;
    guint8 *message;
    gsize length;
    guint64 counter;
    g_autoptr(GError) error = NULL;
    if (!m->stream)
        return;
    guint n_records = sami_encoder_pending(m->stream->encoder);
    if (is_last || n_records > 0) {
        if (!sami_stream_end(m->stream, export_time(), &message, &length, &counter, &error)) {
            sami_migration_fail(m, SAMI_EXIT_FAILED, error->message);
            return;
        }
        g_queue_push_tail(&link->ring, sent_new(message, length, n_records + 1, is_last));
        link->n_octets += length;
        link->n_unsent += length;
    }
    write_out(m);
    while (link->n_octets > SAMI_RING_MAX && is_droppable(m))
        drop_head(link);
}

gboolean
sami_link_add(SamiMigration *m, const SamiRecord *record)
{
    g_autoptr(GError) error = NULL;
    if (!m->stream || sami_exporter_is_over(m->state))
        return FALSE;
    if (sami_encoder_add(m->stream->encoder, record, &error))
        return TRUE;
    if (g_error_matches(error, SAMI_ERROR, SAMI_ERROR_FULL)) {
        sami_link_flush(m, FALSE);
        g_clear_error(&error);
        if (!sami_exporter_is_over(m->state) && sami_encoder_add(m->stream->encoder, record, &error))
            return TRUE;
    }
    if (error)
        sami_migration_fail(m, SAMI_EXIT_FAILED, error->message);
    return FALSE;
}

/* At once, not when the reply is here: a record that comes meanwhile is filled into a Message of the ring's end, and would define templates
 * there that Messages before it need. */
static void
keep_templates(SamiMigration *m)
{
    guint8 *message;
    gsize length;
    g_queue_clear_full(&m->link->templates, (GDestroyNotify) sent_free);
    while (sami_encoder_add_templates(m->stream->encoder)) {
        if (!sami_encoder_take(m->stream->encoder, export_time(), &message, &length, NULL))
            return;
        g_queue_push_tail(&m->link->templates, sent_new(message, length, 1, FALSE));
    }
}

void
sami_link_open(SamiMigration *m, const SamiRecord *hello)
{
    SamiLink *link = m->link;
    const guint8 *message;
    guint8 *body;
    g_autoptr(GError) error = NULL;
    if (!sami_encoder_add(m->stream->encoder, hello, &error) ||
        !sami_encoder_take(m->stream->encoder, export_time(), &body, &link->n_scratch, &error)) {
        sami_migration_fail(m, SAMI_EXIT_FAILED, error->message);
        return;
    }
    message = body;
    memcpy(link->scratch, message, link->n_scratch);
    link->has_opening = TRUE;
    link->sequence = 2; /* the hello and its signature */
    link->n_sent = 0;
    link->n_unsent = link->n_octets;
    keep_templates(m);
    write_out(m);
}

gboolean
sami_link_has_all(const SamiMigration *m)
{
    return m->link->first == 1;
}

void
sami_link_acknowledged(SamiMigration *m, guint64 next)
{
    while (m->link->first < next && m->link->n_sent > 0)
        drop_head(m->link);
}

gboolean
sami_link_is_acknowledged(const SamiMigration *m, guint64 next)
{
    return next <= m->link->first;
}

guint64
sami_link_end(const SamiMigration *m)
{
    return m->link->first + m->link->n_sent;
}

guint64
sami_link_given(const SamiMigration *m)
{
    return m->link->n_given;
}

gboolean
sami_link_is_overfull(const SamiMigration *m)
{
    return m->is_bound && m->link->n_sent == 0 && m->link->n_octets > SAMI_RING_MAX + SAMI_UNSENT_MAX;
}

gboolean
sami_link_resume(SamiMigration *m, guint64 next, gboolean is_stale, guint *ret_n_shifted)
{
    SamiLink *link = m->link;
    guint64 end = link->first + link->ring.length;
    gboolean is_whole = next >= link->first && next <= end && !(is_stale && next < end);
    while (link->ring.length > 0 && (!is_whole || link->first < next))
        drop_head(link);
    link->first = link->n_given = next;
    /* What the collector has not received comes after the templates, so it moves up by their Messages. */
    *ret_n_shifted = link->templates.length;
    for (Sent *sent; (sent = g_queue_pop_tail(&link->templates));) {
        g_queue_push_head(&link->ring, sent);
        link->n_octets += g_bytes_get_size(sent->body);
    }
    link->n_sent = 0;
    link->n_unsent = link->n_octets;
    m->stream->counter_out = link->first + link->ring.length;
    return is_whole;
}

gsize
sami_link_unacknowledged(const SamiMigration *m)
{
    return m->link->n_octets;
}

void
sami_link_redefine(SamiMigration *m)
{
    sami_link_flush(m, FALSE);
    if (m->stream && sami_encoder_pending(m->stream->encoder) == 0)
        sami_encoder_redefine(m->stream->encoder);
}

static void
on_record(const SamiRecord *record, gpointer user_data)
{
    SamiMigration *m = user_data;
    if (!sami_exporter_is_over(m->state) && sami_answer_counts(m, record, m->link->under))
        sami_migration_received(m, record);
}

static void
on_message(SamiMigration *m, guint8 *message, gsize length)
{
    SamiLink *link = m->link;
    SamiReason reason = SAMI_REASON_MALFORMED;
    gboolean is_last = FALSE;
    g_autoptr(GError) error = NULL;
    /* A plain collector has no key that we know. After the last word there is nothing to be said. */
    if (!m->peer_keys || link->has_last || m->has_final || sami_exporter_is_over(m->state)) {
        m->exporter->n_answers_ignored++;
        return;
    }
    gboolean is_valid = sami_answer_verify(m->stream, m->is_bound, message, length, now_ms(), &link->under, &reason, &is_last, &error);
    if (is_valid) {
        link->has_last = is_last;
        is_valid = sami_stream_decode(m->stream, message, length, on_record, m, &error);
        reason = g_error_matches(error, SAMI_ERROR, SAMI_ERROR_PEN) ? SAMI_REASON_PEN_MISMATCH : SAMI_REASON_MALFORMED;
    }
    if (!is_valid && !sami_exporter_is_over(m->state))
        sami_answer_refuse(m, reason, error->message);
}

static void
on_frame(SamiMigration *m, SamiFrameType type, guint8 *payload, gsize length)
{
    SamiFrameOpen open;
    g_autoptr(GError) error = NULL;
    switch (type) {
    case SAMI_FRAME_OPEN:
        if (m->has_opened || !sami_frame_open_parse(payload, length, &open, &error)) {
            sami_migration_fail(m, SAMI_EXIT_FAILED, error ? error->message : "two OPEN frames");
            return;
        }
        m->has_opened = TRUE;
        m->message_max = open.message_max;
        g_strlcpy(m->address, open.address, sizeof m->address);
        sami_migration_hello(m, &open);
        return;
    case SAMI_FRAME_MESSAGE:
        if (m->has_opened)
            on_message(m, payload, length);
        return;
    case SAMI_FRAME_CLOSE: sami_migration_lost(m, "the collector closed the session"); return;
    default: {
        g_autofree gchar *text = g_strndup((const gchar *) payload, MIN(length, 1024));
        sami_value_mask_controls(text);
        g_strdelimit(text, "\n", ' ');
        g_autofree gchar *named = type == SAMI_FRAME_MALFORMED ? g_strdup_printf("%s: %s", m->peer->name, text) : NULL;
        sami_migration_lost(m, named ? named : text);
    }
    }
}

static gboolean
on_ready(GIOCondition condition, gpointer user_data)
{
    SamiMigration *m = user_data;
    GSource *source = m->socket_source;
    if (condition & G_IO_OUT)
        write_out(m);
    for (guint i = 0; m->socket_source == source && i < 16; i++) {
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
            sami_migration_lost(m, error ? error->message : "the connector closed the session");
    }
    return m->socket_source == source;
}

/* Looked at again every second until it can be done. */
static gboolean
on_age(gpointer user_data)
{
    SamiMigration *m = user_data;
    m->age_timer = 0;
    if (!sami_migration_renew(m))
        m->age_timer = g_timeout_add_seconds(1, on_age, m);
    return G_SOURCE_REMOVE;
}

void
sami_link_start(SamiMigration *m, int fd)
{
    m->has_opened = FALSE;
    m->link->is_deaf = FALSE;
    m->link->has_last = FALSE;
    m->socket = sami_session_socket_new(fd);
    m->socket_source = sami_fd_source_new(fd, G_IO_IN, on_ready, m, &m->socket_tag);
    m->age_timer = g_timeout_add_seconds(m->config->session_age_s - m->config->session_age_s / AGE_MARGIN, on_age, m);
}

void
sami_link_stop(SamiMigration *m)
{
    if (m->socket_source) {
        g_source_destroy(m->socket_source);
        g_clear_pointer(&m->socket_source, g_source_unref);
    }
    g_clear_handle_id(&m->age_timer, g_source_remove);
    g_clear_pointer(&m->socket, sami_session_socket_free);
    m->is_bound = FALSE;
    if (m->link) /* over, and freed already */
        m->link->has_opening = FALSE;
}

void
sami_link_close(SamiMigration *m)
{
    send_frame(m, SAMI_FRAME_CLOSE, NULL, 0);
    sami_link_stop(m);
}
