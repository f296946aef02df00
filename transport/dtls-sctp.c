/* DTLS 1.2 over an SCTP association: RFC 6083. One record is one user message; OpenSSL's own flights are cut at the records' headers, because
 * without its own SCTP BIO it hands over several records at once. */
#include <openssl/bio.h>
#include <openssl/ssl.h>
#include <string.h>

#include "transport/dtls-gate.h"
#include "transport/tls-wire.h"

#define LABEL "EXPORTER_DTLS_OVER_SCTP"
/* RFC 6083 §4.4: handshake, ChangeCipherSpec and alerts; and ours for Messages, if the peer takes so many. */
#define STREAM_CONTROL 0u
#define STREAM_DATA 1u
/* An acknowledgement says that the peer's SCTP has a message, not that its DTLS made the key of it: a Finished that comes sooner is dropped
 * there, and repeated after 100 ms at least. */
#define KEY_PAUSE_US 20000
/* The event that a sender is dry may lie behind messages that are not read now. */
#define DRY_POLL_US 5000
#define LEAST_WAIT_US 1000
/* An acknowledgement of ours may have been lost: what the peer repeats under the first key has to be taken a little longer than until its
 * Finished. */
#define KEY_SETTLE_US G_USEC_PER_SEC
/* A window that stays shut: as TCP_USER_TIMEOUT ends it (transport/tcp.c). */
#define STALL_TIMEOUT_US (15 * G_USEC_PER_SEC)
/* Longer than SCTP repeats a close_notify that is lost, until it gives up. */
#define LINGER_US (8 * G_USEC_PER_SEC)
#define MESSAGES_PER_TURN 256

typedef enum {
    KEY_NONE,
    KEY_ADDED,   /* the peer may use it */
    KEY_ACTIVE,  /* we do */
    KEY_SETTLED, /* the first one is gone, as far as we are concerned */
} Key;

typedef struct {
    SamiWire base;
    SamiSctpAssoc *assoc;
    SSL *ssl; /* (transfer none) */
    gboolean is_server;
    Key key;
    SamiDtlsGate *gate;
    GQueue out; /* of GBytes: records that SCTP has not taken; a flight of the handshake, or one record with a Message */
    gint64 pause_until_us, settle_at_us;
    gint64 stalled_us;       /* since when nothing moves, 0: it does */
    guint n_unacknowledged;  /* as it was seen last by can_close() */
    gsize n_handshake;       /* octets that came before the peer's Finished was read */
    guint n_early;           /* records of the second epoch among them */
    GSource *source;         /* (transfer none), only to be compared */
    gchar *failure;
    gboolean is_draining; /* something waits until the peer has everything */
    gboolean is_finishing, is_shut;
} Dtls;

static void
fail(Dtls *dtls, const gchar *reason)
{
    if (!dtls->failure)
        dtls->failure = g_strdup(reason);
}

/* ---- keys (RFC 6083 §4.8) ---- */

/* As soon as there is a master secret: the server's before the client's Finished comes, the client's before its own ChangeCipherSpec goes. */
static void
try_key(Dtls *dtls)
{
    guint8 key[64];
    const SSL_SESSION *session = SSL_get_session(dtls->ssl);
    if (dtls->key != KEY_NONE || !session || SSL_SESSION_get_master_key(session, NULL, 0) == 0)
        return;
    if (SSL_export_keying_material(dtls->ssl, key, sizeof(key), LABEL, strlen(LABEL), NULL, 0, 0) != 1)
        fail(dtls, "no key for SCTP-AUTH can be derived");
    else if (sami_sctp_assoc_add_key(dtls->assoc, key))
        dtls->key = KEY_ADDED;
    explicit_bzero(key, sizeof(key));
}

/* Both Finished are through. */
static void
settle_key(Dtls *dtls)
{
    if (dtls->key != KEY_ACTIVE || !SSL_is_init_finished(dtls->ssl))
        return;
    gint64 now_us = g_get_monotonic_time();
    if (!dtls->settle_at_us && g_queue_is_empty(&dtls->out)) {
        dtls->settle_at_us = now_us + KEY_SETTLE_US;
        sami_sctp_assoc_widen(dtls->assoc);
    }
    if (dtls->settle_at_us && now_us >= dtls->settle_at_us && sami_sctp_assoc_drop_first_key(dtls->assoc)) {
        dtls->key = KEY_SETTLED;
        dtls->settle_at_us = 0;
    }
}

