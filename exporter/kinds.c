/* Drives the passes of all kinds from the main loop, with the link's back-pressure. */
#include "exporter/kinds.h"

const SamiSourceKind *const sami_source_kinds[] = { &sami_source_cumulative };
const guint sami_n_source_kinds = G_N_ELEMENTS(sami_source_kinds);
#define N_KINDS G_N_ELEMENTS(sami_source_kinds)
G_STATIC_ASSERT(N_KINDS <= SAMI_EXPORTER_KINDS_MAX);

struct SamiExporterKinds {
    struct {
        gpointer state; /* (nullable) */
        guint64 n_sent;
        SamiKindCount there; /* as the collector counts */
    } kinds[N_KINDS];
    SamiPass pass;
    guint at;           /* kind whose turn it is; N_KINDS: no pass runs */
    guint idle;         /* 0: waits for room, or nothing runs */
    void (*done)(SamiMigration *m);
};

guint32
sami_kinds_open(SamiMigration *m)
{
    guint32 bits = 0;
    if (!m->kinds) {
        m->kinds = g_new0(SamiExporterKinds, 1);
        m->kinds->at = N_KINDS;
        for (guint i = 0; i < N_KINDS && !m->replication; i++)
            m->kinds->kinds[i].state = sami_source_kinds[i]->open(m);
    }
    for (guint i = 0; i < N_KINDS; i++)
        bits |= m->kinds->kinds[i].state ? sami_source_kinds[i]->bit : 0;
    return bits;
}

void
sami_kinds_stop(SamiMigration *m)
{
    if (!m->kinds)
        return;
    g_clear_handle_id(&m->kinds->idle, g_source_remove);
    m->kinds->at = N_KINDS;
}

void
sami_kinds_close(SamiMigration *m)
{
    sami_kinds_stop(m);
    for (guint i = 0; m->kinds && i < N_KINDS; i++)
        if (m->kinds->kinds[i].state)
            sami_source_kinds[i]->close(m->kinds->kinds[i].state);
    g_clear_pointer(&m->kinds, g_free);
}

gboolean
sami_kinds_send(SamiMigration *m, const SamiRecord *record)
{
    for (guint i = 0; i < N_KINDS; i++)
        if (sami_source_kinds[i]->record == record->kind) {
            m->kinds->kinds[i].n_sent++;
            m->exporter->n_kind_sent[i]++;
        }
    return sami_link_add(m, record);
}

/* To the next kind that has something; starts it. */
static void
begin_kind(SamiExporterKinds *kinds, guint at)
{
    while (at < N_KINDS && !kinds->kinds[at].state)
        at++;
    kinds->at = at;
    if (at < N_KINDS)
        sami_source_kinds[at]->start(kinds->kinds[at].state, kinds->pass);
}

static gboolean
on_turn(gpointer user_data)
{
    SamiMigration *m = user_data;
    SamiExporterKinds *kinds = m->kinds;
    if (sami_link_is_full(m)) { /* sami_kinds_update() goes on */
        kinds->idle = 0;
        return G_SOURCE_REMOVE;
    }
    if (!sami_source_kinds[kinds->at]->step(kinds->kinds[kinds->at].state))
        begin_kind(kinds, kinds->at + 1);
    if (sami_exporter_is_over(m->state) || kinds->at < N_KINDS)
        return G_SOURCE_CONTINUE; /* over: what could not be encoded has failed it, and the clean-up stops this */
    kinds->idle = 0;
    kinds->done(m);
    return G_SOURCE_REMOVE;
}

gboolean
sami_kinds_run(SamiMigration *m, SamiPass pass, void (*done)(SamiMigration *m))
{
    SamiExporterKinds *kinds = m->kinds;
    if (!kinds)
        return FALSE;
    if (kinds->at < N_KINDS && kinds->pass == pass)
        return TRUE;
    sami_kinds_stop(m);
    kinds->pass = pass;
    kinds->done = done;
    begin_kind(kinds, 0);
    if (kinds->at == N_KINDS)
        return FALSE;
    kinds->idle = sami_idle_add(on_turn, m);
    return TRUE;
}

void
sami_kinds_freeze(SamiMigration *m)
{
    if (!m->kinds)
        return;
    sami_kinds_stop(m);
    m->kinds->pass = SAMI_PASS_FREEZE;
    for (begin_kind(m->kinds, 0); m->kinds->at < N_KINDS; begin_kind(m->kinds, m->kinds->at + 1))
        while (sami_source_kinds[m->kinds->at]->step(m->kinds->kinds[m->kinds->at].state))
            ;
}

void
sami_kinds_update(SamiMigration *m)
{
    if (m->kinds && m->kinds->at < N_KINDS && !m->kinds->idle && !sami_link_is_full(m))
        m->kinds->idle = sami_idle_add(on_turn, m);
}

void
sami_kinds_forget(SamiMigration *m)
{
    gboolean is_running = m->kinds && m->kinds->at < N_KINDS;
    for (guint i = 0; m->kinds && i < N_KINDS; i++)
        if (m->kinds->kinds[i].state)
            sami_source_kinds[i]->forget(m->kinds->kinds[i].state);
    if (is_running)
        begin_kind(m->kinds, 0);
}

static gint
find(const SamiKindCount *count)
{
    for (guint i = 0; i < N_KINDS; i++)
        if (sami_source_kinds[i]->record == count->kind)
            return (gint) i;
    return -1;
}

gboolean
sami_kinds_believes(const SamiMigration *m, const SamiKindCount *count)
{
    gboolean is_expectation = count->kind == SAMI_RECORD_EXPECTATION; /* which go with the sessions, not in passes */
    gint i = find(count);
    guint64 n_sent = is_expectation ? m->n_expectations : m->kinds && i >= 0 ? m->kinds->kinds[i].n_sent : 0;
    return (is_expectation || i >= 0) && count->n_records <= n_sent && count->n_applied <= n_sent && count->n_unchanged <= n_sent &&
           count->n_refused <= n_sent;
}

void
sami_kinds_counted(SamiMigration *m, const SamiKindCount *count)
{
    if (count->kind == SAMI_RECORD_EXPECTATION)
        m->expected = *count;
    else if (m->kinds)
        m->kinds->kinds[find(count)].there = *count;
}

guint64
sami_kinds_n_sent(const SamiMigration *m)
{
    guint64 n = 0;
    for (guint i = 0; m->kinds && i < N_KINDS; i++)
        n += m->kinds->kinds[i].n_sent;
    return n;
}

guint64
sami_kinds_n_refused(const SamiMigration *m)
{
    guint64 n = 0;
    for (guint i = 0; m->kinds && i < N_KINDS; i++)
        n += m->kinds->kinds[i].there.n_refused;
    return n;
}

void
sami_kinds_describe(const SamiMigration *m, JsonObject *counts)
{
    for (guint i = 0; m->kinds && i < N_KINDS; i++) {
        const SamiKindCount *there = &m->kinds->kinds[i].there;
        JsonObject *object;
        if (!m->kinds->kinds[i].state)
            continue;
        object = json_object_new();
        json_object_set_int_member(object, "sent", (gint64) m->kinds->kinds[i].n_sent);
        json_object_set_int_member(object, "applied", (gint64) there->n_applied);
        json_object_set_int_member(object, "unchanged", (gint64) there->n_unchanged);
        json_object_set_int_member(object, "refused", (gint64) there->n_refused);
        sami_source_kinds[i]->describe(m->kinds->kinds[i].state, object);
        json_object_set_object_member(counts, sami_source_kinds[i]->name, object);
    }
}
