/* Source clean-up, only when asked (LIFECYCLE §8): an entry goes if the final receipt confirms it without an exception and its counts bear
 * that out, if it is the generation that the audit named and no packet has come since, and if nobody who still lives behind this firewall is its
 * other end. */
#include "exporter/exporter.h"

#include <string.h>

#define BATCH 256u

typedef struct {
    SamiFlowKey key;
    guint32 flow_id;
    guint8 tcp_state;
    guint64 start_ns;
    guint64 packets; /* both directions; 0 without nf_conntrack_acct */
} Item;

struct SamiPurge {
    GArray *items;          /* of Item: what the audit named */
    GHashTable *exceptions; /* set of SamiFlowKey: what the receipt does not confirm as exact or merged */
    guint n_expiring;       /* of the items */
    guint64 n_listed;       /* refusals of records, and of degraded ones */
    guint n_by_rule[2][SAMI_N_REASONS]; /* refused, degraded */
    gboolean is_list_cut;   /* a rule has more than may be listed */
    SamiVlans *vlans;       /* (nullable) a reference */
    GArray *neighbours;     /* of SamiPrefix: who lives behind this firewall */
    guint at;
    guint timer;
};

static void
add_prefixes(SamiPurge *purge, GStrv texts, const GArray *vm)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GArray) list = sami_prefix_list(texts, "clean-up", &error);
    if (!list) /* the configuration was checked when it was read */
        g_warning("%s", error->message);
    for (guint i = 0; list && i < list->len; i++) {
        const SamiPrefix *prefix = &g_array_index(list, SamiPrefix, i);
        if (!sami_prefixes_cover(vm, prefix))
            g_array_append_val(purge->neighbours, *prefix);
    }
}

SamiPurge *
sami_purge_new(const SamiConfig *config, const GArray *vm, SamiVlans *vlans)
{
    SamiPurge *purge = g_new0(SamiPurge, 1);
    purge->vlans = sami_vlans_ref(vlans);
    purge->items = g_array_new(FALSE, FALSE, sizeof(Item));
    purge->exceptions = g_hash_table_new_full(sami_flow_key_hash, sami_flow_key_equal, g_free, NULL);
    purge->neighbours = g_array_new(FALSE, FALSE, sizeof(SamiPrefix));
    add_prefixes(purge, config->local_prefixes, vm);
    for (guint i = 0; i < config->vms->len; i++)
        add_prefixes(purge, ((const SamiConfigVm *) g_ptr_array_index(config->vms, i))->addresses, vm);
    return purge;
}

void
sami_purge_free(SamiPurge *purge)
{
    if (!purge)
        return;
    if (purge->timer)
        g_source_remove(purge->timer);
    sami_vlans_unref(purge->vlans);
    g_array_unref(purge->items);
    g_array_unref(purge->neighbours);
    g_hash_table_unref(purge->exceptions);
    g_free(purge);
}

static Item
item_of(const SamiSession *s)
{
    Item item = { .key = s->key, .flow_id = s->flow_id, .tcp_state = s->tcp_state, .start_ns = s->start_ns };
    item.packets = (s->has & SAMI_HAS_COUNTERS) ? s->packets[0] + s->packets[1] : 0;
    return item;
}

void
sami_purge_restart(SamiPurge *purge)
{
    g_array_set_size(purge->items, 0);
    purge->n_expiring = 0;
}

void
sami_purge_see(SamiPurge *purge, const SamiSession *s)
{
    Item item = item_of(s);
    g_array_append_val(purge->items, item);
    purge->n_expiring += s->timeout_s <= SAMI_EXPIRING_S;
}

void
sami_purge_except(SamiPurge *purge, const SamiRefusal *refusal)
{
    guint reason = refusal->reason < SAMI_N_REASONS ? refusal->reason : 0;
    SamiFlowKey key;
    /* The peer has to stop and to say so (PROTOCOL §4): what it names beyond is not kept, and then no list of it is believed. */
    if (purge->n_by_rule[refusal->scope == SAMI_SCOPE_DEGRADED][reason]++ >= SAMI_REFUSALS_PER_RULE) {
        purge->is_list_cut = TRUE;
        return;
    }
    if (!sami_refusal_has_flow(refusal)) /* of another kind of state */
        return;
    sami_flow_key_unpack(refusal->key, &key);
    sami_vlan_own_key(purge->vlans, &key);
    g_hash_table_add(purge->exceptions, g_memdup2(&key, sizeof key));
    purge->n_listed++;
}

