/* The element table: every Information Element that SAMI puts on the wire, one length each. Normative (PROTOCOL §4): the
 * registry in sami-protocol(7), the XML for other collectors, RFC 5610 type records, templates and codec derive from it.
 *
 * IANA elements wherever one exists (RFC 7012 and the registry); reply direction by RFC 5103 (PEN 29305, or bit
 * 0x4000 of our own number). Ours: 1-99 sessions and expectations, 100-159 control, 160-199 cumulative data.
 * Gaps in 1-49 are reserved for state that other kernels or later versions carry (see reference in sami-protocol(7)). */
#pragma once

#include <glib.h>

#include "config.h"

#define SAMI_PEN_REVERSE 29305u /* RFC 5103 §6.1 */

/* RFC 5610 §3.1 data type numbers. */
typedef enum {
    SAMI_TYPE_OCTETS = 0,
    SAMI_TYPE_U8 = 1,
    SAMI_TYPE_U16 = 2,
    SAMI_TYPE_U32 = 3,
    SAMI_TYPE_U64 = 4,
    SAMI_TYPE_STRING = 13,
    SAMI_TYPE_MILLISECONDS = 15,
    SAMI_TYPE_IPV4 = 18,
    SAMI_TYPE_IPV6 = 19,
} SamiElementType;

/* RFC 5610 §3.10 (default, quantity, totalCounter, identifier, flags) and §3.11 units. */
enum { SAMI_SEM_DEFAULT = 0, SAMI_SEM_QUANTITY = 1, SAMI_SEM_TOTAL = 2, SAMI_SEM_ID = 4, SAMI_SEM_FLAGS = 5 };
enum { SAMI_UNIT_NONE = 0, SAMI_UNIT_OCTETS = 2, SAMI_UNIT_PACKETS = 3, SAMI_UNIT_SECONDS = 6, SAMI_UNIT_MS = 7, SAMI_UNIT_MESSAGES = 10, SAMI_UNIT_ENTRIES = 12 };

#define SAMI_PEN_I 0u
#define SAMI_PEN_R SAMI_PEN_REVERSE
#define SAMI_PEN_S SAMI_PEN

