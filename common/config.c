#include "common/config.h"

#include <netdb.h>
#include <string.h>
#include <unistd.h>

#include "common/limits.h"
#include "common/value.h"

typedef enum {
    TYPE_STRING,
    TYPE_NAME,
    TYPE_ENDPOINT,
    TYPE_FILE,
    TYPE_CHOICE,
    TYPE_BOOL,
    TYPE_NUMBER,  /* guint64 */
    TYPE_COUNT,   /* guint */
    TYPE_MS,      /* guint, milliseconds */
    TYPE_SECONDS, /* guint, whole seconds */
    TYPE_FILES,
    TYPE_NAMES,
    TYPE_ADDRESSES,
    TYPE_PREFIXES,
    TYPE_NUMBERS,
    TYPE_CHOICES,
    N_TYPES
} Type;

static const gchar *const type_names[N_TYPES] = {
    "string",   "DNS name",   "host:port", "file",      "word",     "boolean", "number",  "number",
    "duration", "duration",   "files",     "DNS names", "addresses", "prefixes", "numbers", "words",
};

typedef struct {
    const gchar *group;
    const gchar *name;
    Type type;
    gsize offset;
    const gchar *value; /* default; NULL: none, or computed after reading */
    guint64 min;        /* of a number or the duration in ms; of a list the number of elements */
    guint64 max;
    const gchar *choices; /* allowed words, then after '|' words reserved for later */
    const gchar *help;
} Key;

#define SAMI(field) G_STRUCT_OFFSET(SamiConfig, field)
#define PEER(field) G_STRUCT_OFFSET(SamiConfigPeer, field)
#define SIGNER(field) G_STRUCT_OFFSET(SamiConfigSigner, field)
#define VM(field) G_STRUCT_OFFSET(SamiConfigVm, field)
#define MINUTE_MS 60000u
#define HOUR_MS 3600000u
#define LIST_MAX 4096u

