/* TLS of OpenSSL's own making, read from its octets and its key log. */
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/harness.h"
#include "tests/unit/tls-recording.h"
#include "transport/tls-decrypt.h"
#include "transport/tls-key-log.h"

static gchar *directory;
static Recording recording;

static int
set_up(void)
{
    directory = g_dir_make_tmp("sami-tls-XXXXXX", NULL);
    return directory ? 0 : 1;
}

static int
tear_down(void)
{
    static const gchar *const names[] = { "tls.crt", "tls.key", "key-log" };
    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree gchar *path = g_build_filename(directory, names[i], NULL);
        g_unlink(path);
    }
    int status = g_rmdir(directory);
    g_clear_pointer(&directory, g_free);
    return status;
}

static SamiKeyLog *
load(const gchar *text, gssize n, GError **error)
{
    g_autofree gchar *path = g_build_filename(directory, "key-log", NULL);
    g_assert(g_file_set_contents(path, text, n, NULL));
    return sami_key_log_load(path, error);
}

/* --- reading --- */

typedef struct {
    GByteArray *plain[2];
    gboolean is_closed[2];
    gchar *fault[2]; /* (nullable) */
} Reading;

static void
reading_clear(Reading *reading)
{
    for (guint i = 0; i < 2; i++) {
        g_clear_pointer(&reading->plain[i], g_byte_array_unref);
        g_clear_pointer(&reading->fault[i], g_free);
    }
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Reading, reading_clear)

static void
reading_init(Reading *reading)
{
    *reading = (Reading){ { g_byte_array_new(), g_byte_array_new() }, { FALSE, FALSE }, { NULL, NULL } };
}

/* In pieces of `step` octets. A fault stays. */
static void
feed(SamiTlsDecrypt *tls, guint sender, const guint8 *octets, gsize n, gsize step, Reading *reading)
{
    gsize at = 0;
    do {
        g_autoptr(GError) error = NULL;
        gsize part = MIN(step, n - at);
        g_autofree guint8 *copy = g_memdup2(octets + at, part); /* AddressSanitizer sees who reads behind it */
        gboolean is_fine = sami_tls_decrypt_feed(tls, sender == CLIENT, copy, part, reading->plain[sender], &reading->is_closed[sender], &error);
        CU_ASSERT_EQUAL(is_fine, !error);
        CU_ASSERT(!reading->fault[sender] || (error && g_str_equal(error->message, reading->fault[sender])));
        if (error && !reading->fault[sender]) {
            CU_ASSERT_EQUAL(error->code, SAMI_ERROR_MALFORMED);
            reading->fault[sender] = g_strdup(error->message);
        }
        at += part;
    } while (at < n);
}

/* All that was recorded, in its order. */
static void
read_all(const Recording *r, const SamiKeyLog *log, gsize step, Reading *reading)
{
    g_autoptr(SamiTlsDecrypt) tls = sami_tls_decrypt_new(log);
    gsize at[2] = { 0, 0 };
    reading_init(reading);
    for (guint i = 0; i < r->order->len; i++) {
        const Piece *piece = &g_array_index(r->order, Piece, i);
        feed(tls, piece->sender, r->wire[piece->sender]->data + at[piece->sender], piece->n, step, reading);
        at[piece->sender] += piece->n;
    }
}

