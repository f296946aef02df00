/* A set of addresses that is asked once or twice a record: those of this firewall's own interfaces. Open addressing; a look-up compares what
 * shares its slot, however many there are. One thread: the set is changed where it is asked. */
#pragma once

#include "templates/session.h"

typedef struct SamiAddressSet SamiAddressSet;

/* Empty. */
SamiAddressSet *sami_address_set_new(void);
void sami_address_set_free(SamiAddressSet *set); /* NULL is fine */
/* Has exactly these afterwards; the lengths of the prefixes are not looked at. */
void sami_address_set_replace(SamiAddressSet *set, const SamiPrefix *addresses, guint n);
gboolean sami_address_set_has(const SamiAddressSet *set, guint8 family, const SamiAddress *address);
guint sami_address_set_size(const SamiAddressSet *set);
/* A slot's address; FALSE for one that is free. For printing; slots are 0 to 4 times the size, at most. */
gboolean sami_address_set_at(const SamiAddressSet *set, guint slot, SamiPrefix *ret);
guint sami_address_set_slots(const SamiAddressSet *set);
