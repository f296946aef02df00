#include "replay/record-sets.h"

#include <string.h>

#include "firewall/shares.h"
#include "replay/replay.h"

typedef struct {
    ReplayOutput *output;
    ReplaySetCounts *counts;
    const SamiConfigCumulative *config;
    const GArray *vm; /* (nullable) all of the set */
    SamiShares *shares;
    guint8 self[SAMI_SHARE_ORIGIN];
    SamiSet *again;
    SamiSetInfo info;
    guint64 n_seen, n_left;
    GError *error; /* the file's */
} Set;

static void
on_element(const SamiSetElement *found, gpointer user_data)
{
    Set *set = user_data;
    SamiShare shares[SAMI_SHARES_A_KEY + 1];
    SamiSetElement e = *found;
    if (set->vm && !sami_set_key_is_of(set->info.key_type, e.key, e.key_length, (const SamiPrefix *) (const void *) set->vm->data, set->vm->len))
        return;
    if ((e.has & SAMI_SET_HAS_OTHER) || ++set->n_seen > set->config->max_elements) {
        set->n_left++;
        return;
    }
    guint n = sami_shares_parts(set->shares, set->config->name, set->again, &set->info, set->self, &e, shares);
    for (guint i = 0; i < n && !set->error; i++) {
        SamiRecord record = { .kind = SAMI_RECORD_CUMULATIVE };
        if (i > 0 && !shares[i].packets && !shares[i].octets && !shares[i].quota)
            continue;
        sami_share_record(set->config->name, &set->info, &e, &shares[i], &record.cumulative);
        replay_output_add(set->output, &record, &set->error);
    }
    set->counts->n_elements++;
}

/* FALSE: why the set could not be read to its end. */
static gboolean
read_set(Set *set, GError **error)
{
    SamiSetDumpStatus status = SAMI_SET_DUMP_MORE;
    g_autoptr(SamiSet) handle = sami_set_new(set->config->table, set->config->set, error);
    g_autoptr(SamiSet) again = handle ? sami_set_new(set->config->table, set->config->set, error) : NULL;
    if (!again || sami_set_look(handle, &set->info, error) != SAMI_SET_FINE || !sami_set_dump_start(handle, &set->info, error))
        return FALSE;
    set->again = again;
    while (status == SAMI_SET_DUMP_MORE && !set->error) {
        sami_shares_lock(set->shares);
        status = sami_set_dump_next(handle, on_element, set, error);
        sami_shares_unlock(set->shares);
    }
    sami_set_dump_stop(handle);
    return status != SAMI_SET_DUMP_BAD;
}

static void
tell(Set *set, const GError *why)
{
    if (why)
        replay_say(stderr, NULL, "sami-replay: [cumulative %s] is not in the file: %s\n", set->config->name, why->message);
    if (set->n_left > 0)
        replay_say(stderr, NULL, "sami-replay: [cumulative %s]: %" G_GUINT64_FORMAT " elements are not in the file: they have expressions without a state to "
                   "carry, or are beyond max-elements\n", set->config->name, set->n_left);
    set->counts->n_failed += why || set->n_left > 0;
    set->counts->n_left += set->n_left;
}

gboolean
replay_record_sets(const SamiConfig *config, const GArray *vm, ReplayOutput *output, ReplaySetCounts *ret, GError **error)
{
    g_autofree gchar *path = g_build_filename(config->run_dir, "shares", NULL);
    g_autoptr(SamiShares) shares = config->cumulatives->len > 0 ? sami_shares_watch(path) : NULL;
    for (guint i = 0; i < config->cumulatives->len; i++) {
        const SamiConfigCumulative *one = config->cumulatives->pdata[i];
        gboolean is_of_vm = vm->len > 0 && !g_str_equal(one->select, "all");
        Set set = { .output = output, .counts = ret, .config = one, .vm = is_of_vm ? vm : NULL, .shares = shares };
        g_autoptr(GError) why = NULL;
        sami_share_origin(config->name, set.self);
        read_set(&set, &why);
        if (set.error) {
            g_propagate_error(error, set.error);
            return FALSE;
        }
        tell(&set, why);
    }
    return TRUE;
}
