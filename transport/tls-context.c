#include "transport/tls-context.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <unistd.h>

#include "common/limits.h"
#include "common/trust.h"
#include "common/value.h"
#include "templates/private-key.h"
#include "transport/tls-certificate.h"
#include "transport/tls-key-log.h"

#define EKM_LABEL "EXPERIMENTAL-SAMI-IPFIX-v1"
/* Forward secrecy and AEAD only. */
#define DTLS_CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!PSK"
/* 112 bits (SSL_CTX_set_security_level(3)): no RSA below 2048 bits, no SHA-1, in the handshake and in what a CA signs. */
#define SECURITY_LEVEL 2
/* Several records a read(2): at full rate a Message is four or five records. */
#define READ_BUFFER (64 * 1024)

typedef struct {
    gchar *name;
    GPtrArray *pins; /* of X509; (nullable): a CA vouches */
} TlsPeer;

/* An old certificate and a new one, and room. */
#define PINS_MAX 4u

struct SamiTls {
    SSL_CTX *context;
    GArray *peers; /* of TlsPeer */
    gboolean has_ca;
    gboolean is_server;
    SamiTlsKeyLog *key_log; /* (nullable) */
};

static void
peer_clear(gpointer data)
{
    TlsPeer *peer = data;
    g_free(peer->name);
    g_clear_pointer(&peer->pins, g_ptr_array_unref);
}

static void
free_certificate(gpointer data)
{
    X509_free(data);
}

/* (transfer full) of X509 */
static GPtrArray *
load_pins(const gchar *path, const gchar *given, GError **error)
{
    g_autoptr(GPtrArray) pins = g_ptr_array_new_with_free_func(free_certificate);
    gsize length = given ? strlen(given) : 0;
    guint n_blocks = 0;
    g_autofree gchar *text = given ? g_strdup(given) : sami_trust_read(path, SAMI_TRUST_PUBLIC, SAMI_CERTIFICATES_MAX, &length, error);
    if (!text)
        return NULL;
    for (const gchar *at = text; (at = strstr(at, "-----BEGIN ")); at++)
        n_blocks++;
    ERR_clear_error();
    BIO *bio = BIO_new_mem_buf(text, (int) length);
    X509 *certificate;
    while (bio && pins->len < PINS_MAX && (certificate = PEM_read_bio_X509(bio, NULL, sami_openssl_no_passphrase, NULL)))
        g_ptr_array_add(pins, certificate);
    BIO_free(bio);
    if (pins->len > 0 && pins->len == n_blocks) {
        ERR_clear_error();
        return g_steal_pointer(&pins);
    }
    ERR_clear_error();
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s: no certificate in PEM form; allowed are 1 to %u of them, and nothing else",
                path ? path : "its certificate", PINS_MAX);
    return NULL;
}

static GArray *
load_peers(const SamiNetworkConfig *config, GError **error)
{
    g_autoptr(GArray) peers = g_array_new(FALSE, TRUE, sizeof(TlsPeer));
    g_array_set_clear_func(peers, peer_clear);
    for (guint i = 0; config->peers && i < config->peers->len; i++) {
        const SamiPeer *from = g_ptr_array_index(config->peers, i);
        TlsPeer peer = { 0 };
        /* Also what keeps a leading dot away from X509_check_host, to which it means "any host
         * below". */
        if (!sami_value_name(from->name, error))
            return NULL;
        if ((from->certificate_file || from->certificate) && !(peer.pins = load_pins(from->certificate_file, from->certificate, error))) {
            g_prefix_error(error, "peer %s: ", from->name);
            return NULL;
        }
        peer.name = g_strdup(from->name);
        g_array_append_val(peers, peer);
    }
    return g_steal_pointer(&peers);
}

/* The dNSNames as the peer wrote them, escaped: they are its words, not ours. */
static gchar *
print_names(X509 *certificate)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    GString *text = g_string_new(NULL);
    guint n_shown = 0;
    for (int i = 0; names && i < sk_GENERAL_NAME_num(names) && n_shown < 3; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_DNS)
            continue;
        g_autofree gchar *raw = g_strndup((const gchar *) ASN1_STRING_get0_data(name->d.dNSName),
                                          (gsize) MIN(ASN1_STRING_length(name->d.dNSName), 80));
        g_autofree gchar *escaped = g_strescape(raw, NULL);
        g_string_append_printf(text, "%s'%s'", n_shown++ ? ", " : "", escaped);
    }
    GENERAL_NAMES_free(names);
    if (!n_shown)
        g_string_append(text, "no DNS name");
    return g_string_free(text, FALSE);
}

