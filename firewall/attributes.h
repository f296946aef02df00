/* Session fields <-> CTA_* attributes (linux/netfilter/nfnetlink_conntrack.h, Linux 6.18). Internal
 * to firewall/.
 *
 * One table, indexed by attribute type, says of every attribute how it is read, how and for which
 * operations it is written, or why it is not carried. Reading, writing and the test that walks the
 * kernel's header all use it. */
#pragma once

#include <libmnl/libmnl.h>

#include "firewall/firewall.h"

/* Octets of the largest message that sami_ct_put() writes: both IPv6 tuples, both translations,
 * everything else. */
#define SAMI_CT_MESSAGE_MAX SAMI_FIREWALL_MESSAGE_MAX

typedef struct {
    const gchar *name;    /* "CTA_MARK"; NULL for a number that is no attribute */
    const gchar *because; /* (nullable) why it is not carried; then the rest is 0 */
    void (*parse)(const struct nlattr *attr, SamiSession *ret);
    void (*build)(struct nlmsghdr *nlh, const SamiSession *session, SamiOpKind kind);
    guint ops; /* 1 << SamiOpKind: the operations that it is written for */
} SamiCtAttribute;

/* (nullable): a number that this table does not know, from a kernel newer than it. */
const SamiCtAttribute *sami_ct_attribute(guint type);

/* The attributes of one conntrack message -> a session (zeroed first). FALSE if it is no usable
 * entry (no original tuple, or neither IPv4 nor IPv6). */
gboolean sami_ct_parse(const struct nlmsghdr *nlh, SamiSession *ret);

/* Appends what an operation needs. */
void sami_ct_put(struct nlmsghdr *nlh, const SamiSession *session, SamiOpKind kind);
/* Appends what names an entry: original tuple and zone. */
void sami_ct_put_key(struct nlmsghdr *nlh, const SamiFlowKey *key);

/* One tuple, without a zone of its own: family and protocol are those of `key`. FALSE: it is not whole. */
gboolean sami_ct_parse_tuple(const struct nlattr *nest, guint8 family, SamiTuple *ret, guint8 *ret_protocol);
void sami_ct_put_tuple(struct nlmsghdr *nlh, guint16 type, const SamiFlowKey *key, const SamiTuple *tuple);

/* Starts a message in `buffer`. family 0 is unspecified. */
struct nlmsghdr *sami_ct_message(gpointer buffer, guint16 type, guint16 flags, guint8 family,
                                 guint32 sequence);
