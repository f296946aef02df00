/* What happens to the SCTP packets of a process on their way out: hooks for SamiSctpConfig.send, in the processes of the laboratory. */
#pragma once

#include <glib.h>
#include <sys/socket.h>

/* Per mille of all datagrams that are lost, doubled, and sent after the next one. */
extern guint weather_loss, weather_twice, weather_late;
ssize_t weather_send(int fd, const struct msghdr *message, int flags);

/* A peer without SCTP-AUTH: INIT and INIT ACK do not offer it. */
ssize_t weather_send_without_offer(int fd, const struct msghdr *message, int flags);
/* A peer that says it authenticates, and does not. */
ssize_t weather_send_without_auth(int fd, const struct msghdr *message, int flags);
/* A peer whose exported key is another one: what is under key id 1 has a wrong HMAC. */
ssize_t weather_send_wrong_key(int fd, const struct msghdr *message, int flags);

/* A peer that knows nothing but how to come up: it never answers anything afterwards. `fd` is connected to the server's UDP port, which is also its
 * SCTP port. The source port is always the same, so that a second call on the same socket restarts the association. TRUE: the server took the COOKIE
 * ECHO. */
gboolean weather_associate(int fd, guint16 port, guint32 tag);
/* Waits for an ABORT. */
gboolean weather_is_aborted(int fd, gint64 timeout_ms);

/* An INIT for `port`, with its checksum; its length. */
gsize weather_init(guint16 port, guint32 tag, guint8 ret_packet[32]);
