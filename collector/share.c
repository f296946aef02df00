/* What each peer takes up here: whether it may have more, and for the operator, coarse, and rather more than less. */
#include <string.h>

#include "collector/collector.h"

/* Sessions, migrations, and octets of both processes. Those of the kernel's buffers are not in it, nor the records that are being injected
 * (SAMI_INJECTOR_HIGH bounds them for all). */
typedef struct {
    const gchar *peer; /* of a session or migration */
    guint n_sessions, n_migrations, n_in_doubt;
    guint64 octets, listener_octets;
} Share;

typedef struct {
    guint n_active, n_active_of_all, n_in_doubt;
} Load;

static Load
count_load(const SamiCollector *collector, const gchar *signer)
{
    Load load = { 0 };
    for (guint i = 0; i < collector->migrations->len; i++) {
        const SamiCollectorMigration *m = g_ptr_array_index(collector->migrations, i);
        gboolean is_of_signer = g_str_equal(m->signer_name, signer);
        gboolean is_active = !m->replication && !sami_collector_is_over(m->phase) && m->phase != SAMI_PHASE_IN_DOUBT;
        load.n_active_of_all += is_active;
        load.n_active += is_active && is_of_signer;
        load.n_in_doubt += m->phase == SAMI_PHASE_IN_DOUBT && is_of_signer;
    }
    return load;
}

guint
sami_collector_count_active(const SamiCollector *collector, const gchar *signer)
{
    return count_load(collector, signer).n_active;
}

/* One signer may not keep the others out, neither by what it runs nor by what it leaves behind. */
SamiReason
sami_collector_may_have_more(const SamiCollector *collector, const SamiConfigSigner *signer)
{
    guint max = collector->config->max_migrations;
    Load load = count_load(collector, signer->name);
    if (signer->max_migrations > 0 && load.n_active >= signer->max_migrations)
        return SAMI_REASON_MAX_MIGRATIONS;
    gboolean has_room = load.n_active < max && load.n_active_of_all < max * SAMI_PEER_SHARE && load.n_in_doubt < SAMI_IN_DOUBT_MAX;
    return has_room ? SAMI_REASON_NONE : SAMI_REASON_LIMIT;
}

static Share *
share_of(GArray *shares, const gchar *peer)
{
    for (guint i = 0; i < shares->len; i++)
        if (g_str_equal(g_array_index(shares, Share, i).peer, peer))
            return &g_array_index(shares, Share, i);
    Share share = { .peer = peer };
    g_array_append_val(shares, share);
    return &g_array_index(shares, Share, shares->len - 1);
}

static void
add_session(GArray *shares, const SamiCollectorSession *session)
{
    Share *share = share_of(shares, session->open.name);
    share->n_sessions++;
    share->octets += (session->stream ? SAMI_SESSION_OCTETS : SAMI_FRAME_MAX) + session->n_out;
    share->listener_octets += SAMI_CONNECTION_OCTETS + (session->open.transport == 2 ? SAMI_ASSOCIATION_OCTETS : 0);
}

static void
add_migration(GArray *shares, const SamiCollectorMigration *m)
{
    Share *share = share_of(shares, m->peer);
    share->n_migrations += m->replication || (!sami_collector_is_over(m->phase) && m->phase != SAMI_PHASE_IN_DOUBT);
    share->n_in_doubt += m->phase == SAMI_PHASE_IN_DOUBT;
    share->octets += sizeof *m + m->vm->len * sizeof(SamiPrefix) + sami_apply_octets(m->apply);
}

static GArray *
add_up(const SamiCollector *collector)
{
    GArray *shares = g_array_new(FALSE, FALSE, sizeof(Share));
    for (guint i = 0; i < collector->sessions->len; i++) {
        const SamiCollectorSession *session = g_ptr_array_index(collector->sessions, i);
        if (session->is_open)
            add_session(shares, session);
    }
    for (guint i = 0; i < collector->migrations->len; i++)
        add_migration(shares, g_ptr_array_index(collector->migrations, i));
    return shares;
}

JsonArray *
sami_collector_shares_describe(const SamiCollector *collector)
{
    g_autoptr(GArray) shares = add_up(collector);
    JsonArray *list = json_array_new();
    for (guint i = 0; i < shares->len; i++) {
        const Share *share = &g_array_index(shares, Share, i);
        JsonObject *object = json_object_new();
        json_object_set_string_member(object, "peer", share->peer);
        json_object_set_int_member(object, "sessions", share->n_sessions);
        json_object_set_int_member(object, "migrations", share->n_migrations);
        json_object_set_int_member(object, "in_doubt", share->n_in_doubt);
        json_object_set_int_member(object, "octets", (gint64) share->octets);
        json_object_set_int_member(object, "listener_octets", (gint64) share->listener_octets);
        json_array_add_object_element(list, object);
    }
    return list;
}

void
sami_collector_shares_measure(const SamiCollector *collector, const gchar *role, JsonArray *samples)
{
    g_autoptr(GArray) shares = add_up(collector);
    for (guint i = 0; i < shares->len; i++) {
        const Share *share = &g_array_index(shares, Share, i);
        if (share->n_sessions + share->n_migrations + share->n_in_doubt == 0)
            continue;
        sami_metrics_add(samples, SAMI_METRIC_PEER_SESSIONS, share->n_sessions, SAMI_LABELS("role", role, "peer", share->peer));
        sami_metrics_add(samples, SAMI_METRIC_PEER_MEMORY, (gdouble) (share->octets + share->listener_octets), SAMI_LABELS("role", role, "peer", share->peer));
    }
}