static const Key keys[] = {
    { "sami", "name", TYPE_NAME, SAMI(name), NULL, 0, 0, NULL,
      "name of this firewall: in its certificate and in every message; default: the host's full name" },
    { "sami", "listen", TYPE_ENDPOINT, SAMI(listen), "[::]:4740", 0, 0, NULL,
      "where the collector listens; [::] serves IPv4 too" },
    { "sami", "transport", TYPE_CHOICE, SAMI(transport), "tcp", 0, 0, "tcp|sctp", "transport protocol under TLS" },
    { "sami", "certificate", TYPE_FILE, SAMI(certificate), "tls.crt", 0, 0, NULL, "own TLS certificate chain, PEM" },
    { "sami", "key", TYPE_FILE, SAMI(key), "tls.key", 0, 0, NULL, "its private key, PEM" },
    { "sami", "tls-ca", TYPE_FILE, SAMI(tls_ca), NULL, 0, 0, NULL,
      "CA bundle for peers without a certificate of their own in peers.d, PEM" },
    { "sami", "signing-key", TYPE_FILE, SAMI(signing_key), "signing.key", 0, 0, NULL,
      "Ed25519 private key that signs our messages, PEM" },
    { "sami", "user", TYPE_STRING, SAMI(user), "sami", 0, 0, NULL, "user of the network process; empty: keep the user" },
    { "sami", "control-group", TYPE_STRING, SAMI(control_group), "sami", 0, 0, NULL,
      "members of this group may use the control sockets" },
    { "sami", "run-dir", TYPE_FILE, SAMI(run_dir), SAMI_RUNDIR, 0, 0, NULL, "directory of the control sockets" },
    { "sami", "journal-dir", TYPE_FILE, SAMI(journal_dir), SAMI_STATEDIR "/journal", 0, 0, NULL,
      "directory of the journal of received messages" },
    { "sami", "journal", TYPE_BOOL, SAMI(journal), "true", 0, 0, NULL, "keep the journal" },
    { "sami", "vm-prefixes", TYPE_PREFIXES, SAMI(vm_prefixes), "", 0, LIST_MAX, NULL,
      "whose state the exporter may send" },
    { "sami", "local-prefixes", TYPE_PREFIXES, SAMI(local_prefixes), "", 0, LIST_MAX, NULL,
      "prefixes on this side of the firewall" },
    { "sami", "ignore-addresses", TYPE_ADDRESSES, SAMI(ignore_addresses), "", 0, LIST_MAX, NULL,
      "addresses whose sessions are never sent, besides our own and loopback" },
    { "sami", "deadline", TYPE_MS, SAMI(deadline_ms), "2s", 10, HOUR_MS, NULL,
      "longest time from freeze to READY; later is late" },
    { "sami", "lease", TYPE_SECONDS, SAMI(lease_s), "120s", 5000, 24 * HOUR_MS, NULL,
      "how long a migration outlives a lost connection" },
    { "sami", "max-delay", TYPE_MS, SAMI(max_delay_ms), "30s", 1000, HOUR_MS, NULL,
      "a message that was longer on its way is refused" },
    { "sami", "grace", TYPE_MS, SAMI(grace_ms), "5s", 0, HOUR_MS, NULL,
      "strict TCP window tracking starts again this long after READY" },
    { "sami", "max-migrations", TYPE_COUNT, SAMI(max_migrations), "32", 1, 1024, NULL, "migrations at once" },
    { "sami", "max-sessions", TYPE_NUMBER, SAMI(max_sessions), "0", 0, G_MAXUINT32, NULL,
      "entries that all migrations may create; 0: half of the free room in the table" },

    { "peer", "name", TYPE_NAME, PEER(name), NULL, 0, 0, NULL, "the peer's TLS name; default: the name of the file" },
    { "peer", "address", TYPE_ENDPOINT, PEER(address), NULL, 0, 0, NULL,
      "where we connect to; none: the peer only sends to us" },
    { "peer", "certificate", TYPE_FILE, PEER(certificate_file), NULL, 0, 0, NULL,
      "the peer's certificate, PEM; none: tls-ca vouches for it" },
    { "peer", "signing-key", TYPE_FILE, PEER(signing_key_file), NULL, 0, 0, NULL,
      "the peer's Ed25519 public key, PEM: whose receipts we believe" },
    { "peer", "receipts", TYPE_BOOL, PEER(receipts), "true", 0, 0, NULL, "false: a plain collector that sends no receipts" },

    { "signer", "name", TYPE_NAME, SIGNER(name), NULL, 0, 0, NULL, "the signer; default: the name of the file" },
    { "signer", "keys", TYPE_FILES, SIGNER(key_files), NULL, 1, 4, NULL, "its Ed25519 public keys, PEM" },
    { "signer", "tls-names", TYPE_NAMES, SIGNER(tls_names), NULL, 1, 64, NULL,
      "TLS names that may carry its messages; default: the signer's name" },
    { "signer", "allow-prefixes", TYPE_PREFIXES, SIGNER(allow_prefixes), "", 0, LIST_MAX, NULL,
      "VM addresses it may bring" },
    { "signer", "nat-addresses", TYPE_PREFIXES, SIGNER(nat_addresses), "", 0, LIST_MAX, NULL,
      "translated addresses it may bring" },
    { "signer", "zones", TYPE_NUMBERS, SIGNER(zones), "0", 1, LIST_MAX, NULL, "conntrack zones it may write, 0 to 65535" },
    { "signer", "kinds", TYPE_CHOICES, SIGNER(kinds), "session", 1, 8, "session|expectation,cumulative",
      "kinds of records it may bring" },
    { "signer", "max-sessions", TYPE_NUMBER, SIGNER(max_sessions), "0", 0, G_MAXUINT32, NULL,
      "entries it may create; 0: only the room in the table limits" },
    { "signer", "require-expect", TYPE_BOOL, SIGNER(require_expect), "true", 0, 0, NULL, "reserved; has no effect yet" },
    { "signer", "unscoped", TYPE_BOOL, SIGNER(unscoped), "false", 0, 0, NULL,
      "may bring sessions of no announced VM, within allow-prefixes" },

    { "vm", "addresses", TYPE_ADDRESSES, VM(addresses), NULL, 1, SAMI_VM_ADDRESSES_MAX, NULL, "addresses of this VM" },
};

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

