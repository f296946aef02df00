/* Record rules: is a session record consistent in itself, and may this VM and this signer have it? (DESIGN §4, LIFECYCLE §9)
 *
 * Each rule is one row of the table of reasons: number on the wire, id (in JSON, counters and refusals) and text. */
#pragma once

#include "templates/addresses.h"
#include "templates/records.h"
#include "templates/timeouts.h"

/* X(symbol, number, id, source, text), a line each. Numbers are normative and never reused (29 and 44 were never given by anybody). 1-19 sessions,
 * 20-39 records, 40-59 kernel, 60-69 degraded (61 refuses, too), 70-74 expectations, 80-99 a signer's policy.
 *
 * The source is the section of an RFC or of sami-protocol(7) that has the rule, the key of sami.conf(5) that makes it, or the file and function of
 * Linux 6.18 and what it does. The counters of a reason have its id: refused_ID_total of samictl stats, sami_refusals_total{reason="ID"} of
 * samictl metrics. What stands behind `malformed` is a table of its own: rules.h. */
#define SAMI_REASONS(X) \
    X(NONE, 0, "none", "", "no reason") \
    X(NOT_SIGNED, 1, "not-signed", "sami-protocol(7), SIGNATURE", "the Message carries no valid signature Set") \
    X(UNKNOWN_SIGNER, 2, "unknown-signer", "sami-protocol(7), SIGNATURE", "no signer has this key") \
    X(WRONG_ROLE, 3, "wrong-role", "sami-protocol(7), SIGNATURE", "the signature's role is not the one of this direction") \
    X(WRONG_SESSION, 4, "wrong-session", "sami-protocol(7), SIGNATURE", "the Message is bound to another session or migration") \
    X(WRONG_COUNTER, 5, "wrong-counter", "sami-protocol(7), SIGNATURE", "the Message's counter is not the next one: replayed, lost or reordered") \
    X(BAD_SIGNATURE, 6, "bad-signature", "RFC 8032 section 5.1.7", "the signature does not verify") \
    X(TOO_LATE, 7, "too-late", "sami-protocol(7), Transit age", "the Message was held back longer than max-delay") \
    X(MALFORMED, 8, "malformed", "sami-collector(8), MESSAGE RULES", "the Message breaks a rule of RFC 7011 or of the protocol") \
    X(PEN_MISMATCH, 9, "pen-mismatch", "sami-protocol(7), OPENING", "the two builds use different enterprise numbers") \
    X(DESTINATION_NAME, 10, "destination-name", "sami-protocol(7), OPENING", "the migration is meant for another destination") \
    X(TLS_NAME, 11, "tls-name", "sami.conf(5), tls-names", "the signer may not be carried by this TLS name") \
    X(NOT_OWNER, 12, "not-owner", "sami-protocol(7), Resume", "the migration belongs to another signer") \
    X(PROTOCOL, 13, "protocol", "sami-protocol(7), OPENING", "the record does not belong into this state of the session") \
    X(LIMIT, 14, "limit", "sami-protocol(7), LIMITS", "a limit of this collector is reached") \
    X(ALREADY_READY, 15, "already-ready", "sami-protocol(7), Decision", "the migration is READY: it takes an explicit decision") \
    X(JOURNAL, 16, "journal", "sami-protocol(7), FILES", "the collector cannot write its journal") \
    X(VM_NOT_ALLOWED, 17, "vm-not-allowed", "sami.conf(5), allow-prefixes", "the VM's address is outside the signer's allow-prefixes") \
    X(RESUME_UNAVAILABLE, 18, "resume-unavailable", "sami-protocol(7), Resume", "the migration cannot be resumed") \
    X(REPLAYED, 19, "replayed-migration", "sami-protocol(7), OPENING", "a migration with this id has been here already") \
    X(ABORTED, 31, "aborted", "sami-protocol(7), Resume", "the migration was rolled back") \
    X(ADDRESS_NOT_ALLOWED, 20, "address-not-allowed", "sami-protocol(7), SESSION RECORDS", "the VM is not the untranslated end of the flow") \
    X(NAT_ADDRESS, 21, "nat-address", "sami.conf(5), nat-addresses", "a translated address is not in the signer's nat-addresses") \
    X(ADDRESS_SPECIAL, 22, "address-special", "RFC 6890 section 2.2.2", "an address is not unicast, loopback, link-local or unspecified") \
    X(TUPLE_INCONSISTENT, 23, "tuple-inconsistent", "nf_conntrack_netlink.c ctnetlink_new_conntrack(): compares no more of the two tuples than their protocol", "original and reply tuple do not belong together") \
    X(STATE_RANGE, 24, "state-range", "nf_conntrack_proto_sctp.c nlattr_to_sctp(): stores a state as it comes, and indexes with it; TCP and timeouts are refused or clamped", "state, flags, window scale, timeout or another attribute out of range, or of another protocol") \
    X(FIELD_MISSING, 25, "field-missing", "nf_conntrack_netlink.c ctnetlink_create_conntrack(): EINVAL without a timeout; without protocol state the entry begins in state NONE", "a field that this protocol needs is missing") \
    X(PROTOCOL_UNSUPPORTED, 26, "protocol-unsupported", "nf_conntrack_proto.c nf_ct_l4proto_find(): the generic tracker, which has no ports, for what has none (DCCP since 6.17)", "the kernel cannot take flows of this protocol back") \
    X(ZONE_NOT_ALLOWED, 27, "zone-not-allowed", "sami.conf(5), zones", "the zone is not in the signer's zones") \
    X(MAX_SESSIONS, 28, "max-sessions", "sami.conf(5), max-sessions", "more sessions than the signer or the table's headroom allows") \
    X(NOT_EXPECTED, 30, "not-expected", "sami.conf(5), require-expect", "the VM's address is not announced here for this signer (samictl expect)") \
    X(EXPECTATION_NOT_ALLOWED, 34, "expectation-not-allowed", "sami.conf(5), kinds", "the signer's kinds have no expectation: what it brings opens no ports") \
    X(EXPECTATION_WIDE, 35, "expectation-wide", "nf_conntrack_expect.c nf_ct_find_expectation(): whatever fits under the mask is let in, and a permanent one is not used up", "the expectation would let in more than one flow of the kind that helpers expect") \
    X(VLAN_UNKNOWN, 36, "vlan-unknown", "sami.conf(5), vlans", "the VLAN has no zone here (vlans of sami.conf)") \
    X(VLAN_NOT_ALLOWED, 37, "vlan-not-allowed", "sami.conf(5), vlans", "the VLAN is not in the signer's vlans") \
    X(ZONE_OF_VLAN, 38, "zone-of-vlan", "sami-protocol(7), SESSION RECORDS", "the record names a zone by a number that stands for a VLAN here") \
    X(MAP_CLASH, 39, "map-clash", "sami.conf(5), map-addresses", "map-addresses gives the address to another one, or maps a part of the prefix") \
    X(NAT_MISMATCH, 40, "nat-mismatch", "nf_conntrack_netlink.c ctnetlink_change_conntrack(): EOPNOTSUPP for a translation of an entry that is there", "the flow is here already, with another translation") \
    X(NAT_CLASH, 41, "nat-clash", "nf_conntrack_core.c nf_conntrack_hash_check_insert(): EEXIST where another entry has one of the tuples", "another flow has the reply tuple") \
    X(TABLE_FULL, 42, "table-full", "nf_conntrack_core.c __nf_conntrack_alloc(): ENOMEM at nf_conntrack_max", "the connection table is full") \
    X(CHAIN_TOO_LONG, 43, "chain-too-long", "nf_conntrack_core.c nf_conntrack_hash_check_insert(): ENOSPC where a bucket has too many entries", "the hash table has too few buckets") \
    X(KERNEL, 45, "kernel", "nf_conntrack_netlink.c ctnetlink_create_conntrack(): any other error", "the kernel refused the entry") \
    X(REVERSED, 47, "reversed", "nf_conntrack_netlink.c ctnetlink_new_conntrack(): an entry is found by either of its tuples", "the flow is here already, opened from the other side") \
    X(UNVERIFIED, 46, "unverified", "nf_conntrack_netlink.c ctnetlink_get_conntrack(): ENOENT, or an entry that began at another time", "the entry was gone or another when it was read back, or could not be read") \
    X(SET_MISSING, 48, "set-missing", "nf_tables_api.c nft_set_lookup_global(): ENOENT", "no set of this name is configured, or in the kernel, here") \
    X(SET_TYPE, 49, "set-type", "nf_tables_api.c nft_add_set_elem(): refuses what the set's flags and expressions do not have", "the set here has other keys, or cannot take such an element") \
    X(KIND_NOT_ALLOWED, 50, "kind-not-allowed", "sami.conf(5), kinds", "the signer's kinds do not have this one") \
    X(KEY_NOT_VM, 51, "key-not-vm", "sami.conf(5), select", "the key has no address of the VM, and the set here takes only such (select=vm)") \
    X(SET_FULL, 52, "set-full", "nf_tables_api.c nft_add_set_elem(): ENFILE at the size of the set", "the set here, or its max-elements, is full") \
    X(LABELS_LOST, 60, "labels-lost", "nf_conntrack_netlink.c ctnetlink_new_conntrack(): goes on where ctnetlink_attach_labels() finds no room, which only a rule makes", "no rule here uses labels, so the kernel dropped them") \
    X(NO_NAT_HOOK, 61, "nat-not-applied", "nf_nat_core.c nf_nat_register_fn(): what translates is there with the first nat base chain only", "the kernel does not translate: it has no base chain of type nat for the family") \
    X(TIMEOUT_CLAMPED, 62, "timeout-differs", "nf_conntrack_core.c __nf_ct_change_timeout(): EPERM for an entry of fixed timeout; clamps others", "the timeout could not be restored") \
    X(DIFFERS, 63, "differs", "nf_conntrack_netlink.c ctnetlink_create_conntrack(): its success does not say that every attribute was taken", "read back with another state, mark or flag") \
    X(NO_HELPER, 64, "no-helper", "nf_conntrack_netlink.c ctnetlink_create_conntrack(): EOPNOTSUPP for a helper that no module has", "the helper is not loaded here, or not for this signer: the flow goes on without it") \
    X(GRE_TIMEOUT, 68, "gre-timeout", "nf_conntrack_proto_gre.c nf_conntrack_gre_packet(): the timeouts are set by an entry's first packet, and 0 in one that netlink made", "the kernel would end a restored GRE flow at its next packet: its life is fixed at a day, whatever packets come") \
    X(GRE_KEYMAP, 65, "gre-keymap", "nf_conntrack_proto_gre.c gre_pkt_to_tuple(): looks the key up in a map that only the helper fills", "packets of a PPTP call find their flow by a map of the helper, which the kernel does not restore") \
    X(OFFLOADED, 66, "offloaded", "nf_conntrack_netlink.c ctnetlink_dump_info(): neither timeout nor protocol state of an entry in a flowtable", "the flow was in a flowtable at the source: state and timeout are given by rule, not known") \
    X(NO_MASTER, 67, "no-master", "nf_conntrack_netlink.c ctnetlink_create_conntrack(): ENOENT without the master", "the flow that this one is a child of is not here: it goes on by itself") \
    X(EXPECTATION_MASTER, 70, "expectation-master", "nf_conntrack_netlink.c ctnetlink_create_expect(): ENOENT without the master", "the flow that expects it is not one that this migration brought") \
    X(EXPECTATION_HELPER, 71, "expectation-helper", "nf_conntrack_netlink.c ctnetlink_create_expect(): EOPNOTSUPP for a master without helper", "the flow that expects it has no helper here, or another one") \
    X(EXPECTATION_LATE, 72, "expectation-expired", "sami-protocol(7), Masters, children and expectations", "its time was over before it was here") \
    X(EXPECTATION_FUNCTION, 73, "expectation-function", "nf_conntrack_netlink.c ctnetlink_create_expect(): EINVAL for a class beyond the helper's, or a function that no module has", "this kernel has no such class or function of an expectation") \
    X(EXPECTATION_CLASH, 74, "expectation-clash", "nf_conntrack_expect.c __nf_ct_expect_check(): EBUSY where another expectation overlaps", "another flow expects the same here") \
    X(COUNT_LOST, 75, "count-lost", "sami-protocol(7), CUMULATIVE RECORDS", "the elements of the set here have no such counter or quota") \
    X(SIGNER_NOT_VALID, 80, "signer-not-valid", "sami.conf(5), valid-until", "the signer's valid-from has not come yet, or its valid-until has passed") \
    X(MAX_MIGRATIONS, 81, "max-migrations", "sami.conf(5), max-migrations", "more migrations at once than the signer may have") \
    X(PROTOCOL_NOT_ALLOWED, 82, "protocol-not-allowed", "sami.conf(5), protocols", "the protocol is not in the signer's protocols") \
    X(PORT_NOT_ALLOWED, 83, "port-not-allowed", "sami.conf(5), ports", "a port is not in the signer's ports, or remote-ports") \
    X(ADDRESS_OWN, 84, "address-own", "sami.conf(5), allow-special", "an address of this firewall itself, which nat-addresses does not list as a translated one") \
    X(HELPER_NOT_ALLOWED, 85, "helper-not-allowed", "sami.conf(5), helpers", "the expectation's helper is not in the signer's helpers") \
    X(MAX_EXPECTATIONS, 86, "max-expectations", "sami.conf(5), max-expectations", "more expectations than the signer may have") \
    X(MAX_ELEMENTS, 87, "max-elements", "sami.conf(5), max-elements", "more elements of sets than the signer may make") \
    X(MARK_CUT, 88, "mark-cut", "sami.conf(5), mark-mask", "the mark has bits that are not in the signer's mark-mask: they are 0 now") \
    X(TIMEOUT_CUT, 89, "timeout-clamped", "sami.conf(5), long-timeouts", "the timeout was longer than this kernel gives a flow in that state, and was cut to that") \
    X(LABELS_CUT, 90, "labels-cut", "sami.conf(5), labels", "the session has labels that are not in the signer's labels: they are off now")