/* ---- records out ---- */

/* RFC 6083 §4.7: nothing may be under way when the cipher changes, for the key changes with it. */
static gboolean
may_change_cipher(Dtls *dtls)
{
    gint64 now_us = g_get_monotonic_time();
    try_key(dtls);
    dtls->is_draining = dtls->key == KEY_ADDED;
    if (dtls->key != KEY_ADDED || sami_sctp_assoc_n_unacknowledged(dtls->assoc) > 0)
        return FALSE;
    dtls->is_draining = FALSE;
    if (dtls->is_server)
        return TRUE;
    if (!dtls->pause_until_us)
        dtls->pause_until_us = now_us + KEY_PAUSE_US;
    return now_us >= dtls->pause_until_us;
}

/* FALSE: it waits. */
static gboolean
send_first(Dtls *dtls)
{
    gsize n;
    const guint8 *record = g_bytes_get_data(g_queue_peek_head(&dtls->out), &n);
    guint8 type = record[0];
    if (type == SAMI_DTLS_CCS && !may_change_cipher(dtls))
        return FALSE;
    guint16 stream = type == SAMI_DTLS_DATA && sami_sctp_assoc_streams(dtls->assoc) > STREAM_DATA ? STREAM_DATA : STREAM_CONTROL;
    if (sami_sctp_assoc_send(dtls->assoc, stream, record, n, type != SAMI_DTLS_DATA) != SAMI_SCTP_DONE) {
        dtls->stalled_us = dtls->stalled_us ? dtls->stalled_us : g_get_monotonic_time();
        return FALSE;
    }
    dtls->stalled_us = 0;
    g_bytes_unref(g_queue_pop_head(&dtls->out));
    if (type == SAMI_DTLS_CCS && sami_sctp_assoc_use_key(dtls->assoc))
        dtls->key = KEY_ACTIVE;
    return TRUE;
}

static void
flush(Dtls *dtls)
{
    while (!g_queue_is_empty(&dtls->out) && send_first(dtls))
        ;
    if (dtls->is_finishing && !dtls->is_shut && g_queue_is_empty(&dtls->out)) {
        sami_sctp_assoc_shutdown(dtls->assoc);
        dtls->is_shut = TRUE;
    }
}

static gboolean
is_over(const Dtls *dtls)
{
    SamiSctpState state = sami_sctp_assoc_state(dtls->assoc);
    return dtls->failure || state == SAMI_SCTP_ENDED || state == SAMI_SCTP_CLOSED || state == SAMI_SCTP_LOST;
}

static int
bio_write(BIO *bio, const char *octets, int n)
{
    Dtls *dtls = BIO_get_data(bio);
    const guint8 *at = (const guint8 *) octets;
    gsize left = n > 0 ? (gsize) n : 0;
    BIO_clear_retry_flags(bio);
    if (is_over(dtls))
        return -1;
    while (left >= SAMI_DTLS_HEADER) {
        gsize length = SAMI_DTLS_HEADER + ((gsize) at[11] << 8 | at[12]);
        if (length > left)
            break;
        g_queue_push_tail(&dtls->out, g_bytes_new(at, length));
        at += length;
        left -= length;
    }
    if (left)
        fail(dtls, "OpenSSL wrote what is no DTLS record");
    flush(dtls);
    return n;
}

/* ---- records in ---- */

/* Nobody knows yet who says so much. */
static const gchar *
find_excess(Dtls *dtls, gboolean is_second, gsize n)
{
    dtls->n_handshake += n;
    dtls->n_early += is_second;
    if (dtls->n_early > SAMI_DTLS_EARLY_MAX)
        return "records came under the key of a handshake that is not done";
    return dtls->n_handshake > SAMI_DTLS_HANDSHAKE_MAX ? "a handshake is longer than any can be" : NULL;
}

/* FALSE: there is none now, or no more. */
static gboolean
receive(Dtls *dtls)
{
    const guint8 *message;
    gsize n;
    guint16 stream;
    g_autoptr(GError) error = NULL;
    if (dtls->failure || sami_sctp_assoc_receive(dtls->assoc, &message, &n, &stream) != SAMI_SCTP_DONE)
        return FALSE;
    gboolean is_first = n >= SAMI_DTLS_HEADER && message[3] == 0 && message[4] == 0, is_done = SSL_is_init_finished(dtls->ssl);
    const gchar *excess = is_done ? NULL : find_excess(dtls, !is_first, n);
    if (excess)
        fail(dtls, excess);
    else if (is_first && is_done)
        fail(dtls, "a record without encryption came after the handshake");
    else if (!sami_dtls_gate_put(dtls->gate, message, n, &error))
        fail(dtls, error->message);
    return !dtls->failure;
}

