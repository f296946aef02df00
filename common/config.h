/* Configuration: sami.conf, peers.d/NAME.conf, signers.d/NAME.conf, vms.d/NAME.conf beside it.
 *
 * GLib key files. Every key is one row of a table (name, type, default, range, help) from which the reader, the
 * messages, `--help-config` and the sample derive; a test holds sami.conf(5) to it. Errors name file, line, key and what is allowed.
 * A pre-scan records each key's line and refuses duplicate and unknown keys and groups. Booleans are true / false. Durations are
 * "2s", "500ms", "10m", "1h", "7d". Lists are separated by commas; in the structs a list is never NULL, a string is
 * NULL only where that is said. */
#pragma once

#include "common/error.h"

/* In run-dir: where the exporter takes over the connection that the collector of this host asks for pair=sync with. */
#define SAMI_PAIR_SOCKET "exporter.pair"

/* peers.d/NAME.conf, group [peer]: who may connect, and whom we connect to. */
typedef struct {
    gchar *name;               /* name=: DNS name, lower case */
    GStrv addresses;           /* address=: host:port, in order of preference; NULL if it only sends to us */
    gchar *path;               /* of the file */
    gchar *certificate_file;   /* certificate=: PEM file, absolute or beside the .conf; NULL: CA */
    gchar *certificate;        /* (nullable) what is in it, as sami_daemon_read_peers() found it */
    gchar *signing_key_file;   /* signing-key=: the peer's Ed25519 public key, PEM; whose receipts we believe */
    gboolean replicate;        /* replicate=: false; true: the exporter keeps it in step from its start on */
    GStrv replicate_protocols; /* replicate-protocols=: which it gets; default none, all */
    GStrv replicate_addresses; /* replicate-addresses=: the same by address */
    GStrv replicate_ignore;    /* replicate-ignore=: which it does not get */
    GStrv replicate_states;    /* replicate-states=: the same of TCP by state */
    gboolean receipts;         /* receipts=: true; false for a plain collector (receipts=none) */
} SamiConfigPeer;

/* signers.d/NAME.conf, group [signer]: whose Messages we believe, and what they may do. Default: nothing. */
typedef struct {
    gchar *name;               /* name= */
    gchar *path;               /* of the file */
    GStrv key_files;           /* keys=: one to four Ed25519 public keys, PEM */
    GStrv tls_names;           /* tls-names=: TLS names that may carry it; default the signer's name */
    GStrv allow_prefixes;      /* allow-prefixes=: VM addresses; default none */
    GStrv nat_addresses;       /* nat-addresses=: translated addresses; default none */
    GStrv zones;               /* zones=: default "0" */
    GStrv vlans;               /* vlans=: default none; of a record that names its VLAN, instead of zones= */
    GStrv map_addresses;       /* map-addresses=: default none; see common/pairs.h */
    GStrv map_marks;           /* map-marks=: default none */
    GStrv map_labels;          /* map-labels=: default none */
    GStrv kinds;               /* kinds=: default "session" */
    GStrv protocols;           /* protocols=: default "any" */
    GStrv ports, remote_ports; /* ports=, remote-ports=: default "0-65535" */
    GStrv helpers;             /* helpers=: default "any" */
    guint64 mark_mask;         /* mark-mask=: default 0xffffffff; fits into 32 bits */
    GStrv labels;              /* labels=: default "0-127" */
    GStrv allow_special;       /* allow-special=: default none */
    gboolean long_timeouts;    /* long-timeouts=: default false */
    gint64 valid_from_s, valid_until_s; /* valid-from=, valid-until=: since 1970; default 0, none */
    guint max_migrations;      /* max-migrations=: default 0, only the collector's limit */
    guint64 max_expectations;  /* max-expectations=: of its running migrations together; default 0, only 1024 of each */
    guint64 max_elements;      /* max-elements=: of one migration; default 0, only the sets' limits */
    guint64 max_rate;          /* max-rate=: records a second; default 0, any */
    guint64 max_sessions;      /* max-sessions=: of its running migrations together; default 0, only the collector's limits */
    gboolean require_expect;   /* require-expect=: default true: VMs have to be announced (samictl expect) */
    gchar *on_conflict;        /* on-conflict=: merge, keep or replace; default merge */
    gboolean unscoped;         /* unscoped=: default false */
} SamiConfigSigner;

/* vms.d/NAME.conf, group [vm]: addresses= of a VM by name, and its vlan=. */
typedef struct {
    gchar *name;
    GStrv addresses;
    guint vlan;                /* vlan=: default 0, not named */
} SamiConfigVm;

/* sami.conf, group [cumulative NAME]: one nftables set whose elements move. Both ends name it alike; table and set may differ. */
typedef struct {
    gchar *name;               /* of the group: letters, digits, - and _ */
    gchar *table;              /* table=: "inet filter" */
    gchar *set;                /* set= */
    gchar *kind;               /* kind=: counter, or blacklist */
    gchar *select;             /* select=: vm, whose key has an address of the VM; or all */
    guint64 max_elements;      /* max-elements= */
} SamiConfigCumulative;

