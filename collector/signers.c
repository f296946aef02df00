#include "collector/signers.h"

#include <string.h>

#include "common/value.h"

static void
signer_clear(gpointer data)
{
    SamiSigner *signer = data;
    g_clear_pointer(&signer->keys, g_ptr_array_unref);
    g_clear_pointer(&signer->allow_prefixes, g_array_unref);
    g_clear_pointer(&signer->nat_addresses, g_array_unref);
    g_clear_pointer(&signer->zones, g_array_unref);
    g_clear_pointer(&signer->vlans, g_array_unref);
    sami_map_unref(signer->map);
    sami_budget_unref(signer->budget);
    sami_budget_unref(signer->expectations);
    sami_rate_unref(signer->rate);
    g_free(signer->protocols);
    g_free(signer->ports);
    g_free(signer->remote_ports);
    sami_config_unref(signer->owner);
}

SamiSigner *
sami_signer_ref(SamiSigner *signer)
{
    return g_rc_box_acquire(signer);
}

void
sami_signer_unref(SamiSigner *signer)
{
    if (signer)
        g_rc_box_release_full(signer, signer_clear);
}

SamiSigner *
sami_signers_by_name(GPtrArray *signers, const gchar *name)
{
    for (guint i = 0; signers && i < signers->len; i++) {
        SamiSigner *signer = g_ptr_array_index(signers, i);
        if (g_str_equal(signer->config->name, name))
            return signer;
    }
    return NULL;
}

void
sami_signer_enforce(SamiSigner *signer)
{
    const SamiConfigSigner *config = signer->config;
    sami_budget_set_limit(signer->budget, config->max_sessions ? config->max_sessions : SAMI_BUDGET_UNLIMITED);
    sami_budget_set_limit(signer->expectations, config->max_expectations ? config->max_expectations : SAMI_BUDGET_UNLIMITED);
    sami_rate_set(signer->rate, config->max_rate);
}

void
sami_signers_enforce(GPtrArray *signers)
{
    for (guint i = 0; i < signers->len; i++)
        sami_signer_enforce(g_ptr_array_index(signers, i));
}

static gboolean
add_key(GPtrArray *signers, SamiSigner *signer, SamiKey *key, GError **error)
{
    SamiKey *other = NULL;
    SamiSigner *owner = sami_signers_find(signers, sami_key_id(key), &other);
    if (!owner && sami_keys_find(signer->keys, sami_key_id(key)))
        owner = signer;
    g_ptr_array_add(signer->keys, sami_key_ref(key));
    if (owner)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "signers %s and %s have the same key", owner->config->name, signer->config->name);
    else if (signer->keys->len > SAMI_KEYS_MAX)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "keys: more than %u in these files", SAMI_KEYS_MAX);
    else
        return TRUE;
    return FALSE;
}

static gboolean
load_keys(GPtrArray *signers, SamiSigner *signer, GError **error)
{
    for (guint i = 0; signer->config->key_files && signer->config->key_files[i]; i++) {
        g_autoptr(GPtrArray) keys = sami_keys_load_public(signer->config->key_files[i], SAMI_TRUST_PUBLIC, error);
        for (guint k = 0; keys && k < keys->len; k++)
            if (!add_key(signers, signer, keys->pdata[k], error))
                return FALSE;
        if (!keys)
            return FALSE;
    }
    return TRUE;
}

/* (transfer full) of guint16 */
static GArray *
load_numbers(GStrv texts, const gchar *key, GError **error)
{
    g_autoptr(GArray) numbers = g_array_new(FALSE, TRUE, sizeof(guint16));
    for (guint i = 0; texts && texts[i]; i++) {
        guint64 value;
        if (!sami_value_uint(texts[i], 0, 65535, &value, error)) {
            g_prefix_error(error, "%s: ", key);
            return NULL;
        }
        guint16 number = (guint16) value;
        g_array_append_val(numbers, number);
    }
    return g_steal_pointer(&numbers);
}

/* Words have been checked when the file was read. NULL: all of it. (transfer full) */
static guint32 *
load_protocols(GStrv words)
{
    if (g_strv_contains((const gchar *const *) words, SAMI_VALUE_ANY))
        return NULL;
    guint32 *bits = g_new0(guint32, SAMI_POLICY_BITS(256));
    for (guint i = 0; words[i]; i++) {
        guint64 number = 0;
        if (sami_value_protocol(words[i], &number, NULL))
            SAMI_POLICY_SET(bits, number);
    }
    return bits;
}

static guint32 *
load_ports(GStrv ranges)
{
    guint32 *bits = g_new0(guint32, SAMI_POLICY_BITS(65536));
    guint n = 0;
    for (guint i = 0; ranges[i]; i++) {
        guint16 range[2] = { 1, 0 };
        sami_value_ports(ranges[i], range, NULL);
        for (guint port = range[0]; port <= range[1]; port++)
            SAMI_POLICY_SET(bits, port);
    }
    while (n < SAMI_POLICY_BITS(65536) && bits[n] == G_MAXUINT32)
        n++;
    if (n == SAMI_POLICY_BITS(65536))
        g_clear_pointer(&bits, g_free);
    return bits;
}

static void
load_labels_cut(GStrv ranges, guint8 ret_cut[16])
{
    memset(ret_cut, 0xff, 16);
    for (guint i = 0; ranges[i]; i++) {
        guint16 range[2] = { 1, 0 };
        sami_value_labels(ranges[i], range, NULL);
        for (guint label = range[0]; label <= range[1]; label++)
            sami_labels_put(ret_cut, label, FALSE);
    }
}

