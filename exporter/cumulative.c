/* Elements of nftables sets at their source (LIFECYCLE §10). Packets that add or count raise no notification, so there is nothing to follow: sets are
 * dumped, and what is as it was sent before is left out. */
#include <string.h>

#include "exporter/kinds.h"
#include "firewall/sets.h"
#include "firewall/shares.h"

/* One set of the configuration. */
typedef struct {
    const SamiConfigCumulative *config;
    gboolean is_blacklist, is_all;
    SamiSet *set;       /* NULL: cannot be opened */
    SamiSet *again;     /* for look-ups while the other one hands out a part of its dump */
    SamiSetInfo info;
    gchar *text;        /* (nullable) why it is not sent */
    guint64 n_seen;     /* in the running or last dump: that belong to the VM */
    guint64 n_walked;   /* all of the set */
    guint64 n_last;     /* the same of the last whole dump */
    guint64 n_unlisted; /* of them with an expression whose state the kernel does not list */
    guint64 n_beyond;   /* of them beyond max-elements */
} Target;

/* What was said of an element. */
typedef struct {
    guint64 key, value; /* hashes; 0 as a key: free */
} Said;

typedef struct {
    SamiMigration *m;
    SamiShares *shares;
    GArray *targets;    /* of Target */
    guint8 self[SAMI_SHARE_ORIGIN];
    SamiPass pass;
    guint at;           /* target whose turn it is */
    gboolean is_dumping;
    gboolean is_failed; /* the migration has: nothing more is sent */
    guint64 secret[2];  /* of the hashes: keys are chosen by others */
    Said *said;
    gsize n_said, n_places; /* places: a power of two, or 0 */
} State;

static void
target_clear(gpointer data)
{
    Target *target = data;
    sami_set_free(target->set);
    sami_set_free(target->again);
    g_free(target->text);
}

static void
close_state(gpointer data)
{
    State *state = data;
    g_array_unref(state->targets);
    sami_shares_free(state->shares);
    g_free(state->said);
    g_free(state);
}

static gpointer
open_state(SamiMigration *m)
{
    const SamiConfig *config = m->config;
    g_autofree gchar *path = g_build_filename(config->run_dir, "shares", NULL);
    if (config->cumulatives->len == 0)
        return NULL;
    State *state = g_new0(State, 1);
    state->m = m;
    state->shares = sami_shares_watch(path);
    state->targets = g_array_new(FALSE, TRUE, sizeof(Target));
    g_array_set_clear_func(state->targets, target_clear);
    sami_share_origin(config->name, state->self);
    sami_random((guint8 *) state->secret, sizeof state->secret);
    for (guint i = 0; i < config->cumulatives->len; i++) {
        const SamiConfigCumulative *one = g_ptr_array_index(config->cumulatives, i);
        Target target = { .config = one, .is_blacklist = g_str_equal(one->kind, "blacklist"), .is_all = g_str_equal(one->select, "all") };
        g_array_append_val(state->targets, target);
    }
    return state;
}

static void
start(gpointer data, SamiPass pass)
{
    State *state = data;
    for (guint i = 0; state->is_dumping && i < state->targets->len; i++)
        if (g_array_index(state->targets, Target, i).set)
            sami_set_dump_stop(g_array_index(state->targets, Target, i).set);
    state->pass = pass;
    state->at = 0;
    state->is_dumping = FALSE;
}

static void
forget(gpointer data)
{
    State *state = data;
    g_clear_pointer(&state->said, g_free);
    state->n_said = state->n_places = 0;
}

/* What has been said. */

static guint64
fold(guint64 hash, guint64 word, guint64 secret)
{
    unsigned __int128 product = (unsigned __int128) (word ^ hash) * (secret | 1);
    return (guint64) product ^ (guint64) (product >> 64) ^ (hash << 23 | hash >> 41);
}

static Said
hash(const State *state, const SamiSetElement *e)
{
    guint64 words[SAMI_SET_KEY_MAX / 8], end_s = ((guint64) g_get_monotonic_time() / 1000 + e->remaining_ms) / 1000;
    const guint64 values[] = { e->has, e->packets, e->octets, e->quota_used, e->has & SAMI_SET_HAS_TIMEOUT ? end_s : 0 };
    Said said = { fold(state->secret[0], state->at + 1, state->secret[1]), state->secret[1] };
    memcpy(words, e->key, sizeof words);
    for (guint i = 0; i < G_N_ELEMENTS(words); i++)
        said.key = fold(said.key, words[i], state->secret[1]);
    for (guint i = 0; i < G_N_ELEMENTS(values); i++)
        said.value = fold(said.value, values[i], state->secret[0]);
    said.key += said.key == 0;
    return said;
}

static Said *
find(const State *state, guint64 key)
{
    gsize i = key & (state->n_places - 1);
    while (state->said[i].key && state->said[i].key != key)
        i = (i + 1) & (state->n_places - 1);
    return &state->said[i];
}

static void
grow(State *state)
{
    g_autofree Said *old = state->said;
    gsize n_old = state->n_places;
    state->n_places = MAX(n_old * 2, 1024);
    state->said = g_new0(Said, state->n_places);
    for (gsize i = 0; i < n_old; i++)
        if (old[i].key)
            *find(state, old[i].key) = old[i];
}

