/* SCTP associations (RFC 9260) with SCTP-AUTH (RFC 4895) for DTLS over SCTP: user messages in and out, authentication keys, events. Private to
 * transport/.
 *
 * Two backends. The kernel's sockets where they exist: associations are multihomed as soon as either end has several addresses. Else libusrsctp
 * over one UDP socket of ours (RFC 6951), single-homed, driven by the main loop; the library keeps one idle thread. Of both: DATA and FORWARD-TSN
 * only with AUTH, in both directions; a peer that does not promise that does not come up. No PR-SCTP: what was sent arrives, or the association is
 * lost.
 * A dead peer is noticed within about 10 s, with data under way within 5. A restart of the association (RFC 9260 §5.2) is a loss: the DTLS session
 * does not outlive it. All calls are non-blocking. */
#pragma once

#include <sys/socket.h>

#include "common/error.h"
#include "common/limits.h"
#include "transport/address.h"

typedef struct SamiSctp SamiSctp;           /* the stack; one per process */
typedef struct SamiSctpAssoc SamiSctpAssoc; /* one association */

typedef enum { SAMI_SCTP_AUTO, SAMI_SCTP_USERLAND, SAMI_SCTP_KERNEL } SamiSctpBackend;

typedef struct {
    SamiSctpBackend backend;
    guint16 udp_port; /* RFC 6951, ours (of a listener) and every peer's; 0 with the kernel: plain SCTP over IP */
    /* For tests: how a UDP datagram leaves instead of sendmsg(2), which it may drop, delay or double. NULL else. */
    ssize_t (*send)(int fd, const struct msghdr *message, int flags);
} SamiSctpConfig;

/* AUTO becomes KERNEL if the kernel gives an SCTP socket, else USERLAND. */
SamiSctpBackend sami_sctp_choose(SamiSctpBackend backend);
const gchar *sami_sctp_backend_name(SamiSctpBackend backend);
/* "auto", "userland", "kernel". */
SamiSctpBackend sami_sctp_backend_parse(const gchar *name);
/* Before privileges are dropped: the backend is chosen for good, and the kernel is told to encapsulate if it has to. `ret_what` (nullable): which it
 * is and why, for the log. */
gboolean sami_sctp_prepare(SamiSctpConfig *config, gchar **ret_what, GError **error);
/* The listener's socket: SCTP, or UDP. */
int sami_sctp_open(const SamiSctpConfig *config, const gchar *host, const gchar *port, GError **error);

typedef void (*SamiSctpAccepted)(SamiSctpAssoc *assoc_take, gpointer user_data);
/* Takes `listener`, of sami_sctp_open(), with its SCTP port; or -1 for a process that only connects. */
SamiSctp *sami_sctp_new(const SamiSctpConfig *config, int listener_take, guint16 port, GMainContext *context, GError **error);
void sami_sctp_free(SamiSctp *sctp);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiSctp, sami_sctp_free)
/* New associations, which are up, are given to `accepted` from the main loop. NULL: there are to be no more. */
void sami_sctp_listen(SamiSctp *sctp, SamiSctpAccepted accepted, gpointer user_data);
/* Datagrams that were for nobody, since the stack began: no SCTP packet, a wrong checksum or verification tag, without an association or the
 * authentication that DATA needs; and those that came faster than they were read. 0 with the kernel's SCTP, which counts by itself
 * (/proc/net/sctp/snmp). */
typedef struct {
    guint64 n_strange, n_lost;
} SamiSctpDropped;
SamiSctpDropped sami_sctp_dropped(SamiSctp *sctp);
/* `address` is the peer's with its SCTP port. Comes up later, or is lost. */
SamiSctpAssoc *sami_sctp_connect(SamiSctp *sctp, const struct sockaddr *address, GError **error);

/* ---- one association ---- */

typedef enum {
    SAMI_SCTP_CONNECTING,
    SAMI_SCTP_UP,
    SAMI_SCTP_ENDED, /* the peer shut it down in order; everything that it sent was received */
    SAMI_SCTP_CLOSED, /* both did */
    SAMI_SCTP_LOST,  /* see sami_sctp_assoc_failure() */
} SamiSctpState;

typedef enum { SAMI_SCTP_DONE, SAMI_SCTP_AGAIN, SAMI_SCTP_OVER } SamiSctpResult;

/* Whenever something may have become possible, the ready time of `source` is set to now (a reference is kept; NULL for none). What happens
 * while the source is being dispatched must not be missed: is_woken() says so, and forgets it. */
void sami_sctp_assoc_wake(SamiSctpAssoc *assoc, GSource *source);
gboolean sami_sctp_assoc_is_woken(SamiSctpAssoc *assoc);
/* The state after the events that were received; receive() is what takes them in. */
SamiSctpState sami_sctp_assoc_state(const SamiSctpAssoc *assoc);
const gchar *sami_sctp_assoc_failure(const SamiSctpAssoc *assoc);
/* The peer: the address that was asked for, or where its packets come from. */
const gchar *sami_sctp_assoc_address(const SamiSctpAssoc *assoc);
/* One whole user message; `*ret_message` until the next call. OVER: see state. */
SamiSctpResult sami_sctp_assoc_receive(SamiSctpAssoc *assoc, const guint8 **ret_message, gsize *ret_n, guint16 *ret_stream);
/* Ordered, reliable, whole or not at all; under the key that is active now. `is_urgent` asks for an acknowledgement at once. */
SamiSctpResult sami_sctp_assoc_send(SamiSctpAssoc *assoc, guint16 stream, const guint8 *message, gsize n, gboolean is_urgent);
/* How many streams we may send on. */
guint sami_sctp_assoc_streams(const SamiSctpAssoc *assoc);
/* DATA chunks that are not acknowledged; 0: the sender is dry, or the association is over. The source is not always woken when that becomes so. */
guint sami_sctp_assoc_n_unacknowledged(SamiSctpAssoc *assoc);
/* RFC 6083 §4.8: key id 1 of 64 octets; sending under it from now on; no more use of key id 0, in either direction. FALSE: the association is lost. */
gboolean sami_sctp_assoc_add_key(SamiSctpAssoc *assoc, const guint8 key[64]);
gboolean sami_sctp_assoc_use_key(SamiSctpAssoc *assoc);
gboolean sami_sctp_assoc_drop_first_key(SamiSctpAssoc *assoc);
/* The peer has proven who it is: it may have more under way than a handshake needs. */
void sami_sctp_assoc_widen(SamiSctpAssoc *assoc);
/* No more is sent; ends as CLOSED once the peer has everything. */
void sami_sctp_assoc_shutdown(SamiSctpAssoc *assoc);
/* Aborts what is not CLOSED. */
void sami_sctp_assoc_free(SamiSctpAssoc *assoc);
