/* `peer add`, `peer list`, `peer remove`: whom we trust, as files in peers.d and signers.d. */
#include "ctl/ctl.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "common/value.h"
#include "transport/pki.h"

/* Files that `add` writes and `remove` removes, below the configuration directory; %s: peer.
 * Configurations come last when written, so that none names a file that is missing, and first when
 * removed. */
typedef enum { FILE_CERTIFICATE, FILE_KEY, FILE_SIGNER_KEY, FILE_SIGNER, FILE_PEER, N_FILES } File;
static const gchar *const file_names[N_FILES] = {
    "peers.d/%s.crt", "peers.d/%s.pub", "signers.d/%s.pub", "signers.d/%s.conf", "peers.d/%s.conf",
};

typedef struct {
    Ctl *ctl;
    SamiPeerFile *file;
    gchar *address;
    gboolean is_send, is_receive;
    gchar *certificate, *key, *all; /* fingerprints */
    gchar *texts[N_FILES];          /* NULL: not written */
} Adding;

static void
adding_clear(Adding *adding)
{
    sami_peer_file_free(adding->file);
    g_free(adding->address);
    g_free(adding->certificate);
    g_free(adding->key);
    g_free(adding->all);
    for (guint i = 0; i < N_FILES; i++)
        g_free(adding->texts[i]);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Adding, adding_clear)

static gchar *
file_path(const Ctl *ctl, File file, const gchar *name)
{
    g_auto(GStrv) pieces = g_strsplit(file_names[file], "%s", -1);
    g_autofree gchar *relative = g_strjoinv(name, pieces);
    return ctl_path(ctl, relative);
}

static gboolean
refuse_usage(GError **error, const gchar *text)
{
    g_set_error_literal(error, SAMI_ERROR, SAMI_ERROR_USAGE, text);
    return FALSE;
}

/* The peer file over ssh is for a later version; what to do by hand is two commands. */
static gboolean
refuse_ssh(const gchar *url, GError **error)
{
    g_autofree gchar *login =
        g_strndup(url + strlen("ssh://"), strcspn(url + strlen("ssh://"), "/:"));
    const gchar *at = strchr(login, '@');
    const gchar *host = at ? at + 1 : login;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE,
                "peer files over ssh:// are not available yet; instead:\n"
                "  scp %s:" SAMI_SYSCONFDIR
                "/%s.peer .\n  samictl peer add %s.peer --both --allow PREFIXES",
                login, host, host);
    return FALSE;
}

static gboolean
check_list(const gchar *option, const gchar *text, gchar **ret_list, GError **error)
{
    g_auto(GStrv) list = sami_value_list(text ? text : "", error);
    for (guint i = 0; list && list[i]; i++)
        if (!sami_value_address(list[i], TRUE, error))
            g_clear_pointer(&list, g_strfreev);
    if (!list) {
        g_prefix_error(error, "%s ", option);
        return FALSE;
    }
    *ret_list = g_strjoinv(",", list);
    return TRUE;
}

static gboolean
read_peer_file(Adding *adding, GError **error)
{
    const gchar *path = adding->ctl->args.operands[0];
    g_autofree gchar *text = NULL;
    g_autoptr(GError) local = NULL;
    gsize length = 0;
    if (g_str_has_prefix(path, "ssh://"))
        return refuse_ssh(path, error);
    if (!g_file_get_contents(path, &text, &length, &local)) {
        g_set_error_literal(error, SAMI_ERROR, SAMI_ERROR_FAILED, local->message);
        return FALSE;
    }
    adding->file = sami_peer_file_parse(text, length, error);
    if (!adding->file || !sami_value_name(adding->file->name, error)) {
        g_prefix_error(error, "%s: ", path);
        return FALSE;
    }
    const SamiPeerFile *file = adding->file;
    if (!sami_pki_certificate_names(file->certificate_pem, strlen(file->certificate_pem),
                                    file->name, &local)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED,
                    "%s: the certificate is not for %s%s%s", path, file->name, local ? ": " : "",
                    local ? local->message : "");
        return FALSE;
    }
    adding->certificate =
        sami_pki_fingerprint(file->certificate_pem, strlen(file->certificate_pem), error);
    adding->key = adding->certificate ? sami_pki_fingerprint(file->signing_key_pem,
                                                             strlen(file->signing_key_pem), error)
                                      : NULL;
    if (!adding->key) {
        g_prefix_error(error, "%s: ", path);
        return FALSE;
    }
    adding->all = ctl_peer_fingerprint(file->name, adding->certificate, adding->key);
    return TRUE;
}

