#include "common/config.h"

#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/config-keys.h"
#include "common/limits.h"
#include "common/trust.h"
#include "common/value.h"

/* A signer's lists of prefixes are the longest that anybody has. */
#define CONFIG_FILE_MAX (16u * 1024u * 1024u)

/* VM names come from whoever names VMs, and go into command lines, scripts and logs. */
#define VM_NAME_REFUSED "\"`$;|<>\\"

/* One file while it is read. */
typedef struct {
    const gchar *path;
    const gchar *group;
    const gchar *family; /* (nullable) further groups are [FAMILY NAME] */
    GKeyFile *file;
    GHashTable *lines; /* group LF key -> line number */
    GPtrArray *groups; /* of gchar *: those of the family, in order */
} Source;

static void
source_clear(Source *source)
{
    g_clear_pointer(&source->file, g_key_file_unref);
    g_clear_pointer(&source->lines, g_hash_table_unref);
    g_clear_pointer(&source->groups, g_ptr_array_unref);
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

/* NAME of [FAMILY NAME]; NULL: it is none. (transfer full) */
static gchar *
read_family(const Source *source, const gchar *text)
{
    g_autofree gchar *front = source->family ? g_strdup_printf("[%s ", source->family) : NULL;
    if (!front || !g_str_has_prefix(text, front) || !g_str_has_suffix(text, "]"))
        return NULL;
    return g_strndup(text + strlen(front), strlen(text) - strlen(front) - 1);
}

static gboolean
is_family_name(const gchar *name)
{
    static const gchar allowed[] = G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "-_";
    gsize length = strlen(name);
    return length > 0 && length <= SAMI_CUMULATIVE_NAME_MAX && strspn(name, allowed) == length;
}

/* One of the file's own kind, or one of the family. */
static gboolean
scan_group(Source *source, guint line, const gchar *text, gchar **group, GError **error)
{
    g_autofree gchar *wanted = g_strdup_printf("[%s]", source->group), *quoted = g_strescape(text, NULL);
    g_autofree gchar *also = source->family ? g_strdup_printf(" and [%s NAME]", source->family) : g_strdup("");
    g_autofree gchar *name = read_family(source, text), *fresh = NULL;
    gboolean is_own = strcmp(text, wanted) == 0;
    if (name && !is_family_name(name)) {
        fail(error, source->path, line, "group %s: allowed as a name are 1 to %u letters, digits, - and _", quoted, SAMI_CUMULATIVE_NAME_MAX);
        return FALSE;
    }
    if (!is_own && !name) {
        fail(error, source->path, line, "unknown group '%s'; allowed in this file: %s%s", quoted, wanted, also);
        return FALSE;
    }
    if (!is_own && source->groups->len >= SAMI_CUMULATIVES_MAX) {
        fail(error, source->path, line, "group %s: allowed are %u of them", quoted, SAMI_CUMULATIVES_MAX);
        return FALSE;
    }
    fresh = name ? g_strdup_printf("%s %s", source->family, name) : g_strdup(source->group);
    if (!g_hash_table_add(source->lines, g_strdup_printf("%s\n", fresh))) {
        fail(error, source->path, line, "group %s is there twice; allowed: once", quoted);
        return FALSE;
    }
    if (name)
        g_ptr_array_add(source->groups, g_strdup(name));
    g_free(*group);
    *group = g_steal_pointer(&fresh);
    return TRUE;
}

static gboolean
scan_key(Source *source, guint line, const gchar *text, const gchar *group, GError **error)
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
    if (!group) {
        fail(error, source->path, line, "%s: a key before any group; allowed: [%s] first", quoted,
             source->group);
        return FALSE;
    }
    const gchar *kind = strcmp(group, source->group) == 0 ? source->group : source->family;
    if (!sami_key_find(kind, name)) {
        g_autofree gchar *known = sami_key_list(kind);
        fail(error, source->path, line, "unknown key '%s'; allowed in [%s]: %s", quoted, group, known);
        return FALSE;
    }
    g_autofree gchar *place = g_strdup_printf("%s\n%s", group, name);
    guint first = GPOINTER_TO_UINT(g_hash_table_lookup(source->lines, place));
    if (first) {
        fail(error, source->path, line, "%s is there twice, first in line %u; allowed: once",
             quoted, first);
        return FALSE;
    }
    g_hash_table_insert(source->lines, g_steal_pointer(&place), GUINT_TO_POINTER(line));
    return TRUE;
}

/* GKeyFile merges groups that are there twice, takes the last of two equal keys, and forgets line
 * numbers. */
