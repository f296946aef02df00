/* The filter of a replication: replicate-protocols, -addresses, -ignore and -states of peers.d. Pure. */
#pragma once

#include "common/config.h"
#include "templates/session.h"

typedef struct SamiFilter SamiFilter;

/* SAMI_ERROR_USAGE names the peer, the key and a prefix with bits beyond its length. */
SamiFilter *sami_filter_new(const SamiConfigPeer *peer, GError **error);
void sami_filter_free(SamiFilter *filter); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiFilter, sami_filter_free)
gboolean sami_filter_equal(const SamiFilter *a, const SamiFilter *b);

/* By protocol and addresses: the same answer as long as the flow lives, so neither it nor its end need be looked at. The addresses
 * are those of the two ends, before any translation; without a reply tuple the original ones. */
gboolean sami_filter_has_flow(const SamiFilter *filter, const SamiSession *session);
/* By TCP state. FALSE: nothing is to be sent. An entry that a dump shows (created) in a state that is not wanted is not sent: what the standby
 * has of it goes with the end of the epoch. One that a change led there (update) becomes a deletion, and comes again
 * when it is wanted again. No deletion of what was in no wanted state before. */
gboolean sami_filter_record(const SamiFilter *filter, const SamiSession *session, SamiAction *action);
