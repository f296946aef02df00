/* The ledger of one migration on disk, beside its journal: DIR/<migration id>.ledger (PROTOCOL §5). It says what a crashed state process
 * had created, and whether READY was decided.
 *
 * Append only. Per batch the intent is written before the kernel is asked, and the result after: an entry is ours if its start time lies
 * between the two clock readings (LIFECYCLE §8). Nothing is synced but FREEZE: a crash of the process loses nothing that
 * was written, and a crash of the machine loses the connection table too. A file that ends in the middle of a record is read up
 * to it; a record that could not be written whole (disk full) is taken back, so that what comes later can be read.
 *
 * Record: type 1 octet, length 4, payload; integers in network order. */
#pragma once

#include "common/error.h"
#include "templates/session.h"

typedef enum {
    SAMI_LEDGER_FILE_OPEN = 1,   /* id 16, lease_s 4, signer, peer (length octet, text), n 2, n prefixes (family, length, address 16) */
    SAMI_LEDGER_FILE_INTENT = 2, /* time 8 (ns since 1970), n 4, n keys of 40 */
    SAMI_LEDGER_FILE_RESULT = 3, /* time 8, n 4, n outcomes of 1, in the order of the intent before it */
    SAMI_LEDGER_FILE_GONE = 4,   /* n 4, n keys: this migration has deleted them itself */
    SAMI_LEDGER_FILE_MERGED = 5, /* key 40, TCP flags before 2: made lenient at the freeze */
    SAMI_LEDGER_FILE_PHASE = 6,  /* phase 1, counter of the freeze marker 8, session records up to it 8, time 8 */
    SAMI_LEDGER_FILE_FREEZE = 7, /* boot id 16, counter of the freeze marker 8: what follows may be lost with the machine */
    SAMI_LEDGER_FILE_REPLACED = 8, /* boot id 16, time 8, key 40; of the entry that the next intent deletes for this key: reply tuple as a key 40,
                                    * status 4, TCP flags 2, creating message (firewall.h) */
} SamiLedgerFileType;

typedef enum {
    SAMI_OUTCOME_CREATED = 0,
    SAMI_OUTCOME_NOT = 1, /* refused, or it was there before */
} SamiOutcome;

/* What OPEN says. */
typedef struct {
    guint8 id[16];
    guint32 lease_s;
    const gchar *signer;      /* (transfer none) */
    const gchar *peer;        /* (transfer none) verified TLS name */
    const SamiPrefix *vm;     /* (transfer none) */
    guint n_vm;
} SamiLedgerOpen;

/* Phases are written by the main loop while the injecting thread writes what it does: calls exclude each other. */
typedef struct SamiLedgerFile SamiLedgerFile;

/* Is there one of a migration with this id that is over? Then a restart would take a ledger of the same id for what is left of that one. */
gboolean sami_ledger_file_is_closed(const gchar *directory, const guint8 id[16]);
/* Makes the file, mode 0600, never over an existing one. The directory has to be there. SAMI_ERROR_FAILED names the path and the cause. */
SamiLedgerFile *sami_ledger_file_new(const gchar *directory, const SamiLedgerOpen *open, GError **error);
/* Goes on with a file that has been read. */
SamiLedgerFile *sami_ledger_file_reopen(const gchar *path, GError **error);
void sami_ledger_file_free(SamiLedgerFile *file);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiLedgerFile, sami_ledger_file_free)

gboolean sami_ledger_file_intent(SamiLedgerFile *file, guint64 time_ns, const SamiFlowKey *keys, guint n, GError **error);
gboolean sami_ledger_file_result(SamiLedgerFile *file, guint64 time_ns, const guint8 *outcomes, guint n, GError **error);
gboolean sami_ledger_file_gone(SamiLedgerFile *file, const SamiFlowKey *keys, guint n, GError **error);
gboolean sami_ledger_file_merged(SamiLedgerFile *file, const SamiFlowKey *key, const guint8 old_tcp_flags[2], GError **error);
gboolean sami_ledger_file_phase(SamiLedgerFile *file, guint8 phase, guint64 counter, guint64 n_records, guint64 time_ns, GError **error);
/* `old`, read at time_ns, makes room for `key`: told before the intent of the key. */
gboolean sami_ledger_file_replaced(SamiLedgerFile *file, guint64 time_ns, const SamiFlowKey *key, const SamiSession *old, GError **error);
/* The freeze marker has come. Synced at once, beside the injection, so that READY need not wait for a disk a second time: who finds this record, no
 * other phase behind it, and another boot id, cannot know whether READY was sent. */
gboolean sami_ledger_file_freeze(SamiLedgerFile *file, guint64 counter, GError **error);
/* Of the running kernel; zeros where it cannot be read. */
void sami_ledger_file_boot_id(guint8 ret[16]);
/* For collector/sync.h. */
int sami_ledger_file_fd(const SamiLedgerFile *file);

/* The migration is over: DIR/<migration id>.closed keeps OPEN and this phase, for whoever asks later; the ledger itself goes. `file` must not be
 * written to any more. */
gboolean sami_ledger_file_finish(SamiLedgerFile *file, guint8 phase, guint64 counter, guint64 n_records, guint64 time_ns, GError **error);

/* What reading gives, in the file's order. `window` is {intent, result}; a missing result is G_MAXUINT64. (transfer none) all of it. */
typedef struct {
    void (*open)(const SamiLedgerOpen *open, gpointer user_data);
    void (*created)(const SamiFlowKey *key, const guint64 window[2], gpointer user_data); /* or perhaps created: no result */
    void (*gone)(const SamiFlowKey *key, gpointer user_data);
    void (*merged)(const SamiFlowKey *key, const guint8 old_tcp_flags[2], gpointer user_data);
    void (*phase)(guint8 phase, guint64 counter, guint64 n_records, guint64 time_ns, gpointer user_data);
    void (*freeze)(const guint8 boot_id[16], guint64 counter, gpointer user_data);
    /* of this boot of the machine; what replaced it may not have been created, see created */
    void (*replaced)(const SamiFlowKey *key, const SamiSession *old, guint64 time_ns, gpointer user_data);
} SamiLedgerFileReader;

/* FALSE if the file cannot be read or does not begin with OPEN. A torn end is no error; a record that cannot be is SAMI_ERROR_MALFORMED
 * with its offset, after everything before it was handed out. */
gboolean sami_ledger_file_read(const gchar *path, const SamiLedgerFileReader *reader, gpointer user_data, GError **error);
