/* Which part of a set element's counters other firewalls have brought, as the collector of this host wrote it and as its exporter must know
 * (LIFECYCLE §10): a firewall's own part is what is left, and each part is told under the name of the firewall that counted it. So nothing
 * is added twice, on whatever way and however often a VM comes back.
 *
 * A mapped file in run-dir with one writer; it ends with the boot, as the sets do. Keys are kept as hashes under a secret of the file. Everything is
 * done under a lock, which also holds what is in the kernel and what is here together: take it before looking at either. One thread a handle. */
#pragma once

#include "firewall/sets.h"
#include "templates/records.h"

#define SAMI_SHARE_ORIGIN 8u
/* Firewalls that have counted for one element: a VM that has been behind more of them leaves the others' parts to the last one. */
#define SAMI_SHARES_A_KEY 16u
/* 48 octets each; beyond it nothing more is taken into a set, because it could be added again. */
#define SAMI_SHARES_MAX (1u << 20)

typedef struct {
    guint8 origin[SAMI_SHARE_ORIGIN];
    guint64 packets, octets, quota;
} SamiShare;

typedef struct SamiShares SamiShares;

/* The name of a firewall as it is written here and on the wire. */
void sami_share_origin(const gchar *firewall, guint8 ret[SAMI_SHARE_ORIGIN]);

/* For the writer: goes on with a file of this boot, or makes one. SAMI_ERROR_FAILED. */
SamiShares *sami_shares_new(const gchar *path, GError **error);
/* For the exporter; no file is the same as an empty one. */
SamiShares *sami_shares_watch(const gchar *path);
void sami_shares_free(SamiShares *shares);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiShares, sami_shares_free)

/* The writer's lock keeps everybody out, a reader's only the writer. Waits: the other side holds it for a slice of its work. */
void sami_shares_lock(SamiShares *shares);
void sami_shares_unlock(SamiShares *shares);

/* Of one element; `set` is its name in the configuration. Returns how many. */
guint sami_shares_get(const SamiShares *shares, const gchar *set, const guint8 *key, guint8 key_length, SamiShare ret[SAMI_SHARES_A_KEY]);
/* The parts of an element that a dump has handed out, by the firewalls that counted them, `self` first; under the lock. `again` is another handle of the
 * set, for a second look: it may be fresher than the dump, and is in *element then. Returns how many. */
guint sami_shares_parts(const SamiShares *shares, const gchar *set, SamiSet *again, const SamiSetInfo *info, const guint8 self[SAMI_SHARE_ORIGIN],
                        SamiSetElement *element, SamiShare ret[SAMI_SHARES_A_KEY + 1]);
/* The record of one of them. */
void sami_share_record(const gchar *set, const SamiSetInfo *info, const SamiSetElement *element, const SamiShare *share, SamiCumulative *ret);
/* Writer only. A share of nothing is none. FALSE: there is no room for another one. */
gboolean sami_shares_set(SamiShares *shares, const gchar *set, const guint8 *key, guint8 key_length, const SamiShare *share);
/* Writer only. The element is not there any more, or a new one is. */
void sami_shares_forget(SamiShares *shares, const gchar *set, const guint8 *key, guint8 key_length);
guint sami_shares_n(const SamiShares *shares);

/* Writer only: elements that have expired leave their shares behind. What has no element in the set any more goes. */
void sami_shares_sweep(SamiShares *shares, const gchar *name, SamiSet *set, const SamiSetInfo *info);
/* Its parts: between begin and end each element that is there is marked. */
void sami_shares_sweep_begin(SamiShares *shares);
void sami_shares_mark(SamiShares *shares, const gchar *set, const guint8 *key, guint8 key_length);
void sami_shares_sweep_end(SamiShares *shares, const gchar *set);