static gboolean
is_beginning(const GByteArray *a, const GByteArray *b)
{
    return a->len <= b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

static gboolean
is_same(const GByteArray *a, const GByteArray *b)
{
    return a->len == b->len && is_beginning(a, b);
}

static void
expect_all(const Recording *r, const Reading *reading)
{
    for (guint i = 0; i < 2; i++) {
        CU_ASSERT_PTR_NULL(reading->fault[i]);
        if (reading->fault[i])
            g_printerr("%s\n", reading->fault[i]);
        CU_ASSERT(is_same(r->said[i], reading->plain[i]));
        CU_ASSERT(is_same(r->said[i], r->heard[i]));
        CU_ASSERT(reading->is_closed[i]);
    }
}

static void
expect_read(const Recording *r)
{
    static const gsize steps[] = { 1, 3, 5, 1000, G_MAXSIZE };
    g_autoptr(SamiKeyLog) log = load(r->key_log->str, -1, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(steps); i++) {
        g_auto(Reading) reading = { 0 };
        read_all(r, log, steps[i], &reading);
        expect_all(r, &reading);
    }
}

/* Both directions say why in these words. */
static void
expect_fault(const Recording *r, const gchar *key_log, const gchar *of_client, const gchar *of_server)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(SamiKeyLog) log = load(key_log, -1, &error);
    g_auto(Reading) reading = { 0 };
    const gchar *const wanted[] = { of_client, of_server };
    if (error)
        g_printerr("%s\n", error->message);
    CU_ASSERT_PTR_NOT_NULL_FATAL(log);
    read_all(r, log, G_MAXSIZE, &reading);
    for (guint i = 0; i < 2; i++) {
        gboolean is_as_wanted = wanted[i] ? reading.fault[i] && strstr(reading.fault[i], wanted[i]) : !reading.fault[i];
        CU_ASSERT(is_as_wanted);
        if (!is_as_wanted)
            g_printerr("not '%s': %s\n", wanted[i] ? wanted[i] : "fine", reading.fault[i] ? reading.fault[i] : "fine");
    }
}

/* --- what is recorded --- */

static void
begin(const gchar *suites)
{
    recording_init(&recording, directory);
    for (guint i = 0; i < 2; i++)
        g_assert(SSL_CTX_set_ciphersuites(recording.contexts[i], suites) == 1);
}

/* Data both ways, new keys both ways. */
static void
talk(Recording *r)
{
    g_assert(recording_open(r));
    recording_say(r, CLIENT, 1);
    recording_say(r, SERVER, 16384);
    recording_say(r, CLIENT, 40000); /* several records */
    recording_update(r, CLIENT);
    recording_say(r, CLIENT, 500);
    recording_say(r, SERVER, 500);
    recording_update(r, SERVER);
    recording_update(r, SERVER);
    recording_say(r, SERVER, 16385);
    recording_say(r, CLIENT, 77);
    recording_close(r);
}

static void
record_short(const gchar *suites)
{
    begin(suites);
    g_assert(recording_open(&recording));
    recording_say(&recording, CLIENT, 100);
    recording_say(&recording, SERVER, 30);
    recording_close(&recording);
}

/* --- tests --- */

static void
test_suites(void)
{
    static const gchar *const suites[] = { "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256" };
    for (guint i = 0; i < G_N_ELEMENTS(suites); i++) {
        begin(suites[i]);
        talk(&recording);
        expect_read(&recording);
        recording_clear(&recording);
    }
}

static void
test_padding(void)
{
    begin("TLS_AES_128_GCM_SHA256");
    for (guint i = 0; i < 2; i++)
        SSL_CTX_set_block_padding(recording.contexts[i], 1024);
    talk(&recording);
    expect_read(&recording);
    recording_clear(&recording);
}

/* HelloRetryRequest, hellos over several records, and a client that says nothing for compatibility. */
static void
test_hellos(void)
{
    guint8 protocols[600];
    for (guint i = 0; i < sizeof protocols; i++)
        protocols[i] = i % 100 ? 'x' : 99;
    begin("TLS_AES_256_GCM_SHA384");
    SSL_CTX_set1_groups_list(recording.contexts[CLIENT], "X25519:P-256");
    SSL_CTX_set1_groups_list(recording.contexts[SERVER], "P-256");
    SSL_CTX_set_alpn_protos(recording.contexts[CLIENT], protocols, sizeof protocols);
    for (guint i = 0; i < 2; i++)
        SSL_CTX_set_max_send_fragment(recording.contexts[i], 512);
    talk(&recording);
    expect_read(&recording);
    recording_clear(&recording);
    begin("TLS_AES_128_GCM_SHA256");
    SSL_CTX_clear_options(recording.contexts[CLIENT], SSL_OP_ENABLE_MIDDLEBOX_COMPAT);
    talk(&recording);
    expect_read(&recording);
    recording_clear(&recording);
}

