/* Configuration: sami.conf, peers.d/NAME.conf, signers.d/NAME.conf, vms.d/NAME.conf beside it.
 *
 * GLib key files. Every key is one row of a table (name, type, default, range, help) from which the reader, the
 * messages, `--help-config` and the text of sami.conf(5) derive. Errors name file, line, key and what is allowed.
 * A pre-scan records each key's line and refuses duplicate and unknown keys and groups. Booleans are true / false. Durations are
 * "2s", "500ms", "10m", "1h", "7d". Lists are separated by commas; in the structs a list is never NULL, a string is
 * NULL only where that is said. The group [cumulative NAME] is reserved and refused. */
#pragma once

#include "common/error.h"

/* peers.d/NAME.conf, group [peer]: who may connect, and whom we connect to. */
typedef struct {
    gchar *name;               /* name=: DNS name, lower case */
    gchar *address;            /* address=: host:port; NULL if it only sends to us */
    gchar *certificate_file;   /* certificate=: PEM file, absolute or beside the .conf; NULL: CA */
    gchar *signing_key_file;   /* signing-key=: the peer's Ed25519 public key, PEM; whose receipts we believe */
    gboolean receipts;         /* receipts=: true; false for a plain collector (receipts=none) */
} SamiConfigPeer;

/* signers.d/NAME.conf, group [signer]: whose Messages we believe, and what they may do. Default: nothing. */
typedef struct {
    gchar *name;               /* name= */
    GStrv key_files;           /* keys=: one to four Ed25519 public keys, PEM */
    GStrv tls_names;           /* tls-names=: TLS names that may carry it; default the signer's name */
    GStrv allow_prefixes;      /* allow-prefixes=: VM addresses; default none */
    GStrv nat_addresses;       /* nat-addresses=: translated addresses; default none */
    GStrv zones;               /* zones=: default "0" */
    GStrv kinds;               /* kinds=: default "session" */
    guint64 max_sessions;      /* max-sessions=: default 0, only the table's headroom limits */
    gboolean require_expect;   /* require-expect=: reserved, default true; see sami.conf(5) */
    gboolean unscoped;         /* unscoped=: default false */
} SamiConfigSigner;

/* vms.d/NAME.conf, group [vm]: addresses= of a VM by name. */
typedef struct {
    gchar *name;
    GStrv addresses;
} SamiConfigVm;

typedef struct {
    gchar *path;               /* of sami.conf */
    gchar *name;               /* name=: DNS name; default the host's FQDN */
    gchar *listen;             /* listen=: [::]:4740 */
    gchar *transport;          /* transport=: tcp (sctp is reserved) */
    gchar *certificate;        /* certificate=: tls.crt beside sami.conf */
    gchar *key;                /* key=: tls.key */
    gchar *tls_ca;             /* tls-ca=: none */
    gchar *signing_key;        /* signing-key=: signing.key, Ed25519 private */
    gchar *user;               /* user=: of the network process; default sami; "" keeps the user */
    gchar *control_group;      /* control-group=: sami */
    gchar *run_dir;            /* run-dir=: /run/sami; exporter.sock and collector.sock live there */
    gchar *journal_dir;        /* journal-dir=: LOCALSTATEDIR/lib/sami/journal */
    gboolean journal;          /* journal=: true */
    GStrv vm_prefixes;         /* vm-prefixes=: whose state the exporter may send; default none */
    GStrv local_prefixes;      /* local-prefixes=: none */
    GStrv ignore_addresses;    /* ignore-addresses= */
    guint deadline_ms;         /* deadline=: 2s */
    guint lease_s;             /* lease=: 120s */
    guint max_delay_ms;        /* max-delay=: 30s */
    guint grace_ms;            /* grace=: 5s; strict window tracking again after it */
    guint max_migrations;      /* max-migrations=: 32 */
    guint64 max_sessions;      /* max-sessions=: 0 = 50 % of headroom */
    GPtrArray *peers;          /* of SamiConfigPeer */
    GPtrArray *signers;        /* of SamiConfigSigner */
    GPtrArray *vms;            /* of SamiConfigVm */
} SamiConfig;

/* Reads everything; relative file names are made absolute (beside the file that names them). SAMI_ERROR_CONFIG. */
SamiConfig *sami_config_load(const gchar *path, GError **error);
void sami_config_free(SamiConfig *config);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiConfig, sami_config_free)
/* (transfer none) (nullable) */
const SamiConfigPeer *sami_config_peer(const SamiConfig *config, const gchar *name);
const SamiConfigVm *sami_config_vm(const SamiConfig *config, const gchar *name);
/* One line a key: name, type, default, help. For --help-config and the man page. (transfer full) */
gchar *sami_config_help(void);
/* The text of a sami.conf for `name`, every key with its help and default as a comment. (transfer full) */
gchar *sami_config_sample(const gchar *name);
