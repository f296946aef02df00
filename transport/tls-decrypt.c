#include <stdarg.h>
#include <string.h>

#include "common/cursor.h"
#include "transport/tls-record.h"

/* Of a handshake message that is looked into; hellos are the large ones, with some keys to choose from. Others are passed over. */
#define MESSAGE_MAX (32u * 1024u)
/* What waits in one direction for the hello of the other, which a capture may have later. */
#define HELD_MAX (64u * 1024u)
/* With a HelloRetryRequest there are two of each (RFC 8446 §4.1.4). */
#define HELLOS_MAX 2u
#define MESSAGE_HEADER 4u

/* HandshakeType, AlertDescription and extensions (RFC 8446 §4, §6, §4.2) */
enum { CLIENT_HELLO = 1, SERVER_HELLO = 2, FINISHED = 20, KEY_UPDATE = 24 };
enum { CLOSE_NOTIFY = 0, USER_CANCELED = 90 };
enum { EXTENSION_EARLY_DATA = 42, EXTENSION_SUPPORTED_VERSIONS = 43 };
#define VERSION_TLS13 0x0304u
#define VERSION_TLS12 0x0303u

/* What the next record of a direction is protected with. */
typedef enum { STAGE_PLAIN, STAGE_HANDSHAKE, STAGE_APPLICATION, STAGE_CLOSED } Stage;

typedef struct {
    const gchar *name;
    SamiTlsSecretKind handshake, application;
    Stage stage;
    guint n_hellos;
    guint64 n_records;   /* whole ones, from 1 */
    GByteArray *record;  /* what is there of the next one, with its header */
    GByteArray *message; /* what is there of the next handshake message, with its header … */
    gsize n_passed;      /* … or how much is still to come of one that is passed over */
    GByteArray *held;    /* (nullable) behind `record`, which waits for the other direction's hello */
    SamiTlsKeys *keys;   /* (nullable) from STAGE_HANDSHAKE on */
    GError *fault;       /* (nullable) why it cannot be read on */
} Direction;

enum { CLIENT, SERVER };

struct SamiTlsDecrypt {
    const SamiKeyLog *log;
    gboolean has_random;
    guint8 random[SAMI_TLS_RANDOM]; /* of the ClientHello */
    const SamiTlsSuite *suite;      /* (nullable) of the ServerHello */
    gboolean is_retried;            /* there was a HelloRetryRequest */
    Direction directions[2];
};

/* SHA-256 of "HelloRetryRequest" (RFC 8446 §4.1.3) */
static const guint8 retry_random[SAMI_TLS_RANDOM] = {
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
};

SamiTlsDecrypt *
sami_tls_decrypt_new(const SamiKeyLog *log)
{
    SamiTlsDecrypt *tls = g_new0(SamiTlsDecrypt, 1);
    tls->log = log;
    tls->directions[CLIENT] = (Direction){ .name = "client", .handshake = SAMI_TLS_CLIENT_HANDSHAKE, .application = SAMI_TLS_CLIENT_APPLICATION };
    tls->directions[SERVER] = (Direction){ .name = "server", .handshake = SAMI_TLS_SERVER_HANDSHAKE, .application = SAMI_TLS_SERVER_APPLICATION };
    for (guint i = 0; i < G_N_ELEMENTS(tls->directions); i++) {
        tls->directions[i].record = g_byte_array_new();
        tls->directions[i].message = g_byte_array_new();
    }
    return tls;
}

/* Nothing more of this direction is looked at. */
static void
release(Direction *d)
{
    g_clear_pointer(&d->keys, sami_tls_keys_free);
    g_clear_pointer(&d->record, g_byte_array_unref);
    g_clear_pointer(&d->message, g_byte_array_unref);
    g_clear_pointer(&d->held, g_byte_array_unref);
}

void
sami_tls_decrypt_free(SamiTlsDecrypt *tls)
{
    if (!tls)
        return;
    for (guint i = 0; i < G_N_ELEMENTS(tls->directions); i++) {
        release(&tls->directions[i]);
        g_clear_error(&tls->directions[i].fault);
    }
    g_free(tls);
}

