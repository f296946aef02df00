#include "transport/pki.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/limits.h"
#include "common/trust.h"
#include "common/value.h"
#include "templates/private-key.h"
#include "transport/tls-certificate.h"

/* Ten years: these certificates are pinned, so an end of validity protects nobody and only
 * breaks a firewall at night. */
#define VALID_DAYS 3652
/* Two firewalls' clocks differ; a new certificate must be valid at the other one at once. */
#define BACKDATE_S (24 * 60 * 60)
/* What a guess at a passphrase costs, and each load of the key: some tens of milliseconds. */
#define PASSPHRASE_ITERATIONS 100000
/* RFC 5280, ub-common-name. */
#define COMMON_NAME_MAX 64

G_DEFINE_AUTOPTR_CLEANUP_FUNC(BIO, BIO_free_all)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(EVP_PKEY, EVP_PKEY_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(X509, X509_free)

static gboolean
fail(const gchar *what, GError **error)
{
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s: %s", what, sami_openssl_take_reason());
    return FALSE;
}

/* ---- files ---- */

static gboolean
write_all(int fd, const gchar *text, gsize length)
{
    while (length > 0) {
        ssize_t n = write(fd, text, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return FALSE;
        text += n;
        length -= (gsize) n;
    }
    return TRUE;
}

/* Never overwrites and never follows a link. fchmod() undoes what the umask took; the file is
 * born no wider than its mode. */
static gboolean
create_file(const gchar *path, mode_t mode, BIO *content, GError **error)
{
    char *text;
    long length = BIO_get_mem_data(content, &text);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0) {
        g_set_error(error, SAMI_ERROR, errno == EACCES ? SAMI_ERROR_PERMISSION : SAMI_ERROR_FAILED, "%s: %s", path, g_strerror(errno));
        return FALSE;
    }
    gboolean is_written = fchmod(fd, mode) == 0 && write_all(fd, text, (gsize) length) &&
                          fsync(fd) == 0;
    int saved_errno = errno;
    close(fd);
    if (!is_written) {
        unlink(path);
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s: %s", path, g_strerror(saved_errno));
    }
    return is_written;
}

/* Both or none, the secret one first. */
static gboolean
create_pair(const gchar *key_file, BIO *key, const gchar *public_file, BIO *public, GError **error)
{
    if (!create_file(key_file, 0600, key, error))
        return FALSE;
    if (create_file(public_file, 0644, public, error))
        return TRUE;
    unlink(key_file);
    return FALSE;
}

/* A memory BIO whose buffer is cleansed when freed (BIO_s_secmem falls back to the heap, with
 * the same cleansing). */
static BIO *
secret_bio(void)
{
    return BIO_new(BIO_s_secmem());
}

static gboolean
exists(const gchar *path)
{
    struct stat status;
    return lstat(path, &status) == 0;
}

/* ---- identity ---- */

static gboolean
add_extension(X509 *certificate, int nid, const gchar *value)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    gboolean is_added = extension && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return is_added;
}

static gboolean
add_extensions(X509 *certificate, const gchar *name)
{
    /* `name` passed sami_value_name: nothing in it has a meaning to OpenSSL's configuration
     * syntax. */
    g_autofree gchar *alt_name = g_strdup_printf("critical,DNS:%s", name);
    return add_extension(certificate, NID_basic_constraints, "critical,CA:FALSE") &&
           add_extension(certificate, NID_key_usage, "critical,digitalSignature") &&
           add_extension(certificate, NID_ext_key_usage, "serverAuth,clientAuth") &&
           add_extension(certificate, NID_subject_alt_name,
                         strlen(name) > COMMON_NAME_MAX ? alt_name
                                                        : alt_name + strlen("critical,")) &&
           add_extension(certificate, NID_subject_key_identifier, "hash");
}

/* 127 random bits, positive (RFC 5280 §4.1.2.2). */
static gboolean
set_serial(X509 *certificate)
{
    guint8 octets[16];
    if (RAND_bytes(octets, sizeof(octets)) != 1)
        return FALSE;
    octets[0] = (octets[0] & 0x7f) | 0x40;
    BIGNUM *number = BN_bin2bn(octets, sizeof(octets), NULL);
    gboolean is_set = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
    BN_free(number);
    return is_set;
}