static gboolean
scan(Source *source, const gchar *text, GError **error)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_autofree gchar *group = NULL, *own = g_strdup_printf("%s\n", source->group);
    for (guint i = 0; lines[i]; i++) {
        const gchar *line = g_strstrip(lines[i]);
        if (!*line || *line == '#')
            continue;
        if (!(*line == '[' ? scan_group(source, i + 1, line, &group, error)
                           : scan_key(source, i + 1, line, group, error)))
            return FALSE;
    }
    gboolean is_there = g_hash_table_contains(source->lines, own);
    if (!is_there)
        fail(error, source->path, 0, "group [%s] is missing", source->group);
    return is_there;
}

static gboolean
source_open(Source *source, const gchar *path, const gchar *group, const gchar *family, GError **error)
{
    g_autoptr(GError) local = NULL;
    gsize length = 0;
    *source = (Source){path, group, family, g_key_file_new(),
                       g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL),
                       g_ptr_array_new_with_free_func(g_free)};
    g_autofree gchar *text = sami_trust_read(path, SAMI_TRUST_PUBLIC, CONFIG_FILE_MAX, &length, error);
    if (!text)
        return FALSE;
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

static guint
line_of(const Source *source, const gchar *group, const gchar *key)
{
    g_autofree gchar *place = g_strdup_printf("%s\n%s", group, key);
    return GPOINTER_TO_UINT(g_hash_table_lookup(source->lines, place));
}

static guint
source_line(const Source *source, const gchar *key)
{
    return line_of(source, source->group, key);
}

/* Fills a struct from a group, whose keys are those of `kind`: defaults first, so that a key's own error is the only one that can
 * be reported. */
