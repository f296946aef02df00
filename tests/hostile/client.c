#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/cursor.h"
#include "tests/hostile/hostile.h"
#include "transport/address.h"

/* No answer within this time is a failure; nothing here waits for it otherwise. */
#define ANSWER_TIMEOUT_S 10

static guint64
now_ms(void)
{
    return (guint64) (g_get_monotonic_time() / 1000);
}

static int
connect_to(const gchar *endpoint)
{
    const struct timeval timeout = { .tv_sec = ANSWER_TIMEOUT_S };
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };
    struct addrinfo *info = NULL;
    g_autofree gchar *host = NULL, *port = NULL;
    g_autoptr(GError) error = NULL;
    if (!sami_address_split(endpoint, &host, &port, &error) || getaddrinfo(host, port, &hints, &info) != 0)
        die("%s: no address", endpoint);
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, info->ai_addr, info->ai_addrlen) != 0)
        die("%s: %s", endpoint, g_strerror(errno));
    freeaddrinfo(info);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    return fd;
}

/* What OpenSSL waits for, where it does not wait itself. */
static gboolean
may_try_again(Client *c, int result, gint64 begun_us)
{
    int error = SSL_get_error(c->ssl, result);
    return c->wire && (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) &&
           client_sctp_wait(c, begun_us + ANSWER_TIMEOUT_S * G_USEC_PER_SEC);
}

static gboolean
open_tls(Client *c)
{
    gint64 begun_us = g_get_monotonic_time();
    int result;
    const Identity *identity = c->identity;
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) peers = g_ptr_array_new();
    SamiPeer peer = { .name = identity->peer->name, .addresses = identity->peer->addresses,
                      .certificate_file = identity->peer->certificate_file };
    g_ptr_array_add(peers, &peer);
    SamiNetworkConfig network = {
        .certificate_file = (gchar *) (identity->certificate ? identity->certificate : identity->config->certificate),
        .key_file = (gchar *) (identity->key ? identity->key : identity->config->key),
        .peers = peers,
        .is_sctp = g_str_equal(identity->config->transport, "sctp"),
    };
    c->tls = sami_tls_new(&network, FALSE, &error);
    c->verdict.wanted = g_strdup(identity->peer->name);
    if (c->tls && network.is_sctp)
        c->ssl = client_sctp_open(c, ANSWER_TIMEOUT_S * G_USEC_PER_SEC, &error);
    else if (c->tls)
        c->ssl = sami_tls_open(c->tls, &c->verdict, connect_to(peer.addresses[0]), &error);
    if (!c->ssl)
        die("%s", error->message);
    if (!identity->certificate)
        SSL_certs_clear(c->ssl);
    do
        ERR_clear_error();
    while ((result = SSL_connect(c->ssl)) != 1 && may_try_again(c, result, begun_us));
    return result == 1;
}

static gchar *
explain(Client *c, int result)
{
    int saved_errno = errno;
    return sami_tls_explain(SSL_get_error(c->ssl, result), saved_errno);
}

Client *
client_new(const Identity *identity, const guint8 migration_id[16], gchar **ret_alert)
{
    guint8 ekm[32];
    Client *c = g_new0(Client, 1);
    c->identity = identity;
    c->key = identity->signing_key;
    c->lease_s = 30;
    c->body = g_byte_array_new();
    c->in = g_byte_array_new();
    c->heard = g_byte_array_new();
    c->sent = g_ptr_array_new_with_free_func((GDestroyNotify) g_bytes_unref);
    c->answers = g_string_new(NULL);
    if (!open_tls(c)) {
        *ret_alert = c->verdict.reason ? g_strdup(c->verdict.reason) : explain(c, -1);
        client_free(c);
        return NULL;
    }
    if (!sami_tls_export(c->ssl, ekm))
        die("no exporter value");
    c->stream = sami_stream_new(SAMI_ROLE_EXPORTER, c->key, ekm, c->wire ? SAMI_MESSAGE_MAX_SCTP : SAMI_MESSAGE_MAX, now_ms(), 60000);
    c->stream->peer_key = identity->peer_key;
    if (migration_id)
        memcpy(c->stream->migration_id, migration_id, 16);
    else
        sami_random(c->stream->migration_id, 16);
    sami_random(c->stream->nonce_e, 32);
    return c;
}

