#include "common/config-keys.h"

#include <string.h>

#include "common/limits.h"
#include "common/pairs.h"
#include "common/value.h"

static const gchar *const type_names[SAMI_KEY_N_TYPES] = {
    "string",   "DNS name", "host:port", "file",      "file or URI", "word",      "boolean",  "number",  "size",  "number",
    "duration", "duration", "time",      "files",     "DNS names", "host:port list", "addresses", "prefixes", "numbers", "words",
    "VLANs",    "protocols", "ports",    "labels", "helpers",   "pairs",     "pairs",     "pairs",     "pairs",
};

#define SAMI(field) G_STRUCT_OFFSET(SamiConfig, field)
#define PEER(field) G_STRUCT_OFFSET(SamiConfigPeer, field)
#define SIGNER(field) G_STRUCT_OFFSET(SamiConfigSigner, field)
#define VM(field) G_STRUCT_OFFSET(SamiConfigVm, field)
#define CUMULATIVE(field) G_STRUCT_OFFSET(SamiConfigCumulative, field)
#define HOUR_MS 3600000u
#define LIST_MAX 4096u
#define PAIRS_MAX 256u /* each address of a record is compared with each */

const SamiKey sami_keys[] = {
    {"sami", "name", SAMI_KEY_NAME, SAMI(name), NULL, 0, 0, NULL,
     "name of this firewall: in its certificate and in every message; default: the host's full "
     "name"},
    {"sami", "listen", SAMI_KEY_ENDPOINT, SAMI(listen), "[::]:4740", 0, 0, NULL,
     "where the collector listens; [::] serves IPv4 too"},
    {"sami", "transport", SAMI_KEY_CHOICE, SAMI(transport), "tcp", 0, 0, "tcp,sctp",
     "transport protocol: TLS over tcp, or DTLS over sctp; the same at both ends"},
    {"sami", "sctp-backend", SAMI_KEY_CHOICE, SAMI(sctp_backend), "auto", 0, 0, "auto,userland,kernel",
     "kernel: its SCTP sockets; userland: libusrsctp; auto: the kernel's where it has them"},
    {"sami", "sctp-udp-port", SAMI_KEY_COUNT, SAMI(sctp_udp_port), "9899", 0, 65535, NULL,
     "UDP port that SCTP is carried in, ours and our peers' (RFC 6951); 0: SCTP over IP, which the kernel can"},
    {"sami", "certificate", SAMI_KEY_FILE, SAMI(certificate), "tls.crt", 0, 0, NULL,
     "own TLS certificate chain, PEM"},
    {"sami", "key", SAMI_KEY_SECRET, SAMI(key), "tls.key", 0, 0, NULL, "its private key, PEM"},
    {"sami", "tls-ca", SAMI_KEY_FILE, SAMI(tls_ca), NULL, 0, 0, NULL,
     "CA bundle for peers without a certificate of their own in peers.d, PEM"},
    {"sami", "key-log", SAMI_KEY_FILE, SAMI(key_log), NULL, 0, 0, NULL,
     "for debugging only: file to which the secrets of all TLS sessions are written; who has it can read them"},
    {"sami", "signing-key", SAMI_KEY_SECRET, SAMI(signing_key), "signing.key", 0, 0, NULL,
     "Ed25519 private key that signs our messages, PEM"},
    {"sami", "key-passphrase-file", SAMI_KEY_SECRET, SAMI(key_passphrase_file), NULL, 0, 0, NULL,
     "file with the passphrase of both keys, where they are encrypted"},
    {"sami", "user", SAMI_KEY_STRING, SAMI(user), "sami", 0, 0, NULL,
     "user of the network process; empty: keep the user"},
    {"sami", "sandbox", SAMI_KEY_CHOICE, SAMI(sandbox), "enforce", 0, 0, "enforce,off",
     "seccomp and Landlock around every process; off: for debugging only"},
    {"sami", "control-group", SAMI_KEY_STRING, SAMI(control_group), "sami", 0, 0, NULL,
     "members of this group may use the control sockets"},
    {"sami", "monitor-group", SAMI_KEY_STRING, SAMI(monitor_group), "", 0, 0, NULL,
     "members of this group may read at the control sockets: status, stats, metrics; empty: nobody"},
    {"sami", "run-dir", SAMI_KEY_FILE, SAMI(run_dir), SAMI_RUNDIR, 0, 0, NULL,
     "directory of the control sockets and of the list of announcements"},
    {"sami", "journal-dir", SAMI_KEY_FILE, SAMI(journal_dir), SAMI_STATEDIR "/journal", 0, 0, NULL,
     "directory of the journal of received messages"},
    {"sami", "journal", SAMI_KEY_BOOL, SAMI(journal), "true", 0, 0, NULL, "keep the journal"},
    {"sami", "journal-keep", SAMI_KEY_SECONDS, SAMI(journal_keep_s), "7d", 0, 3650 * 24 * (guint64)HOUR_MS, NULL,
     "how long journals of finished migrations are kept"},
    {"sami", "journal-max", SAMI_KEY_SIZE, SAMI(journal_max), "1G", 0, G_MAXINT64, NULL,
     "the oldest of them go when all together are larger"},
    {"sami", "journal-sync", SAMI_KEY_CHOICE, SAMI(journal_sync), "ready", 0, 0, "ready,none",
     "what has to be on the disk before READY: the journal up to it, or nothing"},
    {"sami", "vm-prefixes", SAMI_KEY_PREFIXES, SAMI(vm_prefixes), "", 0, LIST_MAX, NULL,
     "whose state the exporter may send"},
    {"sami", "local-prefixes", SAMI_KEY_PREFIXES, SAMI(local_prefixes), "", 0, LIST_MAX, NULL,
     "prefixes on this side of the firewall"},
    {"sami", "ignore-addresses", SAMI_KEY_ADDRESSES, SAMI(ignore_addresses), "", 0, LIST_MAX, NULL,
     "addresses whose sessions are never sent, besides our own and loopback"},
    {"sami", "vlans", SAMI_KEY_VLAN_PAIRS, SAMI(vlans), "", 0, LIST_MAX, NULL,
     "VLAN:zone, what the segments behind our conntrack zones are called on the wire; other zones go by their number"},
    {"sami", "mark-mask", SAMI_KEY_NUMBER, SAMI(mark_mask), "0xffffffff", 0, G_MAXUINT32, NULL,
     "the bits of connection marks that are sent, and that are taken from others; other bits become 0"},
    {"sami", "nat-elsewhere", SAMI_KEY_BOOL, SAMI(nat_elsewhere), "false", 0, 0, NULL,
     "something else than a base chain of type nat translates here, such as Open vSwitch: translated sessions are taken without one"},
    {"sami", "asymmetric-switch", SAMI_KEY_BOOL, SAMI(asymmetric_switch), "false", 0, 0, NULL,
     "the two directions of a path may switch at different moments: moving TCP flows become lenient here too"},
    {"sami", "deadline", SAMI_KEY_MS, SAMI(deadline_ms), "2s", 10, HOUR_MS, NULL,
     "longest time from freeze to READY; later is late"},
    {"sami", "lease", SAMI_KEY_SECONDS, SAMI(lease_s), "120s", 5000, 24 * HOUR_MS, NULL,
     "how long a migration outlives a lost connection"},
    {"sami", "reconnect", SAMI_KEY_MS, SAMI(reconnect_ms), "60s", 100, HOUR_MS, NULL,
     "how often a lost session of a running migration is tried again (RFC 7011 10.4.4: not below 60s by default)"},
    {"sami", "session-age", SAMI_KEY_SECONDS, SAMI(session_age_s), "1d", 5000, 24 * HOUR_MS, NULL,
     "no session gets older: the exporter begins it anew shortly before"},
    {"sami", "max-delay", SAMI_KEY_MS, SAMI(max_delay_ms), "30s", 1000, HOUR_MS, NULL,
     "a message that was longer on its way is refused"},
    {"sami", "grace", SAMI_KEY_MS, SAMI(grace_ms), "5s", 0, HOUR_MS, NULL,
     "strict TCP window tracking starts again this long after READY"},
    {"sami", "max-migrations", SAMI_KEY_COUNT, SAMI(max_migrations), "32", 1, 1024, NULL,
     "migrations at once; at the collector of one signer, and four times as many of all"},
    {"sami", "peer-sessions", SAMI_KEY_COUNT, SAMI(peer_sessions), "96", 1, SAMI_SESSIONS_MAX, NULL,
     "TLS sessions that one peer may have at once"},
    {"sami", "max-sessions", SAMI_KEY_NUMBER, SAMI(max_sessions), "0", 0, G_MAXUINT32, NULL,
     "entries that running migrations may hold together; 0: half of the free room in the table"},
    {"sami", "table-reserve", SAMI_KEY_COUNT, SAMI(table_reserve), "10", 0, 100, NULL,
     "percent of the connection table that migrations leave to the firewall's own traffic"},
    {"sami", "pair", SAMI_KEY_CHOICE, SAMI(pair), "none", 0, 0, "none,sync",
     "sync: a VM that moves to here is READY only when the standby that we replicate to has its sessions too"},
    {"sami", "beside-conntrackd", SAMI_KEY_BOOL, SAMI(beside_conntrackd), "false", 0, 0, NULL,
     "replicate although conntrackd runs here: only where its filters leave out all that we replicate"},
    {"sami", "gate", SAMI_KEY_CHOICE, SAMI(gate), "none", 0, 0, "none,nft",
     "what holds a VM's packets back until READY"},
    {"sami", "gate-set", SAMI_KEY_STRING, SAMI(gate_set), "inet filter sami_gate", 0, 0, NULL,
     "family, table and name of the gate's nft set for IPv4; its name with a 6 appended is the one "
     "for IPv6"},
    {"sami", "gate-from", SAMI_KEY_CHOICE, SAMI(gate_from), "freeze", 0, 0, "freeze,snapshot",
     "when the gate closes: with the freeze marker, or with the snapshot"},

    {"peer", "name", SAMI_KEY_NAME, PEER(name), NULL, 0, 0, NULL,
     "the peer's TLS name; default: the name of the file"},
    {"peer", "address", SAMI_KEY_ENDPOINTS, PEER(addresses), NULL, 1, SAMI_PEER_ADDRESSES_MAX, NULL,
     "where we connect to, in order of preference; none: the peer only sends to us"},
    {"peer", "certificate", SAMI_KEY_FILE, PEER(certificate_file), NULL, 0, 0, NULL,
     "the peer's certificate, PEM; none: tls-ca vouches for it"},
    {"peer", "signing-key", SAMI_KEY_FILE, PEER(signing_key_file), NULL, 0, 0, NULL,
     "the peer's Ed25519 public key, PEM: whose receipts we believe"},
    {"peer", "replicate", SAMI_KEY_BOOL, PEER(replicate), "false", 0, 0, NULL,
     "keep this peer's connection table in step with ours, unscoped, from the start on (samictl replicate)"},
    {"peer", "replicate-protocols", SAMI_KEY_CHOICES, PEER(replicate_protocols), "", 0, 8, "tcp,udp,icmp,icmpv6",
     "what is replicated to this peer: only these protocols; none: all"},
    {"peer", "replicate-addresses", SAMI_KEY_PREFIXES, PEER(replicate_addresses), "", 0, LIST_MAX, NULL,
     "only sessions with one of these addresses at either end; none: all"},
    {"peer", "replicate-ignore", SAMI_KEY_PREFIXES, PEER(replicate_ignore), "", 0, LIST_MAX, NULL,
     "no session with one of these addresses at either end"},
    {"peer", "replicate-states", SAMI_KEY_CHOICES, PEER(replicate_states), "", 0, 10,
     "none,syn-sent,syn-sent2,syn-recv,established,fin-wait,close-wait,last-ack,time-wait,close",
     "TCP sessions only while they are in one of these states; none: always"},
    {"peer", "receipts", SAMI_KEY_BOOL, PEER(receipts), "true", 0, 0, NULL,
     "false: a plain collector that sends no receipts"},

    {"signer", "name", SAMI_KEY_NAME, SIGNER(name), NULL, 0, 0, NULL,
     "the signer; default: the name of the file"},
    {"signer", "keys", SAMI_KEY_FILES, SIGNER(key_files), NULL, 1, 4, NULL,
     "its Ed25519 public keys, PEM"},
    {"signer", "tls-names", SAMI_KEY_NAMES, SIGNER(tls_names), NULL, 1, 64, NULL,
     "TLS names that may carry its messages; default: the signer's name"},
    {"signer", "allow-prefixes", SAMI_KEY_PREFIXES, SIGNER(allow_prefixes), "", 0, LIST_MAX, NULL,
     "VM addresses it may bring"},
    {"signer", "nat-addresses", SAMI_KEY_PREFIXES, SIGNER(nat_addresses), "", 0, LIST_MAX, NULL,
     "translated addresses it may bring"},
    {"signer", "zones", SAMI_KEY_NUMBERS, SIGNER(zones), "0", 1, LIST_MAX, NULL,
     "conntrack zones it may write, 0 to 65535"},
    {"signer", "vlans", SAMI_KEY_VLANS, SIGNER(vlans), "", 0, LIST_MAX, NULL,
     "VLANs, of the key vlans in sami.conf, that it may bring sessions of; 1 to 4094"},
    {"signer", "map-addresses", SAMI_KEY_ADDRESS_PAIRS, SIGNER(map_addresses), "", 0, PAIRS_MAX, NULL,
     "addresses there:addresses here, of the same length"},
    {"signer", "map-marks", SAMI_KEY_MARK_PAIRS, SIGNER(map_marks), "", 0, PAIRS_MAX, NULL,
     "mark there/mask:mark here/mask"},
    {"signer", "map-labels", SAMI_KEY_LABEL_PAIRS, SIGNER(map_labels), "", 0, PAIRS_MAX, NULL,
     "number of a label there:its number here, 0 to 127"},
    {"signer", "kinds", SAMI_KEY_CHOICES, SIGNER(kinds), "session", 1, 8,
     "session,expectation,cumulative", "kinds of records it may bring; expectation: also flows with helpers, which open ports for others"},
    {"signer", "protocols", SAMI_KEY_PROTOCOLS, SIGNER(protocols), "any", 1, 256, NULL,
     "protocols of the sessions it may bring, by name or number; any: all that are tracked"},
    {"signer", "ports", SAMI_KEY_PORTS, SIGNER(ports), "0-65535", 1, LIST_MAX, NULL,
     "ports and ranges of ports at the VM's own end of its sessions, whoever opened them"},
    {"signer", "remote-ports", SAMI_KEY_PORTS, SIGNER(remote_ports), "0-65535", 1, LIST_MAX, NULL,
     "the same at the other end"},
    {"signer", "helpers", SAMI_KEY_HELPERS, SIGNER(helpers), "any", 1, 64, NULL,
     "helpers that sessions and expectations may have, where kinds has expectation; any: all that are here"},
    {"signer", "mark-mask", SAMI_KEY_NUMBER, SIGNER(mark_mask), "0xffffffff", 0, G_MAXUINT32, NULL,
     "bits of connection marks that it may set; others become 0, and the session is degraded"},
    {"signer", "labels", SAMI_KEY_LABELS, SIGNER(labels), "0-127", 0, 128, NULL,
     "connection labels that it may set, numbers and ranges; others are taken off, and the session is degraded"},
    {"signer", "allow-special", SAMI_KEY_CHOICES, SIGNER(allow_special), "", 0, 4, "own,loopback,link-local,multicast",
     "addresses that sessions may have although nobody may by default; own: those of this firewall"},
    {"signer", "long-timeouts", SAMI_KEY_BOOL, SIGNER(long_timeouts), "false", 0, 0, NULL,
     "sessions may have more time than this kernel would give them; otherwise it is cut, and the session is degraded"},
    {"signer", "valid-from", SAMI_KEY_TIME, SIGNER(valid_from_s), NULL, 0, 0, NULL,
     "refused before this moment, UTC: 2026-12-31T23:59:59Z, or a day"},
    {"signer", "valid-until", SAMI_KEY_TIME, SIGNER(valid_until_s), NULL, 0, 0, NULL,
     "refused from this moment on, as if its file were gone; what is not READY by then is rolled back"},
    {"signer", "max-migrations", SAMI_KEY_COUNT, SIGNER(max_migrations), "0", 0, 1024, NULL,
     "migrations of it at once; 0: only the collector's max-migrations limits"},
    {"signer", "max-expectations", SAMI_KEY_NUMBER, SIGNER(max_expectations), "0", 0, G_MAXUINT32, NULL,
     "expectations that its running migrations may hold together; 0: only the collector's limit of each migration"},
    {"signer", "max-elements", SAMI_KEY_NUMBER, SIGNER(max_elements), "0", 0, G_MAXUINT32, NULL,
     "elements that each of its migrations may make in all sets together; 0: only max-elements of the sets limits"},
    {"signer", "max-rate", SAMI_KEY_NUMBER, SIGNER(max_rate), "0", 0, 100000000, NULL,
     "records a second of all its sessions together; what is beyond is read later, not refused; 0: as fast as it comes"},
    {"signer", "max-sessions", SAMI_KEY_NUMBER, SIGNER(max_sessions), "0", 0, G_MAXUINT32, NULL,
     "entries that its running migrations may hold together; 0: only the collector's max-sessions limits"},
    {"signer", "require-expect", SAMI_KEY_BOOL, SIGNER(require_expect), "true", 0, 0, NULL,
     "its VMs have to be announced with `samictl expect` before they move"},
    {"signer", "on-conflict", SAMI_KEY_CHOICE, SIGNER(on_conflict), "merge", 0, 0, "merge,keep,replace",
     "a flow that is here already: made lenient, left as it is, or replaced at the freeze"},
    {"signer", "unscoped", SAMI_KEY_BOOL, SIGNER(unscoped), "false", 0, 0, NULL,
     "may bring sessions of no announced VM, within allow-prefixes"},

    {"vm", "addresses", SAMI_KEY_ADDRESSES, VM(addresses), NULL, 1, SAMI_VM_ADDRESSES_MAX, NULL,
     "addresses of this VM"},
    {"vm", "vlan", SAMI_KEY_COUNT, VM(vlan), "0", 0, 4094, NULL,
     "the VLAN of this VM, of the key vlans in sami.conf; 0: it is not named"},

    {"cumulative", "table", SAMI_KEY_STRING, CUMULATIVE(table), "inet filter", 0, 0, NULL,
     "family and name of the set's table"},
    {"cumulative", "set", SAMI_KEY_STRING, CUMULATIVE(set), NULL, 0, 0, NULL,
     "name of the nft set"},
    {"cumulative", "kind", SAMI_KEY_CHOICE, CUMULATIVE(kind), "counter", 0, 0, "counter,blacklist",
     "counter: what was counted goes on; blacklist: who is in it stays in it, and what a move that is aborted brought goes again"},
    {"cumulative", "select", SAMI_KEY_CHOICE, CUMULATIVE(select), "vm", 0, 0, "vm,all",
     "which elements are sent, and taken: those with an address of the VM in their key, or all"},
    {"cumulative", "max-elements", SAMI_KEY_NUMBER, CUMULATIVE(max_elements), "262144", 1, SAMI_CUMULATIVE_ELEMENTS_MAX, NULL,
     "most elements that one migration sends, and that it may make here"},
};

