#include "ctl/own.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/value.h"
#include "templates/private-key.h"
#include "templates/signature.h"

/* Peer files and certificates are thousands of octets. */
#define FILE_MAX (1024u * 1024u)

gchar *
ctl_own_beside(const gchar *path, const gchar *word)
{
    const gchar *dot = strrchr(path, '.'), *slash = strrchr(path, '/');
    gsize stem = dot && (!slash || dot > slash) ? (gsize)(dot - path) : strlen(path);
    return g_strdup_printf("%.*s-%s%s", (int)stem, path, word, path + stem);
}

/* The public half is beside the private one, or with sami.conf where that is not a file. */
static gchar *
choose_public(const Ctl *ctl, const gchar *signing_key)
{
    if (sami_private_key_is_uri(signing_key))
        return ctl_path(ctl, "signing.pub");
    gsize stem = strlen(signing_key) - (g_str_has_suffix(signing_key, ".key") ? strlen(".key") : 0);
    return g_strdup_printf("%.*s.pub", (int)stem, signing_key);
}

/* It goes into sami.conf, a line of UTF-8 whose ends are stripped. */
static gboolean
check_line(const gchar *option, const gchar *path, GError **error)
{
    g_autofree gchar *stripped = g_strstrip(g_strdup(path)), *quoted = g_strescape(path, NULL);
    gboolean is_line = g_utf8_validate(path, -1, NULL) && !strcmp(stripped, path) && !sami_value_has_control(path);
    if (!is_line)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "%s \"%s\": sami.conf cannot name this file; allowed: UTF-8 without control characters and without blanks "
                    "at its end", option, quoted);
    return is_line;
}

static gboolean
choose_passphrase(CtlOwn *own, const Ctl *ctl, GError **error)
{
    const gchar *configured = ctl->config ? ctl->config->key_passphrase_file : NULL;
    own->passphrase_file = ctl->args.encrypt ? g_canonicalize_filename(ctl->args.encrypt, NULL) : g_strdup(configured);
    if (ctl->args.encrypt && !check_line("--encrypt", own->passphrase_file, error))
        return FALSE;
    if (!ctl->args.encrypt || !configured || !strcmp(own->passphrase_file, configured))
        return TRUE;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "--encrypt %s: sami.conf has key-passphrase-file=%s; both keys have one passphrase", own->passphrase_file,
                configured);
    return FALSE;
}

gboolean
ctl_own_init(CtlOwn *own, Ctl *ctl, GError **error)
{
    own->conf = ctl_path(ctl, "sami.conf");
    if (!ctl_load_config(ctl, error))
        return FALSE;
    if (!ctl->config && !ctl->args.name) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "setup needs --name NAME, the DNS name of this firewall");
        return FALSE;
    }
    if (ctl->args.name && !sami_value_name(ctl->args.name, error)) {
        g_prefix_error(error, "--name ");
        return FALSE;
    }
    if (ctl->config && ctl->args.name && strcmp(ctl->config->name, ctl->args.name) != 0) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG,
                    "%s: this firewall is %s already; a new name needs new files: move %s away",
                    own->conf, ctl->config->name, ctl_config_dir(ctl));
        return FALSE;
    }
    own->name = g_strdup(ctl->config ? ctl->config->name : ctl->args.name);
    own->certificate = ctl->config ? g_strdup(ctl->config->certificate) : ctl_path(ctl, "tls.crt");
    own->key = ctl->config ? g_strdup(ctl->config->key) : ctl_path(ctl, "tls.key");
    own->request = ctl_path(ctl, "tls.csr");
    own->signing_key = ctl->config ? g_strdup(ctl->config->signing_key) : ctl_path(ctl, "signing.key");
    own->signing_public = choose_public(ctl, own->signing_key);
    g_autofree gchar *file = g_strconcat(own->name, ".peer", NULL);
    own->peer_file = ctl_path(ctl, file);
    return choose_passphrase(own, ctl, error);
}

void
ctl_own_clear(CtlOwn *own)
{
    g_free(own->name);
    g_free(own->conf);
    g_free(own->certificate);
    g_free(own->key);
    g_free(own->request);
    g_free(own->signing_key);
    g_free(own->signing_public);
    g_free(own->passphrase_file);
    g_free(own->peer_file);
}