static void fail(GError **error, const gchar *path, guint line, const gchar *format, ...) G_GNUC_PRINTF(4, 5);

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

static const Key *
find_key(const gchar *group, const gchar *name)
{
    for (guint i = 0; i < G_N_ELEMENTS(keys); i++)
        if (!strcmp(keys[i].group, group) && !strcmp(keys[i].name, name))
            return &keys[i];
    return NULL;
}

static gchar *
list_keys(const gchar *group)
{
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < G_N_ELEMENTS(keys); i++)
        if (!strcmp(keys[i].group, group))
            g_string_append_printf(text, "%s%s", text->len ? ", " : "", keys[i].name);
    return g_string_free(text, FALSE);
}

static gboolean
scan_group(const Source *source, guint line, const gchar *text, gboolean *is_open, GError **error)
{
    g_autofree gchar *wanted = g_strdup_printf("[%s]", source->group);
    g_autofree gchar *quoted = g_strescape(text, NULL);
    if (g_str_has_prefix(text, "[cumulative"))
        fail(error, source->path, line, "group %s: not available in this version; allowed: %s", quoted, wanted);
    else if (strcmp(text, wanted) != 0)
        fail(error, source->path, line, "unknown group '%s'; allowed in this file: %s", quoted, wanted);
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
    g_autofree gchar *name = g_strstrip(equals ? g_strndup(text, (gsize) (equals - text)) : g_strdup(text));
    g_autofree gchar *quoted = g_strescape(name, NULL);
    if (!equals || !*name) {
        fail(error, source->path, line, "'%.80s' is no key=value; allowed: comments with #, [%s], key=value", quoted, source->group);
        return FALSE;
    }
    if (!is_open) {
        fail(error, source->path, line, "%s: a key before any group; allowed: [%s] first", quoted, source->group);
        return FALSE;
    }
    if (!find_key(source->group, name)) {
        g_autofree gchar *known = list_keys(source->group);
        fail(error, source->path, line, "unknown key '%s'; allowed in [%s]: %s", quoted, source->group, known);
        return FALSE;
    }
    guint first = GPOINTER_TO_UINT(g_hash_table_lookup(source->lines, name));
    if (first) {
        fail(error, source->path, line, "%s is there twice, first in line %u; allowed: once", quoted, first);
        return FALSE;
    }
    g_hash_table_insert(source->lines, g_steal_pointer(&name), GUINT_TO_POINTER(line));
    return TRUE;
}

/* GKeyFile merges groups that are there twice, takes the last of two equal keys, and forgets line numbers. */
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
    *source = (Source){ path, group, g_key_file_new(), g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL) };
    if (!g_file_get_contents(path, &text, &length, &local)) {
        g_set_error_literal(error, SAMI_ERROR, SAMI_ERROR_CONFIG, local->message);
        return FALSE;
    }
    const gchar *bad = NULL;
    if (!g_utf8_validate(text, (gssize) length, &bad)) {
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

static gchar *
make_absolute(const gchar *path, const gchar *value)
{
    g_autofree gchar *directory = g_path_get_dirname(path);
    return g_canonicalize_filename(value, g_path_is_absolute(directory) ? directory : NULL);
}

static gboolean
check_choice(const Key *key, const gchar *value, GError **error)
{
    g_auto(GStrv) halves = g_strsplit(key->choices, "|", 2);
    g_auto(GStrv) now = g_strsplit(halves[0], ",", -1);
    g_auto(GStrv) later = g_strsplit(halves[1] ? halves[1] : "", ",", -1);
    if (g_strv_contains((const gchar *const *) now, value))
        return TRUE;
    g_autofree gchar *quoted = g_strescape(value, NULL);
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "'%s' is %s; allowed: %s", quoted,
                g_strv_contains((const gchar *const *) later, value) ? "not available in this version" : "unknown",
                halves[0]);
    return FALSE;
}

