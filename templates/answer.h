/* What a sender may believe of a collector's answers before it looks at their records: steps (1) to (5) of PROTOCOL §2, and the opening of §3. */
#pragma once

#include "templates/stream.h"

typedef enum {
    SAMI_UNDER_OPENING, /* B0: before its hello-reply, which is under it, too */
    SAMI_UNDER_NO_ID,   /* B0 and migration id zero: of a Message 1 that could not be attributed */
    SAMI_UNDER_SESSION, /* B */
} SamiAnswerUnder;

/* Steps (1) to (5) of PROTOCOL §2 for a Message from a collector, and under what it came. Before the session is bound, the refusal of a Message 1
 * that could not be attributed is taken too, under migration id zero. */
gboolean sami_answer_verify(SamiStream *stream, gboolean is_bound, guint8 *message, gsize length, guint64 now_ms, SamiAnswerUnder *ret_under,
                            SamiReason *ret_reason, gboolean *ret_is_last, GError **error);
/* NULL, or why it cannot be the answer to the hello of this stream. `next_counter` has been looked at by the caller. (transfer full) */
gchar *sami_answer_doubt_hello_reply(const SamiStream *stream, const SamiHelloReply *reply, guint16 message_max);
