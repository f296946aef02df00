#include "collector/ledger.h"

#include <string.h>
#include <time.h>

#define FREE 0u
#define CHUNK_OCTETS (1024u * 1024u) /* and aligned to it */
#define CHUNK_ENTRIES ((CHUNK_OCTETS - 64u) / (guint) sizeof(SamiLedgerEntry))

/* Entries never move: a table that grows by moving has to be mapped anew page by page, when it is looked at next - in the freeze, where
 * that took 30 us an entry. */
typedef struct {
    guint first; /* position */
    SamiLedgerEntry entries[CHUNK_ENTRIES];
} Chunk;
G_STATIC_ASSERT(sizeof(Chunk) <= CHUNK_OCTETS);

/* The hash is compared first: entries lie anywhere in memory, and each one looked at costs a cache miss. */
typedef struct {
    guint32 at; /* position + 1 */
    guint32 hash;
} Slot;

struct SamiLedger {
    GPtrArray *chunks; /* of Chunk */
    guint n_entries;
    GArray *windows; /* of guint64[2] */
    Slot *index;
    guint n_index; /* a power of two */
};

SamiLedger *
sami_ledger_new(void)
{
    SamiLedger *ledger = g_new0(SamiLedger, 1);
    ledger->chunks = g_ptr_array_new_with_free_func(g_aligned_free);
    ledger->windows = g_array_new(FALSE, TRUE, 2 * sizeof(guint64));
    ledger->n_index = 1024;
    ledger->index = g_new0(Slot, ledger->n_index);
    return ledger;
}

void
sami_ledger_free(SamiLedger *ledger)
{
    if (!ledger)
        return;
    g_ptr_array_unref(ledger->chunks);
    g_array_unref(ledger->windows);
    g_free(ledger->index);
    g_free(ledger);
}

static inline SamiLedgerEntry *
entry_at(const SamiLedger *ledger, guint i)
{
    Chunk *chunk = g_ptr_array_index(ledger->chunks, i / CHUNK_ENTRIES);
    return &chunk->entries[i % CHUNK_ENTRIES];
}

static void
add_chunk(SamiLedger *ledger)
{
    Chunk *chunk = g_aligned_alloc(1, CHUNK_OCTETS, CHUNK_OCTETS);
    chunk->first = ledger->n_entries;
    g_ptr_array_add(ledger->chunks, chunk);
}

/* The slot of the key, or the free slot where it belongs. Gone entries keep their slot: a chain must not break. */
static Slot *
slot_of(const SamiLedger *ledger, const SamiFlowKey *key, guint32 hash)
{
    guint mask = ledger->n_index - 1, i = hash & mask;
    while (ledger->index[i].at != FREE) {
        const Slot *slot = &ledger->index[i];
        if (slot->hash == hash && sami_flow_key_equal(&entry_at(ledger, slot->at - 1)->key, key))
            break;
        i = (i + 1) & mask;
    }
    return &ledger->index[i];
}

SamiLedgerEntry *
sami_ledger_find(SamiLedger *ledger, const SamiFlowKey *key)
{
    guint32 at = slot_of(ledger, key, sami_flow_key_hash(key))->at;
    if (at == FREE)
        return NULL;
    SamiLedgerEntry *entry = sami_ledger_at(ledger, at - 1);
    return (entry->flags & SAMI_LEDGER_GONE) ? NULL : entry;
}

static void
grow(SamiLedger *ledger)
{
    Slot *old = ledger->index;
    guint n_old = ledger->n_index, mask = 2 * n_old - 1;
    ledger->n_index *= 2;
    ledger->index = g_new0(Slot, ledger->n_index);
    for (guint i = 0; i < n_old; i++) {
        guint k = old[i].hash & mask;
        if (old[i].at == FREE)
            continue;
        while (ledger->index[k].at != FREE)
            k = (k + 1) & mask;
        ledger->index[k] = old[i];
    }
    g_free(old);
}

