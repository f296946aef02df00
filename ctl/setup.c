/* `setup` and `keygen`: what a firewall needs to have a name, and the peer file that others get. */
#include <errno.h>
#include <string.h>

#include "common/value.h"
#include "ctl/own.h"
#include "templates/private-key.h"
#include "templates/signature.h"

typedef struct {
    Ctl *ctl;
    CtlOwn own;
    gboolean is_changed;
} Setup;

static void
setup_clear(Setup *setup)
{
    ctl_own_clear(&setup->own);
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

static gboolean
choose(Setup *setup, GError **error)
{
    const CtlArgs *args = &setup->ctl->args;
    g_auto(GStrv) addresses = NULL;
    if (args->address && !(addresses = sami_value_endpoints(args->address, error))) {
        g_prefix_error(error, "--address ");
        return FALSE;
    }
    return ctl_own_init(&setup->own, setup->ctl, error);
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
is_own_work(const CtlOwn *own)
{
    g_autofree gchar *pem = NULL;
    return ctl_read(own->certificate, &pem, NULL, NULL) && sami_pki_is_self_signed(pem);
}

/* The request is what the CA gets; the certificate comes with --certificate. */
static gboolean
make_request(Setup *setup, GError **error)
{
    const CtlOwn *own = &setup->own;
    gboolean has_request = exists(own->request), has_key = sami_private_key_is_uri(own->key) || exists(own->key);
    if (exists(own->certificate) && !has_request && !setup->ctl->args.certificate && is_own_work(own)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s is self-signed, and peers have pinned it; for a CA's instead move it and its key away first",
                    own->certificate);
        return FALSE;
    }
    if (!sami_pki_make_request(own->name, own->request, own->key, own->passphrase_file, error))
        return FALSE;
    report(setup, !has_key, own->key);
    report(setup, !has_request, own->request);
    return TRUE;
}

/* What the CA has made of it: in our place only when it is for our key and our name, and valid. */
static gboolean
install_certificate(Setup *setup, GError **error)
{
    const CtlOwn *own = &setup->own;
    const gchar *file = setup->ctl->args.certificate;
    g_autofree gchar *text = NULL, *old = NULL;
    gint64 expiry_s = 0;
    if (!ctl_read(file, &text, NULL, error) || !sami_pki_check_certificate(own->name, text, file, own->key, own->passphrase_file, error) ||
        !sami_pki_certificate_expiry(text, strlen(text), &expiry_s, error))
        return FALSE;
    if (strstr(text, "PRIVATE KEY")) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s has a private key in it, which others could read in %s; nothing was changed", file,
                    own->certificate);
        return FALSE;
    }
    if (expiry_s <= g_get_real_time() / G_USEC_PER_SEC) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s has expired; nothing was changed", file);
        return FALSE;
    }
    gboolean is_new = !g_file_get_contents(own->certificate, &old, NULL, NULL) || strcmp(old, text) != 0;
    if (is_new && !ctl_write(own->certificate, text, error))
        return FALSE;
    report(setup, is_new, own->certificate);
    return TRUE;
}

static gboolean
make_identity(Setup *setup, GError **error)
{
    const CtlOwn *own = &setup->own;
    gboolean is_new = !exists(own->certificate);
    if (is_new && exists(own->request)) /* its certificate is under way */
        return TRUE;
    if (!sami_pki_make_identity(own->name, own->certificate, own->key, own->passphrase_file, error))
        return FALSE;
    report(setup, is_new, own->certificate);
    report(setup, is_new && !sami_private_key_is_uri(own->key), own->key);
    return TRUE;
}

/* In a token only its public half is ours to write. */
static gboolean
make_signing_public(Setup *setup, GError **error)
{
    const CtlOwn *own = &setup->own;
    gboolean is_new = !exists(own->signing_public);
    g_autofree gchar *pem = is_new ? sami_pki_public_key(own->signing_key, own->passphrase_file, error) : NULL;
    if (is_new && (!pem || !ctl_write(own->signing_public, pem, error)))
        return FALSE;
    report(setup, is_new, own->signing_public);
    return TRUE;
}

/* Whoever asks for encryption of a key that is there would believe that it has it. */
static gboolean
check_encrypted(const CtlOwn *own, GError **error)
{
    const gchar *const files[] = {own->key, own->signing_key};
    for (guint i = 0; i < G_N_ELEMENTS(files); i++) {
        gboolean is_encrypted = FALSE;
        if (sami_private_key_is_uri(files[i]) || !exists(files[i]))
            continue;
        if (!sami_private_key_is_encrypted(files[i], &is_encrypted, error))
            return FALSE;
        if (is_encrypted)
            continue;
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s is there and not encrypted, and --encrypt is for keys that are made; next: key-passphrase-file=%s in %s, "
                    "then samictl key rotate, which makes new ones", files[i], own->passphrase_file, own->conf);
        return FALSE;
    }
    return TRUE;
}