/* All of one direction before the other. */
static void
test_one_after_the_other(void)
{
    record_short("TLS_AES_128_GCM_SHA256");
    g_autoptr(SamiKeyLog) log = load(recording.key_log->str, -1, NULL);
    for (guint first = 0; first < 2; first++) {
        g_autoptr(SamiTlsDecrypt) tls = sami_tls_decrypt_new(log);
        g_auto(Reading) reading = { 0 };
        reading_init(&reading);
        for (guint i = 0; i < 2; i++) {
            guint sender = first ^ i;
            feed(tls, sender, recording.wire[sender]->data, recording.wire[sender]->len, 100, &reading);
        }
        CU_ASSERT_EQUAL(reading.plain[first]->len, 0); /* waits */
        feed(tls, first, NULL, 0, 1, &reading);
        expect_all(&recording, &reading);
    }
    recording_clear(&recording);
}

/* What waits is bounded. */
static void
test_no_hello(void)
{
    guint8 record[5 + 16384] = { 23, 3, 3, 16384 >> 8, 0 };
    record_short("TLS_AES_128_GCM_SHA256");
    g_autoptr(SamiKeyLog) log = load(recording.key_log->str, -1, NULL);
    g_autoptr(SamiTlsDecrypt) tls = sami_tls_decrypt_new(log);
    g_auto(Reading) reading = { 0 };
    reading_init(&reading);
    feed(tls, SERVER, recording.wire[SERVER]->data, recording.wire[SERVER]->len, G_MAXSIZE, &reading);
    for (guint i = 0; i < 5; i++)
        feed(tls, SERVER, record, sizeof record, G_MAXSIZE, &reading);
    CU_ASSERT(reading.fault[SERVER] && strstr(reading.fault[SERVER], "hello of the client is not in the capture"));
    recording_clear(&recording);
}

static void
test_other_versions(void)
{
    begin("TLS_AES_128_GCM_SHA256");
    SSL_CTX_set_max_proto_version(recording.contexts[SERVER], TLS1_2_VERSION);
    talk(&recording);
    expect_fault(&recording, recording.key_log->str, "it chose TLS 1.2; only TLS 1.3", "it chose TLS 1.2; only TLS 1.3");
    recording_clear(&recording);
    begin("TLS_AES_128_CCM_SHA256");
    talk(&recording);
    expect_fault(&recording, recording.key_log->str, "0x1304", "cipher suite 0x1304, which is not read");
    recording_clear(&recording);
}

/* A server that does not like the client says so in its last record. */
static void
test_alert(void)
{
    begin("TLS_AES_128_GCM_SHA256");
    SSL_CTX_clear_chain_certs(recording.contexts[CLIENT]);
    SSL_CTX *bare = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_keylog_callback(bare, SSL_CTX_get_keylog_callback(recording.contexts[CLIENT]));
    SSL_CTX_free(recording.contexts[CLIENT]);
    recording.contexts[CLIENT] = bare;
    CU_ASSERT(!recording_open(&recording) || SSL_read(recording.ssl[CLIENT], &(guint8){ 0 }, 1) <= 0);
    expect_fault(&recording, recording.key_log->str, NULL, "ended the session with alert 116");
    recording_clear(&recording);
}

/* With the lines that begin like `label` left out, or with another digit at their end. */
static gchar *
change_log(const gchar *text, const gchar *label, gboolean is_removed)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    GString *changed = g_string_new(NULL);
    for (guint i = 0; lines[i]; i++) {
        gsize n = strlen(lines[i]);
        gboolean is_meant = n > 0 && g_str_has_prefix(lines[i], label);
        if (is_meant && is_removed)
            continue;
        if (is_meant)
            lines[i][n - 1] = lines[i][n - 1] == '0' ? '1' : '0';
        g_string_append_printf(changed, "%s%s", lines[i], n ? "\n" : "");
    }
    return g_string_free(changed, FALSE);
}

