/* Refusals that nothing else reaches: files that are not there or no such files, limits, answers of the kernel that it rarely gives. */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "collector/apply-internal.h"
#include "collector/collector.h"
#include "collector/ledger-file.h"
#include "collector/sync.h"
#include "common/cursor.h"
#include "tests/unit/harness.h"
#include "transport/daemon.h"
#include "transport/input.h"
#include "transport/network.h"
#include "transport/pki.h"
#include "transport/reload.h"
#include "transport/session.h"
#include "transport/tls-context.h"

static gchar *directory;

static int
set_up(void)
{
    directory = g_dir_make_tmp("sami-refusals-XXXXXX", NULL);
    return directory ? 0 : 1;
}

static int
tear_down(void)
{
    g_rmdir(directory);
    g_free(directory);
    return 0;
}

/* (transfer full) its path */
static gchar *
put(const gchar *name, const gchar *text, int mode)
{
    gchar *path = g_build_filename(directory, name, NULL);
    CU_ASSERT_TRUE_FATAL(g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_NONE, mode, NULL));
    return path;
}

static void
gone(gchar *path)
{
    g_unlink(path);
    g_free(path);
}

/* An error of this code that has all the words. */
static void
expect(GError *error, SamiErrorCode code, const gchar *word)
{
    CU_ASSERT_TRUE(g_error_matches(error, SAMI_ERROR, code));
    CU_ASSERT_PTR_NOT_NULL(error ? strstr(error->message, word) : NULL);
    g_clear_error(&error);
}

static void
test_keys(void)
{
    GError *error = NULL;
    gchar *open = put("open.key", "", 0644), *none = put("none.key", "no key\n", 0600), *p256_key = g_build_filename(directory, "tls.key", NULL);
    gchar *p256 = g_build_filename(directory, "tls.crt", NULL);
    CU_ASSERT_TRUE(sami_pki_make_identity("fw1.example", p256, p256_key, NULL, NULL));
    CU_ASSERT_PTR_NULL(sami_key_load_private("/nowhere/key", NULL, &error));
    expect(g_steal_pointer(&error), SAMI_ERROR_CONFIG, "/nowhere/key");
    CU_ASSERT_PTR_NULL(sami_key_load_private(open, NULL, &error));
    expect(g_steal_pointer(&error), SAMI_ERROR_CONFIG, "0644");
    CU_ASSERT_PTR_NULL(sami_key_load_private(none, NULL, &error));
    expect(g_steal_pointer(&error), SAMI_ERROR_CONFIG, "private");
    CU_ASSERT_PTR_NULL(sami_key_load_public(none, &error));
    expect(g_steal_pointer(&error), SAMI_ERROR_CONFIG, "public");
    CU_ASSERT_PTR_NULL(sami_key_load_private(p256_key, NULL, &error)); /* a key, but of another kind */
    expect(g_steal_pointer(&error), SAMI_ERROR_CONFIG, "Ed25519");
    gint64 expiry;
    CU_ASSERT_FALSE(sami_pki_certificate_expiry("no key\n", 7, &expiry, &error));
    expect(g_steal_pointer(&error), SAMI_ERROR_MALFORMED, "no certificate");
    gone(open), gone(none), gone(p256), gone(p256_key);
}

