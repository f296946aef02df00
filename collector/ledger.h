/* The ledger of one migration: what it created or merged, so that it can be updated, read back and rolled back (LIFECYCLE §5-8).
 *
 * Open addressing over an array of entries; 72 octets an entry and 8 to 16 of index: within the 96 a session of DESIGN §8. One
 * thread: the injector's. */
#pragma once

#include "templates/session.h"

enum {
    SAMI_LEDGER_CREATED = 1 << 0,  /* in the kernel by us */
    SAMI_LEDGER_PENDING = 1 << 1,  /* in the batch that is being built */
    SAMI_LEDGER_MERGED = 1 << 2,   /* was there before; ours are at most lenient flags */
    SAMI_LEDGER_LENIENT = 1 << 3,  /* TCP tracking is lenient because of us */
    SAMI_LEDGER_SRC_LENIENT = 1 << 4, /* it was lenient at the source too: stays so */
    SAMI_LEDGER_NAT = 1 << 5,
    SAMI_LEDGER_LABELS = 1 << 6,
    SAMI_LEDGER_GONE = 1 << 7,     /* deleted; the slot stays for its place in the index */
};

typedef struct {
    SamiFlowKey key;      /* 40 */
    guint32 digest;       /* over what an update cannot change: reply, mark, labels, window scale */
    guint32 timeout_s;    /* of the last record */
    guint64 start_ns;     /* of the kernel's entry once read back, 0 before */
    guint32 flow_id;      /* likewise */
    guint32 generation;   /* of the last record that named it */
    guint16 flags;        /* SAMI_LEDGER_* */
    guint8 tcp_state;     /* of the last record */
    guint8 old_tcp_flags[2]; /* of a merged entry */
} SamiLedgerEntry;

typedef struct SamiLedger SamiLedger;

SamiLedger *sami_ledger_new(void);
void sami_ledger_free(SamiLedger *ledger);
/* (nullable) (transfer none) valid until the next insert. Gone entries are not found. */
SamiLedgerEntry *sami_ledger_find(SamiLedger *ledger, const SamiFlowKey *key);
/* The key must not be there (gone is fine). Valid until the next insert. */
SamiLedgerEntry *sami_ledger_insert(SamiLedger *ledger, const SamiFlowKey *key);
/* All slots, gone ones included. */
guint sami_ledger_size(const SamiLedger *ledger);
SamiLedgerEntry *sami_ledger_at(SamiLedger *ledger, guint i);
/* See SamiLedgerEntry.digest. */
guint32 sami_ledger_digest(const SamiSession *session);