static gboolean
check_options(Adding *adding, GError **error)
{
    const CtlArgs *args = &adding->ctl->args;
    adding->is_send = args->is_send || args->is_both;
    adding->is_receive = args->is_receive || args->is_both;
    if (!adding->is_send && !adding->is_receive)
        return refuse_usage(error, "peer add needs one of --send (we move sessions to it), "
                                   "--receive (it moves sessions to us), --both");
    if (adding->is_receive && !args->allow)
        return refuse_usage(error, "--receive needs --allow PREFIXES: the VM addresses that it may "
                                   "bring, such as 10.0.0.0/24,2001:db8::/64");
    if (!adding->is_receive && (args->allow || args->nat_addresses))
        return refuse_usage(
            error,
            "--allow and --nat-addresses are for peers that send to us: add --receive or --both");
    return TRUE;
}

/* What peers.d/NAME.conf says; address NULL for a peer that only sends to us. */
static gchar *
print_peer_conf(const gchar *name, const gchar *address)
{
    return g_strdup_printf("[peer]\nname=%s\n%s%s%scertificate=%s.crt\nsigning-key=%s.pub\n", name,
                           address ? "address=" : "", address ? address : "", address ? "\n" : "",
                           name, name);
}

/* A peer that was added for one direction may get the other one: its address then comes or stays.
 */
static gboolean
choose_address(Adding *adding, GError **error)
{
    const CtlArgs *args = &adding->ctl->args;
    const gchar *name = adding->file->name;
    const gchar *address = args->address ? args->address : adding->file->address;
    g_autofree gchar *path = file_path(adding->ctl, FILE_PEER, name);
    g_autoptr(GKeyFile) old = g_key_file_new();
    if (adding->is_send && (!address || !*address))
        return refuse_usage(error, "the peer file has no address: add --address HOST:PORT");
    if (adding->is_send) {
        g_auto(GStrv) list = sami_value_endpoints(address, error);
        if (!list) {
            g_prefix_error(error, "address ");
            return FALSE;
        }
        adding->address = g_strjoinv(",", list);
    } else if (g_key_file_load_from_file(old, path, G_KEY_FILE_NONE, NULL)) {
        adding->address = g_key_file_get_string(old, "peer", "address", NULL);
    }
    adding->texts[FILE_PEER] = print_peer_conf(name, adding->address);
    return TRUE;
}

static gboolean
make_texts(Adding *adding, GError **error)
{
    const CtlArgs *args = &adding->ctl->args;
    const SamiPeerFile *file = adding->file;
    g_autofree gchar *allow = NULL;
    g_autofree gchar *nat = NULL;
    if (!check_list("--allow", args->allow, &allow, error) ||
        !check_list("--nat-addresses", args->nat_addresses, &nat, error) ||
        !choose_address(adding, error))
        return FALSE;
    adding->texts[FILE_CERTIFICATE] = g_strdup(file->certificate_pem);
    adding->texts[FILE_KEY] = g_strdup(file->signing_key_pem);
    if (!adding->is_receive)
        return TRUE;
    adding->texts[FILE_SIGNER_KEY] = g_strdup(file->signing_key_pem);
    adding->texts[FILE_SIGNER] =
        g_strdup_printf("[signer]\nname=%s\nkeys=%s.pub\nallow-prefixes=%s\nnat-addresses=%s\n",
                        file->name, file->name, allow, nat);
    return TRUE;
}

/* Drops the texts that are there already; anything else that is there is not ours to replace, but
 * for the address that --send adds. */
static gboolean
compare(Adding *adding, gboolean *ret_is_unchanged, GError **error)
{
    g_autofree gchar *receive_only = print_peer_conf(adding->file->name, NULL);
    gboolean is_unchanged = TRUE;
    for (guint i = 0; i < N_FILES; i++) {
        g_autofree gchar *path = file_path(adding->ctl, i, adding->file->name);
        g_autofree gchar *old = NULL;
        if (!adding->texts[i])
            continue;
        gboolean is_there = g_file_get_contents(path, &old, NULL, NULL);
        if (is_there && !strcmp(old, adding->texts[i])) {
            g_clear_pointer(&adding->texts[i], g_free);
            continue;
        }
        is_unchanged = FALSE;
        if (!is_there || (i == FILE_PEER && !strcmp(old, receive_only)))
            continue;
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED,
                    "%s is there and says something else; edit it, or: samictl peer remove %s",
                    path, adding->file->name);
        return FALSE;
    }
    *ret_is_unchanged = is_unchanged;
    return TRUE;
}

