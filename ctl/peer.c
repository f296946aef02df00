/* `peer add`, `update`, `list`, `test`, `export`, `remove`: whom we trust, as files in peers.d and signers.d. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "common/control-json.h"
#include "common/value.h"
#include "ctl/enrol.h"
#include "ctl/own.h"
#include "templates/signature.h"

/* Files that `add` writes and `remove` removes, below the configuration directory; %s: peer.
 * Configurations come last when written, so that none names a file that is missing, and first when
 * removed. */
typedef enum { FILE_CERTIFICATE, FILE_KEY, FILE_SIGNER_KEY, FILE_SIGNER, FILE_PEER, N_FILES } File;
static const gchar *const file_names[N_FILES] = {
    "peers.d/%s.crt", "peers.d/%s.pub", "signers.d/%s.pub", "signers.d/%s.conf", "peers.d/%s.conf",
};

typedef struct {
    Ctl *ctl;
    CtlSshUrl ssh; /* all NULL: from a file */
    SamiPeerFile *file;
    gchar *address;
    gboolean is_send, is_receive;
    CtlPrints prints;
    gchar *texts[N_FILES];          /* NULL: not written */
} Adding;

static void
adding_clear(Adding *adding)
{
    ctl_ssh_url_clear(&adding->ssh);
    sami_peer_file_free(adding->file);
    g_free(adding->address);
    ctl_prints_clear(&adding->prints);
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

/* What is at the other end of ssh, or in the file. (transfer full) */
static gchar *
fetch(Adding *adding, gsize *ret_length, GError **error)
{
    static const gchar *const words[] = {"peer", "export", NULL};
    const gchar *path = adding->ctl->args.operands[0];
    gchar *text = NULL;
    gint code = 0;
    if (!g_str_has_prefix(path, CTL_SSH_SCHEME))
        return ctl_read(path, &text, ret_length, error) ? text : NULL;
    if (!ctl_ssh_url_init(&adding->ssh, path, error) || !(text = ctl_ssh_run(&adding->ssh, words, NULL, &code, error)))
        return NULL;
    *ret_length = strlen(text);
    if (code == 0)
        return text;
    g_free(text);
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s gives no peer file (exit status %d); next: ssh %s samictl setup --name %s", adding->ssh.host, code,
                adding->ssh.login, adding->ssh.host);
    return NULL;
}

static gboolean
read_peer_file(Adding *adding, GError **error)
{
    const gchar *path = adding->ctl->args.operands[0];
    gsize length = 0;
    g_autofree gchar *text = fetch(adding, &length, error);
    if (!text)
        return FALSE;
    adding->file = sami_peer_file_parse(text, length, error); /* checks the names in certificates too */
    const SamiPeerFile *file = adding->file;
    if (file && ctl_prints_init(&adding->prints, file->name, file->certificate_pem, file->signing_key_pem, SAMI_PEER_FILE_BLOCKS_MAX, error))
        return TRUE;
    g_prefix_error(error, "%s: ", strcmp(path, "-") ? path : "standard input");
    return FALSE;
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
    if (adding->is_receive && (!args->allow || !*args->allow))
        return refuse_usage(error, "--receive needs --allow PREFIXES: the VM addresses that it may "
                                   "bring, such as 10.0.0.0/24,2001:db8::/64");
    if (args->allow_there && !adding->is_send)
        return refuse_usage(error, "--allow-there is what we may bring there: add --send or --both");
    gboolean is_ssh = g_str_has_prefix(args->operands[0], CTL_SSH_SCHEME);
    if (!is_ssh && (args->allow_there || args->is_here_only))
        return refuse_usage(error, "--allow-there and --here-only are for ssh://HOST, where both ends are set up");
    if (is_ssh && !args->is_here_only && adding->is_send && !adding->is_receive && !args->allow_there)
        return refuse_usage(error, "--send over ssh needs --allow-there PREFIXES, the VM addresses that we may bring there; or --here-only");
    if (!adding->is_receive && (args->allow || args->nat_addresses))
        return refuse_usage(
            error,
            "--allow and --nat-addresses are for peers that send to us: add --receive or --both");
    return TRUE;
}