static void
test_identity(void)
{
    GError *error = NULL;
    gchar *certificate = g_build_filename(directory, "a.crt", NULL), *key = g_build_filename(directory, "a.key", NULL);
    gchar *other = g_build_filename(directory, "b.crt", NULL), *other_key = g_build_filename(directory, "b.key", NULL), *empty = put("ca.pem", "", 0600);
    CU_ASSERT_TRUE_FATAL(sami_pki_make_identity("fw1.example", certificate, key, NULL, NULL) && sami_pki_make_identity("fw2.example", other, other_key, NULL, NULL));
    SamiNetworkConfig config = { .certificate_file = "/nowhere/crt", .key_file = key };
    CU_ASSERT_PTR_NULL(sami_tls_new(&config, TRUE, &error));
    expect(g_steal_pointer(&error), SAMI_ERROR_CONFIG, "/nowhere/crt");
    config.certificate_file = certificate;
    config.key_file = other_key; /* not of this certificate */
    CU_ASSERT_PTR_NULL(sami_tls_new(&config, TRUE, &error));
    expect(g_steal_pointer(&error), SAMI_ERROR_CONFIG, other_key);
    config.key_file = key;
    config.ca_file = empty;
    CU_ASSERT_PTR_NULL(sami_tls_new(&config, TRUE, &error));
    expect(g_steal_pointer(&error), SAMI_ERROR_CONFIG, "tls-ca");
    config.ca_file = NULL;
    SamiPeer peer = { .name = "fw2.example", .certificate = "none" };
    config.peers = g_ptr_array_new();
    g_ptr_array_add(config.peers, &peer);
    CU_ASSERT_PTR_NULL(sami_tls_new(&config, TRUE, &error));
    expect(g_steal_pointer(&error), SAMI_ERROR_CONFIG, "peer fw2.example: its certificate: no certificate");
    g_ptr_array_unref(config.peers);
    config.peers = NULL;
    gchar name[300] = "";
    memset(name, 'a', sizeof name - 1); /* RFC 6066 section 3 ends at 255 */
    SamiTlsVerdict verdict = { .wanted = name };
    SamiTls *tls = sami_tls_new(&config, FALSE, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(tls);
    CU_ASSERT_PTR_NULL(sami_tls_open(tls, &verdict, -1, &error));
    expect(g_steal_pointer(&error), SAMI_ERROR_FAILED, "TLS: ");
    sami_tls_free(tls);
    CU_ASSERT_FALSE(sami_pki_check_identity("fw1.example", empty, key, NULL, &error));
    expect(g_steal_pointer(&error), SAMI_ERROR_FAILED, empty);
    gone(certificate), gone(key), gone(other), gone(other_key), gone(empty);
}

/* Addresses that are none, or not ours: 192.0.2.0/24 is nobody's (RFC 5737). */
static void
test_addresses(void)
{
    static const gchar *const bad[] = { "192.0.2.256", "192.0.2.0/33", "192.0.2.0/", "2001:db8::/129", "2001:db8:::1", "fw1.example", "" };
    static const gchar label[] = "a-label-of-more-than-sixty-three-octets-is-not-looked-up-by-anybody-at-all";
    const SamiSctpConfig sctp = { .backend = SAMI_SCTP_USERLAND, .udp_port = 9899 };
    const SamiNetworkConfig config = { .listen = "192.0.2.77:4740" };
    GError *error = NULL;
    SamiPrefix prefix;
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        CU_ASSERT_FALSE(sami_prefix_parse(bad[i], &prefix, &error));
        expect(g_steal_pointer(&error), SAMI_ERROR_USAGE, bad[i]);
    }
    CU_ASSERT_EQUAL(sami_listener_open(&config, &error), -1);
    expect(g_steal_pointer(&error), SAMI_ERROR_FAILED, "cannot listen at 192.0.2.77:4740: Cannot assign requested address");
    CU_ASSERT_EQUAL(sami_sctp_open(&sctp, "192.0.2.77", "4740", &error), -1);
    expect(g_steal_pointer(&error), SAMI_ERROR_FAILED, "UDP socket: Cannot assign requested address");
    CU_ASSERT_EQUAL(sami_sctp_open(&sctp, label, "4740", &error), -1);
    expect(g_steal_pointer(&error), SAMI_ERROR_FAILED, "Name or service not known");
}

/* A descriptor that is no socket, in the place of one. */
static void
test_sockets(void)
{
    GError *error = NULL;
    SamiChannelType type;
    SamiFrameType frame;
    guint32 request;
    gchar *text;
    guint8 *payload;
    gsize length;
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC), other;
    CU_ASSERT_TRUE_FATAL(fd >= 0);
    CU_ASSERT_FALSE(sami_channel_send(fd, SAMI_CHANNEL_CONNECT, 1, "fw2.example", -1, &error));
    expect(g_steal_pointer(&error), SAMI_ERROR_FAILED, "channel: ");
    CU_ASSERT_EQUAL(sami_channel_receive(fd, &type, &request, &text, &other, &error), SAMI_RECEIVE_BAD);
    expect(g_steal_pointer(&error), SAMI_ERROR_FAILED, "channel: ");
    SamiSessionSocket *socket = sami_session_socket_new(fd);
    CU_ASSERT_EQUAL(sami_session_socket_receive(socket, &frame, &payload, &length, &error), SAMI_RECEIVE_BAD);
    expect(error, SAMI_ERROR_FAILED, "session socket: ");
    sami_session_socket_free(socket);
}

