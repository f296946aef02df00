#include "replay/send-session.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/loop.h"
#include "transport/daemon.h"
#include "transport/session.h"

#define REQUEST 1u
#define CLOSE_TIMEOUT_S 10u /* as the connector keeps a session that has nothing more to say */

typedef enum {
    WAITING, /* for OPEN */
    GREETED, /* the hello is out */
    BOUND,
    CLOSING, /* the last Message is in the queue */
    BROKEN,  /* what cannot be encoded: told from the loop */
    OVER,
} State;

/* Signed when the socket takes it: a slow peer never sees a stale signature. */
typedef struct {
    GBytes *body;
    guint64 counter;
    gboolean is_last;
} Unsent;

struct ReplaySession {
    const SamiConfig *config;
    const SamiConfigPeer *peer;
    SamiKey *key;
    GPtrArray *peer_keys; /* of SamiKey; NULL: a peer without receipts */
    ReplaySessionOps ops;
    gpointer user_data;
    State state;
    pid_t connector;
    int channel;
    GSource *channel_source;
    SamiSessionSocket *socket;
    GSource *source;
    gpointer tag;
    SamiFrameOpen open;
    SamiStream *stream;
    GQueue out;       /* of Unsent */
    gsize n_out;      /* octets of them */
    guint8 *scratch;  /* the Message that is being signed */
    gboolean is_close_due, has_closed;
    guint64 n_messages;
    guint timer, breaker;
    gchar *awaited;
    gchar *failure; /* of BROKEN */
    SamiAnswerUnder under; /* of the Message that is being read */
    gchar hex[SAMI_MIGRATION_ID_TEXT];
};

static guint64
now_ms(void)
{
    return (guint64) (g_get_monotonic_time() / 1000);
}

static void
destroy(GSource **source)
{
    if (*source)
        g_source_destroy(*source);
    g_clear_pointer(source, g_source_unref);
}

static void
end(ReplaySession *s, ReplaySessionEnd how, SamiReason reason, const gchar *text)
{
    if (s->state == OVER)
        return;
    s->state = OVER;
    g_clear_handle_id(&s->timer, g_source_remove);
    s->ops.ended(how, reason, text, s->user_data);
}

static gboolean
on_timeout(gpointer user_data)
{
    ReplaySession *s = user_data;
    s->timer = 0;
    if (s->state == CLOSING) { /* everything was said; whether it closes is its own affair */
        end(s, REPLAY_SESSION_CLOSED, SAMI_REASON_NONE, "");
    } else {
        g_autofree gchar *text = g_strdup_printf("no answer to the %s", s->awaited);
        end(s, REPLAY_SESSION_SILENT, SAMI_REASON_NONE, text);
    }
    return G_SOURCE_REMOVE;
}

void
replay_session_expect(ReplaySession *s, guint seconds, const gchar *what)
{
    g_clear_handle_id(&s->timer, g_source_remove);
    g_free(s->awaited);
    s->awaited = g_strdup(what);
    if (seconds > 0 && s->state != OVER)
        s->timer = g_timeout_add_seconds(seconds, on_timeout, s);
}

static gboolean
on_broken(gpointer user_data)
{
    ReplaySession *s = user_data;
    s->breaker = 0;
    end(s, REPLAY_SESSION_LOST, SAMI_REASON_NONE, s->failure);
    return G_SOURCE_REMOVE;
}

static void
break_off(ReplaySession *s, const gchar *why)
{
    if (s->state >= BROKEN)
        return;
    s->state = BROKEN;
    s->failure = g_strdup(why);
    s->breaker = sami_idle_add(on_broken, s);
}

/* --- out --- */

static void
unsent_free(gpointer data)
{
    g_bytes_unref(((Unsent *) data)->body);
    g_free(data);
}

gboolean
replay_session_is_full(const ReplaySession *s)
{
    return s->n_out >= SAMI_UNSENT_MAX;
}

static void
update(ReplaySession *s)
{
    gboolean has_work = !g_queue_is_empty(&s->out) || s->is_close_due;
    if (s->source)
        g_source_modify_unix_fd(s->source, s->tag, G_IO_IN | (has_work ? G_IO_OUT : 0));
}

