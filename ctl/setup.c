/* `setup` and `keygen`: what a firewall needs to have a name, and the peer file that others get. */
#include "ctl/ctl.h"

#include <errno.h>
#include <string.h>

#include "common/value.h"
#include "transport/pki.h"

typedef struct {
    Ctl *ctl;
    gchar *name;
    gchar *conf, *certificate, *key, *signing_key, *signing_public, *peer_file;
    gboolean is_changed;
} Setup;

static void
setup_clear(Setup *setup)
{
    g_free(setup->name);
    g_free(setup->conf);
    g_free(setup->certificate);
    g_free(setup->key);
    g_free(setup->signing_key);
    g_free(setup->signing_public);
    g_free(setup->peer_file);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Setup, setup_clear)

const gchar *
ctl_config_dir(const Ctl *ctl)
{
    return ctl->args.config_dir ? ctl->args.config_dir : SAMI_SYSCONFDIR;
}

gchar *
ctl_path(const Ctl *ctl, const gchar *name)
{
    g_autofree gchar *path = g_build_filename(ctl_config_dir(ctl), name, NULL);
    return g_canonicalize_filename(path, NULL);
}

gboolean
ctl_load_config(Ctl *ctl, GError **error)
{
    g_autofree gchar *path = ctl_path(ctl, "sami.conf");
    if (ctl->config || !g_file_test(path, G_FILE_TEST_EXISTS))
        return TRUE;
    ctl->config = sami_config_load(path, error);
    return ctl->config != NULL;
}

gboolean
ctl_write(const gchar *path, const gchar *text, GError **error)
{
    g_autoptr(GError) local = NULL;
    if (g_file_set_contents_full(path, text, -1,
                                 G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE, 0644,
                                 &local))
        return TRUE;
    g_set_error_literal(error, SAMI_ERROR,
                        g_error_matches(local, G_FILE_ERROR, G_FILE_ERROR_ACCES)
                            ? SAMI_ERROR_PERMISSION
                            : SAMI_ERROR_FAILED,
                        local->message);
    return FALSE;
}

gchar *
ctl_peer_fingerprint(const gchar *name, const gchar *certificate_fingerprint,
                     const gchar *key_fingerprint)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    g_autofree gchar *text = g_strdup_printf("sami-peer 1\n%s\n%s\n%s\n", name,
                                             certificate_fingerprint, key_fingerprint);
    guint8 digest[32];
    gsize length = sizeof digest;
    g_checksum_update(sum, (const guchar *)text, -1);
    g_checksum_get_digest(sum, digest, &length);
    g_autofree gchar *base64 = g_base64_encode(digest, length);
    base64[strcspn(base64, "=")] = '\0';
    return g_strconcat("SHA256:", base64, NULL);
}

static void
report(Setup *setup, gboolean is_new, const gchar *what)
{
    setup->is_changed |= is_new;
    if (is_new && !setup->ctl->args.is_quiet)
        ctl_say(stdout, "made %s\n", what);
}

static gboolean
exists(const gchar *path)
{
    return g_file_test(path, G_FILE_TEST_EXISTS);
}