typedef enum {
#define X(symbol, number, id, source, text) SAMI_REASON_##symbol = number,
    SAMI_REASONS(X)
#undef X
    SAMI_N_REASONS = 128
} SamiReason;

/* "unknown" for a number without a row. */
const gchar *sami_reason_id(guint reason);
const gchar *sami_reason_source(guint reason);
const gchar *sami_reason_text(guint reason);
/* TRUE if the number has a row. */
gboolean sami_reason_is_known(guint reason);

/* What addresses may be besides ordinary ones; the words of a signer's allow-special. Broadcast, reserved, unspecified and mapped ones are nobody's. */
enum {
    SAMI_SPECIAL_OWN = 1 << 0,
    SAMI_SPECIAL_LOOPBACK = 1 << 1,
    SAMI_SPECIAL_LINK_LOCAL = 1 << 2,
    SAMI_SPECIAL_MULTICAST = 1 << 3,
};

/* A bitmap: is it NULL, which is all, or has it the number? */
#define SAMI_POLICY_BITS(n) (((n) + 31) / 32)
#define SAMI_POLICY_SET(bits, i) ((bits)[(i) / 32] |= 1u << ((i) % 32))

/* Of which families the kernel carries translations out. Without that it takes the entry, and packets to the untranslated place are established. */
typedef struct {
    gboolean is_known; /* else: of all */
    gboolean is_ipv4, is_ipv6;
} SamiTranslations;

