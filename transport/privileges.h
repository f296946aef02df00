/* What a process of a daemon gives up once it has what it needs. Private to transport/. */
#pragma once

#include <sys/types.h>

#include "common/error.h"

/* For the network process, before it reads a single octet from the network. Groups and user go for good to those of `user`; NULL, or a process
 * that is not root: it keeps them. Then sami_privileges_keep(-1). SAMI_ERROR_PERMISSION or SAMI_ERROR_CONFIG; then the caller must end. */
gboolean sami_privileges_drop(const gchar *user, GError **error);

/* Whether it could be given up for `user`. SAMI_ERROR_CONFIG. */
gboolean sami_privileges_check_user(const gchar *user, GError **error);

/* Of all capabilities, the bounding set included, only `kept` is left; -1: none. No new privileges, and the memory is hidden. */
gboolean sami_privileges_keep(gint kept, GError **error);

/* The process gets SIGTERM when its parent ends. Must follow sami_privileges_drop: a change of
 * user clears it. `parent` is getppid() at the start; FALSE if that process is gone already. */
gboolean sami_privileges_follow_parent(pid_t parent, GError **error);