const guint sami_n_keys = G_N_ELEMENTS(sami_keys);

const SamiKey *
sami_key_find(const gchar *group, const gchar *name)
{
    for (guint i = 0; i < sami_n_keys; i++)
        if (!strcmp(sami_keys[i].group, group) && !strcmp(sami_keys[i].name, name))
            return &sami_keys[i];
    return NULL;
}

gchar *
sami_key_list(const gchar *group)
{
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < sami_n_keys; i++)
        if (!strcmp(sami_keys[i].group, group))
            g_string_append_printf(text, "%s%s", text->len ? ", " : "", sami_keys[i].name);
    return g_string_free(text, FALSE);
}

#define CREDENTIALS "CREDENTIALS_DIRECTORY"

/* A scheme of two letters or more: what templates/private-key.h takes for a URI. */
static gboolean
is_uri(const gchar *value)
{
    gsize n = strspn(value, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "+.-");
    return n >= 2 && g_ascii_isalpha(*value) && value[n] == ':';
}

/* systemd.exec(5), CREDENTIALS: where the unit's secrets are, which nobody can know before. Without it the text stays, and is what no file is
 * found under. (transfer full) (nullable) */
static gchar *
expand_credentials(const gchar *value)
{
    static const gchar word[] = "$" CREDENTIALS "/";
    const gchar *directory = g_getenv(CREDENTIALS);
    if (!g_str_has_prefix(value, word))
        return NULL;
    return directory ? g_build_filename(directory, value + strlen(word), NULL) : g_strdup(value);
}

