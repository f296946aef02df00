/* Identities, signing keys, fingerprints and peer files. */
#include <glib/gstdio.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/stat.h>

#include "templates/private-key.h"
#include "templates/signature.h"
#include "tests/unit/harness.h"
#include "transport/pki.h"
#include "transport/tls-context.h"

static gchar *dir, *crt, *key, *signing, *public;

static int
set_up(void)
{
    dir = g_dir_make_tmp("sami-pki-XXXXXX", NULL);
    crt = g_build_filename(dir, "tls.crt", NULL);
    key = g_build_filename(dir, "tls.key", NULL);
    signing = g_build_filename(dir, "signing.key", NULL);
    public = g_build_filename(dir, "signing.pub", NULL);
    return dir ? 0 : 1;
}

static int
tear_down(void)
{
    gchar *paths[] = { crt, key, signing, public };
    for (guint i = 0; i < G_N_ELEMENTS(paths); i++) {
        g_unlink(paths[i]);
        g_free(paths[i]);
    }
    g_rmdir(dir);
    g_free(dir);
    return 0;
}

static gchar *
slurp(const gchar *path)
{
    gchar *text = NULL;
    CU_ASSERT_FATAL(g_file_get_contents(path, &text, NULL, NULL));
    return text;
}

static guint
mode_of(const gchar *path)
{
    struct stat status;
    return stat(path, &status) == 0 ? status.st_mode & 07777 : 0;
}

static X509 *
load(const gchar *path)
{
    BIO *bio = BIO_new_file(path, "r");
    X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    return certificate;
}

static void
test_identity(void)
{
    g_autoptr(GError) error = NULL;
    mode_t mask = umask(0);
    CU_ASSERT_FATAL(sami_pki_make_identity("fw1.example", crt, key, NULL, &error));
    umask(mask);
    CU_ASSERT_EQUAL(mode_of(key), 0600);
    CU_ASSERT_EQUAL(mode_of(crt), 0644);
    X509 *certificate = load(crt);
    int days = 0, seconds;
    ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(certificate));
    CU_ASSERT(days > 3640 && days <= 3653);
    CU_ASSERT_EQUAL(
        X509_check_host(certificate, "fw1.example", 0, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, NULL),
        1);
    CU_ASSERT_EQUAL(X509_get_key_usage(certificate), X509v3_KU_DIGITAL_SIGNATURE);
    CU_ASSERT_EQUAL(X509_get_extended_key_usage(certificate), XKU_SSL_SERVER | XKU_SSL_CLIENT);
    CU_ASSERT_EQUAL(X509_check_ca(certificate), 0);
    CU_ASSERT_EQUAL(EVP_PKEY_get_bits(X509_get0_pubkey(certificate)), 256);
    CU_ASSERT_EQUAL(X509_verify(certificate, X509_get0_pubkey(certificate)), 1);
    X509_free(certificate);
}

static void
test_identity_again(void)
{
    g_autofree gchar *crt_before = slurp(crt), *key_before = slurp(key);
    CU_ASSERT(sami_pki_make_identity("fw1.example", crt, key, NULL, NULL));
    g_autofree gchar *crt_after = slurp(crt), *key_after = slurp(key);
    CU_ASSERT_STRING_EQUAL(crt_before, crt_after);
    CU_ASSERT_STRING_EQUAL(key_before, key_after);
    CU_ASSERT_FALSE(sami_pki_make_identity("fw2.example", crt, key, NULL, NULL));
    g_unlink(crt);
    CU_ASSERT_FALSE(sami_pki_make_identity("fw1.example", crt, key, NULL, NULL)); /* half of a pair */
    CU_ASSERT_FALSE(g_file_test(crt, G_FILE_TEST_EXISTS));
    g_autofree gchar *other = g_build_filename(dir, "other.key", NULL);
    CU_ASSERT(sami_pki_make_identity("fw1.example", crt, other, NULL, NULL));
    CU_ASSERT_FALSE(
        sami_pki_make_identity("fw1.example", crt, key, NULL, NULL)); /* two halves of two pairs */
    g_unlink(other);
    g_unlink(crt);
    g_file_set_contents(crt, crt_before, -1, NULL);
    CU_ASSERT(sami_pki_make_identity("fw1.example", crt, key, NULL, NULL));
    CU_ASSERT_FALSE(sami_pki_make_identity("Fw1.example", "/nowhere/a", "/nowhere/b", NULL, NULL));
    CU_ASSERT_FALSE(sami_pki_make_identity("a,DNS:b", "/nowhere/a", "/nowhere/b", NULL, NULL));
    CU_ASSERT_FALSE(sami_pki_make_identity("fw1.example", "/nowhere/a", "/nowhere/b", NULL, NULL));
}