typedef struct SamiConfig {
    guint n_refs;
    gchar *path;               /* of sami.conf */
    gchar *name;               /* name=: DNS name; default the host's FQDN */
    gchar *listen;             /* listen=: [::]:4740 */
    gchar *transport;          /* transport=: tcp or sctp */
    gchar *sctp_backend;       /* auto, userland or kernel */
    guint sctp_udp_port;
    gchar *certificate;        /* certificate=: tls.crt beside sami.conf */
    gchar *key;                /* key=: tls.key */
    gchar *tls_ca;             /* tls-ca=: none */
    gchar *ca;                 /* (nullable) what is in it, as sami_daemon_read_peers() found it */
    gchar *key_log;            /* key-log=: NULL, none */
    gchar *signing_key;        /* signing-key=: signing.key, Ed25519 private; it and key= may be URIs */
    gchar *key_passphrase_file; /* key-passphrase-file=: NULL, none */
    gchar *user;               /* user=: of the network process; default sami; "" keeps the user */
    gchar *sandbox;            /* sandbox=: enforce, or off */
    gchar *control_group;      /* control-group=: sami */
    gchar *monitor_group;      /* monitor-group=: "", nobody */
    gchar *run_dir;            /* run-dir=: /run/sami; exporter.sock, collector.sock and SAMI_PAIR_SOCKET live there */
    gchar *journal_dir;        /* journal-dir=: LOCALSTATEDIR/lib/sami/journal */
    gboolean journal;          /* journal=: true */
    guint journal_keep_s;      /* journal-keep=: 7d */
    guint64 journal_max;       /* journal-max=: 1G, octets */
    gchar *journal_sync;       /* journal-sync=: ready, or none */
    GStrv vm_prefixes;         /* vm-prefixes=: whose state the exporter may send; default none */
    GStrv local_prefixes;      /* local-prefixes=: none */
    GStrv ignore_addresses;    /* ignore-addresses= */
    GStrv vlans;               /* vlans=: "VLAN:zone", default none; see common/vlans.h */
    guint64 mark_mask;         /* mark-mask=: 0xffffffff; fits into 32 bits */
    gboolean nat_elsewhere;     /* nat-elsewhere=: false */
    gboolean asymmetric_switch; /* asymmetric-switch=: false */
    guint deadline_ms;         /* deadline=: 2s */
    guint lease_s;             /* lease=: 120s */
    guint reconnect_ms;        /* reconnect=: 60s; how often a lost session is tried again */
    guint session_age_s;       /* session-age=: 24h, the most that PROTOCOL §1 allows */
    guint max_delay_ms;        /* max-delay=: 30s */
    guint grace_ms;            /* grace=: 5s; strict window tracking again after it */
    guint max_migrations;      /* max-migrations=: 32 */
    guint peer_sessions;       /* peer-sessions=: 96 */
    guint64 max_sessions;      /* max-sessions=: 0 = 50 % of headroom */
    guint table_reserve;       /* table-reserve=: 10, percent of nf_conntrack_max */
    gchar *pair;               /* pair=: none; sync: READY waits until our own standby has it too */
    gboolean beside_conntrackd; /* beside-conntrackd=: false */
    gchar *gate;               /* gate=: none; nft: the collector holds a VM's packets back until READY */
    gchar *gate_set;           /* gate-set=: "FAMILY TABLE SET", the one for IPv6 has a 6 appended */
    gchar *gate_from;          /* gate-from=: freeze, or snapshot */
    GPtrArray *peers;          /* of SamiConfigPeer */
    GPtrArray *signers;        /* of SamiConfigSigner */
    GPtrArray *vms;            /* of SamiConfigVm */
    GPtrArray *cumulatives;    /* of SamiConfigCumulative, in the order of the file */
    const struct SamiConfig *base; /* (nullable) the one that all of this is part of: sami_config_without_gone() */
} SamiConfig;

/* Reads everything; relative file names are made absolute (beside the file that names them). SAMI_ERROR_CONFIG. */
SamiConfig *sami_config_load(const gchar *path, GError **error);
/* The same file again, for a reload: where it has no name=, the name is the one of `old` and no resolver is asked. */
SamiConfig *sami_config_reload(const SamiConfig *old, GError **error);
/* For a reload that fails: `old` without the peers and signers whose files are gone, as their removal must not wait until what is wrong with another one
 * is mended. `ret_names` (transfer full): who they are, with commas. NULL: nobody, or not even sami.conf is there to say that the directory is the right
 * one. */
SamiConfig *sami_config_without_gone(const SamiConfig *old, gchar **ret_names);
/* Only sami.conf itself: no peers, signers and VMs. For who needs to find a daemon whatever became of the other files. */
SamiConfig *sami_config_load_main(const gchar *path, GError **error);
void sami_config_free(SamiConfig *config); /* the same as sami_config_unref() */
/* A configuration never changes once it is loaded; whoever keeps pointers into it over a reload keeps a reference. Main loop only. */
const SamiConfig *sami_config_ref(const SamiConfig *config);
void sami_config_unref(const SamiConfig *config); /* NULL is fine */
/* For a reload: keys of [sami] that are used at start only (sockets, names, own certificate, user) keep the value that `old` has. Returns the names
 * of those that `fresh` would have changed, with commas; NULL for none. (transfer full) */
gchar *sami_config_keep_fixed(SamiConfig *fresh, const SamiConfig *old);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiConfig, sami_config_free)
/* (transfer none) (nullable) */
const SamiConfigPeer *sami_config_peer(const SamiConfig *config, const gchar *name);
const SamiConfigSigner *sami_config_signer(const SamiConfig *config, const gchar *name);
const SamiConfigVm *sami_config_vm(const SamiConfig *config, const gchar *name);
/* One line a key: name, type, default, help. For --help-config. (transfer full) */
gchar *sami_config_help(void);
/* The text of a sami.conf for `name`, every key with its help and default as a comment. (transfer full) */
gchar *sami_config_sample(const gchar *name);
