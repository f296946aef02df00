#include "transport/tls-connection.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>

#include "templates/rules.h"
#include "transport/address.h"

/* Two Messages: one that waits for room, and one that is being completed. Behind the latter there is room for any record (sami_tls_count_read()). */
#define READ_SIZE (2u * (SAMI_MESSAGE_MAX + 1u))
/* Bounded work a turn: other sessions wait. */
#define ROUNDS_PER_TURN 32
/* How long the peer may take to close after we did, since its last octets. */
#define CLOSE_TIMEOUT_US (10 * G_USEC_PER_SEC)
/* How long a connection that has nothing more to say is kept, so that unread octets do not make
 * the kernel send a reset, which would eat an alert or a tail on its way to the peer. That of a session: see the wire. */
#define LINGER_US (2 * G_USEC_PER_SEC)

typedef enum { PHASE_HANDSHAKE, PHASE_PUMP, PHASE_LINGER, PHASE_DONE } Phase;
/* READING until the peer ended; then CLOSED, MISFRAMED or FAILED is still to be told, and at last
 * TOLD. */
typedef enum {
    INWARD_READING,
    INWARD_CLOSED,
    INWARD_MISFRAMED,
    INWARD_FAILED,
    INWARD_TOLD
} Inward;
/* CLOSING: close_notify is to be sent; CLOSED: it is; DROPPED: the state process is gone, flush
 * and end. */
typedef enum { OUTWARD_OPEN, OUTWARD_CLOSING, OUTWARD_CLOSED, OUTWARD_DROPPED } Outward;

/* One descriptor and the conditions it is polled for. */
typedef struct {
    gpointer tag;
    GIOCondition condition;
} Watch;

struct SamiTlsConnection {
    GSource *source;
    SamiWire *wire;
    SSL *ssl;
    SamiTlsVerdict verdict;
    SamiSessionSocket *session; /* (nullable): a server's until the handshake is done */
    const SamiTlsEvents *events;
    gpointer user_data;
    gchar address[SAMI_ADDRESS_TEXT];

    Phase phase;
    Inward inward;
    Outward outward;
    gchar *failure;       /* text of MISFRAMED or FAILED */
    gchar *write_failure; /* why writing ended while reading goes on */
    gint64 deadline_us;   /* 0 for none */
    gint64 patience_us;   /* 0 for any */
    gint64 message_end_us; /* by when the Message that has begun has to be here; 0: none has */
    gboolean has_delivered; /* in this turn: what is left is another Message */
    gboolean is_proven;
    gboolean is_deaf;  /* the state process no longer reads: what comes in is thrown away */
    gboolean is_again; /* the turn ended before the work did */

    guint8 *in; /* READ_SIZE octets; in_start..in_end are not yet delivered */
    gsize in_start, in_end;
    const guint8 *out; /* in the session's own buffer, so nothing is received while out_left > 0 */
    gsize out_left;

    Watch session_watch;
    GIOCondition handshake_wants, read_wants,
        write_wants; /* TLS may have to write in order to read, and the reverse */
    gboolean session_is_full;
};

typedef struct {
    GSource source;
    SamiTlsConnection *connection;
} ConnectionSource;

static void
set_phase(SamiTlsConnection *c, Phase phase, gint64 deadline_us)
{
    c->phase = phase;
    c->deadline_us = deadline_us;
    c->is_again = FALSE;
}

/* Nothing more will be said to the peer. */
static void
linger(SamiTlsConnection *c)
{
    g_clear_pointer(&c->session, sami_session_socket_free);
    c->wire->ops->finish(c->wire);
    set_phase(c, PHASE_LINGER, g_get_monotonic_time() + (c->is_proven ? c->wire->ops->linger_us : LINGER_US));
}

/* The session ends here; what came whole before is still delivered, then the text. */
static void
fail(SamiTlsConnection *c, gchar *text_take)
{
    if (c->inward != INWARD_FAILED) {
        c->inward = INWARD_FAILED;
        g_free(c->failure);
        c->failure = g_strdup_printf("TLS: %s at %s: %s",
                                     c->verdict.wanted ? c->verdict.wanted : c->verdict.name,
                                     c->address, text_take);
    }
    g_free(text_take);
    c->out_left = 0;
    c->outward = OUTWARD_CLOSED;
    c->deadline_us = 0;
}