static void
test_long_name(void)
{
    g_autofree gchar *label = g_strnfill(60, 'a');
    g_autofree gchar *name = g_strdup_printf("%s.%s.%s.example", label, label, label);
    g_autofree gchar *long_crt = g_build_filename(dir, "long.crt", NULL),
                     *long_key = g_build_filename(dir, "long.key", NULL);
    CU_ASSERT_FATAL(sami_pki_make_identity(name, long_crt, long_key, NULL, NULL));
    g_autofree gchar *pem = slurp(long_crt);
    CU_ASSERT(sami_pki_certificate_names(pem, strlen(pem), name, NULL));
    g_unlink(long_crt);
    g_unlink(long_key);
}

static void
test_signing_key(void)
{
    CU_ASSERT_FATAL(sami_pki_make_signing_key(signing, public, NULL, NULL));
    CU_ASSERT_EQUAL(mode_of(signing), 0600);
    CU_ASSERT_EQUAL(mode_of(public), 0644);
    g_autofree gchar *text = slurp(signing);
    CU_ASSERT(g_str_has_prefix(text, "-----BEGIN PRIVATE KEY-----"));
    BIO *bio = BIO_new_file(public, "r");
    EVP_PKEY *pkey = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    CU_ASSERT(pkey && EVP_PKEY_is_a(pkey, "ED25519"));
    EVP_PKEY_free(pkey);
    BIO_free(bio);
    CU_ASSERT_FALSE(sami_pki_make_signing_key(signing, public, NULL, NULL));
    g_autofree gchar *after = slurp(signing);
    CU_ASSERT_STRING_EQUAL(text, after);
}

/* Two halves are a pair only of one key. */
static void
test_signing_pair(void)
{
    g_autofree gchar *key2 = g_build_filename(dir, "2.key", NULL), *public2 = g_build_filename(dir, "2.pub", NULL), *mine = slurp(public);
    CU_ASSERT_FATAL(sami_pki_make_signing_key(key2, public2, NULL, NULL));
    CU_ASSERT(sami_pki_check_signing_key(signing, public, NULL, NULL));
    CU_ASSERT(sami_pki_check_signing_key(key2, public2, NULL, NULL));
    g_autofree gchar *other = slurp(public2), *both = g_strconcat(mine, other, NULL), *cut = g_strndup(mine, strlen(mine) - 30);
    const gchar *const wrong[] = { other, both, cut, "" };
    for (guint i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autoptr(GError) error = NULL;
        g_file_set_contents(public2, wrong[i], -1, NULL);
        CU_ASSERT_FALSE(sami_pki_check_signing_key(signing, public2, NULL, &error));
        CU_ASSERT(error && strstr(error->message, "does not belong"));
    }
    g_unlink(public2);
    CU_ASSERT_FALSE(sami_pki_check_signing_key(signing, public2, NULL, NULL));
    CU_ASSERT_FALSE(sami_pki_check_signing_key(public, public, NULL, NULL));
    g_unlink(key2);
}