/* FALSE: the socket is full, or gone, and then its reader tells. */
static gboolean
write_one(ReplaySession *s)
{
    Unsent *unsent = g_queue_peek_head(&s->out);
    gsize n;
    const guint8 *body = g_bytes_get_data(unsent->body, &n);
    memcpy(s->scratch, body, n);
    gsize length = sami_stream_seal(s->stream, s->scratch, n, unsent->counter, now_ms(), unsent->is_last);
    if (!sami_session_socket_send(s->socket, SAMI_FRAME_MESSAGE, s->scratch, length, NULL))
        return FALSE;
    s->is_close_due = unsent->is_last;
    s->n_out -= n;
    s->n_messages++;
    unsent_free(g_queue_pop_head(&s->out));
    return TRUE;
}

/* TRUE: there is room where there was none. */
static gboolean
write_out(ReplaySession *s)
{
    gboolean was_full = replay_session_is_full(s);
    while (s->socket && !g_queue_is_empty(&s->out) && write_one(s))
        ;
    if (s->socket && s->is_close_due && sami_session_socket_send(s->socket, SAMI_FRAME_CLOSE, NULL, 0, NULL)) {
        s->is_close_due = FALSE;
        s->has_closed = TRUE;
        replay_session_expect(s, CLOSE_TIMEOUT_S, "end");
    }
    update(s);
    return was_full && !replay_session_is_full(s);
}

static void
queue(ReplaySession *s, gboolean is_last)
{
    guint8 *message;
    gsize length;
    Unsent *unsent = g_new0(Unsent, 1);
    g_autoptr(GError) error = NULL;
    unsent->is_last = is_last;
    if (!sami_stream_end(s->stream, (guint32) (g_get_real_time() / G_USEC_PER_SEC), &message, &length, &unsent->counter, &error)) {
        g_free(unsent);
        break_off(s, error->message);
        return;
    }
    unsent->body = g_bytes_new(message, length);
    g_queue_push_tail(&s->out, unsent);
    s->n_out += length;
}

guint64
replay_session_flush(ReplaySession *s, gboolean is_last)
{
    if (s->state != BOUND)
        return 0;
    guint64 counter = s->stream->counter_out;
    if (is_last || sami_encoder_pending(s->stream->encoder) > 0)
        queue(s, is_last);
    if (is_last && s->state == BOUND)
        s->state = CLOSING;
    write_out(s);
    return counter;
}

static gboolean
add(ReplaySession *s, const SamiRecord *record)
{
    g_autoptr(GError) error = NULL;
    if (sami_encoder_add(s->stream->encoder, record, &error))
        return TRUE;
    if (g_error_matches(error, SAMI_ERROR, SAMI_ERROR_FULL)) {
        queue(s, FALSE);
        write_out(s);
        g_clear_error(&error);
        if (s->state < BROKEN && sami_encoder_add(s->stream->encoder, record, &error))
            return TRUE;
    }
    if (error)
        break_off(s, error->message);
    return FALSE;
}

void
replay_session_add(ReplaySession *s, const SamiRecord *record)
{
    if (s->state == BOUND)
        add(s, record);
}

static void
say_hello(ReplaySession *s)
{
    SamiRecord record = { .kind = SAMI_RECORD_HELLO };
    s->stream = sami_stream_new(SAMI_ROLE_EXPORTER, s->key, s->open.ekm, s->open.message_max, now_ms(), s->config->max_delay_ms);
    s->stream->peer_keys = s->peer_keys;
    sami_random(s->stream->migration_id, 16);
    sami_random(s->stream->nonce_e, 32);
    sami_migration_id_text(s->stream->migration_id, s->hex);
    record.hello = (SamiHello){ .version = 1, .pen = SAMI_PEN, .opening = SAMI_OPENING_NEW };
    memcpy(record.hello.nonce, s->stream->nonce_e, 32);
    sami_key_public(s->key, record.hello.public_key);
    g_strlcpy(record.hello.destination, s->peer->name, sizeof record.hello.destination);
    s->state = GREETED;
    if (!add(s, &record))
        return;
    queue(s, FALSE);
    write_out(s);
    if (s->peer_keys) {
        replay_session_expect(s, s->config->max_delay_ms / 1000 + 1, "hello within max-delay");
    } else if (s->state == GREETED) {
        s->state = BOUND;
        s->ops.bound(NULL, s->user_data);
    }
}

/* --- in --- */