/* X(symbol, registry I/R/S, number, octets, type, semantics, units, name, description) */
#define SAMI_ELEMENTS(X) \
    X(FIREWALL_EVENT, I, 233, 1, U8, DEFAULT, NONE, "firewallEvent", "1 created, 2 deleted, 5 update") \
    X(PROTOCOL, I, 4, 1, U8, ID, NONE, "protocolIdentifier", "IP protocol") \
    X(SRC4, I, 8, 4, IPV4, DEFAULT, NONE, "sourceIPv4Address", "original source") \
    X(DST4, I, 12, 4, IPV4, DEFAULT, NONE, "destinationIPv4Address", "original destination") \
    X(SRC6, I, 27, 16, IPV6, DEFAULT, NONE, "sourceIPv6Address", "original source") \
    X(DST6, I, 28, 16, IPV6, DEFAULT, NONE, "destinationIPv6Address", "original destination") \
    X(SPORT, I, 7, 2, U16, ID, NONE, "sourceTransportPort", "original source port") \
    X(DPORT, I, 11, 2, U16, ID, NONE, "destinationTransportPort", "original destination port") \
    X(ICMP_TYPE4, I, 176, 1, U8, ID, NONE, "icmpTypeIPv4", "type of the original direction") \
    X(ICMP_CODE4, I, 177, 1, U8, ID, NONE, "icmpCodeIPv4", "code of the original direction") \
    X(ICMP_TYPE6, I, 178, 1, U8, ID, NONE, "icmpTypeIPv6", "type of the original direction") \
    X(ICMP_CODE6, I, 179, 1, U8, ID, NONE, "icmpCodeIPv6", "code of the original direction") \
    X(POST_SRC4, I, 225, 4, IPV4, DEFAULT, NONE, "postNATSourceIPv4Address", "where replies go to") \
    X(POST_DST4, I, 226, 4, IPV4, DEFAULT, NONE, "postNATDestinationIPv4Address", "where replies come from") \
    X(POST_SRC6, I, 281, 16, IPV6, DEFAULT, NONE, "postNATSourceIPv6Address", "where replies go to") \
    X(POST_DST6, I, 282, 16, IPV6, DEFAULT, NONE, "postNATDestinationIPv6Address", "where replies come from") \
    X(POST_SPORT, I, 227, 2, U16, ID, NONE, "postNAPTSourceTransportPort", "port that replies go to") \
    X(POST_DPORT, I, 228, 2, U16, ID, NONE, "postNAPTDestinationTransportPort", "port that replies come from") \
    X(VLAN, I, 243, 2, U16, ID, NONE, "dot1qVlanId", "network-wide name of the segment") \
    X(FLOW_ID, I, 148, 4, U64, ID, NONE, "flowId", "CTA_ID of the source: a hint, never proof") \
    X(START, I, 152, 8, MILLISECONDS, DEFAULT, NONE, "flowStartMilliseconds", "start of the session at the source") \
    X(WSCALE, I, 238, 1, U16, DEFAULT, NONE, "tcpWindowScale", "window scale, original direction, 0..14") \
    X(WSCALE_R, R, 238, 1, U16, DEFAULT, NONE, "reverseTcpWindowScale", "window scale, reply direction, 0..14") \
    X(PACKETS, I, 86, 8, U64, TOTAL, PACKETS, "packetTotalCount", "packets, original direction (informational)") \
    X(PACKETS_R, R, 86, 8, U64, TOTAL, PACKETS, "reversePacketTotalCount", "packets, reply direction (informational)") \
    X(OCTETS, I, 85, 8, U64, TOTAL, OCTETS, "octetTotalCount", "octets, original direction (informational)") \
    X(OCTETS_R, R, 85, 8, U64, TOTAL, OCTETS, "reverseOctetTotalCount", "octets, reply direction (informational)") \
    X(ICMP_ID, S, 1, 2, U16, ID, NONE, "ctIcmpIdentifier", "ICMP identifier, original direction") \
    X(ICMP_ID_R, S, 0x4001, 2, U16, ID, NONE, "reverseCtIcmpIdentifier", "ICMP identifier, reply direction") \
    X(ZONE, S, 3, 2, U16, ID, NONE, "ctZone", "conntrack zone at the source, default 0") \
    X(MARK, S, 4, 4, U32, ID, NONE, "ctMark", "connection mark, default 0") \
    X(LABELS, S, 5, 16, OCTETS, DEFAULT, NONE, "ctLabels", "128 connection labels, default none set") \
    X(STATUS, S, 6, 4, U32, FLAGS, NONE, "ctStatus", "IPS_* bits of the source kernel") \
    X(TIMEOUT, S, 7, 4, U32, QUANTITY, SECONDS, "ctTimeoutRemaining", "seconds until the session expires") \
    X(TCP_STATE, S, 8, 1, U8, ID, NONE, "ctTcpState", "enum tcp_conntrack, 0..9") \
    X(TCP_FLAGS, S, 9, 1, U8, FLAGS, NONE, "ctTcpFlags", "IP_CT_TCP_FLAG_*, original direction") \
    X(TCP_FLAGS_R, S, 0x4009, 1, U8, FLAGS, NONE, "reverseCtTcpFlags", "IP_CT_TCP_FLAG_*, reply direction") \
    X(SESSION_FLAGS, S, 50, 1, U8, FLAGS, NONE, "sessionFlags", "bit 0: created after the freeze marker; default 0") \
    X(RECORD_KIND, S, 100, 1, U8, ID, NONE, "samiRecordKind", "scope of control records: the record's kind") \
    X(VERSION, S, 101, 1, U8, ID, NONE, "samiProtocolVersion", "1") \
    X(NONCE_E, S, 102, 32, OCTETS, DEFAULT, NONE, "samiExporterNonce", "random, a session") \
    X(NONCE_C, S, 103, 32, OCTETS, DEFAULT, NONE, "samiCollectorNonce", "random, made by the state process") \
    X(PUBLIC_KEY, S, 104, 32, OCTETS, DEFAULT, NONE, "samiPublicKey", "raw Ed25519 key of the sender") \
    X(DESTINATION, S, 105, 253, STRING, DEFAULT, NONE, "samiDestinationName", "lower-case A-label, zero-padded") \
    X(OPENING, S, 106, 1, U8, ID, NONE, "samiOpening", "1 new, 2 resume") \
    X(GENERATION, S, 107, 4, U32, ID, NONE, "samiGeneration", "number of the re-dump, from 0") \
    X(NEXT_COUNTER, S, 108, 8, U64, ID, NONE, "samiNextCounter", "messageCounter that the collector expects") \
    X(LEASE, S, 109, 4, U32, QUANTITY, SECONDS, "samiLease", "life of an orphaned migration") \
    X(MESSAGE_MAX, S, 110, 2, U16, QUANTITY, OCTETS, "samiMessageMax", "longest Message") \
    X(SESSIONS_MAX, S, 111, 8, U64, QUANTITY, ENTRIES, "samiSessionsMax", "most sessions that are accepted") \
    X(N_ADDRESSES, S, 112, 2, U16, QUANTITY, ENTRIES, "samiVmAddressCount", "vm-address records before this begin") \
    X(KINDS, S, 113, 4, U32, FLAGS, NONE, "samiStateKinds", "bit 0 sessions") \
    X(EPOCH_PHASE, S, 114, 1, U8, ID, NONE, "samiEpochPhase", "1 begin, 2 end") \
    X(MARKER, S, 115, 1, U8, ID, NONE, "samiMarker", "1 snapshot, 2 freeze, 3 settle") \
    X(N_RECORDS, S, 116, 8, U64, TOTAL, ENTRIES, "samiRecordsSoFar", "session records sent before this one") \
    X(ABORT_REASON, S, 117, 1, U8, ID, NONE, "samiAbortReason", "1 operator, 2 deadline, 3 local failure") \
    X(RECEIPT_PHASE, S, 118, 1, U8, ID, NONE, "samiReceiptPhase", "1 snapshot, 2 ready, 3 final, 4 aborted") \
    X(MARKER_COUNTER, S, 119, 8, U64, ID, NONE, "samiMarkerCounter", "messageCounter of the marker that is answered") \
    X(FREEZE_MODE, S, 120, 1, U8, ID, NONE, "samiFreezeMode", "1 events, 2 scan") \
    X(RECEIPT_FLAGS, S, 121, 1, U8, FLAGS, NONE, "samiReceiptFlags", "bit 0: refusals truncated; bit 1: made strict by time") \
    X(N_ACCEPTED, S, 122, 8, U64, TOTAL, ENTRIES, "samiAccepted", "entries created") \
    X(N_PRESENT, S, 123, 8, U64, TOTAL, ENTRIES, "samiPresent", "entries of this migration in the kernel") \
    X(N_MERGED, S, 124, 8, U64, TOTAL, ENTRIES, "samiMerged", "flows that were there already and were kept") \
    X(N_EXACT, S, 125, 8, U64, TOTAL, ENTRIES, "samiExact", "read back equal") \
    X(N_DEGRADED, S, 126, 8, U64, TOTAL, ENTRIES, "samiDegraded", "in the kernel, with something missing") \
    X(N_REFUSED, S, 127, 8, U64, TOTAL, ENTRIES, "samiRefused", "not in the kernel") \
    X(REASON, S, 128, 2, U16, ID, NONE, "samiReason", "number in the table of reasons") \
    X(REFUSAL_SCOPE, S, 129, 1, U8, ID, NONE, "samiRefusalScope", "1 Message or session, 2 record, 3 degraded record") \
    X(FLOW_KEY, S, 130, 40, OCTETS, DEFAULT, NONE, "samiFlowKey", "16 source, 16 destination, 2 ports each, zone 2, family 1, protocol 1") \
    X(DETAIL, S, 131, 160, STRING, DEFAULT, NONE, "samiDetail", "text for the operator, zero-padded") \
    X(REASON_COUNT, S, 132, 8, U64, TOTAL, ENTRIES, "samiReasonCount", "records with this reason") \
    X(PREFIX4, I, 44, 4, IPV4, DEFAULT, NONE, "sourceIPv4Prefix", "address or prefix of the VM") \
    X(PREFIX4_LEN, I, 9, 1, U8, DEFAULT, NONE, "sourceIPv4PrefixLength", "its length") \
    X(PREFIX6, I, 170, 16, IPV6, DEFAULT, NONE, "sourceIPv6Prefix", "address or prefix of the VM") \
    X(PREFIX6_LEN, I, 29, 1, U8, DEFAULT, NONE, "sourceIPv6PrefixLength", "its length") \
    X(PEN, I, 346, 4, U32, ID, NONE, "privateEnterpriseNumber", "enterprise of the element, or of the sender's build") \
    X(IE_ID, I, 303, 2, U16, ID, NONE, "informationElementId", "RFC 5610") \
    X(IE_TYPE, I, 339, 1, U8, DEFAULT, NONE, "informationElementDataType", "RFC 5610") \
    X(IE_SEMANTICS, I, 344, 1, U8, DEFAULT, NONE, "informationElementSemantics", "RFC 5610") \
    X(IE_UNITS, I, 345, 2, U16, DEFAULT, NONE, "informationElementUnits", "RFC 5610") \
    X(IE_NAME, I, 341, 40, STRING, DEFAULT, NONE, "informationElementName", "RFC 5610, zero-padded") \
    X(MESSAGE_SCOPE, I, 263, 1, U8, ID, NONE, "messageScope", "RFC 5655 §8.2.11: written 0, ignored") \
    X(SIG_ALGORITHM, S, 140, 1, U8, ID, NONE, "signatureAlgorithm", "1 Ed25519") \
    X(SIG_ROLE, S, 141, 1, U8, ID, NONE, "signatureRole", "1 exporter, 2 collector, 3 file") \
    X(SIG_FLAGS, S, 142, 1, U8, FLAGS, NONE, "signatureFlags", "bit 0: last Message of this direction") \
    X(SIG_KEY_ID, S, 143, 8, OCTETS, DEFAULT, NONE, "signatureKeyId", "first octets of SHA-256 of the SPKI") \
    X(MIGRATION_ID, S, 144, 16, OCTETS, DEFAULT, NONE, "migrationId", "random") \
    X(BINDING, S, 145, 32, OCTETS, DEFAULT, NONE, "sessionBinding", "ties the Message to its session") \
    X(COUNTER, S, 146, 8, U64, ID, NONE, "messageCounter", "strictly +1") \
    X(ELAPSED, S, 147, 8, U64, QUANTITY, MS, "sessionElapsedMilliseconds", "sender's monotonic clock since hello") \
    X(SIGNATURE, S, 148, 64, OCTETS, DEFAULT, NONE, "messageSignature", "Ed25519 (RFC 8032)")

typedef enum {
#define X(symbol, ...) SAMI_E_##symbol,
    SAMI_ELEMENTS(X)
#undef X
    SAMI_N_ELEMENTS
} SamiElementId;

/* Two elements with one number do not compile. */
enum {
#define X(symbol, registry, number, ...) SAMI_UNIQUE_##registry##_##number,
    SAMI_ELEMENTS(X)
#undef X
};

typedef struct {
    guint32 pen; /* 0 = IANA */
    guint16 number;
    guint16 length; /* octets on the wire */
    SamiElementType type;
    guint8 semantics;
    guint8 units;
    const gchar *name;
    const gchar *description;
} SamiElement;

extern const SamiElement sami_elements[SAMI_N_ELEMENTS];

/* The registry of our own elements in IANA's XML form with the cert: extensions that libfixbuf tools read
 * (`ipfixDump -e`). (transfer full) */
gchar *sami_elements_to_xml(void);
