/* Whose flows the table holds: those that a replication brought here are the peer's until packets or a takeover make them ours.
 *
 * The kernel does not say where an entry came from, and both daemons of a host have to know: the collector, which writes entries, and
 * the exporter, which must not send them back to where they came from. So the collector keeps the keys of what it brought in a file in
 * run-dir, which the exporter maps. A key is in it before the kernel has the entry, so that the exporter never meets an entry that
 * it would take for its own.
 *
 * One writer, any number of readers, no locks: keyed 64-bit hashes in open addressing; 11 to 21 octets a flow. A full table is replaced by
 * one of twice the size under the same name, and readers follow. The file outlives both daemons but not the machine's boot. */
#pragma once

#include "common/error.h"
#include "templates/session.h"

typedef struct SamiOrigin SamiOrigin;

/* For the collector: makes the file, or goes on with the one of this boot. SAMI_ERROR_FAILED names the path and the cause. */
SamiOrigin *sami_origin_new(const gchar *path, GError **error);
/* For the exporter: maps the file as soon as there is one. Until then nothing is the peer's. */
SamiOrigin *sami_origin_watch(const gchar *path);
void sami_origin_free(SamiOrigin *origin);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiOrigin, sami_origin_free)

/* Writer only. FALSE: it was there already. */
gboolean sami_origin_add(SamiOrigin *origin, const SamiFlowKey *key);
void sami_origin_remove(SamiOrigin *origin, const SamiFlowKey *key);
/* Everything here is ours from now on, and so is what was given up before (takeover). */
void sami_origin_clear(SamiOrigin *origin);
/* Ours is only what begins from `since_ns` on (nanoseconds since 1970): this firewall has become the backup, and what it still
 * has of earlier flows is not newer than the peer's. 0 takes it back. */
void sami_origin_yield(SamiOrigin *origin, guint64 since_ns);

gboolean sami_origin_contains(SamiOrigin *origin, const SamiFlowKey *key);
guint64 sami_origin_n(SamiOrigin *origin);
/* 0: not given up. */
guint64 sami_origin_yielded_ns(SamiOrigin *origin);
/* Grows with each takeover and yield: who sees another one than before looks at the whole table again. */
guint32 sami_origin_term(SamiOrigin *origin);
/* May this firewall speak for the flow? Needs start times (nf_conntrack_timestamp = 1) to tell what is older than a yield; without
 * one an entry is ours. */
gboolean sami_origin_is_ours(SamiOrigin *origin, const SamiSession *session);
