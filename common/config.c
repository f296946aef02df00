#include "common/config.h"

#include <netdb.h>
#include <string.h>
#include <unistd.h>

#include "common/config-keys.h"
#include "common/limits.h"
#include "common/value.h"

/* One file while it is read. */
typedef struct {
    const gchar *path;
    const gchar *group;
    GKeyFile *file;
    GHashTable *lines; /* key -> line number */
} Source;

static void
source_clear(Source *source)
{
    g_clear_pointer(&source->file, g_key_file_unref);
    g_clear_pointer(&source->lines, g_hash_table_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Source, source_clear)

static void fail(GError **error, const gchar *path, guint line, const gchar *format, ...)
    G_GNUC_PRINTF(4, 5);

static void
fail(GError **error, const gchar *path, guint line, const gchar *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree gchar *text = g_strdup_vprintf(format, args);
    va_end(args);
    if (line)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s:%u: %s", path, line, text);
    else
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s: %s", path, text);
}

static gboolean
scan_group(const Source *source, guint line, const gchar *text, gboolean *is_open, GError **error)
{
    g_autofree gchar *wanted = g_strdup_printf("[%s]", source->group);
    g_autofree gchar *quoted = g_strescape(text, NULL);
    if (g_str_has_prefix(text, "[cumulative"))
        fail(error, source->path, line, "group %s: not available in this version; allowed: %s",
             quoted, wanted);
    else if (strcmp(text, wanted) != 0)
        fail(error, source->path, line, "unknown group '%s'; allowed in this file: %s", quoted,
             wanted);
    else if (*is_open)
        fail(error, source->path, line, "group %s is there twice; allowed: once", wanted);
    else
        return *is_open = TRUE;
    return FALSE;
}

static gboolean
scan_key(Source *source, guint line, const gchar *text, gboolean is_open, GError **error)
{
    const gchar *equals = strchr(text, '=');
    g_autofree gchar *name =
        g_strstrip(equals ? g_strndup(text, (gsize)(equals - text)) : g_strdup(text));
    g_autofree gchar *quoted = g_strescape(name, NULL);
    if (!equals || !*name) {
        fail(error, source->path, line,
             "'%.80s' is no key=value; allowed: comments with #, [%s], key=value", quoted,
             source->group);
        return FALSE;
    }
    if (!is_open) {
        fail(error, source->path, line, "%s: a key before any group; allowed: [%s] first", quoted,
             source->group);
        return FALSE;
    }
    if (!sami_key_find(source->group, name)) {
        g_autofree gchar *known = sami_key_list(source->group);
        fail(error, source->path, line, "unknown key '%s'; allowed in [%s]: %s", quoted,
             source->group, known);
        return FALSE;
    }
    guint first = GPOINTER_TO_UINT(g_hash_table_lookup(source->lines, name));
    if (first) {
        fail(error, source->path, line, "%s is there twice, first in line %u; allowed: once",
             quoted, first);
        return FALSE;
    }
    g_hash_table_insert(source->lines, g_steal_pointer(&name), GUINT_TO_POINTER(line));
    return TRUE;
}

/* GKeyFile merges groups that are there twice, takes the last of two equal keys, and forgets line
 * numbers. */
static gboolean
scan(Source *source, const gchar *text, GError **error)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    gboolean is_open = FALSE;
    for (guint i = 0; lines[i]; i++) {
        const gchar *line = g_strstrip(lines[i]);
        if (!*line || *line == '#')
            continue;
        if (!(*line == '[' ? scan_group(source, i + 1, line, &is_open, error)
                           : scan_key(source, i + 1, line, is_open, error)))
            return FALSE;
    }
    if (!is_open)
        fail(error, source->path, 0, "group [%s] is missing", source->group);
    return is_open;
}

static gboolean
source_open(Source *source, const gchar *path, const gchar *group, GError **error)
{
    g_autofree gchar *text = NULL;
    g_autoptr(GError) local = NULL;
    gsize length = 0;
    *source = (Source){path, group, g_key_file_new(),
                       g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL)};
    if (!g_file_get_contents(path, &text, &length, &local)) {
        g_set_error_literal(error, SAMI_ERROR, SAMI_ERROR_CONFIG, local->message);
        return FALSE;
    }
    const gchar *bad = NULL;
    if (!g_utf8_validate(text, (gssize)length, &bad)) {
        guint line = 1;
        for (const gchar *at = text; at < bad; at++)
            line += *at == '\n';
        fail(error, path, line, "not UTF-8 text");
        return FALSE;
    }
    if (!scan(source, text, error))
        return FALSE;
    if (!g_key_file_load_from_data(source->file, text, length, G_KEY_FILE_NONE, &local)) {
        fail(error, path, 0, "%s", local->message);
        return FALSE;
    }
    return TRUE;
}