/* What comes with RELOAD: no file, nothing in it, something else in it. */
static void
test_reload(void)
{
    static const guint8 other[] = { 1, 2, 3, 4, 5, 6, 7 };
    SamiNetworkLimits limits;
    GPtrArray *peers;
    gchar *ca, *certificate;
    GError *error = NULL;
    int fds[2], fd = memfd_create("peers", MFD_CLOEXEC);
    CU_ASSERT_TRUE_FATAL(fd >= 0 && pipe(fds) == 0);
    CU_ASSERT_FALSE(sami_reload_read(fds[0], &peers, &limits, &ca, &certificate, &error));
    expect(g_steal_pointer(&error), SAMI_ERROR_MALFORMED, "without a file");
    CU_ASSERT_FALSE(sami_reload_read(fd, &peers, &limits, &ca, &certificate, &error));
    expect(g_steal_pointer(&error), SAMI_ERROR_MALFORMED, "without a file");
    CU_ASSERT_EQUAL_FATAL(write(fd, other, sizeof other), sizeof other);
    CU_ASSERT_FALSE(sami_reload_read(fd, &peers, &limits, &ca, &certificate, &error));
    expect(error, SAMI_ERROR_MALFORMED, "no list of peers");
    close(fd), close(fds[0]), close(fds[1]);
}

/* What goes with RELOAD cannot be read, or is more than the other process takes: the old peers stay, and it is told which file it is about. */
static void
test_reload_write(void)
{
    GError *error = NULL;
    g_autofree gchar *text = g_strnfill(17 * 1024 * 1024, 'a');
    gchar *large = put("large.pem", text, 0600);
    SamiPeer peers[] = { { .name = "fw2.example", .certificate_file = large }, { .name = "fw3.example", .certificate_file = "/nowhere/fw3.pem" } };
    SamiNetworkConfig config = { .peers = g_ptr_array_new() };
    for (guint i = 0; i < G_N_ELEMENTS(peers); i++)
        g_ptr_array_add(config.peers, &peers[i]);
    CU_ASSERT_EQUAL(sami_reload_write(&config, &error), -1);
    expect(g_steal_pointer(&error), SAMI_ERROR_CONFIG, "peer fw3.example: /nowhere/fw3.pem");
    peers[1].certificate_file = large;
    CU_ASSERT_EQUAL(sami_reload_write(&config, &error), -1);
    expect(g_steal_pointer(&error), SAMI_ERROR_FAILED, "File too large");
    g_ptr_array_set_size(config.peers, 1);
    config.ca_file = "/nowhere/ca.pem";
    CU_ASSERT_EQUAL(sami_reload_write(&config, &error), -1);
    expect(error, SAMI_ERROR_CONFIG, "tls-ca: /nowhere/ca.pem");
    config.ca_file = NULL;
    int fd = sami_reload_write(&config, NULL);
    CU_ASSERT_TRUE(fd >= 0);
    close(fd);
    g_ptr_array_unref(config.peers);
    gone(large);
}

/* Our own key cannot be read: the peers of now go all the same, and it is counted. */
static void
test_reload_key(void)
{
    SamiConfig config = { .transport = (gchar *) "tcp", .sctp_backend = (gchar *) "auto", .sandbox = (gchar *) "off",
                          .certificate = put("tls.crt", "x", 0644), .key = (gchar *) "/nowhere/tls.key", .peers = g_ptr_array_new() };
    guint64 n_errors = 0;
    SamiChannelType type = SAMI_CHANNEL_SESSION;
    guint32 request;
    g_autofree gchar *text = NULL;
    int fds[2], fd = -1;
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    sami_daemon_send_reload(&config, fds[0], TRUE, &n_errors);
    CU_ASSERT_EQUAL(n_errors, 1);
    CU_ASSERT_EQUAL(sami_channel_receive(fds[1], &type, &request, &text, &fd, NULL), SAMI_RECEIVE_FRAME);
    CU_ASSERT_TRUE(type == SAMI_CHANNEL_RELOAD && fd >= 0);
    close(fd), close(fds[0]), close(fds[1]);
    g_ptr_array_unref(config.peers);
    gone(config.certificate);
}

