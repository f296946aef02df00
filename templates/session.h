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
 * dst_port is (type << 8 | code), as in the direction of this tuple; for GRE they are the keys (PPTP call ids, 0 without); a
 * protocol that the kernel tracks by addresses only has 0 in both. 36 octets without padding. */
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
    guint16 zone;    /* of the original direction: nf_ct_zone_id(zone, IP_CT_DIR_ORIGINAL) */
    guint8 family;   /* 4 or 6; in the key of a refusal perhaps with SAMI_FLOW_KEY_VLAN */
    guint8 protocol; /* IPPROTO_* */
} SamiFlowKey;
/* Bit of `family`: `zone` is a VLAN, which each firewall has a zone of its own for. Only in keys that are sent to a peer. */
#define SAMI_FLOW_KEY_VLAN 0x80u
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
    SAMI_HAS_REPLY_ZONE = 1 << 11, /* reply_zone; default: that of the original direction. One of the two is 0 then. */
    SAMI_HAS_SCTP = 1 << 12,     /* sctp_state, sctp_vtag[2] */
    SAMI_HAS_DCCP = 1 << 13,     /* dccp_*; no kernel since 6.17 has it */
    SAMI_HAS_SEQADJ = 1 << 14,   /* seqadj[2]; TCP */
    SAMI_HAS_SYNPROXY = 1 << 15, /* synproxy_*; TCP */
    SAMI_HAS_HELPER = 1 << 16,   /* helper */
    SAMI_HAS_HELPER_INFO = 1 << 17, /* helper_info; only with SAMI_HAS_HELPER */
    SAMI_HAS_MASTER = 1 << 18,   /* master: the flow is a child of that one, in the same zone */
    SAMI_HAS_SECCTX = 1 << 19,   /* secctx: informational */
} SamiHas;

/* Flags of a record (element sessionFlags). */
#define SAMI_SESSION_LATE 0x01u /* created after the freeze marker: CREATE|EXCL only */

#define SAMI_HELPER_NAME_MAX 16u /* octets with the final 0: NF_CT_HELPER_NAME_LEN */
#define SAMI_HELPER_INFO_MAX 32u /* octets: nf_conn_help.data */
#define SAMI_SECCTX_MAX 64u      /* octets of what is carried of a security context, with the final 0 */

/* What a NAT helper has added to or taken from a TCP stream (struct nf_ct_seqadj). */
typedef struct {
    guint32 correction_pos;
    gint32 offset_before, offset_after;
} SamiSeqAdj;

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
    guint16 reply_zone;
    guint8 sctp_state;     /* enum sctp_conntrack, 0..8 */
    guint8 dccp_state;     /* enum ct_dccp_states, 0..9 */
    guint8 dccp_role;      /* role of the original direction: 0 client, 1 server */
    guint32 sctp_vtag[2];  /* verification tags as they are on the wire, read as a number; [0] original direction */
    guint64 dccp_handshake_seq;
    SamiSeqAdj seqadj[2];
    guint32 synproxy_isn, synproxy_its, synproxy_tsoff;
    gchar helper[SAMI_HELPER_NAME_MAX];       /* zero-padded */
    guint8 helper_info[SAMI_HELPER_INFO_MAX]; /* opaque, of helpers in user space */
    SamiFlowKey master;
    gchar secctx[SAMI_SECCTX_MAX];
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
#define SAMI_IPS_OFFLOAD 0x4000u
#define SAMI_TCP_FLAG_WINDOW_SCALE 0x01u
#define SAMI_TCP_FLAG_SACK_PERM 0x02u
#define SAMI_TCP_FLAG_BE_LIBERAL 0x08u
#define SAMI_TCP_STATE_ESTABLISHED 3u
#define SAMI_TCP_STATE_MAX 9u
#define SAMI_SCTP_STATE_MAX 8u /* HEARTBEAT_SENT; 9 is not used any more, and the kernel does not check what it is given */

/* GHashFunc and GEqualFunc over SamiFlowKey. */
guint sami_flow_key_hash(gconstpointer key);
gboolean sami_flow_key_equal(gconstpointer a, gconstpointer b);

/* One of the 128 labels, by its number. */
gboolean sami_labels_have(const guint8 labels[16], guint number);
void sami_labels_put(guint8 labels[16], guint number, gboolean is_set);

/* TRUE if every field that `has` names is equal. */
gboolean sami_session_equal(const SamiSession *a, const SamiSession *b);

/* Are the two the same in what no update of the kernel's entry can change: reply tuple, window scale, zone of the reply, sequence
 * adjustment, synproxy, helper, master? Groups of `except` (SamiHas) are not looked at. */
gboolean sami_session_same_fixed(const SamiSession *a, const SamiSession *b, guint32 except);

/* Does the reply tuple differ from the mirrored original, i.e. is the flow translated in that respect?
 * Source translation: reply.dst is not orig.src; destination translation: reply.src is not orig.dst.
 * Address and port are both looked at (for ICMP the identifier). */
gboolean sami_session_has_snat(const SamiSession *session);
gboolean sami_session_has_dnat(const SamiSession *session);

/* How the kernel tells flows of a protocol between two addresses apart. */
typedef enum {
    SAMI_SELECTOR_NONE,  /* not at all: a protocol without a tracker of its own */
    SAMI_SELECTOR_PORTS, /* TCP, UDP, UDP-Lite, SCTP, DCCP */
    SAMI_SELECTOR_ICMP,  /* ICMP, ICMPv6 */
    SAMI_SELECTOR_GRE,
} SamiSelector;
SamiSelector sami_protocol_selector(guint8 protocol);
/* "tcp"; NULL for one without a tracker. (transfer none) (nullable) */
const gchar *sami_protocol_name(guint8 protocol);

/* The untranslated reply of `key`: addresses and ports swapped; for ICMP the identifier is kept and the type is
 * the answer's type. FALSE if an ICMP type has no answer (ret_reply is then untouched). */
gboolean sami_flow_key_mirror(const SamiFlowKey *key, SamiTuple *ret_reply);

/* "tcp 10.0.0.1:80 -> [2001:db8::1]:443 zone 0", or "vlan 10", for messages. (transfer full) */
gchar *sami_flow_key_to_string(const SamiFlowKey *key);

/* An address or prefix "10.0.0.0/24", "2001:db8::1". */
typedef struct {
    SamiAddress address;
    guint8 family; /* 4 or 6 */
    guint8 length; /* 0..32 or 0..128 */
} SamiPrefix;

/* SAMI_ERROR_USAGE with the text quoted, if it is no address or has bits beyond its length. */
gboolean sami_prefix_parse(const gchar *text, SamiPrefix *ret_prefix, GError **error);
/* A list of the configuration, of SamiPrefix; NULL is empty. SAMI_ERROR_CONFIG with `what` before the message. (transfer full) */
GArray *sami_prefix_list(GStrv texts, const gchar *what, GError **error);
gchar *sami_prefix_to_string(const SamiPrefix *prefix);
gboolean sami_prefix_contains(const SamiPrefix *prefix, guint8 family, const SamiAddress *address);
/* Is every address of `inner` in `outer`? */
gboolean sami_prefix_covers(const SamiPrefix *outer, const SamiPrefix *inner);
/* Whether one of a list of SamiPrefix does. */
gboolean sami_prefixes_cover(const GArray *outer, const SamiPrefix *inner);
/* Does any of the n prefixes contain the address? */
gboolean sami_prefixes_contain(const SamiPrefix *prefixes, guint n, guint8 family, const SamiAddress *address);