SamiLedgerEntry *
sami_ledger_obtain(SamiLedger *ledger, const SamiFlowKey *key, gboolean *ret_is_new)
{
    guint32 hash = sami_flow_key_hash(key);
    if (ledger->n_entries >= ledger->n_index / 4 * 3)
        grow(ledger);
    Slot *slot = slot_of(ledger, key, hash);
    gboolean is_added = slot->at == FREE;
    if (is_added) {
        if (ledger->n_entries == ledger->chunks->len * CHUNK_ENTRIES)
            add_chunk(ledger);
        *slot = (Slot){ ++ledger->n_entries, hash };
    }
    SamiLedgerEntry *entry = sami_ledger_at(ledger, slot->at - 1);
    *ret_is_new = is_added || (entry->flags & SAMI_LEDGER_GONE);
    if (*ret_is_new)
        *entry = (SamiLedgerEntry){ .key = *key };
    return entry;
}

SamiLedgerEntry *
sami_ledger_insert(SamiLedger *ledger, const SamiFlowKey *key)
{
    gboolean is_new;
    SamiLedgerEntry *entry = sami_ledger_obtain(ledger, key, &is_new);
    *entry = (SamiLedgerEntry){ .key = *key };
    return entry;
}

guint
sami_ledger_position(const SamiLedger *ledger, const SamiLedgerEntry *entry)
{
    const Chunk *chunk = (const Chunk *) ((guintptr) entry & ~(guintptr) (CHUNK_OCTETS - 1));
    return chunk->first + (guint) (entry - chunk->entries);
}

guint64
sami_ledger_now(void)
{
    struct timespec now; /* no coarser than the kernel's: a microsecond cut off the end of a window is what creating one entry takes */
    clock_gettime(CLOCK_REALTIME, &now);
    return (guint64) now.tv_sec * 1000000000u + (guint64) now.tv_nsec;
}

guint64
sami_ledger_open_window(SamiLedger *ledger, guint64 before_ns)
{
    const guint64 window[2] = { before_ns, G_MAXUINT64 };
    g_array_append_vals(ledger->windows, window, 1);
    return ledger->windows->len - 1;
}

void
sami_ledger_close_window(SamiLedger *ledger, guint64 window, guint64 after_ns)
{
    ((guint64 *) (void *) ledger->windows->data)[2 * window + 1] = after_ns;
}

/* What is known of an entry's start. */
static void
get_window(const SamiLedger *ledger, const SamiLedgerEntry *entry, guint64 ret_window[2])
{
    if (entry->flags & SAMI_LEDGER_VERIFIED)
        ret_window[0] = ret_window[1] = entry->start_ns;
    else
        memcpy(ret_window, (const guint64 *) (const void *) ledger->windows->data + 2 * entry->start_ns, 2 * sizeof *ret_window);
}

gboolean
sami_ledger_proves(const SamiLedger *ledger, const SamiLedgerEntry *entry, guint32 flow_id, guint64 start_ns)
{
    guint64 window[2];
    if (start_ns == 0 || ((entry->flags & SAMI_LEDGER_VERIFIED) && entry->flow_id != flow_id))
        return FALSE;
    get_window(ledger, entry, window);
    return start_ns >= window[0] && start_ns <= window[1];
}

/* Does this entry's window still tell whose it is? */
static gboolean
has_window(const SamiLedger *ledger, const SamiLedgerEntry *entry)
{
    return !(entry->flags & (SAMI_LEDGER_GONE | SAMI_LEDGER_VERIFIED)) && entry->start_ns < ledger->windows->len;
}

/* Windows that no entry is of go, the others get numbers anew. */
static void
compact_windows(SamiLedger *ledger)
{
    g_autofree guint32 *numbers = g_new0(guint32, ledger->windows->len); /* + 1 */
    GArray *kept = g_array_new(FALSE, TRUE, 2 * sizeof(guint64));
    for (guint i = 0; i < ledger->n_entries; i++) {
        SamiLedgerEntry *entry = entry_at(ledger, i);
        if (!has_window(ledger, entry))
            continue;
        guint32 *number = &numbers[entry->start_ns];
        if (*number == 0) {
            g_array_append_vals(kept, ledger->windows->data + 2 * sizeof(guint64) * entry->start_ns, 1);
            *number = kept->len;
        }
        entry->start_ns = *number - 1;
    }
    g_array_unref(ledger->windows);
    ledger->windows = kept;
}