/* X509_digest is what `openssl x509 -fingerprint -sha256` prints in hex. */
static void
test_fingerprint(void)
{
    g_autofree gchar *pem = slurp(crt), *spki = slurp(public), *secret = slurp(signing);
    guint8 digest[32];
    X509 *certificate = load(crt);
    CU_ASSERT_EQUAL(X509_digest(certificate, EVP_sha256(), digest, NULL), 1);
    X509_free(certificate);
    g_autofree gchar *base64 = g_base64_encode(digest, 32);
    *strchr(base64, '=') = '\0';
    g_autofree gchar *expected = g_strconcat("SHA256:", base64, NULL);
    g_autofree gchar *got = sami_pki_fingerprint(pem, strlen(pem), NULL);
    CU_ASSERT_STRING_EQUAL(got, expected);
    g_autofree gchar *of_key = sami_pki_fingerprint(spki, strlen(spki), NULL);
    CU_ASSERT(of_key && strlen(of_key) == 7 + 43);
    CU_ASSERT_PTR_NULL(sami_pki_fingerprint(secret, strlen(secret), NULL));
    CU_ASSERT_PTR_NULL(sami_pki_fingerprint("", 0, NULL));
    CU_ASSERT_PTR_NULL(sami_pki_fingerprint(pem, strlen(pem) / 2, NULL));
    g_autoptr(GError) error = NULL;
    CU_ASSERT(sami_pki_certificate_names(pem, strlen(pem), "fw1.example", NULL));
    CU_ASSERT_FALSE(sami_pki_certificate_names(pem, strlen(pem), "fw2.example", &error));
    CU_ASSERT(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_REFUSED));
    CU_ASSERT_FALSE(sami_pki_certificate_names(pem, strlen(pem), ".example", NULL));
    CU_ASSERT_FALSE(sami_pki_certificate_names(spki, strlen(spki), "fw1.example", NULL));
}