void
client_free(Client *c)
{
    gboolean is_orderly = c->ssl && SSL_is_init_finished(c->ssl) && !c->is_cut;
    if (is_orderly && c->wire)
        client_sctp_close(c);
    else if (is_orderly)
        SSL_shutdown(c->ssl);
    if (c->wire)
        c->wire->ops->free(c->wire);
    else if (c->ssl)
        close(SSL_get_fd(c->ssl));
    SSL_free(c->ssl);
    sami_tls_free(c->tls);
    sami_tls_verdict_clear(&c->verdict);
    sami_stream_free(c->stream);
    g_byte_array_unref(c->body);
    g_byte_array_unref(c->in);
    g_byte_array_unref(c->heard);
    g_ptr_array_unref(c->sent);
    g_string_free(c->answers, TRUE);
    g_free(c->reason);
    g_free(c);
}

/* ---- Messages out ---- */

void
client_add(Client *c, const SamiRecord *record)
{
    g_autoptr(GError) error = NULL;
    if (sami_encoder_add(c->stream->encoder, record, &error))
        return;
    if (!g_error_matches(error, SAMI_ERROR, SAMI_ERROR_FULL))
        die("cannot encode: %s", error->message);
    client_send(c);
    g_clear_error(&error);
    if (!sami_encoder_add(c->stream->encoder, record, &error))
        die("cannot encode: %s", error->message);
}

void
client_prepare(Client *c)
{
    const guint8 *message;
    gsize length;
    g_autoptr(GError) error = NULL;
    c->n_next = sami_encoder_pending(c->stream->encoder) + 1;
    if (!sami_stream_take(c->stream, now_ms(), (guint32) (g_get_real_time() / G_USEC_PER_SEC), FALSE, &message, &length, &error) ||
        !sami_signature_read(message, length, &c->fields, &error))
        die("%s", error->message);
    g_byte_array_set_size(c->body, 0);
    g_byte_array_append(c->body, message, (guint) (length - SAMI_SIGNATURE_SET));
    SamiWriter w; /* without the signature; and the encoder does not know of Messages that were built here */
    sami_writer_init(&w, c->body->data + 2, 2);
    sami_writer_uint(&w, c->body->len, 2);
    sami_writer_init(&w, c->body->data + 8, 4);
    sami_writer_uint(&w, c->sequence, 4);
}

void
client_set_body(Client *c, const guint8 *sets, gsize length, guint n_records)
{
    g_byte_array_set_size(c->body, SAMI_MESSAGE_HEADER);
    g_byte_array_append(c->body, sets, (guint) length);
    c->n_next = n_records + 1;
}

void
client_seal(Client *c)
{
    guint length = c->body->len;
    g_byte_array_set_size(c->body, length + SAMI_SIGNATURE_SET);
    sami_signature_seal(c->key, &c->fields, c->body->data, length);
}

void
client_transmit_octets(Client *c, const guint8 *octets, gsize length)
{
    for (gsize n = 0; length > 0; octets += n, length -= n) { /* the context allows partial writes */
        if (c->wire && !client_sctp_wait_for_room(c, g_get_monotonic_time() + ANSWER_TIMEOUT_S * G_USEC_PER_SEC))
            die("no room for %zu octets", length);
        ERR_clear_error();
        if (SSL_write_ex(c->ssl, octets, length, &n) != 1)
            die("cannot write %zu octets", length);
    }
}

void
client_transmit(Client *c)
{
    client_transmit_octets(c, c->body->data, c->body->len);
    g_ptr_array_add(c->sent, g_bytes_new(c->body->data, c->body->len));
    c->sequence += c->n_next;
}

void
client_send(Client *c)
{
    client_prepare(c);
    client_seal(c);
    client_transmit(c);
}

void
client_close(Client *c, gboolean is_orderly)
{
    c->is_cut = TRUE;
    if (is_orderly)
        SSL_shutdown(c->ssl);
    else
        shutdown(SSL_get_fd(c->ssl), SHUT_WR);
}

/* ---- what an honest exporter says first ---- */

