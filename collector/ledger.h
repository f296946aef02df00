/* The ledger of one migration: what it created or merged, so that it can be updated, read back and rolled back (LIFECYCLE §5-8).
 *
 * Open addressing over entries in chunks; 72 octets an entry and 11 to 21 of index: within the 96 a session of DESIGN §8. One
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
    SAMI_LEDGER_VERIFIED = 1 << 8, /* start_ns and flow_id are the kernel's; before read-back the window tells whose it is */
    SAMI_LEDGER_REVERSED = 1 << 9, /* merged with an entry that was opened from the other side */
    SAMI_LEDGER_KEPT = 1 << 10,    /* merged, and left exactly as it was */
    SAMI_LEDGER_REPLACE = 1 << 11, /* to be replaced at the freeze marker; or replaced, when CREATED */
    SAMI_LEDGER_AUDITED = 1 << 12, /* named after READY: the kernel has its real timeout, or traffic's */
    SAMI_LEDGER_READ = 1 << 13,    /* the read-back that runs has seen it */
    SAMI_LEDGER_SEEN_REPLY = 1 << 14, /* the last record had this status bit; such bits only come, never go */
    SAMI_LEDGER_ASSURED = 1 << 15,
    SAMI_LEDGER_FIXED = 1 << 16,     /* the source's timeout was fixed */
    SAMI_LEDGER_MOVING = 1 << 17,    /* has attributes in its digest that packets change: sequence adjustment, SCTP's tags */
    /* What the kernel did not get, or gets by another way than it was; each is a reason to be degraded. */
    SAMI_LEDGER_NO_HELPER = 1 << 18,
    SAMI_LEDGER_GRE_KEYMAP = 1 << 19,
    SAMI_LEDGER_OFFLOADED = 1 << 20,
    SAMI_LEDGER_NO_MASTER = 1 << 21,
    SAMI_LEDGER_GRE = 1 << 22,
    SAMI_LEDGER_CHILD = 1 << 23,     /* its record names a master */
    SAMI_LEDGER_MARK_CUT = 1 << 24,  /* the policy has taken bits of its mark, */
    SAMI_LEDGER_TIME_CUT = 1 << 25,  /* some of its time, */
    SAMI_LEDGER_LABELS_CUT = 1 << 26, /* or labels */
    SAMI_LEDGER_GIVEN = 1 << 27,     /* MERGED by having become another migration's: n_merged has not counted it */
};

typedef struct {
    SamiFlowKey key;      /* 40 */
    guint32 digest;       /* over what must not change on the way: reply, mark, labels, window scale, helper and the like */
    guint32 timeout_s;    /* of the last record */
    guint64 start_ns;     /* VERIFIED: of the kernel's entry; before: number of its window */
    guint32 flow_id;      /* VERIFIED: of the kernel's entry */
    guint32 generation;   /* of the last record that named it */
    guint32 flags;        /* SAMI_LEDGER_* */
    guint8 tcp_state;     /* of the last record */
    guint8 old_tcp_flags[2]; /* of a merged entry; of one that replaces another, which of the replacements it is */
} SamiLedgerEntry;

typedef struct SamiLedger SamiLedger;

SamiLedger *sami_ledger_new(void);
void sami_ledger_free(SamiLedger *ledger);
/* (nullable) (transfer none). Gone entries are not found. An entry stays where it is for as long as the ledger lives. */
SamiLedgerEntry *sami_ledger_find(SamiLedger *ledger, const SamiFlowKey *key);
/* The key must not be there (gone is fine). */
SamiLedgerEntry *sami_ledger_insert(SamiLedger *ledger, const SamiFlowKey *key);
/* The entry of the key, in one look-up. *ret_is_new: it was not there (or gone), and is zero but for its key. */
SamiLedgerEntry *sami_ledger_obtain(SamiLedger *ledger, const SamiFlowKey *key, gboolean *ret_is_new);
/* Where sami_ledger_at() finds the entry, for as long as the ledger lives. */
guint sami_ledger_position(const SamiLedger *ledger, const SamiLedgerEntry *entry);
/* The clock of windows and files, that of the kernel's start times: nanoseconds since 1970. */
guint64 sami_ledger_now(void);
/* A batch of creations: clock readings before sending and after draining it (LIFECYCLE §8), nanoseconds since 1970. The end is open
 * until it is closed. Entries that are created in it get its number. */
guint64 sami_ledger_open_window(SamiLedger *ledger, guint64 before_ns);
void sami_ledger_close_window(SamiLedger *ledger, guint64 window, guint64 after_ns);
/* Does an entry of the kernel with this id and start time belong to the ledger's? A start time of 0 proves nothing and is FALSE. */
gboolean sami_ledger_proves(const SamiLedger *ledger, const SamiLedgerEntry *entry, guint32 flow_id, guint64 start_ns);
/* All slots, gone ones included. */
guint sami_ledger_size(const SamiLedger *ledger);
SamiLedgerEntry *sami_ledger_at(SamiLedger *ledger, guint i);
/* Gives back the slots of gone entries, if they are most of it, and the windows of creations that no entry needs, once there are more of them than
 * entries. Positions are others afterwards. */
void sami_ledger_compact(SamiLedger *ledger);
/* What it takes of memory. */
gsize sami_ledger_octets(const SamiLedger *ledger);
/* See SamiLedgerEntry.digest. */
guint32 sami_ledger_digest(const SamiSession *session);
