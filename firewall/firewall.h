/* The kernel's connection tracking, behind one table of operations with a Linux and a fake implementation.
 *
 * A SamiFirewall is one request socket in the network namespace of the caller. It is not thread safe: one handle a
 * thread. Nothing here logs. Sources: net/netfilter/nf_conntrack_netlink.c of Linux 6.18. */
#pragma once

#include "common/error.h"
#include "templates/session.h"

typedef struct SamiFirewall SamiFirewall;
typedef struct SamiFirewallDump SamiFirewallDump;
typedef struct SamiFirewallEvents SamiFirewallEvents;

/* What one operation of a batch does. */
typedef enum {
    SAMI_OP_CREATE, /* CREATE|EXCL, LIFECYCLE §5: CONFIRMED set, bits that the kernel refuses filtered (EXPECTED, DYING,
                       NAT, OFFLOAD, FIXED_TIMEOUT), TCP flags mask 0xff value (flags & 0x07) | 0x08, NAT as untranslated
                       reply + exact CTA_NAT_*. GRE: FIXED_TIMEOUT, and no less time than SAMI_FIREWALL_GRE_S */
    SAMI_OP_UPDATE_FULL,  /* update without CREATE: timeout, TCP state, mark, labels as present; TCP flags mask 0x08 only.
                             LIFECYCLE §6: only for an entry of ours that no packet has touched */
    SAMI_OP_UPDATE_GROWN, /* the same with the status bits SEEN_REPLY and ASSURED, which can only be added: the session's status must have
                             those that a fresh look found */
    SAMI_OP_UPDATE_FLAGS, /* update without CREATE: only TCP flags, value given in `tcp_flags` & 0x08, mask 0x08 */
    SAMI_OP_UPDATE_TIMEOUT, /* update without CREATE: only the timeout */
    SAMI_OP_UPDATE_FIXED,   /* the same, and from then on the kernel leaves it alone: status FIXED_TIMEOUT is added to what a fresh look found */
    SAMI_OP_DELETE, /* by original tuple + zone, and by flow_id if SAMI_HAS_ID */
} SamiOpKind;

/* A GRE flow keeps its own two timeouts in the entry, and only its first packet sets them (nf_conntrack_gre_packet): one that was created
 * otherwise has 0, and would end with the next packet. So its time is fixed, and long: seconds. */
#define SAMI_FIREWALL_GRE_S 86400u

typedef struct {
    SamiOpKind kind;
    const SamiSession *session; /* (transfer none), valid during the call */
    int result;                 /* out: 0, or the positive errno of the kernel's answer */
    guint8 *message; /* (nullable) (transfer none) what sami_firewall_build() made of a session of the same kind and flow: sent
                        instead of one built from `session`; its sequence number is overwritten */
} SamiOp;

/* What to dump. family 4, 6 or 0 for both. With n_prefixes > 0 only entries whose original source or reply source lies
 * in one of them ("the VM is the untranslated end", DESIGN §2) are handed out; others that name a prefix elsewhere
 * are counted in n_not_vm_end. The implementation picks kernel filters or a user-space filter (LIFECYCLE §3.10);
 * an entry can be handed out more than once. has_zone / has_mark limit further. */
typedef struct {
    guint8 family;
    guint8 is_counting_not_vm_end;
    gboolean has_zone;
    guint16 zone;
    gboolean has_mark;
    guint32 mark;
    guint32 mark_mask;
    const SamiPrefix *prefixes; /* (transfer none), must outlive the dump */
    guint n_prefixes;
} SamiDumpFilter;

typedef void (*SamiSessionFunc)(const SamiSession *session, gpointer user_data);

typedef enum {
    SAMI_EVENT_NEW,
    SAMI_EVENT_UPDATE,
    SAMI_EVENT_DESTROY,
} SamiEventKind;

/* `session` is valid during the call. Of a DESTROY event only key, reply, id, start and the TCP state are filled. Events that a
 * socket of the caller's own process caused (nlmsg_pid) are not handed out. */
typedef void (*SamiEventFunc)(SamiEventKind kind, const SamiSession *session, gpointer user_data);

/* Opens the request socket of the current network namespace. SAMI_ERROR_KERNEL, SAMI_ERROR_PERMISSION without CAP_NET_ADMIN. */
SamiFirewall *sami_firewall_linux_new(GError **error);
/* A table in memory with the semantics that LIFECYCLE relies on; for tests. `capacity` 0 is unlimited, otherwise creation
 * beyond it answers ENOMEM. */
