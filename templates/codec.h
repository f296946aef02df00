/* Records <-> Messages. The only user of libfixbuf, which sees Data Sets of checked structure only.
 *
 * An encoder is one direction of one Transport Session: it defines templates on demand (written by our own cursor before the
 * Data Sets of the Message that first uses them), fills one Message at a time and counts the Sequence Number. A decoder is the
 * other end: shim first, then libfixbuf. Neither is thread safe; both belong to one thread. No clock, no I/O. */
#pragma once

#include "templates/records.h"
#include "templates/shim.h"

#define SAMI_DOMAIN_FORWARD 1u /* exporter to collector, PROTOCOL §1 */
#define SAMI_DOMAIN_REVERSE 2u

typedef struct SamiEncoder SamiEncoder;

/* `message_max`: limit of the transport, signature Set included. */
SamiEncoder *sami_encoder_new(guint32 domain, gsize message_max);
void sami_encoder_free(SamiEncoder *encoder);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiEncoder, sami_encoder_free)
/* SAMI_ERROR_FULL: take the Message first, then add again; nothing was added. SAMI_ERROR_FAILED otherwise. */
gboolean sami_encoder_add(SamiEncoder *encoder, const SamiRecord *record, GError **error);
/* Records in the Message that is being filled. */
guint sami_encoder_pending(const SamiEncoder *encoder);
/* Ends the Message, also an empty one. *ret_message is valid until the next call and has SAMI_SIGNATURE_SET octets of room behind
 * *ret_length; the signature record is counted in the Sequence Number. */
gboolean sami_encoder_take(SamiEncoder *encoder, guint32 export_time, guint8 **ret_message, gsize *ret_length, GError **error);

/* A new Transport Session that goes on with the same template ids (PROTOCOL §3, resume): Sequence Number from 0, no template is
 * known to the other end. Take a Message that is being filled first. */
void sami_encoder_restart(SamiEncoder *encoder);
/* Every template is defined once more where it is used next, that of the signature in the next Message: a file that begins there can be
 * read by itself. Take a Message that is being filled first. */
void sami_encoder_redefine(SamiEncoder *encoder);
/* Puts templates that this Transport Session does not know yet into the Message, as many as fit. TRUE if the Message has any: take it
 * and call again. */
gboolean sami_encoder_add_templates(SamiEncoder *encoder);

typedef struct SamiDecoder SamiDecoder;

SamiDecoder *sami_decoder_new(guint32 domain);
void sami_decoder_free(SamiDecoder *decoder);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiDecoder, sami_decoder_free)
typedef void (*SamiRecordFunc)(const SamiRecord *record, gpointer user_data);
/* Takes a whole signed and verified Message (the signature Set is cut off here; Length in `message` is changed during the call and
 * restored). Calls func for each record in order. After FALSE (SAMI_ERROR_MALFORMED, SAMI_ERROR_PEN) the session has to end. */
gboolean sami_decoder_read(SamiDecoder *decoder, guint8 *message, gsize length, SamiRecordFunc func, gpointer user_data, GError **error);
/* The same for a Message that has no signature Set. Nothing that came over a network may get here. */
gboolean sami_decoder_read_unsigned(SamiDecoder *decoder, guint8 *message, gsize length, SamiRecordFunc func, gpointer user_data, GError **error);
/* Before the first Message: its Sequence Number, where a file begins within a Transport Session. */
void sami_decoder_start_at(SamiDecoder *decoder, guint32 sequence);