static void
test_secrets(void)
{
    static const struct {
        const gchar *label;
        guint direction;
    } rows[] = { { "CLIENT_HANDSHAKE_TRAFFIC_SECRET", CLIENT }, { "SERVER_HANDSHAKE_TRAFFIC_SECRET", SERVER },
                 { "CLIENT_TRAFFIC_SECRET_0", CLIENT }, { "SERVER_TRAFFIC_SECRET_0", SERVER } };
    record_short("TLS_AES_256_GCM_SHA384");
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree gchar *without = change_log(recording.key_log->str, rows[i].label, TRUE);
        g_autofree gchar *wrong = change_log(recording.key_log->str, rows[i].label, FALSE);
        g_autofree gchar *text = g_strdup_printf("no secret for this connection in the key log: no line %s ", rows[i].label);
        gboolean is_client = rows[i].direction == CLIENT;
        expect_fault(&recording, without, is_client ? text : NULL, is_client ? NULL : text);
        expect_fault(&recording, wrong, is_client ? "does not decrypt" : NULL, is_client ? NULL : "does not decrypt");
    }
    expect_fault(&recording, "# nothing\n", "no secret for this connection", "no secret for this connection");
    /* of the other hash */
    g_autofree gchar *random = g_strndup(strchr(recording.key_log->str, ' ') + 1, 64);
    g_autofree gchar *zero = g_strnfill(64, '0');
    g_autofree gchar *shorter = g_strdup_printf("CLIENT_HANDSHAKE_TRAFFIC_SECRET %s %s\nSERVER_HANDSHAKE_TRAFFIC_SECRET %s %s\n",
                                                random, zero, random, zero);
    expect_fault(&recording, shorter, "of 32 octets; those of the connection's cipher suite are of 48", "of 32 octets");
    recording_clear(&recording);
}

static void
expect_bad_log(const gchar *text, gssize n, const gchar *why)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(SamiKeyLog) log = load(text, n, &error);
    CU_ASSERT(!log && g_error_matches(error, SAMI_ERROR, SAMI_ERROR_MALFORMED) && strstr(error->message, why));
    if (error && !strstr(error->message, why))
        g_printerr("not '%s': %s\n", why, error->message);
}

static void
test_key_log(void)
{
    g_autoptr(GError) error = NULL;
    record_short("TLS_AES_256_GCM_SHA384");
    const gchar *text = recording.key_log->str;
    /* Cut anywhere: the lines before it count, its last one is refused, or is of no concern. */
    for (gsize n = 0; n <= recording.key_log->len; n++) {
        g_autoptr(SamiKeyLog) log = load(text, (gssize) n, &error);
        CU_ASSERT(log || g_error_matches(error, SAMI_ERROR, SAMI_ERROR_MALFORMED));
        g_clear_error(&error);
    }
    g_autofree gchar *random = g_strndup(strchr(text, ' ') + 1, 64), *secret = g_strnfill(64, 'b');
    g_autofree gchar *line = g_strdup_printf("CLIENT_TRAFFIC_SECRET_0 %s %s", random, secret);
    g_autofree gchar *cut = g_strndup(line, strlen(line) - 1), *twice = g_strdup_printf("%s\r\n\n%s\r\n", line, line);
    g_autofree gchar *two = g_strdup_printf("# a\n%s\nCLIENT_TRAFFIC_SECRET_0 %s %s%s\n", line, random, secret, secret + 32);
    g_autofree gchar *longer = g_strdup_printf("%s%s%s%s\n", line, secret, secret, secret), *comment = g_strnfill(5000, '#');
    g_autoptr(SamiKeyLog) log = load(twice, -1, &error);
    CU_ASSERT(log && !error);
    expect_bad_log(cut, -1, "line 1: a secret has to be 64 or 96");
    expect_bad_log(two, -1, "line 3: a line before it has another secret");
    expect_bad_log("CLIENT_TRAFFIC_SECRET_0", -1, "line 1: cut short");
    expect_bad_log("SERVER_TRAFFIC_SECRET_0 1234 5678\n", -1, "line 1: the random");
    expect_bad_log(longer, -1, "line 1: longer than any");
    expect_bad_log("CLIENT_TRAFFIC_SECRET_0 \0 ", 26, "line 1: longer than any secret, or with NUL");
    g_autoptr(SamiKeyLog) others = load(comment, -1, &error);
    CU_ASSERT(others && !error);
    CU_ASSERT(!sami_key_log_load("/nonexistent/file", &error) && g_error_matches(error, SAMI_ERROR, SAMI_ERROR_FAILED));
    g_clear_error(&error);
    CU_ASSERT(!sami_key_log_load(directory, &error) && g_error_matches(error, SAMI_ERROR, SAMI_ERROR_FAILED));
    recording_clear(&recording);
}