static gchar *
make_absolute(const gchar *path, const gchar *value)
{
    g_autofree gchar *directory = g_path_get_dirname(path);
    return g_canonicalize_filename(value, g_path_is_absolute(directory) ? directory : NULL);
}

static gchar *
make_place(const gchar *path, const gchar *value)
{
    gchar *credential = expand_credentials(value);
    return credential ? credential : is_uri(value) ? g_strdup(value) : make_absolute(path, value);
}

static gboolean
check_choice(const SamiKey *key, const gchar *value, GError **error)
{
    g_auto(GStrv) words = g_strsplit(key->choices, ",", -1);
    if (g_strv_contains((const gchar *const *)words, value))
        return TRUE;
    g_autofree gchar *quoted = g_strescape(value, NULL);
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "'%s' is unknown; allowed: %s", quoted, key->choices);
    return FALSE;
}

static gboolean
check_element(const SamiKey *key, const gchar *value, GError **error)
{
    guint64 number = 0;
    switch (key->type) {
    case SAMI_KEY_NAME:
    case SAMI_KEY_NAMES:
        return sami_value_name(value, error);
    case SAMI_KEY_ENDPOINT:
    case SAMI_KEY_ENDPOINTS:
        return sami_value_endpoint(value, error);
    case SAMI_KEY_ADDRESSES:
        return sami_value_address(value, FALSE, error);
    case SAMI_KEY_PREFIXES:
        return sami_value_address(value, TRUE, error);
    case SAMI_KEY_NUMBERS:
        return sami_value_uint(value, 0, 65535, &number, error);
    case SAMI_KEY_VLANS:
        return sami_value_uint(value, 1, 4094, &number, error);
    case SAMI_KEY_PROTOCOLS:
        return strcmp(value, SAMI_VALUE_ANY) == 0 || sami_value_protocol(value, &number, error);
    case SAMI_KEY_PORTS:
    case SAMI_KEY_LABELS: {
        guint16 range[2];
        return key->type == SAMI_KEY_PORTS ? sami_value_ports(value, range, error) : sami_value_labels(value, range, error);
    }
    case SAMI_KEY_HELPERS:
        return sami_value_word(value, 15, error);
    case SAMI_KEY_CHOICE:
    case SAMI_KEY_CHOICES:
        return check_choice(key, value, error);
    default:
        return TRUE;
    }
}

