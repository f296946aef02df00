/* What TLS over TCP is tested for, over DTLS over SCTP; and what a client offers that DTLS 1.2, unlike TLS 1.3, still has. */
#include <dlfcn.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>

#include "tests/unit/harness.h"
#include "tests/unit/transport-pair.h"

static int
set_up(void)
{
    lab_is_sctp = TRUE;
    lab_sctp.udp_port = 9; /* nobody answers there */
    return pair_set_up();
}

/* ---- a client that is not as it should be ----
 *
 * The connector's own calls of OpenSSL come here first; its process inherits what is set when it is forked. */
static struct {
    const gchar *ciphers;  /* instead of its own; NULL: its own */
    gboolean is_silent;      /* says nothing in its association */
    gboolean is_without_ems; /* offers no Extended Master Secret, and does not mind that there is none */
    guint n_garbled;         /* of so many records with Messages the last octet is another one */
} mask;

uint64_t
SSL_CTX_clear_options(SSL_CTX *context, uint64_t options)
{
    uint64_t (*real)(SSL_CTX *, uint64_t) = (uint64_t (*)(SSL_CTX *, uint64_t)) dlsym(RTLD_NEXT, "SSL_CTX_clear_options");
    uint64_t result = real(context, options);
    return mask.is_without_ems ? SSL_CTX_set_options(context, SSL_OP_NO_EXTENDED_MASTER_SECRET) : result;
}

long
SSL_ctrl(SSL *ssl, int command, long number, void *data)
{
    long (*real)(SSL *, int, long, void *) = (long (*)(SSL *, int, long, void *)) dlsym(RTLD_NEXT, "SSL_ctrl");
    return mask.is_without_ems && command == SSL_CTRL_GET_EXTMS_SUPPORT ? 1 : real(ssl, command, number, data);
}

int
SSL_CTX_set_cipher_list(SSL_CTX *context, const char *ciphers)
{
    int (*real)(SSL_CTX *, const char *) = (int (*)(SSL_CTX *, const char *)) dlsym(RTLD_NEXT, "SSL_CTX_set_cipher_list");
    return real(context, mask.ciphers ? mask.ciphers : ciphers);
}

int
SSL_do_handshake(SSL *ssl)
{
    int (*real)(SSL *) = (int (*)(SSL *)) dlsym(RTLD_NEXT, "SSL_do_handshake");
    return mask.is_silent ? -1 : real(ssl);
}

int
SSL_get_error(const SSL *ssl, int result)
{
    int (*real)(const SSL *, int) = (int (*)(const SSL *, int)) dlsym(RTLD_NEXT, "SSL_get_error");
    return mask.is_silent ? SSL_ERROR_WANT_READ : real(ssl, result);
}

static int (*write_records)(BIO *bio, const char *octets, int n);

static int
write_garbled(BIO *bio, const char *octets, int n)
{
    if (n < 1 || octets[0] != 23 || !mask.n_garbled)
        return write_records(bio, octets, n);
    g_autofree char *garbled = g_memdup2(octets, (gsize) n);
    garbled[n - 1] = (char) (garbled[n - 1] ^ 1);
    mask.n_garbled--;
    return write_records(bio, garbled, n);
}

int
BIO_meth_set_write(BIO_METHOD *method, int (*write)(BIO *, const char *, int))
{
    int (*real)(BIO_METHOD *, int (*)(BIO *, const char *, int)) = (int (*)(BIO_METHOD *, int (*)(BIO *, const char *, int))) dlsym(RTLD_NEXT, "BIO_meth_set_write");
    write_records = write;
    return real(method, mask.n_garbled ? write_garbled : write);
}

/* How many connections were refused, and for nothing else; the server's own reason is in its log. */
static void
expect_refused(const gchar *id)
{
    SamiChannelType type;
    guint32 n;
    int fd = -1;
    g_autofree gchar *text = NULL;
    struct pollfd entry = { listener.channel, POLLIN, 0 };
    CU_ASSERT_EQUAL(poll(&entry, 1, LAB_TIMEOUT_MS), 1);
    CU_ASSERT_EQUAL(sami_channel_receive(listener.channel, &type, &n, &text, &fd, NULL), SAMI_RECEIVE_FRAME);
    CU_ASSERT_EQUAL(type, SAMI_CHANNEL_REFUSED);
    CU_ASSERT(text && !strcmp(text, id));
    CU_ASSERT_EQUAL(fd, -1);
}

static void
expect_masked_refused(const gchar *ciphers, gboolean is_without_ems)
{
    lab_listen(&listener, "fw2", NULL, "fw1.example=fw1", NULL);
    g_autofree gchar *address = g_strdup_printf("%s:%u", lab_host, listener.port);
    mask.ciphers = ciphers;
    mask.is_without_ems = is_without_ems;
    lab_connect(&connector, "fw1", NULL, "fw2.example=fw2", address);
    mask.ciphers = NULL;
    mask.is_without_ems = FALSE;
    at_client = lab_request(&connector, "fw2.example");
    expect_refused("other");
    at_server = lab_session(&listener, 50);
    CU_ASSERT_PTR_NULL(at_server);
    pair_stop();
}