/* The common name is for people who list certificates; nothing here reads it. One that is too
 * long for it leaves the subject empty, and then the alternative name must be critical (RFC 5280
 * §4.2.1.6). */
static gboolean
set_subject(X509 *certificate, const gchar *name)
{
    X509_NAME *subject = X509_get_subject_name(certificate);
    if (strlen(name) <= COMMON_NAME_MAX &&
        X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_ASC, (const guchar *) name, -1,
                                   -1, 0) != 1)
        return FALSE;
    return X509_set_issuer_name(certificate, subject) == 1;
}

static X509 *
make_certificate(EVP_PKEY *key, const gchar *name)
{
    g_autoptr(X509) certificate = X509_new();
    gboolean is_made = certificate && X509_set_version(certificate, X509_VERSION_3) == 1 &&
                       set_serial(certificate) &&
                       X509_gmtime_adj(X509_getm_notBefore(certificate), -BACKDATE_S) &&
                       X509_time_adj_ex(X509_getm_notAfter(certificate), VALID_DAYS, 0, NULL) &&
                       X509_set_pubkey(certificate, key) == 1 && set_subject(certificate, name) &&
                       add_extensions(certificate, name) &&
                       X509_sign(certificate, key, EVP_sha256()) > 0;
    return is_made ? g_steal_pointer(&certificate) : NULL;
}

static EVP_PKEY *
load_key(const gchar *key_file, const gchar *passphrase_file, GError **error)
{
    return sami_private_key_load(key_file, passphrase_file, error);
}

static gboolean
check_identity(const gchar *name, BIO *pem, const gchar *certificate_file, const gchar *key_file, const gchar *passphrase_file, GError **error)
{
    g_autoptr(X509) certificate = pem ? PEM_read_bio_X509(pem, NULL, sami_openssl_no_passphrase, NULL) : NULL;
    if (!certificate)
        return fail(certificate_file, error);
    g_autoptr(EVP_PKEY) key = load_key(key_file, passphrase_file, error);
    if (!key)
        return FALSE;
    gboolean is_pair = X509_check_private_key(certificate, key) == 1,
             is_named = sami_certificate_has_name(certificate, name);
    ERR_clear_error();
    if (is_pair && !sami_private_key_try(key, key_file, error)) /* a TPM compares a PIN only now */
        return FALSE;
    if (!is_pair)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED,
                    "%s does not belong to %s; nothing was changed", certificate_file, key_file);
    else if (!is_named)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED,
                    "%s is for another name than %s; nothing was changed",
                    certificate_file, name);
    return is_pair && is_named;
}

gboolean
sami_pki_check_identity(const gchar *name, const gchar *certificate_file, const gchar *key_file, const gchar *passphrase_file, GError **error)
{
    ERR_clear_error();
    g_autoptr(BIO) pem = BIO_new_file(certificate_file, "r");
    return check_identity(name, pem, certificate_file, key_file, passphrase_file, error);
}

gboolean
sami_pki_check_certificate(const gchar *name, const gchar *pem, const gchar *place, const gchar *key_file, const gchar *passphrase_file, GError **error)
{
    ERR_clear_error();
    g_autoptr(BIO) bio = BIO_new_mem_buf(pem, -1);
    return check_identity(name, bio, place, key_file, passphrase_file, error);
}

/* PKCS#8 in PEM, encrypted with AES-256 under PBKDF2 where there is a passphrase. */
static gboolean
write_private(BIO *pem, EVP_PKEY *key, const gchar *passphrase_file, GError **error)
{
    if (!passphrase_file)
        return PEM_write_bio_PKCS8PrivateKey(pem, key, NULL, NULL, 0, NULL, NULL) == 1 ? TRUE : fail("writing a private key", error);
    gsize size = 0;
    gchar *passphrase = sami_passphrase_read(passphrase_file, &size, error);
    if (!passphrase)
        return FALSE;
    PKCS8_PRIV_KEY_INFO *plain = EVP_PKEY2PKCS8(key);
    X509_SIG *encrypted =
        plain ? PKCS8_encrypt(-1, EVP_aes_256_cbc(), passphrase, (int) strlen(passphrase), NULL, 0, PASSPHRASE_ITERATIONS, plain) : NULL;
    gboolean is_written = encrypted && PEM_write_bio_PKCS8(pem, encrypted) == 1;
    PKCS8_PRIV_KEY_INFO_free(plain); /* cleanses it */
    X509_SIG_free(encrypted);
    sami_trust_wipe(passphrase, size);
    return is_written ? TRUE : fail("encrypting a private key", error);
}