/* Fills a struct from its group: defaults first, so that a key's own error is the only one that can
 * be reported. */
static gboolean
source_read(Source *source, gpointer target, GError **error)
{
    for (guint i = 0; i < sami_n_keys; i++) {
        const SamiKey *key = &sami_keys[i];
        g_autoptr(GError) local = NULL;
        if (strcmp(key->group, source->group) != 0)
            continue;
        guint line = GPOINTER_TO_UINT(g_hash_table_lookup(source->lines, key->name));
        g_autofree gchar *value =
            line ? g_key_file_get_string(source->file, source->group, key->name, &local) : NULL;
        if (!line && key->value)
            value = g_strdup(key->value);
        if (local ||
            (value && !sami_key_set(key, source->path, g_strstrip(value), target, &local))) {
            fail(error, source->path, line, "%s: %s", key->name, local->message);
            return FALSE;
        }
    }
    return TRUE;
}

static guint
source_line(const Source *source, const gchar *key)
{
    return GPOINTER_TO_UINT(g_hash_table_lookup(source->lines, key));
}

/* The name of a peer or signer: name=, else the file's. */
static gboolean
default_name(const Source *source, gchar **name, GError **error)
{
    g_autoptr(GError) local = NULL;
    g_autofree gchar *stem = g_path_get_basename(source->path);
    stem[strlen(stem) - strlen(".conf")] = '\0';
    if (*name)
        return TRUE;
    if (!sami_value_name(stem, &local)) {
        fail(error, source->path, 0, "name: missing, and the file's name %s", local->message);
        return FALSE;
    }
    *name = g_steal_pointer(&stem);
    return TRUE;
}

static void
peer_free(SamiConfigPeer *peer)
{
    sami_key_clear("peer", peer);
    g_free(peer);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiConfigPeer, peer_free)

static void
signer_free(SamiConfigSigner *signer)
{
    sami_key_clear("signer", signer);
    g_free(signer);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiConfigSigner, signer_free)

static void
vm_free(SamiConfigVm *vm)
{
    sami_key_clear("vm", vm);
    g_free(vm->name);
    g_free(vm);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiConfigVm, vm_free)

const SamiConfigPeer *
sami_config_peer(const SamiConfig *config, const gchar *name)
{
    for (guint i = 0; i < config->peers->len; i++) {
        const SamiConfigPeer *peer = config->peers->pdata[i];
        if (!strcmp(peer->name, name))
            return peer;
    }
    return NULL;
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

const SamiConfigVm *
sami_config_vm(const SamiConfig *config, const gchar *name)
{
    for (guint i = 0; i < config->vms->len; i++) {
        const SamiConfigVm *vm = config->vms->pdata[i];
        if (!strcmp(vm->name, name))
            return vm;
    }
    return NULL;
}

static gboolean
load_peer(SamiConfig *config, const gchar *path, GError **error)
{
    g_auto(Source) source = {0};
    g_autoptr(SamiConfigPeer) peer = g_new0(SamiConfigPeer, 1);
    if (!source_open(&source, path, "peer", error) || !source_read(&source, peer, error) ||
        !default_name(&source, &peer->name, error))
        return FALSE;
    if (!peer->certificate_file && !config->tls_ca)
        fail(error, path, 0,
             "certificate: missing; it may be left out only if tls-ca is set in sami.conf");
    else if (peer->address && peer->receipts && !peer->signing_key_file)
        fail(error, path, source_line(&source, "address"),
             "signing-key: missing; it may be left out only without address, or with "
             "receipts=false");
    else if (sami_config_peer(config, peer->name))
        fail(error, path, source_line(&source, "name"),
             "name: peer '%s' is also in another file; allowed: once", peer->name);
    else {
        g_ptr_array_add(config->peers, g_steal_pointer(&peer));
        return TRUE;
    }
    return FALSE;
}

static gboolean
load_signer(SamiConfig *config, const gchar *path, GError **error)
{
    g_auto(Source) source = {0};
    g_autoptr(SamiConfigSigner) signer = g_new0(SamiConfigSigner, 1);
    if (!source_open(&source, path, "signer", error) || !source_read(&source, signer, error) ||
        !default_name(&source, &signer->name, error))
        return FALSE;
    if (!signer->key_files) {
        fail(error, path, 0,
             "keys: missing; allowed: one to four PEM files with Ed25519 public keys");
        return FALSE;
    }
    if (find_signer(config, signer->name)) {
        fail(error, path, source_line(&source, "name"),
             "name: signer '%s' is also in another file; allowed: once", signer->name);
        return FALSE;
    }
    if (!signer->tls_names)
        signer->tls_names = g_strsplit(signer->name, ",", -1);
    g_ptr_array_add(config->signers, g_steal_pointer(&signer));
    return TRUE;
}

static gboolean
load_vm(SamiConfig *config, const gchar *path, GError **error)
{
    g_auto(Source) source = {0};
    g_autoptr(SamiConfigVm) vm = g_new0(SamiConfigVm, 1);
    if (!source_open(&source, path, "vm", error) || !source_read(&source, vm, error))
        return FALSE;
    if (!vm->addresses) {
        fail(error, path, 0, "addresses: missing; allowed: 1 to %u addresses",
             SAMI_VM_ADDRESSES_MAX);
        return FALSE;
    }
    vm->name = g_path_get_basename(path);
    vm->name[strlen(vm->name) - strlen(".conf")] = '\0';
    g_ptr_array_add(config->vms, g_steal_pointer(&vm));
    return TRUE;
}

static gint
compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const gchar *const *)a, *(const gchar *const *)b);
}