/* A file to write to, refused for this reason. */
static void
expect_not_opened(const gchar *path, const gchar *why)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(SamiTlsKeyLog) log = sami_tls_key_log_open(path, &error);
    CU_ASSERT(!log && g_error_matches(error, SAMI_ERROR, SAMI_ERROR_CONFIG) && strstr(error->message, why));
    if (error && !strstr(error->message, why))
        g_printerr("not '%s': %s\n", why, error->message);
}

static void
on_warning(const gchar *domain, GLogLevelFlags level, const gchar *message, gpointer n)
{
    (*(guint *) n)++;
}

/* The disk is full in the middle of a line: said once, and the half line stays the last. */
static void
expect_end(SamiTlsKeyLog *log, const gchar *path, gsize n)
{
    struct rlimit before, now;
    guint n_warnings = 0;
    gsize length;
    g_autofree gchar *text = NULL;
    guint handler = g_log_set_handler("sami", G_LOG_LEVEL_WARNING, on_warning, &n_warnings);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    now = before;
    now.rlim_cur = n + 5;
    setrlimit(RLIMIT_FSIZE, &now);
    for (guint i = 0; i < 3; i++)
        sami_tls_key_log_write(log, "CLIENT_RANDOM and more");
    setrlimit(RLIMIT_FSIZE, &before);
    sami_tls_key_log_write(log, "CLIENT_RANDOM and more");
    g_log_remove_handler("sami", handler);
    CU_ASSERT_EQUAL(n_warnings, 1);
    CU_ASSERT(g_file_get_contents(path, &text, &length, NULL) && length == n + 5);
}