static gboolean
refuse_half(const gchar *there, const gchar *missing, GError **error)
{
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s is there, but %s is not; restore it, or move the other away too", there, missing);
    return FALSE;
}

gboolean
sami_pki_make_identity(const gchar *name, const gchar *certificate_file, const gchar *key_file, const gchar *passphrase_file, GError **error)
{
    if (!sami_value_name(name, error))
        return FALSE;
    gboolean has_certificate = exists(certificate_file), is_uri = sami_private_key_is_uri(key_file), has_key = is_uri || exists(key_file);
    if (has_certificate && has_key)
        return sami_pki_check_identity(name, certificate_file, key_file, passphrase_file, error);
    if (!is_uri && (has_certificate || has_key))
        return refuse_half(has_key ? key_file : certificate_file, has_key ? certificate_file : key_file, error);
    ERR_clear_error();
    g_autoptr(EVP_PKEY) key = is_uri ? load_key(key_file, passphrase_file, error) : EVP_EC_gen("P-256");
    if (is_uri && (!key || !sami_private_key_try(key, key_file, error)))
        return FALSE;
    g_autoptr(X509) certificate = key ? make_certificate(key, name) : NULL;
    g_autoptr(BIO) key_pem = secret_bio();
    g_autoptr(BIO) certificate_pem = BIO_new(BIO_s_mem());
    if (!certificate || PEM_write_bio_X509(certificate_pem, certificate) != 1)
        return fail("making a TLS identity", error);
    if (is_uri)
        return create_file(certificate_file, 0644, certificate_pem, error);
    return write_private(key_pem, key, passphrase_file, error) && create_pair(key_file, key_pem, certificate_file, certificate_pem, error);
}

/* ---- requests to a CA ---- */

/* What a CA may copy: the name, and what it is for. */
static X509_REQ *
make_request(EVP_PKEY *key, const gchar *name)
{
    X509_REQ *request = X509_REQ_new();
    STACK_OF(X509_EXTENSION) *extensions = sk_X509_EXTENSION_new_null();
    g_autofree gchar *alt_name = g_strdup_printf("DNS:%s", name);
    const struct {
        int nid;
        const gchar *value;
    } wanted[] = { { NID_subject_alt_name, alt_name }, { NID_key_usage, "critical,digitalSignature" }, { NID_ext_key_usage, "serverAuth,clientAuth" } };
    gboolean is_made = request && extensions && X509_REQ_set_version(request, X509_REQ_VERSION_1) == 1 && X509_REQ_set_pubkey(request, key) == 1;
    for (guint i = 0; is_made && i < G_N_ELEMENTS(wanted); i++) {
        X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, wanted[i].nid, wanted[i].value);
        is_made = extension && sk_X509_EXTENSION_push(extensions, extension) > 0;
        if (!is_made)
            X509_EXTENSION_free(extension);
    }
    is_made = is_made && (strlen(name) > COMMON_NAME_MAX ||
                          X509_NAME_add_entry_by_NID(X509_REQ_get_subject_name(request), NID_commonName, MBSTRING_ASC, (const guchar *) name, -1, -1, 0) == 1);
    is_made = is_made && X509_REQ_add_extensions(request, extensions) == 1 && X509_REQ_sign(request, key, EVP_sha256()) > 0;
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    if (!is_made)
        X509_REQ_free(request);
    return is_made ? request : NULL;
}

gboolean
sami_pki_make_request(const gchar *name, const gchar *request_file, const gchar *key_file, const gchar *passphrase_file, GError **error)
{
    if (!sami_value_name(name, error))
        return FALSE;
    gboolean has_request = exists(request_file), has_key = sami_private_key_is_uri(key_file) || exists(key_file);
    if (has_request && has_key)
        return TRUE;
    if (has_request)
        return refuse_half(request_file, key_file, error);
    ERR_clear_error();
    g_autoptr(EVP_PKEY) key = has_key ? load_key(key_file, passphrase_file, error) : EVP_EC_gen("P-256");
    if (has_key && !key)
        return FALSE;
    X509_REQ *request = key ? make_request(key, name) : NULL;
    g_autoptr(BIO) key_pem = secret_bio();
    g_autoptr(BIO) request_pem = BIO_new(BIO_s_mem());
    gboolean is_made = request && PEM_write_bio_X509_REQ(request_pem, request) == 1;
    X509_REQ_free(request);
    if (!is_made)
        return fail("making a certificate request", error);
    if (has_key)
        return create_file(request_file, 0644, request_pem, error);
    return write_private(key_pem, key, passphrase_file, error) && create_pair(key_file, key_pem, request_file, request_pem, error);
}