static gboolean G_GNUC_PRINTF(3, 4)
fail(const Direction *d, GError **error, const gchar *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree gchar *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED, "TLS record %" G_GUINT64_FORMAT " of the %s: %s", d->n_records, d->name, text);
    return FALSE;
}

/* --- hellos (RFC 8446 §4.1.2, §4.1.3) --- */

/* A vector with its length in front of it, in n_length octets. */
static SamiReader
read_vector(SamiReader *r, guint n_length)
{
    SamiReader inner = { 0 };
    gsize n = sami_reader_uint(r, n_length);
    const guint8 *octets = sami_reader_take(r, n);
    if (octets)
        sami_reader_init(&inner, octets, n);
    return inner;
}

/* FALSE: there is none. */
static gboolean
find_extension(SamiReader extensions, guint16 wanted, SamiReader *ret)
{
    while (!extensions.is_bad && sami_reader_left(&extensions) > 0) {
        guint16 type = (guint16) sami_reader_uint(&extensions, 2);
        SamiReader value = read_vector(&extensions, 2);
        if (!extensions.is_bad && type == wanted) {
            *ret = value;
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean
take_client_hello(SamiTlsDecrypt *tls, Direction *d, SamiReader *r, GError **error)
{
    SamiReader value;
    sami_reader_uint(r, 2); /* legacy_version */
    const guint8 *random = sami_reader_take(r, SAMI_TLS_RANDOM);
    read_vector(r, 1); /* legacy_session_id */
    read_vector(r, 2); /* cipher_suites */
    read_vector(r, 1); /* legacy_compression_methods */
    SamiReader extensions = sami_reader_left(r) > 0 ? read_vector(r, 2) : *r;
    if (r->is_bad || !random)
        return fail(d, error, "a ClientHello that is cut short (RFC 8446 §4.1.2)");
    if (find_extension(extensions, EXTENSION_EARLY_DATA, &value))
        return fail(d, error, "the ClientHello offers early data, which is not read (RFC 8446 §4.2.10)");
    if (tls->has_random && memcmp(tls->random, random, sizeof tls->random) != 0)
        return fail(d, error, "a second ClientHello with another random (RFC 8446 §4.1.2)");
    memcpy(tls->random, random, sizeof tls->random);
    tls->has_random = TRUE;
    return TRUE;
}

static gboolean
take_server_hello(SamiTlsDecrypt *tls, Direction *d, SamiReader *r, GError **error)
{
    SamiReader value;
    guint version = (guint) sami_reader_uint(r, 2); /* legacy_version, of TLS 1.2 the version */
    const guint8 *random = sami_reader_take(r, SAMI_TLS_RANDOM);
    read_vector(r, 1); /* legacy_session_id_echo */
    guint16 suite = (guint16) sami_reader_uint(r, 2);
    sami_reader_uint(r, 1); /* legacy_compression_method */
    SamiReader extensions = sami_reader_left(r) > 0 ? read_vector(r, 2) : *r;
    if (r->is_bad || !random)
        return fail(d, error, "a ServerHello that is cut short (RFC 8446 §4.1.3)");
    if (find_extension(extensions, EXTENSION_SUPPORTED_VERSIONS, &value))
        version = (guint) sami_reader_uint(&value, 2);
    if (version == VERSION_TLS12)
        return fail(d, error, "it chose TLS 1.2; only TLS 1.3 can be read: let one end offer nothing else (RFC 8446 §4.2.1)");
    if (version != VERSION_TLS13)
        return fail(d, error, "it chose version 0x%04x; only TLS 1.3, 0x0304, can be read (RFC 8446 §4.2.1)", version);
    if (memcmp(random, retry_random, sizeof retry_random) == 0) {
        if (tls->is_retried)
            return fail(d, error, "a second HelloRetryRequest (RFC 8446 §4.1.4)");
        tls->is_retried = TRUE;
        return TRUE;
    }
    if (tls->suite)
        return fail(d, error, "a second ServerHello (RFC 8446 §4.1.3)");
    tls->suite = sami_tls_suite_find(suite);
    return tls->suite ? TRUE
                      : fail(d, error, "it chose cipher suite 0x%04x, which is not read; TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384 and "
                                       "TLS_CHACHA20_POLY1305_SHA256 are (RFC 8446 §B.4)", suite);
}

/* --- handshake messages (RFC 8446 §4) --- */

/* FALSE with `error`: there is no such secret, or it is none for this cipher suite. */
static gboolean
take_keys(SamiTlsDecrypt *tls, Direction *d, SamiTlsSecretKind kind, GError **error)
{
    const SamiTlsSecret *secret = sami_key_log_find(tls->log, tls->random, kind);
    GString *random = g_string_new(NULL);
    for (guint i = 0; i < sizeof tls->random; i++)
        g_string_append_printf(random, "%02x", tls->random[i]);
    g_autofree gchar *text = g_string_free(random, FALSE);
    if (!secret)
        return fail(d, error, "no secret for this connection in the key log: no line %s %s; the log of either end will do, if it was on when "
                              "the connection was made", sami_tls_secret_label(kind), text);
    sami_tls_keys_free(d->keys);
    d->keys = sami_tls_keys_new(tls->suite, secret, error);
    if (!d->keys)
        g_prefix_error(error, "TLS record %" G_GUINT64_FORMAT " of the %s: ", d->n_records, d->name);
    return d->keys != NULL;
}

/* What a message means for the keys of its direction. `r` is at its body. */
static gboolean
take_message(SamiTlsDecrypt *tls, Direction *d, guint8 type, SamiReader *r, gboolean *ret_is_key_change, GError **error)
{
    gboolean is_client = d == &tls->directions[CLIENT];
    *ret_is_key_change = TRUE;
    if (d->stage == STAGE_PLAIN) {
        if (type != (is_client ? CLIENT_HELLO : SERVER_HELLO) || ++d->n_hellos > HELLOS_MAX)
            return fail(d, error, "handshake message %u where a hello belongs (RFC 8446 §4.1)", type);
        return is_client ? take_client_hello(tls, d, r, error) : take_server_hello(tls, d, r, error);
    }
    if (d->stage == STAGE_HANDSHAKE && type == FINISHED) {
        d->stage = STAGE_APPLICATION;
        return take_keys(tls, d, d->application, error);
    }
    if (d->stage == STAGE_APPLICATION && type == KEY_UPDATE) {
        guint8 request = (guint8) sami_reader_uint(r, 1);
        if (r->is_bad || sami_reader_left(r) > 0 || request > 1)
            return fail(d, error, "a KeyUpdate that is none (RFC 8446 §4.6.3)");
        return sami_tls_keys_update(d->keys, error);
    }
    *ret_is_key_change = FALSE;
    if (type == CLIENT_HELLO || type == SERVER_HELLO || type == KEY_UPDATE)
        return fail(d, error, "handshake message %u out of its place (RFC 8446 §4)", type);
    return TRUE;
}

static gboolean
is_in_message(const Direction *d)
{
    return d->message->len > 0 || d->n_passed > 0;
}

/* With its header, as far as that is there. */
static gsize
message_size(const GByteArray *message)
{
    const guint8 *octets = message->data;
    return MESSAGE_HEADER + (message->len < MESSAGE_HEADER ? 0 : (gsize) octets[1] << 16 | (gsize) octets[2] << 8 | octets[3]);
}

/* The header is there, and maybe more. */
static gboolean
look_at_message(SamiTlsDecrypt *tls, Direction *d, gboolean is_at_end, GError **error)
{
    static const guint8 kept[] = { CLIENT_HELLO, SERVER_HELLO, FINISHED, KEY_UPDATE };
    gsize n = message_size(d->message);
    guint8 type = d->message->data[0];
    gboolean is_key_change;
    SamiReader body;
    if (d->stage != STAGE_PLAIN && !memchr(kept, type, sizeof kept)) {
        d->n_passed = n - MESSAGE_HEADER;
        g_byte_array_set_size(d->message, 0);
        return TRUE;
    }
    if (n > MESSAGE_MAX)
        return fail(d, error, "handshake message %u of %" G_GSIZE_FORMAT " octets; up to %u are read", type, n, MESSAGE_MAX);
    if (d->message->len < n)
        return TRUE;
    sami_reader_init(&body, d->message->data + MESSAGE_HEADER, n - MESSAGE_HEADER);
    if (!take_message(tls, d, type, &body, &is_key_change, error))
        return FALSE;
    if (is_key_change && !is_at_end)
        return fail(d, error, "handshake message %u is not at the end of its record, and keys change behind it (RFC 8446 §5.1)", type);
    g_byte_array_set_size(d->message, 0);
    return TRUE;
}

static gboolean
take_handshake(SamiTlsDecrypt *tls, Direction *d, const guint8 *content, gsize length, GError **error)
{
    if (length == 0)
        return fail(d, error, "a handshake record with nothing in it (RFC 8446 §5.1)");
    while (length > 0) {
        gsize part = MIN(length, d->n_passed > 0 ? d->n_passed : message_size(d->message) - d->message->len);
        if (d->n_passed > 0)
            d->n_passed -= part;
        else
            g_byte_array_append(d->message, content, (guint) part);
        content += part;
        length -= part;
        if (d->message->len >= MESSAGE_HEADER && !look_at_message(tls, d, length == 0, error))
            return FALSE;
    }
    return TRUE;
}

/* --- records (RFC 8446 §5) --- */

static gboolean
take_alert(Direction *d, const guint8 *content, gsize length, GError **error)
{
    if (length != 2)
        return fail(d, error, "an alert of %" G_GSIZE_FORMAT " octets, not 2 (RFC 8446 §6)", length);
    if (content[1] == USER_CANCELED) /* close_notify follows (§6.1) */
        return TRUE;
    if (content[1] != CLOSE_NOTIFY)
        return fail(d, error, "it ended the session with alert %u (RFC 8446 §6.2)", content[1]);
    d->stage = STAGE_CLOSED;
    return TRUE;
}

static gboolean
take_content(SamiTlsDecrypt *tls, Direction *d, guint8 type, const guint8 *content, gsize length, GByteArray *plain, GError **error)
{
    if (type != SAMI_TLS_HANDSHAKE && is_in_message(d))
        return fail(d, error, "type %u in the middle of a handshake message (RFC 8446 §5.1)", type);
    switch (type) {
    case SAMI_TLS_HANDSHAKE: return take_handshake(tls, d, content, length, error);
    case SAMI_TLS_ALERT: return take_alert(d, content, length, error);
    case SAMI_TLS_APPLICATION_DATA:
        if (d->stage != STAGE_APPLICATION)
            return fail(d, error, "application data before Finished (RFC 8446 §2)");
        g_byte_array_append(plain, content, (guint) length);
        return TRUE;
    default: return fail(d, error, "content type %u has no place there (RFC 8446 §5.1)", type);
    }
}

static gboolean
take_protected(SamiTlsDecrypt *tls, Direction *d, guint8 *record, gsize length, GByteArray *plain, GError **error)
{
    g_autoptr(GError) local = NULL;
    gsize n;
    guint8 type;
    if (d->stage == STAGE_PLAIN) {
        if (is_in_message(d))
            return fail(d, error, "a protected record in the middle of a hello (RFC 8446 §5.1)");
        if (!take_keys(tls, d, d->handshake, error))
            return FALSE;
        d->stage = STAGE_HANDSHAKE;
    }
    if (!sami_tls_keys_open(d->keys, record, record + SAMI_TLS_RECORD_HEADER, length, &n, &type, &local))
        return fail(d, error, "%s", local->message);
    return take_content(tls, d, type, record + SAMI_TLS_RECORD_HEADER, n, plain, error);
}

/* A whole record: header and `length` octets. */
static gboolean
take_record(SamiTlsDecrypt *tls, Direction *d, guint8 *record, gsize length, GByteArray *plain, GError **error)
{
    const guint8 *body = record + SAMI_TLS_RECORD_HEADER;
    switch (record[0]) {
    case SAMI_TLS_APPLICATION_DATA: return take_protected(tls, d, record, length, plain, error);
    case SAMI_TLS_CHANGE_CIPHER_SPEC: /* RFC 8446 §5, §D.4: means nothing */
        if (d->stage == STAGE_APPLICATION || length != 1 || body[0] != 1)
            return fail(d, error, "a change_cipher_spec that is none (RFC 8446 §5)");
        return TRUE;
    default:
        if (d->stage != STAGE_PLAIN)
            return fail(d, error, "type %u without protection (RFC 8446 §5)", record[0]);
        return take_content(tls, d, record[0], body, length, plain, error);
    }
}

static gboolean
check_header(const Direction *d, const guint8 *header, gsize length, GError **error)
{
    gboolean is_first = d->n_records == 1;
    if (header[0] < SAMI_TLS_CHANGE_CIPHER_SPEC || header[0] > SAMI_TLS_APPLICATION_DATA || header[1] != 3)
        return fail(d, error, is_first ? "not TLS: octets %02x %02x are no record header (RFC 8446 §5.1)"
                                       : "octets %02x %02x are no record header (RFC 8446 §5.1)", header[0], header[1]);
    if (is_first && header[0] == SAMI_TLS_APPLICATION_DATA)
        return fail(d, error, "it does not begin with a hello: the capture has to begin before the connection does");
    if (length == 0 || length > (header[0] == SAMI_TLS_APPLICATION_DATA ? SAMI_TLS_RECORD_MAX : SAMI_TLS_FRAGMENT_MAX))
        return fail(d, error, "type %u of %" G_GSIZE_FORMAT " octets (RFC 8446 §5.1, §5.2)", header[0], length);
    return TRUE;
}

/* Its keys follow from both hellos. */
static gboolean
is_waiting(const SamiTlsDecrypt *tls, const Direction *d)
{
    return d->record->data[0] == SAMI_TLS_APPLICATION_DATA && (!tls->has_random || !tls->suite);
}

static gboolean
hold(const SamiTlsDecrypt *tls, Direction *d, const guint8 *octets, gsize n, GError **error)
{
    const gchar *other = d == &tls->directions[CLIENT] ? "server" : "client";
    if (!d->held)
        d->held = g_byte_array_new();
    if (n > HELD_MAX - d->held->len)
        return fail(d, error, "the hello of the %s is not in the capture", other);
    g_byte_array_append(d->held, octets, (guint) n);
    return TRUE;
}

static gboolean
read_octets(SamiTlsDecrypt *tls, Direction *d, const guint8 *octets, gsize n, GByteArray *plain, GError **error)
{
    while (d->stage != STAGE_CLOSED) {
        gboolean has_header = d->record->len >= SAMI_TLS_RECORD_HEADER;
        gsize length = has_header ? (gsize) d->record->data[3] << 8 | d->record->data[4] : 0;
        gsize part = MIN(n, SAMI_TLS_RECORD_HEADER + length - d->record->len);
        if (part > 0) { /* octets may be NULL */
            g_byte_array_append(d->record, octets, (guint) part);
            octets += part;
            n -= part;
        }
        if (d->record->len < SAMI_TLS_RECORD_HEADER + length)
            return TRUE;
        if (!has_header) {
            d->n_records++;
            if (!check_header(d, d->record->data, (gsize) d->record->data[3] << 8 | d->record->data[4], error))
                return FALSE;
            continue;
        }
        if (is_waiting(tls, d))
            return hold(tls, d, octets, n, error);
        if (!take_record(tls, d, d->record->data, length, plain, error))
            return FALSE;
        g_byte_array_set_size(d->record, 0);
    }
    return TRUE;
}

gboolean
sami_tls_decrypt_feed(SamiTlsDecrypt *tls, gboolean is_from_client, const guint8 *octets, gsize n, GByteArray *plain,
                      gboolean *ret_is_closed, GError **error)
{
    Direction *d = &tls->directions[is_from_client ? CLIENT : SERVER], *other = &tls->directions[is_from_client ? SERVER : CLIENT];
    g_autoptr(GByteArray) held = g_steal_pointer(&d->held);
    if (!d->fault && other->fault && !tls->suite) /* a hello that is of no use is of none to either */
        d->fault = g_error_copy(other->fault);
    if (!d->fault && d->stage != STAGE_CLOSED && (!held || read_octets(tls, d, held->data, held->len, plain, &d->fault)))
        read_octets(tls, d, octets, n, plain, &d->fault);
    if (d->fault || d->stage == STAGE_CLOSED)
        release(d);
    *ret_is_closed = d->stage == STAGE_CLOSED;
    if (!d->fault)
        return TRUE;
    if (error)
        *error = g_error_copy(d->fault);
    return FALSE;
}