/* What the collector's configuration allows one signer. Arrays are (transfer none). Of the rules from `protocols` on, zero is none. */
typedef struct {
    const SamiPrefix *vm;          /* of the migration's vm-address records */
    guint n_vm;
    const SamiPrefix *nat_addresses;
    guint n_nat_addresses;
    const guint16 *zones;          /* of records that name no VLAN */
    guint n_zones;
    const guint16 *vlans;          /* of those that do */
    guint n_vlans;
    gboolean may_help;             /* flows may have a helper, which opens ports for others */
    gboolean any_segment;          /* every zone and VLAN: nobody's policy, but the operator's own word */
    gboolean any_address;          /* every address, loopback and multicast too: what a kernel had of itself */
    const guint32 *protocols;      /* (nullable) bitmap of 256 */
    const guint32 *ports;          /* (nullable) bitmap of 65536: at the VM's own end, whoever opened the flow */
    const guint32 *remote_ports;   /* (nullable) the same of the other end */
    const gchar *const *helpers;   /* of flows and expectations, where may_help; NULL: all but those of H.323, which open flows between others */
    guint32 mark_cut;              /* bits that become 0, */
    guint8 labels_cut[16];         /* and those of labels */
    guint8 special;                /* SAMI_SPECIAL_* */
    const SamiAddressSet *own;     /* (nullable) of this firewall */
    const SamiTimeouts *timeouts;  /* (nullable) of this kernel, which a record's timeout is cut to */
    const SamiTranslations *translations; /* (nullable) of this kernel, now */
} SamiPolicy;