/* No trust on first use: somebody compares the fingerprint, or says that he did. */
static gboolean
confirm(Adding *adding, GError **error)
{
    const CtlArgs *args = &adding->ctl->args;
    gchar answer[16] = "";
    if (args->fingerprint && strcmp(args->fingerprint, adding->all) != 0) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_REFUSED,
                    "the fingerprint of %s is %s, not %s; nothing was written", adding->file->name,
                    adding->all, args->fingerprint);
        return FALSE;
    }
    if (args->fingerprint || args->is_yes)
        return TRUE;
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE,
                    "no terminal to confirm the fingerprint; compare it with `samictl setup` at "
                    "the peer and add: --fingerprint %s",
                    adding->all);
        return FALSE;
    }
    printf("Is this the fingerprint that `samictl setup` shows there? (yes/no) ");
    fflush(stdout);
    if (fgets(answer, sizeof answer, stdin) && !g_ascii_strcasecmp(g_strstrip(answer), "yes"))
        return TRUE;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_REFUSED, "not confirmed; nothing was written");
    return FALSE;
}

static gboolean
write_files(Adding *adding, GError **error)
{
    static const gchar *const directories[] = {"peers.d", "signers.d"};
    for (guint i = 0; i < G_N_ELEMENTS(directories); i++) {
        g_autofree gchar *path = ctl_path(adding->ctl, directories[i]);
        if (g_mkdir_with_parents(path, 0755) != 0) {
            g_set_error(error, SAMI_ERROR,
                        errno == EACCES ? SAMI_ERROR_PERMISSION : SAMI_ERROR_FAILED,
                        "cannot make %s: %s", path, g_strerror(errno));
            return FALSE;
        }
    }
    for (guint i = 0; i < N_FILES; i++) {
        g_autofree gchar *path = file_path(adding->ctl, i, adding->file->name);
        if (adding->texts[i] && !ctl_write(path, adding->texts[i], error))
            return FALSE;
    }
    return TRUE;
}

static void
print_next(const Adding *adding, gboolean is_unchanged)
{
    const gchar *name = adding->file->name;
    ctl_say(stdout, "%s %s: %s\n", is_unchanged ? "unchanged:" : "added", name,
            adding->is_send && adding->is_receive ? "moves sessions both ways"
            : adding->is_send                     ? "we move sessions to it"
                                                  : "it moves sessions to us");
    if (is_unchanged)
        return;
    ctl_say(stdout, "next: reload the daemons that run: systemctl reload%s%s    (or send SIGHUP)\n",
            adding->is_send ? " sami-exporter" : "", adding->is_receive ? " sami-collector" : "");
    if (adding->is_receive)
        ctl_say(stdout, "      before a VM comes: samictl expect --vm ADDRESS --from %s\n", name);
    if (adding->is_send)
        ctl_say(stdout, "then: samictl migrate --vm ADDRESS --to %s\n", name);
}

SamiExit
ctl_peer_add(Ctl *ctl, GError **error)
{
    g_auto(Adding) adding = {.ctl = ctl};
    gboolean is_unchanged = FALSE;
    if (g_str_has_prefix(ctl->args.operands[0], "ssh://")) {
        refuse_ssh(ctl->args.operands[0], error);
        return SAMI_EXIT_USAGE;
    }
    if (!check_options(&adding, error) || !ctl_load_config(ctl, error) ||
        !read_peer_file(&adding, error))
        return SAMI_EXIT_FAILED;
    if (ctl->config && !strcmp(ctl->config->name, adding.file->name)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE,
                    "%s is this firewall's own name; add the other one's peer file",
                    adding.file->name);
        return SAMI_EXIT_USAGE;
    }
    if (!make_texts(&adding, error) || !compare(&adding, &is_unchanged, error))
        return SAMI_EXIT_FAILED;
    if (!ctl->args.is_quiet)
        ctl_say(stdout, "%s at %s\n  fingerprint   %s\n  certificate   %s\n  signing key   %s\n",
                adding.file->name, adding.address ? adding.address : "(it connects to us)",
                adding.all, adding.certificate, adding.key);
    if (!is_unchanged && (!confirm(&adding, error) || !write_files(&adding, error)))
        return SAMI_EXIT_FAILED;
    /* What was written must be what the daemons can read. */
    g_clear_pointer(&ctl->config, sami_config_free);
    if (!ctl_load_config(ctl, error))
        return SAMI_EXIT_FAILED;
    if (!ctl->args.is_quiet)
        print_next(&adding, is_unchanged);
    return SAMI_EXIT_DONE;
}

static const SamiConfigSigner *
find_signer(const SamiConfig *config, const gchar *name)
{
    for (guint i = 0; i < config->signers->len; i++) {
        const SamiConfigSigner *signer = config->signers->pdata[i];
        if (!strcmp(signer->name, name))
            return signer;
    }
    return NULL;
}

static gchar *
fingerprint_file(const gchar *path)
{
    g_autofree gchar *pem = NULL;
    gsize length = 0;
    gchar *fingerprint = path && g_file_get_contents(path, &pem, &length, NULL)
                             ? sami_pki_fingerprint(pem, length, NULL)
                             : NULL;
    return fingerprint ? fingerprint : g_strdup("unreadable");
}