/* X509_V_OK if now lies within the certificate's validity. */
static int
check_time(X509 *certificate)
{
    if (X509_cmp_current_time(X509_get0_notBefore(certificate)) >= 0)
        return X509_V_ERR_CERT_NOT_YET_VALID;
    return X509_cmp_current_time(X509_get0_notAfter(certificate)) <= 0 ? X509_V_ERR_CERT_HAS_EXPIRED
                                                                       : X509_V_OK;
}

/* The code decides which alert the peer gets (ssl_x509err2alert), the reason is for our own
 * operator. */
static int
refuse(SamiTlsVerdict *verdict, X509_STORE_CTX *store, int code, gchar *reason_take)
{
    g_free(verdict->reason);
    verdict->reason = reason_take;
    verdict->cause = code == X509_V_ERR_HOSTNAME_MISMATCH ? SAMI_HANDSHAKE_WRONG_NAME
                     : code == X509_V_ERR_CERT_HAS_EXPIRED ||
                             code == X509_V_ERR_CERT_NOT_YET_VALID
                         ? SAMI_HANDSHAKE_NOT_VALID_NOW
                         : SAMI_HANDSHAKE_UNKNOWN_CA;
    X509_STORE_CTX_set_error(store, code);
    return 0;
}

static int
accept_as(SamiTlsVerdict *verdict, X509_STORE_CTX *store, const gchar *name)
{
    g_free(verdict->name);
    verdict->name = g_strdup(name);
    X509_STORE_CTX_set_error(store, X509_V_OK);
    return 1;
}

static gboolean
is_pinned_for(const TlsPeer *peer, X509 *leaf)
{
    for (guint i = 0; peer->pins && i < peer->pins->len; i++)
        if (X509_cmp(peer->pins->pdata[i], leaf) == 0)
            return TRUE;
    return FALSE;
}

/* A pin of ours, right or wrong in name; -1 if this certificate is pinned for nobody who is
 * asked for. */
static int
verify_pinned(SamiTlsVerdict *verdict, X509_STORE_CTX *store, X509 *leaf)
{
    const TlsPeer *pinned = NULL;
    for (guint i = 0; i < verdict->tls->peers->len; i++) {
        const TlsPeer *peer = &g_array_index(verdict->tls->peers, TlsPeer, i);
        if (!is_pinned_for(peer, leaf) ||
            (verdict->wanted && strcmp(verdict->wanted, peer->name) != 0))
            continue;
        pinned = peer;
        if (sami_certificate_has_name(leaf, peer->name))
            break;
    }
    if (!pinned)
        return -1;
    int code = check_time(leaf);
    if (code != X509_V_OK)
        return refuse(verdict, store, code,
                      g_strdup_printf("the pinned certificate of %s: %s", pinned->name,
                                      X509_verify_cert_error_string(code)));
    if (!sami_certificate_has_name(leaf, pinned->name)) {
        g_autofree gchar *names = print_names(leaf);
        return refuse(
            verdict, store, X509_V_ERR_HOSTNAME_MISMATCH,
            g_strdup_printf("the certificate that is pinned for %s names %s", pinned->name, names));
    }
    return accept_as(verdict, store, pinned->name);
}

static int
verify_by_ca(SamiTlsVerdict *verdict, X509_STORE_CTX *store, X509 *leaf)
{
    g_autofree gchar *names = print_names(leaf);
    if (!verdict->tls->has_ca)
        return refuse(verdict, store, X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT,
                      g_strdup_printf(
                          "presented a certificate for %s that is pinned for no such peer", names));
    if (X509_verify_cert(store) != 1) {
        int code = X509_STORE_CTX_get_error(store);
        return refuse(
            verdict, store, code == X509_V_OK ? X509_V_ERR_UNSPECIFIED : code,
            g_strdup_printf("presented a certificate for %s that is not pinned, and by tls-ca: %s",
                            names, X509_verify_cert_error_string(code)));
    }
    for (guint i = 0; i < verdict->tls->peers->len; i++) {
        const TlsPeer *peer = &g_array_index(verdict->tls->peers, TlsPeer, i);
        if (!peer->pins && (!verdict->wanted || !strcmp(verdict->wanted, peer->name)) &&
            sami_certificate_has_name(leaf, peer->name))
            return accept_as(verdict, store, peer->name);
    }
    return refuse(
        verdict, store, X509_V_ERR_HOSTNAME_MISMATCH,
        g_strdup_printf("presented a certificate for %s, which is no peer that may use tls-ca here",
                        names));
}

