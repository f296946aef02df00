/* The kernel's expectations: flows that helpers wait for (NFNL_SUBSYS_CTNETLINK_EXP; net/netfilter/nf_conntrack_netlink.c and
 * nf_conntrack_expect.c of Linux 6.18). */
#pragma once

#include "firewall/firewall.h"
#include "templates/expectation.h"

typedef enum {
    SAMI_EXPECT_CREATE,      /* CREATE|EXCL; the kernel gives it the whole time of its class */
    SAMI_EXPECT_SET_TIMEOUT, /* timeout_s, of one that is there; 0 would end it */
    SAMI_EXPECT_DELETE,      /* by tuple and zone, and by id if SAMI_EXPECT_HAS_ID */
} SamiExpectOpKind;

typedef struct {
    SamiExpectOpKind kind;
    const SamiExpectation *expectation; /* (transfer none), valid during the call */
    int result;                         /* out: 0, or the positive errno of the kernel's answer */
} SamiExpectOp;

typedef void (*SamiExpectationFunc)(const SamiExpectation *expectation, gpointer user_data);

/* Applies n operations in order, each with a result of its own; they are few, so one by one. FALSE only if the socket failed: then results from
 * the failed one on are ECANCELED.
 * Known results of a creation: ENOENT (no such master), EOPNOTSUPP (it has no helper), EEXIST (it is there), EBUSY (another one expects the same),
 * EMFILE (too many), EINVAL (no such class or function). A creation beyond what the helper's class allows for one master silently ends the
 * oldest one of it. */
gboolean sami_firewall_expect(SamiFirewall *firewall, SamiExpectOp *ops, guint n, GError **error);
/* Hands out the expectations of one flow, or with NULL all of them: then the kernel does not say their zone, and it is 0. A master that is not
 * there has none. */
gboolean sami_firewall_expectations(SamiFirewall *firewall, const SamiFlowKey *master, SamiExpectationFunc func, gpointer user_data, GError **error);

/* Every expectation of the namespace whose master is in one of these zones (of guint16), with its zone, which a dump does not have, and with the master.
 * SAMI_ERROR_KERNEL. */
typedef void (*SamiExpectedFunc)(const SamiExpectation *expectation, const SamiSession *master, gpointer user_data);
gboolean sami_expectations_find(SamiFirewall *firewall, const GArray *zones, SamiExpectedFunc func, gpointer user_data, GError **error);

/* One table, indexed by attribute type, as that of sessions (firewall/attributes.h). Internal to firewall/, and for the test that walks the header. */
struct nlattr;
struct nlmsghdr;
typedef struct {
    const gchar *name;    /* "CTA_EXPECT_MASTER"; NULL for a number that is no attribute */
    const gchar *because; /* (nullable) why it is not carried */
    void (*parse)(const struct nlattr *attr, SamiExpectation *ret);
    void (*build)(struct nlmsghdr *nlh, const SamiExpectation *expectation);
    guint ops;            /* 1 << SamiExpectOpKind: the operations that it is written for */
} SamiExpectAttribute;
/* (nullable) */
const SamiExpectAttribute *sami_expect_attribute(guint type);
/* FALSE if it is no usable one: without tuple, mask or master, or neither IPv4 nor IPv6. */
gboolean sami_expect_parse(const struct nlmsghdr *nlh, SamiExpectation *ret);
/* The whole message of an operation, in a buffer of SAMI_FIREWALL_MESSAGE_MAX octets. */
struct nlmsghdr *sami_expect_build(const SamiExpectation *expectation, SamiExpectOpKind kind, guint8 *buffer);