/* Where the next Message begins is not known any more, but the peer can still be told so. */
static void
misframe(SamiTlsConnection *c, gchar *text_take)
{
    c->inward = INWARD_MISFRAMED;
    c->in_start = c->in_end;
    g_free(c->failure);
    c->failure = text_take;
}

/* The wire knows better than OpenSSL why it ended, but not why the peer sent an alert. */
static gchar *
explain(SamiTlsConnection *c, int ssl_error, int saved_errno)
{
    const gchar *reason = ssl_error == SSL_ERROR_SYSCALL ? c->wire->ops->failure(c->wire) : NULL;
    g_autofree gchar *text = sami_tls_explain(ssl_error, saved_errno);
    return reason ? g_strdup(reason) : g_steal_pointer(&text);
}

static GIOCondition
wanted_by(int ssl_error)
{
    return ssl_error == SSL_ERROR_WANT_WRITE ? G_IO_OUT : G_IO_IN;
}

static gboolean
is_retry(int ssl_error)
{
    return ssl_error == SSL_ERROR_WANT_READ || ssl_error == SSL_ERROR_WANT_WRITE;
}

/* ---- handshake ---- */

static void
fail_handshake(SamiTlsConnection *c, SamiHandshakeCause cause, gchar *text_take)
{
    g_autofree gchar *text = text_take;
    SamiSessionSocket *session = c->session;
    if (session && c->events->failed) {
        /* The socket may be freed in the call, so it is not watched any more. */
        if (c->session_watch.tag)
            g_source_remove_unix_fd(c->source, g_steal_pointer(&c->session_watch.tag));
        c->session_watch.condition = 0;
        if (c->events->failed(c, session, text, c->user_data)) {
            c->session = NULL;
            linger(c);
            return;
        }
    }
    if (session) {
        fail(c, g_steal_pointer(&text));
        set_phase(c, PHASE_PUMP, 0);
        return;
    }
    c->events->refused(c->address, cause, text, c->user_data);
    linger(c);
}

static void
fill_open(SamiTlsConnection *c, SamiFrameOpen *open)
{
    *open = (SamiFrameOpen){ .version = 1, .transport = c->wire->ops->transport, .message_max = (guint16) c->wire->ops->message_max };
    g_strlcpy(open->name, c->verdict.name, sizeof(open->name));
    g_strlcpy(open->address, c->address, sizeof(open->address));
}

/* OPEN is the first frame on an empty socket: if it does not fit, something is wrong for good. */
static void
begin_session(SamiTlsConnection *c)
{
    SamiFrameOpen open;
    g_autoptr(GError) error = NULL;
    /* The verdict is set by the verify callback alone; a handshake that passed without it must
     * not pass. Nor one within which a reload came. */
    if (!c->verdict.name || SSL_get_verify_result(c->ssl) != X509_V_OK || !sami_tls_still_believes(c->ssl)) {
        fail_handshake(c, SAMI_HANDSHAKE_OTHER, g_strdup("the certificate was not verified"));
        return;
    }
    const gchar *doubt = c->wire->ops->doubt(c->wire);
    if (doubt) {
        fail_handshake(c, SAMI_HANDSHAKE_OTHER, g_strdup(doubt));
        return;
    }
    fill_open(c, &open);
    if (!sami_tls_export(c->ssl, open.ekm)) {
        fail_handshake(c, SAMI_HANDSHAKE_OTHER, sami_tls_explain(SSL_ERROR_SSL, 0));
        return;
    }
    if (!c->session)
        c->session = c->events->accepted(&open, c->user_data);
    sami_tls_count_session(&c->verdict);
    gboolean is_open = c->session && sami_session_socket_send_open(c->session, &open, &error);
    explicit_bzero(open.ekm, sizeof(open.ekm));
    c->is_proven = is_open;
    if (is_open && c->events->opened)
        c->events->opened(c, c->user_data);
    if (is_open)
        set_phase(c, PHASE_PUMP, 0);
    else
        linger(c);
}