static gboolean
check_element(const Key *key, const gchar *value, GError **error)
{
    guint64 number = 0;
    switch (key->type) {
    case TYPE_NAME:
    case TYPE_NAMES:
        return sami_value_name(value, error);
    case TYPE_ENDPOINT:
        return sami_value_endpoint(value, error);
    case TYPE_ADDRESSES:
        return sami_value_address(value, FALSE, error);
    case TYPE_PREFIXES:
        return sami_value_address(value, TRUE, error);
    case TYPE_NUMBERS:
        return sami_value_uint(value, 0, 65535, &number, error);
    case TYPE_CHOICE:
    case TYPE_CHOICES:
        return check_choice(key, value, error);
    default:
        return TRUE;
    }
}

static gboolean
set_list(const Key *key, const gchar *path, const gchar *value, GStrv *field, GError **error)
{
    g_auto(GStrv) list = sami_value_list(value, error);
    if (!list)
        return FALSE;
    guint n = g_strv_length(list);
    if (n < key->min || n > key->max) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "%u elements; allowed: %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT, n,
                    key->min, key->max);
        return FALSE;
    }
    for (guint i = 0; i < n; i++) {
        if (!check_element(key, list[i], error))
            return FALSE;
        if (key->type == TYPE_FILES) {
            g_autofree gchar *relative = list[i];
            list[i] = make_absolute(path, relative);
        }
    }
    g_strfreev(*field);
    *field = g_steal_pointer(&list);
    return TRUE;
}

static gboolean
set_string(const Key *key, const gchar *path, const gchar *value, gchar **field, GError **error)
{
    if (!*value && key->type != TYPE_STRING) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "is empty; allowed: a %s, or leave the key out", type_names[key->type]);
        return FALSE;
    }
    if (!check_element(key, value, error))
        return FALSE;
    g_free(*field);
    *field = key->type == TYPE_FILE ? make_absolute(path, value) : g_strdup(value);
    return TRUE;
}

static gboolean
set_number(const Key *key, const gchar *value, gpointer field, GError **error)
{
    guint64 number = 0;
    gboolean is_duration = key->type == TYPE_MS || key->type == TYPE_SECONDS;
    if (!(is_duration ? sami_value_duration(value, key->min, key->max, &number, error)
                      : sami_value_uint(value, key->min, key->max, &number, error)))
        return FALSE;
    if (key->type == TYPE_SECONDS && number % 1000) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "'%s' is no whole number of seconds; allowed: such as 5s or 2m", value);
        return FALSE;
    }
    if (key->type == TYPE_NUMBER)
        *(guint64 *) field = number;
    else
        *(guint *) field = (guint) (key->type == TYPE_SECONDS ? number / 1000 : number);
    return TRUE;
}

static gboolean
set_value(const Key *key, const gchar *path, const gchar *value, gpointer target, GError **error)
{
    gpointer field = G_STRUCT_MEMBER_P(target, key->offset);
    switch (key->type) {
    case TYPE_STRING:
    case TYPE_NAME:
    case TYPE_ENDPOINT:
    case TYPE_FILE:
    case TYPE_CHOICE:
        return set_string(key, path, value, field, error);
    case TYPE_BOOL:
        return sami_value_bool(value, field, error);
    case TYPE_NUMBER:
    case TYPE_COUNT:
    case TYPE_MS:
    case TYPE_SECONDS:
        return set_number(key, value, field, error);
    default:
        return set_list(key, path, value, field, error);
    }
}

