#include "tests/unit/tls-recording.h"

#include <string.h>

#include "transport/pki.h"

static void
on_key_log(const SSL *ssl, const char *line)
{
    Recording *recording = SSL_get_app_data(ssl);
    if (!SSL_is_server(ssl))
        g_string_append_printf(recording->key_log, "%s\n", line);
}

static int
accept_any(X509_STORE_CTX *store, void *unused)
{
    return 1;
}

void
recording_init(Recording *r, const gchar *directory)
{
    g_autofree gchar *certificate = g_build_filename(directory, "tls.crt", NULL), *key = g_build_filename(directory, "tls.key", NULL);
    *r = (Recording){ .key_log = g_string_new(NULL), .order = g_array_new(FALSE, FALSE, sizeof(Piece)) };
    g_assert(sami_pki_make_identity("fw1.example", certificate, key, NULL, NULL));
    for (guint i = 0; i < 2; i++) {
        r->wire[i] = g_byte_array_new();
        r->said[i] = g_byte_array_new();
        r->heard[i] = g_byte_array_new();
        r->contexts[i] = SSL_CTX_new(i == SERVER ? TLS_server_method() : TLS_client_method());
        g_assert(SSL_CTX_use_certificate_chain_file(r->contexts[i], certificate) == 1);
        g_assert(SSL_CTX_use_PrivateKey_file(r->contexts[i], key, SSL_FILETYPE_PEM) == 1);
        SSL_CTX_set_verify(r->contexts[i], SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        SSL_CTX_set_cert_verify_callback(r->contexts[i], accept_any, NULL);
        SSL_CTX_set_keylog_callback(r->contexts[i], on_key_log);
    }
}

void
recording_clear(Recording *r)
{
    for (guint i = 0; i < 2; i++) {
        SSL_free(r->ssl[i]);
        SSL_CTX_free(r->contexts[i]);
        g_byte_array_unref(r->wire[i]);
        g_byte_array_unref(r->said[i]);
        g_byte_array_unref(r->heard[i]);
    }
    g_array_unref(r->order);
    g_string_free(r->key_log, TRUE);
}

/* What `sender` has for the other one goes there. */
static gboolean
carry(Recording *r, guint sender)
{
    guint8 octets[4096];
    int n, n_all = 0;
    while ((n = BIO_read(SSL_get_wbio(r->ssl[sender]), octets, sizeof octets)) > 0) {
        const Piece piece = { (guint8) sender, (gsize) n };
        g_byte_array_append(r->wire[sender], octets, (guint) n);
        g_array_append_val(r->order, piece);
        g_assert(BIO_write(SSL_get_rbio(r->ssl[1 - sender]), octets, n) == n);
        n_all += n;
    }
    return n_all > 0;
}

gboolean
recording_open(Recording *r)
{
    gboolean is_moving = TRUE;
    for (guint i = 0; i < 2; i++) {
        r->ssl[i] = SSL_new(r->contexts[i]);
        SSL_set_bio(r->ssl[i], BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
        SSL_set_app_data(r->ssl[i], r);
    }
    SSL_set_connect_state(r->ssl[CLIENT]);
    SSL_set_accept_state(r->ssl[SERVER]);
    while (is_moving) {
        is_moving = FALSE;
        for (guint i = 0; i < 2; i++) {
            SSL_do_handshake(r->ssl[i]);
            is_moving |= carry(r, i);
        }
    }
    return SSL_is_init_finished(r->ssl[CLIENT]) && SSL_is_init_finished(r->ssl[SERVER]);
}

static void
listen_to(Recording *r, guint sender)
{
    guint8 octets[4096];
    int n;
    while ((n = SSL_read(r->ssl[1 - sender], octets, sizeof octets)) > 0)
        g_byte_array_append(r->heard[sender], octets, (guint) n);
    carry(r, 1 - sender);
}

void
recording_say_octets(Recording *r, guint sender, const guint8 *octets, gsize n)
{
    g_assert(SSL_write(r->ssl[sender], octets, (int) n) == (int) n);
    g_byte_array_append(r->said[sender], octets, (guint) n);
    carry(r, sender);
    listen_to(r, sender);
}

void
recording_say(Recording *r, guint sender, gsize n)
{
    g_autofree guint8 *octets = g_malloc(n);
    for (gsize i = 0; i < n; i++)
        octets[i] = (guint8) (r->said[sender]->len + i * 7 + (i >> 8) + sender);
    recording_say_octets(r, sender, octets, n);
}

void
recording_update(Recording *r, guint sender)
{
    if (SSL_version(r->ssl[sender]) < TLS1_3_VERSION)
        return;
    g_assert(SSL_key_update(r->ssl[sender], SSL_KEY_UPDATE_REQUESTED) == 1);
    g_assert(SSL_do_handshake(r->ssl[sender]) == 1);
    carry(r, sender);
    listen_to(r, sender);
}

void
recording_close(Recording *r)
{
    for (guint i = 0; i < 2; i++) {
        SSL_shutdown(r->ssl[i]);
        carry(r, i);
    }
}