/* What peers.d/NAME.conf says; address NULL for a peer that only sends to us. */
static gchar *
print_peer_conf(const SamiPeerFile *file, const gchar *address)
{
    const gchar *name = file->name;
    g_autofree gchar *at = address ? g_strdup_printf("address=%s\n", address) : g_strdup("");
    g_autofree gchar *pinned = file->certificate_pem ? g_strdup_printf("certificate=%s.crt\n", name) : g_strdup("");
    return g_strdup_printf("[peer]\nname=%s\n%s%ssigning-key=%s.pub\n", name, at, pinned, name);
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
    adding->texts[FILE_PEER] = print_peer_conf(adding->file, adding->address);
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
    g_autofree gchar *receive_only = print_peer_conf(adding->file, NULL);
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

/* Over ssh the host is known, but not that it is this firewall: its peer file claims a name. */
static gboolean
is_named(const Adding *adding)
{
    const CtlArgs *args = &adding->ctl->args;
    return args->name ? !strcmp(args->name, adding->file->name) : !strcmp(adding->ssh.host, adding->file->name);
}

static gboolean
ask(const gchar *question)
{
    gchar answer[16] = "";
    ctl_say(stdout, "%s (yes/no) ", question);
    fflush(stdout);
    return fgets(answer, sizeof answer, stdin) && !g_ascii_strcasecmp(g_strstrip(answer), "yes");
}

/* What the operator expects holds of what is there already, too. */
static gboolean
check_expected(const Adding *adding, GError **error)
{
    const CtlArgs *args = &adding->ctl->args;
    const gchar *name = adding->file->name;
    if (args->name && strcmp(args->name, name) != 0) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_REFUSED, "this is the peer file of %s, not of %s; nothing was written", name, args->name);
        return FALSE;
    }
    if (args->fingerprint && strcmp(args->fingerprint, adding->prints.all) != 0) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_REFUSED,
                    "the fingerprint of %s is %s, not %s; nothing was written", name,
                    adding->prints.all, args->fingerprint);
        return FALSE;
    }
    return TRUE;
}

/* No trust on first use: somebody compares the fingerprint, or says that he did, or ssh knows the host. */
static gboolean
confirm(const Adding *adding, GError **error)
{
    const CtlArgs *args = &adding->ctl->args;
    const gchar *name = adding->file->name;
    gboolean is_ssh = adding->ssh.host != NULL;
    if (args->fingerprint || args->is_yes || (is_ssh && is_named(adding)))
        return TRUE;
    g_autofree gchar *question = is_ssh ? g_strdup_printf("The host %s says that it is the firewall %s. Is it?", adding->ssh.host, name)
                                        : g_strdup("Is this the fingerprint that `samictl setup` shows there?");
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
        if (is_ssh)
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "the host %s says that it is the firewall %s, and there is no terminal to confirm it; add: --name %s",
                        adding->ssh.host, name, name);
        else
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE,
                        "no terminal to confirm the fingerprint; compare it with `samictl setup` at "
                        "the peer and add: --fingerprint %s",
                        adding->prints.all);
        return FALSE;
    }
    if (ask(question))
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

/* TLS, name, signatures, round trip; says how it went. */
static SamiExit
probe(Ctl *ctl, const gchar *name, GError **error)
{
    g_autofree gchar *path = ctl_socket(ctl, CTL_EXPORTER);
    g_autoptr(JsonObject) request = json_object_new();
    json_object_set_string_member(request, "cmd", "probe");
    json_object_set_string_member(request, "to", name);
    g_autoptr(JsonObject) answer = ctl_call(path, request, error);
    if (!answer)
        return SAMI_EXIT_FAILED;
    SamiExit code = (SamiExit)ctl_int(answer, "exit");
    if (code != SAMI_EXIT_DONE) {
        ctl_say(stderr, "samictl: %s\n", ctl_string(answer, "error"));
        return code;
    }
    gint64 ahead = ctl_int(answer, "clock_ahead_s");
    if (ctl->args.is_json) {
        g_autofree gchar *text = sami_control_json_print(answer);
        ctl_say(stdout, "%s\n", text);
    } else if (!ctl->args.is_quiet) {
        ctl_say(stdout, "ok: %s answers in %.1f ms: certificates, name and signatures of both sides are right\n  our key %s, its key %s\n", name,
                json_object_get_double_member_with_default(answer, "round_trip_ms", 0), ctl_string(answer, "own_key"), ctl_string(answer, "peer_key"));
        if (ahead)
            ctl_say(stdout, "  its clock is %s ours by %" G_GINT64_FORMAT " s or more\n", ahead > 0 ? "ahead of" : "behind", ABS(ahead));
    }
    return code;
}

SamiExit
ctl_peer_test(Ctl *ctl, GError **error)
{
    return ctl_need_config(ctl, error) ? probe(ctl, ctl->args.operands[0], error) : SAMI_EXIT_FAILED;
}

