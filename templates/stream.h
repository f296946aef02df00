/* One Transport Session as a state process sees it: Messages out are filled, counted and signed, Messages in are verified in the order
 * of PROTOCOL §2 and decoded. Pure: time is a parameter, sending and receiving is the caller's. */
#pragma once

#include "templates/codec.h"
#include "templates/signature.h"
#include "templates/validate.h"

typedef struct {
    guint8 role; /* SAMI_ROLE_EXPORTER or SAMI_ROLE_COLLECTOR: ours */
    SamiKey *key;           /* ours, a reference: one from hello to end, whatever is loaded later */
    SamiKey *peer_key;      /* (transfer none) (nullable) until known */
    GPtrArray *peer_keys;   /* of SamiKey (transfer none) (nullable): the peer's first Message of a session says which of them is peer_key */
    guint8 ekm[32];
    guint8 migration_id[16];
    guint8 nonce_e[32], nonce_c[32];
    guint8 binding[32];
    guint64 counter_out;
    guint64 counter_in;
    guint64 start_ms;       /* our monotonic clock at the hello */
    guint64 opened_ms;      /* our clock when the session became known to us; as start_ms unless the caller sets it earlier */
    guint64 max_delay_ms;
    guint64 challenge_ms;   /* our clock when our first Message, which has our nonce, was signed */
    gboolean is_anchored;
    gint64 peer_start_ms;   /* our clock when the peer's elapsed time was 0: not later than this allows, see below */
    guint64 age_ms;         /* transit age of the Message verified last */
    GArray *unread;         /* (nullable) of pauses, the last ones: sami_stream_unread() */
    guint64 n_messages_in, n_messages_out, n_octets_in, n_octets_out;
    SamiEncoder *encoder;
    SamiDecoder *decoder;
} SamiStream;

SamiStream *sami_stream_new(guint8 role, SamiKey *key, const guint8 ekm[32], gsize message_max, guint64 now_ms, guint64 max_delay_ms);
void sami_stream_free(SamiStream *stream);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiStream, sami_stream_free)

/* From B0 to B (PROTOCOL §3 step 3), once both nonces are set. */
void sami_stream_bind(SamiStream *stream, const gchar *destination);

/* The same migration in a new Transport Session (PROTOCOL §3, resume): B0 of the new one, its own clocks, a fresh decoder, templates
 * anew. counter_out goes on; the peer's direction counts from 0 again. `key` signs from now on. */
void sami_stream_reopen(SamiStream *stream, SamiKey *key, const guint8 ekm[32], guint64 now_ms);

/* Ends the Message that the encoder holds, unsigned, and gives it the next counter. For a sender that keeps Messages to sign them
 * later, or again in another Transport Session. *ret_message as below. */
gboolean sami_stream_end(SamiStream *stream, guint32 export_time, guint8 **ret_message, gsize *ret_length, guint64 *ret_counter, GError **error);
/* Signs a Message of `length` octets in a buffer with room for the signature, under the binding of now. Returns the new length. */
gsize sami_stream_seal(SamiStream *stream, guint8 *message, gsize length, guint64 counter, guint64 now_ms, gboolean is_last);

/* Ends and signs the Message that the encoder holds. *ret_message is valid until the next call on the encoder. */
gboolean sami_stream_take(SamiStream *stream, guint64 now_ms, guint32 export_time, gboolean is_last,
                          const guint8 **ret_message, gsize *ret_length, GError **error);

/* Step (5), the transit age. What a receiver can prove without comparing two hosts' wall clocks, and without believing the listener that
 * handed the Message over, comes from its own nonce: whatever is bound to the session (B) was signed after that nonce left.
 *
 * Let T0 be our clock when our first Message (hello, or hello-reply) was signed, and e1 the elapsed time in the first Message that answers
 * it. The peer's elapsed time was 0 at T0 - e1 or later, on our clock. So a Message with elapsed time e that is read at `now` was signed at most
 *
 *     now - (T0 - e1) - e
 *
 * ago. This age is never too small; it is too large by at most what the opening took, from hello to the first answer (the exporter answers at once). A hello that was held back gives no
 * slack: it makes e1 larger, and e1 above max_delay is refused too. The hello itself is the only Message that no nonce of ours covers: its
 * age is counted from `opened_ms`, and what the listener hides there shows in e1.
 * A peer's clock that runs faster than ours would make ages negative; the anchor then moves earlier, never later. One that runs slower makes
 * them grow, by 8.6 s a day at 100 ppm: one more reason why a session is at most 24 h old (PROTOCOL §1). */

/* Steps (1) to (5) of PROTOCOL §2; nothing is decoded yet, so the caller can put the verified Message into its journal first.
 * *ret_reason says which rule failed. `peer_key` or `peer_keys`, and `migration_id` have to be set (the collector
 * reads them from the first Message's signature record with sami_signature_read()). */
gboolean sami_stream_verify(SamiStream *stream, const guint8 *message, gsize length, guint64 now_ms, SamiReason *ret_reason,
                            gboolean *ret_is_last, GError **error);
/* We did not read from `from_ms` to `to_ms` of our clock, because the peer was faster than it may be. What was signed before or in that time waited for us: for
 * such Messages max_delay is longer by as much as that, and for no others. */
void sami_stream_unread(SamiStream *stream, guint64 from_ms, guint64 to_ms);
/* Steps (6) and (7), for a Message that has just been verified. SAMI_ERROR_MALFORMED or SAMI_ERROR_PEN ends the session. */
gboolean sami_stream_decode(SamiStream *stream, guint8 *message, gsize length, SamiRecordFunc func, gpointer user_data, GError **error);
