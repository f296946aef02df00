#include "firewall/firewall.h"

#include "firewall/ops.h"

void
sami_firewall_free(SamiFirewall *firewall)
{
    if (firewall)
        firewall->ops->free(firewall);
}

gboolean
sami_firewall_apply(SamiFirewall *firewall, SamiOp *ops, guint n, GError **error)
{
    return n == 0 || firewall->ops->apply(firewall, ops, n, error);
}

gboolean
sami_firewall_get(SamiFirewall *firewall, const SamiFlowKey *keys, guint n, SamiSession *ret,
                  gboolean *found, GError **error)
{
    return n == 0 || firewall->ops->get(firewall, keys, n, ret, found, error);
}

SamiFirewallDump *
sami_firewall_dump_new(SamiFirewall *firewall, const SamiDumpFilter *filter, GError **error)
{
    return firewall->ops->dump_new(firewall, filter, error);
}

int
sami_firewall_dump_fd(SamiFirewallDump *dump)
{
    return dump->ops->fd(dump);
}

SamiDumpStatus
sami_firewall_dump_next(SamiFirewallDump *dump, SamiSessionFunc func, gpointer user_data,
                        GError **error)
{
    return dump->ops->next(dump, func, user_data, error);
}

guint64
sami_firewall_dump_not_vm_end(const SamiFirewallDump *dump)
{
    return dump->n_not_vm_end;
}

void
sami_firewall_dump_free(SamiFirewallDump *dump)
{
    if (dump)
        dump->ops->free(dump);
}

SamiFirewallEvents *
sami_firewall_events_new(SamiFirewall *firewall, GError **error)
{
    return firewall->ops->events_new(firewall, error);
}

int
sami_firewall_events_fd(SamiFirewallEvents *events)
{
    return events->ops->fd(events);
}

gboolean
sami_firewall_events_read(SamiFirewallEvents *events, guint max_events, SamiEventFunc func,
                          gpointer user_data, GError **error)
{
    return events->ops->read(events, max_events, func, user_data, error);
}

gboolean
sami_firewall_events_barrier(SamiFirewallEvents *events, SamiEventFunc func, gpointer user_data,
                             GError **error)
{
    return events->ops->barrier(events, func, user_data, error);
}

void
sami_firewall_events_free(SamiFirewallEvents *events)
{
    if (events)
        events->ops->free(events);
}

gboolean
sami_firewall_headroom(SamiFirewall *firewall, guint64 *ret_entries, guint64 *ret_max,
                       GError **error)
{
    return firewall->ops->headroom(firewall, ret_entries, ret_max, error);
}

static gboolean
names(const SamiDumpFilter *f, const SamiSession *s, const SamiAddress *address)
{
    return sami_prefixes_contain(f->prefixes, f->n_prefixes, s->key.family, address);
}

gboolean
sami_firewall_selects(const SamiDumpFilter *f, const SamiSession *s, guint64 *n_not_vm_end)
{
    if ((f->family && s->key.family != f->family) || (f->has_zone && s->key.zone != f->zone))
        return FALSE;
    if (f->has_mark && (((s->has & SAMI_HAS_MARK) ? s->mark : 0) & f->mark_mask) != f->mark)
        return FALSE;
    if (f->n_prefixes == 0 || names(f, s, &s->key.orig.src) || names(f, s, &s->reply.src))
        return TRUE;
    *n_not_vm_end += names(f, s, &s->key.orig.dst) || names(f, s, &s->reply.dst);
    return FALSE;
}

SamiAction
sami_firewall_action(SamiEventKind kind)
{
    static const SamiAction actions[] = {
        [SAMI_EVENT_NEW] = SAMI_ACTION_CREATED,
        [SAMI_EVENT_UPDATE] = SAMI_ACTION_UPDATE,
        [SAMI_EVENT_DESTROY] = SAMI_ACTION_DELETED,
    };
    return actions[kind];
}