/* TRUE: it is not as it was said, and is noted. */
static gboolean
is_news(State *state, const SamiSetElement *e)
{
    Said said = hash(state, e);
    if (state->n_said >= state->n_places / 4 * 3)
        grow(state);
    Said *place = find(state, said.key);
    if (place->key && place->value == said.value)
        return FALSE;
    state->n_said += place->key == 0;
    *place = said;
    return TRUE;
}

/* Sending. */

static void
send(State *state, const Target *target, const SamiSetElement *e, const SamiShare *share)
{
    SamiRecord record = { .kind = SAMI_RECORD_CUMULATIVE };
    sami_share_record(target->config->name, &target->info, e, share, &record.cumulative);
    state->is_failed = !sami_kinds_send(state->m, &record);
}

static void
on_element(const SamiSetElement *found, gpointer user_data)
{
    State *state = user_data;
    Target *target = &g_array_index(state->targets, Target, state->at);
    const GArray *vm = state->m->vm;
    SamiShare shares[SAMI_SHARES_A_KEY + 1];
    SamiSetElement e = *found;
    target->n_walked++;
    if (!target->is_all &&
        !sami_set_key_is_of(target->info.key_type, e.key, e.key_length, (const SamiPrefix *) (const void *) vm->data, vm->len))
        return;
    if (e.has & SAMI_SET_HAS_OTHER) {
        target->n_unlisted++;
        return;
    }
    if (++target->n_seen > target->config->max_elements) {
        target->n_beyond++;
        return;
    }
    if (state->is_failed || !is_news(state, &e))
        return;
    guint n = sami_shares_parts(state->shares, target->config->name, target->again, &target->info, state->self, &e, shares);
    for (guint i = 0; i < n && !state->is_failed; i++)
        if (i == 0 || shares[i].packets || shares[i].octets || shares[i].quota)
            send(state, target, &e, &shares[i]);
}

static void
tell(Target *target, const gchar *text)
{
    if (g_strcmp0(target->text, text) != 0)
        g_warning("[cumulative %s] is not sent: %s", target->config->name, text);
    g_free(target->text);
    target->text = g_strdup(text);
}

/* FALSE: this one has nothing to send. */
static gboolean
begin_target(State *state, Target *target)
{
    g_autoptr(GError) error = NULL;
    if (state->pass == SAMI_PASS_FREEZE && (!target->is_blacklist || target->n_last > SAMI_CUMULATIVE_FREEZE_MAX || target->text))
        return FALSE;
    if ((!target->set && !(target->set = sami_set_new(target->config->table, target->config->set, &error))) ||
        (!target->again && !(target->again = sami_set_new(target->config->table, target->config->set, &error))) ||
        sami_set_look(target->set, &target->info, &error) != SAMI_SET_FINE || !sami_set_dump_start(target->set, &target->info, &error)) {
        tell(target, error->message);
        return FALSE;
    }
    g_clear_pointer(&target->text, g_free);
    target->n_walked = target->n_seen = target->n_unlisted = target->n_beyond = 0;
    return TRUE;
}

static gboolean
step(gpointer data)
{
    State *state = data;
    g_autoptr(GError) error = NULL;
    if (state->at >= state->targets->len || state->is_failed)
        return FALSE;
    Target *target = &g_array_index(state->targets, Target, state->at);
    if (!state->is_dumping && !begin_target(state, target)) {
        state->at++;
        return TRUE;
    }
    sami_shares_lock(state->shares);
    SamiSetDumpStatus status = sami_set_dump_next(target->set, on_element, state, &error);
    sami_shares_unlock(state->shares);
    state->is_dumping = status == SAMI_SET_DUMP_MORE;
    if (state->is_dumping)
        return TRUE;
    if (status == SAMI_SET_DUMP_BAD)
        tell(target, error->message);
    else
        target->n_last = target->n_walked;
    if (target->n_beyond > 0 && state->pass != SAMI_PASS_FREEZE)
        g_warning("%.8s: [cumulative %s]: %" G_GUINT64_FORMAT " elements beyond max-elements are not sent", state->m->hex, target->config->name,
                  target->n_beyond);
    state->at++;
    return TRUE;
}

static void
describe(gpointer data, JsonObject *object)
{
    const State *state = data;
    JsonArray *sets = json_array_new();
    for (guint i = 0; i < state->targets->len; i++) {
        const Target *target = &g_array_index(state->targets, Target, i);
        JsonObject *one = json_object_new();
        json_object_set_string_member(one, "name", target->config->name);
        json_object_set_int_member(one, "elements", (gint64) target->n_seen);
        json_object_set_int_member(one, "not_listed", (gint64) target->n_unlisted);
        json_object_set_int_member(one, "beyond_max", (gint64) target->n_beyond);
        if (target->text)
            json_object_set_string_member(one, "error", target->text);
        json_array_add_object_element(sets, one);
    }
    json_object_set_array_member(object, "sets", sets);
}

const SamiSourceKind sami_source_cumulative = { "cumulative", SAMI_KIND_CUMULATIVE, SAMI_RECORD_CUMULATIVE,
                                                open_state, start, step, forget, describe, close_state };
