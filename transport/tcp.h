/* Options of the TCP sockets. Private to transport/. */
#pragma once

#include <glib.h>

/* Keepalive and timeouts so that a dead peer shows within seconds, a dead path sooner where there is another one; no delay for small Messages.
 * Failures are harmless. */
void sami_tcp_tune(int fd, gboolean has_other_paths);