static void
print_start(const Adding *adding, const gboolean *running)
{
    const gboolean wanted[CTL_N_ROLES] = {[CTL_EXPORTER] = adding->is_send, [CTL_COLLECTOR] = adding->is_receive};
    for (guint i = 0; i < CTL_N_ROLES; i++)
        if (wanted[i] && !running[i])
            ctl_say(stdout, "next: systemctl start sami-%s\n", ctl_role_name((CtlRole)i));
    if (adding->is_receive)
        ctl_say(stdout, "      before a VM comes: samictl expect --vm ADDRESS --from %s\n", adding->file->name);
    if (adding->is_send)
        ctl_say(stdout, "then: samictl migrate --vm ADDRESS --to %s\n", adding->file->name);
}

/* The daemons take what was written, and what can be tested is. A peer that does not answer yet is no failure: it may not know us, or not run. */
static SamiExit
apply(Adding *adding, GError **error)
{
    Ctl *ctl = adding->ctl;
    gboolean running[CTL_N_ROLES] = {FALSE};
    /* What was written must be what the daemons can read. */
    g_clear_pointer(&ctl->config, sami_config_free);
    if (!ctl_load_config(ctl, error) || !ctl_reload(ctl, running, error))
        return SAMI_EXIT_FAILED;
    if (!ctl->args.is_quiet)
        print_start(adding, running);
    if (!adding->is_send || !running[CTL_EXPORTER])
        return SAMI_EXIT_DONE;
    SamiExit code = probe(ctl, adding->file->name, error);
    if (code == SAMI_EXIT_DONE)
        return code;
    ctl_say(stderr, "samictl: %s is added, and does not answer as it should yet; when it knows us and runs: samictl peer test %s\n", adding->file->name,
            adding->file->name);
    return adding->ssh.host && !ctl->args.is_here_only && code == SAMI_EXIT_REFUSED ? code : SAMI_EXIT_DONE;
}

/* Our peer file, the other way round, over the same ssh. */
static gboolean
add_us_there(Adding *adding, GError **error)
{
    Ctl *ctl = adding->ctl;
    const CtlArgs *args = &ctl->args;
    g_auto(CtlOwn) own = {0};
    g_auto(CtlPrints) prints = {0};
    CtlArgs without_address = *args;
    gint code = 0;
    without_address.name = without_address.address = NULL; /* which were the peer's */
    Ctl mine = {.args = without_address, .config = ctl->config};
    if (!ctl_own_init(&own, &mine, error))
        return FALSE;
    g_autoptr(SamiPeerFile) file = ctl_own_peer(&own, &mine, error);
    if (!file || !ctl_prints_init(&prints, file->name, file->certificate_pem, file->signing_key_pem, SAMI_PEER_FILE_BLOCKS_MAX, error))
        return FALSE;
    const gchar *allow = args->allow_there ? args->allow_there : adding->is_receive ? args->allow : NULL;
    g_autoptr(GPtrArray) words = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(words, g_strdup("peer"));
    g_ptr_array_add(words, g_strdup("add"));
    g_ptr_array_add(words, g_strdup(adding->is_send && adding->is_receive ? "--both" : adding->is_send ? "--receive" : "--send"));
    if (adding->is_send)
        g_ptr_array_add(words, g_strdup_printf("--allow=%s", allow));
    if (adding->is_send && args->nat_addresses)
        g_ptr_array_add(words, g_strdup_printf("--nat-addresses=%s", args->nat_addresses));
    g_ptr_array_add(words, g_strdup_printf("--fingerprint=%s", prints.all));
    if (args->is_quiet)
        g_ptr_array_add(words, g_strdup("--quiet"));
    g_ptr_array_add(words, g_strdup("-"));
    g_ptr_array_add(words, NULL);
    g_autofree gchar *text = sami_peer_file_print(file);
    g_autofree gchar *said = ctl_ssh_run(&adding->ssh, (const gchar *const *)words->pdata, text, &code, error);
    if (!said)
        return FALSE;
    if (*said)
        ctl_say(stdout, "--- at %s:\n%s---\n", adding->ssh.host, said);
    if (code == 0)
        return TRUE;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s is added here, but we are not added there: samictl at %s ended with exit status %d", adding->file->name,
                adding->ssh.host, code);
    return FALSE;
}

static gchar *
read_pem(const gchar *path)
{
    gchar *pem = NULL;
    return path && g_file_get_contents(path, &pem, NULL, NULL) ? pem : NULL;
}