/* ---- signing keys ---- */

gboolean
sami_pki_make_signing_key(const gchar *key_file, const gchar *public_file, const gchar *passphrase_file, GError **error)
{
    if (exists(key_file) || exists(public_file)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED,
                    "%s is there already; it is never overwritten",
                    exists(key_file) ? key_file : public_file);
        return FALSE;
    }
    ERR_clear_error();
    g_autoptr(EVP_PKEY) key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    g_autoptr(BIO) key_pem = secret_bio();
    g_autoptr(BIO) public_pem = BIO_new(BIO_s_mem());
    if (!key || PEM_write_bio_PUBKEY(public_pem, key) != 1)
        return fail("making a signing key", error);
    return write_private(key_pem, key, passphrase_file, error) && create_pair(key_file, key_pem, public_file, public_pem, error);
}

gchar *
sami_pki_public_key(const gchar *place, const gchar *passphrase_file, GError **error)
{
    g_autoptr(EVP_PKEY) key = load_key(place, passphrase_file, error);
    g_autoptr(BIO) pem = BIO_new(BIO_s_mem());
    char *text;
    if (!key)
        return NULL;
    if (PEM_write_bio_PUBKEY(pem, key) != 1) {
        fail(place, error);
        return NULL;
    }
    long length = BIO_get_mem_data(pem, &text);
    return g_strndup(text, (gsize) length);
}

/* ---- reading PEM texts ---- */

/* The DER of the first PEM block, after its type was checked and it was parsed. */
static guint8 *
read_public_der(const gchar *pem, gsize length, long *ret_length, GError **error)
{
    char *type = NULL, *header = NULL;
    guint8 *der = NULL;
    gboolean is_public = FALSE;
    ERR_clear_error();
    g_autoptr(BIO) bio = length <= SAMI_CERTIFICATES_MAX ? BIO_new_mem_buf(pem, (int) length) : NULL;
    if (bio && PEM_read_bio(bio, &type, &header, &der, ret_length) == 1) {
        const guint8 *at = der;
        g_autoptr(X509)
            certificate = !strcmp(type, PEM_STRING_X509) ? d2i_X509(NULL, &at, *ret_length) : NULL;
        g_autoptr(EVP_PKEY)
            key = !strcmp(type, PEM_STRING_PUBLIC) ? d2i_PUBKEY(NULL, &at, *ret_length) : NULL;
        is_public = (certificate || key) && at == der + *ret_length;
    }
    if (!is_public) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED,
                    "this is not a certificate or a public key in PEM");
        if (der)
            OPENSSL_clear_free(der, (gsize) *ret_length); /* it may be a private key */
        der = NULL;
    }
    OPENSSL_free(type);
    OPENSSL_free(header);
    ERR_clear_error();
    return der;
}

gchar *
sami_pki_fingerprint(const gchar *pem, gsize length, GError **error)
{
    long der_length = 0;
    guint8 digest[32];
    guint8 *der = read_public_der(pem, length, &der_length, error);
    if (!der)
        return NULL;
    gboolean is_digested = EVP_Digest(der, (gsize) der_length, digest, NULL, EVP_sha256(), NULL) ==
                           1;
    OPENSSL_free(der);
    if (!is_digested) {
        fail("SHA-256", error);
        return NULL;
    }
    g_autofree gchar *base64 = g_base64_encode(digest, sizeof(digest));
    base64[strcspn(base64, "=")] = '\0';
    return g_strconcat("SHA256:", base64, NULL);
}