static void
do_handshake(SamiTlsConnection *c)
{
    ERR_clear_error();
    errno = 0;
    int result = SSL_do_handshake(c->ssl);
    int saved_errno = errno, ssl_error = SSL_get_error(c->ssl, result);
    if (result == 1) {
        begin_session(c);
    } else if (is_retry(ssl_error) && !c->verdict.is_excessive) {
        c->handshake_wants = wanted_by(ssl_error);
    } else {
        SamiHandshakeCause cause = sami_tls_cause();
        gchar *text = explain(c, ssl_error, saved_errno);
        if (c->verdict.reason) {
            g_free(text);
            text = g_steal_pointer(&c->verdict.reason);
            cause = c->verdict.cause;
        }
        fail_handshake(c, cause, text);
    }
}

/* ---- inwards: TLS to the state process ---- */

/* One whole Message at the front gives its length, an incomplete one 0. FALSE: this is not
 * IPFIX. */
static gboolean
peek_message(SamiTlsConnection *c, gsize *ret_length)
{
    const guint8 *at = c->in + c->in_start;
    gsize left = c->in_end - c->in_start;
    *ret_length = 0;
    if (left < 4)
        return TRUE;
    guint version = (guint) at[0] << 8 | at[1], length = (guint) at[2] << 8 | at[3];
    if (version != 10 || length < SAMI_MESSAGE_HEADER) {
        misframe(c, sami_rule_say(version != 10 ? SAMI_RULE_MESSAGE_VERSION : SAMI_RULE_MESSAGE_LENGTH,
                                  "not an IPFIX Message: version %u, length %u", version, length));
        return FALSE;
    }
    if (left >= length)
        *ret_length = length;
    return TRUE;
}

/* FALSE if the session socket has no room now. */
static gboolean
send_frame(SamiTlsConnection *c, SamiFrameType type, const guint8 *payload, gsize length)
{
    g_autoptr(GError) error = NULL;
    if (sami_session_socket_send(c->session, type, payload, length, &error))
        return TRUE;
    c->session_is_full = g_error_matches(error, SAMI_ERROR, SAMI_ERROR_FULL);
    if (!c->session_is_full)
        c->is_deaf = TRUE; /* its own last frames are still read, up to the end */
    return !c->session_is_full;
}

static gboolean
deliver_messages(SamiTlsConnection *c)
{
    gsize length;
    while (!c->is_deaf && c->inward != INWARD_TOLD && c->inward != INWARD_MISFRAMED &&
           peek_message(c, &length) && length > 0) {
        if (!send_frame(c, SAMI_FRAME_MESSAGE, c->in + c->in_start, length))
            return FALSE;
        c->in_start += length;
        c->has_delivered = TRUE;
    }
    if (c->is_deaf)
        c->in_start = c->in_end;
    memmove(c->in, c->in + c->in_start, c->in_end - c->in_start);
    c->in_end -= c->in_start;
    c->in_start = 0;
    return TRUE;
}

static void
tell_end(SamiTlsConnection *c)
{
    g_autoptr(GError) error = NULL;
    gboolean is_told;
    if (c->inward == INWARD_CLOSED && c->in_end > c->in_start)
        misframe(c, sami_rule_say(SAMI_RULE_MESSAGE_CUT, "truncated: the peer closed within a Message"));
    if (c->is_deaf)
        is_told = TRUE;
    else if (c->inward == INWARD_CLOSED)
        is_told = send_frame(c, SAMI_FRAME_CLOSE, NULL, 0);
    else {
        gboolean is_over = c->inward == INWARD_FAILED;
        is_told = sami_session_send_text(c->session,
                                         is_over ? SAMI_FRAME_ERROR : SAMI_FRAME_MALFORMED,
                                         c->failure, &error) ||
                  !g_error_matches(error, SAMI_ERROR, SAMI_ERROR_FULL);
        c->session_is_full = !is_told;
        if (is_told && is_over)
            linger(c);
    }
    if (is_told)
        c->inward = INWARD_TOLD;
}