void
client_fill_hello(Client *c, SamiRecord *record)
{
    *record = (SamiRecord){ .kind = SAMI_RECORD_HELLO, .hello = { .version = 1, .pen = SAMI_PEN, .opening = 1 } };
    memcpy(record->hello.nonce, c->stream->nonce_e, 32);
    sami_key_public(c->key, record->hello.public_key);
    g_strlcpy(record->hello.destination, c->identity->peer->name, sizeof record->hello.destination);
}

void
client_hello(Client *c)
{
    SamiRecord record;
    client_fill_hello(c, &record);
    client_add(c, &record);
    client_send(c);
    client_answer(c);
    if (!c->is_bound)
        die("no hello-reply: %s", c->answers->str);
    g_string_truncate(c->answers, 0);
}

static SamiPrefix
prefix(const gchar *text)
{
    SamiPrefix prefix;
    if (!sami_prefix_parse(text, &prefix, NULL))
        die("%s is no prefix", text);
    return prefix;
}

void
client_add_begin(Client *c, guint n_addresses)
{
    SamiRecord record = { .kind = SAMI_RECORD_VM_ADDRESS4 };
    for (guint i = 0; i < n_addresses; i++) {
        g_autofree gchar *text = g_strdup_printf("10.0.0.%u", 13 + i);
        record.vm_address = prefix(text);
        client_add(c, &record);
    }
    record = (SamiRecord){ .kind = SAMI_RECORD_VM_ADDRESS6 };
    record.vm_address = prefix("2001:db8:a::13");
    client_add(c, &record);
    record = (SamiRecord){ .kind = SAMI_RECORD_BEGIN,
                           .begin = { .n_addresses = (guint16) (n_addresses + 1), .lease_s = c->lease_s, .kinds = SAMI_KIND_SESSION | SAMI_KIND_EXPECTATION } };
    g_strlcpy(record.begin.destination, c->identity->peer->name, sizeof record.begin.destination);
    client_add(c, &record);
}

void
client_begin(Client *c)
{
    client_add_begin(c, 1);
    client_send(c);
}

/* The flow that every case would like to have at the destination. */
SamiSession
honest_session(void)
{
    SamiSession s = { .has = SAMI_HAS_STATUS | SAMI_HAS_TIMEOUT | SAMI_HAS_TCP | SAMI_HAS_REPLY, .action = SAMI_ACTION_CREATED,
                      .status = SAMI_IPS_SEEN_REPLY | SAMI_IPS_ASSURED | SAMI_IPS_CONFIRMED, .timeout_s = 300,
                      .tcp_state = SAMI_TCP_STATE_ESTABLISHED };
    s.key.family = 4;
    s.key.protocol = IPPROTO_TCP;
    s.key.orig.src = prefix("10.0.0.13").address;
    s.key.orig.dst = prefix("198.51.100.10").address;
    s.key.orig.src_port = 1001;
    s.key.orig.dst_port = 443;
    sami_flow_key_mirror(&s.key, &s.reply);
    return s;
}

SamiSession
honest_session_of(guint16 port)
{
    SamiSession s = honest_session();
    s.key.orig.src_port = port;
    sami_flow_key_mirror(&s.key, &s.reply);
    return s;
}

/* And what its helper waits for. */
SamiExpectation
honest_expectation(void)
{
    SamiSession master = honest_session();
    SamiExpectation e = { .key = master.key, .master = master.key, .action = SAMI_ACTION_CREATED, .timeout_s = 100,
                          .has = SAMI_EXPECT_HAS_HELPER, .helper = "ftp" };
    e.key.orig = (SamiTuple){ master.key.orig.dst, master.key.orig.src, 0, 4000 };
    memset(&e.mask_src, 0xff, 4);
    return e;
}

/* ---- answers ---- */

static void
on_hello_reply(Client *c, const SamiHelloReply *reply)
{
    if (c->is_bound || memcmp(reply->nonce_e, c->stream->nonce_e, 32) != 0)
        die("the hello-reply answers another hello");
    memcpy(c->stream->nonce_c, reply->nonce_c, 32);
    sami_stream_bind(c->stream, c->identity->peer->name);
    c->is_bound = c->is_answered = TRUE;
}

