/* Whose signatures are believed, and what a signer may bring: signers.d and peers.d beside sami.conf, our own signing key, and --key. */
#pragma once

#include "collector/signers.h"
#include "replay/reader.h"

typedef struct {
    gchar *name;              /* of the signer, of the peer, or the file's name */
    SamiKey *key;             /* (transfer none) */
    const SamiSigner *signer; /* (nullable) (transfer none) the policy; NULL: a key of --key, of a peer's receipts, or our own */
    gboolean is_own;          /* our signing key: what `record` signs with */
} ReplayKey;

typedef struct ReplayKeys ReplayKeys;
/* From the configuration, if there is one, and --key. SAMI_ERROR_CONFIG. */
ReplayKeys *replay_keys_load(Replay *replay, GError **error);
void replay_keys_free(ReplayKeys *keys);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ReplayKeys, replay_keys_free)
/* (nullable) a signer's before any other with this id. (transfer none) */
const ReplayKey *replay_keys_find(const ReplayKeys *keys, const guint8 key_id[SAMI_KEY_ID]);

/* What can be said of a Message by itself. A good signature says who made it, not that it belongs here: that is strict.h. */
typedef enum { REPLAY_UNSIGNED, REPLAY_UNKNOWN_KEY, REPLAY_BAD_SIGNATURE, REPLAY_GOOD } ReplayVerdict;
/* *ret_key (transfer none) is NULL unless the key is known. */
ReplayVerdict replay_keys_judge(const ReplayKeys *keys, const ReplayMessage *message, const ReplayKey **ret_key);
