/* Everything that a Data Record can be, decoded. Plain values without pointers. PROTOCOL §3-4. */
#pragma once

#include "common/limits.h"
#include "templates/session.h"

/* The number is what samiRecordKind carries; session and type records have no such field. */
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
    SAMI_N_RECORD_KINDS
} SamiRecordKind;

typedef struct {
    guint8 version;
    guint32 pen;
    guint8 nonce[32];
    guint8 public_key[32];
    gchar destination[SAMI_NAME_MAX];
    guint8 opening;
    guint32 generation;
} SamiHello;

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

typedef struct {
    guint32 generation;
    guint8 phase;
} SamiEpoch;

enum { SAMI_MARKER_SNAPSHOT = 1, SAMI_MARKER_FREEZE = 2, SAMI_MARKER_SETTLE = 3 };
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

enum { SAMI_RECEIPT_SNAPSHOT = 1, SAMI_RECEIPT_READY = 2, SAMI_RECEIPT_FINAL = 3, SAMI_RECEIPT_ABORTED = 4 };
#define SAMI_RECEIPT_TRUNCATED 0x01u
#define SAMI_RECEIPT_STRICT_BY_TIME 0x02u

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

typedef struct {
    SamiRecordKind kind;
    union {
        SamiSession session;
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
    };
} SamiRecord;

/* The 40 octets of samiFlowKey: addresses, then ports, zone in network order, family, protocol. */
void sami_flow_key_pack(const SamiFlowKey *key, guint8 ret_octets[40]);
void sami_flow_key_unpack(const guint8 octets[40], SamiFlowKey *ret_key);