gboolean
ctl_need_config(Ctl *ctl, GError **error)
{
    if (!ctl_load_config(ctl, error))
        return FALSE;
    if (!ctl->config)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s/sami.conf: no such file; first: samictl setup --name NAME", ctl_config_dir(ctl));
    return ctl->config != NULL;
}

static gboolean
fail_read(const gchar *path, int code, GError **error)
{
    g_set_error(error, SAMI_ERROR, code == EACCES ? SAMI_ERROR_PERMISSION : SAMI_ERROR_FAILED, "%s: %s", path, g_strerror(code));
    return FALSE;
}

/* A file may be sparse, and a pipe without end: what is too much is not read. */
static gboolean
read_bounded(int fd, const gchar *place, gchar **ret_text, gsize *ret_length, GError **error)
{
    g_autoptr(GByteArray) text = g_byte_array_new();
    guint8 buffer[4096];
    ssize_t n;
    while ((n = read(fd, buffer, sizeof buffer)) != 0 && text->len <= FILE_MAX) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_read(place, errno, error);
        g_byte_array_append(text, buffer, (guint)n);
    }
    if (text->len > FILE_MAX)
        return fail_read(place, EFBIG, error);
    if (ret_length)
        *ret_length = text->len;
    g_byte_array_append(text, (const guint8 *)"", 1);
    *ret_text = (gchar *)g_byte_array_free(g_steal_pointer(&text), FALSE);
    return TRUE;
}

gboolean
ctl_read(const gchar *path, gchar **ret_text, gsize *ret_length, GError **error)
{
    if (!strcmp(path, "-"))
        return read_bounded(STDIN_FILENO, "standard input", ret_text, ret_length, error);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return fail_read(path, errno, error);
    gboolean is_read = read_bounded(fd, path, ret_text, ret_length, error);
    close(fd);
    return is_read;
}

/* The address in the peer file that exists, so that `setup` without --address leaves it alone. */
static gchar *
choose_address(const CtlOwn *own, const Ctl *ctl)
{
    g_autofree gchar *text = NULL;
    gsize length = 0;
    if (ctl->args.address)
        return g_strdup(ctl->args.address);
    if (g_file_get_contents(own->peer_file, &text, &length, NULL)) {
        g_autoptr(SamiPeerFile) old = sami_peer_file_parse(text, length, NULL);
        if (old && old->address)
            return g_steal_pointer(&old->address);
    }
    return g_strdup_printf("%s:4740", own->name);
}

/* PATH, and what is beside it under the words, of the files that are there, in this order, and once where one takes the place of another just now.
 * (transfer full) (nullable) */
static gchar *
join_files(const gchar *path, const gchar *const *words)
{
    GString *all = g_string_new(NULL);
    for (guint i = 0; words[i]; i++) {
        g_autofree gchar *file = *words[i] ? ctl_own_beside(path, words[i]) : g_strdup(path);
        g_autofree gchar *text = NULL;
        ctl_read(file, &text, NULL, NULL);
        if (text && !strstr(all->str, text))
            g_string_append(all, text);
    }
    return g_string_free(all, all->len == 0);
}

/* What a CA vouches for is not pinned: others ask the CA. So is a certificate that is yet to come. */
static gboolean
add_certificates(SamiPeerFile *peer, const CtlOwn *own, GError **error)
{
    static const gchar *const words[] = {"", "next", "old", NULL};
    g_autofree gchar *pem = join_files(own->certificate, words);
    g_autoptr(GError) local = NULL;
    if (!pem && g_file_test(own->request, G_FILE_TEST_EXISTS))
        return TRUE;
    if (!pem || !sami_pki_certificate_names(pem, strlen(pem), own->name, &local)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s is no certificate for %s%s%s", own->certificate, own->name, local ? ": " : "",
                    local ? local->message : "");
        return FALSE;
    }
    if (sami_pki_is_self_signed(pem))
        peer->certificate_pem = g_steal_pointer(&pem);
    return TRUE;
}