static gboolean
read_group(Source *source, const gchar *group, const gchar *kind, gpointer target, GError **error)
{
    for (guint i = 0; i < sami_n_keys; i++) {
        const SamiKey *key = &sami_keys[i];
        g_autoptr(GError) local = NULL;
        if (strcmp(key->group, kind) != 0)
            continue;
        guint line = line_of(source, group, key->name);
        g_autofree gchar *value =
            line ? g_key_file_get_string(source->file, group, key->name, &local) : NULL;
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

static gboolean
source_read(Source *source, gpointer target, GError **error)
{
    return read_group(source, source->group, source->group, target, error);
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
    g_free(peer->path);
    g_free(peer->certificate);
    g_free(peer);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiConfigPeer, peer_free)

static void
signer_free(SamiConfigSigner *signer)
{
    sami_key_clear("signer", signer);
    g_free(signer->path);
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

static void
cumulative_free(SamiConfigCumulative *cumulative)
{
    sami_key_clear("cumulative", cumulative);
    g_free(cumulative->name);
    g_free(cumulative);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiConfigCumulative, cumulative_free)

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

const SamiConfigSigner *
sami_config_signer(const SamiConfig *config, const gchar *name)
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
    if (!source_open(&source, path, "peer", NULL, error) || !source_read(&source, peer, error) ||
        !default_name(&source, &peer->name, error))
        return FALSE;
    if (!peer->certificate_file && !config->tls_ca)
        fail(error, path, 0,
             "certificate: missing; it may be left out only if tls-ca is set in sami.conf");
    else if (peer->addresses && peer->receipts && !peer->signing_key_file)
        fail(error, path, source_line(&source, "address"),
             "signing-key: missing; it may be left out only without address, or with "
             "receipts=false");
    else if (sami_config_peer(config, peer->name))
        fail(error, path, source_line(&source, "name"),
             "name: peer '%s' is also in another file; allowed: once", peer->name);
    else {
        peer->path = g_strdup(path);
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
    if (!source_open(&source, path, "signer", NULL, error) || !source_read(&source, signer, error) ||
        !default_name(&source, &signer->name, error))
        return FALSE;
    if (!signer->key_files) {
        fail(error, path, 0,
             "keys: missing; allowed: one to four PEM files with Ed25519 public keys");
        return FALSE;
    }
    if (sami_config_signer(config, signer->name)) {
        fail(error, path, source_line(&source, "name"),
             "name: signer '%s' is also in another file; allowed: once", signer->name);
        return FALSE;
    }
    if (signer->valid_until_s && signer->valid_from_s >= signer->valid_until_s) {
        fail(error, path, source_line(&source, "valid-until"), "valid-until: not later than valid-from, so that it is never valid; allowed: a later moment");
        return FALSE;
    }
    if (!signer->tls_names)
        signer->tls_names = g_strsplit(signer->name, ",", -1);
    signer->path = g_strdup(path);
    g_ptr_array_add(config->signers, g_steal_pointer(&signer));
    return TRUE;
}

static gboolean
load_vm(SamiConfig *config, const gchar *path, GError **error)
{
    g_auto(Source) source = {0};
    g_autoptr(SamiConfigVm) vm = g_new0(SamiConfigVm, 1);
    vm->name = g_path_get_basename(path);
    vm->name[strlen(vm->name) - strlen(".conf")] = '\0';
    if (strpbrk(vm->name, VM_NAME_REFUSED) || sami_value_has_control(vm->name)) {
        g_autofree gchar *directory = g_path_get_dirname(path), *quoted = g_strescape(vm->name, NULL);
        fail(error, directory, 0, "\"%s.conf\": the file's name is the VM's, and has a character that terminals or shells obey; not allowed are control characters "
             "and any of %s", quoted, VM_NAME_REFUSED);
        return FALSE;
    }
    if (!source_open(&source, path, "vm", NULL, error) || !source_read(&source, vm, error))
        return FALSE;
    if (!vm->addresses) {
        fail(error, path, 0, "addresses: missing; allowed: 1 to %u addresses",
             SAMI_VM_ADDRESSES_MAX);
        return FALSE;
    }
    if (strchr(vm->name, ',') || sami_value_address(vm->name, FALSE, NULL)) {
        fail(error, path, 0, "the file's name cannot be given as --vm, which takes it for %s; allowed: any other name", strchr(vm->name, ',') ? "several" : "an address");
        return FALSE;
    }
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
    if (!sami_trust_directory(path, TRUE, error))
        return FALSE;
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
    if (is_answered)
        freeaddrinfo(answer);
    return name;
}

static gboolean
load_cumulatives(SamiConfig *config, Source *source, GError **error)
{
    for (guint i = 0; i < source->groups->len; i++) {
        g_autoptr(SamiConfigCumulative) cumulative = g_new0(SamiConfigCumulative, 1);
        g_autofree gchar *group = g_strdup_printf("%s %s", source->family, (const gchar *) source->groups->pdata[i]);
        cumulative->name = g_strdup(source->groups->pdata[i]);
        if (!read_group(source, group, source->family, cumulative, error))
            return FALSE;
        if (!cumulative->set || !*cumulative->set || strchr(cumulative->set, ' ')) {
            fail(error, source->path, line_of(source, group, "set"), "set: missing in [%s]; allowed: the name of an nft set", group);
            return FALSE;
        }
        g_auto(GStrv) words = g_strsplit(cumulative->table, " ", -1);
        if (g_strv_length(words) != 2 || !*words[0] || !*words[1]) {
            fail(error, source->path, line_of(source, group, "table"), "table: allowed: FAMILY NAME, such as inet filter");
            return FALSE;
        }
        g_ptr_array_add(config->cumulatives, g_steal_pointer(&cumulative));
    }
    return TRUE;
}

static gboolean
load_main(SamiConfig *config, const gchar *name, GError **error)
{
    g_auto(Source) source = {0};
    g_autoptr(GError) local = NULL;
    if (!g_file_test(config->path, G_FILE_TEST_EXISTS)) {
        fail(error, config->path, 0, "no such file; `samictl setup --name NAME` makes it");
        return FALSE;
    }
    g_autofree gchar *directory = g_path_get_dirname(config->path);
    if (!sami_trust_directory(directory, TRUE, error) || !source_open(&source, config->path, "sami", "cumulative", error) || !source_read(&source, config, error) ||
        !load_cumulatives(config, &source, error))
        return FALSE;
    if (config->name)
        return TRUE;
    config->name = name ? g_strdup(name) : get_fqdn();
    if (!sami_value_name(config->name, &local)) {
        fail(error, config->path, 0, "name: missing, and the host's name %s", local->message);
        return FALSE;
    }
    return TRUE;
}

/* `name` (nullable): the default of name=. */
static SamiConfig *
load_one(const gchar *path, const gchar *name, GError **error)
{
    g_autoptr(SamiConfig) config = g_new0(SamiConfig, 1);
    config->n_refs = 1;
    config->path = g_canonicalize_filename(path, NULL);
    config->peers = g_ptr_array_new_with_free_func((GDestroyNotify)peer_free);
    config->signers = g_ptr_array_new_with_free_func((GDestroyNotify)signer_free);
    config->vms = g_ptr_array_new_with_free_func((GDestroyNotify)vm_free);
    config->cumulatives = g_ptr_array_new_with_free_func((GDestroyNotify)cumulative_free);
    if (!load_main(config, name, error))
        return NULL;
    return g_steal_pointer(&config);
}

static SamiConfig *
load_all(const gchar *path, const gchar *name, GError **error)
{
    g_autoptr(SamiConfig) config = load_one(path, name, error);
    if (!config || !load_directory(config, "peers.d", load_peer, error) ||
        !load_directory(config, "signers.d", load_signer, error) ||
        !load_directory(config, "vms.d", load_vm, error))
        return NULL;
    return g_steal_pointer(&config);
}

SamiConfig *
sami_config_load_main(const gchar *path, GError **error)
{
    return load_one(path, NULL, error);
}

SamiConfig *
sami_config_load(const gchar *path, GError **error)
{
    return load_all(path, NULL, error);
}

SamiConfig *
sami_config_reload(const SamiConfig *old, GError **error)
{
    return load_all(old->path, old->name, error);
}

/* As sandboxes see it, too: one that is out of reach is not gone. */
static gboolean
is_gone(const gchar *path)
{
    struct stat status;
    return stat(path, &status) != 0 && errno == ENOENT;
}

/* Otherwise its name is added to those that are gone, once. */
static gboolean
is_there(const gchar *path, gchar *name, GPtrArray *gone)
{
    if (!is_gone(path))
        return TRUE;
    if (!g_ptr_array_find_with_equal_func(gone, name, g_str_equal, NULL))
        g_ptr_array_add(gone, name);
    return FALSE;
}

SamiConfig *
sami_config_without_gone(const SamiConfig *old, gchar **ret_names)
{
    g_autoptr(GPtrArray) peers = g_ptr_array_new(), signers = g_ptr_array_new(), gone = g_ptr_array_new();
    for (guint i = 0; i < old->peers->len; i++) {
        SamiConfigPeer *peer = old->peers->pdata[i];
        if (is_there(peer->path, peer->name, gone))
            g_ptr_array_add(peers, peer);
    }
    for (guint i = 0; i < old->signers->len; i++) {
        SamiConfigSigner *signer = old->signers->pdata[i];
        if (is_there(signer->path, signer->name, gone))
            g_ptr_array_add(signers, signer);
    }
    if (gone->len == 0 || is_gone(old->path))
        return NULL;
    SamiConfig *config = g_memdup2(old, sizeof *old);
    config->n_refs = 1;
    config->base = sami_config_ref(old);
    config->peers = g_steal_pointer(&peers);
    config->signers = g_steal_pointer(&signers);
    g_ptr_array_add(gone, NULL);
    *ret_names = g_strjoinv(", ", (gchar **)gone->pdata);
    return config;
}

static void
free_own(SamiConfig *config)
{
    sami_key_clear("sami", config);
    g_free(config->path);
    g_free(config->ca);
    g_ptr_array_unref(config->vms);
    g_ptr_array_unref(config->cumulatives);
}

void
sami_config_free(SamiConfig *config)
{
    if (!config || --config->n_refs > 0)
        return;
    g_ptr_array_unref(config->peers);
    g_ptr_array_unref(config->signers);
    if (config->base)
        sami_config_unref(config->base);
    else
        free_own(config);
    g_free(config);
}

const SamiConfig *
sami_config_ref(const SamiConfig *config)
{
    ((SamiConfig *)config)->n_refs++;
    return config;
}

void
sami_config_unref(const SamiConfig *config)
{
    sami_config_free((SamiConfig *)config);
}

gchar *
sami_config_keep_fixed(SamiConfig *fresh, const SamiConfig *old)
{
    static const gchar *const fixed[] = {"name",        "listen", "transport",     "certificate", "key",        "tls-ca",
                                         "user",   "control-group", "monitor-group", "run-dir",     "journal-dir", "key-log",    "sctp-backend",
                                         "sandbox"};
    GString *changed = g_string_new(NULL);
    for (guint i = 0; i < G_N_ELEMENTS(fixed); i++) {
        const SamiKey *key = sami_key_find("sami", fixed[i]);
        gchar **to = G_STRUCT_MEMBER_P(fresh, key->offset);
        const gchar *from = G_STRUCT_MEMBER(gchar *, old, key->offset);
        if (!g_strcmp0(*to, from))
            continue;
        g_string_append_printf(changed, "%s%s", changed->len ? ", " : "", key->name);
        g_free(*to);
        *to = g_strdup(from);
    }
    return g_string_free(changed, changed->len == 0);
}
