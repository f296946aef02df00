/* Session fields <-> CTA_* attributes (linux/netfilter/nfnetlink_conntrack.h, Linux 6.18). Internal to firewall/. */
#pragma once

#include <libmnl/libmnl.h>

#include "firewall/firewall.h"

/* The attributes of one conntrack message -> a session (zeroed first). FALSE if it is no usable entry (no original tuple). */
gboolean sami_ct_parse(const struct nlmsghdr *nlh, SamiSession *ret);

/* Appends what an operation needs. */
void sami_ct_put_key(struct nlmsghdr *nlh, const SamiFlowKey *key);
void sami_ct_put_create(struct nlmsghdr *nlh, const SamiSession *session);
void sami_ct_put_update_full(struct nlmsghdr *nlh, const SamiSession *session);
void sami_ct_put_update_flags(struct nlmsghdr *nlh, const SamiSession *session);
void sami_ct_put_timeout(struct nlmsghdr *nlh, guint32 timeout_s);
void sami_ct_put_id(struct nlmsghdr *nlh, guint32 flow_id);

/* Starts a message in `buffer`. */
struct nlmsghdr *sami_ct_message(gpointer buffer, guint16 type, guint16 flags, guint8 family, guint32 sequence);