static void
test_peer_file(void)
{
    g_autofree gchar *pem = slurp(crt), *spki = slurp(public);
    SamiPeerFile peer = { "fw1.example", "192.0.2.1:4740", pem, spki };
    g_autofree gchar *text = sami_peer_file_print(&peer);
    g_autoptr(GError) error = NULL;
    g_autoptr(SamiPeerFile) parsed = sami_peer_file_parse(text, strlen(text), &error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(parsed);
    CU_ASSERT_STRING_EQUAL(parsed->name, peer.name);
    CU_ASSERT_STRING_EQUAL(parsed->address, peer.address);
    CU_ASSERT_STRING_EQUAL(parsed->certificate_pem, pem);
    CU_ASSERT_STRING_EQUAL(parsed->signing_key_pem, spki);
    peer.address = NULL;
    g_autofree gchar *without = sami_peer_file_print(&peer);
    g_autoptr(SamiPeerFile) second = sami_peer_file_parse(without, strlen(without), NULL);
    CU_ASSERT(second && !second->address);
}

static void
refuse_replaced(const gchar *text, const gchar *from, const gchar *to)
{
    g_autoptr(GString) changed = g_string_new(text);
    g_autoptr(GError) error = NULL;
    CU_ASSERT(g_string_replace(changed, from, to, 1) == 1);
    g_autoptr(SamiPeerFile) parsed = sami_peer_file_parse(changed->str, changed->len, &error);
    CU_ASSERT_PTR_NULL(parsed);
    CU_ASSERT(error && error->domain == SAMI_ERROR && strlen(error->message) > 0);
    CU_ASSERT(!strstr(to, "\\q") || (error && strstr(error->message, "an escape that there is not")));
}

static void
test_bad_peer_file(void)
{
    static const gchar *const changes[][2] = {
        { "[sami-peer]", "[sami]" },
        { "version=1", "version=2" },
        { "version=1\n", "" },
        { "version=1", "version=1\nx=y" },
        { "name=fw1.example", "name=fw2.example" },
        { "name=fw1.example", "name=FW1" },
        { "address=192.0.2.1:4740", "address=192.0.2.1" },
        { "address=192.0.2.1:4740", "address=192.0.2.1:4740\\q" },
        { "pen=", "pen=9" },
        { "pen=", "pen=x" },
        { "certificate=", "certificate=x" },
        { "signing-key=-----BEGIN PUBLIC", "signing-key=-----BEGIN PRIVATE" },
        { "[sami-peer]", "[other]\na=b\n[sami-peer]" },
        { "END CERTIFICATE-----\\n", "END CERTIFICATE-----\\n-----BEGIN X-----" },
    };
    g_autofree gchar *pem = slurp(crt), *spki = slurp(public), *secret = slurp(signing);
    SamiPeerFile peer = { "fw1.example", "192.0.2.1:4740", pem, spki };
    g_autofree gchar *text = sami_peer_file_print(&peer);
    for (guint i = 0; i < G_N_ELEMENTS(changes); i++)
        refuse_replaced(text, changes[i][0], changes[i][1]);
    for (gsize i = 0; i < strlen(text) - 3; i++) {
        SamiPeerFile *cut = sami_peer_file_parse(text, i, NULL);
        CU_ASSERT_PTR_NULL(cut);
        sami_peer_file_free(cut);
    }
    peer.signing_key_pem = secret;
    g_autofree gchar *leaking = sami_peer_file_print(&peer);
    CU_ASSERT_PTR_NULL(sami_peer_file_parse(leaking, strlen(leaking), NULL));
}

/* While a key is replaced: both are there, under one fingerprint each, in their order; a third is one too many. */
static void
test_peer_file_of_two(void)
{
    g_autofree gchar *pem = slurp(crt), *spki = slurp(public);
    g_autofree gchar *key2 = g_build_filename(dir, "two.key", NULL), *public2 = g_build_filename(dir, "two.pub", NULL);
    g_autofree gchar *crt2 = g_build_filename(dir, "two.crt", NULL), *tls2 = g_build_filename(dir, "two.tls", NULL);
    CU_ASSERT_FATAL(sami_pki_make_signing_key(key2, public2, NULL, NULL) && sami_pki_make_identity("fw1.example", crt2, tls2, NULL, NULL));
    g_autofree gchar *spki2 = slurp(public2), *pem2 = slurp(crt2);
    g_autofree gchar *keys = g_strconcat(spki, spki2, NULL), *certificates = g_strconcat(pem, pem2, NULL);
    SamiPeerFile peer = { "fw1.example", NULL, certificates, keys };
    g_autofree gchar *text = sami_peer_file_print(&peer);
    g_autoptr(SamiPeerFile) parsed = sami_peer_file_parse(text, strlen(text), NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(parsed);
    CU_ASSERT_STRING_EQUAL(parsed->signing_key_pem, keys);
    CU_ASSERT_STRING_EQUAL(parsed->certificate_pem, certificates);
    /* What is around the blocks is under no fingerprint, and goes no further. */
    g_autofree gchar *around = g_strconcat("before\033[2J\n", spki, "between\n", spki2, "behind", NULL);
    peer.signing_key_pem = around;
    g_autofree gchar *talking = sami_peer_file_print(&peer);
    g_autoptr(SamiPeerFile) bare = sami_peer_file_parse(talking, strlen(talking), NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(bare);
    CU_ASSERT_STRING_EQUAL(bare->signing_key_pem, keys);
    g_auto(GStrv) prints = sami_pki_fingerprints(keys, SAMI_PEM_PUBLIC_KEY, 2, NULL);
    g_autofree gchar *first = sami_pki_fingerprint(spki, strlen(spki), NULL), *second = sami_pki_fingerprint(spki2, strlen(spki2), NULL);
    CU_ASSERT_FATAL(prints && g_strv_length(prints) == 2);
    CU_ASSERT_STRING_EQUAL(prints[0], first);
    CU_ASSERT_STRING_EQUAL(prints[1], second);
    g_autofree gchar *three = g_strconcat(keys, spki2, NULL), *twice = g_strconcat(spki, spki, NULL), *mixed = g_strconcat(spki, pem, NULL);
    g_autofree gchar *cut = g_strndup(keys, strlen(keys) - 20);
    gchar *bad[] = { three, twice, mixed, cut };
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        peer.signing_key_pem = bad[i];
        g_autofree gchar *wrong = sami_peer_file_print(&peer);
        CU_ASSERT_PTR_NULL(sami_peer_file_parse(wrong, strlen(wrong), &error));
        CU_ASSERT(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_MALFORMED));
    }
    peer.signing_key_pem = keys;
    peer.certificate_pem = NULL; /* a CA vouches */
    g_autofree gchar *without = sami_peer_file_print(&peer);
    g_autoptr(SamiPeerFile) of_ca = sami_peer_file_parse(without, strlen(without), NULL);
    CU_ASSERT(of_ca && !of_ca->certificate_pem);
    /* The second certificate has to have the name as well. */
    g_unlink(crt2);
    g_unlink(tls2);
    CU_ASSERT_FATAL(sami_pki_make_identity("fw2.example", crt2, tls2, NULL, NULL));
    g_autofree gchar *foreign = slurp(crt2);
    g_autofree gchar *both = g_strconcat(pem, foreign, NULL);
    peer.certificate_pem = both;
    g_autofree gchar *smuggled = sami_peer_file_print(&peer);
    CU_ASSERT_PTR_NULL(sami_peer_file_parse(smuggled, strlen(smuggled), NULL));
    gchar *paths[] = { key2, public2, crt2, tls2 };
    for (guint i = 0; i < G_N_ELEMENTS(paths); i++)
        g_unlink(paths[i]);
}

static void
test_request(void)
{
    g_autofree gchar *csr = g_build_filename(dir, "r.csr", NULL), *tls = g_build_filename(dir, "r.key", NULL);
    CU_ASSERT_FATAL(sami_pki_make_request("fw1.example", csr, tls, NULL, NULL));
    CU_ASSERT_EQUAL(mode_of(tls), 0600);
    CU_ASSERT_EQUAL(mode_of(csr), 0644);
    BIO *bio = BIO_new_file(csr, "r");
    X509_REQ *request = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
    BIO_free(bio);
    CU_ASSERT_PTR_NOT_NULL_FATAL(request);
    CU_ASSERT_EQUAL(X509_REQ_verify(request, X509_REQ_get0_pubkey(request)), 1);
    STACK_OF(X509_EXTENSION) *extensions = X509_REQ_get_extensions(request);
    GENERAL_NAMES *names = X509V3_get_d2i(extensions, NID_subject_alt_name, NULL, NULL);
    CU_ASSERT_FATAL(names && sk_GENERAL_NAME_num(names) == 1);
    CU_ASSERT_NSTRING_EQUAL(ASN1_STRING_get0_data(sk_GENERAL_NAME_value(names, 0)->d.dNSName), "fw1.example", 11);
    EXTENDED_KEY_USAGE *usage = X509V3_get_d2i(extensions, NID_ext_key_usage, NULL, NULL);
    CU_ASSERT(usage && sk_ASN1_OBJECT_num(usage) == 2);
    EXTENDED_KEY_USAGE_free(usage);
    GENERAL_NAMES_free(names);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    X509_REQ_free(request);
    g_autofree gchar *before = slurp(csr), *key_before = slurp(tls);
    CU_ASSERT(sami_pki_make_request("fw1.example", csr, tls, NULL, NULL));
    g_unlink(csr);
    CU_ASSERT(sami_pki_make_request("fw1.example", csr, tls, NULL, NULL)); /* of the key that is there */
    g_autofree gchar *key_after = slurp(tls);
    CU_ASSERT_STRING_EQUAL(key_before, key_after);
    /* behind a URI the same key, of which no file is made */
    g_autofree gchar *uri = g_strconcat("file:", tls, NULL), *nowhere = g_strconcat(uri, "-none", NULL), *own = g_build_filename(dir, "r.crt", NULL);
    g_unlink(csr);
    CU_ASSERT(sami_pki_make_request("fw1.example", csr, uri, NULL, NULL));
    CU_ASSERT(sami_pki_make_identity("fw1.example", own, uri, NULL, NULL));
    CU_ASSERT(sami_pki_make_identity("fw1.example", own, uri, NULL, NULL));
    CU_ASSERT(sami_pki_check_identity("fw1.example", own, tls, NULL, NULL));
    g_unlink(own);
    CU_ASSERT_FALSE(sami_pki_make_identity("fw1.example", own, nowhere, NULL, NULL));
    CU_ASSERT_FALSE(g_file_test(own, G_FILE_TEST_EXISTS) || g_file_test(uri, G_FILE_TEST_EXISTS) || g_file_test(nowhere, G_FILE_TEST_EXISTS));
    g_unlink(tls);
    CU_ASSERT_FALSE(sami_pki_make_request("fw1.example", csr, tls, NULL, NULL));
    g_unlink(csr);
}

/* What a handshake would fail with is found before: an own certificate that is none, and a key that agrees on secrets but signs nothing. */
static void
test_useless(void)
{
    g_autoptr(GError) error = NULL;
    const SamiNetworkConfig config = { .certificate_file = (gchar *) "own.crt", .certificate = (gchar *) "no certificate", .key_file = key };
    CU_ASSERT_PTR_NULL(sami_tls_new(&config, TRUE, &error));
    CU_ASSERT(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_CONFIG) && g_str_has_prefix(error->message, "own.crt: no certificate that can be used: "));
    g_clear_error(&error);
    EVP_PKEY *x25519 = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
    CU_ASSERT_FALSE(sami_private_key_try(x25519, "own.key", &error));
    CU_ASSERT(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_CONFIG) && g_str_has_prefix(error->message, "own.key: the private key does not sign: "));
    EVP_PKEY_free(x25519);
}