/* RFC 7627: without it, somebody in the middle can make two sessions that have the same keys. The certificate is right, and the handshake comes to its end. */
static void
test_no_ems(void)
{
    expect_masked_refused(NULL, TRUE);
}

static void
test_weak_ciphers(void)
{
    static const gchar *const offers[] = { "aNULL:@SECLEVEL=0", "eNULL:@SECLEVEL=0", "AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA" };
    for (guint i = 0; i < G_N_ELEMENTS(offers); i++)
        expect_masked_refused(offers[i], FALSE);
}

/* Associations without a handshake, more than there is room for: the oldest goes, and an honest peer gets in. */
static void
test_half_open_flood(void)
{
    SamiSessionSocket *silent[SAMI_HANDSHAKES_MAX + 8];
    SamiFrameOpen server, client;
    LabProcess crowd = { 0 };
    lab_listen(&listener, "fw2", NULL, "fw1.example=fw1", NULL);
    g_autofree gchar *address = g_strdup_printf("%s:%u", lab_host, listener.port);
    mask.is_silent = TRUE;
    lab_connect(&crowd, "fw1", NULL, "fw2.example=fw2", address);
    mask.is_silent = FALSE;
    for (guint i = 0; i < G_N_ELEMENTS(silent); i++)
        silent[i] = lab_request(&crowd, "fw2.example");
    expect_refused("limit");
    lab_connect(&connector, "fw1", NULL, "fw2.example=fw2", address);
    if (pair_meet(&server, &client))
        pair_exchange(3, 3);
    for (guint i = 0; i < G_N_ELEMENTS(silent); i++)
        sami_session_socket_free(silent[i]);
    lab_kill(&crowd);
    pair_stop();
}

/* What cannot be decrypted OpenSSL drops, as DTLS has it, and what it dropped are Messages: a few are lost, as the next one's sequence shows; with more the
 * session ends. Others go on. */
static void
test_garbled(void)
{
    enum { FEW = 20, MANY = 100 };
    SamiFrameOpen server, client;
    SamiFrameType type = 0;
    guint8 *payload;
    gsize length;
    LabProcess crowd = { 0 };
    g_autofree guint8 *message = g_malloc(SAMI_MESSAGE_MAX);
    lab_listen(&listener, "fw2", NULL, "fw1.example=fw1", NULL);
    g_autofree gchar *address = g_strdup_printf("%s:%u", lab_host, listener.port);
    lab_connect(&connector, "fw1", NULL, "fw2.example=fw2", address);
    for (guint n = FEW; n <= MANY; n += MANY - FEW) {
        mask.n_garbled = n;
        lab_connect(&crowd, "fw1", NULL, "fw2.example=fw2", address);
        mask.n_garbled = 0;
        SamiSessionSocket *from = lab_request(&crowd, "fw2.example");
        CU_ASSERT(lab_opened(from, &client));
        SamiSessionSocket *at = lab_session(&listener, LAB_TIMEOUT_MS);
        CU_ASSERT(lab_opened(at, &server));
        for (guint i = 0; i <= n; i++) {
            gsize size = lab_message(5, message); /* a short one */
            CU_ASSERT(sami_session_socket_send(from, SAMI_FRAME_MESSAGE, message, size, NULL));
        }
        if (n == FEW) {
            CU_ASSERT(lab_receive(at, &type, &payload, &length) == SAMI_RECEIVE_FRAME && type == SAMI_FRAME_MESSAGE);
        } else {
            g_autofree gchar *text = lab_error(at);
            CU_ASSERT(text && strstr(text, "TLS: fw1.example at ") && strstr(text, "more than 32 times it has sent what is no Message"));
        }
        sami_session_socket_free(from);
        sami_session_socket_free(at);
        lab_kill(&crowd);
    }
    if (pair_meet(&server, &client))
        pair_exchange(20, 20);
    pair_stop();
}

int
main(void)
{
    signal(SIGPIPE, SIG_IGN);
    static const SamiTest own[] = {
        { "client without Extended Master Secret", test_no_ems },
        { "client with weak ciphers only", test_weak_ciphers },
        { "associations that stay half open", test_half_open_flood },
        { "records that cannot be decrypted", test_garbled },
    };
    g_autofree SamiTest *tests = g_new(SamiTest, n_transport_cases + G_N_ELEMENTS(own));
    memcpy(tests, own, sizeof(own));
    memcpy(tests + G_N_ELEMENTS(own), transport_cases, n_transport_cases * sizeof(*tests));
    return sami_test_main("transport DTLS", tests, n_transport_cases + G_N_ELEMENTS(own), set_up, pair_tear_down);
}