/* Fills a struct from its group: defaults first, so that a key's own error is the only one that can be reported. */
static gboolean
source_read(Source *source, gpointer target, GError **error)
{
    for (guint i = 0; i < G_N_ELEMENTS(keys); i++) {
        const Key *key = &keys[i];
        g_autoptr(GError) local = NULL;
        if (strcmp(key->group, source->group) != 0)
            continue;
        guint line = GPOINTER_TO_UINT(g_hash_table_lookup(source->lines, key->name));
        g_autofree gchar *value = line ? g_key_file_get_string(source->file, source->group, key->name, &local) : NULL;
        if (!line && key->value)
            value = g_strdup(key->value);
        if (local || (value && !set_value(key, source->path, g_strstrip(value), target, &local))) {
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
    g_free(peer->name);
    g_free(peer->address);
    g_free(peer->certificate_file);
    g_free(peer->signing_key_file);
    g_free(peer);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiConfigPeer, peer_free)

static void
signer_free(SamiConfigSigner *signer)
{
    g_free(signer->name);
    g_strfreev(signer->key_files);
    g_strfreev(signer->tls_names);
    g_strfreev(signer->allow_prefixes);
    g_strfreev(signer->nat_addresses);
    g_strfreev(signer->zones);
    g_strfreev(signer->kinds);
    g_free(signer);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiConfigSigner, signer_free)

static void
vm_free(SamiConfigVm *vm)
{
    g_free(vm->name);
    g_strfreev(vm->addresses);
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
    g_auto(Source) source = { 0 };
    g_autoptr(SamiConfigPeer) peer = g_new0(SamiConfigPeer, 1);
    if (!source_open(&source, path, "peer", error) || !source_read(&source, peer, error) ||
        !default_name(&source, &peer->name, error))
        return FALSE;
    if (!peer->certificate_file && !config->tls_ca)
        fail(error, path, 0, "certificate: missing; it may be left out only if tls-ca is set in sami.conf");
    else if (peer->address && peer->receipts && !peer->signing_key_file)
        fail(error, path, source_line(&source, "address"),
             "signing-key: missing; it may be left out only without address, or with receipts=false");
    else if (sami_config_peer(config, peer->name))
        fail(error, path, source_line(&source, "name"), "name: peer '%s' is also in another file; allowed: once", peer->name);
    else {
        g_ptr_array_add(config->peers, g_steal_pointer(&peer));
        return TRUE;
    }
    return FALSE;
}

static gboolean
load_signer(SamiConfig *config, const gchar *path, GError **error)
{
    g_auto(Source) source = { 0 };
    g_autoptr(SamiConfigSigner) signer = g_new0(SamiConfigSigner, 1);
    if (!source_open(&source, path, "signer", error) || !source_read(&source, signer, error) ||
        !default_name(&source, &signer->name, error))
        return FALSE;
    if (!signer->key_files) {
        fail(error, path, 0, "keys: missing; allowed: one to four PEM files with Ed25519 public keys");
        return FALSE;
    }
    if (find_signer(config, signer->name)) {
        fail(error, path, source_line(&source, "name"), "name: signer '%s' is also in another file; allowed: once", signer->name);
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
    g_auto(Source) source = { 0 };
    g_autoptr(SamiConfigVm) vm = g_new0(SamiConfigVm, 1);
    if (!source_open(&source, path, "vm", error) || !source_read(&source, vm, error))
        return FALSE;
    if (!vm->addresses) {
        fail(error, path, 0, "addresses: missing; allowed: 1 to %u addresses", SAMI_VM_ADDRESSES_MAX);
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
    return strcmp(*(const gchar *const *) a, *(const gchar *const *) b);
}

/* Every NAME.conf of a directory in the order of names; a missing directory is empty. */
static gboolean
load_directory(SamiConfig *config, const gchar *name, gboolean (*load)(SamiConfig *, const gchar *, GError **), GError **error)
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
    struct addrinfo hints = { .ai_flags = AI_CANONNAME }, *answer = NULL;
    gchar host[SAMI_NAME_MAX + 1] = "";
    if (gethostname(host, sizeof host - 1) != 0)
        return g_strdup("");
    gboolean is_answered = !strchr(host, '.') && getaddrinfo(host, NULL, &hints, &answer) == 0;
    gchar *name = g_ascii_strdown(is_answered && answer->ai_canonname ? answer->ai_canonname : host, -1);
    if (answer)
        freeaddrinfo(answer);
    return name;
}

static gboolean
load_main(SamiConfig *config, GError **error)
{
    g_auto(Source) source = { 0 };
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
    config->peers = g_ptr_array_new_with_free_func((GDestroyNotify) peer_free);
    config->signers = g_ptr_array_new_with_free_func((GDestroyNotify) signer_free);
    config->vms = g_ptr_array_new_with_free_func((GDestroyNotify) vm_free);
    if (!load_main(config, error) || !load_directory(config, "peers.d", load_peer, error) ||
        !load_directory(config, "signers.d", load_signer, error) || !load_directory(config, "vms.d", load_vm, error))
        return NULL;
    return g_steal_pointer(&config);
}

void
sami_config_free(SamiConfig *config)
{
    if (!config)
        return;
    for (guint i = 0; i < G_N_ELEMENTS(keys); i++) {
        gpointer field = G_STRUCT_MEMBER_P(config, keys[i].offset);
        if (strcmp(keys[i].group, "sami") != 0)
            continue;
        if (keys[i].type <= TYPE_CHOICE)
            g_clear_pointer((gchar **) field, g_free);
        else if (keys[i].type >= TYPE_FILES)
            g_clear_pointer((GStrv *) field, g_strfreev);
    }
    g_free(config->path);
    g_ptr_array_unref(config->peers);
    g_ptr_array_unref(config->signers);
    g_ptr_array_unref(config->vms);
    g_free(config);
}

static gchar *
print_range(const Key *key)
{
    if (key->type == TYPE_MS || key->type == TYPE_SECONDS) {
        g_autofree gchar *least = sami_value_duration_print(key->min);
        g_autofree gchar *most = sami_value_duration_print(key->max);
        return g_strdup_printf(" %s..%s", least, most);
    }
    if (key->type == TYPE_NUMBER || key->type == TYPE_COUNT)
        return g_strdup_printf(" %" G_GUINT64_FORMAT "..%" G_GUINT64_FORMAT, key->min, key->max);
    if (key->choices)
        return g_strdup_printf(" %.*s", (int) strcspn(key->choices, "|"), key->choices);
    return g_strdup("");
}

gchar *
sami_config_help(void)
{
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < G_N_ELEMENTS(keys); i++) {
        const Key *key = &keys[i];
        g_autofree gchar *range = print_range(key);
        if (i == 0 || strcmp(keys[i - 1].group, key->group) != 0)
            g_string_append_printf(text, "%s[%s]\n", i ? "\n" : "", key->group);
        g_string_append_printf(text, "%s\t%s%s\t%s\t%s\n", key->name, type_names[key->type], range,
                               key->value && *key->value ? key->value : "none", key->help);
    }
    return g_string_free(text, FALSE);
}

gchar *
sami_config_sample(const gchar *name)
{
    GString *text = g_string_new("# Configuration of SAMI; see sami.conf(5). Each key is shown with its default.\n"
                                 "# Peers, signers and VMs are in peers.d, signers.d and vms.d beside this file.\n[sami]\n");
    for (guint i = 0; i < G_N_ELEMENTS(keys); i++) {
        const Key *key = &keys[i];
        if (strcmp(key->group, "sami") != 0)
            continue;
        g_string_append_printf(text, "\n# %s\n", key->help);
        if (!strcmp(key->name, "name"))
            g_string_append_printf(text, "name=%s\n", name);
        else
            g_string_append_printf(text, "#%s=%s\n", key->name, key->value ? key->value : "");
    }
    return g_string_free(text, FALSE);
}