static void
test_encrypted(void)
{
    g_autofree gchar *file = g_build_filename(dir, "e.key", NULL), *spki = g_build_filename(dir, "e.pub", NULL);
    g_autofree gchar *right = g_build_filename(dir, "right", NULL), *wrong = g_build_filename(dir, "wrong", NULL);
    g_file_set_contents_full(right, "correct horse\nsecond line\n", -1, G_FILE_SET_CONTENTS_NONE, 0600, NULL);
    g_file_set_contents_full(wrong, "battery\n", -1, G_FILE_SET_CONTENTS_NONE, 0600, NULL);
    CU_ASSERT_FATAL(sami_pki_make_signing_key(file, spki, right, NULL));
    g_autofree gchar *text = slurp(file);
    CU_ASSERT(g_str_has_prefix(text, "-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    CU_ASSERT_EQUAL(mode_of(file), 0600);
    g_autoptr(SamiKey) loaded = sami_key_load_private(file, right, NULL), half = sami_key_load_public(spki, NULL);
    CU_ASSERT_FATAL(loaded && half);
    CU_ASSERT(!memcmp(sami_key_id(loaded), sami_key_id(half), SAMI_KEY_ID));
    /* Others can read it: PKCS#8 as OpenSSL's command line makes it. */
    BIO *bio = BIO_new_file(file, "r");
    EVP_PKEY *pkey = PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *) "correct horse");
    BIO_free(bio);
    CU_ASSERT_PTR_NOT_NULL(pkey);
    EVP_PKEY_free(pkey);
    g_autofree gchar *uri = g_strconcat("file:", file, NULL), *uri2 = g_strconcat("file://", file, NULL), *empty = g_build_filename(dir, "empty", NULL);
    g_file_set_contents_full(empty, "\n", -1, G_FILE_SET_CONTENTS_NONE, 0600, NULL);
    g_autoptr(SamiKey) by_uri = sami_key_load_private(uri, right, NULL), by_uri2 = sami_key_load_private(uri2, right, NULL);
    CU_ASSERT(by_uri && by_uri2 && !memcmp(sami_key_id(by_uri), sami_key_id(loaded), SAMI_KEY_ID));
    const struct {
        const gchar *place, *passphrase_file, *word;
    } bad[] = { { file, NULL, "key-passphrase-file" }, { file, wrong, "cannot be decrypted" }, { file, "/nowhere", "/nowhere" }, { uri, NULL, "key-passphrase-file" },
                { uri, wrong, "cannot be had" }, { "nosuch:x", NULL, "no provider" }, { "org.openssl.engine:nosuch:x", NULL, "could not load" },
                { "org.openssl.engine:nosuch", NULL, "org.openssl.engine:nosuch" }, { file, empty, "first line" }, { spki, NULL, "accessible by others" },
                { crt, NULL, "accessible by others" }, { dir, NULL, "regular file" } };
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        CU_ASSERT_PTR_NULL(sami_key_load_private(bad[i].place, bad[i].passphrase_file, &error));
        CU_ASSERT(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_CONFIG) && strstr(error->message, bad[i].word));
    }
    g_chmod(right, 0640);
    CU_ASSERT_PTR_NULL(sami_key_load_private(file, right, NULL));
    g_chmod(file, 0640);
    CU_ASSERT_PTR_NULL(sami_key_load_private(uri, wrong, NULL));
    gchar *paths[] = { file, spki, right, wrong, empty };
    for (guint i = 0; i < G_N_ELEMENTS(paths); i++)
        g_unlink(paths[i]);
}

