/* An expectation: a flow that a helper has announced, and that will be RELATED when it comes (struct nf_conntrack_expect of Linux 6.18).
 *
 * firewall/ fills it from CTA_EXPECT_* attributes and builds them from it. A plain value, zeroed before it is filled, as a session is. */
#pragma once

#include "templates/session.h"

enum {
    SAMI_EXPECT_HAS_NAT = 1 << 0,      /* nat_direction, nat_address, nat_port */
    SAMI_EXPECT_HAS_FUNCTION = 1 << 1, /* function */
    SAMI_EXPECT_HAS_HELPER = 1 << 2,   /* helper */
    SAMI_EXPECT_HAS_ID = 1 << 3,       /* id; never on the wire */
    SAMI_EXPECT_HAS_VLAN = 1 << 4,     /* vlan, in the place of the zone; on the wire only */
};

#define SAMI_EXPECT_FUNCTION_MAX 32u /* octets with the final 0; the longest of the kernel's is "nat-follow-master" */

typedef struct {
    SamiFlowKey key;      /* of the first packet; source address and port are 0 where their mask is */
    SamiAddress mask_src; /* the kernel masks the source only (struct nf_conntrack_tuple_mask) */
    guint16 mask_src_port;
    SamiFlowKey master;   /* the flow whose helper expects it, in the same zone */
    guint32 has;          /* SAMI_EXPECT_HAS_* */
    guint8 action;        /* SAMI_ACTION_CREATED or SAMI_ACTION_DELETED */
    guint32 timeout_s;    /* remaining */
    guint16 vlan;
    guint32 flags;        /* SAMI_EXPECT_* below, as dumped */
    guint32 expect_class;
    guint8 nat_direction;    /* direction of the master that the flow goes in: 0 original, 1 reply */
    SamiAddress nat_address; /* that its destination is translated to; 0 where the helper takes the master's */
    guint16 nat_port;
    gchar helper[SAMI_HELPER_NAME_MAX];         /* of the master, zero-padded */
    gchar function[SAMI_EXPECT_FUNCTION_MAX];   /* zero-padded */
    guint32 id;           /* CTA_EXPECT_ID: of this kernel's object, which another one may get after it */
} SamiExpectation;

/* linux/netfilter/nf_conntrack_common.h */
#define SAMI_EXPECT_PERMANENT 0x1u
#define SAMI_EXPECT_INACTIVE 0x2u
#define SAMI_EXPECT_USERSPACE 0x4u
#define SAMI_EXPECT_FLAGS (SAMI_EXPECT_PERMANENT | SAMI_EXPECT_INACTIVE | SAMI_EXPECT_USERSPACE)
#define SAMI_EXPECT_CLASS_MAX 3u       /* NF_CT_MAX_EXPECT_CLASSES is 4 */
#define SAMI_EXPECT_TIMEOUT_MAX_S 3600u /* helpers give 30 s to 5 min, SIP's registrations up to sip_timeout, an hour */

/* Do both expect the same flow: tuple, mask, zone and master? */
gboolean sami_expectation_is_same(const SamiExpectation *a, const SamiExpectation *b);
/* Where the kernel sends the flow to come, after translation. A function does it, and without one nothing does: what the record says of a translation is
 * an argument of the function. */
typedef enum {
    SAMI_EXPECT_TO_ITSELF,  /* to its destination */
    SAMI_EXPECT_TO_MASTER,  /* to the source of the master in the direction that nat_direction is not */
    SAMI_EXPECT_TO_SAVED,   /* to nat_address */
    SAMI_EXPECT_TO_UNKNOWN, /* a function that none of ours knows */
} SamiExpectTarget;
SamiExpectTarget sami_expectation_target(const SamiExpectation *expectation);
/* Is the address an end of the master's original tuple? */
gboolean sami_expectation_is_of_master(const SamiExpectation *expectation, const SamiAddress *address);
