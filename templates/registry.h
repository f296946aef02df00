/* Names and types of Information Elements, whoever defined them: our own table, and IANA's registry with the reverse elements of RFC 5103 as
 * libfixbuf has it. For showing what foreign exporters send; nothing that is injected is looked up here. */
#pragma once

#include <glib.h>

/* RFC 5610 §3.1 and RFC 6313: data type numbers beyond those that our own elements have (SamiElementType). */
enum { SAMI_TYPE_S8 = 5, SAMI_TYPE_S16 = 6, SAMI_TYPE_S64 = 8, SAMI_TYPE_FLOAT32 = 9, SAMI_TYPE_FLOAT64 = 10, SAMI_TYPE_BOOLEAN = 11, SAMI_TYPE_MAC = 12,
       SAMI_TYPE_SECONDS = 14, SAMI_TYPE_MICROSECONDS = 16, SAMI_TYPE_NANOSECONDS = 17, SAMI_TYPE_BASIC_LIST = 20, SAMI_TYPE_TEMPLATE_LIST = 21,
       SAMI_TYPE_MULTI_LIST = 22, SAMI_N_TYPES };

typedef struct {
    guint32 pen; /* 0 = IANA */
    guint16 number;
    guint16 units;     /* RFC 5610 §3.11 */
    guint8 type;       /* RFC 5610 §3.1, below SAMI_N_TYPES */
    guint8 semantics;  /* RFC 5610 §3.10 */
    const gchar *name; /* (transfer none) */
} SamiRegistryElement;

/* "unsigned32"; NULL for a number that RFC 5610 does not have. (transfer none) (nullable) */
const gchar *sami_type_name(guint type);

typedef struct SamiRegistry SamiRegistry;
SamiRegistry *sami_registry_new(void);
void sami_registry_free(SamiRegistry *registry);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiRegistry, sami_registry_free)
/* FALSE: nobody that we know has defined it; *ret is not touched. Names live as long as the registry. */
gboolean sami_registry_find(const SamiRegistry *registry, guint32 pen, guint16 number, SamiRegistryElement *ret);
