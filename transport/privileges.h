/* What the network process gives up before it reads a single octet from the network. Private to
 * transport/. */
#pragma once

#include <sys/types.h>

#include "common/error.h"

/* user NULL, or a process that is not root: no_new_privs only. Otherwise groups, user,
 * capabilities and bounding set go for good, the process is no longer dumpable, and the loss is
 * verified. SAMI_ERROR_PERMISSION or SAMI_ERROR_CONFIG; then the caller must end. */
gboolean sami_privileges_drop(const gchar *user, GError **error);

/* The process gets SIGTERM when its parent ends. Must follow sami_privileges_drop: a change of
 * user clears it. `parent` is getppid() at the start; FALSE if that process is gone already. */
gboolean sami_privileges_follow_parent(pid_t parent, GError **error);