SamiFirewall *sami_firewall_fake_new(guint capacity);
void sami_firewall_free(SamiFirewall *firewall);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiFirewall, sami_firewall_free)

/* Applies n operations in order, in batches of its own, without acknowledgements; every op gets its own result. Blocks
 * until the kernel has worked them off. FALSE only if the socket itself failed; then results from the failed batch on
 * are ECANCELED and nothing is known about them.
 * Known results: EEXIST, ENOENT, ENOMEM (table full), ENOSPC (chain too long), EBUSY, EINVAL, EOPNOTSUPP. */
gboolean sami_firewall_apply(SamiFirewall *firewall, SamiOp *ops, guint n, GError **error);

/* The kernel's message for an operation, built ahead and by any thread: building takes as long as a tenth of what the kernel needs,
 * and the thread that injects is the one that everything waits for. Writes at most SAMI_FIREWALL_MESSAGE_MAX octets, aligned to 4, with
 * `timeout_s` in place of the session's. Returns the octets; messages that lie one behind the other are sent at once. */
#define SAMI_FIREWALL_MESSAGE_MAX 768u
gsize sami_firewall_build(const SamiSession *session, SamiOpKind kind, guint32 timeout_s, guint8 *buffer);
/* What such a message says of the entry, or one that the kernel sent. FALSE, ret untouched: n octets are not one whole message of an entry. */
gboolean sami_firewall_parse(const guint8 *message, gsize n, SamiSession *ret);

/* Reads n entries by original tuple + zone, pipelined. For each i in order of keys, ret[i] is filled and found[i] TRUE, or
 * found[i] is FALSE. ret[i].has tells what the kernel gave. A key that names a *reply* tuple finds the flow too, as in the
 * kernel: compare ret[i].key. */
gboolean sami_firewall_get(SamiFirewall *firewall, const SamiFlowKey *keys, guint n, SamiSession *ret, gboolean *found, GError **error);

/* Starts a dump on a socket of its own, non-blocking. A part that is handed out may have been filled some parts before: what events have
 * said of an entry since the dump began is newer. */
SamiFirewallDump *sami_firewall_dump_new(SamiFirewall *firewall, const SamiDumpFilter *filter, GError **error);
/* File descriptor to poll for reading. */
int sami_firewall_dump_fd(SamiFirewallDump *dump);
typedef enum { SAMI_DUMP_MORE, SAMI_DUMP_END, SAMI_DUMP_BAD } SamiDumpStatus;
/* Takes at most one kernel part (32 kB) and calls func for each selected entry. MORE also when nothing was there to
 * read yet. A dump that the kernel marks as interrupted is restarted by itself. */
SamiDumpStatus sami_firewall_dump_next(SamiFirewallDump *dump, SamiSessionFunc func, gpointer user_data, GError **error);
/* Entries seen so far that name a prefix but are not the VM's own end; see SamiDumpFilter. */
guint64 sami_firewall_dump_not_vm_end(const SamiFirewallDump *dump);
void sami_firewall_dump_free(SamiFirewallDump *dump);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiFirewallDump, sami_firewall_dump_free)

/* Opens the event socket (new, update, destroy), large receive buffer, never NO_ENOBUFS. `firewall` names the request socket
 * whose own events are dropped. */
SamiFirewallEvents *sami_firewall_events_new(SamiFirewall *firewall, GError **error);
int sami_firewall_events_fd(SamiFirewallEvents *events);
/* Takes up to max_events queued events without blocking. TRUE when the queue is empty or max was reached.
 * FALSE with SAMI_ERROR_OVERRUN after ENOBUFS: events were lost, the socket is usable again. */
gboolean sami_firewall_events_read(SamiFirewallEvents *events, guint max_events, SamiEventFunc func, gpointer user_data, GError **error);
/* LIFECYCLE §4: sends a GET for a tuple that cannot exist on the event socket itself and hands out every event that
 * comes before its error reply. Blocks at most 50 ms. FALSE with SAMI_ERROR_OVERRUN if the reply is lost. */
gboolean sami_firewall_events_barrier(SamiFirewallEvents *events, SamiEventFunc func, gpointer user_data, GError **error);
void sami_firewall_events_free(SamiFirewallEvents *events);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiFirewallEvents, sami_firewall_events_free)

/* Number of entries and the limit in this namespace (nf_conntrack_count, nf_conntrack_max). */
gboolean sami_firewall_headroom(SamiFirewall *firewall, guint64 *ret_entries, guint64 *ret_max, GError **error);
