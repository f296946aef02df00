/* Everything that a Data Record can be, decoded. Plain values without pointers. PROTOCOL §3-4. */
#pragma once

#include "common/limits.h"
#include "templates/expectation.h"
#include "templates/session.h"

/* The number is what samiRecordKind carries; session, expectation, type and statistics records have no such field. */
typedef enum {
    SAMI_RECORD_SESSION = 0,
    SAMI_RECORD_HELLO = 1,
    SAMI_RECORD_HELLO_REPLY = 2,
    SAMI_RECORD_VM_ADDRESS4 = 3,
    SAMI_RECORD_VM_ADDRESS6 = 4,
    SAMI_RECORD_BEGIN = 5,
    SAMI_RECORD_EPOCH = 6,
    SAMI_RECORD_MARKER = 7,
    SAMI_RECORD_END = 8,
    SAMI_RECORD_ABORT = 9,
    SAMI_RECORD_RECEIPT = 10,
    SAMI_RECORD_REASON_COUNT = 11,
    SAMI_RECORD_REFUSAL = 12,
    SAMI_RECORD_TYPE_INFORMATION = 13,
    SAMI_RECORD_STATISTICS = 14,
    SAMI_RECORD_EXPECTATION = 15,
    SAMI_RECORD_CUMULATIVE = 17,
    SAMI_RECORD_KIND_COUNT = 18,
    SAMI_RECORD_FINDING = 19,
    SAMI_N_RECORD_KINDS
} SamiRecordKind;

typedef struct {
    guint8 version;
    guint32 pen;
    guint8 nonce[32];
    guint8 public_key[32];
    gchar destination[SAMI_NAME_MAX];
    guint8 opening; /* SAMI_OPENING_* */
    guint32 generation;
} SamiHello;

enum { SAMI_OPENING_NEW = 1, SAMI_OPENING_RESUME = 2, SAMI_OPENING_CHECK = 3 /* a dry run: nothing of it is written */ };

typedef struct {
    guint8 version;
    guint8 nonce_e[32];
    guint8 nonce_c[32];
    guint8 public_key[32];
    guint64 next_counter;
    guint32 lease_s;
    guint16 message_max;
    guint64 sessions_max;
} SamiHelloReply;

typedef struct {
    guint16 n_addresses;
    guint32 lease_s;
    guint32 kinds;
    gchar destination[SAMI_NAME_MAX];
} SamiBegin;

/* Bits of SamiBegin.kinds. A replication has no end but the session's, and is the only stream that may be unscoped: without vm-address
 * records, n_addresses 0, whatever the signer's allow-prefixes cover. A recorded file (signature role 3) may be so too: then it is of the whole
 * table of the firewall that `destination` names. */
#define SAMI_KIND_SESSION 0x01u
#define SAMI_KIND_EXPECTATION 0x02u
#define SAMI_KIND_CUMULATIVE 0x04u
#define SAMI_KIND_REPLICATION 0x10000u

typedef struct {
    guint32 generation;
    guint8 phase;
} SamiEpoch;

enum { SAMI_MARKER_SNAPSHOT = 1, SAMI_MARKER_FREEZE = 2, SAMI_MARKER_SETTLE = 3, SAMI_MARKER_THAW = 4, SAMI_MARKER_ALIVE = 5 };
enum { SAMI_FREEZE_EVENTS = 1, SAMI_FREEZE_SCAN = 2 };

typedef struct {
    guint8 marker;
    guint64 n_records;
    guint8 freeze_mode;
} SamiMarker;

typedef struct {
    guint64 n_records;
} SamiEnd;

enum { SAMI_ABORT_OPERATOR = 1, SAMI_ABORT_DEADLINE = 2, SAMI_ABORT_FAILURE = 3 };

typedef struct {
    guint8 reason;
    guint64 marker_counter; /* of the READY receipt that the sender has seen; 0 for none */
} SamiAbort;

enum { SAMI_RECEIPT_SNAPSHOT = 1, SAMI_RECEIPT_READY = 2, SAMI_RECEIPT_FINAL = 3, SAMI_RECEIPT_ABORTED = 4, SAMI_RECEIPT_PROGRESS = 5,
       SAMI_RECEIPT_ALIVE = 6, /* answers that marker when everything before it is in the kernel */
       SAMI_RECEIPT_RESYNC = 7, /* of a replication: dump again */
       SAMI_RECEIPT_CHECKED = 8 /* of a dry run: what would have become of it */ };
#define SAMI_RECEIPT_TRUNCATED 0x01u

typedef struct {
    guint8 phase;
    guint64 marker_counter;
    guint64 n_records;
    guint8 freeze_mode;
    guint8 flags;
    guint64 n_accepted;
    guint64 n_present;
    guint64 n_merged;
    guint64 n_exact;
    guint64 n_degraded;
    guint64 n_refused;
} SamiReceipt;

