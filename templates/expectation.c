#include "templates/expectation.h"

#include <string.h>

gboolean
sami_expectation_is_same(const SamiExpectation *a, const SamiExpectation *b)
{
    return sami_flow_key_equal(&a->key, &b->key) && sami_flow_key_equal(&a->master, &b->master) &&
           memcmp(&a->mask_src, &b->mask_src, sizeof a->mask_src) == 0 && a->mask_src_port == b->mask_src_port;
}

gboolean
sami_expectation_is_of_master(const SamiExpectation *e, const SamiAddress *address)
{
    return memcmp(address, &e->master.orig.src, sizeof *address) == 0 || memcmp(address, &e->master.orig.dst, sizeof *address) == 0;
}