/* A name that another file has would be there twice, and no daemon would start any more. */
static gboolean
check_files(const Adding *adding, GError **error)
{
    const Ctl *ctl = adding->ctl;
    const gchar *name = adding->file->name;
    const struct {
        File file;
        gboolean is_there;
    } parts[] = {{FILE_PEER, sami_config_peer(ctl->config, name) != NULL},
                 {FILE_SIGNER, adding->is_receive && sami_config_signer(ctl->config, name)}};
    for (guint i = 0; i < G_N_ELEMENTS(parts); i++) {
        g_autofree gchar *path = file_path(ctl, parts[i].file, name), *directory = g_path_get_dirname(path);
        if (!parts[i].is_there || g_file_test(path, G_FILE_TEST_EXISTS))
            continue;
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s: another file there than %s is for this name, and `peer add` changes none that it has not made; "
                    "edit that one, or move it away; nothing was written", directory, path);
        return FALSE;
    }
    return TRUE;
}

/* A key is public, so anybody's file can have anybody's; no collector starts with one of two signers. */
static gboolean
check_keys(const Adding *adding, GError **error)
{
    const Ctl *ctl = adding->ctl;
    for (guint i = 0; i < ctl->config->signers->len; i++) {
        const SamiConfigSigner *signer = ctl->config->signers->pdata[i];
        for (guint k = 0; strcmp(signer->name, adding->file->name) != 0 && signer->key_files[k]; k++) {
            g_autofree gchar *pem = read_pem(signer->key_files[k]);
            g_auto(GStrv) prints = pem ? sami_pki_fingerprints(pem, SAMI_PEM_PUBLIC_KEY, SAMI_KEYS_MAX, NULL) : NULL;
            for (guint p = 0; prints && prints[p]; p++) {
                if (!g_strv_contains((const gchar *const *)adding->prints.keys, prints[p]))
                    continue;
                g_set_error(error, SAMI_ERROR, SAMI_ERROR_REFUSED, "the signing key %s in the peer file of %s is that of %s here; a firewall with a new name: samictl peer "
                            "remove %s; nothing was written", prints[p], adding->file->name, signer->name, signer->name);
                return FALSE;
            }
        }
    }
    return TRUE;
}

static gboolean
check_peer(const Adding *adding, GError **error)
{
    const Ctl *ctl = adding->ctl;
    if (!check_files(adding, error) || (adding->is_receive && !check_keys(adding, error)))
        return FALSE;
    if (!strcmp(ctl->config->name, adding->file->name)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "%s is this firewall's own name; add the other one's peer file", adding->file->name);
        return FALSE;
    }
    if (adding->file->certificate_pem || ctl->config->tls_ca)
        return TRUE;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "the peer file of %s has no certificate: a CA vouches for it; first: tls-ca=FILE, the CA's certificate, in "
                "%s/sami.conf", adding->file->name, ctl_config_dir(ctl));
    return FALSE;
}

static SamiExit
add_peer(Adding *adding, GError **error)
{
    Ctl *ctl = adding->ctl;
    const gchar *name = adding->file->name;
    gboolean is_unchanged = FALSE;
    if (!make_texts(adding, error) || !compare(adding, &is_unchanged, error))
        return SAMI_EXIT_FAILED;
    if (!ctl->args.is_quiet)
        ctl_prints_say(&adding->prints, name, adding->address);
    if (!check_expected(adding, error) || (!is_unchanged && (!confirm(adding, error) || !write_files(adding, error))))
        return SAMI_EXIT_FAILED;
    if (!ctl->args.is_quiet)
        ctl_say(stdout, "%s %s: %s\n", is_unchanged ? "unchanged:" : "added", name,
                adding->is_send && adding->is_receive ? "moves sessions both ways"
                : adding->is_send                     ? "we move sessions to it"
                                                      : "it moves sessions to us");
    if (adding->ssh.host && !ctl->args.is_here_only && !add_us_there(adding, error))
        return SAMI_EXIT_FAILED;
    return apply(adding, error);
}

SamiExit
ctl_peer_add(Ctl *ctl, GError **error)
{
    g_auto(Adding) adding = {.ctl = ctl};
    if (!check_options(&adding, error) || !ctl_need_config(ctl, error) || !read_peer_file(&adding, error) || !check_peer(&adding, error))
        return SAMI_EXIT_FAILED;
    return add_peer(&adding, error);
}