/* Every NAME.conf of a directory in the order of names; a missing directory is empty. */
static gboolean
load_directory(SamiConfig *config, const gchar *name,
               gboolean (*load)(SamiConfig *, const gchar *, GError **), GError **error)
{
    g_autofree gchar *parent = g_path_get_dirname(config->path);
    g_autofree gchar *path = g_build_filename(parent, name, NULL);
    g_autoptr(GError) local = NULL;
    g_autoptr(GDir) directory = g_dir_open(path, 0, &local);
    if (!directory) {
        if (g_error_matches(local, G_FILE_ERROR, G_FILE_ERROR_NOENT))
            return TRUE;
        g_set_error_literal(error, SAMI_ERROR, SAMI_ERROR_CONFIG, local->message);
        return FALSE;
    }
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    for (const gchar *entry = g_dir_read_name(directory); entry; entry = g_dir_read_name(directory))
        if (entry[0] != '.' && g_str_has_suffix(entry, ".conf"))
            g_ptr_array_add(names, g_build_filename(path, entry, NULL));
    g_ptr_array_sort(names, compare_names);
    for (guint i = 0; i < names->len; i++)
        if (!load(config, names->pdata[i], error))
            return FALSE;
    return TRUE;
}

/* The host's full name as the resolver knows it, else the host name. */
static gchar *
get_fqdn(void)
{
    struct addrinfo hints = {.ai_flags = AI_CANONNAME}, *answer = NULL;
    gchar host[SAMI_NAME_MAX + 1] = "";
    if (gethostname(host, sizeof host - 1) != 0)
        return g_strdup("");
    gboolean is_answered = !strchr(host, '.') && getaddrinfo(host, NULL, &hints, &answer) == 0;
    gchar *name =
        g_ascii_strdown(is_answered && answer->ai_canonname ? answer->ai_canonname : host, -1);
    if (answer)
        freeaddrinfo(answer);
    return name;
}

static gboolean
load_main(SamiConfig *config, GError **error)
{
    g_auto(Source) source = {0};
    g_autoptr(GError) local = NULL;
    if (!g_file_test(config->path, G_FILE_TEST_EXISTS)) {
        fail(error, config->path, 0, "no such file; `samictl setup --name NAME` makes it");
        return FALSE;
    }
    if (!source_open(&source, config->path, "sami", error) || !source_read(&source, config, error))
        return FALSE;
    if (config->name)
        return TRUE;
    config->name = get_fqdn();
    if (!sami_value_name(config->name, &local)) {
        fail(error, config->path, 0, "name: missing, and the host's name %s", local->message);
        return FALSE;
    }
    return TRUE;
}

SamiConfig *
sami_config_load(const gchar *path, GError **error)
{
    g_autoptr(SamiConfig) config = g_new0(SamiConfig, 1);
    config->path = g_canonicalize_filename(path, NULL);
    config->peers = g_ptr_array_new_with_free_func((GDestroyNotify)peer_free);
    config->signers = g_ptr_array_new_with_free_func((GDestroyNotify)signer_free);
    config->vms = g_ptr_array_new_with_free_func((GDestroyNotify)vm_free);
    if (!load_main(config, error) || !load_directory(config, "peers.d", load_peer, error) ||
        !load_directory(config, "signers.d", load_signer, error) ||
        !load_directory(config, "vms.d", load_vm, error))
        return NULL;
    return g_steal_pointer(&config);
}

void
sami_config_free(SamiConfig *config)
{
    if (!config)
        return;
    sami_key_clear("sami", config);
    g_free(config->path);
    g_ptr_array_unref(config->peers);
    g_ptr_array_unref(config->signers);
    g_ptr_array_unref(config->vms);
    g_free(config);
}
