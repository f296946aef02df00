/* Is this a network namespace in which nothing but a test can be hurt? */
#pragma once

#include "common/error.h"

#define REPLAY_NAMESPACE_SELF "/proc/self/ns/net"
#define REPLAY_NAMESPACE_INITIAL "/proc/1/ns/net"

/* TRUE if `self` and `initial` are two network namespaces. SAMI_ERROR_PERMISSION if they are one, or if either cannot be looked at: who may not look
 * at process 1 cannot know. */
gboolean replay_namespace_is_apart(const gchar *self, const gchar *initial, GError **error);