/* An existing sami.conf decides on the name and on the files; --name must then be the same. */
static gboolean
choose(Setup *setup, GError **error)
{
    Ctl *ctl = setup->ctl;
    setup->conf = ctl_path(ctl, "sami.conf");
    if (!ctl_load_config(ctl, error))
        return FALSE;
    if (!ctl->config && !ctl->args.name) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE,
                    "setup needs --name NAME, the DNS name of this firewall");
        return FALSE;
    }
    if (ctl->args.name && !sami_value_name(ctl->args.name, error)) {
        g_prefix_error(error, "--name ");
        return FALSE;
    }
    if (ctl->config && ctl->args.name && strcmp(ctl->config->name, ctl->args.name) != 0) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG,
                    "%s: this firewall is %s already; a new name needs new files: move %s away",
                    setup->conf, ctl->config->name, ctl_config_dir(ctl));
        return FALSE;
    }
    g_auto(GStrv) addresses = NULL;
    if (ctl->args.address && !(addresses = sami_value_endpoints(ctl->args.address, error))) {
        g_prefix_error(error, "--address ");
        return FALSE;
    }
    setup->name = g_strdup(ctl->config ? ctl->config->name : ctl->args.name);
    setup->certificate =
        ctl->config ? g_strdup(ctl->config->certificate) : ctl_path(ctl, "tls.crt");
    setup->key = ctl->config ? g_strdup(ctl->config->key) : ctl_path(ctl, "tls.key");
    setup->signing_key =
        ctl->config ? g_strdup(ctl->config->signing_key) : ctl_path(ctl, "signing.key");
    g_autofree gchar *directory = g_path_get_dirname(setup->signing_key);
    setup->signing_public = g_build_filename(directory, "signing.pub", NULL);
    g_autofree gchar *file = g_strconcat(setup->name, ".peer", NULL);
    setup->peer_file = ctl_path(ctl, file);
    return TRUE;
}

static gboolean
make_directories(Setup *setup, GError **error)
{
    static const gchar *const names[] = {"", "peers.d", "signers.d", "vms.d"};
    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree gchar *path = ctl_path(setup->ctl, names[i]);
        gboolean is_new = !g_file_test(path, G_FILE_TEST_IS_DIR);
        if (is_new && g_mkdir_with_parents(path, 0755) != 0) {
            g_set_error(error, SAMI_ERROR,
                        errno == EACCES ? SAMI_ERROR_PERMISSION : SAMI_ERROR_FAILED,
                        "cannot make %s: %s", path, g_strerror(errno));
            return FALSE;
        }
        report(setup, is_new, path);
    }
    return TRUE;
}

static gboolean
make_keys(Setup *setup, GError **error)
{
    gboolean is_new = !exists(setup->certificate);
    if (!sami_pki_make_identity(setup->name, setup->certificate, setup->key, error))
        return FALSE;
    report(setup, is_new, setup->certificate);
    report(setup, is_new, setup->key);
    gboolean has_key = exists(setup->signing_key), has_public = exists(setup->signing_public);
    if (has_key != has_public) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED,
                    "%s is there, but %s is not; restore it, or move the other away too",
                    has_key ? setup->signing_key : setup->signing_public,
                    has_key ? setup->signing_public : setup->signing_key);
        return FALSE;
    }
    if (!has_key && !sami_pki_make_signing_key(setup->signing_key, setup->signing_public, error))
        return FALSE;
    report(setup, !has_key, setup->signing_key);
    report(setup, !has_key, setup->signing_public);
    return TRUE;
}

static gboolean
make_config(Setup *setup, GError **error)
{
    g_autofree gchar *sample = sami_config_sample(setup->name);
    gboolean is_new = !exists(setup->conf);
    if (is_new && !ctl_write(setup->conf, sample, error))
        return FALSE;
    report(setup, is_new, setup->conf);
    return TRUE;
}

static gboolean
read_file(const gchar *path, gchar **ret_text, GError **error)
{
    g_autoptr(GError) local = NULL;
    if (g_file_get_contents(path, ret_text, NULL, &local))
        return TRUE;
    g_set_error_literal(error, SAMI_ERROR,
                        g_error_matches(local, G_FILE_ERROR, G_FILE_ERROR_ACCES)
                            ? SAMI_ERROR_PERMISSION
                            : SAMI_ERROR_FAILED,
                        local->message);
    return FALSE;
}

/* The address in the peer file that exists, so that `setup` without --address leaves it alone. */
static gchar *
choose_address(const Setup *setup)
{
    g_autofree gchar *text = NULL;
    gsize length = 0;
    if (setup->ctl->args.address)
        return g_strdup(setup->ctl->args.address);
    if (g_file_get_contents(setup->peer_file, &text, &length, NULL)) {
        g_autoptr(SamiPeerFile) old = sami_peer_file_parse(text, length, NULL);
        if (old && old->address)
            return g_steal_pointer(&old->address);
    }
    return g_strdup_printf("%s:4740", setup->name);
}