static gboolean
make_keys(Setup *setup, GError **error)
{
    const CtlOwn *own = &setup->own;
    const CtlArgs *args = &setup->ctl->args;
    if (args->encrypt && !check_encrypted(own, error))
        return FALSE;
    if (!(args->is_csr ? make_request(setup, error) : TRUE) ||
        !(args->certificate ? install_certificate(setup, error) : make_identity(setup, error)))
        return FALSE;
    if (sami_private_key_is_uri(own->signing_key))
        return make_signing_public(setup, error);
    gboolean has_key = exists(own->signing_key), has_public = exists(own->signing_public);
    if (has_key != has_public) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED,
                    "%s is there, but %s is not; restore it, or move the other away too",
                    has_key ? own->signing_key : own->signing_public,
                    has_key ? own->signing_public : own->signing_key);
        return FALSE;
    }
    if (has_key ? !sami_pki_check_signing_key(own->signing_key, own->signing_public, own->passphrase_file, error)
                : !sami_pki_make_signing_key(own->signing_key, own->signing_public, own->passphrase_file, error))
        return FALSE;
    report(setup, !has_key, own->signing_key);
    report(setup, !has_key, own->signing_public);
    return TRUE;
}

static gboolean
make_config(Setup *setup, GError **error)
{
    const CtlOwn *own = &setup->own;
    g_autofree gchar *sample = sami_config_sample(own->name);
    gboolean is_new = !exists(own->conf);
    if (is_new && own->passphrase_file) {
        g_autoptr(GString) text = g_string_new(sample), escaped = g_string_new(own->passphrase_file);
        g_string_replace(escaped, "\\", "\\\\", 0); /* of GKeyFile's escapes the only one that a checked path has */
        g_autofree gchar *line = g_strdup_printf("key-passphrase-file=%s\n", escaped->str);
        g_string_replace(text, "#key-passphrase-file=\n", line, 1);
        g_free(sample);
        sample = g_string_free(g_steal_pointer(&text), FALSE);
    }
    if (is_new && !ctl_write(own->conf, sample, error))
        return FALSE;
    report(setup, is_new, own->conf);
    return TRUE;
}

static void
print_next(const Setup *setup, gboolean is_pinned)
{
    const CtlOwn *own = &setup->own;
    if (!exists(own->certificate)) {
        ctl_say(stdout, "\nnext: have the CA sign %s, then: samictl setup --certificate FILE    (the chain: ours first)\n", own->request);
        return;
    }
    if (!is_pinned && !(setup->ctl->config && setup->ctl->config->tls_ca))
        ctl_say(stdout, "\nnext: tls-ca=FILE, the CA's certificate, in %s of both firewalls\n", own->conf);
    ctl_say(stdout,
            "\nnext: on one of two firewalls that are set up, with the other one's name: samictl peer add ssh://root@OTHER --both --allow PREFIXES\n"
            "  or copy %s to the other one, compare the fingerprint, and run there:\n"
            "  samictl peer add %s.peer --both --allow PREFIXES    and the other way round\n",
            own->peer_file, own->name);
}

/* Derived from the other files, so it is the one that may be written again. */
static gboolean
make_peer_file(Setup *setup, GError **error)
{
    const CtlOwn *own = &setup->own;
    g_auto(CtlPrints) prints = {0};
    gboolean is_new = FALSE;
    if (!ctl_own_write_peer(own, setup->ctl, &is_new, error))
        return FALSE;
    report(setup, is_new, own->peer_file);
    if (setup->ctl->args.is_quiet)
        return TRUE;
    g_autoptr(SamiPeerFile) peer = ctl_own_peer(own, setup->ctl, error);
    if (!peer || !ctl_prints_init(&prints, peer->name, peer->certificate_pem, peer->signing_key_pem, SAMI_PEER_FILE_BLOCKS_MAX, error))
        return FALSE;
    if (!setup->is_changed)
        ctl_say(stdout, "unchanged: %s is set up for %s\n", ctl_config_dir(setup->ctl), own->name);
    ctl_say(stdout, "\n");
    ctl_prints_say(&prints, peer->name, peer->address);
    print_next(setup, peer->certificate_pem != NULL);
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
    gchar id[SAMI_KEY_ID_TEXT];
    g_autofree gchar *pem = NULL;
    if (exists(key_file) || exists(public_file)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s exists; keys are never overwritten",
                    exists(key_file) ? key_file : public_file);
        return SAMI_EXIT_FAILED;
    }
    if (!sami_pki_make_signing_key(key_file, public_file, ctl->args.encrypt, error) ||
        !ctl_read(public_file, &pem, NULL, error))
        return SAMI_EXIT_FAILED;
    g_autofree gchar *fingerprint = sami_pki_fingerprint(pem, strlen(pem), error);
    g_autoptr(SamiKey) key = fingerprint ? sami_key_load_public(public_file, error) : NULL;
    if (key && !ctl->args.is_quiet)
        ctl_say(stdout, "made %s (private%s) and %s\n  fingerprint   %s\n  key id        %s\n", key_file, ctl->args.encrypt ? ", encrypted" : "",
                public_file, fingerprint, sami_key_id_text(sami_key_id(key), id));
    return key ? SAMI_EXIT_DONE : SAMI_EXIT_FAILED;
}
