/* A session record: one conntrack entry in our own names, independent of kernel and wire.
 *
 * firewall/ fills it from CTA_* attributes and builds CTA_* attributes from it; templates/codec carries it as an
 * IPFIX Data Record. It is a plain value: copy it by assignment, compare it with sami_session_equal(). Zero it
 * before filling: unused octets must be 0, since tuples are hashed and compared as memory. */
#pragma once

#include <glib.h>

/* An address. IPv4 in the first four octets, the rest 0. Network byte order. */
typedef struct {
    guint8 octets[16];
} SamiAddress;

/* One direction of a flow. Ports in host byte order. For ICMP and ICMPv6 src_port is the identifier and
 * dst_port is (type << 8 | code), as in the direction of this tuple. 36 octets without padding. */
typedef struct {
    SamiAddress src;
    SamiAddress dst;
    guint16 src_port;
    guint16 dst_port;
} SamiTuple;
G_STATIC_ASSERT(sizeof(SamiTuple) == 36);

/* Flow identity (PROTOCOL §4): original tuple + zone + protocol. Hash and compare it as 40 octets of memory. */
typedef struct {
    SamiTuple orig;
    guint16 zone;
    guint8 family;   /* 4 or 6 */
    guint8 protocol; /* IPPROTO_* */
} SamiFlowKey;
G_STATIC_ASSERT(sizeof(SamiFlowKey) == 40);

/* firewallEvent (233) values that we use. */
typedef enum {
    SAMI_ACTION_CREATED = 1,
    SAMI_ACTION_DELETED = 2,
    SAMI_ACTION_UPDATE = 5,
} SamiAction;

/* Which groups of optional fields are present. A group is there as a whole or not at all; absence means the
 * default given behind it, or "none" where the kernel has no default. */
typedef enum {
    SAMI_HAS_STATUS = 1 << 0,    /* status; default: none, only CONFIRMED */
    SAMI_HAS_TIMEOUT = 1 << 1,   /* timeout_s; required in a created or update record */
    SAMI_HAS_TCP = 1 << 2,       /* tcp_state, tcp_flags[2] */
    SAMI_HAS_WSCALE = 1 << 3,    /* tcp_wscale[2]; only with SAMI_HAS_TCP */
    SAMI_HAS_MARK = 1 << 4,      /* mark; default 0 */
    SAMI_HAS_LABELS = 1 << 5,    /* labels; default all zero */
    SAMI_HAS_REPLY = 1 << 6,     /* reply tuple; in all but deleted records */
    SAMI_HAS_ID = 1 << 7,        /* flow_id: a hint, never proof */
    SAMI_HAS_START = 1 << 8,     /* start_ns, nanoseconds since 1970, 0 never */
    SAMI_HAS_COUNTERS = 1 << 9,  /* packets[2], octets[2]: informational */
    SAMI_HAS_VLAN = 1 << 10,     /* vlan; default none */
} SamiHas;

/* Flags of a record (element sessionFlags). */
#define SAMI_SESSION_LATE 0x01u /* created after the freeze marker: CREATE|EXCL only */

typedef struct {
    SamiFlowKey key;
    SamiTuple reply; /* as the kernel has it: reply.src is where replies come from */
    guint32 has;     /* SamiHas bits */
    guint8 action;   /* SamiAction */
    guint8 flags;    /* SAMI_SESSION_* */
    guint16 vlan;
    guint32 status;    /* IPS_* bits as dumped (linux/netfilter/nf_conntrack_common.h) */
    guint32 timeout_s; /* remaining */
    guint32 mark;
    guint8 tcp_state;     /* enum tcp_conntrack, 0..9 */
    guint8 tcp_flags[2];  /* IP_CT_TCP_FLAG_*; [0] original, [1] reply direction */
    guint8 tcp_wscale[2]; /* 0..14 */
    guint8 labels[16];    /* kernel byte order as dumped */
    guint32 flow_id;      /* CTA_ID */
    guint64 start_ns;
    guint64 packets[2];
    guint64 octets[2];
} SamiSession;

/* Kernel values that both ends need by name (linux/netfilter/nf_conntrack_common.h, nf_conntrack_tcp.h). */
#define SAMI_IPS_EXPECTED 0x0001u
#define SAMI_IPS_SEEN_REPLY 0x0002u
#define SAMI_IPS_ASSURED 0x0004u
#define SAMI_IPS_CONFIRMED 0x0008u
#define SAMI_IPS_SRC_NAT 0x0010u
#define SAMI_IPS_DST_NAT 0x0020u
#define SAMI_IPS_DYING 0x0200u
#define SAMI_IPS_FIXED_TIMEOUT 0x0400u
#define SAMI_TCP_FLAG_WINDOW_SCALE 0x01u
#define SAMI_TCP_FLAG_SACK_PERM 0x02u
#define SAMI_TCP_FLAG_CLOSE_INIT 0x04u
#define SAMI_TCP_FLAG_BE_LIBERAL 0x08u
#define SAMI_TCP_STATE_ESTABLISHED 3u
#define SAMI_TCP_STATE_MAX 9u

/* GHashFunc and GEqualFunc over SamiFlowKey. */
guint sami_flow_key_hash(gconstpointer key);
gboolean sami_flow_key_equal(gconstpointer a, gconstpointer b);

/* TRUE if every field that `has` names is equal. */
gboolean sami_session_equal(const SamiSession *a, const SamiSession *b);

/* Does the reply tuple differ from the mirrored original, i.e. is the flow translated in that respect?
 * Source translation: reply.dst is not orig.src; destination translation: reply.src is not orig.dst.
 * Address and port are both looked at (for ICMP the identifier). */
gboolean sami_session_has_snat(const SamiSession *session);
gboolean sami_session_has_dnat(const SamiSession *session);

/* The untranslated reply of `key`: addresses and ports swapped; for ICMP the identifier is kept and the type is
 * the answer's type. FALSE if an ICMP type has no answer (ret_reply is then untouched). */
gboolean sami_flow_key_mirror(const SamiFlowKey *key, SamiTuple *ret_reply);

/* "tcp 10.0.0.1:80 -> [2001:db8::1]:443 zone 0", for messages. (transfer full) */
gchar *sami_flow_key_to_string(const SamiFlowKey *key);

/* An address or prefix "10.0.0.0/24", "2001:db8::1". */
typedef struct {
    SamiAddress address;
    guint8 family; /* 4 or 6 */
    guint8 length; /* 0..32 or 0..128 */
} SamiPrefix;

/* SAMI_ERROR_USAGE with the text quoted, if it is no address or has bits beyond its length. */
gboolean sami_prefix_parse(const gchar *text, SamiPrefix *ret_prefix, GError **error);
gchar *sami_prefix_to_string(const SamiPrefix *prefix);
gboolean sami_prefix_contains(const SamiPrefix *prefix, guint8 family, const SamiAddress *address);
/* Is every address of `inner` in `outer`? */
gboolean sami_prefix_covers(const SamiPrefix *outer, const SamiPrefix *inner);
/* Does any of the n prefixes contain the address? */
gboolean sami_prefixes_contain(const SamiPrefix *prefixes, guint n, guint8 family, const SamiAddress *address);