static void
test_writing(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree gchar *path = g_build_filename(directory, "key-log", NULL), *link = g_build_filename(directory, "link", NULL);
    static const gchar *const lines[] = { "CLIENT_TRAFFIC_SECRET_0 a", "b" };
    struct stat info;
    g_autofree gchar *text = NULL;
    g_unlink(path);
    for (guint i = 0; i < 2; i++) { /* it goes on where it ended */
        g_autoptr(SamiTlsKeyLog) log = sami_tls_key_log_open(path, &error);
        CU_ASSERT_PTR_NOT_NULL_FATAL(log);
        sami_tls_key_log_write(log, lines[i]);
    }
    CU_ASSERT(g_file_get_contents(path, &text, NULL, NULL) && g_str_equal(text, "CLIENT_TRAFFIC_SECRET_0 a\nb\n"));
    CU_ASSERT(stat(path, &info) == 0 && (info.st_mode & 0777) == 0600);
    g_assert(symlink(path, link) == 0);
    expect_not_opened(link, "is a symbolic link");
    g_unlink(link);
    g_assert(mkfifo(link, 0600) == 0);
    expect_not_opened(link, ""); /* nobody reads, or no plain file */
    g_unlink(link);
    expect_not_opened(directory, "");
    expect_not_opened("/nonexistent/key-log", "/nonexistent/key-log: No such file");
    g_chmod(path, 0640);
    expect_not_opened(path, "can be read or written by others");
    g_chmod(path, 0600);
    if (geteuid() == 0 && chown(path, 65534, 0) == 0) {
        expect_not_opened(path, "belongs to another user");
        CU_ASSERT_EQUAL(chown(path, 0, 0), 0);
    }
    g_autoptr(SamiTlsKeyLog) log = sami_tls_key_log_open(path, &error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(log);
    expect_end(log, path, strlen(text));
}

/* No octet can be changed and all of it be read as if nothing were: of a hello, which nothing protects but the handshake, what is read stays a
 * beginning of what was said. The version of the change_cipher_spec behind it means nothing (RFC 8446 §5). */
static void
test_bit_flips(void)
{
    record_short("TLS_CHACHA20_POLY1305_SHA256");
    g_autoptr(SamiKeyLog) log = load(recording.key_log->str, -1, NULL);
    for (guint d = 0; d < 2; d++) {
        GByteArray *wire = recording.wire[d];
        gsize n_hello = 5 + ((gsize) wire->data[3] << 8 | wire->data[4]);
        for (gsize at = 0; at < wire->len; at++) {
            g_auto(Reading) reading = { 0 };
            wire->data[at] ^= (guint8) (1u << at % 8);
            read_all(&recording, log, G_MAXSIZE, &reading);
            wire->data[at] ^= (guint8) (1u << at % 8);
            CU_ASSERT(at < n_hello || at == n_hello + 2 || reading.fault[d] || !reading.is_closed[d]);
            CU_ASSERT(is_beginning(reading.plain[d], recording.said[d]));
        }
    }
    recording_clear(&recording);
}

/* The end is missing: what is there is read, and it is not closed. */
static void
test_cut_end(void)
{
    record_short("TLS_AES_128_GCM_SHA256");
    g_autoptr(SamiKeyLog) log = load(recording.key_log->str, -1, NULL);
    Piece *last = &g_array_index(recording.order, Piece, recording.order->len - 1);
    last->n--;
    g_auto(Reading) reading = { 0 };
    read_all(&recording, log, G_MAXSIZE, &reading);
    CU_ASSERT(!reading.fault[SERVER] && !reading.is_closed[SERVER] && is_same(reading.plain[SERVER], recording.said[SERVER]));
    recording_clear(&recording);
}

static void
test_hand_made(void)
{
    static const guint8 hello[] = { 22, 3, 1, 0, 51, 1, 0, 0, 47, 3, 3, [45] = 2, 0x13, 1, 1, 0, 0, 4, 0, 42, 0, 0 };
    static const struct {
        const gchar *octets;
        guint n;
        const gchar *why;
    } rows[] = {
        { "GET / HTTP/1.1\r\n", 16, "not TLS: octets 47 45" },
        { "\x00\x0a\x00\x10\x00", 5, "not TLS" },
        { "\x17\x03\x03\x00\x20", 5, "the capture has to begin before the connection does" },
        { "\x16\x03\x01\x00\x00", 5, "type 22 of 0 octets" },
        { "\x16\x03\x01\x40\x01", 5, "type 22 of 16385 octets" },
        { "\x16\x03\x01\x00\x04\x01\x01\x00\x00", 9, "handshake message 1 of 65540 octets; up to 32768" },
        { "\x16\x03\x01\x00\x04\x0b\x00\x00\x00", 9, "handshake message 11 where a hello belongs" },
        { "\x16\x03\x01\x00\x04\x01\x00\x00\x00", 9, "a ClientHello that is cut short" },
        { "\x16\x03\x01\x00\x02\x01\x00\x15\x03\x01\x00\x02\x01\x00", 14, "type 21 in the middle of a handshake message" },
        { "\x15\x03\x01\x00\x02\x02\x28", 7, "alert 40" },
        { "\x15\x03\x01\x00\x01\x02", 6, "an alert of 1 octets" },
        { "\x14\x03\x01\x00\x01\x02", 6, "change_cipher_spec that is none" },
        { (const gchar *) hello, sizeof hello, "offers early data" },
    };
    g_autoptr(SamiKeyLog) log = load("", 0, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(SamiTlsDecrypt) tls = sami_tls_decrypt_new(log);
        g_auto(Reading) reading = { 0 };
        reading_init(&reading);
        feed(tls, CLIENT, (const guint8 *) rows[i].octets, rows[i].n, G_MAXSIZE, &reading);
        CU_ASSERT(reading.fault[CLIENT] && strstr(reading.fault[CLIENT], rows[i].why));
        if (!reading.fault[CLIENT] || !strstr(reading.fault[CLIENT], rows[i].why))
            g_printerr("not '%s': %s\n", rows[i].why, reading.fault[CLIENT] ? reading.fault[CLIENT] : "fine");
    }
}

int
main(void)
{
    static const SamiTest tests[] = {
        { "the three cipher suites, both ways, cut anywhere", test_suites },
        { "padding", test_padding },
        { "retried, divided and bare hellos", test_hellos },
        { "one direction after the other", test_one_after_the_other },
        { "a hello that never comes", test_no_hello },
        { "another version or cipher suite", test_other_versions },
        { "an alert", test_alert },
        { "secrets that are missing or wrong", test_secrets },
        { "key logs", test_key_log },
        { "key logs of our own", test_writing },
        { "flipped bits", test_bit_flips },
        { "a cut end", test_cut_end },
        { "hand-made records", test_hand_made },
    };
    return sami_test_main("tls-decrypt", tests, G_N_ELEMENTS(tests), set_up, tear_down);
}