/* Rules about all elements together. */
static gboolean
check_list(const SamiKey *key, GStrv list, GError **error)
{
    G_STATIC_ASSERT(SAMI_KEY_LABEL_PAIRS - SAMI_KEY_VLAN_PAIRS == SAMI_PAIRS_LABELS - SAMI_PAIRS_VLANS);
    gboolean may_be_any = key->type == SAMI_KEY_PROTOCOLS || key->type == SAMI_KEY_HELPERS;
    if (may_be_any && g_strv_length(list) > 1 && g_strv_contains((const gchar *const *)list, SAMI_VALUE_ANY)) {
        g_set_error_literal(error, SAMI_ERROR, SAMI_ERROR_USAGE, "'" SAMI_VALUE_ANY "' stands for all; allowed: it alone, or a list without it");
        return FALSE;
    }
    if (key->type < SAMI_KEY_VLAN_PAIRS || key->type > SAMI_KEY_LABEL_PAIRS)
        return TRUE;
    g_autoptr(GArray) pairs = sami_pairs_parse((SamiPairsKind) (key->type - SAMI_KEY_VLAN_PAIRS), list, error);
    return pairs != NULL;
}

static gboolean
set_list(const SamiKey *key, const gchar *path, const gchar *value, GStrv *field, GError **error)
{
    g_auto(GStrv) list = sami_value_list(value, error);
    if (!list)
        return FALSE;
    guint n = g_strv_length(list);
    if (n < key->min || n > key->max) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE,
                    "%u elements; allowed: %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT, n,
                    key->min, key->max);
        return FALSE;
    }
    for (guint i = 0; i < n; i++) {
        if (!check_element(key, list[i], error))
            return FALSE;
        if (key->type == SAMI_KEY_FILES) {
            g_autofree gchar *relative = list[i];
            list[i] = make_absolute(path, relative);
        }
    }
    if (!check_list(key, list, error))
        return FALSE;
    g_strfreev(*field);
    *field = g_steal_pointer(&list);
    return TRUE;
}