/* A file with several keys is all of them, or nothing. */
static void
test_public_keys(void)
{
    g_autofree gchar *spki = slurp(public), *pem = slurp(crt), *file = g_build_filename(dir, "many.pub", NULL), *six = NULL;
    g_autofree gchar *two = g_strconcat("a comment\n", spki, "\n", spki, NULL), *mixed = g_strconcat(spki, pem, NULL);
    six = g_strconcat(spki, spki, spki, spki, spki, spki, NULL);
    g_autofree gchar *cut = g_strndup(two, strlen(two) - 30);
    const struct {
        const gchar *text;
        guint n;
    } cases[] = { { spki, 1 }, { two, 2 }, { mixed, 0 }, { six, 0 }, { cut, 0 }, { "", 0 }, { pem, 0 } };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_file_set_contents_full(file, cases[i].text, -1, G_FILE_SET_CONTENTS_NONE, 0644, NULL);
        g_autoptr(GPtrArray) keys = sami_keys_load_public(file, SAMI_TRUST_PUBLIC, NULL);
        CU_ASSERT_EQUAL(keys ? keys->len : 0, cases[i].n);
    }
    g_file_set_contents(file, spki, -1, NULL);
    g_chmod(file, 0664);
    CU_ASSERT_PTR_NULL(sami_keys_load_public(file, SAMI_TRUST_PUBLIC, NULL));
    g_autoptr(GPtrArray) any = sami_keys_load_public(file, SAMI_TRUST_ANY, NULL);
    CU_ASSERT_PTR_NOT_NULL(any);
    g_unlink(file);
}

static const SamiTest tests[] = {
    { "identity", test_identity },
    { "identity again", test_identity_again },
    { "identity with a long name", test_long_name },
    { "signing key", test_signing_key },
    { "halves of a signing key", test_signing_pair },
    { "fingerprint", test_fingerprint },
    { "peer file", test_peer_file },
    { "bad peer files", test_bad_peer_file },
    { "peer file of two keys", test_peer_file_of_two },
    { "request", test_request },
    { "an identity of no use", test_useless }, { "encrypted keys", test_encrypted },
    { "files of public keys", test_public_keys },
};

int
main(void)
{
    return sami_test_main("pki", tests, G_N_ELEMENTS(tests), set_up, tear_down);
}
