/* What an implementation of firewall/firewall.h provides. Internal to firewall/. */
#pragma once

#include <libmnl/libmnl.h>

#include "firewall/expect.h"

typedef struct {
    void (*free)(SamiFirewall *firewall);
    gboolean (*apply)(SamiFirewall *firewall, SamiOp *ops, guint n, GError **error);
    gboolean (*get)(SamiFirewall *firewall, const SamiFlowKey *keys, guint n, SamiSession *ret,
                    gboolean *found, GError **error);
    SamiFirewallDump *(*dump_new)(SamiFirewall *firewall, const SamiDumpFilter *filter,
                                  GError **error);
    SamiFirewallEvents *(*events_new)(SamiFirewall *firewall, GError **error);
    gboolean (*headroom)(SamiFirewall *firewall, guint64 *ret_entries, guint64 *ret_max,
                         GError **error);
    gboolean (*expect)(SamiFirewall *firewall, SamiExpectOp *ops, guint n, GError **error);
    gboolean (*expectations)(SamiFirewall *firewall, const SamiFlowKey *master,
                             SamiExpectationFunc func, gpointer user_data, GError **error);
} SamiFirewallOps;

typedef struct {
    int (*fd)(SamiFirewallDump *dump);
    SamiDumpStatus (*next)(SamiFirewallDump *dump, SamiSessionFunc func, gpointer user_data,
                           GError **error);
    void (*free)(SamiFirewallDump *dump);
} SamiDumpOps;

typedef struct {
    int (*fd)(SamiFirewallEvents *events);
    gboolean (*read)(SamiFirewallEvents *events, guint max_events, SamiEventFunc func,
                     gpointer user_data, GError **error);
    gboolean (*barrier)(SamiFirewallEvents *events, SamiEventFunc func, gpointer user_data,
                        GError **error);
    void (*free)(SamiFirewallEvents *events);
} SamiEventsOps;

/* Every implementation's structs begin with these. */
struct SamiFirewall {
    const SamiFirewallOps *ops;
};
struct SamiFirewallDump {
    const SamiDumpOps *ops;
    guint64 n_not_vm_end;
};
struct SamiFirewallEvents {
    const SamiEventsOps *ops;
};

/* What a filter selects, for both implementations: is the VM the untranslated end? Counts what
 * names it otherwise. */
gboolean sami_firewall_selects(const SamiDumpFilter *filter, const SamiSession *session,
                               guint64 *n_not_vm_end);

/* The action of a record that an event makes. */
SamiAction sami_firewall_action(SamiEventKind kind);

/* The Linux implementation, in four files. */
SamiFirewallDump *sami_linux_dump_new(SamiFirewall *firewall, const SamiDumpFilter *filter,
                                      GError **error);
SamiFirewallEvents *sami_linux_events_new(SamiFirewall *firewall, GError **error);
gboolean sami_linux_expect(SamiFirewall *firewall, SamiExpectOp *ops, guint n, GError **error);
gboolean sami_linux_expectations(SamiFirewall *firewall, const SamiFlowKey *master,
                                 SamiExpectationFunc func, gpointer user_data, GError **error);
/* One request on the request socket, with a sequence number of its own, and everything that comes
 * of it: a dump too, as the kernel fills its parts while they are received. */
typedef void (*SamiReplyFunc)(const struct nlmsghdr *nlh, gpointer user_data);
gboolean sami_linux_ask(SamiFirewall *firewall, struct nlmsghdr *nlh, SamiReplyFunc func,
                        gpointer user_data, GError **error);
/* A netlink socket, non-blocking, with a large receive buffer; SAMI_ERROR_KERNEL or
 * SAMI_ERROR_PERMISSION. (transfer full) */
struct mnl_socket *sami_linux_socket(guint32 groups, int receive_buffer, GError **error);
/* Port id of the request socket, which the kernel puts into the events that it causes. */
guint32 sami_linux_port(SamiFirewall *firewall);
/* For tests: a receive buffer so small that errors of a batch are lost. */
void sami_linux_set_receive_buffer(SamiFirewall *firewall, int octets);
/* The kernel's positive errno in a NLMSG_ERROR, 0 for an acknowledgement. */
int sami_linux_errno(const struct nlmsghdr *nlh);
