/* One Transport Session: TLS over TCP or DTLS over SCTP (transport/tls-wire.h) on one side, the session's SEQPACKET
 * socket on the other, whole IPFIX Messages between them (RFC 7011 §10.2, §10.4). Private to
 * transport/.
 *
 * Back-pressure both ways: TLS is not read while the session socket has no room for what was
 * cut, and the session socket is not read while TLS has not taken the last Message. At most
 * READ_SIZE octets inwards and one Message outwards are held here.
 *
 * Ends: the peer's close_notify gives CLOSE, after everything it sent; anything else that ends
 * the connection gives ERROR with a text, also after what came whole before. Octets that are no
 * whole Message give MALFORMED: then the way out stays open until the state process closes it. CLOSE from the
 * state process sends close_notify once everything is out; then the peer's tail is still read. A
 * session socket that closes without CLOSE ends the TCP connection without close_notify, so that
 * the peer does not take the fall of our state process for an orderly end. */
#pragma once

#include "transport/session-pair.h"
#include "transport/tls-wire.h"

typedef struct SamiTlsConnection SamiTlsConnection;

typedef struct {
    /* Server: the handshake is done and the peer verified. Gives the session socket (transfer
     * full), or NULL to drop the connection. */
    SamiSessionSocket *(*accepted)(const SamiFrameOpen *open, gpointer user_data);
    /* Server: it never came to a session. `address` and `reason` until return. */
    void (*refused)(const gchar *address, SamiHandshakeCause cause, const gchar *reason,
                    gpointer user_data);
    /* Client, both (nullable): the peer is verified and OPEN is out; or the handshake failed. TRUE: the session socket was taken
     * (transfer full), and the session goes on elsewhere; FALSE: the reason is told on it. */
    void (*opened)(SamiTlsConnection *connection, gpointer user_data);
    gboolean (*failed)(SamiTlsConnection *connection, SamiSessionSocket *session, const gchar *reason,
                       gpointer user_data);
    /* Once; the connection is freed after the call. */
    void (*finished)(SamiTlsConnection *connection, gpointer user_data);
} SamiTlsEvents;

/* Takes the wire, also on failure. The handshake ends by `deadline_us` of g_get_monotonic_time(). Runs in context until `finished`. `events` and
 * `user_data` outlive it.
 *
 * Server: `wanted` and `session` are NULL. Client: `wanted` is the peer's name, and the session socket is taken too; every failure is told there
 * as ERROR, beginning "TLS: NAME at ADDRESS: ". Only if this gives NULL, nothing was told and the session socket stays the caller's. */
SamiTlsConnection *sami_tls_connection_new(SamiTls *tls, SamiWire *wire_take, const gchar *wanted, SamiSessionSocket *session, gint64 deadline_us,
                                           GMainContext *context, const SamiTlsEvents *events, gpointer user_data, GError **error);
/* After sami_tls_reload(): a session whose peer would not be believed any more, for its certificate or its name, fails now. */
void sami_tls_connection_review(SamiTlsConnection *connection);
/* The time within which a Message that has begun has to end, else it is MALFORMED; none until this is called, and none for 0. It does not run while the
 * state process takes nothing. */
void sami_tls_connection_set_patience(SamiTlsConnection *connection, guint max_delay_ms);
/* (nullable) verified DNS-ID of the other end; as long as the connection. */
const gchar *sami_tls_connection_name(const SamiTlsConnection *connection);
/* The peer was verified and the session began; until then nobody knows who this is. */
gboolean sami_tls_connection_is_proven(const SamiTlsConnection *connection);
/* Of the other end, as text; as long as the connection. */
const gchar *sami_tls_connection_address(const SamiTlsConnection *connection);
/* Ends it now, without `finished`. */
void sami_tls_connection_free(SamiTlsConnection *connection);