static gboolean
set_string(const SamiKey *key, const gchar *path, const gchar *value, gchar **field, GError **error)
{
    if (!*value && key->type != SAMI_KEY_STRING) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE,
                    "is empty; allowed: a %s, or leave the key out", type_names[key->type]);
        return FALSE;
    }
    if (!check_element(key, value, error))
        return FALSE;
    g_free(*field);
    *field = key->type == SAMI_KEY_FILE ? make_absolute(path, value) : key->type == SAMI_KEY_SECRET ? make_place(path, value) : g_strdup(value);
    return TRUE;
}

static gboolean
set_number(const SamiKey *key, const gchar *value, gpointer field, GError **error)
{
    guint64 number = 0;
    gboolean is_duration = key->type == SAMI_KEY_MS || key->type == SAMI_KEY_SECONDS;
    if (!(key->type == SAMI_KEY_SIZE ? sami_value_size(value, key->min, key->max, &number, error)
          : is_duration ? sami_value_duration(value, key->min, key->max, &number, error)
                      : sami_value_uint(value, key->min, key->max, &number, error)))
        return FALSE;
    if (key->type == SAMI_KEY_SECONDS && number % 1000) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE,
                    "'%s' is no whole number of seconds; allowed: such as 5s or 2m", value);
        return FALSE;
    }
    if (key->type == SAMI_KEY_NUMBER || key->type == SAMI_KEY_SIZE)
        *(guint64 *)field = number;
    else
        *(guint *)field = (guint)(key->type == SAMI_KEY_SECONDS ? number / 1000 : number);
    return TRUE;
}

