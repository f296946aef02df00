/* Who may sign, and what a signer may bring (signers.d). */
#pragma once

#include "collector/budget.h"
#include "collector/map.h"
#include "common/config.h"
#include "templates/signature.h"
#include "templates/validate.h"

/* Never changed once loaded. A session and a migration keep the one that they began with, whatever is loaded later. */
typedef struct {
    const SamiConfig *owner;        /* of `config` */
    const SamiConfigSigner *config; /* (transfer none) */
    SamiBudget *budget;             /* one for all loads of a name */
    GPtrArray *keys;                /* of SamiKey */
    GArray *allow_prefixes;         /* of SamiPrefix */
    GArray *nat_addresses;          /* of SamiPrefix */
    GArray *zones, *vlans;          /* of guint16 */
    SamiMap *map;                   /* (nullable) what its records mean here; the policy is about what they come to */
} SamiSigner;

SamiSigner *sami_signer_ref(SamiSigner *signer);
void sami_signer_unref(SamiSigner *signer); /* NULL is fine */
/* Loads every signer's keys and parses its policy. Those that `old` (nullable) has by name go on in the same budget; no limit is changed here.
 * SAMI_ERROR_CONFIG, also for two keys with the same id. (transfer full) of SamiSigner */
GPtrArray *sami_signers_load(const SamiConfig *config, GPtrArray *old, GError **error);
/* Puts the limits of these signers in force. */
void sami_signers_enforce(GPtrArray *signers);
/* (nullable) by name (transfer none) */
SamiSigner *sami_signers_by_name(GPtrArray *signers, const gchar *name);
/* (nullable) the signer with this key id; *ret_key is the key (transfer none). */
SamiSigner *sami_signers_find(GPtrArray *signers, const guint8 key_id[SAMI_KEY_ID], SamiKey **ret_key);
/* Fills what a policy has of its signer (transfer none); the VM's addresses are the caller's. */
void sami_signer_fill_policy(const SamiSigner *signer, SamiPolicy *policy);
gboolean sami_signer_may_use(const SamiSigner *signer, const gchar *tls_name);