GStrv
sami_pki_split(const gchar *pem, const gchar *type, guint max, GError **error)
{
    g_autofree gchar *begin = g_strdup_printf("-----BEGIN %s-----", type), *end = g_strdup_printf("-----END %s-----", type);
    g_autoptr(GStrvBuilder) blocks = g_strv_builder_new();
    const gchar *at = pem;
    guint n = 0;
    while ((at = strstr(at, "-----BEGIN "))) {
        const gchar *last = strstr(at, end), *other = strstr(at + 1, "-----BEGIN ");
        if ((at > pem && at[-1] != '\n') || !g_str_has_prefix(at, begin) || !last || (other && other < last) || ++n > max)
            break;
        last += strlen(end);
        g_autofree gchar *block = g_strndup(at, (gsize) (last - at));
        g_autofree gchar *line = g_strconcat(block, "\n", NULL);
        g_strv_builder_add(blocks, line);
        at = last;
    }
    if (!at && n > 0)
        return g_strv_builder_end(blocks);
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED, "must be 1 to %u PEM blocks of its kind, and no other", max);
    return NULL;
}

GStrv
sami_pki_fingerprints(const gchar *pem, const gchar *type, guint max, GError **error)
{
    g_auto(GStrv) blocks = sami_pki_split(pem, type, max, error);
    for (guint i = 0; blocks && blocks[i]; i++) {
        g_autofree gchar *block = blocks[i];
        if ((blocks[i] = sami_pki_fingerprint(block, strlen(block), error)))
            continue;
        for (guint k = i + 1; blocks[k]; k++)
            g_clear_pointer(&blocks[k], g_free);
        g_strfreev(g_steal_pointer(&blocks));
        return NULL;
    }
    return g_steal_pointer(&blocks);
}

gboolean
sami_pki_check_signing_key(const gchar *key_file, const gchar *public_file, const gchar *passphrase_file, GError **error)
{
    g_autoptr(GError) local = NULL;
    gsize length = 0;
    g_autofree gchar *there = sami_trust_read(public_file, SAMI_TRUST_ANY, SAMI_CERTIFICATES_MAX, &length, error);
    g_autofree gchar *mine = there ? sami_pki_public_key(key_file, passphrase_file, error) : NULL;
    if (!mine)
        return FALSE;
    g_autofree gchar *print = sami_pki_fingerprint(mine, strlen(mine), error);
    g_auto(GStrv) prints = print ? sami_pki_fingerprints(there, SAMI_PEM_PUBLIC_KEY, 1, &local) : NULL;
    if (!print || (prints && g_str_equal(prints[0], print)))
        return print != NULL;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s does not belong to %s%s%s; nothing was changed", public_file, key_file, local ? ": " : "",
                local ? local->message : "");
    return FALSE;
}

/* The first one. (transfer full) (nullable) */
static X509 *
read_certificate(const gchar *pem, gsize length)
{
    ERR_clear_error();
    g_autoptr(BIO) bio = length <= SAMI_CERTIFICATES_MAX ? BIO_new_mem_buf(pem, (int) length) : NULL;
    X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, sami_openssl_no_passphrase, NULL) : NULL;
    ERR_clear_error();
    return certificate;
}

gboolean
sami_pki_is_self_signed(const gchar *pem)
{
    g_autoptr(X509) certificate = read_certificate(pem, strlen(pem));
    gboolean is_self_signed = certificate && X509_self_signed(certificate, 1) == 1;
    ERR_clear_error();
    return is_self_signed;
}

gboolean
sami_pki_certificate_expiry(const gchar *pem, gsize length, gint64 *ret_expiry_s, GError **error)
{
    struct tm end = {0};
    g_autoptr(X509) certificate = read_certificate(pem, length);
    gboolean is_read = certificate && ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) == 1;
    ERR_clear_error();
    if (!is_read) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED, "there is no certificate in PEM");
        return FALSE;
    }
    *ret_expiry_s = (gint64) timegm(&end);
    return TRUE;
}

gboolean
sami_pki_certificate_names(const gchar *pem, gsize length, const gchar *name, GError **error)
{
    if (!sami_value_name(name, error))
        return FALSE;
    g_autoptr(X509) certificate = read_certificate(pem, length);
    if (certificate && sami_certificate_has_name(certificate, name))
        return TRUE;
    g_set_error(error, SAMI_ERROR, certificate ? SAMI_ERROR_REFUSED : SAMI_ERROR_MALFORMED,
                certificate ? "the certificate has no subjectAltName DNS name '%s'"
                            : "there is no certificate in PEM in which to look for '%s'",
                name);
    return FALSE;
}