/* Keys and certificates of a peer that we trust already; what it may do stays as it is. */
static gboolean
make_update(Adding *adding, gboolean *ret_is_unchanged, GError **error)
{
    const SamiPeerFile *file = adding->file;
    const SamiConfigPeer *peer = sami_config_peer(adding->ctl->config, file->name);
    const SamiConfigSigner *signer = sami_config_signer(adding->ctl->config, file->name);
    const struct {
        File file;
        const gchar *pem;
        const gchar *configured; /* what the configuration names; NULL: nothing */
    } parts[] = {{FILE_CERTIFICATE, file->certificate_pem, peer->certificate_file},
                 {FILE_KEY, file->signing_key_pem, peer->signing_key_file},
                 {FILE_SIGNER_KEY, file->signing_key_pem, signer ? signer->key_files[0] : NULL}};
    *ret_is_unchanged = TRUE;
    for (guint i = 0; i < G_N_ELEMENTS(parts); i++) {
        g_autofree gchar *path = file_path(adding->ctl, parts[i].file, file->name);
        g_autofree gchar *old = NULL;
        gboolean is_other = parts[i].configured && strcmp(parts[i].configured, path) != 0;
        is_other |= parts[i].file == FILE_SIGNER_KEY && signer && signer->key_files[1];
        if (is_other || (parts[i].file == FILE_CERTIFICATE && !parts[i].configured != !parts[i].pem)) {
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s: its configuration names other files than `peer add` does (%s); edit them by hand, or: "
                        "samictl peer remove %s", file->name, path, file->name);
            return FALSE;
        }
        if (!parts[i].configured || !parts[i].pem || (g_file_get_contents(path, &old, NULL, NULL) && !strcmp(old, parts[i].pem)))
            continue;
        adding->texts[parts[i].file] = g_strdup(parts[i].pem);
        *ret_is_unchanged = FALSE;
    }
    return TRUE;
}

SamiExit
ctl_peer_update(Ctl *ctl, GError **error)
{
    g_auto(Adding) adding = {.ctl = ctl};
    gboolean is_unchanged = FALSE, running[CTL_N_ROLES] = {FALSE};
    if (!ctl_need_config(ctl, error) || !read_peer_file(&adding, error))
        return SAMI_EXIT_FAILED;
    const gchar *name = adding.file->name;
    if (!sami_config_peer(ctl->config, name)) {
        fail_no_peer(ctl, name, error);
        return SAMI_EXIT_USAGE;
    }
    if ((sami_config_signer(ctl->config, name) && !check_keys(&adding, error)) || !make_update(&adding, &is_unchanged, error))
        return SAMI_EXIT_FAILED;
    if (!ctl->args.is_quiet)
        ctl_prints_say(&adding.prints, name, adding.file->address);
    if (!check_expected(&adding, error) || (!is_unchanged && (!confirm(&adding, error) || !write_files(&adding, error))))
        return SAMI_EXIT_FAILED;
    if (!ctl->args.is_quiet)
        ctl_say(stdout, "%s %s\n", is_unchanged ? "unchanged:" : "updated", name);
    g_clear_pointer(&ctl->config, sami_config_free);
    return ctl_load_config(ctl, error) && ctl_reload(ctl, running, error) ? SAMI_EXIT_DONE : SAMI_EXIT_FAILED;
}

SamiExit
ctl_peer_export(Ctl *ctl, GError **error)
{
    g_auto(CtlOwn) own = {0};
    if (!ctl_need_config(ctl, error) || !ctl_own_init(&own, ctl, error))
        return SAMI_EXIT_FAILED;
    g_autoptr(SamiPeerFile) peer = ctl_own_peer(&own, ctl, error);
    if (!peer)
        return SAMI_EXIT_FAILED;
    g_autofree gchar *text = sami_peer_file_print(peer);
    ctl_say(stdout, "%s", text);
    return SAMI_EXIT_DONE;
}