/* Derived from the other files, so it is the one that may be written again. */
static gboolean
make_peer_file(Setup *setup, GError **error)
{
    g_autoptr(SamiPeerFile) peer = g_new0(SamiPeerFile, 1);
    g_autofree gchar *old = NULL;
    peer->name = g_strdup(setup->name);
    peer->address = choose_address(setup);
    if (!read_file(setup->certificate, &peer->certificate_pem, error) ||
        !read_file(setup->signing_public, &peer->signing_key_pem, error))
        return FALSE;
    g_autoptr(GError) local = NULL;
    if (!sami_pki_certificate_names(peer->certificate_pem, strlen(peer->certificate_pem),
                                    setup->name, &local)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s is no certificate for %s%s%s",
                    setup->certificate, setup->name, local ? ": " : "",
                    local ? local->message : "");
        return FALSE;
    }
    g_autofree gchar *text = sami_peer_file_print(peer);
    g_autofree gchar *certificate =
        sami_pki_fingerprint(peer->certificate_pem, strlen(peer->certificate_pem), error);
    g_autofree gchar *key = certificate ? sami_pki_fingerprint(peer->signing_key_pem,
                                                               strlen(peer->signing_key_pem), error)
                                        : NULL;
    if (!key)
        return FALSE;
    gboolean is_new =
        !g_file_get_contents(setup->peer_file, &old, NULL, NULL) || strcmp(old, text) != 0;
    if (is_new && !ctl_write(setup->peer_file, text, error))
        return FALSE;
    report(setup, is_new, setup->peer_file);
    if (setup->ctl->args.is_quiet)
        return TRUE;
    g_autofree gchar *all = ctl_peer_fingerprint(setup->name, certificate, key);
    if (!setup->is_changed)
        ctl_say(stdout, "unchanged: %s is set up for %s\n", ctl_config_dir(setup->ctl),
                setup->name);
    ctl_say(stdout, "\n%s at %s\n  fingerprint   %s\n  certificate   %s\n  signing key   %s\n",
            peer->name, peer->address, all, certificate, key);
    ctl_say(stdout,
            "\nnext: copy %s to the other firewall, compare the fingerprint, and run there:\n"
            "  samictl peer add %s.peer --both --allow PREFIXES\n",
            setup->peer_file, setup->name);
    return TRUE;
}

SamiExit
ctl_setup(Ctl *ctl, GError **error)
{
    g_auto(Setup) setup = {.ctl = ctl};
    return choose(&setup, error) && make_directories(&setup, error) && make_keys(&setup, error) &&
                   make_config(&setup, error) && make_peer_file(&setup, error)
               ? SAMI_EXIT_DONE
               : SAMI_EXIT_FAILED;
}

SamiExit
ctl_keygen(Ctl *ctl, GError **error)
{
    const gchar *key_file = ctl->args.operands[0];
    gsize stem = strlen(key_file) - (g_str_has_suffix(key_file, ".key") ? strlen(".key") : 0);
    g_autofree gchar *public_file = g_strdup_printf("%.*s.pub", (int)stem, key_file);
    g_autofree gchar *pem = NULL;
    if (exists(key_file) || exists(public_file)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s exists; keys are never overwritten",
                    exists(key_file) ? key_file : public_file);
        return SAMI_EXIT_FAILED;
    }
    if (!sami_pki_make_signing_key(key_file, public_file, error) ||
        !read_file(public_file, &pem, error))
        return SAMI_EXIT_FAILED;
    g_autofree gchar *fingerprint = sami_pki_fingerprint(pem, strlen(pem), error);
    if (fingerprint && !ctl->args.is_quiet)
        ctl_say(stdout, "made %s (private) and %s\n  fingerprint   %s\n", key_file, public_file,
                fingerprint);
    return fingerprint ? SAMI_EXIT_DONE : SAMI_EXIT_FAILED;
}
