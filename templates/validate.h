/* Record rules: is a session record consistent in itself, and may this VM and this signer have it? (DESIGN §4, LIFECYCLE §9)
 *
 * Each rule is one row of the table of reasons: number on the wire, id (in JSON, counters and refusals) and text. */
#pragma once

#include "templates/addresses.h"
#include "templates/records.h"
#include "templates/timeouts.h"

/* X(symbol, number, id, text). Numbers are normative and never reused. 1-19 sessions, 20-39 records, 40-59 kernel, 60-69 degraded, 70-74 expectations, 80-89 a signer's policy. */
#define SAMI_REASONS(X) \
    X(NONE, 0, "none", "no reason") \
    X(NOT_SIGNED, 1, "not-signed", "the Message carries no valid signature Set") \
    X(UNKNOWN_SIGNER, 2, "unknown-signer", "no signer has this key") \
    X(WRONG_ROLE, 3, "wrong-role", "the signature's role is not the one of this direction") \
    X(WRONG_SESSION, 4, "wrong-session", "the Message is bound to another session or migration") \
    X(WRONG_COUNTER, 5, "wrong-counter", "the Message's counter is not the next one: replayed, lost or reordered") \
    X(BAD_SIGNATURE, 6, "bad-signature", "the signature does not verify") \
    X(TOO_LATE, 7, "too-late", "the Message was held back longer than max-delay") \
    X(MALFORMED, 8, "malformed", "the Message breaks a rule of RFC 7011 or of the protocol") \
    X(PEN_MISMATCH, 9, "pen-mismatch", "the two builds use different enterprise numbers") \
    X(DESTINATION_NAME, 10, "destination-name", "the migration is meant for another destination") \
    X(TLS_NAME, 11, "tls-name", "the signer may not be carried by this TLS name") \
    X(NOT_OWNER, 12, "not-owner", "the migration belongs to another signer") \
    X(PROTOCOL, 13, "protocol", "the record does not belong into this state of the session") \
    X(LIMIT, 14, "limit", "a limit of this collector is reached") \
    X(ALREADY_READY, 15, "already-ready", "the migration is READY: it takes an explicit decision") \
    X(JOURNAL, 16, "journal", "the collector cannot write its journal") \
    X(VM_NOT_ALLOWED, 17, "vm-not-allowed", "the VM's address is outside the signer's allow-prefixes") \
    X(RESUME_UNAVAILABLE, 18, "resume-unavailable", "the migration cannot be resumed") \
    X(REPLAYED, 19, "replayed-migration", "a migration with this id has been here already") \
    X(ABORTED, 31, "aborted", "the migration was rolled back") \
    X(ADDRESS_NOT_ALLOWED, 20, "address-not-allowed", "the VM is not the untranslated end of the flow") \
    X(NAT_ADDRESS, 21, "nat-address", "a translated address is not in the signer's nat-addresses") \
    X(ADDRESS_SPECIAL, 22, "address-special", "an address is not unicast, loopback, link-local or unspecified") \
    X(TUPLE_INCONSISTENT, 23, "tuple-inconsistent", "original and reply tuple do not belong together") \
    X(STATE_RANGE, 24, "state-range", "state, flags, window scale, timeout or another attribute out of range, or of another protocol") \
    X(FIELD_MISSING, 25, "field-missing", "a field that this protocol needs is missing") \
    X(PROTOCOL_UNSUPPORTED, 26, "protocol-unsupported", "the kernel cannot take flows of this protocol back") \
    X(ZONE_NOT_ALLOWED, 27, "zone-not-allowed", "the zone is not in the signer's zones") \
    X(MAX_SESSIONS, 28, "max-sessions", "more sessions than the signer or the table's headroom allows") \
    X(NOT_OURS, 29, "not-ours", "the record changes an entry that this migration did not create") \
    X(NOT_EXPECTED, 30, "not-expected", "the VM's address is not announced here for this signer (samictl expect)") \
    X(EXPECTATION_NOT_ALLOWED, 34, "expectation-not-allowed", "the signer's kinds have no expectation: what it brings opens no ports") \
    X(EXPECTATION_WIDE, 35, "expectation-wide", "the expectation would let in more than one flow of the kind that helpers expect") \
    X(VLAN_UNKNOWN, 36, "vlan-unknown", "the VLAN has no zone here (vlans of sami.conf)") \
    X(VLAN_NOT_ALLOWED, 37, "vlan-not-allowed", "the VLAN is not in the signer's vlans") \
    X(ZONE_OF_VLAN, 38, "zone-of-vlan", "the record names a zone by a number that stands for a VLAN here") \
    X(MAP_CLASH, 39, "map-clash", "map-addresses gives the address to another one, or maps a part of the prefix") \
    X(NAT_MISMATCH, 40, "nat-mismatch", "the flow is here already, with another translation") \
    X(NAT_CLASH, 41, "nat-clash", "another flow has the reply tuple") \
    X(TABLE_FULL, 42, "table-full", "the connection table is full") \
    X(CHAIN_TOO_LONG, 43, "chain-too-long", "the hash table has too few buckets") \
    X(OWNED, 44, "owned", "another migration brought this flow") \
    X(KERNEL, 45, "kernel", "the kernel refused the entry") \
    X(REVERSED, 47, "reversed", "the flow is here already, opened from the other side") \
    X(UNVERIFIED, 46, "unverified", "the entry was gone or another when it was read back") \
    X(SET_MISSING, 48, "set-missing", "no set of this name is configured, or in the kernel, here") \
    X(SET_TYPE, 49, "set-type", "the set here has other keys, or cannot take such an element") \
    X(KIND_NOT_ALLOWED, 50, "kind-not-allowed", "the signer's kinds do not have this one") \
    X(KEY_NOT_VM, 51, "key-not-vm", "the key has no address of the VM, and the set here takes only such (select=vm)") \
    X(SET_FULL, 52, "set-full", "the set here, or its max-elements, is full") \
    X(LABELS_LOST, 60, "labels-lost", "no rule here uses labels, so the kernel dropped them") \
    X(NO_NAT_HOOK, 61, "nat-not-applied", "the kernel did not set up the translation") \
    X(TIMEOUT_CLAMPED, 62, "timeout-differs", "the timeout could not be restored") \
    X(DIFFERS, 63, "differs", "read back with another state, mark or flag") \
    X(NO_HELPER, 64, "no-helper", "the helper is not loaded here, or not for this signer: the flow goes on without it") \
    X(GRE_TIMEOUT, 68, "gre-timeout", "the kernel would end a restored GRE flow at its next packet: its life is fixed at a day, whatever packets come") \
    X(GRE_KEYMAP, 65, "gre-keymap", "packets of a PPTP call find their flow by a map of the helper, which the kernel does not restore") \
    X(OFFLOADED, 66, "offloaded", "the flow was in a flowtable at the source: state and timeout are given by rule, not known") \
    X(NO_MASTER, 67, "no-master", "the flow that this one is a child of is not here: it goes on by itself") \
    X(EXPECTATION_MASTER, 70, "expectation-master", "the flow that expects it is not one that this migration brought") \
    X(EXPECTATION_HELPER, 71, "expectation-helper", "the flow that expects it has no helper here") \
    X(EXPECTATION_LATE, 72, "expectation-expired", "its time was over before it was here") \
    X(EXPECTATION_FUNCTION, 73, "expectation-function", "this kernel has no such class or function of an expectation") \
    X(EXPECTATION_CLASH, 74, "expectation-clash", "another flow expects the same here") \
    X(COUNT_LOST, 75, "count-lost", "the elements of the set here have no such counter or quota") \
    X(SIGNER_NOT_VALID, 80, "signer-not-valid", "the signer's valid-from has not come yet, or its valid-until has passed") \
    X(MAX_MIGRATIONS, 81, "max-migrations", "more migrations at once than the signer may have") \
    X(PROTOCOL_NOT_ALLOWED, 82, "protocol-not-allowed", "the protocol is not in the signer's protocols") \
    X(PORT_NOT_ALLOWED, 83, "port-not-allowed", "a port is not in the signer's ports, or remote-ports") \
    X(ADDRESS_OWN, 84, "address-own", "an address of this firewall itself, which nat-addresses does not list as a translated one") \
    X(HELPER_NOT_ALLOWED, 85, "helper-not-allowed", "the expectation's helper is not in the signer's helpers") \
    X(MAX_EXPECTATIONS, 86, "max-expectations", "more expectations than the signer may have") \
    X(MAX_ELEMENTS, 87, "max-elements", "more elements of sets than the signer may make") \
    X(MARK_CUT, 88, "mark-cut", "the mark has bits that are not in the signer's mark-mask: they are 0 now") \
    X(TIMEOUT_CUT, 89, "timeout-clamped", "the timeout was longer than this kernel gives a flow in that state, and was cut to that")

