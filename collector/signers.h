/* Who may sign, and what a signer may bring (signers.d). */
#pragma once

#include "common/config.h"
#include "templates/signature.h"
#include "templates/validate.h"

typedef struct {
    const SamiConfigSigner *config; /* (transfer none) */
    GPtrArray *keys;                /* of SamiKey */
    GArray *allow_prefixes;         /* of SamiPrefix */
    GArray *nat_addresses;          /* of SamiPrefix */
    GArray *zones;                  /* of guint16 */
} SamiSigner;

/* Loads every signer's keys and parses its policy. SAMI_ERROR_CONFIG, also for two keys with the same id. (transfer full) of SamiSigner */
GPtrArray *sami_signers_load(const SamiConfig *config, GError **error);
/* (nullable) the signer with this key id; *ret_key is the key (transfer none). */
SamiSigner *sami_signers_find(GPtrArray *signers, const guint8 key_id[SAMI_KEY_ID], SamiKey **ret_key);
gboolean sami_signer_may_use(const SamiSigner *signer, const gchar *tls_name);
/* Parses a list of prefixes from the configuration. (transfer full) */
GArray *sami_prefix_list(GStrv texts, const gchar *what, GError **error);