SamiPeerFile *
ctl_own_peer(const CtlOwn *own, Ctl *ctl, GError **error)
{
    static const gchar *const words[] = {"", "next", "old", NULL};
    g_autoptr(SamiPeerFile) peer = g_new0(SamiPeerFile, 1);
    g_autofree gchar *first = NULL;
    peer->name = g_strdup(own->name);
    peer->address = choose_address(own, ctl);
    if (!ctl_read(own->signing_public, &first, NULL, error) || !add_certificates(peer, own, error))
        return NULL;
    peer->signing_key_pem = join_files(own->signing_public, words);
    return g_steal_pointer(&peer);
}

gboolean
ctl_own_write_peer(const CtlOwn *own, Ctl *ctl, gboolean *ret_is_new, GError **error)
{
    g_autoptr(SamiPeerFile) peer = ctl_own_peer(own, ctl, error);
    g_autofree gchar *old = NULL;
    if (!peer)
        return FALSE;
    g_autofree gchar *text = sami_peer_file_print(peer);
    g_autoptr(SamiPeerFile) again = sami_peer_file_parse(text, strlen(text), error); /* what others would say of it */
    if (!again)
        return FALSE;
    *ret_is_new = !g_file_get_contents(own->peer_file, &old, NULL, NULL) || strcmp(old, text) != 0;
    return !*ret_is_new || ctl_write(own->peer_file, text, error);
}

gboolean
ctl_prints_init(CtlPrints *prints, const gchar *name, const gchar *certificates_pem, const gchar *keys_pem, guint max, GError **error)
{
    prints->certificates = certificates_pem ? sami_pki_fingerprints(certificates_pem, SAMI_PEM_CERTIFICATE, max, error) : NULL;
    if (certificates_pem && !prints->certificates)
        return FALSE;
    if (!(prints->keys = sami_pki_fingerprints(keys_pem, SAMI_PEM_PUBLIC_KEY, max, error)))
        return FALSE;
    /* One of each is the form that there was before there could be two. */
    g_autoptr(GString) text = g_string_new(NULL);
    g_string_printf(text, "sami-peer 1\n%s\n%s\n%s\n", name, prints->certificates ? prints->certificates[0] : "by tls-ca", prints->keys[0]);
    for (guint i = 1; prints->certificates && prints->certificates[i]; i++)
        g_string_append_printf(text, "certificate %s\n", prints->certificates[i]);
    for (guint i = 1; prints->keys[i]; i++)
        g_string_append_printf(text, "signing-key %s\n", prints->keys[i]);
    guint8 digest[32];
    gsize length = sizeof digest;
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    g_checksum_update(sum, (const guchar *)text->str, (gssize)text->len);
    g_checksum_get_digest(sum, digest, &length);
    g_autofree gchar *base64 = g_base64_encode(digest, length);
    base64[strcspn(base64, "=")] = '\0';
    prints->all = g_strconcat("SHA256:", base64, NULL);
    return TRUE;
}

void
ctl_prints_clear(CtlPrints *prints)
{
    g_clear_pointer(&prints->certificates, g_strfreev);
    g_clear_pointer(&prints->keys, g_strfreev);
    g_clear_pointer(&prints->all, g_free);
}

/* The key id is the beginning of what the fingerprint is of. */
static gchar *
id_of(const gchar *fingerprint)
{
    g_autofree gchar *padded = g_strconcat(fingerprint + strlen("SHA256:"), "=", NULL);
    gsize length = 0;
    gchar text[SAMI_KEY_ID_TEXT];
    g_autofree guint8 *digest = g_base64_decode(padded, &length);
    return g_strdup(length >= SAMI_KEY_ID ? sami_key_id_text(digest, text) : "?");
}

void
ctl_prints_say(const CtlPrints *prints, const gchar *name, const gchar *address)
{
    if (name)
        ctl_say(stdout, "%s at %s\n", name, address ? address : "(it connects to us)");
    ctl_say(stdout, "  fingerprint   %s\n", prints->all);
    for (guint i = 0; prints->certificates && prints->certificates[i]; i++)
        ctl_say(stdout, "  certificate   %s\n", prints->certificates[i]);
    if (!prints->certificates)
        ctl_say(stdout, "  certificate   by tls-ca\n");
    for (guint i = 0; prints->keys[i]; i++) {
        g_autofree gchar *id = id_of(prints->keys[i]);
        ctl_say(stdout, "  signing key   %s  id %s\n", prints->keys[i], id);
    }
}
