/* What carries the records of a session: a TCP socket (tls-tcp.c) or an SCTP association (dtls-sctp.c). tls-connection.c is the same above both.
 * Private to transport/. */
#pragma once

#include "transport/address.h"
#include "transport/sctp.h"
#include "transport/tls-context.h"

typedef struct SamiWire SamiWire;

typedef enum {
    SAMI_WIRE_IDLE,
    SAMI_WIRE_MORE, /* there was more than one turn's work */
    SAMI_WIRE_OVER,
} SamiWireDrain;

typedef struct {
    guint8 transport;   /* of SamiFrameOpen */
    gsize message_max;
    /* How long what was written may take after the end of a session; then free() cuts it off, where it is not the kernel's to end it. */
    gint64 linger_us;
    gboolean is_framed; /* each read gives exactly one whole Message, or the peer is wrong */
    /* (transfer full); the wire keeps using it until it is freed, before the SSL. */
    SSL *(*open)(SamiWire *wire, SamiTls *tls, SamiTlsVerdict *verdict, GError **error);
    void (*print)(const SamiWire *wire, gchar ret_text[SAMI_ADDRESS_TEXT]);
    /* Before a turn: what waits goes on, as far as it can. */
    void (*run)(SamiWire *wire);
    /* After a turn: `source` is to be dispatched when one of `wanted` is possible, 0 for nothing. The time to be called anyway, 0 for none; 1 for at
     * once. */
    gint64 (*watch)(SamiWire *wire, GSource *source, GIOCondition wanted);
    gboolean (*can_write)(SamiWire *wire);
    /* Everything is out, so far as close_notify needs it. */
    gboolean (*can_close)(SamiWire *wire);
    /* What is wrong besides the handshake itself, once it is done; NULL: nothing. */
    const gchar *(*doubt)(SamiWire *wire);
    /* Why the wire ended, NULL if that is not known better than OpenSSL knows. */
    const gchar *(*failure)(SamiWire *wire);
    /* Nothing more will be written. */
    void (*finish)(SamiWire *wire);
    /* After it: throws away what comes until the peer ends too. */
    SamiWireDrain (*drain)(SamiWire *wire);
    void (*free)(SamiWire *wire);
} SamiWireOps;

struct SamiWire {
    const SamiWireOps *ops;
};

/* Takes fd, which is connected and non-blocking. */
SamiWire *sami_wire_tcp_new(int fd_take, gboolean is_server);
/* Takes an association that is up. */
SamiWire *sami_wire_sctp_new(SamiSctpAssoc *assoc_take, gboolean is_server);