/* A file that a reload names, where this process may not look: the sandbox of a daemon is a directory of somebody else here. */
static void
test_out_of_reach(void)
{
    GError *error = NULL;
    gchar *path = put("ca.pem", "", 0);
    SamiConfig config = { .path = path };
    gboolean is_root = geteuid() == 0;
    CU_ASSERT_TRUE_FATAL(!is_root || seteuid(65534) == 0);
    CU_ASSERT_FALSE(sami_daemon_reload_config(&config, &error));
    CU_ASSERT_TRUE_FATAL(!is_root || seteuid(0) == 0);
    expect(error, SAMI_ERROR_CONFIG, "restart it");
    gone(path);
}

static void
on_synced(guint64 counter, const GError *error, gpointer user_data)
{
    guint *n = user_data;
    CU_ASSERT_TRUE(counter == 7 && g_error_matches(error, SAMI_ERROR, SAMI_ERROR_FAILED) && g_str_has_prefix(error->message, "journal: "));
    ++*n;
}

/* A pipe has no disk, and -1 is no file. */
static void
test_sync(void)
{
    g_autoptr(SamiSync) sync = sami_sync_new();
    guint n = 0;
    int fds[2];
    CU_ASSERT_EQUAL_FATAL(pipe(fds), 0);
    sami_sync_submit(sync, fds[1], "journal", 7, on_synced, &n);
    sami_sync_submit(sync, -1, "journal", 7, on_synced, &n);
    while (n < 2)
        g_main_context_iteration(NULL, TRUE);
    close(fds[0]), close(fds[1]);
}

static void
test_files(void)
{
    GError *error = NULL;
    const SamiInputOptions options = { 0 };
    gchar *empty = put("0.ledger", "", 0600);
    static const SamiLedgerFileReader reader = { 0 };
    CU_ASSERT_PTR_NULL(sami_input_open("/nowhere/file", &options, &error));
    expect(g_steal_pointer(&error), SAMI_ERROR_FAILED, "/nowhere/file");
    CU_ASSERT_PTR_NULL(sami_input_open(directory, &options, &error)); /* opens, and cannot be read */
    expect(g_steal_pointer(&error), SAMI_ERROR_FAILED, directory);
    CU_ASSERT_PTR_NULL(sami_journal_new(empty, "00", &error)); /* a file is no directory */
    expect(g_steal_pointer(&error), SAMI_ERROR_FAILED, empty);
    CU_ASSERT_FALSE(sami_ledger_file_read(empty, &reader, NULL, &error));
    expect(g_steal_pointer(&error), SAMI_ERROR_MALFORMED, "octet 0");
    CU_ASSERT_PTR_NULL(sami_expect_new(directory, &error)); /* a directory is no list */
    expect(g_steal_pointer(&error), SAMI_ERROR_CONFIG, "is no regular file");
    CU_ASSERT_TRUE(chmod(empty, 0666) == 0);
    CU_ASSERT_PTR_NULL(sami_expect_new(empty, &error)); /* nor is what anybody may write */
    expect(g_steal_pointer(&error), SAMI_ERROR_CONFIG, "others may write it");
    SamiExpect *unsaved = sami_expect_new("/nowhere/expect", NULL); /* none yet, and no directory to write it to */
    CU_ASSERT_FALSE(sami_expect_save(unsaved, 0, &error));
    expect(g_steal_pointer(&error), SAMI_ERROR_FAILED, "/nowhere/expect");
    sami_expect_free(unsaved);
    static const SamiInputOptions following = { .is_following = TRUE };
    gchar *capture = put("a.pcap", "\xd4\xc3\xb2\xa1\x02", 0600);
    CU_ASSERT_PTR_NULL(sami_input_open(capture, &following, &error));
    expect(g_steal_pointer(&error), SAMI_ERROR_USAGE, "only IPFIX files are followed");
    gone(empty), gone(capture);
}

static void
ignore_template(const SamiTemplate *tmpl, gpointer user_data)
{
}

