/* Which records of a recording go on: --vm, and the filters. A deletion says less of a flow than the record that made it, so what that one was chosen by is
 * remembered where it has to be. */
#pragma once

#include "replay/filter.h"

/* Flows that only their replies choose (a translated destination), 100 octets each; beyond it every deletion is wanted, which does nothing to a flow that
 * is not there. */
#define REPLAY_SELECTED_MAX (1u << 20)

typedef struct ReplaySelection ReplaySelection;
/* SAMI_ERROR_USAGE: of a filter. */
ReplaySelection *replay_selection_new(const ReplayArgs *args, GError **error);
/* `vm`, of SamiPrefix, is what --vm says; it outlives the selection (transfer none). */
void replay_selection_set_vm(ReplaySelection *selection, const GArray *vm);
void replay_selection_free(ReplaySelection *selection); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ReplaySelection, replay_selection_free)
/* By its time. Half of an epoch ends nothing, so what is outside counts for nothing at all. */
gboolean replay_selection_has_message(const ReplaySelection *selection, const ReplayMessage *message);
/* Of records in the order of the recording; what is about the stream itself is always wanted. */
gboolean replay_selection_wants(ReplaySelection *selection, const SamiRecord *record);
