/* The boundary between the unprivileged network process (listener or connector) and the state process.
 *
 * Both sides of SAMI are two processes (DESIGN §4). The network process holds the TLS certificates, ends TLS, cuts the
 * octet stream into whole IPFIX Messages and knows nothing of their content. For every Transport Session it makes a
 * SOCK_SEQPACKET pair and passes one end over the channel between the processes (SCM_RIGHTS). On the pair each
 * packet is one frame: a type octet, then the payload. Frames are written field by field, never as structs. */
#pragma once

#include "common/error.h"
#include "common/limits.h"

typedef enum {
    SAMI_FRAME_OPEN = 1,    /* network -> state: the session stands; payload below */
    SAMI_FRAME_MESSAGE = 2, /* both ways: one whole IPFIX Message */
    SAMI_FRAME_CLOSE = 3,   /* both ways: end of writing (network -> state: the peer closed orderly); empty */
    SAMI_FRAME_ERROR = 4,   /* network -> state: the session failed; payload is UTF-8 text for the operator */
    SAMI_FRAME_MALFORMED = 5, /* network -> state: what the peer sent is not a whole IPFIX Message (RFC 7011 §3.1). Nothing more will
                                 be read, but the connection stands: the state process answers and sends CLOSE. Text as in ERROR */
} SamiFrameType;

#define SAMI_FRAME_MAX (1u + SAMI_MESSAGE_MAX)

/* What OPEN says: a claim of the network process, not a fact. */
typedef struct {
    guint8 version;            /* 1 */
    guint8 transport;          /* 1 = TLS over TCP, 2 = DTLS over SCTP, 3 = plain TCP (lab) */
    guint16 message_max;       /* octets */
    guint8 ekm[32];            /* PROTOCOL §3: exporter value */
    gchar name[SAMI_NAME_MAX + 1]; /* verified DNS-ID of the peer, lower case */
    gchar address[64];         /* "192.0.2.1:4740" or "[2001:db8::1]:4740", for logs */
} SamiFrameOpen;

/* One end of a session's SEQPACKET pair. All calls are non-blocking. */
typedef struct SamiSessionSocket SamiSessionSocket;

SamiSessionSocket *sami_session_socket_new(int fd_take); /* takes the descriptor, makes it non-blocking */
void sami_session_socket_free(SamiSessionSocket *socket);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiSessionSocket, sami_session_socket_free)
int sami_session_socket_fd(SamiSessionSocket *socket);

/* Sends one frame. FALSE with SAMI_ERROR_FULL if the socket has no room (nothing was sent; poll for G_IO_OUT), or
 * SAMI_ERROR_PEER if the other process is gone. */
gboolean sami_session_socket_send(SamiSessionSocket *socket, SamiFrameType type, const guint8 *payload, gsize length, GError **error);
gboolean sami_session_socket_send_open(SamiSessionSocket *socket, const SamiFrameOpen *open, GError **error);

typedef enum { SAMI_RECEIVE_FRAME, SAMI_RECEIVE_AGAIN, SAMI_RECEIVE_END, SAMI_RECEIVE_BAD } SamiReceive;
/* Receives one frame into the socket's own buffer; *ret_payload is valid and writable until the next call. AGAIN: nothing there
 * yet. END: the other process closed. BAD: error is set, and the session is to be dropped. */
SamiReceive sami_session_socket_receive(SamiSessionSocket *socket, SamiFrameType *ret_type, guint8 **ret_payload, gsize *ret_length, GError **error);
gboolean sami_frame_open_parse(const guint8 *payload, gsize length, SamiFrameOpen *ret_open, GError **error);

/* The channel between the two processes, one SEQPACKET pair made by the supervisor before it forks.
 *   collector: listener -> state  SESSION + fd, one per accepted and authenticated session
 *   exporter:  state -> connector CONNECT {request id, text}, connector -> state SESSION {request id} + fd at once; the
 *              outcome follows on that session socket as OPEN or ERROR.
 *   both:      state -> network   SECRET {a SamiChannelSecret} + fd, of a file that only root may read; then RELOAD + fd, the limits, peers and
 *              certificates of now, which uses the secrets that came and closes them
 *   collector: listener -> state  REFUSED {how many since the last one, id of the cause} */
typedef enum {
    SAMI_CHANNEL_SESSION = 1,
    SAMI_CHANNEL_CONNECT = 2,
    SAMI_CHANNEL_RELOAD = 3,
    SAMI_CHANNEL_REFUSED = 4,
    SAMI_CHANNEL_SECRET = 5,
} SamiChannelType;

typedef enum {
    SAMI_SECRET_KEY,        /* key= */
    SAMI_SECRET_PASSPHRASE, /* key-passphrase-file= */
    SAMI_N_SECRETS
} SamiChannelSecret;

/* Why a listener let a connection not become a session: X(symbol, id). Counters of the collector are named by the id. */
#define SAMI_HANDSHAKE_CAUSES(X) \
    X(OTHER, "other") /* not TLS, no TLS 1.3, the connection broke */ \
    X(NO_CERTIFICATE, "no-certificate") \
    X(UNKNOWN_CA, "unknown-ca") /* neither pinned nor issued by a CA of tls-ca */ \
    X(WRONG_NAME, "wrong-name") /* believed, but it does not carry a configured peer's name */ \
    X(NOT_VALID_NOW, "not-valid-now") /* expired, or not valid yet */ \
    X(BY_PEER, "by-peer") /* the peer refused us: an alert */ \
    X(TIMEOUT, "timeout") \
    X(LIMIT, "limit") /* too many sessions or handshakes at once */ \
    X(PEER_LIMIT, "peer-limit") /* too many sessions of this peer at once */ \
    X(DATAGRAM, "datagram") /* over SCTP: no connection, but a datagram for nobody, or without room */

typedef enum {
#define X(symbol, id) SAMI_HANDSHAKE_##symbol,
    SAMI_HANDSHAKE_CAUSES(X)
#undef X
    SAMI_N_HANDSHAKE_CAUSES
} SamiHandshakeCause;

const gchar *sami_handshake_cause_id(SamiHandshakeCause cause);
/* text is UTF-8, at most 1024 octets; fd -1 for none. The caller keeps its descriptor and closes it. */
gboolean sami_channel_send(int channel, SamiChannelType type, guint32 request, const gchar *text, int fd, GError **error);
/* *ret_fd is -1 if none came; (transfer full). */
SamiReceive sami_channel_receive(int channel, SamiChannelType *ret_type, guint32 *ret_request, gchar **ret_text, int *ret_fd, GError **error);