static void
on_hello_reply(ReplaySession *s, const SamiHelloReply *reply)
{
    g_autofree gchar *doubt = sami_answer_doubt_hello_reply(s->stream, reply, s->open.message_max);
    if (doubt || reply->next_counter != 1) {
        end(s, REPLAY_SESSION_DISBELIEVED, SAMI_REASON_PROTOCOL, doubt ? doubt : "the hello-reply asks for another Message than the next one");
        return;
    }
    memcpy(s->stream->nonce_c, reply->nonce_c, 32);
    sami_stream_bind(s->stream, s->peer->name);
    replay_session_expect(s, 0, NULL);
    s->state = BOUND;
    s->ops.bound(reply, s->user_data);
}

static void
on_record(const SamiRecord *record, gpointer user_data)
{
    ReplaySession *s = user_data;
    if (s->state >= BROKEN)
        return;
    if (record->kind == SAMI_RECORD_REFUSAL && record->refusal.scope == SAMI_SCOPE_MESSAGE) {
        g_autofree gchar *detail = g_strndup(record->refusal.detail, sizeof record->refusal.detail);
        end(s, REPLAY_SESSION_REFUSED, sami_reason_is_known(record->refusal.reason) ? (SamiReason) record->refusal.reason : SAMI_REASON_NONE, detail);
    } else if (s->under != SAMI_UNDER_SESSION) {
        if (s->state == GREETED && s->under == SAMI_UNDER_OPENING && record->kind == SAMI_RECORD_HELLO_REPLY)
            on_hello_reply(s, &record->hello_reply);
        else
            end(s, REPLAY_SESSION_DISBELIEVED, SAMI_REASON_PROTOCOL, "more than a hello-reply or a refusal before the session is bound");
    } else if (!s->ops.answered(record, s->user_data)) {
        end(s, REPLAY_SESSION_DISBELIEVED, SAMI_REASON_PROTOCOL, "an answer that cannot be");
    }
}

static void
on_message(ReplaySession *s, guint8 *message, gsize length)
{
    SamiReason reason = SAMI_REASON_MALFORMED;
    gboolean is_last, is_bound = s->state == BOUND || s->state == CLOSING;
    g_autoptr(GError) error = NULL;
    if (!s->stream || !s->peer_keys || s->has_closed) /* a plain collector has no key that we know; after the last word there is nothing to be said */
        return;
    gboolean is_valid = sami_answer_verify(s->stream, is_bound, message, length, now_ms(), &s->under, &reason, &is_last, &error) &&
                        sami_stream_decode(s->stream, message, length, on_record, s, &error);
    if (!is_valid)
        end(s, REPLAY_SESSION_DISBELIEVED, reason, error->message);
}

static void
on_frame(ReplaySession *s, SamiFrameType type, guint8 *payload, gsize length)
{
    g_autoptr(GError) error = NULL;
    g_autofree gchar *text = NULL;
    ReplaySessionEnd how = s->has_closed ? REPLAY_SESSION_CLOSED : s->state == WAITING ? REPLAY_SESSION_UNREACHABLE : REPLAY_SESSION_LOST;
    switch (type) {
    case SAMI_FRAME_OPEN:
        if (s->state != WAITING || !sami_frame_open_parse(payload, length, &s->open, &error))
            end(s, REPLAY_SESSION_LOST, SAMI_REASON_NONE, error ? error->message : "two OPEN frames");
        else
            say_hello(s);
        return;
    case SAMI_FRAME_MESSAGE: on_message(s, payload, length); return;
    case SAMI_FRAME_CLOSE: end(s, how, SAMI_REASON_NONE, "the collector closed the session"); return;
    default:
        text = g_strndup((const gchar *) payload, MIN(length, 1024));
        end(s, how, SAMI_REASON_NONE, text);
    }
}

static gboolean
on_ready(GIOCondition condition, gpointer user_data)
{
    ReplaySession *s = user_data;
    gboolean is_drained = (condition & G_IO_OUT) && write_out(s);
    for (guint i = 0; s->state != OVER && i < 16; i++) {
        SamiFrameType type;
        guint8 *payload;
        gsize length;
        g_autoptr(GError) error = NULL;
        SamiReceive receive = sami_session_socket_receive(s->socket, &type, &payload, &length, &error);
        if (receive == SAMI_RECEIVE_AGAIN)
            break;
        if (receive == SAMI_RECEIVE_FRAME)
            on_frame(s, type, payload, length);
        else
            end(s, s->has_closed ? REPLAY_SESSION_CLOSED : REPLAY_SESSION_LOST, SAMI_REASON_NONE,
                error ? error->message : "the connector closed the session");
    }
    if (is_drained && s->state == BOUND)
        s->ops.drained(s->user_data);
    return s->state != OVER;
}

