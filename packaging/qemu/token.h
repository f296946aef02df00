/* What Save puts into QEMU's migration stream and Load takes out of it: one short line of text.
 *
 * QEMU breaks the destination's load when a helper's data is missing or empty, so there is a token for every outcome. It comes from
 * another host through a stream that nobody signs: it says whom to ask, never that READY has come. */
#pragma once

#include "common/error.h"

#define SAMI_TOKEN_MAX 128u

typedef enum {
    SAMI_TOKEN_READY, /* the source has seen READY */
    SAMI_TOKEN_LATE,  /* asked for, not seen within the deadline */
    SAMI_TOKEN_NONE,  /* there is no migration to wait for */
} SamiTokenState;

typedef struct {
    SamiTokenState state;
    gchar id[33];    /* of the migration, 32 hexadecimal digits; "" with NONE */
    guint left_ms;   /* of the deadline when Save returned */
} SamiToken;

/* Never empty, at most SAMI_TOKEN_MAX octets, without NUL. (transfer full) */
gchar *sami_token_print(const SamiToken *token);
/* SAMI_ERROR_MALFORMED. */
gboolean sami_token_parse(const guint8 *data, gsize length, SamiToken *ret_token, GError **error);