/* Exactly one record a call, as a datagram socket would give it. -1 without retry once the association is over: OpenSSL then says SYSCALL, and
 * failure() why. */
static int
bio_read(BIO *bio, char *buffer, int size)
{
    Dtls *dtls = BIO_get_data(bio);
    GBytes *record = NULL;
    BIO_clear_retry_flags(bio);
    /* Records that cannot be decrypted OpenSSL drops, and reads on without looking itself (transport/tls-excess.c). */
    if (SSL_get_shutdown(dtls->ssl) & SSL_RECEIVED_SHUTDOWN)
        return -1;
    flush(dtls);
    if (!SSL_is_init_finished(dtls->ssl))
        try_key(dtls);
    while (!(record = sami_dtls_gate_take(dtls->gate)) && receive(dtls))
        ;
    if (!record) {
        if (!is_over(dtls))
            BIO_set_retry_read(bio);
        return -1;
    }
    gsize n;
    const guint8 *octets = g_bytes_get_data(record, &n);
    n = MIN(n, (gsize) MAX(size, 0));
    memcpy(buffer, octets, n);
    g_bytes_unref(record);
    return (int) n;
}

static long
bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    switch (command) {
    case BIO_CTRL_FLUSH:
        return 1;
    case BIO_CTRL_DGRAM_QUERY_MTU:
    case BIO_CTRL_DGRAM_GET_FALLBACK_MTU:
        return SAMI_SCTP_USER_MESSAGE_MAX;
    default:
        return 0;
    }
}

static BIO *
bio_new(Dtls *dtls)
{
    static gsize is_made;
    static BIO_METHOD *method;
    if (g_once_init_enter(&is_made)) {
        method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "sctp");
        BIO_meth_set_write(method, bio_write);
        BIO_meth_set_read(method, bio_read);
        BIO_meth_set_ctrl(method, bio_ctrl);
        g_once_init_leave(&is_made, 1);
    }
    BIO *bio = BIO_new(method);
    if (bio) {
        BIO_set_data(bio, dtls);
        BIO_set_init(bio, 1);
    }
    return bio;
}

/* RFC 6083 §3.5: SCTP repeats what is lost; a second timer would only send flights twice. */
static guint
never_again(SSL *ssl, guint timer_us)
{
    return 4000000000u;
}

/* ---- the wire ---- */

