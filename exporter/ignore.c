/* Whose flows are not sent though the VM is one end of them: the other end is this firewall itself, or somebody of ignore-addresses. At another
 * firewall such an entry would mean nothing. A translated address of this firewall is no end. */
#include "exporter/exporter.h"

#include "firewall/host.h"

static void
add_own(GArray *list)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GArray) own = sami_host_addresses(&error);
    if (own)
        g_array_append_vals(list, own->data, own->len);
    else
        g_warning("%s; flows with this firewall itself are sent", error->message);
}

GArray *
sami_ignore_new(const SamiConfig *config)
{
    g_autoptr(GError) error = NULL;
    GArray *list = sami_prefix_list(config->ignore_addresses, "ignore-addresses", &error);
    if (!list) { /* the configuration was checked when it was read */
        g_warning("%s", error->message);
        list = g_array_new(FALSE, TRUE, sizeof(SamiPrefix));
    }
    add_own(list);
    return list;
}

gboolean
sami_ignore_is(const GArray *list, const GArray *vm, const SamiSession *s)
{
    const SamiPrefix *prefixes = (const SamiPrefix *) (const void *) list->data;
    const SamiAddress *ends[] = { &s->key.orig.src, &s->reply.src };
    guint n_ends = (s->has & SAMI_HAS_REPLY) ? 2 : 1;
    for (guint i = 0; i < n_ends; i++)
        if (!sami_prefixes_contain((const SamiPrefix *) (const void *) vm->data, vm->len, s->key.family, ends[i]) &&
            sami_prefixes_contain(prefixes, list->len, s->key.family, ends[i]))
            return TRUE;
    return FALSE;
}