static void
on_record(const SamiRecord *record, gpointer user_data)
{
    Client *c = user_data;
    switch (record->kind) {
    case SAMI_RECORD_HELLO_REPLY: on_hello_reply(c, &record->hello_reply); return;
    case SAMI_RECORD_REFUSAL:
        g_string_append_printf(c->answers, "%s %s: %.*s\n", record->refusal.scope == SAMI_SCOPE_MESSAGE ? "refused" : "record",
                               sami_reason_id(record->refusal.reason), (int) sizeof record->refusal.detail, record->refusal.detail);
        if (!c->reason)
            c->reason = g_strdup(sami_reason_id(record->refusal.reason));
        c->is_answered |= record->refusal.scope == SAMI_SCOPE_MESSAGE;
        return;
    case SAMI_RECORD_RECEIPT:
        g_string_append_printf(c->answers, "receipt %u: %" G_GUINT64_FORMAT " accepted, %" G_GUINT64_FORMAT " refused\n",
                               record->receipt.phase, record->receipt.n_accepted, record->receipt.n_refused);
        if (record->receipt.n_accepted && !c->may_accept)
            die("the collector accepted what it had to refuse: %s", c->answers->str);
        c->is_answered = TRUE;
        return;
    case SAMI_RECORD_KIND_COUNT:
        if (record->kind_count.n_applied > c->may_expect)
            die("the collector expects what it had to refuse: %s", c->answers->str);
        return;
    case SAMI_RECORD_REASON_COUNT:
        if (c->may_accept)
            g_string_append_printf(c->answers, "count %s %s: %" G_GUINT64_FORMAT "\n", record->reason_count.scope == SAMI_SCOPE_DEGRADED ? "degraded" : "refused",
                                   sami_reason_id(record->reason_count.reason), record->reason_count.count);
        return;
    default: die("a record of kind %d as an answer", record->kind);
    }
}

/* As exporter/link.c does it: the refusal of a Message 1 that could not be attributed carries migration id zero. */
static void
read_answer(Client *c, guint8 *message, gsize length)
{
    static const guint8 zero[16] = { 0 };
    SamiSignature signature;
    SamiReason reason;
    gboolean is_last;
    guint8 id[16];
    g_autoptr(GError) error = NULL;
    memcpy(id, c->stream->migration_id, 16);
    if (!c->is_bound && sami_signature_read(message, length, &signature, NULL) && memcmp(signature.migration_id, zero, 16) == 0)
        memcpy(c->stream->migration_id, zero, 16);
    if (!sami_stream_verify(c->stream, message, length, now_ms(), &reason, &is_last, &error) ||
        !sami_stream_decode(c->stream, message, length, on_record, c, &error))
        die("an answer is not to be believed: %s", error->message);
    memcpy(c->stream->migration_id, id, 16);
}

static gboolean
read_more(Client *c)
{
    guint8 octets[4096];
    gsize n = 0;
    gint64 begun_us = g_get_monotonic_time();
    int result;
    do {
        ERR_clear_error();
        errno = 0;
        result = SSL_read_ex(c->ssl, octets, sizeof octets, &n);
    } while (result != 1 && may_try_again(c, result, begun_us));
    if (result == 1) {
        g_byte_array_append(c->in, octets, (guint) n);
        return TRUE;
    }
    if (SSL_get_error(c->ssl, result) == SSL_ERROR_ZERO_RETURN) {
        g_string_append(c->answers, "closed\n");
        return FALSE;
    }
    g_autofree gchar *text = explain(c, result);
    g_string_append_printf(c->answers, "alert %s\n", text);
    return FALSE;
}

void
client_answer(Client *c)
{
    c->is_answered = FALSE;
    while (!c->is_answered) {
        gsize length = c->in->len < 4 ? 0 : (gsize) c->in->data[2] << 8 | c->in->data[3];
        if (c->in->len < 4 || c->in->len < length) {
            if (!read_more(c))
                return;
            continue;
        }
        g_byte_array_set_size(c->heard, 0);
        g_byte_array_append(c->heard, c->in->data, (guint) length);
        read_answer(c, c->in->data, length);
        g_byte_array_remove_range(c->in, 0, (guint) length);
    }
}
