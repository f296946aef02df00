#include "collector/ledger.h"

#include <string.h>

#define FREE 0u /* index slots hold position + 1 */

struct SamiLedger {
    GArray *entries;
    guint32 *index;
    guint n_index; /* a power of two */
};

SamiLedger *
sami_ledger_new(void)
{
    SamiLedger *ledger = g_new0(SamiLedger, 1);
    ledger->entries = g_array_new(FALSE, TRUE, sizeof(SamiLedgerEntry));
    ledger->n_index = 1024;
    ledger->index = g_new0(guint32, ledger->n_index);
    return ledger;
}

void
sami_ledger_free(SamiLedger *ledger)
{
    if (!ledger)
        return;
    g_array_unref(ledger->entries);
    g_free(ledger->index);
    g_free(ledger);
}

/* The slot of the key, or the free slot where it belongs. Gone entries keep their slot: a chain must not break. */
static guint
slot_of(const SamiLedger *ledger, const SamiFlowKey *key)
{
    guint mask = ledger->n_index - 1, slot = sami_flow_key_hash(key) & mask;
    while (ledger->index[slot] != FREE) {
        const SamiLedgerEntry *entry = &g_array_index(ledger->entries, SamiLedgerEntry, ledger->index[slot] - 1);
        if (sami_flow_key_equal(&entry->key, key))
            break;
        slot = (slot + 1) & mask;
    }
    return slot;
}

SamiLedgerEntry *
sami_ledger_find(SamiLedger *ledger, const SamiFlowKey *key)
{
    guint32 at = ledger->index[slot_of(ledger, key)];
    if (at == FREE)
        return NULL;
    SamiLedgerEntry *entry = sami_ledger_at(ledger, at - 1);
    return (entry->flags & SAMI_LEDGER_GONE) ? NULL : entry;
}

static void
grow(SamiLedger *ledger)
{
    g_free(ledger->index);
    ledger->n_index *= 2;
    ledger->index = g_new0(guint32, ledger->n_index);
    for (guint i = 0; i < ledger->entries->len; i++)
        ledger->index[slot_of(ledger, &sami_ledger_at(ledger, i)->key)] = i + 1;
}

SamiLedgerEntry *
sami_ledger_insert(SamiLedger *ledger, const SamiFlowKey *key)
{
    if (ledger->entries->len >= ledger->n_index / 4 * 3)
        grow(ledger);
    guint slot = slot_of(ledger, key);
    if (ledger->index[slot] == FREE) {
        g_array_set_size(ledger->entries, ledger->entries->len + 1);
        ledger->index[slot] = ledger->entries->len;
    }
    SamiLedgerEntry *entry = sami_ledger_at(ledger, ledger->index[slot] - 1);
    memset(entry, 0, sizeof *entry);
    entry->key = *key;
    return entry;
}

guint
sami_ledger_size(const SamiLedger *ledger)
{
    return ledger->entries->len;
}

SamiLedgerEntry *
sami_ledger_at(SamiLedger *ledger, guint i)
{
    return &g_array_index(ledger->entries, SamiLedgerEntry, i);
}

static guint32
mix(guint32 hash, const void *octets, gsize n)
{
    for (gsize i = 0; i < n; i++)
        hash = (hash ^ ((const guint8 *) octets)[i]) * 16777619u;
    return hash;
}

guint32
sami_ledger_digest(const SamiSession *s)
{
    static const guint8 no_labels[16] = { 0 };
    guint32 mark = (s->has & SAMI_HAS_MARK) ? s->mark : 0;
    guint32 hash = mix(2166136261u, &s->reply, sizeof s->reply);
    hash = mix(hash, &mark, sizeof mark);
    hash = mix(hash, (s->has & SAMI_HAS_LABELS) ? s->labels : no_labels, 16);
    return (s->has & SAMI_HAS_WSCALE) ? mix(hash, s->tcp_wscale, 2) : mix(hash, no_labels, 2);
}