static SSL *
open_ssl(SamiWire *wire, SamiTls *tls, SamiTlsVerdict *verdict, GError **error)
{
    Dtls *dtls = (Dtls *) wire;
    SSL *ssl = sami_tls_open(tls, verdict, -1, error);
    BIO *bio = ssl ? bio_new(dtls) : NULL;
    if (!bio) {
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_bio(ssl, bio, bio);
    SSL_set_mtu(ssl, SAMI_SCTP_USER_MESSAGE_MAX);
    DTLS_set_timer_cb(ssl, never_again);
    return dtls->ssl = ssl;
}

static void
print(const SamiWire *wire, gchar ret_text[SAMI_ADDRESS_TEXT])
{
    g_strlcpy(ret_text, sami_sctp_assoc_address(((const Dtls *) wire)->assoc), SAMI_ADDRESS_TEXT);
}

static void
run(SamiWire *wire)
{
    Dtls *dtls = (Dtls *) wire;
    sami_sctp_assoc_is_woken(dtls->assoc);
    flush(dtls);
    settle_key(dtls);
    if (dtls->stalled_us && g_get_monotonic_time() - dtls->stalled_us >= STALL_TIMEOUT_US)
        fail(dtls, "the peer has taken nothing for 15 s");
}

static gint64
earliest(gint64 a, gint64 b)
{
    return !a ? b : !b ? a : MIN(a, b);
}

static gint64
watch(SamiWire *wire, GSource *source, GIOCondition wanted)
{
    Dtls *dtls = (Dtls *) wire;
    settle_key(dtls);
    if (dtls->source != source) {
        dtls->source = source;
        sami_sctp_assoc_wake(dtls->assoc, source);
    }
    if (sami_sctp_assoc_is_woken(dtls->assoc))
        return 1;
    gint64 now_us = g_get_monotonic_time();
    gint64 pause_us = dtls->is_draining ? now_us + DRY_POLL_US : dtls->key == KEY_ADDED ? dtls->pause_until_us : 0;
    gint64 stall_us = dtls->stalled_us && !dtls->failure ? dtls->stalled_us + STALL_TIMEOUT_US : 0;
    gint64 next_us = earliest(earliest(pause_us, dtls->settle_at_us), stall_us);
    return next_us ? MAX(next_us, now_us + LEAST_WAIT_US) : 0;
}

/* One record at most waits here: OpenSSL would throw away what it cannot write, and give the next one another number. */
static gboolean
can_write(SamiWire *wire)
{
    Dtls *dtls = (Dtls *) wire;
    return g_queue_is_empty(&dtls->out) || is_over(dtls);
}

/* RFC 6083 §4.9: before close_notify, everything has to be acknowledged. */
static gboolean
can_close(SamiWire *wire)
{
    Dtls *dtls = (Dtls *) wire;
    guint n = sami_sctp_assoc_n_unacknowledged(dtls->assoc);
    dtls->is_draining = !is_over(dtls) && (n > 0 || !g_queue_is_empty(&dtls->out));
    if (!dtls->is_draining)
        return TRUE;
    if (n != dtls->n_unacknowledged || !dtls->stalled_us)
        dtls->stalled_us = g_get_monotonic_time();
    dtls->n_unacknowledged = n;
    return FALSE;
}

static const gchar *
doubt(SamiWire *wire)
{
    return SSL_get_extms_support(((Dtls *) wire)->ssl) == 1 ? NULL : "the peer does not speak the Extended Master Secret (RFC 7627)";
}

static const gchar *
failure(SamiWire *wire)
{
    Dtls *dtls = (Dtls *) wire;
    if (dtls->failure || !is_over(dtls))
        return dtls->failure;
    const gchar *reason = sami_sctp_assoc_failure(dtls->assoc);
    return reason ? reason : "truncated: the peer's association ended without close_notify (RFC 6083)";
}

static void
finish(SamiWire *wire)
{
    Dtls *dtls = (Dtls *) wire;
    dtls->is_finishing = TRUE;
    flush(dtls);
}

static SamiWireDrain
drain(SamiWire *wire)
{
    Dtls *dtls = (Dtls *) wire;
    const guint8 *message;
    gsize n;
    guint16 stream;
    for (guint i = 0; i < MESSAGES_PER_TURN; i++) {
        SamiSctpResult result = sami_sctp_assoc_receive(dtls->assoc, &message, &n, &stream);
        SamiSctpState state = sami_sctp_assoc_state(dtls->assoc);
        if (state == SAMI_SCTP_CLOSED || state == SAMI_SCTP_LOST)
            return SAMI_WIRE_OVER;
        if (result != SAMI_SCTP_DONE)
            return SAMI_WIRE_IDLE;
    }
    return SAMI_WIRE_MORE;
}

static void
dtls_free(SamiWire *wire)
{
    Dtls *dtls = (Dtls *) wire;
    sami_sctp_assoc_free(dtls->assoc);
    sami_dtls_gate_free(dtls->gate);
    g_queue_clear_full(&dtls->out, (GDestroyNotify) g_bytes_unref);
    g_free(dtls->failure);
    g_free(dtls);
}

SamiWire *
sami_wire_sctp_new(SamiSctpAssoc *assoc_take, gboolean is_server)
{
    static const SamiWireOps ops = { .transport = 2, .message_max = SAMI_MESSAGE_MAX_SCTP, .linger_us = LINGER_US, .is_framed = TRUE,
                                     .open = open_ssl, .print = print, .run = run, .watch = watch, .can_write = can_write,
                                     .can_close = can_close, .doubt = doubt, .failure = failure, .finish = finish, .drain = drain,
                                     .free = dtls_free };
    Dtls *dtls = g_new0(Dtls, 1);
    dtls->base.ops = &ops;
    dtls->assoc = assoc_take;
    dtls->is_server = is_server;
    dtls->gate = sami_dtls_gate_new();
    g_queue_init(&dtls->out);
    return &dtls->base;
}
