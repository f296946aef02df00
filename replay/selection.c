#include "replay/selection.h"

struct ReplaySelection {
    ReplayFilter *filter;
    const GArray *vm;  /* NULL: there is no --vm */
    GHashTable *flows; /* set of SamiFlowKey: chosen, and not by what their deletions say */
    gboolean has_overflown;
};

ReplaySelection *
replay_selection_new(const ReplayArgs *args, GError **error)
{
    g_autoptr(ReplayFilter) filter = replay_filter_new(args, error);
    if (!filter)
        return NULL;
    ReplaySelection *selection = g_new0(ReplaySelection, 1);
    selection->filter = g_steal_pointer(&filter);
    selection->flows = g_hash_table_new_full(sami_flow_key_hash, sami_flow_key_equal, g_free, NULL);
    return selection;
}

void
replay_selection_set_vm(ReplaySelection *selection, const GArray *vm)
{
    selection->vm = vm;
}

void
replay_selection_free(ReplaySelection *selection)
{
    if (!selection)
        return;
    replay_filter_free(selection->filter);
    g_hash_table_unref(selection->flows);
    g_free(selection);
}

gboolean
replay_selection_has_message(const ReplaySelection *selection, const ReplayMessage *message)
{
    return replay_filter_message(selection->filter, message);
}

static gboolean
is_in_vm(const ReplaySelection *selection, guint8 family, const SamiAddress *address)
{
    return sami_prefixes_contain((const SamiPrefix *) (const void *) selection->vm->data, selection->vm->len, family, address);
}

/* As an exporter selects: the VM is an untranslated end. */
static gboolean
is_of_vm(const ReplaySelection *selection, const SamiRecord *record)
{
    const SamiSession *s = &record->session;
    const SamiFlowKey *master = &record->expectation.master;
    if (!selection->vm)
        return TRUE;
    switch (record->kind) {
    case SAMI_RECORD_SESSION:
        return is_in_vm(selection, s->key.family, &s->key.orig.src) ||
               is_in_vm(selection, s->key.family, s->action == SAMI_ACTION_DELETED ? &s->key.orig.dst : &s->reply.src);
    case SAMI_RECORD_EXPECTATION:
        return is_in_vm(selection, master->family, &master->orig.src) || is_in_vm(selection, master->family, &master->orig.dst);
    default: return record->cumulative.family != 0 && is_in_vm(selection, record->cumulative.family, &record->cumulative.source);
    }
}

static gboolean
matches(const ReplaySelection *selection, const SamiRecord *record)
{
    return is_of_vm(selection, record) && replay_filter_matches(selection->filter, record);
}

static gboolean
wants_session(ReplaySelection *selection, const SamiRecord *record)
{
    const SamiSession *s = &record->session;
    gboolean is_match = matches(selection, record);
    if (s->action == SAMI_ACTION_DELETED)
        return g_hash_table_remove(selection->flows, &s->key) || is_match || selection->has_overflown;
    if (!is_match)
        return FALSE;
    SamiRecord end = { .kind = SAMI_RECORD_SESSION, .session = { .key = s->key, .vlan = s->vlan, .action = SAMI_ACTION_DELETED } };
    end.session.has = s->has & SAMI_HAS_VLAN;
    if (matches(selection, &end))
        return TRUE;
    if (g_hash_table_size(selection->flows) < REPLAY_SELECTED_MAX)
        g_hash_table_add(selection->flows, g_memdup2(&s->key, sizeof s->key));
    else
        selection->has_overflown = TRUE;
    return TRUE;
}

gboolean
replay_selection_wants(ReplaySelection *selection, const SamiRecord *record)
{
    switch (record->kind) {
    case SAMI_RECORD_SESSION:
        return (!selection->vm && !replay_filter_has_record_rules(selection->filter)) || wants_session(selection, record);
    case SAMI_RECORD_EXPECTATION:
    case SAMI_RECORD_CUMULATIVE: return matches(selection, record);
    default: return TRUE;
    }
}