/* The end that is not the VM's; if both are, the flow moves with both. */
static gboolean
has_neighbour(const SamiMigration *m, const SamiSession *s)
{
    const SamiPurge *purge = m->purge;
    const SamiPrefix *vm = (const SamiPrefix *) (const void *) m->vm->data;
    const SamiPrefix *neighbours = (const SamiPrefix *) (const void *) purge->neighbours->data;
    const SamiAddress *ends[] = { &s->key.orig.src, &s->reply.src };
    for (guint i = 0; i < G_N_ELEMENTS(ends); i++)
        if (!sami_prefixes_contain(vm, m->vm->len, s->key.family, ends[i]) &&
            sami_prefixes_contain(neighbours, purge->neighbours->len, s->key.family, ends[i]))
            return TRUE;
    return FALSE;
}

/* NULL: it may go; otherwise the counter of what keeps it. */
static guint64 *
keeps(SamiMigration *m, const Item *item, const SamiSession *found, gboolean is_found)
{
    if (g_hash_table_contains(m->purge->exceptions, &item->key))
        return &m->n_kept_unconfirmed;
    if (!is_found || !sami_flow_key_equal(&found->key, &item->key) || !(found->has & SAMI_HAS_START) || !item->start_ns)
        return &m->n_kept_changed;
    Item now = item_of(found);
    if (now.flow_id != item->flow_id || now.start_ns != item->start_ns || now.tcp_state != item->tcp_state ||
        now.packets != item->packets)
        return &m->n_kept_changed;
    return has_neighbour(m, found) ? &m->n_kept_local : NULL;
}

static gboolean
purge_batch(SamiMigration *m, const Item *items, guint n, GError **error)
{
    SamiFirewall *firewall = sami_source_firewall(m->source);
    SamiFlowKey keys[BATCH];
    SamiSession found[BATCH];
    gboolean is_found[BATCH];
    SamiOp ops[BATCH];
    guint n_ops = 0;
    for (guint i = 0; i < n; i++)
        keys[i] = items[i].key;
    if (!sami_firewall_get(firewall, keys, n, found, is_found, error))
        return FALSE;
    for (guint i = 0; i < n; i++) {
        guint64 *kept = keeps(m, &items[i], &found[i], is_found[i]);
        if (kept)
            ++*kept;
        else
            ops[n_ops++] = (SamiOp){ .kind = SAMI_OP_DELETE, .session = &found[i] };
    }
    if (n_ops > 0 && !sami_firewall_apply(firewall, ops, n_ops, error))
        return FALSE;
    for (guint i = 0; i < n_ops; i++)
        ++*(ops[i].result == 0 ? &m->n_purged : &m->n_kept_changed);
    return TRUE;
}

/* A batch a turn, so that the daemon's other migrations go on. */
static gboolean
on_turn(gpointer user_data)
{
    SamiMigration *m = user_data;
    SamiPurge *purge = m->purge;
    g_autoptr(GError) error = NULL;
    guint n = MIN(purge->items->len - purge->at, BATCH);
    if (n > 0 && purge_batch(m, &g_array_index(purge->items, Item, purge->at), n, &error)) {
        purge->at += n;
        return G_SOURCE_CONTINUE;
    }
    if (error)
        g_warning("%.8s: the clean-up stopped after %u of %u entries: %s", m->hex, purge->at, purge->items->len, error->message);
    purge->timer = 0;
    sami_migration_purged(m);
    return G_SOURCE_REMOVE;
}

/* What is not listed is confirmed only if the list is whole (PROTOCOL §4): every exception that the receipt counts is in it, and what is exact, merged
 * or listed makes up all that the audit named. */
static gboolean
is_confirmed(const SamiPurge *purge, const SamiReceipt *final)
{
    guint64 n_confirmed = final->n_exact + final->n_merged;
    for (guint i = 0; g_hash_table_size(purge->exceptions) > 0 && i < purge->items->len; i++)
        n_confirmed += g_hash_table_contains(purge->exceptions, &g_array_index(purge->items, Item, i).key);
    return !(final->flags & SAMI_RECEIPT_TRUNCATED) && !purge->is_list_cut && purge->n_listed >= final->n_refused + final->n_degraded &&
           n_confirmed + purge->n_expiring >= purge->items->len;
}

void
sami_purge_run(SamiMigration *m, const SamiReceipt *final)
{
    if (!is_confirmed(m->purge, final)) {
        m->n_kept_unconfirmed += m->purge->items->len;
        g_array_set_size(m->purge->items, 0);
    }
    m->purge->timer = sami_idle_add(on_turn, m);
}

void
sami_purge_stop(SamiPurge *purge)
{
    if (purge->timer)
        g_source_remove(purge->timer);
    purge->timer = 0;
}