static int
judge(SamiTlsVerdict *verdict, X509_STORE_CTX *store)
{
    X509 *leaf = X509_STORE_CTX_get0_cert(store);
    if (!leaf)
        return refuse(verdict, store, X509_V_ERR_UNSPECIFIED, g_strdup("presented no certificate"));
    int is_accepted = verify_pinned(verdict, store, leaf);
    return is_accepted >= 0 ? is_accepted : verify_by_ca(verdict, store, leaf);
}

static int
verify(X509_STORE_CTX *store, void *unused)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    SamiTlsVerdict *verdict = SSL_get_app_data(ssl);
    g_clear_pointer(&verdict->name, g_free);
    return judge(verdict, store);
}

/* As OpenSSL prepares the store for verify(), but the one of now. */
gboolean
sami_tls_still_believes(const SSL *ssl)
{
    const SamiTlsVerdict *verdict = SSL_get_app_data(ssl);
    SamiTlsVerdict again = { .tls = verdict->tls, .wanted = verdict->name };
    X509_STORE_CTX *store = X509_STORE_CTX_new();
    gboolean is_believed = store && X509_STORE_CTX_init(store, SSL_CTX_get_cert_store(verdict->tls->context), SSL_get0_peer_certificate(ssl), SSL_get_peer_cert_chain(ssl)) == 1 &&
                           X509_STORE_CTX_set_default(store, verdict->tls->is_server ? "ssl_client" : "ssl_server") == 1;
    if (is_believed) {
        X509_VERIFY_PARAM_set_auth_level(X509_STORE_CTX_get0_param(store), SSL_get_security_level(ssl));
        is_believed = judge(&again, store);
    }
    X509_STORE_CTX_free(store);
    g_free(again.name);
    g_free(again.reason);
    ERR_clear_error();
    return is_believed;
}

/* As SSL_CTX_use_certificate_chain_file() does with a file, which others might write. */
static gboolean
use_chain(SSL_CTX *context, const gchar *text)
{
    BIO *bio = BIO_new_mem_buf(text, -1);
    X509 *own = PEM_read_bio_X509_AUX(bio, NULL, sami_openssl_no_passphrase, NULL), *next;
    gboolean is_loaded = own && SSL_CTX_use_certificate(context, own) == 1 && SSL_CTX_clear_chain_certs(context) == 1;
    X509_free(own);
    while (is_loaded && (next = PEM_read_bio_X509(bio, NULL, sami_openssl_no_passphrase, NULL)))
        if (SSL_CTX_add0_chain_cert(context, next) != 1) {
            X509_free(next);
            is_loaded = FALSE;
        }
    BIO_free(bio);
    if (is_loaded)
        ERR_clear_error(); /* the end of the text is an error, too */
    return is_loaded;
}

/* key_fd -1: key_file is opened. */
static gboolean
load_identity(SSL_CTX *context, const SamiNetworkConfig *config, int key_fd, int passphrase_fd, GError **error)
{
    EVP_PKEY *key = key_fd < 0 ? sami_private_key_load(config->key_file, config->passphrase_file, error)
                               : sami_private_key_load_fd(key_fd, config->key_file, passphrase_fd, config->passphrase_file, error);
    if (!key)
        return FALSE;
    gsize length = 0;
    g_autofree gchar *read = config->certificate ? NULL : sami_trust_read(config->certificate_file, SAMI_TRUST_PUBLIC, SAMI_CERTIFICATES_MAX, &length, error);
    const gchar *chain = config->certificate ? config->certificate : read;
    ERR_clear_error();
    gboolean has_chain = chain && use_chain(context, chain);
    gboolean is_loaded = has_chain && SSL_CTX_use_PrivateKey(context, key) == 1 && SSL_CTX_check_private_key(context) == 1;
    EVP_PKEY_free(key);
    if (chain && !has_chain)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s: no certificate that can be used: %s", config->certificate_file, sami_openssl_take_reason());
    else if (chain && !is_loaded)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s: is not the key of %s: %s", config->key_file, config->certificate_file,
                    sami_openssl_take_reason());
    return is_loaded;
}

