/* Files of one migration in the order of its Messages, however they were named: a resumed session has a file of its own, and so has each generation of a
 * replication. */
#pragma once

#include "replay/replay.h"

/* Stable: where the first file of a migration stands, its others follow, by their counters; whatever else there is, and standard input, stays in its
 * place. Nothing is verified here. (transfer container) of const gchar *, as in `paths` */
GPtrArray *replay_order(const Replay *replay, GStrv paths);