/* After a failed write the reason is whichever says more: an alert of the peer that was still to
 * be read, or the failure. */
static void
end_reading(SamiTlsConnection *c, int ssl_error, int saved_errno)
{
    if (ssl_error == SSL_ERROR_ZERO_RETURN && !c->write_failure) {
        c->inward = INWARD_CLOSED;
        return;
    }
    g_autofree gchar *text = explain(c, ssl_error, saved_errno);
    gboolean is_alert = ssl_error == SSL_ERROR_SSL && !g_str_has_prefix(text, "truncated");
    fail(c, !is_alert && c->write_failure ? g_steal_pointer(&c->write_failure)
                                          : g_steal_pointer(&text));
}

/* RFC 7011 §10.2, RFC 6083 §4.1: each Message is a user message of its own. */
static void
check_framed(SamiTlsConnection *c, gsize n)
{
    const guint8 *at = c->in + c->in_end - n;
    if (n < 4 || ((gsize) at[2] << 8 | at[3]) != n)
        misframe(c, sami_rule_say(SAMI_RULE_MESSAGE_LENGTH, "a record of %" G_GSIZE_FORMAT " octets is not one whole IPFIX Message", n));
}

/* TRUE if octets came. One record at most: OpenSSL gives no more at once. */
static gboolean
read_tls(SamiTlsConnection *c)
{
    gsize n = 0;
    ERR_clear_error();
    errno = 0;
    int result = SSL_read_ex(c->ssl, c->in + c->in_end, READ_SIZE - c->in_end, &n);
    int saved_errno = errno, ssl_error = SSL_get_error(c->ssl, result);
    if (result == 1) {
        c->in_end += n;
        sami_tls_count_read(&c->verdict);
        if (c->wire->ops->is_framed)
            check_framed(c, n);
        if (c->outward == OUTWARD_CLOSED)
            c->deadline_us = g_get_monotonic_time() + CLOSE_TIMEOUT_US;
        return TRUE;
    }
    if (c->verdict.is_excessive)
        fail(c, g_steal_pointer(&c->verdict.reason));
    else if (is_retry(ssl_error))
        c->read_wants = wanted_by(ssl_error);
    else
        end_reading(c, ssl_error, saved_errno);
    return FALSE;
}

/* Octets of a Message that come one by one would hold a session for ever. */
static void
time_message(SamiTlsConnection *c)
{
    gboolean has_begun = c->patience_us && c->inward == INWARD_READING && !c->is_deaf && !c->session_is_full && c->in_end > c->in_start;
    if (!has_begun)
        c->message_end_us = 0;
    else if (!c->message_end_us || c->has_delivered)
        c->message_end_us = g_get_monotonic_time() + c->patience_us;
    c->has_delivered = FALSE;
}

static void
expire_message(SamiTlsConnection *c)
{
    misframe(c, g_strdup_printf("a Message that has begun did not end within %" G_GINT64_FORMAT " ms (max-delay)", c->patience_us / 1000));
    c->message_end_us = 0;
}

static void
pump_inwards(SamiTlsConnection *c)
{
    c->session_is_full = FALSE;
    for (guint i = 0; i < ROUNDS_PER_TURN; i++) {
        if (!deliver_messages(c))
            return;
        if (c->inward != INWARD_READING) {
            if (c->inward != INWARD_TOLD)
                tell_end(c);
            return;
        }
        if (!read_tls(c) && c->inward == INWARD_READING)
            return;
    }
    c->is_again = TRUE;
}

/* ---- outwards: the state process to TLS ---- */

/* Writing failed, but what the peer sent before is still there to read, perhaps the alert or the
 * refusal that says why. Reading goes on to its end, which is near. */