gboolean
sami_key_set(const SamiKey *key, const gchar *path, const gchar *value, gpointer target,
             GError **error)
{
    gpointer field = G_STRUCT_MEMBER_P(target, key->offset);
    switch (key->type) {
    case SAMI_KEY_STRING:
    case SAMI_KEY_NAME:
    case SAMI_KEY_ENDPOINT:
    case SAMI_KEY_FILE:
    case SAMI_KEY_SECRET:
    case SAMI_KEY_CHOICE:
        return set_string(key, path, value, field, error);
    case SAMI_KEY_BOOL:
        return sami_value_bool(value, field, error);
    case SAMI_KEY_NUMBER:
    case SAMI_KEY_SIZE:
    case SAMI_KEY_COUNT:
    case SAMI_KEY_MS:
    case SAMI_KEY_SECONDS:
        return set_number(key, value, field, error);
    case SAMI_KEY_TIME:
        return sami_value_time(value, field, error);
    default:
        return set_list(key, path, value, field, error);
    }
}

void
sami_key_clear(const gchar *group, gpointer target)
{
    for (guint i = 0; i < sami_n_keys; i++) {
        const SamiKey *key = &sami_keys[i];
        if (strcmp(key->group, group) != 0)
            continue;
        if (key->type <= SAMI_KEY_CHOICE)
            g_clear_pointer((gchar **)G_STRUCT_MEMBER_P(target, key->offset), g_free);
        else if (key->type >= SAMI_KEY_FILES)
            g_clear_pointer((GStrv *)G_STRUCT_MEMBER_P(target, key->offset), g_strfreev);
    }
}