static void
print_peer(const SamiConfigPeer *peer, const SamiConfigSigner *signer)
{
    g_autofree gchar *certificate =
        peer->certificate_file ? fingerprint_file(peer->certificate_file) : g_strdup("by tls-ca");
    g_autofree gchar *key = fingerprint_file(peer->signing_key_file);
    g_autofree gchar *all = ctl_peer_fingerprint(peer->name, certificate, key);
    g_autofree gchar *allow = signer ? g_strjoinv(",", signer->allow_prefixes) : NULL;
    g_autofree gchar *nat = signer ? g_strjoinv(",", signer->nat_addresses) : NULL;
    g_autofree gchar *addresses = peer->addresses ? g_strjoinv(",", peer->addresses) : g_strdup("");
    const gchar *direction = peer->addresses && signer ? "both"
                             : peer->addresses         ? "send"
                             : signer                  ? "receive"
                                                       : "nothing";
    ctl_say(stdout, "%s  %s%s%s\n", peer->name, direction, peer->addresses ? "  " : "", addresses);
    if (g_str_has_prefix(certificate, "SHA256:") && g_str_has_prefix(key, "SHA256:"))
        ctl_say(stdout, "  fingerprint   %s\n", all);
    ctl_say(stdout, "  certificate   %s\n", certificate);
    if (peer->signing_key_file)
        ctl_say(stdout, "  signing key   %s\n", key);
    if (signer)
        ctl_say(stdout, "  allow         %s\n  nat           %s\n", *allow ? allow : "nothing",
                *nat ? nat : "none");
}

SamiExit
ctl_peer_list(Ctl *ctl, GError **error)
{
    if (!ctl_load_config(ctl, error))
        return SAMI_EXIT_FAILED;
    if (!ctl->config) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG,
                    "%s/sami.conf: no such file; first: samictl setup --name NAME",
                    ctl_config_dir(ctl));
        return SAMI_EXIT_FAILED;
    }
    for (guint i = 0; i < ctl->config->peers->len; i++) {
        const SamiConfigPeer *peer = ctl->config->peers->pdata[i];
        print_peer(peer, find_signer(ctl->config, peer->name));
    }
    for (guint i = 0; i < ctl->config->signers->len; i++) {
        const SamiConfigSigner *signer = ctl->config->signers->pdata[i];
        if (!sami_config_peer(ctl->config, signer->name))
            ctl_say(stdout, "%s  signer only: no TLS peer of this name\n", signer->name);
    }
    if (ctl->config->peers->len + ctl->config->signers->len == 0 && !ctl->args.is_quiet)
        ctl_say(stdout, "no peers; add one: samictl peer add FILE --both --allow PREFIXES\n");
    return SAMI_EXIT_DONE;
}

static void
fail_no_peer(const Ctl *ctl, const gchar *name, GError **error)
{
    g_autofree gchar *path = ctl_path(ctl, "peers.d");
    g_autoptr(GDir) directory = g_dir_open(path, 0, NULL);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    for (const gchar *entry = directory ? g_dir_read_name(directory) : NULL; entry;
         entry = g_dir_read_name(directory))
        if (g_str_has_suffix(entry, ".conf"))
            g_ptr_array_add(names, g_strndup(entry, strlen(entry) - strlen(".conf")));
    g_ptr_array_add(names, NULL);
    const gchar *near = ctl_suggest(name, (const gchar *const *)names->pdata);
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE,
                "no peer '%s'; %s%s%s`samictl peer list` shows all", name,
                near ? "did you mean '" : "", near ? near : "", near ? "'? " : "");
}

SamiExit
ctl_peer_remove(Ctl *ctl, GError **error)
{
    const gchar *name = ctl->args.operands[0];
    guint n_removed = 0;
    if (!sami_value_name(name, error))
        return SAMI_EXIT_USAGE;
    for (guint i = N_FILES; i-- > 0;) {
        g_autofree gchar *path = file_path(ctl, i, name);
        if (g_unlink(path) == 0) {
            n_removed++;
            if (!ctl->args.is_quiet)
                ctl_say(stdout, "removed %s\n", path);
        } else if (errno != ENOENT) {
            g_set_error(error, SAMI_ERROR,
                        errno == EACCES ? SAMI_ERROR_PERMISSION : SAMI_ERROR_FAILED,
                        "cannot remove %s: %s", path, g_strerror(errno));
            return SAMI_EXIT_FAILED;
        }
    }
    if (n_removed == 0)
        fail_no_peer(ctl, name, error);
    else if (!ctl->args.is_quiet)
        ctl_say(stdout, "next: reload the daemons that run, and its migrations end: systemctl reload "
                        "sami-exporter sami-collector    (or send SIGHUP)\n");
    return SAMI_EXIT_DONE;
}