static void
print_peer(const SamiConfigPeer *peer, const SamiConfigSigner *signer)
{
    g_auto(CtlPrints) prints = {0};
    g_autofree gchar *certificate = read_pem(peer->certificate_file), *key = read_pem(peer->signing_key_file);
    g_autofree gchar *allow = signer ? g_strjoinv(",", signer->allow_prefixes) : NULL;
    g_autofree gchar *nat = signer ? g_strjoinv(",", signer->nat_addresses) : NULL;
    g_autofree gchar *addresses = peer->addresses ? g_strjoinv(",", peer->addresses) : g_strdup("");
    const gchar *direction = peer->addresses && signer ? "both"
                             : peer->addresses         ? "send"
                             : signer                  ? "receive"
                                                       : "nothing";
    g_autofree gchar *where = g_strdup_printf("%s%s%s", direction, peer->addresses ? "  " : "", addresses);
    ctl_say(stdout, "%s  %s\n", peer->name, where);
    if ((peer->certificate_file && !certificate) || !key ||
        !ctl_prints_init(&prints, peer->name, certificate, key, SAMI_KEYS_MAX, NULL))
        ctl_say(stdout, "  fingerprint   unreadable%s\n", peer->signing_key_file ? "" : ": it has no signing key here");
    else
        ctl_prints_say(&prints, NULL, NULL);
    if (signer)
        ctl_say(stdout, "  allow         %s\n  nat           %s\n", *allow ? allow : "nothing",
                *nat ? nat : "none");
}

SamiExit
ctl_peer_list(Ctl *ctl, GError **error)
{
    if (!ctl_need_config(ctl, error))
        return SAMI_EXIT_FAILED;
    for (guint i = 0; i < ctl->config->peers->len; i++) {
        const SamiConfigPeer *peer = ctl->config->peers->pdata[i];
        print_peer(peer, sami_config_signer(ctl->config, peer->name));
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

/* Its files are removed: is it there under another name of a file, which is not ours? */
static gboolean
check_gone(Ctl *ctl, const gchar *name, GError **error)
{
    const gchar *directory = !ctl->config ? NULL
                             : sami_config_signer(ctl->config, name) ? "signers.d"
                             : sami_config_peer(ctl->config, name)   ? "peers.d"
                                                                     : NULL;
    g_autofree gchar *path = directory ? ctl_path(ctl, directory) : NULL;
    if (!directory)
        return TRUE;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s: another file there than %s.conf is for this name, so %s is still believed; remove that one, and reload the "
                "daemons that run", path, name, name);
    return FALSE;
}

/* What cannot be removed holds nothing else back but the keys that it names: without them no daemon would read the configuration. The first error. */
static guint
remove_files(const Ctl *ctl, const gchar *name, GError **error)
{
    static const File configuration_of[N_FILES] = {FILE_PEER, FILE_PEER, FILE_SIGNER, FILE_SIGNER, FILE_PEER};
    gboolean is_left[N_FILES] = {FALSE};
    guint n_removed = 0;
    for (guint i = N_FILES; i-- > 0;) {
        g_autofree gchar *path = file_path(ctl, i, name);
        if (is_left[configuration_of[i]])
            continue;
        if (g_unlink(path) == 0) {
            n_removed++;
            if (!ctl->args.is_quiet)
                ctl_say(stdout, "removed %s\n", path);
        } else if (errno != ENOENT) {
            int code = errno;
            is_left[i] = TRUE;
            if (!*error)
                g_set_error(error, SAMI_ERROR, code == EACCES ? SAMI_ERROR_PERMISSION : SAMI_ERROR_FAILED, "cannot remove %s: %s", path, g_strerror(code));
        }
    }
    return n_removed;
}

SamiExit
ctl_peer_remove(Ctl *ctl, GError **error)
{
    const gchar *name = ctl->args.operands[0];
    g_autoptr(GError) failure = NULL;
    gboolean running[CTL_N_ROLES] = {FALSE};
    if (!sami_value_name(name, error))
        return SAMI_EXIT_USAGE;
    guint n_removed = remove_files(ctl, name, &failure);
    gboolean is_loaded = ctl_load_config(ctl, NULL); /* what is wrong with it is said by the reload */
    if (n_removed == 0 && !failure) {
        if (!is_loaded || check_gone(ctl, name, error))
            fail_no_peer(ctl, name, error);
        return SAMI_EXIT_USAGE;
    }
    if (n_removed > 0 && !ctl_reload(ctl, running, error)) {
        g_autofree gchar *what = failure ? g_strdup_printf("%s; the other files of %s are removed", failure->message, name)
                                         : g_strdup_printf("the files of %s are removed, and no daemon that answers goes by %s.conf any more", name, name);
        g_prefix_error(error, "%s; but: ", what);
        return SAMI_EXIT_FAILED;
    }
    if (!ctl->args.is_quiet && (running[CTL_EXPORTER] || running[CTL_COLLECTOR]))
        ctl_say(stdout, "the daemons that run have read their files again\n");
    if (failure) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return SAMI_EXIT_FAILED;
    }
    return !is_loaded || check_gone(ctl, name, error) ? SAMI_EXIT_DONE : SAMI_EXIT_FAILED;
}