static gchar *
print_range(const SamiKey *key)
{
    if (key->type == SAMI_KEY_MS || key->type == SAMI_KEY_SECONDS) {
        g_autofree gchar *least = sami_value_duration_print(key->min);
        g_autofree gchar *most = sami_value_duration_print(key->max);
        return g_strdup_printf(" %s..%s", least, most);
    }
    if (key->type == SAMI_KEY_NUMBER || key->type == SAMI_KEY_COUNT)
        return g_strdup_printf(" %" G_GUINT64_FORMAT "..%" G_GUINT64_FORMAT, key->min, key->max);
    if (key->choices)
        return g_strdup_printf(" %s", key->choices);
    return g_strdup("");
}

gchar *
sami_config_help(void)
{
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < sami_n_keys; i++) {
        const SamiKey *key = &sami_keys[i];
        g_autofree gchar *range = print_range(key);
        if (i == 0 || strcmp(sami_keys[i - 1].group, key->group) != 0)
            g_string_append_printf(text, "%s[%s]\n", i ? "\n" : "", key->group);
        g_string_append_printf(text, "%s\t%s%s\t%s\t%s\n", key->name, type_names[key->type], range,
                               key->value && *key->value ? key->value : "none", key->help);
    }
    return g_string_free(text, FALSE);
}

gchar *
sami_config_sample(const gchar *name)
{
    GString *text = g_string_new(
        "# Configuration of SAMI; see sami.conf(5). Each key is shown with its default.\n"
        "# Peers, signers and VMs are in peers.d, signers.d and vms.d beside this file.\n[sami]\n");
    for (guint i = 0; i < sami_n_keys; i++) {
        const SamiKey *key = &sami_keys[i];
        if (strcmp(key->group, "sami") != 0)
            continue;
        g_string_append_printf(text, "\n# %s\n", key->help);
        if (!strcmp(key->name, "name"))
            g_string_append_printf(text, "name=%s\n", name);
        else if (!strcmp(key->name, "reconnect")) /* the default is RFC 7011's; a moving VM cannot wait for it */
            g_string_append(text, "reconnect=2s\n");
        else
            g_string_append_printf(text, "#%s=%s\n", key->name, key->value ? key->value : "");
    }
    return g_string_free(text, FALSE);
}