/* As X509_STORE_load_file() does with a file: certificates and revocation lists, at least one of them. With a list there has to be one for each peer's
 * certificate, that is valid now and does not have it: whoever put one there did not want it passed over. */
static gboolean
add_certificates(X509_STORE *store, const gchar *text)
{
    BIO *bio = BIO_new_mem_buf(text, -1);
    STACK_OF(X509_INFO) *all = PEM_X509_INFO_read_bio(bio, NULL, sami_openssl_no_passphrase, NULL);
    int n = 0, n_lists = 0;
    for (int i = 0; i < sk_X509_INFO_num(all); i++) {
        const X509_INFO *one = sk_X509_INFO_value(all, i);
        n += one->x509 && X509_STORE_add_cert(store, one->x509) == 1;
        n_lists += one->crl && X509_STORE_add_crl(store, one->crl) == 1;
    }
    sk_X509_INFO_pop_free(all, X509_INFO_free);
    BIO_free(bio);
    return n + n_lists > 0 && (n_lists == 0 || X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK) == 1);
}

static X509_STORE *
load_ca(const SamiNetworkConfig *config, GError **error)
{
    gsize length;
    gboolean is_file = config->ca_file && !config->ca;
    g_autofree gchar *text = is_file ? sami_trust_read(config->ca_file, SAMI_TRUST_PUBLIC, SAMI_CA_MAX, &length, error) : g_strdup(config->ca);
    if (is_file && !text) {
        g_prefix_error(error, "tls-ca ");
        return NULL;
    }
    ERR_clear_error();
    X509_STORE *store = X509_STORE_new();
    if (store && (!text || add_certificates(store, text)))
        return store;
    ERR_clear_error();
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "tls-ca %s: no certificate in PEM form", config->ca_file ? config->ca_file : "");
    X509_STORE_free(store);
    return NULL;
}

/* PROTOCOL §1: TLS 1.3, or DTLS 1.2, no resumption, no tickets, no 0-RTT, no renegotiation, certificates on
 * both sides. */
static void
restrict_context(SSL_CTX *context, gboolean is_dtls)
{
    int version = is_dtls ? DTLS1_2_VERSION : TLS1_3_VERSION;
    /* A system-wide openssl.cnf may have less, for whatever else still needs that. */
    SSL_CTX_set_security_level(context, MAX(SSL_CTX_get_security_level(context), SECURITY_LEVEL));
    SSL_CTX_set_min_proto_version(context, version);
    SSL_CTX_set_max_proto_version(context, version);
    if (is_dtls) {
        SSL_CTX_set_cipher_list(context, DTLS_CIPHERS);
        /* RFC 6083 §3.4: no discovery of a path MTU. And no cookies: SCTP has its own. */
        SSL_CTX_set_options(context, SSL_OP_NO_QUERY_MTU);
        SSL_CTX_clear_options(context, SSL_OP_COOKIE_EXCHANGE | SSL_OP_NO_EXTENDED_MASTER_SECRET);
    }
    SSL_CTX_set_options(context,
                        SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    /* A system-wide openssl.cnf may set it; an end without close_notify must stay visible. */
    SSL_CTX_clear_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_num_tickets(context, 0);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_max_early_data(context, 0);
    SSL_CTX_set_recv_max_early_data(context, 0);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(context, 1);
    if (!is_dtls)
        SSL_CTX_set_default_read_buffer_len(context, READ_BUFFER);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_cert_verify_callback(context, verify, NULL);
}

gboolean
sami_tls_check(const SamiNetworkConfig *config, GError **error)
{
    g_autoptr(GArray) peers = load_peers(config, error);
    X509_STORE *store = peers ? load_ca(config, error) : NULL;
    X509_STORE_free(store);
    return store != NULL;
}

gboolean
sami_tls_reload(SamiTls *tls, const SamiNetworkConfig *config, GError **error)
{
    g_autoptr(GArray) peers = load_peers(config, error);
    X509_STORE *store = peers ? load_ca(config, error) : NULL;
    if (!store)
        return FALSE;
    g_clear_pointer(&tls->peers, g_array_unref);
    tls->peers = g_steal_pointer(&peers);
    SSL_CTX_set_cert_store(tls->context, store); /* takes it */
    tls->has_ca = config->ca_file || config->ca;
    return TRUE;
}

static void
on_secret(const SSL *ssl, const char *line)
{
    const SamiTlsVerdict *verdict = SSL_get_app_data(ssl);
    sami_tls_key_log_write(verdict->tls->key_log, line);
}

/* (transfer full) */
static SSL_CTX *
make_context(const SamiTls *tls, const SamiNetworkConfig *config, int key_fd, int passphrase_fd, GError **error)
{
    SSL_CTX *context = SSL_CTX_new(config->is_sctp ? DTLS_method() : tls->is_server ? TLS_server_method() : TLS_client_method());
    if (!context) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "TLS: %s", sami_openssl_take_reason());
        return NULL;
    }
    restrict_context(context, config->is_sctp);
    if (tls->key_log)
        SSL_CTX_set_keylog_callback(context, on_secret);
    if (load_identity(context, config, key_fd, passphrase_fd, error))
        return context;
    SSL_CTX_free(context);
    return NULL;
}

