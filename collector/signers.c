#include "collector/signers.h"

#include <string.h>

GArray *
sami_prefix_list(GStrv texts, const gchar *what, GError **error)
{
    g_autoptr(GArray) list = g_array_new(FALSE, TRUE, sizeof(SamiPrefix));
    for (guint i = 0; texts && texts[i]; i++) {
        SamiPrefix prefix;
        if (!sami_prefix_parse(texts[i], &prefix, error)) {
            g_prefix_error(error, "%s: ", what);
            (*error)->code = SAMI_ERROR_CONFIG;
            return NULL;
        }
        g_array_append_val(list, prefix);
    }
    return g_steal_pointer(&list);
}

static void
signer_free(gpointer data)
{
    SamiSigner *signer = data;
    g_clear_pointer(&signer->keys, g_ptr_array_unref);
    g_clear_pointer(&signer->allow_prefixes, g_array_unref);
    g_clear_pointer(&signer->nat_addresses, g_array_unref);
    g_clear_pointer(&signer->zones, g_array_unref);
    g_free(signer);
}

static gboolean
load_keys(GPtrArray *signers, SamiSigner *signer, GError **error)
{
    for (guint i = 0; signer->config->key_files && signer->config->key_files[i]; i++) {
        SamiKey *other = NULL, *key = sami_key_load_public(signer->config->key_files[i], error);
        if (!key)
            return FALSE;
        SamiSigner *owner = sami_signers_find(signers, sami_key_id(key), &other);
        g_ptr_array_add(signer->keys, key);
        if (owner) {
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "signers %s and %s have the same key",
                        owner->config->name, signer->config->name);
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
load_zones(SamiSigner *signer, GError **error)
{
    for (guint i = 0; signer->config->zones && signer->config->zones[i]; i++) {
        guint64 value;
        if (!g_ascii_string_to_unsigned(signer->config->zones[i], 10, 0, 65535, &value, NULL)) {
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "signer %s: zones: \"%s\" is no number from 0 to 65535",
                        signer->config->name, signer->config->zones[i]);
            return FALSE;
        }
        guint16 zone = (guint16) value;
        g_array_append_val(signer->zones, zone);
    }
    return TRUE;
}

GPtrArray *
sami_signers_load(const SamiConfig *config, GError **error)
{
    g_autoptr(GPtrArray) signers = g_ptr_array_new_with_free_func(signer_free);
    for (guint i = 0; i < config->signers->len; i++) {
        SamiSigner *signer = g_new0(SamiSigner, 1);
        signer->config = g_ptr_array_index(config->signers, i);
        signer->keys = g_ptr_array_new_with_free_func((GDestroyNotify) sami_key_free);
        signer->zones = g_array_new(FALSE, TRUE, sizeof(guint16));
        gboolean is_loaded = load_keys(signers, signer, error) && load_zones(signer, error) &&
            (signer->allow_prefixes = sami_prefix_list(signer->config->allow_prefixes, "allow-prefixes", error)) &&
            (signer->nat_addresses = sami_prefix_list(signer->config->nat_addresses, "nat-addresses", error));
        g_ptr_array_add(signers, signer);
        if (!is_loaded) {
            g_prefix_error(error, "signer %s: ", signer->config->name);
            return NULL;
        }
    }
    return g_steal_pointer(&signers);
}

SamiSigner *
sami_signers_find(GPtrArray *signers, const guint8 key_id[SAMI_KEY_ID], SamiKey **ret_key)
{
    for (guint i = 0; i < signers->len; i++) {
        SamiSigner *signer = g_ptr_array_index(signers, i);
        for (guint k = 0; k < signer->keys->len; k++) {
            SamiKey *key = g_ptr_array_index(signer->keys, k);
            if (memcmp(sami_key_id(key), key_id, SAMI_KEY_ID) == 0) {
                *ret_key = key;
                return signer;
            }
        }
    }
    return NULL;
}

gboolean
sami_signer_may_use(const SamiSigner *signer, const gchar *tls_name)
{
    const gchar *const *names = (const gchar *const *) signer->config->tls_names;
    return names && *names ? g_strv_contains(names, tls_name) : g_str_equal(signer->config->name, tls_name);
}