static void
end_writing(SamiTlsConnection *c, int ssl_error, int saved_errno)
{
    g_autofree gchar *text = explain(c, ssl_error, saved_errno);
    c->out_left = 0;
    c->outward = OUTWARD_CLOSED;
    c->deadline_us = g_get_monotonic_time() + CLOSE_TIMEOUT_US;
    if (c->inward == INWARD_READING)
        c->write_failure = g_steal_pointer(&text);
    else
        fail(c, g_steal_pointer(&text));
    c->is_again = TRUE;
}

/* TRUE if everything is out. */
static gboolean
flush_message(SamiTlsConnection *c)
{
    while (c->out_left > 0) {
        gsize n = 0;
        if (!c->wire->ops->can_write(c->wire))
            return FALSE;
        ERR_clear_error();
        errno = 0;
        int result = SSL_write_ex(c->ssl, c->out, c->out_left, &n);
        int saved_errno = errno, ssl_error = SSL_get_error(c->ssl, result);
        if (result == 1) {
            c->out += n;
            c->out_left -= n;
        } else if (is_retry(ssl_error)) {
            c->write_wants = wanted_by(ssl_error);
            return FALSE;
        } else {
            end_writing(c, ssl_error, saved_errno);
            return FALSE;
        }
    }
    return TRUE;
}

/* A Message whose own Length is another would shift every later one on the stream. */
static gboolean
take_message(SamiTlsConnection *c, const guint8 *payload, gsize length)
{
    if (payload[0] != 0 || payload[1] != 10 || ((gsize) payload[2] << 8 | payload[3]) != length || length > c->wire->ops->message_max)
        return FALSE;
    c->out = payload;
    c->out_left = length;
    return TRUE;
}

/* FALSE if there is nothing (more) to take now. */
static gboolean
receive_frame(SamiTlsConnection *c)
{
    SamiFrameType type;
    guint8 *payload;
    gsize length;
    g_autoptr(GError) error = NULL;
    SamiReceive receive = sami_session_socket_receive(c->session, &type, &payload, &length, &error);
    if (receive == SAMI_RECEIVE_AGAIN)
        return FALSE;
    if (receive == SAMI_RECEIVE_END) {
        c->is_deaf = TRUE;
        c->outward = c->outward == OUTWARD_OPEN ? OUTWARD_DROPPED : c->outward;
        if (c->outward == OUTWARD_CLOSED)
            linger(c);
        return FALSE;
    }
    if (receive == SAMI_RECEIVE_FRAME && c->outward == OUTWARD_OPEN) {
        if (type == SAMI_FRAME_MESSAGE && take_message(c, payload, length))
            return TRUE;
        if (type == SAMI_FRAME_CLOSE) {
            c->outward = OUTWARD_CLOSING;
            return TRUE;
        }
    }
    fail(c, error ? g_strdup(error->message)
                  : g_strdup_printf("the state process sent a wrong frame of type %d", type));
    c->is_again = TRUE;
    return FALSE;
}

/* TRUE once close_notify is out. */
static gboolean
send_close_notify(SamiTlsConnection *c)
{
    if (!c->wire->ops->can_close(c->wire))
        return FALSE;
    ERR_clear_error();
    errno = 0;
    int result = SSL_shutdown(c->ssl);
    int saved_errno = errno, ssl_error = SSL_get_error(c->ssl, result);
    if (result >= 0) {
        c->outward = OUTWARD_CLOSED;
        c->deadline_us = g_get_monotonic_time() + CLOSE_TIMEOUT_US;
        return TRUE;
    }
    if (is_retry(ssl_error))
        c->write_wants = wanted_by(ssl_error);
    else
        end_writing(c, ssl_error, saved_errno);
    return FALSE;
}

static void
pump_outwards(SamiTlsConnection *c)
{
    for (guint i = 0; c->phase == PHASE_PUMP && i < ROUNDS_PER_TURN; i++) {
        if (!flush_message(c))
            return;
        if (c->outward == OUTWARD_CLOSING && !send_close_notify(c))
            return;
        if (c->outward == OUTWARD_DROPPED) {
            linger(c);
            return;
        }
        if (!receive_frame(c) && c->outward != OUTWARD_DROPPED)
            return;
    }
    c->is_again |= c->phase == PHASE_PUMP;
}