gboolean
sami_tls_reload_identity(SamiTls *tls, const SamiNetworkConfig *config, int key_fd, int passphrase_fd, GError **error)
{
    SSL_CTX *context = make_context(tls, config, key_fd, passphrase_fd, error);
    if (!context)
        return FALSE;
    X509_STORE *store = SSL_CTX_get_cert_store(tls->context);
    X509_STORE_up_ref(store);
    SSL_CTX_set_cert_store(context, store); /* takes it */
    SSL_CTX_free(tls->context);             /* sessions hold references */
    tls->context = context;
    return TRUE;
}

gboolean
sami_tls_check_identity(const SamiNetworkConfig *config, GError **error)
{
    const SamiTls bare = { 0 };
    SSL_CTX *context = make_context(&bare, config, -1, -1, error);
    SSL_CTX_free(context);
    return context != NULL;
}

SamiTls *
sami_tls_new(const SamiNetworkConfig *config, gboolean is_server, GError **error)
{
    g_autoptr(SamiTls) tls = g_new0(SamiTls, 1);
    tls->is_server = is_server;
    if ((config->key_log && !(tls->key_log = sami_tls_key_log_open(config->key_log, error))) ||
        !(tls->context = make_context(tls, config, -1, -1, error)) || !sami_tls_reload(tls, config, error))
        return NULL;
    return g_steal_pointer(&tls);
}

gboolean
sami_tls_try(SamiTls *tls, const SamiNetworkConfig *config, GError **error)
{
    if (sami_private_key_try(SSL_CTX_get0_privatekey(tls->context), config->key_file, error))
        return TRUE;
    g_prefix_error(error, "the network process cannot use its key%s; KEYS in sami.conf(5) says what a token needs: ",
                   config->is_sandboxed ? " as user= and in its sandbox" : " as user=");
    return FALSE;
}

void
sami_tls_free(SamiTls *tls)
{
    if (!tls)
        return;
    SSL_CTX_free(tls->context);
    sami_tls_key_log_free(tls->key_log);
    g_clear_pointer(&tls->peers, g_array_unref);
    g_free(tls);
}

SSL *
sami_tls_open(SamiTls *tls, SamiTlsVerdict *verdict, int fd, GError **error)
{
    ERR_clear_error();
    SSL *ssl = SSL_new(tls->context);
    gboolean is_ready = ssl && (fd < 0 || SSL_set_fd(ssl, fd) == 1) && SSL_set_app_data(ssl, verdict) == 1 &&
                        (!verdict->wanted || SSL_set_tlsext_host_name(ssl, verdict->wanted) == 1);
    if (!is_ready) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "TLS: %s", sami_openssl_take_reason());
        SSL_free(ssl);
        return NULL;
    }
    verdict->tls = tls;
    sami_tls_count(ssl);
    if (tls->is_server)
        SSL_set_accept_state(ssl);
    else
        SSL_set_connect_state(ssl);
    return ssl;
}

void
sami_tls_verdict_clear(SamiTlsVerdict *verdict)
{
    g_clear_pointer(&verdict->wanted, g_free);
    g_clear_pointer(&verdict->name, g_free);
    g_clear_pointer(&verdict->reason, g_free);
}

gboolean
sami_tls_export(SSL *ssl, guint8 ret_ekm[32])
{
    return SSL_export_keying_material(ssl, ret_ekm, 32, EKM_LABEL, strlen(EKM_LABEL), NULL, 0, 0) ==
           1;
}
