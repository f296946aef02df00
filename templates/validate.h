/* Record rules: is a session record consistent in itself, and may this VM and this signer have it? (DESIGN §4, LIFECYCLE §9)
 *
 * Each rule is one row of the table of reasons: number on the wire, id (in JSON, counters and refusals) and text. */
#pragma once

#include "templates/records.h"

/* X(symbol, number, id, text). Numbers are normative and never reused. 1-19 sessions, 20-39 records, 40-59 kernel, 60-79 degraded. */
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
    X(ADDRESS_NOT_ALLOWED, 20, "address-not-allowed", "the VM is not the untranslated end of the flow") \
    X(NAT_ADDRESS, 21, "nat-address", "a translated address is not in the signer's nat-addresses") \
    X(ADDRESS_SPECIAL, 22, "address-special", "an address is not unicast, loopback, link-local or unspecified") \
    X(TUPLE_INCONSISTENT, 23, "tuple-inconsistent", "original and reply tuple do not belong together") \
    X(STATE_RANGE, 24, "state-range", "state, flags, window scale or timeout out of range") \
    X(FIELD_MISSING, 25, "field-missing", "a field that this protocol needs is missing") \
    X(PROTOCOL_UNSUPPORTED, 26, "protocol-unsupported", "this version does not move this protocol") \
    X(ZONE_NOT_ALLOWED, 27, "zone-not-allowed", "the zone is not in the signer's zones") \
    X(MAX_SESSIONS, 28, "max-sessions", "more sessions than the signer or the table's headroom allows") \
    X(NOT_OURS, 29, "not-ours", "the record changes an entry that this migration did not create") \
    X(NAT_MISMATCH, 40, "nat-mismatch", "the flow is here already, with another translation") \
    X(NAT_CLASH, 41, "nat-clash", "another flow has the reply tuple") \
    X(TABLE_FULL, 42, "table-full", "the connection table is full") \
    X(CHAIN_TOO_LONG, 43, "chain-too-long", "the hash table has too few buckets") \
    X(OWNED, 44, "owned", "another migration brought this flow") \
    X(KERNEL, 45, "kernel", "the kernel refused the entry") \
    X(REVERSED, 47, "reversed", "the flow is here already, opened from the other side") \
    X(UNVERIFIED, 46, "unverified", "the entry was gone or another when it was read back") \
    X(LABELS_LOST, 60, "labels-lost", "no rule here uses labels, so the kernel dropped them") \
    X(NO_NAT_HOOK, 61, "nat-not-applied", "the kernel did not set up the translation") \
    X(TIMEOUT_CLAMPED, 62, "timeout-differs", "the timeout could not be restored") \
    X(DIFFERS, 63, "differs", "read back with another state, mark or flag")

typedef enum {
#define X(symbol, number, id, text) SAMI_REASON_##symbol = number,
    SAMI_REASONS(X)
#undef X
    SAMI_N_REASONS = 64
} SamiReason;

/* "unknown" for a number without a row. */
const gchar *sami_reason_id(guint reason);
const gchar *sami_reason_text(guint reason);
/* TRUE if the number has a row. */
gboolean sami_reason_is_known(guint reason);

/* What the collector's configuration allows one signer. Prefix arrays are (transfer none). */
typedef struct {
    const SamiPrefix *vm;          /* of the migration's vm-address records */
    guint n_vm;
    const SamiPrefix *nat_addresses;
    guint n_nat_addresses;
    const guint16 *zones;
    guint n_zones;
} SamiPolicy;

/* NONE if the record may be injected. Deleted records are checked for their key only. */
SamiReason sami_validate_session(const SamiSession *session, const SamiPolicy *policy);
/* An address that a session may have: unicast and routable beyond a link. */
gboolean sami_address_is_ordinary(guint8 family, const SamiAddress *address);
