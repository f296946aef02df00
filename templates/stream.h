/* One Transport Session as a state process sees it: Messages out are filled, counted and signed, Messages in are verified in the order
 * of PROTOCOL §2 and decoded. Pure: time is a parameter, sending and receiving is the caller's. */
#pragma once

#include "templates/codec.h"
#include "templates/signature.h"
#include "templates/validate.h"

typedef struct {
    guint8 role; /* SAMI_ROLE_EXPORTER or SAMI_ROLE_COLLECTOR: ours */
    SamiKey *key;           /* ours (transfer none) */
    SamiKey *peer_key;      /* (transfer none) (nullable) until known */
    guint8 ekm[32];
    guint8 migration_id[16];
    guint8 nonce_e[32], nonce_c[32];
    guint8 binding[32];
    guint64 counter_out;
    guint64 counter_in;
    guint64 start_ms;       /* our monotonic clock at the hello */
    guint64 max_delay_ms;
    guint64 peer_start_ms;  /* our clock when the peer's elapsed time was 0, as late as its first Message allows */
    guint64 n_messages_in, n_messages_out, n_octets_in, n_octets_out;
    SamiEncoder *encoder;
    SamiDecoder *decoder;
} SamiStream;

SamiStream *sami_stream_new(guint8 role, SamiKey *key, const guint8 ekm[32], gsize message_max, guint64 now_ms, guint64 max_delay_ms);
void sami_stream_free(SamiStream *stream);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiStream, sami_stream_free)

/* From B0 to B (PROTOCOL §3 step 3), once both nonces are set. */
void sami_stream_bind(SamiStream *stream, const gchar *destination);

/* Ends and signs the Message that the encoder holds. *ret_message is valid until the next call on the encoder. */
gboolean sami_stream_take(SamiStream *stream, guint64 now_ms, guint32 export_time, gboolean is_last,
                          const guint8 **ret_message, gsize *ret_length, GError **error);

/* Steps (1) to (5) of PROTOCOL §2; nothing is decoded yet, so the caller can put the verified Message into its journal first.
 * *ret_reason says which rule failed. `peer_key` and `migration_id` have to be set (the collector reads them from the first
 * Message's signature record with sami_signature_read()). */
gboolean sami_stream_verify(SamiStream *stream, const guint8 *message, gsize length, guint64 now_ms, SamiReason *ret_reason,
                            gboolean *ret_is_last, GError **error);
/* Steps (6) and (7), for a Message that has just been verified. SAMI_ERROR_MALFORMED ends the session. */
gboolean sami_stream_decode(SamiStream *stream, guint8 *message, gsize length, SamiRecordFunc func, gpointer user_data, GError **error);
