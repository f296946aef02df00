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

/* Of Linux 6.18; struct nf_ct_helper_expectfn. */
static const struct {
    const gchar *function;
    SamiExpectTarget target;
} functions[] = {
    { "nat-follow-master", SAMI_EXPECT_TO_MASTER }, /* nf_nat_helper.c nf_nat_follow_master() */
    { "Q.931", SAMI_EXPECT_TO_MASTER },             /* nf_nat_h323.c nf_nat_q931_expect() */
    { "callforwarding", SAMI_EXPECT_TO_SAVED },     /* nf_nat_h323.c nf_nat_callforwarding_expect() */
    { "sip", SAMI_EXPECT_TO_SAVED },                /* nf_nat_sip.c nf_nat_sip_expected() */
};

SamiExpectTarget
sami_expectation_target(const SamiExpectation *e)
{
    if (!(e->has & SAMI_EXPECT_HAS_FUNCTION))
        return SAMI_EXPECT_TO_ITSELF;
    for (guint i = 0; i < G_N_ELEMENTS(functions); i++)
        if (strncmp(e->function, functions[i].function, sizeof e->function) == 0)
            return functions[i].target;
    return SAMI_EXPECT_TO_UNKNOWN;
}