/* ---- a turn ---- */

static void
drain(SamiTlsConnection *c)
{
    SamiWireDrain result = c->wire->ops->drain(c->wire);
    c->is_again = result == SAMI_WIRE_MORE;
    if (result == SAMI_WIRE_OVER)
        set_phase(c, PHASE_DONE, 0);
}

static void
expire(SamiTlsConnection *c)
{
    if (c->phase == PHASE_HANDSHAKE)
        fail_handshake(c, SAMI_HANDSHAKE_TIMEOUT, g_strdup("the handshake took too long"));
    else if (c->phase == PHASE_LINGER)
        set_phase(c, PHASE_DONE, 0);
    else if (c->session_is_full) /* our own state process is the slow one */
        c->deadline_us = g_get_monotonic_time() + CLOSE_TIMEOUT_US;
    else
        fail(c, g_strdup_printf("the peer did not close within %d s",
                                (int) (CLOSE_TIMEOUT_US / G_USEC_PER_SEC)));
}

static gboolean
session_hung_up(SamiTlsConnection *c)
{
    return c->session_watch.tag &&
           (g_source_query_unix_fd(c->source, c->session_watch.tag) & (G_IO_HUP | G_IO_ERR));
}

static void
run(SamiTlsConnection *c)
{
    c->is_again = FALSE;
    c->wire->ops->run(c->wire);
    if (c->deadline_us && g_get_monotonic_time() >= c->deadline_us)
        expire(c);
    if (c->message_end_us && g_get_monotonic_time() >= c->message_end_us)
        expire_message(c);
    if (c->phase == PHASE_HANDSHAKE && session_hung_up(c))
        linger(c); /* the state process gave up waiting */
    if (c->phase == PHASE_HANDSHAKE)
        do_handshake(c);
    if (c->phase == PHASE_PUMP) {
        pump_inwards(c);
        time_message(c);
    }
    if (c->phase == PHASE_PUMP && c->inward != INWARD_FAILED)
        pump_outwards(c);
    if (c->phase == PHASE_PUMP && c->inward == INWARD_TOLD && c->outward == OUTWARD_CLOSED)
        linger(c);
    if (c->phase == PHASE_LINGER)
        drain(c);
}

/* Conditions of 0 take the descriptor out: poll() reports a hang-up even where nothing is asked
 * for, and the loop would spin. */
static void
watch(SamiTlsConnection *c, Watch *w, int fd, GIOCondition condition)
{
    if (w->condition == condition)
        return;
    if (w->tag && condition)
        g_source_modify_unix_fd(c->source, w->tag, condition);
    else if (w->tag)
        g_source_remove_unix_fd(c->source, g_steal_pointer(&w->tag));
    else
        w->tag = g_source_add_unix_fd(c->source, fd, condition);
    w->condition = condition;
}

static GIOCondition
wanted_of_tls(const SamiTlsConnection *c)
{
    GIOCondition wanted = 0;
    if (c->phase == PHASE_HANDSHAKE)
        return c->handshake_wants;
    if (c->phase == PHASE_LINGER)
        return G_IO_IN;
    if (c->inward == INWARD_READING && !c->session_is_full)
        wanted |= c->read_wants;
    if (c->out_left > 0 || c->outward == OUTWARD_CLOSING)
        wanted |= c->write_wants;
    return wanted;
}

static GIOCondition
wanted_of_session(const SamiTlsConnection *c)
{
    GIOCondition wanted = 0;
    if (c->phase == PHASE_HANDSHAKE)
        return G_IO_HUP;
    if (c->session_is_full)
        wanted |= G_IO_OUT;
    if (c->out_left == 0 && c->inward != INWARD_FAILED && c->outward != OUTWARD_CLOSING)
        wanted |= G_IO_IN;
    return wanted;
}

/* 0 is none. */
static gint64
earlier(gint64 a_us, gint64 b_us)
{
    return !a_us ? b_us : !b_us ? a_us : MIN(a_us, b_us);
}

