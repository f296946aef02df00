/* What a backend of transport/sctp.h provides. Private to sctp*.c. */
#pragma once

#include "transport/sctp.h"

/* RFC 6083 §4.8, RFC 4895 §3.2: chunk types that need AUTH. */
#define SCTP_CHUNK_DATA 0x00
#define SCTP_CHUNK_FORWARD_TSN 0xc0
/* The one stream of signed Messages, and the one of handshake and alerts; room for foreign exporters. */
#define SCTP_STREAMS_OUT 2
#define SCTP_STREAMS_IN 64
/* A dead peer shows when it has not answered 7 times in a row, with 0.1 to 1 s for each: after 4.5 s with data under way, after 8 s without, when
 * heartbeats are half a second apart. */
#define SCTP_HEARTBEAT_MS 500
#define SCTP_RTO_INITIAL_MS 500
#define SCTP_RTO_MIN_MS 100
#define SCTP_RTO_MAX_MS 1000
#define SCTP_RETRANSMISSIONS_MAX 6
#define SCTP_INIT_ATTEMPTS 4
#define SCTP_COOKIE_LIFE_MS 10000
/* Some hundred Messages: what one association may hold here and in the kernel of a peer that does not read. */
#define SCTP_BUFFER (2 * 1024 * 1024)
/* The same of a peer that has not proven who it is: one user message, the longest there is, and the next one. */
#define SCTP_BUFFER_UNPROVEN (64 * 1024)
/* SACKs of a burst at full rate arrive together. */
#define SCTP_UDP_BUFFER (4 * 1024 * 1024)

/* What ends an association, in the same words whoever noticed it. */
#define SCTP_TEXT_RESTART "the peer restarted the association (RFC 9260 §5.2), which ends the DTLS session"
#define SCTP_TEXT_REFUSED "the peer refused the association"
#define SCTP_TEXT_NO_ANSWER "no answer"
#define SCTP_TEXT_ABORTED "the peer aborted the association"
#define SCTP_TEXT_SILENT "the peer answers no more"
#define SCTP_TEXT_KEY "the first authentication key cannot be deleted (RFC 6083 §4.8)"
#define SCTP_TEXT_HALF "a message ended half way"
#define SCTP_TEXT_LONG "a user message of more than 18445 octets (RFC 6083 §3.2)"
#define SCTP_TEXT_GONE "the association is gone"
#define SCTP_TEXT_CUT "a message was cut"

typedef struct {
    SamiSctpAssoc *(*connect)(SamiSctp *sctp, const struct sockaddr *address, GError **error);
    void (*listen)(SamiSctp *sctp);
    void (*free)(SamiSctp *sctp);
    SamiSctpResult (*receive)(SamiSctpAssoc *assoc, const guint8 **ret_message, gsize *ret_n, guint16 *ret_stream);
    SamiSctpResult (*send)(SamiSctpAssoc *assoc, guint16 stream, const guint8 *message, gsize n, gboolean is_urgent);
    guint (*n_unacknowledged)(SamiSctpAssoc *assoc); /* chunks */
    gboolean (*add_key)(SamiSctpAssoc *assoc, guint16 id, const guint8 key[64]);
    gboolean (*use_key)(SamiSctpAssoc *assoc, guint16 id);
    gboolean (*retire_key)(SamiSctpAssoc *assoc, guint16 id); /* deleted once nothing that was sent needs it */
    void (*widen)(SamiSctpAssoc *assoc);             /* (nullable) */
    SamiSctpDropped (*dropped)(SamiSctp *sctp);      /* (nullable) */
    void (*shutdown)(SamiSctpAssoc *assoc);
    void (*assoc_free)(SamiSctpAssoc *assoc);
} SamiSctpOps;

struct SamiSctp {
    const SamiSctpOps *ops;
    SamiSctpConfig config;
    GMainContext *context;
    SamiSctpAccepted accepted;
    gpointer user_data;
};

struct SamiSctpAssoc {
    SamiSctp *sctp;
    SamiSctpState state;
    gchar *failure;
    gchar address[SAMI_ADDRESS_TEXT];
    GSource *source; /* (nullable) */
    gboolean is_woken;
    guint16 n_streams;
};

SamiSctp *sami_sctp_userland_new(const SamiSctpConfig *config, int listener_take, guint16 port, GMainContext *context, GError **error);
SamiSctp *sami_sctp_kernel_new(const SamiSctpConfig *config, int listener_take, guint16 port, GMainContext *context, GError **error);
/* The kernel gives SCTP sockets. */
gboolean sami_sctp_kernel_exists(void);
/* In a process that may: what encapsulation needs of the kernel. */
gboolean sami_sctp_kernel_prepare(const SamiSctpConfig *config, GError **error);
int sami_sctp_kernel_open(const SamiSctpConfig *config, const struct sockaddr *address, socklen_t length, GError **error);

void sami_sctp_assoc_init(SamiSctpAssoc *assoc, SamiSctp *sctp);
void sami_sctp_assoc_clear(SamiSctpAssoc *assoc);
void sami_sctp_assoc_notify(SamiSctpAssoc *assoc);
/* The first reason stays. */
void sami_sctp_assoc_lose(SamiSctpAssoc *assoc, const gchar *reason);
/* It is up; the chunk types are what the peer promises to authenticate, and demands. */
void sami_sctp_assoc_came_up(SamiSctpAssoc *assoc, guint16 n_streams, const guint8 *authenticated, gsize n_authenticated);
