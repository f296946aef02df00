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
    SAMI_TYPE_S32 = 7,
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
    X(GRE_KEY, I, 296, 4, U32, ID, NONE, "greKey", "GRE key (PPTP call id) of the original direction") \
    X(GRE_KEY_R, R, 296, 4, U32, ID, NONE, "reverseGreKey", "GRE key of the reply direction, before translation") \
    X(POST_GRE_KEY, S, 2, 2, U16, ID, NONE, "ctPostNatGreKey", "reply tuple: key of the original direction after translation") \
    X(POST_GRE_KEY_R, S, 0x4002, 2, U16, ID, NONE, "reverseCtPostNatGreKey", "reply tuple: key of the reply direction") \
    X(ZONE, S, 3, 2, U16, ID, NONE, "ctZone", "conntrack zone at the source, original direction; default 0") \
    X(ZONE_R, S, 0x4003, 2, U16, ID, NONE, "reverseCtZone", "that of the reply direction, where it is another; one of the two is 0") \
    X(MARK, S, 4, 4, U32, ID, NONE, "ctMark", "connection mark, default 0") \
    X(LABELS, S, 5, 16, OCTETS, DEFAULT, NONE, "ctLabels", "128 connection labels, default none set") \
    X(STATUS, S, 6, 4, U32, FLAGS, NONE, "ctStatus", "IPS_* bits of the source kernel") \
    X(TIMEOUT, S, 7, 4, U32, QUANTITY, SECONDS, "ctTimeoutRemaining", "seconds until the session expires") \
    X(TCP_STATE, S, 8, 1, U8, ID, NONE, "ctTcpState", "enum tcp_conntrack, 0..9") \
    X(TCP_FLAGS, S, 9, 1, U8, FLAGS, NONE, "ctTcpFlags", "IP_CT_TCP_FLAG_*, original direction") \
    X(TCP_FLAGS_R, S, 0x4009, 1, U8, FLAGS, NONE, "reverseCtTcpFlags", "IP_CT_TCP_FLAG_*, reply direction") \
    X(SCTP_STATE, S, 10, 1, U8, ID, NONE, "ctSctpState", "enum sctp_conntrack, 0..8") \
    X(SCTP_VTAG, S, 11, 4, U32, ID, NONE, "ctSctpVerificationTag", "verification tag, original direction") \
    X(SCTP_VTAG_R, S, 0x400b, 4, U32, ID, NONE, "reverseCtSctpVerificationTag", "verification tag, reply direction") \
    X(DCCP_STATE, S, 12, 1, U8, ID, NONE, "ctDccpState", "enum ct_dccp_states, 0..9") \
    X(DCCP_ROLE, S, 13, 1, U8, ID, NONE, "ctDccpRole", "of the original direction: 0 client, 1 server") \
    X(DCCP_HANDSHAKE, S, 14, 8, U64, DEFAULT, NONE, "ctDccpHandshakeSequenceNumber", "48 bits") \
    X(HELPER, S, 15, 16, STRING, DEFAULT, NONE, "ctHelperName", "zero-padded, at most 15 octets") \
    X(HELPER_INFO, S, 16, 32, OCTETS, DEFAULT, NONE, "ctHelperInfo", "private data of a helper in user space, zero-padded") \
    X(SEQADJ_POS, S, 17, 4, U32, DEFAULT, NONE, "ctSeqAdjCorrectionPosition", "sequence adjustment, original direction") \
    X(SEQADJ_POS_R, S, 0x4011, 4, U32, DEFAULT, NONE, "reverseCtSeqAdjCorrectionPosition", "sequence adjustment, reply direction") \
    X(SEQADJ_BEFORE, S, 18, 4, S32, QUANTITY, OCTETS, "ctSeqAdjOffsetBefore", "offset before that position, original direction") \
    X(SEQADJ_BEFORE_R, S, 0x4012, 4, S32, QUANTITY, OCTETS, "reverseCtSeqAdjOffsetBefore", "offset before that position, reply direction") \
    X(SEQADJ_AFTER, S, 19, 4, S32, QUANTITY, OCTETS, "ctSeqAdjOffsetAfter", "offset after it, original direction") \
    X(SEQADJ_AFTER_R, S, 0x4013, 4, S32, QUANTITY, OCTETS, "reverseCtSeqAdjOffsetAfter", "offset after it, reply direction") \
    X(SYNPROXY_ISN, S, 20, 4, U32, DEFAULT, NONE, "ctSynproxyIsn", "initial sequence number that SYNPROXY chose") \
    X(SYNPROXY_ITS, S, 21, 4, U32, DEFAULT, NONE, "ctSynproxyIts", "initial timestamp of the client") \
    X(SYNPROXY_TSOFF, S, 22, 4, U32, DEFAULT, NONE, "ctSynproxyTsOffset", "timestamp offset") \
    X(SECCTX, S, 23, 64, STRING, DEFAULT, NONE, "ctSecurityContext", "of the source, cut at 63 octets (informational)") \
    X(MASTER_SRC4, S, 25, 4, IPV4, DEFAULT, NONE, "ctMasterSourceIPv4Address", "original source of the master, which is in the same zone") \
    X(MASTER_DST4, S, 26, 4, IPV4, DEFAULT, NONE, "ctMasterDestinationIPv4Address", "original destination of the master") \
    X(MASTER_SRC6, S, 27, 16, IPV6, DEFAULT, NONE, "ctMasterSourceIPv6Address", "original source of the master") \
    X(MASTER_DST6, S, 28, 16, IPV6, DEFAULT, NONE, "ctMasterDestinationIPv6Address", "original destination of the master") \
    X(MASTER_SPORT, S, 29, 2, U16, ID, NONE, "ctMasterSourceTransportPort", "original source port of the master") \
    X(MASTER_DPORT, S, 30, 2, U16, ID, NONE, "ctMasterDestinationTransportPort", "original destination port of the master") \
    X(MASTER_PROTOCOL, S, 31, 1, U8, ID, NONE, "ctMasterProtocolIdentifier", "IP protocol of the master") \
    X(EXPECT_MASK_SRC4, S, 40, 4, IPV4, DEFAULT, NONE, "ctExpectMaskSourceIPv4Address", "which bits of the expected source count: all or none") \
    X(EXPECT_MASK_SRC6, S, 41, 16, IPV6, DEFAULT, NONE, "ctExpectMaskSourceIPv6Address", "which bits of the expected source count: all or none") \
    X(EXPECT_MASK_SPORT, S, 42, 2, U16, ID, NONE, "ctExpectMaskSourceTransportPort", "65535: the expected source port counts; 0: any") \
    X(EXPECT_TIMEOUT, S, 43, 4, U32, QUANTITY, SECONDS, "ctExpectTimeoutRemaining", "seconds until nothing is expected any more") \
    X(EXPECT_FLAGS, S, 44, 4, U32, FLAGS, NONE, "ctExpectFlags", "NF_CT_EXPECT_* bits of the source kernel") \
    X(EXPECT_CLASS, S, 45, 4, U32, ID, NONE, "ctExpectClass", "of the helper's classes of expectations") \
    X(EXPECT_FUNCTION, S, 46, 32, STRING, DEFAULT, NONE, "ctExpectFunctionName", "what the kernel calls when the flow comes, zero-padded") \
    X(EXPECT_NAT_DIR, S, 47, 1, U8, ID, NONE, "ctExpectNatDirection", "direction of the master that the flow goes in: 0 original, 1 reply") \
    X(SESSION_FLAGS, S, 50, 1, U8, FLAGS, NONE, "sessionFlags", "bit 0: created after the freeze marker; default 0") \
    X(RECORD_KIND, S, 100, 1, U8, ID, NONE, "samiRecordKind", "scope of control records: the record's kind") \
    X(VERSION, S, 101, 1, U8, ID, NONE, "samiProtocolVersion", "1") \
    X(NONCE_E, S, 102, 32, OCTETS, DEFAULT, NONE, "samiExporterNonce", "random, a session") \
    X(NONCE_C, S, 103, 32, OCTETS, DEFAULT, NONE, "samiCollectorNonce", "random, made by the state process") \
    X(PUBLIC_KEY, S, 104, 32, OCTETS, DEFAULT, NONE, "samiPublicKey", "raw Ed25519 key of the sender") \
    X(DESTINATION, S, 105, 253, STRING, DEFAULT, NONE, "samiDestinationName", "lower-case A-label, zero-padded") \
    X(OPENING, S, 106, 1, U8, ID, NONE, "samiOpening", "1 new, 2 resume, 3 check") \
    X(GENERATION, S, 107, 4, U32, ID, NONE, "samiGeneration", "number of the re-dump, from 0") \
    X(NEXT_COUNTER, S, 108, 8, U64, ID, NONE, "samiNextCounter", "messageCounter that the collector expects") \
    X(LEASE, S, 109, 4, U32, QUANTITY, SECONDS, "samiLease", "life of an orphaned migration") \
    X(MESSAGE_MAX, S, 110, 2, U16, QUANTITY, OCTETS, "samiMessageMax", "longest Message") \
    X(SESSIONS_MAX, S, 111, 8, U64, QUANTITY, ENTRIES, "samiSessionsMax", "most sessions that are accepted") \
    X(N_ADDRESSES, S, 112, 2, U16, QUANTITY, ENTRIES, "samiVmAddressCount", "vm-address records before this begin") \
    X(KINDS, S, 113, 4, U32, FLAGS, NONE, "samiStateKinds", "bit 0 sessions, bit 1 expectations, bit 2 cumulative data; bit 16: a replication, which has no end") \
    X(EPOCH_PHASE, S, 114, 1, U8, ID, NONE, "samiEpochPhase", "1 begin, 2 end") \
    X(MARKER, S, 115, 1, U8, ID, NONE, "samiMarker", "1 snapshot, 2 freeze, 3 settle, 4 thaw, 5 alive") \
    X(N_RECORDS, S, 116, 8, U64, TOTAL, ENTRIES, "samiRecordsSoFar", "session records sent before this one") \
    X(ABORT_REASON, S, 117, 1, U8, ID, NONE, "samiAbortReason", "1 operator, 2 deadline, 3 local failure") \
    X(RECEIPT_PHASE, S, 118, 1, U8, ID, NONE, "samiReceiptPhase", "1 snapshot, 2 ready, 3 final, 4 aborted, 5 progress, 6 alive, 7 resync, 8 checked") \
    X(MARKER_COUNTER, S, 119, 8, U64, ID, NONE, "samiMarkerCounter", "messageCounter of the marker that is answered; of progress: the next one expected") \
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
    X(FLOW_KEY, S, 130, 40, OCTETS, DEFAULT, NONE, "samiFlowKey", "16 source, 16 destination, 2 ports each, zone or VLAN 2, family 1 (plus 128: VLAN), protocol 1") \
    X(DETAIL, S, 131, 160, STRING, DEFAULT, NONE, "samiDetail", "text for the operator, zero-padded") \
    X(REASON_COUNT, S, 132, 8, U64, TOTAL, ENTRIES, "samiReasonCount", "records with this reason") \
    X(FINDING_ID, S, 133, 32, STRING, DEFAULT, NONE, "samiFindingId", "which check of a dry run, zero-padded") \
    X(SEVERITY, S, 134, 1, U8, ID, NONE, "samiSeverity", "1 note, 2 warning, 3 connections would be lost") \
    X(SUBJECT, S, 135, 48, STRING, DEFAULT, NONE, "samiSubject", "what it was found of: an address, a table, a setting; zero-padded") \
    X(FINDING_COUNT, S, 136, 8, U64, TOTAL, ENTRIES, "samiFindingCount", "sessions that it concerns; 0: the host as a whole") \
    X(FIX, S, 137, 160, STRING, DEFAULT, NONE, "samiFix", "the command that makes it good, zero-padded") \
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
    X(EXPORTING_PROCESS, I, 144, 4, U32, ID, NONE, "exportingProcessId", "RFC 7011 §4.3: process of the exporter") \
    X(NOT_SENT_FLOWS, I, 166, 8, U64, TOTAL, NONE, "notSentFlowTotalCount", "flows that name the VM, but not as their untranslated end") \
    X(NOT_SENT_PACKETS, I, 167, 8, U64, TOTAL, PACKETS, "notSentPacketTotalCount", "0: not counted") \
    X(NOT_SENT_OCTETS, I, 168, 8, U64, TOTAL, OCTETS, "notSentOctetTotalCount", "0: not counted") \
    X(OBSERVATION_TIME, I, 323, 8, MILLISECONDS, DEFAULT, NONE, "observationTimeMilliseconds", "twice: first and last flow that was not sent") \
    X(COUNTED_KIND, S, 177, 1, U8, ID, NONE, "samiCountedKind", "kind of the records that are counted") \
    X(KIND_RECORDS, S, 178, 8, U64, TOTAL, ENTRIES, "samiKindRecords", "records of that kind so far") \
    X(KIND_APPLIED, S, 179, 8, U64, TOTAL, ENTRIES, "samiKindApplied", "of them changed something here") \
    X(KIND_UNCHANGED, S, 180, 8, U64, TOTAL, ENTRIES, "samiKindUnchanged", "of them said nothing new") \
    X(KIND_REFUSED, S, 181, 8, U64, TOTAL, ENTRIES, "samiKindRefused", "of them were refused") \
    X(SET_NAME, S, 160, 32, STRING, DEFAULT, NONE, "samiSetName", "name of the set in the configuration, zero-padded") \
    X(ORIGIN, S, 161, 8, OCTETS, DEFAULT, NONE, "samiCountingFirewall", "who counted: first octets of SHA-256 of its name") \
    X(KEY_TYPE, S, 162, 4, U32, ID, NONE, "samiSetKeyType", "nft types of the key, six bits a part, the first one highest") \
    X(KEY_LENGTH, S, 163, 1, U8, QUANTITY, OCTETS, "samiSetKeyLength", "octets of the key") \
    X(KEY16, S, 164, 16, OCTETS, DEFAULT, NONE, "samiSetKeyShort", "the key as in nftables' registers, zero-padded") \
    X(KEY64, S, 165, 64, OCTETS, DEFAULT, NONE, "samiSetKey", "the key as in nftables' registers, zero-padded") \
    X(QUOTA_FLAGS, S, 166, 1, U8, FLAGS, NONE, "samiQuotaFlags", "bit 0: the quota matches above its limit") \
    X(QUOTA_USED, S, 167, 8, U64, TOTAL, OCTETS, "samiQuotaUsed", "octets of the quota that were used there") \
    X(QUOTA_LIMIT, S, 168, 8, U64, QUANTITY, OCTETS, "samiQuotaLimit", "octets of the quota") \
    X(ELEMENT_TIMEOUT, S, 169, 8, U64, QUANTITY, MS, "samiElementTimeout", "time that a packet gives the element") \
    X(ELEMENT_REMAINING, S, 170, 8, U64, QUANTITY, MS, "samiElementRemaining", "time until the element expires") \
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