static void
test_shim(void)
{
    static const struct {
        guint8 octets[32];
        gsize length;
        gboolean has_signature;
        const gchar *word;
    } bad[] = {
        { { 0, 10, 0, 15 }, 15, FALSE, "header" },
        { { 0, 10, 0, 22, [15] = 1, 0, 2, 0, 6, 1, 0 }, 22, FALSE, "without a template" },
        { { 0, 10, 0, 16, [15] = 1 }, 16, TRUE, "template 300" },
    };
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        GError *error = NULL;
        guint n;
        SamiShim *shim = sami_shim_new(SAMI_DOMAIN_FORWARD);
        CU_ASSERT_FALSE(sami_shim_check(shim, bad[i].octets, bad[i].length, bad[i].has_signature, ignore_template, NULL, &n, &error));
        expect(error, SAMI_ERROR_MALFORMED, bad[i].word);
        sami_shim_free(shim);
    }
    GError *error = NULL;
    guint8 message[SAMI_MESSAGE_HEADER] = { 0, 10, 0, 16, [15] = 1 };
    SamiDecoder *decoder = sami_decoder_new(SAMI_DOMAIN_FORWARD);
    CU_ASSERT_FALSE(sami_decoder_read(decoder, message, sizeof message, NULL, NULL, &error));
    expect(error, SAMI_ERROR_MALFORMED, "16 octets");
    sami_decoder_free(decoder);
}

/* One more template than a session may have: combinations of what a session can carry. */
static void
test_templates(void)
{
    GError *error = NULL;
    guint8 *message;
    gsize length;
    static const guint32 optional[] = { SAMI_HAS_MARK, SAMI_HAS_LABELS, SAMI_HAS_ID, SAMI_HAS_START, SAMI_HAS_COUNTERS, SAMI_HAS_VLAN, SAMI_HAS_HELPER,
                                        SAMI_HAS_REPLY_ZONE };
    SamiEncoder *encoder = sami_encoder_new(SAMI_DOMAIN_FORWARD, SAMI_MESSAGE_MAX);
    guint n = 0;
    for (guint i = 0; i < 256 && !error; i++) {
        SamiRecord record = { .kind = SAMI_RECORD_SESSION, .session = { .key = { .family = 4, .protocol = 17 }, .action = SAMI_ACTION_CREATED } };
        for (guint j = 0; j < G_N_ELEMENTS(optional); j++)
            record.session.has |= i & 1u << j ? optional[j] : 0;
        while (!sami_encoder_add(encoder, &record, &error) && g_error_matches(error, SAMI_ERROR, SAMI_ERROR_FULL)) {
            g_clear_error(&error);
            CU_ASSERT_TRUE_FATAL(sami_encoder_take(encoder, 0, &message, &length, NULL));
        }
        n += !error;
    }
    CU_ASSERT_EQUAL(n, SAMI_TEMPLATES_MAX);
    expect(error, SAMI_ERROR_FAILED, "templates");
    sami_encoder_free(encoder);
    encoder = sami_encoder_new(SAMI_DOMAIN_FORWARD, SAMI_MESSAGE_MAX);
    for (guint i = 0; i < 2; i++) { /* all that there is in one record: the table of elements grows, and still has to fit into a template */
        SamiRecord all = { .kind = SAMI_RECORD_SESSION, .session = { .key = { .family = i ? 6 : 4, .protocol = 6 }, .has = G_MAXUINT32 } };
        CU_ASSERT_TRUE(sami_encoder_add(encoder, &all, NULL));
        CU_ASSERT_TRUE(sami_encoder_take(encoder, 0, &message, &length, NULL));
    }
    sami_encoder_free(encoder);
}

static void
test_kernel_answers(void)
{
    CU_ASSERT_EQUAL(sami_apply_reason_of(ENOMEM), SAMI_REASON_TABLE_FULL);
    CU_ASSERT_EQUAL(sami_apply_reason_of(ENOSPC), SAMI_REASON_CHAIN_TOO_LONG);
    CU_ASSERT_EQUAL(sami_apply_reason_of(EINVAL), SAMI_REASON_KERNEL);
}

