/* Asymmetric switch (DESIGN §2): where the two directions of a path may switch at different moments, this firewall sees half a
 * flow for a while and its strict window tracking would drop it. The moving TCP flows become lenient here too, in the background of
 * FOLLOW, never inside the freeze; an abort undoes it. Window scale and everything else stays (flags under mask 0x08 only). */
#include "exporter/exporter.h"

#include <netinet/in.h>
#include <string.h>

#define BATCH 256u
#define PERIOD_MS 20u

struct SamiLenient {
    GArray *waiting;  /* of SamiFlowKey */
    GHashTable *done; /* SamiFlowKey -> which directions were lenient before, a bit each; both are now, or will be */
    guint timer;
};

SamiLenient *
sami_lenient_new(void)
{
    SamiLenient *lenient = g_new0(SamiLenient, 1);
    lenient->waiting = g_array_new(FALSE, FALSE, sizeof(SamiFlowKey));
    lenient->done = g_hash_table_new_full(sami_flow_key_hash, sami_flow_key_equal, g_free, NULL);
    return lenient;
}

void
sami_lenient_free(SamiLenient *lenient)
{
    if (!lenient)
        return;
    if (lenient->timer)
        g_source_remove(lenient->timer);
    g_array_unref(lenient->waiting);
    g_hash_table_unref(lenient->done);
    g_free(lenient);
}

static gboolean
set_flags(SamiMigration *m, const SamiFlowKey *keys, const guint8 *lenient, guint n)
{
    SamiSession sessions[BATCH];
    SamiOp ops[BATCH];
    g_autoptr(GError) error = NULL;
    for (guint i = 0; i < n; i++) {
        sessions[i] = (SamiSession){ .key = keys[i], .has = SAMI_HAS_TCP, .tcp_flags = { lenient[i] & 1 ? SAMI_TCP_FLAG_BE_LIBERAL : 0, lenient[i] & 2 ? SAMI_TCP_FLAG_BE_LIBERAL : 0 } };
        ops[i] = (SamiOp){ .kind = SAMI_OP_UPDATE_FLAGS, .session = &sessions[i] };
    }
    if (sami_firewall_apply(sami_source_firewall(m->source), ops, n, &error))
        return TRUE;
    g_warning("%.8s: window tracking of moving flows cannot be changed: %s", m->hex, error->message);
    return FALSE;
}

static gboolean
on_timer(gpointer user_data)
{
    SamiMigration *m = user_data;
    SamiLenient *lenient = m->lenient;
    guint n = MIN(lenient->waiting->len, BATCH);
    if (lenient->waiting->len == 0 || !m->source) {
        lenient->timer = 0;
        return G_SOURCE_REMOVE;
    }
    if (m->state != SAMI_STATE_FOLLOW && m->state != SAMI_STATE_PREPARE) /* not inside the freeze; a thaw goes on with it */
        return G_SOURCE_CONTINUE;
    guint8 both[BATCH];
    memset(both, 3, sizeof both);
    if (!set_flags(m, (SamiFlowKey *) (void *) lenient->waiting->data, both, n))
        n = lenient->waiting->len;
    g_array_remove_range(lenient->waiting, 0, n);
    return G_SOURCE_CONTINUE;
}

void
sami_lenient_see(SamiMigration *m, SamiSession *s)
{
    SamiLenient *lenient = m->lenient;
    if (s->key.protocol != IPPROTO_TCP || !(s->has & SAMI_HAS_TCP))
        return;
    gpointer before_done;
    if (g_hash_table_lookup_extended(lenient->done, &s->key, NULL, &before_done)) {
        for (guint d = 0; d < 2; d++) /* not the source's own: the destination decides when it is strict again */
            if (!(GPOINTER_TO_UINT(before_done) & 1u << d))
                s->tcp_flags[d] &= (guint8) ~SAMI_TCP_FLAG_BE_LIBERAL;
        return;
    }
    if (s->tcp_flags[0] & s->tcp_flags[1] & SAMI_TCP_FLAG_BE_LIBERAL)
        return;
    guint before = (s->tcp_flags[0] & SAMI_TCP_FLAG_BE_LIBERAL ? 1u : 0u) | (s->tcp_flags[1] & SAMI_TCP_FLAG_BE_LIBERAL ? 2u : 0u);
    g_hash_table_insert(lenient->done, g_memdup2(&s->key, sizeof s->key), GUINT_TO_POINTER(before));
    g_array_append_val(lenient->waiting, s->key);
    if (!lenient->timer)
        lenient->timer = g_timeout_add(PERIOD_MS, on_timer, m);
}

void
sami_lenient_forget(SamiMigration *m, const SamiFlowKey *key)
{
    g_hash_table_remove(m->lenient->done, key);
}

guint
sami_lenient_n(const SamiMigration *m)
{
    return m->lenient ? g_hash_table_size(m->lenient->done) : m->n_lenient;
}

void
sami_lenient_undo(SamiMigration *m)
{
    GHashTableIter iter;
    gpointer key, before;
    SamiFlowKey keys[BATCH];
    guint8 flags[BATCH];
    guint n = 0;
    g_hash_table_iter_init(&iter, m->lenient->done);
    while (g_hash_table_iter_next(&iter, &key, &before)) {
        flags[n] = (guint8) GPOINTER_TO_UINT(before);
        keys[n++] = *(SamiFlowKey *) key;
        if (n == BATCH && !set_flags(m, keys, flags, n))
            return;
        n %= BATCH;
    }
    if (n > 0)
        set_flags(m, keys, flags, n);
    g_hash_table_remove_all(m->lenient->done);
    g_array_set_size(m->lenient->waiting, 0);
}
