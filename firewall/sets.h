/* nftables sets that packets fill: per-source counters, blacklists with timeouts. Read and written element by element, on libnftnl.
 *
 * A SamiSet names one set of the caller's network namespace and holds no state of it: the ruleset may be loaded anew at any time. Not
 * thread safe: one handle a thread. Nothing here logs. Calls block as long as the kernel works, which does so inside sendmsg() and recv().
 * Sources: net/netfilter/nf_tables_api.c, nft_set_hash.c, nft_counter.c and nft_quota.c of Linux 6.18; nft's include/datatype.h for
 * the types of keys, which are a registry of nft and not of the kernel.
 *
 * What the kernel does not list, and nobody can carry: how full the bucket of a `limit` is, the connections that a `ct count` has seen, when
 * `last` matched. Elements that have such an expression say so (SAMI_SET_HAS_OTHER). */
#pragma once

#include "common/error.h"
#include "templates/session.h"

/* nftables' registers: NFT_DATA_VALUE_MAXLEN. */
#define SAMI_SET_KEY_MAX 64u
/* Parts of a concatenated key: six bits each in 32. */
#define SAMI_SET_PARTS_MAX 5u

#define SAMI_SET_HAS_COUNTER 0x01u
#define SAMI_SET_HAS_QUOTA 0x02u
#define SAMI_SET_HAS_TIMEOUT 0x04u /* it expires */
#define SAMI_SET_HAS_OTHER 0x08u   /* it has an expression of which the kernel lists no state */
#define SAMI_SET_QUOTA_OVER 0x10u  /* the quota matches above its limit, NFT_QUOTA_F_INV */

typedef struct {
    guint8 key[SAMI_SET_KEY_MAX]; /* as in the registers: each part in network order, filled up to four octets with zeros */
    guint8 key_length;
    guint8 has;
    guint64 packets, octets;
    guint64 quota_used, quota_limit; /* octets */
    guint64 timeout_ms;              /* what a packet that updates it sets, its own or the set's */
    guint64 remaining_ms;
} SamiSetElement;

typedef struct {
    guint32 key_type;   /* of nft: six bits a part */
    guint8 key_length;
    gboolean has_timeouts;
    guint64 timeout_ms; /* of elements without one of their own; 0: they stay */
    guint32 size;       /* most elements; 0: no limit */
    guint8 has;         /* SAMI_SET_HAS_* of the expressions that every element gets */
    guint64 quota_limit;
} SamiSetInfo;

typedef struct SamiSet SamiSet;

/* `table` is "FAMILY TABLE". SAMI_ERROR_CONFIG if the words name no set; SAMI_ERROR_KERNEL, SAMI_ERROR_PERMISSION. */
SamiSet *sami_set_new(const gchar *table, const gchar *name, GError **error);
void sami_set_free(SamiSet *set);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiSet, sami_set_free)
/* "inet filter syn4" */
const gchar *sami_set_title(const SamiSet *set);

typedef enum {
    SAMI_SET_FINE,
    SAMI_SET_MISSING,
    SAMI_SET_UNFIT, /* intervals, a map, constant, or keys longer than SAMI_SET_KEY_MAX */
    SAMI_SET_FAILED,
} SamiSetStatus;
/* What the set is like now. `error` says why it is not fine, naming the set; ret is filled only if it is. */
SamiSetStatus sami_set_look(SamiSet *set, SamiSetInfo *ret, GError **error);

typedef void (*SamiSetFunc)(const SamiSetElement *element, gpointer user_data);
typedef enum { SAMI_SET_DUMP_MORE, SAMI_SET_DUMP_END, SAMI_SET_DUMP_BAD } SamiSetDumpStatus;
/* Begins a dump, on a socket of its own; a running one is given up. `info` must be of a look just before. A dump is no snapshot: what packets add or
 * remove meanwhile can make it miss other elements, or give them twice. It costs the more an element the more there are. */
gboolean sami_set_dump_start(SamiSet *set, const SamiSetInfo *info, GError **error);
/* One part (32 kB). */
SamiSetDumpStatus sami_set_dump_next(SamiSet *set, SamiSetFunc func, gpointer user_data, GError **error);
void sami_set_dump_stop(SamiSet *set);

/* Reads n elements by key, pipelined: keys of `wanted`, the rest into the same place of `ret`, which may be the same memory. */
gboolean sami_set_get(SamiSet *set, const SamiSetInfo *info, const SamiSetElement *wanted, guint n, SamiSetElement *ret, gboolean *found,
                      GError **error);

typedef struct {
    const SamiSetElement *element; /* (transfer none) */
    gboolean is_there; /* the kernel has one with this key, which goes */
    gboolean is_gone;  /* and none comes in its place */
} SamiSetWrite;

/* Writes all of them in one transaction: delete and add, because an element that is added again keeps its counter. 0, or a positive errno and
 * nothing was written: ENOENT, one that should be there has expired; EEXIST, packets have made one; ENFILE, the set is full; EOPNOTSUPP, the
 * set takes other expressions. A packet that comes while the transaction runs makes a second element with the same key; such twins are removed,
 * and what they had counted is added to *ret_n_lost (nullable). */
int sami_set_write(SamiSet *set, const SamiSetInfo *info, const SamiSetWrite *writes, guint n, guint64 *ret_n_lost);

/* A part of a key. */
typedef struct {
    guint8 type; /* nft's number */
    guint8 at, length;
} SamiSetPart;
/* Where the parts of a key lie. 0: they cannot be told, because a type is unknown or of no fixed length. */
guint sami_set_parts(guint32 key_type, guint8 key_length, SamiSetPart parts[SAMI_SET_PARTS_MAX]);
/* The first part that is an address. FALSE: there is none, or it cannot be told. */
gboolean sami_set_key_address(guint32 key_type, const guint8 *key, guint8 key_length, guint8 *ret_family, SamiAddress *ret_address);
/* Does any part lie in one of these prefixes? */
gboolean sami_set_key_is_of(guint32 key_type, const guint8 *key, guint8 key_length, const SamiPrefix *prefixes, guint n);
/* For messages: "203.0.113.5 . 53". (transfer full) */
gchar *sami_set_key_print(guint32 key_type, const guint8 *key, guint8 key_length);