static void
update_watches(SamiTlsConnection *c)
{
    gint64 wire_us = c->wire->ops->watch(c->wire, c->source, wanted_of_tls(c));
    if (c->session)
        watch(c, &c->session_watch, sami_session_socket_fd(c->session), wanted_of_session(c));
    gint64 ready_us = earlier(earlier(wire_us, c->deadline_us), c->message_end_us);
    g_source_set_ready_time(c->source, c->is_again ? 0 : ready_us ? ready_us : -1);
}

static gboolean
dispatch(GSource *source, GSourceFunc callback, gpointer user_data)
{
    SamiTlsConnection *c = ((ConnectionSource *) source)->connection;
    Watch *w = &c->session_watch;
    gboolean had_session = c->session != NULL;
    run(c);
    if (had_session && !c->session &&
        w->tag) { /* its descriptor is closed, and its number may be another's next */
        g_source_remove_unix_fd(source, g_steal_pointer(&w->tag));
        w->condition = 0;
    }
    if (c->phase != PHASE_DONE) {
        update_watches(c);
        return G_SOURCE_CONTINUE;
    }
    c->events->finished(c, c->user_data);
    sami_tls_connection_free(c);
    return G_SOURCE_REMOVE;
}

/* ---- life ---- */

SamiTlsConnection *
sami_tls_connection_new(SamiTls *tls, SamiWire *wire_take, const gchar *wanted, SamiSessionSocket *session, gint64 deadline_us,
                        GMainContext *context, const SamiTlsEvents *events, gpointer user_data, GError **error)
{
    static GSourceFuncs functions = { .dispatch = dispatch };
    SamiTlsConnection *c = g_new0(SamiTlsConnection, 1);
    c->wire = wire_take;
    c->events = events;
    c->user_data = user_data;
    c->deadline_us = deadline_us;
    c->verdict.wanted = g_strdup(wanted);
    c->read_wants = c->handshake_wants = G_IO_IN;
    c->write_wants = G_IO_OUT;
    c->in = g_malloc(READ_SIZE);
    c->wire->ops->print(c->wire, c->address);
    if (!(c->ssl = c->wire->ops->open(c->wire, tls, &c->verdict, error))) {
        sami_tls_connection_free(c);
        return NULL;
    }
    c->session = session;
    c->source = g_source_new(&functions, sizeof(ConnectionSource));
    ((ConnectionSource *) c->source)->connection = c;
    g_source_set_ready_time(c->source, 0);
    g_source_attach(c->source, context);
    return c;
}

void
sami_tls_connection_review(SamiTlsConnection *c)
{
    /* One whose end was told already (INWARD_TOLD) may still be sent to. */
    if (c->phase != PHASE_PUMP || !c->is_proven || c->inward == INWARD_FAILED || sami_tls_still_believes(c->ssl))
        return;
    fail(c, g_strdup("it is not believed any more since a reload"));
    g_source_set_ready_time(c->source, 0);
}

void
sami_tls_connection_set_patience(SamiTlsConnection *connection, guint max_delay_ms)
{
    connection->patience_us = (gint64) max_delay_ms * 1000;
}

const gchar *
sami_tls_connection_name(const SamiTlsConnection *connection)
{
    return connection->verdict.name;
}

gboolean
sami_tls_connection_is_proven(const SamiTlsConnection *connection)
{
    return connection->is_proven;
}

const gchar *
sami_tls_connection_address(const SamiTlsConnection *connection)
{
    return connection->address;
}

void
sami_tls_connection_free(SamiTlsConnection *c)
{
    if (!c)
        return;
    if (c->source) {
        g_source_destroy(c->source);
        g_source_unref(c->source);
    }
    c->wire->ops->free(c->wire);
    SSL_free(c->ssl);
    sami_tls_verdict_clear(&c->verdict);
    sami_session_socket_free(c->session);
    g_free(c->failure);
    g_free(c->write_failure);
    g_free(c->in);
    g_free(c);
}
