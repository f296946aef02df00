#include "templates/addresses.h"

#include <string.h>

#define SLOTS_MIN 16u

struct SamiAddressSet {
    SamiPrefix *slots; /* family 0: free */
    guint mask;
    guint n;
};

SamiAddressSet *
sami_address_set_new(void)
{
    SamiAddressSet *set = g_new0(SamiAddressSet, 1);
    set->mask = SLOTS_MIN - 1;
    set->slots = g_new0(SamiPrefix, SLOTS_MIN);
    return set;
}

void
sami_address_set_free(SamiAddressSet *set)
{
    if (!set)
        return;
    g_free(set->slots);
    g_free(set);
}

/* Interfaces' addresses differ in their last octets, and nobody else chooses them. */
static guint
slot_of(const SamiAddressSet *set, guint8 family, const SamiAddress *address)
{
    guint32 words[4];
    memcpy(words, address->octets, sizeof words);
    guint32 hash = (words[0] ^ words[1] ^ words[2] ^ words[3] ^ family) * 2654435761u;
    return (hash >> 16) & set->mask;
}

/* The slot that has it, or the free one where it would be. */
static SamiPrefix *
find(const SamiAddressSet *set, guint8 family, const SamiAddress *address)
{
    guint i = slot_of(set, family, address);
    for (; set->slots[i].family != 0; i = (i + 1) & set->mask)
        if (set->slots[i].family == family && memcmp(&set->slots[i].address, address, sizeof *address) == 0)
            break;
    return &set->slots[i];
}

void
sami_address_set_replace(SamiAddressSet *set, const SamiPrefix *addresses, guint n)
{
    guint n_slots = SLOTS_MIN;
    while (n_slots < 2 * n)
        n_slots *= 2;
    g_free(set->slots);
    set->slots = g_new0(SamiPrefix, n_slots);
    set->mask = n_slots - 1;
    set->n = 0;
    for (guint i = 0; i < n; i++) {
        SamiPrefix *slot = find(set, addresses[i].family, &addresses[i].address);
        set->n += slot->family == 0;
        *slot = (SamiPrefix){ .address = addresses[i].address, .family = addresses[i].family, .length = addresses[i].family == 4 ? 32 : 128 };
    }
}

gboolean
sami_address_set_has(const SamiAddressSet *set, guint8 family, const SamiAddress *address)
{
    return set->n > 0 && find(set, family, address)->family != 0;
}

guint
sami_address_set_size(const SamiAddressSet *set)
{
    return set->n;
}

guint
sami_address_set_slots(const SamiAddressSet *set)
{
    return set->mask + 1;
}

gboolean
sami_address_set_at(const SamiAddressSet *set, guint slot, SamiPrefix *ret)
{
    if (set->slots[slot].family == 0)
        return FALSE;
    *ret = set->slots[slot];
    return TRUE;
}