/* The second of two flows, where there is room for one. */
static void
test_room(void)
{
    SamiBudget *all = sami_budget_new(), *signer = sami_budget_new();
    SamiFirewall *world = sami_firewall_fake_new(0);
    SamiApply *apply = sami_apply_new(60, all, signer);
    GPtrArray *others = g_ptr_array_new();
    SamiApplyItem items[2] = { { .reason = 0 }, { .reason = 0 } };
    sami_budget_set_limit(signer, 1);
    g_ptr_array_add(others, apply);
    apply->firewall = world;
    apply->batch = sami_apply_batch_new();
    apply->others = others;
    for (guint i = 0; i < 2; i++) {
        SamiSession *s = &items[i].session;
        *s = (SamiSession){ .has = SAMI_HAS_STATUS | SAMI_HAS_TIMEOUT | SAMI_HAS_REPLY, .action = SAMI_ACTION_CREATED, .timeout_s = 30 };
        s->key = (SamiFlowKey){ .family = 4, .protocol = 17, .orig = { .src = { { 10, 0, 0, 13 } }, .dst = { { 198, 51, 100, 1 } } } };
        s->key.orig.src_port = (guint16) (1000 + i);
        s->key.orig.dst_port = 53;
        sami_flow_key_mirror(&s->key, &s->reply);
    }
    guint8 *messages = sami_apply_build(items, 2, 60, FALSE);
    CU_ASSERT_TRUE(sami_apply_records(apply, items, 2, 1, 0, NULL));
    CU_ASSERT_EQUAL(apply->n_accepted, 1);
    CU_ASSERT_EQUAL(apply->refused[SAMI_REASON_MAX_SESSIONS], 1);
    g_free(messages);
    sami_apply_batch_free(apply->batch);
    sami_apply_free(apply);
    g_ptr_array_unref(others);
    sami_firewall_free(world);
    sami_budget_unref(all);
    sami_budget_unref(signer);
}

/* Two signers with one key: whose state would it be? */
static void
test_signers(void)
{
    GError *error = NULL;
    gchar *key = g_build_filename(directory, "s.key", NULL), *public = g_build_filename(directory, "s.pub", NULL);
    CU_ASSERT_TRUE_FATAL(sami_pki_make_signing_key(key, public, NULL, NULL));
    gchar *text = g_strdup_printf("[signer]\nkeys=%s\n", public), *signers = g_build_filename(directory, "signers.d", NULL);
    CU_ASSERT_EQUAL_FATAL(g_mkdir(signers, 0700), 0);
    gchar *conf = put("sami.conf", "[sami]\nname=fw2.example\n", 0600);
    gchar *one = put("signers.d/a.example.conf", text, 0600), *two = put("signers.d/b.example.conf", text, 0600);
    SamiConfig *config = sami_config_load(conf, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    CU_ASSERT_PTR_NULL(sami_signers_load(config, NULL, &error));
    expect(g_steal_pointer(&error), SAMI_ERROR_CONFIG, "the same key");
    sami_config_unref(config);
    gone(one), gone(two), g_free(text);
    GString *keys = g_string_new(NULL);
    for (guint i = 0; i < SAMI_KEYS_MAX + 1; i++) { /* in two files, neither of which has too many */
        gchar *secret = g_build_filename(directory, "k.key", NULL), *name = g_strdup_printf("%u.pub", i / SAMI_KEYS_MAX), *pem = NULL;
        gchar *open = g_build_filename(directory, "k.pub", NULL);
        CU_ASSERT_TRUE_FATAL(sami_pki_make_signing_key(secret, open, NULL, NULL) && g_file_get_contents(open, &pem, NULL, NULL));
        g_string_append(i == SAMI_KEYS_MAX ? g_string_truncate(keys, 0) : keys, pem);
        g_free(put(name, keys->str, 0600));
        gone(secret), gone(open), g_free(name), g_free(pem);
    }
    text = g_strdup_printf("[signer]\nkeys=%s/0.pub,%s/1.pub\n", directory, directory);
    one = put("signers.d/a.example.conf", text, 0600), two = g_build_filename(directory, "0.pub", NULL);
    gchar *three = g_build_filename(directory, "1.pub", NULL);
    config = sami_config_load(conf, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    CU_ASSERT_PTR_NULL(sami_signers_load(config, NULL, &error));
    expect(error, SAMI_ERROR_CONFIG, "more than 4");
    sami_config_unref(config);
    g_string_free(keys, TRUE);
    gone(three), gone(key), gone(public), gone(one), gone(two), gone(conf), g_free(text);
    g_rmdir(signers);
    g_free(signers);
}

int
main(void)
{
    static const SamiTest tests[] = {
        { "keys", test_keys },           { "identity", test_identity },   { "files", test_files },
        { "shim", test_shim },           { "templates", test_templates }, { "the kernel's answers", test_kernel_answers },
        { "room", test_room },           { "two signers", test_signers },
        { "addresses", test_addresses }, { "no sockets", test_sockets },  { "a reload", test_reload },
        { "a reload that is not written", test_reload_write },
        { "a reload without a key", test_reload_key },
        { "out of reach", test_out_of_reach }, { "disk", test_sync },
    };
    return sami_test_main("refusals", tests, G_N_ELEMENTS(tests), set_up, tear_down);
}