void
sami_ledger_compact(SamiLedger *ledger)
{
    guint n_live = 0;
    for (guint i = 0; i < ledger->n_entries; i++)
        n_live += !(entry_at(ledger, i)->flags & SAMI_LEDGER_GONE);
    if (ledger->windows->len > n_live)
        compact_windows(ledger);
    if (n_live >= ledger->n_entries / 2)
        return;
    SamiLedger old = *ledger;
    ledger->chunks = g_ptr_array_new_with_free_func(g_aligned_free);
    ledger->n_entries = 0;
    ledger->n_index = 1024;
    ledger->index = g_new0(Slot, ledger->n_index);
    for (guint i = 0; i < old.n_entries; i++) {
        const SamiLedgerEntry *entry = entry_at(&old, i);
        if (!(entry->flags & SAMI_LEDGER_GONE))
            *sami_ledger_insert(ledger, &entry->key) = *entry;
    }
    g_ptr_array_unref(old.chunks);
    g_free(old.index);
}

gsize
sami_ledger_octets(const SamiLedger *ledger)
{
    const gsize page = 4096; /* what of a chunk was never written to is not there yet */
    gsize n_pages = (ledger->n_entries * sizeof(SamiLedgerEntry) + page - 1) / page + ledger->chunks->len;
    return n_pages * page + ledger->n_index * sizeof(Slot) + ledger->windows->len * 2 * sizeof(guint64);
}

guint
sami_ledger_size(const SamiLedger *ledger)
{
    return ledger->n_entries;
}

SamiLedgerEntry *
sami_ledger_at(SamiLedger *ledger, guint i)
{
    return entry_at(ledger, i);
}

/* A word of 4 octets at a time. */
static inline guint64
mix(guint64 hash, const void *octets, gsize n)
{
    for (gsize i = 0; i < n; i += 4) {
        guint32 word;
        memcpy(&word, (const guint8 *) octets + i, 4);
        hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 29;
    }
    return hash;
}

static guint64
mix_rare(guint64 hash, const SamiSession *s)
{
    guint32 zone = s->reply_zone;
    if (s->has & SAMI_HAS_REPLY_ZONE)
        hash = mix(hash ^ SAMI_HAS_REPLY_ZONE, &zone, sizeof zone);
    if (s->has & SAMI_HAS_SCTP)
        hash = mix(hash ^ SAMI_HAS_SCTP, s->sctp_vtag, sizeof s->sctp_vtag);
    if (s->has & SAMI_HAS_SEQADJ)
        hash = mix(hash ^ SAMI_HAS_SEQADJ, s->seqadj, sizeof s->seqadj);
    if (s->has & SAMI_HAS_SYNPROXY) {
        guint32 values[] = { s->synproxy_isn, s->synproxy_its, s->synproxy_tsoff };
        hash = mix(hash ^ SAMI_HAS_SYNPROXY, values, sizeof values);
    }
    if (s->has & SAMI_HAS_HELPER)
        hash = mix(hash ^ SAMI_HAS_HELPER, s->helper, sizeof s->helper);
    if (s->has & SAMI_HAS_MASTER)
        hash = mix(hash ^ SAMI_HAS_MASTER, &s->master, sizeof s->master);
    return hash;
}

guint32
sami_ledger_digest(const SamiSession *s)
{
    static const guint8 no_labels[16] = { 0 };
    guint32 numbers[2] = { (s->has & SAMI_HAS_MARK) ? s->mark : 0,
                           (s->has & SAMI_HAS_WSCALE) ? (guint32) s->tcp_wscale[0] << 8 | s->tcp_wscale[1] : 0 };
    guint64 hash = mix(0xcbf29ce484222325u, &s->reply, sizeof s->reply);
    hash = mix(hash, numbers, sizeof numbers);
    if (s->has & SAMI_HAS_LABELS && memcmp(s->labels, no_labels, sizeof no_labels) != 0)
        hash = mix(hash, s->labels, sizeof s->labels);
    if (s->has & (SAMI_HAS_REPLY_ZONE | SAMI_HAS_SCTP | SAMI_HAS_SEQADJ | SAMI_HAS_SYNPROXY | SAMI_HAS_HELPER | SAMI_HAS_MASTER))
        hash = mix_rare(hash, s);
    return (guint32) (hash ^ hash >> 32);
}