static guint8
load_special(GStrv words)
{
    static const struct {
        const gchar *word;
        guint8 bit;
    } names[] = { { "own", SAMI_SPECIAL_OWN }, { "loopback", SAMI_SPECIAL_LOOPBACK }, { "link-local", SAMI_SPECIAL_LINK_LOCAL },
                  { "multicast", SAMI_SPECIAL_MULTICAST } };
    guint8 bits = 0;
    for (guint i = 0; i < G_N_ELEMENTS(names); i++)
        bits |= g_strv_contains((const gchar *const *) words, names[i].word) ? names[i].bit : 0;
    return bits;
}

static void
load_limits(SamiSigner *signer, const SamiSigner *before)
{
    const SamiConfigSigner *config = signer->config;
    signer->budget = before ? sami_budget_ref(before->budget) : sami_budget_new();
    signer->expectations = before ? sami_budget_ref(before->expectations) : sami_budget_new();
    signer->rate = before ? sami_rate_ref(before->rate) : sami_rate_new();
    signer->protocols = load_protocols(config->protocols);
    signer->ports = load_ports(config->ports);
    signer->remote_ports = load_ports(config->remote_ports);
    load_labels_cut(config->labels, signer->labels_cut);
    signer->special = load_special(config->allow_special);
}

GPtrArray *
sami_signers_load(const SamiConfig *config, GPtrArray *old, GError **error)
{
    g_autoptr(GPtrArray) signers = g_ptr_array_new_with_free_func((GDestroyNotify) sami_signer_unref);
    for (guint i = 0; i < config->signers->len; i++) {
        SamiSigner *signer = g_rc_box_new0(SamiSigner);
        signer->owner = sami_config_ref(config);
        signer->config = g_ptr_array_index(config->signers, i);
        SamiSigner *before = sami_signers_by_name(old, signer->config->name);
        signer->keys = g_ptr_array_new_with_free_func((GDestroyNotify) sami_key_free);
        load_limits(signer, before);
        gboolean is_loaded = load_keys(signers, signer, error) &&
            sami_map_load(config, signer->config, &signer->map, error) &&
            (signer->zones = load_numbers(signer->config->zones, "zones", error)) &&
            (signer->vlans = load_numbers(signer->config->vlans, "vlans", error)) &&
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

GPtrArray *
sami_signers_without_gone(GPtrArray *old, const SamiConfig *config)
{
    GPtrArray *signers = g_ptr_array_new_with_free_func((GDestroyNotify) sami_signer_unref);
    for (guint i = 0; i < old->len; i++) {
        SamiSigner *signer = g_ptr_array_index(old, i);
        if (g_ptr_array_find(config->signers, signer->config, NULL))
            g_ptr_array_add(signers, sami_signer_ref(signer));
    }
    return signers;
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

gboolean
sami_signer_allows(const SamiSigner *signer, const SamiPrefix *vm, guint n)
{
    for (guint i = 0; i < n; i++)
        if (!sami_prefixes_cover(signer->allow_prefixes, &vm[i]))
            return FALSE;
    return TRUE;
}

gboolean
sami_signer_is_valid(const SamiSigner *signer, gint64 now_s)
{
    const SamiConfigSigner *config = signer->config;
    return now_s >= config->valid_from_s && (config->valid_until_s == 0 || now_s < config->valid_until_s);
}

gboolean
sami_signer_is_valid_within(const SamiSigner *signer, gint64 from_s, gint64 until_s)
{
    gint64 first_s = MAX(from_s, signer->config->valid_from_s);
    return first_s < until_s && sami_signer_is_valid(signer, first_s);
}

gint64
sami_signers_next_change(GPtrArray *signers, gint64 now_s)
{
    gint64 next_s = G_MAXINT64;
    for (guint i = 0; i < signers->len; i++) {
        const SamiConfigSigner *config = ((const SamiSigner *) g_ptr_array_index(signers, i))->config;
        const gint64 moments[] = { config->valid_from_s, config->valid_until_s };
        for (guint k = 0; k < G_N_ELEMENTS(moments); k++)
            if (moments[k] > now_s)
                next_s = MIN(next_s, moments[k]);
    }
    return next_s;
}

void
sami_signer_fill_policy(const SamiSigner *signer, const SamiSignerHost *host, SamiPolicy *policy)
{
    const SamiConfigSigner *config = signer->config;
    policy->nat_addresses = (SamiPrefix *) (void *) signer->nat_addresses->data;
    policy->n_nat_addresses = signer->nat_addresses->len;
    policy->zones = (guint16 *) (void *) signer->zones->data;
    policy->n_zones = signer->zones->len;
    policy->vlans = (guint16 *) (void *) signer->vlans->data;
    policy->n_vlans = signer->vlans->len;
    policy->may_help = g_strv_contains((const gchar *const *) config->kinds, "expectation");
    policy->protocols = signer->protocols;
    policy->ports = signer->ports;
    policy->remote_ports = signer->remote_ports;
    policy->helpers = g_strv_contains((const gchar *const *) config->helpers, SAMI_VALUE_ANY) ? NULL : (const gchar *const *) config->helpers;
    policy->mark_cut = ~(guint32) config->mark_mask;
    memcpy(policy->labels_cut, signer->labels_cut, sizeof policy->labels_cut);
    policy->special = signer->special;
    policy->own = host ? host->own : NULL;
    policy->timeouts = host && !config->long_timeouts ? &host->timeouts : NULL;
    policy->translations = host ? &host->translations : NULL;
}
