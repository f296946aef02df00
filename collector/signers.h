/* Who may sign, and what a signer may bring (signers.d). */
#pragma once

#include "collector/budget.h"
#include "collector/map.h"
#include "collector/rate.h"
#include "common/config.h"
#include "templates/signature.h"
#include "templates/validate.h"

/* Never changed once loaded. A session and a migration keep the one that they began with, whatever is loaded later. */
typedef struct {
    const SamiConfig *owner;        /* of `config` */
    const SamiConfigSigner *config; /* (transfer none) */
    SamiBudget *budget;             /* one for all loads of a name: entries, */
    SamiBudget *expectations;       /* expectations, */
    SamiRate *rate;                 /* and records a second */
    GPtrArray *keys;                /* of SamiKey */
    GArray *allow_prefixes;         /* of SamiPrefix */
    GArray *nat_addresses;          /* of SamiPrefix */
    GArray *zones, *vlans;          /* of guint16 */
    guint32 *protocols, *ports, *remote_ports; /* (nullable) bitmaps, as in SamiPolicy */
    guint8 labels_cut[16];          /* as in SamiPolicy */
    guint8 special;                 /* SAMI_SPECIAL_* */
    SamiMap *map;                   /* (nullable) what its records mean here; the policy is about what they come to */
} SamiSigner;

SamiSigner *sami_signer_ref(SamiSigner *signer);
void sami_signer_unref(SamiSigner *signer); /* NULL is fine */
/* Loads every signer's keys and parses its policy. Those that `old` (nullable) has by name go on in the same budget; no limit is changed here.
 * SAMI_ERROR_CONFIG, also for two keys with the same id. (transfer full) of SamiSigner */
GPtrArray *sami_signers_load(const SamiConfig *config, GPtrArray *old, GError **error);
/* Those of `old` that `config` still has, as they are: sami_config_without_gone(). (transfer full) of SamiSigner */
GPtrArray *sami_signers_without_gone(GPtrArray *old, const SamiConfig *config);
/* Puts the limits of a signer, or of these, in force. */
void sami_signer_enforce(SamiSigner *signer);
void sami_signers_enforce(GPtrArray *signers);
/* (nullable) by name (transfer none) */
SamiSigner *sami_signers_by_name(GPtrArray *signers, const gchar *name);
/* (nullable) the signer with this key id; *ret_key is the key (transfer none). */
SamiSigner *sami_signers_find(GPtrArray *signers, const guint8 key_id[SAMI_KEY_ID], SamiKey **ret_key);
/* What of this host every signer's policy has; NULL: nothing. Both change where they are. */
typedef struct {
    SamiAddressSet *own;
    SamiTimeouts timeouts;
    SamiTranslations translations;
} SamiSignerHost;
/* Fills what a policy has of its signer and of the host (nullable) (transfer none); the VM's addresses are the caller's. */
void sami_signer_fill_policy(const SamiSigner *signer, const SamiSignerHost *host, SamiPolicy *policy);
/* Every address of each of n prefixes is in allow-prefixes. */
gboolean sami_signer_allows(const SamiSigner *signer, const SamiPrefix *vm, guint n);
/* Between valid-from and valid-until, at this second since 1970. */
gboolean sami_signer_is_valid(const SamiSigner *signer, gint64 now_s);
/* At some moment from `from_s` until before `until_s`. */
gboolean sami_signer_is_valid_within(const SamiSigner *signer, gint64 from_s, gint64 until_s);
/* The next of these moments of any signer after it; G_MAXINT64: there is none. */
gint64 sami_signers_next_change(GPtrArray *signers, gint64 now_s);
gboolean sami_signer_may_use(const SamiSigner *signer, const gchar *tls_name);
