/* Elements of the nftables sets that sami.conf names ([cumulative NAME]), into a recorded file. */
#pragma once

#include "common/config.h"
#include "replay/output-file.h"

typedef struct {
    guint64 n_elements;
    guint64 n_left; /* elements that cannot be carried, or are beyond max-elements */
    guint n_failed; /* sets of which nothing, or not all, is in the file; each has been told on standard error */
} ReplaySetCounts;

/* `vm` of SamiPrefix; empty: everything, otherwise of a set with select=vm what is the VM's. FALSE only if the file cannot be written: a set that cannot be
 * read stops nothing else. */
gboolean replay_record_sets(const SamiConfig *config, const GArray *vm, ReplayOutput *output, ReplaySetCounts *ret, GError **error);
