/* Options of the TCP sockets. Private to transport/. */
#pragma once

/* Keepalive and timeouts so that a dead peer shows within seconds; no delay for small Messages.
 * Failures are harmless. */
void sami_tcp_tune(int fd);