/* --- the connector --- */

static gboolean
on_channel(GIOCondition condition, gpointer user_data)
{
    ReplaySession *s = user_data;
    SamiChannelType type;
    guint32 request = 0;
    int fd = -1;
    g_autofree gchar *text = NULL;
    g_autoptr(GError) error = NULL;
    SamiReceive receive = sami_channel_receive(s->channel, &type, &request, &text, &fd, &error);
    if (receive == SAMI_RECEIVE_AGAIN)
        return G_SOURCE_CONTINUE;
    if (receive != SAMI_RECEIVE_FRAME) {
        end(s, REPLAY_SESSION_UNREACHABLE, SAMI_REASON_NONE, error ? error->message : "the connector has ended");
        return G_SOURCE_REMOVE;
    }
    if (type == SAMI_CHANNEL_SESSION && request == REQUEST && fd >= 0 && !s->socket) {
        s->socket = sami_session_socket_new(fd);
        s->source = sami_fd_source_new(fd, G_IO_IN, on_ready, s, &s->tag);
        return G_SOURCE_CONTINUE;
    }
    if (fd >= 0)
        close(fd);
    else if (*text)
        end(s, REPLAY_SESSION_UNREACHABLE, SAMI_REASON_NONE, text);
    return G_SOURCE_CONTINUE;
}

static gboolean
start_connector(ReplaySession *s, GError **error)
{
    const gchar *user = s->config->user && *s->config->user ? s->config->user : NULL;
    SamiNetworkConfig network = sami_daemon_network_config(s->config);
    g_autoptr(GPtrArray) peers = network.peers;
    int channel[2];
    if (network.is_sctp && !sami_sctp_prepare(&network.sctp, NULL, error))
        return FALSE;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) != 0) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "socketpair: %s", g_strerror(errno));
        return FALSE;
    }
    s->connector = fork();
    if (s->connector == 0) {
        close(channel[1]);
        setpgid(0, 0); /* a Ctrl-C is ours to answer, over its session */
        _exit(sami_connector_run(&network, channel[0], user));
    }
    close(channel[0]);
    s->channel = channel[1];
    if (s->connector < 0) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "fork: %s", g_strerror(errno));
        return FALSE;
    }
    return TRUE;
}

ReplaySession *
replay_session_new(const SamiConfig *config, GError **error)
{
    g_autoptr(ReplaySession) s = g_new0(ReplaySession, 1);
    s->config = config;
    s->channel = -1;
    s->scratch = g_malloc(SAMI_MESSAGE_MAX + SAMI_SIGNATURE_SET);
    g_queue_init(&s->out);
    return start_connector(s, error) ? g_steal_pointer(&s) : NULL;
}

gboolean
replay_session_open(ReplaySession *s, const SamiConfigPeer *peer, SamiKey *key, const ReplaySessionOps *ops, gpointer user_data, GError **error)
{
    s->peer = peer;
    s->key = key;
    s->ops = *ops;
    s->user_data = user_data;
    if (peer->receipts && !(s->peer_keys = sami_keys_load_public(peer->signing_key_file, SAMI_TRUST_PUBLIC, error)))
        return FALSE;
    if (!sami_channel_send(s->channel, SAMI_CHANNEL_CONNECT, REQUEST, peer->name, -1, error))
        return FALSE;
    s->channel_source = sami_fd_source_new(s->channel, G_IO_IN, on_channel, s, NULL);
    return TRUE;
}

void
replay_session_free(ReplaySession *s)
{
    if (!s)
        return;
    s->state = OVER;
    g_clear_handle_id(&s->timer, g_source_remove);
    g_clear_handle_id(&s->breaker, g_source_remove);
    destroy(&s->source);
    destroy(&s->channel_source);
    g_clear_pointer(&s->socket, sami_session_socket_free);
    if (s->channel >= 0)
        close(s->channel);
    while (s->connector > 0 && waitpid(s->connector, NULL, 0) < 0 && errno == EINTR)
        ;
    g_queue_clear_full(&s->out, unsent_free);
    sami_stream_free(s->stream);
    g_clear_pointer(&s->peer_keys, g_ptr_array_unref);
    g_free(s->awaited);
    g_free(s->failure);
    g_free(s->scratch);
    g_free(s);
}

const gchar *
replay_session_id(const ReplaySession *s)
{
    return s->hex;
}

guint64
replay_session_n_messages(const ReplaySession *s)
{
    return s->n_messages;
}