typedef enum {
#define X(symbol, number, id, text) SAMI_REASON_##symbol = number,
    SAMI_REASONS(X)
#undef X
    SAMI_N_REASONS = 128
} SamiReason;

/* "unknown" for a number without a row. */
const gchar *sami_reason_id(guint reason);
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
    const gchar *const *helpers;   /* (nullable) of flows and expectations, where may_help */
    guint32 mark_cut;              /* bits that become 0 */
    guint8 special;                /* SAMI_SPECIAL_* */
    const SamiAddressSet *own;     /* (nullable) of this firewall */
    const SamiTimeouts *timeouts;  /* (nullable) of this kernel, which a record's timeout is cut to */
} SamiPolicy;

/* NONE if the record may be injected. Deleted records are checked for their key only. */
SamiReason sami_validate_session(const SamiSession *session, const SamiPolicy *policy);
/* The same for an expectation, which opens a port for a flow to come: whose addresses, no wider than helpers make them, no longer than an
 * hour. Whether its master is a flow of this migration, and a translated end is that flow's, only the collector's ledger and kernel tell. */
SamiReason sami_validate_expectation(const SamiExpectation *expectation, const SamiPolicy *policy);
/* Which of its addresses are the VM's: SAMI_EXPECT_END_* bits. */
enum { SAMI_EXPECT_END_SRC = 1 << 0, SAMI_EXPECT_END_DST = 1 << 1, SAMI_EXPECT_END_NAT = 1 << 2 };
guint8 sami_expectation_vm_ends(const SamiExpectation *expectation, const SamiPolicy *policy);
/* Takes out what a record may be without, and the policy does not let in: helpers, bits of the mark, time beyond that of this kernel. A fixed timeout
 * that is cut is not fixed any more: it would end the flow under its packets. Returns the groups that went, or were cut (SamiHas). */
guint32 sami_policy_strip(const SamiPolicy *policy, SamiSession *session);
/* An address that a session may have: unicast and routable beyond a link. */
gboolean sami_address_is_ordinary(guint8 family, const SamiAddress *address);
/* NONE if this policy takes an address as an end of flows: ADDRESS_SPECIAL, or ADDRESS_OWN. */
SamiReason sami_policy_takes_address(const SamiPolicy *policy, guint8 family, const SamiAddress *address);