enum { SAMI_SCOPE_MESSAGE = 1, SAMI_SCOPE_RECORD = 2, SAMI_SCOPE_DEGRADED = 3 };

typedef struct {
    guint8 scope;
    guint16 reason;
    guint64 count;
} SamiReasonCount;

typedef struct {
    guint8 scope;
    guint16 reason;
    guint64 counter; /* messageCounter of the Message that it was in */
    guint8 key[40];  /* sami_flow_key_pack(); zero if the scope is not a record */
    gchar detail[160];
} SamiRefusal;

typedef struct {
    guint32 pen;
    guint16 number;
    guint8 type;
    guint8 semantics;
    guint16 units;
    gchar name[40];
} SamiTypeInformation;

/* What a dry run found out about a host, or of sessions: strings are zero-padded, and need no final NUL. Ids are stable. */
typedef struct {
    gchar id[32];
    guint8 severity; /* SAMI_SEVERITY_* */
    gchar subject[48];
    guint64 count;   /* sessions; 0: the host as a whole */
    gchar text[160]; /* with what follows from it */
    gchar fix[160];  /* a command; empty: there is none */
} SamiFinding;

enum { SAMI_SEVERITY_NOTE = 1, SAMI_SEVERITY_WARNING = 2, SAMI_SEVERITY_LOSS = 3 };

/* RFC 7011 §4.3, the Exporting Process Reliability Statistics: what was in the table, and not sent on purpose. */
typedef struct {
    guint32 process_id;
    guint64 n_flows;
    guint64 n_packets, n_octets; /* 0: conntrack's accounting is not asked for these flows */
    guint64 first_ms, last_ms;   /* since 1970, when the first and the last of them were seen; the order is not guaranteed */
} SamiStatistics;

/* What one firewall has counted for an element of a set, or only that the element is there (LIFECYCLE §10). The whole of a counter is the sum
 * over the firewalls that have counted. */
typedef struct {
    gchar set[SAMI_CUMULATIVE_NAME_MAX]; /* [cumulative NAME], zero-padded */
    guint8 origin[8];   /* the firewall: first octets of SHA-256 of its name */
    guint32 key_type;   /* of nft */
    guint8 key_length;
    guint8 key[64];     /* as in nftables' registers */
    guint8 family;      /* 0: the key has no address */
    SamiAddress source; /* the first one of the key, for other collectors */
    guint8 has;         /* SAMI_CUMULATIVE_* */
    guint64 packets, octets;
    guint8 quota_flags;
    guint64 quota_used, quota_limit;
    guint64 timeout_ms, remaining_ms;
} SamiCumulative;

#define SAMI_CUMULATIVE_COUNTER 0x01u
#define SAMI_CUMULATIVE_QUOTA 0x02u
#define SAMI_CUMULATIVE_TIMEOUT 0x04u /* it expires */
#define SAMI_QUOTA_OVER 0x01u         /* matches above the limit */

/* What became of the records of one kind beside sessions, so far; before a receipt, which does not count them. */
typedef struct {
    guint8 kind; /* SamiRecordKind */
    guint64 n_records, n_applied;
    guint64 n_unchanged; /* was there: of an expectation, its master had one here already, which was kept */
    guint64 n_refused;   /* by which rule is in the refusal and reason-count records */
} SamiKindCount;

typedef struct {
    SamiRecordKind kind;
    union {
        SamiSession session;
        SamiCumulative cumulative;
        SamiKindCount kind_count;
        SamiHello hello;
        SamiHelloReply hello_reply;
        SamiPrefix vm_address;
        SamiBegin begin;
        SamiEpoch epoch;
        SamiMarker marker;
        SamiEnd end;
        SamiAbort abort;
        SamiReceipt receipt;
        SamiReasonCount reason_count;
        SamiRefusal refusal;
        SamiTypeInformation type_information;
        SamiStatistics statistics;
        SamiFinding finding;
        SamiExpectation expectation;
    };
} SamiRecord;

/* The 40 octets of samiFlowKey: addresses, then ports, zone in network order, family, protocol. */
void sami_flow_key_pack(const SamiFlowKey *key, guint8 ret_octets[40]);
void sami_flow_key_unpack(const guint8 octets[40], SamiFlowKey *ret_key);
/* RFC 5610: the type information of row `i` of sami_elements. FALSE: it is not ours to describe. */
gboolean sami_type_information(guint i, SamiTypeInformation *ret);
/* FALSE: what was refused is no session. */
gboolean sami_refusal_has_flow(const SamiRefusal *refusal);
