/* The structural check of a Message, before libfixbuf sees it (libfixbuf 2.4.1 crashes, loops or invents records on
 * hostile input). RFC 7011 §3, §8 with the limits of PROTOCOL §4.
 *
 * A shim holds the templates that one direction of one Transport Session has defined. A Message that breaks a rule is refused as
 * a whole and ends the session; the shim is then in an undefined but harmless state. */
#pragma once

#include "templates/template.h"

typedef struct SamiShim SamiShim;

/* `domain` is the only Observation Domain that is accepted. */
SamiShim *sami_shim_new(guint32 domain);
void sami_shim_free(SamiShim *shim);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiShim, sami_shim_free)

/* Before the first Message: its Sequence Number, 0 unless said. */
void sami_shim_start_at(SamiShim *shim, guint32 sequence);

/* A new template was defined by the Message being checked. */
typedef void (*SamiTemplateFunc)(const SamiTemplate *tmpl, gpointer user_data);

/* Checks one Message whose signature Set has been cut off (`length` octets remain; the Length field may still have the old
 * value). Counts its Data Records. Sequence Number must be exactly what the records before it make: reliable transports lose
 * nothing. The signature record that was cut off is counted when `has_signature`. SAMI_ERROR_MALFORMED; SAMI_ERROR_PEN if
 * template 300 is the signature's, but with the enterprise number of another build. */
gboolean sami_shim_check(SamiShim *shim, const guint8 *message, gsize length, gboolean has_signature,
                         SamiTemplateFunc func, gpointer user_data, guint *ret_records, GError **error);
/* (nullable) the template with this id. Valid until the shim is freed. */
const SamiTemplate *sami_shim_template(const SamiShim *shim, guint16 id);
