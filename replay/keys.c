#include "replay/keys.h"

#include <string.h>

struct ReplayKeys {
    GPtrArray *signers; /* of SamiSigner */
    GArray *keys;       /* of ReplayKey; those of signers first */
    GPtrArray *loaded;  /* of SamiKey that are not a signer's */
};

static void
key_clear(gpointer data)
{
    g_free(((ReplayKey *) data)->name);
}

void
replay_keys_free(ReplayKeys *keys)
{
    if (!keys)
        return;
    g_clear_pointer(&keys->keys, g_array_unref);
    g_clear_pointer(&keys->loaded, g_ptr_array_unref);
    g_clear_pointer(&keys->signers, g_ptr_array_unref);
    g_free(keys);
}

static void
add(ReplayKeys *keys, const gchar *name, SamiKey *key, const SamiSigner *signer, gboolean is_own)
{
    ReplayKey row = { g_strdup(name), key, signer, is_own };
    g_array_append_val(keys->keys, row);
    if (!signer)
        g_ptr_array_add(keys->loaded, key);
}

static gboolean
add_file(ReplayKeys *keys, const gchar *name, const gchar *file, SamiTrust trust, GError **error)
{
    g_autoptr(GPtrArray) loaded = sami_keys_load_public(file, trust, error);
    for (guint i = 0; loaded && i < loaded->len; i++)
        add(keys, name, sami_key_ref(loaded->pdata[i]), NULL, FALSE);
    return loaded != NULL;
}

static gboolean
add_config(ReplayKeys *keys, const SamiConfig *config, GError **error)
{
    keys->signers = sami_signers_load(config, NULL, error);
    for (guint i = 0; keys->signers && i < keys->signers->len; i++) {
        const SamiSigner *signer = keys->signers->pdata[i];
        for (guint k = 0; k < signer->keys->len; k++)
            add(keys, signer->config->name, signer->keys->pdata[k], signer, FALSE);
    }
    if (!keys->signers)
        return FALSE;
    for (guint i = 0; i < config->peers->len; i++) {
        const SamiConfigPeer *peer = config->peers->pdata[i];
        if (peer->signing_key_file && !add_file(keys, peer->name, peer->signing_key_file, SAMI_TRUST_PUBLIC, error))
            return FALSE;
    }
    /* Ours may be readable by root only, and whoever reads a journal is somebody else. */
    SamiKey *own = sami_key_load_private(config->signing_key, config->key_passphrase_file, NULL);
    if (own)
        add(keys, config->name, own, NULL, TRUE);
    return TRUE;
}

ReplayKeys *
replay_keys_load(Replay *replay, GError **error)
{
    g_autoptr(ReplayKeys) keys = g_new0(ReplayKeys, 1);
    keys->keys = g_array_new(FALSE, FALSE, sizeof(ReplayKey));
    g_array_set_clear_func(keys->keys, key_clear);
    keys->loaded = g_ptr_array_new_with_free_func((GDestroyNotify) sami_key_free);
    if (!replay_load_config(replay, error) || (replay->config && !add_config(keys, replay->config, error)))
        return NULL;
    for (guint i = 0; replay->args.keys && replay->args.keys[i]; i++) {
        g_autofree gchar *name = g_path_get_basename(replay->args.keys[i]);
        if (!add_file(keys, name, replay->args.keys[i], SAMI_TRUST_ANY, error))
            return NULL;
    }
    return g_steal_pointer(&keys);
}

const ReplayKey *
replay_keys_find(const ReplayKeys *keys, const guint8 key_id[SAMI_KEY_ID])
{
    for (guint i = 0; i < keys->keys->len; i++) {
        const ReplayKey *row = &g_array_index(keys->keys, ReplayKey, i);
        if (memcmp(sami_key_id(row->key), key_id, SAMI_KEY_ID) == 0)
            return row;
    }
    return NULL;
}

ReplayVerdict
replay_keys_judge(const ReplayKeys *keys, const ReplayMessage *message, const ReplayKey **ret_key)
{
    *ret_key = message->is_signed ? replay_keys_find(keys, message->signature.key_id) : NULL;
    if (!message->is_signed)
        return REPLAY_UNSIGNED;
    if (!*ret_key)
        return REPLAY_UNKNOWN_KEY;
    return sami_signature_verify((*ret_key)->key, message->input.octets, message->input.length) ? REPLAY_GOOD : REPLAY_BAD_SIGNATURE;
}