/* NONE if the record may be injected. Deleted records are checked for their key only. */
SamiReason sami_validate_session(const SamiSession *session, const SamiPolicy *policy);
/* The same for an expectation, which opens a port for a flow to come: whose addresses, no wider than helpers make them, no longer than an
 * hour. Whether its master is a flow of this migration, and a translated end is that flow's, only the collector's ledger and kernel tell. */
SamiReason sami_validate_expectation(const SamiExpectation *expectation, const SamiPolicy *policy);
/* What a policy says of an expectation of which only the kernel's master tells where it goes. */
enum {
    SAMI_EXPECT_SRC_VM = 1 << 0,      /* its source is fixed, and the VM's */
    SAMI_EXPECT_DST_LISTED = 1 << 1,  /* its destination is in nat-addresses: another one may be behind it */
    SAMI_EXPECT_PORT_VM = 1 << 2,     /* the port that it goes to is one of the VM's ports, */
    SAMI_EXPECT_PORT_REMOTE = 1 << 3, /* or one of the other end's */
};
guint8 sami_expectation_facts(const SamiExpectation *expectation, const SamiPolicy *policy);
/* And of where it goes to: one end has to be the VM. */
SamiReason sami_expectation_judge(guint8 facts, gboolean is_target_vm, gboolean is_translated);
/* Takes out what a record may be without, and the policy does not let in: helpers, bits of the mark, labels, time beyond that of this kernel. A fixed timeout
 * that is cut is not fixed any more: it would end the flow under its packets. Returns the groups that went, or were cut (SamiHas). */
guint32 sami_policy_strip(const SamiPolicy *policy, SamiSession *session);
/* An address that a session may have: unicast and routable beyond a link. */
gboolean sami_address_is_ordinary(guint8 family, const SamiAddress *address);
/* NONE if this policy takes an address as an end of flows: ADDRESS_SPECIAL, or ADDRESS_OWN. */
SamiReason sami_policy_takes_address(const SamiPolicy *policy, guint8 family, const SamiAddress *address);
